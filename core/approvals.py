"""Somebody else's yes or no to what was asked for with `Actor.ask`: until then the job waits, in state `asked`.

An act needs that where a guard says so (`Guard.needs`): its target is locked, or a team's policy asks. Whoever holds `job.approve` there
may answer, but for who asked. The yes is to these params, on these targets, once; the asker's rights are asked again when it is done.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import IntegrityError, transaction
from django.utils import timezone

from core import actions, events, guard, live
from core.actions.record import shadow
from core.actor import Actor
from core.errors import Conflict, Denied, Failed, Invalid, NotFound
from core.models import Job
from core.ticks import every

OPEN_FOR = timedelta(days=7)
LONGEST = 500  # characters of an answer


def open_until(job: Job) -> datetime:
    return job.created_at + OPEN_FOR


def why_not(actor: Actor, job: Job) -> str:
    """Why this person may not answer it; "": they may."""
    if job.state != Job.State.ASKED:
        return "It waits for no approval."
    if actor.user_id is None or is_own(actor, job):
        return "Somebody else has to approve it."
    if actor.su_by is not None:
        return "You act as somebody else here, whose yes or no is not yours to give. Answer as yourself."
    if actor.read_only or not guard.permits(actor, job, "approve"):
        return "You may not approve this. Ask an owner of the organization."
    return ""


def is_own(actor: Actor, job: Job) -> bool:
    """Did this person ask for it, be it as themselves or as somebody else they acted as?"""
    return not {actor.user_id, actor.su_by}.isdisjoint({job.user_id, job.su_by} - {None})


def approve(actor: Actor, job: Job, note: str = "") -> Job:
    """It is done now, with the rights of who asked; what has an undo window has it from now.

    Raises: NotFound, Denied, Invalid. Conflict: it was answered, or something else is being done to its target.
    """
    try:
        with transaction.atomic(durable=True):
            held = _hold(actor, job, note)
            now = timezone.now()
            action = actions.get(held.action)
            window_s = action.undo_s if action.background and held.target_id else 0
            held.approved_at = now
            held.state = Job.State.WAITING if window_s else Job.State.QUEUED
            held.not_before, held.queued_at = (now + timedelta(seconds=window_s), None) if window_s else (None, now)
            held.save()
            _tell(actor, held, "approved")
            if not window_s:
                transaction.on_commit(lambda: actions.enqueue(held))
    except IntegrityError as error:  # UNIQUE (target_id) WHERE active AND exclusive
        raise Conflict(f"Something else is being done to {job.target_name}. Approve it when that has ended.", code="busy") from error
    return held


def decline(actor: Actor, job: Job, note: str = "") -> Job:
    """It is not done.  Raises: NotFound, Denied, Invalid, Conflict."""
    with transaction.atomic(durable=True):
        held = _hold(actor, job, note)
        held.save(update_fields=["answered_by", "answer", "to_tell"])
        _tell(actor, held, "declined")
        said = f"It was not approved: {note}" if note else "It was not approved."
        actions.end(held, Job.State.CANCELLED, Failed(said, code="declined"), actor=actor)
    return held


def _hold(actor: Actor, job: Job, note: str) -> Job:
    if not guard.permits(actor, job, "read"):
        raise NotFound
    if len(note) > LONGEST:
        raise Invalid(fields={"note": [f"At most {LONGEST} characters."]})
    if "\x00" in note:
        raise Invalid(fields={"note": ["Null characters are not allowed."]})
    held: Job = Job.objects.select_for_update().get(pk=job.pk)
    if held.state != Job.State.ASKED:
        raise Conflict(f"This job is {held.state}: it waits for no approval.", code="not_asked")
    if why := why_not(actor, held):
        raise Denied(why, code="own_request" if is_own(actor, held) else None, reason="approval is somebody else's to give")
    held.answered_by_id, held.answer, held.to_tell = actor.user_id, note, True
    return held


def _tell(actor: Actor, held: Job, outcome: str) -> None:
    detail = {"note": held.answer, "asked_by": held.user_id.hex if held.user_id else None}
    verb = held.action if held.target_id is not None else f"{held.action}.bulk"
    events.record(f"{verb}.{outcome}", actor, target=shadow(held), job_id=held.pk, detail=detail)
    live.changed(held.org_id, "job", [held.pk])


@every(60)
def expire(now: datetime | None = None) -> int:
    """What nobody answered in a week is called off, and who asked is told.  Returns: how many."""
    late = (now or timezone.now()) - OPEN_FOR
    said = Failed("Nobody answered within seven days. Ask again if it is still to be done.", code="approval_expired")
    ended = 0
    for pk in list(Job.objects.filter(state=Job.State.ASKED, created_at__lt=late).values_list("pk", flat=True)[:200]):
        with transaction.atomic():
            held = Job.objects.select_for_update(skip_locked=True).filter(pk=pk, state=Job.State.ASKED).first()
            if held is not None:
                held.to_tell = True
                held.save(update_fields=["to_tell"])
                actions.end(held, Job.State.CANCELLED, said, actor=Actor.system(held.org_id))
                ended += 1
    return ended
