"""What can be done to volumes."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from rest_framework import serializers

from clouds import polling
from clouds.connection import connect
from clouds.providers import provider
from clouds.providers.base import Provider
from clouds.providers.facts import MachineInfo
from core.actions import Action, Call, register
from core.errors import Already, Conflict, Gone, NotSupported, Rejected
from core.models import Job
from core.params import ResourceField
from machines.actions import base, destroy
from machines.models import Machine
from volumes.models import Volume

GOES_WITHIN_S = 240  # a machine whose destruction was asked for is waited for so long


class DeleteParams(serializers.Serializer[Any]):
    """With what it goes."""

    with_machine = ResourceField(
        Machine, required=False, help_text="A machine that is being destroyed and has it: it is deleted when that one is gone."
    )


@register
class Delete(Action):
    """Delete it in its cloud, with all that is on it. Starts after the undo window."""

    model = Volume
    name = "delete"
    params = DeleteParams
    background = True
    tier = 2
    undo_s = 10
    deadline_s = 300

    def offered(self, volume: Volume) -> bool:
        """Can its provider do that at all?"""
        cls = volume.cloud.driver
        return cls is not None and cls.supports("delete_volume")

    def reason(self, volume: Volume) -> str | None:
        return "It is attached to a machine." if volume.attached_to else self.out_of_reach(volume)

    def out_of_reach(self, volume: Volume) -> str | None:
        """Why it cannot be deleted whatever it is attached to."""
        if volume.missing_since is not None:
            return "It is not in its cloud any more."
        return None if volume.cloud.enabled else "Its cloud is disabled."

    def check(self, call: Call) -> None:
        volume: Volume = call.target
        machine = call.params.get("with_machine")
        if not self.offered(volume):
            raise NotSupported(f"{provider(volume.cloud.provider).title} cannot delete volumes.")
        if volume.missing_since is not None:
            raise Already(f"{volume} is not in its cloud any more.", code="volume_gone")
        if why := self.out_of_reach(volume):
            raise Conflict(f"{volume} cannot be deleted: {why}")
        if [pk for pk in volume.attached_to if machine is None or pk != machine.pk]:
            raise Conflict(
                f"{volume} is attached to another machine. Detach it first."
                if machine
                else f"{volume} is attached to a machine. Detach it first.",
                code="volume_attached",
            )

    def run(self, call: Call) -> None:
        volume: Volume = call.target
        machine = call.params.get("with_machine")
        with connect(volume.cloud, call.actor, deadline_s=self.deadline_s) as made:
            try:
                if machine is not None:
                    parent = call.job.parent if call.job else None
                    wait_for_the_end(made, machine, volume, is_asked=parent is not None and parent.state == Job.State.RUNNING)
                delete(made, volume, tries_s=60 if machine is not None else 0)
                call.step("asked")
                polling.observe(volume.cloud, "volume", made.get_volume(volume.external_id), call.actor)  # it may take a moment
            except Gone:
                polling.mark_gone(volume, call.actor)
            finally:
                polling.hasten(volume.cloud_id, "volume")


def kept(machine: Machine) -> list[Volume]:
    """The volumes that its cloud would keep, of those attached to it alone, where they can be deleted at all."""
    return kept_of([machine]).get(machine.pk, [])


def kept_of(machines: Iterable[Machine]) -> dict[UUID, list[Volume]]:
    """{machine: the same of it}, of those that have any. One query."""
    found = Volume.objects.select_related("cloud").filter(attached_to__overlap=[one.pk for one in machines], missing_since=None)
    kept: dict[UUID, list[Volume]] = {}
    for volume in found.order_by("name", "pk"):
        if can_go(volume):
            kept.setdefault(volume.attached_to[0], []).append(volume)
    return kept


def can_go(volume: Volume) -> bool:
    """Would its cloud keep it when its only machine is destroyed, and could it be deleted then?"""
    return len(volume.attached_to) == 1 and stays(volume) and Delete().offered(volume)


def stays(volume: Volume) -> bool:
    """Does its cloud keep it when its machine is destroyed? Where the cloud does not say, we do not either."""
    return volume.extra.get("is_deleted_with_machine") is False


def left(machine: Machine) -> list[Volume]:
    """Those that were to go with a machine that is gone, and are there still, attached to nothing else."""
    tried = Job.objects.filter(
        parent__target_id=machine.pk, parent__action="machine.destroy", action="volume.delete", state__in=destroy.LEFT
    )
    found = Volume.objects.select_related("cloud").filter(pk__in=tried.values("target_id"), missing_since=None).order_by("name", "pk")
    return [volume for volume in found if set(volume.attached_to) <= {machine.pk}]


destroy.outlived_by(kept, left)


def wait_for_the_end(made: Provider, machine: Machine, volume: Volume, *, is_asked: bool) -> None:
    """`is_asked`: its cloud was just asked to end it; else one that runs or is stopped will not end.

    Raises: Conflict, when the machine is still there then, or after a while.
    """
    last = ""

    def is_over(info: MachineInfo) -> bool:
        nonlocal last
        last = info.state
        return last == Machine.State.TERMINATED or (last in base.STABLE and not is_asked)

    try:
        base.until(made, machine.external_id, is_over, within_s=GOES_WITHIN_S)
    except Gone:
        return
    if last != Machine.State.TERMINATED:
        raise Conflict(f"{machine} is still there, so that {volume} was not deleted.", code="machine_present")


def delete(made: Provider, volume: Volume, *, tries_s: float) -> None:
    """Clouds let go of a volume a moment after its machine is gone: tried for so long."""
    ends = time.monotonic() + tries_s
    while True:
        try:
            return made.delete_volume(volume.external_id)
        except Rejected as error:
            if error.code != "cloud_wrong_state" or time.monotonic() > ends:
                raise
        time.sleep(base.LOOK_AGAIN_S)
