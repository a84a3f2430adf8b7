"""Removing a cloud: a job with a window, in small steps, that goes on where an interrupted one stopped."""

from __future__ import annotations

from uuid import UUID

import pytest
from django.utils import timezone

from clouds import inventory
from clouds.models import Cloud, Image, Poll, Size
from clouds.polling import poll_once, take_due
from core import jobs, live
from core.actions import perform
from core.actor import Actor
from core.models import Event, Job, VaultEntry
from machines.models import Machine
from tests.core.test_doors import make_org, run_waiting

pytestmark = pytest.mark.django_db


@pytest.fixture
def actor() -> Actor:
    return make_org("here")[2]


@pytest.fixture
def cloud(actor: Actor) -> Cloud:
    for name in ("kept", "gone"):
        perform(actor, Cloud, "create", {"name": name, "provider": "demo", "credentials": {"machines": 25, "seed": 1, "latency_ms": 0}})
    for poll in Poll.objects.order_by("pk"):
        poll_once(poll.pk)
    return Cloud.objects.get(name="gone")


def test_it_starts_after_its_window_and_can_be_undone(actor: Actor, cloud: Cloud) -> None:
    job = perform(actor, cloud, "remove")
    assert job.state == "waiting"
    jobs.undo(actor, job)
    Job.objects.update(not_before=timezone.now())
    jobs.release_due()
    run_waiting()
    assert Cloud.objects.filter(pk=cloud.pk, enabled=True).exists()


def test_everything_it_listed_goes_and_nothing_else_does(actor: Actor, cloud: Cloud) -> None:
    job = perform(actor, cloud, "remove", undo_s=0)
    run_waiting()
    job.refresh_from_db()
    assert job.state == "succeeded", job.error_detail
    assert job.result["removed"]["machines"] == 25
    assert not Cloud.objects.filter(pk=cloud.pk).exists()
    assert {row.cloud.name for row in Machine.objects.all()} == {"kept"}
    assert {row.cloud.name for row in (*Size.objects.all(), *Image.objects.all())} == {"kept"}
    assert not VaultEntry.objects.filter(pk=cloud.vault_id).exists()
    event = Event.objects.get(type="cloud.remove.succeeded")
    assert (event.target_id, event.target_name) == (cloud.pk, "gone")


def test_an_interrupted_one_leaves_it_disabled_and_a_retry_goes_on(actor: Actor, cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventory, "BATCH", 10)
    told: list[str] = []
    changed = live.changed

    def dies(org_id: UUID, kind: str, ids: list[UUID]) -> None:
        changed(org_id, kind, ids)
        told.append(kind)
        if kind == "machine" and told.count(kind) == 2:
            raise ConnectionError

    job = perform(actor, cloud, "remove", undo_s=0)
    with monkeypatch.context() as broken:
        broken.setattr(live, "changed", dies)
        run_waiting()
    job.refresh_from_db()
    assert job.state == "failed"
    cloud.refresh_from_db()
    assert not cloud.enabled
    assert 0 < Machine.objects.filter(cloud=cloud).count() < 25, "it was interrupted in the middle"
    Poll.objects.update(due_at=timezone.now(), claimed_until=None)
    assert cloud.pk not in {poll.cloud_id for poll in take_due()}, "nothing polls it back in"
    again = jobs.retry(actor, job)
    Job.objects.filter(pk=again.pk).update(state="queued", not_before=None)
    run_waiting()
    again.refresh_from_db()
    assert again.state == "succeeded", again.error_detail
    assert not Cloud.objects.filter(pk=cloud.pk).exists()
