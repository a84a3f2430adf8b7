"""The values that a key has in the rows somebody may see, and how many rows have each: what the query bar offers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django.apps import apps
from django.core.exceptions import EmptyResultSet
from django.db import connection
from django.db.models import Count, Q, QuerySet

from core.search.fields import Choice, Tags, Text
from core.search.predicates import SEPARATOR, Field, SearchContext, any_q, condition, narrowed, text
from core.search.references import Ref, Refs, Through
from core.search.spec import Counted, Lookup, SearchSpec
from core.search.values import escape

MOST = 12  # values of a key
SAMPLE = 20_000  # rows whose tags are looked into; where there are more, the counts say “over”
TEXTS = 2_000  # the same for texts, of which most rows have one of their own
REFERRED = 40  # rows of another kind that begin so


def lookup_in(rows: QuerySet[Any], spec: SearchSpec, context: SearchContext) -> Lookup:
    """What `complete` asks. rows: all of the kind that this one may see.

    Closed sets and references are counted exactly, texts and tags in the first rows that have what is typed.
    """

    def lookup(key: str, typed: str) -> Iterable[Counted]:
        field = spec.find(key)
        return [] if field is None or "\x00" in typed else _counted(field, rows, typed, context)

    return lookup


def _counted(field: Field, rows: QuerySet[Any], typed: str, context: SearchContext) -> list[Counted]:
    if isinstance(field, Tags):
        return _tags(field, rows, typed)
    if isinstance(field, Text) and isinstance(field.column, str):
        return _texts(field.column, rows, typed)
    if isinstance(field, Choice) and isinstance(field.column, str):
        return _ranked(_by(rows, field.column), typed)
    if isinstance(field, Ref) and not isinstance(field, Refs):
        return _referred(field, rows, typed, context)
    if isinstance(field, Through) and field.target == "pk" and isinstance(field.field, Choice):
        return _through(field, rows, typed, context)
    return []


def _by(rows: QuerySet[Any], column: str) -> dict[Any, int]:
    return dict(rows.order_by().values_list(column).annotate(n=Count("pk")))


def _ranked(counts: Mapping[Any, int], typed: str) -> list[Counted]:
    found = [Counted(str(value), n) for value, n in counts.items() if value and str(value).lower().startswith(typed)]
    return sorted(found, key=lambda one: (-one.count, one.value))[:MOST]


def _referred(field: Ref, rows: QuerySet[Any], typed: str, context: SearchContext) -> list[Counted]:
    """By the first of `by`: what a person calls the row. Two rows of one name are one value."""
    name, *_others = field.by
    there = context.visible(apps.get_model(field.model))
    if typed:
        there = there.filter(any_q(condition("{0} ILIKE {1} AND {0} IS NOT NULL", by, text(f"{escape(typed)}%")) for by in field.by))
    names = dict(there.order_by(name).values_list("pk", name)[:REFERRED])
    counts: dict[str, int] = {}
    for pk, n in _by(rows.filter(Q(**{f"{field.column}__in": list(names)})), field.column).items():
        counts[names[pk]] = counts.get(names[pk], 0) + n
    return _ranked(counts, "")


def _through(field: Through, rows: QuerySet[Any], typed: str, context: SearchContext) -> list[Counted]:
    column = getattr(field.field, "column")  # noqa: B009  a Choice's, said by the caller
    values = dict(context.visible(apps.get_model(field.model)).values_list("pk", column))
    counts: dict[str, int] = {}
    for pk, n in _by(rows, field.column).items():
        if pk in values:
            counts[values[pk]] = counts.get(values[pk], 0) + n
    return _ranked(counts, typed)


def _texts(column: str, rows: QuerySet[Any], typed: str) -> list[Counted]:
    kept = rows.filter(condition("{0} ILIKE {1} AND {0} IS NOT NULL", column, text(f"{escape(typed)}%")))
    return _sampled(kept.values(column), "SELECT it, count(*) FROM seen GROUP BY 1", [], TEXTS)


def _tags(field: Tags, rows: QuerySet[Any], typed: str) -> list[Counted]:
    """`key=value` where the pair, or the value alone, begins so."""
    first = typed.partition("=")[0]
    kept = rows.filter(narrowed(field.haystack, SEPARATOR + first, condition("{0} <> '{}'::jsonb AND {0} IS NOT NULL", field.column)))
    sql = (
        "SELECT replace(k, '=', '\\=') || CASE WHEN v = '' THEN '' ELSE '=' || v END, count(*)"
        " FROM seen, jsonb_each_text(it) AS tag(k, v) WHERE k || '=' || v ILIKE %s OR v ILIKE %s GROUP BY 1"
    )
    return _sampled(kept.values(field.column), sql, [f"{escape(typed)}%"] * 2, SAMPLE)


def _sampled(rows: QuerySet[Any], counts: str, params: list[str], most: int) -> list[Counted]:
    """What `counts` makes of the first rows: it reads them, one column `it`, from `seen`."""
    try:
        sql, inner = rows.order_by()[:most].query.sql_with_params()
    except EmptyResultSet:
        return []
    seen = f"WITH seen(it) AS MATERIALIZED ({sql})"
    best = f"SELECT *, (SELECT count(*) FROM seen) FROM ({counts}) AS found(value, n) ORDER BY 2 DESC, 1 LIMIT {MOST}"  # noqa: S608  # ours
    with connection.cursor() as cursor:
        cursor.execute(f"{seen} {best}", [*inner, *params])
        return [Counted(value, n, looked_at >= most) for value, n, looked_at in cursor.fetchall() if value]
