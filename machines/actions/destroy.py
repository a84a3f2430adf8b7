"""The end of a machine, and of what its cloud would keep of it.

The volumes that are to go with it are jobs of their own, made before anything is done and held until the machine is gone: each asks
its rights, is recorded, and outlives a worker that dies in between.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from django.utils import timezone
from rest_framework import serializers

from clouds import polling
from clouds.providers.base import Provider
from core import guard
from core.actions import Call, call_off, get, perform, register, run_within
from core.errors import Conflict, Denied, Gone, MistError, NotFound, Refused
from core.models import Job, Resource
from machines.actions.base import ALIVE, STABLE, MachineAction, S
from machines.models import Machine

FALLS_DUE_S = 30  # after the deadline of a destroy: what was to go with it
LEFT = frozenset({Job.State.FAILED, Job.State.LOST, Job.State.CANCELLED})
_kept: list[Callable[[Machine], Sequence[Resource]]] = []
_left: list[Callable[[Machine], Sequence[Resource]]] = []


def outlived_by(kept: Callable[[Machine], Sequence[Resource]], left: Callable[[Machine], Sequence[Resource]]) -> None:
    """Volumes say what stays when a machine is destroyed and could go with it, and what of that is there still afterwards.

    Their kind has a verb `delete` that takes `with_machine`.
    """
    _kept[:], _left[:] = [kept], [left]


def kept(machine: Machine) -> list[Resource]:
    """What its cloud would keep of it, and could be destroyed with it."""
    return [thing for function in _kept for thing in function(machine)]


class DestroyParams(serializers.Serializer[Any]):
    """What is done before and after. What is left of the volumes is in the job's `result`; the same asked again goes on with that."""

    snapshot_first = serializers.BooleanField(
        required=False,
        default=False,
        help_text="Take a snapshot of every volume first, where its cloud keeps snapshots of machines that are gone. Where it does not, or"
        " fails to take one, nothing is destroyed.",
    )
    destroy_volumes = serializers.BooleanField(
        required=False,
        default=False,
        help_text="When the machine is gone, delete the volumes too that were attached to it alone and that its cloud would keep. Who may"
        " not delete one of them is refused before anything begins.",
    )


@register
class Destroy(MachineAction):
    """Destroy it and what goes with it. Starts after the undo window."""

    name = "destroy"
    params = DestroyParams
    aims = frozenset({S.TERMINATED})
    provider_method = "destroy_machine"
    tier = 2
    undo_s = 10
    states = ALIVE
    deadline_s = 600

    def check(self, call: Call) -> None:
        machine: Machine = call.target
        things = self.left(call)
        if not things:
            super().check(call)
            if call.params["snapshot_first"] and (why := snapshot_first(machine)) is not None:
                raise Conflict(f"{machine} cannot have a snapshot taken first. {why}", code="no_snapshot_first")
            things = kept(machine) if call.params["destroy_volumes"] else []
        for thing in things:
            try:
                guard.check(Call(actor=call.actor, action=get(f"{thing.kind()}.delete"), target=thing, approved=True))
            except NotFound as hidden:
                raise Denied(f"One of the volumes of {machine} is not yours to delete. Destroy the machine alone.") from hidden
            except Denied as denied:
                said = f"You may not delete {thing}, a volume of {machine}. Destroy the machine alone, or ask an owner of the organization."
                raise Denied(said, reason=denied.reason) from denied

    def needs(self, call: Call) -> list[str]:
        things = self.left(call) or (kept(call.target) if call.params["destroy_volumes"] else [])
        return guard.needs_of_each(Call(actor=call.actor, action=get(f"{thing.kind()}.delete"), target=thing) for thing in things)

    def left(self, call: Call) -> list[Resource]:
        """Of a machine that is gone already: what was to go with it and is there still."""
        machine: Machine = call.target
        if not call.params["destroy_volumes"] or not (machine.state == S.TERMINATED or machine.missing_since is not None):
            return []
        return [thing for function in _left for thing in function(machine)]

    def run(self, call: Call) -> dict[str, Any] | None:
        result: dict[str, Any] = {}
        if things := self.left(call):
            self.hold(call, things)
        else:
            try:
                result = super().run(call) or {}
            except Gone:  # it ended since we last looked: what was to go with it by an earlier job does
                call.target.refresh_from_db()
                things = self.left(call)
                if not things or call.params["snapshot_first"]:
                    raise
                self.hold(call, things)
        return result | self.end_volumes(call)

    def act(self, made: Provider, call: Call) -> dict[str, Any]:
        machine: Machine = call.target
        result = {}
        if call.params["destroy_volumes"]:
            self.hold(call, [thing for thing in kept(machine) if self.still_goes(made, thing, call)])
        try:
            if call.params["snapshot_first"]:
                result["snapshot"] = made.create_snapshot(machine.external_id, f"before destroy {timezone.now():%Y-%m-%d %H:%M}")
                call.step("snapshot", result["snapshot"])
            made.destroy_machine(machine.external_id)
        except MistError:
            self.let_go(call)
            raise
        return result

    def still_goes(self, made: Provider, thing: Any, call: Call) -> bool:
        """What was read some minutes ago may be otherwise by now: what has come away from the machine since stays."""
        try:
            info = made.get_volume(thing.external_id)
        except Gone:
            polling.mark_gone(thing, call.actor)
            return False
        polling.observe(call.target.cloud, "volume", info, call.actor)
        goes = info.attached_to == (call.target.external_id,) and info.extra.get("is_deleted_with_machine") is False
        if not goes:
            call.step("volume_kept", info.name)
        return goes

    def hold(self, call: Call, things: list[Any]) -> None:
        """A job for each, through the door, before anything is done. It waits for this one; should this one die, it falls due by itself.

        Raises: Refused; then none of them is to be.
        """
        job = call.job
        assert job is not None
        due = (job.deadline_at or timezone.now() + timedelta(seconds=self.deadline_s)) + timedelta(seconds=FALLS_DUE_S)
        try:
            for thing in things:
                perform(call.actor, thing, "delete", {"with_machine": call.target.pk.hex}, parent=job, not_before=due, queue=job.queue)
        except Refused:
            self.let_go(call)
            raise

    def let_go(self, call: Call) -> None:
        assert call.job is not None
        for child in call.job.children.filter(state=Job.State.WAITING):
            call_off(child, f"{call.target} was not destroyed.")

    def end_volumes(self, call: Call) -> dict[str, Any]:
        """Delete what was held; of what is left the job says why."""
        job, machine = call.job, call.target
        assert job is not None
        ended = [run_within(child, job) for child in job.children.order_by("created_at", "id")]
        for child in ended:
            words = {Job.State.SUCCEEDED: "volume_deleted", Job.State.SKIPPED: "volume_deleted"}.get(Job.State(child.state), "volume_left")
            failed = words == "volume_left" and not child.is_active
            call.step(
                words, f"{child.target_name}: {child.error_detail}" if failed else child.target_name, state="failed" if failed else ""
            )
        left = [child for child in ended if child.state in LEFT]
        if left:
            names = ", ".join(child.target_name for child in left[:5]) + (" …" if len(left) > 5 else "")
            said = f"{machine} is destroyed. Not so of its volumes, which go on costing money: {names}. {left[0].error_detail}"
            call.but("volumes_left", f"{said} Try again to delete what is left.")
        told = [
            {"id": child.target_id.hex, "name": child.target_name, "state": child.state, "job": child.pk.hex}
            for child in ended
            if child.target_id
        ]
        return {"volumes": told} if told else {}


def snapshot_first(machine: Machine) -> str | None:
    """Why no snapshot of it can be taken before it is destroyed; None: one can."""
    cls = machine.cloud.driver
    if cls is None or not (cls.snapshots_outlive and cls.supports("create_snapshot")):
        return "Its cloud keeps no snapshots of machines that are gone."
    states = cls.verb_states.get("create_snapshot", STABLE)
    return None if machine.state in states else f"It is {machine.state}."
