"""The tabs of a machine's page: what each is called, where it stands, who sees it. A feature adds its own with `register`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from core.actor import Actor
from machines.models import Machine
from volumes.models import Volume


@dataclass(frozen=True, kw_only=True)
class Tab:
    """One tab. `name`: the last part of its address, "" for the first. `order`: tens, from the left. `count`: beside its title."""

    name: str
    title: Promise | str
    order: int
    shown: Callable[[Actor, Machine], bool] = lambda actor, machine: True
    count: Callable[[Actor, Machine], int | None] = lambda actor, machine: None


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A tab on one page."""

    name: str
    title: str
    count: int | None


_tabs: dict[str, Tab] = {}


def register(tab: Tab) -> Tab:
    """Make the tab known; its page is a view at `machines/<id>/<name>` that answers with `OneMachine.show`."""
    _tabs[tab.name] = tab
    return tab


def tabs_of(actor: Actor, machine: Machine) -> list[Shown]:
    """Those this person sees of this machine, in order."""
    known = sorted(_tabs.values(), key=lambda tab: tab.order)
    return [Shown(name=tab.name, title=str(tab.title), count=tab.count(actor, machine)) for tab in known if tab.shown(actor, machine)]


def volumes_of(actor: Actor, machine: Machine) -> list[Volume]:
    """The volumes attached to it that this person may see."""
    rows = Volume.objects.visible_to(actor).filter(attached_to__contains=[machine.pk], missing_since=None)
    return list(rows.select_related("location").order_by("name"))


def _can_snapshot(actor: Actor, machine: Machine) -> bool:
    return any(name.endswith(("snapshot", "snapshots")) for name in machine.allowed)  # type: ignore[attr-defined]


def _has_shell(actor: Actor, machine: Machine) -> bool:
    return "shell" in machine.allowed  # type: ignore[attr-defined]


def _shells(actor: Actor, machine: Machine) -> int:
    return machine.sessions.filter(owner_id=actor.user_id).exclude(state="ended").count()


register(Tab(name="", title=_("Overview"), order=10))
register(Tab(name="shell", title=_("Shell"), order=30, shown=_has_shell, count=_shells))
register(Tab(name="log", title=_("Audit log"), order=40))
register(Tab(name="volumes", title=_("Volumes"), order=50, count=lambda actor, machine: len(volumes_of(actor, machine))))
register(Tab(name="networks", title=_("Networks"), order=60, count=lambda actor, machine: int(machine.network_id is not None)))
register(Tab(name="keys", title=_("Keys"), order=70, count=lambda actor, machine: machine.key_associations.count()))
register(Tab(name="snapshots", title=_("Snapshots"), order=80, shown=_can_snapshot, count=lambda actor, machine: machine.snapshots.count()))
