"""A simulated cloud whose machines have volumes, and a worker that does what falls due."""

from __future__ import annotations

import pytest
from django.utils import timezone

from accounts.models import Membership, Team, User
from clouds.models import Cloud, Poll
from clouds.polling import poll_once
from core import bulks, jobs
from core.actions import perform
from core.actor import Actor
from core.models import Job
from machines.models import Machine
from tests.core.test_doors import make_org
from tests.frontend.conftest import run_jobs
from volumes.models import Volume

BOTH = {"snapshot_first": True, "destroy_volumes": True}
VOLUMES = {"destroy_volumes": True}


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("machines.actions.base.LOOK_AGAIN_S", 0)
    monkeypatch.setattr("volumes.actions.GOES_WITHIN_S", 0)


@pytest.fixture
def owner() -> Actor:
    return make_org("here")[2]


def read(times: int = 2) -> None:
    """Twice: what was listed before its machine was names it the next time."""
    for poll in [*Poll.objects.order_by("pk")] * times:
        poll_once(poll.pk)


@pytest.fixture
def demo(owner: Actor) -> Cloud:
    perform(owner, Cloud, "create", {"name": "demo", "provider": "demo", "credentials": {"machines": 60, "seed": 1, "latency_ms": 0}})
    read()
    return Cloud.objects.get()


def with_volume(count: int = 1) -> list[Machine]:
    """Machines that each have a volume of their own."""
    ids = [pk for row in Volume.objects.exclude(attached_to=[]).order_by("name") for pk in row.attached_to]
    return list(Machine.objects.filter(pk__in=ids, type="vm", state="running").order_by("name")[:count])


def volume_of(machine: Machine) -> Volume:
    return Volume.objects.get(attached_to=[machine.pk])


def member(owner: Actor, *verbs: str) -> Actor:
    user = User.objects.create_user("member@example.org", "secret-secret")
    Membership.objects.create(org_id=owner.org_id, user=user)
    statements = [{"effect": "allow", "verbs": list(verbs), "what": {}}]
    Team.objects.create(org_id=owner.org_id, name="Members", statements=statements).members.add(user)
    return Actor(org_id=owner.org_id, user_id=user.pk)


def due(*found: Job) -> None:
    """Let the window of these pass."""
    Job.objects.filter(pk__in=[job.pk for job in found]).update(not_before=timezone.now())
    jobs.release_due()


def done(job: Job) -> Job:
    due(job)
    run_jobs()
    bulks.settle_bulks()
    job.refresh_from_db()
    return job


def in_cloud(cloud: Cloud) -> set[str]:
    """The ids of the volumes that are in the simulated cloud now."""
    poll_once(Poll.objects.get(cloud=cloud, kind="volume").pk)
    return set(Volume.objects.filter(cloud=cloud, missing_since=None).values_list("external_id", flat=True))
