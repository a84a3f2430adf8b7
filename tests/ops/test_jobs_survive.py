"""Jobs in hand when their worker is killed: each ends once, and none is run again."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.ops.stack import Stack, wait_for

pytestmark = pytest.mark.slow

PEOPLE_AND_CLOUD = """
from accounts.models import Membership, Organization, Team, User
from clouds.models import Cloud
from core.actions import perform
from core.actor import Actor
org = Organization.objects.create(name="ops", slug="ops")
user = User.objects.create_user("ops@example.org", "a-long-password")
Membership.objects.create(org=org, user=user)
Team.objects.create(org=org, name="Owners", is_owners=True).members.add(user)
actor = Actor(org_id=org.pk, user_id=user.pk, email=user.email)
perform(actor, Cloud, "create", {"name": "demo", "provider": "demo", "credentials": {"machines": 60, "seed": 1, "latency_ms": 1500}})
"""
RUNNING = "from machines.models import Machine; print(Machine.objects.filter(state='running', missing_since=None).count())"
STOP_TWENTY = """
from accounts.models import User
from core.actions import perform
from core.actor import Actor
from machines.models import Machine
user = User.objects.get(email="ops@example.org")
for machine in Machine.objects.filter(state="running", type="vm")[:20]:
    perform(Actor(org_id=machine.org_id, user_id=user.pk, email=user.email), machine, "stop")
"""
OUTCOME = """
import json
from collections import Counter
from core.models import Event, Job
jobs = Job.objects.filter(action="machine.stop")
ends = Counter(e.job_id.hex for e in Event.objects.filter(job_id__in=[j.pk for j in jobs]) if not e.type.endswith(".requested"))
print(json.dumps({"states": Counter(j.state for j in jobs), "ends": [ends.get(j.pk.hex, 0) for j in jobs], "total": len(jobs)}))
"""


@pytest.fixture
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    running = Stack(tmp_path_factory.mktemp("jobs") / "home")
    running.start()
    yield running
    running.kill()


def test_each_job_in_hand_when_its_worker_is_killed_ends_once(stack: Stack) -> None:
    def ask(code: str) -> str:
        return stack.manage("shell", "-v0", "-c", code)

    def outcome() -> dict[str, Any]:
        return dict(json.loads(ask(OUTCOME)))

    ask(PEOPLE_AND_CLOUD)
    wait_for(lambda: int(ask(RUNNING)) >= 20, 90, lambda: stack.words[-2000:])
    ask(STOP_TWENTY)
    os.kill(stack.pids()["mist-worker-int"], signal.SIGKILL)
    wait_for(lambda: not set(outcome()["states"]) & {"waiting", "queued", "running"}, 120, lambda: f"{outcome()} {stack.words[-2000:]}")
    found = outcome()
    assert found["total"] == 20
    assert set(found["states"]) <= {"succeeded", "lost"}
    assert found["states"]["succeeded"] >= 4  # eight were in hand at most
    assert found["ends"] == [1] * 20
