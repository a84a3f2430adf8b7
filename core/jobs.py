"""What can be done to a job: undo in its window, cancel, retry; and bulks, which are parent jobs."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Count, Min, Q, QuerySet
from django.utils import timezone

from core import actions, events, guard, live
from core.actor import Actor
from core.errors import Conflict, Denied, Failed, Invalid, NotFound, Refused
from core.models import Job, Worker, new_id
from core.ticks import every

log = logging.getLogger(__name__)

BULK_CAP = 10_000  # targets of one bulk
CREATE_CAP = 100  # new rows of one
REASONS = 50  # that a preview tells apart
REASONS_KEPT = 5  # for which many need approval
BULK_WIDTH = 20  # of its children at work at once
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
        settle_bulk(held)
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
            settle_bulk(held)
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
            return bulk_create(actor, action.model, action.name, [child.params for child in failed])
        targets = {child.target_id: child.params for child in failed if child.target_id}
        if "params" in (job.selector or {}):
            return bulk_each(actor, action.model, action.name, targets)
        return bulk(actor, action.model, action.name, job.params, ids=list(targets))
    if action.creates:
        return actions.perform(actor, action.model, action.name, job.params, retry_of=job)
    target = action.model.objects.visible_to(actor).filter(pk=job.target_id).first()
    if target is None:
        raise NotFound
    return actions.perform(actor, target, action.name, action.retried(job), retry_of=job)


# --- bulk -----------------------------------------------------------------------------------------------------------


def select(actor: Actor, model: type[Any], *, ids: Sequence[UUID] | None = None, search: str | None = None) -> QuerySet[Any]:
    """What a selector means for this actor."""
    rows: QuerySet[Any] = model.objects.visible_to(actor)
    if ids is not None:
        return rows.filter(pk__in=ids)
    return rows.filter(model.search_q(search or "", actor))


def preview(
    actor: Actor,
    model: type[Any],
    name: str,
    params: Mapping[str, Any] | None = None,
    *,
    ids: Sequence[UUID] | None = None,
    search: str | None = None,
) -> dict[str, Any]:
    """{"count", "able", "reasons": {why not: how many}} for the first 1,000.  Raises: Invalid for wrong params."""
    rows = select(actor, model, ids=ids, search=search)
    action = actions.get(f"{model.kind()}.{name}")
    asked = actions.validated(action, actor, params, None) if params else {}
    able = 0
    reasons: dict[str, int] = {}
    count = rows.count()
    for row in rows[:1000]:
        why = None
        if not actions.action_offered(action, row):
            why = "Its provider cannot do that."
        elif not guard.permits(actor, row, action.right):
            why = "You may not do that to it."
        elif actor.ask is None and (needs := guard.needs(actions.Call(actor=actor, action=action, target=row))):
            why = f"It needs approval. {' '.join(needs)}" if count == 1 else "It needs approval."
        why = why or action.reason(row) or (_refused(actor, action, row, asked) if params else None)
        if why is not None and why not in reasons and len(reasons) >= REASONS:
            why = "For other reasons."
        if why is None:
            able += 1
        else:
            reasons[why] = reasons.get(why, 0) + 1
    return {"count": count, "able": able, "reasons": reasons, "counted": min(count, 1000)}


def _refused(actor: Actor, action: actions.Action, row: Any, params: dict[str, Any]) -> str | None:
    """Why it cannot be done with these params."""
    try:
        action.check(actions.Call(actor=actor, action=action, target=row, params=dict(params)))
    except Refused as refusal:
        return refusal.detail
    return None


def bulk(
    actor: Actor,
    model: type[Any],
    name: str,
    params: Mapping[str, Any] | None = None,
    *,
    ids: Sequence[UUID] | None = None,
    search: str | None = None,
    undo_s: float | None = None,
) -> Job:
    """Ask for one action on many. Answers at once with the parent; a worker makes the children.

    Raises: Invalid: no such targets, more than BULK_CAP, wrong params.
    """
    action = actions.get(f"{model.kind()}.{name}")
    if action.creates or not action.bulk:
        raise Invalid(f"{action.verb} cannot be done in bulk.", fields={"action": ["Not for many at once."]})
    if actor.read_only:
        raise Denied("This token is read-only. Use one that may act.", code="read_only_token", reason="token scope")
    if actor.org_id is None:
        raise NotFound
    actions.validated(action, actor, params, None)
    chosen = list(select(actor, model, ids=ids, search=search).values_list("pk", flat=True)[: BULK_CAP + 1])
    if ids is not None and len(set(ids)) > len(chosen):
        raise Invalid("Some of these are not there.", code="not_found", fields={"ids": ["Not found."]})
    if not chosen:
        raise Invalid("Nothing matches.", fields={"search": ["Nothing matches."]})
    if len(chosen) > BULK_CAP:
        raise Invalid(f"More than {BULK_CAP:,} match. Narrow the search.", fields={"search": [f"At most {BULK_CAP:,}."]})
    selector = {"ids": [pk.hex for pk in chosen], "search": search, "undo_s": undo_s}
    return _parent(actor, action, len(chosen), params, selector, model.objects.filter(pk__in=chosen))


def bulk_each(actor: Actor, model: type[Any], name: str, each: Mapping[UUID, Mapping[str, Any]]) -> Job:
    """Ask for one action on many, on each with its own params. Answers at once with the parent; a worker makes the children, and there
    each is asked whether it may be.

    Raises: Invalid: none of them is there, more than BULK_CAP, or an action that is no record of ours; Denied for a read-only token.
    """
    action = actions.get(f"{model.kind()}.{name}")
    if action.creates or action.background or not action.bulk:
        raise Invalid(f"{action.verb} cannot be done to each in another way.", fields={"action": ["Not for many at once."]})
    if actor.read_only:
        raise Denied("This token is read-only. Use one that may act.", code="read_only_token", reason="token scope")
    if actor.org_id is None:
        raise NotFound
    if len(each) > BULK_CAP:
        raise Invalid(f"More than {BULK_CAP:,}: do it in parts.", fields={"ids": [f"At most {BULK_CAP:,}."]})
    chosen = list(select(actor, model, ids=list(each)).values_list("pk", flat=True))
    if not chosen:
        raise Invalid("Nothing matches.", fields={"ids": ["Not found."]})
    for sent in each.values() if actor.ask is not None else ():
        actions.can_wait(action, sent)
    params = {pk.hex: actions.public_params(action, each[pk]) for pk in chosen}
    return _parent(actor, action, len(chosen), {}, {"ids": list(params), "params": params}, model.objects.filter(pk__in=chosen))


def bulk_create(actor: Actor, model: type[Any], name: str, each: Sequence[Mapping[str, Any]]) -> Job:
    """Ask for several new rows, each with its own params. Answers at once with the parent; a worker makes the children.

    Raises: Invalid, when the first or the last of them cannot be; Denied for a read-only token.
    """
    action = actions.get(f"{model.kind()}.{name}")
    if not action.creates or not action.background:
        raise Invalid(f"{action.verb} cannot be done for many.", fields={"action": ["Not for many at once."]})
    if actor.read_only:
        raise Denied("This token is read-only. Use one that may act.", code="read_only_token", reason="token scope")
    if actor.org_id is None:
        raise NotFound
    if not 0 < len(each) <= CREATE_CAP:
        raise Invalid(fields={"quantity": [f"Between 1 and {CREATE_CAP}."]})
    drafts = [action.draft(actor, actions.validated(action, actor, params, None)) for params in (each[0], each[-1])]
    return _parent(actor, action, len(each), {}, {"each": [actions.public_params(action, params) for params in each]}, drafts)


def _parent(
    actor: Actor,
    action: actions.Action,
    count: int,
    params: Mapping[str, Any] | None,
    selector: dict[str, Any],
    targets: Iterable[Any] = (),
) -> Job:
    """The job of many, recorded and queued, or waiting for approval.  Raises: Invalid, where that cannot be waited for."""
    if actor.ask is not None:
        actions.can_wait(action, params)
    model = action.model
    assert actor.org_id is not None  # who calls has asked
    with transaction.atomic(durable=True):
        job = Job(
            org_id=actor.org_id,
            action=action.verb,
            state=Job.State.QUEUED,
            target_kind=model.kind(),
            target_name=f"{count} {model.plural or model.kind() + 's'}",
            exclusive=False,
            params=actions.public_params(action, params),
            selector=selector,
            total=count,
            **Job.asked_by(actor),
            queue="bulk",
            queued_at=timezone.now(),
        )
        if actor.ask is not None:
            actions.hold(job, actor.ask, _needs(actor, action, targets))
        job.save(force_insert=True)
        detail = {"action": action.verb, "search": selector.get("search"), "targets": count, "params": job.params}
        detail |= actions.asked_facts(job) if actor.ask is not None else {}
        about = {"org_id": job.org_id, "job_id": job.pk, "target_kind": model.kind(), "target_name": job.target_name}
        asked = "asked" if actor.ask is not None else "requested"
        events.record(f"{action.verb}.bulk.{asked}", actor, **about, detail=detail)
        live.changed(job.org_id, "job", [job.pk])
        if actor.ask is None:
            transaction.on_commit(lambda: actions.enqueue(job))
    return job


def _needs(actor: Actor, action: actions.Action, targets: Iterable[Any]) -> list[str]:
    """Why these need approval: the first reasons, and how many more there are."""
    rows = itertools.islice(targets, 1000)
    found = list(dict.fromkeys(why for row in rows for why in guard.needs(actions.Call(actor=actor, action=action, target=row))))
    return found[:REASONS_KEPT] + ([f"And {len(found) - REASONS_KEPT} more."] if len(found) > REASONS_KEPT else [])


def expand(job: Job) -> None:
    """Make the children of a claimed bulk. Run again after a crash it goes on where it stopped."""
    actor = actions.with_rights(job.actor())
    action = actions.get(job.action)
    selector = job.selector or {}
    done = set(job.children.values_list("target_id", flat=True))
    ids = [UUID(pk) for pk in selector.get("ids", []) if UUID(pk) not in done]
    if action.creates:
        _create_each(actor, action, selector["each"], job)
    queued: list[Job] = []  # told at the end: the first to run would take the time of making the last
    for batch in _batches(ids, 100):
        if Job.objects.filter(pk=job.pk, cancel_requested=True).exists():
            break
        if action.background:
            queued += actions.perform_batch(actor, action.model, batch, action.name, job.params, parent=job, undo_s=selector.get("undo_s"))
        else:
            _one_by_one(actor, action, batch, job, selector.get("params", {}))
    actions.enqueue_all(queued)
    with transaction.atomic():
        held = Job.objects.select_for_update().get(pk=job.pk)
        held.steps = [*held.steps, {"name": "expanded", "at": timezone.now().isoformat(), "detail": ""}]
        held.save(update_fields=["steps"])
        if held.cancel_requested:  # asked while these were being made
            for child in held.children.select_for_update().filter(state=Job.State.WAITING):
                actions.end(child, Job.State.UNDONE)
        settle_bulk(held)


def _batches(ids: list[UUID], size: int) -> Iterator[list[UUID]]:
    rest = iter(ids)
    while batch := list(itertools.islice(rest, size)):
        yield batch


def _create_each(actor: Actor, action: actions.Action, each: list[dict[str, Any]], job: Job) -> None:
    """In order, so that how many there are says where a crash left off."""
    for params in each[job.children.count() :]:
        if Job.objects.filter(pk=job.pk, cancel_requested=True).exists():
            return
        try:
            actions.perform(actor, action.model, action.name, params, parent=job, queue="bulk")
            live.changed(job.org_id, "job", [job.pk])
        except (Refused, Failed) as refusal:
            child = actions.refused_child(actions.Call(actor=actor, action=action, target=None), new_id(), refusal, params, job)
            child.target_name = str(params.get("name", ""))[:255]
            child.save()


def _one_by_one(actor: Actor, action: actions.Action, batch: list[UUID], job: Job, own: Mapping[str, Any]) -> None:
    """`own`: {target: its params} where each has its own."""
    rows = {row.pk: row for row in action.model.objects.visible_to(actor).filter(pk__in=batch)}
    for pk in batch:
        row, params = rows.get(pk), own.get(pk.hex, job.params)
        try:
            if row is None:
                raise NotFound("It is not there any more.", code="target_gone")
            actions.perform(actor, row, action.name, params, parent=job)
        except Refused as refusal:
            actions.refused_child(actions.Call(actor=actor, action=action, target=row), pk, refusal, params, job).save()


def counts(job: Job) -> dict[str, int]:
    """{state: how many} of a bulk's children."""
    return dict(job.children.values_list("state").annotate(n=Count("pk")).values_list("state", "n"))


def settle_bulk(job: Job) -> None:
    """End a bulk whose children have all ended. With the parent locked."""
    expanded = any(step["name"] == "expanded" for step in job.steps)
    if not job.is_active or not (expanded or job.cancel_requested):
        return
    by_state = counts(job)
    if any(by_state.get(state) for state in Job.ACTIVE):
        return
    failed = sum(by_state.get(state, 0) for state in (Job.State.FAILED, Job.State.LOST))
    job.result = by_state
    if job.cancel_requested:
        is_undone = Job.State.UNDONE in by_state and not {Job.State.SUCCEEDED, Job.State.CANCELLED} & set(by_state)
        job.state = Job.State.UNDONE if is_undone else Job.State.CANCELLED
    else:
        job.state = Job.State.FAILED if failed else Job.State.SUCCEEDED
    if failed:
        job.error_code, job.error_detail = "some_failed", f"{failed} of {job.total} failed."
    elif partly := job.children.filter(state=Job.State.SUCCEEDED).exclude(error_code="").count():
        job.error_code, job.error_detail = "some_left", f"{partly} of {job.total} left something undone."
    job.finished_at = timezone.now()
    job.save(update_fields=["result", "state", "error_code", "error_detail", "finished_at"])
    outcome = {"succeeded": "succeeded", "cancelled": "cancelled", "undone": "undone"}.get(job.state, "failed")
    events.record(
        f"{job.action}.bulk.{outcome}",
        job.actor(),
        org_id=job.org_id,
        job_id=job.pk,
        target_kind=job.target_kind,
        target_name=job.target_name,
        detail={"results": by_state},
    )
    live.changed(job.org_id, "job", [job.pk])


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


def settle_bulks() -> int:
    """End the bulks whose last child ended.  Returns: how many."""
    ended = 0
    for pk in list(Job.objects.filter(target_id__isnull=True, state=Job.State.RUNNING).values_list("pk", flat=True)[:200]):
        with transaction.atomic():
            held = Job.objects.select_for_update(skip_locked=True).filter(pk=pk).first()
            if held is not None and held.is_active:
                settle_bulk(held)
                ended += not held.is_active
    return ended


for _seconds, _function in ((1, release_due), (5, announce_again), (5, give_up_lost), (2, settle_bulks)):
    every(_seconds)(_function)
