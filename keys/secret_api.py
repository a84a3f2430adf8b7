"""Secrets and their stores over HTTP. Values are answered to who asks for them alone, and each time that is on record."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from uuid import UUID

from django.urls import URLPattern, path
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.actions.orgs import EditOrgParams, OrgParams
from accounts.api import OrgSerializer
from accounts.auth import org_named
from accounts.org_api import OrgViewSet, within
from core.actions import allowed, perform
from core.actor import Actor
from core.api import HexField, RefField, ResourceViewSet, routes
from core.api.fields import ACTIONS
from core.api.lists import keep_only, refuse_unknown, refuse_unknown_fields
from core.api.schema import READ_PARAMETERS
from core.errors import Invalid
from keys import stores
from keys.actions.secrets import AdoptSecretParams, EditSecretParams, ReasonParams
from keys.actions.stores import try_store
from keys.models import Secret, SecretStore

TRUE = ("1", "true", "yes")


class SecretSerializer(serializers.Serializer[Any]):
    """A secret, without its values. `keys`: of the version last seen."""

    id = HexField()
    name = serializers.CharField(read_only=True)
    keys = serializers.ListField(child=serializers.CharField(), read_only=True)
    version = serializers.IntegerField(source="latest", read_only=True)
    store = RefField()
    path = serializers.CharField(read_only=True)
    adopted = serializers.BooleanField(source="is_adopted", read_only=True)
    changed = serializers.DateTimeField(source="changed_at", read_only=True)
    used = serializers.DateTimeField(source="used_at", read_only=True, allow_null=True)
    tags = serializers.DictField(child=serializers.CharField(), read_only=True)
    owned_by = RefField(source="owner")
    created_by = RefField()
    created = serializers.DateTimeField(source="created_at", read_only=True)
    actions = serializers.SerializerMethodField()

    @extend_schema_field(ACTIONS)
    def get_actions(self, secret: Secret) -> dict[str, Any]:
        return allowed(self.context["actor"], secret)


class OneSecretSerializer(SecretSerializer):
    """A secret; with `value` in the query, with its values."""

    value = serializers.DictField(child=serializers.CharField(), required=False, read_only=True)


class ValueSerializer(serializers.Serializer[Any]):
    """The values of one version."""

    id = HexField()
    version = serializers.IntegerField()
    value = serializers.DictField(child=serializers.CharField())


class SecretVersionSerializer(serializers.Serializer[Any]):
    """A version, without its values. `keys`: null where only the store knows them. `gone`: deleted there."""

    number = serializers.IntegerField()
    created = serializers.DateTimeField(source="created_at", allow_null=True)
    created_by = serializers.CharField()
    keys = serializers.ListField(child=serializers.CharField(), allow_null=True)
    gone = serializers.BooleanField(source="is_gone")


class SecretViewSet(ResourceViewSet):
    """Secrets: named sets of values."""

    queryset = Secret.objects.select_related("owner", "created_by", "store").prefetch_related("uses")
    serializer_class = SecretSerializer
    edit_params = EditSecretParams
    written = frozenset({"read_value"})
    answers = {"retrieve": OneSecretSerializer, "read_value": ValueSerializer, "versions": SecretVersionSerializer(many=True)}
    query_parameters = ("value", "reason")
    operation_ids = {"read_value": "read_secret_value", "versions": "list_secret_versions", "adopt": "adopt_secret"}

    def retrieve(self, request: Request, **kwargs: Any) -> Response:
        """One secret; with `value`, its values: a right of its own (secret.read_value), and recorded."""
        asked = request.query_params.get("value")
        if asked is None or asked.lower() not in (*TRUE, ""):
            refuse_unknown(request, (*READ_PARAMETERS, "value", "reason"))
            return Response({"data": keep_only([self.answer(self.find())], request.query_params.get("only", ""))[0]})
        refuse_unknown(request, (*READ_PARAMETERS, "value", "reason"))
        secret = self.find()
        found = read_value(self, secret, {"reason": request.query_params.get("reason", "")})
        data = {**self.answer(secret), "value": found.texts}
        return unkept(keep_only([data], request.query_params.get("only", ""))[0])

    @extend_schema(request=ReasonParams, responses=ValueSerializer)
    def read_value(self, request: Request, **kwargs: Any) -> Response:
        """See its values, of the newest version or of `version`. Recorded, with the reason."""
        refuse_unknown(request, ())
        secret, body = self.find(), self.body()
        refuse_unknown_fields(body, ReasonParams().fields)
        found = read_value(self, secret, body)
        return unkept({"id": secret.pk.hex, "version": found.number, "value": found.texts})

    @extend_schema(responses=SecretVersionSerializer(many=True))
    def versions(self, request: Request, **kwargs: Any) -> Response:
        """Its versions, newest first. A store outside is asked."""
        refuse_unknown(request, ())
        secret = self.find()
        return Response({"data": SecretVersionSerializer(stores.of(secret).versions(secret), many=True).data})

    @extend_schema(request=AdoptSecretParams, responses=SecretSerializer)
    def adopt(self, request: Request, **kwargs: Any) -> Response:
        """Know a secret that a store outside holds already."""
        refuse_unknown(request, ())
        body = self.body()
        refuse_unknown_fields(body, AdoptSecretParams().fields)
        return self.made(perform(self.actor, Secret, "adopt", body))


def read_value(view: SecretViewSet, secret: Secret, params: dict[str, Any]) -> stores.Contents:
    """On record first, then read."""
    job = perform(view.actor, secret, "read_value", params)
    version = job.params.get("version")
    return stores.of(secret).read(secret, int(version) if version is not None else None)


def unkept(data: dict[str, Any]) -> Response:
    """An answer with something secret in it."""
    return Response({"data": data}, headers={"Cache-Control": "no-store"})


class SecretStoreSerializer(serializers.Serializer[Any]):
    """Where secrets are kept outside, without what lets us in."""

    id = HexField()
    name = serializers.CharField(read_only=True)
    address = serializers.CharField(read_only=True)
    mount = serializers.CharField(read_only=True)
    namespace = serializers.CharField(read_only=True)
    role_id = serializers.CharField(read_only=True)
    ca = serializers.CharField(read_only=True)
    default = serializers.BooleanField(source="is_default", read_only=True)
    tags = serializers.DictField(child=serializers.CharField(), read_only=True)
    owned_by = RefField(source="owner")
    created_by = RefField()
    created = serializers.DateTimeField(source="created_at", read_only=True)
    actions = serializers.SerializerMethodField()

    @extend_schema_field(ACTIONS)
    def get_actions(self, row: SecretStore) -> dict[str, Any]:
        return allowed(self.context["actor"], row)


class SecretStoreViewSet(ResourceViewSet):
    """HashiCorp Vaults and OpenBaos that keep secrets."""

    queryset = SecretStore.objects.select_related("owner", "created_by")
    serializer_class = SecretStoreSerializer


class VaultRequest(serializers.Serializer[Any]):
    """Where the organization's secrets are to be kept, in the contract's words: its default store."""

    address = serializers.CharField(required=False, max_length=500)
    secrets_engine_path = serializers.CharField(required=False, max_length=200)
    token = serializers.CharField(required=False, max_length=10_000, write_only=True)
    role_id = serializers.CharField(required=False, max_length=200)
    secret_id = serializers.CharField(required=False, max_length=1000, write_only=True)


class PatchOrganizationRequest(EditOrgParams):
    """What is left out stays."""

    vault = VaultRequest(required=False)


class CreateOrganizationRequest(OrgParams):
    """`name`: what people see. `vault`: where its secrets are kept; else in our own."""

    vault = VaultRequest(required=False)


class OrgWithVaultViewSet(OrgViewSet):
    """Organizations one is in."""

    @extend_schema(request=CreateOrganizationRequest, responses=OrgSerializer)
    def create(self, request: Request, **kwargs: Any) -> Response:
        """Make an organization and own it. Its vault, if it has one, is tried before."""
        vault = self.body().get("vault")
        if vault is None or self.actor.token_id is not None:  # a token makes no organization
            return super().create(request, **kwargs)
        with _of_vault():
            try_store(self.actor, _in_our_words(vault))
        made = super().create(request, **kwargs)
        self._keep_in(replace(self.actor, org_id=UUID(made.data["data"]["id"]), cache={}), vault)
        return made

    @extend_schema(request=PatchOrganizationRequest, responses=OrgSerializer)
    def partial_update(self, request: Request, **kwargs: Any) -> Response:
        """Rename or describe it, or say which vault keeps its secrets."""
        vault = self.body().get("vault")
        if vault is not None:
            refuse_unknown(request, ())
            self._keep_in(within(self.actor, org_named(self.actor, kwargs["org"])), vault)
        return super().partial_update(request, **kwargs)

    def _keep_in(self, actor: Actor, vault: Any) -> None:
        """Make or change the default store.  Raises: Invalid, in `vault`; what the actions raise."""
        sent = _in_our_words(vault)
        known = SecretStore.objects.visible_to(actor).filter(is_default=True).first()
        with _of_vault():
            if known is not None:
                perform(actor, known, "edit", {name: value for name, value in sent.items() if name not in DEFAULT_STORE})
            else:
                perform(actor, SecretStore, "create", sent)


DEFAULT_STORE = {"name": "vault", "default": True}


def _in_our_words(vault: Any) -> dict[str, Any]:
    """Params of the default store.  Raises: Invalid, in `vault`."""
    if not isinstance(vault, dict):
        raise Invalid(fields={"vault": ["Send an object."]})
    refuse_unknown_fields(vault, VaultRequest().fields)
    sent = {name: value for name, value in vault.items() if value is not None}
    if "secrets_engine_path" in sent:
        sent["mount"] = sent.pop("secrets_engine_path")
    return {**DEFAULT_STORE, **sent}


@contextmanager
def _of_vault() -> Iterator[None]:
    """What is wrong is told in the contract's words, in `vault`."""
    try:
        yield
    except Invalid as error:
        wrong = {"secrets_engine_path" if name == "mount" else name: what for name, what in error.fields.items()}
        raise Invalid(error.detail, fields={"vault": wrong}, code=error.code) from error


def api_routes() -> list[URLPattern]:
    """Below /api/v2."""
    one = {"lookup_url_kwarg": "secret"}
    return [
        path("secrets/adopt", SecretViewSet.as_view({"post": "adopt"})),
        path("secrets/<str:secret>/versions", SecretViewSet.as_view({"get": "versions"}, **one)),
        path("secrets/<str:secret>/actions/read-value", SecretViewSet.as_view({"post": "read_value"}, **one)),
        *routes("secrets", SecretViewSet),
        *routes("secret-stores", SecretStoreViewSet),
    ]
