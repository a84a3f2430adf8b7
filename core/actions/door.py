"""Acting: the second door. `perform` alone checks, records and queues; everything that acts calls it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction

from core import events, guard, live
from core.actions import approval
from core.actions.base import Action, Call, actions_of, get, validated
from core.actions.inline import hold, locked
from core.actions.inline import run as run_inline
from core.actions.record import as_conflict, new_job, refuse, refused_child, tell
from core.actions.work import enqueue
from core.actor import Actor
from core.errors import Already, Asked, Conflict, Denied, Failed, Invalid, MistError, NotFound, Refused
from core.models import Job


def perform(
    actor: Actor,
    target: Any,
    name: str,
    params: Mapping[str, Any] | None = None,
    *,
    undo_s: float | None = None,
    not_before: datetime | None = None,
    parent: Job | None = None,
    retry_of: Job | None = None,
    queue: str | None = None,
) -> Job:
    """Act on a resource (or, where the action creates, on its class).

    `undo_s`: seconds to wait in which it can be undone, in place of the action's own; less than its own asks for the right
    `skip_undo`. `not_before`: when it falls due.  Returns: the job, finished where the action is inline.
    Raises: Refused: then nothing was done, and an event says who was stopped and why. Failed: a provider's fault while preparing.
    Asked: the actor asks for approval in place of acting; the job waits for that.
    """
    model: Any = target if isinstance(target, type) else type(target)
    action = get(f"{model.kind()}.{name}")
    is_approved = actor.ask is not None or (parent is not None and parent.approved_at is not None)
    call = Call(actor=actor, action=action, target=target, is_new=isinstance(target, type), approved=is_approved)
    if call.is_new != action.creates:
        raise NotFound(f"There is no verb {action.verb} here.", code="verb_not_found")
    try:
        call.params = validated(action, actor, params, target)
        if actor.ask is not None:
            approval.can_wait(action, params)
        if action.prepare.__func__ is not Action.prepare:  # type: ignore[attr-defined]
            if call.is_new:
                call.target = action.draft(actor, call.params)
            guard.check(call)
            action.prepare(call)
        with transaction.atomic(durable=True):
            hold(call)
            guard.check(call)
            approval.check(call)
            if call.is_new:
                call.target.save(force_insert=True)
            wait_s = _wait(call, undo_s)
            job = new_job(call, params, wait_s, not_before, parent, retry_of, queue)
            if actor.ask is not None:
                approval.ask(call)
            if action.background or action.exclusive or job.ask:  # what is neither is written once, when it is done
                job.save(force_insert=True)
            if actor.ask is not None:
                tell(call, "asked", detail=approval.facts(job))
            else:
                tell(call, "requested")
            if action.background:
                action.asked(call)
                if job.state == Job.State.QUEUED:
                    transaction.on_commit(lambda: enqueue(job))
            elif actor.ask is None:
                run_inline(call)
            if not (action.background and action.deletes):
                live.changed(job.org_id, model.kind(), [call.target.pk])
    except IntegrityError as error:  # UNIQUE (target_id) WHERE active AND exclusive; any other goes on up
        conflict = as_conflict(call, error)
        refuse(call, conflict)
        raise conflict from error
    except (Refused, Failed) as refusal:  # Failed: a provider's fault while preparing; nothing was done here either
        refuse(call, refusal)
        raise
    if actor.ask is not None:
        raise Asked(job)
    return job


def _wait(call: Call, undo_s: float | None) -> float:
    """Seconds until it starts."""
    own = call.action.undo_s
    if undo_s is None or undo_s == own:
        return own
    if not 0 <= undo_s <= 3600:
        raise Invalid(fields={"undo_s": ["Between 0 and 3600 seconds."]})
    if undo_s < own and not guard.permits(call.actor, call.target, "skip_undo"):
        raise Denied("You may not skip the undo window here.", code="undo_required", reason="no statement allows skip_undo")
    return undo_s


def allowed(actor: Actor, target: Any) -> dict[str, bool | str]:
    """{verb: True or why not} for every action of the target's kind the actor has the right to: draws the buttons.

    A verb that the provider cannot do, or for which rights lack, is left out.
    """
    if actor.read_only:
        return {}
    offered = [action for action in actions_of(type(target)) if not action.creates and action_offered(action, target)]
    held = set(guard.permitted(actor, target, {action.right for action in offered}))
    return {action.name: action.reason(target) or True for action in offered if action.right in held}


def action_offered(action: Action, target: Any) -> bool:
    """Does this thing know this verb at all (its provider can do it)?"""
    offered = getattr(action, "offered", None)
    return True if offered is None else bool(offered(target))


def perform_each(
    actor: Actor, targets: Iterable[Any], name: str, params: Mapping[str, Any] | None = None, **how: Any
) -> Iterator[tuple[Any, Job | MistError]]:
    """`perform` on each under one request id; a refusal of one stops no other."""
    for target in targets:
        try:
            yield target, perform(actor, target, name, params, **how)
        except (Refused, Failed) as error:
            yield target, error


def perform_batch(
    actor: Actor, model: type[Any], ids: list[UUID], name: str, params: Mapping[str, Any] | None, *, parent: Job, undo_s: float | None
) -> list[Job]:
    """`perform` of a background action on many of one kind, for a bulk: the same questions and the same records, in a few statements.

    What is refused becomes a failed child with the reason, what is so already a skipped one, each with an event.
    One transaction: all of these ids or none.
    Returns: the children that are queued, for the caller to announce when it has made them all.
    """
    action = get(f"{model.kind()}.{name}")
    valid = validated(action, actor, params, None)
    children: list[Job] = []
    facts: list[Any] = []
    with transaction.atomic(durable=True):
        rows = {row.pk: row for row in locked(model).filter(pk__in=ids).order_by("pk")}  # one order: no two bulks lock each other out
        busy = set(Job.objects.filter(target_id__in=ids, exclusive=True, state__in=Job.ACTIVE).values_list("target_id", flat=True))
        for pk in ids:
            call = Call(actor=actor, action=action, target=rows.get(pk), params=dict(valid), approved=parent.approved_at is not None)
            try:
                if call.target is None:
                    raise NotFound("It is not there any more.", code="target_gone")
                guard.check(call)
                if action.exclusive and pk in busy:
                    raise Conflict(f"Something else is being done to {call.target}. Wait for it, or cancel it.", code="busy")
                approval.check(call)
                job = new_job(call, params, _wait(call, undo_s), None, parent, None, "bulk")
                children.append(job)
                facts.append(events.build(f"{job.action}.requested", actor, target=call.target, job_id=job.pk))
            except Refused as refusal:
                children.append(refused_child(call, pk, refusal, params, parent))
                known = {"target": call.target} if call.target is not None else {"target_kind": model.kind(), "target_id": pk}
                detail = {"code": refusal.code, "reason": refusal.detail}
                verb = f"{action.verb}.{'skipped' if isinstance(refusal, Already) else 'refused'}"
                facts.append(events.build(verb, actor, org_id=parent.org_id, detail=detail, job_id=parent.pk, **known))
        Job.objects.bulk_create(children)
        events.record_all(facts)
        live.changed(parent.org_id, "job", [parent.pk, *(job.pk for job in children)])
        live.changed(parent.org_id, model.kind(), list(rows))
    return [job for job in children if job.state == Job.State.QUEUED]
