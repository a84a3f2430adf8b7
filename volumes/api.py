"""Volumes over HTTP."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from clouds.api import InventorySerializer
from core.actions import allowed
from core.api import RefField, ResourceViewSet
from core.api.fields import ACTIONS
from volumes.models import Volume


class VolumeSerializer(InventorySerializer):
    """A volume. `size`: GiB. `attached_to`: ids of machines."""

    location = RefField()
    size = serializers.IntegerField(source="size_gib", read_only=True)
    state = serializers.CharField(read_only=True)
    volume_type = serializers.CharField(read_only=True)
    attached_to = serializers.SerializerMethodField()
    tags = serializers.DictField(child=serializers.CharField(), read_only=True)
    owned_by = RefField(source="owner")
    created_by = RefField()
    default = serializers.SerializerMethodField()
    actions = serializers.SerializerMethodField()

    def get_attached_to(self, row: Volume) -> list[str]:
        return [pk.hex for pk in row.attached_to]

    def get_default(self, row: Volume) -> bool:
        return False

    @extend_schema_field(ACTIONS)
    def get_actions(self, row: Volume) -> dict[str, Any]:
        return allowed(self.context["actor"], row)


class VolumeViewSet(ResourceViewSet):
    """Disks that live by themselves."""

    queryset = Volume.objects.select_related("cloud", "location", "owner", "created_by")
    serializer_class = VolumeSerializer
