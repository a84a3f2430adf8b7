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
ends = Counter(e.job_id for e in Event.objects.filter(job_id__in=[j.pk for j in jobs]) if not e.type.endswith(".requested"))
print(json.dumps({"states": Counter(j.state for j in jobs), "ends": [ends.get(j.pk, 0) for j in jobs]}))
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
