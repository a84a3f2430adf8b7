"""Volumes as rows of a file."""

from __future__ import annotations

from clouds.exports import CLOUD, FIRST, LAST
from core import exports
from core.exports import iso, name_of, named
from volumes.models import Volume

exports.register(
    exports.Source(
        model=Volume,
        rows=lambda: Volume.objects.select_related("cloud", "location").defer("extra", "cloud_tags", "cloud__config"),
        cells={
            **FIRST,
            **CLOUD,
            "location": lambda row: name_of(row.location),
            **named("state", "size_gib", "volume_type"),
            "attached_to": lambda row: [machine.hex for machine in row.attached_to],
            "created": lambda row: iso(row.volume_created_at),
            **LAST,
        },
    )
)
