"""Does a policy allow what Mist does? Reads are tried; writes are asked as DryRun, which changes nothing.

EC2 looks at what a request names before it looks at the policy, so a write is asked about something that exists; where there
is none, the answer is "could not be tested".

Source: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/CommonParameters.html (DryRun)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from botocore import xform_name
from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserError

from clouds.providers.facts import PermissionCheck
from core.errors import AuthFailed, Unavailable

from .errors import DENIED, from_answer, statement

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client

# A public key that is nobody's: what a DryRun of ImportKeyPair is asked with.
_NO_KEY = b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA mist"

READS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("DescribeInstances", "list machines", {"MaxResults": 5}),
    ("DescribeAvailabilityZones", "list locations", {}),
    ("DescribeInstanceTypes", "list sizes", {"MaxResults": 5}),
    ("DescribeInstanceTypeOfferings", "say which zone has which size", {"MaxResults": 5}),
    (
        "DescribeImages",
        "list images",
        {"Owners": ["amazon"], "Filters": [{"Name": "name", "Values": ["al2023-ami-2023.*-x86_64"]}], "MaxResults": 5},
    ),
    ("DescribeVpcs", "list networks", {"MaxResults": 5}),
    ("DescribeSubnets", "list subnets", {"MaxResults": 5}),
    ("DescribeSecurityGroups", "list security groups", {"MaxResults": 5}),
    ("DescribeVolumes", "list volumes", {"MaxResults": 5}),
    ("DescribeSnapshots", "list snapshots", {"OwnerIds": ["self"], "MaxResults": 5}),
)
# Parameters are formatted with the ids found; one that names an id not found is not asked.
WRITES: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("RunInstances", "create machines", {"ImageId": "{image}", "InstanceType": "t3.micro", "MinCount": 1, "MaxCount": 1}),
    ("StartInstances", "start machines", {"InstanceIds": ["{machine}"]}),
    ("StopInstances", "stop machines", {"InstanceIds": ["{machine}"]}),
    ("RebootInstances", "reboot machines", {"InstanceIds": ["{machine}"]}),
    ("TerminateInstances", "destroy machines", {"InstanceIds": ["{machine}"]}),
    ("ModifyInstanceAttribute", "resize machines", {"InstanceId": "{machine}", "EbsOptimized": {"Value": False}}),
    ("CreateTags", "tag and rename machines", {"Resources": ["{machine}"], "Tags": [{"Key": "mist", "Value": ""}]}),
    ("DeleteTags", "remove tags of machines", {"Resources": ["{machine}"], "Tags": [{"Key": "mist"}]}),
    ("GetConsoleOutput", "know a machine's host key before it is first dialled", {"InstanceId": "{machine}"}),
    ("ImportKeyPair", "give a new machine its key", {"KeyName": "mist-permission", "PublicKeyMaterial": _NO_KEY}),
    ("AttachVolume", "attach volumes to a new machine", {"InstanceId": "{machine}", "VolumeId": "{volume}", "Device": "/dev/sdp"}),
    ("DeleteVolume", "delete volumes", {"VolumeId": "{volume}"}),
    ("CreateSnapshots", "make snapshots", {"InstanceSpecification": {"InstanceId": "{machine}"}}),
    ("DeleteSnapshot", "remove snapshots", {"SnapshotId": "{snapshot}"}),
    ("CreateReplaceRootVolumeTask", "go back to a snapshot", {"InstanceId": "{machine}"}),
)


def probe(client: Callable[[], EC2Client], asking: Callable[[], AbstractContextManager[None]]) -> list[PermissionCheck]:
    """One check an action, reads first.  Raises: as `asking()`, but for a permission that is missing."""
    with asking():
        ec2 = client()
        found: dict[str, str] = {}
        checks = []
        for action, purpose, query in READS:
            ok, answer = _ask(ec2, action, query)
            found |= _ids(answer)
            checks.append(_check(action, purpose, ok))
        for action, purpose, query in WRITES:
            filled = _filled(query, found)
            ok = _ask(ec2, action, {**filled, "DryRun": True})[0] if filled is not None else None
            checks.append(_check(action, purpose, ok))
        return checks


def _check(action: str, purpose: str, ok: bool | None) -> PermissionCheck:
    return PermissionCheck(name=f"ec2:{action}", purpose=purpose, ok=ok, fix="" if ok else statement(f"ec2:{action}"))


def _ask(ec2: EC2Client, action: str, query: Mapping[str, Any]) -> tuple[bool | None, Mapping[str, Any]]:
    """Is it allowed (None: the answer was about something else), and what was answered."""
    try:
        answer: Mapping[str, Any] = getattr(ec2, xform_name(action))(**query)
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        if code == "DryRunOperation":
            return True, {}
        if code in DENIED:
            return False, {}
        if isinstance(from_answer(error, ()), AuthFailed | Unavailable):
            raise
        return None, {}
    except ResponseParserError:  # a compatible cloud that stumbles over what it does not know
        return None, {}
    return True, answer


def _ids(answer: Mapping[str, Any]) -> dict[str, str]:
    """Ids that writes can be asked about."""
    machines = [item for reservation in answer.get("Reservations", ()) for item in reservation["Instances"]]
    alive = [item for item in machines if item["State"]["Name"] not in {"terminated", "shutting-down"}]
    lists = {
        "machine": (alive, "InstanceId"),
        "image": (answer.get("Images", ()), "ImageId"),
        "volume": (answer.get("Volumes", ()), "VolumeId"),
        "snapshot": (answer.get("Snapshots", ()), "SnapshotId"),
    }
    return {name: items[0][key] for name, (items, key) in lists.items() if items}


def _filled(value: Any, found: Mapping[str, str]) -> Any:
    """`value` with every "{name}" replaced; None where one of them was not found."""
    if isinstance(value, str) and value.startswith("{"):
        return found.get(value[1:-1])
    if isinstance(value, list):
        made = [_filled(inner, found) for inner in value]
        return None if None in made else made
    if isinstance(value, dict):
        filled = {key: _filled(inner, found) for key, inner in value.items()}
        return None if None in filled.values() else filled
    return value
