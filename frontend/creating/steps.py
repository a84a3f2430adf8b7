"""The steps of the form, from a provider's schema: what each asks, and what it says while it is folded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from clouds.models import Cloud, Image, Location, Size
from clouds.providers.base import Provider
from clouds.providers.facts import Field
from core.actor import Actor
from frontend import forms
from frontend.forms import Bound
from keys.models import Key
from networks.models import Network, SecurityGroup, Subnet
from scripts.models import Script

OFFERED = 500  # rows of one list in the form


UNSET = {
    "network": gettext_lazy("as the cloud chooses"),
    "access": gettext_lazy("no key"),
    "volumes": gettext_lazy("its own disk alone"),
    "setup": gettext_lazy("as the image is"),
    "life": gettext_lazy("it stays, without tags"),
}


@dataclass(kw_only=True)
class Step:
    """One fold. `template`: what draws it beside its fields; `value`: what it says folded; `is_set`: has it been answered?"""

    name: str
    title: str
    specs: list[Field]
    needed: bool = False
    template: str = ""
    fields: list[Bound] = field(default_factory=list)
    value: str = ""
    is_set: bool = False
    is_open: bool = False
    offered: Any = None

    @property
    def unset(self) -> Promise | str:
        """What it comes to where nothing is said."""
        return UNSET.get(self.name, "") if not self.needed else ""

    @property
    def names(self) -> set[str]:
        return {spec.name for spec in self.specs} | ({self.name} if self.template else set())


def offered(actor: Actor, model: type[Any], cloud: Cloud) -> Any:
    """What a cloud has of a kind, now."""
    return model.objects.visible_to(actor).filter(cloud=cloud, missing_since=None)


def steps_of(actor: Actor, cloud: Cloud, cls: type[Provider]) -> list[Step]:
    """The steps of this cloud's form, in order."""
    needs = cls.create_requires
    place = [_pick(actor, Location, cloud, "location", _("Location"), "location" in needs)]
    network = [
        _pick(actor, Network, cloud, "network", _("Network"), "network" in needs),
        _pick(actor, Subnet, cloud, "subnet", _("Subnet"), False),
    ]
    keys = [(key.pk.hex, key.name) for key in Key.objects.visible_to(actor).order_by("-is_default", "name")[:OFFERED]]
    empty = _("The default key, if there is one")
    volume = (
        Field(name="size", label=_("Size, GiB"), kind="integer", minimum=1, maximum=65536),
        Field(name="name", label=_("Name")),
        Field(name="type", label=_("Type")),
        Field(name="delete_on_termination", label=_("Destroy it with the machine"), kind="toggle"),
    )
    ends = [("stop", _("Stop it")), ("destroy", _("Destroy it"))]
    steps = [
        Step(
            name="cloud",
            title=_("Cloud and place"),
            specs=_some(place),
            needed="location" in needs,
            template="machines/create/_cloud.html",
        ),
        Step(name="image", title=_("Image"), specs=_image(cls), needed="image" in needs, template="machines/create/_image.html"),
        Step(name="size", title=_("Size"), specs=_size(cls), needed="size" in needs, template="machines/create/_size.html"),
        Step(
            name="network",
            title=_("Network"),
            specs=_some(network),
            needed="network" in needs,
            template="machines/create/_groups.html",
            offered=list(offered(actor, SecurityGroup, cloud).order_by("name")[:OFFERED]),
        ),
        Step(
            name="access",
            title=_("Access"),
            specs=[
                forms.with_choices(Field(name="key", label=_("Key"), required="key" in needs), keys, empty=empty),
                Field(name="user", label=_("User"), help=_("Empty: what the image has.")),
            ],
        ),
        Step(name="volumes", title=_("Volumes"), specs=[Field(name="volumes", label=_("More volumes"), kind="list", fields=volume)]),
        Step(
            name="setup",
            title=_("Setup"),
            specs=[
                Field(name="cloudinit", label=_("cloud-init"), kind="textarea", help=_("Starts with #cloud-config or #!.")),
                *_scripts(actor),
            ],
        ),
        Step(
            name="life",
            title=_("Lifetime and tags"),
            specs=[
                Field(name="date", label=_("Ends at, UTC"), help=_("Empty: it stays.")),
                forms.with_choices(Field(name="action", label=_("Then"), required=True, default="stop"), ends),
                Field(name="notify", label=_("Remind the owner, hours before"), kind="integer", minimum=0, maximum=720),
                Field(name="tags", label=_("Tags"), kind="textarea", help=_("One key=value a line.")),
            ],
        ),
    ]
    return [step for step in steps if step.specs or step.offered or (step.template and step.name in ("cloud", "image", "size"))]


def _scripts(actor: Actor) -> list[Field]:
    """What may be run on it once it answers; nothing where this person may run nothing."""
    listed = [(row.pk.hex, row.name) for row in Script.objects.visible_to(actor, "run").order_by("name")[:OFFERED]]
    if not listed:
        return []
    script = forms.with_choices(Field(name="script", label=_("Script"), required=True), listed, empty=_("None"))
    params = Field(name="params", label=_("Parameters"), help=_("name=value, or words of its command line."))
    sudo = Field(name="su", label=_("As root, by sudo"), kind="toggle")
    what = _("One after the other, once it answers over SSH.")
    return [Field(name="scripts", label=_("Scripts"), kind="list", fields=(script, params, sudo), help=what)]


def _some(fields: Sequence[Field | None]) -> list[Field]:
    return [spec for spec in fields if spec is not None]


def _pick(actor: Actor, model: type[Any], cloud: Cloud, name: str, label: str, required: bool) -> Field | None:
    """A choice among what the cloud has; None where it has none and none is needed."""
    listed = [(row.pk.hex, row.name) for row in offered(actor, model, cloud).order_by("name")[:OFFERED]]
    if not listed and not required:
        return None
    return forms.with_choices(Field(name=name, label=label, required=required), [] if required and not listed else listed)


def _image(cls: type[Provider]) -> list[Field]:
    text = _("A name that is not in the list is fetched, where the cloud can.") if cls.custom_size else ""
    return [Field(name="image", label=_("Image"), required="image" in cls.create_requires, help=text)]


def _size(cls: type[Provider]) -> list[Field]:
    if not cls.custom_size:
        return [Field(name="size", label=_("Size"), required="size" in cls.create_requires)]
    return [
        Field(name="cores", label=_("Cores"), kind="integer", minimum=1, maximum=1024),
        Field(name="ram_mib", label=_("Memory, MiB"), kind="integer", minimum=16),
        Field(name="disk_gib", label=_("Disk, GiB"), kind="integer", minimum=1),
    ]


def tell(step: Step, typed: Mapping[str, Any], cls: type[Provider], rows: Mapping[str, Any]) -> tuple[str, bool]:
    """(what the folded step says, whether it has been answered). `rows`: {field: the row that was chosen}."""
    said = [_TELL[step.name](typed, cls, rows)] if step.name in _TELL else []
    text = " · ".join(part for part in said if part)
    return text, bool(text) or not step.needed


def _named(rows: Mapping[str, Any], name: str) -> str:
    row = rows.get(name)
    return "" if row is None else row if isinstance(row, str) else str(row.name)


def _tell_size(typed: Mapping[str, Any], cls: type[Provider], rows: Mapping[str, Any]) -> str:
    size = rows.get("size")
    if isinstance(size, Size):
        return size_words(size)
    parts = []
    if typed.get("cores"):
        parts.append(f"{typed['cores']} vCPU")
    if str(typed.get("ram_mib", "")).isdigit():
        parts.append(f"{int(typed['ram_mib']) / 1024:.3g} GB")
    if typed.get("disk_gib"):
        parts.append(_("disk %(n)s GB") % {"n": typed["disk_gib"]})
    return " · ".join(parts)


def size_words(size: Size) -> str:
    """m6i.xlarge · 4 vCPU · 16 GB"""
    parts = [size.name]
    if size.cores is not None:
        parts.append(f"{size.cores:g} vCPU")
    if size.ram_mib is not None:
        parts.append(f"{size.ram_mib / 1024:.3g} GB")
    return " · ".join(parts)


def _tell_network(typed: Mapping[str, Any], cls: type[Provider], rows: Mapping[str, Any]) -> str:
    text = " / ".join(part for part in (_named(rows, "network"), _named(rows, "subnet")) if part)
    groups = len(typed.get("security_groups") or [])
    said = ngettext("%(n)d security group", "%(n)d security groups", groups) % {"n": groups} if groups else ""
    return " · ".join(part for part in (text, said) if part)


def _tell_volumes(typed: Mapping[str, Any], cls: type[Provider], rows: Mapping[str, Any]) -> str:
    said = [(str(row.get("name", "")), f"{row.get('size', '?')} GB") for row in typed.get("volumes") or []]
    return " + ".join(" ".join(part for part in parts if part) for parts in said)


def _tell_setup(typed: Mapping[str, Any], cls: type[Provider], rows: Mapping[str, Any]) -> str:
    lines, scripts = len(str(typed.get("cloudinit", "")).splitlines()), len(typed.get("scripts") or [])
    said = [
        ngettext("cloud-init of %(n)d line", "cloud-init of %(n)d lines", lines) % {"n": lines} if lines else "",
        ngettext("%(n)d script", "%(n)d scripts", scripts) % {"n": scripts} if scripts else "",
    ]
    return " · ".join(part for part in said if part)


def _tell_life(typed: Mapping[str, Any], cls: type[Provider], rows: Mapping[str, Any]) -> str:
    if not typed.get("date"):
        return ""
    then = _("then destroyed") if typed.get("action") == "destroy" else _("then stopped")
    return _("ends %(date)s UTC, %(then)s") % {"date": str(typed["date"]).replace("T", " ").rstrip("Z"), "then": then}


_TELL = {
    "cloud": lambda typed, cls, rows: " · ".join(part for part in (_named(rows, "cloud"), _named(rows, "location")) if part),
    "image": lambda typed, cls, rows: _named(rows, "image") or str(typed.get("image", "") if cls.custom_size else ""),
    "size": _tell_size,
    "network": _tell_network,
    "access": lambda typed, cls, rows: " · ".join(part for part in (_named(rows, "key"), str(typed.get("user", ""))) if part),
    "volumes": _tell_volumes,
    "setup": _tell_setup,
    "life": _tell_life,
}
MODELS = {"location": Location, "image": Image, "size": Size, "network": Network, "subnet": Subnet}


def chosen_rows(actor: Actor, cloud: Cloud, typed: Mapping[str, Any]) -> dict[str, Any]:
    """{field: the row its id names, or those they name}, of those that are there and may be seen."""
    rows: dict[str, Any] = {"cloud": cloud}
    for name, model in MODELS.items():
        rows[name] = _row(offered(actor, model, cloud), typed.get(name))
    groups = [_row(offered(actor, SecurityGroup, cloud), text) for text in typed.get("security_groups") or ()]
    rows["security_groups"] = [group for group in groups if group is not None]
    rows["key"] = _row(Key.objects.visible_to(actor), typed.get("key")) or Key.objects.visible_to(actor).filter(is_default=True).first()
    return rows


def by_id(actor: Actor, cloud: Cloud, typed: Mapping[str, Any]) -> dict[str, Any]:
    """As the form's own choices name things: a preset may say what the cloud calls them, and no choice would be taken for the first."""
    rows = chosen_rows(actor, cloud, typed)
    return {**typed, **{name: rows[name].pk.hex for name in (*MODELS, "key") if typed.get(name) and rows.get(name) is not None}}


def _row(rows: Any, text: Any) -> Any:
    text = str(text or "")
    if not text or len(text) > 200 or "\x00" in text:
        return None
    is_id = len(text) == 32 and all(c in "0123456789abcdef" for c in text)
    if is_id:
        return rows.filter(pk=text).first()
    has_other = hasattr(rows.model, "external_id")  # presets may name what the cloud calls it, as the API does
    return rows.filter(name=text).first() or (rows.filter(external_id=text).first() if has_other else None)
