"""The end of machines, and of the volumes their clouds would keep: on the simulated cloud, and on moto's EC2."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import Membership, Team, User
from clouds.models import Cloud, Poll
from clouds.polling import poll_once
from clouds.providers.demo import Demo
from core import actions, jobs
from core.actions import allowed, perform
from core.actor import Actor
from core.errors import Already, Conflict, Denied, NotFound, Rejected, Unavailable
from core.models import Event, Job, Worker
from machines.models import Machine
from tests.clouds.providers.amazon.conftest import SECRET, ec2, moto_port
from tests.core.test_doors import make_org
from tests.frontend.conftest import run_jobs
from tests.lab.ec2_front import Front, error
from tests.lab.moto import plain
from volumes.models import Volume

__all__ = ["ec2", "moto_port"]

pytestmark = pytest.mark.django_db
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
    jobs.settle_bulks()
    job.refresh_from_db()
    return job


def in_cloud(cloud: Cloud) -> set[str]:
    """The ids of the volumes that are in the simulated cloud now."""
    poll_once(Poll.objects.get(cloud=cloud, kind="volume").pk)
    return set(Volume.objects.filter(cloud=cloud, missing_since=None).values_list("external_id", flat=True))


# --- a volume ---------------------------------------------------------------------------------------------------------


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


# --- with its machine -------------------------------------------------------------------------------------------------


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
    job = jobs.bulk(able, Machine, "destroy", VOLUMES, ids=[first.pk, second.pk])
    run_jobs()
    due(*job.children.filter(state="waiting"))
    run_jobs()
    jobs.settle_bulks()
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


# --- faults -----------------------------------------------------------------------------------------------------------


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
    job = jobs.bulk(owner, Machine, "destroy", VOLUMES, ids=[one.pk for one in on])
    run_jobs()
    due(*job.children.all())
    run_jobs()
    jobs.settle_bulks()
    job.refresh_from_db()
    assert (job.state, job.error_code, job.error_detail) == ("succeeded", "some_left", "1 of 2 left something undone.")
    monkeypatch.setattr(Demo, "delete_volume", deleting)
    again = jobs.retry(owner, job)
    run_jobs()
    due(*again.children.all())
    run_jobs()
    jobs.settle_bulks()
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


# --- snapshots first --------------------------------------------------------------------------------------------------


def test_where_no_snapshot_can_be_taken_first_that_machine_alone_stays(owner: Actor, demo: Cloud) -> None:
    on = with_volume(2)
    job = jobs.bulk(owner, Machine, "destroy", {"snapshot_first": True}, ids=[one.pk for one in on])
    run_jobs()
    jobs.settle_bulks()
    job.refresh_from_db()
    assert (job.state, set(job.children.values_list("state", "error_code"))) == ("failed", {("failed", "no_snapshot_first")})
    assert {Machine.objects.get(pk=one.pk).state for one in on} == {"running"}


def test_a_preview_says_of_which_it_cannot_be_with_what_is_asked(owner: Actor, demo: Cloud) -> None:
    on = with_volume(2)
    ids = [one.pk for one in on]
    assert jobs.preview(owner, Machine, "destroy", ids=ids)["able"] == 2
    found = jobs.preview(owner, Machine, "destroy", {"snapshot_first": True}, ids=ids)
    assert (found["count"], found["able"]) == (2, 0)
    assert all("Its cloud keeps no snapshots" in why for why in found["reasons"])
    able = member(owner, "machine.*", "volume.read")
    assert jobs.preview(able, Machine, "destroy", VOLUMES, ids=ids)["able"] == 0
    assert jobs.preview(owner, Machine, "destroy", VOLUMES, ids=ids)["able"] == 2
    assert not Job.objects.filter(action="machine.destroy").exists()


# --- EC2 --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def boto(ec2: Front, moto_port: int) -> Any:
    return plain(moto_port)


@pytest.fixture
def aws(owner: Actor, ec2: Front) -> Cloud:
    credentials = {"region": "us-east-1", "apikey": "AKIAIOSFODNN7EXAMPLE", "apisecret": SECRET, "endpoint": f"http://127.0.0.1:{ec2.port}"}
    perform(
        owner,
        Cloud,
        "create",
        {"name": "aws", "provider": "amazon", "credentials": credentials},
    )
    return Cloud.objects.get(provider="amazon")


def launched(boto: Any, ec2: Front, count: int) -> list[str]:
    """Instances with a root volume that dies with them, and one of 5 GiB that does not."""
    image = boto.describe_images(Owners=["amazon"], Filters=[{"Name": "name", "Values": ["al2023-ami-2023.*-x86_64"]}])["Images"][0]
    disks = [
        {"DeviceName": image["RootDeviceName"], "Ebs": {"VolumeSize": 8, "DeleteOnTermination": True}},
        {"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 5, "DeleteOnTermination": False}},
    ]
    asked = {"ImageId": image["ImageId"], "InstanceType": "t3.micro", "MinCount": 1, "MaxCount": 1, "BlockDeviceMappings": disks}
    made = [boto.run_instances(**asked)["Instances"][0]["InstanceId"] for _ in range(count)]
    ec2.ends |= {one["VolumeId"]: one["Size"] == 8 for one in boto.describe_volumes()["Volumes"]}
    return made


def sizes(boto: Any) -> list[int]:
    return sorted(one["Size"] for one in boto.describe_volumes()["Volumes"])


def test_on_ec2_there_is_a_snapshot_of_each_volume_and_the_kept_ones_are_gone(owner: Actor, aws: Cloud, ec2: Front, boto: Any) -> None:
    launched(boto, ec2, 2)
    read()
    on = list(Machine.objects.filter(cloud=aws).order_by("external_id"))
    assert sizes(boto) == [5, 5, 8, 8]
    before = {one["SnapshotId"] for one in boto.describe_snapshots(OwnerIds=["self"])["Snapshots"]}
    job = jobs.bulk(owner, Machine, "destroy", BOTH, ids=[one.pk for one in on])
    run_jobs()
    due(*job.children.all())
    run_jobs()
    jobs.settle_bulks()
    job.refresh_from_db()
    assert (job.state, job.error_code, job.result) == ("succeeded", "", {"succeeded": 2})
    taken = [one for one in boto.describe_snapshots(OwnerIds=["self"])["Snapshots"] if one["SnapshotId"] not in before]
    assert sorted(one["VolumeSize"] for one in taken) == [5, 5, 8, 8]
    assert sizes(boto) == []
    order = [action for action in ec2.actions() if action in ("CreateSnapshots", "TerminateInstances", "DeleteVolume")]
    assert order == ["CreateSnapshots", "TerminateInstances", "DeleteVolume"] * 2
    for child in job.children.all():
        assert child.result["snapshot"] in {one["SnapshotId"] for one in taken}
        assert [one["state"] for one in child.result["volumes"]] == ["succeeded"]


def test_on_ec2_without_the_option_the_kept_volume_stays(owner: Actor, aws: Cloud, ec2: Front, boto: Any) -> None:
    launched(boto, ec2, 1)
    read()
    assert done(perform(owner, Machine.objects.get(cloud=aws), "destroy", {"snapshot_first": True})).state == "succeeded"
    assert sizes(boto) == [5]


def test_on_ec2_a_snapshot_that_is_refused_leaves_all_as_it_is(owner: Actor, aws: Cloud, ec2: Front, boto: Any) -> None:
    [instance] = launched(boto, ec2, 1)
    read()
    ec2.answer("CreateSnapshots", error("UnauthorizedOperation", 403, "You are not authorized to perform this operation."))
    job = done(perform(owner, Machine.objects.get(cloud=aws), "destroy", BOTH))
    assert (job.state, job.error_code) == ("failed", "cloud_not_permitted")
    assert job.children.get().state == "cancelled"
    assert sizes(boto) == [5, 8]
    state = boto.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]["State"]["Name"]
    assert state == "running"


def test_on_ec2_a_volume_that_is_let_go_of_late_is_tried_until_it_is(owner: Actor, aws: Cloud, ec2: Front, boto: Any) -> None:
    launched(boto, ec2, 1)
    read()
    ec2.answer("DeleteVolume", error("VolumeInUse", 400, "vol-1 is currently attached to i-1"), times=2)
    job = done(perform(owner, Machine.objects.get(cloud=aws), "destroy", VOLUMES))
    assert (job.state, job.error_code) == ("succeeded", "")
    assert ec2.actions().count("DeleteVolume") == 3
    assert sizes(boto) == []


def test_on_ec2_a_volume_it_may_not_delete_says_which_permission(owner: Actor, aws: Cloud, ec2: Front, boto: Any) -> None:
    launched(boto, ec2, 1)
    read()
    ec2.answer("DeleteVolume", error("UnauthorizedOperation", 403, "You are not authorized to perform this operation."))
    job = done(perform(owner, Machine.objects.get(cloud=aws), "destroy", VOLUMES))
    assert job.is_partly
    assert "ec2:DeleteVolume" in job.error_detail
    assert sizes(boto) == [5]
    ec2.rules.clear()
    assert done(jobs.retry(owner, job)).error_code == ""
    assert sizes(boto) == []
