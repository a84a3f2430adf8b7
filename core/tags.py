"""Tags of whatever has them: what is sent, and the action that every kind registers for itself."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from core.actions import Action, Call
from core.params import TagsField


class TagParams(serializers.Serializer[Any]):
    """`tags`: to set. `remove`: keys to take away."""

    tags = TagsField(required=False, default=dict)
    remove = serializers.ListField(child=serializers.CharField(max_length=128), required=False, default=list)


def retag(row: Any, params: dict[str, Any]) -> None:
    """Write a row's tags as `TagParams` say."""
    row.tags = {key: value for key, value in row.tags.items() if key not in params["remove"]} | params["tags"]
    row.save(update_fields=["tags", "updated_at"])


class Tagging(Action):
    """Set and remove tags."""

    name = "tag"
    params = TagParams

    def run(self, call: Call) -> Any:
        retag(call.target, call.params)
