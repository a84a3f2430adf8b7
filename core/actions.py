"""Acting: the second door. `perform` alone checks, records and queues; everything that acts calls it."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, ClassVar
from uuid import UUID

from django.core.exceptions import ObjectDoesNotExist
from django.db import IntegrityError, models, transaction
from django.utils import timezone
from rest_framework import serializers

from core import events, guard, live, watch
from core.actor import Actor
from core.errors import BadRequest, Conflict, Denied, Failed, Invalid, MistError, NotFound, Refused
from core.models import Job, Resource, new_id

log = logging.getLogger(__name__)

Ask = Callable[["Call"], None]


class NoParams(serializers.Serializer[Any]):
    """An action that takes none."""


@dataclass(kw_only=True)
class Call:
    """One action on one target by one actor, while it is asked for or run. `target` is new and unsaved where the action creates."""

    actor: Actor
    action: Action
    target: Any
    params: dict[str, Any] = field(default_factory=dict)
    job: Job | None = None
    is_new: bool = False
    before: dict[str, Any] | None = None

    def step(self, name: str, detail: str = "") -> None:
        """Report one more step done: the job's page shows it at once."""
        assert self.job is not None
        self.job.steps = [*self.job.steps, {"name": name, "at": timezone.now().isoformat(), "detail": detail[:500]}]
        self.job.save(update_fields=["steps"])
        live.changed(self.job.org_id, "job", [self.job.pk])

    def cancelled(self) -> bool:
        """Has somebody asked to stop? For actions that can (`cancellable`) to ask between steps."""
        return self.job is not None and Job.objects.filter(pk=self.job.pk, cancel_requested=True).exists()


class Action:
    """One thing that can be done to one kind of resource. Its verb is `<kind>.<name>`.

    `prepare` may use the network with a deadline and writes nothing. `run` does it: an inline action's `run` is our database
    only and shares the transaction of its record; a background action's runs in a worker, outside any transaction.
    """

    model: ClassVar[type[Any]]
    name: ClassVar[str]
    params: ClassVar[type[serializers.BaseSerializer[Any]]] = NoParams
    background: ClassVar[bool] = False
    exclusive: ClassVar[bool] = True  # one such job a target at a time
    creates: ClassVar[bool] = False  # acts on the kind; `build` gives the new row
    deletes: ClassVar[bool] = False  # the row is gone afterwards
    tier: ClassVar[int] = 0  # CONSOLE.md §6: 0 harmless, 1 disruptive, 2 destructive
    undo_s: ClassVar[int] = 0  # the window before it starts
    queue: ClassVar[str] = "interactive"
    deadline_s: ClassVar[int] = 120  # of one run, in seconds
    cancellable: ClassVar[bool] = False
    bulk: ClassVar[bool] = True  # offered for a selection
    rights: ClassVar[str] = ""  # asked for in place of `name`, where one right covers several verbs

    @property
    def verb(self) -> str:
        return f"{self.model.kind()}.{self.name}"

    def build(self, actor: Actor, params: dict[str, Any]) -> Any:
        """The new row, unsaved. For actions that create. Secrets go to the vault here, inside the transaction."""
        raise NotImplementedError

    def draft(self, actor: Actor, params: dict[str, Any]) -> Any:
        """The new row as far as guards look at it (organization, tags, cloud), before `prepare`; writes nothing."""
        return self.model(org_id=actor.org_id, name=params.get("name") or "", tags=params.get("tags") or {})

    def prepare(self, call: Call) -> None:
        """Ask the network what has to be known first.  Raises: Refused, Failed."""

    def check(self, call: Call) -> None:
        """May it start from here?  Raises: Conflict, Invalid."""

    def reason(self, target: Any) -> str | None:
        """Why this target cannot be acted on now, as far as one row tells: asked for each button. None: it can."""
        return None

    def run(self, call: Call) -> dict[str, Any] | None:
        """Do it. What it returns is the job's result."""
        raise NotImplementedError

    def undo(self, call: Call) -> None:
        """The window was used, or the job was lost or failed before anything was done: take back what the record made."""

    def snapshot(self, target: Any) -> dict[str, Any] | None:
        """What an inline action's event shows before and after: the row's own columns, without secrets."""
        return row_facts(target)


_registry: dict[str, Action] = {}


def register(cls: type[Action]) -> type[Action]:
    """Class decorator: makes the action known under its verb."""
    action = cls()
    if _registry.setdefault(action.verb, action).__class__ is not cls:
        raise ValueError(f"Two actions are called {action.verb}.")
    return cls


def get(verb: str) -> Action:
    """Raises: NotFound."""
    try:
        return _registry[verb]
    except KeyError:
        raise NotFound(f"There is no verb {verb[:80]}.", code="verb_not_found") from None


def actions_of(model: type[Any]) -> list[Action]:
    """The actions of a kind, in the order they were registered."""
    return [action for action in _registry.values() if action.model is model]


def all_actions() -> dict[str, Action]:
    return dict(_registry)


HIDDEN = {"updated_at", "fingerprint", "password", "vault_id", "last_seen_at"}


def row_facts(target: Any) -> dict[str, Any] | None:
    """The columns of a row as an event may show them."""
    if not isinstance(target, models.Model):
        return None
    return {f.attname: getattr(target, f.attname) for f in target._meta.concrete_fields if not f.generated and f.attname not in HIDDEN}


def difference(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """Only what differs."""
    if before is None or after is None:
        return (dict(before) if before else None), (dict(after) if after else None)
    keys = [key for key in after if before.get(key) != after.get(key)]
    return {key: before.get(key) for key in keys}, {key: after[key] for key in keys}


# --- the door -------------------------------------------------------------------------------------------------------


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
    """
    model: Any = target if isinstance(target, type) else type(target)
    action = get(f"{model.kind()}.{name}")
    call = Call(actor=actor, action=action, target=target, is_new=isinstance(target, type))
    if call.is_new != action.creates:
        raise NotFound(f"There is no verb {action.verb} here.", code="verb_not_found")
    try:
        call.params = _valid(action, actor, params, target)
        if action.prepare.__func__ is not Action.prepare:  # type: ignore[attr-defined]
            if call.is_new:
                call.target = action.draft(actor, call.params)
            guard.check(call)
            action.prepare(call)
        with transaction.atomic(durable=True):
            _hold(call)
            guard.check(call)
            action.check(call)
            if call.is_new:
                call.target.save(force_insert=True)
            wait_s = _wait(call, undo_s)
            job = _new_job(call, params, wait_s, not_before, parent, retry_of, queue)
            if action.background or action.exclusive:  # what is neither is written once, when it is done
                job.save(force_insert=True)
            _tell(call, "requested")
            if action.background:
                if job.state == Job.State.QUEUED:
                    transaction.on_commit(lambda: _enqueue(job))
            else:
                job.result = action.run(call)
                if action.deletes:
                    call.target = _shadow(job)
                else:
                    guard.check(call)  # as it is now: nobody edits a row out of their reach
                _finish(call, Job.State.SUCCEEDED)
            if not (action.background and action.deletes):
                live.changed(job.org_id, model.kind(), [call.target.pk])
    except IntegrityError as error:  # UNIQUE (target_id) WHERE active AND exclusive; any other goes on up
        conflict = _as_conflict(call, error)
        _refuse(call, conflict)
        raise conflict from error
    except (Refused, Failed) as refusal:  # Failed: a provider's fault while preparing; nothing was done here either
        _refuse(call, refusal)
        raise
    return job


def _valid(action: Action, actor: Actor, params: Mapping[str, Any] | None, target: Any) -> dict[str, Any]:
    form = action.params(data=dict(params or {}), context={"actor": actor, "target": target, "action": action})
    if not form.is_valid():
        raise Invalid(fields=dict(form.errors))
    return dict(form.validated_data)


def _hold(call: Call) -> None:
    """Build the new row, or lock the old one and read it again."""
    if call.is_new:
        call.target = call.action.build(call.actor, call.params)
        return
    try:
        call.target = _locked(type(call.target)).get(pk=call.target.pk)
    except ObjectDoesNotExist:
        raise NotFound from None
    if not call.action.background:
        call.before = call.action.snapshot(call.target)


def _locked(model: type[Any]) -> Any:
    """The model's rows, locked and with their clouds: actions ask the cloud what it can."""
    cloud = model.cloud_path.removesuffix("_id")
    rows = model.objects.select_for_update(of=("self",))
    return rows.select_related(cloud) if cloud not in ("", "id") and hasattr(model, cloud) else rows


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


def _new_job(
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
        params=_public_params(call.action, sent),
        user_id=call.actor.user_id,
        via=call.actor.via,
        request_id=call.actor.request_id,
        token_id=call.actor.token_id,
        su_by=call.actor.su_by,
        address=call.actor.address,
        is_system=call.actor.is_system,
        not_before=due if waiting else None,
        queue=queue or call.action.queue,
        queued_at=None if waiting else now,
        started_at=None if call.action.background else now,
    )
    call.job = job
    return job


def _public_params(action: Action, sent: Mapping[str, Any] | None) -> dict[str, Any]:
    """What was sent, without what may never be read again."""
    form = action.params(data={})
    known = getattr(form, "fields", {})
    kept = {k: v for k, v in (sent or {}).items() if k in known and not known[k].write_only}
    plain: dict[str, Any] = events.plain(kept)
    return plain


def _tell(call: Call, outcome: str, **facts: Any) -> None:
    job = call.job
    assert job is not None
    if outcome == "requested" and not call.action.background:
        return  # an inline action is one fact, not two
    detail = {**facts.pop("detail", {})}
    if job.params and outcome in {"requested", "succeeded"} and not (outcome == "succeeded" and call.action.background):
        detail["params"] = job.params
    events.record(f"{job.action}.{outcome}", call.actor, target=call.target, job_id=job.pk, detail=detail, **facts)
    live.changed(job.org_id, "job", [job.pk])


def _finish(call: Call, state: str, error: MistError | None = None) -> None:
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
    if not call.action.background:
        after = None if call.action.deletes else call.action.snapshot(call.target)
        facts["before"], facts["after"] = difference(call.before, after)
    if error is not None:
        facts["detail"] = {"code": error.code, "error": error.detail, **{k: v for k, v in error.extra.items() if k == "words"}}
    _tell(call, {"succeeded": "succeeded", "cancelled": "cancelled", "undone": "undone"}.get(state, "failed"), **facts)


def _as_conflict(call: Call, error: IntegrityError) -> Refused:
    name = getattr(getattr(error.__cause__, "diag", None), "constraint_name", "") or ""
    if name == "one_exclusive_job_a_target":
        active = Job.objects.filter(target_id=call.target.pk, exclusive=True, state__in=Job.ACTIVE).first()
        what = f" ({active.action} by job {active.pk.hex})" if active else ""
        extra = {"job": active.pk.hex} if active else {}
        return Conflict(f"Something else is being done to {call.target}{what}. Wait for it, or cancel it.", code="busy", **extra)
    if name.endswith("_unique_name"):
        return Conflict(f"There is already a {call.action.model.kind().replace('_', ' ')} of that name. Choose another.", code="name_taken")
    raise error


def _refuse(call: Call, refusal: MistError) -> None:
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


def allowed(actor: Actor, target: Any) -> dict[str, bool | str]:
    """{verb: True or why not} for every action of the target's kind the actor has the right to: draws the buttons.

    A verb that the provider cannot do, or for which rights lack, is left out.
    """
    answer: dict[str, bool | str] = {}
    for action in actions_of(type(target)):
        if action.creates or not action_offered(action, target):
            continue
        if actor.read_only or not guard.permits(actor, target, action.rights or action.name):
            continue
        answer[action.name] = action.reason(target) or True
    return answer


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

    What is refused becomes a failed child with the reason, and an event. One transaction: all of these ids or none.
    Returns: the children that are queued, for the caller to announce when it has made them all.
    """
    action = get(f"{model.kind()}.{name}")
    valid = _valid(action, actor, params, None)
    children: list[Job] = []
    facts: list[Any] = []
    with transaction.atomic(durable=True):
        rows = {row.pk: row for row in _locked(model).filter(pk__in=ids).order_by("pk")}  # one order: no two bulks lock each other out
        busy = set(Job.objects.filter(target_id__in=ids, exclusive=True, state__in=Job.ACTIVE).values_list("target_id", flat=True))
        for pk in ids:
            call = Call(actor=actor, action=action, target=rows.get(pk), params=dict(valid))
            try:
                if call.target is None:
                    raise NotFound("It is not there any more.", code="target_gone")
                guard.check(call)
                if action.exclusive and pk in busy:
                    raise Conflict(f"Something else is being done to {call.target}. Wait for it, or cancel it.", code="busy")
                action.check(call)
                job = _new_job(call, params, _wait(call, undo_s), None, parent, None, "bulk")
                children.append(job)
                facts.append(events.build(f"{job.action}.requested", actor, target=call.target, job_id=job.pk))
            except Refused as refusal:
                children.append(_refused_child(call, pk, refusal, params, parent))
                known = {"target": call.target} if call.target is not None else {"target_kind": model.kind(), "target_id": pk}
                detail = {"code": refusal.code, "reason": refusal.detail}
                facts.append(events.build(f"{action.verb}.refused", actor, org_id=parent.org_id, detail=detail, job_id=parent.pk, **known))
        Job.objects.bulk_create(children)
        events.record_all(facts)
        live.changed(parent.org_id, "job", [parent.pk, *(job.pk for job in children)])
        live.changed(parent.org_id, model.kind(), list(rows))
    return [job for job in children if job.state == Job.State.QUEUED]


def _refused_child(call: Call, pk: UUID, refusal: Refused, params: Mapping[str, Any] | None, parent: Job) -> Job:
    target = call.target or _Shadow(pk, parent.org_id, "", parent.target_kind, {}, None)
    job = _new_job(Call(actor=call.actor, action=call.action, target=target), params, 0, None, parent, None, "bulk")
    job.state, job.exclusive, job.queued_at, job.finished_at = Job.State.FAILED, False, None, timezone.now()
    job.error_code, job.error_detail = refusal.code, refusal.detail
    return job


# --- the worker's half ----------------------------------------------------------------------------------------------

_enqueuers: list[Callable[[Job], None]] = []


def on_enqueue(function: Callable[[Job], None]) -> Callable[[Job], None]:
    """How a job reaches a worker: set once by core/tasks.py."""
    _enqueuers[:] = [function]
    return function


def _enqueue(job: Job) -> None:
    for function in _enqueuers:
        function(job)


def enqueue_all(jobs: list[Job]) -> None:
    """Ring for each; after the commit."""
    for job in jobs:
        _enqueue(job)


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
    call = Call(actor=job.actor(), action=action, target=None, job=job)
    error: MistError | None = None
    try:
        call.actor = with_rights(call.actor)
        try:
            call.target = action.model.objects.select_related().get(pk=job.target_id)
        except ObjectDoesNotExist:
            raise NotFound(f"{job.target_name} is not there any more.", code="target_gone") from None
        call.params = _valid(action, call.actor, job.params, call.target)
        call.is_new = action.creates
        guard.check(call)
        if not action.creates:
            action.check(call)
        job.result = action.run(call)
    except MistError as caught:
        error = caught
    except Exception as unexpected:  # the one place: a worker outlives any action
        log.exception("job %s (%s) failed unexpectedly", job.pk, job.action)
        error = Failed(f"Mist itself failed at this ({type(unexpected).__name__}). The log has the details.", code="internal_error")
    if call.target is None:
        call.target = _shadow(job)
    with transaction.atomic():
        held = Job.objects.select_for_update().get(pk=job.pk)
        if held.state != Job.State.RUNNING:  # it was given up in the meantime: its end is already told
            log.warning("job %s ended %s after it was %s", job.pk, "well" if error is None else "badly", held.state)
            return
        state = Job.State.SUCCEEDED if error is None else Job.State.CANCELLED if error.code == "cancelled" else Job.State.FAILED
        _finish(call, state, error)
        if job.target_id is not None:
            live.changed(job.org_id, job.target_kind, [job.target_id])


@dataclass
class _Shadow:
    """What is left of a target that is gone."""

    pk: UUID | None
    org_id: UUID
    name: str
    kind_name: str
    tags: dict[str, str]
    cloud_ref: UUID | None

    def kind(self) -> str:
        return self.kind_name

    def __str__(self) -> str:
        return self.name


def _shadow(job: Job) -> Any:
    return _Shadow(job.target_id, job.org_id, job.target_name, job.target_kind, job.target_tags, job.cloud_id)


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
    action = get(job.action) if job.action in _registry else None
    if action is None or job.target_id is None:
        job.state, job.finished_at = state, timezone.now()
        if error:
            job.error_code, job.error_detail = error.code, error.detail
        job.save(update_fields=["state", "finished_at", "error_code", "error_detail"])
        live.changed(job.org_id, "job", [job.pk])
        return
    target = action.model.objects.filter(pk=job.target_id).first() or _shadow(job)
    call = Call(actor=actor or job.actor(), action=action, target=target, job=job, is_new=action.creates)
    started = job.started_at is not None
    _finish(call, state, error)
    if not started:
        action.undo(call)
    live.changed(job.org_id, job.target_kind, [job.target_id])


def slug(text: str) -> str:
    """`Web EU 04` → `web-eu-04`; for paths."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60]


__all__ = ["Action", "BadRequest", "Call", "NoParams", "allowed", "new_id", "perform", "perform_each", "register"]
