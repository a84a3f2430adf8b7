"""Amazon EC2 and what speaks its API, by boto3's core. One cloud is one region of one account.

Left out, because EC2 has no single call for it that ends well or not at all: `power_cycle` (a forced stop takes minutes, and a
machine would be left stopped when it does not end in time; EC2's own reboot resets a machine that does not answer within some
minutes), `clone` (an image and a run of it, minutes apart), suspend and resume (hibernation is chosen when a machine is made).

Source: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast
from urllib.parse import urlsplit

from clouds.providers.base import Context, Provider, register
from clouds.providers.facts import (
    Field,
    ImageInfo,
    LocationInfo,
    MachineInfo,
    MachineSpec,
    NetworkInfo,
    PermissionCheck,
    SecurityGroupInfo,
    SizeInfo,
    SnapshotInfo,
    SubnetInfo,
    Terraform,
    TerraformSpec,
    VolumeInfo,
)
from core.errors import Gone, Rejected, Unavailable

from .. import _console
from . import create, images, permissions, rows, snapshots, terraform
from .client import Clients, endpoint_of
from .errors import translated
from .regions import REGIONS

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client

Info = TypeVar("Info")

PAGE = 1000  # rows; what most of EC2's listings give at most
SIZES_PAGE = 100  # DescribeInstanceTypes refuses more
CHECK_PAGE = 5  # the least that DescribeInstances takes

_ALIVE = frozenset({"pending", "running", "stopping", "stopped", "unknown"})


@register
class Amazon(Provider):
    """EC2: machines, sizes, images, zones, VPCs, subnets, security groups, EBS volumes and snapshots."""

    name, title, aliases = "amazon", "Amazon Web Services", ("aws", "ec2")
    category, tile = "public", "aws"
    purposes = tuple(purpose for _action, purpose, _query in permissions.READS + permissions.WRITES)
    snapshots_outlive = True  # EBS snapshots are things of their own
    doc = (
        "In the AWS console under IAM, make a user for Mist alone, attach a policy with the EC2 actions it shall have, and create an"
        " access key of the kind “third-party service”. Each region is a cloud of its own."
    )
    credential_fields = (
        Field(
            name="region",
            label="Region",
            required=True,
            choices=tuple((code, f"{name} – {code}") for code, (name, _) in REGIONS.items()),
            help="One that is not in the list may be typed.",
        ),
        Field(name="apikey", label="Access key ID", required=True, aliases=("api_key",)),
        Field(name="apisecret", label="Secret access key", kind="password", required=True, secret=True, aliases=("api_secret",)),
        Field(
            name="endpoint", label="Endpoint", help="Only for a cloud that speaks EC2's API: its address, https://… Leave empty for AWS."
        ),
        Field(name="role_arn", label="Role to assume", help="arn:aws:iam::…:role/… Leave empty to act as the key's user."),
        Field(name="external_id", label="External ID", help="What the role's trust policy asks for, if it does."),
    )
    create_fields = create.FIELDS
    create_requires = frozenset({"image", "size", "location", "key"})
    terraform_notes = terraform.NOTES
    verb_states: ClassVar[Mapping[str, frozenset[str]]] = {
        "rename": _ALIVE,
        "resize": _ALIVE,  # EC2 wants it stopped, and says so: the console offers to stop it first
        "create_snapshot": frozenset({"running", "stopped"}),
        "remove_snapshot": _ALIVE,
        "revert_to_snapshot": frozenset({"running"}),
    }

    def __init__(self, credentials: Mapping[str, Any], context: Context | None = None) -> None:
        super().__init__(credentials, context)
        self._clients = Clients(credentials, self.context)

    @classmethod
    def account(cls, credentials: Mapping[str, Any]) -> str:
        """EC2 counts calls by account and region; the account behind a key is not known without a call."""
        key = hashlib.sha256(str(credentials.get("apikey") or "").encode()).hexdigest()[:16]
        host = urlsplit(str(credentials.get("endpoint") or "")).netloc.rpartition("@")[2] or "aws"
        return f"{cls.name}:{host}:{credentials.get('region') or ''}:{key}"

    @property
    def _ec2(self) -> EC2Client:
        return self._clients.ec2

    def _asking(self) -> AbstractContextManager[None]:
        return translated(self._clients.secrets)

    def _rows(self, operation: str, key: str, page: int = PAGE, **query: Any) -> Iterator[dict[str, Any]]:
        """The items under `key` of every page. A page is let go of while it is read, before the next one comes."""
        with self._asking():
            paginator = cast(Any, self._ec2).get_paginator(operation)
            pages: Iterable[dict[str, Any]] = paginator.paginate(**query, PaginationConfig={"PageSize": min(page, PAGE)})
            for answer in pages:
                items = answer[key]
                items.reverse()
                while items:
                    yield items.pop()

    def _infos(self, make: Callable[[dict[str, Any]], Info], operation: str, key: str, page: int = PAGE) -> Iterator[Info]:
        with self._asking():
            for item in self._rows(operation, key, page):
                yield make(item)

    # -- connection

    def check(self) -> None:
        """Asks for a few instances: it takes a key, a region and a permission that work, and is what polling will do."""
        try:
            with self._asking():
                self._ec2.describe_instances(MaxResults=CHECK_PAGE)
        except Unavailable as error:
            if error.code != "cloud_no_address" or endpoint_of(self.credentials) or self._clients.is_known_region():
                raise
            raise Rejected(f"There is no AWS region “{self._clients.region[:40]}”.", code="cloud_bad_region") from error

    def permissions(self) -> list[PermissionCheck]:
        """Reads are tried, writes asked as DryRun; one call for each action."""
        return permissions.probe(lambda: self._ec2, self._asking)

    def close(self) -> None:
        self._clients.close()

    # -- listings

    def list_machines(self) -> Iterator[MachineInfo]:
        with self._asking():
            for reservation in self._rows("describe_instances", "Reservations"):
                for item in reservation["Instances"]:
                    yield rows.machine(item)

    def list_locations(self) -> Iterator[LocationInfo]:
        """The region, and its zones that are enabled for the account."""
        region = self._clients.region
        title, country = REGIONS.get(region, (region, ""))
        with self._asking():
            zones = [rows.location(item, country) for item in self._ec2.describe_availability_zones()["AvailabilityZones"]]
        yield LocationInfo(external_id=region, name=title, location_type="region", country=country)
        yield from zones

    def list_sizes(self) -> Iterator[SizeInfo]:
        zones: dict[str, set[str]] = {}
        with self._asking():
            for offer in self._rows("describe_instance_type_offerings", "InstanceTypeOfferings", LocationType="availability-zone"):
                zones.setdefault(offer["InstanceType"], set()).add(offer["Location"])
        yield from self._infos(
            lambda item: rows.size(item, zones.get(item["InstanceType"])), "describe_instance_types", "InstanceTypes", SIZES_PAGE
        )

    def list_images(self) -> Iterator[ImageInfo]:
        """The account's own, the newest of some well-known public ones; of a compatible cloud, what it offers to all."""
        with self._asking():
            yield from images.listing(self._rows, is_aws=endpoint_of(self.credentials) is None)

    def list_networks(self) -> Iterator[NetworkInfo]:
        return self._infos(rows.network, "describe_vpcs", "Vpcs")

    def list_subnets(self) -> Iterator[SubnetInfo]:
        return self._infos(rows.subnet, "describe_subnets", "Subnets")

    def list_security_groups(self) -> Iterator[SecurityGroupInfo]:
        return self._infos(rows.security_group, "describe_security_groups", "SecurityGroups")

    def list_volumes(self) -> Iterator[VolumeInfo]:
        return self._infos(rows.volume, "describe_volumes", "Volumes", 500)

    # -- one volume

    def get_volume(self, external_id: str) -> VolumeInfo:
        with self._asking():
            found = self._ec2.describe_volumes(Filters=[{"Name": "volume-id", "Values": [external_id]}])["Volumes"]
            if not found:
                raise Gone("The volume is not in the cloud any more.")
            return rows.volume(found[0])

    def delete_volume(self, external_id: str) -> None:
        with self._asking():
            self._ec2.delete_volume(VolumeId=external_id)

    # -- one machine

    def get_machine(self, external_id: str) -> MachineInfo:
        with self._asking():
            return rows.machine(self._instance(external_id))

    def _instance(self, external_id: str) -> dict[str, Any]:
        with self._asking():
            return create.instance(self._ec2, external_id)

    def host_fingerprints(self, external_id: str) -> list[str]:
        """What cloud-init printed at boot; EC2 has it some minutes afterwards, and keeps the last 64 KiB."""
        with self._asking():
            printed = self._ec2.get_console_output(InstanceId=external_id).get("Output") or ""
        return _console.fingerprints(printed)

    def create_machine(self, spec: MachineSpec) -> str:
        """Asked twice with one token, EC2 makes one machine. Returns when it has been asked for; where there are volumes to
        attach, when they are (a machine that they cannot be attached to is destroyed again).
        """
        with self._asking():
            ec2 = self._ec2
        return create.machine(ec2, spec, self._clients.region, self.context.deadline, self._asking)

    @staticmethod
    def terraform(wanted: TerraformSpec) -> Terraform:
        return terraform.written(wanted)

    def start_machine(self, external_id: str) -> None:
        with self._asking():
            self._ec2.start_instances(InstanceIds=[external_id])

    def stop_machine(self, external_id: str) -> None:
        with self._asking():
            self._ec2.stop_instances(InstanceIds=[external_id])

    def reboot_machine(self, external_id: str) -> None:
        with self._asking():
            self._ec2.reboot_instances(InstanceIds=[external_id])

    def destroy_machine(self, external_id: str) -> None:
        with self._asking():
            self._ec2.terminate_instances(InstanceIds=[external_id])

    def rename_machine(self, external_id: str, name: str) -> None:
        with self._asking():
            self._ec2.create_tags(Resources=[external_id], Tags=[{"Key": "Name", "Value": name}])

    def resize_machine(self, external_id: str, size: str | None, *, cores: int | None = None, ram_mib: int | None = None) -> None:
        if not size:
            raise Rejected("EC2 takes a size by its name, such as t3.micro.")
        if self._instance(external_id)["State"]["Name"] != "stopped":
            raise Rejected("EC2 changes the size of a stopped machine only. Stop it first.", code="cloud_wrong_state")
        with self._asking():
            self._ec2.modify_instance_attribute(InstanceId=external_id, InstanceType={"Value": size})

    def tag_machine(self, external_id: str, tags: Mapping[str, str], removed: Iterable[str]) -> None:
        gone = [key for key in removed if key not in tags]
        create.refuse_reserved([*tags, *gone])
        with self._asking():
            if tags:
                self._ec2.create_tags(Resources=[external_id], Tags=create.tag_list(tags))
            if gone:
                self._ec2.delete_tags(Resources=[external_id], Tags=[{"Key": key} for key in gone])

    # -- snapshots: EBS snapshots of all its volumes, taken at one moment

    def list_snapshots(self, external_id: str) -> list[SnapshotInfo]:
        instance = self._instance(external_id)
        with self._asking():
            return snapshots.listing(self._rows, instance)

    def create_snapshot(self, external_id: str, name: str, description: str = "") -> str:
        instance = self._instance(external_id)
        with self._asking():
            return snapshots.make(self._ec2, instance, name, description)

    def remove_snapshot(self, external_id: str, snapshot: str) -> None:
        found = self._snapshot(external_id, snapshot)
        with self._asking():
            for part in snapshots.parts(found):  # the one it is listed by goes last: what broke off can be asked again
                self._ec2.delete_snapshot(SnapshotId=part)

    def revert_to_snapshot(self, external_id: str, snapshot: str) -> None:
        """EC2 replaces the root volume and restarts the machine; the volume that was is kept, detached."""
        found = self._snapshot(external_id, snapshot)
        snapshots.refuse_half(found)
        with self._asking():
            self._ec2.create_replace_root_volume_task(InstanceId=external_id, SnapshotId=found.external_id)

    def _snapshot(self, external_id: str, snapshot: str) -> SnapshotInfo:
        """One of this machine's: an id alone would reach every snapshot of the account.  Raises: Gone."""
        for info in self.list_snapshots(external_id):
            if info.external_id == snapshot:
                return info
        raise Gone("The snapshot is not in the cloud any more.")
