"""Scripts that are run on a machine once it is created: asked for with it, begun when it runs and has an address, one after the other.

Each is an ordinary `machine.run` in the name of who created the machine, with the rights they have then, that waits for the
machine's SSH server.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db.models import Q
from django.utils import timezone
from rest_framework import serializers

from core import events, guard, live
from core.actions import Call, perform, with_rights
from core.actor import Actor
from core.errors import Denied, Invalid, MistError
from core.params import ResourceField
from core.ticks import every
from machines.actions.create import Afterwards, afterwards
from machines.api import address_of
from machines.models import Machine
from scripts import secret_values
from scripts.actions.library import newest
from scripts.actions.run import EnvironmentField, ValuesField
from scripts.models import AfterCreation, Run, Script
from scripts.parameters import references, values

NAME = "scripts"
WITHIN = timedelta(minutes=30)  # from creation to the first answer
WAIT_S = 900  # from an address to an SSH server that lets us in
AT_ONCE = 50
LOST_AFTER = timedelta(minutes=1)  # from being taken to its job


class AskedParams(serializers.Serializer[Any]):
    """One script of `scripts`."""

    script = ResourceField(Script)
    params = ValuesField(required=False)
    env = EnvironmentField(required=False, default=dict)
    su = serializers.BooleanField(required=False, default=False)


def read(actor: Actor, sent: Any) -> dict[str, Any]:
    """One script as it was sent: its id or name, or an object.  Raises: ValidationError, Invalid."""
    form = AskedParams(data={"script": sent} if isinstance(sent, str) else sent, context={"actor": actor})
    form.is_valid(raise_exception=True)
    found: dict[str, Any] = form.validated_data
    version, given = newest(found["script"]), found.get("params", {})
    if isinstance(given, list) and version.parameters and all("=" in word for word in given):
        given = dict(word.split("=", 1) for word in given)
    checked = values(version.parameters, given if isinstance(given, dict) else {})
    secret_values.check(actor, references(version.parameters, checked, found["env"]))
    return {**found, "params": given}


def check(actor: Actor, draft: Machine, sent: list[Any]) -> list[Any]:
    """What is wrong with what was asked for; nothing: []."""
    wrong: list[Any] = []
    for number, one in enumerate(sent, start=1):
        try:
            script = read(actor, one)["script"]
            if not guard.permits(actor, script, "run") or not guard.permits(actor, draft, "run"):
                raise Denied(f"You may not run {script.name} on it. Ask an owner of the organization.")
        except serializers.ValidationError as error:
            wrong.append(f"Script {number}: {_first(error.detail)}")
        except Invalid as error:
            wrong.append(f"Script {number}: {_first(error.fields) or error.detail}")
        except MistError as error:
            wrong.append(f"Script {number}: {error.detail}")
    return wrong


def _first(detail: Any) -> str:
    """The first words of nested errors, with the field they are of."""
    if isinstance(detail, dict):
        for name, inner in detail.items():
            return f"{name}: {_first(inner)}" if name != "script" else _first(inner)
    if isinstance(detail, list | tuple):
        return _first(detail[0]) if detail else ""
    return str(detail)


def begin(call: Call, machine: Machine) -> None:
    """Note them; `begin_due` goes on."""
    asked = call.params.get(NAME) or []
    if not asked or call.job is None:
        return
    rows = []
    for position, sent in enumerate(asked):
        row = AfterCreation(machine=machine, job=call.job, position=position, until=timezone.now() + WITHIN)
        try:
            one = read(call.actor, sent)
        except (serializers.ValidationError, MistError):  # it was right when it was asked for; the machine is there all the same
            row.name = str(sent.get("script", "") if isinstance(sent, dict) else sent)[:255]
        else:
            row.script, row.name = one["script"], one["script"].name
            row.params = {key: one[key] for key in ("params", "env", "su") if one.get(key)}
        rows.append(row)
    AfterCreation.objects.bulk_create(rows, ignore_conflicts=True)
    call.step("scripts", ", ".join(row.name for row in rows))


afterwards(Afterwards(name=NAME, check=check, begin=begin))


@every(5)
def begin_due() -> int:
    """Begin what can begin.  Returns: how many."""
    waiting = AfterCreation.objects.filter(state=AfterCreation.State.WAITING)
    ready = waiting.filter(Q(machine__state=Machine.State.RUNNING) | Q(until__lt=timezone.now()) | ~Q(machine__missing_since=None))
    begun = 0
    for row in ready.select_related("machine", "script", "job").order_by("created_at", "position").iterator(chunk_size=AT_ONCE):
        begun += _begin(row)  # one that cannot begin yet keeps no other from it
        if begun == AT_ONCE:
            break
    lost = AfterCreation.objects.filter(state=AfterCreation.State.TAKEN, begun_at__lt=timezone.now() - LOST_AFTER)
    for row in list(lost[:AT_ONCE]):
        _failed(row, "The process that began it died: it may have been run or not.")
    return begun


def _begin(row: AfterCreation) -> bool:
    machine, late = row.machine, row.until < timezone.now()
    if machine.missing_since is not None:
        return _failed(row, "The machine is not in its cloud any more.")
    before = AfterCreation.objects.filter(machine=machine, position__lt=row.position).order_by("-position").select_related("run").first()
    if before is not None:
        if before.state in (AfterCreation.State.WAITING, AfterCreation.State.TAKEN) or (before.run is not None and before.run.is_active):
            return False
        if before.run is None or before.run.state != Run.State.SUCCEEDED:
            return _failed(row, f"{before.name}, which comes before it, did not succeed.")
    elif late:
        return _failed(row, f"The machine was not running with an address within {WITHIN.seconds // 60} minutes.")
    if machine.state != Machine.State.RUNNING or not address_of(machine):
        return _failed(row, f"The machine is {machine.state}.") if late else False
    if row.script is None:
        return _failed(row, "The script was deleted or changed meanwhile.")
    waiting = AfterCreation.objects.filter(pk=row.pk, state=AfterCreation.State.WAITING)
    if not waiting.update(state=AfterCreation.State.TAKEN, begun_at=timezone.now()):
        return False  # another scheduler was first
    params = {"script": row.script.pk.hex, **row.params, "wait": WAIT_S}
    try:  # who approved the machine approved it with its scripts
        job = perform(with_rights(row.job.actor()), machine, "run", params, parent=row.job if row.job.approved_at else None)
    except MistError as error:
        return _failed(row, error.detail)
    AfterCreation.objects.filter(pk=row.pk).update(state=AfterCreation.State.BEGUN, run_id=job.pk)
    live.changed(machine.org_id, "machine", [machine.pk])
    return True


def _failed(row: AfterCreation, why: str) -> bool:
    """It is not run; on record with the machine."""
    AfterCreation.objects.filter(pk=row.pk).update(state=AfterCreation.State.FAILED, detail=why[:500])
    actor = row.job.actor()
    events.record("machine.run.failed", actor, target=row.machine, job_id=row.job_id, detail={"script": row.name, "reason": why[:500]})
    live.changed(row.machine.org_id, "machine", [row.machine_id])
    return False
