"""A Docker Engine of the tests' own: Debian's dockerd, started by hand, on loopback, without a registry.

One engine serves every test process of a run. Each holds a shared lock on the engine's folder; a small process beside
the engine waits for the folder to be nobody's and then stops it, so that even a killed test run leaves nothing behind.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import docker

from .certificates import Authority, Pair

IMAGE = "local/busybox:latest"
READY_S = 60


class NoEngine(Exception):
    """There can be no engine here; the words say why."""


@dataclass(frozen=True, kw_only=True)
class Engine:
    """A running engine. `port` speaks plain HTTP, `tls_port` TLS with a client certificate; both on 127.0.0.1."""

    folder: Path
    port: int
    tls_port: int
    ca: str
    client: Pair
    stranger: Pair  # a client certificate of another CA

    @property
    def socket(self) -> str:
        return f"unix://{self.folder}/docker.sock"


def why_not() -> str:
    """Why no engine can be started here; "" when one can."""
    if os.geteuid() != 0:
        return "dockerd needs root"
    missing = [program for program in ("dockerd", "containerd", "runc", "busybox") if shutil.which(program) is None]
    return f"{', '.join(missing)} not installed (see tests/lab/install_debian.sh)" if missing else ""


@contextmanager
def engine(folder: Path) -> Iterator[Engine]:
    """The engine of that folder, started by whoever comes first.  Raises: NoEngine."""
    if reason := why_not():
        raise NoEngine(reason)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "users").open("a") as users, (folder / "starting").open("a") as starting:
        fcntl.flock(starting, fcntl.LOCK_EX)
        fcntl.flock(users, fcntl.LOCK_SH)
        if not (folder / "engine.json").exists():
            _start(folder)
        fcntl.flock(starting, fcntl.LOCK_UN)
        found = json.loads((folder / "engine.json").read_text())
        with _plain_port(folder / "docker.sock") as port:
            yield Engine(
                folder=folder,
                port=port,
                tls_port=found["tls_port"],
                ca=found["ca"],
                client=Pair(**found["client"]),
                stranger=Pair(**found["stranger"]),
            )


def _start(folder: Path) -> None:
    authority = Authority()
    server, client = authority.issue("engine", "127.0.0.1", "engine.test"), authority.issue("client", client=True)
    stranger = Authority(name="another CA").issue("stranger", client=True)
    for name, text in (("ca.pem", authority.certificate), ("cert.pem", server.certificate), ("key.pem", server.key)):
        (folder / name).write_text(text)
    (folder / "failed").unlink(missing_ok=True)
    tls_port = _free_port()
    with (folder / "log").open("w") as log:
        subprocess.Popen(
            [sys.executable, "-m", "tests.lab.dockerd", str(folder), str(tls_port)],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    until = time.monotonic() + READY_S
    while not _answers(folder):
        if time.monotonic() > until or (folder / "failed").exists():
            raise NoEngine("dockerd does not start: " + " | ".join((folder / "log").read_text().splitlines()[-3:]))
        time.sleep(0.1)
    _make_image(folder)
    about = {"tls_port": tls_port, "ca": authority.certificate, "client": asdict(client), "stranger": asdict(stranger)}
    (folder / "engine.json.new").write_text(json.dumps(about))
    (folder / "engine.json.new").rename(folder / "engine.json")


def _guard(folder: Path, tls_port: str) -> None:
    """Run the engine until nobody holds the folder any more, then stop it and clear up."""
    listen = ["-H", f"unix://{folder}/docker.sock", "-H", f"tcp://127.0.0.1:{tls_port}"]
    tls = ["--tlsverify", "--tlscacert", f"{folder}/ca.pem", "--tlscert", f"{folder}/cert.pem", "--tlskey", f"{folder}/key.pem"]
    # A subnet of its own range; no bridge of another engine is touched.
    daemon = subprocess.Popen(
        [
            "dockerd",
            "--data-root",
            f"{folder}/data",
            "--exec-root",
            f"{folder}/exec",
            "--pidfile",
            f"{folder}/docker.pid",
            "--bip",
            "172.29.0.1/16",
            "--shutdown-timeout",
            "2",
            *tls,
            *listen,
        ]
    )
    with (folder / "users").open("a") as users:
        while True:
            try:
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if daemon.poll() is not None:
                    (folder / "failed").touch()
                    return
                time.sleep(0.5)
        # Whoever comes now waits for the lock, and then finds no engine.json and starts another engine.
        (folder / "engine.json").unlink(missing_ok=True)
        daemon.send_signal(signal.SIGTERM)
        try:
            daemon.wait(20)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()
        for line in Path("/proc/self/mounts").read_text().splitlines():  # dockerd leaves the mounts of its network namespaces
            if line.split()[1].startswith(f"{folder}/"):
                subprocess.run(["umount", "--lazy", line.split()[1]], check=False)
        for name in ("data", "exec", "busybox"):
            shutil.rmtree(folder / name, ignore_errors=True)


def _answers(folder: Path) -> bool:
    try:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(5)
            sock.connect(f"{folder}/docker.sock")
            sock.sendall(b"GET /_ping HTTP/1.0\r\nHost: localhost\r\n\r\n")
            return b" 200 " in sock.recv(100)
    except OSError:
        return False


def _make_image(folder: Path) -> None:
    """The one image: busybox with its names, nothing else."""
    root = folder / "busybox"
    for name in ("bin", "etc", "tmp", "proc", "sys", "dev", "root"):
        (root / name).mkdir(parents=True, exist_ok=True)
    busybox = shutil.which("busybox") or ""
    shutil.copy(busybox, root / "bin/busybox")
    for name in subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split():
        if name != "busybox":
            (root / "bin" / name).symlink_to("busybox")
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    tar = subprocess.run(["tar", "-C", str(root), "-c", "."], capture_output=True, check=True).stdout
    client = docker.DockerClient(base_url=f"unix://{folder}/docker.sock", timeout=60)
    repository, tag = IMAGE.split(":")
    client.api.import_image_from_data(tar, repository=repository, tag=tag, changes=['CMD ["/bin/sh"]'])
    client.close()


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextmanager
def _plain_port(path: Path) -> Iterator[int]:
    """A TCP port that leads to the socket: dockerd has TLS on all of its ports or on none."""

    def pump(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            source.close()
            sink.close()

    def serve() -> None:
        while True:
            try:
                here, _ = listener.accept()
            except OSError:
                return
            there = socket.socket(socket.AF_UNIX)
            there.connect(str(path))
            for pair in ((here, there), (there, here)):
                threading.Thread(target=pump, args=pair, daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


if __name__ == "__main__":
    _guard(Path(sys.argv[1]), sys.argv[2])
