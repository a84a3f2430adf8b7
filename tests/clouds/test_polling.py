"""Polls: bulkheads, back-off, and what a failing cloud does to the others (nothing)."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from clouds import polling
from clouds.models import Cloud, Poll
from clouds.polling import hasten, poll_once, take_due
from core.actions import perform
from core.actor import Actor
from core.models import Event
from machines.models import Machine
from tests.core.test_doors import make_org, run_waiting
from volumes.models import Volume

pytestmark = pytest.mark.django_db


@pytest.fixture
def actor() -> Actor:
    return make_org("here")[2]


def demo(actor: Actor, name: str, **knobs: object) -> Cloud:
    perform(actor, Cloud, "create", {"name": name, "provider": "demo", "credentials": {"machines": 3, "seed": 1, "latency_ms": 0}})
    cloud = Cloud.objects.get(name=name)
    Cloud.objects.filter(pk=cloud.pk).update(config={**cloud.config, **knobs})
    return cloud


def test_one_hanging_and_one_failing_cloud_among_ten_delay_no_other(actor: Actor) -> None:
    clouds = [demo(actor, f"cloud-{n}") for n in range(8)]
    hanging = demo(actor, "hanging", slow_listing_s=3600)
    failing = demo(actor, "failing", failure_rate=1.0)
    Poll.objects.exclude(kind="machine").delete()
    taken = take_due()
    assert {poll.cloud_id for poll in taken} == {cloud.pk for cloud in (*clouds, hanging, failing)}
    for poll in taken:
        if poll.cloud_id != hanging.pk:  # it is still at it, in its own slot
            poll_once(poll.pk)
    for cloud in clouds:
        assert cloud.polls.get().failures == 0
        assert Machine.objects.filter(cloud=cloud).exists()
    assert failing.polls.get().failures == 1
    Poll.objects.update(due_at=timezone.now())
    again = {poll.cloud_id for poll in take_due()}
    assert again == {cloud.pk for cloud in (*clouds, failing)}, "the hanging one is held, no other is"
    poll = hanging.polls.get()
    poll_once(poll.pk, deadline_s=0.2)
    poll.refresh_from_db()
    assert poll.error_code == "cloud_timeout"
    assert poll.claimed_until is None


def test_a_cloud_has_at_most_one_machine_poll_and_one_other_at_work(actor: Actor) -> None:
    demo(actor, "one")
    assert len(take_due()) == 2
    assert take_due() == []


def test_clouds_that_fail_share_a_few_slots(actor: Actor) -> None:
    for n in range(6):
        demo(actor, f"cloud-{n}")
    Poll.objects.exclude(kind="machine").delete()
    Poll.objects.update(failures=1)
    assert len(take_due()) == polling.SUSPECTS


def test_a_failing_cloud_is_told_once_backed_off_and_told_when_it_is_back(actor: Actor) -> None:
    cloud = demo(actor, "flaky", failure_rate=1.0)
    poll = cloud.polls.get(kind="machine")
    waits = []
    for _ in range(3):
        poll_once(poll.pk)
        poll.refresh_from_db()
        waits.append(poll.due_at - timezone.now())
    assert waits[0] < waits[1] < waits[2]
    assert Event.objects.filter(type="cloud.failing.observed").count() == 1
    Cloud.objects.filter(pk=cloud.pk).update(config={**cloud.config, "failure_rate": 0})
    poll_once(poll.pk)
    poll.refresh_from_db()
    assert (poll.failures, poll.error_code) == (0, "")
    assert Event.objects.filter(type="cloud.recovered.observed").count() == 1


def test_a_half_listing_marks_nothing_missing(actor: Actor) -> None:
    cloud = demo(actor, "half")
    poll = cloud.polls.get(kind="machine")
    poll_once(poll.pk)
    Cloud.objects.filter(pk=cloud.pk).update(config={**cloud.config, "failure_rate": 1.0})
    poll_once(poll.pk)
    assert not Machine.objects.filter(missing_since__isnull=False).exists()


def test_refused_credentials_are_tried_hourly_and_new_ones_at_once(actor: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    cloud = demo(actor, "locked")
    poll = cloud.polls.get(kind="machine")
    Poll.objects.filter(pk=poll.pk).update(failures=1, error_code="cloud_auth_failed", due_at=timezone.now() + timedelta(hours=1))
    hasten(cloud.pk)
    poll.refresh_from_db()
    assert poll.due_at > timezone.now() + timedelta(minutes=50)
    perform(actor, cloud, "rotate", {"credentials": {"machines": 4}})
    poll.refresh_from_db()
    assert poll.due_at <= timezone.now()
    poll_once(poll.pk)
    poll.refresh_from_db()
    assert poll.failures == 0


def test_what_changes_outside_is_an_event_with_before_and_after(actor: Actor) -> None:
    cloud = demo(actor, "watched")
    poll = cloud.polls.get(kind="machine")
    poll_once(poll.pk)
    machine = Machine.objects.filter(state="running").first()
    assert machine is not None
    Machine.objects.filter(pk=machine.pk).update(state="stopped", fingerprint=None)
    poll_once(poll.pk)
    event = Event.objects.get(type="machine.state.observed", target_id=machine.pk)
    assert (event.before, event.after) == ({"state": "stopped"}, {"state": "running"})
    assert event.via == f"poll:{cloud.pk.hex}"


def test_a_removed_clouds_poll_does_nothing(actor: Actor) -> None:
    cloud = demo(actor, "gone")
    pk = cloud.polls.get(kind="machine").pk
    perform(actor, cloud, "remove", undo_s=0)
    run_waiting()
    assert poll_once(pk) is None
    assert not Machine.objects.exists()


def test_what_somebody_looks_at_is_polled_sooner_and_a_failing_cloud_is_not(actor: Actor) -> None:
    cloud = demo(actor, "watched")
    poll = cloud.polls.get(kind="machine")
    later = timezone.now() + timedelta(minutes=10)
    Poll.objects.filter(pk=poll.pk).update(due_at=later, finished_at=timezone.now(), took_ms=100)
    assert polling.look([cloud.org_id]) == 1
    poll.refresh_from_db()
    assert poll.due_at < timezone.now() + timedelta(seconds=11)
    Poll.objects.filter(pk=poll.pk).update(due_at=later, failures=2)
    assert polling.look([cloud.org_id]) == 0


def test_what_a_volume_hangs_on_is_learned_first_and_then_told_when_it_changes(actor: Actor) -> None:
    cloud = demo(actor, "disks", machines=30)
    volumes, machines = cloud.polls.get(kind="volume"), cloud.polls.get(kind="machine")
    poll_once(volumes.pk)  # before there is a machine to name
    assert not Volume.objects.exclude(attached_to=[]).exists()
    poll_once(machines.pk)
    poll_once(volumes.pk)
    attached = Volume.objects.exclude(attached_to=[]).first()
    assert attached is not None
    assert not Event.objects.filter(type="volume.attachment.observed").exists(), "nothing happened to it"
    Volume.objects.filter(pk=attached.pk).update(attached_to=[], fingerprint=b"as it was")
    poll_once(volumes.pk)
    assert Event.objects.filter(type="volume.attachment.observed", target_id=attached.pk).count() == 1
