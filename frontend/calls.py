"""The same act as a command, a curl and a few lines of Python: with the page's own ids, without what is secret.

A form has it by acting with `ConsoleView.perform` and by including `components/call.html`: what is opened there sends the form as it
is, with ASKED, and the view gets as far as the act, which is told and not done.
"""

from __future__ import annotations

import json
import pprint
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.utils.translation import gettext as _
from rest_framework import serializers

from clouds.providers.base import Field
from core import actions

ASKED = "_call"  # in a form: tell how it is written, and do nothing
HIDDEN = "…"
EMPTY = (None, "", [], {})
# Verbs that are not where the others are: {verb: (noun of the command line, path)}.
ELSEWHERE = {"token.create": ("tokens", "auth/tokens"), "secret.adopt": ("secrets", "secrets/adopt")}
# Options of every command: a field of such a name is --set-…
TAKEN = {"output", "query", "context", "wait", "dry-run", "yes", "data", "search"}


class Told(Exception):
    """The act of a form that was asked for as a call: it is written, and not done."""

    def __init__(self, made: list[Call]) -> None:
        super().__init__()
        self.calls = made


@dataclass(frozen=True, kw_only=True)
class Call:
    """One way to write it. `name`: in ids; `title`: on the tab."""

    name: str
    title: str
    text: str


def calls(command: str, path: str, body: Mapping[str, Any], *, method: str = "post", files: Iterable[str] = ()) -> list[Call]:
    """CLI, curl, Python of one request. `command`: the words after `mist`; `path`: below /api/v2/; `files`: fields that a command reads."""
    return written(method, " \\\n  ".join([f"mist {command}", *_options(body, set(files))]), path, body)


def of_act(
    target: Any, verb: str, params: Mapping[str, Any], fields: Iterable[Field] = (), more: Mapping[str, Any] | None = None
) -> list[Call]:
    """What `perform(actor, target, verb, params)` is outside the console.

    `fields`: those of the form; they say what is secret. `more`: what the API alone takes. What a field or the action keeps secret stands
    as three dots, what is needed and was not typed by its name.
    """
    action = actions.get(f"{target.kind()}.{verb}")
    plural = target.plural or f"{target.kind()}s"
    noun, path = ELSEWHERE.get(action.verb, (plural, plural))
    name, method = verb.replace("_", "-"), "post"
    if not action.creates:
        at = target.slug if target.kind() == "org" else target.pk.hex
        name += f" {at}"
        method, path = ("patch", f"{path}/{at}") if verb == "edit" else ("post", f"{path}/{at}/actions/{verb.replace('_', '-')}")
    known, fields = action.params().fields, list(fields)  # type: ignore[attr-defined]
    hidden = {one for one, field in known.items() if field.write_only}
    said = {one: _number(known[one], value) for one, value in params.items() if one in known and not (action.creates and value in EMPTY)}
    if not said.get("dry", True):
        del said["dry"]
    said |= {
        spec.name: spec.name.upper()
        for spec in fields
        if spec.required and spec.kind != "choice" and spec.name in known and said.get(spec.name) in EMPTY
    }
    flat = list(_flat(fields))
    secret, plain = {spec.name for spec in flat if spec.secret}, {spec.name for spec in flat if not spec.secret}
    sent = {one: _masked(one, value, secret, plain, one in hidden) for one, value in said.items()}
    sent |= {one: value for one, value in (more or {}).items() if value is not None}
    files = (hidden - plain) | {one for one, value in sent.items() if value == HIDDEN}
    return calls(f"{noun} {name}", path, sent, method=method, files=files)


def _flat(fields: Iterable[Field]) -> Iterator[Field]:
    for spec in fields:
        yield spec
        yield from _flat(spec.fields)


def _number(field: Any, value: Any) -> Any:
    return int(value) if isinstance(field, serializers.IntegerField) and isinstance(value, str) and value.isdecimal() else value


def _masked(name: str, value: Any, secret: set[str], plain: set[str], is_hidden: bool) -> Any:
    """`is_hidden`: the action tells nobody of it, so that only what a field of the form shows is shown."""
    if name in secret and value not in EMPTY:
        return HIDDEN
    if isinstance(value, Mapping):
        return {key: _masked(key, inner, secret, plain, is_hidden) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_masked(name, inner, secret, plain, is_hidden) for inner in value]
    return HIDDEN if is_hidden and name not in plain and value not in EMPTY else value


def written(method: str, spoken: str, path: str, body: Mapping[str, Any]) -> list[Call]:
    """One request as a command (`spoken`; "" where there is none), curl and Python. `path`: below /api/v2/, with its query."""
    url = f"{settings.MIST_PUBLIC_URL}/api/v2/{path}"
    made = [
        Call(name="curl", title="curl", text=_curl(method, url, body)),
        Call(name="python", title="Python", text=_python(method, url, body)),
    ]
    return [Call(name="cli", title=_("CLI"), text=spoken), *made] if spoken else made


def word(value: Any) -> str:
    """A value as one word of a shell: text as it is, the rest as JSON."""
    return shlex.quote(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _options(body: Mapping[str, Any], files: set[str]) -> Iterable[str]:
    """As mist_cli.options reads them; what no option can say, as an empty list, is in `--data`."""
    if unsaid := {name: value for name, value in body.items() if value in (None, [], {})}:
        yield f"--data {word(unsaid)}"
    for name, value in body.items():
        option = name.replace("_", "-").lower()
        option = f"set-{option}" if option in TAKEN else option
        if name == "dry":
            yield "--dry-run"
        elif name in files:
            yield f"--{option} @{option}{'.json' if isinstance(value, Mapping | list) else '.txt'}"
        elif isinstance(value, bool):
            yield f"--{option}" if value else f"--no-{option}"
        elif isinstance(value, Mapping) and name == "tags":
            yield from (f"--{option} {word(f'{key}={text}')}" for key, text in value.items())
        elif isinstance(value, list) and all(isinstance(one, str | int) for one in value):
            yield from (f"--{option} {word(one)}" for one in value)
        elif value is not None and value != {}:
            yield f"--{option} {word(value)}"


def _curl(method: str, url: str, body: Mapping[str, Any]) -> str:
    text = shlex.quote(json.dumps(body, indent=2, ensure_ascii=False))
    sent = f" \\\n  -H 'Content-Type: application/json' \\\n  -d {text}" if body else ""
    asked = "" if method == "get" else f"-X {method.upper()} "
    return f'curl {asked}{shlex.quote(url)} \\\n  -H "Authorization: Bearer $MIST_TOKEN"{sent}'


def _python(method: str, url: str, body: Mapping[str, Any]) -> str:
    text = pprint.pformat(dict(body), sort_dicts=False, width=60).replace("\n", "\n         ")
    asked = f'httpx.request(\n    "{method.upper()}",' if body and method in ("get", "delete") else f"httpx.{method}("  # those take no body
    lines = [
        "import os\n\nimport httpx\n",
        f"answer = {asked}",
        f"    {url!r},",
        '    headers={"Authorization": f"Bearer {os.environ[\'MIST_TOKEN\']}"},',
        *([f"    json={text},"] if body else []),
        ')\nprint(answer.raise_for_status().json()["data"])',
    ]
    return "\n".join(lines)
