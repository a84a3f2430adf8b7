"""Fields of answers: ids in hex, references by id or name, JSON as it is; and what every refusal answers."""

from __future__ import annotations

from typing import Any

from drf_spectacular.drainage import set_override
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

ID = {"type": "string", "pattern": "^[0-9a-f]{32}$"}
ACTIONS = {"type": "object", "additionalProperties": {"oneOf": [{"type": "boolean", "enum": [True]}, {"type": "string"}]}}
OBJECT: dict[str, Any] = {"type": "object", "additionalProperties": {}}


class HexField(serializers.Field[Any, Any, Any, Any]):
    """An id: 32 lower-case hex digits."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(read_only=True, **kwargs)
        set_override(self, "field", ID)

    def to_representation(self, value: Any) -> str:
        return str(value.hex)


@extend_schema_field({"type": "string", "nullable": True})
class RefField(serializers.Field[Any, Any, Any, Any]):
    """Another row: its name with `deref=auto`, its id with `deref=none`. The row must come with select_related."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(read_only=True, **kwargs)

    def get_attribute(self, instance: Any) -> Any:
        if self.context.get("deref") == "none":
            return getattr(instance, f"{self.source}_id").hex if getattr(instance, f"{self.source}_id") else None
        other = getattr(instance, str(self.source))
        return None if other is None else str(getattr(other, "name", other))

    def to_representation(self, value: Any) -> Any:
        return value


@extend_schema_field(OBJECT)
class JsonField(serializers.Field[Any, Any, Any, Any]):
    """A JSON object as it is; null where it may be (`allow_null`), away where `required=False` says so."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("read_only", "required" not in kwargs)
        super().__init__(**kwargs)

    def to_internal_value(self, data: Any) -> Any:
        return data

    def to_representation(self, value: Any) -> Any:
        return value


@extend_schema_field({})
class JsonAny(JsonField):
    """Any JSON."""


class EnvelopeError(serializers.Serializer[Any]):
    """What every refusal answers."""

    code = serializers.CharField(help_text="For programs; stable.")
    detail = serializers.CharField(help_text="One sentence that says what to do.")
    fields = JsonField(required=False, help_text="What is wrong, by field.")  # type: ignore[assignment]
    position = serializers.IntegerField(required=False, help_text="Of a search: the column where it went wrong.")
    ids = serializers.ListField(child=serializers.CharField(), required=False, help_text="Of an ambiguous name: the rows that have it.")
    request_id = serializers.CharField(help_text="Tell it to an administrator.")
