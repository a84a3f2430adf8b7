"""Every page there is: for four kinds of person, with what nobody should type, to axe, and on a telephone."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from django.test import Client
from playwright.sync_api import Page

from accounts.models import Team
from core.models import Job
from tests.api.world import World, make_world
from tests.frontend.browsing import AXE, IN_A_BROWSER, Person
from tests.frontend.conftest import PASSWORD, add_user, signed_in
from tests.frontend.every_page import addresses, poison

# The innermost things that reach over the edge of a telephone and are not clipped or scrolled by what holds them.
WIDEST = """[...document.querySelectorAll('main *')].filter(one => one.getBoundingClientRect().right > 391
  && ![...one.children].some(child => child.getBoundingClientRect().right > 391)
  && !one.closest('pre, .tabs')).slice(0, 3).map(one => one.outerHTML.slice(0, 120))"""
# Fields that hide what scripts call of their form: `<input name="remove">` and form.remove() is no function any more.
CLOBBERED = """[...document.querySelectorAll('form [name]')].filter(one => one.form && one.name in HTMLElement.prototype
  && !['id', 'name', 'title', 'hidden', 'lang', 'dir', 'style'].includes(one.name)).map(one => one.name)"""
READER = [{"effect": "allow", "verbs": ["*.read"], "what": {}}]
SELF_SERVICE = [
    {"effect": "allow", "verbs": ["cloud.read"], "what": {}},
    {"effect": "allow", "verbs": ["machine.*"], "what": {"own": True}},
]


@pytest.fixture
def people(db: None) -> tuple[World, dict[str, Client]]:
    """A world full of what nobody should type, and its admin, a member, somebody with self-service, somebody without rights."""
    world = make_world("here")
    clients = {"admin": signed_in(world.user)}
    for name, statements in (("member", READER), ("self-service", SELF_SERVICE), ("nobody", [])):
        user = add_user(world.org, f"{name}@here.example")
        if statements:
            Team.objects.create(org=world.org, name=name, statements=statements).members.add(user)
        clients[name] = signed_in(user)
    return world, clients


def test_what_strangers_typed_is_text_on_every_page_for_everybody(people: tuple[World, dict[str, Client]]) -> None:
    world, clients = people
    poison(world)
    found, shown = [], 0
    for who, client in clients.items():
        for path in addresses(world):
            response = client.get(path)
            if response.status_code >= 500:
                found.append(f"{who} {path}: {response.status_code}")
            if response.streaming or not response["Content-Type"].startswith("text/html"):
                continue
            body = response.content.decode()
            shown += "&lt;script&gt;alert(1)" in body
            if "<script>alert" in body or "<img src=x" in body:
                found.append(f"{who} {path}: markup")
            if who == "admin" and response.status_code not in (200, 302, 303):
                found.append(f"{who} {path}: {response.status_code}")
    assert not found, "\n".join(found)
    assert shown > 20, "the texts have to be on the pages for this to say anything"


class TestInABrowser:
    """In a real browser: no complaint of its console either."""

    pytestmark = [*IN_A_BROWSER, pytest.mark.skipif(not AXE.exists(), reason="axe-core is not installed: npm ci")]

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_every_page_is_for_everybody(self, quiet: None, person: Callable[..., Person], scheme: str) -> None:
        world = make_world("here")
        poison(world)
        Job.objects.exclude(state="failed").update(state="cancelled")  # no worker is there for them
        world.user.set_password(PASSWORD)
        world.user.save()
        one = person(world.user, color_scheme=scheme)
        assert whole_pages(world)
        found: list[str] = []
        too_wide: dict[str, str] = {}
        for path in whole_pages(world):
            one.page.goto(path)
            found += [f"{path}: {text}" for text in violations(one.page)]
            found += [f"{path}: a field named {name}" for name in one.page.evaluate(CLOBBERED)]
            one.page.set_viewport_size({"width": 390, "height": 844})
            wide = one.page.evaluate("Math.max(document.documentElement.scrollWidth, document.querySelector('main').scrollWidth)")
            if wide > 390:
                too_wide[re.sub(r"[0-9a-f]{32}", "*", path.removeprefix("/o/here/"))] = f"{wide} px: {one.page.evaluate(WIDEST)}"
            one.page.set_viewport_size({"width": 1440, "height": 900})
        assert not found, "\n".join(found)
        assert not too_wide, too_wide


def whole_pages(world: World) -> list[str]:
    """The addresses that answer with a page of their own, not a part of one."""
    client = signed_in(world.user)
    answers = {path: client.get(path) for path in addresses(world)}
    return [path for path, one in answers.items() if one.status_code == 200 and not one.streaming and b"<main" in one.content]


def violations(page: Page) -> list[str]:
    page.evaluate(AXE.read_text())  # evaluate is not bound by the page's policy
    result = page.evaluate("axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa', 'wcag22aa']})")
    return [f"{one['id']}: {node['html'][:160]}" for one in result["violations"] for node in one["nodes"][:3]]
