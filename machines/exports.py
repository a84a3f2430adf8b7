"""Machines as rows of a file."""

from __future__ import annotations

from typing import Any

from clouds.exports import CLOUD, FIRST, LAST
from core import exports
from core.exports import iso, name_of, named
from machines.models import Machine


def _rows() -> Any:
    return Machine.objects.select_related("cloud", "location", "size", "image", "owner", "locked_by").defer(
        "extra", "cloud_tags", "cloud__config"
    )


exports.register(
    exports.Source(
        model=Machine,
        rows=_rows,
        cells={
            **FIRST,
            **named("state", "type"),
            **CLOUD,
            "location": lambda row: name_of(row.location),
            "size": lambda row: name_of(row.size),
            **named("cores", "ram_mib", "disk_gib"),
            "image": lambda row: name_of(row.image),
            **named("public_ips", "private_ips", "hostname", "os_type"),
            "owner": lambda row: row.owner.email if row.owner else "",
            **named("cost_month", "currency"),
            "created": lambda row: iso(row.machine_created_at),
            "expires": lambda row: iso(row.expires_at),
            "locked": lambda row: iso(row.locked_at),
            "locked_by": lambda row: row.locked_by.email if row.locked_by else "",
            "lock_note": lambda row: row.lock_note or "",
            **LAST,
        },
    )
)
