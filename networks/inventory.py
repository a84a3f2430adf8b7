"""How a poll writes networks, subnets and security groups."""

from __future__ import annotations

from typing import Any

from clouds.inventory import InventoryKind, ids_of, register
from clouds.models import Cloud, Location
from networks.models import Network, SecurityGroup, Subnet


@register
class Networks(InventoryKind):
    """Networks."""

    model = Network
    method = "list_networks"
    refers = ("location",)
    every_s = 600
    tells = True

    def references(self, cloud: Cloud) -> dict[str, Any]:
        return {"location": ids_of(Location, cloud)}

    def columns(self, info: Any, refs: dict[str, Any]) -> dict[str, Any]:
        return {"name": info.name, "cidr": info.cidr, "location_id": refs["location"].get(info.location), "extra": dict(info.extra)}


@register
class Subnets(InventoryKind):
    """Subnets."""

    model = Subnet
    method = "list_subnets"
    refers = ("location", "network")
    every_s = 600

    def references(self, cloud: Cloud) -> dict[str, Any]:
        return {"location": ids_of(Location, cloud), "network": ids_of(Network, cloud)}

    def columns(self, info: Any, refs: dict[str, Any]) -> dict[str, Any]:
        return {
            "name": info.name,
            "cidr": info.cidr,
            "network_id": refs["network"].get(info.network),
            "location_id": refs["location"].get(info.location),
            "free_addresses": info.free_addresses,
            "extra": dict(info.extra),
        }


@register
class SecurityGroups(InventoryKind):
    """Security groups."""

    model = SecurityGroup
    method = "list_security_groups"
    refers = ("network",)
    every_s = 600

    def references(self, cloud: Cloud) -> dict[str, Any]:
        return {"network": ids_of(Network, cloud)}

    def columns(self, info: Any, refs: dict[str, Any]) -> dict[str, Any]:
        return {
            "name": info.name,
            "network_id": refs["network"].get(info.network),
            "description": info.description,
            "rules": [dict(rule) for rule in info.rules],
            "extra": dict(info.extra),
        }
