"""A deadline for what this thread does now, told to whoever watches over the process.

A soft time limit is not a deadline: it cannot stop a thread that waits in the kernel. So the thread says by when it will be
done, and the supervisor replaces a process that holds one past its time.
"""

from __future__ import annotations

from collections.abc import Callable

_tell: list[Callable[[float], None]] = []


def watched_by(tell: Callable[[float], None]) -> None:
    """The process's watchdog, once a process; it is called in the thread concerned."""
    _tell[:] = [tell]


def within(seconds: float) -> None:
    """What this thread is at will be done within `seconds` from now, or the process is replaced."""
    for tell in _tell:
        tell(seconds)
