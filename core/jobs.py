"""What can be done to a job: undo in its window, cancel, retry; and what keeps jobs going."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.db import transaction
from django.db.models import Min, Q
from django.utils import timezone

from core import actions, bulks, events, guard, live
from core.actor import Actor
from core.errors import Conflict, Denied, Failed, NotFound
from core.models import Job, Worker
from core.ticks import every

log = logging.getLogger(__name__)

LOST_AFTER_S = 20  # a worker that said nothing for so long is gone
UNDELIVERED_AFTER_S = 15  # a queued job nobody claimed for so long is announced again


def _may(actor: Actor, job: Job, what: str) -> None:
    """Whoever may do the verb may stop it.  Raises: NotFound, Denied."""
    if not guard.permits(actor, job, "read"):
        raise NotFound
    mine = actor.user_id is not None and job.user_id == actor.user_id
    if actor.read_only or not (mine or guard.permits(actor, job, what)):
        raise Denied(f"You may not {what} jobs of others here. Ask an owner of the organization.", reason=f"no statement allows job.{what}")


def undo(actor: Actor, job: Job) -> Job:
    """Take a job back while it waits; of a bulk what still waits, and nothing more begins.  Raises: Conflict when the window has closed."""
    _may(actor, job, "undo")
    with transaction.atomic(durable=True):
        held: Job = Job.objects.select_for_update().get(pk=job.pk)
        if held.target_id is None and held.state in (Job.State.QUEUED, Job.State.RUNNING) and undo_until(held) is not None:
            _undo_children(held, actor)
            return held
        if held.state != Job.State.WAITING:
            raise Conflict(f"This job is {held.state}: only a waiting one can be undone.", code="window_closed")
        for child in held.children.select_for_update().filter(state=Job.State.WAITING):
            actions.end(child, Job.State.UNDONE, actor=actor)
        actions.end(held, Job.State.UNDONE, actor=actor)
    return held


def undo_until(job: Job) -> datetime | None:
    """Until when it can be undone; None: no more. A bulk: as long as children wait, or are still to be made with a window to wait in."""
    if job.state == Job.State.WAITING:
        return job.not_before
    if job.target_id is not None or not job.is_active or job.cancel_requested:
        return None
    first: datetime | None = job.children.filter(state=Job.State.WAITING).aggregate(first=Min("not_before"))["first"]
    if first is None and not any(step["name"] == "expanded" for step in job.steps) and job.action in actions.all_actions():
        asked = (job.selector or {}).get("undo_s")
        window_s = actions.get(job.action).undo_s if asked is None else asked
        return job.created_at + timedelta(seconds=window_s) if window_s else None
    return first


def _undo_children(held: Job, actor: Actor) -> None:
    """Of a bulk, locked: what waits is undone; what is being made meanwhile is by `expand`, which sees `cancel_requested`."""
    held.cancel_requested = True
    held.save(update_fields=["cancel_requested"])
    for child in held.children.select_for_update().filter(state=Job.State.WAITING):
        actions.end(child, Job.State.UNDONE, actor=actor)
    if held.state == Job.State.QUEUED:
        actions.end(held, Job.State.UNDONE, actor=actor)
    else:
        bulks.settle_bulk(held)
    live.changed(held.org_id, "job", [held.pk])


def can_cancel(job: Job) -> bool:
    """Can it still be stopped, as far as its state and its action go?"""
    if job.state == Job.State.ASKED:
        return True
    if not job.is_active or job.cancel_requested:
        return False
    if job.target_id is None or job.state in (Job.State.WAITING, Job.State.QUEUED):
        return True
    return job.action in actions.all_actions() and actions.get(job.action).cancellable


def watch(actor: Actor, job: Job, on: bool) -> Job:
    """Have it among one's own in the drawer, or no more. Nothing of the job changes."""
    if actor.user_id is None or not guard.permits(actor, job, "read"):
        raise NotFound
    with transaction.atomic():
        held: Job = Job.objects.select_for_update().get(pk=job.pk)
        held.watchers = [one for one in held.watchers if one != actor.user_id] + ([actor.user_id] if on else [])
        held.watchers = held.watchers[-100:]
        held.save(update_fields=["watchers"])
    live.changed(held.org_id, "job", [held.pk])
    return held


def cancel(actor: Actor, job: Job) -> Job:
    """Stop what has not started; ask what runs to stop, where it can.  Raises: Conflict."""
    _may(actor, job, "cancel")
    with transaction.atomic(durable=True):
        held: Job = Job.objects.select_for_update().get(pk=job.pk)
        if not held.is_active and held.state != Job.State.ASKED:
            raise Conflict(f"This job has already {held.state}.", code="job_over")
        if held.state == Job.State.ASKED:  # nobody need answer any more
            held.to_tell = False
            held.save(update_fields=["to_tell"])
            actions.end(held, Job.State.CANCELLED, actor=actor)
        elif held.target_id is None:  # a bulk: what has not begun does not begin
            held.cancel_requested = True
            held.save(update_fields=["cancel_requested"])
            for child in held.children.select_for_update().filter(state__in=[Job.State.WAITING, Job.State.QUEUED]):
                actions.end(child, Job.State.CANCELLED, actor=actor)
            bulks.settle_bulk(held)
        elif held.state in (Job.State.WAITING, Job.State.QUEUED):
            actions.end(held, Job.State.CANCELLED, actor=actor)
        elif not actions.get(held.action).cancellable:
            raise Conflict("This has begun and its cloud cannot be told to stop it.", code="not_cancellable")
        else:
            held.cancel_requested = True
            held.save(update_fields=["cancel_requested"])
            events.record(
                f"{held.action}.cancel.requested", actor, org_id=held.org_id, job_id=held.pk, target_kind="job", target_id=held.pk
            )
        live.changed(held.org_id, "job", [held.pk])
    return held


def retry(actor: Actor, job: Job) -> Job:
    """The same again, by who asks now, with that person's rights. A bulk: its failed children alone.  Raises: Conflict."""
    if not guard.permits(actor, job, "read"):
        raise NotFound
    if job.state not in (Job.State.FAILED, Job.State.LOST, Job.State.CANCELLED) and not job.is_partly:
        raise Conflict(f"This job has {job.state}: only a failed, lost or cancelled one can be tried again.", code="nothing_to_retry")
    action = actions.get(job.action)
    if job.target_id is None:
        failed = list(job.children.filter(Job.NOT_WHOLLY).order_by("created_at", "id"))
        if not failed:
            raise Conflict("None of its jobs failed.", code="nothing_to_retry")
        if action.creates:
            return bulks.bulk_create(actor, action.model, action.name, [child.params for child in failed])
        targets = {child.target_id: child.params for child in failed if child.target_id}
        if "params" in (job.selector or {}):
            return bulks.bulk_each(actor, action.model, action.name, targets)
        return bulks.bulk(actor, action.model, action.name, job.params, ids=list(targets))
    if action.creates:
        return actions.perform(actor, action.model, action.name, job.params, retry_of=job)
    target = action.model.objects.visible_to(actor).filter(pk=job.target_id).first()
    if target is None:
        raise NotFound
    return actions.perform(actor, target, action.name, action.retried(job), retry_of=job)


# --- housekeeping: ticks of the scheduler -----------------------------------------------------------------------------


def release_due() -> int:
    """Queue what waited for its time. Safe to run in several processes.  Returns: how many."""
    now = timezone.now()
    with transaction.atomic():
        due = list(
            Job.objects.select_for_update(skip_locked=True)
            .filter(state=Job.State.WAITING, not_before__lte=now)
            .order_by("not_before")[:500]
        )
        for job in due:
            job.state, job.queued_at = Job.State.QUEUED, now
        Job.objects.bulk_update(due, ["state", "queued_at"])
        for job in due:
            live.changed(job.org_id, "job", [job.pk])
        transaction.on_commit(lambda: actions.enqueue_all(due))
    return len(due)


def announce_again() -> int:
    """Ring again for queued jobs nobody claimed: the broker may have lost the bell.  Returns: how many."""
    late = timezone.now() - timedelta(seconds=UNDELIVERED_AFTER_S)
    with transaction.atomic():
        jobs = list(
            Job.objects.select_for_update(skip_locked=True).filter(state=Job.State.QUEUED, queued_at__lt=late).order_by("queued_at")[:500]
        )
        Job.objects.filter(pk__in=[job.pk for job in jobs]).update(queued_at=timezone.now())
        transaction.on_commit(lambda: actions.enqueue_all(jobs))
    return len(jobs)


def give_up_lost() -> int:
    """Mark running jobs lost whose worker is gone, or whose deadline passed long ago.  Returns: how many."""
    now = timezone.now()
    silent = now - timedelta(seconds=LOST_AFTER_S)
    lost = 0
    alive = Q(worker__in=list(_alive(silent)))
    overdue = Q(deadline_at__lt=now - timedelta(seconds=30))
    orphan = ~alive & Q(started_at__lt=silent) & ~Q(worker="")
    bulk_ = Q(target_id__isnull=True)
    for pk in list(Job.objects.filter(state=Job.State.RUNNING).filter(overdue & ~bulk_ | orphan).values_list("pk", flat=True)[:500]):
        with transaction.atomic():
            held = Job.objects.select_for_update(skip_locked=True).filter(pk=pk, state=Job.State.RUNNING).first()
            if held is None:
                continue
            if held.target_id is None:  # making children again is safe: it goes on where it stopped
                steps = {step["name"] for step in held.steps}
                if "expanded" not in steps:
                    held.state, held.queued_at, held.worker = Job.State.QUEUED, now, ""
                    held.save(update_fields=["state", "queued_at", "worker"])
                    transaction.on_commit(partial(actions.enqueue, held))
                continue
            said = "The process that ran this died before it ended. It was not tried again: look at the target first."
            if held.children.filter(state=Job.State.WAITING).update(not_before=now):  # each looks itself whether it may
                said += " What was to follow it goes on by itself, in jobs of its own."
            actions.end(held, Job.State.LOST, Failed(said, code="job_lost"), actor=Actor.system(held.org_id))
            lost += 1
    return lost


def _alive(since: Any) -> Iterator[str]:
    yield from Worker.objects.filter(beat_at__gte=since).values_list("name", flat=True)


for _seconds, _function in ((1, release_due), (5, announce_again), (5, give_up_lost)):
    every(_seconds)(_function)
