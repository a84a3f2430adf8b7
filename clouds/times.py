"""When something was last seen: the last complete poll of its kind, unless it has gone missing since."""

from __future__ import annotations

from typing import Any

from clouds.models import Poll


def last_seen(row: Any, context: dict[str, Any]) -> str | None:
    """ISO time or None. `context` keeps the polls of one answer: one query a list."""
    if row.missing_since is not None:
        return row.last_seen_at.isoformat() if row.last_seen_at else None
    key = f"completed:{row.kind()}"
    if key not in context:
        found = Poll.objects.filter(cloud__org_id=row.org_id, kind=row.kind()).values_list("cloud_id", "completed_at")
        context[key] = dict(found)
    at = context[key].get(row.cloud_id)
    return at.isoformat() if at else None
