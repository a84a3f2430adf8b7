"""The end of machines, and of the volumes they would leave, on moto's EC2."""

from __future__ import annotations

from typing import Any

import pytest

from clouds.models import Cloud
from core import bulks, jobs
from core.actions import perform
from core.actor import Actor
from machines.models import Machine
from tests.clouds.providers.amazon.conftest import boto, credentials, ec2, moto_port
from tests.frontend.conftest import run_jobs
from tests.lab.ec2_front import Front, error
from tests.machines.destroying.conftest import BOTH, VOLUMES, done, due, read

__all__ = ["boto", "credentials", "ec2", "moto_port"]

pytestmark = pytest.mark.django_db


@pytest.fixture
def aws(owner: Actor, credentials: dict[str, str]) -> Cloud:
    perform(owner, Cloud, "create", {"name": "aws", "provider": "amazon", "credentials": credentials})
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
    job = bulks.bulk(owner, Machine, "destroy", BOTH, ids=[one.pk for one in on])
    run_jobs()
    due(*job.children.all())
    run_jobs()
    bulks.settle_bulks()
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
