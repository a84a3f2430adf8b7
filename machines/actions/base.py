"""What actions on machines have in common: states, the provider's word, and observing what came of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, ClassVar

from clouds import polling
from clouds.connection import connect
from clouds.providers import provider
from clouds.providers.base import Provider
from clouds.providers.facts import MachineInfo
from core.actions import Action, Call
from core.errors import Already, Conflict, Gone, NotSupported, Unavailable
from machines.models import Machine

S = Machine.State
ALIVE = frozenset(S.values) - {S.TERMINATED, S.CREATING}
STABLE = frozenset({S.RUNNING, S.STOPPED, S.SUSPENDED, S.PAUSED})  # a snapshot of it means something
COMING = frozenset({S.STARTING, S.PENDING})
LOOK_AGAIN_S = 2.0


def until(made: Provider, external_id: str, so: Callable[[MachineInfo], bool], *, within_s: float) -> bool:
    """Look at a machine again and again until it is so. False: it was not in time.

    Raises: Gone; what else the cloud says, where it still says that at the end.
    """
    ends = time.monotonic() + within_s
    while True:
        is_last = time.monotonic() + LOOK_AGAIN_S > ends
        try:
            if so(made.get_machine(external_id)):
                return True
        except Unavailable:
            if is_last:
                raise
        if is_last:
            return False
        time.sleep(LOOK_AGAIN_S)


class MachineAction(Action):
    """An action of a machine's provider, run by a worker."""

    model = Machine
    background = True
    states: ClassVar[frozenset[str]] = ALIVE  # it may start from; a provider's `verb_states` says otherwise
    aims: ClassVar[frozenset[str]] = frozenset()  # states in which there is nothing left to do
    provider_method: ClassVar[str] = ""  # Conflict where the provider has none

    def offered(self, machine: Machine) -> bool:
        """Can this machine's provider do that at all?"""
        cls = machine.cloud.driver
        return cls is not None and (not self.provider_method or cls.supports(self.provider_method))

    def reason(self, machine: Machine) -> str | None:
        why = self.out_of_reach(machine)
        if why is None and machine.state not in self.allowed_states(machine):
            return f"It is {machine.state}."
        return why

    def out_of_reach(self, machine: Machine) -> str | None:
        """Why it cannot be acted on in any state."""
        if self.provider_method:
            if not machine.external_id:
                return "It is being created."
            if machine.missing_since is not None:
                return "It is not in its cloud any more."
            if not machine.cloud.enabled:
                return "Its cloud is disabled."
        return str(machine.refusals[self.name]) if self.name in machine.refusals else None

    def allowed_states(self, machine: Machine) -> frozenset[str]:
        cls = machine.cloud.driver
        return frozenset((cls.verb_states if cls else {}).get(self.name, self.states))

    def check(self, call: Call) -> None:
        machine: Machine = call.target
        if not self.offered(machine):
            raise NotSupported(f"{provider(machine.cloud.provider).title} cannot {self.name.replace('_', ' ')} machines.")
        why = self.reason(machine)
        if why is None:
            return
        states = self.allowed_states(machine)
        if machine.state not in states and self.name not in machine.refusals:
            wanted = sorted(states)
            code = f"machine_not_{wanted[0]}" if len(wanted) == 1 else "machine_wrong_state"
            if machine.state in self.aims:
                raise Already(f"{machine} is {machine.state} already.", code=code)
            raise Conflict(f"{machine} is {machine.state}; {self.name} starts from: {', '.join(wanted)}.", code=code)
        raise Conflict(f"{machine} cannot {self.name.replace('_', ' ')}: {why}", code="machine_refuses")

    def run(self, call: Call) -> dict[str, Any] | None:
        machine: Machine = call.target
        with connect(machine.cloud, call.actor, deadline_s=self.deadline_s) as made:
            try:
                result = self.act(made, call)
                call.step("asked")
                self.look(made, call)
            except Gone:
                polling.mark_gone(machine, call.actor)
                raise
            finally:
                polling.hasten(machine.cloud_id)
        return result

    def act(self, made: Provider, call: Call) -> dict[str, Any] | None:
        """Ask the provider."""
        getattr(made, self.provider_method)(call.target.external_id)
        return None

    def look(self, made: Provider, call: Call) -> None:
        """See at once what came of it; the poll follows."""
        if not made.supports("get_machine"):
            return
        try:
            info = made.get_machine(call.target.external_id)
        except Gone:
            polling.mark_gone(call.target, call.actor)
            return
        polling.observe(call.target.cloud, "machine", info, call.actor)
