"""SSH servers for tests: real OpenSSH ones, and asyncssh ones that misbehave as told. All on loopback, on free ports."""

from __future__ import annotations

import asyncio
import getpass
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import asyncssh
import pytest

from clouds.providers.base import Context, Deadline


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def new_key() -> str:
    return asyncssh.generate_private_key("ssh-ed25519").export_private_key("openssh").decode()


def public_line(pem: str) -> str:
    return " ".join(asyncssh.import_private_key(pem).export_public_key("openssh").decode().split()[:2])


class Sshd:
    """A real sshd that lets `private_key` in as `user`. Needs no root; stop it."""

    def __init__(
        self, directory: Path, *, settings: str = "", host_key: str | None = None, port: int | None = None, sftp: str = "internal-sftp"
    ) -> None:
        self.directory, self.host, self.port = directory, "127.0.0.1", port or free_port()
        self.user = getpass.getuser()
        self.private_key, self.host_key = new_key(), host_key or new_key()
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "home").mkdir(exist_ok=True)
        (directory / "home" / ".ssh").mkdir(mode=0o700, exist_ok=True)
        self.authorized_keys = directory / "home" / ".ssh" / "authorized_keys"  # of the home a session sees
        for path, text in {directory / "hostkey": self.host_key, self.authorized_keys: public_line(self.private_key) + "\n"}.items():
            path.write_text(text)
            path.chmod(0o600)
        # SetEnv HOME: a login shell would read the developer's own start files.
        (directory / "sshd_config").write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {directory}/hostkey\nAuthorizedKeysFile {self.authorized_keys}\n"
            f"PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin prohibit-password\nUseDNS no\n"
            + (f"Subsystem sftp {sftp} -d {directory}/home\n" if sftp else "")
            + f"MaxStartups 200\nMaxSessions 100\nSetEnv HOME={directory}/home PATH={os.environ['PATH']}:/usr/sbin:/sbin\n{settings}"
        )
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def public_host_key(self) -> str:
        return public_line(self.host_key)

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    def start(self) -> None:
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)
        binary = shutil.which("sshd", path=os.environ["PATH"] + ":/usr/sbin:/sbin")
        assert binary
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen([binary, "-D", "-e", "-f", str(self.directory / "sshd_config")], stderr=log, stdin=-3)
        until = time.monotonic() + 10
        while time.monotonic() < until:
            with socket.socket() as sock:
                if sock.connect_ex((self.host, self.port)) == 0:
                    return
            time.sleep(0.02)
        raise AssertionError((self.directory / "log").read_text())

    def stop(self) -> None:
        if self._process:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(10)
            self._process = None


@pytest.fixture(scope="session")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """A real sshd for the session."""
    if not shutil.which("sshd", path=os.environ["PATH"] + ":/usr/sbin:/sbin"):
        pytest.skip("needs sshd (Debian: openssh-server)")
    server = Sshd(tmp_path_factory.mktemp("sshd"))
    server.start()
    yield server
    server.stop()


class Fake:
    """asyncssh servers on one loop in a thread, each with a handler of its own: what no real sshd would do."""

    def __init__(self) -> None:
        self.private_key, self.host_key = new_key(), new_key()
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    @property
    def public_host_key(self) -> str:
        return public_line(self.host_key)

    def serve(self, handler: Callable[[asyncssh.SSHServerProcess[bytes]], Awaitable[None]], *, address: str = "127.0.0.1") -> int:
        """Listen; the port. Any user with our key is let in."""

        async def listen() -> int:
            server = await asyncssh.listen(
                address,
                0,
                server_host_keys=[asyncssh.import_private_key(self.host_key)],
                authorized_client_keys=asyncssh.import_authorized_keys(public_line(self.private_key)),
                process_factory=handler,
                encoding=None,
            )
            return server.get_port()

        return asyncio.run_coroutine_threadsafe(listen(), self.loop).result(10)

    def stop(self) -> None:
        async def end() -> None:
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.wait(others, timeout=5) if others else None

        asyncio.run_coroutine_threadsafe(end(), self.loop).result(10)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(5)


@pytest.fixture(scope="session")
def fake_ssh() -> Iterator[Fake]:
    server = Fake()
    yield server
    server.stop()


@pytest.fixture
def silent_ssh() -> Iterator[int]:
    """The port of something that takes connections and says nothing."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen(8)
        yield sock.getsockname()[1]


@dataclass
class Trust:
    """The host keys Mist would have pinned, for a Context."""

    private_keys: dict[str, str] = field(default_factory=dict)
    pinned: dict[tuple[str, int], list[str]] = field(default_factory=dict)
    trusted: list[tuple[str, int, str]] = field(default_factory=list)  # what trust() was asked, in order
    threads: set[int] = field(default_factory=set)  # in which threads it was asked

    def trust(self, host: str, port: int, line: str) -> None:
        self.threads.add(threading.get_ident())
        self.trusted.append((host, port, line))
        self.pinned.setdefault((host, port), []).append(line)

    def host_keys(self, host: str, port: int) -> list[str]:
        self.threads.add(threading.get_ident())
        return self.pinned.get((host, port), [])

    def context(self, *, seconds: float = 30) -> Context:
        return Context(
            cloud_id="test",
            deadline=Deadline(seconds),
            private_key=lambda name: self.private_keys[name],
            host_keys=self.host_keys,
            trust=self.trust,
        )
