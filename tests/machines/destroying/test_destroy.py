"""The end of machines, and of the volumes their clouds would keep, on the simulated cloud."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from accounts.models import Team
from clouds.models import Cloud
from clouds.providers.demo import Demo
from core import bulks, jobs
from core.actions import allowed, perform
from core.actor import Actor
from core.errors import Already, Conflict, Denied, NotFound
from core.models import Event, Job
from machines.models import Machine
from tests.core.test_doors import make_org
from tests.frontend.conftest import run_jobs
from tests.machines.destroying.conftest import VOLUMES, done, due, in_cloud, member, volume_of, with_volume
from volumes.models import Volume

pytestmark = pytest.mark.django_db


# --- a volume --------------------------------------------------------------------------------------------------------


def test_a_volume_that_nobody_uses_is_deleted(owner: Actor, demo: Cloud) -> None:
    volume = Volume.objects.filter(attached_to=[]).first()
    assert volume is not None
    job = perform(owner, volume, "delete")
    assert (job.state, job.exclusive) == ("waiting", True), "its window"
    assert done(job).state == "succeeded"
    volume.refresh_from_db()
    assert volume.missing_since is not None
    assert volume.external_id not in in_cloud(demo)
    assert Event.objects.filter(target_id=volume.pk, type="volume.delete.succeeded").exists()
    with pytest.raises(Already):
        perform(owner, volume, "delete")


def test_a_volume_is_not_deleted_while_a_machine_has_it_or_without_the_right(owner: Actor, demo: Cloud) -> None:
    [machine] = with_volume()
    volume = volume_of(machine)
    with pytest.raises(Conflict, match="Detach it first"):
        perform(owner, volume, "delete")
    assert allowed(owner, volume)["delete"] == "It is attached to a machine."
    free = Volume.objects.filter(attached_to=[]).first()
    with pytest.raises(Denied):
        perform(member(owner, "volume.read", "machine.destroy"), free, "delete")
    stranger = make_org("elsewhere")[2]
    with pytest.raises(NotFound):
        perform(stranger, free, "delete")
    assert free is not None
    assert {volume.external_id, free.external_id} <= in_cloud(demo)


# --- with its machine ------------------------------------------------------------------------------------------------


def test_without_the_option_a_volume_stays(owner: Actor, demo: Cloud) -> None:
    [machine] = with_volume()
    volume = volume_of(machine)
    assert done(perform(owner, machine, "destroy")).state == "succeeded"
    assert volume.external_id in in_cloud(demo)
    assert not Job.objects.filter(action="volume.delete").exists()


def test_a_kept_volume_goes_with_its_machine_in_a_job_of_its_own(owner: Actor, demo: Cloud) -> None:
    [machine] = with_volume()
    volume = volume_of(machine)
    job = perform(owner, machine, "destroy", VOLUMES)
    assert not job.children.exists(), "nothing is held while it can be undone"
    job = done(job)
    child = job.children.get()
    assert (job.state, job.error_code) == ("succeeded", "")
    assert (child.action, child.state, child.target_id, child.user_id) == ("volume.delete", "succeeded", volume.pk, owner.user_id)
    assert child.request_id == job.request_id
    assert job.result == {"volumes": [{"id": volume.pk.hex, "name": volume.name, "state": "succeeded", "job": child.pk.hex}]}
    assert [step["name"] for step in job.steps] == ["asked", "volume_deleted"]
    assert volume.external_id not in in_cloud(demo)
    machine.refresh_from_db()
    assert machine.missing_since is not None


def test_the_window_covers_the_volumes_too(owner: Actor, demo: Cloud) -> None:
    [machine] = with_volume()
    volume = volume_of(machine)
    jobs.undo(owner, perform(owner, machine, "destroy", VOLUMES))
    run_jobs()
    assert volume.external_id in in_cloud(demo)
    assert not Job.objects.filter(action="volume.delete").exists()


def test_who_may_not_delete_the_volumes_destroys_nothing_with_them(owner: Actor, demo: Cloud) -> None:
    [machine] = with_volume()
    volume = volume_of(machine)
    able = member(owner, "machine.*", "volume.read", "job.*", "cloud.read")
    with pytest.raises(Denied, match=volume.name):
        perform(able, machine, "destroy", VOLUMES)
    assert Event.objects.filter(type="machine.destroy.refused", target_id=machine.pk).exists()
    assert not Job.objects.filter(action="machine.destroy").exists()
    assert done(perform(able, machine, "destroy")).state == "succeeded", "the machine alone is theirs to destroy"
    assert volume.external_id in in_cloud(demo)


def test_a_volume_one_may_not_see_is_not_named(owner: Actor, demo: Cloud) -> None:
    [machine] = with_volume()
    with pytest.raises(Denied) as caught:
        perform(member(owner, "machine.*"), machine, "destroy", VOLUMES)
    assert volume_of(machine).name not in caught.value.detail.replace(machine.name, "")


def test_a_right_that_is_lost_in_the_window_stops_it_all(owner: Actor, demo: Cloud) -> None:
    [machine] = with_volume()
    volume, able = volume_of(machine), member(owner, "machine.*", "volume.*")
    job = perform(able, machine, "destroy", VOLUMES)
    Team.objects.filter(name="Members").update(statements=[{"effect": "allow", "verbs": ["machine.*", "volume.read"], "what": {}}])
    job = done(job)
    assert (job.state, job.error_code) == ("failed", "denied")
    machine.refresh_from_db()
    assert machine.state == "running"
    assert volume.external_id in in_cloud(demo)


def test_in_bulk_who_may_not_is_one_result_and_the_others_go_on(owner: Actor, demo: Cloud) -> None:
    first, second = with_volume(2)
    kept = volume_of(second)
    able = member(owner, "machine.*", "volume.read", "job.*")
    team = Team.objects.get(name="Members")
    team.statements = [*team.statements, {"effect": "allow", "verbs": ["volume.delete"], "what": {"ids": [volume_of(first).pk.hex]}}]
    team.save()
    job = bulks.bulk(able, Machine, "destroy", VOLUMES, ids=[first.pk, second.pk])
    run_jobs()
    due(*job.children.filter(state="waiting"))
    run_jobs()
    bulks.settle_bulks()
    job.refresh_from_db()
    by_target = {child.target_id: child for child in job.children.all()}
    assert (by_target[first.pk].state, by_target[second.pk].error_code) == ("succeeded", "denied")
    assert kept.name in by_target[second.pk].error_detail
    assert (job.state, job.result) == ("failed", {"succeeded": 1, "failed": 1})
    assert kept.external_id in in_cloud(demo)
    second.refresh_from_db()
    assert second.state == "running"


def test_a_volume_of_two_machines_or_that_dies_anyway_is_not_among_them(owner: Actor, demo: Cloud) -> None:
    one, other = with_volume(2)
    shared, own = volume_of(one), volume_of(other)
    Volume.objects.filter(pk=shared.pk).update(attached_to=[one.pk, other.pk])
    Volume.objects.filter(pk=own.pk).update(extra={"is_deleted_with_machine": True})
    for machine in (one, other):
        job = done(perform(owner, machine, "destroy", VOLUMES))
        assert (job.state, job.children.count()) == ("succeeded", 0)
    assert shared.external_id in in_cloud(demo)


def test_a_volume_that_came_away_since_it_was_read_stays(owner: Actor, demo: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    [machine] = with_volume()
    volume = volume_of(machine)
    real = Demo.list_volumes

    def detached(self: Demo) -> Iterator[Any]:
        for info in real(self):
            yield (
                type(info)(external_id=info.external_id, name=info.name, size_gib=info.size_gib)
                if info.external_id == volume.external_id
                else info
            )

    monkeypatch.setattr(Demo, "list_volumes", detached)
    job = done(perform(owner, machine, "destroy", VOLUMES))
    assert job.state == "succeeded"
    assert [step["name"] for step in job.steps] == ["volume_kept", "asked"]
    assert volume.external_id in in_cloud(demo)


# --- snapshots first -------------------------------------------------------------------------------------------------


def test_where_no_snapshot_can_be_taken_first_that_machine_alone_stays(owner: Actor, demo: Cloud) -> None:
    on = with_volume(2)
    job = bulks.bulk(owner, Machine, "destroy", {"snapshot_first": True}, ids=[one.pk for one in on])
    run_jobs()
    bulks.settle_bulks()
    job.refresh_from_db()
    assert (job.state, set(job.children.values_list("state", "error_code"))) == ("failed", {("failed", "no_snapshot_first")})
    assert {Machine.objects.get(pk=one.pk).state for one in on} == {"running"}


def test_a_preview_says_of_which_it_cannot_be_with_what_is_asked(owner: Actor, demo: Cloud) -> None:
    on = with_volume(2)
    ids = [one.pk for one in on]
    assert bulks.preview(owner, Machine, "destroy", ids=ids)["able"] == 2
    found = bulks.preview(owner, Machine, "destroy", {"snapshot_first": True}, ids=ids)
    assert (found["count"], found["able"]) == (2, 0)
    assert all("Its cloud keeps no snapshots" in why for why in found["reasons"])
    able = member(owner, "machine.*", "volume.read")
    assert bulks.preview(able, Machine, "destroy", VOLUMES, ids=ids)["able"] == 0
    assert bulks.preview(owner, Machine, "destroy", VOLUMES, ids=ids)["able"] == 2
    assert not Job.objects.filter(action="machine.destroy").exists()
