"""The worker's half: a job is rung for, claimed once, run to its end, or ended without having run."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

from django.core.exceptions import ObjectDoesNotExist
from django.db import IntegrityError, InterfaceError, OperationalError, transaction
from django.utils import timezone

from core import events, guard, live, watch
from core.actions import approval, inline
from core.actions.base import Action, Call, get, is_known, validated
from core.actions.record import as_conflict, finish, shadow
from core.actor import Actor
from core.errors import Already, Failed, MistError, NotFound
from core.models import Job

log = logging.getLogger(__name__)

AGAIN_S = 1.0  # between two tries to write how a job ended


_enqueuers: list[Callable[[Job], None]] = []


def on_enqueue(function: Callable[[Job], None]) -> Callable[[Job], None]:
    """How a job reaches a worker: set once by core/tasks.py."""
    _enqueuers[:] = [function]
    return function


def enqueue(job: Job) -> None:
    for function in _enqueuers:
        function(job)


def enqueue_all(jobs: list[Job]) -> None:
    """Ring for each; after the commit."""
    for job in jobs:
        enqueue(job)


def claim(job_id: UUID, worker: str) -> Job | None:
    """Take a queued job, once: two deliveries, one claim."""
    now = timezone.now()
    job: Job | None = Job.objects.filter(pk=job_id).first()
    if job is None or job.state != Job.State.QUEUED:
        return None
    seconds = get(job.action).deadline_s
    taken = Job.objects.filter(pk=job_id, state=Job.State.QUEUED).update(
        state=Job.State.RUNNING, started_at=now, worker=worker, deadline_at=now + timedelta(seconds=seconds)
    )
    if not taken:
        return None
    watch.within(seconds)
    job.refresh_from_db()
    live.changed(job.org_id, "job", [job.pk])
    return job


def run(job: Job) -> None:
    """Run a claimed job to its end and write what came of it. Rights are asked again: they may have gone since."""
    action = get(job.action)
    call = Call(actor=job.actor(), action=action, target=None, job=job, approved=job.approved_at is not None)
    error: MistError | None = None
    try:
        call.actor = with_rights(call.actor)
        try:
            call.target = action.model.objects.select_related().get(pk=job.target_id)
        except ObjectDoesNotExist:
            raise NotFound(f"{job.target_name} is not there any more.", code="target_gone") from None
        call.params = validated(action, call.actor, job.params, call.target)
        call.is_new = action.creates
        guard.check(call)
        if not action.creates:
            approval.check(call)
        if not action.background:  # it waited for approval
            return _run_inline(call)
        job.result = action.run(call)
        if action.deletes:
            call.target = shadow(job, call.target)
    except MistError as caught:
        error = caught
    except Exception as unexpected:  # the one place: a worker outlives any action
        log.exception("job %s (%s) failed unexpectedly", job.pk, job.action)
        error = Failed(f"Mist itself failed at this ({type(unexpected).__name__}). The log has the details.", code="internal_error")
    if call.target is None:
        call.target = shadow(job)
    while True:
        try:
            return _write_end(job, call, error)
        except (OperationalError, InterfaceError) as away:  # what was done is known here alone: it waits until it can be told
            if job.deadline_at is None or timezone.now() > job.deadline_at:
                raise
            log.warning("the end of job %s could not be written (%s): again in %s s", job.pk, type(away).__name__, AGAIN_S)
            time.sleep(AGAIN_S)


def _run_inline(call: Call) -> None:
    action, job = call.action, call.job
    assert job is not None
    if action.prepare.__func__ is not Action.prepare:  # type: ignore[attr-defined]
        action.prepare(call)
    try:
        with transaction.atomic(durable=True):
            inline.hold(call)
            guard.check(call)
            approval.check(call)
            inline.run(call)
            live.changed(job.org_id, job.target_kind, [job.target_id] if job.target_id else [])
    except BaseException as error:
        job.result = None  # it was rolled back, with all else that was done
        if isinstance(error, IntegrityError):  # a name that somebody else took meanwhile
            raise as_conflict(call, error) from error
        raise


def _write_end(job: Job, call: Call, error: MistError | None) -> None:
    """Raises: OperationalError, InterfaceError."""
    with transaction.atomic():
        held = Job.objects.select_for_update().get(pk=job.pk)
        if held.state != Job.State.RUNNING:  # it was given up in the meantime: its end is already told
            log.warning("job %s ended %s after it was %s", job.pk, "well" if error is None else "badly", held.state)
            return
        finish(call, _state(error), error)
        if job.target_id is not None:
            live.changed(job.org_id, job.target_kind, [job.target_id])


def _state(error: MistError | None) -> str:
    """How a job ended that met this error."""
    if error is None:
        return Job.State.SUCCEEDED
    if isinstance(error, Already):
        return Job.State.SKIPPED
    return Job.State.CANCELLED if error.code == "cancelled" else Job.State.FAILED


def run_within(job: Job, whole: Job) -> Job:
    """Run a waiting job at once, in the worker that runs `whole`, which it is a part of. One that another worker has taken is left to
    it. One for which `whole` has no time any more is queued.
    """
    now = timezone.now()
    seconds = get(job.action).deadline_s
    left_s = (whole.deadline_at - now).total_seconds() if whole.deadline_at else seconds
    released = Job.objects.filter(pk=job.pk, state=Job.State.WAITING).update(state=Job.State.QUEUED, queued_at=now)
    if released and left_s < seconds:
        job.refresh_from_db()
        enqueue(job)
    elif released and (claimed := claim(job.pk, whole.worker)) is not None:
        run(claimed)
        watch.within(max(1.0, (whole.deadline_at - timezone.now()).total_seconds()) if whole.deadline_at else seconds)
    job.refresh_from_db()
    return job


def call_off(job: Job, why: str) -> None:
    """End a job that waits: what it was to follow did not happen."""
    with transaction.atomic():
        held = Job.objects.select_for_update().get(pk=job.pk)
        if held.state == Job.State.WAITING:
            end(held, Job.State.CANCELLED, Failed(why, code="called_off"))


_rights: list[Callable[[Actor], Actor]] = []


def rights_source(function: Callable[[Actor], Actor]) -> Callable[[Actor], Actor]:
    """accounts says how an actor taken from a row gets today's rights (admin, token still good …)."""
    _rights[:] = [function]
    return function


def with_rights(actor: Actor) -> Actor:
    """Raises: Unauthenticated when the person or token is no more."""
    for function in _rights:
        actor = function(actor)
    return actor


def end(job: Job, state: str, error: MistError | None = None, actor: Actor | None = None) -> None:
    """End a job that will not run (undone, cancelled) or was lost. Inside a transaction with the job locked."""
    action = get(job.action) if is_known(job.action) else None
    if action is None or job.target_id is None:
        job.state, job.finished_at = state, timezone.now()
        if error:
            job.error_code, job.error_detail = error.code, error.detail
        job.save(update_fields=["state", "finished_at", "error_code", "error_detail"])
        about = {"job_id": job.pk, "target_kind": job.target_kind, "target_id": job.target_id, "target_name": job.target_name}
        detail = {"code": error.code, "error": error.detail} if error else {}
        verb, outcome = (f"{job.action}.bulk" if job.target_id is None else job.action), "failed" if state == Job.State.LOST else state
        events.record(f"{verb}.{outcome}", actor or job.actor(), org_id=job.org_id, detail=detail, **about)
        live.changed(job.org_id, "job", [job.pk])
        return
    target = action.model.objects.filter(pk=job.target_id).first() or shadow(job)
    call = Call(actor=actor or job.actor(), action=action, target=target, job=job, is_new=action.creates)
    started = job.started_at is not None
    finish(call, state, error)
    if not started:
        action.undo(call)
    live.changed(job.org_id, job.target_kind, [job.target_id])
