"""The audit log's chain: each organization's events (and the installation's own) are sealed in batches by one writer.

Sealing gives an event its place: `sequence`, and `hash` = SHA-256(hash of the one before + its digest). The order of the chain is
the order of sealing, not of `at`: whatever is committed and has no sequence is sealed next, so that an event whose transaction
committed late is sealed late and never skipped. Acts do not wait: they insert, a tick of the scheduler seals. Each batch ends in
a checkpoint signed (Ed25519) with a key outside the database: who rewrites rows and all hashes after them cannot sign.
`verify` reads a chain again and says which row is not what it was. Retention drops whole sealed batches and keeps their
checkpoints, signed once more, so that what is left still verifies. What no chain can show by itself is that its newest end was
cut off: keep `verify-audit --heads FILE` elsewhere for that.
"""

from __future__ import annotations

import base64
import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import Any
from uuid import UUID

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

from core import events
from core.models import Checkpoint, Event
from core.ticks import every

log = logging.getLogger(__name__)

LOCK = 0x6D697374_5EA1  # PostgreSQL's advisory lock of whoever seals or drops
BATCH = 5000
CHUNK = 2000  # rows in memory while verifying


# --- signatures ---------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=4)
def _private(keys: tuple[str, ...]) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(base64.urlsafe_b64decode(keys[0]))


@lru_cache(maxsize=4)
def _public(keys: tuple[str, ...]) -> dict[bytes, Ed25519PublicKey]:
    found = [Ed25519PrivateKey.from_private_bytes(base64.urlsafe_b64decode(key)).public_key() for key in keys]
    return {key.public_bytes_raw()[:8]: key for key in found}


def _sign(said: bytes) -> bytes:
    key = _private(tuple(settings.MIST_AUDIT_KEYS))
    return key.public_key().public_bytes_raw()[:8] + key.sign(said)


def _is_signed(said: bytes, signature: bytes | memoryview | None) -> bool:
    data = bytes(signature or b"")
    key = _public(tuple(settings.MIST_AUDIT_KEYS)).get(data[:8])
    try:
        if key is not None:
            key.verify(data[8:], said)
            return True
    except InvalidSignature:
        pass
    return False


def _words(point: Checkpoint, *, dropped: bool = False) -> bytes:
    """What a signature is of."""
    said: dict[str, Any] = {
        "chain": _name(point.org_id),
        "first": point.first,
        "last": point.last,
        "first_at": point.first_at.astimezone(UTC),
        "last_at": point.last_at.astimezone(UTC),
        "previous": bytes(point.previous),
        "hash": bytes(point.hash),
        "sealed_at": point.sealed_at.astimezone(UTC),
    }
    if dropped:
        assert point.dropped_at is not None
        said["dropped_at"] = point.dropped_at.astimezone(UTC)
    return events.canonical(said)


def _name(org_id: UUID | None) -> str:
    return org_id.hex if org_id else "installation"


@cache
def genesis(org_id: UUID | None) -> bytes:
    """The hash before a chain's first event."""
    return hashlib.sha256(f"mist audit chain {_name(org_id)}".encode()).digest()


def link(previous: bytes, digest: bytes | memoryview) -> bytes:
    return hashlib.sha256(previous + bytes(digest)).digest()


# --- sealing ------------------------------------------------------------------------------------------------------------

UNSEALED = "SELECT org_id, id, at, digest FROM core_event WHERE sequence IS NULL ORDER BY org_id, at, id LIMIT %s"
SEAL = """
UPDATE core_event e SET sequence = d.sequence, hash = d.hash
FROM unnest(%s::uuid[], %s::timestamptz[], %s::bigint[], %s::bytea[]) AS d(id, at, sequence, hash)
WHERE e.at >= %s AND e.at <= %s AND e.at = d.at AND e.id = d.id AND e.sequence IS NULL
"""


@every(1)
def seal() -> int:
    """Seal what is committed and not sealed yet.  Returns: how many events."""
    sealed = 0
    while (count := _seal_batch()) > 0:
        sealed += count
        if count < BATCH:
            break
    return sealed


def _seal_batch() -> int:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [LOCK])
        if not cursor.fetchone()[0]:
            return 0  # somebody else is at it
        cursor.execute(UNSEALED, [BATCH])
        rows = cursor.fetchall()
        chains: dict[UUID | None, list[tuple[UUID, datetime, bytes]]] = {}
        for org_id, pk, at, digest in rows:
            chains.setdefault(org_id, []).append((pk, at, digest))
        for org_id, found in chains.items():
            head = Checkpoint.objects.filter(org_id=org_id).order_by("-last").first()
            first = head.last + 1 if head else 1
            before = chained = bytes(head.hash) if head else genesis(org_id)
            hashes = [chained := link(chained, digest) for _, _, digest in found]
            ids, ats = [pk for pk, _, _ in found], [at for _, at, _ in found]
            last = first + len(found) - 1
            cursor.execute(SEAL, [ids, ats, list(range(first, last + 1)), hashes, min(ats), max(ats)])
            if cursor.rowcount != len(found):
                raise RuntimeError(f"{len(found)} events were to be sealed and {cursor.rowcount} were")  # rolls back
            point = Checkpoint(org_id=org_id, first=first, last=last, first_at=min(ats), last_at=max(ats), previous=before, hash=chained)
            point.sealed_at = timezone.now()
            point.signature = _sign(_words(point))
            point.save(force_insert=True)
    return len(rows)


def mark_dropped(point: Checkpoint, when: datetime) -> None:
    """Retention takes this batch's events away, and says so under its signature."""
    point.dropped_at = when
    point.dropped_signature = _sign(_words(point, dropped=True))
    point.save(update_fields=["dropped_at", "dropped_signature"])


# --- verifying ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that is not as it was sealed. `sequence` and `event_id` where it is one row."""

    chain: UUID | None
    what: str  # changed, removed, inserted, reordered, rewritten, unsigned, uncovered
    detail: str
    sequence: int | None = None
    event_id: UUID | None = None


@dataclass(kw_only=True)
class Report:
    """What `verify` went through so far."""

    chain: UUID | None
    events: int = 0
    unsealed: int = 0
    dropped: int = 0  # by retention
    sequence: int = 0  # of the head
    hash: bytes = b""
    findings: list[Finding] = field(default_factory=list)


def chains() -> list[UUID | None]:
    """Every chain there is, the installation's own first."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT DISTINCT org_id FROM core_checkpoint UNION SELECT DISTINCT org_id FROM core_event WHERE sequence IS NULL")
        found = {row[0] for row in cursor.fetchall()}
    return sorted(found, key=lambda pk: (pk is not None, str(pk)))


def holds(org_id: UUID | None, sequence: int, value: bytes) -> bool:
    """Did the chain have this hash after this event? `sequence`: the last of a batch."""
    return Checkpoint.objects.filter(org_id=org_id, last=sequence, hash=value).exists()


def verify(org_id: UUID | None, *, since: datetime | None = None, most: int | None = None, findings_max: int = 100) -> Report:
    """Read one chain again, in constant memory. `since`: only batches sealed from then on; `most`: the newest so many events.

    The report has at most `findings_max` findings.
    """
    report = Report(chain=org_id)
    nested = connection.in_atomic_block
    with transaction.atomic():
        if not nested:  # one moment for events and checkpoints, though sealing goes on
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        for finding in _findings(org_id, since, most, report):
            report.findings.append(finding)
            if len(report.findings) >= findings_max:
                break
    return report


def _findings(org_id: UUID | None, since: datetime | None, most: int | None, report: Report) -> Iterator[Finding]:
    points = Checkpoint.objects.filter(org_id=org_id).order_by("last")
    head = points.last()
    if since is not None:
        points = points.filter(sealed_at__gte=since)
    if most is not None and head is not None:
        points = points.filter(last__gt=head.last - most)
    whole = since is None and most is None
    rows = _sealed(org_id, _first_of(points, whole))
    row = next(rows, None)
    expected: int | None = 1 if whole else None
    chained = genesis(org_id) if whole else b""
    for point in points.iterator(chunk_size=CHUNK):
        if not _is_signed(_words(point), point.signature):
            detail = f"The checkpoint of events {point.first} to {point.last} does not bear this installation's signature."
            yield Finding(chain=org_id, what="unsigned", sequence=point.last, detail=detail)
        if expected is not None and (point.first != expected or bytes(point.previous) != chained):
            detail = (
                f"The checkpoint of events {point.first} to {point.last} does not follow the one before it, which ends at {expected - 1}."
            )
            yield Finding(chain=org_id, what="removed" if point.first > expected else "rewritten", sequence=expected, detail=detail)
        if point.dropped_at is not None:
            if not _is_signed(_words(point, dropped=True), point.dropped_signature):
                detail = f"Events {point.first} to {point.last} are marked as dropped by retention, which did not sign that."
                yield Finding(chain=org_id, what="removed", sequence=point.first, detail=detail)
            report.dropped += point.last - point.first + 1
        else:
            told = 0
            at = bytes(point.previous)
            place = point.first
            while row is not None and (here := int(row.sequence or 0)) <= point.last:
                for finding in _row(org_id, row, place, at):
                    told += 1
                    yield finding
                place = max(place, here + 1)
                at = bytes(row.hash or b"")
                report.events += 1
                row = next(rows, None)
            if place <= point.last:
                told += 1
                yield _missing(org_id, place, point.last)
            if at != bytes(point.hash) and not told:
                detail = (
                    f"Events {point.first} to {point.last} agree with each other, not with their signed checkpoint: they were written anew."
                )
                yield Finding(chain=org_id, what="rewritten", sequence=point.first, detail=detail)
        expected, chained = point.last + 1, bytes(point.hash)
        report.sequence, report.hash = point.last, chained
    while row is not None:
        detail = f"Event {row.pk.hex} has sequence {row.sequence} and no checkpoint covers it."
        yield Finding(chain=org_id, what="uncovered", sequence=row.sequence, event_id=row.pk, detail=detail)
        row = next(rows, None)
    for event in Event.objects.filter(org_id=org_id, sequence__isnull=True).iterator(chunk_size=CHUNK):
        report.unsealed += 1
        if events.digest(event) != bytes(event.digest):
            yield Finding(
                chain=org_id, what="changed", event_id=event.pk, detail=f"Event {event.pk.hex}, not sealed yet, is not what it was."
            )


def _first_of(points: Any, whole: bool) -> int:
    if whole:
        return 0
    first = points.values_list("first", flat=True).first()
    return 2**62 if first is None else int(first)


def _sealed(org_id: UUID | None, first: int) -> Iterator[Event]:
    found = Event.objects.filter(org_id=org_id, sequence__gte=first).defer("words").order_by("sequence", "at", "id")
    return iter(found.iterator(chunk_size=CHUNK))


def _row(org_id: UUID | None, row: Event, place: int, before: bytes) -> Iterator[Finding]:
    """What is wrong with one row that should stand at `place` after the hash `before`."""
    who = f"Event {row.pk.hex} (sequence {row.sequence}, {row.type}, {row.at.isoformat()})"
    known = {"chain": org_id, "sequence": row.sequence, "event_id": row.pk}
    if row.sequence is not None and row.sequence > place:
        yield _missing(org_id, place, row.sequence - 1)
        before = b""  # what it followed is gone: only its content can be judged
    elif row.sequence is not None and row.sequence < place:
        yield Finding(what="inserted", detail=f"{who} has a sequence that is taken.", **known)  # type: ignore[arg-type]
        return
    content = events.digest(row) == bytes(row.digest)
    follows = not before or link(before, row.digest) == bytes(row.hash or b"")
    if not content:
        also = "" if follows else ", and its digest or hash neither"
        yield Finding(what="changed", detail=f"{who}: what it says is not what its digest was made of{also}.", **known)  # type: ignore[arg-type]
    elif not follows:
        detail = f"{who} does not follow the event before it: one of the two was moved, or changed together with its digest."
        yield Finding(what="reordered", detail=detail, **known)  # type: ignore[arg-type]


def _missing(org_id: UUID | None, first: int, last: int) -> Finding:
    what = f"Event with sequence {first} is" if first == last else f"Events with sequences {first} to {last} are"
    return Finding(chain=org_id, what="removed", sequence=first, detail=f"{what} missing.")


__all__ = ["Finding", "Report", "chains", "genesis", "link", "seal", "verify"]
