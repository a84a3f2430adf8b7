"""What can be done to SSH keys, certificate authorities and the host keys we know. A private part goes into the vault and nowhere else."""

from __future__ import annotations

import re
from typing import Any

from django.utils import timezone
from rest_framework import serializers

from core import live, vault
from core.actions import Action, Call, register
from core.actor import Actor
from core.errors import Conflict, Invalid
from core.params import NameField, TagsField
from core.tags import Tagging
from keys import hostkeys, pairs, references
from keys.models import Authority, HostKey, Key


class CreateKeyParams(serializers.Serializer[Any]):
    """Either `generate`, or `private` with its `passphrase` where it is encrypted, or `public` alone. `default`: for new machines.

    Private part and passphrase may be references to a secret: `secret:name/key`.
    """

    name = NameField()
    generate = serializers.BooleanField(required=False, default=False)
    algorithm = serializers.ChoiceField(choices=tuple(pairs.ALGORITHMS), required=False, default="ssh-ed25519")
    private = serializers.CharField(max_length=pairs.MAX_CHARACTERS, required=False, write_only=True, trim_whitespace=False)
    passphrase = serializers.CharField(
        max_length=1024, required=False, allow_blank=True, default="", write_only=True, trim_whitespace=False
    )
    public = serializers.CharField(max_length=pairs.MAX_CHARACTERS, required=False)
    certificate = serializers.CharField(max_length=pairs.MAX_CHARACTERS, required=False, allow_blank=True, default="")
    default = serializers.BooleanField(required=False, default=None, allow_null=True)
    tags = TagsField(required=False, default=dict)

    def validate_public(self, value: str) -> str:
        if "PRIVATE" in value:  # else a private part would be kept as what was sent
            raise serializers.ValidationError("This is no public key.")
        return value

    validate_certificate = validate_public


@register
class Create(Action):
    """Add a key: a new pair, or one somebody has. The first of an organization is its default."""

    model = Key
    name = "create"
    creates = True
    params = CreateKeyParams

    def prepare(self, call: Call) -> None:
        p = call.params
        for name in ("private", "passphrase"):
            if references.is_reference(p.get(name)):
                p[name] = _referred(call, name)
        if p["generate"]:
            pair = pairs.generate(p["algorithm"])
        elif p.get("private"):
            pair = pairs.read_private(p["private"], p["passphrase"])
        elif p.get("public"):
            pair = pairs.read_public(p["public"])
        else:
            raise Invalid(fields={"private": ["Send a private key, or generate: true."]})
        if pair.private and p.get("public") and pairs.read_public(p["public"]).public != pair.public:
            raise Invalid(fields={"public": ["This is the public half of another key."]}, code="bad_key")
        p["pair"] = pair
        if p["certificate"]:
            p["certificate"] = pairs.read_certificate(p["certificate"], pair)

    def build(self, actor: Actor, params: dict[str, Any]) -> Key:
        pair: pairs.Pair = params["pair"]
        mine = Key.objects.filter(org_id=actor.org_id)
        default = params["default"] if params["default"] is not None else bool(pair.private) and not mine.exists()
        if default:
            mine.filter(is_default=True).update(is_default=False)
        return Key(
            org_id=actor.org_id,
            name=params["name"],
            public=pair.public,
            fingerprint=pair.fingerprint,
            algorithm=pair.algorithm,
            certificate=params["certificate"],
            is_default=default,
            vault=vault.put(actor.org_id, "key", {"private": pair.private}) if pair.private else None,
            tags=params["tags"],
            owner_id=actor.user_id,
            created_by_id=actor.user_id,
        )

    def run(self, call: Call) -> dict[str, Any]:
        return {"id": call.target.pk.hex, "public": call.target.public}


def _referred(call: Call, name: str) -> str:
    """The value a field refers to; the key is a copy of it.  Raises: Invalid, in that field; Denied, Failed."""
    text = call.params[name].strip()
    try:
        return references.read(call.actor, [text], why=f"key {call.params['name']}")[text]
    except Invalid as error:
        raise Invalid(fields={name: [error.detail]}, code=error.code) from error


class EditKeyParams(serializers.Serializer[Any]):
    """What is left out stays."""

    name = NameField(required=False)
    default = serializers.BooleanField(required=False)
    certificate = serializers.CharField(max_length=pairs.MAX_CHARACTERS, required=False, allow_blank=True)

    validate_certificate = CreateKeyParams.validate_public


@register
class Edit(Action):
    """Rename a key, make it the default, or give it a certificate."""

    model = Key
    name = "edit"
    params = EditKeyParams

    def run(self, call: Call) -> None:
        key, p = call.target, call.params
        if p.get("default"):
            Key.objects.filter(org_id=key.org_id, is_default=True).exclude(pk=key.pk).update(is_default=False)
        if "certificate" in p:
            key.certificate = pairs.read_certificate(p["certificate"], pairs.read_public(key.public)) if p["certificate"] else ""
        key.name = p.get("name", key.name)
        key.is_default = p.get("default", key.is_default)
        key.save()


@register
class Tag(Tagging):
    """Set and remove tags."""

    model = Key


@register
class Export(Action):
    """Take the private part out. Recorded, and a right of its own; whoever asked reads the vault afterwards."""

    model = Key
    name = "export"
    tier = 1
    hands_out = True
    exclusive = False
    bulk = False

    def reason(self, target: Key) -> str | None:
        return None if target.vault_id else "Its private part is not here."

    def check(self, call: Call) -> None:
        if call.target.vault_id is None:
            raise Conflict(f"The private part of {call.target} is not here.", code="key_without_private")

    def run(self, call: Call) -> None:
        """The fact is the event."""


@register
class Delete(Action):
    """Delete a key and its private part. Machines keep it in their authorized_keys."""

    model = Key
    name = "delete"
    deletes = True
    tier = 2

    def run(self, call: Call) -> dict[str, Any]:
        vault_id, used = call.target.vault_id, call.target.associations.count()
        call.target.delete()
        vault.delete(vault_id)
        return {"associations": used}


# --- the organization's certificate authority ----------------------------------------------------------------------------


class CreateAuthorityParams(serializers.Serializer[Any]):
    """What to call it."""

    name = NameField(required=False, default="ssh-ca")


def _new_authority(actor: Actor, org_id: Any, name: str) -> Authority:
    pair = pairs.generate()
    return Authority(
        org_id=org_id,
        name=name,
        public=pair.public,
        fingerprint=pair.fingerprint,
        vault=vault.put(org_id, "authority", {"private": pair.private}),
        owner_id=actor.user_id,
        created_by_id=actor.user_id,
    )


@register
class CreateAuthority(Action):
    """Make the organization's SSH certificate authority. Its private part goes into the vault and never comes out."""

    model = Authority
    name = "create"
    creates = True
    tier = 1
    params = CreateAuthorityParams

    def check(self, call: Call) -> None:
        if Authority.objects.filter(org_id=call.actor.org_id, is_current=True).exists():
            raise Conflict("The organization has a certificate authority. Rotate it for a new one.", code="authority_exists")

    def build(self, actor: Actor, params: dict[str, Any]) -> Authority:
        return _new_authority(actor, actor.org_id, params["name"])

    def run(self, call: Call) -> dict[str, Any]:
        return {"id": call.target.pk.hex, "fingerprint": call.target.fingerprint, "line": call.target.line}


@register
class RotateAuthority(Action):
    """Make a new authority. Machines trust the old one, which signs for them alone, until they are told to trust the new."""

    model = Authority
    name = "rotate"
    tier = 1
    bulk = False

    def reason(self, target: Authority) -> str | None:
        return None if target.is_current else "It was rotated already."

    def check(self, call: Call) -> None:
        if not call.target.is_current:
            raise Conflict(f"{call.target} was rotated already.", code="authority_retired")

    def run(self, call: Call) -> dict[str, Any]:
        old: Authority = call.target
        old.is_current, old.retired_at = False, timezone.now()
        old.save(update_fields=["is_current", "retired_at", "updated_at"])
        base, number = re.sub(r"-\d+$", "", old.name)[:240], Authority.objects.filter(org_id=old.org_id).count() + 1
        while Authority.objects.filter(org_id=old.org_id, name__iexact=f"{base}-{number}").exists():
            number += 1
        new = _new_authority(call.actor, old.org_id, f"{base}-{number}")
        new.save(force_insert=True)
        live.changed(old.org_id, "authority", [new.pk])
        return {"id": new.pk.hex, "fingerprint": new.fingerprint, "line": new.line, "machines": old.trusts.count()}


@register
class DeleteAuthority(Action):
    """Delete an authority that no machine trusts any more, with its private part."""

    model = Authority
    name = "delete"
    deletes = True
    tier = 2

    def reason(self, target: Authority) -> str | None:
        return "Machines trust it: have them trust the new one first." if target.trusts.exists() else None

    def check(self, call: Call) -> None:
        if count := call.target.trusts.count():
            raise Conflict(f"{count} logins trust {call.target}. Have those machines trust another first.", code="authority_trusted")

    def run(self, call: Call) -> None:
        vault_id = call.target.vault_id
        call.target.delete()
        vault.delete(vault_id)


# --- hosts ------------------------------------------------------------------------------------------------------------


class TrustHostParams(serializers.Serializer[Any]):
    """`public`: the host's OpenSSH line, compared by a person with the host's own. It takes the place of the ones known."""

    host = serializers.RegexField(r"^[A-Za-z0-9._:%\[\]-]+$", max_length=255)
    port = serializers.IntegerField(min_value=1, max_value=65535, required=False, default=22)
    public = serializers.CharField(max_length=pairs.MAX_CHARACTERS)

    def validate_public(self, value: str) -> str:
        try:
            return pairs.read_public(value).public
        except Invalid as error:
            raise serializers.ValidationError(next(iter(error.fields.values()))) from error


@register
class Trust(Action):
    """Trust a host's key, in place of what it was known by."""

    model = HostKey
    name = "trust"
    creates = True
    tier = 1
    params = TrustHostParams

    def draft(self, actor: Actor, params: dict[str, Any]) -> HostKey:
        pair = pairs.read_public(params["public"])
        known = HostKey.objects.filter(org_id=actor.org_id, host=params["host"], port=params["port"]).first()
        return HostKey(
            org_id=actor.org_id,
            cloud_id=known.cloud_id if known else None,
            name=f"{params['host']}:{params['port']}"[:255],
            host=params["host"],
            port=params["port"],
            public=pair.public,
            fingerprint=pair.fingerprint,
            source="operator",
            owner_id=actor.user_id,
            created_by_id=actor.user_id,
        )

    def build(self, actor: Actor, params: dict[str, Any]) -> HostKey:
        row = self.draft(actor, params)
        known = HostKey.objects.select_for_update().filter(org_id=actor.org_id, host=row.host, port=row.port)
        params["forgotten"] = [one.fingerprint for one in known if one.fingerprint]
        if params["forgotten"] == [row.fingerprint]:
            raise Conflict(f"{row.host} is known by this key already.", code="host_key_known")
        known.delete()
        return row

    def run(self, call: Call) -> dict[str, Any]:
        return {"id": call.target.pk.hex, "fingerprint": call.target.fingerprint, "forgotten": call.params["forgotten"]}

    def snapshot(self, target: Any) -> dict[str, Any] | None:
        return {"host": target.host, "port": target.port, "fingerprint": target.fingerprint, "source": target.source}


class RetrustParams(serializers.Serializer[Any]):
    """`fingerprint`: of the key the host shows now, as who confirms saw it; another one that it shows by then is not trusted."""

    fingerprint = serializers.CharField(max_length=80)


@register
class Retrust(Action):
    """Trust the key a host shows and that is blocked: another than it was known by, or the first. Compare it with the host's own first."""

    model = HostKey
    name = "retrust"
    tier = 1
    bulk = False
    params = RetrustParams

    def offered(self, row: HostKey) -> bool:
        return bool(row.offered)

    def check(self, call: Call) -> None:
        row = call.target
        if not row.offered:
            raise Conflict(f"{row} shows the key it is known by.", code="host_key_unchanged")
        if call.params["fingerprint"] != (shown := hostkeys.fingerprint(row.offered)):
            raise Conflict(f"{row} shows {shown} by now. Compare that one with the host's own.", code="host_key_other", offered=shown)

    def run(self, call: Call) -> dict[str, Any]:
        row = call.target
        HostKey.objects.filter(org_id=row.org_id, host=row.host, port=row.port).exclude(pk=row.pk).delete()
        told = {"forgotten": row.fingerprint.split(), "forgotten_source": row.source, "offered_from": row.offered_from}
        row.public, row.fingerprint, row.source = row.offered, hostkeys.fingerprint(row.offered), "operator"
        row.trusted_at, row.offered, row.offered_at, row.offered_from = timezone.now(), "", None, ""
        row.save()
        return {"fingerprint": row.fingerprint, **told}

    def snapshot(self, target: Any) -> dict[str, Any] | None:
        return {"host": target.host, "port": target.port, "fingerprint": target.fingerprint, "source": target.source}


@register
class Forget(Action):
    """Forget a host's key: the next one it shows is trusted at first sight, or asked for, as its cloud says."""

    model = HostKey
    name = "delete"
    deletes = True
    tier = 1

    def run(self, call: Call) -> None:
        call.target.delete()

    def snapshot(self, target: Any) -> dict[str, Any] | None:
        return {"host": target.host, "port": target.port, "fingerprint": target.fingerprint, "source": target.source}
