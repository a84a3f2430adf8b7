"""Presets: ways to create machines, kept under a name for the organization."""

from __future__ import annotations

from typing import Any

from drf_spectacular.drainage import set_override
from rest_framework import serializers

from clouds.models import Cloud
from core.actions import Action, Call, register
from core.actor import Actor
from core.bulks import CREATE_CAP
from core.errors import Invalid
from core.params import NameField, ResourceField, TagsField
from machines.actions.create import CreateParams
from machines.models import Preset

MAX_CHARACTERS = 64 * 1024


class AskedField(serializers.DictField):
    """What a create is sent; its names are a create's, and it holds no more than a form does."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        set_override(self, "field", {"type": "object", "additionalProperties": {}, "description": "The body of a create."})

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        asked = dict(super().to_internal_value(data))
        unknown = sorted(set(asked) - set(CreateParams().fields))
        if unknown:
            raise serializers.ValidationError(f"A create knows no {unknown[0][:60]}.")
        if len(str(asked)) > MAX_CHARACTERS:
            raise serializers.ValidationError("This is too long to be kept.")
        return asked


class PresetParams(serializers.Serializer[Any]):
    """`params`: what a create is sent. Its `name` may be a pattern: web-{n:02}."""

    name = NameField(max_length=100)
    cloud = ResourceField(Cloud)
    params = AskedField()
    quantity = serializers.IntegerField(min_value=1, max_value=CREATE_CAP, required=False, default=1)
    tags = TagsField(required=False, default=dict)


class EditPresetParams(PresetParams):
    """What is left out stays. The cloud cannot change."""

    name = NameField(max_length=100, required=False)
    cloud = None  # type: ignore[assignment]
    params = AskedField(required=False)
    quantity = serializers.IntegerField(min_value=1, max_value=CREATE_CAP, required=False)
    tags = TagsField(required=False)


def _kept(cloud: Cloud, asked: dict[str, Any]) -> dict[str, Any]:
    if asked.get("cloud") not in (None, cloud.pk.hex, str(cloud.pk), cloud.name):
        raise Invalid(fields={"params": ["Its cloud is another one than the preset's."]})
    return {**asked, "cloud": cloud.pk.hex}


@register
class SavePreset(Action):
    """Keep a way to create machines under a name."""

    model = Preset
    name = "create"
    creates = True
    params = PresetParams
    bulk = False

    def build(self, actor: Actor, params: dict[str, Any]) -> Preset:
        cloud = params["cloud"]
        return Preset(
            org_id=actor.org_id,
            name=params["name"],
            cloud=cloud,
            params=_kept(cloud, params["params"]),
            quantity=params["quantity"],
            tags=params["tags"],
            owner_id=actor.user_id,
            created_by_id=actor.user_id,
        )

    def draft(self, actor: Actor, params: dict[str, Any]) -> Preset:
        return Preset(org_id=actor.org_id, name=params["name"], cloud=params["cloud"], tags=params["tags"])

    def run(self, call: Call) -> dict[str, Any]:
        return {"id": call.target.pk.hex}


@register
class EditPreset(Action):
    """Change what a preset keeps."""

    model = Preset
    name = "edit"
    params = EditPresetParams
    bulk = False

    def run(self, call: Call) -> None:
        preset, asked = call.target, dict(call.params)
        if "params" in asked:
            asked["params"] = _kept(preset.cloud, asked["params"])
        for field, value in asked.items():
            setattr(preset, field, value)
        preset.save()


@register
class DeletePreset(Action):
    """Forget a preset. Machines made from it stay."""

    model = Preset
    name = "delete"
    deletes = True
    bulk = False

    def run(self, call: Call) -> None:
        call.target.delete()
