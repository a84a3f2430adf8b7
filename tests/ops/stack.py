"""The real product in a process of its own, as `make run` starts it, in a home of its own on a free port."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests import migrated

ROOT = Path(__file__).resolve().parent.parent.parent


class Stack:
    """`manage.py up`, started, asked and stopped from outside."""

    def __init__(self, home: Path, *, port: int | None = None, **environment: str) -> None:
        self.home, self.port = home, port or free_port()
        self.log = home.with_name(f"{home.name}.log")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("MIST_", "DJANGO_", "PYTEST_", "PYTHON"))}
        self.environment = {
            **kept,
            "DJANGO_SETTINGS_MODULE": "tests.ops.settings",
            "MIST_HOME": str(home),
            "MIST_PORT": str(self.port),
        } | environment
        self.process: subprocess.Popen[bytes] | None = None

    @classmethod
    def migrated(cls, home: Path, **environment: str) -> Stack:
        """Its first start has no tables to make: for tests of something else."""
        migrated.copy_to(home / "pgdata18")
        return cls(home, **environment)

    def launch(self, *arguments: str, prefix: tuple[str, ...] = ()) -> Stack:
        """Start it and do not wait."""
        with self.log.open("ab") as log:
            command = [*prefix, sys.executable, "manage.py", "up", *arguments]
            self.process = subprocess.Popen(command, cwd=ROOT, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        return self

    def start(self, *, within_s: float = 120) -> float:
        """Start it and wait until it is ready; seconds that took."""
        began = time.monotonic()
        self.launch()
        self.wait_ready(within_s)
        return time.monotonic() - began

    def stop(self, number: int = signal.SIGINT, *, within_s: float = 20) -> float:
        """Tell it to stop and wait; seconds that took."""
        assert self.process
        began = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(within_s)
        return time.monotonic() - began

    def kill(self) -> None:
        """For the end of a test that failed."""
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    @property
    def words(self) -> str:
        return self.log.read_text(errors="replace")

    def get(self, path: str, **headers: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=15)
        try:
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def post(self, path: str, body: dict[str, Any], method: str = "POST", **headers: str) -> tuple[int, bytes]:
        """A request with a JSON body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=15)
        try:
            connection.request(method, path, json.dumps(body), {"Content-Type": "application/json", **headers})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def ready(self) -> dict[str, Any]:
        """What /readyz says, whatever its status."""
        return dict(json.loads(self.get("/readyz")[1]))

    def is_ready(self) -> bool:
        try:
            return self.get("/readyz")[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def wait_ready(self, within_s: float = 60) -> None:
        def ready() -> bool:
            assert self.process
            assert self.process.poll() is None, self.words[-3000:]
            return self.is_ready()

        wait_for(ready, within_s, lambda: self.words[-3000:])

    def pids(self) -> dict[str, int]:
        """{name: pid} of the supervisor's own children."""
        assert self.process
        supervisor = self.process.pid
        found = {}
        for pid in children(supervisor):
            with suppress(FileNotFoundError, ProcessLookupError):  # it ended meanwhile
                found[Path(f"/proc/{pid}/comm").read_text().strip()] = pid
        return found

    def family(self) -> list[int]:
        """The pids of the supervisor and everything below it."""
        assert self.process
        pids = [self.process.pid]
        for pid in pids:
            pids += children(pid)
        return pids

    def manage(self, *arguments: str, typed: str = "", within_s: float = 120) -> str:
        """A command against the running installation; what it printed."""
        command = [sys.executable, "manage.py", *arguments]
        result = subprocess.run(command, cwd=ROOT, env=self.environment, input=typed, capture_output=True, text=True, timeout=within_s)
        assert result.returncode == 0, result.stderr[-3000:]
        return result.stdout


def children(parent: int) -> list[int]:
    """The pids of its living children; zombies are not."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, of = stat.read_text().rsplit(")", 1)[1].split()[:2]
        except OSError:
            continue
        if int(of) == parent and state != "Z":
            found.append(int(stat.parent.name))
    return sorted(found)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


# The product's own figures are in the tests; a machine that runs tests side by side is given so many times as long.
PATIENCE = 4


def wait_for(what: Callable[[], bool], within_s: float, words: Callable[[], str] = lambda: "") -> float:
    """Ask until it is so; seconds that took. Fails the test when it is not so in time."""
    began = time.monotonic()
    while not what():
        assert time.monotonic() - began < within_s * PATIENCE, f"not within {within_s} s. {words()}"
        time.sleep(0.05)
    return time.monotonic() - began
