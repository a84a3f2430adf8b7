"""Jobs in hand when their worker is killed: each ends once, and none is run again."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator

import pytest

from tests.ops.stack import Stack

pytestmark = pytest.mark.slow

STOP_TWENTY = """
import time
from accounts.models import User
from clouds.models import Cloud
from core.actions import perform
from core.actor import Actor
from machines.models import Machine
user = User.objects.get()
actor = Actor(org_id=user.orgs.get().pk, user_id=user.pk, email=user.email)
perform(actor, Cloud, "create", {"name": "demo", "provider": "demo", "credentials": {"machines": 60, "seed": 1, "latency_ms": 1500}})
machines = Machine.objects.filter(state="running", type="vm")[:20]
while len(machines.all()) < 20:
    time.sleep(0.2)
for machine in machines:
    perform(actor, machine, "stop")
"""
OUTCOME = """
import json, time
from collections import Counter
from core.models import Event, Job
jobs = Job.objects.filter(action="machine.stop")
deadline = time.monotonic() + 100
while jobs.filter(state__in=Job.ACTIVE).exists() and time.monotonic() < deadline:
    time.sleep(0.5)
before = (".requested", ".asked", ".approved")
ends = Counter(e.job_id for e in Event.objects.filter(job_id__in=[j.pk for j in jobs]) if not e.type.endswith(before))
print(json.dumps({"states": Counter(j.state for j in jobs), "ends": [ends.get(j.pk, 0) for j in jobs]}))
"""

APPROVE_TWELVE = """
import time
from dataclasses import replace
from accounts.models import Membership, Team, User
from clouds.models import Cloud
from core import approvals
from core.actions import perform
from core.actor import Actor
from core.errors import Asked
from machines.models import Machine
user = User.objects.get()
org_id = user.orgs.get().pk
actor = Actor(org_id=org_id, user_id=user.pk, email=user.email)
perform(actor, Cloud, "create", {"name": "demo", "provider": "demo", "credentials": {"machines": 60, "seed": 1, "latency_ms": 1500}})
person = User.objects.create_user("asker@example.org", "correct-horse-7")
Membership.objects.create(org_id=org_id, user=person)
asks = {"effect": "ask", "verbs": ["machine.stop", "machine.tag"], "what": {}}
Team.objects.create(org_id=org_id, name="askers", statements=[{**asks, "effect": "allow", "verbs": ["*"]}, asks]).members.add(person)
asker = Actor(org_id=org_id, user_id=person.pk, ask="night")
machines = Machine.objects.filter(state="running", type="vm")[:12]
while len(machines.all()) < 12:
    time.sleep(0.2)
jobs = []
for number, machine in enumerate(machines):
    for name, params in [("stop", {}), ("tag", {"tags": {"kept": "x"}})]:
        try:
            perform(asker, machine, name, params)
        except Asked as asked:
            jobs.append(asked.job)
for job in [one for one in jobs if one.action == "machine.tag"]:
    approvals.approve(actor, job)
while Machine.objects.filter(tags__kept="x").count() < 12:
    time.sleep(0.1)
for job in [one for one in jobs if one.action == "machine.stop"]:
    approvals.approve(actor, job)
"""

DESTROY_SIX = """
import time
from accounts.models import User
from clouds.models import Cloud
from core.actions import perform
from core.actor import Actor
from core.models import Job
from machines.models import Machine
from volumes.models import Volume
user = User.objects.get()
actor = Actor(org_id=user.orgs.get().pk, user_id=user.pk, email=user.email)
perform(actor, Cloud, "create", {"name": "demo", "provider": "demo", "credentials": {"machines": 60, "seed": 1, "latency_ms": 1000}})
volumes = Volume.objects.exclude(attached_to=[]).filter(extra__is_deleted_with_machine=False)
while len(volumes.all()) < 6 or not Machine.objects.exists():
    time.sleep(0.2)
for volume in volumes.order_by("name")[:6]:
    perform(actor, Machine.objects.get(pk=volume.attached_to[0]), "destroy", {"destroy_volumes": True}, undo_s=0)
while not Job.objects.filter(action="volume.delete").exists():
    time.sleep(0.1)
"""
LEFT = """
import json, time
from contextlib import suppress
from clouds.connection import connect
from clouds.models import Cloud
from core import jobs
from core.actor import Actor
from core.errors import Already
from core.models import Job
from volumes.models import Volume
ends = time.monotonic() + 330  # 20 s until a worker is missed, 240 s for a machine to go, 60 s for its volume
asked = Job.objects.filter(action="machine.destroy", retry_of=None)
held = Job.objects.filter(action="volume.delete")
def still():  # and how
    rows = Job.objects.filter(state__in=Job.ACTIVE)
    return [[job.action, job.state, job.worker, str(job.not_before), str(job.started_at), job.steps] for job in rows]
while Job.objects.filter(action__in=["machine.destroy", "volume.delete"], state__in=Job.ACTIVE).exists() and time.monotonic() < ends:
    time.sleep(0.5)
found = {"first": sorted(asked.values_list("state", flat=True)), "active": still()}
for job in asked.filter(state="lost"):
    with suppress(Already):  # what it left went on by itself
        jobs.retry(job.actor(), job)
while Job.objects.filter(action__in=["machine.destroy", "volume.delete"], state__in=Job.ACTIVE).exists() and time.monotonic() < ends + 100:
    time.sleep(0.5)
cloud = Cloud.objects.get()
with connect(cloud, Actor.system(cloud.org_id)) as made:
    there = {info.external_id for info in made.list_volumes()}
meant = Volume.objects.filter(pk__in=held.values("target_id"))
found["left"] = [volume.name for volume in meant if volume.external_id in there]
found["meant"] = meant.count()
found["last"] = sorted(set(Job.objects.filter(action="machine.destroy").exclude(state="lost").values_list("state", "error_code")))
print(json.dumps(found))
"""


@pytest.fixture
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    running = Stack.migrated(tmp_path_factory.mktemp("jobs") / "home", MIST_ADMIN_PASSWORD="correct-horse-7")
    running.start()
    yield running
    running.kill()


def test_each_job_in_hand_when_its_worker_is_killed_ends_once(stack: Stack) -> None:
    stack.manage("shell", "-v0", "-c", STOP_TWENTY)
    os.kill(stack.pids()["mist-worker-int"], signal.SIGKILL)
    found = json.loads(stack.manage("shell", "-v0", "-c", OUTCOME))
    assert set(found["states"]) <= {"succeeded", "lost"}, stack.words[-2000:]
    assert sum(found["states"].values()) == 20
    assert found["states"]["succeeded"] >= 12  # eight were in hand at most
    assert found["ends"] == [1] * 20


def test_what_was_approved_is_done_once_or_lost_where_its_worker_is_killed(stack: Stack) -> None:
    stack.manage("shell", "-v0", "-c", APPROVE_TWELVE)
    os.kill(stack.pids()["mist-worker-int"], signal.SIGKILL)
    found = json.loads(stack.manage("shell", "-v0", "-c", OUTCOME))
    assert set(found["states"]) <= {"succeeded", "lost"}, stack.words[-2000:]
    assert sum(found["states"].values()) == 12
    assert found["ends"] == [1] * 12


def test_volumes_go_with_their_machines_also_where_a_worker_is_killed_in_between(stack: Stack) -> None:
    stack.manage("shell", "-v0", "-c", DESTROY_SIX)
    os.kill(stack.pids()["mist-worker-int"], signal.SIGKILL)
    found = json.loads(stack.manage("shell", "-v0", "-c", LEFT, within_s=480))
    assert found["active"] == [], "what was waited for has ended one way or the other"
    assert set(found["first"]) <= {"succeeded", "lost"}, stack.words[-2000:]
    assert (found["left"], found["meant"]) == ([], 6), found
    assert {tuple(one) for one in found["last"]} <= {("succeeded", ""), ("failed", "cloud_gone")}, "there was nothing left to do"
