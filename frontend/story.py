"""What an event was about, in words: people by their names, times as times, and nothing that only the database needs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from django.utils.formats import date_format

from core.models import Event
from frontend.codes import code_words

MISSING = object()
EMPTY = (MISSING, None, "", [], {})
# Of a new row: what every row has, and what nobody typed.
SILENT = frozenset(
    {
        *("id", "org_id", "name", "owner_id", "created_by_id", "created_at", "updated_at", "changed_at"),
        *("account", "extra", "features", "is_owners"),
    }
)
PEOPLE = ("owner_id", "user_id", "created_by_id", "locked_by_id")
_ID = re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[0-9.+:Z]*")
Names = Mapping[str, str]  # {hex id: what it is called}


def people_in(event: Event) -> Iterator[UUID]:
    """The people whom its before and after name by their ids."""
    for side in (event.before or {}, event.after or {}):
        yield from (UUID(side[key]) for key in PEOPLE if isinstance(side.get(key), str) and _ID.fullmatch(side[key]))


def changes(event: Event, names: Names) -> str:
    """Before and after in a line: “size: small → large · tags.env: dev”."""
    found = []
    for key, was, now in _pairs(event):
        if event.before is None and now is False:
            continue
        told = [plain(value, names) for value in (was, now) if value not in EMPTY and not isinstance(value, dict)]
        if told:
            found.append(f"{key}: {' → '.join(told)}{' → –' if now in EMPTY else ''}")
    return " · ".join(found[:3])


def diff(event: Event, names: Names) -> list[tuple[str, str]]:
    """Before and after as lines: ("r", "- size: small"), ("a", "+ size: large"). What is empty has none."""
    lines = []
    for key, was, now in _pairs(event):
        lines += [("r", f"- {key}: {plain(was, names)}")] if was not in EMPTY else []
        lines += [("a", f"+ {key}: {plain(now, names)}")] if now not in EMPTY else []
    return lines


def record(event: Event, names: Names) -> list[tuple[str, str]]:
    """The whole event as lines: ("c", "machine web-1"), its diff, and what was asked or seen."""
    lines = [("c", f"{event.target_kind} {event.target_name}".strip()), *diff(event, names)]
    lines += [("c", f"  {key}: {plain(value, names)}") for key, value in _flat(event.detail)]
    return lines if len(lines) > 1 else []


def _flat(detail: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Its leaves, as `params.size`."""
    for key, value in detail.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value


def facts(event: Event) -> str:
    """What was asked, or seen, in a line: “machines: 8 · concurrency: 3”; of many, how it ended: “succeeded: 47 · failed: 2”."""
    detail = dict(event.detail)
    params, results = detail.pop("params", None), detail.pop("results", None)
    asked = (params if isinstance(params, dict) else {}) | detail | (results if isinstance(results, dict) else {})
    found = []
    for key, value in asked.items():
        if value in EMPTY or value is False or isinstance(value, dict) or (isinstance(value, str) and _ID.fullmatch(value)):
            continue
        if key == "name" and value == event.target_name:
            continue
        are_ids = isinstance(value, list) and all(isinstance(one, str) and _ID.fullmatch(one) for one in value)
        said = code_words(value) if key == "code" and isinstance(value, str) else plain(value, {})
        found.append(f"{key}: {len(value) if are_ids else said}")
    return " · ".join(found[: 4 if results else 2])


def _pairs(event: Event) -> Iterator[tuple[str, Any, Any]]:
    """(key, was, is now) of what differs. Of a new row only what somebody chose."""
    is_new = event.before is None
    for key, was, now in _walk(event.before or {}, event.after or {}):
        if not (is_new and key in SILENT):
            yield key.removesuffix("_id") if key in PEOPLE else key, was, now


def _walk(before: Mapping[str, Any], after: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(key, was, is now), MISSING where one has it not; of tags only those that differ, as `tags.env`."""
    for key in sorted({*before, *after}):
        was, now = before.get(key, MISSING), after.get(key, MISSING)
        if was == now:
            continue
        if isinstance(was, dict) and isinstance(now, dict):
            yield from _walk(was, now, f"{path}{key}.")
        else:
            yield f"{path}{key}", was, now


def plain(value: Any, names: Names) -> str:
    """A value in words: a person's name for their id, “2 Dec 2026 23:53 UTC” for a time, “user, password” for a list."""
    if isinstance(value, list) and value and all(isinstance(one, str) for one in value):
        return ", ".join(plain(one, names) for one in value)
    if not isinstance(value, str):
        return json.dumps(value, ensure_ascii=False, default=str)
    if _TIME.fullmatch(value):
        return f"{date_format(datetime.fromisoformat(value), 'j M Y H:i')} UTC"
    return names.get(value.replace("-", ""), value) if _ID.fullmatch(value) else value
