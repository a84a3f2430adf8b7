"""Every page's main path without a mouse: nothing here clicks."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from accounts.models import Team, User
from core.actions import perform
from keys.models import Key
from machines.models import Machine
from scripts.models import Run, Script
from tests.frontend.browsing import IN_A_BROWSER, Person, wait
from tests.frontend.conftest import actor_for, machine

pytestmark = IN_A_BROWSER
Open = Callable[..., Person]


@pytest.fixture
def page(fleet: User, person: Open) -> Page:
    """A browser whose mouse is gone."""
    return person(fleet).page


def tab_to(page: Page, selector: str, most: int = 120) -> None:
    """Press Tab until the focus is on what is meant."""
    for _ in range(most):
        if page.evaluate("selector => document.activeElement?.matches(selector) ?? false", selector):
            return
        page.keyboard.press("Tab")
    pytest.fail(f"Tab never came to {selector}")


def test_a_machine_is_created(page: Page, fleet: User) -> None:
    page.goto("/o/here/machines")
    page.keyboard.press("c")
    page.wait_for_url("**/machines/new**")
    tab_to(page, "#step-image[open] input[type=radio], #step-image:not([open]) summary")
    if page.evaluate("document.activeElement.matches('summary')"):
        page.keyboard.press("Enter")
        tab_to(page, "#step-image input[type=radio]")
    page.keyboard.press("Space")
    tab_to(page, "#step-size summary")
    if not page.locator("#step-size[open]").count():
        page.keyboard.press("Enter")
    tab_to(page, "#step-size input[type=radio]")
    page.keyboard.press("Space")
    tab_to(page, "#name")
    page.keyboard.type("by-keys")
    if page.locator("[name=location] option[value='']").count() and not page.locator("[name=location]").input_value():
        page.keyboard.press("Shift+Tab")
        for _ in range(120):
            if page.evaluate("document.activeElement?.matches('#step-cloud summary') ?? false"):
                break
            page.keyboard.press("Shift+Tab")
        if not page.locator("#step-cloud[open]").count():
            page.keyboard.press("Enter")
        tab_to(page, "[name=location]")
        page.keyboard.press("ArrowDown")
        tab_to(page, "#name")
    page.keyboard.press("Control+Enter")
    wait(lambda: Machine.objects.filter(name="by-keys").exists(), 30, lambda: page.locator("main").inner_text()[:1500])


def test_a_machine_is_destroyed(page: Page) -> None:
    one = machine()
    page.goto(f"/o/here/machines?q=id:{one.pk.hex}")
    page.keyboard.press("j")
    page.keyboard.press(".")
    menu = page.locator("#row-menu")
    expect(menu).to_be_visible()
    page.keyboard.press("End")
    for _ in range(4):
        if page.evaluate("document.activeElement?.textContent.includes('Destroy') ?? false"):
            break
        page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog").get_by_role("heading", name="Destroy")).to_be_visible()
    page.keyboard.type(one.name)
    page.keyboard.press("Enter")
    expect(page.locator(".toast").first).to_contain_text("starts in")
    page.keyboard.press("z")
    expect(page.locator(".toast").first).to_contain_text("undone")
    assert Machine.objects.filter(pk=one.pk, state="running").exists()


def test_a_script_is_run(page: Page, fleet: User) -> None:
    perform(actor_for(fleet.orgs.get(), fleet), Script, "create", {"name": "hello", "script": "#!/bin/sh\necho hello\n"})
    page.goto(f"/o/here/machines/{machine().pk.hex}")
    page.keyboard.press("r")
    expect(page.get_by_role("dialog").get_by_role("button", name="hello")).to_be_focused()
    page.keyboard.press("Enter")
    page.wait_for_url("**/run**")
    tab_to(page, "main form button[type=submit].pri")
    page.keyboard.press("Enter")
    page.wait_for_url("**/runs/**")
    assert Run.objects.get().name == "hello"


def test_a_policy_is_set(page: Page, fleet: User) -> None:
    team = Team.objects.create(org=fleet.orgs.get(), name="Web")
    page.goto("/o/here/")
    page.keyboard.press("g")
    page.keyboard.press("p")
    page.wait_for_url("**/teams")
    tab_to(page, f"a.nm[href*='{team.pk.hex}']")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/teams/{team.pk.hex}**")
    page.keyboard.press("e")
    page.wait_for_url("**/policy")
    tab_to(page, "mist-complete input")
    page.keyboard.type("machine.stop")
    page.keyboard.press("Escape")
    tab_to(page, "button[name=preview]")
    page.keyboard.press("Enter")
    expect(page.locator("#preview")).to_be_visible()
    tab_to(page, "button[name=save]")
    page.keyboard.press("Enter")
    wait(lambda: bool(Team.objects.get(pk=team.pk).statements), 20, lambda: page.locator("main").inner_text()[:800])
    assert Team.objects.get(pk=team.pk).statements[0]["verbs"] == ["machine.stop"]


def test_a_key_is_generated(page: Page) -> None:
    page.goto("/o/here/")
    page.keyboard.press("g")
    page.keyboard.press("y")
    page.wait_for_url("**/keys")
    page.keyboard.press("c")
    page.wait_for_url("**/keys/new**")
    tab_to(page, "main input[name=name]")
    page.keyboard.type("by-keys")
    page.keyboard.press("Control+Enter")
    wait(lambda: Key.objects.filter(name="by-keys").exists(), 20, lambda: page.locator("main").inner_text()[:800])
