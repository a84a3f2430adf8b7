"""The ways into a machine: one small interface, a class for each way.

A line pushes: it gives `sink.received` what comes, and once `sink.lost` when it is over. It is told to pause and resume, and keeps
no more than its window meanwhile.
"""

from __future__ import annotations

import abc
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from core.actor import Actor
from core.errors import NotSupported
from machines.models import Machine
from machines.shell.files import FileAsked, Writing

WINDOW = 256 << 10  # bytes on their way to us that the other side may have sent


class Sink(Protocol):
    """Who holds the line."""

    def received(self, data: bytes) -> None: ...

    def lost(self, code: str, detail: str, exit_status: int | None) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is to be opened. `login`: as whom; "" is as the machine's association says."""

    machine: Machine
    actor: Actor
    cols: int
    rows: int
    login: str = ""


class Line(abc.ABC):
    """A terminal on a machine. `login`, `address`, `credential`: as whom, where and by what right, in words for people.

    `no_files`: why it takes no files; "": it does, as far as is known.
    """

    transport: str
    login: str = ""
    address: str = ""
    credential: str = ""
    no_files: str = ""

    @abc.abstractmethod
    def write(self, data: bytes) -> None:
        """Type. Never waits; see `unsent`."""

    @abc.abstractmethod
    def unsent(self) -> int:
        """Bytes typed that the other side has not taken."""

    @abc.abstractmethod
    def resize(self, cols: int, rows: int) -> None: ...

    @abc.abstractmethod
    def pause(self) -> None: ...

    @abc.abstractmethod
    def resume(self) -> None: ...

    @abc.abstractmethod
    def close(self) -> None:
        """Hang up. Never raises, never waits. What is left of files that were on their way is removed where that is still possible."""

    async def begin_file(self, asked: FileAsked) -> Writing:
        """Get ready to write a file there, as the same login. Nothing is written.  Raises: NotSupported, NameTaken, Rejected …"""
        raise NotSupported(self.no_files, code="no_files")


Opener = Callable[[Asked, Sink], Awaitable[Line]]


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way in. `leads_to`: is it one to this machine, as far as its row tells? The first that does is taken."""

    name: str
    leads_to: Callable[[Machine], bool]
    open: Opener


_ways: dict[str, Way] = {}


def add(way: Way) -> None:
    """Another way in; asked in the order they were added."""
    _ways[way.name] = way


def names() -> list[str]:
    return list(_ways)


def way_to(machine: Machine, wanted: str = "") -> Way:
    """The way into a machine. `wanted`: by this one.  Raises: NotSupported."""
    for way in _ways.values():
        if (not wanted or way.name == wanted) and way.leads_to(machine):
            return way
    raise NotSupported(f"There is no {wanted or 'shell'} way into {machine}.", code="no_way_in")


def leads_anywhere(machine: Machine) -> bool:
    return any(way.leads_to(machine) for way in _ways.values())


__all__ = ["WINDOW", "Asked", "Line", "Opener", "Sink", "Way", "add", "leads_anywhere", "names", "way_to"]
