"""One way of making forms: `Field`s in, HTML controls out, what was typed back in. The doors check it; their `Invalid` says where.

There is no second validation here: `perform` is asked, and its {field: errors} is drawn beside the fields.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from django.http import QueryDict
from django.utils.translation import gettext as _

from clouds import credentials
from clouds.providers.facts import Field
from core.actor import Actor
from keys.models import Key

Choices = Callable[[Field], Sequence[tuple[str, str]]]
MAX_ROWS = 5000


@dataclass(kw_only=True)
class Bound:
    """A field with what it holds and what is wrong with it. `html`: its name in the form; `rows`: of a list, each a list of fields."""

    spec: Field
    html: str
    value: Any = None
    errors: list[str] = field(default_factory=list)
    choices: Sequence[tuple[str, str]] = ()
    rows: list[list[Bound]] = field(default_factory=list)
    blank: list[Bound] = field(default_factory=list)  # of a list: a row for the script to copy
    kept: bool = False  # a secret that is stored already: empty keeps it
    spared: bool = False  # in a row that may stay empty, since a list can be pasted instead

    @property
    def required(self) -> bool:
        """Does the browser insist?"""
        return self.spec.required and not self.kept and not self.spared

    @property
    def is_pasted(self) -> bool:
        """May a list be pasted? (A template would call `spec.paste` itself.)"""
        return self.spec.paste is not None

    @property
    def id(self) -> str:
        return f"f-{self.html}"

    @property
    def input_type(self) -> str:
        if self.spec.name == "date":
            return "datetime-local"
        return {"password": "password", "integer": "number", "number": "number"}.get(self.spec.kind, "text")

    @property
    def described(self) -> str:
        """Ids of help and errors, for aria-describedby."""
        return " ".join(part for part in (f"{self.id}-help" if self.spec.help else "", f"{self.id}-error" if self.errors else "") if part)

    @property
    def selected(self) -> str:
        return "" if self.value is None else str(self.value)


def read(fields: Iterable[Field], data: QueryDict, prefix: str = "") -> dict[str, Any]:
    """What was typed, by field name. Empty is left out, so that defaults and kept secrets stay; a toggle is always said."""
    values: dict[str, Any] = {}
    for spec in fields:
        name = prefix + spec.name
        if spec.kind == "toggle":
            values[spec.name] = name in data
        elif spec.kind == "list":
            rows = [read(spec.fields, data, f"{name}-{number}-") for number in _numbers(data, name)]
            rows = [row for row in rows if _said(spec, row)]
            text = data.get(f"{name}-paste", "").strip()
            values[spec.name] = _with_pasted(spec, rows, text, data.get(f"{name}-paste-key", "")) if text and spec.paste else rows
        else:
            text = data.get(name, "")
            if text != "":
                values[spec.name] = text
    return values


def without_secrets(fields: Iterable[Field], data: QueryDict, prefix: str = "") -> QueryDict:
    """What of a form belongs to these fields and is no secret. A pasted list whose rows have secrets is one."""
    kept = QueryDict(mutable=True)
    for spec in fields:
        name = prefix + spec.name
        if spec.secret or spec.kind == "password":
            continue
        if spec.kind == "list":
            for number in _numbers(data, name):
                kept.update(without_secrets(spec.fields, data, f"{name}-{number}-"))
            if spec.paste and not any(inner.secret or inner.kind == "password" for inner in spec.fields):
                kept.update({f"{name}-{part}": data[f"{name}-{part}"] for part in ("paste", "paste-key") if f"{name}-{part}" in data})
        elif name in data:
            kept[name] = data[name]
    return kept


def _with_pasted(spec: Field, rows: list[dict[str, Any]], text: str, key: str) -> list[dict[str, Any]] | str:
    """The rows and those of a pasted list, which get the chosen key where they name none; a list that is wrong stays text, for the door."""
    try:
        more = credentials.pasted(spec, text)
    except ValueError:
        return text
    has_key = any(inner.name == "key" for inner in spec.fields)
    return rows + [({"key": key} if has_key and key else {}) | row for row in more]


def _said(spec: Field, row: Mapping[str, Any]) -> bool:
    """Does this row of a list hold anything but what it was offered with?"""
    offered = {inner.name: inner.default for inner in spec.fields}
    return any(value not in (False, "", None) and str(value) != str(offered.get(name)) for name, value in row.items())


def _numbers(data: QueryDict, name: str) -> Iterator[int]:
    """The numbers of the rows that were sent, in order; removed ones are missing."""
    start = f"{name}-"
    found = {
        int(rest[0]) for key in data if key.startswith(start) and (rest := key[len(start) :].split("-", 1))[0].isdigit() and len(rest) == 2
    }
    yield from sorted(found)[:MAX_ROWS]


def bind(
    fields: Iterable[Field],
    values: Mapping[str, Any] | None = None,
    errors: Mapping[str, Any] | None = None,
    *,
    prefix: str = "",
    choices: Choices = lambda spec: spec.choices,
    stored: bool = False,
    more: str = "",
    spared: bool = False,
) -> list[Bound]:
    """The fields with values and errors. `stored`: a cloud's, so that secrets may stay empty. `more`: the list that gets an empty row."""
    values, errors = values or {}, errors or {}
    bound = []
    for spec in fields:
        wrong = errors.get(spec.name)
        one = Bound(
            spec=spec,
            html=prefix + spec.name,
            value=values.get(spec.name, spec.default) if not (spec.secret and stored) else values.get(spec.name),
            errors=flat(wrong) if spec.kind != "list" or not isinstance(wrong, Mapping) else [],
            kept=spec.secret and stored,
            spared=spared,
        )
        if spec.kind in ("choice", "key"):
            one.choices = choices(spec)
        if spec.kind == "list":
            given = values.get(spec.name) or []
            one.value = given if isinstance(given, str) else ""  # a pasted list that is wrong
            rows = [] if isinstance(given, str) else list(given)
            if not rows or more == one.html:
                rows.append({})
            by_row = wrong if isinstance(wrong, Mapping) else {}
            one.rows = [
                bind(
                    spec.fields, row, by_row.get(str(n)), prefix=f"{one.html}-{n}-", choices=choices, stored=stored, spared=bool(spec.paste)
                )
                for n, row in enumerate(rows)
            ]
            if spec.paste:
                one.choices = next((choices(inner) for inner in spec.fields if inner.kind == "key"), ())
            one.blank = bind(spec.fields, {}, prefix=f"{one.html}-__n__-", choices=choices)
        bound.append(one)
    return bound


def keys_of(actor: Actor) -> list[tuple[str, str]]:
    """The keys one may choose, the default first."""
    return [(key.pk.hex, key.name) for key in Key.objects.visible_to(actor).order_by("-is_default", "name")[:500]]


def flat(errors: Any) -> list[str]:
    """Nested errors as sentences: {"host": ["Not found."]} → ["host: Not found."]."""
    if not errors:
        return []
    if isinstance(errors, Mapping):
        return [f"{key}: {text}" if str(key) != "non_field_errors" else text for key, inner in errors.items() for text in flat(inner)]
    if isinstance(errors, list | tuple):
        return [text for inner in errors for text in flat(inner)]
    return [str(errors)]


def leftover(fields: Iterable[Field], errors: Mapping[str, Any]) -> list[str]:
    """Errors that belong to none of these fields: for the summary."""
    known = {spec.name for spec in fields}
    return flat({key: value for key, value in errors.items() if key not in known})


def tags_text(tags: Mapping[str, str]) -> str:
    """Tags as lines of key=value."""
    return "\n".join(f"{key}={value}" if value else key for key, value in sorted(tags.items()))


def read_tags(text: str) -> dict[str, str]:
    """Lines (or comma-separated) of key=value; a key alone has no value."""
    tags = {}
    for line in text.replace(",", "\n").splitlines():
        key, _sep, value = line.strip().partition("=")
        if key.strip():
            tags[key.strip()] = value.strip()
    return tags


def with_choices(spec: Field, choices: Iterable[tuple[str, str]], *, empty: str = "") -> Field:
    """The same field with these choices; `empty`: the words of none."""
    listed = tuple(choices)
    return replace(spec, kind="choice", choices=((("", empty),) if empty or not spec.required else ()) + listed)


TAGS = Field(name="tags", label="Tags", kind="textarea", help="One key=value a line.")
NAME = Field(name="name", label="Name", required=True)


def none_text() -> str:
    return _("None")
