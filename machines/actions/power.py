"""Power, size, name and copies of machines."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from clouds import polling
from clouds.models import Size
from clouds.providers.base import Provider
from core.actions import Call, register
from core.errors import Conflict, Gone, Invalid
from core.params import NameField, ResourceField
from machines.actions.base import COMING, MachineAction, S, until

STARTS_WITHIN_S = 180  # a stop waits for so long that it may


@register
class Start(MachineAction):
    """Power it on."""

    name = "start"
    states = frozenset({S.STOPPED, S.UNKNOWN})
    aims = frozenset({S.RUNNING, S.STARTING})
    provider_method = "start_machine"

    def act(self, made: Provider, call: Call) -> dict[str, Any]:
        """Its result says from where: only what was stopped can be put back by a stop."""
        made.start_machine(call.target.external_id)
        return {"was": call.target.state}


class StopParams(serializers.Serializer[Any]):
    """When."""

    when_running = serializers.BooleanField(required=False, default=False, help_text="Of a machine that is starting: once it runs.")


@register
class Stop(MachineAction):
    """Shut it down."""

    name = "stop"
    params = StopParams
    states = frozenset({S.RUNNING})
    aims = frozenset({S.STOPPED, S.STOPPING})
    provider_method = "stop_machine"
    tier = 1
    deadline_s = 240

    def check(self, call: Call) -> None:
        is_awaited = call.params["when_running"] and call.target.state in COMING and self.offered(call.target)
        if not is_awaited or self.out_of_reach(call.target) is not None:
            super().check(call)

    def act(self, made: Provider, call: Call) -> None:
        if call.params["when_running"] and not until(
            made, call.target.external_id, lambda info: info.state not in COMING, within_s=STARTS_WITHIN_S
        ):
            raise Conflict(f"{call.target} is still starting. Stop it when it runs.", code="machine_not_running")
        made.stop_machine(call.target.external_id)


@register
class Reboot(MachineAction):
    """Restart it in order."""

    name = "reboot"
    states = frozenset({S.RUNNING})
    provider_method = "reboot_machine"
    tier = 1


@register
class PowerCycle(MachineAction):
    """Cut its power and give it back."""

    name = "power_cycle"
    states = frozenset({S.RUNNING, S.UNKNOWN, S.ERROR})
    provider_method = "power_cycle_machine"
    tier = 1


@register
class Suspend(MachineAction):
    """Freeze it in memory."""

    name = "suspend"
    states = frozenset({S.RUNNING})
    aims = frozenset({S.SUSPENDED, S.PAUSED})
    provider_method = "suspend_machine"
    tier = 1


@register
class Resume(MachineAction):
    """Let it go on after a suspend."""

    name = "resume"
    states = frozenset({S.SUSPENDED, S.PAUSED})
    aims = frozenset({S.RUNNING})
    provider_method = "resume_machine"


class ResizeParams(serializers.Serializer[Any]):
    """A size of the machine's cloud; or cores and ram_mib where sizes are custom."""

    size = ResourceField(Size, required=False)
    cores = serializers.IntegerField(min_value=1, max_value=1024, required=False)
    ram_mib = serializers.IntegerField(min_value=16, max_value=64 * 1024 * 1024, required=False)


@register
class Resize(MachineAction):
    """Give it another size. The next poll, not we, writes what came of it."""

    name = "resize"
    params = ResizeParams
    states = frozenset({S.STOPPED, S.RUNNING})
    provider_method = "resize_machine"
    tier = 1

    def check(self, call: Call) -> None:
        super().check(call)
        size, cls = call.params.get("size"), call.target.cloud.driver
        if cls is not None and not cls.custom_size and size is None:
            raise Invalid(fields={"size": ["This is needed."]})
        if size is None and not ({"cores", "ram_mib"} & call.params.keys()):
            raise Invalid(fields={"size": ["Send a size, or cores and ram_mib."]})

    def act(self, made: Provider, call: Call) -> None:
        size = call.params.get("size")
        made.resize_machine(
            call.target.external_id,
            size.external_id if size else None,
            cores=call.params.get("cores"),
            ram_mib=call.params.get("ram_mib"),
        )


class NameParams(serializers.Serializer[Any]):
    """The new name."""

    name = NameField()


@register
class Rename(MachineAction):
    """Give it another name, in its cloud too."""

    name = "rename"
    params = NameParams
    provider_method = "rename_machine"
    bulk = False

    def act(self, made: Provider, call: Call) -> None:
        made.rename_machine(call.target.external_id, call.params["name"])


@register
class Clone(MachineAction):
    """Make a copy of it under another name."""

    name = "clone"
    params = NameParams
    states = frozenset({S.RUNNING, S.STOPPED, S.SUSPENDED})
    provider_method = "clone_machine"
    bulk = False
    deadline_s = 900

    def act(self, made: Provider, call: Call) -> dict[str, Any]:
        external_id = made.clone_machine(call.target.external_id, call.params["name"])
        try:
            polling.observe(call.target.cloud, "machine", made.get_machine(external_id), call.actor)
        except Gone:
            pass  # not listed yet: the poll will
        return {"external_id": external_id}


class UndefineParams(serializers.Serializer[Any]):
    """`delete_disks` (the contract's `delete_domain_image`): its disk images too."""

    delete_disks = serializers.BooleanField(required=False, default=False)
    delete_domain_image = serializers.BooleanField(required=False, default=False)


@register
class Undefine(MachineAction):
    """Take a stopped machine off its hypervisor's books, with its disks where asked."""

    name = "undefine"
    params = UndefineParams
    states = frozenset({S.STOPPED, S.TERMINATED})
    provider_method = "undefine_machine"
    tier = 2
    undo_s = 10

    def act(self, made: Provider, call: Call) -> None:
        wanted = call.params["delete_disks"] or call.params["delete_domain_image"]
        made.undefine_machine(call.target.external_id, delete_disks=wanted)
