"""A machine's snapshots: EBS snapshots of its volumes, all of one moment, held together by tags.

A set is known by the snapshot of its root volume. A snapshot of the root volume that somebody else made is a set of one.
EC2 puts back a root volume in place and nothing else, so a set that holds more is refused rather than put back by half.

Source: https://docs.aws.amazon.com/ebs/latest/userguide/ebs-create-snapshots.html,
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/replace-root.html
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from clouds.providers.facts import SnapshotInfo
from core.errors import Rejected

from .rows import name_of

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client

MACHINE, SET, ROOT = "mist:machine", "mist:snapshot", "mist:root"  # tags: whose it is, which set, the root volume then

Rows = Callable[..., Iterator[dict[str, Any]]]


def listing(ask: Rows, instance: Mapping[str, Any]) -> list[SnapshotInfo]:
    """Newest first. `ask(operation, key, **query)` yields the items of every page."""
    root = _root_volume(instance)
    ours = {"Name": f"tag:{MACHINE}", "Values": [instance["InstanceId"]]}
    found = list(ask("describe_snapshots", "Snapshots", OwnerIds=["self"], Filters=[ours]))
    origin = ""
    if root:
        of_root = {"Name": "volume-id", "Values": [root]}
        found += ask("describe_snapshots", "Snapshots", OwnerIds=["self"], Filters=[of_root])
        origin = next(ask("describe_volumes", "Volumes", Filters=[of_root]), {}).get("SnapshotId") or ""
    sets: dict[str, dict[str, dict[str, Any]]] = {}
    for item in found:
        key = _tag(item, SET) or item["SnapshotId"]
        sets.setdefault(key, {})[item["SnapshotId"]] = item
    infos = [_info(list(parts_.values()), origin) for parts_ in sets.values()]
    return sorted(infos, key=lambda info: (info.created_at is not None, info.created_at), reverse=True)


def make(ec2: EC2Client, instance: Mapping[str, Any], name: str, description: str) -> str:
    """Start a snapshot of every volume; the id of the root volume's."""
    root = _root_volume(instance)
    if not root:
        raise Rejected("The machine has no EBS root volume that a snapshot could be made of.")
    tags = {"Name": name, MACHINE: instance["InstanceId"], SET: uuid.uuid4().hex, ROOT: root}
    answer = ec2.create_snapshots(
        InstanceSpecification={"InstanceId": instance["InstanceId"]},
        Description=description or name,
        TagSpecifications=[{"ResourceType": "snapshot", "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}],
    )
    made = {part["VolumeId"]: part["SnapshotId"] for part in answer["Snapshots"]}
    return made[root]


def parts(info: SnapshotInfo) -> list[str]:
    """Ids of the EBS snapshots of a set, the one that the set is known by last."""
    return sorted((part["snapshot"] for part in info.extra["volumes"]), key=lambda part: part == info.external_id)


def refuse_half(info: SnapshotInfo) -> None:
    """Raises: Rejected, when going back would leave volumes as they are now."""
    others = [f"{part['volume']} ({part['snapshot']})" for part in info.extra["volumes"] if part["snapshot"] != info.external_id]
    if others:
        raise Rejected(
            "EC2 puts back the root volume only, and this snapshot holds others as well. Make volumes of their snapshots and"
            f" attach them by hand: {', '.join(others[:10])}."
        )


def _info(items: list[dict[str, Any]], origin: str) -> SnapshotInfo:
    first = next((item for item in items if item["VolumeId"] == _tag(item, ROOT)), items[0])
    states = {item.get("State", "") for item in items}
    return SnapshotInfo(
        external_id=first["SnapshotId"],
        name=name_of(first, first["SnapshotId"]),
        created_at=first.get("StartTime"),
        description=first.get("Description") or "",
        active=first["SnapshotId"] == origin,
        extra={
            "state": next((state for state in ("error", "pending") if state in states), "completed"),
            "volumes": [
                {"volume": item["VolumeId"], "snapshot": item["SnapshotId"], "size_gib": item.get("VolumeSize")}
                for item in sorted(items, key=lambda item: item is not first)
            ],
        },
    )


def _root_volume(instance: Mapping[str, Any]) -> str:
    disks: list[Mapping[str, Any]] = instance.get("BlockDeviceMappings", [])
    if len(disks) == 1 and "Ebs" in disks[0]:  # some compatible clouds name another device than they attach
        return str(disks[0]["Ebs"]["VolumeId"])
    return next(
        (disk["Ebs"]["VolumeId"] for disk in disks if disk.get("DeviceName") == instance.get("RootDeviceName") and "Ebs" in disk), ""
    )


def _tag(item: Mapping[str, Any], key: str) -> str:
    return next((tag.get("Value", "") for tag in item.get("Tags", ()) if tag["Key"] == key), "")
