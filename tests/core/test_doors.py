"""Seeing, acting, observing: the three doors, on real rows."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError
from django.utils import timezone

from accounts.models import Membership, Organization, Team, User
from clouds.inventory import reconcile
from clouds.models import Cloud, Poll
from clouds.polling import poll_once
from core import actions, bulks, jobs
from core.actions import allowed, perform, work
from core.actor import Actor
from core.errors import Conflict, Denied, NotFound
from core.models import Event, Job
from machines.models import Machine


def make_org(name: str) -> tuple[Organization, User, Actor]:
    org = Organization.objects.create(name=name, slug=name)
    user = User.objects.create_user(f"{name}@example.org", "secret-secret")
    Membership.objects.create(org=org, user=user)
    owners = Team.objects.create(org=org, name="Owners", is_owners=True)
    owners.members.add(user)
    return org, user, Actor(org_id=org.pk, user_id=user.pk, is_admin=True)


def run_waiting() -> None:
    for job in Job.objects.filter(state="queued"):
        claimed = actions.claim(job.pk, "test")
        assert claimed
        actions.run(claimed) if claimed.target_id else bulks.expand(claimed)


@pytest.fixture
def actor() -> Actor:
    return make_org("here")[2]


@pytest.fixture
def cloud(actor: Actor) -> Cloud:
    job = perform(actor, Cloud, "create", {"name": "demo", "provider": "demo", "credentials": {"machines": 20, "seed": 1, "latency_ms": 0}})
    assert job.state == "succeeded"
    cloud = Cloud.objects.get()
    for poll in Poll.objects.order_by("pk"):
        poll_once(poll.pk)
    return cloud


pytestmark = pytest.mark.django_db


def test_a_cloud_is_added_polled_and_its_machines_are_seen(actor: Actor, cloud: Cloud) -> None:
    machines = Machine.objects.visible_to(actor)
    assert machines.count() >= 20
    assert Event.objects.filter(type="cloud.create.succeeded").exists()
    assert not Machine.objects.visible_to(make_org("elsewhere")[2]).exists()


def test_a_stop_is_permitted_recorded_and_done(actor: Actor, cloud: Cloud) -> None:
    machine = Machine.objects.filter(state="running", type="vm").first()
    job = perform(actor, machine, "stop")
    assert job.state == "queued"
    with pytest.raises(Conflict):
        perform(actor, machine, "reboot")
    run_waiting()
    job.refresh_from_db()
    assert job.state == "succeeded", job.error_detail
    machine.refresh_from_db()
    assert machine.state in ("stopping", "stopped")
    types = list(Event.objects.filter(target_id=machine.pk).order_by("at").values_list("type", flat=True))
    assert types == ["machine.stop.requested", "machine.reboot.refused", "machine.state.observed", "machine.stop.succeeded"]
    assert allowed(actor, machine)["stop"] is not True


def test_another_organizations_machine_is_not_found(actor: Actor, cloud: Cloud) -> None:
    with pytest.raises(NotFound):
        perform(make_org("elsewhere")[2], Machine.objects.first(), "stop")


def test_a_member_without_a_statement_is_refused(actor: Actor, cloud: Cloud) -> None:
    user = User.objects.create_user("m@example.org", "secret-secret")
    Membership.objects.create(org_id=actor.org_id, user=user)
    with pytest.raises((Denied, NotFound)):
        perform(Actor(org_id=actor.org_id, user_id=user.pk), Machine.objects.first(), "stop")


def test_a_destroy_can_be_undone_within_its_window(actor: Actor, cloud: Cloud) -> None:
    machine = Machine.objects.filter(state="running", type="vm").first()
    job = perform(actor, machine, "destroy")
    assert job.state == "waiting"
    jobs.undo(actor, job)
    job.refresh_from_db()
    assert job.state == "undone"
    assert jobs.release_due() == 0
    job = perform(actor, machine, "destroy")
    Job.objects.filter(pk=job.pk).update(not_before=timezone.now() - timedelta(seconds=1))
    assert jobs.release_due() == 1


def test_unchanged_rows_are_not_written_again(actor: Actor, cloud: Cloud) -> None:
    poll = Poll.objects.get(kind="machine")
    poll_once(poll.pk)
    outcome = poll_once(poll.pk)
    assert outcome is not None
    assert (outcome.inserted, outcome.missing) == (0, 0)
    assert outcome.complete


@pytest.mark.django_db(transaction=True)  # a version begins when its transaction did
def test_lists_can_be_asked_as_they_were(actor: Actor, cloud: Cloud) -> None:
    machine = Machine.objects.filter(state="running", type="vm").first()
    before = timezone.now()
    perform(actor, machine, "tag", {"tags": {"env": "changed"}})
    now = Machine.objects.visible_to(actor).filter(tags__env="changed")
    assert now.count() == 1
    past = Machine.objects.at(before).filter(org_id=actor.org_id)
    assert past.filter(tags__env="changed").count() == 0
    assert past.count() == Machine.objects.count()
    assert past.visible_to(actor).select_related("cloud").get(pk=machine.pk).tags == machine.tags


def test_a_bulk_makes_a_child_a_target(actor: Actor, cloud: Cloud) -> None:
    ids = list(Machine.objects.filter(state="running", type="vm").values_list("pk", flat=True)[:5])
    parent = bulks.bulk(actor, Machine, "stop", ids=ids)
    run_waiting()
    assert parent.children.count() == 5
    run_waiting()
    bulks.settle_bulks()
    parent.refresh_from_db()
    assert parent.state == "succeeded", parent.error_detail


def test_a_bulk_skips_what_is_so_already(actor: Actor, cloud: Cloud) -> None:
    running = Machine.objects.filter(state="running", type="vm").values_list("pk", flat=True)[:2]
    stopped = Machine.objects.filter(type="vm").exclude(pk__in=running).first()
    Machine.objects.filter(pk=stopped.pk).update(state="stopped")
    parent = bulks.bulk(actor, Machine, "stop", ids=[*running, stopped.pk])
    run_waiting()
    run_waiting()
    bulks.settle_bulks()
    parent.refresh_from_db()
    assert (parent.state, parent.result) == ("succeeded", {"succeeded": 2, "skipped": 1})
    skipped = parent.children.get(state="skipped")
    assert (skipped.target_id, skipped.error_code) == (stopped.pk, "machine_not_running")
    assert "already" in skipped.error_detail
    assert Event.objects.filter(type="machine.stop.skipped", target_id=stopped.pk).exists()
    assert not Event.objects.filter(type="machine.stop.refused").exists()


@pytest.mark.parametrize("is_overdue", [False, True])
def test_the_end_of_a_job_is_written_once_the_database_is_back(
    actor: Actor, cloud: Cloud, monkeypatch: pytest.MonkeyPatch, is_overdue: bool
) -> None:
    """Until its deadline: what was done is known to this worker alone."""
    machine = Machine.objects.visible_to(actor).filter(state="running", type="vm")[0]
    job = perform(actor, machine, "stop")
    left, real = [OperationalError("the connection is lost")] * 2, work.finish

    def finish(*args: Any) -> None:
        if left:
            raise left.pop()
        real(*args)

    monkeypatch.setattr(work, "finish", finish)
    monkeypatch.setattr(work, "AGAIN_S", 0.01)
    claimed = actions.claim(job.pk, "test")
    assert claimed
    if is_overdue:
        claimed.deadline_at = timezone.now() - timedelta(seconds=1)
        with pytest.raises(OperationalError):
            actions.run(claimed)
        return
    actions.run(claimed)
    job.refresh_from_db()
    assert (job.state, left) == ("succeeded", [])
    assert Event.objects.filter(job_id=job.pk, type="machine.stop.succeeded").count() == 1


def test_a_job_that_finds_it_done_already_is_skipped(actor: Actor, cloud: Cloud) -> None:
    machine = Machine.objects.filter(state="running", type="vm").first()
    job = perform(actor, machine, "stop")
    Machine.objects.filter(pk=machine.pk).update(state="stopped")
    run_waiting()
    job.refresh_from_db()
    assert (job.state, job.error_detail) == ("skipped", f"{machine} is stopped already.")


def test_a_machine_gone_from_a_complete_listing_is_missing(actor: Actor, cloud: Cloud) -> None:
    outcome = reconcile(cloud, "machine", iter(()))
    assert outcome.missing == Machine.objects.count()
