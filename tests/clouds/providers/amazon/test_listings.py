"""What is listed: all of it, page by page, in our words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from clouds.providers import amazon
from clouds.providers.amazon import Amazon, rows
from tests.clouds.providers.contract import LISTINGS, ProviderContract
from tests.lab.ec2_front import Front, error
from tests.lab.moto import PUBLIC_IMAGES

Run = Callable[..., list[str]]


@pytest.fixture
def furnished(boto: Any, run: Run, image: str) -> list[str]:
    """Some of everything; the machines' ids."""
    vpc = boto.create_vpc(CidrBlock="10.9.0.0/16", TagSpecifications=[{"ResourceType": "vpc", "Tags": [{"Key": "Name", "Value": "lab"}]}])
    for index in range(5):
        boto.create_vpc(CidrBlock=f"10.{index}.0.0/16")
    boto.create_subnet(VpcId=vpc["Vpc"]["VpcId"], CidrBlock="10.9.1.0/24", AvailabilityZone="us-east-1b")
    for name in ("web", "db"):
        boto.create_security_group(GroupName=name, Description=f"for {name}", VpcId=vpc["Vpc"]["VpcId"])
    for size in (1, 2, 3):
        boto.create_volume(AvailabilityZone="us-east-1a", Size=size)
    tags = [{"Key": "Name", "Value": "web"}, {"Key": "env", "Value": "prod"}]
    ids = run(5, TagSpecifications=[{"ResourceType": "instance", "Tags": tags}])
    for index in range(3):
        boto.create_image(InstanceId=ids[0], Name=f"own-{index}")
    return ids


class TestAmazon(ProviderContract):
    provider_class = Amazon
    lists = frozenset(LISTINGS)
    unknown_id = "i-0123456789abcdef0"

    @pytest.fixture
    def credentials(self, ec2: Front, credentials: dict[str, str], furnished: list[str]) -> Mapping[str, Any]:
        ec2.answer("CreateTags", error("InvalidInstanceID.NotFound", 400))  # as AWS does; moto tags what is not there
        return credentials


PAGED = {
    "list_machines": ("describe_instances", lambda answer: [i["InstanceId"] for r in answer["Reservations"] for i in r["Instances"]]),
    "list_networks": ("describe_vpcs", lambda answer: [item["VpcId"] for item in answer["Vpcs"]]),
    "list_subnets": ("describe_subnets", lambda answer: [item["SubnetId"] for item in answer["Subnets"]]),
    "list_security_groups": ("describe_security_groups", lambda answer: [item["GroupId"] for item in answer["SecurityGroups"]]),
    "list_volumes": ("describe_volumes", lambda answer: [item["VolumeId"] for item in answer["Volumes"]]),
}


@pytest.mark.parametrize("listing", PAGED)
def test_a_listing_in_small_pages_is_all_there_is(
    cloud: Amazon, ec2: Front, boto: Any, furnished: list[str], monkeypatch: pytest.MonkeyPatch, listing: str
) -> None:
    page = 2 if listing == "list_machines" else 5  # the least that botocore lets through to EC2
    monkeypatch.setattr(amazon, "PAGE", page)
    describe, ids = PAGED[listing]
    there = ids(getattr(boto, describe)())
    assert len(there) > page
    assert [info.external_id for info in getattr(cloud, listing)()] == there
    assert len(ec2.calls) == -(-len(there) // page)
    assert {call.params["MaxResults"] for call in ec2.calls} == {str(page)}
    assert cloud.incomplete == []


def test_sizes_in_small_pages_are_all_there_are_with_their_zones(
    cloud: Amazon, ec2: Front, boto: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    only = ["t3.micro", "m5.large", "c7g.large", "g4dn.xlarge", "t2.nano"]
    monkeypatch.setattr(amazon, "PAGE", 900)
    sizes = {size.external_id: size for size in cloud.list_sizes()}
    assert sorted(sizes) == sorted(item["InstanceType"] for item in boto.describe_instance_types()["InstanceTypes"])
    assert ec2.actions().count("DescribeInstanceTypes") == -(-len(sizes) // 100)
    assert ec2.actions().count("DescribeInstanceTypeOfferings") > 3
    assert [(sizes[name].cores, sizes[name].ram_mib, sizes[name].architecture) for name in only[:3]] == [
        (2, 1024, "x86_64"),
        (2, 8192, "x86_64"),
        (2, 4096, "arm64"),
    ]
    assert sizes["g4dn.xlarge"].extra["gpus"][0]["count"] == 1
    offered = boto.describe_instance_type_offerings(
        LocationType="availability-zone", Filters=[{"Name": "instance-type", "Values": ["g4dn.xlarge"]}]
    )
    assert sizes["g4dn.xlarge"].locations == tuple(sorted(one["Location"] for one in offered["InstanceTypeOfferings"]))
    assert all(size.cost_hour is None for size in sizes.values())


def test_images_are_the_account_s_own_and_the_newest_well_known_ones(
    cloud: Amazon, ec2: Front, boto: Any, furnished: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(amazon, "PAGE", 2)
    found = list(cloud.list_images())
    own = {item["ImageId"] for item in boto.describe_images(Owners=["self"])["Images"]}
    assert {info.external_id for info in found[: len(own)]} == own
    assert len(own) == 3
    known = {info.name: info for info in found if info.starred}
    assert list(known) == [
        "debian-13-amd64-20261001-2100",
        "debian-12-arm64-20260901-2050",
        "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-20261010",
        "ubuntu/images/hvm-ssd/ubuntu-jammy-22.04-arm64-server-20260910",
        "al2023-ami-2023.9.20261015.0-kernel-6.12-x86_64",
    ]
    assert [(info.os_distro, info.architecture, info.extra["user"]) for info in known.values()] == [
        ("debian", "x86_64", "admin"),
        ("debian", "arm64", "admin"),
        ("ubuntu", "x86_64", "ubuntu"),
        ("ubuntu", "arm64", "ubuntu"),
        ("amazon", "x86_64", "ec2-user"),
    ]
    windows = next(info for info in found if info.os_type == "windows")
    assert (windows.os_distro, windows.starred) == ("windows", False)
    assert len(found) == 3 + len(PUBLIC_IMAGES), "of a compatible cloud, what it offers to all"


def test_on_aws_itself_nobody_else_s_images_are_listed(ec2: Front, cloud: Amazon, furnished: list[str]) -> None:
    found = list(amazon.images.listing(cloud._rows, is_aws=True))
    assert {info.starred for info in found[3:]} == {True}
    assert [sorted(value for key, value in params.items() if key.startswith("Owner")) for params in ec2.params("DescribeImages")] == [
        ["self"],
        ["099720109477", "136693071363", "amazon"],
    ]


def test_a_machine_is_told_in_our_words(cloud: Amazon, boto: Any, run: Run, image: str) -> None:
    vpc = boto.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    subnet = boto.create_subnet(VpcId=vpc, CidrBlock="10.9.1.0/24", AvailabilityZone="us-east-1b")["Subnet"]["SubnetId"]
    group = boto.create_security_group(GroupName="web", Description="web", VpcId=vpc)["GroupId"]
    boto.create_key_pair(KeyName="ops")
    tags = [{"Key": "Name", "Value": "web-1"}, {"Key": "env", "Value": "prod"}, {"Key": "empty", "Value": ""}]
    (made,) = run(
        1,
        SubnetId=subnet,
        SecurityGroupIds=[group],
        KeyName="ops",
        InstanceType="c5.large",
        TagSpecifications=[{"ResourceType": "instance", "Tags": tags}],
    )
    address = boto.allocate_address(Domain="vpc")
    boto.associate_address(InstanceId=made, AllocationId=address["AllocationId"])
    there = boto.describe_instances(InstanceIds=[made])["Reservations"][0]["Instances"][0]
    info = cloud.get_machine(made)
    assert (info.name, info.state, info.type, info.tags) == ("web-1", "running", "vm", {"env": "prod", "empty": ""})
    assert (info.location, info.size, info.image, info.network, info.subnet) == ("us-east-1b", "c5.large", image, vpc, subnet)
    assert info.private_ips == (there["PrivateIpAddress"],)
    assert info.public_ips == (address["PublicIp"],)
    assert (info.os_type, info.architecture, info.cost_hour) == ("linux", "x86_64", None)
    assert info.extra["key_name"] == "ops"
    assert info.extra["security_groups"] == [{"id": group, "name": "web"}]
    assert info.extra["lifecycle"] == "on-demand"
    assert info.extra["volumes"] == [{"device": disk["DeviceName"], "id": disk["Ebs"]["VolumeId"]} for disk in there["BlockDeviceMappings"]]


def test_a_terminated_machine_stays_in_the_list(cloud: Amazon, boto: Any, run: Run) -> None:
    kept, ended = run(2)
    boto.terminate_instances(InstanceIds=[ended])
    assert {info.external_id: info.state for info in cloud.list_machines()} == {kept: "running", ended: "terminated"}


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("pending", "pending"),
        ("running", "running"),
        ("shutting-down", "stopping"),
        ("terminated", "terminated"),
        ("stopping", "stopping"),
        ("stopped", "stopped"),
        ("a new one", "unknown"),
    ],
)
def test_each_state_of_ec2_is_one_of_ours(theirs: str, ours: str) -> None:
    assert rows.machine({"InstanceId": "i-1", "State": {"Name": theirs}}).state == ours


def test_addresses_of_both_families_are_sorted_into_public_and_private() -> None:
    card = {
        "Attachment": {"DeviceIndex": 0},
        "PrivateIpAddresses": [
            {"PrivateIpAddress": "10.0.0.5", "Association": {"PublicIp": "198.51.100.7"}},
            {"PrivateIpAddress": "10.0.0.6"},
        ],
        "Ipv6Addresses": [{"Ipv6Address": "2001:db8::5"}, {"Ipv6Address": "fd00::5"}],
    }
    item = {"InstanceId": "i-1", "State": {"Name": "running"}, "PrivateIpAddress": "10.0.0.5", "NetworkInterfaces": [card]}
    info = rows.machine(item)
    assert info.public_ips == ("198.51.100.7", "2001:db8::5")
    assert info.private_ips == ("10.0.0.5", "10.0.0.6", "fd00::5")


def test_a_machine_s_creation_is_when_its_first_card_was_put_in_and_not_its_last_start(cloud: Amazon) -> None:
    made, started = rows.parse_time("2026-01-01T10:00:00.000Z"), rows.parse_time("2026-05-01T10:00:00.000Z")
    cards = [{"Attachment": {"DeviceIndex": 1, "AttachTime": started}}, {"Attachment": {"DeviceIndex": 0, "AttachTime": made}}]
    item = {"InstanceId": "i-1", "State": {"Name": "running"}, "LaunchTime": started, "NetworkInterfaces": cards}
    assert rows.machine(item).created_at == made
    assert rows.machine(item).extra["started_at"] == "2026-05-01T10:00:00+00:00"


def test_what_a_machine_cannot_do_is_said_of_it() -> None:
    spot = rows.machine({"InstanceId": "i-1", "State": {"Name": "running"}, "InstanceLifecycle": "spot"})
    store = rows.machine({"InstanceId": "i-2", "State": {"Name": "running"}, "RootDeviceType": "instance-store"})
    assert set(spot.refusals) == {"resize"}
    assert set(store.refusals) == {"stop", "start", "resize", "create_snapshot"}
    assert spot.extra["lifecycle"] == "spot"


def test_windows_is_told_from_linux() -> None:
    told = [
        rows.machine({"InstanceId": "i-1", "State": {"Name": "running"}, **platform}).os_type
        for platform in ({"Platform": "windows"}, {"PlatformDetails": "Windows with SQL Server"}, {"PlatformDetails": "Linux/UNIX"}, {})
    ]
    assert told == ["windows", "windows", "linux", "linux"]


def test_networks_subnets_groups_and_volumes_are_told_in_our_words(cloud: Amazon, boto: Any, furnished: list[str]) -> None:
    networks = {info.name: info for info in cloud.list_networks()}
    assert networks["lab"].cidr == "10.9.0.0/16"
    (subnet,) = [info for info in cloud.list_subnets() if info.network == networks["lab"].external_id]
    assert (subnet.cidr, subnet.location, subnet.free_addresses) == ("10.9.1.0/24", "us-east-1b", 251)
    web = next(info for info in cloud.list_security_groups() if info.name == "web")
    boto.authorize_security_group_ingress(GroupId=web.external_id, IpProtocol="tcp", FromPort=22, ToPort=22, CidrIp="192.0.2.0/24")
    web = next(info for info in cloud.list_security_groups() if info.name == "web")
    assert {"direction": "ingress", "protocol": "tcp", "from_port": 22, "to_port": 22, "peer": "192.0.2.0/24"} in web.rules
    assert (web.network, web.description) == (networks["lab"].external_id, "for web")
    volumes = list(cloud.list_volumes())
    assert sorted(info.size_gib for info in volumes if info.state == "available") == [1, 2, 3]
    assert {info.attached_to for info in volumes if info.state == "in-use"} == {(made,) for made in furnished}


def test_locations_are_the_region_and_its_zones(cloud: Amazon) -> None:
    region, *zones = cloud.list_locations()
    assert (region.external_id, region.location_type, region.country) == ("us-east-1", "region", "US")
    assert {(zone.parent, zone.location_type) for zone in zones} == {("us-east-1", "zone")}
    assert len(zones) == 6


def test_names_of_the_ancestor_s_clients_are_accepted() -> None:
    aliases = {field.name: field.aliases for field in Amazon.credential_fields}
    assert aliases["apikey"] == ("api_key",)
    assert aliases["apisecret"] == ("api_secret",)


def test_two_keys_are_two_accounts_and_two_regions_too() -> None:
    told = {
        Amazon.account({"region": region, "apikey": key, "apisecret": "s"})
        for region in ("eu-west-1", "us-east-1")
        for key in ("AKIA1", "AKIA2")
    }
    assert len(told) == 4
    assert not any("AKIA" in account for account in told)
