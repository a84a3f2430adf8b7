"""What EC2 answers, in our words. Pure functions of one item of an answer, as botocore parsed it.

Source: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_Types.html
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from clouds.providers.facts import ImageInfo, LocationInfo, MachineInfo, NetworkInfo, SecurityGroupInfo, SizeInfo, SubnetInfo, VolumeInfo

from .client import parse_time

STATES = {
    "pending": "pending",
    "running": "running",
    "stopping": "stopping",
    "stopped": "stopped",
    "shutting-down": "stopping",
    "terminated": "terminated",
}
VOLUME_STATES = {
    "creating": "creating",
    "available": "available",
    "in-use": "in-use",
    "deleting": "deleting",
    "deleted": "deleting",
    "error": "error",
}
# Verbs an instance cannot do although EC2 and its state could.
_NO_REFUSALS: Mapping[str, str] = {}
_SPOT = {"resize": "A spot instance keeps its size."}
_STORE_ROOT = dict.fromkeys(
    ("stop", "start", "resize", "create_snapshot"), "Its root disk is an instance store, which lives only as long as it runs."
)
_DISTROS = {
    "ubuntu": "ubuntu",
    "debian": "debian",
    "al20": "amazon",
    "amzn": "amazon",
    "amazon linux": "amazon",
    "rhel": "rhel",
    "red hat": "rhel",
    "suse": "suse",
    "centos": "centos",
    "fedora": "fedora",
    "rocky": "rocky",
    "alma": "almalinux",
    "flatcar": "flatcar",
    "windows": "windows",
}


def tags_of(item: Mapping[str, Any]) -> dict[str, str]:
    """Tags but for Name, which is the name of the thing."""
    return {tag["Key"]: tag.get("Value", "") for tag in item.get("Tags", ()) if tag["Key"] != "Name"}


def name_of(item: Mapping[str, Any], otherwise: str) -> str:
    """The Name tag, or what is used where there is none."""
    for tag in item.get("Tags", ()):
        if tag["Key"] == "Name":
            return tag.get("Value") or otherwise
    return otherwise


def _present(**values: Any) -> dict[str, Any]:
    """Without what is unknown: `extra` is stored for each row."""
    return {key: value for key, value in values.items() if value not in (None, "", [], {})}


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


def machine(item: Mapping[str, Any]) -> MachineInfo:
    """One of Reservations[].Instances[]. Run for each instance at each poll: keep it cheap."""
    external_id: str = item["InstanceId"]
    name = external_id
    tags: dict[str, str] = {}
    for tag in item.get("Tags", ()):
        if tag["Key"] == "Name":
            name = tag.get("Value") or external_id
        else:
            tags[tag["Key"]] = tag.get("Value", "")
    public: dict[str, None] = {}  # ordered, each once
    private: dict[str, None] = {}
    # LaunchTime is that of the last start. The first network card is put in at the creation and stays.
    created_at: datetime | None = item.get("LaunchTime")
    for card in item.get("NetworkInterfaces", ()):
        attachment = card.get("Attachment")
        if attachment and attachment.get("DeviceIndex") == 0 and attachment.get("AttachTime"):
            created_at = attachment["AttachTime"]
        for address in card.get("PrivateIpAddresses", ()):
            if "PrivateIpAddress" in address:
                private[address["PrivateIpAddress"]] = None
            association = address.get("Association")
            if association and "PublicIp" in association:
                public[association["PublicIp"]] = None
        for address in card.get("Ipv6Addresses", ()):
            (private if address["Ipv6Address"].startswith(("fc", "fd", "fe80")) else public)[address["Ipv6Address"]] = None
    if item.get("PrivateIpAddress"):
        private[item["PrivateIpAddress"]] = None
    if item.get("PublicIpAddress"):
        public[item["PublicIpAddress"]] = None
    state: str = item["State"]["Name"]
    cpu = item.get("CpuOptions")
    platform: str = item.get("Platform") or item.get("PlatformDetails") or ""
    zone: str | None = item.get("Placement", {}).get("AvailabilityZone")
    lifecycle: str = item.get("InstanceLifecycle") or "on-demand"
    extra: dict[str, Any] = {
        "lifecycle": lifecycle,
        "security_groups": [{"id": group["GroupId"], "name": group.get("GroupName", "")} for group in item.get("SecurityGroups", ())],
        "volumes": [
            {"device": disk["DeviceName"], "id": disk["Ebs"]["VolumeId"]} for disk in item.get("BlockDeviceMappings", ()) if "Ebs" in disk
        ],
    }
    for key, value in (
        ("key_name", item.get("KeyName")),
        ("platform", item.get("PlatformDetails") or platform),
        ("root_device", item.get("RootDeviceName")),
        ("iam_instance_profile", item.get("IamInstanceProfile", {}).get("Arn")),
        ("started_at", _iso(item.get("LaunchTime"))),
        ("state_reason", item.get("StateTransitionReason")),
        ("auto_scaling_group", tags.get("aws:autoscaling:groupName")),
    ):
        if value:
            extra[key] = value
    if item.get("Placement", {}).get("Tenancy", "default") != "default":
        extra["tenancy"] = item["Placement"]["Tenancy"]
    refusals = _NO_REFUSALS
    if item.get("RootDeviceType") == "instance-store":
        refusals = _STORE_ROOT
    elif lifecycle == "spot":
        refusals = _SPOT
    return MachineInfo(
        external_id=external_id,
        name=name,
        state=STATES.get(state, "unknown"),
        hostname=item.get("PublicDnsName") or item.get("PrivateDnsName") or "",
        public_ips=tuple(public),
        private_ips=tuple(private),
        cores=cpu["CoreCount"] * cpu.get("ThreadsPerCore", 1) if cpu and cpu.get("CoreCount") else None,
        os_type="windows" if platform[:7].lower() == "windows" else "linux",
        architecture=item.get("Architecture") or "",
        location=zone,
        size=item.get("InstanceType"),
        image=item.get("ImageId"),
        network=item.get("VpcId"),
        subnet=item.get("SubnetId"),
        created_at=created_at,
        tags=tags,
        refusals=refusals,
        extra=extra,
    )


def location(item: Mapping[str, Any], country: str) -> LocationInfo:
    """One of AvailabilityZones[]; `country` is its region's."""
    return LocationInfo(
        external_id=item["ZoneName"],
        name=item["ZoneName"],
        parent=item.get("RegionName"),
        location_type="zone",
        country=country,
        extra=_present(zone_id=item.get("ZoneId"), zone_type=item.get("ZoneType"), state=item.get("State")),
    )


def size(item: Mapping[str, Any], zones: Iterable[str] | None) -> SizeInfo:
    """One of InstanceTypes[], and the zones that offer it (None: not known)."""
    architectures: list[str] = item.get("ProcessorInfo", {}).get("SupportedArchitectures", [])
    architecture = next((known for known in ("x86_64", "arm64") if known in architectures), architectures[0] if architectures else "")
    gpus = [
        _present(
            name=gpu.get("Name"), maker=gpu.get("Manufacturer"), count=gpu.get("Count"), ram_mib=gpu.get("MemoryInfo", {}).get("SizeInMiB")
        )
        for gpu in item.get("GpuInfo", {}).get("Gpus", ())
    ]
    return SizeInfo(
        external_id=item["InstanceType"],
        name=item["InstanceType"],
        cores=item.get("VCpuInfo", {}).get("DefaultVCpus"),
        ram_mib=item.get("MemoryInfo", {}).get("SizeInMiB"),
        disk_gib=item.get("InstanceStorageInfo", {}).get("TotalSizeInGB"),
        architecture=architecture,
        locations=None if zones is None else tuple(sorted(zones)),
        extra=_present(
            family=item["InstanceType"].partition(".")[0],
            architectures=architectures,
            gpus=gpus,
            network=item.get("NetworkInfo", {}).get("NetworkPerformance"),
            is_bare_metal=item.get("BareMetal") or None,
            is_burstable=item.get("BurstablePerformanceSupported") or None,
            is_current=item.get("CurrentGeneration"),
            is_spot="spot" in item.get("SupportedUsageClasses", ()),
        ),
    )


def image(item: Mapping[str, Any], *, starred: bool = False, user: str = "") -> ImageInfo:
    """One of Images[]. `user`: who logs in, where that is known."""
    name: str = item.get("Name") or name_of(item, item["ImageId"])
    platform: str = item.get("Platform") or item.get("PlatformDetails") or ""
    is_windows = platform[:7].lower() == "windows"
    said = f"{name} {item.get('Description') or ''} {item.get('PlatformDetails') or ''}".lower()
    root: Mapping[str, Any] = next(
        (disk for disk in item.get("BlockDeviceMappings", ()) if disk.get("DeviceName") == item.get("RootDeviceName")), {}
    )
    created = item.get("CreationDate")
    return ImageInfo(
        external_id=item["ImageId"],
        name=name,
        os_type="windows" if is_windows else "linux",
        os_distro="windows" if is_windows else next((distro for mark, distro in _DISTROS.items() if mark in said), ""),
        architecture=item.get("Architecture") or "",
        min_disk_gib=root.get("Ebs", {}).get("VolumeSize"),
        created_at=parse_time(created) if created else None,
        starred=starred,
        extra=_present(
            description=(item.get("Description") or "")[:200],
            owner=item.get("OwnerId"),
            state=item.get("State"),
            is_public=item.get("Public"),
            root_device=item.get("RootDeviceName"),
            user=user,
            tags=tags_of(item),
        ),
    )


def network(item: Mapping[str, Any]) -> NetworkInfo:
    """One of Vpcs[]."""
    return NetworkInfo(
        external_id=item["VpcId"],
        name=name_of(item, item["VpcId"]),
        cidr=item.get("CidrBlock") or "",
        extra=_present(
            is_default=item.get("IsDefault"),
            state=item.get("State"),
            more_cidrs=[
                block["CidrBlock"] for block in item.get("CidrBlockAssociationSet", ()) if block.get("CidrBlock") != item.get("CidrBlock")
            ],
            ipv6_cidrs=[block["Ipv6CidrBlock"] for block in item.get("Ipv6CidrBlockAssociationSet", ())],
            tags=tags_of(item),
        ),
    )


def subnet(item: Mapping[str, Any]) -> SubnetInfo:
    """One of Subnets[]."""
    return SubnetInfo(
        external_id=item["SubnetId"],
        name=name_of(item, item["SubnetId"]),
        network=item["VpcId"],
        cidr=item.get("CidrBlock") or "",
        location=item.get("AvailabilityZone"),
        free_addresses=item.get("AvailableIpAddressCount"),
        extra=_present(
            is_default=item.get("DefaultForAz"),
            gives_public_ip=item.get("MapPublicIpOnLaunch"),
            ipv6_cidrs=[block["Ipv6CidrBlock"] for block in item.get("Ipv6CidrBlockAssociationSet", ())],
            state=item.get("State"),
            tags=tags_of(item),
        ),
    )


def security_group(item: Mapping[str, Any]) -> SecurityGroupInfo:
    """One of SecurityGroups[]. A rule for each peer, as people read them."""
    return SecurityGroupInfo(
        external_id=item["GroupId"],
        name=item.get("GroupName") or item["GroupId"],
        network=item.get("VpcId"),
        description=item.get("Description") or "",
        rules=(*_rules("ingress", item.get("IpPermissions", ())), *_rules("egress", item.get("IpPermissionsEgress", ()))),
        extra=_present(tags=tags_of(item)),
    )


def _rules(direction: str, permissions: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    for permission in permissions:
        protocol = permission.get("IpProtocol", "-1")
        peers = [
            *(peer.get("CidrIp") for peer in permission.get("IpRanges", ())),
            *(peer.get("CidrIpv6") for peer in permission.get("Ipv6Ranges", ())),
            *(peer.get("PrefixListId") for peer in permission.get("PrefixListIds", ())),
            *(peer.get("GroupId") for peer in permission.get("UserIdGroupPairs", ())),
        ]
        for peer in peers:
            yield {
                "direction": direction,
                "protocol": "all" if protocol == "-1" else protocol,
                "from_port": permission.get("FromPort"),
                "to_port": permission.get("ToPort"),
                "peer": peer or "",
            }


def volume(item: Mapping[str, Any]) -> VolumeInfo:
    """One of Volumes[]."""
    attachments = [one for one in item.get("Attachments", ()) if one.get("State") != "detached"]
    return VolumeInfo(
        external_id=item["VolumeId"],
        name=name_of(item, item["VolumeId"]),
        size_gib=item.get("Size") or 0,
        state=VOLUME_STATES.get(item.get("State", ""), "unknown"),
        volume_type=item.get("VolumeType") or "",
        location=item.get("AvailabilityZone"),
        attached_to=tuple(one["InstanceId"] for one in attachments if one.get("InstanceId")),
        created_at=item.get("CreateTime"),
        tags=tags_of(item),
        extra=_present(
            iops=item.get("Iops"),
            throughput_mibs=item.get("Throughput"),
            is_encrypted=item.get("Encrypted"),
            snapshot=item.get("SnapshotId"),
            devices={one["InstanceId"]: one.get("Device", "") for one in attachments if one.get("InstanceId")},
            is_deleted_with_machine=next((one.get("DeleteOnTermination") for one in attachments), None),
        ),
    )
