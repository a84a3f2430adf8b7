"""The machines that `create` asks for, as Terraform's AWS provider asks for them.

Source: the documentation of terraform-provider-aws: resources aws_instance and aws_key_pair, data source aws_subnets
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import _terraform as common
from .._hcl import Block, Blocks, Body, Expression, Value, document
from ..facts import Terraform, TerraformSpec, VolumeSpec
from .create import VOLUME_TYPE, placed

FIRST_SUBNET = "The subnet is the first of the network %(network)s; Mist takes the one with most free addresses."
ATTACHED = "The volume %(volume)s is there already: attach it with aws_volume_attachment."
NOTES = (common.CLOUDINIT_NOTE, FIRST_SUBNET, ATTACHED)


def written(wanted: TerraformSpec) -> Terraform:
    """Raises: Rejected, where the volumes cannot have the devices that were asked for."""
    spec, label = wanted.spec, common.label_of(wanted)
    region = str(wanted.config.get("region") or "")
    zone = spec.location if spec.location != region else None
    notes: list[tuple[str, Mapping[str, Any]]] = []
    blocks = common.head("aws", "hashicorp/aws", "~> 6.0", _provider(wanted.config, region))
    subnet: str | None = spec.subnet
    if spec.network and not subnet:
        filters = [("vpc-id", spec.network), *([("availability-zone", zone)] if zone else [])]
        blocks.append(Block("data", ("aws_subnets", label), {"filter": Blocks({"name": key, "values": [text]} for key, text in filters)}))
        subnet = Expression(f"data.aws_subnets.{label}.ids[0]")
        notes.append((FIRST_SUBNET, {"network": spec.network}))
    if spec.public_key:  # with a prefix: Mist may have brought the same key in under a name of its own
        blocks.append(Block("resource", ("aws_key_pair", label), {"key_name_prefix": "mist-", "public_key": spec.public_key}))
    if spec.cloudinit:
        notes.append((common.CLOUDINIT_NOTE, {}))
    notes += [(ATTACHED, {"volume": one.external_id}) for one in spec.volumes if one.external_id]
    blocks.append(common.resource(wanted, "aws_instance", label, _instance(wanted, label, zone, subnet)))
    return Terraform(text=document(blocks), notes=tuple(notes))


def _provider(config: Mapping[str, Any], region: str) -> Body:
    endpoint = str(config.get("endpoint") or "")
    if not endpoint:
        return {"region": region}
    # What speaks EC2's API alone knows nothing of AWS's accounts and regions.
    names = ("skip_credentials_validation", "skip_region_validation", "skip_requesting_account_id")
    return {"region": region, **dict.fromkeys(names, True), "endpoints": Blocks([{"ec2": endpoint}])}


def _instance(wanted: TerraformSpec, label: str, zone: str | None, subnet: str | None) -> Body:
    spec, extra = wanted.spec, wanted.spec.extra
    name = common.name_of(wanted)
    profile = str(extra.get("iam_instance_profile") or "")
    encrypted = True if extra.get("encrypted") else None
    tags: dict[str, Value] = {**spec.tags, "Name": name}
    new = [(volume, device) for volume, device in placed(spec.volumes) if not volume.external_id]
    # Either all volumes have the same tags, or each says its own.
    own = any(volume.name for volume, _device in new)
    root: Body = {"encrypted": encrypted, "tags": tags if own else None}
    return {
        "ami": spec.image,
        "instance_type": spec.size,
        "availability_zone": zone,
        "subnet_id": subnet,
        "vpc_security_group_ids": list(spec.security_groups) or None,
        "associate_public_ip_address": {"yes": True, "no": False}.get(str(extra.get("public_ip"))),
        "key_name": Expression(f"aws_key_pair.{label}.key_name") if spec.public_key else spec.key_name or None,
        "iam_instance_profile": profile.rpartition("/")[2] if profile.startswith("arn:") else profile or None,
        "disable_api_termination": True if extra.get("termination_protection") else None,
        "user_data": common.CLOUDINIT if spec.cloudinit else None,
        "tags": tags,
        "volume_tags": None if own else tags,
        "instance_market_options": Blocks([{"market_type": "spot"}] if extra.get("spot") else []),
        "root_block_device": Blocks([root] if encrypted or own else []),
        "ebs_block_device": Blocks(
            _disk(one, device, encrypted, {**tags, "Name": one.name or name} if own else None) for one, device in new
        ),
    }


def _disk(volume: VolumeSpec, device: str, encrypted: bool | None, tags: Mapping[str, Value] | None) -> Body:
    return {
        "device_name": device,
        "volume_size": volume.size_gib,
        "volume_type": volume.volume_type or VOLUME_TYPE,
        "encrypted": encrypted,
        "delete_on_termination": volume.delete_with_machine,
        "tags": tags,
    }
