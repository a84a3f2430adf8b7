"""What hosts, networks and workers do that they should not: each costs itself alone, and says what happened."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from django.db import connection
from django.utils import timezone

from core import actions, jobs
from core.actions import perform
from core.models import Event, Job
from keys.models import HostKey
from machines.models import Machine
from scripts import output
from scripts.actions import run as run_actions
from scripts.actions.run import retry_params
from scripts.models import Run, RunHost
from scripts.recovery import settle
from scripts.shellside import Order
from tests.lab.sshd import Fake, Sshd, new_key, public_line
from tests.scripts.conftest import Place, finish, said

pytestmark = pytest.mark.django_db

LAST = 2 << 30 if os.environ.get("MIST_TESTS_LARGE") else 40 << 20  # bytes of the flood: all of 2 GB on demand


def host_of(run: Run) -> RunHost:
    host = run.hosts.get()
    assert isinstance(host, RunHost)
    return host


async def silent(process: Any) -> None:
    await asyncio.sleep(3600)


def test_a_host_that_accepts_and_says_nothing_is_given_up(place: Place, fake_ssh: Fake, sshd: Sshd) -> None:
    machines = [place.faked(fake_ssh, "silent", silent), *place.behind(sshd, "well")]
    run = place.run(place.script(), machines, timeout=1)
    assert {h.name: (h.state, h.code) for h in run.hosts.all()} == {"silent": ("failed", "timed_out"), "well": ("succeeded", "")}


def test_a_host_that_dies_in_mid_output_is_unknown_and_keeps_what_it_said(place: Place, fake_ssh: Fake) -> None:
    async def dies(process: Any) -> None:
        await process.stdin.read()
        process.stdout.write(f"{process.command.split()[-4]} 1 2 /tmp/x\nhalf a li".encode())
        await process.stdout.drain()
        process.get_extra_info("connection").abort()

    host = host_of(place.run(place.script(), [place.faked(fake_ssh, "dies", dies)]))
    assert (host.state, host.code, said(host)) == ("unknown", "connection_lost", "half a li")


def test_a_wrong_key_a_wrong_user_and_a_changed_host_key(place: Place, sshd: Sshd) -> None:
    pinned = sshd.public_host_key
    key = place.machine("key", port=sshd.port, pem=new_key(), user=sshd.user, pinned=pinned)
    user = place.machine("user", port=sshd.port, pem=sshd.private_key, user="nobody-here", pinned=pinned)
    other = place.machine("changed", port=sshd.port, pem=sshd.private_key, user=sshd.user)
    run = place.run(place.script(), [key, user])
    assert {h.name: h.code for h in run.hosts.all()} == {"key": "cloud_auth_failed", "user": "cloud_auth_failed"}
    HostKey.objects.filter(host="127.0.0.1", port=sshd.port).update(public=public_line(new_key()))
    changed = host_of(place.run(place.script(name="again"), [other]))
    assert (changed.state, changed.code, changed.size) == ("failed", "host_key_changed", 0)
    assert "trust its new key" in changed.detail


def test_a_host_never_met_is_trusted_and_that_is_recorded(place: Place, sshd: Sshd) -> None:
    machine = place.machine("new", port=sshd.port, pem=sshd.private_key, user=sshd.user)
    assert place.run(place.script(), [machine]).state == "succeeded"
    assert Event.objects.filter(org_id=place.actor.org_id, type="key.host_trusted.succeeded").count() == 1


def test_a_machine_without_address_or_key_says_so(place: Place, sshd: Sshd) -> None:
    bare = Machine.objects.create(org_id=place.actor.org_id, cloud=place.cloud, name="bare", external_id="bare", state="running")
    keyless = Machine.objects.create(
        org_id=place.actor.org_id, cloud=place.cloud, name="keyless", external_id="k", state="running", address="127.0.0.1"
    )
    asleep = place.behind(sshd, "asleep", state="stopped")
    run = place.run(place.script(), [bare, keyless, *asleep])
    assert {h.name: (h.state, h.code) for h in run.hosts.all()} == {
        "bare": ("failed", "no_address"),
        "keyless": ("failed", "no_key"),
        "asleep": ("skipped", "not_running"),
    }


def test_a_flood_is_counted_and_its_last_words_are_kept(place: Place, sshd: Sshd) -> None:
    script = place.script(f"#!/bin/sh\nhead -c {LAST} /dev/zero | tr '\\0' x\necho\necho the end\n")
    began, host = time.monotonic(), host_of(place.run(script, place.behind(sshd, "a"), output_mib=1))
    took = time.monotonic() - began
    assert host.state == "succeeded"
    assert (1 << 20) < host.size < (1 << 20) + 2 * output.TAIL + 100_000
    kept = said(host)
    assert "bytes were not kept" in kept
    assert kept.endswith("\nthe end\n")
    assert host.size - (len(kept) - len("xxxxx")) < 10
    assert host.dropped == LAST + len("\nthe end\n") - (host.size - len(f"\n[… {host.dropped:,} bytes were not kept …]\n".encode()))
    assert b"".join(s.data for s in output.last(host, 8)) == b"the end\n"
    assert took < 120


def test_a_stopped_run_ends_on_its_hosts(place: Place, sshd: Sshd, transactional_db: None) -> None:
    machines = place.behind(sshd, "a", "b")
    script = place.script("#!/bin/sh\necho $$\nsleep 300\n")
    job = perform(place.actor, script, "run", {"machines": [m.pk.hex for m in machines], "concurrency": 1})

    def work() -> None:
        try:
            finish(job)
        finally:
            connection.close()

    worker = threading.Thread(target=work)
    worker.start()
    until = time.monotonic() + 20
    while not RunHost.objects.filter(run_id=job.pk, state="running").exists() and time.monotonic() < until:
        time.sleep(0.05)
    while not any(said(h) for h in RunHost.objects.filter(run_id=job.pk)) and time.monotonic() < until:
        time.sleep(0.05)
    jobs.cancel(place.actor, Job.objects.get(pk=job.pk))
    worker.join(30)
    run = Run.objects.get(pk=job.pk)
    assert (run.state, run.counts) == ("cancelled", {"cancelled": 2})
    assert Job.objects.get(pk=job.pk).state == "cancelled"
    first = run.hosts.get(name="a")
    with pytest.raises(ProcessLookupError):
        os.kill(int(said(first, output.STDOUT)), 0)


def test_a_dead_worker_leaves_unknown_hosts_and_a_run_to_try_again(place: Place, sshd: Sshd) -> None:
    machines = place.behind(sshd, "a", "b", "c")
    job = perform(place.actor, place.script(), "run", {"machines": [m.pk.hex for m in machines]})
    claimed = actions.claim(job.pk, "dead:1")
    assert claimed
    run = Run.objects.get(pk=job.pk)
    run.state, run.total = "running", 3
    run.save()
    for machine, state in zip(machines, ("succeeded", "running", "waiting"), strict=True):
        RunHost.objects.create(run=run, machine=machine, name=machine.name, state=state)
    assert settle() == 0, "its job still runs"
    Job.objects.filter(pk=job.pk).update(started_at=timezone.now() - timedelta(minutes=5))
    jobs.give_up_lost()
    assert settle() == 1
    run.refresh_from_db()
    assert (run.state, run.counts) == ("unknown", {"succeeded": 1, "unknown": 2})
    assert {h.name: h.code for h in run.hosts.all()} == {"a": "", "b": "worker_lost", "c": "not_begun"}
    again = perform(place.actor, run.script, "run", retry_params(run))
    finish(again)
    tried = Run.objects.get(pk=again.pk)
    assert (tried.state, tried.retry_of_id) == ("succeeded", run.pk)
    assert sorted(tried.hosts.values_list("name", flat=True)) == ["b", "c"]


@pytest.mark.parametrize(
    ("words", "status", "detail"),
    [
        ("sudo: a password is required", 1, "deploy may not become root here without a password."),
        ("sh: sudo: not found", 127, "There is no sudo here."),
    ],
)
def test_a_login_that_may_not_become_root_is_told(place: Place, fake_ssh: Fake, words: str, status: int, detail: str) -> None:
    asked: list[str | None] = []

    async def handler(process: asyncssh.SSHServerProcess[bytes]) -> None:
        asked.append(process.command)
        process.stderr.write(f"{words}\n".encode())
        process.exit(status)

    port = fake_ssh.serve(handler)
    machine = place.machine("h", port=port, pem=fake_ssh.private_key, user="deploy", pinned=fake_ssh.public_host_key)
    host = place.run(place.script(), [machine], su=True).hosts.get()
    assert (host.state, host.code, host.detail, host.exit) == ("failed", "no_sudo", detail, status)
    assert words in said(host) and asked[0] is not None and asked[0].startswith("exec sudo -n -- sh -c")
    root = place.machine("r", port=port, pem=fake_ssh.private_key, pinned=fake_ssh.public_host_key)
    assert place.run(place.script(name="again"), [root], su=True).hosts.get().code == ""  # who is root needs none
    assert asked[1] is not None and asked[1].startswith("exec sh -c")


def test_the_same_host_by_two_names_runs_twice_and_one_that_goes_away_meanwhile_is_told(place: Place, sshd: Sshd) -> None:
    one, two, gone = place.behind(sshd, "one", "two", "gone")
    job = perform(place.actor, place.script("#!/bin/sh\necho $0\n"), "run", {"machines": [one.pk.hex, two.pk.hex, gone.pk.hex]})
    run = Run.objects.get(pk=job.pk)
    assert run.selector["ids"] == [one.pk.hex, two.pk.hex, gone.pk.hex]
    taken = run_actions.ways

    def deleted_then(hosts: Any) -> Any:
        gone.delete()
        return taken(hosts)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_actions, "ways", deleted_then)
        finish(job)
    states = {host.name: (host.state, host.code) for host in run.hosts.all()}
    assert states == {"one": ("succeeded", ""), "two": ("succeeded", ""), "gone": ("failed", "target_gone")}
    assert len({said(host) for host in run.hosts.filter(state="succeeded")}) == 2  # each in a place of its own


def test_half_a_script_is_not_run(tmp_path: Path, sshd: Sshd) -> None:
    """A connection that breaks off while it is sent."""
    made = tmp_path / "made"
    script = f"#!/bin/sh\ntouch {made}\necho all of it\n".encode()
    order = Order(token="word", stdin=b'sh "$d"\nword\n' + script, size=len(script), is_folder=False)

    async def send(some: bytes) -> Any:
        key = asyncssh.import_private_key(sshd.private_key)
        async with asyncssh.connect(sshd.host, sshd.port, username=sshd.user, client_keys=[key], known_hosts=None, config=None) as made:
            return await made.run(order.command(sudo=False), input=some, encoding=None)

    cut = asyncio.run(send(order.stdin[:-12]))
    assert cut.exit_status == 125
    assert not made.exists()
    whole = asyncio.run(send(order.stdin))
    assert whole.exit_status == 0
    assert made.exists()
