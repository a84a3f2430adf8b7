"""Networks, subnets, security groups."""

from __future__ import annotations

from django.db import models

from clouds.models import INVENTORY_FIELDS, LOCATION, Inventory, Location, inventory_constraints
from core.models import ResourceQuerySet
from core.search import RESOURCE_ALIASES, Number, Ref, SearchSpec, Text

_NETWORK = Ref("network", "networks.Network", by=("name", "external_id"))


class Network(Inventory):
    """A network of a cloud."""

    cidr = models.CharField(max_length=64, blank=True)
    location = models.ForeignKey(Location, null=True, on_delete=models.SET_NULL, related_name="+")

    search = SearchSpec(
        kind="network",
        fields={**INVENTORY_FIELDS, "cidr": Text("cidr"), "location": LOCATION},
        aliases=RESOURCE_ALIASES,
        bare=("name", "id", "cidr", "external_id", "tag"),
    )

    objects = ResourceQuerySet.as_manager()

    class Meta:
        constraints = inventory_constraints("network")


class Subnet(Inventory):
    """A part of a network."""

    network = models.ForeignKey(Network, null=True, on_delete=models.CASCADE, related_name="subnets")
    cidr = models.CharField(max_length=64, blank=True)
    location = models.ForeignKey(Location, null=True, on_delete=models.SET_NULL, related_name="+")
    free_addresses = models.PositiveIntegerField(null=True)

    search = SearchSpec(
        kind="subnet",
        fields={
            **INVENTORY_FIELDS,
            "network": _NETWORK,
            "cidr": Text("cidr"),
            "location": LOCATION,
            "free_addresses": Number("free_addresses"),
        },
        aliases=RESOURCE_ALIASES,
        bare=("name", "id", "cidr", "external_id", "tag"),
    )

    objects = ResourceQuerySet.as_manager()

    class Meta:
        constraints = inventory_constraints("subnet")


class SecurityGroup(Inventory):
    """Rules of what may come in and go out. `rules`: [{direction, protocol, from_port, to_port, peer}]."""

    plural = "security-groups"

    network = models.ForeignKey(Network, null=True, on_delete=models.SET_NULL, related_name="security_groups")
    description = models.TextField(blank=True)
    rules = models.JSONField(default=list)

    search = SearchSpec(
        kind="security_group",
        fields={**INVENTORY_FIELDS, "network": _NETWORK, "description": Text("description")},
        aliases=RESOURCE_ALIASES,
        bare=("name", "id", "description", "external_id", "tag"),
    )

    objects = ResourceQuerySet.as_manager()

    class Meta:
        constraints = inventory_constraints("security_group")
