"""The same create as a command, a curl and a few lines of Python; and what makes the machines in their cloud by Terraform, past Mist."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from clouds.models import Image
from clouds.providers.facts import MachineSpec, Terraform, TerraformSpec, VolumeSpec
from core.errors import Rejected
from frontend import calls as writing
from frontend.calls import HIDDEN, Call
from frontend.creating.asked import Asked
from machines.actions.create import pattern


def body(asked: Asked) -> dict[str, Any]:
    """What the API is sent; what a field of the provider keeps secret, and the text of cloud-init, stand as three dots."""
    sent = asked.params()
    if asked.quantity > 1:
        sent["quantity"] = asked.quantity
    if "extra" in sent:
        sent["extra"] = _extra(asked)
    if sent.get("cloudinit"):
        sent["cloudinit"] = HIDDEN
    return sent


def _extra(asked: Asked) -> dict[str, Any]:
    secret = {spec.name for spec in asked.cls.create_fields if spec.secret}
    return {key: HIDDEN if key in secret else value for key, value in asked.extra.items()}


def calls(asked: Asked, rows: Mapping[str, Any], *, ask: str = "") -> list[Call]:
    """CLI, curl, Python; Terraform, where the provider has a way. `rows`: what was chosen; `ask`: what approval is asked for."""
    sent = body(asked)
    made = writing.calls("machines create", "machines", {**sent, "name": sent.get("name") or "NAME"}, files=["cloudinit"], ask=ask)
    return [*made, _terraform(asked, rows)] if asked.cls.supports("terraform") else made


def _terraform(asked: Asked, rows: Mapping[str, Any]) -> Call:
    image = rows.get("image")
    known = {**image.extra, "min_disk_gib": image.min_disk_gib} if isinstance(image, Image) else {}
    name = pattern(asked.name or "NAME", asked.quantity)
    wanted = TerraformSpec(spec=spec_of(asked, rows), name=name, count=asked.quantity, config=asked.cloud.config, image=known)
    lines = [
        _("It goes to %(cloud)s, not through Mist.") % {"cloud": asked.cls.title},
        _("Mist lists the machines once it reads the cloud again."),
    ]
    try:
        written = asked.cls.terraform(wanted)
    except Rejected as error:
        written = Terraform(text="", notes=((error.detail.replace("%", "%%"), {}),))
    lines += [_(note) % values for note, values in written.notes]
    if beside := list(_beside(asked, rows)):
        lines.append(_("What Mist alone would do for them is not here: %(what)s.") % {"what": "; ".join(beside)})
    return Call(name="terraform", title="Terraform", text=written.below(lines).rstrip("\n"))


def spec_of(asked: Asked, rows: Mapping[str, Any]) -> MachineSpec:
    """What the provider would be asked for, as far as it is typed. What is needed and not chosen stands by its name; nothing is secret."""
    typed, key = asked.typed, rows.get("key")

    def of(name: str) -> str | None:
        row = rows.get(name)
        return row.external_id if row is not None else name.upper() if name in asked.cls.create_requires else None

    is_fetched = asked.cls.custom_size and rows.get("image") is None and typed.get("image")
    numbers = {one: int(typed[one]) if str(typed.get(one, "")).isdecimal() else None for one in ("cores", "ram_mib", "disk_gib")}
    defaults = {spec.name: spec.default for spec in asked.cls.create_fields}
    return MachineSpec(
        name=asked.name,
        token="",
        image=str(typed["image"]) if is_fetched else of("image") or "",
        size=None if asked.cls.custom_size else of("size"),
        **(numbers if asked.cls.custom_size else {}),
        location=of("location"),
        network=of("network"),
        subnet=of("subnet"),
        security_groups=tuple(group.external_id for group in rows.get("security_groups") or ()),
        public_key=key.public if key is not None else "",
        key_name=key.name if key is not None else "KEY" if "key" in asked.cls.create_requires else "",
        user=str(typed.get("user") or ""),
        cloudinit=HIDDEN if typed.get("cloudinit") else "",
        volumes=tuple(map(_volume, typed.get("volumes") or ())),
        tags=asked.tags,
        extra={**defaults, **_extra(asked)},
    )


def _volume(row: Mapping[str, Any]) -> VolumeSpec:
    size = str(row.get("size", ""))
    return VolumeSpec(
        size_gib=int(size) if size.isdecimal() else None,
        name=str(row.get("name") or ""),
        volume_type=str(row.get("type") or ""),
        delete_with_machine=bool(row.get("delete_on_termination")),
    )


def _beside(asked: Asked, rows: Mapping[str, Any]) -> Iterator[str]:
    """What was asked for that is no cloud's affair."""
    typed = asked.typed
    if scripts := len(typed.get("scripts") or []):
        yield ngettext("run %(n)d script", "run %(n)d scripts", scripts) % {"n": scripts}
    if typed.get("date"):
        said = {"date": str(typed["date"]).replace("T", " ").rstrip("Z")}
        destroys = typed.get("action") == "destroy"
        yield (_("destroy them at %(date)s UTC") if destroys else _("stop them at %(date)s UTC")) % said
        if str(typed.get("notify", "")).isdecimal():
            hours = int(typed["notify"])
            yield ngettext("remind the owner %(n)d hour before", "remind the owner %(n)d hours before", hours) % {"n": hours}
    if asked.tags and not asked.cls.supports("tag_machine"):
        yield _("keep the tags %(tags)s") % {"tags": ", ".join(f"{key}={value}" if value else key for key, value in asked.tags.items())}
    if typed.get("user") or (typed.get("key") and asked.cls.category == "container-host"):  # others get the key itself
        key = rows.get("key")
        yield _("log in as %(user)s with the key %(key)s") % {"user": typed.get("user") or "root", "key": key.name if key else _("none")}
