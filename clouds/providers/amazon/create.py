"""One machine from a spec: what RunInstances is asked, and what comes after it.

Source: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_RunInstances.html
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from clouds.providers.base import Deadline
from clouds.providers.facts import Field, MachineSpec, VolumeSpec
from core.errors import Gone, MistError, Rejected, Unavailable

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_ec2.type_defs import TagTypeDef

log = logging.getLogger(__name__)

FIELDS = (
    Field(
        name="public_ip",
        label="Public IPv4 address",
        kind="choice",
        default="subnet",
        choices=(("subnet", "As the subnet does"), ("yes", "Yes"), ("no", "No")),
    ),
    Field(name="spot", label="Spot instance", kind="toggle", default=False, help="Cheaper; AWS may take it back at any time."),
    Field(name="encrypted", label="Encrypt its volumes", kind="toggle", default=False, help="With the account's default key."),
    Field(name="iam_instance_profile", label="IAM instance profile", help="The name or ARN of the role the machine itself has."),
    Field(name="termination_protection", label="Protect against termination", kind="toggle", default=False),
)
POLL_S = 2.0  # between looks at a machine that is starting
RESERVE_S = 8.0  # of the deadline, kept to take back what could not be finished
VOLUME_TYPE = "gp3"
_LETTERS = "fghijklmnop"  # AWS recommends /dev/sdf to /dev/sdp for data


Asking = Callable[[], AbstractContextManager[None]]


def machine(ec2: EC2Client, spec: MachineSpec, region: str, deadline: Deadline, asking: Asking) -> str:
    """Ask for it and attach what is to be attached; its id.  Raises: as `asking()`, and Rejected."""
    with asking():
        external_id, devices = _launch(ec2, spec, region)
    existing = any(volume.external_id for volume, _ in devices)
    if not existing and not any(volume.name for volume, _ in devices):
        return external_id
    try:
        with asking():
            _finish(ec2, external_id, devices, deadline)
    except MistError as error:
        if not existing:  # only names are missing
            log.warning("machine %s: its volumes could not be named: %s", external_id, error.detail)
            return external_id
        fate = _take_back(ec2, external_id, asking)
        # Not Unavailable: to ask again with the same token would find the machine that was taken back.
        raise Rejected(f"{error.detail} {fate}", words=getattr(error, "words", "")) from error
    return external_id


def _launch(ec2: EC2Client, spec: MachineSpec, region: str) -> tuple[str, list[tuple[VolumeSpec, str]]]:
    """The new machine's id, and the device of each of its volumes."""
    refuse_reserved(spec.tags)
    existing = [volume for volume in spec.volumes if volume.external_id]
    zone = _zone(ec2, existing, spec.location if spec.location != region else None)
    devices = placed(spec.volumes)
    query = _query(ec2, spec, zone, devices)
    return ec2.run_instances(**query)["Instances"][0]["InstanceId"], devices


def instance(ec2: EC2Client, external_id: str) -> dict[str, Any]:
    """Raises: Gone."""
    for reservation in ec2.describe_instances(InstanceIds=[external_id])["Reservations"]:
        for item in reservation["Instances"]:
            return dict(item)
    raise Gone("The machine is not in the cloud any more.")


def tag_list(tags: Mapping[str, str]) -> list[TagTypeDef]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def refuse_reserved(keys: Iterable[str]) -> None:
    """Raises: Rejected, for tags that only AWS itself may set."""
    reserved = sorted(key for key in keys if key.lower().startswith("aws:"))
    if reserved:
        raise Rejected(f"Tags that begin with aws: are AWS's own: {', '.join(reserved[:5])}.")


def _query(ec2: EC2Client, spec: MachineSpec, zone: str | None, devices: list[tuple[VolumeSpec, str]]) -> dict[str, Any]:
    tags = tag_list({**spec.tags, "Name": spec.name})
    subnet = spec.subnet or (_subnet(ec2, spec.network, zone) if spec.network else None)
    query: dict[str, Any] = {
        "ImageId": spec.image,
        "MinCount": 1,
        "MaxCount": 1,
        # EC2 takes 64 ASCII characters.
        "ClientToken": hashlib.sha256(spec.token.encode()).hexdigest(),
        "TagSpecifications": [{"ResourceType": kind, "Tags": tags} for kind in ("instance", "volume")],
    }
    if spec.size:
        query["InstanceType"] = spec.size
    if zone:
        query["Placement"] = {"AvailabilityZone": zone}
    public_ip = spec.extra.get("public_ip", "subnet")
    if public_ip in {"yes", "no"}:  # can be said of a network card only, and then the card has subnet and groups
        card: dict[str, Any] = {"DeviceIndex": 0, "AssociatePublicIpAddress": public_ip == "yes"}
        if subnet:
            card["SubnetId"] = subnet
        if spec.security_groups:
            card["Groups"] = list(spec.security_groups)
        query["NetworkInterfaces"] = [card]
    else:
        if subnet:
            query["SubnetId"] = subnet
        if spec.security_groups:
            query["SecurityGroupIds"] = list(spec.security_groups)
    key_name = _import_key(ec2, spec.public_key) if spec.public_key else spec.key_name
    if key_name:
        query["KeyName"] = key_name
    if spec.cloudinit:
        query["UserData"] = spec.cloudinit  # botocore puts it into base64
    disks = list(_disks(ec2, spec, devices))
    if disks:
        query["BlockDeviceMappings"] = disks
    if spec.extra.get("spot"):
        query["InstanceMarketOptions"] = {"MarketType": "spot"}
    profile = str(spec.extra.get("iam_instance_profile") or "")
    if profile:
        query["IamInstanceProfile"] = {"Arn" if profile.startswith("arn:") else "Name": profile}
    if spec.extra.get("termination_protection"):
        query["DisableApiTermination"] = True
    return query


def _disks(ec2: EC2Client, spec: MachineSpec, devices: list[tuple[VolumeSpec, str]]) -> Iterator[dict[str, Any]]:
    """Block device mappings: the root where it differs from the image's, and each new volume."""
    encrypted = {"Encrypted": True} if spec.extra.get("encrypted") else {}
    if spec.disk_gib or encrypted:
        found = ec2.describe_images(ImageIds=[spec.image])["Images"]
        if not found or not found[0].get("RootDeviceName"):
            raise Rejected("The image is not there, or its root disk is not known.")
        size = {"VolumeSize": spec.disk_gib} if spec.disk_gib else {}
        yield {"DeviceName": found[0]["RootDeviceName"], "Ebs": {**size, **encrypted}}
    for volume, device in devices:
        if volume.external_id:
            continue
        if not volume.size_gib:
            raise Rejected("A new volume needs a size.")
        ebs = {
            "VolumeSize": volume.size_gib,
            "VolumeType": volume.volume_type or VOLUME_TYPE,
            "DeleteOnTermination": volume.delete_with_machine,
            **encrypted,
        }
        yield {"DeviceName": device, "Ebs": ebs}


def placed(volumes: Iterable[VolumeSpec]) -> list[tuple[VolumeSpec, str]]:
    """Each volume and the device it is attached as: the one asked for, or the next that is free."""
    listed = list(volumes)
    taken = [volume.device for volume in listed if volume.device]
    free = [f"/dev/sd{letter}" for letter in _LETTERS if f"/dev/sd{letter}" not in taken]
    if len(set(taken)) < len(taken):
        raise Rejected("Two volumes are to be the same device.")
    if len(listed) - len(taken) > len(free):
        raise Rejected(f"At most {len(_LETTERS)} volumes find a device by themselves. Name the devices of the others.")
    return [(volume, volume.device or free.pop(0)) for volume in listed]


def _zone(ec2: EC2Client, existing: list[VolumeSpec], zone: str | None) -> str | None:
    """Where the machine goes: where it is asked to, or where its volumes are.  Raises: Rejected, before anything is made."""
    if not existing:
        return zone
    ids = [volume.external_id for volume in existing if volume.external_id]
    for item in ec2.describe_volumes(VolumeIds=ids)["Volumes"]:
        if item["State"] != "available" and not item.get("MultiAttachEnabled"):
            raise Rejected(f"The volume {item['VolumeId']} is {item['State']}, so it cannot be attached.")
        if zone and item["AvailabilityZone"] != zone:
            raise Rejected(f"The volume {item['VolumeId']} is in {item['AvailabilityZone']}, and the machine would be in {zone}.")
        zone = item["AvailabilityZone"]
    return zone


def _subnet(ec2: EC2Client, network: str, zone: str | None) -> str:
    """Of a VPC's subnets (in the zone) the one with most room: RunInstances takes a subnet, not a VPC."""
    filters = [{"Name": "vpc-id", "Values": [network]}]
    if zone:
        filters.append({"Name": "availability-zone", "Values": [zone]})
    found = ec2.describe_subnets(Filters=filters)["Subnets"]  # type: ignore[arg-type]
    if not found:
        raise Rejected(f"The network {network} has no subnet{f' in {zone}' if zone else ''}. Make one, or choose another.")
    best = max(found, key=lambda item: item.get("AvailableIpAddressCount", 0))
    return str(best["SubnetId"])


def _import_key(ec2: EC2Client, public_key: str) -> str:
    """The name of the key pair with this key. The name comes of the key, so a pair of that name is that key."""
    try:
        blob = base64.b64decode(public_key.split()[1], validate=True)
    except (IndexError, binascii.Error):
        raise Rejected("The public key is not an OpenSSH one.") from None
    name = f"mist-{hashlib.sha256(blob).hexdigest()[:32]}"
    try:
        ec2.import_key_pair(KeyName=name, PublicKeyMaterial=public_key.encode())
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") != "InvalidKeyPair.Duplicate":
            raise
    return name


def _finish(ec2: EC2Client, external_id: str, devices: list[tuple[VolumeSpec, str]], deadline: Deadline) -> None:
    """When it runs: attach the volumes there were, and give the new ones their names."""
    item = _running(ec2, external_id, deadline)
    for volume, device in devices:
        if not volume.external_id:
            continue
        ec2.attach_volume(InstanceId=external_id, VolumeId=volume.external_id, Device=device)
        if volume.delete_with_machine:
            disk = {"DeviceName": device, "Ebs": {"VolumeId": volume.external_id, "DeleteOnTermination": True}}
            ec2.modify_instance_attribute(InstanceId=external_id, BlockDeviceMappings=[disk])  # type: ignore[list-item]
    made = {disk["DeviceName"]: disk["Ebs"]["VolumeId"] for disk in item.get("BlockDeviceMappings", ()) if "Ebs" in disk}
    for volume, device in devices:
        if volume.name and device in made:
            ec2.create_tags(Resources=[made[device]], Tags=[{"Key": "Name", "Value": volume.name}])


def _running(ec2: EC2Client, external_id: str, deadline: Deadline) -> dict[str, Any]:
    """The instance once it runs.  Raises: Rejected, where it never will; Unavailable, while there is still time to take it back."""
    while True:
        try:
            item = instance(ec2, external_id)
            state = item["State"]["Name"]
        except Gone:
            state = "pending"
        except ClientError as error:  # EC2 knows a new machine everywhere only after some seconds
            if error.response.get("Error", {}).get("Code") != "InvalidInstanceID.NotFound":
                raise
            state = "pending"
        if state == "running":
            return item
        if state != "pending":
            reason = item.get("StateReason", {}).get("Message", "")
            raise Rejected("The machine ended before its volumes could be attached.", words=reason)
        if deadline.remaining() < RESERVE_S + POLL_S:
            raise Unavailable("The machine did not start in time for its volumes to be attached.", code="cloud_timeout")
        time.sleep(POLL_S)


def _take_back(ec2: EC2Client, external_id: str, asking: Asking) -> str:
    """Destroy what could not be finished; a sentence that says how that went."""
    try:
        with asking():
            ec2.terminate_instances(InstanceIds=[external_id])
    except MistError as error:
        return f"The new machine {external_id} is still there, as it could not be destroyed: {error.detail}"
    return "The new machine was destroyed again."
