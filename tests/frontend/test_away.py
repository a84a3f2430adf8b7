"""What the server cannot do now, on the real one: a stopped database, a missing table, too many requests, a network that is gone.

Pages, parts of pages, acts, the API and Live each say what is so, and a part is right again without a reload.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from django.db import connection, connections
from playwright.sync_api import Browser, Page, expect

from accounts.models import User
from machines.models import Machine
from mist.embedded import Postgres, Valkey
from tests.frontend.browsing import IN_A_BROWSER, Person, serving
from tests.frontend.conftest import PASSWORD, machine
from tests.frontend.recorded import in_both_themes

pytestmark = IN_A_BROWSER
Open = Callable[..., Person]
OLD = re.compile(r"^Reconnecting, \d+ s old$")
STATES = """() => { window.states = []; const live = document.querySelector("mist-live");
  new MutationObserver(() => window.states.at(-1) !== live.dataset.state && window.states.push(live.dataset.state))
    .observe(live, { attributes: true, attributeFilter: ["data-state"] }); }"""


@pytest.fixture(scope="module", autouse=True)
def _connections_of_others() -> Iterator[None]:
    """While a browser's loop runs in this thread Django gives it connections of its own: those from before die unseen with the database."""
    yield
    connections.close_all()  # the browser is closed by now


@contextmanager
def stopped(postgres: Postgres) -> Iterator[None]:
    """The database is not there meanwhile."""
    connections.close_all()
    postgres.stop()
    try:
        yield
    finally:
        postgres.start()


@contextmanager
def missing(table: str) -> Iterator[None]:
    """As after half a migration."""
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} RENAME TO {table}_away")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE {table}_away RENAME TO {table}")


def looks_right(page: Page) -> None:
    """In both themes, and on a telephone."""
    assert not in_both_themes(page)
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.set_viewport_size({"width": 1440, "height": 900})


def test_a_stopped_database_is_said_everywhere_and_forgotten_when_it_is_back(fleet: User, browser: Browser, postgres: Postgres) -> None:
    target = machine(state="running")
    with serving() as address:
        one = Person(browser, address).sign_in(fleet)
        page, other = one.page, one.context.new_page()
        page.goto(f"/o/here/machines/{target.pk.hex}")
        one.be_live()
        page.evaluate("window.kept = 1")
        page.evaluate("window.socket = document.querySelector('mist-live').connection.socket")
        with stopped(postgres):
            expect(page.locator("mist-live")).to_have_text(OLD)
            page.locator("#jobs-button").click()
            part = page.locator("#jobs-body .failed-part")
            expect(part).to_contain_text("Mist cannot reach its database.")
            expect(part).to_contain_text("req_")
            looks_right(page)
            page.keyboard.press("Escape")
            page.locator("a.link[data-dialog][href$='set_owner']").click()
            expect(page.locator(".toast", has_text="Mist cannot reach its database.")).to_be_visible()
            page.locator(".toast [data-dismiss]").click()
            page.get_by_role("button", name="Add a tag").click()
            page.get_by_role("textbox", name="Add a tag").fill("tier=gold")
            page.keyboard.press("Enter")
            expect(page.locator(".toast", has_text="Nothing was done")).to_be_visible()
            answer = other.goto("/o/here/clouds")
            assert answer is not None
            assert (answer.status, answer.headers["retry-after"]) == (503, "5")
            expect(other.get_by_role("heading", level=1)).to_have_text("Mist cannot reach its database.")
            looks_right(other)
            told = one.context.request.get("/api/v2/machines")
            assert (told.status, told.json()["code"], told.headers["retry-after"]) == (503, "database_unavailable", "5")
            german = one.context.request.get("/o/here/clouds", headers={"Accept-Language": "de"})
            assert "Mist erreicht seine Datenbank nicht." in german.text()
            assert page.evaluate("window.socket.readyState") == 1, "it was open all the time"
            expect(page.locator("mist-live")).to_have_text(OLD)
        expect(page.locator("mist-live")).to_have_text("Live", timeout=8_000)
        assert page.evaluate("window.socket.readyState") == 1
        other.get_by_role("link", name="Try again").click()
        expect(other.get_by_role("heading", level=1)).to_have_text("Clouds")
        page.locator("#jobs-button").click()
        expect(page.locator("#jobs-body .jd").first).to_be_visible()
        assert page.evaluate("window.kept") == 1, "it was not read anew"
        one.context.close()


def test_a_socket_lost_while_the_database_is_away_is_not_called_live_before_the_page_is_right(
    fleet: User, browser: Browser, postgres: Postgres
) -> None:
    with serving() as address:
        one = Person(browser, address).sign_in(fleet)
        page = one.page
        page.goto("/o/here/machines")
        one.be_live()
        page.evaluate(STATES)
        with stopped(postgres):
            page.evaluate("document.querySelector('mist-live').connection.socket.close()")
            expect(page.locator("mist-live")).to_have_text(OLD)
            page.wait_for_timeout(4000)  # it has tried again by then, more than once
            assert page.evaluate("window.states") == ["reconnecting"]
        target = machine(state="running")
        Machine.objects.filter(pk=target.pk).update(name="renamed-meanwhile")  # nobody is told
        expect(page.locator("mist-live")).to_have_text("Live")
        expect(page.get_by_role("link", name="renamed-meanwhile", exact=True)).to_be_visible(timeout=8_000)
        assert page.evaluate("window.states") == ["reconnecting", "live"]
        one.context.close()


def test_live_says_so_when_it_is_told_nothing_any_more(fleet: User, person: Open, valkey: Valkey) -> None:
    one = person(fleet)
    page = one.page
    page.goto("/o/here/machines")
    one.be_live()
    target = machine(state="running")
    valkey.stop()
    try:
        expect(page.locator("mist-live")).to_have_text(OLD)
        Machine.objects.filter(pk=target.pk).update(name="renamed-meanwhile")
    finally:
        valkey.start()
    expect(page.locator("mist-live")).to_have_text("Live", timeout=8_000)
    expect(page.get_by_role("link", name="renamed-meanwhile", exact=True)).to_be_visible(timeout=8_000)


def test_a_view_that_raises_is_a_page_in_its_frame_and_a_part_in_its_place(fleet: User, person: Open) -> None:
    one = person(fleet)
    page = one.page
    with missing("scripts_script"):
        answer = page.goto("/o/here/scripts")
        assert answer is not None
        assert answer.status == 500
        expect(page.get_by_role("heading", level=1)).to_have_text("Mist failed at this page.")
        expect(page.locator(".side")).to_be_visible()
        expect(page.locator("main")).to_contain_text(f"req_{answer.headers['x-request-id']}")
        looks_right(page)
        told = one.context.request.get("/api/v2/scripts")
        assert (told.status, told.json()["code"]) == (500, "internal_error")
    page.get_by_role("link", name="Try again").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Scripts")
    one.complaints.clear()  # a browser says so of every answer of 400 and more


def test_a_part_that_fails_is_asked_for_again_in_its_place(fleet: User, person: Open) -> None:
    one = person(fleet)
    page = one.page
    page.goto("/o/here/machines")
    page.route("**/o/here/jobs*", lambda route: route.abort())
    page.locator("#jobs-button").click()
    part = page.locator("#jobs-body .failed-part")
    expect(part).to_contain_text("Mist does not answer")
    looks_right(page)
    page.unroute("**/o/here/jobs*")
    part.get_by_role("button", name="Try again").click()
    expect(page.locator("#jobs-body .jd").first).to_be_visible()
    expect(part).to_have_count(0)
    page.keyboard.press("Escape")
    page.route("**/do/**", lambda route: route.fulfill(status=502, content_type="text/html", body="<h1>502 Bad Gateway</h1>"))
    page.goto(f"/o/here/machines/{machine(state='running').pk.hex}")
    page.get_by_role("button", name="Add a tag").click()
    page.get_by_role("textbox", name="Add a tag").fill("tier=gold")
    page.keyboard.press("Enter")
    expect(page.locator(".toast")).to_contain_text("Whether it was done is not known.")
    expect(page.locator("body")).not_to_contain_text("Bad Gateway")
    one.complaints.clear()


def test_who_asks_too_often_is_told_when_to_return(fleet: User, browser: Browser) -> None:
    with serving(MIST_API_PER_MINUTE=3) as address:
        one = Person(browser, address).sign_in(fleet)
        answers = [one.context.request.get("/api/v2/machines") for _ in range(8)]
        last = answers[-1]
        assert (last.status, last.json()["code"]) == (429, "too_many_requests")
        assert 0 < int(last.headers["retry-after"]) <= 61
        one.context.clear_cookies()
        page = one.page
        statuses: list[tuple[int, str]] = []
        page.on("response", lambda answer: statuses.append((answer.status, answer.headers.get("retry-after", ""))))
        for _ in range(12):
            page.goto("/sign-in")
            page.get_by_label("E-mail").fill("stranger@here.example")
            page.get_by_label("Password").fill("wrong")
            page.get_by_role("button", name="Sign in").click()
            expect(page.locator(".note.crit, .err").first).to_be_visible()
        expect(page.locator("main")).to_contain_text("Too many failed attempts. Try again in 15 min")
        waits = [int(after) for status, after in statuses if status == 429]
        assert waits
        assert all(800 < wait_s <= 901 for wait_s in waits)
        looks_right(page)
        page.get_by_label("E-mail").fill(fleet.email)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url("**/o/**")
        one.context.close()
