"""Reading the audit log: facets, histogram, and all of it as a stream. What one sees is what `visible_to` says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import itemgetter
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection, models
from django.db.models import Count, Func, Q, Value
from django.utils import timezone

from core import exports, listing, personal, search
from core.actor import Actor
from core.errors import BadRequest
from core.events import canonical
from core.models import Event

FACETED = 20_000  # the newest of what was found are counted
FACET_VALUES = 20
BINS_MAX = 200
EXPORT_PAGE = 1000
SPAN = timedelta(days=1)

# name → the SQL of its value
FACETS = {
    "type": "type",
    "action": "regexp_replace(type, '\\.[^.]*$', '')",
    "outcome": "split_part(type, '.', -1)",
    "kind": "nullif(target_kind, '')",
    "via": "split_part(via, ':', 1)",
    "actor": "actor_id::text",
    "cloud": "cloud_id::text",
}


def facets(actor: Actor, query: listing.Query, most: int = FACET_VALUES) -> dict[str, Any]:
    """{"counted", "is_partial", "facets": {name: [{"value", "label", "count"}, most frequent first]}} of what the query finds.

    `most`: values of each.
    """
    with search.time_limited(query.search):
        found = listing.rows(Event.objects.all(), actor, query).order_by("-at", "-id")
        columns = found.values("type", "target_kind", "via", "actor_id", "cloud_id")[: FACETED + 1]
        sql, params = columns.query.sql_with_params()
        counts = " UNION ALL ".join(
            f"(SELECT '{name}', {value}, count(*) FROM found GROUP BY 2 ORDER BY 3 DESC, 2 LIMIT {int(most)})"  # noqa: S608 - ours
            for name, value in FACETS.items()
        )
        with connection.cursor() as cursor:
            cursor.execute(f"WITH found AS MATERIALIZED ({sql}) SELECT '', NULL, count(*) FROM found UNION ALL {counts}", params)  # noqa: S608
            rows = cursor.fetchall()
    total = next(count for name, _, count in rows if name == "")
    answer: dict[str, list[dict[str, Any]]] = {name: [] for name in FACETS}
    for name, value, count in rows:
        if name and value:
            plain = UUID(value).hex if name in ("actor", "cloud") else value
            answer[name].append({"value": plain, "label": plain, "count": count})
    _label(answer["actor"], _people({UUID(v["value"]) for v in answer["actor"]}))
    _label(answer["cloud"], _clouds(actor, {UUID(v["value"]) for v in answer["cloud"]}))
    return {"counted": min(total, FACETED), "is_partial": total > FACETED, "facets": answer}


def _label(values: list[dict[str, Any]], names: dict[UUID, str]) -> None:
    for value in values:
        value["label"] = names.get(UUID(value["value"]), value["value"])


def _people(ids: set[UUID]) -> dict[UUID, str]:
    return dict(Event._meta.apps.get_model(settings.AUTH_USER_MODEL).objects.filter(pk__in=ids).values_list("pk", "email"))


def _clouds(actor: Actor, ids: set[UUID]) -> dict[UUID, str]:
    clouds = Event._meta.apps.get_model("clouds", "Cloud").objects.visible_to(actor)
    return dict(clouds.filter(pk__in=ids).values_list("pk", "name"))


def histogram(actor: Actor, query: listing.Query, since: datetime | None, until: datetime | None, bins: int) -> dict[str, Any]:
    """{"since", "until", "step_s", "bins": [{"at", "count", "outcomes": {outcome: count}}]}; empty bins are there too."""
    until = until or timezone.now()
    since = since or until - SPAN
    if not since < until:
        raise BadRequest("`since` comes before `until`.", code="bad_time")
    step = max((until - since) / max(1, min(bins, BINS_MAX)), timedelta(seconds=1))
    with search.time_limited(query.search):
        found = listing.rows(Event.objects.filter(at__gte=since, at__lt=until), actor, query)
        place = Func(Value(step), models.F("at"), Value(since), function="date_bin", output_field=models.DateTimeField())
        outcome = Func(models.F("type"), Value("."), Value(-1), function="split_part", output_field=models.TextField())
        rows = list(found.order_by().values(place=place, outcome=outcome).annotate(n=Count("pk")).values_list("place", "outcome", "n"))
    filled: dict[int, dict[str, int]] = {}
    for at, kind, count in rows:
        filled.setdefault(round((at - since) / step), {})[kind] = count
    answer = []
    for number in range(-(-(until - since) // step)):
        outcomes = filled.get(number, {})
        answer.append({"at": since + number * step, "count": sum(outcomes.values()), "outcomes": outcomes})
    return {"since": since, "until": until, "step_s": step.total_seconds(), "bins": answer}


@dataclass(frozen=True, kw_only=True)
class Shown:
    """An event as it is answered and exported."""

    event: Event
    personal: dict[str, str] | None

    def as_dict(self) -> dict[str, Any]:
        event, known = self.event, self.personal or {}
        return {
            "id": event.pk.hex,
            "org": event.org_id.hex if event.org_id else None,
            "sequence": event.sequence,
            "at": event.at.isoformat(),
            "type": event.type,
            "outcome": event.type.rpartition(".")[2],
            "actor": event.actor_id.hex if event.actor_id else None,
            "email": known.get("email"),
            "address": known.get("address"),
            "su_by": known.get("su_by"),
            "via": event.via,
            "request": event.request_id,
            "kind": event.target_kind or None,
            "target": event.target_id.hex if event.target_id else None,
            "target_name": known.get("subject") or event.target_name or None,
            "tags": event.target_tags,
            "cloud": event.cloud_id.hex if event.cloud_id else None,
            "job": event.job_id.hex if event.job_id else None,
            "before": event.before,
            "after": event.after,
            "detail": event.detail,
            "digest": bytes(event.digest).hex(),
            "hash": bytes(event.hash).hex() if event.hash else None,
        }


COLUMNS: tuple[str, ...] = (
    *("at", "type", "email", "actor", "address", "via", "request", "kind", "target", "target_name", "cloud", "job", "detail"),
    *("before", "after", "sequence", "hash", "id", "org", "outcome", "su_by", "tags", "digest"),
)


def shown(rows: list[Event]) -> list[dict[str, Any]]:
    """Events with what is personal in them, as far as it was not erased."""
    known = personal.read_all({row.pk: row.personal for row in rows})
    return [Shown(event=row, personal=known[row.pk]).as_dict() for row in rows]


def pages(actor: Actor, query: listing.Query) -> Iterator[list[dict[str, Any]]]:
    """Everything the query finds, newest first, a page at a time; each page is one short query, and nothing is counted."""
    last: Event | None = None
    while True:
        with search.time_limited(query.search):
            found = listing.rows(Event.objects.defer("words"), actor, query).order_by("-at", "-id")
            if last is not None:
                found = found.filter(Q(at__lte=last.at) & (Q(at__lt=last.at) | Q(id__lt=last.pk)))
            rows = list(found[:EXPORT_PAGE])
        if rows:
            yield shown(rows)
        if len(rows) < EXPORT_PAGE:
            return
        last = rows[-1]


class _Events(exports.Source):
    def pages(self, actor: Actor, query: listing.Query, columns: Sequence[str]) -> Iterator[list[exports.Row]]:
        newest_first = query.sort in ("", "-at", "-id")
        found = pages(actor, query) if newest_first else (shown(rows) for rows in listing.pages(self.rows(), actor, query))
        for page in found:
            yield [self.row(row, columns) for row in page]

    def row(self, row: Any, columns: Sequence[str]) -> exports.Row:
        return {c: (row["tags"] or {}).get(c[4:]) if c.startswith("tag:") else row[c] for c in columns}


def _in_csv(value: Any) -> Any:
    """What is nested, as the JSON of one cell."""
    return canonical(value).decode() if isinstance(value, dict | list) else value


SOURCE = exports.register(
    _Events(
        model=Event,
        cells={name: itemgetter(name) for name in COLUMNS},
        rows=lambda: Event.objects.defer("words"),
        forms=("csv", "jsonl"),
        in_csv=_in_csv,
    )
)
