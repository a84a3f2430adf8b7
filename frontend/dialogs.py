"""Questions before acts, by tier (CONSOLE.md §6): a popover for a few, a dialog with the list for many, and what a destroy takes along."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db.models import Count
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from core.actor import Actor
from frontend import acts, destroying
from frontend.templatetags.humanish import disk
from machines.models import Machine, Snapshot
from volumes.models import Volume

if TYPE_CHECKING:
    from frontend.views.base import ConsoleView

LIST_FROM = 10  # machines: more names than a popover holds


def template(view: ConsoleView, offer: acts.Offer, count: int, *, needs: bool = False) -> str:
    """Which template asks: a popover where htmx asked and little is at stake, else the dialog, or a page of its own. `needs`: approval."""
    if not (view.in_dialog or view.is_htmx):
        return "machines/act.html"
    few = offer.action.tier == 1 and not offer.has_fields and count < LIST_FROM and not needs
    return "machines/_ask.html" if few else "machines/_act.html"


@dataclass(frozen=True, kw_only=True)
class Fate:
    """One thing that goes or stays with a machine, in words. `lost`: it cannot be brought back. `instead`: the words where the kept
    volumes are destroyed too, if it is one that goes then.
    """

    text: str
    lost: bool = False
    is_volume: bool = False
    instead: str = ""


def victims(actor: Actor, machines: Iterable[Machine]) -> list[Machine]:
    """The machines with `fates` (what becomes of volumes, addresses, snapshots, what runs in them) and `users` (who uses it).

    Three queries however many they are.
    """
    rows = list(machines)
    ids = [machine.pk for machine in rows]
    volumes: dict[Any, list[Volume]] = {}
    found = Volume.objects.visible_to(actor).select_related("cloud").filter(attached_to__overlap=ids, missing_since=None)
    for volume in found.order_by("name"):
        for pk in volume.attached_to:
            volumes.setdefault(pk, []).append(volume)
    snapshots = dict(Snapshot.objects.filter(machine_id__in=ids).values_list("machine_id").annotate(Count("pk")))
    children = dict(Machine.objects.visible_to(actor).filter(parent_id__in=ids).order_by().values_list("parent_id").annotate(Count("pk")))
    for machine in rows:
        extra: Any = machine
        extra.fates = [_of_volume(actor, volume, machine) for volume in volumes.get(machine.pk, [])]
        if machine.public_ips:
            extra.fates.append(Fate(text=_("address %(ip)s given up") % {"ip": machine.public_ips[0]}, lost=True))
        if count := snapshots.get(machine.pk):
            extra.fates.append(_of_snapshots(machine, count))
        extra.users = []
        if count := children.get(machine.pk):
            extra.users.append(ngettext("%(n)d machine runs in it", "%(n)d machines run in it", count) % {"n": count})
        if machine.owner_id is not None and machine.owner_id != actor.user_id and machine.owner is not None:
            extra.users.append(_("belongs to %(who)s") % {"who": machine.owner.full_name})
    return rows


def _of_volume(actor: Actor, volume: Volume, machine: Machine) -> Fate:
    said = {"name": volume.name, "size": disk(volume.size_gib)}
    goes = volume.extra.get("is_deleted_with_machine")
    if goes is None:
        return Fate(text=_("%(name)s %(size)s: its cloud does not say") % said, is_volume=True)
    if goes:
        return Fate(text=_("%(name)s %(size)s destroyed") % said, lost=True, is_volume=True)
    instead = _("%(name)s %(size)s destroyed") % said if destroying.goes(actor, volume, machine) else ""
    return Fate(text=_("%(name)s %(size)s kept") % said, is_volume=True, instead=instead)


def _of_snapshots(machine: Machine, count: int) -> Fate:
    known = machine.cloud.driver
    if known is not None and known.snapshots_outlive:
        return Fate(text=ngettext("%(n)d snapshot kept", "%(n)d snapshots kept", count) % {"n": count})
    return Fate(text=ngettext("%(n)d snapshot lost", "%(n)d snapshots lost", count) % {"n": count}, lost=True)
