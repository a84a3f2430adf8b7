"""The console without its socket, without its server for a while, and without scripts."""

from __future__ import annotations

import re
from collections.abc import Callable

from playwright.sync_api import Browser, expect

from accounts.models import User
from core.models import Job
from machines.models import Machine
from tests.frontend.browsing import IN_A_BROWSER, Person, serving, wait
from tests.frontend.conftest import PASSWORD, machine, run_jobs

pytestmark = IN_A_BROWSER
Open = Callable[..., Person]


def others(one: Person) -> list[str]:
    """What it complained of beside the connection that was cut, and pages left before they had faded in."""
    return [text for text in one.complaints if not re.search("WebSocket|ERR_CONNECTION|htmx:ws|^Transition was ", text)]


def is_done(one: Machine, state: str) -> bool:
    run_jobs()
    one.refresh_from_db()
    return one.state == state or one.state == {"stopped": "stopping", "running": "starting"}[state]


def test_a_page_is_right_again_after_its_server_was_away(fleet: User, browser: Browser) -> None:
    """What changed meanwhile is shown without a reload, and Live said that it was not live."""
    target = machine(state="running")
    with serving() as address:
        port = int(address.rsplit(":", 1)[1])
        one = Person(browser, address).sign_in(fleet)
        one.page.goto(f"/o/here/machines?q=id:{target.pk.hex}")
        one.be_live()
        row = one.page.locator(f"tr[data-live='machine.row:{target.pk.hex}']")
        expect(row).to_contain_text("Running")
        one.page.evaluate("window.kept = 1")
    expect(one.page.locator("mist-live")).to_have_attribute("data-state", "reconnecting")
    Machine.objects.filter(pk=target.pk).update(state="error")  # nobody is told
    with serving(port):
        expect(one.page.locator("mist-live[data-state=live]")).to_be_visible(timeout=40_000)
        expect(row).to_contain_text("Error")
        assert one.page.evaluate("window.kept") == 1, "it was not read anew"
        one.context.close()
    assert not others(one)


def test_everything_works_with_the_socket_blocked(fleet: User, browser: Browser, server: str) -> None:
    """A proxy that lets no WebSocket through: acts are answered, and the page says that it is not live."""
    target = machine(state="running")
    one = Person(browser, server)
    one.page.route_web_socket("**/ws/**", lambda socket: socket.close())
    one.sign_in(fleet)
    page = one.page
    page.goto(f"/o/here/machines/{target.pk.hex}")
    expect(page.locator("mist-live[data-state=live]")).to_have_count(0)
    page.get_by_role("button", name="Add a tag").click()
    page.get_by_role("textbox", name="Add a tag").fill("tier=gold")
    page.keyboard.press("Enter")
    expect(page.locator(".tagline")).to_contain_text("tier=gold")
    wait(lambda: "tier" in Machine.objects.get(pk=target.pk).tags, 30)
    page.get_by_role("button", name="More power actions").click()
    page.locator("#power-menu").get_by_role("link", name="Stop").click()
    page.locator("#ask").get_by_role("button", name="Stop").click()
    expect(page.locator(".toast", has_text="Stopping")).to_be_visible()
    page.locator("#jobs-button").click()
    expect(page.locator("#jobs-body")).to_contain_text(target.name)
    wait(lambda: is_done(target, "stopped"), 30)
    page.goto("/o/here/machines?q=state:stopping,stopped")
    expect(page.get_by_role("link", name=target.name).first).to_be_visible()
    one.context.close()
    assert not others(one)


def test_reading_and_simple_forms_need_no_script(fleet: User, browser: Browser, server: str) -> None:
    target = machine(state="running")
    one = Person(browser, server, java_script_enabled=False)
    page = one.page
    page.goto("/sign-in")
    page.get_by_label("E-mail").fill(fleet.email)
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator("main, body").first).to_contain_text("password")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/o/**")
    page.goto("/o/here/machines")
    page.get_by_role("searchbox", name="Search machines").fill(f'name:"{target.name}"')
    page.keyboard.press("Enter")
    page.wait_for_url("**q=**")
    page.get_by_role("link", name=target.name).first.click()
    expect(page.get_by_role("heading", name=target.name)).to_be_visible()
    for tab in ("Audit log", "Volumes", "Networks", "Keys"):
        page.locator(".tabs").get_by_role("link", name=tab).click()
        expect(page.locator(".tabs a[aria-current]")).to_contain_text(tab)
    page.goto(f"/o/here/machines/{target.pk.hex}/do/tag")
    page.locator("textarea[name=tags]").fill("tier=gold")
    page.locator("main form button[type=submit], main form .btn.pri").last.click()
    wait(lambda: Machine.objects.get(pk=target.pk).tags == {"tier": "gold"}, 30)
    expect(page.locator("body")).to_contain_text("tier")
    page.goto(f"/o/here/machines/{target.pk.hex}/do/destroy")
    page.get_by_role("textbox").last.fill(target.name)
    page.get_by_role("button", name=f"Destroy {target.name}").click()
    wait(lambda: Job.objects.filter(action="machine.destroy", state="waiting").exists(), 30)
    page.goto("/o/here/jobs")
    expect(page.locator("main")).to_contain_text(target.name)
    page.get_by_role("button", name="Undo").first.click()
    wait(lambda: Job.objects.get(action="machine.destroy").state == "undone", 30)
    page.goto("/o/here/log?q=action:machine.destroy")
    expect(page.locator("#events tbody").first).to_contain_text("destroy")
    page.locator("#events summary").first.click()
    expect(page.locator("#events tr.det").first).to_be_visible()
    one.context.close()
    assert not others(one)
