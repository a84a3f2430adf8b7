"""What sends files into a machine, as a browser does, and the hosts they are sent to."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.sshd import Sshd
from tests.shells.conftest import Open, Place, Terminal, wait_for

numbers = itertools.count(1)
MIB = 1 << 20


class Sending:
    """What a browser does with one file."""

    def __init__(self, terminal: Terminal, name: str, size: int, **asked: Any) -> None:
        self.terminal, self.number, self.size, self.sent = terminal, next(numbers), size, 0
        self.say(name=name, size=size, **asked)

    def say(self, **what: Any) -> None:
        self.terminal.socket.send(b"3" + json.dumps({"upload": self.number, **what}).encode())

    def piece(self, data: bytes) -> None:
        self.terminal.socket.send(b"4" + self.number.to_bytes(4, "big") + data)
        self.sent += len(data)

    def told(self, what: str) -> Any:
        """The last that was told, or None."""
        for told in reversed(list(self.terminal.told)):
            mine = told.get("upload", {})
            if mine.get("id") == self.number and what in mine:
                return mine[what]
        return None

    def expect(self, what: str, seconds: float = 15) -> Any:
        others = ("failed", "exists", "done")
        wait_for(
            lambda: any(self.told(one) for one in (what, *others)) or self.terminal.closed, seconds, lambda: str(self.terminal.told[-5:])
        )
        found = self.told(what)
        assert found is not None, ({one: self.told(one) for one in others}, self.terminal.closed)
        return found

    def send(self, data: bytes, until: int | None = None) -> None:
        """All of it, or so far, as far as may be."""
        until = len(data) if until is None else until
        self.expect("go")
        while self.sent < until and self.told("failed") is None:
            wait_for(lambda: self.told("credit") > self.sent or self.told("failed"))
            end = min(until, self.told("credit"), self.sent + (64 << 10))
            if end > self.sent:
                self.piece(data[self.sent : end])


def send(terminal: Terminal, name: str, data: bytes, **asked: Any) -> Sending:
    sending = Sending(terminal, name, len(data), **asked)
    sending.send(data)
    return sending


def content(size: int) -> bytes:
    return os.urandom(min(size, MIB)) * (size // MIB) + os.urandom(size % MIB if size >= MIB else 0)


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """Of this module alone: it looks at what is in the home."""
    server = Sshd(tmp_path_factory.mktemp("sshd"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def terminal(place: Place, opened: Open) -> Terminal:
    found = opened(place)
    found.prompt()
    return found


@pytest.fixture
def home(sshd: Sshd) -> Iterator[Path]:
    """What a test leaves there is gone after it."""
    found = sshd.directory / "home"
    before = set(found.iterdir())
    yield found
    for path in set(found.iterdir()) - before:
        subprocess.run(["rm", "-rf", str(path)], check=True)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def half(terminal: Terminal, home: Path, name: str = "half.bin") -> tuple[Sending, bytes]:
    """Sent to the middle, and that has been written there."""
    data = content(4 * MIB)
    sending = Sending(terminal, name, len(data))
    sending.send(data, 2 * MIB)
    wait_for(lambda: sending.told("written") == 2 * MIB)
    assert any(".part-" in name for name in names(home))
    return sending, data


class host:  # noqa: N801 - a context
    """An sshd of one test."""

    def __init__(self, folder: Path, **how: Any) -> None:
        self.server = Sshd(folder / "host", **how)

    def __enter__(self) -> Sshd:
        self.server.start()
        return self.server

    def __exit__(self, *_error: object) -> None:
        self.server.stop()
