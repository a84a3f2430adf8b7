"""A page that takes its time: the frame and the heading stand at once, rows are grey bars, and what comes to nothing leaves no trace.

While a browser goes somewhere nobody can ask it from outside. On a server that is slow (the test holds a table) the page itself keeps
what it shows; the looks are tried with a navigation that the page holds back.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection
from django.http import HttpResponse
from django.test import RequestFactory
from playwright.sync_api import Page, expect

from accounts.models import User
from frontend.middleware import NO_PAGE, ConsoleMiddleware
from tests.frontend.browsing import IN_A_BROWSER, Person, wait
from tests.frontend.conftest import machine
from tests.frontend.recorded import violations

pytestmark = IN_A_BROWSER
Open = Callable[..., Person]
SHOTS = os.environ.get("SHOTS", "")
LOOK = """() => {
  const seen = (where) => [...document.querySelectorAll(where)].filter((one) => one.checkVisibility());
  const text = (where) => seen(where).map((one) => one.textContent.trim()).join();
  return {
    busy: document.querySelector("main").getAttribute("aria-busy") === "true" && seen("main .bones").length === 1
      && seen("main .bones")[0].clientWidth > 0.8 * document.querySelector("main").clientWidth,
    heading: text("main h1"), current: text("nav.nav [aria-current]"), tab: text("main .tabs [aria-current]"),
    columns: text("main th a"), rows: seen("main tbody a.nm").length, query: seen("main input[type=search]").length,
    said: document.getElementById("announce").textContent,
    wide: Math.max(document.documentElement.scrollWidth, document.querySelector("main").scrollWidth),
  };
}"""
# What a page showed while it was left is kept where another page can read it.
WATCH = f"""new MutationObserver(() => {{
  if (({LOOK})().busy) setTimeout(() => localStorage.setItem("waited", JSON.stringify(({LOOK})())), 50);
}}).observe(document.querySelector("main"), {{ attributes: true, attributeFilter: ["aria-busy"] }})"""
HOLDS_BACK = "navigation.addEventListener('navigate', (event) => event.intercept({ handler: () => new Promise(() => {}) }))"


@contextmanager
def held(table: str) -> Iterator[None]:
    """Whoever reads this table waits meanwhile."""
    other = connection.copy()
    other.set_autocommit(False)
    with other.cursor() as cursor:
        cursor.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
    try:
        yield
    finally:
        other.rollback()
        other.close()


def press(page: Page, selector: str, text: str = "") -> None:
    """Click as soon as this was answered: what comes of it is not waited for."""
    page.locator(selector).filter(has_text=text).first.evaluate("one => { one.focus(); setTimeout(() => one.click()); }")


def waits(page: Page) -> dict[str, Any]:
    """How a page looks when it is seen that it waits."""
    expect(page.locator("main[aria-busy]")).to_be_attached()
    look: dict[str, Any] = page.evaluate(LOOK)
    assert look["busy"], look
    return look


def is_back(page: Page) -> None:
    expect(page.locator("main[aria-busy], main .wait")).to_have_count(0)


def looks_right(page: Page, name: str) -> None:
    """To axe, and on a telephone."""
    assert not violations(page)
    for size in ("", "-phone"):
        page.set_viewport_size({"width": 390, "height": 844} if size else {"width": 1440, "height": 900})
        assert page.evaluate(LOOK)["busy"]
        assert page.evaluate(LOOK)["wide"] <= (390 if size else 1440)
        if SHOTS:
            page.screenshot(path=f"{SHOTS}/loading-{name}{size}.png")


@pytest.fixture
def one(fleet: User, person: Open) -> Person:
    found = person(fleet)
    found.page.goto("/o/here/machines")
    expect(found.page.locator("tbody tr").first).to_be_visible()
    return found


def test_on_a_slow_server_another_page_has_its_heading_at_once(one: Person) -> None:
    page, watcher = one.page, one.context.new_page()
    page.evaluate(WATCH)
    watcher.goto("/o/here/shortcuts")  # of the same origin: it may read what the other keeps
    with held("clouds_cloud"):
        press(page, ".nav a", "Clouds")
        wait(lambda: bool(watcher.evaluate("localStorage.waited")), 20)
    look = json.loads(watcher.evaluate("localStorage.waited"))
    assert (look["busy"], look["heading"], look["rows"]) == (True, "Clouds", 0)
    page.wait_for_url("**/clouds")
    expect(page.get_by_role("link", name="demo one").first).to_be_visible()
    is_back(page)
    page.go_back()
    expect(page.locator("tbody a.nm").first).to_be_visible()
    is_back(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_another_page_is_a_heading_and_bars(fleet: User, person: Open, scheme: str) -> None:
    page = person(fleet, color_scheme=scheme).page
    page.goto("/o/here/machines")
    page.evaluate(HOLDS_BACK)
    press(page, ".nav a", "Clouds")
    look = waits(page)
    assert (look["heading"], look["said"], look["rows"]) == ("Clouds", "Loading Clouds", 0)
    assert look["current"].startswith("Clouds")
    looks_right(page, f"whole-{scheme}")


def test_the_name_of_a_thing_is_the_heading_of_its_page_and_what_nobody_named_has_none(one: Person) -> None:
    page, name = one.page, machine().name
    page.evaluate(HOLDS_BACK)
    press(page, "a.nm", name)
    assert waits(page)["heading"] == name
    page.keyboard.press("Escape")
    is_back(page)
    press(page, "a.btn.pri", "Create machine")
    assert waits(page)["heading"] == "Loading"
    looks_right(page, "unnamed")


@pytest.mark.parametrize("way", ["sort", "search", "nothing found", "view", "address"])
def test_the_same_list_keeps_everything_but_its_rows(one: Person, way: str) -> None:
    page = one.page
    page.goto("/o/here/machines?q=name:nothing" if way == "nothing found" else "/o/here/machines?sort=name")
    page.evaluate(HOLDS_BACK)
    if way == "sort":
        press(page, "th a", "Name")
    elif way == "view":
        press(page, ".views a")
    elif way == "address":
        page.evaluate("setTimeout(() => location.assign('/o/here/machines?q=state:stopped'))")
    else:
        page.locator("main input[type=search]").fill("state:running")
        page.keyboard.press("Enter")
    look = waits(page)
    assert (look["heading"], look["query"], look["rows"]) == ("Machines", 1, 0)
    assert look["columns"].startswith("Name") or way == "nothing found"
    looks_right(page, way.replace(" ", "-"))


def test_a_tab_keeps_the_machine_above_it(one: Person) -> None:
    page, target = one.page, machine()
    page.goto(f"/o/here/machines/{target.pk.hex}")
    page.evaluate(HOLDS_BACK)
    press(page, ".tabs a", "Audit log")
    look = waits(page)
    assert look["heading"] == target.name
    assert look["tab"].startswith("Audit log")
    looks_right(page, "tab")


@pytest.mark.parametrize("how", ["stopped", "a file", "Esc"])
def test_what_comes_to_nothing_brings_the_page_back_as_it_was(one: Person, how: str) -> None:
    page, watcher = one.page, one.context.new_page()
    page.set_viewport_size({"width": 1440, "height": 420})
    page.locator("mist-rows").evaluate("one => { one.scrollTop = 150 }")
    watcher.goto("/o/here/shortcuts")  # of the same origin: it may read what the other keeps
    page.evaluate(WATCH)
    if how == "Esc":
        page.route("**/o/here/clouds", lambda route: route.fulfill(status=204))
    if how == "a file":  # that the link does not announce
        page.evaluate("document.querySelector('.nav a[href$=clouds]').href = '/o/here/images.csv'")
    with held("clouds_image" if how == "a file" else "clouds_cloud"):
        page.evaluate(
            "setTimeout(() => { const link = [...document.querySelectorAll('.nav a')].find((one) => one.textContent.includes('Clouds'));"
            "link.focus(); link.click();" + ("setTimeout(() => window.stop(), 1500)" if how == "stopped" else "") + " })"
        )
        wait(lambda: bool(watcher.evaluate("localStorage.waited")), 20)
        if how == "Esc":
            page.keyboard.press("Escape")
        if how != "a file":
            is_back(page)
    is_back(page)
    expect(page.get_by_role("heading", level=1)).to_have_text("Machines")
    expect(page.locator(".nav a[aria-current]")).to_contain_text("Machines")
    assert page.locator("mist-rows").evaluate("one => one.scrollTop") == 150
    assert page.evaluate("document.activeElement.textContent.trim()").startswith("Clouds")


def test_a_browser_that_does_not_tell_of_navigations_shows_bars_too(fleet: User, person: Open) -> None:
    one = person(fleet)
    page, watcher = one.page, one.context.new_page()
    page.add_init_script("Object.defineProperty(window, 'navigation', { value: undefined })")
    watcher.goto("/o/here/shortcuts")
    asked = ("document.querySelector('.nav a[href$=clouds]').click()", "document.querySelector('form.tools').requestSubmit()")
    for ask, table, heading in zip(asked, ("clouds_cloud", "machines_machine"), ("Clouds", "Machines"), strict=True):
        page.goto("/o/here/machines")
        watcher.evaluate("localStorage.removeItem('waited')")
        page.evaluate(WATCH)
        with held(table):
            page.evaluate(f"setTimeout(() => {ask})")
            wait(lambda: bool(watcher.evaluate("localStorage.waited")), 20)
        assert json.loads(watcher.evaluate("localStorage.waited"))["heading"] == heading
        page.wait_for_load_state()
        is_back(page)
    page.locator("body").press("Escape")
    with one.context.expect_page() as other:
        page.locator(".nav a[href$=clouds]").click(modifiers=["Control"])
    other.value.close()
    page.wait_for_timeout(600)
    assert not page.evaluate(LOOK)["busy"]


def test_an_answer_that_is_no_page_says_so_to_the_page_it_was_asked_from() -> None:
    def cookie(answer: HttpResponse, mode: str = "navigate") -> bool:
        return NO_PAGE in ConsoleMiddleware(lambda _request: answer)(RequestFactory().get("/", headers={"Sec-Fetch-Mode": mode})).cookies

    assert cookie(HttpResponse(status=204))
    assert cookie(HttpResponse("a,b", content_type="text/csv"))
    assert cookie(HttpResponse("<p>", headers={"Content-Disposition": 'attachment; filename="run.html"'}))
    assert not cookie(HttpResponse("<p>"))
    assert not cookie(HttpResponse(status=302))
    assert not cookie(HttpResponse("a,b", content_type="text/csv"), mode="cors")


def test_files_that_are_fetched_leave_the_page_alone(one: Person) -> None:
    page = one.page
    with page.expect_download():
        page.evaluate("document.querySelector('#export-menu a[download]').click()")
    page.wait_for_timeout(600)  # three times as long as a page would have waited
    assert not page.evaluate(LOOK)["busy"]


def test_a_part_that_is_fetched_shows_bars_in_its_place(one: Person) -> None:
    page = one.page
    with held("core_job"):
        page.locator("#jobs-button").click()
        expect(page.locator("#jobs-body .bones")).to_be_visible()
        expect(page.locator("#jobs-body")).to_have_attribute("aria-busy", "true")
        assert not violations(page)
    expect(page.locator("#jobs-body .jd").first).to_be_visible()
    expect(page.locator("#jobs-body .bones, #jobs-body[aria-busy]")).to_have_count(0)


def test_what_opens_a_dialog_says_that_it_is_waited_for(one: Person) -> None:
    page = one.page
    page.goto(f"/o/here/machines/{machine().pk.hex}")
    link = page.locator("a.link[data-dialog][href$='set_owner']")
    with held("accounts_membership"):
        link.evaluate("one => one.click()")
        expect(link).to_have_attribute("aria-busy", "true")
    expect(page.locator("#dialog[open]")).to_be_visible()
    expect(link).not_to_have_attribute("aria-busy", "true")
