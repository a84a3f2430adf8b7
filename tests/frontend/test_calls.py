"""The equivalent call of each form: it is true, it does what the form does, and it holds nothing secret."""

from __future__ import annotations

import html
import json
import re
import shlex
import sys
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
from core import bulks
from core.actions import actions_of, all_actions, perform
from core.api.document import document
from core.errors import Conflict
from core.models import Event, Job
from frontend import calls
from frontend.views.keys import KeyView
from keys import pairs
from machines.models import Machine
from scripts.models import Script
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
    for name in ("post", "patch", "put", "delete", "request"):
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


# Forms that do not show their call, by where they are sent and what they send (field and button names): why.
ONCE = "harmless, and done at once: the page of its job has the call"
WITHOUT = {
    r"^settings/(profile|keyboard|password|sessions) ": "only a session may change a person: no token does",
    r"^/": "of the session itself",
    r"^machines/new ": "its plan has it",
    r"/views ": "what is looked at, not what is done",
    r"^shells/snippets ": "a person's own, and of no API",
    r"^access ": "a person asks another",
    r"^machines/bulk[ /]": "it leads to the question",
    r"^shells |/shell ": "a terminal is no call",
    r"^keys/\w+ export|^keys/secrets/\w+ .*reveal": "a secret is shown: there is a record of it, and no script for it",
    r"^jobs/\w+/(undo|cancel|retry|back|watch|unwatch)|^runs/\w+/do/": "of a job: taken back or followed at once",
    r"^machines/\w+/do/(start|tag|extend|list_snapshots) ": ONCE,
    r"^clouds/\w+/do/(refresh|edit) ": ONCE,
    r"^keys/\w+ default|^keys/secrets/\w+ refresh": ONCE,
    r"^images/\w+/star ": ONCE,
}


def dialogs(client: Client, world: World) -> Iterator[tuple[str, str]]:
    """(where it is asked for, what it says) of all that opens over a page."""
    base, machine = f"/o/{world.org.slug}", world.name_of("machine")
    over = {"HX-Request": "true", "HX-Dialog": "1"}
    for action in actions_of(Machine):
        if not action.creates:
            yield f"{base}/machines/{machine}/do/{action.name}", client.get(f"{base}/machines/{machine}/do/{action.name}", headers=over)
            if action.bulk:
                there = f"{base}/machines/bulk/{action.name}"
                yield there, client.post(there, {"ids": machine, "ask": "1"}, headers=over)
    for path in (f"{base}/clouds/{world.name_of('cloud')}/do/remove", f"{base}/machines/{machine}/menu", f"{base}/scripts/pick"):
        yield path, client.get(path, headers=over)
    yield f"{base}/machines/bulk", client.post(f"{base}/machines/bulk", {"ids": machine}, headers=over)


def names_in(form: str) -> list[str]:
    """What a form sends: its fields, then a list a button."""
    return [one for one in re.findall(r'<(?:input|select|textarea|button)[^>]*\sname="([^"]+)"', form) if one != "csrfmiddlewaretoken"]


def test_every_form_shows_its_call_or_asks_first_with_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """All pages and dialogs there are; what is not shown beside the form is in the question that its button brings."""

    def only_asked(*_args: Any, **_how: Any) -> Any:
        raise Conflict("It was only asked.")

    for name, module in list(sys.modules.items()):
        if name.startswith("frontend.views.") and hasattr(module, "perform"):
            monkeypatch.setattr(module, "perform", only_asked)
    client, base = signed_in(world.user), f"/o/{world.org.slug}/"
    pages = [(path, client.get(path)) for path in addresses(world)]
    bare, used, seen, shown = set(), set(), set(), 0
    for path, answer in [*pages, *dialogs(client, world)]:
        page = "" if answer.streaming else answer.content.decode()
        for form in re.findall(r"<form[^>]*method=.post.*?</form>", page, re.DOTALL):
            name = re.search(r'^<form[^>]*\sid="([^"]+)"', form)
            if "data-call=" in form or (name and f'data-form="{name[1]}"' in page):
                shown += 1
                continue
            to = html.unescape((re.search(r'^<form[^>]*action="([^"]+)"', form) or [path, path])[1])
            hidden = dict(re.findall(r'type="hidden" name="([^"]+)" value="([^"]*)"', form))
            buttons = re.findall(r'<button[^>]*\sname="([^"]+)" value="([^"]*)"', form) or [("", "")]
            for button, value in buttons:
                sends = sorted({*(one for one in names_in(form) if one not in dict(buttons)), button} - {""})
                what = f"{to.removeprefix(base).split('?')[0]} {' '.join(sends)}"
                reasons = [pattern for pattern in WITHOUT if re.search(pattern, what)]
                used.update(reasons)
                if reasons or what in seen:
                    continue
                seen.add(what)
                question = client.post(
                    to, {**hidden, button: value} if button else hidden, headers={"HX-Request": "true", "HX-Dialog": "1"}
                )
                if "Equivalent call" not in question.content.decode():
                    bare.add(f"{what} (on {path})")
    assert not bare, "\n".join(sorted(bare))
    assert shown > 40
    assert len(seen) >= 8, seen
    assert used == set(WITHOUT), "what has its call, or is not there any more, is no exception"


def test_of_what_was_done_its_job_has_the_call(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of every verb that is told: in words of the specification and of the command line."""
    client = signed_in(world.user)
    told_of = set()
    for verb, action in all_actions().items():
        row = world.rows.get(verb.partition(".")[0])
        if row is None or verb in calls.NO_CALL:
            continue
        made = {one.name: one.text for one in calls.of_act(type(row) if action.creates else row, action.name, {})}
        name, _one = operation(of_curl(made["curl"]))
        assert of_command(made["cli"]).path == of_curl(made["curl"]).path, verb
        told_of.add(name)
    assert len(told_of) > 60
    machine = world.rows["machine"]
    job = perform(world.actor, machine, "tag", {"tags": {"env": "prod"}, "remove": []})
    sent = of_curl(texts(client.get(f"/o/{world.org.slug}/jobs/{job.pk.hex}").content.decode())["curl"])
    assert (sent.path, sent.body["tags"]) == (f"/api/v2/machines/{machine.pk.hex}/actions/tag", {"env": "prod"})
    many = bulks.bulk(world.actor, Machine, "stop", ids=[machine.pk])
    sent = of_curl(texts(client.get(f"/o/{world.org.slug}/jobs/{many.pk.hex}").content.decode())["curl"])
    assert sent.body == {"kind": "machine", "action": "stop", "ids": [machine.pk.hex]}
    script = perform(world.actor, Script, "create", {"name": "x", "script": f"#!/bin/sh\necho {SECRET}\n"})
    page = client.get(f"/o/{world.org.slug}/jobs/{script.pk.hex}").content.decode()
    assert SECRET not in page and of_curl(texts(page)["curl"]).body["script"] == calls.HIDDEN


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
