"""The API as the served OpenAPI document has it, for reading: by noun, with one's own ids and organization in the examples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from accounts.models import Organization
from core.actor import Actor
from core.api.document import document
from core.sight import kinds
from frontend.calls import Call, word, written

METHODS = ("get", "post", "put", "patch", "delete")
PREFIX = "/api/v2/"
EXAMPLE_FIELDS = 3  # of a body where none is required
# What stands for a value of that name where nobody's own can.
VALUES = {"name": "web-1", "email": "ana@example.org", "verb": "machine.stop", "reason": "INC-4127", "host": "web-1.example.org"}
Json = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Field:
    """A parameter or a field of a body. `type`: in words."""

    name: str
    type: str
    about: str
    required: bool


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One request that can be made."""

    name: str
    method: str
    path: str
    about: str
    query: list[Field]
    body: list[Field]
    command: str
    calls: list[Call]


def nouns() -> list[tuple[str, int]]:
    """(noun, how many operations), by name."""
    counts: dict[str, int] = {}
    for _path, _method, operation in _all():
        counts[_noun(operation)] = counts.get(_noun(operation), 0) + 1
    return sorted(counts.items())


def _all() -> list[tuple[str, str, Json]]:
    return [(path, method, one) for path, methods in document()["paths"].items() for method, one in methods.items() if method in METHODS]


def _noun(operation: Json) -> str:
    return str((operation.get("tags") or ["other"])[0])


class Docs:
    """For one person in one organization."""

    def __init__(self, actor: Actor, org: Organization) -> None:
        self.actor, self.org = actor, org
        self.samples: dict[str, str] = {"org": org.slug, "user": actor.email}

    def of(self, noun: str) -> list[Operation]:
        return [self.operation(path, method, one) for path, method, one in _all() if _noun(one) == noun]

    def found(self, text: str) -> list[Operation]:
        """Those that hold every word of a text, in path, name or description; at most 40."""
        wanted = text.lower().split()
        hits = [
            (path, method, one)
            for path, method, one in _all()
            if all(part in f"{method} {path} {one['operationId']} {one.get('description', '')}".lower() for part in wanted)
        ]
        return [self.operation(*hit) for hit in hits[:40]]

    def operation(self, path: str, method: str, one: Json) -> Operation:
        params = one.get("parameters", [])
        fields = self._fields(one)
        body = self._example(fields) if method != "get" else {}
        filled = path
        for param in params:
            if param["in"] == "path":
                filled = filled.replace(f"{{{param['name']}}}", self.sample(param["schema"].get("x-kind") or param["name"]))
        query = [_field(p["name"], p["schema"], p.get("required", False), p.get("description", "")) for p in params if p["in"] == "query"]
        needed = "&".join(f"{p.name}={VALUES.get(p.name, 'VALUE')}" for p in query if p.required)
        command = self.command(path, method, one)
        return Operation(
            name=one["operationId"],
            method=method.upper(),
            path=path,
            about=str(one.get("description", "")).strip(),
            query=query,
            body=[field for field, _schema in fields],
            command=command,
            calls=written(
                method, self._spoken(command, path, filled, body), filled.removeprefix(PREFIX) + (f"?{needed}" if needed else ""), body
            ),
        )

    def sample(self, kind: str) -> str:
        """The id of a row of that kind that this person sees; a placeholder where there is none."""
        if kind not in self.samples:
            model = kinds().get(kind)
            row = model.objects.visible_to(self.actor).order_by("-pk").first() if model is not None else None
            self.samples[kind] = row.pk.hex if row is not None else kind.upper().replace("-", "_")
        return self.samples[kind]

    # -- the command line: the words cli/mist_cli/catalogue.py makes of the same document

    def command(self, path: str, method: str, one: Json) -> str:
        """`machines stop`; "" where the command line has none of its own."""
        noun, *rest = path.removeprefix(PREFIX).split("/")
        if noun == "auth":
            if not rest or rest[0] != "tokens":
                return ""
            noun, rest = "tokens", rest[1:]
        if one.get("security") == [{}] and noun != "tokens":
            return ""
        name = _command_name(rest, method, one)
        return f"{noun} {name}" if name else ""

    def _spoken(self, command: str, path: str, filled: str, body: Json) -> str:
        if not command:
            return ""
        ids = [got for said, got in zip(path.split("/"), filled.split("/"), strict=True) if said.startswith("{")]
        options = [f"--{name.replace('_', '-')} {word(value)}" for name, value in body.items() if value not in (None, [], {})]
        return " \\\n  ".join([" ".join(["mist", command, *map(word, ids)]), *options])

    # -- bodies

    def _fields(self, one: Json) -> list[tuple[Field, Json]]:
        content = one.get("requestBody", {}).get("content", {})
        schema = _resolved(content.get("application/json", {}).get("schema", {}))
        needed = set(schema.get("required", ()))
        return [
            (_field(name, inner, name in needed, ""), _resolved(inner))
            for name, inner in schema.get("properties", {}).items()
            if not inner.get("readOnly")
        ]

    def _example(self, fields: list[tuple[Field, Json]]) -> dict[str, Any]:
        chosen = [pair for pair in fields if pair[0].required] or fields[:EXAMPLE_FIELDS]
        return {field.name: self._value(field.name, schema) for field, schema in chosen}

    def _value(self, name: str, schema: Json) -> Any:
        if schema.get("x-kind"):
            return self.sample(str(schema["x-kind"]))
        if schema.get("enum"):
            return next((one for one in schema["enum"] if one), schema["enum"][0])
        if "default" in schema:
            return schema["default"]
        kind = schema.get("type")
        if kind == "array":
            inner = self._value(name.removesuffix("s"), _resolved(schema.get("items", {})))
            return [] if inner in (None, {}) else [inner]
        if kind in ("integer", "number"):
            return schema.get("minimum", 1)
        if kind == "boolean":
            return True
        if kind == "object":
            return {"env": "prod"} if name == "tags" else {}
        return VALUES.get(name, name.upper()) if kind == "string" else {}


def _command_name(rest: list[str], method: str, one: Json) -> str:
    verb = str(one.get("x-verb", "")).partition(".")[2].replace("_", "-")
    own = str(one["operationId"]).replace("_", "-")
    if not rest:
        return {"get": "list", "post": verb or "create"}.get(method, verb or own)
    if len(rest) == 1:
        if not rest[0].startswith("{"):
            return rest[0]
        begins = own.partition("-")[0]
        return {"get": "show", "post": verb or begins, "delete": verb or begins}.get(method, verb or "edit")
    if len(rest) == 2 and rest[0].startswith("{"):
        return rest[1] if method == "get" or not _is_read(one) else own
    if len(rest) == 3 and rest[1] == "actions":
        return rest[2]
    return own


def _is_read(one: Json) -> bool:
    """Does the path of this operation answer GET too?"""
    return any("get" in methods and one in methods.values() for methods in document()["paths"].values())


def _resolved(schema: Json) -> dict[str, Any]:
    """Without references: what `$ref`, and `allOf` or `oneOf` of one, say."""
    found = dict(schema)
    for part in [schema] if "$ref" in schema else [*schema.get("allOf", []), *schema.get("oneOf", [])[:1]]:
        if "$ref" in part:
            there = document()["components"]["schemas"][part["$ref"].rsplit("/", 1)[1]]
            found = {**_resolved(there), **{key: value for key, value in found.items() if key not in ("$ref", "allOf", "oneOf")}}
    return found


def _field(name: str, schema: Json, required: bool, about: str) -> Field:
    found = _resolved(schema)
    said = str(about or found.get("description", "")).strip()
    return Field(name=name, type=_type(found), about=said, required=required)


def _type(schema: Json) -> str:
    if schema.get("x-kind"):
        return _("%(kind)s, by id or name") % {"kind": str(schema["x-kind"]).replace("_", " ")}
    if schema.get("enum"):
        return ", ".join(str(one) for one in schema["enum"] if one not in ("", None))
    if schema.get("type") == "array":
        return _("list of %(type)s") % {"type": _type(_resolved(schema.get("items", {})))}
    kind = str(schema.get("type", "any"))
    return str(schema.get("format", kind)) if kind == "string" else kind
