"""Runs through the product (request, worker, hosts, recorded output, end) beside ansible and beside bare asyncssh, and a large run's page.

`uptime` on 50 real sshd hosts: ≥ 10 × faster than `ansible -m raw` with forks=50. On 1,000 hosts that asyncssh serves: ≤ 1.5 × the wall
time of bare asyncssh with the same concurrency; memory ≤ 60 KiB a host. The page of a run on 10,000 hosts: first paint ≤ 1 s; groups
shown ≤ 1 s after the last line.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncssh

from tests.bench import harness
from tests.lab.sshd import Sshd, new_key, public_line
from tests.ops.stack import ROOT, Stack

EMAIL, PASSWORD = "ann@example.org", "correct-horse-7"
REAL, MANY, LARGE = 50, 1000, 10_000
AT_ONCE, ROUNDS = 50, 3
UPTIME = " 20:15:46 up 12 days,  3:02,  1 user,  load average: 0.08, 0.03, 0.01\n"
SETUP = """
import json
from accounts.models import User
from clouds.models import Cloud
from core.actions import perform
from core.actor import Actor
from keys.models import HostKey, Key, KeyAssociation
from machines.models import Machine
from scripts.models import Script
user = User.objects.get()
actor = Actor(org_id=user.orgs.get().pk, user_id=user.pk, is_admin=True, email=user.email)
lab = json.load(open({path!r}))
perform(actor, Script, "create", {{"name": "uptime", "script": "#!/bin/sh\\nuptime\\n"}})
for group in lab:
    cloud = Cloud.objects.create(org_id=actor.org_id, name=group["name"], provider="other", enabled=False, extra={{"loopback": True}})
    made = [
        Machine(org_id=actor.org_id, cloud=cloud, name=f"{{group['name']}}-{{n:04}}", external_id=f"{{n}}", state="running", address=host)
        for n, (host, port) in enumerate(group["hosts"])
    ]
    Machine.objects.bulk_create(made)
    perform(actor, Key, "create", {{"name": group["name"], "private": group["private"]}})
    key = Key.objects.get(name=group["name"])
    KeyAssociation.objects.bulk_create(
        KeyAssociation(org_id=actor.org_id, machine=m, key=key, user=group["user"], port=port)
        for m, (_, port) in zip(made, group["hosts"], strict=True)
    )
    HostKey.objects.bulk_create(
        HostKey(org_id=actor.org_id, host=host, port=port, public=group["public"], fingerprint="x", name=f"{{host}}:{{port}}")
        for host, port in group["hosts"]
    )
"""
PAINTED = """() => new Promise(done => new PerformanceObserver(list => {
    const found = list.getEntriesByName("first-contentful-paint")[0];
    if (found) done(found.startTime);
}).observe({type: "paint", buffered: true}))"""
# A run on very many, all but over: what its last hosts say is written by its own desk, as any run's.
LARGE_RUN = """
import asyncio, threading, time
from django.utils import timezone
from accounts.models import User
from core.actor import Actor
from core.models import Job
from scripts import output
from scripts.desk import Desk, counts, ended, finish
from scripts.models import Chunk, Run, RunHost, Script
user = User.objects.get()
org = user.orgs.get()
script = Script.objects.get(name="uptime")
job = Job.objects.create(org_id=org.pk, action="script.run", state="running", target_kind="script", target_id=script.pk, user=user,
    target_name="large", exclusive=False, worker="bench", started_at=timezone.now(), queue="runs")
run = Run.objects.create(id=job.pk, job=job, org_id=org.pk, name="large", created_by=user, script=script, version=script.versions.get(),
    version_number=1, exec_type="executable", state="running", selector={{"search": "x"}}, total={total}, started_at=timezone.now())
def said(host, text):
    out = output.Output(host.pk, began=time.monotonic(), cap=1 << 20, secrets=[], names=[host.name])
    out.feed(1, text.encode())
    pieces = list(out.end())
    host.size, host.last_line = out.size, out.last_line
    host.digest, host.alike = out.digests()
    return pieces
hosts, pieces = [], []
for n in range({total}):
    host = RunHost(run=run, name=f"web-{{n:05}}", started_at=timezone.now())
    hosts.append(host)
last = hosts[-100:]
for n, host in enumerate(hosts[:-100]):
    pieces += said(host, "kernel 6.1.0-" + ("18" if n % 2500 else f"17 on {{host.name}}") + "\\n" + f"up {{n}} days\\n")
    ended(host, "failed" if n % 2500 == 7 else "succeeded", *(("", "boom") if n % 2500 == 7 else ()))
    host.exit = 1 if n % 2500 == 7 else 0
for host in last:
    host.state = "running"
RunHost.objects.bulk_create(hosts, batch_size=1000)
Chunk.objects.bulk_create(output.chunks(run.pk, pieces), batch_size=1000)
counts(run)
print("READY", run.pk.hex, flush=True)
input()
loop = asyncio.new_event_loop()
threading.Thread(target=loop.run_forever, daemon=True).start()
desk = Desk(run, job.actor(), loop)
for host in last:
    for piece in said(host, "kernel 6.1.0-18\\nup 5 days\\n"):
        desk.write(piece)
    host.exit = 0
    ended(host, "succeeded")
    desk.tell(host)
while not desk._inbox.empty():
    desk._file(desk._inbox.get())
desk.flush()
print("LAST", time.time(), flush=True)
finish(run, Run.State.FAILED, "4 of 10,000 hosts failed.")
"""


def main() -> None:
    if sys.argv[1:2] == ["serve"]:
        asyncio.run(serve(Path(sys.argv[2])))
        return
    if sys.argv[1:2] == ["bare"]:
        print(asyncio.run(bare(json.loads(Path(sys.argv[2]).read_text()))))
        return
    with tempfile.TemporaryDirectory(prefix="mist-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        private, host_key = new_key(), new_key()
        real: list[Sshd] = []
        for n in range(REAL):  # each has its port before the next looks for one
            one = Sshd(folder / f"sshd-{n}", host_key=host_key)
            real.append(one)
            one.authorized_keys.write_text(public_line(private) + "\n")
            one.start()
        (folder / "key").write_text(private)
        (folder / "key").chmod(0o600)
        facts = {"private": private, "host_key": host_key, "port": 0}
        (folder / "many.json").write_text(json.dumps(facts))
        served = subprocess.Popen([sys.executable, "-m", "tests.bench.bench_runs", "serve", str(folder / "many.json")], stdout=-1, cwd=ROOT)
        assert served.stdout is not None
        port = int(served.stdout.readline())
        addresses = [(f"127.1.{n // 250}.{n % 250 + 1}", port) for n in range(MANY)]
        (folder / "many.json").write_text(json.dumps(facts | {"hosts": addresses}))
        shared = {"private": private, "public": public_line(host_key)}
        lab = [
            {"name": "real", "user": real[0].user, "hosts": [("127.0.0.1", one.port) for one in real], **shared},
            {"name": "many", "user": "root", "hosts": addresses, **shared},
        ]
        (folder / "lab.json").write_text(json.dumps(lab))
        (folder / "lab.json").chmod(0o644)
        stack = Stack(folder / "home", DJANGO_SETTINGS_MODULE="mist.settings", MIST_ADMIN_EMAIL=EMAIL, MIST_ADMIN_PASSWORD=PASSWORD)
        try:
            stack.start()
            stack.manage("shell", "-v0", "-c", SETUP.format(path=str(folder / "lab.json")))
            answer = stack.post("/api/v2/auth/tokens", {"email": EMAIL, "password": PASSWORD, "name": "bench"})
            ask = asker(stack, json.loads(answer[1])["data"]["token"])
            parts = {"ansible": lambda: beside_ansible(ask, stack, real, folder), "asyncssh": lambda: beside_asyncssh(ask, stack, folder)}
            parts["page"] = lambda: page(stack)
            for part in sys.argv[1:] or parts:  # all, or as named
                parts[part]()
            stack.stop()
        finally:
            stack.kill()
            served.kill()
            for one in real:
                one.stop()
    harness.finish()


Ask = Callable[..., tuple[float, dict[str, Any]]]


def asker(stack: Stack, token: str) -> Ask:
    """Runs `uptime` where a search says; seconds from the request to the end of the stream, and the run."""
    headers = {"Authorization": f"Bearer {token}"}

    def ask(search: str, concurrency: int) -> tuple[float, dict[str, Any]]:
        begun = time.perf_counter()
        status, body = stack.post("/api/v2/scripts/uptime/actions/run", {"search": search, "concurrency": concurrency}, **headers)
        assert status == 200, body
        run = json.loads(body)["data"]["jobId"]
        import http.client

        connection = http.client.HTTPConnection("127.0.0.1", stack.port, timeout=300)
        connection.request("GET", f"/api/v2/runs/{run}/stream", headers=headers)
        lines = connection.getresponse().read().splitlines()
        took = time.perf_counter() - begun
        end = json.loads(lines[-1])
        assert set(end["counts"]) == {"succeeded"}, (end, stack.words[-2000:])
        assert all("load average" in json.loads(line)["text"] for line in lines[:-1]) and len(lines) - 1 == end["counts"]["succeeded"]
        return took, end

    return ask


def beside_ansible(ask: Ask, stack: Stack, real: list[Sshd], folder: Path) -> None:
    """By the clock, and, as the hosts stand on this machine too, by the CPU of who asks: what the sshds took is told apart."""
    known = "".join(f"[127.0.0.1]:{one.port} {one.public_host_key}\n" for one in real)
    (folder / "known_hosts").write_text(known)
    lines = [f"host-{n} ansible_host=127.0.0.1 ansible_port={one.port} ansible_user={one.user}" for n, one in enumerate(real)]
    (folder / "inventory").write_text("\n".join(lines) + "\n")
    common = f"-o UserKnownHostsFile={folder}/known_hosts -o IdentitiesOnly=yes -F none"
    env = {
        **os.environ,
        "ANSIBLE_SSH_ARGS": f"-C -o ControlMaster=no {common}",
        "ANSIBLE_LOCAL_TEMP": str(folder / "ansible"),
        "ANSIBLE_HOME": str(folder / "ansible"),
        "LC_ALL": "C.UTF-8",
    }
    program = Path(sys.executable).with_name("ansible")
    command = [str(program), "all", "-i", str(folder / "inventory"), "-m", "raw", "-a", "uptime", "-f", "50"]
    command += ["--private-key", str(folder / "key")]
    figures: dict[str, list[float]] = {"ansible": [], "ours": [], "bare": []}
    facts = json.loads((folder / "many.json").read_text()) | {"hosts": [("127.0.0.1", one.port) for one in real]}
    (folder / "real.json").write_text(json.dumps(facts))
    bare_command = [sys.executable, "-m", "tests.bench.bench_runs", "bare", str(folder / "real.json")]
    hosts, cpus = [one.pid for one in real], {"ansible": 0.0, "ours": 0.0, "sshd": 0.0}
    for _ in range(ROUNDS):
        begun, spent = time.perf_counter(), sum(os.times()[2:4])
        done = subprocess.run(command, env=env, capture_output=True, text=True, cwd=folder)
        figures["ansible"].append(time.perf_counter() - begun)
        assert done.returncode == 0 and done.stdout.count("load average") == REAL, done.stdout[-2000:] + done.stderr[-2000:]
        cpus["ansible"] += sum(os.times()[2:4]) - spent
        theirs_cpu, ours_cpu = sum(map(cpu_s, hosts)), sum(map(cpu_s, stack.family()))
        figures["ours"].append(ask("cloud:real", AT_ONCE)[0])
        time.sleep(0.5)  # the sshds' children are gone
        cpus["sshd"] += sum(map(cpu_s, hosts)) - theirs_cpu
        cpus["ours"] += sum(map(cpu_s, stack.family())) - ours_cpu
        figures["bare"].append(float(subprocess.run(bare_command, cwd=ROOT, capture_output=True, text=True, check=True).stdout))
    a, o, h = (cpus[name] / ROUNDS for name in ("ansible", "ours", "sshd"))
    print(f"     CPU a round: ansible {a:.1f} s, all of ours {o:.2f} s ({a / o:.0f} × less); the {REAL} sshds themselves {h:.2f} s")
    print(f"     all rounds (bare asyncssh: what the hosts themselves cost on this machine): {figures}")
    ours, theirs = (sorted(figures[name])[ROUNDS // 2] for name in ("ours", "ansible"))
    harness.report(f"uptime on {REAL} real sshd hosts (ansible -m raw, forks=50: {theirs:.2f} s)", ours, theirs / 10, "s")


def beside_asyncssh(ask: Ask, stack: Stack, folder: Path) -> None:
    command = [sys.executable, "-m", "tests.bench.bench_runs", "bare", str(folder / "many.json")]
    pid = next(pid for name, pid in stack.pids().items() if name == "mist-worker-run")
    figures: dict[str, list[float]] = {"bare": [], "ours": []}
    cpus: list[float] = []
    before, most = rss_kib(pid), 0
    for _ in range(ROUNDS):  # in turns: what else the machine does falls on both
        figures["bare"].append(float(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout))
        spent = cpu_s(pid)
        with Peak(pid) as peak:
            figures["ours"].append(ask("cloud:many", AT_ONCE)[0])
        most = max(most, peak.kib)
        cpus.append(cpu_s(pid) - spent)
    ours, theirs = (sorted(figures[name])[ROUNDS // 2] for name in ("ours", "bare"))
    print(f"     the worker's CPU: {sorted(cpus)[ROUNDS // 2]:.1f} s; all rounds: {figures}")
    harness.report(f"uptime on {MANY} hosts, {AT_ONCE} at a time (bare asyncssh: {theirs:.1f} s)", ours, 1.5 * theirs, "s")
    harness.report(f"memory of the worker at most, a host of {MANY}", (most - before) / MANY, 60, "KiB")
    before = rss_kib(pid)
    with Peak(pid) as peak:
        took = ask("cloud:many", MANY)[0]
    print(f"     all {MANY} at once: {took:.1f} s, {(peak.kib - before) / MANY:.1f} KiB a host more")


def page(stack: Stack) -> None:
    """In a real browser."""
    from playwright.sync_api import sync_playwright

    command = [sys.executable, "manage.py", "shell", "-v0", "-c", LARGE_RUN.format(total=LARGE)]
    large = subprocess.Popen(command, cwd=ROOT, env=stack.environment, stdin=-1, stdout=-1, text=True)
    assert large.stdout is not None and large.stdin is not None
    run = large.stdout.readline().split()[1]
    with sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=flags)
        tab = browser.new_page(base_url=f"http://localhost:{stack.port}", viewport={"width": 1440, "height": 900})
        tab.goto("/sign-in")
        tab.get_by_label("E-mail").fill(EMAIL)
        tab.get_by_label("Password").fill(PASSWORD)
        tab.get_by_role("button", name="Sign in").click()
        tab.wait_for_url("**/o/**")
        base = tab.url.split("/o/")[1].split("/")[0]
        paints = []
        for _ in range(5):
            tab.goto(f"/o/{base}/runs/{run}")
            paints.append(tab.evaluate(PAINTED))
        harness.report(f"page of a run on {LARGE} hosts, first paint, p50", sorted(paints)[2], 1000, "ms")
        tab.locator("mist-live[data-state=live]").wait_for(timeout=20_000)
        whole = str(sum(1 for n in range(LARGE - 100) if n % 2500 not in (0, 7)) + 100)
        seen = f"""() => new Promise(done => {{
            const side = () => document.querySelector("#run-side").textContent.replaceAll(",", "");
            const look = () => side().includes("{whole} hosts") && done(Date.now());
            new MutationObserver(look).observe(document.body, {{childList: true, subtree: true, characterData: true}}); look();
            setTimeout(() => done(Date.now()), 30000);
        }})"""
        waiting = threading.Timer(0.5, lambda: (large.stdin.write("\n"), large.stdin.flush()))  # type: ignore[union-attr]
        waiting.start()
        shown = tab.evaluate(seen) / 1000
        last = float(large.stdout.readline().split()[1])
        harness.report("groups shown after the last line", max(0.001, shown - last) * 1000, 1000, "ms")
        browser.close()
    large.wait(20)


# --- the other side ---------------------------------------------------------------------------------------------------


async def serve(facts_path: Path) -> None:
    """All of 127.1.0.0/16 on one port: hosts that answer `uptime`, asked plainly or as the product asks."""
    facts = json.loads(facts_path.read_text())

    async def answer(process: asyncssh.SSHServerProcess[str]) -> None:
        if process.command != "uptime":
            await process.stdin.read()
            process.stdout.write(f"{(process.command or '').split()[-4]} 1 1 /tmp/none\n")
        process.stdout.write(UPTIME)
        process.exit(0)

    server = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_host_keys=[asyncssh.import_private_key(facts["host_key"])],
        authorized_client_keys=asyncssh.import_authorized_keys(public_line(facts["private"])),
        process_factory=answer,
        backlog=1000,
    )
    port = server.get_port()
    server.close()
    server = await asyncssh.listen(
        "0.0.0.0",  # loopback of the test machine; gone with the benchmark
        port,
        server_host_keys=[asyncssh.import_private_key(facts["host_key"])],
        authorized_client_keys=asyncssh.import_authorized_keys(public_line(facts["private"])),
        process_factory=answer,
        backlog=1000,
    )
    print(port, flush=True)
    await asyncio.Event().wait()


async def bare(facts: dict[str, Any]) -> float:
    """The same with asyncssh and nothing else; seconds."""
    key = asyncssh.import_private_key(facts["private"])
    known = ([asyncssh.import_public_key(public_line(facts["host_key"]))], [], [])
    slots = asyncio.Semaphore(AT_ONCE)

    async def one(host: str, port: int) -> str:
        async with (
            slots,
            asyncssh.connect(
                host,
                port,
                username="root",
                client_keys=[key],
                known_hosts=known,
                config=None,
                agent_path=None,
                preferred_auth=["publickey"],
            ) as connection,
        ):
            return str((await connection.run("uptime", check=True)).stdout)

    begun = time.perf_counter()
    said = await asyncio.gather(*(one(host, port) for host, port in facts["hosts"]))
    took = time.perf_counter() - begun
    assert all("load average" in text for text in said)
    return took


class Peak:
    """The most memory a process has while it lasts."""

    def __init__(self, pid: int) -> None:
        self.pid, self.kib, self._over = pid, 0, threading.Event()

    def __enter__(self) -> Peak:
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def _look(self) -> None:
        while not self._over.wait(0.05):
            self.kib = max(self.kib, rss_kib(self.pid))

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def rss_kib(pid: int) -> int:
    return int(next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS")).split()[1])


def cpu_s(pid: int) -> float:
    """Its own, and that of its children that are over."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
