"""The recording of one shell: asciicast v2, appended, and sealed in chunks into the audit log.

A line of the file is written before anybody sees what it holds; what cannot be written ends the shell. Input is not recorded:
a password typed without echo must not be, and what is echoed is output. A chunk is some whole lines of the file, by offset,
length and SHA-256; its event is sealed into the chain (core/chain.py), so that a recording can be held against its events.

Source: https://docs.asciinema.org/manual/asciicast/v2/
"""

from __future__ import annotations

import codecs
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings

CHUNK_BYTES = 4 << 20  # a chunk is closed at this size,
CHUNK_S = 5.0  # or so long after its first line
LOOK_EVERY_S = 0.5  # is the file still where it was?

_encode = json.JSONEncoder(ensure_ascii=False).encode


class RecordingFailed(Exception):
    """It cannot be recorded; says why in words for people."""


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """Some lines of a recording, ready to be sealed. `last_s`: seconds from the beginning to its last line."""

    sequence: int  # from 1
    offset: int
    length: int
    sha256: str
    last_s: float


def path_of(org_id: UUID, session_id: UUID) -> Path:
    """Where a recording is: by organization, and by the last hex digits (the first are the time's)."""
    return Path(settings.MIST_RECORDINGS) / org_id.hex / session_id.hex[-2:] / f"{session_id.hex}.cast"


class Recorder:
    """Appends to one file. `began`: the loop's time of its beginning, `at`: the same as a Unix time."""

    def __init__(self, path: Path, *, cols: int, rows: int, began: float, at: float, title: str, most_bytes: int) -> None:
        self.path, self._began, self._most = path, began, most_bytes
        self.size = 0  # bytes in the file
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._sealed = self._sequence = 0
        self._hash = hashlib.sha256()
        self._opened_at = self._last = began  # of the chunk that is being written: its first and last line
        self._looked_at = began
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise RecordingFailed(_why(error)) from error
        header = {"version": 2, "width": cols, "height": rows, "timestamp": int(at), "title": title, "env": {"TERM": "xterm-256color"}}
        self._write(_encode(header) + "\n", began)

    def output(self, data: bytes, now: float) -> None:
        """What is about to be shown.  Raises: RecordingFailed."""
        text = self._decode(data)
        if text:
            self._line("o", text, now)

    def mark(self, text: str, now: float) -> None:
        """A command was given."""
        self._line("m", text, now)

    def resize(self, cols: int, rows: int, now: float) -> None:
        self._line("r", f"{cols}x{rows}", now)

    def _line(self, kind: str, text: str, now: float) -> None:
        self._write(f'[{now - self._began:.6f}, "{kind}", {_encode(text)}]\n', now)

    def _write(self, line: str, now: float) -> None:
        data = line.encode("utf-8", "replace")
        if self.size + len(data) > self._most:
            raise RecordingFailed(f"Its recording has reached the limit of {self._most >> 20} MiB.")
        try:
            if now - self._looked_at > LOOK_EVERY_S:
                self.look(now)
            view = memoryview(data)
            while view:
                view = view[os.write(self._file, view) :]
        except OSError as error:
            raise RecordingFailed(_why(error)) from error
        if self.size == self._sealed:
            self._opened_at = now
        self._hash.update(data)
        self.size += len(data)
        self._last = now

    def look(self, now: float) -> None:
        """Is it still there? A file whose name is gone takes what is written and keeps nothing.  Raises: RecordingFailed."""
        self._looked_at = now
        try:
            there = os.stat(self.path)
        except OSError as error:
            raise RecordingFailed("Its recording was taken away while it ran.") from error
        if there.st_ino != os.fstat(self._file).st_ino:
            raise RecordingFailed("Its recording was taken away while it ran.")

    def chunk(self, now: float, *, last: bool = False) -> Chunk | None:
        """The lines since the chunk before, when it is time to seal them. `last`: whatever there is."""
        length = self.size - self._sealed
        if not length or not (last or length >= CHUNK_BYTES or now - self._opened_at >= CHUNK_S):
            return None
        self._sequence += 1
        found = Chunk(
            sequence=self._sequence,
            offset=self._sealed,
            length=length,
            sha256=self._hash.hexdigest(),
            last_s=round(self._last - self._began, 6),
        )
        self._sealed, self._hash = self.size, hashlib.sha256()
        return found

    def keep(self) -> None:
        """What was written is on the disk afterwards. Blocks.  Raises: RecordingFailed."""
        try:
            os.fdatasync(self._file)
        except OSError as error:
            raise RecordingFailed(_why(error)) from error

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _why(error: OSError) -> str:
    return f"It cannot be recorded: {(error.strerror or str(error)).lower()}."


def lines_of(path: Path, *, most_bytes: int = 0) -> Any:
    """The events of a recording, [seconds, kind, text] each, the header first; a torn last line is left out.

    `most_bytes`: of the file, from its beginning; 0: all.  Raises: OSError.
    """
    read = 0
    with path.open("rb") as file:
        for line in file:
            read += len(line)
            if most_bytes and read > most_bytes:
                return
            try:
                yield json.loads(line)
            except ValueError:
                return
