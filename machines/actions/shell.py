"""Shells on machines, and what can be done to those that run and to their recordings."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.db import transaction
from django.utils import timezone
from rest_framework import serializers

from core import guard, live
from core.actions import Action, Call, register
from core.errors import Conflict, Denied
from core.params import clean_text
from machines.actions.base import ALIVE, S
from machines.models import Machine, Session
from machines.shell import lines, recorder

CLOSED = frozenset({S.STOPPED, S.SUSPENDED, S.PAUSED, S.STOPPING, S.FAILED, S.SUCCEEDED})


class ShellParams(serializers.Serializer[Any]):
    """`reason`: why, for the record. `user`: as whom, where several are known. `through`: which way in, where there are several."""

    reason = serializers.CharField(max_length=500, required=False, allow_blank=True, default="")
    user = serializers.CharField(max_length=64, required=False, allow_blank=True, default="")
    through = serializers.ChoiceField(choices=("ssh", "exec"), required=False, allow_blank=True, default="")
    width = serializers.IntegerField(min_value=1, max_value=1000, required=False, default=80)
    height = serializers.IntegerField(min_value=1, max_value=1000, required=False, default=24)

    def validate_reason(self, value: str) -> str:
        return clean_text(value)

    validate_user = validate_reason


@register
class Shell(Action):
    """Open a shell on it: recorded from the first byte on. The answer leads to its socket, with a ticket for one use."""

    model = Machine
    name = "shell"
    params = ShellParams
    exclusive = False
    hands_out = True
    bulk = False

    def offered(self, machine: Machine) -> bool:
        return lines.leads_anywhere(machine)

    def reason(self, machine: Machine) -> str | None:
        if machine.missing_since is not None:
            return "It is not in its cloud any more."
        if machine.state in CLOSED or machine.state not in ALIVE:
            return f"It is {machine.state}."
        return None

    def check(self, call: Call) -> None:
        lines.way_to(call.target, call.params["through"])
        if why := self.reason(call.target):
            raise Conflict(f"There is no shell on {call.target} now: {why}", code="machine_wrong_state")

    def run(self, call: Call) -> dict[str, Any]:
        machine, p, actor = call.target, call.params, call.actor
        assert call.job is not None
        row = Session.objects.create(
            org_id=machine.org_id,
            name=machine.name,
            tags=machine.tags,
            owner_id=actor.user_id,
            created_by_id=actor.user_id,
            machine=machine,
            cloud_id=machine.cloud_id,
            reason=p["reason"],
            login=p["user"],
            transport=p["through"],
            via=actor.via,
            job_id=call.job.pk,
            cols=p["width"],
            rows=p["height"],
        )
        live.changed(row.org_id, "session", [row.pk])
        return {"session": row.pk.hex}

    def snapshot(self, target: Any) -> dict[str, Any] | None:
        return None


class SessionAction(Action):
    """An action on a shell that runs, or on what is kept of it."""

    model = Session
    exclusive = False
    bulk = False
    needs_live = True

    def reason(self, session: Session) -> str | None:
        if self.needs_live and not session.is_live:
            return "It has ended."
        return None

    def check(self, call: Call) -> None:
        if why := self.reason(call.target):
            raise Conflict(f"This cannot be done to the shell on {call.target}: {why}", code="session_wrong_state")

    def run(self, call: Call) -> dict[str, Any]:
        return {"session": call.target.pk.hex}

    def snapshot(self, target: Any) -> dict[str, Any] | None:
        return None


@register
class Watch(SessionAction):
    """Look at a shell while it runs, without typing. Whoever is at it is told."""

    name = "watch"
    hands_out = True


@register
class Join(SessionAction):
    """Type in a shell that runs; one's own is re-attached so. It takes the right to a shell on the machine too."""

    name = "join"
    hands_out = True

    def check(self, call: Call) -> None:
        super().check(call)
        machine = call.target.machine
        if machine is None or not guard.permits(call.actor, machine, "shell"):
            raise Denied(f"You may have no shell on {call.target}.", reason="no statement allows machine.shell")


@register
class Kill(SessionAction):
    """End a shell that runs, whoever is at it."""

    name = "kill"
    tier = 1
    bulk = True

    def run(self, call: Call) -> dict[str, Any]:
        row: Session = call.target
        row.kill_by = (call.actor.email or call.actor.via)[:300]
        if not row.holder:  # nobody came with its ticket
            row.state, row.ended_at = Session.State.ENDED, timezone.now()
            row.ended_code, row.ended_detail = "killed", f"{row.kill_by} ended it."
        row.save()
        return super().run(call)


@register
class Replay(SessionAction):
    """Read a recording: replay it, download it, search in what it shows. Recorded, as a watch is."""

    name = "replay"
    needs_live = False
    hands_out = True

    def reason(self, session: Session) -> str | None:
        if session.recording == Session.Recording.EXPIRED:
            return "Its recording was removed by retention."
        return None if session.recording != Session.Recording.NONE else "Nothing was recorded."


@register
class Delete(SessionAction):
    """Delete a shell that has ended, with its recording. The events of its chunks stay in the audit log."""

    name = "delete"
    deletes = True
    tier = 2
    bulk = True
    needs_live = False

    def reason(self, session: Session) -> str | None:
        return "It still runs: end it first." if session.is_live else None

    def run(self, call: Call) -> dict[str, Any]:
        row = call.target
        path = recorder.path_of(row.org_id, row.pk)
        transaction.on_commit(partial(path.unlink, missing_ok=True))
        facts = {"session": row.pk.hex, "recorded_bytes": row.recorded_bytes}
        row.delete()
        return facts
