"""Shells through the product (socket, web, shell process, sshd and back) beside plain `ssh` to the same host.

Opening ≤ 2 × ssh + 50 ms; a key's echo p95 ≤ 1.3 × ssh + 10 ms while 20 shells are busy; 100 MB of output ≥ 30 MB/s per core with the
recorder on and memory flat ± 20 MB; 200 idle shells ≤ 100 KiB each; Ctrl-C in a flood ≤ 200 ms.

`python -m tests.bench.bench_shell yes` is for itself: `yes` for BENCH_SECONDS (600), memory each second, and then Ctrl-C.
"""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from websockets.sync.client import connect

from tests.bench import harness
from tests.lab.sshd import Fake, Sshd
from tests.ops.stack import Stack

EMAIL, PASSWORD = "ann@example.org", "correct-horse-7"
OPENINGS, KEYS, BUSY, IDLE = 8, 150, 20, 200
BULK_MB = 100
YES_S, YES_WARM_S, YES_ROUNDS = float(os.environ.get("BENCH_SECONDS", "600")), 5, 5
CHATTER = "while :; do head -c 1500 /dev/urandom | base64; sleep 0.2; done\r"
SETUP = """
import sys, json
from accounts.models import User
from clouds.models import Cloud
from core.actions import perform
from core.actor import Actor
from keys.models import HostKey, Key, KeyAssociation
from machines.models import Machine
user = User.objects.get()
actor = Actor(org_id=user.orgs.get().pk, user_id=user.pk, is_admin=True, email=user.email)
cloud = Cloud.objects.create(org_id=actor.org_id, name="lab", provider="other", enabled=False, extra={{"loopback": True}})
for name, port, login, private, public in json.loads({hosts!r}):
    perform(actor, Key, "create", {{"name": name, "private": private}})
    machine = Machine.objects.create(org_id=actor.org_id, cloud=cloud, name=name, external_id=name, state="running", address="127.0.0.1")
    KeyAssociation.objects.create(org_id=actor.org_id, machine=machine, key=Key.objects.get(name=name), user=login, port=port)
    perform(actor, HostKey, "trust", {{"host": "127.0.0.1", "port": port, "public": public}})
"""


class Shell:
    """A browser's half of one shell."""

    def __init__(self, port: int, token: str, machine: str, *, control: bool = False) -> None:
        self.began = time.perf_counter()
        http = HTTPConnection("127.0.0.1", port, timeout=60)
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json", "Host": f"localhost:{port}"}
        http.request("POST", f"/api/v2/machines/{machine}/actions/ssh", json.dumps({"reason": "bench"}), headers)
        answer = http.getresponse()
        answer.read()
        assert answer.status == 302, answer.status
        there = answer.getheader("Location", "") + ("?control=1" if control else "")
        self.socket = connect(there, max_size=None, compression=None, legacy=True)
        self.total = 0

    def read(self) -> bytes:
        while isinstance(data := self.socket.recv(timeout=30), str):  # with `control`
            pass
        self.total += len(data)
        self.socket.send(b"2" + json.dumps({"acked": self.total}).encode())
        return data

    def until(self, wanted: bytes) -> bytes:
        held = b""
        while wanted not in held:
            held = held[-200:] + self.read()
        return held

    def type(self, text: str) -> None:
        self.socket.send(b"0" + text.encode())

    def close(self) -> None:
        self.socket.close()


class PlainSsh:
    """OpenSSH's client on a terminal of its own."""

    def __init__(self, host: Sshd, known_hosts: Path) -> None:
        self.began = time.perf_counter()
        self.terminal, far = pty.openpty()
        options = ["-F", "none", "-o", f"UserKnownHostsFile={known_hosts}", "-o", "IdentitiesOnly=yes", "-i", str(host.directory / "key")]
        command = ["ssh", "-tt", *options, "-p", str(host.port), f"{host.user}@127.0.0.1"]
        self.process = subprocess.Popen(command, stdin=far, stdout=far, stderr=subprocess.DEVNULL, start_new_session=True)
        os.close(far)

    def until(self, wanted: bytes) -> bytes:
        held = b""
        while wanted not in held:
            held = held[-200:] + os.read(self.terminal, 65536)
        return held

    def type(self, text: str) -> None:
        os.write(self.terminal, text.encode())

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.terminal)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="mist-bench-") as folder:
        Path(folder).chmod(0o755)
        real, many = Sshd(Path(folder) / "sshd"), Fake()
        real.start()
        (real.directory / "key").write_text(real.private_key)
        (real.directory / "key").chmod(0o600)
        (real.directory / "home" / ".bash_profile").write_text("PS1='ready> '\n")
        stack = Stack(Path(folder) / "home", DJANGO_SETTINGS_MODULE="mist.settings", MIST_ADMIN_EMAIL=EMAIL, MIST_ADMIN_PASSWORD=PASSWORD)
        try:
            stack.start()
            hosts = [
                ("real", real.port, real.user, real.private_key, real.public_host_key),
                ("many", many.serve(_prompt), "root", many.private_key, many.public_host_key),
            ]
            stack.manage("shell", "-v0", "-c", SETUP.format(hosts=json.dumps(hosts)))
            answer = stack.post("/api/v2/auth/tokens", {"email": EMAIL, "password": PASSWORD, "name": "bench"})
            token = json.loads(answer[1])["data"]["token"]
            known = real.directory / "known_hosts"
            known.write_text(f"[127.0.0.1]:{real.port} {real.public_host_key}\n")
            measure(stack, lambda name: Shell(stack.port, token, name), lambda: PlainSsh(real, known), Path(folder))
            stack.stop()
        finally:
            stack.kill()
            real.stop()
            many.stop()
    harness.finish()


async def _prompt(process: Any) -> None:
    process.stdout.write(b"ready> ")
    await process.stdin.read()


def measure(stack: Stack, shell: Callable[[str], Shell], plain: Callable[[], PlainSsh], folder: Path) -> None:
    pids = {name: stack.pids()[name] for name in ("mist-web", "mist-shell")}
    if sys.argv[1:] == ["yes"]:
        yes(shell("real"), pids)
        return
    opening(shell, plain)
    time.sleep(2)
    idle(shell, pids)
    bulk(shell("real"), folder, pids)
    busy = [shell("real") for _ in range(BUSY)]
    for one in busy:
        one.until(b"ready> ")
        one.type(CHATTER)
    keep = _drain(busy)
    echo(shell("real"), plain())
    keep()


def opening(shell: Callable[[str], Shell], plain: Callable[[], PlainSsh]) -> None:
    figures: dict[str, list[float]] = {"plain": [], "ours": []}
    for _ in range(OPENINGS):
        for name, make in (("plain", plain), ("ours", lambda: shell("real"))):
            one: Any = make()
            one.until(b"ready> ")
            figures[name].append(time.perf_counter() - one.began)
            one.close()
    ours, theirs = (sorted(figures[name])[OPENINGS // 2] * 1000 for name in ("ours", "plain"))
    harness.report(f"opening a shell, p50 (plain ssh: {theirs:.0f} ms)", ours, 2 * theirs + 50, "ms")


def echo(ours: Shell, theirs: PlainSsh) -> None:
    figures: dict[str, list[float]] = {"plain": [], "ours": []}
    for one in (ours, theirs):
        one.until(b"ready> ")
        one.type("cat\r")
        time.sleep(0.5)
        one.type("z")
        one.until(b"z")
    for _ in range(KEYS):  # in turns: what else the machine does falls on both
        for name, one in (("plain", theirs), ("ours", ours)):
            begun = time.perf_counter()
            one.type("k")
            one.until(b"k")
            figures[name].append(time.perf_counter() - begun)
            time.sleep(0.01)
    p95 = {name: harness.percentile(sorted(values), 0.95) * 1000 for name, values in figures.items()}
    p50 = {name: harness.percentile(sorted(values), 0.5) * 1000 for name, values in figures.items()}
    print(f"     echo p50: ours {p50['ours']:.1f} ms, plain ssh {p50['plain']:.1f} ms")
    name = f"echo of a key, {BUSY} shells busy, p95 (plain ssh: {p95['plain']:.1f} ms)"
    harness.report(name, p95["ours"], 1.3 * p95["plain"] + 10, "ms")
    ours.close()
    theirs.close()


def bulk(ours: Shell, folder: Path, pids: dict[str, int]) -> None:
    (folder / "bulk").write_bytes(
        b"".join(b"%08d the quick brown fox jumps over the lazy dog and goes home\n" % n for n in range(BULK_MB * 14500))
    )
    ours.until(b"ready> ")
    ours.type(f"stty -opost; cat {folder}/bulk; sleep 1; echo en''d\r")
    ours.until(b"00000000 the")
    cpu, start, begun = {n: cpu_s(pid) for n, pid in pids.items()}, ours.total, time.perf_counter()
    memory: dict[str, list[int]] = {name: [] for name in pids}  # a look each 2 MB
    seen = 0
    while b"end" not in ours.read()[-200:]:
        if ours.total - seen > 2e6:
            seen = ours.total
            for name, pid in pids.items():
                memory[name].append(rss_kib(pid))
    took, spent = time.perf_counter() - begun - 1, {n: cpu_s(pid) - cpu[n] for n, pid in pids.items()}
    megabytes = (ours.total - start) / 1e6
    print(f"     {megabytes:.0f} MB in {took:.1f} s ({megabytes / took:.0f} MB/s by the clock)")
    print(f"     CPU: {spent['mist-web']:.2f} s in web, {spent['mist-shell']:.2f} s in the shell process")
    harness.report("bulk output, CPU of web and shell a MB", sum(spent.values()) / megabytes * 1000, 1000 / 30, "ms")
    for name, looks in memory.items():
        harness.report(
            f"bulk output: memory of {name} after the first 4 MB, most less least", (max(looks[2:]) - min(looks[2:])) / 1024, 20, "MB"
        )
    ours.type("yes\r")
    harness.report("Ctrl-C in a flood answers in", interrupted(ours, 2) * 1000, 200, "ms")
    ours.close()


def interrupted(ours: Shell, after_s: float) -> float:
    """Ctrl-C, after so long of a flood.  Returns: seconds to the prompt."""
    stop = time.perf_counter() + after_s
    while time.perf_counter() < stop:
        ours.read()
    begun = time.perf_counter()
    ours.type("\x03")
    ours.until(b"ready> ")
    return time.perf_counter() - begun


def yes(ours: Shell, pids: dict[str, int]) -> None:
    """A flood that nobody stops, and that is read as fast as it comes."""
    ours.until(b"ready> ")
    ours.type("yes\r")
    looks: dict[str, list[int]] = {name: [] for name in pids}
    cpu = {name: cpu_s(pid) for name, pid in pids.items()}
    began = time.perf_counter()
    while (now := time.perf_counter() - began) < YES_S:
        ours.read()
        if now >= YES_WARM_S + len(looks["mist-web"]):
            for name, pid in pids.items():
                looks[name].append(rss_kib(pid))
    took = [interrupted(ours, 0) * 1000]
    print(
        f"     {ours.total / 1e6:.0f} MB in {now:.0f} s; CPU: " + ", ".join(f"{n} {cpu_s(pid) - cpu[n]:.1f} s" for n, pid in pids.items())
    )
    for name, seen in looks.items():
        first, last = seen[0] / 1024, seen[-1] / 1024
        name = (
            f"yes for {now:.0f} s: memory of {name} ({first:.0f} MB at first, {last:.0f} MB at last), most less least of {len(seen)} looks"
        )
        harness.report(name, (max(seen) - min(seen)) / 1024, 20, "MB")
    for _ in range(YES_ROUNDS - 1):
        ours.type("yes\r")
        took.append(interrupted(ours, 2) * 1000)
    harness.report(f"Ctrl-C after it answers in (worst of {YES_ROUNDS}; the first {took[0]:.0f} ms)", max(took), 200, "ms")
    ours.close()


def idle(shell: Callable[[str], Shell], pids: dict[str, int]) -> None:
    warm = [shell("many") for _ in range(10)]
    time.sleep(2)
    before = {name: rss_kib(pid) for name, pid in pids.items()}
    made = [shell("many") for _ in range(IDLE)]
    for one in made:
        one.until(b"ready> ")
    time.sleep(3)
    each = {name: (rss_kib(pid) - before[name]) / IDLE for name, pid in pids.items()}
    print(f"     an idle shell: {each['mist-web']:.0f} KiB in web, {each['mist-shell']:.0f} KiB in the shell process")
    harness.report(f"memory of an idle shell, of {IDLE}", sum(each.values()), 100, "KiB")
    for one in [*warm, *made]:
        one.close()


def _drain(shells: list[Shell]) -> Callable[[], None]:
    """Read what the busy ones show, in a process of its own: it must not take the measurer's time. Returns: how to stop."""
    from threading import Event, Thread

    done = Event()

    def read(one: Shell) -> None:
        while not done.is_set():
            try:
                one.read()
            except Exception:
                return

    threads = [Thread(target=read, args=(one,), daemon=True) for one in shells]
    for thread in threads:
        thread.start()

    def stop() -> None:
        done.set()
        for one in shells:
            one.close()

    return stop


def rss_kib(pid: int) -> int:
    return int(next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS")).split()[1])


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
