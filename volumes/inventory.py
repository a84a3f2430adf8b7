"""How a poll writes volumes."""

from __future__ import annotations

from typing import Any

from clouds.inventory import InventoryKind, ids_of, register
from clouds.models import Cloud, Location
from machines.models import Machine
from volumes.models import Volume


@register
class Volumes(InventoryKind):
    """Volumes."""

    model = Volume
    method = "list_volumes"
    refers = ("location", "machine")
    refer_lists = ("attached_to",)
    every_s = 300
    tells = True
    facts = {"state": "state", "attached_to": "attachment", "size_gib": "size"}

    def references(self, cloud: Cloud) -> dict[str, Any]:
        return {"location": ids_of(Location, cloud), "machine": ids_of(Machine, cloud)}

    def columns(self, info: Any, refs: dict[str, Any]) -> dict[str, Any]:
        return {
            "name": (info.name or info.external_id)[:255],
            "size_gib": info.size_gib,
            "state": info.state,
            "volume_type": info.volume_type,
            "location_id": refs["location"].get(info.location),
            "attached_to": [refs["machine"][m] for m in info.attached_to if m in refs["machine"]],
            "cloud_tags": dict(info.tags) if info.tags is not None else None,
            "volume_created_at": info.created_at,
            "extra": dict(info.extra),
        }
