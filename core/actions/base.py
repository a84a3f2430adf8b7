"""What an action is, and the register of them. An action's verb is `<kind>.<name>`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from django.db import models
from django.utils import timezone
from rest_framework import serializers

from core import live
from core.actor import Actor
from core.errors import Invalid, NotFound
from core.models import Job


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
    is_done: bool = False  # an inline one is, and guards look at what it made
    approved: bool = False  # somebody else has said yes to it, or will be asked before anything is done
    before: dict[str, Any] | None = None

    def step(self, name: str, detail: str = "", *, state: str = "") -> None:
        """Report one more step done: the job's page shows it at once. `state`: "failed" where it was tried and came to nothing."""
        assert self.job is not None
        told = {"name": name, "at": timezone.now().isoformat(), "detail": detail[:500]}
        self.job.steps = [*self.job.steps, told | {"state": state} if state else told]
        self.job.save(update_fields=["steps"])
        live.changed(self.job.org_id, "job", [self.job.pk])

    def but(self, code: str, detail: str) -> None:
        """It is done, but not all that was asked for with it: the job ends well, says so, and can be tried again."""
        assert self.job is not None
        self.job.error_code, self.job.error_detail = code, detail

    def progress(self, done: int, total: int) -> None:
        """How much of how much is done, where the action can count it: the job's bar shows it."""
        assert self.job is not None
        Job.objects.filter(pk=self.job.pk).update(done=done, total=total)
        live.changed(self.job.org_id, "job", [self.job.pk])

    def cancelled(self) -> bool:
        """Has somebody asked to stop? For actions that can (`cancellable`) to ask between steps."""
        return self.job is not None and Job.objects.filter(pk=self.job.pk, cancel_requested=True).exists()


class Action:
    """One thing that can be done to one kind of resource. Its verb is `<kind>.<name>`.

    `prepare` may use the network with a deadline and writes nothing of ours. `run` does it: an inline action's `run` is our database
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
    hands_out: ClassVar[bool] = False  # it gives something to the one who asks, now: so it cannot wait for approval
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

    def needs(self, call: Call) -> list[str]:
        """Why it needs somebody else's approval for what it acts on beside its target, a sentence each. Asked after `check`."""
        return []

    def reason(self, target: Any) -> str | None:
        """Why this target cannot be acted on now, as far as one row tells: asked for each button. None: it can."""
        return None

    def asked(self, call: Call) -> None:
        """The job of a background action is written: rows that come with it, in the same transaction."""

    @property
    def right(self) -> str:
        """The right it asks for, without the kind."""
        return self.rights or self.name

    def stream(self, job: Job) -> str:
        """The address of what the job says while it runs; "": it says nothing."""
        return ""

    def retried(self, job: Job) -> dict[str, Any]:
        """The params with which a failed job is tried again."""
        return dict(job.params)

    def run(self, call: Call) -> dict[str, Any] | None:
        """Do it. What it returns is the job's result."""
        raise NotImplementedError

    def undo(self, call: Call) -> None:
        """The window was used, or the job was lost or failed before anything was done: take back what the record made."""

    def snapshot(self, target: Any) -> dict[str, Any] | None:
        """What an inline action's event shows before and after: the row's own columns, without secrets."""
        return row_facts(target)


_registry: dict[str, Action] = {}
_of_kind: dict[type[Any], list[Action]] = {}  # a list asks for each row's


def register(cls: type[Action]) -> type[Action]:
    """Class decorator: makes the action known under its verb."""
    action = cls()
    if action.verb in _registry:
        raise ValueError(f"Two actions are called {action.verb}.")
    _registry[action.verb] = action
    _of_kind.setdefault(action.model, []).append(action)
    return cls


def get(verb: str) -> Action:
    """Raises: NotFound."""
    try:
        return _registry[verb]
    except KeyError:
        raise NotFound(f"There is no verb {verb[:80]}.", code="verb_not_found") from None


def actions_of(model: type[Any]) -> Sequence[Action]:
    """The actions of a kind, in the order they were registered."""
    return _of_kind.get(model, [])


def is_known(verb: str) -> bool:
    """Is there such a verb? A job may outlive the app that had it."""
    return verb in _registry


def stream_of(job: Job) -> str:
    """Where what a job says can be followed; "": it says nothing, or is over."""
    return _registry[job.action].stream(job) if job.is_active and is_known(job.action) else ""


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


def validated(action: Action, actor: Actor, params: Mapping[str, Any] | None, target: Any) -> dict[str, Any]:
    form = action.params(data=dict(params or {}), context={"actor": actor, "target": target, "action": action})
    if not form.is_valid():
        raise Invalid(fields=dict(form.errors))
    return dict(form.validated_data)


def slug(text: str) -> str:
    """`Web EU 04` → `web-eu-04`; for paths."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60]
