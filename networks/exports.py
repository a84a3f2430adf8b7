"""Networks as rows of a file."""

from __future__ import annotations

from clouds.exports import CLOUD, FIRST, LAST
from core import exports
from core.exports import name_of, named
from networks.models import Network

exports.register(
    exports.Source(
        model=Network,
        rows=lambda: Network.objects.select_related("cloud", "location").defer("extra", "cloud__config"),
        cells={**FIRST, **CLOUD, "location": lambda row: name_of(row.location), **named("cidr"), **LAST},
    )
)
