"""The end of machines and their volumes where a cloud refuses, is away, or a worker dies in between."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from clouds.models import Cloud
from clouds.providers.demo import Demo
from core import actions, bulks, jobs
from core.actions import perform
from core.actor import Actor
from core.errors import Already, Rejected, Unavailable
from core.models import Event, Job, Worker
from machines.models import Machine
from tests.frontend.conftest import run_jobs
from tests.machines.destroying.conftest import VOLUMES, done, due, in_cloud, read, volume_of, with_volume

pytestmark = pytest.mark.django_db


def refuse(*_args: Any) -> None:
    raise Rejected("The demo cloud keeps it.", words="OperationNotPermitted", code="cloud_rejected")


def test_a_volume_the_cloud_does_not_delete_is_told_and_can_be_tried_again(
    owner: Actor, demo: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    [machine] = with_volume()
    volume, deleting = volume_of(machine), Demo.delete_volume
    monkeypatch.setattr(Demo, "delete_volume", refuse)
    job = done(perform(owner, machine, "destroy", VOLUMES))
    assert (job.state, job.error_code) == ("succeeded", "volumes_left")
    assert job.is_partly
    for said in (f"{machine.name} is destroyed.", volume.name, "The demo cloud keeps it.", "Try again"):
        assert said in job.error_detail
    assert job.steps[-1]["state"] == "failed"
    assert Event.objects.get(job_id=job.pk, type="machine.destroy.succeeded").detail["code"] == "volumes_left"
    child = job.children.get()
    assert (child.state, child.error_code) == ("failed", "cloud_rejected")
    again = jobs.retry(owner, job)
    again = done(again)
    assert again.error_code == "volumes_left", "it is still kept"
    monkeypatch.setattr(Demo, "delete_volume", deleting)
    again = done(jobs.retry(owner, again))
    assert (again.state, again.error_code) == ("succeeded", "")
    assert volume.external_id not in in_cloud(demo)
    with pytest.raises(Already):
        perform(owner, machine, "destroy", VOLUMES)


def test_a_bulk_says_that_some_left_volumes_and_tries_those_again(owner: Actor, demo: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    on = with_volume(2)
    stuck, deleting = volume_of(on[0]), Demo.delete_volume
    monkeypatch.setattr(
        Demo, "delete_volume", lambda self, external_id: (refuse if external_id == stuck.external_id else deleting)(self, external_id)
    )
    job = bulks.bulk(owner, Machine, "destroy", VOLUMES, ids=[one.pk for one in on])
    run_jobs()
    due(*job.children.all())
    run_jobs()
    bulks.settle_bulks()
    job.refresh_from_db()
    assert (job.state, job.error_code, job.error_detail) == ("succeeded", "some_left", "1 of 2 left something undone.")
    monkeypatch.setattr(Demo, "delete_volume", deleting)
    again = jobs.retry(owner, job)
    run_jobs()
    due(*again.children.all())
    run_jobs()
    bulks.settle_bulks()
    again.refresh_from_db()
    assert (again.state, again.total) == ("succeeded", 1)
    assert stuck.external_id not in in_cloud(demo)


def test_a_machine_that_is_not_destroyed_keeps_its_volumes(owner: Actor, demo: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    [machine] = with_volume()
    volume = volume_of(machine)
    monkeypatch.setattr(Demo, "destroy_machine", refuse)
    job = done(perform(owner, machine, "destroy", VOLUMES))
    child = job.children.get()
    assert (job.state, job.error_code) == ("failed", "cloud_rejected")
    assert (child.state, child.error_code) == ("cancelled", "called_off")
    assert volume.external_id in in_cloud(demo)
    perform(owner, volume_of(machine).__class__.objects.filter(attached_to=[]).first(), "delete")  # the door is open


def test_a_volume_in_other_hands_stops_it_before_anything_is_done(owner: Actor, demo: Cloud) -> None:
    one = with_volume()[0]
    volume = volume_of(one)
    job = perform(owner, one, "destroy", VOLUMES)
    busy = Job.objects.create(
        org_id=owner.org_id, action="volume.delete", state="running", target_kind="volume", target_id=volume.pk, via="x"
    )
    job = done(job)
    assert (job.state, job.error_code) == ("failed", "busy")
    one.refresh_from_db()
    assert one.state == "running"
    Job.objects.filter(pk=busy.pk).update(state="failed")
    assert volume.external_id in in_cloud(demo)


@pytest.mark.parametrize("was_destroyed", [True, False])
def test_a_worker_that_dies_in_between_leaves_jobs_that_go_on_where_the_machine_is_gone(
    owner: Actor, demo: Cloud, monkeypatch: pytest.MonkeyPatch, was_destroyed: bool
) -> None:
    class Killed(BaseException):
        pass

    [machine] = with_volume()
    volume, destroying = volume_of(machine), Demo.destroy_machine

    def killed(self: Demo, external_id: str) -> None:
        if was_destroyed:
            destroying(self, external_id)
        raise Killed

    monkeypatch.setattr(Demo, "destroy_machine", killed)
    job = perform(owner, machine, "destroy", VOLUMES)
    due(job)
    with pytest.raises(Killed):
        run_jobs()
    child = job.children.get()
    assert (child.state, child.exclusive) == ("waiting", True)
    assert child.not_before is not None
    assert child.not_before > timezone.now() + timedelta(minutes=9), "it is another's as long as that may live"
    Job.objects.filter(pk=job.pk).update(started_at=timezone.now() - timedelta(minutes=1))
    assert not Worker.objects.filter(name="test").exists()
    assert jobs.give_up_lost() == 1
    job.refresh_from_db()
    assert (job.state, job.error_code) == ("lost", "job_lost")
    assert "goes on by itself" in job.error_detail
    jobs.release_due()
    monkeypatch.setattr("volumes.actions.GOES_WITHIN_S", 1000)  # a machine that will not end is not waited for
    run_jobs()
    child.refresh_from_db()
    if was_destroyed:
        assert child.state == "succeeded"
        assert volume.external_id not in in_cloud(demo)
    else:
        assert (child.state, child.error_code) == ("failed", "machine_present")
        assert machine.name in child.error_detail
        assert volume.external_id in in_cloud(demo)


@pytest.mark.parametrize("is_known", [True, False])
def test_a_worker_that_dies_while_it_deletes_the_volume_leaves_what_can_be_asked_again(
    owner: Actor, demo: Cloud, monkeypatch: pytest.MonkeyPatch, is_known: bool
) -> None:
    class Killed(BaseException):
        pass

    def killed(*_args: Any) -> None:
        raise Killed

    [machine] = with_volume()
    volume, deleting = volume_of(machine), Demo.delete_volume
    monkeypatch.setattr(Demo, "delete_volume", killed)
    job = perform(owner, machine, "destroy", VOLUMES)
    due(job)
    with pytest.raises(Killed):
        run_jobs()
    Job.objects.filter(state="running").update(started_at=timezone.now() - timedelta(minutes=1))
    assert jobs.give_up_lost() == 2
    job.refresh_from_db()
    assert (job.state, job.children.get().state) == ("lost", "lost")
    assert "goes on by itself" not in job.error_detail
    monkeypatch.setattr(Demo, "delete_volume", deleting)
    read()
    if not is_known:  # that the machine is gone
        Machine.objects.filter(pk=machine.pk).update(state="running", missing_since=None)
    again = done(jobs.retry(owner, job))
    assert (again.state, again.error_code) == ("succeeded", "")
    assert volume.external_id not in in_cloud(demo)


def test_a_cloud_that_is_away_for_a_moment_is_asked_again(owner: Actor, demo: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("volumes.actions.GOES_WITHIN_S", 5)
    [machine] = with_volume()
    volume, looking, looked = volume_of(machine), Demo.get_machine, []

    def away(self: Demo, external_id: str) -> Any:
        looked.append(external_id)
        if len(looked) == 2:
            raise Unavailable("The demo cloud does not answer.")
        return looking(self, external_id)

    monkeypatch.setattr(Demo, "get_machine", away)
    assert done(perform(owner, machine, "destroy", VOLUMES)).error_code == ""
    assert len(looked) == 3
    assert volume.external_id not in in_cloud(demo)


def test_when_there_is_no_time_left_a_volume_goes_on_by_itself(owner: Actor, demo: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    [machine] = with_volume()
    volume = volume_of(machine)
    monkeypatch.setattr("machines.actions.destroy.Destroy.deadline_s", 60)
    job = perform(owner, machine, "destroy", VOLUMES)
    due(job)
    claimed = actions.claim(job.pk, "test")
    assert claimed is not None
    actions.run(claimed)
    job.refresh_from_db()
    assert (job.state, job.error_code, job.result["volumes"][0]["state"]) == ("succeeded", "", "queued")
    assert job.steps[-1]["name"] == "volume_left"
    run_jobs()
    assert volume.external_id not in in_cloud(demo)
