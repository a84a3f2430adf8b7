"""Keys of machines."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from core.actions import Action, Call, register
from core.errors import NotFound
from core.params import ResourceField, clean_text
from keys.models import Key, KeyAssociation
from machines.models import Machine


class AssociateParams(serializers.Serializer[Any]):
    """Which key opens it, as whom, on which port."""

    key = ResourceField(Key)
    user = serializers.CharField(max_length=64, required=False, default="root")
    port = serializers.IntegerField(min_value=1, max_value=65535, required=False, default=22)
    sudo = serializers.BooleanField(required=False, default=False)

    def validate_user(self, value: str) -> str:
        return clean_text(value)


@register
class AssociateKey(Action):
    """Say that a key opens this machine."""

    model = Machine
    name = "associate_key"
    params = AssociateParams
    exclusive = False

    def run(self, call: Call) -> dict[str, Any]:
        p = call.params
        row, _ = KeyAssociation.objects.update_or_create(
            org_id=call.target.org_id, key=p["key"], machine=call.target, user=p["user"], port=p["port"], defaults={"sudo": p["sudo"]}
        )
        return {"id": row.pk.hex, "key": p["key"].pk.hex, "user": p["user"], "port": p["port"]}

    def snapshot(self, target: Any) -> dict[str, Any] | None:
        return None


class DisassociateParams(serializers.Serializer[Any]):
    """The key; `user` where only one of several logins is meant."""

    key = ResourceField(Key)
    user = serializers.CharField(max_length=64, required=False)


@register
class DisassociateKey(Action):
    """Say that a key opens this machine no more."""

    model = Machine
    name = "disassociate_key"
    params = DisassociateParams
    exclusive = False

    def run(self, call: Call) -> dict[str, Any]:
        rows = KeyAssociation.objects.filter(machine=call.target, key=call.params["key"])
        if "user" in call.params:
            rows = rows.filter(user=call.params["user"])
        removed = [{"key": row.key_id.hex, "user": row.user, "port": row.port, "sudo": row.sudo} for row in rows]
        if not rows.delete()[0]:
            raise NotFound("This key is not associated with this machine.", code="not_associated")
        return {"removed": removed}

    def snapshot(self, target: Any) -> dict[str, Any] | None:
        return None
