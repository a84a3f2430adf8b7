"""What a process is at, in memory its supervisor reads: shared before the fork, so that a stuck process need not answer.

A board has two times (the last beat, the last canary) and a slot per thread: what runs there, since when, by when it must
be done. All times are CLOCK_MONOTONIC seconds, which the processes of one machine share. 0 is never.
"""

from __future__ import annotations

import mmap
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

_TIMES = struct.Struct("dd")  # beat, canary
_SLOT = struct.Struct("dd48s")  # started, deadline, what


@dataclass(frozen=True, kw_only=True)
class Slot:
    """One thing that runs now."""

    what: str
    started: float
    deadline: float


class Board:
    """Written by one process (any thread), read by its supervisor."""

    def __init__(self, slots: int = 0) -> None:
        self.slots = slots
        self._memory = mmap.mmap(-1, _TIMES.size + slots * _SLOT.size)  # anonymous and shared across fork
        self._free = list(range(slots))
        self._lock = threading.Lock()
        self._mine = threading.local()
        self.created = time.monotonic()

    # --- the process that is watched

    def beat(self) -> None:
        """Its main loop goes round."""
        struct.pack_into("d", self._memory, 0, time.monotonic())

    def canary(self) -> None:
        """Something sent through its queue came out at the end."""
        struct.pack_into("d", self._memory, 8, time.monotonic())

    @contextmanager
    def working(self, what: str, *, within_s: float) -> Iterator[None]:
        """This thread is at `what`, for at most `within_s` seconds."""
        self.begin(what, within_s=within_s)
        try:
            yield
        finally:
            self.end()

    def begin(self, what: str, *, within_s: float) -> None:
        with self._lock:
            index = self._free.pop() if self._free else None
        self._mine.index = index
        if index is not None:  # more threads than slots: this one is not watched
            now = time.monotonic()
            _SLOT.pack_into(self._memory, self._at(index), now, now + within_s, what.encode()[:48])

    def extend(self, within_s: float) -> None:
        """What this thread is at must be done within `within_s` from now."""
        index = getattr(self._mine, "index", None)
        if index is not None:
            struct.pack_into("d", self._memory, self._at(index) + 8, time.monotonic() + within_s)

    def end(self) -> None:
        index = getattr(self._mine, "index", None)
        self._mine.index = None
        if index is not None:
            _SLOT.pack_into(self._memory, self._at(index), 0, 0, b"")
            with self._lock:
                self._free.append(index)

    # --- its supervisor

    @property
    def beat_at(self) -> float:
        return float(_TIMES.unpack_from(self._memory, 0)[0])

    @property
    def canary_at(self) -> float:
        return float(_TIMES.unpack_from(self._memory, 0)[1])

    def running(self) -> list[Slot]:
        slots = (_SLOT.unpack_from(self._memory, self._at(index)) for index in range(self.slots))
        return [
            Slot(what=what.rstrip(b"\0").decode(errors="replace"), started=started, deadline=deadline)
            for started, deadline, what in slots
            if started
        ]

    def overdue(self, now: float, grace_s: float) -> list[Slot]:
        return [slot for slot in self.running() if now > slot.deadline + grace_s]

    @staticmethod
    def _at(index: int) -> int:
        return _TIMES.size + index * _SLOT.size
