"""What can be done to the stores outside that keep secrets."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from rest_framework import serializers

from core import vault
from core.actions import Action, Call, register
from core.actor import Actor
from core.errors import Conflict, Invalid
from core.params import NameField, TagsField, clean_text
from keys import stores
from keys.models import SecretStore


def _address(value: str) -> str:
    """`https://vault.example.org:8200`, nothing after it.  Raises: serializers.ValidationError."""
    try:
        parts = urlsplit(value.strip())
        _ = parts.port
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname or any(ord(c) <= 32 for c in value.strip()):
        raise serializers.ValidationError("An address that begins with https:// or http://.")
    if parts.username or parts.password or parts.query or parts.fragment or parts.path not in ("", "/"):
        raise serializers.ValidationError("The address alone: https://host:port, with nothing before or after the host.")
    return f"{parts.scheme}://{parts.netloc.lower()}"


def _words(value: str) -> str:
    """A path of words between slashes.  Raises: serializers.ValidationError."""
    path = clean_text(value).strip("/")
    if path and any(part in ("", ".", "..") or any(c.isspace() or c in "?#%\\" for c in part) for part in path.split("/")):
        raise serializers.ValidationError("Words between single slashes.")
    return path


class CreateSecretStoreParams(serializers.Serializer[Any]):
    """Either `token`, or `role_id` and `secret_id` of an AppRole. `ca`: who signed its certificate. `default`: new secrets go there."""

    name = NameField()
    address = serializers.CharField(max_length=500)
    mount = serializers.CharField(max_length=200, required=False, default="secret")
    namespace = serializers.CharField(max_length=200, required=False, allow_blank=True, default="")
    token = serializers.CharField(max_length=10_000, required=False, allow_blank=True, write_only=True, default="")
    role_id = serializers.CharField(max_length=200, required=False, allow_blank=True, default="")
    secret_id = serializers.CharField(max_length=1000, required=False, allow_blank=True, write_only=True, default="")
    ca = serializers.CharField(max_length=100_000, required=False, allow_blank=True, default="")
    default = serializers.BooleanField(required=False, default=False)
    tags = TagsField(required=False, default=dict)

    def validate_address(self, value: str) -> str:
        return _address(value)

    def validate_mount(self, value: str) -> str:
        if not (path := _words(value)):
            raise serializers.ValidationError("Where the key-value engine is mounted: secret, kv …")
        return path

    def validate_namespace(self, value: str) -> str:
        return _words(value)

    def validate_role_id(self, value: str) -> str:
        return clean_text(value)

    def validate_ca(self, value: str) -> str:
        if "PRIVATE KEY" in value:
            raise serializers.ValidationError("A certificate, no key.")
        return value

    def _printable(self, value: str) -> str:
        value = value.strip()
        if not value.isprintable() or not value.isascii():
            raise serializers.ValidationError("Printable ASCII characters.")  # it goes into a header
        return value

    validate_token = _printable
    validate_secret_id = _printable


COLUMNS = ("address", "mount", "namespace", "role_id", "ca")


def _credentials(sent: dict[str, Any]) -> dict[str, str]:
    """What goes to our vault.  Raises: Invalid."""
    if sent.get("role_id"):
        if sent.get("token"):
            raise Invalid(fields={"token": ["A token, or an AppRole: not both."]})
        if not sent.get("secret_id"):
            raise Invalid(fields={"secret_id": ["An AppRole has a secret id."]})
        return {"secret_id": sent["secret_id"]}
    if not sent.get("token"):
        raise Invalid(fields={"token": ["A token is needed, or role id and secret id of an AppRole."]})
    return {"token": sent["token"]}


def _make_default(row: SecretStore) -> None:
    SecretStore.objects.filter(org_id=row.org_id, is_default=True).exclude(pk=row.pk).update(is_default=False)


def try_store(actor: Actor, params: dict[str, Any]) -> None:
    """What `create` would try, for an organization that is not there yet.  Raises: Invalid; Rejected, Unavailable … of the store."""
    form = CreateSecretStoreParams(data=params)
    if not form.is_valid():
        raise Invalid(fields=form.errors)
    row = Create().draft(actor, dict(form.validated_data))
    stores.remote(row, _credentials(form.validated_data)).check()


@register
class Create(Action):
    """Let secrets be kept in a HashiCorp Vault or an OpenBao. Address and credentials are tried at once."""

    model = SecretStore
    name = "create"
    creates = True
    tier = 1
    params = CreateSecretStoreParams

    def draft(self, actor: Actor, params: dict[str, Any]) -> SecretStore:
        return SecretStore(
            org_id=actor.org_id,
            name=params["name"],
            tags=params["tags"],
            is_default=params["default"],
            loopback=actor.is_admin,
            owner_id=actor.user_id,
            created_by_id=actor.user_id,
            **{name: params[name] for name in COLUMNS},
        )

    def prepare(self, call: Call) -> None:
        call.params["credentials"] = _credentials(call.params)
        stores.remote(call.target, call.params["credentials"]).check()

    def build(self, actor: Actor, params: dict[str, Any]) -> SecretStore:
        row = self.draft(actor, params)
        if row.is_default:
            _make_default(row)
        row.vault = vault.put(actor.org_id, "secret_store", params["credentials"])
        return row

    def run(self, call: Call) -> dict[str, Any]:
        return {"id": call.target.pk.hex}


class EditSecretStoreParams(CreateSecretStoreParams):
    """What is left out stays; so do credentials, unless others come, which are tried first."""

    name = NameField(required=False)
    address = serializers.CharField(max_length=500, required=False)
    mount = serializers.CharField(max_length=200, required=False)
    namespace = serializers.CharField(max_length=200, required=False, allow_blank=True)
    role_id = serializers.CharField(max_length=200, required=False, allow_blank=True)
    ca = serializers.CharField(max_length=100_000, required=False, allow_blank=True)
    default = serializers.BooleanField(required=False)
    tags = None


@register
class Edit(Action):
    """Change how a store is reached. All of it is tried before it is kept."""

    model = SecretStore
    name = "edit"
    tier = 1
    params = EditSecretStoreParams

    def prepare(self, call: Call) -> None:
        row, p = call.target, call.params
        changed = {name: p[name] for name in COLUMNS if name in p}
        if not changed and not p["token"] and not p["secret_id"]:
            return
        if row.secrets.exists() and any(name in ("mount", "namespace") and value != getattr(row, name) for name, value in changed.items()):
            raise Conflict(f"Secrets are kept at {row.mount} of {row}. Make another store for another place.", code="store_in_use")
        moved = any(changed.get(name, getattr(row, name)) != getattr(row, name) for name in ("address", "namespace"))
        if moved and not (p["token"] or p["secret_id"]):
            field = "secret_id" if p.get("role_id", row.role_id) else "token"
            raise Invalid(fields={field: ["Enter it again: it is not sent to another address unasked."]}, code="credentials_needed")
        sent = {"role_id": p.get("role_id", "" if p["token"] else row.role_id), "token": p["token"], "secret_id": p["secret_id"]}
        if not p["token"] and not p["secret_id"]:
            sent |= vault.read(row.vault_id)
        p["credentials"] = _credentials(sent)
        p["columns"] = {**changed, "role_id": sent["role_id"], "loopback": call.actor.is_admin}
        trial = SecretStore(pk=row.pk, org_id=row.org_id, name=row.name)
        for name in (*COLUMNS, "loopback"):
            setattr(trial, name, p["columns"].get(name, getattr(row, name)))
        stores.remote(trial, p["credentials"]).check()

    def run(self, call: Call) -> None:
        row, p = call.target, call.params
        for name, value in p.get("columns", {}).items():
            setattr(row, name, value)
        row.name = p.get("name", row.name)
        row.is_default = p.get("default", row.is_default)
        if row.is_default:
            _make_default(row)
        if "credentials" in p:
            vault.replace(row.vault_id, p["credentials"])
        row.save()


@register
class Delete(Action):
    """Forget a store that keeps no secret of ours any more."""

    model = SecretStore
    name = "delete"
    deletes = True
    tier = 2

    def reason(self, target: SecretStore) -> str | None:
        return "Secrets are kept there." if target.secrets.exists() else None

    def check(self, call: Call) -> None:
        if count := call.target.secrets.count():
            raise Conflict(f"{call.target} keeps {count} secrets. Delete those first.", code="store_in_use")

    def run(self, call: Call) -> None:
        vault_id = call.target.vault_id
        call.target.delete()
        vault.delete(vault_id)
