"""The same act as a command, a curl and a few lines of Python: with the page's own ids, without what is secret.

A form has it by acting with `ConsoleView.perform` and by including `components/call.html`: what is opened there sends the form as it
is, with ASKED, now and as it is typed in; the view gets as far as the act, which is told and not done. A button that is a form by itself
acts with `asks`: then a dialog asks first, and has it.
"""

from __future__ import annotations

import json
import pprint
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.conf import settings
from django.utils.translation import gettext as _
from rest_framework import serializers

from clouds.providers.facts import Field
from core import actions
from core.actor import Actor
from core.models import Job
from frontend import forms

ASKED = "_call"  # in a form: tell how it is written, and do nothing
ASK = "_ask"  # in a form: what approval is asked for
SURE = "_sure"  # in a form: it was asked about
HIDDEN = "…"
EMPTY = (None, "", [], {})
# Verbs that are not where the others are: {verb: (noun of the command line, path)}.
ELSEWHERE = {
    "token.create": ("tokens", "auth/tokens"),
    "token.delete": ("tokens", "auth/tokens"),
    "secret.adopt": ("secrets", "secrets/adopt"),
}
# Verbs that are a method of the thing itself: {verb: method}.
OF_ITSELF = {"edit": "patch", "delete": "delete"}
# Verbs that are somewhere else still: {verb: (noun, words of the command line, method, path)}.
BELOW = {
    "member.remove": ("orgs", "remove-member {row.org.slug} {row.user.pk.hex}", "delete", "orgs/{row.org.slug}/members/{row.user.pk.hex}"),
    "cloud.remove": ("clouds", "remove {row.pk.hex}", "delete", "clouds/{row.pk.hex}"),
}
# Verbs of a person in a browser: no token asks for them, or in another way.
NO_CALL = {"machine.shell", "member.ask", "member.decline", "org.transfer", "session.join", "session.replay", "session.watch"}
TEXTS = {"cloudinit"}  # may hold what is secret
MOST_IDS = 100
# Options of every command: a field of such a name is --set-…
TAKEN = {"output", "query", "context", "wait", "dry-run", "yes", "data", "search"}


@dataclass(frozen=True, kw_only=True)
class Text:
    """An act as calls, or why it is none yet. `missing`: what has to be typed, which stands there by its name; `wrong`: what is wrong, a
    sentence each: then there are no calls."""

    calls: list[Call]
    missing: list[str]
    wrong: list[str]


class Told(Exception):
    """The act of a form that was asked for as a call: it is written, and not done."""

    def __init__(self, text: Text) -> None:
        super().__init__()
        self.text = text


@dataclass(frozen=True, kw_only=True)
class Question:
    """Before an act that is one button: what is asked, its calls, and the form as it was sent. `word`: to be typed, where it destroys."""

    title: str
    act: Any
    calls: list[Call]
    sent: list[tuple[str, str]]
    word: str = ""
    wrong_name: bool = False
    need: Any = None  # frontend.approving.Need: it is to be asked for
    wrong_ask: bool = False


class Asks(Exception):
    """An act that is asked about first: nothing was done."""

    def __init__(self, question: Question) -> None:
        super().__init__()
        self.question = question


@dataclass(frozen=True, kw_only=True)
class Call:
    """One way to write it. `name`: cli, curl, python, or terraform of a create; `title`: on the tab."""

    name: str
    title: str
    text: str


def calls(
    command: str, path: str, body: Mapping[str, Any], *, method: str = "post", files: Iterable[str] = (), ask: str = ""
) -> list[Call]:
    """CLI, curl, Python of one request. `command`: the words after `mist`; `path`: below /api/v2/; `files`: fields that a command reads;
    `ask`: what approval is asked for.
    """
    asks = [f"--ask {word(ask)}"] if ask else []
    path += f"?{urlencode({'ask': ask})}" if ask else ""
    return written(method, " \\\n  ".join([f"mist {command}", *_options(body, set(files)), *asks]), path, body)


def of_act(
    target: Any, verb: str, params: Mapping[str, Any], fields: Iterable[Field] = (), more: Mapping[str, Any] | None = None, *, ask: str = ""
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
        path = f"{path}/{at}" if verb in OF_ITSELF else f"{path}/{at}/actions/{name}"
        name, method = f"{name} {at}", OF_ITSELF.get(verb, "post")
    if action.verb in BELOW:
        noun, name, method, path = (one.format(row=target) for one in BELOW[action.verb])
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
    return calls(f"{noun} {name}", path, sent, method=method, files=files, ask=ask)


def of_many(
    kind: str, verb: str, ids: Sequence[UUID] | None, search: str | None, params: Mapping[str, Any], *, ask: str = ""
) -> list[Call]:
    """What one act on many is outside the console."""
    which: dict[str, Any] = {"search": search} if ids is None else {"ids": [pk.hex for pk in ids]}
    return calls("bulk create", "bulk", {"kind": kind, "action": verb, **which, **({"params": params} if params else {})}, ask=ask)


def of_job(actor: Actor, job: Job) -> list[Call]:
    """What was asked for, to be asked for again. None where no token may, or what it was done to is gone or cannot be seen."""
    action = actions.all_actions().get(job.action)
    if action is None or action.verb in NO_CALL:
        return []
    if job.target_id is None:
        chosen = job.selector or {}
        if "search" not in chosen or (chosen["search"] is None and len(chosen["ids"]) > MOST_IDS):
            return []  # to each in another way; or it would fill the page
        ids = [UUID(one) for one in chosen["ids"]] if chosen["search"] is None else None
        return of_many(job.target_kind, action.name, ids, chosen["search"], job.params, ask=job.ask)
    rows = action.model.objects.visible_to(actor)
    target = action.model if action.creates else rows.filter(pk=job.target_id).first()
    if target is None:
        return []
    known = action.params().fields  # type: ignore[attr-defined]
    unkept = {name: HIDDEN for name, field in known.items() if field.write_only and field.required}
    said = {name: HIDDEN if name in TEXTS and value else value for name, value in job.params.items()}
    return of_act(target, action.name, {**unkept, **said}, ask=job.ask)


def text_of(
    made: list[Call], fields: Sequence[Field], params: Mapping[str, Any], errors: Mapping[str, Any], *, is_new: bool = True
) -> Text:
    """The calls of a form, or what keeps them from being. `errors`: what the action says of the params; `is_new`: nothing is stored yet.

    A secret that is stored need not be typed again, and a script sends none for this.
    """
    asked, typed = [spec for spec in fields if spec.kind not in ("choice", "toggle")], dict(_leaves(params))
    missing = [spec for spec in asked if spec.required and typed.get(spec.name) in EMPTY and (is_new or not spec.secret)]
    left = {spec.name for spec in missing} | {name for name, value in typed.items() if value == HIDDEN}
    labels = {spec.name: str(spec.label) for spec in fields}
    wrong = forms.flat({labels.get(name, name): text for name, text in errors.items() if name not in left})
    return Text(calls=[] if wrong else made, missing=[str(spec.label) for spec in missing], wrong=wrong)


def _leaves(params: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in params.items():
        if isinstance(value, Mapping):
            yield from _leaves(value)
        yield name, value


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
