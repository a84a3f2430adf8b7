"""Keys and host keys over HTTP."""

from __future__ import annotations

from typing import Any

from django.urls import URLPattern, path
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from core import vault
from core.actions import allowed, perform
from core.api import HexField, RefField, ResourceViewSet, routes
from core.api.fields import ACTIONS
from core.api.lists import keep_only, refuse_unknown
from core.errors import BadRequest
from keys import hostkeys, pairs
from keys.actions.ssh import CreateKeyParams, TrustHostParams
from keys.models import Authority, HostKey, Key
from keys.secret_api import api_routes as secret_routes
from keys.secret_api import unkept

TRUE = ("1", "true", "yes")


class KeySerializer(serializers.Serializer[Any]):
    """A key, without its private part."""

    id = HexField()
    name = serializers.CharField(read_only=True)
    type = serializers.SerializerMethodField()
    default = serializers.BooleanField(source="is_default", read_only=True)
    public = serializers.CharField(read_only=True)
    fingerprint = serializers.CharField(read_only=True)
    algorithm = serializers.CharField(read_only=True)
    certificate = serializers.CharField(read_only=True)
    has_private = serializers.SerializerMethodField()
    config = serializers.SerializerMethodField()
    tags = serializers.DictField(child=serializers.CharField(), read_only=True)
    owned_by = RefField(source="owner")
    created_by = RefField()
    created = serializers.DateTimeField(source="created_at", read_only=True)
    actions = serializers.SerializerMethodField()

    def get_type(self, key: Key) -> str:
        return "signed_ssh" if key.certificate else "ssh"

    def get_has_private(self, key: Key) -> bool:
        return key.vault_id is not None

    def get_config(self, key: Key) -> dict[str, str]:
        return {"algorithm": key.algorithm}

    def get_actions(self, key: Key) -> dict[str, Any]:
        return allowed(self.context["actor"], key)


class AddKeyRequest(CreateKeyParams):
    """`{name, private, certificate?}`, `{name, generate: true}`, or `{generate: true, dry: true}`: a pair that is not kept."""

    name = serializers.CharField(max_length=255, required=False)  # type: ignore[assignment]
    dry = serializers.BooleanField(required=False, default=False)


class AddedKeySerializer(KeySerializer):
    """What adding a key answers: the key; of a dry one the pair alone, without an id."""

    id = HexField(allow_null=True)
    private = serializers.CharField(read_only=True)


class KeyViewSet(ResourceViewSet):
    """SSH keys."""

    queryset = Key.objects.select_related("owner", "created_by")
    serializer_class = KeySerializer
    create_params = AddKeyRequest
    query_parameters = ("private", "default")
    operation_ids = {"create": "add_key"}
    answers = {"create": AddedKeySerializer}

    def create(self, request: Request, **kwargs: Any) -> Response:
        """Add a key. `dry` answers a new pair and keeps nothing."""
        refuse_unknown(request, ())
        sent = self.known(self.body())
        dry = sent.pop("dry", False)
        if dry in (True, "true", "True", 1, "1"):
            if not sent.get("generate"):
                raise BadRequest("Only what is generated can be dry.", code="bad_dry")
            pair = pairs.generate(sent["algorithm"] if sent.get("algorithm") in pairs.ALGORITHMS else "ssh-ed25519")
            return unkept({"id": None, "public": pair.public, "private": pair.private, "fingerprint": pair.fingerprint})
        return self.made(perform(self.actor, Key, "create", sent))

    @extend_schema(parameters=[OpenApiParameter("private", OpenApiTypes.BOOL, description="The private part too: a recorded export.")])
    def retrieve(self, request: Request, **kwargs: Any) -> Response:
        """One key; with `private`, its private part: a right of its own (key.export), and recorded."""
        if request.query_params.get("private", "").lower() not in TRUE and "private" not in request.query_params:
            return super().retrieve(request, **kwargs)
        if request.query_params["private"].lower() not in (*TRUE, ""):
            return super().retrieve(request, **kwargs)
        refuse_unknown(request, ("only", "deref", "sort", "format", "private"))
        key = self.find()
        data = {**self.answer(key), "private": self._export(key)}
        return unkept(keep_only([data], request.query_params.get("only", ""))[0])

    def update(self, request: Request, **kwargs: Any) -> Response:
        """Rename it, make it the default, or give it a certificate."""
        refuse_unknown(request, ("name", "default"))
        target = self.find()
        perform(self.actor, target, "edit", {**request.query_params.dict(), **self.body()})
        return Response({"data": self.answer(self.rows().visible_to(self.actor).get(pk=target.pk))})

    partial_update = update

    def act(self, verb: str) -> Response:
        if verb != "export":
            return super().act(verb)
        refuse_unknown(self.request, ())
        key = self.find()
        return unkept({"id": key.pk.hex, "private": self._export(key)})

    def _export(self, key: Key) -> str:
        perform(self.actor, key, "export")
        assert key.vault_id is not None
        return str(vault.read(key.vault_id)["private"])


class HostKeySerializer(serializers.Serializer[Any]):
    """The key a host is known by."""

    id = HexField()
    name = serializers.CharField(read_only=True)
    host = serializers.CharField(read_only=True)
    port = serializers.IntegerField(read_only=True)
    public = serializers.CharField(read_only=True)
    fingerprint = serializers.CharField(read_only=True)
    source = serializers.CharField(
        read_only=True, help_text="first-use, console, cloud-init, operator; unmet: nobody has trusted it, and it is blocked."
    )
    cloud = RefField()
    trusted_at = serializers.DateTimeField(read_only=True)
    offered = serializers.CharField(read_only=True)
    offered_fingerprint = serializers.SerializerMethodField()
    offered_at = serializers.DateTimeField(read_only=True, allow_null=True)
    offered_from = serializers.CharField(
        read_only=True, help_text="Who else knows that key: cloud-init, console; nobody: only the host shows it."
    )
    actions = serializers.SerializerMethodField()

    def get_offered_fingerprint(self, row: HostKey) -> str:
        return hostkeys.fingerprint(row.offered) if row.offered else ""

    @extend_schema_field(ACTIONS)
    def get_actions(self, row: HostKey) -> dict[str, Any]:
        return allowed(self.context["actor"], row)


class HostKeyViewSet(ResourceViewSet):
    """The keys hosts are known by."""

    queryset = HostKey.objects.select_related("cloud")
    serializer_class = HostKeySerializer
    operation_ids = {"trust": "trust_host"}

    @extend_schema(responses=HostKeySerializer)
    def list(self, request: Request, **kwargs: Any) -> Any:
        """The keys hosts are known by."""
        return super().list(request, **kwargs)

    @extend_schema(request=TrustHostParams, responses=HostKeySerializer)
    def trust(self, request: Request, **kwargs: Any) -> Response:
        """Trust a host's key, in place of what it was known by."""
        refuse_unknown(request, ())
        return self.made(perform(self.actor, HostKey, "trust", self.body()))


class AuthoritySerializer(serializers.Serializer[Any]):
    """A certificate authority. `line` goes into a user's authorized_keys, `public` into a file for sshd's TrustedUserCAKeys."""

    id = HexField()
    name = serializers.CharField(read_only=True)
    public = serializers.CharField(read_only=True)
    line = serializers.CharField(read_only=True)
    fingerprint = serializers.CharField(read_only=True)
    current = serializers.BooleanField(source="is_current", read_only=True)
    retired_at = serializers.DateTimeField(read_only=True, allow_null=True)
    logins = serializers.SerializerMethodField(help_text="As how many users machines let in whom it signed for.")
    tags = serializers.DictField(child=serializers.CharField(), read_only=True)
    owned_by = RefField(source="owner")
    created_by = RefField()
    created = serializers.DateTimeField(source="created_at", read_only=True)
    actions = serializers.SerializerMethodField()

    def get_logins(self, row: Authority) -> int:
        return row.trusts.count()

    @extend_schema_field(ACTIONS)
    def get_actions(self, row: Authority) -> dict[str, Any]:
        return allowed(self.context["actor"], row)


class AuthorityViewSet(ResourceViewSet):
    """The organization's SSH certificate authorities."""

    queryset = Authority.objects.select_related("owner", "created_by")
    serializer_class = AuthoritySerializer


def api_routes() -> list[URLPattern]:
    """Below /api/v2."""
    return [
        *routes("keys", KeyViewSet),
        path("host-keys", HostKeyViewSet.as_view({"get": "list", "post": "trust"})),
        *routes("host-keys", HostKeyViewSet),
        *routes("authorities", AuthorityViewSet),
        *secret_routes(),
    ]
