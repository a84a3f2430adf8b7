"""The equivalent call of each form: it is true, it does what the form does, and it holds nothing secret."""

from __future__ import annotations

import html
import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.test import Client
from mist_cli import catalogue
from mist_cli.commands import made
from mist_cli.options import body as body_of

from accounts.models import User
from core.actions import perform
from core.api.document import document
from core.models import Event, Job
from frontend import calls
from frontend.views.keys import KeyView
from keys import pairs
from tests.api.test_matrix import ask, body_schema
from tests.api.test_matrix import client as with_token
from tests.api.world import PUBLIC, World, make_world
from tests.frontend.conftest import signed_in
from tests.frontend.every_page import addresses

pytestmark = pytest.mark.django_db
SECRET = "s3cr3t-that-nobody-shows"
WORD = "a-text"  # stands for three dots when a call is made


@dataclass(frozen=True, kw_only=True)
class Form:
    """`at`: its page, {kind} the id of a row; `verb`: what is made of it; `secret`: what is sent in place of three dots.

    `is_sent` False: its act asks somebody who is not here, so that only the specification is asked.
    """

    at: str
    verb: str
    typed: dict[str, str]
    secret: Any = WORD
    is_sent: bool = True


FORMS = [
    Form(at="keys/new", verb="add_key", typed={"way": "generate", "name": "laptop", "algorithm": "ssh-ed25519"}),
    Form(at="keys/new", verb="add_key", typed={"way": "generate", "algorithm": "ssh-ed25519"}),
    Form(
        at="keys/new",
        verb="add_key",
        typed={"way": "upload", "name": "mine", "private": SECRET, "default": "on"},
        secret=pairs.generate("ssh-ed25519").private,
    ),
    Form(at="keys/{key}", verb="patch_key", typed={"name": "desk"}),
    Form(at="keys/hosts", verb="trust_host", typed={"host": "web.example.org", "port": "2222", "public": PUBLIC}),
    Form(
        at="keys/secrets/new",
        verb="create_secret",
        typed={"way": "new", "name": "db", "values-0-key": "password", "values-0-value": SECRET, "tags": "env=prod"},
    ),
    Form(at="keys/secrets/new", verb="adopt_secret", typed={"way": "adopt", "name": "db", "store": "{secret_store}"}, is_sent=False),
    Form(at="keys/secrets/{secret}", verb="patch_secret", typed={"name": "other"}),
    Form(
        at="keys/secrets/{secret}",
        verb="patch_secret",
        typed={"values": "1", "k-0": "calls-key", "v-0": SECRET, "values-0-key": "more", "values-0-value": SECRET},
    ),
    Form(
        at="keys/stores",
        verb="create_secret_store",
        typed={"name": "vault", "address": "https://vault.example.org", "token": SECRET, "default": "on"},
        is_sent=False,
    ),
    Form(
        at="keys/stores/{secret_store}",
        verb="patch_secret_store",
        typed={"name": "vault", "address": "https://vault.example.org", "role_id": "me", "secret_id": SECRET},
        is_sent=False,
    ),
    Form(at="clouds/new/demo", verb="add_cloud", typed={"name": "second", "c-machines": "5"}),
    Form(
        at="clouds/new/amazon",
        verb="add_cloud",
        typed={"name": "aws", "c-apikey": "AKIA", "c-apisecret": SECRET, "c-region": "eu-west-1"},
        is_sent=False,
    ),
    Form(at="clouds/{cloud}/do/rotate", verb="rotate_cloud", typed={"c-machines": "7"}),
    Form(at="clouds/{cloud}/do/edit", verb="patch_cloud", typed={"name": "renamed"}),
    Form(
        at="scripts/new",
        verb="add_script",
        typed={"name": "up", "script": f"#!/bin/sh\necho {SECRET}\n", "exec_type": "executable", "location_type": "inline"},
        secret="#!/bin/sh\nuptime\n",
    ),
    Form(
        at="scripts/{script}", verb="patch_script", typed={"name": "up", "script": "#!/bin/sh\n", "based_on": "1"}, secret="#!/bin/sh\nid\n"
    ),
    Form(at="scripts/{script}/run", verb="run_script_as_verb", typed={"ids": "{machine}", "concurrency": "5", "wave": "10%", "env": "A=b"}),
    Form(at="scripts/{script}/run", verb="run_script_as_verb", typed={"q": "state:running", "su": "on"}),
    Form(at="teams", verb="create_team", typed={"t-name": "Operators"}),
    Form(at="teams", verb="create_invitation", typed={"email": "ana@example.org", "team": "{team}"}),
    Form(at="teams/{team}", verb="patch_team", typed={"name": "Night", "description": ""}),
    Form(at="teams/{team}", verb="add_member_team", typed={"user": "{user}"}),
    Form(
        at="teams/{team}/policy",
        verb="set_policy_team",
        typed={"s-0-effect": "allow", "s-0-verbs": "machine.stop", "s-0-what": "tag:env=dev"},
    ),
    Form(at="settings/tokens", verb="create_token", typed={"name": "ci", "days": "30", "scope": "read"}, secret="secret-secret"),
    Form(at="settings/organization", verb="update_org", typed={"name": "Calls", "slug": "calls", "currency": "EUR"}),
    Form(at="settings/security", verb="update_org", typed={"allowed_addresses": "127.0.0.0/8", "session_hours": "12"}),
]


@pytest.fixture
def world(db: None) -> World:
    made_here = make_world("calls")
    made_here.rows["user"] = User.objects.get(pk=made_here.user.pk)
    return made_here


def filled(text: str, world: World) -> str:
    return re.sub(r"\{(\w+)\}", lambda found: world.name_of(found[1]), text)


def told(client: Client, world: World, form: Form, **headers: Any) -> str:
    typed = {name: filled(text, world) for name, text in form.typed.items()}
    answer = client.post(f"/o/{world.org.slug}/{filled(form.at, world)}", {**typed, calls.ASKED: "1"}, headers=headers)
    assert answer.status_code == 200, answer.content[:2000]
    return str(answer.content.decode())


def texts(page: str) -> dict[str, str]:
    """{tab: what it says}."""
    found = re.findall(r"<summary>([^<]+)</summary><mist-copy[^>]*></mist-copy><pre[^>]*>(.*?)</pre>", page, re.DOTALL)
    return {title: html.unescape(re.sub(r"<[^>]+>", "", text)) for title, text in found}


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a call sends. `path`: from /api/v2 on."""

    method: str
    path: str
    body: Any


def of_curl(text: str) -> Request:
    words = shlex.split(text)
    assert words[0] == "curl"
    method = words[words.index("-X") + 1].lower()
    url = next(word for word in words if "/api/v2/" in word)
    body = json.loads(words[words.index("-d") + 1]) if "-d" in words else {}
    return Request(method=method, path=url[url.index("/api/v2/") :], body=body)


def of_python(text: str, monkeypatch: pytest.MonkeyPatch) -> Request:
    """What the lines send when they are run."""
    sent: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(200, json={"data": {}})

    client = httpx.Client(transport=httpx.MockTransport(answer))
    monkeypatch.setenv("MIST_TOKEN", "t")
    for name in ("post", "patch", "put", "request"):
        monkeypatch.setattr(httpx, name, getattr(client, name))
    exec(compile(text, "call", "exec"), {})
    path = sent[0].url.raw_path.decode()
    return Request(method=sent[0].method.lower(), path=path, body=json.loads(sent[0].content or b"{}"))


def of_command(text: str) -> Request:
    """What the command line makes of it: its own parser reads the words."""
    words = shlex.split(text.replace("\\\n", " "))
    assert words[0] == "mist"
    facts = catalogue.read(dict(document()))[words[1]]
    command = facts["commands"][words[2]]
    parsed = made(words[1], facts["kind"], words[2], command).make_context(words[2], words[3:]).params
    names = list(parsed.get("names") or [parsed[f"path_{which}"] for which in command["takes"]])
    path = "/api/v2" + re.sub(r"\{[^}]+\}", lambda _found: names.pop(0), command["path"])
    assert not names
    return Request(method=command["method"].lower(), path=path, body=body_of(command.get("fields", []), parsed, parsed.get("data", "")))


def operation(request: Request) -> tuple[str, dict[str, Any]]:
    """(its name, it) in the served specification; a path of words goes before one of ids."""
    paths = sorted(document()["paths"].items(), key=lambda one: one[0].count("{"))
    for path, methods in paths:
        if request.method in methods and re.fullmatch(re.sub(r"\{[^}]+\}", "[^/]+", path), request.path):
            return methods[request.method]["operationId"], methods[request.method]
    raise AssertionError(f"{request.method} {request.path} is not in the specification")


def undotted(value: Any, by: Any) -> Any:
    if isinstance(value, dict):
        return {name: undotted(inner, by) for name, inner in value.items()}
    if isinstance(value, list):
        return [undotted(inner, by) for inner in value]
    return by if value == calls.HIDDEN else value


def files(body: dict[str, Any], text: str) -> Iterator[tuple[str, Any]]:
    """(name, what is in it) of each file a command reads."""
    for option, name in re.findall(r"--(\S+) @(\S+)", text):
        yield name, body[option.replace("-", "_")]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: f"{form.verb} {' '.join(form.typed)[:40]}")
def test_the_call_of_a_form_is_true(form: Form, world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    client = signed_in(world.user)
    before = Event.objects.count(), Job.objects.count()
    page = told(client, world, form, HX_Request="true")
    assert (Event.objects.count(), Job.objects.count()) == before
    assert SECRET not in page
    shown = texts(page)
    sent = of_curl(shown["curl"])
    assert of_python(shown["Python"], monkeypatch) == sent
    name, one = operation(sent)
    assert name == form.verb
    schema = body_schema(document(), one)
    assert set(sent.body) <= set(schema["properties"])
    assert set(schema.get("required", ())) <= set(sent.body)
    whole = Request(method=sent.method, path=sent.path, body=undotted(sent.body, form.secret))
    if "CLI" in shown:
        monkeypatch.chdir(tmp_path)
        for file, holds in files(whole.body, shown["CLI"]):
            Path(file).write_text(holds if isinstance(holds, str) else json.dumps(holds))
        spoken = of_command(shown["CLI"])
        assert (spoken.path, spoken.body) == (whole.path, whole.body)
    if form.is_sent:
        answer = ask(with_token(world.token), whole.method, whole.path, whole.body)
        assert answer.status_code in (200, 201), answer.content


# Forms with fields that have none, by where they are sent: why.
WITHOUT = {
    "settings/profile": "only a session may change a person: no token does",
    "settings/keyboard": "the same",
    "settings/password": "the same",
    "machines/new": "its plan has it",
    "machines/views": "what is looked at, not what is done",
    "export": "its link is the call",
    "shells/snippets": "a person's own, and of no API",
    "access": "a person asks another",
    "scripts/pick": "it leads to the form of running it",
}


def test_every_form_with_fields_has_one(world: World) -> None:
    client, bare, base = signed_in(world.user), set(), f"/o/{world.org.slug}/"
    for path in addresses(world):
        answer = client.get(path)
        page = "" if answer.streaming else answer.content.decode()
        for form in re.findall(r"<form[^>]*method=.post.*?</form>", page, re.DOTALL):
            fields = re.findall(r"<(?:input|select|textarea)[^>]*>", form)
            fields = [tag for tag in fields if not re.search(r'type="(hidden|checkbox)"|name="(confirm|_more|reason)"', tag)]
            if fields and "Equivalent call" not in form and 'hx-include="#add-cloud"' not in page:
                at = (re.search(r'^<form[^>]*action="([^"]+)"', form) or [path, path])[1]
                bare.add(at.removeprefix(base).split("?")[0])
    ends = ("/do/tag", "/shell")  # one tag, whose dialog has it; a terminal is no call
    assert not {at for at in bare if not at.startswith(tuple(WITHOUT)) and not at.endswith(ends)}


def test_without_a_script_it_is_a_page(world: World) -> None:
    page = told(signed_in(world.user), world, FORMS[0])
    assert "<h1>Equivalent call</h1>" in page
    assert "mist keys create" in page


def test_a_form_that_acts_past_it_is_stopped_and_taken_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(KeyView, "perform", lambda view, target, verb, params, *_fields: perform(view.actor, target, verb, params))
    with pytest.raises(RuntimeError, match="durable"):
        signed_in(world.user).post(f"/o/{world.org.slug}/keys/{world.name_of('key')}", {"name": "other", calls.ASKED: "1"})
    assert not Event.objects.filter(type="key.edit.succeeded").exists()


def test_who_may_not_see_a_thing_gets_no_call_of_it(world: World) -> None:
    other = make_world("others")
    answer = signed_in(other.user).post(f"/o/{other.org.slug}/keys/{world.name_of('key')}", {"name": "x", calls.ASKED: "1"})
    assert answer.status_code == 404
