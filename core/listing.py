"""One way to list: search, sort, page, count. The API's lists and the console's are the same."""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.core.exceptions import EmptyResultSet, FieldDoesNotExist, ValidationError
from django.db import connection, models
from django.db.models import F, Func, Q, Value
from django.db.models.lookups import GreaterThan, LessThan
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from core import search
from core.actor import Actor
from core.errors import BadRequest, Conflict, Invalid, NotFound

LIMIT, MOST = 100, 1000
EXACT_TO = 10_000  # rows counted exactly; beyond, the planner's guess


@dataclass(frozen=True, kw_only=True)
class Query:
    """What a list is asked. `sort`: a key of the model's `sorts`, with `-` for the other way. `cursor` wins over `start`."""

    search: str = ""
    sort: str = ""
    start: int = 0
    limit: int = LIMIT
    cursor: str = ""
    at: datetime | None = None
    cloud: str = ""


@dataclass(frozen=True, kw_only=True)
class Page:
    """One page. `next`: the cursor of the one after it, None at the end."""

    rows: list[Any]
    total: int
    total_is_estimate: bool
    sort: str
    start: int
    next: str | None


def sorts_of(model: type[Any]) -> dict[str, str]:
    """{what a caller may sort by: column}. Every model sorts by name (or its own `sorts`) and by when it was made."""
    own: dict[str, str] = dict(getattr(model, "sorts", {}))
    for name in ("name", "created_at"):
        if any(f.name == name for f in model._meta.concrete_fields):
            own.setdefault({"created_at": "created"}.get(name, name), name)
    return own


def sorted_by(model: type[Any], asked: str) -> tuple[str, bool, str]:
    """(the sort, "" being the model's own; is it descending; its column).  Raises: BadRequest."""
    sorts = sorts_of(model)
    sort = asked or getattr(model, "default_sort", "") or next(iter(sorts), "id")
    key = sort.lstrip("-")
    if key not in sorts and key != "id":
        raise BadRequest(f"Cannot sort by {key[:60]!r}. There are: {', '.join(sorted(sorts))}.", code="bad_sort")
    return sort, sort.startswith("-"), sorts.get(key, "id")


def rows(queryset: models.QuerySet[Any], actor: Actor, query: Query) -> models.QuerySet[Any]:
    """What the query selects of what the actor may see, neither sorted nor cut."""
    model = queryset.model
    if query.at is not None:
        if not getattr(model, "has_history", False):
            raise BadRequest("This list keeps no history: leave `at` away.", code="no_history")
        queryset = queryset.at(query.at)  # type: ignore[attr-defined]
    if query.cloud:
        queryset = queryset.filter(cloud_q(model, query.cloud, actor))
    if query.search.strip():
        queryset = queryset.filter(model.search_q(query.search, actor))
    return queryset.visible_to(actor)  # type: ignore[attr-defined,no-any-return]  # last: policies ask for tags, which costs most


def cloud_q(model: type[Any], wanted: str, actor: Actor) -> Q:
    """In the cloud of that id or exact name, among those the actor sees.  Raises: Invalid: none, or the kind lives in none."""
    path = getattr(model, "cloud_path", "")
    if not path:
        raise BadRequest("This kind lives in no cloud: leave `cloud` away.", code="no_cloud")
    clouds = model._meta.apps.get_model("clouds", "Cloud").objects.visible_to(actor)
    found = by_id_or_name(clouds, wanted)
    if not found:
        raise Invalid(fields={"cloud": ["Not found."]}, code="not_found")
    return Q(**{path: found[0].pk}) if len(found) == 1 else Q(**{f"{path}__in": [row.pk for row in found]})


def page(queryset: models.QuerySet[Any], actor: Actor, query: Query) -> Page:
    """One page of a list.  Raises: BadRequest, BadSearch, Invalid."""
    model = queryset.model
    sort, descending, column = sorted_by(model, query.sort)
    limit = max(1, min(query.limit, MOST))
    with search.time_limited(query.search):
        found = rows(queryset, actor, query)
        window, guess = found, 0
        if query.cursor:
            after, guess = _after(query, sort, column, descending, model)
            window = window.filter(after)
        total, estimated = (guess, True) if guess else count(found)
        by: F | Func = F(column)
        if query.search.strip() and not estimated:
            # Few match, maybe none near the start of the order: collect and sort them, never walk the order's index. GREATEST of
            # one is that one, but no index knows it.
            by = Func(by, function="GREATEST")
        nulls = True if _nullable(model, column) else None
        order = by.desc(nulls_last=nulls) if descending else by.asc(nulls_last=nulls)
        ordered = window.order_by(order, *([] if column == "id" else ["-id" if descending else "id"]))
        start = 0 if query.cursor else max(0, query.start)
        taken = list(ordered[start : start + limit + 1])
    more = len(taken) > limit
    taken = taken[:limit]
    return Page(
        rows=taken,
        total=total,
        total_is_estimate=estimated,
        sort=sort,
        start=start,
        next=_cursor(taken[-1], query, sort, column, total if estimated else 0) if more else None,
    )


def pages(queryset: models.QuerySet[Any], actor: Actor, query: Query) -> Iterator[list[Any]]:
    """Everything the query finds, MOST rows at a time; each page is a short query of its own, and any number of seconds may lie between."""
    while True:
        one_page = page(queryset, actor, query)
        yield one_page.rows
        if one_page.next is None:
            return
        query = replace(query, cursor=one_page.next, limit=MOST)


def count(found: models.QuerySet[Any], exact_to: int = EXACT_TO) -> tuple[int, bool]:
    """(how many, is it a guess): exact up to `exact_to`."""
    try:
        sql, params = found.order_by().values("pk").query.sql_with_params()  # once, for both questions
    except EmptyResultSet:
        return 0, False
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT COUNT(*) FROM ({sql} LIMIT {int(exact_to) + 1}) AS found", params)  # noqa: S608  # ours
        exact = int(cursor.fetchone()[0])
        if exact <= exact_to:
            return exact, False
        cursor.execute(f"EXPLAIN (FORMAT json) {sql}", params)
        (plan,) = cursor.fetchone()[0]
    return max(int(plan["Plan"]["Plan Rows"]), exact_to + 1), True


def _nullable(model: type[Any], column: str) -> bool:
    try:
        return bool(model._meta.get_field(column.split("__")[0]).null) or "__" in column
    except FieldDoesNotExist:
        return True


def _value(row: Any, column: str) -> Any:
    for part in column.split("__"):
        row = getattr(row, part, None)
    return row


def _asked(query: Query) -> int:
    """Two queries of one list that find the same have the same."""
    return zlib.crc32(repr((query.search, query.cloud, query.at)).encode())


def _cursor(row: Any, query: Query, sort: str, column: str, guess: int) -> str:
    """Where a page ended. A guessed total goes with it: it need not be guessed anew for each page."""
    value = _value(row, column)
    if isinstance(value, datetime | Decimal | UUID):
        value = value.isoformat() if isinstance(value, datetime) else str(value)
    text = json.dumps([sort, value, row.pk.hex, guess, _asked(query)], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


class _Row(Func):
    """`ROW(name, id)`: compared as an index is ordered, so that it seeks to the very row."""

    function = "ROW"
    output_field = models.BooleanField()  # of the comparison's sides nothing else is asked


def _after(query: Query, sort: str, column: str, descending: bool, model: type[Any]) -> tuple[Q, int]:
    """(what comes after the row the query's cursor names, the guessed total that came with it or 0).

    The first is a condition on the index, so that any depth costs what the first page costs.
    """
    wrong = BadRequest("This cursor is not of this list. Start again without it.", code="bad_cursor")
    try:
        of_sort, value, pk, guess, asked = json.loads(base64.urlsafe_b64decode(query.cursor + "=" * (-len(query.cursor) % 4)))
        last = UUID(pk)
        field: Any = model._meta.get_field(column.split("__")[0])
        if "__" not in column and value is not None:
            value = field.to_python(value)
            if isinstance(value, str) and "\x00" in value:
                raise wrong
    except (ValueError, TypeError, AttributeError, binascii.Error, ValidationError, FieldDoesNotExist) as error:
        raise wrong from error
    if of_sort != sort or isinstance(value, dict | list) or not isinstance(guess, int):
        raise wrong
    beyond = "lt" if descending else "gt"
    if column == "id":
        after = Q(**{f"id__{beyond}": last})
    elif value is None:
        after = Q(**{f"{column}__isnull": True, f"id__{beyond}": last})
    elif _nullable(model, column):
        after = Q(**{f"{column}__{beyond}": value}) | Q(**{column: value, f"id__{beyond}": last}) | Q(**{f"{column}__isnull": True})
    else:
        compare = LessThan if descending else GreaterThan
        after = Q(compare(_Row(F(column), F("id")), _Row(Value(value, field), Value(last))))
    return after, guess if asked == _asked(query) else 0


def by_id_or_name(queryset: models.QuerySet[Any], text: str) -> list[Any]:
    """The rows of that id, else of that exact name (at most ten)."""
    if "\x00" in text or len(text) > 512:
        return []
    if len(text) in (32, 36):
        try:
            found = list(queryset.filter(pk=UUID(text)))
            if found:
                return found
        except ValueError:
            pass
    names = {f.name for f in queryset.model._meta.concrete_fields}
    return list(queryset.filter(name=text)[:10]) if "name" in names else []


def one(queryset: models.QuerySet[Any], actor: Actor, text: str) -> Any:
    """The one row of that id or exact name among what the actor may see.  Raises: NotFound; Conflict with the ids of several."""
    found = by_id_or_name(queryset.visible_to(actor), text)  # type: ignore[attr-defined]
    if not found:
        raise NotFound
    if len(found) > 1:
        raise Conflict("Several have this name: use an id.", code="ambiguous_name", ids=[row.pk.hex for row in found])
    return found[0]


def parse_at(text: str) -> datetime:
    """An ISO 8601 time, or a day, which begins at midnight UTC; in UTC, of the years 1900 to 9999.  Raises: BadRequest."""
    try:
        when = parse_datetime(text.replace(" ", "+") if "T" in text else text) or datetime.combine(date.fromisoformat(text), time())
        when = (when if timezone.is_aware(when) else when.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        when = None
    if when is None or when.year < 1900:
        raise BadRequest("A time is written in ISO 8601, as 2026-11-22T10:00:00Z.", code="bad_time")
    return when


__all__ = ["Page", "Query", "by_id_or_name", "count", "one", "page", "pages", "parse_at", "rows", "sorted_by", "sorts_of"]
