"""What can be done to clouds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from django.db import transaction
from rest_framework import serializers

from clouds import credentials, inventory, polling
from clouds.connection import account_of, open_provider
from clouds.models import Cloud, Image
from clouds.providers import provider
from clouds.providers.facts import PermissionCheck
from core import guard, listing, vault
from core.actions import Action, Call, register
from core.actor import Actor
from core.api import rate
from core.errors import AuthFailed, Denied, Invalid, NotFound, NotSupported, Rejected
from core.params import NameField, TagsField
from core.tags import Tagging
from keys import hostkeys, references
from keys.models import Key, Secret

CHECK_S = 30
STRICT_HELP = "No host of it is trusted at first sight: somebody compares the key it shows, and trusts it."
TRIES_A_MINUTE = 20  # of credentials that are being typed, a person


class CreateParams(serializers.Serializer[Any]):
    """`credentials`: the provider's fields, see /providers. A secret one takes a reference too: `secret:name/key`."""

    name = NameField()
    provider = serializers.CharField(max_length=40)
    credentials = serializers.DictField(write_only=True, required=False, default=dict)
    features = serializers.DictField(child=serializers.BooleanField(), required=False, default=dict)
    tags = TagsField(required=False, default=dict)
    strict_host_keys = serializers.BooleanField(required=False, default=False, help_text=STRICT_HELP)

    def validate_provider(self, value: str) -> str:
        try:
            return provider(value).name
        except NotFound as error:
            raise serializers.ValidationError(error.detail) from error


@dataclass(frozen=True, kw_only=True)
class Checked:
    """Credentials that have just worked. `values` refer to secrets where they were sent so; `account`: what the budget counts by."""

    values: dict[str, Any]
    account: str
    uses: dict[str, Secret]
    permissions: list[PermissionCheck] = field(default_factory=list)


def try_credentials(actor: Actor, provider_name: str, name: str, sent: dict[str, Any]) -> list[PermissionCheck]:
    """Do these credentials of a cloud that is not added yet work, and what may they do? Nothing is kept of them.

    Raises: Denied (who may not add it may not have it dialled), TooMany, and as check_credentials().
    """
    cloud = Cloud(org_id=actor.org_id, name=name[:255], provider=provider_name)
    if actor.read_only or not guard.permits(actor, cloud, "create"):
        raise Denied("You may not add clouds.", reason="no statement allows cloud.create")
    rate.count(actor, "cloud-check", TRIES_A_MINUTE, "checks of credentials")
    return check_credentials(cloud, provider_name, sent, actor, permissions=True).permissions


def check_credentials(cloud: Cloud, name: str, sent: dict[str, Any], actor: Actor, *, permissions: bool = False) -> Checked:
    """Validated credentials that have just worked; with `permissions`, what they may do. The keys they name are the actor's to use.

    Raises: Invalid, Denied, AuthFailed, Unavailable …
    """
    cls = provider(name)
    valid = credentials.validate(cls, sent)
    named = set(credentials.keys_in(cls.credential_fields, valid))
    if unseen := sorted(key for key in named if not listing.by_id_or_name(Key.objects.visible_to(actor), key)):
        said = f"There is no key {unseen[0][:80]}. Choose one that exists."  # the words of one that nobody has
        raise Invalid(said, fields={"credentials": [said]}, code="key_missing")
    public, secret = credentials.split(cls, valid)
    try:
        kept, opened, uses = references.fixed(actor, secret, why=f"cloud {cloud.name}")
    except Invalid as error:
        raise Invalid(error.detail, fields={"credentials": error.fields}, code=error.code) from error
    values = {**public, **opened}
    why = cls.needs_admin(values)
    if why and not actor.is_admin:
        raise Denied(why, code="admin_only", reason="only an installation admin may")
    with open_provider(name, values, cloud=cloud, actor=actor, deadline_s=CHECK_S) as made:
        found: list[PermissionCheck] = []
        try:
            made.check()
            found = made.permissions() if permissions else []
        except NotSupported:
            pass
        except (AuthFailed, Rejected) as error:
            raise Invalid(
                error.detail,
                code=error.code,
                fields={"credentials": [error.detail]},
                **{k: v for k, v in error.extra.items() if k == "words"},
            ) from error
    return Checked(values={**public, **kept}, account=account_of(cls, values, cloud), uses=uses, permissions=found)


@register
class Create(Action):
    """Add a cloud. Its credentials are tried at once; nothing is saved unless they work."""

    model = Cloud
    name = "create"
    creates = True
    params = CreateParams

    def prepare(self, call: Call) -> None:
        call.params["checked"] = check_credentials(call.target, call.params["provider"], call.params["credentials"], call.actor)

    def draft(self, actor: Actor, params: dict[str, Any]) -> Cloud:
        extra = {hostkeys.STRICT: params["strict_host_keys"]}
        return Cloud(org_id=actor.org_id, name=params["name"], provider=params["provider"], tags=params["tags"], extra=extra)

    def build(self, actor: Actor, params: dict[str, Any]) -> Cloud:
        cls = provider(params["provider"])
        public, secret = credentials.split(cls, params["checked"].values)
        cloud = Cloud(
            org_id=actor.org_id,
            name=params["name"],
            provider=cls.name,
            config=public,
            features={"compute": True, "dns": False, "container": False, "objectstorage": False} | params["features"],
            tags=params["tags"],
            extra={"loopback": actor.is_admin, hostkeys.STRICT: params["strict_host_keys"]},
            owner_id=actor.user_id,
            created_by_id=actor.user_id,
        )
        cloud.account = params["checked"].account
        if secret:
            cloud.vault = vault.put(actor.org_id, "cloud", secret)
        return cloud

    def run(self, call: Call) -> dict[str, Any]:
        polling.schedule(call.target)
        references.note_uses("cloud", call.target.pk, call.params["checked"].uses)
        return {"id": call.target.pk.hex}


class EditParams(serializers.Serializer[Any]):
    """What is left out stays."""

    name = NameField(required=False)
    enabled = serializers.BooleanField(required=False)
    features = serializers.DictField(child=serializers.BooleanField(), required=False)
    strict_host_keys = serializers.BooleanField(required=False, help_text=STRICT_HELP)


@register
class Edit(Action):
    """Rename, disable or enable a cloud, choose its features, or whether its hosts are trusted at first sight."""

    model = Cloud
    name = "edit"
    params = EditParams

    def run(self, call: Call) -> None:
        cloud, was_enabled = call.target, call.target.enabled
        for name, value in call.params.items():
            if name == hostkeys.STRICT:
                cloud.extra = {**cloud.extra, name: value}
            else:
                setattr(cloud, name, {**cloud.features, **value} if name == "features" else value)
        cloud.save()
        if cloud.enabled and not was_enabled:
            polling.schedule(cloud)


class RotateParams(serializers.Serializer[Any]):
    """All credentials anew; a secret left out stays what it was."""

    credentials = serializers.DictField(write_only=True)


@register
class Rotate(Action):
    """Give a cloud other credentials. They are tried first; with them it is polled at once."""

    model = Cloud
    name = "rotate"
    params = RotateParams

    def prepare(self, call: Call) -> None:
        cloud = call.target
        secret = vault.read(cloud.vault_id) if cloud.vault_id else {}
        sent = {k: v for k, v in call.params["credentials"].items() if v not in (None, "")}
        cls = provider(cloud.provider)
        names = {alias: field.name for field in cls.credential_fields for alias in (field.name, *field.aliases)}
        named = {names.get(key, key): value for key, value in sent.items()}
        kept = {k: v for k, v in {**cloud.config, **secret}.items() if v is not None}
        call.params["checked"] = check_credentials(cloud, cloud.provider, {**kept, **named}, call.actor)

    def run(self, call: Call) -> None:
        cloud, cls = call.target, provider(call.target.provider)
        checked: Checked = call.params["checked"]
        public, secret = credentials.split(cls, checked.values)
        cloud.config = public
        cloud.account = checked.account
        cloud.credentials_version += 1
        cloud.extra = {**cloud.extra, "loopback": call.actor.is_admin}
        if secret and cloud.vault_id:
            vault.replace(cloud.vault_id, secret)
        elif secret:
            cloud.vault = vault.put(cloud.org_id, "cloud", secret)
        cloud.save()
        references.note_uses("cloud", cloud.pk, checked.uses)
        polling.schedule(cloud)


@register
class Tag(Tagging):
    """Set and remove tags."""

    model = Cloud


@register
class Refresh(Action):
    """List everything again, now."""

    model = Cloud
    name = "refresh"
    exclusive = False

    def run(self, call: Call) -> None:
        polling.schedule(call.target)


@register
class Remove(Action):
    """Forget a cloud and what it listed. Nothing at the provider is touched.

    Row by row in small transactions, for it may have listed 100,000 machines: it is disabled first, so that nothing polls it
    or acts on what is left. A worker that dies in the middle leaves it disabled; a retry goes on where that one stopped.
    """

    model = Cloud
    name = "remove"
    background = True
    deletes = True
    tier = 2
    undo_s = 10
    queue = "bulk"
    deadline_s = 3600

    def run(self, call: Call) -> dict[str, Any]:
        cloud = call.target
        Cloud.objects.filter(pk=cloud.pk).update(enabled=False)
        removed = {}
        for kind in reversed(inventory.kinds().values()):  # what refers to others goes first
            removed[kind.model.plural or f"{kind.kind}s"] = inventory.forget(kind.model, cloud)
            call.step(kind.kind)
        with transaction.atomic():
            vault_id = cloud.vault_id
            references.note_uses("cloud", cloud.pk, {})
            cloud.delete()
            vault.delete(vault_id)
        return {"removed": {name: count for name, count in removed.items() if count}}


class StarParams(serializers.Serializer[Any]):
    """Starred images are offered first."""

    starred = serializers.BooleanField(required=False, default=True)


@register
class Star(Action):
    """Offer an image first, or no longer."""

    model = Image
    name = "star"
    params = StarParams
    exclusive = False

    def run(self, call: Call) -> None:
        call.target.starred = call.params["starred"]
        call.target.save(update_fields=["starred", "updated_at"])
