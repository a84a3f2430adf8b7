"""Creating a machine: what is asked is checked and shown as a plan; a worker asks the cloud."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from django.apps import apps
from django.db import transaction
from drf_spectacular.drainage import set_override
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from clouds import credentials, polling
from clouds.connection import connect
from clouds.models import Cloud, Image, Location, Size
from clouds.providers import provider
from clouds.providers.base import Provider
from clouds.providers.facts import MachineSpec, VolumeSpec
from core import live
from core.actions import Action, Call, register
from core.actor import Actor
from core.errors import AuthFailed, Conflict, Gone, HostKeyChanged, Invalid, MistError, NotSupported, Rejected
from core.params import NameField, ResourceField, TagsField, clean_text
from keys import pairs
from keys.models import GivenHostKey, Key, KeyAssociation
from machines.actions.record import ExpirationParams
from machines.inventory import HOURS_A_MONTH
from machines.models import Machine
from networks.models import Network, SecurityGroup, Subnet

VOLUME = {
    "type": "object",
    "properties": {
        "volume": {"type": "string", "x-kind": "volume"},
        "size": {"type": "integer", "minimum": 1, "maximum": 65536},
        "name": {"type": "string"},
        "type": {"type": "string"},
        "device": {"type": "string"},
        "delete_on_termination": {"type": "boolean"},
    },
    "additionalProperties": {},
}


SCRIPTS = {
    "type": "array",
    "maxItems": 10,
    "items": {
        "oneOf": [
            {
                "type": "object",
                "required": ["script"],
                "properties": {
                    "script": {"type": "string", "x-kind": "script"},
                    "params": {"oneOf": [{"type": "string"}, {"type": "object", "additionalProperties": {}}]},
                    "env": {"oneOf": [{"type": "string"}, {"type": "object", "additionalProperties": {}}]},
                    "su": {"type": "boolean"},
                },
                "additionalProperties": False,
            },
            {"type": "string"},
        ]
    },
}


class InCloudField(serializers.Field[Any, Any, Any, Any]):
    """A string (id, name or external id) or an object with `id`; resolved in the chosen cloud by CreateParams.validate."""

    def __init__(self, kind: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        set_override(self, "field", {"oneOf": [{"type": "string", "x-kind": kind}, {"type": "object", "additionalProperties": {}}]})

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, dict):
            return data
        if not isinstance(data, str | int) or len(str(data)) > 512 or "\x00" in str(data):
            raise serializers.ValidationError("An id or a name.")
        return str(data)

    def to_representation(self, value: Any) -> Any:
        return value


@extend_schema_field(VOLUME)
class VolumeField(serializers.DictField):
    """`{volume: id, name or external id, device?}` or a new one: `{size: GiB, name?, type?, delete_on_termination?}`."""


@dataclass(frozen=True, kw_only=True)
class Afterwards:
    """What an app above lets one ask for with a machine, under `name` of the params.

    `check`: (actor, the machine as it would be, what was sent) → what is wrong with it, in a list; `begin`: (call, machine), once it
    is created.
    """

    name: str
    check: Callable[[Actor, Machine, Any], list[Any]]
    begin: Callable[[Call, Machine], None]


_afterwards: dict[str, Afterwards] = {}


def afterwards(one: Afterwards) -> None:
    """Register it."""
    _afterwards[one.name] = one


@extend_schema_field(SCRIPTS)
class ScriptsField(serializers.ListField):
    """Scripts to be run, one after the other, once it answers."""


class CreateParams(serializers.Serializer[Any]):
    """The contract's CreateMachineRequest. `size` may be `{cores|cpu, ram_mib|memory, disk_gib}` where sizes are custom."""

    name = NameField()
    cloud = ResourceField(Cloud)
    image = InCloudField("image", required=False)
    size = InCloudField("size", required=False)
    location = InCloudField("location", required=False)
    network = InCloudField("network", required=False)
    subnet = InCloudField("subnet", required=False)
    security_groups = serializers.ListField(child=InCloudField("security_group"), required=False, default=list, max_length=20)
    key = InCloudField("key", required=False)
    user = serializers.CharField(max_length=64, required=False, default="")
    cloudinit = serializers.CharField(max_length=16_000, required=False, allow_blank=True, default="", trim_whitespace=False)
    volumes = serializers.ListField(child=VolumeField(), required=False, default=list, max_length=20)
    tags = TagsField(required=False, default=dict)
    expiration = ExpirationParams(required=False)
    scripts = ScriptsField(required=False, default=list, max_length=10)
    extra = serializers.DictField(required=False, default=dict)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        cloud: Cloud = attrs["cloud"]
        actor: Actor = self.context["actor"]
        cls = provider(cloud.provider)
        errors: dict[str, Any] = {}
        if not cls.supports("create_machine"):
            raise serializers.ValidationError({"cloud": [f"{cls.title} cannot create machines."]})
        custom = isinstance(attrs.get("size"), dict) and not (attrs["size"].keys() & {"id", "name"})
        if custom:
            attrs["custom_size"] = _custom_size(cls, attrs.pop("size"), errors)
        for field, model in (("image", Image), ("size", Size), ("location", Location), ("network", Network), ("subnet", Subnet)):
            if field in attrs:
                attrs[field] = _in_cloud(model, attrs[field], actor, cloud, field, errors)
        if cls.create_requires & {"image"} and attrs.get("image") is None and "image" not in errors:
            errors["image"] = ["This is needed."]
        for field in sorted(cls.create_requires - {"image", "key"}):
            if attrs.get(field) is None and field not in errors and not (field == "size" and custom):
                errors[field] = ["This is needed."]
        attrs["security_groups"] = [_in_cloud(SecurityGroup, g, actor, cloud, "security_groups", errors) for g in attrs["security_groups"]]
        attrs["key"] = _key(attrs.get("key"), actor, errors, needed="key" in cls.create_requires)
        attrs["volumes"] = [_volume(index, v, actor, cloud, errors) for index, v in enumerate(attrs["volumes"])]
        try:
            attrs["extra"] = credentials.validate(cls, attrs["extra"], fields=cls.create_fields)
        except Invalid as error:
            errors["extra"] = error.fields["credentials"]
        if attrs["cloudinit"] and "\x00" in attrs["cloudinit"]:
            errors["cloudinit"] = ["A null character is not allowed."]
        draft = Machine(org_id=actor.org_id, name=attrs["name"], cloud=cloud, tags=attrs["tags"])
        for name, one in _afterwards.items():
            if attrs.get(name) and (wrong := one.check(actor, draft, attrs[name])):
                errors[name] = wrong
        if errors:
            raise serializers.ValidationError(errors)
        return attrs

    def validate_user(self, value: str) -> str:
        return clean_text(value)


def _custom_size(cls: type[Provider], asked: dict[str, Any], errors: dict[str, Any]) -> dict[str, int | None]:
    names = {"cores": ("cores", "cpu"), "ram_mib": ("ram_mib", "memory", "ram"), "disk_gib": ("disk_gib", "disk")}
    size: dict[str, int | None] = {}
    if not cls.custom_size:
        errors["size"] = [f"{cls.title} has fixed sizes: name one."]
    for name, aliases in names.items():
        value = next((asked[alias] for alias in aliases if alias in asked), None)
        try:
            size[name] = None if value is None else int(value)
        except (TypeError, ValueError):
            size[name] = -1
        if size[name] is not None and not 0 < (size[name] or 0) < 2**26:
            errors["size"] = [f"{name} is a whole number above 0."]
    return size


def _in_cloud(model: type[Any], asked: Any, actor: Actor, cloud: Cloud, field: str, errors: dict[str, Any]) -> Any:
    form = ResourceField(model)
    form._context = {"actor": actor, "target": Machine(cloud=cloud)}  # type: ignore[attr-defined]
    try:
        return form.to_internal_value(asked)
    except serializers.ValidationError as error:
        if isinstance(asked, str) and model is Image and provider(cloud.provider).custom_size:
            return asked  # an engine that fetches images by name
        errors[field] = error.detail
        return None


def _key(asked: Any, actor: Actor, errors: dict[str, Any], *, needed: bool) -> Key | None:
    if asked is None:
        key = Key.objects.visible_to(actor).filter(is_default=True).first()
        if key is None and needed:
            errors["key"] = ["This is needed."]
        return key
    if isinstance(asked, dict) and isinstance(asked.get("key"), str):
        asked = asked["key"]
    form = ResourceField(Key)
    form._context = {"actor": actor}  # type: ignore[attr-defined]
    try:
        found: Key = form.to_internal_value(asked)
        return found
    except serializers.ValidationError as error:
        errors["key"] = error.detail
        return None


def _volume_id(asked: Any, actor: Actor, cloud: Cloud, errors: dict[str, Any]) -> str:
    """The external id of a volume of that cloud; of a cloud that lists none, the cloud's own word is taken."""
    found = _in_cloud(apps.get_model("volumes", "Volume"), asked, actor, cloud, "volumes", errors)
    if found is not None:
        return str(found.external_id)
    if not provider(cloud.provider).supports("list_volumes"):
        errors.pop("volumes", None)
    return str(asked)[:200]


def _volume(index: int, asked: dict[str, Any], actor: Actor, cloud: Cloud, errors: dict[str, Any]) -> VolumeSpec | None:
    """`{volume: id or external id, device?}` or `{size: GiB, name?, type?, delete_on_termination?}`."""
    if "volume" in asked or "external_id" in asked:
        external_id = str(asked.get("external_id") or "")[:200] or _volume_id(asked["volume"], actor, cloud, errors)
        return VolumeSpec(external_id=external_id, device=str(asked.get("device", ""))[:60])
    try:
        size = int(asked.get("size") or asked.get("size_gib") or 0)
    except (TypeError, ValueError):
        size = 0
    if not 0 < size <= 65536:
        errors.setdefault("volumes", []).append(f"Volume {index + 1}: a size between 1 and 65,536 GiB, or `volume` for one that exists.")
        return None
    return VolumeSpec(
        size_gib=size,
        name=str(asked.get("name", ""))[:200],
        volume_type=str(asked.get("type", ""))[:40],
        device=str(asked.get("device", ""))[:60],
        delete_with_machine=bool(asked.get("delete_on_termination", False)),
    )


COUNTER = re.compile(r"\{n(?::0?([1-9]))?\}")  # {n}, {n:02}


def pattern(name: str, quantity: int) -> tuple[str | int, ...]:
    """The texts of the names of several, and for each counter how many digits it has at least."""
    if quantity > 1 and not COUNTER.search(name):
        name += "-{n}"
    texts = COUNTER.split(name)  # text, digits or None, text …
    return tuple(int(part or 1) if index % 2 else part for index, part in enumerate(texts) if index % 2 or part)


def numbered(name: str, quantity: int) -> list[str]:
    """The names of several: web-{n:02} → web-01, web-02 …; without a counter web → web-1, web-2 …; one alone keeps its name."""
    parts = pattern(name, quantity)
    return ["".join(part if isinstance(part, str) else str(n).zfill(part) for part in parts) for n in range(1, quantity + 1)]


def plan(params: dict[str, Any]) -> dict[str, Any]:
    """What would be made, in words and numbers: shown before the button, and by `dry`."""
    size: Size | None = params.get("size")
    cost = size.cost_hour if size is not None else None
    image = params.get("image")
    return {
        "name": params["name"],
        "cloud": {"id": params["cloud"].pk.hex, "name": params["cloud"].name},
        "image": image if isinstance(image, str) or image is None else {"id": image.pk.hex, "name": image.name},
        "size": {"id": size.pk.hex, "name": size.name, "cores": size.cores, "ram_mib": size.ram_mib} if size else params.get("custom_size"),
        "location": {"id": params["location"].pk.hex, "name": params["location"].name} if params.get("location") else None,
        "key": {"id": params["key"].pk.hex, "name": params["key"].name} if params.get("key") else None,
        "tags": params["tags"],
        "cost": {
            "hourly": float(cost) if cost is not None else None,
            "monthly": float(round(cost * HOURS_A_MONTH, 2)) if cost is not None else None,
            "currency": size.currency if size else None,
            "source": "provider" if cost is not None else "unknown",
        },
    }


@register
class Create(Action):
    """Create a machine. Its row is there at once, in state creating; undo within the window takes it back."""

    model = Machine
    name = "create"
    creates = True
    background = True
    params = CreateParams
    deadline_s = 600

    def draft(self, actor: Actor, params: dict[str, Any]) -> Machine:
        return Machine(org_id=actor.org_id, name=params["name"], cloud=params["cloud"], tags=params["tags"])

    def build(self, actor: Actor, params: dict[str, Any]) -> Machine:
        size: Size | None = params.get("size")
        custom = params.get("custom_size") or {}
        expiration = params.get("expiration") or {}
        image = params.get("image")
        return Machine(
            org_id=actor.org_id,
            cloud=params["cloud"],
            name=params["name"],
            state=Machine.State.CREATING,
            type=Machine.Type.CONTAINER if provider(params["cloud"].provider).category == "container-host" else Machine.Type.VM,
            size=size,
            cores=size.cores if size else custom.get("cores"),
            ram_mib=size.ram_mib if size else custom.get("ram_mib"),
            disk_gib=size.disk_gib if size else custom.get("disk_gib"),
            image=None if isinstance(image, str) else image,
            location=params.get("location"),
            network=params.get("network"),
            subnet=params.get("subnet"),
            tags=params["tags"],
            cost_hour=size.cost_hour if size else None,
            cost_month=size.cost_hour * HOURS_A_MONTH if size and size.cost_hour is not None else None,
            owner_id=actor.user_id,
            created_by_id=actor.user_id,
            source="created",
            expires_at=expiration.get("date"),
            expire_action=expiration.get("action", "") if expiration else "",
            remind_s=expiration.get("notify"),
            remind_message=expiration.get("notify_msg", ""),
        )

    def check(self, call: Call) -> None:
        if not call.params["cloud"].enabled:
            raise Conflict("This cloud is disabled. Enable it first.", code="cloud_disabled")

    def undo(self, call: Call) -> None:
        Machine.objects.filter(pk=call.target.pk, external_id="").delete()

    def run(self, call: Call) -> dict[str, Any]:
        machine: Machine = call.target
        cloud = machine.cloud
        asked, given = spec(call), None
        try:
            with connect(cloud, call.actor, deadline_s=self.deadline_s - 30) as made:
                if made.takes_host_key(asked):
                    given = pairs.generate()
                    asked = replace(asked, host_key=given.private)
                external_id = made.create_machine(asked)
                call.step("created", external_id)
                machine = adopt(machine, external_id)
                if given is not None:
                    GivenHostKey.objects.create(machine=machine, public=given.public, fingerprint=given.fingerprint)
                    call.step("host_key", given.fingerprint)
                try:
                    polling.observe(cloud, "machine", made.get_machine(external_id), call.actor)
                except (Gone, NotSupported):
                    pass  # not listed yet: the poll will
        except (Rejected, AuthFailed, NotSupported, HostKeyChanged):
            self.undo(call)  # the cloud said no: there is nothing
            live.changed(machine.org_id, "machine", [machine.pk])
            raise
        except MistError:  # it may exist or not: the row stays, and says so
            Machine.objects.filter(pk=machine.pk, external_id="").update(state=Machine.State.ERROR)
            raise
        finally:
            polling.hasten(cloud.pk, for_s=180)
        if call.params["key"] is not None:
            KeyAssociation.objects.get_or_create(
                org_id=machine.org_id, key=call.params["key"], machine=machine, user=call.params["user"] or "root", port=22
            )
        for one in _afterwards.values():
            one.begin(call, machine)
        return {"id": machine.pk.hex, "external_id": external_id}


def spec(call: Call) -> MachineSpec:
    """What the provider is asked for. The token is the row's id: repeat-safe where a cloud can."""
    p, image = call.params, call.params.get("image")
    custom = p.get("custom_size") or {}
    return MachineSpec(
        name=p["name"],
        token=call.target.pk.hex,
        image=image if isinstance(image, str) else image.external_id if image else "",
        size=p["size"].external_id if p.get("size") else None,
        cores=custom.get("cores"),
        ram_mib=custom.get("ram_mib"),
        disk_gib=custom.get("disk_gib"),
        location=p["location"].external_id if p.get("location") else None,
        network=p["network"].external_id if p.get("network") else None,
        subnet=p["subnet"].external_id if p.get("subnet") else None,
        security_groups=tuple(group.external_id for group in p["security_groups"]),
        public_key=p["key"].public if p["key"] else "",
        key_name=p["key"].name if p["key"] else "",
        user=p["user"],
        cloudinit=p["cloudinit"],
        volumes=tuple(p["volumes"]),
        tags=p["tags"],
        extra=p["extra"],
    )


def adopt(machine: Machine, external_id: str) -> Machine:
    """Write the cloud's id into the row we made; a row that a poll made of it in the meantime gives way."""
    with transaction.atomic():
        Cloud.objects.select_for_update(of=("self",), no_key=True).filter(pk=machine.cloud_id).first()
        Machine.objects.filter(cloud_id=machine.cloud_id, external_id=external_id).exclude(pk=machine.pk).delete()
        machine.external_id = external_id
        machine.save(update_fields=["external_id", "updated_at"])
        live.changed(machine.org_id, "machine", [machine.pk])
    return machine
