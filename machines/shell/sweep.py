"""Shells by the clock: those whose process is gone, and recordings that were kept long enough."""

from __future__ import annotations

import hashlib
import logging
import os
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from core import events, live
from core.actor import Actor
from core.ticks import every
from machines.models import Session, ShellHolder, ShellTicket
from machines.shell.recorder import path_of

log = logging.getLogger(__name__)

SILENT_S = 20  # a holder that said nothing for so long is gone
UNOPENED_S = 120
LATE_PIECE = 1 << 20
State, Recording = Session.State, Session.Recording


@every(5)
def give_up_lost() -> int:
    """End the shells that nobody holds any more. Their recordings say where they stop.  Returns: how many."""
    now = timezone.now()
    alive = list(ShellHolder.objects.filter(beat_at__gt=now - timedelta(seconds=SILENT_S)).values_list("name", flat=True))
    ShellHolder.objects.filter(beat_at__lt=now - timedelta(days=1)).delete()
    ShellTicket.objects.filter(expires_at__lt=now).delete()
    ended = 0
    lost = Session.objects.exclude(holder="").exclude(holder__in=alive).exclude(state=State.ENDED)
    unopened = Session.objects.filter(holder="", state=State.OPENING, created_at__lt=now - timedelta(seconds=UNOPENED_S))
    words = "The process that held it died. What was shown after its last line on record is not kept."
    for rows, code, why in ((lost, "holder_lost", words), (unopened, "never_opened", "Nobody came with its ticket.")):
        for pk in list(rows.values_list("pk", flat=True)[:200]):
            ended += _end(pk, code, why)
    return ended


def _end(pk: object, code: str, why: str) -> int:
    with transaction.atomic():
        row = Session.objects.select_for_update(skip_locked=True).filter(pk=pk).exclude(state=State.ENDED).first()
        if row is None:
            return 0
        actor = Actor.system(row.org_id, via="shell")
        detail = {"code": code, "why": why, "chunks": row.recorded_chunks, "recorded_bytes": row.recorded_bytes}
        if row.recording == Recording.RUNNING or code == "holder_lost":
            row.recording = Recording.INTERRUPTED
            for chunk in _unsealed(row):
                events.record("session.chunk.observed", actor, target=row, job_id=row.job_id, detail=chunk)
                row.recorded_chunks, row.recorded_bytes = chunk["sequence"], chunk["offset"] + chunk["length"]
        row.state, row.ended_at, row.ended_code, row.ended_detail, row.viewers = State.ENDED, timezone.now(), code, why, []
        row.save()
        events.record("session.ended.observed", actor, target=row, job_id=row.job_id, detail=detail)
        live.changed(row.org_id, "session", [row.pk])
    return 1


def _unsealed(row: Session) -> list[dict[str, object]]:
    """The whole lines that its process wrote and did not live to seal: sealed now, and said to be late."""
    path = path_of(row.org_id, row.pk)
    try:
        with path.open("rb") as file:
            file.seek(row.recorded_bytes)
            digest, length, torn = hashlib.sha256(), 0, b""
            while piece := file.read(LATE_PIECE):
                whole, newline, torn_now = (torn + piece).rpartition(b"\n")
                digest.update(whole + newline)
                length, torn = length + len(whole) + len(newline), torn_now
    except OSError as error:
        log.warning("the recording of session %s cannot be read here: %s", row.pk, error.strerror)
        return []
    if not length:
        return []
    facts = {"sequence": row.recorded_chunks + 1, "offset": row.recorded_bytes, "length": length, "sha256": digest.hexdigest()}
    return [{**facts, "late": True}]


@every(3600)
def expire() -> int:
    """Remove the recordings that were kept long enough.  Returns: how many."""
    if not settings.MIST_RECORDINGS_KEEP_DAYS:
        return 0
    before = timezone.now() - timedelta(days=settings.MIST_RECORDINGS_KEEP_DAYS)
    removed = 0
    for row in Session.objects.filter(ended_at__lt=before, recording__in=[Recording.COMPLETE, Recording.INTERRUPTED])[:1000]:
        try:
            os.unlink(path_of(row.org_id, row.pk))
        except FileNotFoundError:
            pass
        except OSError as error:
            log.error("the recording of session %s cannot be removed: %s", row.pk, error.strerror)
            continue
        Session.objects.filter(pk=row.pk).update(recording=Recording.EXPIRED)
        actor = Actor.system(row.org_id, via="retention")
        events.record("session.recording_expired.observed", actor, target=row, detail={"recorded_bytes": row.recorded_bytes})
        removed += 1
    return removed
