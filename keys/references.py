"""References to secrets: `secret:<name>/<key>`, in parameters and variables of scripts, credentials of clouds, uploads of keys.

A reference is checked when it is written, and read at the last moment by whoever needs the value, who has the right
secret.use: it hands a value to a script or a cloud without showing it. To who may also write that script, or say where that cloud
is, it is as good as read.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db.models import Q
from django.utils import timezone

from core.actions import perform
from core.actor import Actor
from core.errors import Failed, Invalid, NotFound, Unavailable
from keys import stores
from keys.models import Secret, SecretUse

PREFIX = "secret:"
NOT_FOUND = "There is no such secret that you may use: write name/key of one."
SEEN = timedelta(hours=1)  # how exactly "last used" is kept where polls use it


@dataclass(frozen=True, kw_only=True, slots=True)
class Reference:
    """`name`: of a secret, or its id."""

    name: str
    key: str


def is_reference(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(PREFIX)


def parse(text: str) -> Reference:
    """`db/password`, with or without `secret:` before it. A name may hold slashes, a key holds none.  Raises: ValueError."""
    name, slash, key = text.strip().removeprefix(PREFIX).rpartition("/")
    if not slash or not name or not key or "\0" in text or len(text) > 512:
        raise ValueError("Write name/key of a secret.")
    return Reference(name=name, key=key)


def find(actor: Actor, texts: Collection[str]) -> dict[str, tuple[Secret, str]]:
    """{text: (secret, key)} of those the actor may use.  Raises: Invalid for others, in the words for none."""
    parsed: dict[str, Reference] = {}
    for text in texts:
        try:
            parsed[text] = parse(text)
        except ValueError as error:
            raise Invalid(str(error), fields={"secret": [str(error)]}, code="no_secret") from error
    wanted = Q(name__in={one.name for one in parsed.values()}) | Q(pk__in=[pk for one in parsed.values() if (pk := _uuid(one.name))])
    rows = list(Secret.objects.visible_to(actor).visible_to(actor, "use").filter(wanted).select_related("store")) if parsed else []
    by_name = {row.name: row for row in rows} | {row.pk.hex: row for row in rows}
    found: dict[str, tuple[Secret, str]] = {}
    for text, one in parsed.items():
        row = by_name.get(one.name)
        if row is None or (row.store_id is None and one.key not in row.keys):
            raise Invalid(f"{text[:120]}: {NOT_FOUND}", fields={"secret": [f"{text[:120]}: {NOT_FOUND}"]}, code="no_secret")
        found[text] = (row, one.key)
    return found


def offered(actor: Actor, most: int = 300) -> list[str]:
    """`name/key` of those the actor may use, for a form to offer."""
    rows = Secret.objects.visible_to(actor).visible_to(actor, "use").order_by("name").values_list("name", "keys")[:most]
    return [f"{name}/{key}" for name, keys in rows for key in keys if "/" not in key][:most]


def read(actor: Actor, texts: Collection[str], *, why: str) -> dict[str, str]:
    """{text: value}, each secret read once and on record as used, with the reason.  Raises: Invalid, Denied, Failed."""
    found = find(actor, texts)
    contents: dict[UUID, stores.Contents] = {}
    values: dict[str, str] = {}
    for text, (row, key) in found.items():
        if row.pk not in contents:
            perform(actor, row, "use", {"reason": why[:500]})
            contents[row.pk] = _opened(row)
        values[text] = _value(row, key, contents[row.pk])
    return values


# --- kept references: those of a cloud's credentials ------------------------------------------------------------------


def fixed(actor: Actor, values: Mapping[str, Any], *, why: str) -> tuple[dict[str, Any], dict[str, Any], dict[str, Secret]]:
    """(the same with ids for names, with the values themselves, {place: secret}) for what refers to secrets among `values`.

    Raises: Invalid, by field; Denied, Failed.
    """
    kept, opened, uses = dict(values), dict(values), dict[str, Secret]()
    for name, value in values.items():
        if isinstance(value, list):
            rows = [fixed(actor, row, why=why) if isinstance(row, Mapping) else (row, row, {}) for row in value]
            kept[name], opened[name] = [row[0] for row in rows], [row[1] for row in rows]
            uses |= {f"{name} {number + 1} {place}": secret for number, row in enumerate(rows) for place, secret in row[2].items()}
        elif is_reference(value):
            try:
                row, key = find(actor, [value])[value]
                opened[name] = read(actor, [value], why=why)[value]
            except Invalid as error:
                raise Invalid(error.detail, fields={name: [error.detail]}, code=error.code) from error
            kept[name] = f"{PREFIX}{row.pk.hex}/{key}"
            uses[f"{name} ← {key}"[:120]] = row
    return kept, opened, uses


def opened(org_id: UUID, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values themselves for references that `fixed` gave.  Raises: Failed, when one is gone or cannot be read."""
    found = dict(values)
    for name, value in values.items():
        if isinstance(value, list):
            found[name] = [opened(org_id, row) if isinstance(row, Mapping) else row for row in value]
        elif is_reference(value):
            reference = parse(value)
            row = Secret.objects.filter(org_id=org_id, pk=_uuid(reference.name)).select_related("store").first()
            if row is None:
                raise Failed(f"The secret that {name} refers to is not there any more. Enter the credentials again.", code="secret_gone")
            found[name] = _value(row, reference.key, _opened(row))
            Secret.objects.filter(Q(used_at=None) | Q(used_at__lt=timezone.now() - SEEN), pk=row.pk).update(used_at=timezone.now())
    return found


def note_uses(kind: str, target_id: UUID, uses: Mapping[str, Secret]) -> None:
    """That this row refers to these and to no others. In the transaction of its record."""
    SecretUse.objects.filter(kind=kind, target_id=target_id).delete()
    SecretUse.objects.bulk_create(
        SecretUse(kind=kind, target_id=target_id, field=field[:120], secret=secret) for field, secret in uses.items()
    )


# {kind: what is called with the ids of its rows, in the transaction in which a secret they refer to got a new version}
_told: dict[str, Callable[[list[UUID]], None]] = {}


def tell(kind: str, function: Callable[[list[UUID]], None]) -> None:
    """Have rows of a kind told when what they refer to is another value."""
    _told[kind] = function


def renewed(secret: Secret) -> None:
    """It has a new version: whoever keeps a reference to it is told."""
    for kind, function in _told.items():
        if ids := list(SecretUse.objects.filter(secret=secret, kind=kind).order_by().values_list("target_id", flat=True).distinct()):
            function(ids)


def _opened(row: Secret) -> stores.Contents:
    try:
        contents = stores.of(row).read(row)
    except NotFound as error:
        raise Failed(f"{row} has no version any more.", code="secret_gone") from error
    except Unavailable as error:
        raise Unavailable(f"{row} cannot be read: {error.detail}", code=error.code, words=error.words) from error
    if contents.is_gone:
        raise Failed(f"The newest version of {row} was deleted in {row.store}. Restore one there or here.", code="secret_gone")
    return contents


def _value(row: Secret, key: str, contents: stores.Contents) -> str:
    if key not in contents.values:
        raise Failed(f"{row} has no {key} any more.", code="secret_gone")
    value = stores.text(contents.values[key])
    if "\0" in value:
        raise Failed(f"{key} of {row} holds a null character, which nothing takes.", code="secret_unfit")
    return value


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
