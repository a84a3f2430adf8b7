"""What somebody has typed into the form, and what the action gets from it; and the way back, for presets and copies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.http import QueryDict

from clouds.models import Cloud
from clouds.providers.base import Provider
from core.bulks import CREATE_CAP
from frontend import forms
from frontend.creating.steps import Step
from machines.actions.create import numbered
from machines.models import Machine

PLAIN = ("image", "location", "network", "subnet", "key", "user", "cloudinit")
NUMBERS = ("cores", "ram_mib", "disk_gib")


@dataclass(kw_only=True)
class Asked:
    """The form as typed. `typed`: by field; `extra`: of the provider's own fields; `quantity`: how many, from the pattern `name`."""

    cloud: Cloud
    cls: type[Provider]
    name: str = ""
    quantity: int = 1
    typed: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def tags(self) -> dict[str, str]:
        return forms.read_tags(str(self.typed.get("tags", "")))

    @property
    def names(self) -> list[str]:
        return numbered(self.name, self.quantity) if self.name else []

    def params(self) -> dict[str, Any]:
        """What a create is sent, with the pattern as its name."""
        typed = self.typed
        params: dict[str, Any] = {"name": self.name, "cloud": self.cloud.pk.hex}
        params |= {key: typed[key] for key in PLAIN if typed.get(key)}
        size = {key: typed[key] for key in NUMBERS if typed.get(key)} if self.cls.custom_size else typed.get("size")
        if size:
            params["size"] = size
        if typed.get("volumes"):
            params["volumes"] = [_volume(row) for row in typed["volumes"]]
        if scripts := [_script(row) for row in typed.get("scripts") or [] if row.get("script")]:
            params["scripts"] = scripts
        if typed.get("security_groups"):
            params["security_groups"] = typed["security_groups"]
        if self.tags:
            params["tags"] = self.tags
        if typed.get("date"):
            date = str(typed["date"])
            params["expiration"] = {"date": date if date.endswith("Z") else f"{date}Z", "action": typed.get("action") or "stop"}
            if str(typed.get("notify", "")).isdigit():
                params["expiration"]["notify"] = int(typed["notify"]) * 3600
        if self.extra:
            params["extra"] = self.extra
        return params

    def each(self) -> list[dict[str, Any]]:
        """The params of each machine."""
        return [{**self.params(), "name": name} for name in self.names]


def _volume(row: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: row[key] for key in ("size", "name", "type") if row.get(key)}
    return {**kept, **({"delete_on_termination": True} if row.get("delete_on_termination") else {})}


def _script(row: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: row[key] for key in ("script", "params") if row.get(key)}
    return {**kept, **({"su": True} if row.get("su") else {})}


def read(data: QueryDict, cloud: Cloud, cls: type[Provider], steps: list[Step]) -> Asked:
    """The form as it was sent."""
    typed: dict[str, Any] = {}
    for step in steps:
        typed |= forms.read(step.specs, data)
    if groups := [value for value in data.getlist("security_groups") if value][:20]:
        typed["security_groups"] = groups
    return Asked(
        cloud=cloud,
        cls=cls,
        name=data.get("name", "").strip(),
        quantity=_quantity(data.get("quantity", "1")),
        typed=typed,
        extra=forms.read(cls.create_fields, data, "x-"),
    )


def _quantity(text: str) -> int:
    return min(max(int(text), 1), CREATE_CAP) if text.isdigit() and len(text) < 6 else 1


def from_params(params: Mapping[str, Any], cloud: Cloud, cls: type[Provider], quantity: int = 1) -> Asked:
    """The form that would send these params: of a preset, or of a machine to be copied."""
    typed = {key: params[key] for key in PLAIN if isinstance(params.get(key), str)}
    size = params.get("size")
    if isinstance(size, Mapping):
        typed |= {key: size[key] for key in NUMBERS if size.get(key)}
    elif size:
        typed["size"] = str(size)
    for key in ("volumes", "security_groups", "scripts"):
        if isinstance(params.get(key), list):
            typed[key] = params[key]
    if isinstance(params.get("tags"), Mapping):
        typed["tags"] = forms.tags_text(params["tags"])
    ends = params.get("expiration")
    if isinstance(ends, Mapping) and isinstance(ends.get("date"), str):
        typed |= {"date": ends["date"][:16], "action": ends.get("action", "stop")}
    extra = params.get("extra")
    return Asked(
        cloud=cloud,
        cls=cls,
        name=str(params.get("name", "")),
        quantity=quantity,
        typed=typed,
        extra=dict(extra) if isinstance(extra, Mapping) else {},
    )


def like(machine: Machine, cls: type[Provider]) -> Asked:
    """The form that would make another one like this machine."""
    params: dict[str, Any] = {"name": f"{machine.name}-{{n}}", "tags": machine.tags}
    for name in ("image", "size", "location", "network", "subnet"):
        pk = getattr(machine, f"{name}_id")
        if pk is not None:
            params[name] = pk.hex
    if cls.custom_size:
        shape = {"cores": machine.cores and round(machine.cores), "ram_mib": machine.ram_mib, "disk_gib": machine.disk_gib}
        params["size"] = {name: value for name, value in shape.items() if value}
    key = machine.key_associations.order_by("created_at").first()
    if key is not None:
        params |= {"key": key.key_id.hex, "user": key.user}
    return from_params(params, machine.cloud, cls)
