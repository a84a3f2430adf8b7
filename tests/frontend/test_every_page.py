"""Every page there is, in every state: for four kinds of person, with what nobody should type, to axe in both themes, on a telephone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
from django.db import OperationalError
from django.test import Client
from playwright.sync_api import Browser

from accounts.models import Team
from core.errors import TooMany
from frontend import overview
from frontend.views.base import ConsoleView
from machines.models import Machine
from tests.api.world import World, make_world
from tests.frontend.browsing import AXE, IN_A_BROWSER
from tests.frontend.conftest import add_user, make_org, signed_in
from tests.frontend.every_page import addresses, poison, readable
from tests.frontend.recorded import Answer, Screen, take

READER = [{"effect": "allow", "verbs": ["*.read"], "what": {}}]
SELF_SERVICE = [
    {"effect": "allow", "verbs": ["cloud.read"], "what": {}},
    {"effect": "allow", "verbs": ["machine.*"], "what": {"own": True}},
]


@dataclass
class Recorded:
    """{(who, path): the answer}. `poisoned`: in a world full of what nobody should type; `states`: empty, no match, refused, failed."""

    poisoned: dict[tuple[str, str], Answer] = field(default_factory=dict)
    states: dict[tuple[str, str], Answer] = field(default_factory=dict)


@pytest.fixture(scope="module")
def kept() -> Recorded:
    return Recorded()


@pytest.fixture
def recorded(db: None, kept: Recorded) -> Recorded:
    """Every answer there is, asked for once for all tests here."""
    if not kept.poisoned:
        world, clients = make_people()
        poison(world)
        for who, client in clients.items():
            kept.poisoned.update({(who, path): take(client, path) for path in addresses(world)})
        take_states(kept, world, clients)
    return kept


def make_people() -> tuple[World, dict[str, Client]]:
    """A world, and its admin, a member, somebody with self-service, somebody without rights."""
    world = make_world("here")
    clients = {"admin": signed_in(world.user)}
    for name, statements in (("member", READER), ("self-service", SELF_SERVICE), ("nobody", [])):
        user = add_user(world.org, f"{name}@here.example")
        if statements:
            Team.objects.create(org=world.org, name=name, statements=statements).members.add(user)
        clients[name] = signed_in(user)
    return world, clients


LISTS = {f"/o/here/{route}" for route in readable() if "<" not in route}
TABS = [route.removeprefix("machines/<str:identity>") for route in readable() if re.fullmatch("machines/<str:identity>[a-z/]*", route)]


def take_states(recorded: Recorded, world: World, clients: Mapping[str, Client]) -> None:
    """The lists, the dashboard and the machine page in each state that is not the ordinary one."""
    states = recorded.states
    _org, first = make_org("new")
    newcomer = signed_in(first)
    for path in sorted(LISTS):
        states["empty", path] = take(newcomer, path.replace("/o/here/", "/o/new/"))
        if b'name="q"' in recorded.poisoned["admin", path].body:
            for name, q in (("no match", "name:nothing-is-called-so"), ("no search", "state:")):
                states[name, f"{path}?q={q}"] = take(clients["admin"], f"{path}?q={q}")
    bare = (
        Machine.objects.filter(org=world.org, key_associations=None, snapshots=None, type="vm").exclude(pk=world.rows["machine"].pk).first()
    )
    assert bare is not None
    own = Machine.objects.filter(org=world.org, state="running").exclude(pk=bare.pk).first()
    assert own is not None
    Machine.objects.filter(pk=own.pk).update(owner=clients["self-service"].session["_auth_user_id"])
    for tab in TABS:
        states["bare machine", tab] = take(clients["admin"], f"/o/here/machines/{bare.pk.hex}{tab}")
        states["own machine", tab] = take(clients["self-service"], f"/o/here/machines/{own.pk.hex}{tab}")
        states["unseen machine", tab] = take(clients["nobody"], f"/o/here/machines/{bare.pk.hex}{tab}")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("figures", "attention", "ending", "clouds", "activity"):
            patch.setattr(overview, name, fails)
        states["failed parts", "/"] = take(clients["admin"], "/o/here/")
    admin = Client(raise_request_exception=False)
    admin.cookies = clients["admin"].cookies
    for name, error in (("broken", RuntimeError("x")), ("no database", OperationalError("x")), ("too many", TooMany("x", retry_after_s=5))):
        for what, path in (("machines", "/o/here/machines"), ("machine", f"/o/here/machines/{bare.pk.hex}")):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(ConsoleView, "page", fails_once(error))
                states[name, what] = take(admin, path)
    states["not there", "page"] = take(admin, "/o/here/nothing")
    states["not there", "anywhere"] = take(Client(), "/nothing")
    theirs = Team.objects.get(members__email="member@here.example")
    states["refused", "policy"] = take(clients["member"], f"/o/here/teams/{theirs.pk.hex}/policy")


def fails(*_: Any) -> None:
    raise OperationalError("canceling statement due to statement timeout")


def fails_once(error: Exception) -> Any:
    """In place of what makes a page: the page that says so is made."""
    left, real = [error], ConsoleView.page

    def page(*args: Any, **kwargs: Any) -> Any:
        if left:
            raise left.pop()
        return real(*args, **kwargs)

    return page


def test_what_strangers_typed_is_text_on_every_page_for_everybody(recorded: Recorded) -> None:
    found, shown = [], 0
    for (who, path), answer in recorded.poisoned.items():
        if answer.status >= 500:
            found.append(f"{who} {path}: {answer.status}")
        if not answer.body or not answer.headers.get("Content-Type", "").startswith("text/html"):
            continue
        shown += "&lt;script&gt;alert(1)" in answer.text
        if "<script>alert" in answer.text or "<img src=x" in answer.text:
            found.append(f"{who} {path}: markup")
        if who == "admin" and answer.status not in (200, 302, 303):
            found.append(f"{who} {path}: {answer.status}")
    assert not found, "\n".join(found)
    assert shown > 20, "the texts have to be on the pages for this to say anything"


def test_a_link_to_a_file_says_so(recorded: Recorded) -> None:
    """Of a file that comes instead of a page browsers say nothing: the page that was left would wait for ever (loading.js)."""
    files = {path for (_who, path), answer in recorded.poisoned.items() if "attachment" in answer.headers.get("Content-Disposition", "")}
    assert len(files) > 3
    found = set()
    for (_who, path), answer in recorded.poisoned.items():
        for link in re.findall(r"<a\b[^>]*>", answer.text if answer.is_page else ""):
            to = re.search(r'href="([^"?#]*)', link)
            if to and to[1] in files - {path} and not re.search(r"\sdownload[\s>=]", link):
                found.add(f"{path}: {link}")
    assert not found, "\n".join(sorted(found))


@pytest.mark.parametrize(
    ("name", "what", "status", "words"),
    [
        ("empty", "/o/here/machines", 200, "No machines yet"),
        ("no match", "/o/here/machines?q=name:nothing-is-called-so", 200, "No machine matches"),
        ("nobody", "/o/here/machines", 200, "You have no rights in"),
        ("failed parts", "/", 200, "Try again"),
        ("unseen machine", "", 404, "There is nothing at this address."),
        ("own machine", "", 200, "Overview"),
        ("broken", "machine", 500, "req_"),
        ("no database", "machines", 503, "req_"),
        ("too many", "machines", 429, "req_"),
        ("refused", "policy", 403, "req_"),
    ],
)
def test_the_states_are_what_they_are_taken_for(recorded: Recorded, name: str, what: str, status: int, words: str) -> None:
    answer = (recorded.states | recorded.poisoned)[name, what]
    assert (answer.status, words in answer.text) == (status, True), answer.text[answer.text.index("<main") :][:2000]


class TestInABrowser:
    """In a real browser: no complaint of its console either. Of pages of one shape one is looked at, and of a page in another state or
    for somebody else when it has something beside something else that no page before it had.
    """

    pytestmark = [*IN_A_BROWSER[:2], pytest.mark.skipif(not AXE.exists(), reason="axe-core is not installed: npm ci")]

    def test_every_page_in_every_state_is_for_everybody(self, recorded: Recorded, browser: Browser) -> None:
        screen, found = Screen(browser), []
        seen: set[tuple[str, ...]] = set()
        known: set[tuple[str, str]] = set()
        poisoned = {(who, path): answer for (who, path), answer in recorded.poisoned.items() if who == "admin" or path in LISTS}
        screen.parts = {path: answer for (who, path), answer in poisoned.items() if who == "admin" and not answer.is_page}
        for (who, path), answer in [*poisoned.items(), *recorded.states.items()]:
            if not answer.is_page or (shape := answer.shape()) in seen or (who != "admin" and known.issuperset(pairwise(shape))):
                continue
            seen.add(shape)
            known.update(pairwise(shape))
            found += [f"{who} {text}" for text in screen.faults(path, answer)]
        screen.context.close()
        assert not found, "\n".join(found)
        assert len(seen) > 60, "of every kind of page one"
