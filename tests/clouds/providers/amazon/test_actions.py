"""What is done: each action read back with plain boto3, past the front."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from typing import Any

import pytest

from clouds.providers.amazon import Amazon, create
from clouds.providers.facts import MachineSpec, VolumeSpec
from core.errors import Gone, Rejected
from tests.lab.ec2_front import Front, body, error

from .conftest import Connect

Run = Callable[..., list[str]]
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKXmzAn3zDGsv1B1lLJ4GyY0C7m8wJm3yF3oJ4Jm8YQk ops@example.org"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(create, "POLL_S", 0.02)


def there(boto: Any, external_id: str) -> dict[str, Any]:
    return dict(boto.describe_instances(InstanceIds=[external_id])["Reservations"][0]["Instances"][0])


def tags(item: dict[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in item.get("Tags", ())}


def spec(image: str, **changes: Any) -> MachineSpec:
    return MachineSpec(**{"name": "web", "token": "token-1", "image": image, "size": "t3.micro", "location": "us-east-1a", **changes})


def test_stop_start_reboot_and_destroy_do_as_they_say(cloud: Amazon, ec2: Front, boto: Any, run: Run) -> None:
    (made,) = run()
    cloud.stop_machine(made)
    assert there(boto, made)["State"]["Name"] == "stopped"
    cloud.start_machine(made)
    assert there(boto, made)["State"]["Name"] == "running"
    cloud.reboot_machine(made)
    assert ec2.params("RebootInstances")[0]["InstanceId.1"] == made
    cloud.destroy_machine(made)
    assert there(boto, made)["State"]["Name"] == "terminated"
    assert len(ec2.calls) == 4, "a verb is one call"


def test_a_machine_is_renamed_by_its_name_tag(cloud: Amazon, boto: Any, run: Run) -> None:
    (made,) = run()
    cloud.rename_machine(made, "née <b>Ω</b> 🦊")
    assert tags(there(boto, made))["Name"] == "née <b>Ω</b> 🦊"
    assert cloud.get_machine(made).name == "née <b>Ω</b> 🦊"


def test_a_stopped_machine_is_resized_and_a_running_one_is_not(cloud: Amazon, boto: Any, run: Run) -> None:
    (made,) = run()
    with pytest.raises(Rejected, match="Stop it first"):
        cloud.resize_machine(made, "t3.large")
    assert there(boto, made)["InstanceType"] == "t3.micro"
    cloud.stop_machine(made)
    cloud.resize_machine(made, "t3.large")
    assert there(boto, made)["InstanceType"] == "t3.large"
    with pytest.raises(Rejected):
        cloud.resize_machine(made, None, cores=2, ram_mib=1024)


def test_tags_are_set_and_removed_and_the_others_kept(cloud: Amazon, boto: Any, run: Run) -> None:
    (made,) = run(
        TagSpecifications=[
            {"ResourceType": "instance", "Tags": [{"Key": key, "Value": "1"} for key in ("Name", "old", "kept", "env")]},
        ]
    )
    cloud.tag_machine(made, {"env": "prod", "empty": ""}, ("old", "env"))
    assert tags(there(boto, made)) == {"Name": "1", "kept": "1", "env": "prod", "empty": ""}
    with pytest.raises(Rejected, match="aws:"):
        cloud.tag_machine(made, {"aws:cloudformation:stack-name": "x", "new": "1"}, ())
    assert "new" not in tags(there(boto, made))


def test_a_machine_is_made_as_its_spec_says(cloud: Amazon, ec2: Front, boto: Any, image: str) -> None:
    vpc = boto.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    subnet = boto.create_subnet(VpcId=vpc, CidrBlock="10.9.1.0/24", AvailabilityZone="us-east-1b")["Subnet"]["SubnetId"]
    group = boto.create_security_group(GroupName="web", Description="web", VpcId=vpc)["GroupId"]
    wanted = spec(
        image,
        location="us-east-1b",
        subnet=subnet,
        security_groups=(group,),
        public_key=KEY,
        cloudinit="#cloud-config\nhostname: café\n",
        disk_gib=33,
        volumes=(
            VolumeSpec(size_gib=5, name="data", volume_type="gp2", delete_with_machine=True),
            VolumeSpec(size_gib=7, device="/dev/sdf"),
        ),
        tags={"env": "dev"},
    )
    made = cloud.create_machine(wanted)
    item = there(boto, made)
    assert (item["ImageId"], item["InstanceType"], item["Placement"]["AvailabilityZone"]) == (image, "t3.micro", "us-east-1b")
    assert (item["SubnetId"], [one["GroupId"] for one in item["SecurityGroups"]]) == (subnet, [group])
    assert tags(item) == {"Name": "web", "env": "dev"}
    data = boto.describe_instance_attribute(InstanceId=made, Attribute="userData")["UserData"]["Value"]
    assert base64.b64decode(data).decode() == "#cloud-config\nhostname: café\n"
    disks = {disk["DeviceName"]: disk["Ebs"] for disk in item["BlockDeviceMappings"]}
    assert set(disks) == {"/dev/sda1", "/dev/sdf", "/dev/sdg"}
    volumes = {one["VolumeId"]: one for one in boto.describe_volumes()["Volumes"]}
    by_device = {device: volumes[disk["VolumeId"]] for device, disk in disks.items()}
    assert {device: one["Size"] for device, one in by_device.items()} == {"/dev/sda1": 33, "/dev/sdf": 7, "/dev/sdg": 5}
    assert by_device["/dev/sdg"]["VolumeType"] == "gp2"
    assert tags(by_device["/dev/sdg"]) == {"Name": "data", "env": "dev"}
    assert tags(by_device["/dev/sdf"]) == {"Name": "web", "env": "dev"}
    assert (disks["/dev/sdg"]["DeleteOnTermination"], disks["/dev/sdf"]["DeleteOnTermination"]) == (True, False)
    key = boto.describe_key_pairs(KeyNames=[item["KeyName"]], IncludePublicKey=True)["KeyPairs"][0]
    assert key["PublicKey"].split()[1] == KEY.split()[1]


def test_one_token_is_one_machine_to_ec2(cloud: Amazon, ec2: Front, image: str) -> None:
    """moto does not keep ClientToken, so what is shown is that the same one is sent, in the form EC2 takes."""
    for token in ("job-1", "job-1", "🦊" * 500):
        cloud.create_machine(spec(image, token=token))
    sent = [params["ClientToken"] for params in ec2.params("RunInstances")]
    assert sent[0] == sent[1] == hashlib.sha256(b"job-1").hexdigest()
    assert sent[2] != sent[0]
    assert all(token.isascii() and len(token) <= 64 for token in sent)


def test_one_key_is_imported_once(cloud: Amazon, boto: Any, image: str) -> None:
    names = {there(boto, cloud.create_machine(spec(image, token=str(n), public_key=KEY)))["KeyName"] for n in range(2)}
    assert len(names) == 1
    assert [pair["KeyName"] for pair in boto.describe_key_pairs()["KeyPairs"]] == list(names)
    with pytest.raises(Rejected, match="OpenSSH"):
        cloud.create_machine(spec(image, public_key="-----BEGIN PUBLIC KEY-----"))


def test_a_volume_that_was_there_is_attached_and_leads_to_its_zone(cloud: Amazon, boto: Any, image: str) -> None:
    volume = boto.create_volume(AvailabilityZone="us-east-1c", Size=4)["VolumeId"]
    made = cloud.create_machine(spec(image, location=None, volumes=(VolumeSpec(external_id=volume, delete_with_machine=True),)))
    item = there(boto, made)
    assert item["Placement"]["AvailabilityZone"] == "us-east-1c"
    assert {disk["DeviceName"]: disk["Ebs"]["VolumeId"] for disk in item["BlockDeviceMappings"]}["/dev/sdf"] == volume
    assert boto.describe_volumes(VolumeIds=[volume])["Volumes"][0]["Attachments"][0]["InstanceId"] == made


def test_a_volume_elsewhere_or_in_use_stops_the_creation_before_it_begins(
    cloud: Amazon, ec2: Front, boto: Any, run: Run, image: str
) -> None:
    elsewhere = boto.create_volume(AvailabilityZone="us-east-1c", Size=4)["VolumeId"]
    used = there(boto, run()[0])["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
    for volume, says in ((elsewhere, "us-east-1c"), (used, "in-use"), ("vol-0123456789abcdef0", "vol-0123456789abcdef0")):
        with pytest.raises(Rejected, match=says):
            cloud.create_machine(spec(image, volumes=(VolumeSpec(external_id=volume),)))
    assert "RunInstances" not in ec2.actions()


def test_a_machine_whose_volume_cannot_be_attached_is_destroyed_again(cloud: Amazon, ec2: Front, boto: Any, image: str) -> None:
    volume = boto.create_volume(AvailabilityZone="us-east-1a", Size=4)["VolumeId"]
    ec2.answer("AttachVolume", error("VolumeInUse", 400, "vol is in use"))
    with pytest.raises(Rejected, match="destroyed again") as caught:
        cloud.create_machine(spec(image, volumes=(VolumeSpec(external_id=volume),)))
    assert caught.value.words == "vol is in use"
    states = [item["State"]["Name"] for one in boto.describe_instances()["Reservations"] for item in one["Instances"]]
    assert states == ["terminated"]


def test_a_machine_that_does_not_start_in_time_is_destroyed_while_there_is_time(
    connect: Connect, ec2: Front, boto: Any, image: str
) -> None:
    volume = boto.create_volume(AvailabilityZone="us-east-1a", Size=4)["VolumeId"]
    ec2.answer("DescribeInstances", error("InvalidInstanceID.NotFound", 400))
    with pytest.raises(Rejected, match=r"did not start in time.*destroyed again"):
        connect(deadline_s=create.RESERVE_S + 2).create_machine(spec(image, volumes=(VolumeSpec(external_id=volume),)))
    assert ec2.actions()[-1] == "TerminateInstances"


def test_a_network_alone_leads_to_its_subnet_with_most_room(cloud: Amazon, boto: Any, image: str) -> None:
    vpc = boto.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    with pytest.raises(Rejected, match="no subnet"):
        cloud.create_machine(spec(image, network=vpc))
    small = boto.create_subnet(VpcId=vpc, CidrBlock="10.9.1.0/28", AvailabilityZone="us-east-1a")["Subnet"]["SubnetId"]
    large = boto.create_subnet(VpcId=vpc, CidrBlock="10.9.2.0/24", AvailabilityZone="us-east-1a")["Subnet"]["SubnetId"]
    made = cloud.create_machine(spec(image, network=vpc))
    assert there(boto, made)["SubnetId"] == large != small


def test_the_fields_of_its_own_reach_ec2(cloud: Amazon, ec2: Front, boto: Any, image: str) -> None:
    extra = {"public_ip": "no", "spot": True, "encrypted": True, "termination_protection": True}
    subnet = boto.describe_subnets()["Subnets"][0]
    made = cloud.create_machine(spec(image, subnet=subnet["SubnetId"], location=subnet["AvailabilityZone"], disk_gib=20, extra=extra))
    (asked,) = ec2.params("RunInstances")
    assert asked["NetworkInterface.1.AssociatePublicIpAddress"] == "false"
    assert asked["NetworkInterface.1.SubnetId"] == subnet["SubnetId"]
    assert "SubnetId" not in asked
    assert asked["InstanceMarketOptions.MarketType"] == "spot"
    assert asked["BlockDeviceMapping.1.Ebs.Encrypted"] == "true"
    assert asked["DisableApiTermination"] == "true"
    assert cloud.get_machine(made).extra["lifecycle"] == "spot"


def test_what_ec2_refuses_to_make_is_rejected_in_its_words(cloud: Amazon, ec2: Front, image: str) -> None:
    ec2.answer("RunInstances", error("InvalidParameterValue", 400, "Invalid value 't9.huge' for InstanceType."))
    with pytest.raises(Rejected, match="InstanceType"):
        cloud.create_machine(spec(image, size="t9.huge"))
    with pytest.raises(Rejected, match="aws:"):
        cloud.create_machine(spec(image, tags={"aws:x": "1"}))
    with pytest.raises(Rejected, match="size"):
        cloud.create_machine(spec(image, volumes=(VolumeSpec(name="no size"),)))


def test_a_snapshot_is_of_every_volume_and_is_listed_and_removed_as_one(cloud: Amazon, ec2: Front, boto: Any, image: str) -> None:
    made = cloud.create_machine(spec(image, disk_gib=9, volumes=(VolumeSpec(size_gib=5),)))
    other = cloud.create_machine(spec(image, token="2", disk_gib=9))
    first = cloud.create_snapshot(made, "before the upgrade", "kernel 6.12")
    second = cloud.create_snapshot(made, "after")
    infos = {info.external_id: info for info in cloud.list_snapshots(made)}
    assert set(infos) == {first, second}
    assert (infos[first].name, infos[first].description) == ("before the upgrade", "kernel 6.12")
    assert [part["size_gib"] for part in infos[first].extra["volumes"]] == [9, 5]
    assert infos[first].extra["state"] in {"completed", "pending"}
    assert cloud.list_snapshots(other) == []
    with pytest.raises(Gone):
        cloud.remove_snapshot(other, first)
    parts = {part["snapshot"] for part in infos[first].extra["volumes"]}
    assert parts <= {one["SnapshotId"] for one in boto.describe_snapshots(OwnerIds=["self"])["Snapshots"]}
    cloud.remove_snapshot(made, first)
    assert not parts & {one["SnapshotId"] for one in boto.describe_snapshots(OwnerIds=["self"])["Snapshots"]}
    assert ec2.params("DeleteSnapshot")[-1]["SnapshotId"] == first, "what it is known by goes last"
    assert [info.external_id for info in cloud.list_snapshots(made)] == [second]


def test_a_snapshot_somebody_else_made_of_the_root_volume_counts(cloud: Amazon, boto: Any, run: Run) -> None:
    (made,) = run()
    volume = there(boto, made)["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
    theirs = boto.create_snapshot(VolumeId=volume, Description="nightly")["SnapshotId"]
    (info,) = cloud.list_snapshots(made)
    assert (info.external_id, info.name, info.description) == (theirs, theirs, "nightly")


REPLACED = b"""<?xml version="1.0" encoding="UTF-8"?>
<CreateReplaceRootVolumeTaskResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>r</requestId><replaceRootVolumeTask>
<replaceRootVolumeTaskId>replacevol-0111122223333abcd</replaceRootVolumeTaskId><taskState>pending</taskState>
</replaceRootVolumeTask></CreateReplaceRootVolumeTaskResponse>"""


def test_going_back_replaces_the_root_volume_and_is_refused_where_that_is_half_of_it(
    cloud: Amazon, ec2: Front, boto: Any, image: str
) -> None:
    """moto has no CreateReplaceRootVolumeTask: the answer is the one of AWS's reference, and what was asked is looked at."""
    ec2.answer("CreateReplaceRootVolumeTask", body(REPLACED))
    plain = cloud.create_machine(spec(image, disk_gib=9))
    snapshot = cloud.create_snapshot(plain, "before")
    cloud.revert_to_snapshot(plain, snapshot)
    (asked,) = ec2.params("CreateReplaceRootVolumeTask")
    assert (asked["InstanceId"], asked["SnapshotId"]) == (plain, snapshot)
    wide = cloud.create_machine(spec(image, token="2", disk_gib=9, volumes=(VolumeSpec(size_gib=5),)))
    whole = cloud.create_snapshot(wide, "before")
    with pytest.raises(Rejected, match="root volume only"):
        cloud.revert_to_snapshot(wide, whole)
    with pytest.raises(Gone):
        cloud.revert_to_snapshot(wide, snapshot)
    assert len(ec2.params("CreateReplaceRootVolumeTask")) == 1


def test_permissions_are_asked_without_doing_anything(cloud: Amazon, ec2: Front, boto: Any, run: Run) -> None:
    (made,) = run()
    boto.create_volume(AvailabilityZone="us-east-1a", Size=4)
    ec2.answer("StopInstances", error("UnauthorizedOperation", 403, "You are not authorized to perform this operation."))
    ec2.answer("DescribeVpcs", error("UnauthorizedOperation", 403, "You are not authorized to perform this operation."))
    found = {check.name: check for check in cloud.permissions()}
    assert found["ec2:DescribeInstances"].ok is True
    assert found["ec2:StartInstances"].ok is True
    assert found["ec2:StopInstances"].ok is False
    assert found["ec2:StopInstances"].fix == '{"Effect": "Allow", "Action": ["ec2:StopInstances"], "Resource": "*"}'
    assert found["ec2:DescribeVpcs"].ok is False
    assert found["ec2:CreateReplaceRootVolumeTask"].ok is None
    written = [call for call in ec2.calls if not call.action.startswith("Describe")]
    assert written
    assert {call.params["DryRun"] for call in written} == {"true"}
    assert there(boto, made)["State"]["Name"] == "running"
    assert boto.describe_key_pairs()["KeyPairs"] == []
