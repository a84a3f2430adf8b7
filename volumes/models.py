"""Volumes of clouds."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models

from clouds.models import INVENTORY_FIELDS, LOCATION, Inventory, Location, inventory_constraints
from core.models import ResourceQuerySet
from core.search import RESOURCE_ALIASES, Date, GiB, Refs, SearchSpec, Size, Text


class Volume(Inventory):
    """A disk that lives by itself."""

    size_gib = models.PositiveIntegerField(default=0)
    state = models.CharField(max_length=20, default="unknown")
    volume_type = models.CharField(max_length=40, blank=True)
    location = models.ForeignKey(Location, null=True, on_delete=models.SET_NULL, related_name="+")
    attached_to = ArrayField(models.UUIDField(), default=list)  # ids of machines
    cloud_tags = models.JSONField(null=True)
    volume_created_at = models.DateTimeField(null=True)

    search = SearchSpec(
        kind="volume",
        fields={
            **INVENTORY_FIELDS,
            "size": Size("size_gib", GiB),
            "state": Text("state", closed=True),
            "type": Text("volume_type"),
            "location": LOCATION,
            "attached_to": Refs("attached_to", "machines.Machine"),
            "created": Date("volume_created_at"),
            "age": Date("volume_created_at", durations="ago"),
        },
        aliases={**RESOURCE_ALIASES, "volume_type": "type", "machine": "attached_to"},
        bare=("name", "id", "external_id", "tag"),
    )

    objects = ResourceQuerySet.as_manager()

    class Meta:
        constraints = inventory_constraints("volume")
