"""When each kind of each cloud is listed next, and one listing.

Bulkheads: at most two polls of one cloud at a time (machines, and one other kind), at most SUSPECTS of clouds that last
failed, each under its own deadline. A slow or dead cloud uses its own slots and no others.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.utils import timezone

from clouds import inventory
from clouds.connection import connect
from clouds.models import Cloud, Poll
from clouds.providers import provider
from core import events, live
from core.actor import Actor
from core.errors import AuthFailed, Failed, MistError, NotPermitted, RateLimited

log = logging.getLogger(__name__)

DEADLINE_S = 60
FAST_S = 3  # between polls after an action, while something changes, or while somebody looks
FAST_FOR_S = 60
LOOK_S = 10  # between polls while somebody looks
AUTH_RETRY_S = 3600
LONGEST_BACKOFF_S = 900
SUSPECTS = 3
TRANSIENT = ("starting", "stopping", "rebooting", "pending", "creating", "reconfiguring", "updating", "migrating")


def schedule(cloud: Cloud) -> None:
    """A row for each kind the provider lists, due at once: machines and what is quick first."""
    cls = provider(cloud.provider)
    for way in inventory.supported(cls):
        every = int(cls.polls.get(way.kind, way.every_s))
        Poll.objects.update_or_create(
            cloud=cloud,
            kind=way.kind,
            defaults={"every_s": every, "due_at": timezone.now(), "failures": 0, "error_code": "", "error_detail": ""},
        )


def renew(cloud_ids: Iterable[UUID]) -> None:
    """Credentials of these are other values now: read everything at once."""
    for cloud in Cloud.objects.filter(pk__in=cloud_ids, enabled=True):
        schedule(cloud)


def hasten(cloud_id: object, kind: str = "machine", *, for_s: int = FAST_FOR_S) -> None:
    """Poll this soon and often for a while: after an action, or because somebody looks. Refused credentials stay hourly."""
    now = timezone.now()
    Poll.objects.filter(cloud_id=cloud_id, kind=kind).exclude(error_code__in=[AuthFailed.code, NotPermitted.code]).update(
        due_at=now, fast_until=now + timedelta(seconds=for_s)
    )


def look(org_ids: Iterable[UUID], now: datetime | None = None) -> int:
    """Somebody looks at these organizations' machines: poll them every few seconds, the longer a listing takes the less often.

    Clouds that fail keep their back-off.  Returns: how many polls come sooner.
    """
    now = now or timezone.now()
    sooner = 0
    for poll in Poll.objects.filter(cloud__org_id__in=list(org_ids), cloud__enabled=True, kind="machine", failures=0, claimed_until=None):
        wait = max(LOOK_S, 20 * (poll.took_ms or 0) / 1000)
        due = max(now, (poll.finished_at or now) + timedelta(seconds=wait))
        sooner += Poll.objects.filter(pk=poll.pk, due_at__gt=due, claimed_until=None).update(due_at=due)
    return sooner


def take_due(limit: int = 50, now: datetime | None = None) -> list[Poll]:
    """Claim the polls that are due, within the bulkheads. Several schedulers may call it; a poll is given to one."""
    now = now or timezone.now()
    with transaction.atomic():
        with connection.cursor() as cursor:  # the limits below are counted: one taker at a time
            cursor.execute("SELECT pg_try_advisory_xact_lock(hashtext('mist.polls'))")
            if not cursor.fetchone()[0]:
                return []
        busy = list(Poll.objects.filter(claimed_until__gt=now).values_list("cloud_id", "kind", "failures"))
        suspects = sum(1 for _, _, failures in busy if failures)
        at_work = {(cloud_id, kind == "machine") for cloud_id, kind, _ in busy}
        due = (
            Poll.objects.select_for_update(of=("self",), skip_locked=True)
            .filter(due_at__lte=now, cloud__enabled=True)
            .exclude(claimed_until__gt=now)
            .order_by("due_at", "id")[: limit * 8]
        )
        taken: list[Poll] = []
        for poll in due:
            slot = (poll.cloud_id, poll.kind == "machine")
            if slot in at_work or len(taken) >= limit:
                continue
            if poll.failures:
                if suspects >= SUSPECTS:
                    continue
                suspects += 1
            at_work.add(slot)
            poll.claimed_until = now + timedelta(seconds=DEADLINE_S + 30)
            taken.append(poll)
        Poll.objects.bulk_update(taken, ["claimed_until"])
    return taken


def poll_once(poll_id: int, *, deadline_s: float = DEADLINE_S) -> inventory.Outcome | None:
    """List one kind of one cloud and write what differs. Faults end up in the poll's row, never in an exception."""
    poll = Poll.objects.select_related("cloud").filter(pk=poll_id).first()
    if poll is None or not poll.cloud.enabled:
        return None
    cloud, way = poll.cloud, inventory.kinds().get(poll.kind)
    if way is None:
        return None
    actor = Actor.system(cloud.org_id, via=f"poll:{cloud.pk.hex}")
    Poll.objects.filter(pk=poll.pk).update(started_at=timezone.now())
    begun = time.monotonic()
    version = cloud.credentials_version
    try:
        with connect(cloud, actor, deadline_s=deadline_s) as made:
            listing = getattr(made, way.method)()
            outcome = inventory.reconcile(cloud, poll.kind, listing, incomplete=lambda: "; ".join(made.incomplete), actor=actor)
            why = "; ".join(made.incomplete)
    except MistError as error:
        _failed(poll, error, version)
        return None
    except Exception as error:  # a provider's bug is that cloud's failure, not the worker's
        log.exception("listing %s of cloud %s failed unexpectedly", poll.kind, cloud.pk)
        _failed(
            poll,
            Failed(f"Mist's {cloud.provider} provider failed ({type(error).__name__}). The log has the details.", code="internal_error"),
            version,
        )
        return None
    _succeeded(poll, outcome, why, int((time.monotonic() - begun) * 1000))
    return outcome


def _succeeded(poll: Poll, outcome: inventory.Outcome, incomplete: str, took_ms: int) -> None:
    now = timezone.now()
    was_failing = poll.failures > 0
    transient = (
        poll.kind == "machine"
        and inventory.kinds()["machine"].model.objects.filter(cloud_id=poll.cloud_id, missing_since=None, state__in=TRANSIENT).exists()
    )
    with transaction.atomic():
        held = Poll.objects.select_for_update().filter(pk=poll.pk).first()
        if held is None:
            return
        fast = transient or (held.fast_until is not None and held.fast_until > now)
        wait = FAST_S if fast else held.every_s
        hastened = held.due_at > poll.due_at  # somebody asked for more while we listed
        held.due_at = now if hastened else now + timedelta(seconds=max(wait, took_ms / 1000) * random.uniform(0.95, 1.05))  # noqa: S311
        held.claimed_until = None
        held.finished_at = held.succeeded_at = now
        if outcome.complete:
            held.completed_at = now
        held.took_ms, held.count, held.failures = took_ms, outcome.seen, 0
        held.error_code = held.error_detail = ""
        held.incomplete = incomplete[:2000]
        held.save()
        _tell(poll, was_failing, None)
    if outcome.inserted:
        for way in inventory.kinds().values():  # rows that could not name these yet are written again
            if poll.kind in way.refers:
                way.model.objects.filter(cloud_id=poll.cloud_id).update(fingerprint=None)
                hasten(poll.cloud_id, way.kind, for_s=1)
    if outcome.changed_ids or was_failing:
        live.changed(poll.cloud.org_id, "cloud", [poll.cloud_id])


def _failed(poll: Poll, error: MistError, version: int) -> None:
    now = timezone.now()
    with transaction.atomic():
        held = Poll.objects.select_for_update().filter(pk=poll.pk).first()
        if held is None:
            return
        newer = Cloud.objects.filter(pk=poll.cloud_id).exclude(credentials_version=version).exists()
        failures = held.failures + 1
        if newer:  # these credentials were replaced while we tried them
            wait = 0.0
        elif isinstance(error, AuthFailed):
            wait = AUTH_RETRY_S
        elif isinstance(error, RateLimited) and error.retry_after_s:
            wait = max(error.retry_after_s, held.every_s)
        else:
            wait = min(max(held.every_s, 10) * 2 ** min(failures - 1, 6), max(LONGEST_BACKOFF_S, held.every_s))
        first = held.failures == 0
        held.failures, held.error_code, held.error_detail = failures, error.code, error.detail[:2000]
        held.finished_at, held.claimed_until = now, None
        held.due_at = now + timedelta(seconds=wait * random.uniform(1.0, 1.1))  # noqa: S311
        held.save()
        if first:
            _tell(poll, False, error)
    live.changed(poll.cloud.org_id, "cloud", [poll.cloud_id])


def _tell(poll: Poll, recovered: bool, error: MistError | None) -> None:
    """Once when it fails, once when it is back."""
    actor = Actor.system(poll.cloud.org_id, via=f"poll:{poll.cloud_id.hex}")
    if error is not None:
        log.warning("cloud %s: listing %s fails: %s", poll.cloud_id, poll.kind, error.code)
        detail = {"kind": poll.kind, "code": error.code, "error": error.detail}
        events.record("cloud.failing.observed", actor, target=poll.cloud, detail=detail)
    elif recovered:
        log.info("cloud %s: listing %s works again", poll.cloud_id, poll.kind)
        events.record("cloud.recovered.observed", actor, target=poll.cloud, detail={"kind": poll.kind})


def observe(cloud: Cloud, kind: str, info: Any, actor: Actor) -> None:
    """Write one thing a provider has just told of, outside a whole listing."""
    inventory.reconcile(cloud, kind, iter([info]), incomplete=lambda: "one of many", actor=actor, only=[info.external_id])


def mark_gone(row: Any, actor: Actor) -> None:
    """The provider has just said that this one is not there any more."""
    inventory.reconcile(row.cloud, row.kind(), iter(()), actor=actor, only=[row.external_id])


__all__ = ["hasten", "look", "mark_gone", "observe", "poll_once", "schedule", "take_due"]
