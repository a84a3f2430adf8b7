"""Hosts that never stop, networks that say nothing, disks that are full, and a worker that is killed in the middle of a run."""

from __future__ import annotations

import gc
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from core.actions import perform
from core.models import Job
from keys import ssh
from scripts.models import Chunk, Run
from tests.lab.sshd import Sshd, fake_ssh, silent_ssh, sshd
from tests.ops.stack import Stack, wait_for
from tests.scripts.conftest import Place, finish, said

__all__ = ["fake_ssh", "silent_ssh", "sshd"]

EMAIL, PASSWORD = "ann@example.org", "correct-horse-7"


def rss_mib() -> float:
    return int(next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS")).split()[1]) / 1024


@pytest.mark.django_db
def test_a_port_that_takes_connections_and_says_nothing(place: Place, sshd: Sshd, silent_ssh: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh, "LOGIN_S", 1.0)
    mute = place.machine("mute", port=silent_ssh, pem=sshd.private_key, pinned=sshd.public_host_key)
    began = time.monotonic()
    run = place.run(place.script(), [mute, *place.behind(sshd, "well")])
    assert {h.name: (h.state, h.code) for h in run.hosts.all()} == {"mute": ("failed", "cloud_unavailable"), "well": ("succeeded", "")}
    assert time.monotonic() - began < 15


@pytest.mark.django_db
def test_a_host_that_never_stops_talking_ends_at_its_time_and_costs_no_memory(place: Place, sshd: Sshd) -> None:
    flood = place.script('#!/bin/sh\n[ "$1" = quiet ] && exit 0\nexec yes "all work and no play"\n', name="flood")
    place.run(flood, place.behind(sshd, "warm"), timeout=2, output_mib=1)  # what is loaded once
    gc.collect()
    before = rss_mib()
    run = place.run(flood, place.behind(sshd, "loud"), timeout=6, output_mib=1)
    host = run.hosts.get()
    assert (host.state, host.code) == ("failed", "timed_out")
    assert host.dropped > 5 << 20 and host.size < 2 << 20
    gc.collect()
    assert rss_mib() - before < 40
    assert said(host).splitlines()[0] == "all work and no play"
    assert "bytes were not kept" in said(host)


@pytest.mark.django_db
def test_a_database_without_room_ends_the_run_there_too_and_says_so(place: Place, sshd: Sshd, tmp_path: Path) -> None:
    script = place.script(f"#!/bin/sh\n[ -e {tmp_path}/done ] && exit 0\necho $$ >>{tmp_path}/pids\necho hello\nsleep 300\n")
    job = perform(place.actor, script, "run", {"machines": [m.pk.hex for m in place.behind(sshd, "a", "b")]})
    with connection.cursor() as cursor:
        cursor.execute("CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE disk_full; END $$")
        cursor.execute("CREATE TRIGGER no_room BEFORE INSERT ON scripts_chunk FOR EACH ROW EXECUTE FUNCTION no_room()")
    try:
        finish(job)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP FUNCTION no_room() CASCADE")
    run = Run.objects.get(pk=job.pk)
    assert Job.objects.get(pk=job.pk).state == "failed"
    assert (run.state, run.is_active) == ("unknown", False)
    assert "no room" in run.note
    assert {h.state for h in run.hosts.all()} == {"unknown"}
    assert not Chunk.objects.filter(run=run).exists()
    pids = [int(line) for line in (tmp_path / "pids").read_text().split()]
    assert pids
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), 15)
    (tmp_path / "done").touch()
    again = perform(place.actor, run.script, "run", {"machines": [h.machine_id.hex for h in run.hosts.all() if h.machine_id]})
    assert finish(again).state == "succeeded"


LAB = """
import json, sys
from accounts.models import User
from clouds.models import Cloud
from core.actions import perform
from core.actor import Actor
from keys.models import HostKey, Key, KeyAssociation
from machines.models import Machine
from scripts.models import Script
user = User.objects.get()
actor = Actor(org_id=user.orgs.get().pk, user_id=user.pk, is_admin=True, email=user.email)
facts = json.loads({facts!r})
cloud = Cloud.objects.create(org_id=actor.org_id, name="lab", provider="other", enabled=False, extra={{"loopback": True}})
perform(actor, Key, "create", {{"name": "lab", "private": facts["private"]}})
perform(actor, HostKey, "trust", {{"host": "127.0.0.1", "port": facts["port"], "public": facts["public"]}})
for name in ("a", "b", "c"):
    made = Machine.objects.create(org_id=actor.org_id, cloud=cloud, name=name, external_id=name, state="running", address="127.0.0.1")
    KeyAssociation.objects.create(org_id=actor.org_id, machine=made, key=Key.objects.get(), user=facts["user"], port=facts["port"])
perform(actor, Script, "create", {{"name": "slow", "script": facts["script"]}})
"""


@pytest.fixture
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    running = Stack.migrated(tmp_path_factory.mktemp("runs") / "home", MIST_ADMIN_EMAIL=EMAIL, MIST_ADMIN_PASSWORD=PASSWORD)
    running.start()
    yield running
    running.kill()


@pytest.mark.slow
def test_a_worker_killed_in_mid_run_leaves_hosts_unknown_and_a_retry_works(stack: Stack, sshd: Sshd, tmp_path: Path) -> None:
    """The real processes, and kill -9: nothing is run again by itself, what was said is kept, and retry takes what nobody saw end."""
    done = tmp_path / "done"
    script = f"#!/bin/sh\necho begun\n[ -e {done} ] || sleep 600\necho ended\n"
    facts = {"private": sshd.private_key, "public": sshd.public_host_key, "port": sshd.port, "user": sshd.user, "script": script}
    stack.manage("shell", "-v0", "-c", LAB.format(facts=json.dumps(facts)))
    answer = stack.post("/api/v2/auth/tokens", {"email": EMAIL, "password": PASSWORD, "name": "test"})
    headers = {"Authorization": f"Bearer {json.loads(answer[1])['data']['token']}"}

    def get(path: str) -> Any:
        return json.loads(stack.get(f"/api/v2/{path}", **headers)[1])["data"]

    status, body = stack.post("/api/v2/scripts/slow/actions/run", {"search": "cloud:lab", "concurrency": 2}, **headers)
    assert status == 200, body
    run = json.loads(body)["data"]["jobId"]
    wait_for(
        lambda: [h["last_line"] or h["state"] for h in get(f"runs/{run}/hosts")].count("running") == 2,
        30,
        lambda: str(get(f"runs/{run}/hosts")),
    )
    wait_for(lambda: "begun" in str(get(f"runs/{run}/hosts/a/output")), 20)
    os.kill(stack.pids()["mist-worker-run"], signal.SIGKILL)
    wait_for(lambda: get(f"runs/{run}")["state"] == "unknown", 60, lambda: str(get(f"runs/{run}")))
    hosts = {h["name"]: (h["state"], h["code"]) for h in get(f"runs/{run}/hosts")}
    assert hosts == {"a": ("unknown", "worker_lost"), "b": ("unknown", "worker_lost"), "c": ("unknown", "not_begun")}
    assert "begun" in str(get(f"runs/{run}/hosts/a/output"))
    assert get(f"jobs/{run}")["state"] == "lost"
    assert len(get("runs")) == 1, "nothing is run again by itself"
    done.touch()
    status, body = stack.post(f"/api/v2/runs/{run}/retry", {}, **headers)
    assert status == 200, body
    again = json.loads(body)["data"]["jobId"]
    wait_for(lambda: get(f"runs/{again}")["state"] == "succeeded", 60, lambda: str(get(f"runs/{again}")))
    assert sorted(h["name"] for h in get(f"runs/{again}/hosts")) == ["a", "b", "c"]
