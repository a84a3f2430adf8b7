"""Clouds, what they offer, and how polling them goes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower
from django.utils import timezone
from django.utils.functional import cached_property

from clouds.providers import Provider, all_providers
from core.models import Resource, ResourceQuerySet
from core.search import (
    RESOURCE_ALIASES,
    RESOURCE_FIELDS,
    Bool,
    Choice,
    Date,
    Either,
    Field,
    GiB,
    MiB,
    Number,
    Present,
    Ref,
    SearchSpec,
    Text,
    Through,
)
from core.search import Size as SizeKey


def _provider_aliases() -> dict[str, str]:
    return {alias: name for name, cls in all_providers().items() for alias in cls.aliases}


_PROVIDER = Choice("provider", lambda: tuple(all_providers()), _provider_aliases)


class Cloud(Resource):
    """An account, host or engine that we list and act on."""

    cloud_path: ClassVar[str] = "id"

    provider = models.CharField(max_length=40)
    config = models.JSONField(default=dict)  # the credentials that are no secrets
    vault = models.ForeignKey("core.VaultEntry", null=True, on_delete=models.PROTECT, related_name="+")  # those that are
    credentials_version = models.PositiveIntegerField(default=1)
    account = models.CharField(max_length=120, blank=True)  # clouds of one account share one budget of calls
    enabled = models.BooleanField(default=True)
    features = models.JSONField(default=dict)  # {compute, dns, container, objectstorage}
    extra = models.JSONField(default=dict)

    @cached_property
    def driver(self) -> type[Provider] | None:
        """The class that speaks to it; None where this installation has it no more."""
        return all_providers().get(self.provider)

    search = SearchSpec(
        kind="cloud",
        fields={**RESOURCE_FIELDS, "provider": _PROVIDER, "enabled": Bool("enabled")},
        aliases=RESOURCE_ALIASES,
        bare=("name", "id", "tag", "provider"),
    )

    objects = ResourceQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint("org", Lower("name"), name="cloud_unique_name")]
        indexes = [GinIndex(fields=["tags"], name="cloud_tags")]


# The keys of every row that lives in a cloud.
INVENTORY_FIELDS: Mapping[str, Field] = {
    **RESOURCE_FIELDS,
    "cloud": Ref("cloud", "clouds.Cloud", closed=True),
    "provider": Through("cloud", "clouds.Cloud", _PROVIDER),
    "external_id": Text("external_id"),
    "first_seen": Date("first_seen_at"),
    "last_seen": Date("last_seen_at"),
    "missing_since": Date("missing_since"),
    "missing": Present("missing_since"),
}
LOCATION = Ref("location", "clouds.Location", by=("name", "external_id"), parent="parent")


class Poll(models.Model):
    """How listing one kind of one cloud goes. One row each; the scheduler takes those that are due."""

    id = models.BigAutoField(primary_key=True)
    cloud = models.ForeignKey(Cloud, on_delete=models.CASCADE, related_name="polls")
    kind = models.CharField(max_length=30)  # machine, size, image …
    every_s = models.PositiveIntegerField()
    due_at = models.DateTimeField(default=timezone.now)
    claimed_until = models.DateTimeField(null=True)  # somebody is at it; past this time anybody may be
    fast_until = models.DateTimeField(null=True)  # after an action, or while somebody looks: every few seconds
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    succeeded_at = models.DateTimeField(null=True)
    completed_at = models.DateTimeField(null=True)  # the last listing that was complete: "last seen" of what is there
    took_ms = models.IntegerField(null=True)
    count = models.IntegerField(null=True)
    failures = models.PositiveIntegerField(default=0)  # in a row
    error_code = models.CharField(max_length=60, blank=True)
    error_detail = models.TextField(blank=True)
    incomplete = models.TextField(blank=True)  # why the last listing was not complete

    class Meta:
        constraints = [models.UniqueConstraint(fields=["cloud", "kind"], name="one_poll_a_kind")]
        indexes = [models.Index(fields=["due_at"], name="poll_due")]


class Inventory(Resource):
    """A row that a poll writes: it lives in a cloud, under the cloud's own id."""

    cloud_path: ClassVar[str] = "cloud_id"

    cloud = models.ForeignKey(Cloud, on_delete=models.CASCADE, related_name="+")
    external_id = models.CharField(max_length=512)
    extra = models.JSONField(default=dict)  # the provider's own data
    first_seen_at = models.DateTimeField(default=timezone.now)
    # Of a row that is missing. One that is there was last seen by the last complete poll (Poll.completed_at).
    last_seen_at = models.DateTimeField(null=True)
    missing_since = models.DateTimeField(null=True)
    source = models.CharField(max_length=20, default="poll")  # poll, created
    fingerprint = models.BinaryField(null=True)  # of what the cloud last said: a poll writes only what differs

    class Meta:
        abstract = True


def inventory_constraints(table: str) -> list[models.BaseConstraint]:
    """One row a cloud and external id (rows being created have none yet)."""
    return [models.UniqueConstraint(fields=["cloud", "external_id"], condition=~Q(external_id=""), name=f"{table}_unique_external")]


class Location(Inventory):
    """A place a machine can be in."""

    read_with: ClassVar[str] = "cloud"

    parent = models.ForeignKey("self", null=True, on_delete=models.SET_NULL, related_name="children")
    location_type = models.CharField(max_length=20, default="zone")
    country = models.CharField(max_length=2, blank=True)

    search = SearchSpec(
        kind="location",
        fields={
            **INVENTORY_FIELDS,
            "parent": Ref("parent", "clouds.Location", by=("name", "external_id"), parent="parent"),
            "type": Text("location_type", closed=True),
            "country": Text("country", closed=True),
        },
        aliases={**RESOURCE_ALIASES, "location_type": "type"},
        bare=("name", "id", "external_id", "tag"),
    )

    objects = ResourceQuerySet.as_manager()

    class Meta:
        constraints = inventory_constraints("location")


class Size(Inventory):
    """A size machines come in."""

    read_with: ClassVar[str] = "cloud"
    sorts = {"name": "name", "cores": "cores", "ram_mib": "ram_mib", "disk_gib": "disk_gib", "cost": "cost_hour"}

    cores = models.FloatField(null=True)
    ram_mib = models.PositiveIntegerField(null=True)
    disk_gib = models.PositiveIntegerField(null=True)
    architecture = models.CharField(max_length=20, blank=True)
    cost_hour = models.DecimalField(max_digits=14, decimal_places=6, null=True)
    currency = models.CharField(max_length=3, default="USD")
    locations = ArrayField(models.CharField(max_length=200), null=True)  # external ids; null: everywhere

    search = SearchSpec(
        kind="size",
        fields={
            **INVENTORY_FIELDS,
            "cores": Number("cores"),
            "ram_mib": SizeKey("ram_mib", MiB),
            "disk_gib": SizeKey("disk_gib", GiB),
            "architecture": Text("architecture"),
            "cost_hour": Number("cost_hour"),
        },
        aliases={**RESOURCE_ALIASES, "cpu": "cores", "mem": "ram_mib", "ram": "ram_mib", "disk": "disk_gib", "arch": "architecture"},
        bare=("name", "id", "external_id", "tag"),
    )

    objects = ResourceQuerySet.as_manager()

    class Meta:
        constraints = inventory_constraints("size")


class Image(Inventory):
    """What a machine is made from."""

    read_with: ClassVar[str] = "cloud"

    os_type = models.CharField(max_length=30, blank=True)
    os_distro = models.CharField(max_length=60, blank=True)
    architecture = models.CharField(max_length=20, blank=True)
    min_disk_gib = models.PositiveIntegerField(null=True)
    min_ram_mib = models.PositiveIntegerField(null=True)
    image_created_at = models.DateTimeField(null=True)
    starred = models.BooleanField(default=False)
    locations = ArrayField(models.CharField(max_length=200), null=True)

    search = SearchSpec(
        kind="image",
        fields={
            **INVENTORY_FIELDS,
            "os": Either((Text("os_type"), Text("os_distro"))),
            "architecture": Text("architecture"),
            "starred": Bool("starred"),
            "created": Date("image_created_at"),
            "age": Date("image_created_at", durations="ago"),
            "min_disk": SizeKey("min_disk_gib", GiB),
            "min_ram": SizeKey("min_ram_mib", MiB),
        },
        aliases={**RESOURCE_ALIASES, "os_type": "os", "arch": "architecture"},
        bare=("name", "id", "external_id", "os", "tag"),
    )

    objects = ResourceQuerySet.as_manager()

    class Meta:
        constraints = inventory_constraints("image")
