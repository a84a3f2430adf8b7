"""The audit log: facts, appended. `record` is the one way in; core/chain.py seals what was recorded.

An event's digest is taken of JSON that a round trip through PostgreSQL leaves as it is (`plain`): no null characters, no lone
surrogates, whole floats as integers (jsonb writes 1e22 as digits), text keys, times in UTC.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.utils import timezone

from core import live, personal
from core.actor import Actor
from core.models import Event, Resource, new_id

NOTED: tuple[str, ...] = (
    *("id", "org_id", "at", "type", "actor_id", "via", "request_id", "target_kind", "target_id", "target_name"),
    *("target_tags", "cloud_id", "job_id", "before", "after", "detail", "personal"),
)
DEPTH_MAX = 60
_BAD = re.compile("[\x00\ud800-\udfff]")


def text(value: str, most: int | None = None) -> str:
    """As PostgreSQL can hold it, cut to `most` characters."""
    return _BAD.sub("\N{REPLACEMENT CHARACTER}", value)[:most]


def plain(value: Any, depth: int = 0) -> Any:
    """The JSON value that stands for `value` and comes back from jsonb as it is. What JSON has no word for becomes text."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return text(value)
    if isinstance(value, int):
        return int(value) if value.bit_length() <= 1024 else hex(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            return str(value)
        return plain(int(value)) if value.is_integer() else value
    if isinstance(value, UUID):
        return value.hex
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bytes | memoryview):
        return bytes(value).hex()
    if depth > DEPTH_MAX:
        return "…"
    if isinstance(value, Mapping):
        return {_key(key): plain(inner, depth + 1) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(inner, depth + 1) for inner in value]
    return text(str(value), 10_000)


def _key(key: Any) -> str:
    found = plain(key)
    return found if isinstance(found, str) else json.dumps(found)


# `plain` is for what is no JSON yet: an id, a time, bytes. Made once, for verifying encodes millions.
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=plain).encode


def canonical(value: Any) -> bytes:
    """JSON with sorted keys and no spaces: the same fact is the same bytes."""
    return _encode(plain(value)).encode()


def digest(event: Event) -> bytes:
    """SHA-256 of everything the event says. Its JSON is plain already: `build` made it so, or the database did."""
    said = {name: getattr(event, name) for name in NOTED}
    said["at"] = event.at.astimezone(UTC)
    return hashlib.sha256(_encode(said).encode()).digest()


def build(
    kind_of_fact: str,
    actor: Actor,
    *,
    org_id: UUID | None = None,
    target: Resource | None = None,
    target_kind: str = "",
    target_id: UUID | None = None,
    target_name: str = "",
    job_id: UUID | None = None,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    detail: Mapping[str, Any] | None = None,
    at: datetime | None = None,
) -> Event:
    """An event, not saved. `org_id` defaults to the target's, then the actor's organization.

    Who it was stands in `actor_id` alone; e-mail and address go where they can be erased, with the e-mail of the person whom a
    target tells of (its `person`). Put no personal data into the rest.
    """
    if target is not None:
        target_kind, target_id, target_name = target_kind or target.kind(), target_id or target.pk, target_name or str(target)
    event = Event(
        id=new_id(),
        org_id=org_id or getattr(target, "org_id", None) or actor.org_id,
        at=at or timezone.now(),
        type=text(kind_of_fact, 120),
        actor_id=actor.user_id,
        via=text(actor.via, 80),
        request_id=text(actor.request_id, 64),
        target_kind=text(target_kind, 50),
        target_id=target_id,
        target_name=text(target_name, 255),
        target_tags=plain(getattr(target, "tags", None) or {}),
        cloud_id=getattr(target, "cloud_ref", None),
        job_id=job_id,
        before=None if before is None else plain(before),
        after=None if after is None else plain(after),
        detail=plain(detail or {}),
    )
    event.personal = personal.seal(actor, event.pk, getattr(target, "person", ""))
    event.digest = digest(event)
    return event


_about_rights: set[str] = set()


def about_rights(*kinds: str) -> None:
    """accounts says what it is that facts are about after which somebody may look no more: live sockets are asked again at once."""
    _about_rights.update(kinds)


def record(kind_of_fact: str, actor: Actor, **facts: Any) -> Event:
    """Append one event and tell who watches. Takes what `build` takes."""
    event = build(kind_of_fact, actor, **facts)
    event.save(force_insert=True)
    live.changed(event.org_id, "event", [event.pk])
    if event.target_kind in _about_rights and event.type.endswith(".succeeded") and ".create." not in event.type:
        live.rights_changed()
    return event


def record_all(events: list[Event]) -> None:
    """Append many, as a poll does."""
    Event.objects.bulk_create(events, batch_size=1000)
    for org_id in {event.org_id for event in events}:
        live.changed(org_id, "event", [event.pk for event in events if event.org_id == org_id])
