"""What can be asked of a server: nouns and their commands, read from its OpenAPI document. No list of verbs is written here.

The document is large and reading it takes a while, so what we need of it is kept in the cache folder with the server's own mark
(ETag) of it, and asked for again once a day, or when somebody types a word that is not in it.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mist_cli.contexts import folder

if TYPE_CHECKING:
    from mist_cli.client import Client

FORM = 1  # of what is cached
FRESH_S = 86_400
SECRETS = {"password", "passphrase", "otp"}
OPEN = {"email", "script"}  # only sent, and no secret
OF_AUTH = {"tokens": "tokens"}  # {what lies below /auth: noun}
OF_LISTS = {"search", "sort", "start", "limit", "cursor", "only", "deref", "columns", "format"}
Json = dict[str, Any]


def cached(url: str) -> Json | None:
    """What is known of a server without asking it."""
    try:
        found = json.loads(_file(url).read_text())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and found.get("form") == FORM else None


def load(client: Client, *, fresh: bool = False) -> Json:
    """The catalogue of the client's server. `fresh`: ask, whatever is in the cache.  Raises: Refused, Away."""
    url = client.context.url
    known = cached(url)
    if known is not None and not fresh and not is_old(url):
        return known
    marks = {"If-None-Match": known["mark"]} if known is not None and known.get("mark") else {}
    answer = client.ask("GET", "/spec", query={"format": "json"}, headers={"Accept": "application/vnd.oai.openapi+json", **marks})
    if answer.status_code == 304 and known is not None:
        os.utime(_file(url))
        return known
    found = {"form": FORM, "mark": answer.headers.get("etag", ""), "nouns": read(answer.json())}
    _keep(url, found)
    return found


def _file(url: str) -> Path:
    return folder("XDG_CACHE_HOME", ".cache") / f"catalogue-{hashlib.sha256(url.encode()).hexdigest()[:16]}.json"


def is_old(url: str) -> bool:
    """Is it a day since the server was asked?"""
    try:
        return time.time() - _file(url).stat().st_mtime > FRESH_S
    except OSError:
        return True


def _keep(url: str, found: Json) -> None:
    """Where there is no room for a cache, there is none."""
    path = _file(url)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, made = tempfile.mkstemp(dir=path.parent)
        with os.fdopen(handle, "w") as file:
            json.dump(found, file, separators=(",", ":"))
        os.replace(made, path)
    except OSError:
        pass


# --- from the document ------------------------------------------------------------------------------------------------


def read(spec: Json) -> Json:
    """{noun: {"kind", "commands": {name: command}}}."""
    paths = {path.removeprefix("/api/v2/"): methods for path, methods in spec.get("paths", {}).items()}
    nouns: Json = {}
    asked = sorted(_operations(paths), key=lambda op: ("/actions/" not in op[0], op[0].count("/"), op[0], op[1] == "put"))
    for path, method, operation in asked:
        segments = path.split("/")
        noun, rest = segments[0], segments[1:]
        if noun == "auth":
            if not rest or rest[0] not in OF_AUTH:
                continue  # for who signs in with a password: login does it
            noun, rest = OF_AUTH[rest[0]], rest[1:]
        name = _name(rest, method, operation, paths)
        if operation.get("security") == [{}] and noun != "tokens":
            continue
        own = nouns.setdefault(noun, {"kind": noun.removesuffix("s"), "commands": {}})
        if name and name not in own["commands"]:
            own["commands"][name] = _command(f"/{path}", method, operation, spec)
            of = [param["schema"].get("x-kind", "") for param in operation.get("parameters", []) if param["in"] == "path"]
            if of and name == "show":
                own["kind"] = of[0]
    return nouns


def _operations(paths: Json) -> list[tuple[str, str, Json]]:
    return [
        (path, method, operation)
        for path, methods in paths.items()
        for method, operation in methods.items()
        if method in ("get", "post", "put", "patch", "delete")
    ]


def _name(rest: list[str], method: str, operation: Json, paths: Json) -> str:
    """What the command is called."""
    verb = str(operation.get("x-verb", "")).partition(".")[2].replace("_", "-")
    own = str(operation["operationId"]).replace("_", "-")
    if not rest:
        return {"get": "list", "post": verb or "create"}.get(method, verb or own)
    if len(rest) == 1:
        if not rest[0].startswith("{"):
            return rest[0]
        return {"get": "show", "post": verb or own.partition("-")[0], "delete": verb or own.partition("-")[0]}.get(method, verb or "edit")
    if len(rest) == 2 and rest[0].startswith("{"):
        return rest[1] if method == "get" or "get" not in _methods_of(rest, operation, paths) else own
    if len(rest) == 3 and rest[1] == "actions":
        return rest[2]
    return own


def _methods_of(rest: list[str], operation: Json, paths: Json) -> set[str]:
    for path, methods in paths.items():
        if path.split("/")[1:] == rest and operation in methods.values():
            return set(methods)
    return set()


def _command(path: str, method: str, operation: Json, spec: Json) -> Json:
    query = [
        _field(p["name"], p.get("schema", {}), spec, about=p.get("description", ""))
        for p in operation.get("parameters", [])
        if p["in"] == "query"
    ]
    names = {field["name"] for field in query}
    found: Json = {
        "method": method.upper(),
        "path": path,
        "about": str(operation.get("description", "")).strip(),
        "takes": [part[1:-1] for part in path.split("/") if part.startswith("{")],
        "query": [
            f for f in query if f["name"] not in (OF_LISTS if "limit" in names else ("run_async", "only", "deref", "sort", "format"))
        ],
    }
    if "limit" in names:
        found["lists"] = True
        found["search"], found["cursor"], found["only"] = ("search" in names), ("cursor" in names), ("only" in names)
    elif "only" in names:
        found["only"] = True
    if fields := _fields(operation, spec):
        found["fields"] = fields
        found["query"] = [f for f in found["query"] if f["name"] not in {field["name"] for field in fields}]
    if method != "get":
        found |= {key: operation[f"x-{key}"] for key in ("verb", "tier", "bulk") if f"x-{key}" in operation}
    media = operation.get("responses", {}).get("200", {}).get("content", {})
    if media and "application/json" not in media:
        found["media"] = next(iter(media))
    return found


def _fields(operation: Json, spec: Json) -> list[Json]:
    """Those of the body."""
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    schema = _resolved(content.get("schema", {}), spec)
    needed = set(schema.get("required", ()))
    return [
        _field(name, inner, spec) | ({"required": True} if name in needed else {}) for name, inner in schema.get("properties", {}).items()
    ]


def _resolved(schema: Json, spec: Json) -> Json:
    """Without references: what `$ref` and `allOf` of one say."""
    found = dict(schema)
    for part in [schema] if "$ref" in schema else schema.get("allOf", []):
        if "$ref" in part:
            there = spec["components"]["schemas"][part["$ref"].rsplit("/", 1)[1]]
            found = _resolved(there, spec) | {k: v for k, v in found.items() if k not in ("$ref", "allOf")}
    return found


def _field(name: str, schema: Json, spec: Json, *, about: str = "") -> Json:
    schema = _resolved(schema, spec)
    kind = str(schema.get("type", "json"))
    if kind == "array":
        items = _resolved(schema.get("items", {}), spec).get("type", "json")
        kind = "list" if items in ("string", "integer", "number") else "json"
    elif kind == "object":
        values = schema.get("additionalProperties")
        kind = "map" if isinstance(values, dict) and values.get("type") == "string" else "json"
    found: Json = {"name": name, "type": kind}
    if text := _said(about or str(schema.get("description", ""))):
        found["about"] = text
    choices = [c for c in schema.get("enum", []) if isinstance(c, str) and c]
    if choices and kind == "string":
        found["choices"] = choices
    if name in SECRETS or (schema.get("writeOnly") and name not in OPEN):
        found["secret"] = True
    elif schema.get("writeOnly"):
        found["file"] = True
    if schema.get("x-kind"):
        found["kind"] = schema["x-kind"]
    return found


def _said(description: str) -> str:
    """Without the list of choices that a specification repeats: they stand beside the option."""
    return "\n".join(line for line in description.splitlines() if not line.startswith("* `")).strip()
