"""A file of 300 MB into a machine through its shell (socket, web, shell process, sshd) beside plain `sftp` to the same host.

Web and the shell process grow by less than 32 MiB; a key's echo meanwhile p95 ≤ 100 ms; what it takes beside `sftp` is told.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from threading import Thread
from typing import Any

from tests.bench import harness
from tests.bench.bench_shell import EMAIL, PASSWORD, SETUP, Shell, cpu_s, rss_kib
from tests.lab.sshd import Sshd
from tests.ops.stack import Stack

MB = int(os.environ.get("BENCH_MB", "300"))
PIECE = 256 << 10
LOOK_S, KEY_S = 0.1, 0.3


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="mist-bench-") as folder:
        Path(folder).chmod(0o755)
        host = Sshd(Path(folder) / "sshd")
        host.start()
        (host.directory / "key").write_text(host.private_key)
        (host.directory / "key").chmod(0o600)
        (host.directory / "home" / ".bash_profile").write_text("PS1='ready> '\n")
        (host.directory / "known_hosts").write_text(f"[127.0.0.1]:{host.port} {host.public_host_key}\n")
        stack = Stack(Path(folder) / "home", DJANGO_SETTINGS_MODULE="mist.settings", MIST_ADMIN_EMAIL=EMAIL, MIST_ADMIN_PASSWORD=PASSWORD)
        try:
            stack.start()
            hosts = [("real", host.port, host.user, host.private_key, host.public_host_key)]
            stack.manage("shell", "-v0", "-c", SETUP.format(hosts=json.dumps(hosts)))
            answer = stack.post("/api/v2/auth/tokens", {"email": EMAIL, "password": PASSWORD, "name": "bench"})
            shell = Shell(stack.port, json.loads(answer[1])["data"]["token"], "real", control=True)
            measure(stack, shell, host, Path(folder))
            stack.stop()
        finally:
            stack.kill()
            host.stop()
    harness.finish()


def measure(stack: Stack, shell: Shell, host: Sshd, folder: Path) -> None:
    pids = {name: stack.pids()[name] for name in ("mist-web", "mist-shell")}
    data = os.urandom(1 << 20) * (MB * 1_000_000 >> 20)
    (folder / "data").write_bytes(data)
    shell.until(b"ready> ")
    shell.type("cat\r")
    one = Sender(shell)
    before, cpu = {n: rss_kib(pid) for n, pid in pids.items()}, {n: cpu_s(pid) for n, pid in pids.items()}
    grown = dict.fromkeys(pids, 0)

    def look() -> None:
        for name, pid in pids.items():
            grown[name] = max(grown[name], rss_kib(pid) - before[name])

    took = one.send("data", data, look)
    print(f"     CPU: {', '.join(f'{cpu_s(pid) - cpu[n]:.1f} s in {n}' for n, pid in pids.items())}")
    assert one.done["sha256"] == hashlib.sha256((host.directory / "home" / "data").read_bytes()).hexdigest()
    theirs = plain(host, folder / "data")
    size = len(data) / 1e6
    print(f"     {size:.0f} MB: ours {took:.1f} s ({size / took:.0f} MB/s), sftp {theirs:.1f} s ({size / theirs:.0f} MB/s)")
    for name, kib in grown.items():
        harness.report(f"upload of {MB} MB: {name} grows by", kib / 1024, 32, "MiB")
    echoes = sorted(one.echoes)
    harness.report(f"echo of a key meanwhile, p95 of {len(echoes)}", harness.percentile(echoes, 0.95) * 1000, 100, "ms")


class Sender:
    """A browser's half: one thread reads, one types, and this one sends."""

    def __init__(self, shell: Shell) -> None:
        self.shell, self.number, self.credit = shell, 0, 0
        self.done: dict[str, Any] = {}
        self.echoes: list[float] = []
        self._typed_at = 0.0
        Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for message in self.shell.socket:
            if isinstance(message, str):
                told = json.loads(message).get("upload", {})
                self.credit = told.get("credit", self.credit)
                self.done = told.get("done", self.done)
                assert "failed" not in told, told
                continue
            if self._typed_at:
                self.echoes.append(time.perf_counter() - self._typed_at)
                self._typed_at = 0.0
            self.shell.total += len(message)
            self.shell.socket.send(b"2" + json.dumps({"acked": self.shell.total}).encode())

    def send(self, name: str, data: bytes, look: Any = lambda: None) -> float:
        """Returns: seconds."""
        self.number, self.credit, self.done = self.number + 1, 0, {}
        begun = looked = typed = time.perf_counter()
        asked = {"upload": self.number, "name": name, "folder": "", "size": len(data)}
        self.shell.socket.send(b"3" + json.dumps(asked).encode())
        sent, head = 0, b"4" + self.number.to_bytes(4, "big")
        while not self.done:
            end = min(self.credit, sent + PIECE)
            if end - sent >= min(PIECE, len(data) - sent) > 0:
                self.shell.socket.send(head + data[sent:end])
                sent = end
            else:
                time.sleep(0.001)
            now = time.perf_counter()
            if now - looked > LOOK_S:
                looked = now
                look()
            if now - typed > KEY_S and not self._typed_at:
                typed = self._typed_at = now
                self.shell.type("k")
        return time.perf_counter() - begun


def plain(host: Sshd, file: Path) -> float:
    """The same file by OpenSSH's client.  Returns: seconds."""
    options = [
        "-F",
        "none",
        "-o",
        f"UserKnownHostsFile={host.directory}/known_hosts",
        "-o",
        "IdentitiesOnly=yes",
        "-i",
        str(host.directory / "key"),
    ]
    command = ["sftp", "-q", *options, "-P", str(host.port), "-b", "-", f"{host.user}@127.0.0.1"]
    begun = time.perf_counter()
    subprocess.run(command, input=f"put {file} {host.directory}/home/theirs\n", text=True, check=True, capture_output=True)
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
