"""Images as rows of a file, and what all of a cloud's inventory says there."""

from __future__ import annotations

from clouds.models import Image
from core import exports
from core.exports import iso, named

FIRST: exports.Cells = {"id": lambda row: row.pk.hex, "name": lambda row: row.name}
CLOUD: exports.Cells = {"cloud": lambda row: row.cloud.name}
LAST: exports.Cells = {
    "tags": lambda row: row.tags,
    "external_id": lambda row: row.external_id,
    "missing_since": lambda row: iso(row.missing_since),
}

exports.register(
    exports.Source(
        model=Image,
        rows=lambda: Image.objects.select_related("cloud").defer("extra", "cloud__config"),
        cells={
            **FIRST,
            **CLOUD,
            **named("os_type", "os_distro", "architecture", "min_disk_gib", "min_ram_mib", "starred"),
            "created": lambda row: iso(row.image_created_at),
            **LAST,
        },
    )
)
