"""Fields that actions' params share."""

from __future__ import annotations

import unicodedata
from typing import Any
from uuid import UUID

from django.utils import timezone
from drf_spectacular.drainage import set_override
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers


def clean_text(value: str) -> str:
    """Text without what breaks databases and terminals.  Raises: serializers.ValidationError."""
    value = value.strip()
    if any(unicodedata.category(c) in ("Cc", "Cs") and c not in "\t\n" for c in value):
        raise serializers.ValidationError("Control characters are not allowed.")
    return value


class NameField(serializers.CharField):
    """A name: 1 to 255 printable characters."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("max_length", 255)
        super().__init__(**kwargs)

    def to_internal_value(self, data: Any) -> str:
        return clean_text(super().to_internal_value(data))


@extend_schema_field({"type": "object", "additionalProperties": {"type": "string", "maxLength": 256}, "maxProperties": 100})
class TagsField(serializers.Field[Any, Any, Any, Any]):
    """{"env": "prod"}; the contract's [{"key", "value"}] is accepted. Keys to 128 characters, values to 256, at most 100."""

    def to_internal_value(self, data: Any) -> dict[str, str]:
        if isinstance(data, list):
            if not all(isinstance(tag, dict) and "key" in tag for tag in data):
                raise serializers.ValidationError("Send an object, or a list of {key, value}.")
            data = {tag["key"]: tag.get("value") for tag in data}
        if not isinstance(data, dict):
            raise serializers.ValidationError("Send an object of keys and values.")
        if len(data) > 100:
            raise serializers.ValidationError("At most 100 tags.")
        tags = {}
        for key, value in data.items():
            if not isinstance(key, str) or not isinstance(value, str | int | float | bool | None):
                raise serializers.ValidationError("Keys and values are text.")
            text = "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
            if not key.strip() or len(key) > 128 or len(text) > 256:
                raise serializers.ValidationError("A key has 1 to 128 characters, a value at most 256.")
            tags[clean_text(key)] = clean_text(text)
        return tags

    def to_representation(self, value: Any) -> Any:
        return value


class ResourceField(serializers.Field[Any, Any, Any, Any]):
    """An id or exact name of something the actor may read; otherwise it is not found, in the words for what does not exist."""

    default_error_messages = {"not_found": "Not found.", "ambiguous": "Several have that name: send an id."}

    def __init__(self, model: type[Any], **kwargs: Any) -> None:
        self.model = model
        super().__init__(**kwargs)
        set_override(self, "field", {"type": "string", "x-kind": model.kind()})

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, dict):
            data = data.get("id") or data.get("name")
        if hasattr(data, "pk"):
            return data
        if not isinstance(data, str) or "\x00" in data or len(data) > 512:
            self.fail("not_found")
        rows = self.model.objects.visible_to(self.context["actor"])
        target = self.context.get("target")
        cloud_id = getattr(target, "cloud_id", None)
        if cloud_id is not None and self.model.cloud_path == "cloud_id":
            rows = rows.filter(cloud_id=cloud_id)
        try:
            found = list(rows.filter(pk=UUID(data))[:1])
        except ValueError:
            found = []
        columns = {f.name for f in self.model._meta.fields}
        if not found and "name" in columns:
            found = list(rows.filter(name=data)[:2])
        if not found and "external_id" in columns:
            found = list(rows.filter(external_id=data)[:2])
        if not found:
            self.fail("not_found")
        if len(found) > 1:
            self.fail("ambiguous")
        return found[0]

    def to_representation(self, value: Any) -> str:
        return value.pk.hex if hasattr(value, "pk") else str(value)


class KindField(serializers.CharField):
    """Text that names a row of a kind (`*`: of the kind the body names); the specification says so with `x-kind`."""

    def __init__(self, kind: str, **kwargs: Any) -> None:
        kwargs.setdefault("max_length", 255)
        super().__init__(**kwargs)
        set_override(self, "field", {"type": "string", "maxLength": kwargs["max_length"], "x-kind": kind})


class FutureField(serializers.DateTimeField):
    """A time that has not passed yet."""

    def to_internal_value(self, value: Any) -> Any:
        when = super().to_internal_value(value)
        if when <= timezone.now():
            raise serializers.ValidationError("This time has passed.")
        return when
