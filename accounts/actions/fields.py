"""What the params of these actions share, and what is for owners alone."""

from __future__ import annotations

import ipaddress
from functools import cache
from typing import Any
from zoneinfo import available_timezones

from django.core.exceptions import ValidationError
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from accounts import people
from accounts.models import User
from accounts.statements import policy_of
from core.actions import Call
from core.actor import Actor
from core.errors import Denied
from core.params import clean_text


@cache
def zones() -> frozenset[str]:
    """Every time zone one may choose."""
    return frozenset(name for name in available_timezones() if "/" in name or name == "UTC")


class TextField(serializers.CharField):
    """Free text without control characters."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"max_length": 2000, "allow_blank": True, "required": False, **kwargs})

    def to_internal_value(self, data: Any) -> str:
        return clean_text(super().to_internal_value(data))


@extend_schema_field({"type": "string", "x-kind": "user"})
class UserField(serializers.Field[Any, Any, Any, Any]):
    """A member of the organization, by id or e-mail."""

    def to_internal_value(self, data: Any) -> User:
        rows = User.objects.visible_to(self.context["actor"])
        if isinstance(data, str) and "\x00" not in data:
            try:
                found = rows.filter(pk=data).first()
            except (ValueError, TypeError, ValidationError):
                found = rows.filter(email__iexact=data).first()
            if found is not None:
                return found
        raise serializers.ValidationError("Not found.", code="not_found")

    def to_representation(self, value: Any) -> str:
        return str(getattr(value, "email", value))


class ZoneField(serializers.CharField):
    """A time zone by its name: Europe/Athens."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"max_length": 60, **kwargs})

    def to_internal_value(self, data: Any) -> str:
        zone = super().to_internal_value(data)
        if zone not in zones():
            raise serializers.ValidationError(f"There is no time zone {zone}. They are written as Europe/Athens.")
        return zone


class NetworkField(serializers.CharField):
    """An address or a network, as 10.0.0.0/8; it is kept as a network."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"max_length": 50, **kwargs})

    def to_internal_value(self, data: Any) -> str:
        text = super().to_internal_value(data)
        try:
            return str(ipaddress.ip_network(text, strict=False))
        except ValueError:
            raise serializers.ValidationError(f"{text} is no address and no network. Write 203.0.113.7 or 10.0.0.0/8.") from None


def owners_only(actor: Actor, what: str) -> None:
    """Raises: Denied. For what would let somebody give themselves any right."""
    if not (actor.is_system or policy_of(actor).is_owner):
        raise Denied(f"Only an owner of the organization may {what}.", code="owners_only", reason="owners alone")


def bump(call: Call) -> None:
    people.bump(call.target.org_id)
    call.actor.cache.pop("policy", None)


@extend_schema_field({"type": "array", "items": {"type": "object", "additionalProperties": {}}})
class StatementsField(serializers.JSONField):
    """Statements, as accounts/policies.py reads them."""


class MemberParams(serializers.Serializer[Any]):
    """`user`: a member."""

    user = UserField()
