"""Bulks: one act on many, asked for as one parent job whose children a worker makes."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Count, QuerySet
from django.utils import timezone

from core import actions, events, guard, live
from core.actor import Actor
from core.errors import Denied, Failed, Invalid, NotFound, Refused
from core.models import Job, new_id
from core.ticks import every

BULK_CAP = 10_000  # targets of one bulk
CREATE_CAP = 100  # new rows of one
REASONS = 50  # that a preview tells apart
REASONS_KEPT = 5  # for which many need approval


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
    found = guard.needs_of_each(actions.Call(actor=actor, action=action, target=row) for row in rows)
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


@every(2)
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
