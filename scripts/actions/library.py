"""The library: adding a script, changing it (which makes a version), deleting it."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from core.actions import Action, Call, register
from core.actor import Actor
from core.errors import Conflict, Invalid
from core.params import NameField, ResourceField, TagsField, clean_text
from core.tags import Tagging
from keys import references
from keys.models import Key
from scripts import content, sources
from scripts.content import Content
from scripts.models import Run, Script, ScriptVersion
from scripts.parameters import MOST, ParameterSerializer, validate_all

SSH_BY = "The key that is let in where a repository is read over SSH: a deploy key, say."
PRIVATE_BY = "secret:name/key of a token, or of user:password, by which a private address or repository is read over https."


@extend_schema_field({"type": "string", "maxLength": content.MOST_FILE_BYTES})
class ScriptField(serializers.CharField):
    """The text itself, or the address of what is fetched."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(trim_whitespace=False, max_length=content.MOST_FILE_BYTES, write_only=True, **kwargs)


class EntrypointField(serializers.CharField):
    """A path inside the folder."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(required=False, allow_blank=True, max_length=content.MOST_PATH, **kwargs)

    def to_internal_value(self, data: Any) -> str:
        return clean_text(super().to_internal_value(data))


class TokenField(serializers.CharField):
    """A reference to a secret: `secret:name/key`. Never the token itself."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(required=False, allow_blank=True, max_length=520, help_text=PRIVATE_BY, **kwargs)

    def to_internal_value(self, data: Any) -> str:
        text = super().to_internal_value(data)
        if not text:
            return ""
        try:
            found = references.parse(text)
        except ValueError as error:
            raise serializers.ValidationError(str(error)) from error
        return f"{references.PREFIX}{found.name}/{found.key}"


class CreateScriptParams(serializers.Serializer[Any]):
    """`script`: the text, the URL of a file, tar or zip, or a repository (`ref`: branch, tag or commit; `github` takes owner/name too).

    What is private is read by a `key` (ssh://…, git@host:…) or a `token` (https://…).
    """

    name = NameField()
    script = ScriptField()
    location_type = serializers.ChoiceField(choices=Script.Source.values, required=False, default="inline")
    exec_type = serializers.ChoiceField(choices=Script.Exec.values, required=False, default="executable")
    entrypoint = EntrypointField(default="")
    ref = serializers.CharField(max_length=255, required=False, allow_blank=True, default="")
    key = ResourceField(Key, required=False, allow_null=True, help_text=SSH_BY)
    token = TokenField()
    description = serializers.CharField(max_length=10_000, required=False, allow_blank=True, default="")
    parameters = ParameterSerializer(many=True, required=False, default=list, max_length=MOST)  # type: ignore[call-arg]
    tags = TagsField(required=False, default=dict)

    def validate_description(self, value: str) -> str:
        return clean_text(value)

    def validate_parameters(self, value: list[dict[str, Any]]) -> list[dict[str, Any]]:
        validate_all(value)
        return value


@register
class Create(Action):
    """Add a script to the library."""

    model = Script
    name = "create"
    creates = True
    params = CreateScriptParams

    def prepare(self, call: Call) -> None:
        call.params["content"] = _load(call.actor, call.params)

    def build(self, actor: Actor, params: dict[str, Any]) -> Script:
        inline = params["location_type"] == "inline"
        return Script(
            org_id=actor.org_id,
            name=params["name"],
            description=params["description"],
            exec_type=params["exec_type"],
            location_type=params["location_type"],
            location="" if inline else params["script"].strip()[:2000],
            ref=params["ref"],
            key=None if inline else params.get("key"),
            token="" if inline else params.get("token", ""),
            tags=params["tags"],
            owner_id=actor.user_id,
            created_by_id=actor.user_id,
        )

    def run(self, call: Call) -> dict[str, Any]:
        version = _version(call.target, 1, call.params["content"], call.params["parameters"], call.actor)
        return {"id": call.target.pk.hex, "version": 1, "digest": version.digest}


class EditScriptParams(serializers.Serializer[Any]):
    """What is left out stays. What changes `script`, `entrypoint`, `ref` or `parameters` makes a version.

    `key`, `token`: by which it is fetched from now on.
    `fetch`: ask its address or repository again. `based_on`: the version that was edited; another meanwhile is a conflict.
    """

    name = NameField(required=False)
    description = serializers.CharField(max_length=10_000, required=False, allow_blank=True)
    script = ScriptField(required=False)
    entrypoint = EntrypointField()
    ref = serializers.CharField(max_length=255, required=False, allow_blank=True)
    key = ResourceField(Key, required=False, allow_null=True, help_text=SSH_BY)
    token = TokenField()
    parameters = ParameterSerializer(many=True, required=False, max_length=MOST)  # type: ignore[call-arg]
    fetch = serializers.BooleanField(required=False, default=False)
    based_on = serializers.IntegerField(required=False, min_value=1)

    validate_description = CreateScriptParams.validate_description
    validate_parameters = CreateScriptParams.validate_parameters


@register
class Edit(Action):
    """Change a script. Its versions stay: a change of what it says is a new one."""

    model = Script
    name = "edit"
    params = EditScriptParams

    def prepare(self, call: Call) -> None:
        script, p = call.target, call.params
        if not ({"script", "entrypoint", "ref", "key", "token"} & p.keys() or p["fetch"]):
            return
        inline = script.location_type == Script.Source.INLINE
        if inline and p["fetch"]:
            raise Invalid(fields={"fetch": ["It is text of its own: there is nowhere to fetch it from."]})
        now = newest(script)
        said = p.get("script")
        if said is None:
            said = bytes(now.content).decode("utf-8", "replace") if inline else script.location
        wanted = {
            "script": said,
            "location_type": script.location_type,
            "exec_type": script.exec_type,
            "entrypoint": p.get("entrypoint", now.entrypoint),
            "ref": p.get("ref", script.ref),
            "key": p.get("key", script.key),
            "token": p.get("token", script.token),
        }
        p["content"] = _load(call.actor, wanted)

    def run(self, call: Call) -> dict[str, Any]:
        script, p = call.target, call.params
        now = newest(script)
        if "based_on" in p and p["based_on"] != now.number:
            raise Conflict(f"{script} is at version {now.number} by now. Look at it, then save again.", code="version_moved")
        script.name = p.get("name", script.name)
        script.description = p.get("description", script.description)
        script.ref = p.get("ref", script.ref)
        if script.location_type != Script.Source.INLINE:
            script.key, script.token = p.get("key", script.key), p.get("token", script.token)
        if "script" in p and script.location_type != Script.Source.INLINE:
            script.location = p["script"].strip()[:2000]
        made: Content | None = p.get("content")
        parameters = p.get("parameters", now.parameters)
        if (made is not None and made.digest != now.digest) or parameters != now.parameters:
            made = made or read(now)
            script.latest = now.number + 1
            _version(script, script.latest, made, parameters, call.actor)
        script.save()
        return {"version": script.latest}


@register
class Tag(Tagging):
    """Set and remove tags."""

    model = Script


@register
class Delete(Action):
    """Delete a script and its versions. Its runs and what they said stay."""

    model = Script
    name = "delete"
    deletes = True
    tier = 2

    def check(self, call: Call) -> None:
        if Run.objects.filter(script=call.target, state__in=Run.ACTIVE).exists():
            raise Conflict(f"{call.target} is running. Stop its run first.", code="script_running")

    def run(self, call: Call) -> None:
        call.target.delete()


def _load(actor: Actor, params: dict[str, Any]) -> Content:
    key: Key | None = params.get("key")
    if key is not None and not Key.objects.visible_to(actor).filter(pk=key.pk).exists():  # somebody else's choice, fetched again
        raise Invalid(fields={"key": ["Not found."]}, code="not_found")
    names = ("location_type", "script", "exec_type", "entrypoint", "ref")
    return sources.load(actor, **{name: params[name] for name in names}, key=key, token=params.get("token", ""))


def newest(script: Script) -> ScriptVersion:
    """Its version of today."""
    return ScriptVersion.objects.get(script=script, number=script.latest)


def read(version: ScriptVersion) -> Content:
    """What a version says."""
    files = content.opened(bytes(version.content), version.is_bundle, version.entrypoint)
    return Content(files=files, entrypoint=version.entrypoint, origin=version.origin)


def _version(script: Script, number: int, made: Content, parameters: list[Any], actor: Actor) -> ScriptVersion:
    return ScriptVersion.objects.create(
        script=script,
        number=number,
        content=made.stored(),
        is_bundle=made.is_bundle,
        size=made.size,
        digest=made.digest,
        entrypoint=made.entrypoint,
        interpreter="ansible" if script.exec_type == Script.Exec.ANSIBLE else content.interpreter(made.files[made.entrypoint].data),
        parameters=[dict(one) for one in parameters],
        origin=made.origin,
        created_by_id=actor.user_id,
    )
