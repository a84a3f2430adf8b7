"""Clouds, and what they offer, over HTTP."""

from __future__ import annotations

from typing import Any

from django.db.models import Prefetch
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from clouds import times
from clouds.actions import STRICT_HELP
from clouds.models import Cloud, Image, Location, Poll, Size
from clouds.providers import all_providers, provider
from clouds.providers.base import Provider
from clouds.providers.facts import Field
from core.actions import allowed, perform
from core.api import HexField, ReadViewSet, RefField, ResourceViewSet
from core.api.fields import ACTIONS, OBJECT, JsonField
from core.api.lists import refuse_unknown
from core.api.viewset import BaseViewSet
from keys.hostkeys import STRICT


class OwnedSerializer(serializers.Serializer[Any]):
    """What every resource answers."""

    id = HexField()
    name = serializers.CharField(read_only=True)
    tags = serializers.DictField(child=serializers.CharField(), read_only=True)
    owned_by = RefField(source="owner")
    created_by = RefField()


class PollSerializer(serializers.Serializer[Any]):
    """How listing one kind goes."""

    kind = serializers.CharField()
    succeeded_at = serializers.DateTimeField(allow_null=True)
    completed_at = serializers.DateTimeField(allow_null=True)
    due_at = serializers.DateTimeField()
    took_ms = serializers.IntegerField(allow_null=True)
    count = serializers.IntegerField(allow_null=True)
    failures = serializers.IntegerField()
    error_code = serializers.CharField()
    error_detail = serializers.CharField()
    incomplete = serializers.CharField()


class CloudSerializer(OwnedSerializer):
    """A cloud, without its secrets."""

    provider = serializers.CharField(read_only=True)
    enabled = serializers.BooleanField(read_only=True)
    config = JsonField()
    features = JsonField()
    strict_host_keys = serializers.SerializerMethodField(help_text=STRICT_HELP)
    polls = PollSerializer(many=True, read_only=True)
    actions = serializers.SerializerMethodField()
    created = serializers.DateTimeField(source="created_at", read_only=True)

    @extend_schema_field(ACTIONS)
    def get_actions(self, cloud: Cloud) -> dict[str, Any]:
        return allowed(self.context["actor"], cloud)

    def get_strict_host_keys(self, cloud: Cloud) -> bool:
        return bool(cloud.extra.get(STRICT))


class EditCloudRequest(serializers.Serializer[Any]):
    """What is left out stays. New `credentials` are tried first; a secret left out stays what it was."""

    name = serializers.CharField(required=False, max_length=255)
    enabled = serializers.BooleanField(required=False)
    features = serializers.DictField(child=serializers.BooleanField(), required=False)
    strict_host_keys = serializers.BooleanField(required=False, help_text=STRICT_HELP)
    credentials = serializers.DictField(required=False)


class CloudViewSet(ResourceViewSet):
    """Accounts, hosts and engines."""

    queryset = Cloud.objects.select_related("owner", "created_by").prefetch_related(
        Prefetch("polls", queryset=Poll.objects.order_by("kind"))
    )
    serializer_class = CloudSerializer
    delete_action = "remove"
    edit_params = EditCloudRequest
    operation_ids = {"create": "add_cloud"}

    def update(self, request: Request, **kwargs: Any) -> Response:
        """Change what is sent; the rest stays. New credentials are tried first."""
        refuse_unknown(request, ("name",))
        body, cloud = self.body(), self.find()
        if "name" in request.query_params:
            body.setdefault("name", request.query_params["name"])
        credentials = body.pop("credentials", None)
        if credentials is not None:
            perform(self.actor, cloud, "rotate", {"credentials": credentials})
        if body or credentials is None:
            perform(self.actor, cloud, "edit", body)
        return Response({"data": self.answer(self.rows().visible_to(self.actor).get(pk=cloud.pk))})

    partial_update = update


class InventorySerializer(serializers.Serializer[Any]):
    """What a poll wrote."""

    id = HexField()
    external_id = serializers.CharField(read_only=True)
    name = serializers.CharField(read_only=True)
    cloud = RefField()
    extra = JsonField()
    missing_since = serializers.DateTimeField(read_only=True, allow_null=True)
    last_seen = serializers.SerializerMethodField()
    first_seen = serializers.DateTimeField(source="first_seen_at", read_only=True)

    @extend_schema_field({"type": "string", "format": "date-time", "nullable": True})
    def get_last_seen(self, row: Any) -> str | None:
        return times.last_seen(row, self.context)


class LocationSerializer(InventorySerializer):
    """A place."""

    parent = RefField()
    location_type = serializers.CharField(read_only=True)
    country = serializers.CharField(read_only=True)
    owned_by = RefField(source="owner")
    created_by = RefField()
    available_sizes = serializers.SerializerMethodField()
    available_images = serializers.SerializerMethodField()

    @extend_schema_field(OBJECT)
    def get_available_sizes(self, row: Location) -> dict[str, Any]:
        return {}

    @extend_schema_field(OBJECT)
    def get_available_images(self, row: Location) -> dict[str, Any]:
        return {}


class LocationViewSet(ReadViewSet):
    """Places machines can be in."""

    queryset = Location.objects.select_related("cloud", "parent", "owner", "created_by")
    serializer_class = LocationSerializer


class SizeSerializer(InventorySerializer):
    """A size. `cost_hour` null is unknown."""

    cores = serializers.FloatField(read_only=True, allow_null=True)
    ram_mib = serializers.IntegerField(read_only=True, allow_null=True)
    disk_gib = serializers.IntegerField(read_only=True, allow_null=True)
    architecture = serializers.CharField(read_only=True)
    cost_hour = serializers.FloatField(read_only=True, allow_null=True)
    currency = serializers.CharField(read_only=True)


class SizeViewSet(ReadViewSet):
    """Sizes machines come in."""

    queryset = Size.objects.select_related("cloud")
    serializer_class = SizeSerializer


class ImageSerializer(InventorySerializer):
    """An image."""

    starred = serializers.BooleanField(read_only=True)
    os_type = serializers.CharField(read_only=True)
    os_distro = serializers.CharField(read_only=True)
    architecture = serializers.CharField(read_only=True)
    min_disk_gib = serializers.IntegerField(read_only=True, allow_null=True)
    min_ram_mib = serializers.IntegerField(read_only=True, allow_null=True)
    tags = serializers.DictField(child=serializers.CharField(), read_only=True)
    owned_by = RefField(source="owner")
    created_by = RefField()


class ImageViewSet(ResourceViewSet):
    """Images machines are made from."""

    queryset = Image.objects.select_related("cloud", "owner", "created_by")
    serializer_class = ImageSerializer


class ProviderSerializer(serializers.Serializer[Any]):
    """What a provider needs and can do, generated from its code."""

    name = serializers.CharField()
    title = serializers.CharField()
    aliases = serializers.ListField(child=serializers.CharField())
    category = serializers.CharField()
    doc = serializers.CharField()
    credentials = serializers.ListField(child=JsonField())
    create = JsonField()
    lists = serializers.ListField(child=serializers.CharField())
    verbs = serializers.ListField(child=serializers.CharField())


def field_facts(field: Field) -> dict[str, Any]:
    """A field of a form, as JSON."""
    facts = {
        name: getattr(field, name) for name in ("name", "label", "kind", "required", "secret", "default", "help", "minimum", "maximum")
    }
    facts["choices"] = [{"value": value, "label": label} for value, label in field.choices]
    facts["fields"] = [field_facts(inner) for inner in field.fields]
    return facts


def provider_facts(cls: type[Provider]) -> dict[str, Any]:
    """A provider, as JSON."""
    methods = [name for name in dir(Provider) if not name.startswith("_") and cls.supports(name)]
    return {
        "name": cls.name,
        "title": cls.title,
        "aliases": list(cls.aliases),
        "category": cls.category,
        "doc": cls.doc,
        "credentials": [field_facts(field) for field in cls.credential_fields],
        "create": {
            "supported": cls.supports("create_machine"),
            "requires": sorted(cls.create_requires),
            "custom_size": cls.custom_size,
            "fields": [field_facts(field) for field in cls.create_fields],
        },
        "lists": [name.removeprefix("list_") for name in methods if name.startswith("list_")],
        "verbs": [name.removesuffix("_machine") for name in methods if name.endswith("_machine") and name != "get_machine"]
        + [name for name in methods if "snapshot" in name],
    }


class ProviderViewSet(BaseViewSet):
    """What each provider needs and can do."""

    operation_ids = {"list": "list_providers", "retrieve": "get_provider"}
    serializer_class = ProviderSerializer
    list_parameters = ()
    path_kinds = {"provider_name": "provider"}

    @extend_schema(responses=ProviderSerializer)
    def list(self, request: Request) -> Response:
        """Every provider."""
        refuse_unknown(request, ())
        data = [provider_facts(cls) for cls in all_providers().values()]
        meta = {"total": len(data), "returned": len(data), "sort": "name", "start": 0, "next": None, "kind": "provider"}
        return Response({"data": data, "meta": meta})

    @extend_schema(responses=ProviderSerializer)
    def retrieve(self, request: Request, provider_name: str) -> Response:
        """One provider, by name or alias."""
        refuse_unknown(request, ())
        return Response({"data": provider_facts(provider(provider_name))})
