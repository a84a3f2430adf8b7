"""What is kept how long: months of events made ahead and dropped, old versions of rows, answers to repeated requests."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from django.conf import settings
from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from core import chain, events
from core.actor import Actor
from core.models import Checkpoint, IdempotencyKey, Revision, Worker
from core.ticks import every

log = logging.getLogger(__name__)

MONTHS_AHEAD = 3
IDEMPOTENCY_H = 24
ROWS_AT_ONCE = 5000
# The trigger of core_event lets a transaction delete that says so; nothing but retention does.
ALLOW = "SET LOCAL mist.retention = 'on'"


@every(3600)
def make_months() -> int:
    """Partitions of core_event for the months to come. What found none went to core_event_other, and is moved from there.

    Returns: how many were made.
    """
    made = 0
    with connection.cursor() as cursor:
        cursor.execute("SELECT DISTINCT date_trunc('month', at AT TIME ZONE 'UTC')::date FROM core_event_other")
        wanted = {row[0] for row in cursor.fetchall()}
        for ahead in range(MONTHS_AHEAD + 1):
            cursor.execute("SELECT date_trunc('month', now() AT TIME ZONE 'UTC' + make_interval(months => %s))::date", [ahead])
            wanted.add(cursor.fetchone()[0])
    for month in sorted(wanted):
        name = f"core_event_{month:%Y_%m}"
        try:
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute("SELECT to_regclass(%s)", [name])
                if cursor.fetchone()[0] is not None:
                    continue
                cursor.execute("SELECT pg_advisory_xact_lock(%s)", [chain.LOCK])
                cursor.execute("SET LOCAL lock_timeout = '3s'")
                cursor.execute(ALLOW)
                cursor.execute("SELECT mist_event_month(%s)", [month])
                made += 1
        except DatabaseError as error:  # the default partition goes on taking what comes
            log.warning("the month %s of the audit log could not be made (%s): it will be", name, type(error).__name__)
    return made


def start_of(day: date) -> datetime:
    """Its first moment, UTC."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Dropped:
    """What retention took away."""

    events: int
    checkpoints: int
    months: list[str]


def drop_events(before: datetime) -> Dropped:
    """Drop the sealed batches all of whose events are older than `before`, oldest first, and keep their checkpoints.

    A chain loses only its beginning: a batch that holds one younger event keeps all after it. Months of which nothing is left to
    keep go as whole partitions.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL lock_timeout = '5s'")
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [chain.LOCK])
        cursor.execute(ALLOW)
        cursor.execute(
            """
            CREATE TEMPORARY TABLE mist_drop ON COMMIT DROP AS
            SELECT org_id, max(last) AS last FROM core_checkpoint c
            WHERE last_at < %s AND NOT EXISTS (
                SELECT FROM core_checkpoint kept
                WHERE kept.org_id IS NOT DISTINCT FROM c.org_id AND kept.last < c.last AND kept.last_at >= %s)
            GROUP BY org_id
            """,
            [before, before],
        )
        cursor.execute("SELECT org_id, last FROM mist_drop")
        marked, now = 0, timezone.now()
        for org_id, last in cursor.fetchall():
            points = Checkpoint.objects.filter(org_id=org_id, last__lte=last, dropped_at__isnull=True)
            for point in points.order_by("last").iterator(chunk_size=1000):
                chain.mark_dropped(point, now)
                marked += 1
        taken, months = 0, []
        for name, until in _months():
            cursor.execute(f"SELECT count(*), count(*) FILTER (WHERE {_GOES}) FROM {name} e")  # noqa: S608 - a partition's own name
            rows, going = cursor.fetchone()
            if going == 0 and not (rows == 0 and until is not None and until <= before):
                continue
            if rows == going and until is not None and until <= before:
                cursor.execute(f"DROP TABLE {name}")
                months.append(name)
            else:
                cursor.execute(f"DELETE FROM {name} e WHERE {_GOES}")  # noqa: S608
            taken += going
        if marked:
            detail = {"before": before, "events": taken, "checkpoints": marked, "months": months}
            events.record("event.purge.succeeded", Actor.system(), target_kind="event", detail=detail)
    return Dropped(events=taken, checkpoints=marked, months=months)


_GOES = "EXISTS (SELECT FROM mist_drop d WHERE d.org_id IS NOT DISTINCT FROM e.org_id AND e.sequence <= d.last)"


def _months() -> list[tuple[str, datetime | None]]:
    """(partition, the end of its month; None: the default one), oldest first."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'core_event'::regclass ORDER BY 1")
        names = [row[0] for row in cursor.fetchall()]
    found: list[tuple[str, datetime | None]] = []
    for name in names:
        match = re.fullmatch(r"core_event_(\d{4})_(\d\d)", name)
        if match:
            year, month = int(match[1]), int(match[2])
            found.append((name, datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC)))
        elif name == "core_event_other":
            found.append((name, None))
    return found


@every(6 * 3600)
def keep_events() -> Dropped | None:
    """What MIST_EVENTS_KEEP_DAYS asks for, by whole months."""
    if not settings.MIST_EVENTS_KEEP_DAYS:
        return None
    return drop_events(start_of((timezone.now() - timedelta(days=settings.MIST_EVENTS_KEEP_DAYS)).astimezone(UTC).date().replace(day=1)))


@every(600)
def forget_requests() -> int:
    """Answers kept for `Idempotency-Key`, and workers that have not been heard of for a day."""
    old = timezone.now() - timedelta(hours=IDEMPOTENCY_H)
    Worker.objects.filter(beat_at__lt=old).delete()
    return IdempotencyKey.objects.filter(created_at__lt=old).delete()[0]


@every(3600)
def forget_history() -> int:
    """Versions of rows that ended longer ago than MIST_HISTORY_KEEP_DAYS, in small steps. What still holds is kept."""
    if not settings.MIST_HISTORY_KEEP_DAYS:
        return 0
    old = timezone.now() - timedelta(days=settings.MIST_HISTORY_KEEP_DAYS)
    gone = 0
    while True:
        ids = list(Revision.objects.filter(to_at__lt=old).values_list("pk", flat=True)[:ROWS_AT_ONCE])
        gone += Revision.objects.filter(pk__in=ids).delete()[0]
        if len(ids) < ROWS_AT_ONCE:
            return gone
