"""Machines and their snapshots."""

from __future__ import annotations

from typing import Any, ClassVar

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models.functions import Coalesce, Lower
from django.utils.functional import cached_property

from clouds.models import INVENTORY_FIELDS, LOCATION, Cloud, Image, Inventory, Location, Size, inventory_constraints
from core.models import Resource, ResourceQuerySet
from core.search import (
    RESOURCE_ALIASES,
    RESOURCE_FIELDS,
    Addresses,
    Bool,
    Choice,
    Date,
    GiB,
    Haystack,
    Many,
    MiB,
    Number,
    Present,
    Ref,
    SearchSpec,
    Tags,
    Text,
)
from core.search import Size as SizeKey
from machines.shell.models import Session, ShellHolder, ShellTicket, Snippet
from networks.models import Network, Subnet

CREATED = Coalesce("machine_created_at", "created_at")  # by its cloud, else when we met it


class Machine(Inventory):
    """A machine on any cloud, hypervisor, container host or rack."""

    class State(models.TextChoices):
        RUNNING = "running"
        STARTING = "starting"
        STOPPING = "stopping"
        STOPPED = "stopped"
        PENDING = "pending"
        SUSPENDED = "suspended"
        TERMINATED = "terminated"
        ERROR = "error"
        REBOOTING = "rebooting"
        PAUSED = "paused"
        RECONFIGURING = "reconfiguring"
        UNKNOWN = "unknown"
        UPDATING = "updating"
        MIGRATING = "migrating"
        CREATING = "creating"
        NORMAL = "normal"
        SUCCEEDED = "succeeded"
        FAILED = "failed"

    class Type(models.TextChoices):
        VM = "vm"
        CONTAINER = "container"
        POD = "pod"
        NODE = "node"
        HYPERVISOR = "hypervisor"
        CONTAINER_HOST = "container-host"
        MACHINE = "machine"

    sorts = {
        "name": "name",
        "state": "state",
        "type": "type",
        "cost": "cost_month",
        "created": "machine_created_at",
        "expiration": "expires_at",
        "cores": "cores",
        "ram_mib": "ram_mib",
        "disk_gib": "disk_gib",
        "cloud": "cloud__name",
        "location": "location__name",
        "size": "size__name",
    }

    state = models.CharField(max_length=16, choices=State.choices, default=State.UNKNOWN)
    type = models.CharField(max_length=16, choices=Type.choices, default=Type.VM)
    parent = models.ForeignKey("self", null=True, on_delete=models.SET_NULL, related_name="children")
    hostname = models.CharField(max_length=255, blank=True)
    public_ips = ArrayField(models.CharField(max_length=45), default=list)
    private_ips = ArrayField(models.CharField(max_length=45), default=list)
    address = models.CharField(max_length=255, blank=True)  # given by a person: dialled in place of what the cloud says
    # Host, port, user and key of its cloud's list, once that key was associated with it: taken out again it stays out.
    # The database's default is for the release before this one.
    listed_login = models.CharField(max_length=700, blank=True, default="", db_default="")
    cores = models.FloatField(null=True)
    ram_mib = models.PositiveIntegerField(null=True)
    disk_gib = models.PositiveIntegerField(null=True)
    os_type = models.CharField(max_length=60, blank=True)
    architecture = models.CharField(max_length=20, blank=True)
    location = models.ForeignKey(Location, null=True, on_delete=models.SET_NULL, related_name="+")
    size = models.ForeignKey(Size, null=True, on_delete=models.SET_NULL, related_name="+")
    image = models.ForeignKey(Image, null=True, on_delete=models.SET_NULL, related_name="+")
    network = models.ForeignKey(Network, null=True, on_delete=models.SET_NULL, related_name="+")
    subnet = models.ForeignKey(Subnet, null=True, on_delete=models.SET_NULL, related_name="+")
    cloud_tags = models.JSONField(null=True)  # as the cloud last had them; null: it keeps none
    refusals = models.JSONField(default=dict)  # {verb: why not}, the provider's word
    machine_created_at = models.DateTimeField(null=True)
    cost_hour = models.DecimalField(max_digits=14, decimal_places=6, null=True)  # null is unknown
    cost_month = models.DecimalField(max_digits=14, decimal_places=4, null=True)
    currency = models.CharField(max_length=3, default="USD")
    expires_at = models.DateTimeField(null=True)
    expire_action = models.CharField(max_length=10, blank=True)  # stop, destroy
    remind_s = models.PositiveIntegerField(null=True)  # before it expires
    remind_message = models.TextField(blank=True)
    reminded_at = models.DateTimeField(null=True)
    locked_at = models.DateTimeField(null=True)  # since then nobody stops, resizes or destroys it without approval
    locked_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+", db_index=False)
    lock_note = models.CharField(max_length=200, blank=True, default="", db_default="")  # for the release before this one, too
    # What a bare word of a search looks in: name, addresses, tags (core.search.Haystack). Written by the database.
    haystack = models.GeneratedField(
        expression=models.Func(
            "name", "tags", "public_ips", "private_ips", "address", function="mist_haystack", output_field=models.TextField()
        ),
        output_field=models.TextField(),
        db_persist=True,
    )

    search = SearchSpec(
        kind="machine",
        fields={
            **INVENTORY_FIELDS,
            "state": Choice("state", tuple(State.values)),
            "type": Choice("type", tuple(Type.values)),
            "hostname": Text("hostname"),
            "ip": Addresses(("public_ips", "private_ips"), haystack="haystack"),
            "public_ips": Addresses(("public_ips",), haystack="haystack"),
            "private_ips": Addresses(("private_ips",), haystack="haystack"),
            "tag": Tags(haystack="haystack"),
            "text": Haystack(),
            "cores": Number("cores"),
            "ram_mib": SizeKey("ram_mib", MiB),
            "disk": SizeKey("disk_gib", GiB),
            "os": Text("os_type"),
            "architecture": Text("architecture"),
            "location": LOCATION,
            "size": Ref("size", "clouds.Size", by=("name", "external_id")),
            "image": Ref("image", "clouds.Image", by=("name", "external_id")),
            "network": Ref("network", "networks.Network", by=("name", "external_id")),
            "subnet": Ref("subnet", "networks.Subnet", by=("name", "external_id")),
            "parent": Ref("parent", "machines.Machine", by=("name", "external_id")),
            "key_associations": Many("pk", "keys.KeyAssociation", Ref("key", "keys.Key"), target="machine"),
            "created": Date(CREATED),
            "age": Date(CREATED, durations="ago"),
            "expiration": Date("expires_at", durations="ahead"),
            "expire_action": Choice("expire_action", ("stop", "destroy")),
            "locked": Present("locked_at"),
            "monthly": Number("cost_month"),
            "hourly": Number("cost_hour"),
            "currency": Text("currency", closed=True),
        },
        aliases={
            **RESOURCE_ALIASES,
            "cpu": "cores",
            "mem": "ram_mib",
            "ram": "ram_mib",
            "ends": "expiration",
            "expires": "expiration",
            "cost": "monthly",
            "key": "key_associations",
            "address": "ip",
            "os_type": "os",
            "arch": "architecture",
        },
        bare=("text", "id"),
    )

    objects = ResourceQuerySet.as_manager()

    class Meta:
        constraints = inventory_constraints("machine")
        indexes = [
            GinIndex(fields=["tags"], name="machine_tags"),
            GinIndex(fields=["haystack"], name="machine_haystack", opclasses=["gin_trgm_ops"]),
            GinIndex(fields=["name"], name="machine_name_trigrams", opclasses=["gin_trgm_ops"]),
            models.Index(fields=["org", "name", "id"], name="machine_by_name"),
            models.Index(fields=["org", "state"], name="machine_by_state"),
            models.Index(fields=["expires_at"], name="machine_expires", condition=models.Q(expires_at__isnull=False)),
        ]

    @cached_property
    def opened_by(self) -> list[Any]:
        """Its key associations, with their keys. A list gives them to all its rows at once: see `machines.api`."""
        return list(self.key_associations.select_related("key"))

    @cached_property
    def trusting(self) -> list[Any]:
        """The certificate authorities it trusts, likewise."""
        return list(self.authority_trusts.select_related("authority"))


class Snapshot(Inventory):
    """A state of one machine that it can be put back into."""

    read_with: ClassVar[str] = "machine"

    machine = models.ForeignKey(Machine, on_delete=models.CASCADE, related_name="snapshots")
    description = models.TextField(blank=True)
    taken_at = models.DateTimeField(null=True)
    active = models.BooleanField(default=False)

    search = SearchSpec(
        kind="snapshot",
        fields={
            **INVENTORY_FIELDS,
            "machine": Ref("machine", "machines.Machine"),
            "description": Text("description"),
            "active": Bool("active"),
            "created": Date("taken_at"),
            "age": Date("taken_at", durations="ago"),
        },
        aliases=RESOURCE_ALIASES,
        bare=("name", "id", "description", "tag"),
    )

    objects = ResourceQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["machine", "external_id"], name="snapshot_unique_external")]


class Preset(Resource):
    """A way to create machines, kept under a name for the whole organization. Whoever sees its cloud sees it."""

    has_history: ClassVar[bool] = False
    cloud_path: ClassVar[str] = "cloud_id"
    read_with: ClassVar[str] = "cloud"

    cloud = models.ForeignKey(Cloud, on_delete=models.CASCADE, related_name="+")
    params = models.JSONField(default=dict)  # what a create is sent, with `name` as a pattern: web-{n:02}
    quantity = models.PositiveIntegerField(default=1)

    search = SearchSpec(
        kind="preset",
        fields={**RESOURCE_FIELDS, "cloud": Ref("cloud", "clouds.Cloud", closed=True)},
        aliases=RESOURCE_ALIASES,
        bare=("name", "id", "tag"),
    )

    objects = ResourceQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint("org", Lower("name"), name="preset_unique_name")]


__all__ = ["CREATED", "Machine", "Preset", "Session", "ShellHolder", "ShellTicket", "Snapshot", "Snippet"]
