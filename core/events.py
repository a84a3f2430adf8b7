"""The audit log: facts, appended. `record` is the one way in."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from django.utils import timezone

from core import live
from core.actor import Actor
from core.models import Event, Resource, new_id


def canonical(value: Mapping[str, Any]) -> bytes:
    """JSON with sorted keys and no spaces: the same fact is the same bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=_plain).encode()


def _plain(value: Any) -> str:
    if isinstance(value, UUID):
        return value.hex
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bytes | memoryview):
        return bytes(value).hex()
    return str(value)


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
    """An event, not saved. `org_id` defaults to the target's, then the actor's organization."""
    if target is not None:
        target_kind, target_id, target_name = target_kind or target.kind(), target_id or target.pk, target_name or str(target)
    event = Event(
        id=new_id(),
        org_id=org_id or getattr(target, "org_id", None) or actor.org_id,
        at=at or timezone.now(),
        type=kind_of_fact,
        actor_id=actor.user_id,
        via=actor.via,
        request_id=actor.request_id,
        target_kind=target_kind,
        target_id=target_id,
        target_name=target_name[:255],
        target_tags=getattr(target, "tags", None) or {},
        cloud_id=getattr(target, "cloud_ref", None),
        job_id=job_id,
        before=_json(before),
        after=_json(after),
        detail=_json(detail) or {},
    )
    event.digest = digest(event)
    return event


def digest(event: Event) -> bytes:
    """SHA-256 of everything the event says."""
    names = ("id", "org_id", "at", "type", "actor_id", "via", "request_id", "target_kind", "target_id", "target_name")
    names += ("target_tags", "cloud_id", "job_id", "before", "after", "detail", "personal")
    return hashlib.sha256(canonical({name: getattr(event, name) for name in names})).digest()


def _json(value: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if value is None else json.loads(canonical(value))


def record(kind_of_fact: str, actor: Actor, **facts: Any) -> Event:
    """Append one event and tell who watches. Takes what `build` takes."""
    event = build(kind_of_fact, actor, **facts)
    event.save(force_insert=True)
    live.changed(event.org_id, "event", [event.pk])
    return event


def record_all(events: list[Event]) -> None:
    """Append many, as a poll does."""
    Event.objects.bulk_create(events, batch_size=1000)
    for org_id in {event.org_id for event in events}:
        live.changed(org_id, "event", [event.pk for event in events if event.org_id == org_id][:100])
