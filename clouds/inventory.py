"""Observing: the third door. `reconcile` writes what a poll found, and only what differs; it never acts.

Each row keeps a fingerprint of what the cloud last said of it. A poll that finds the same writes nothing: that a row was
seen is the poll's own time (`Poll.completed_at`), not a write a row.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from django.db import connection, models, transaction
from django.utils import timezone

from clouds.models import Cloud, Image, Inventory, Location, Size
from clouds.providers.base import Provider
from core import events, live
from core.actor import Actor

log = logging.getLogger(__name__)

BATCH = 1000  # rows in memory and in one statement
EVENT_CAP = 500  # of one fact in one poll; what is beyond is told as one event with the number


@dataclass(kw_only=True)
class Outcome:
    """What one reconcile did."""

    seen: int = 0
    inserted: int = 0
    updated: int = 0
    missing: int = 0
    returned: int = 0
    complete: bool = True
    changed_ids: list[UUID] = field(default_factory=list)


class InventoryKind:
    """How a poll writes one model. Subclass and `@register`."""

    model: ClassVar[type[Inventory]]
    method: ClassVar[str]  # the provider's listing: list_machines
    every_s: ClassVar[int] = 3600
    # Columns whose change is an event of its own name: {"state": "state"} → machine.state.observed. Others change silently.
    facts: ClassVar[Mapping[str, str]] = {}
    refers: ClassVar[tuple[str, ...]] = ()  # kinds whose ids `references` looks up, for columns `<kind>_id`
    refer_lists: ClassVar[tuple[str, ...]] = ()  # columns with lists of such ids
    when_missing: ClassVar[Mapping[str, Any]] = {}  # columns of a row that is not in its cloud any more
    tells: ClassVar[bool] = False  # appearing and going missing are events too

    @property
    def kind(self) -> str:
        return self.model.kind()

    def references(self, cloud: Cloud) -> dict[str, Any]:
        """What `columns` needs to turn external ids into ids: {name: {external id: id}}."""
        return {}

    def columns(self, info: Any, refs: dict[str, Any]) -> dict[str, Any]:
        """The columns of a row for what the provider said. Leaves out what is ours (owner, tags we keep …)."""
        raise NotImplementedError

    def merge(self, row: Any, columns: dict[str, Any]) -> dict[str, Any]:
        """Last word on an update of `row`, for columns that both sides write (tags)."""
        return columns

    def on_insert(self, row: Any) -> None:
        """A row that is about to be inserted."""

    def settle(self, cloud: Cloud, refs: dict[str, Any]) -> None:
        """After all rows are written: links among them (parents)."""


_kinds: dict[str, InventoryKind] = {}


def register(cls: type[InventoryKind]) -> type[InventoryKind]:
    kind = cls()
    _kinds[kind.kind] = kind
    return cls


def kinds() -> dict[str, InventoryKind]:
    """In the order in which a new cloud is first polled: what others refer to comes first."""
    return dict(_kinds)


def forget(model: type[Inventory], cloud: Cloud) -> int:
    """Delete a cloud's rows of one kind, `BATCH` in a transaction.  Returns: how many."""
    count = 0
    while batch := list(model.objects.filter(cloud=cloud).values_list("pk", flat=True)[:BATCH]):
        with transaction.atomic():
            model.objects.filter(pk__in=batch).delete()
            live.changed(cloud.org_id, model.kind(), batch)
        count += len(batch)
    return count


def ids_of(model: type[Inventory], cloud: Cloud) -> dict[str, UUID]:
    """{external id: id} of a cloud's rows."""
    return dict(model.objects.filter(cloud=cloud).exclude(external_id="").values_list("external_id", "pk"))


_names: dict[type, tuple[str, ...]] = {}


def fingerprint(info: Any) -> bytes:
    """16 bytes that change when anything of the info does. Order of keys counts for nothing."""
    names = _names.get(type(info))
    if names is None:
        names = _names[type(info)] = tuple(f.name for f in fields(info))
    text = repr([_stable(getattr(info, name)) for name in names])
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _stable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return sorted((str(k), _stable(v)) for k, v in value.items()) if value else ()
    if isinstance(value, list | tuple):
        return [_stable(v) for v in value] if value else ()
    return value


def reconcile(
    cloud: Cloud,
    kind: str,
    listing: Iterable[Any],
    *,
    incomplete: Callable[[], str] = lambda: "",
    actor: Actor | None = None,
    only: list[str] | None = None,
) -> Outcome:
    """Write a listing. `listing` may be a generator that talks to the cloud while it is read: no transaction is open then.

    `incomplete`: asked at the end: why the listing is not all there is ("" when it is); then nothing is marked missing.
    `only`: the external ids the listing is about, when it is about a few.
    Raises: what the listing raises. What was read until then is written; nothing is marked missing.
    """
    way = _kinds[kind]
    actor = actor or Actor.system(cloud.org_id, via=f"poll:{cloud.pk.hex}")
    rows = way.model.objects.filter(cloud=cloud).exclude(external_id="")
    if only is not None:
        rows = rows.filter(external_id__in=only)
    known = {
        external_id: (pk, bytes(print_) if print_ else None, missing)
        for external_id, pk, print_, missing in rows.values_list("external_id", "pk", "fingerprint", "missing_since").iterator(BATCH)
    }
    outcome = Outcome()
    refs: dict[str, Any] | None = None
    seen: set[str] = set()
    batch: list[tuple[Any, bytes]] = []

    def write() -> None:
        nonlocal refs
        if batch:
            if refs is None:
                refs = way.references(cloud)
            _write(way, cloud, batch, known, refs, outcome, actor)
            batch.clear()

    try:
        for info in listing:
            if not info.external_id or info.external_id in seen:
                continue
            seen.add(info.external_id)
            print_ = fingerprint(info)
            row = known.get(info.external_id)
            if row is None or row[1] != print_ or row[2] is not None:
                batch.append((info, print_))
                if len(batch) >= BATCH:
                    write()
    finally:
        write()
    outcome.seen = len(seen)
    why = incomplete()
    outcome.complete = not why
    if refs is not None:
        way.settle(cloud, refs)
    if outcome.complete:
        gone = [row[0] for external_id, row in known.items() if external_id not in seen and row[2] is None]
        _mark_missing(way, cloud, gone, outcome, actor)
    return outcome


def _write(
    way: InventoryKind,
    cloud: Cloud,
    batch: list[tuple[Any, bytes]],
    known: dict[str, tuple[UUID, bytes | None, datetime | None]],
    refs: dict[str, Any],
    outcome: Outcome,
    actor: Actor,
) -> None:
    now = timezone.now()
    facts: list[Any] = []
    new: list[Any] = []
    old = [known[info.external_id][0] for info, _ in batch if info.external_id in known]
    with transaction.atomic():
        # A cloud removed while it was listed takes its rows along: hold it.
        if not Cloud.objects.select_for_update(of=("self",), no_key=True).filter(pk=cloud.pk).exists():
            return
        rows = {row.external_id: row for row in way.model.objects.select_for_update(of=("self",)).filter(pk__in=old)} if old else {}
        adopted = _being_created(way, cloud, [info for info, _ in batch if info.external_id not in known])
        changed_columns: set[str] = set()
        changed: list[Any] = []
        for info, print_ in batch:
            columns = way.columns(info, refs)
            row = rows.get(info.external_id) or adopted.get(info.external_id)
            if row is None:
                row = way.model(org_id=cloud.org_id, cloud=cloud, external_id=info.external_id, fingerprint=print_, **columns)
                way.on_insert(row)
                new.append(row)
                known[info.external_id] = (row.pk, print_, None)
                continue
            before: dict[str, Any] = {}
            after: dict[str, Any] = {}
            columns = way.merge(row, columns)
            if row.missing_since is not None:
                columns |= {"missing_since": None, "last_seen_at": None}
                outcome.returned += 1
            for name, value in columns.items():
                was = getattr(row, name)
                if was != value:
                    before[name], after[name] = was, value
                    setattr(row, name, value)
            is_read_again = row.fingerprint is None  # for what it refers to has been listed since
            row.fingerprint = print_
            changed_columns.update(after)
            changed.append(row)
            known[info.external_id] = (row.pk, print_, None)
            facts += _observed(way, row, before, after, actor, is_read_again)
        if new:
            insert(way.model, new)
            outcome.inserted += len(new)
            if way.tells:
                facts += _first_seen(way, cloud, new, actor, now)
        if changed:
            for row in changed:
                row.updated_at = now
            way.model.objects.bulk_update(changed, [*sorted(changed_columns), "fingerprint", "updated_at"], batch_size=200)
            outcome.updated += len(changed)
        if facts:
            events.record_all(facts)
        touched = [row.pk for row in (*new, *changed)]
        outcome.changed_ids += touched
        live.changed(cloud.org_id, way.kind, touched)


def insert(model: type[models.Model], rows: list[Any]) -> None:
    """Insert by COPY: a quarter of what bulk_create costs for wide rows. Each row has its id already; no model's save is asked."""
    columns = [f for f in model._meta.concrete_fields if not f.generated]
    names = [f.attname for f in columns]
    documents = [isinstance(f, models.JSONField) for f in columns]
    now = timezone.now()
    for row in rows:
        row.updated_at = now
    quote = connection.ops.quote_name
    into = f"COPY {quote(model._meta.db_table)} ({', '.join(quote(f.column) for f in columns)}) FROM STDIN"
    with connection.cursor() as cursor, cursor.copy(into) as copy:
        for row in rows:
            values = row.__dict__
            copy.write_row(
                [
                    json.dumps(values[name], ensure_ascii=False) if document and values[name] is not None else values[name]
                    for name, document in zip(names, documents, strict=True)
                ]
            )
    for row in rows:
        row._state.adding = False


def _being_created(way: InventoryKind, cloud: Cloud, infos: list[Any]) -> dict[str, Any]:
    """Rows we made ourselves a moment ago, whose external id was written between our reading and now."""
    if not infos:
        return {}
    ids = [info.external_id for info in infos]
    return {row.external_id: row for row in way.model.objects.select_for_update(of=("self",)).filter(cloud=cloud, external_id__in=ids)}


def _observed(way: InventoryKind, row: Any, before: dict[str, Any], after: dict[str, Any], actor: Actor, is_read_again: bool) -> list[Any]:
    """Events of what changed in the cloud. A reference that was empty is learned, not changed: sizes may be read after machines."""
    found = []
    by_fact: dict[str, list[str]] = {}
    learned = {f"{name}_id" for name in way.refers if before.get(f"{name}_id", name) is None}
    if is_read_again:
        learned |= {name for name in way.refer_lists if name in after and set(before[name]) <= set(after[name])}
    for column in after:
        if column in way.facts and column not in learned:
            by_fact.setdefault(way.facts[column], []).append(column)
    for fact, columns in by_fact.items():
        found.append(
            events.build(
                f"{way.kind}.{fact}.observed",
                actor,
                target=row,
                before={name: before[name] for name in columns},
                after={name: after[name] for name in columns},
            )
        )
    return found


def _first_seen(way: InventoryKind, cloud: Cloud, new: list[Any], actor: Actor, now: datetime) -> list[Any]:
    """An event each for what appeared; the first listing of a cloud is one event with the number."""
    first = not way.model.objects.filter(cloud=cloud).exclude(pk__in=[row.pk for row in new[:BATCH]]).exists()
    if first or len(new) > EVENT_CAP:
        return [events.build(f"{way.kind}.found.observed", actor, target=cloud, target_kind=way.kind, detail={"count": len(new)}, at=now)]
    return [events.build(f"{way.kind}.appeared.observed", actor, target=row, at=now) for row in new]


def _mark_missing(way: InventoryKind, cloud: Cloud, gone: list[UUID], outcome: Outcome, actor: Actor) -> None:
    now = timezone.now()
    for start in range(0, len(gone), BATCH):
        with transaction.atomic():
            rows = list(way.model.objects.select_for_update(of=("self",)).filter(pk__in=gone[start : start + BATCH], missing_since=None))
            poll = cloud.polls.filter(kind=way.kind).first()
            last = (poll.completed_at if poll else None) or now
            way.model.objects.filter(pk__in=[row.pk for row in rows]).update(
                missing_since=now, last_seen_at=last, updated_at=now, **way.when_missing
            )
            if way.tells:
                events.record_all([events.build(f"{way.kind}.missing.observed", actor, target=row, at=now) for row in rows[:EVENT_CAP]])
            live.changed(cloud.org_id, way.kind, [row.pk for row in rows])
            outcome.missing += len(rows)
            outcome.changed_ids += [row.pk for row in rows]


# --- what a cloud offers ----------------------------------------------------------------------------------------------


@register
class Locations(InventoryKind):
    """Places."""

    model = Location
    method = "list_locations"
    every_s = 3600

    def references(self, cloud: Cloud) -> dict[str, Any]:
        return {"parents": {}}

    def columns(self, info: Any, refs: dict[str, Any]) -> dict[str, Any]:
        refs["parents"][info.external_id] = info.parent
        return {"name": info.name, "location_type": info.location_type, "country": info.country, "extra": dict(info.extra)}

    def settle(self, cloud: Cloud, refs: dict[str, Any]) -> None:
        link_parents(Location, cloud, refs["parents"])


def link_parents(model: type[models.Model], cloud: Cloud, parents: Mapping[str, str | None]) -> None:
    """Set `parent_id` of the rows named in `parents` ({external id: external id of its parent}), where it differs."""
    ids = ids_of(model, cloud)  # type: ignore[arg-type]
    rows = model._default_manager.filter(cloud=cloud, external_id__in=list(parents)).only("id", "external_id", "parent_id")
    changed = []
    for row in rows.iterator(BATCH):
        wanted = ids.get(parents.get(row.external_id) or "")
        if row.parent_id != wanted and row.pk != wanted:
            row.parent_id = wanted
            changed.append(row)
    model._default_manager.bulk_update(changed, ["parent"], batch_size=500)


@register
class Sizes(InventoryKind):
    """Sizes."""

    model = Size
    method = "list_sizes"
    every_s = 24 * 3600

    def columns(self, info: Any, refs: dict[str, Any]) -> dict[str, Any]:
        return {
            "name": info.name,
            "cores": info.cores,
            "ram_mib": info.ram_mib,
            "disk_gib": info.disk_gib,
            "architecture": info.architecture,
            "cost_hour": info.cost_hour,
            "currency": info.currency,
            "locations": list(info.locations) if info.locations is not None else None,
            "extra": dict(info.extra),
        }


@register
class Images(InventoryKind):
    """Images. A star a person gave stays."""

    model = Image
    method = "list_images"
    every_s = 6 * 3600

    def columns(self, info: Any, refs: dict[str, Any]) -> dict[str, Any]:
        return {
            "name": info.name,
            "os_type": info.os_type,
            "os_distro": info.os_distro,
            "architecture": info.architecture,
            "min_disk_gib": info.min_disk_gib,
            "min_ram_mib": info.min_ram_mib,
            "image_created_at": info.created_at,
            "locations": list(info.locations) if info.locations is not None else None,
            "extra": dict(info.extra),
            "starred": info.starred,
        }

    def merge(self, row: Any, columns: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in columns.items() if name != "starred"}


def supported(provider: type[Provider]) -> list[InventoryKind]:
    """The kinds this provider can list."""
    return [way for way in _kinds.values() if provider.supports(way.method)]
