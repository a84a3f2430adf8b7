"""What a destroy can be asked for beside: snapshots first, and the volumes that would be kept. CONSOLE.md §6."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from clouds.providers.facts import Field
from core import guard
from core.actions import get
from core.actor import Actor
from frontend.reasons import in_words
from frontend.templatetags.humanish import disk
from machines.actions.destroy import snapshot_first
from machines.models import Machine
from volumes.actions import can_go, kept_of
from volumes.models import Volume

GROUPS = 3  # sizes of volumes that are named


def options(actor: Actor, machines: Sequence[Machine]) -> tuple[Field, ...]:
    """The options for these machines, each saying on how many it cannot be done, and why: those are not destroyed then."""
    action = get("machine.destroy")
    able = [machine for machine in machines if action.reason(machine) is None]  # type: ignore[attr-defined]
    return tuple(option for option in (_snapshots(able), _volumes(actor, able)) if option is not None)


def _snapshots(machines: Sequence[Machine]) -> Field | None:
    whys = [in_words(why) for machine in machines if (why := snapshot_first(machine)) is not None]
    if len(whys) == len(machines):
        return None
    text = ngettext(
        "Its volumes can be made again from it. It stays when the machine is gone, and costs what snapshots cost there.",
        "Their volumes can be made again from them. They stay when the machines are gone, and cost what snapshots cost there.",
        len(machines),
    )
    return _option("snapshot_first", _("Take a snapshot of every volume first"), text, Counter(whys), len(machines))


def _volumes(actor: Actor, machines: Sequence[Machine]) -> Field | None:
    kept = kept_of(machines)
    theirs = {pk: [one for one in volumes if not guard.permits(actor, one, "delete")] for pk, volumes in kept.items()}
    going = [one for pk, volumes in kept.items() if not theirs[pk] for one in volumes]
    if not going:
        return None
    label = ngettext("Also destroy the kept volume (%(which)s)", "Also destroy the kept volumes (%(which)s)", len(going))
    whys = Counter({_("You may not delete all of its volumes."): sum(1 for found in theirs.values() if found)})
    text = ngettext(
        "When the machine is gone. What is on them cannot be brought back.",
        "When the machines are gone. What is on them cannot be brought back.",
        len(machines),
    )
    return _option("destroy_volumes", label % {"which": which(going)}, text, +whys, len(machines))


def _option(name: str, label: str, text: str, whys: Counter[str], count: int) -> Field:
    said = [text]
    for why, number in whys.most_common(4):
        without = ngettext("%(n)d of %(all)d machines is not destroyed then:", "%(n)d of %(all)d machines are not destroyed then:", number)
        said += [without % {"n": number, "all": count}, why]
    return Field(name=name, label=label, kind="toggle", help=" ".join(said))


def which(volumes: Sequence[Volume]) -> str:
    """“data, 2 TB” of one; of several “3 × 2 TB, 1 × 500 GB”, or how many and how large in all."""
    if len(volumes) == 1:
        return f"{volumes[0].name}, {disk(volumes[0].size_gib)}"
    groups = Counter(volume.size_gib for volume in volumes)
    if len(groups) > GROUPS:
        return _("%(n)d, together %(size)s") % {"n": len(volumes), "size": disk(sum(volume.size_gib for volume in volumes))}
    return ", ".join(f"{number} × {disk(gib)}" for gib, number in sorted(groups.items(), reverse=True))


def goes(actor: Actor, volume: Volume, machine: Machine) -> bool:
    """Would it be destroyed with this machine, were that asked for?"""
    return can_go(volume) and volume.attached_to == [machine.pk] and guard.permits(actor, volume, "delete")
