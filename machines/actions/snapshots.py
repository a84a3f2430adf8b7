"""Snapshots of machines."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.utils import timezone
from rest_framework import serializers

from clouds.providers.base import Provider
from core import live
from core.actions import Call, register
from core.params import NameField, ResourceField
from machines.actions.base import STABLE, MachineAction
from machines.models import Machine, Snapshot


def write_snapshots(machine: Machine, made: Provider) -> None:
    """Write what snapshots the machine has now."""
    found = {info.external_id: info for info in made.list_snapshots(machine.external_id)}
    with transaction.atomic():
        Machine.objects.select_for_update(of=("self",), no_key=True).filter(pk=machine.pk).first()
        machine.snapshots.exclude(external_id__in=list(found)).delete()
        for info in found.values():
            Snapshot.objects.update_or_create(
                machine=machine,
                external_id=info.external_id,
                defaults={
                    "org_id": machine.org_id,
                    "cloud_id": machine.cloud_id,
                    "name": info.name,
                    "description": info.description,
                    "taken_at": info.created_at,
                    "active": info.active,
                    "extra": dict(info.extra),
                },
                create_defaults={
                    "org_id": machine.org_id,
                    "cloud_id": machine.cloud_id,
                    "name": info.name,
                    "description": info.description,
                    "taken_at": info.created_at or timezone.now(),
                    "active": info.active,
                    "extra": dict(info.extra),
                },
            )
        live.changed(machine.org_id, "machine", [machine.pk])


class SnapshotAction(MachineAction):
    """Afterwards the machine's snapshots are listed anew."""

    states = STABLE
    bulk = False
    deadline_s = 600

    def look(self, made: Provider, call: Call) -> None:
        super().look(made, call)
        if made.supports("list_snapshots"):
            write_snapshots(call.target, made)


class CreateParams(serializers.Serializer[Any]):
    """What to call it."""

    name = NameField()
    description = serializers.CharField(max_length=1000, required=False, allow_blank=True, default="")


@register
class CreateSnapshot(SnapshotAction):
    """Keep its state under a name."""

    name = "create_snapshot"
    params = CreateParams
    provider_method = "create_snapshot"
    bulk = True

    def act(self, made: Provider, call: Call) -> dict[str, Any]:
        return {"external_id": made.create_snapshot(call.target.external_id, call.params["name"], call.params["description"])}


class SnapshotParams(serializers.Serializer[Any]):
    """Which one: id, name or external id."""

    snapshot = ResourceField(Snapshot)

    def validate_snapshot(self, value: Snapshot) -> Snapshot:
        target = self.context.get("target")
        if target is not None and value.machine_id != target.pk:
            raise serializers.ValidationError("Not found.")
        return value


@register
class RemoveSnapshot(SnapshotAction):
    """Drop one of its snapshots."""

    name = "remove_snapshot"
    params = SnapshotParams
    provider_method = "remove_snapshot"
    tier = 2

    def act(self, made: Provider, call: Call) -> None:
        made.remove_snapshot(call.target.external_id, call.params["snapshot"].external_id)


@register
class RevertToSnapshot(SnapshotAction):
    """Put it back into the state of a snapshot. What happened since is lost."""

    name = "revert_to_snapshot"
    params = SnapshotParams
    provider_method = "revert_to_snapshot"
    tier = 2

    def act(self, made: Provider, call: Call) -> None:
        made.revert_to_snapshot(call.target.external_id, call.params["snapshot"].external_id)


@register
class ListSnapshots(SnapshotAction):
    """Look at the provider which snapshots it has."""

    name = "list_snapshots"
    rights = "read"
    provider_method = "list_snapshots"
    exclusive = False

    def act(self, made: Provider, call: Call) -> None:
        return None
