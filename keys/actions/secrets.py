"""What can be done to secrets. Values come in by params that no job keeps, and go out to nobody but who asked under record.

Where a secret is in a store outside, `prepare` writes there: a version is added after one that was seen, or nothing is, so that
a record which fails afterwards leaves a version nobody refers to, and takes nothing away.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from django.utils import timezone
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from core.actions import Action, Call, register
from core.actor import Actor
from core.errors import Conflict, Invalid, NotFound
from core.params import NameField, ResourceField, TagsField, clean_text
from core.tags import Tagging
from keys import references, stores
from keys.models import Secret, SecretStore

MOST_KEYS = 100
MOST_KEY = 128  # characters
MOST_VALUE = 65_536
MOST_ALL = 500_000  # of all values: Vault takes entries to 1 MiB
TEXTS = {"type": "object", "additionalProperties": {"type": "string", "maxLength": MOST_VALUE}, "maxProperties": MOST_KEYS}
PAIR = {"type": "object", "properties": {"key": {"type": "string"}, "value": {"type": "string"}}, "required": ["key"]}


def checked(values: Mapping[Any, Any]) -> dict[str, str]:
    """{key: text}.  Raises: serializers.ValidationError, never with a value in its words."""
    if len(values) > MOST_KEYS:
        raise serializers.ValidationError(f"At most {MOST_KEYS} values.")
    found: dict[str, str] = {}
    for key, value in values.items():
        name = clean_text(key) if isinstance(key, str) else ""
        if not name or len(name) > MOST_KEY or "/" in name or "\n" in name:
            raise serializers.ValidationError(f"A key has 1 to {MOST_KEY} printable characters and no slash.")
        if isinstance(value, bool):
            value = json.dumps(value)
        if not isinstance(value, str | int | float):
            raise serializers.ValidationError(f"{name}: text.")
        found[name] = str(value)
        if "\0" in found[name] or any(0xD800 <= ord(c) < 0xE000 for c in found[name]):
            raise serializers.ValidationError(f"{name}: a null character is not allowed.")
        if len(found[name]) > MOST_VALUE:
            raise serializers.ValidationError(f"{name}: at most {MOST_VALUE:,} characters.")
    if sum(map(len, found.values())) > MOST_ALL:
        raise serializers.ValidationError(f"At most {MOST_ALL:,} characters in all.")
    return found


@extend_schema_field({"oneOf": [TEXTS, {"type": "array", "items": PAIR}, {"type": "string"}]})
class ValuesField(serializers.Field[Any, Any, Any, Any]):
    """`{key: value}`, the contract's [{"key", "value"}], or text: one value under the key `value`."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(write_only=True, **kwargs)

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, str):
            return data  # what it is, JSON or not, says another field
        if isinstance(data, list):
            if not all(isinstance(pair, Mapping) and "key" in pair for pair in data):
                raise serializers.ValidationError("Send an object, a list of {key, value}, or text.")
            if len({str(pair["key"]) for pair in data}) < len(data):
                raise serializers.ValidationError("A key stands there twice.")
            data = {pair["key"]: pair.get("value", "") for pair in data}
        if not isinstance(data, Mapping):
            raise serializers.ValidationError("Send an object, a list of {key, value}, or text.")
        return checked(data)

    def to_representation(self, value: Any) -> Any:
        return value


class _WithValues(serializers.Serializer[Any]):
    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        said, is_json = attrs.get("secret"), attrs.pop("json", False)
        if isinstance(said, str):
            values: Any = {"value": said}
            if is_json:
                try:
                    values = json.loads(said)
                except (ValueError, RecursionError):
                    raise serializers.ValidationError({"secret": ["This is no JSON."]}) from None  # the cause quotes it
                if not isinstance(values, dict):
                    raise serializers.ValidationError({"secret": ["A JSON object: {key: value}."]})
            try:
                attrs["secret"] = checked(values)
            except serializers.ValidationError as error:
                raise serializers.ValidationError({"secret": error.detail}) from None
        return attrs


class CreateSecretParams(_WithValues):
    """`secret`: its values. `json`: they come as the text of a JSON object. `store`: null for our own vault; left out, the default."""

    name = NameField()
    secret = ValuesField()
    json = serializers.BooleanField(required=False, default=False)
    store = ResourceField(SecretStore, required=False, allow_null=True)
    tags = TagsField(required=False, default=dict)

    def validate_secret(self, value: Any) -> Any:
        if not value:
            raise serializers.ValidationError("At least one value.")
        return value


def _path(text: str, field: str) -> str:
    """A path in a store, without what its address would read as something else.  Raises: Invalid."""
    path = text.strip().strip("/")
    parts = path.split("/")
    if not path or len(path) > 512 or any(part in ("", ".", "..") or part != part.strip() for part in parts):
        raise Invalid(fields={field: ["A path of the store has words between single slashes."]}, code="bad_path")
    return path


def _new(actor: Actor, params: Mapping[str, Any], **more: Any) -> Secret:
    return Secret(
        org_id=actor.org_id,
        name=params["name"],
        tags=params["tags"],
        owner_id=actor.user_id,
        created_by_id=actor.user_id,
        **more,
    )


@register
class Create(Action):
    """Keep a set of values under a name."""

    model = Secret
    name = "create"
    creates = True
    params = CreateSecretParams

    def draft(self, actor: Actor, params: dict[str, Any]) -> Secret:
        store = params["store"] if "store" in params else SecretStore.objects.filter(org_id=actor.org_id, is_default=True).first()
        return _new(actor, params, store=store, path=_path(params["name"], "name") if store else "")

    def prepare(self, call: Call) -> None:
        secret, p = call.target, call.params
        p["draft"] = secret
        if secret.store is None:
            return
        if Secret.objects.filter(org_id=secret.org_id, name__iexact=secret.name).exists():  # before anything is written there
            raise Conflict("There is already a secret of that name. Choose another.", code="name_taken")
        try:
            p["number"] = stores.of(secret).write(secret, p["secret"], after=0, actor=call.actor)
        except Conflict as error:
            detail = f"{secret.store} holds something at {secret.path} already. Adopt it, or choose another name."
            raise Conflict(detail, code="path_taken") from error

    def build(self, actor: Actor, params: dict[str, Any]) -> Secret:
        secret: Secret = params["draft"]
        secret.tags = params["tags"]
        secret.keys, secret.latest = sorted(params["secret"]), params.get("number", 0)
        return secret

    def run(self, call: Call) -> dict[str, Any]:
        secret = call.target
        if secret.store_id is None:
            secret.latest = stores.Own().write(secret, call.params["secret"], after=0, actor=call.actor)
            secret.save(update_fields=["latest"])
        return {"id": secret.pk.hex, "version": secret.latest}


class AdoptSecretParams(serializers.Serializer[Any]):
    """`path`: where it is in the store, below its mount; left out, its name."""

    name = NameField()
    store = ResourceField(SecretStore)
    path = serializers.CharField(max_length=512, required=False, allow_blank=True, default="")
    tags = TagsField(required=False, default=dict)


@register
class Adopt(Action):
    """Know a secret that a store outside holds already. Its values stay there, also when it is deleted here."""

    model = Secret
    name = "adopt"
    creates = True
    tier = 1
    params = AdoptSecretParams

    def draft(self, actor: Actor, params: dict[str, Any]) -> Secret:
        path = _path(params["path"] or params["name"], "path")
        return _new(actor, params, store=params["store"], path=path, is_adopted=True)

    def prepare(self, call: Call) -> None:
        secret = call.params["draft"] = call.target
        found = stores.of(secret).read(secret)
        if not found.number or found.is_gone:
            raise Invalid(fields={"path": [f"{secret.store} holds nothing at {secret.path}."]}, code="nothing_there")
        secret.keys, secret.latest = _names(found.values), found.number

    def build(self, actor: Actor, params: dict[str, Any]) -> Secret:
        secret: Secret = params["draft"]
        secret.tags = params["tags"]
        return secret

    def run(self, call: Call) -> dict[str, Any]:
        return {"id": call.target.pk.hex, "version": call.target.latest}


def _names(values: Mapping[str, Any]) -> list[str]:
    """Keys as the row may hold them."""
    return sorted(key.replace("\0", "")[:MOST_KEY] for key in values)[: MOST_KEYS * 10]


class Writing(Action):
    """What makes a version of a secret that is there."""

    model = Secret

    def values(self, call: Call, now: stores.Contents) -> Mapping[str, Any] | None:
        """What the version is to hold, `now` being the newest; None: none is to be made."""
        raise NotImplementedError

    def prepare(self, call: Call) -> None:
        if call.target.store_id is None:
            return
        store, p = stores.of(call.target), call.params
        now = store.read(call.target)
        made = self.values(call, now)
        if made is not None:
            p["made"], p["number"] = made, store.write(call.target, made, after=now.number, actor=call.actor)

    def run(self, call: Call) -> dict[str, Any] | None:
        secret, p = call.target, call.params
        if secret.store_id is None:
            store = stores.Own()
            made = self.values(call, store.read(secret))
            if made is not None:
                p["made"], p["number"] = made, store.write(secret, made, after=secret.latest, actor=call.actor)
        if "number" in p:
            secret.keys, secret.latest, secret.changed_at = _names(p["made"]), p["number"], timezone.now()
            references.renewed(secret)
        secret.save()
        return {"version": secret.latest}


class EditSecretParams(_WithValues):
    """`secret`: all its values anew. Or `change`: some of them, and `remove`: keys to take away; the others stay, unread.

    `based_on`: the version that was looked at; another meanwhile is a conflict.
    """

    name = NameField(required=False)
    secret = ValuesField(required=False)
    json = serializers.BooleanField(required=False, default=False)
    change = ValuesField(required=False)
    remove = serializers.ListField(child=serializers.CharField(max_length=MOST_KEY), required=False, max_length=MOST_KEYS)
    based_on = serializers.IntegerField(required=False, min_value=1)

    def validate_change(self, value: Any) -> Any:
        if isinstance(value, str):
            raise serializers.ValidationError("Send an object: {key: value}.")
        return value

    def validate_secret(self, value: Any) -> Any:
        if not value:
            raise serializers.ValidationError("At least one value.")
        return value


@register
class Edit(Writing):
    """Rename it, or give it other values: a new version."""

    name = "edit"
    params = EditSecretParams

    def values(self, call: Call, now: stores.Contents) -> Mapping[str, Any] | None:
        secret, p = call.target, call.params
        if not {"secret", "change", "remove"} & p.keys():
            return None
        if p.get("based_on", now.number) != now.number:
            raise stores.moved(secret)
        if "secret" in p:
            if "change" in p or "remove" in p:
                raise Invalid(fields={"secret": ["Send all values, or those to change, not both."]})
            return dict(p["secret"])
        if now.is_gone:
            detail = f"The newest version of {secret} was deleted in its store. Restore one, or send all its values."
            raise Conflict(detail, code="secret_gone")
        kept = {key: value for key, value in now.values.items() if key not in p.get("remove", ())}
        made = kept | p.get("change", {})
        if len(made) > MOST_KEYS or not made:
            raise Invalid(fields={"change": [f"1 to {MOST_KEYS} values are left, no fewer and no more."]})
        return None if made == now.values else made

    def run(self, call: Call) -> dict[str, Any] | None:
        call.target.name = call.params.get("name", call.target.name)
        return super().run(call)


class RestoreSecretParams(serializers.Serializer[Any]):
    """`version`: whose values it is to have again."""

    version = serializers.IntegerField(min_value=1, max_value=2**31 - 1)


@register
class Restore(Writing):
    """Give it the values of an older version again, as a new one."""

    name = "restore"
    params = RestoreSecretParams
    tier = 1
    bulk = False

    def values(self, call: Call, now: stores.Contents) -> Mapping[str, Any] | None:
        secret, wanted = call.target, call.params["version"]
        try:
            old = stores.of(secret).read(secret, wanted)
        except NotFound as error:
            raise Invalid(fields={"version": [error.detail]}, code="no_version") from error
        if old.is_gone:
            raise Invalid(fields={"version": [f"Version {wanted} was deleted in its store."]}, code="no_version")
        if old.values == now.values and not now.is_gone:
            raise Conflict(f"{secret} has the values of version {wanted} already.", code="same_values")
        return old.values


class ReasonParams(serializers.Serializer[Any]):
    """`reason`: why, for the record. `version`: an older one."""

    reason = serializers.CharField(max_length=500, required=False, allow_blank=True, default="")
    version = serializers.IntegerField(required=False, min_value=1, max_value=2**31 - 1)

    def validate_reason(self, value: str) -> str:
        return clean_text(value)


class _Told(Action):
    """What is told of a secret's values: the fact is the event, and whoever asked reads the store afterwards."""

    model = Secret
    params = ReasonParams
    exclusive = False
    bulk = False

    def run(self, call: Call) -> None:
        Secret.objects.filter(pk=call.target.pk).update(used_at=timezone.now())

    def snapshot(self, target: Any) -> dict[str, Any] | None:
        return None


@register
class ReadValue(_Told):
    """See its values. Recorded, and a right of its own."""

    name = "read_value"
    tier = 1
    hands_out = True


@register
class Use(_Told):
    """Hand its values to a script or a cloud, which is what a reference to it does. Recorded, and a right of its own."""

    name = "use"
    hands_out = True


@register
class Tag(Tagging):
    """Set and remove tags."""

    model = Secret


@register
class Refresh(Action):
    """Look again which keys and which version the store outside has."""

    model = Secret
    name = "refresh"

    def offered(self, secret: Secret) -> bool:
        return secret.store_id is not None

    def prepare(self, call: Call) -> None:
        if call.target.store_id is not None:
            call.params["found"] = stores.of(call.target).read(call.target)

    def check(self, call: Call) -> None:
        if call.target.store_id is None:
            raise Conflict(f"{call.target} is in our own vault: there is nowhere else to look.", code="own_vault")

    def run(self, call: Call) -> dict[str, Any]:
        secret, found = call.target, call.params["found"]
        if found.number != secret.latest:
            secret.changed_at = timezone.now()
            references.renewed(secret)
        secret.keys, secret.latest = _names(found.values), found.number
        secret.save()
        return {"version": secret.latest}


@register
class Delete(Action):
    """Delete a secret with all its versions. One that was adopted stays in its store."""

    model = Secret
    name = "delete"
    deletes = True
    tier = 2

    def reason(self, target: Secret) -> str | None:
        return "It is in use: give what uses it other credentials first." if target.uses.all() else None  # fetched with a list

    def check(self, call: Call) -> None:
        if count := call.target.uses.values("kind", "target_id").distinct().count():
            what = "cloud refers" if count == 1 else "clouds refer"
            raise Conflict(f"{count} {what} to {call.target}. Give them other credentials first.", code="secret_in_use")

    def prepare(self, call: Call) -> None:
        secret = call.target
        if secret.store_id is not None and not secret.is_adopted:
            self.check(call)
            stores.of(secret).destroy(secret)

    def run(self, call: Call) -> dict[str, Any]:
        secret = call.target
        stays = {"store": secret.store.name, "path": secret.path} if secret.store_id is not None and secret.is_adopted else None
        if secret.store_id is None:
            stores.Own().destroy(secret)
        secret.delete()
        return {"stays": stays}
