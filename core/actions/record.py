"""The record of an act: its job and its events."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import IntegrityError
from django.utils import timezone

from core import events, live
from core.actions.base import Action, Call, difference
from core.errors import Already, Conflict, Denied, MistError, Refused
from core.models import Job, Resource

log = logging.getLogger(__name__)


def new_job(
    call: Call,
    sent: Mapping[str, Any] | None,
    wait_s: float,
    not_before: datetime | None,
    parent: Job | None,
    retry_of: Job | None,
    queue: str | None,
) -> Job:
    now = timezone.now()
    due = max(filter(None, (not_before, now + timedelta(seconds=wait_s) if wait_s else None)), default=None)
    waiting = call.action.background and due is not None and due > now
    job = Job(
        org_id=call.target.org_id,
        parent=parent,
        retry_of=retry_of,
        action=call.action.verb,
        state=Job.State.WAITING if waiting else Job.State.QUEUED if call.action.background else Job.State.RUNNING,
        target_kind=call.target.kind(),
        target_id=call.target.pk,
        target_name=str(call.target)[:255],
        target_tags=getattr(call.target, "tags", None) or {},
        cloud_id=call.target.cloud_ref,
        exclusive=call.action.exclusive,
        params=public_params(call.action, sent),
        **Job.asked_by(call.actor),
        not_before=due if waiting else None,
        queue=queue or call.action.queue,
        queued_at=None if waiting else now,
        started_at=None if call.action.background else now,
        approved_at=parent.approved_at if parent else None,
        answered_by_id=parent.answered_by_id if parent else None,
    )
    call.job = job
    return job


def public_params(action: Action, sent: Mapping[str, Any] | None) -> dict[str, Any]:
    """What was sent, without what may never be read again."""
    form = action.params(data={})
    known = getattr(form, "fields", {})
    kept = {k: v for k, v in (sent or {}).items() if k in known and not known[k].write_only}
    plain: dict[str, Any] = events.plain(kept)
    return plain


def tell(call: Call, outcome: str, **facts: Any) -> None:
    job = call.job
    assert job is not None
    if outcome == "requested" and not call.action.background:
        return  # an inline action is one fact, not two
    detail = {**facts.pop("detail", {})}
    if job.params and outcome in {"requested", "asked", "succeeded"} and not (outcome == "succeeded" and call.action.background):
        detail["params"] = job.params
    events.record(f"{job.action}.{outcome}", call.actor, target=call.target, job_id=job.pk, detail=detail, **facts)
    live.changed(job.org_id, "job", [job.pk])


def finish(call: Call, state: str, error: MistError | None = None) -> None:
    """Write how it ended, once. Inside a transaction."""
    job = call.job
    assert job is not None
    job.state = state
    job.finished_at = timezone.now()
    if error is not None:
        job.error_code, job.error_detail = error.code, error.detail
    if job._state.adding:
        job.save(force_insert=True)
    else:
        job.save(update_fields=["state", "finished_at", "error_code", "error_detail", "result", "steps"])
    facts: dict[str, Any] = {}
    if not call.action.background and state == Job.State.SUCCEEDED:
        after = None if call.action.deletes else call.action.snapshot(call.target)
        facts["before"], facts["after"] = difference(call.before, after)
    if error is not None:
        facts["detail"] = {"code": error.code, "error": error.detail, **{k: v for k, v in error.extra.items() if k == "words"}}
    elif job.error_code:
        facts["detail"] = {"code": job.error_code, "error": job.error_detail}
    tell(call, "failed" if state == Job.State.LOST else state, **facts)


def as_conflict(call: Call, error: IntegrityError) -> Refused:
    name = getattr(getattr(error.__cause__, "diag", None), "constraint_name", "") or ""
    if name == "one_exclusive_job_a_target":
        active = Job.objects.filter(target_id=call.target.pk, exclusive=True, state__in=Job.ACTIVE).first()
        what = f" ({active.action} by job {active.pk.hex})" if active else ""
        extra = {"job": active.pk.hex} if active else {}
        return Conflict(f"Something else is being done to {call.target}{what}. Wait for it, or cancel it.", code="busy", **extra)
    if name.endswith("_unique_name"):
        return Conflict(f"There is already a {call.action.model.kind().replace('_', ' ')} of that name. Choose another.", code="name_taken")
    raise error


def refuse(call: Call, refusal: MistError) -> None:
    """The event of a refusal, after the rollback, in a transaction of its own. Never hides the refusal itself."""
    target = None if isinstance(call.target, type) or not isinstance(call.target, Resource) else call.target
    facts: dict[str, Any] = {"target": target} if target is not None and not call.is_new else {"target_kind": call.action.model.kind()}
    if target is not None and target.org_id != call.actor.org_id and not call.actor.is_system:
        # somebody else's thing: their log is not ours to write, nor its name ours to know
        facts = {"target_kind": call.action.model.kind(), "target_id": target.pk}
    detail = {"code": refusal.code, "reason": refusal.detail}
    if isinstance(refusal, Denied) and refusal.reason:
        detail["decided_by"] = refusal.reason
    try:
        events.record(f"{call.action.verb}.refused", call.actor, org_id=call.actor.org_id, detail=detail, **facts)
    except Exception:  # the caller must learn why it was refused, also when the log cannot be written
        log.exception("the refusal of %s could not be recorded", call.action.verb)


def refused_child(call: Call, pk: UUID, refusal: MistError, params: Mapping[str, Any] | None, parent: Job) -> Job:
    """A bulk's child that ended before it began: skipped where there is nothing to do, else failed."""
    target = call.target or Shadow(pk, parent.org_id, "", parent.target_kind, {}, None)
    job = new_job(Call(actor=call.actor, action=call.action, target=target), params, 0, None, parent, None, "bulk")
    job.state = Job.State.SKIPPED if isinstance(refusal, Already) else Job.State.FAILED
    job.exclusive, job.queued_at, job.finished_at = False, None, timezone.now()
    job.error_code, job.error_detail = refusal.code, refusal.detail
    return job


@dataclass
class Shadow:
    """What is left of a target that is gone."""

    pk: UUID | None
    org_id: UUID
    name: str
    kind_name: str
    tags: dict[str, str]
    cloud_ref: UUID | None
    person: str = ""

    def kind(self) -> str:
        return self.kind_name

    def __str__(self) -> str:
        return self.name


def shadow(job: Job, was: Any = None) -> Any:
    """Of a job's target; `was`: the row, where it was there a moment ago."""
    person = getattr(was, "person", "")
    return Shadow(job.target_id, job.org_id, job.target_name, job.target_kind, job.target_tags, job.cloud_id, person)
