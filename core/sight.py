"""What of changed rows somebody may be told: all that live notes (core/hub.py) ask the database, in two threads of their own."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, TypeVar
from uuid import UUID

from channels.db import DatabaseSyncToAsync
from django.apps import apps

from core import guard
from core.actor import Actor
from core.models import Event, Job, Resource, Revision
from core.search import time_limited

T = TypeVar("T")

# Two threads, so two database connections, for all live readers of a process.
_threads = ThreadPoolExecutor(2, thread_name_prefix="live")


def hop(function: Callable[..., T], *args: Any) -> Any:
    """Await a function that uses the ORM, in a thread of its own."""
    return DatabaseSyncToAsync(function, thread_sensitive=False, executor=_threads)(*args)


@cache
def kinds() -> dict[str, Any]:
    """{kind: model} of all that can be listened to."""
    return {model.kind(): model for model in apps.get_models() if issubclass(model, Resource | Job | Event)}


def check_search(model: Any, search: str, actor: Actor) -> None:
    """Load what `look` will ask, and refuse a wrong search."""
    found = model.objects.visible_to(actor)
    if search:
        found.filter(model.search_q(search, actor))


def look(model: Any, org_id: UUID, ids: set[UUID], wanted: list[tuple[Actor, str]]) -> list[tuple[set[UUID], set[UUID]]]:
    """For each (actor, search): the ids that may be told as changed, and as gone."""
    rows = {row.pk: row for row in model.objects.filter(pk__in=ids, org_id=org_id)}
    before: dict[UUID, Any] | None = None
    answers = []
    for _, group in itertools.groupby(wanted, key=lambda pair: id(pair[0])):
        pairs = list(group)
        actor = pairs[0][0]
        visible = {pk for pk, row in rows.items() if guard.permits(actor, row, "read")}
        lost: set[UUID] = set()
        if hidden := ids - visible:
            if before is None:
                before = _before(model, org_id, ids)
            lost = {pk for pk in hidden if pk in before and guard.permits(actor, before[pk], "read")}
        for _, text in pairs:
            if not text or not visible:
                answers.append((visible, lost))
                continue
            q = model.search_q(text, actor)
            with time_limited(text):
                match = set(model.objects.filter(pk__in=visible).filter(q).values_list("pk", flat=True))
            answers.append((match, lost | (visible - match)))
    return answers


def _before(model: Any, org_id: UUID, ids: set[UUID]) -> dict[UUID, Any]:
    """The rows as they were before their last change, by id."""
    if not model.has_history:
        return {}
    past = Revision.objects.filter(table=model._meta.db_table, org_id=org_id, row_id__in=ids, to_at__isnull=False)
    fields = [f for f in model._meta.concrete_fields if not f.generated]
    return {
        old.row_id: model(**{f.attname: f.to_python(old.row[f.column]) for f in fields if f.column in old.row})
        for old in past.order_by("row_id", "-from_at", "-pk").distinct("row_id")
    }
