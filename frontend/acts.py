"""The forms of verbs: which fields a person fills in, and what of them the action gets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.utils.translation import gettext as _

from accounts.models import User
from clouds.models import Size
from clouds.providers.facts import Field
from core.actions import Action, actions_of, allowed, get
from core.actor import Actor
from frontend import destroying, forms, words
from frontend.reasons import in_words
from keys.models import Key
from machines.models import Machine

# In which order machine pages and menus offer them; what is not here stays out of the menus.
POWER = ("start", "resume", "reboot", "stop", "suspend", "power_cycle")
BRINGS_BACK = ("start", "resume")
CHANGE = ("resize", "rename", "clone", "create_snapshot", "tag", "set_owner", "set_expiration", "lock", "unlock", "edit", "associate_key")
END = ("undefine", "destroy", "remove")


@dataclass(kw_only=True)
class Offer:
    """A verb as a button: its words, whether it can be done now, and if not, why. `asks`: it opens a form or a question first."""

    name: str
    action: Action
    words: words.Act
    why_not: str = ""
    asks: bool = False
    has_fields: bool = False
    able: int | None = None  # of a selection: on how many
    skipped: list[str] = field(default_factory=list)  # of a selection: how many not, and why
    groups: tuple[str, ...] = field(default=())

    @property
    def can(self) -> bool:
        return not self.why_not


def offers(actor: Actor, target: Any, names: tuple[str, ...], known: Mapping[str, bool | str] | None = None) -> list[Offer]:
    """Those of these verbs that the target's kind, its provider and the actor's rights offer, in this order.

    `known`: what `core.actions.allowed` said of it, where it was asked before.
    """
    known = allowed(actor, target) if known is None else known
    made = []
    for name in names:
        verdict = known.get(name)
        if verdict is None:
            continue
        made.append(offer(get(f"{target.kind()}.{name}"), "" if verdict is True else str(verdict)))
    return made


def offer(action: Action, why_not: str = "") -> Offer:
    has_fields = action.name in _FIELDS or action.name in _OF_MANY
    return Offer(
        name=action.name,
        action=action,
        words=words.act(action.verb),
        why_not=in_words(why_not),
        asks=action.tier > 0 or has_fields,
        has_fields=has_fields,
    )


def changes_of(machine: Machine) -> tuple[str, ...]:
    """`CHANGE` in its menus: of locking and unlocking the one that changes something. The note of a lock is changed where it is shown."""
    return tuple(name for name in CHANGE if name != ("lock" if machine.locked_at else "unlock"))


def with_offers(actor: Actor, machine: Machine) -> Machine:
    """The machine with `allowed` (core.actions) and `offers`, for its head: `primary` (what brings it back, where it is down),
    `power` (the first that can be done now), `more` (the others of power), `change`, `end`."""
    known = allowed(actor, machine)
    power = offers(actor, machine, POWER, known)
    primary = next((one for one in power if one.can and one.name in BRINGS_BACK), None)
    rest = [one for one in power if one is not primary]
    first = next((one for one in rest if one.can), None)
    machine.allowed = known  # type: ignore[attr-defined]
    machine.offers = {  # type: ignore[attr-defined]
        "primary": primary,
        "power": first,
        "more": [one for one in rest if one is not first],
        "change": offers(actor, machine, changes_of(machine), known),
        "end": offers(actor, machine, END, known),
    }
    return machine


def names_of(model: type[Any]) -> set[str]:
    return {action.name for action in actions_of(model)}


# --- fields -----------------------------------------------------------------------------------------------------------


def _size_fields(actor: Actor, machine: Machine | None) -> tuple[Field, ...]:
    provider = machine.cloud.driver if machine else None
    if machine is None or provider is None or provider.custom_size:
        return (
            Field(name="cores", label=_("Cores"), kind="integer", minimum=1, default=_whole(machine.cores) if machine else None),
            Field(name="ram_mib", label=_("Memory, MiB"), kind="integer", minimum=16, default=machine.ram_mib if machine else None),
        )
    sizes = Size.objects.visible_to(actor).filter(cloud=machine.cloud, missing_since=None).order_by("cores", "ram_mib", "name")[:500]
    listed = [(size.pk.hex, size_text(size)) for size in sizes if size.pk != machine.size_id]
    return (forms.with_choices(Field(name="size", label=_("Size"), required=True), listed),)


def size_text(size: Size) -> str:
    """m6i.xlarge · 4 vCPU · 16 GB · $0.192 an hour"""
    parts = [size.name]
    if size.cores is not None:
        parts.append(f"{size.cores:g} vCPU")
    if size.ram_mib is not None:
        parts.append(f"{size.ram_mib / 1024:.3g} GB")
    parts.append(f"{size.cost_hour:.4g} {size.currency} an hour" if size.cost_hour is not None else _("price unknown"))
    return " · ".join(parts)


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)


def _owner_fields(actor: Actor, machine: Machine | None) -> tuple[Field, ...]:
    members = User.objects.filter(memberships__org_id=actor.org_id).order_by("email")[:500]
    owner = machine.owner_id.hex if machine and machine.owner_id else ""
    listed = [(user.pk.hex, user.full_name) for user in members]
    return (forms.with_choices(Field(name="owner", label=_("Owner"), default=owner), listed, empty=_("Nobody")),)


def _expiration_fields(actor: Actor, machine: Machine | None) -> tuple[Field, ...]:
    at = machine.expires_at if machine else None
    return (
        Field(name="date", label=_("Ends at, UTC"), default=at.strftime("%Y-%m-%dT%H:%M") if at else None, help=_("Empty: it stays.")),
        forms.with_choices(
            Field(name="action", label=_("Then"), required=True, default=(machine.expire_action if machine else "") or "stop"),
            [("stop", _("Stop it")), ("destroy", _("Destroy it"))],
        ),
        Field(
            name="notify",
            label=_("Remind the owner, hours before"),
            kind="integer",
            minimum=0,
            maximum=720,
            default=machine.remind_s // 3600 if machine and machine.remind_s else None,
        ),
    )


def _lock_fields(actor: Actor, machine: Machine | None) -> tuple[Field, ...]:
    note = machine.lock_note if machine else None
    return (Field(name="note", label=_("What it is locked for"), default=note, help=_("In a line: it is shown beside the name.")),)


def _tag_fields(actor: Actor, machine: Machine | None) -> tuple[Field, ...]:
    if machine is None:
        return (
            Field(name="tags", label=_("Set"), kind="textarea", help=_("One key=value a line.")),
            Field(name="untag", label=_("Take away"), help=_("Keys, with commas.")),
        )
    return (Field(name="tags", label=_("Tags"), kind="textarea", help=_("One key=value a line."), default=forms.tags_text(machine.tags)),)


_RECORD_ONLY = Field(
    name="record_only",
    label=_("Write it down here only"),
    kind="toggle",
    help=_("Nothing is changed on the machine: its authorized_keys is as you say already, or will be."),
)


def _distrust_fields(actor: Actor, machine: Machine | None) -> tuple[Field, ...]:
    return (
        Field(name="user", label=_("User"), help=_("Empty: all who are let in so.")),
        Field(name="confirm", label=_("Also when it is the last login that works"), kind="toggle"),
        _RECORD_ONLY,
    )


def _disassociate_fields(actor: Actor, machine: Machine | None) -> tuple[Field, ...]:
    keys = Key.objects.visible_to(actor)
    if machine:
        keys = keys.filter(associations__machine=machine).distinct()
    listed = [(key.pk.hex, key.name) for key in keys.order_by("name")[:500]]
    return (forms.with_choices(Field(name="key", label=_("Key"), required=True), listed), *_distrust_fields(actor, machine))


def _key_fields(actor: Actor, machine: Machine | None) -> tuple[Field, ...]:
    keys = [(key.pk.hex, key.name) for key in Key.objects.visible_to(actor).order_by("-is_default", "name")[:500]]
    return (
        forms.with_choices(Field(name="key", label=_("Key"), required=True), keys),
        Field(name="user", label=_("User"), default="root"),
        Field(name="port", label=_("Port"), kind="integer", minimum=1, maximum=65535, default=22),
        Field(name="sudo", label=_("It may use sudo"), kind="toggle"),
        _RECORD_ONLY,
    )


def _trust_fields(actor: Actor, machine: Machine | None) -> tuple[Field, ...]:
    return (
        Field(name="user", label=_("User"), help=_("Empty: who is let in now.")),
        Field(name="port", label=_("Port"), kind="integer", minimum=1, maximum=65535),
        _RECORD_ONLY,
    )


def _name_fields(actor: Actor, machine: Machine | None) -> tuple[Field, ...]:
    return (Field(name="name", label=_("Name"), required=True, default=machine.name if machine else None),)


def _clone_fields(actor: Actor, machine: Machine | None) -> tuple[Field, ...]:
    return (Field(name="name", label=_("Name of the copy"), required=True, default=f"{machine.name}-copy" if machine else None),)


def _snapshot_fields(actor: Actor, machine: Machine | None) -> tuple[Field, ...]:
    return (
        Field(name="name", label=_("Name of the snapshot"), required=True),
        Field(name="description", label=_("Description")),
    )


def _undefine_fields(actor: Actor, machine: Machine | None) -> tuple[Field, ...]:
    return (Field(name="delete_disks", label=_("Delete its disk images too"), kind="toggle", help=_("They cannot be brought back.")),)


def _address_fields(actor: Actor, machine: Machine | None) -> tuple[Field, ...]:
    return (
        Field(
            name="address",
            label=_("Address to reach it at"),
            default=machine.address if machine else None,
            help=_("A host name or an address, dialled in place of what the cloud says. Empty: what the cloud says."),
        ),
    )


def _which_snapshot(actor: Actor, machine: Machine | None) -> tuple[Field, ...]:
    listed = [(row.pk.hex, row.name) for row in machine.snapshots.order_by("-taken_at")] if machine else []
    return (forms.with_choices(Field(name="snapshot", label=_("Snapshot"), required=True), listed),)


# By what several machines are, not one.
_OF_MANY = {"destroy": destroying.options}

_FIELDS = {
    "resize": _size_fields,
    "rename": _name_fields,
    "clone": _clone_fields,
    "create_snapshot": _snapshot_fields,
    "remove_snapshot": _which_snapshot,
    "revert_to_snapshot": _which_snapshot,
    "undefine": _undefine_fields,
    "tag": _tag_fields,
    "set_owner": _owner_fields,
    "set_expiration": _expiration_fields,
    "lock": _lock_fields,
    "edit": _address_fields,
    "associate_key": _key_fields,
    "trust_ca": _trust_fields,
    "distrust_ca": _distrust_fields,
    "disassociate_key": _disassociate_fields,
}


def fields(actor: Actor, name: str, machine: Machine | None, of: Sequence[Machine] = ()) -> tuple[Field, ...]:
    """What the verb asks of a person; for several machines at once with `machine` None, and those `of` the selection that are known."""
    if name in _OF_MANY:
        return _OF_MANY[name](actor, [machine] if machine else of)
    made = _FIELDS.get(name)
    return made(actor, machine) if made else ()


def params(name: str, values: Mapping[str, Any], machine: Machine | None) -> dict[str, Any]:
    """What the action gets, from what was typed."""
    given = dict(values)
    if name == "tag":
        tags = forms.read_tags(str(given.get("tags", "")))
        removed = (
            [key for key in machine.tags if key not in tags] if machine else [k.strip() for k in str(given.get("untag", "")).split(",")]
        )
        return {"tags": tags, "remove": [key for key in removed if key]}
    if name in ("associate_key", "disassociate_key", "trust_ca", "distrust_ca"):
        return {key: value for key, value in given.items() if value not in ("", None)}
    if name == "set_owner":
        return {"owner": given.get("owner") or None}
    if name == "set_expiration":
        date = given.get("date")
        hours = str(given.get("notify", ""))
        return {
            "date": f"{date}Z" if date and not str(date).endswith("Z") else date or None,
            "action": given.get("action", "stop"),
            "notify": int(hours) * 3600 if hours.isdigit() else None,
        }
    if name == "lock":  # empty it takes away the note of one that is locked, and of many those of none
        return {"note": given.get("note", "")} if given.get("note") or (machine and machine.locked_at) else {}
    if name == "edit":
        return {"address": given.get("address", "")}
    return given
