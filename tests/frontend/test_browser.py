"""The console in a real browser on a real server. A console error or a violation of the content security policy fails a test."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Browser, expect

from accounts.models import User
from clouds.models import Cloud
from core.actions import perform
from core.models import Job
from frontend import words
from machines.models import Machine
from scripts.models import Script
from tests.frontend.browsing import AXE, IN_A_BROWSER, Person, read_until, wait
from tests.frontend.conftest import actor_for, machine, read_clouds
from tests.frontend.recorded import in_both_themes, violations

pytestmark = IN_A_BROWSER


def test_a_new_owner_adds_a_cloud_and_sees_its_machines(owner: User, person: Callable[..., Person]) -> None:
    page = person(owner).page
    page.goto("/o/here/")
    page.get_by_role("link", name="Add cloud").first.click()
    page.get_by_role("link", name="Demo").click()
    page.get_by_label("Name", exact=True).fill("my lab")
    page.get_by_label("Machines").fill("7")
    page.get_by_role("button", name="Add cloud").click()
    expect(page.get_by_role("heading", name="my lab")).to_be_visible()
    expect(page.locator(".toast")).to_contain_text("my lab added")
    read_clouds()
    page.get_by_role("link", name="Machines", exact=False).first.click()
    expect(page.locator("tbody tr").first).to_be_visible()


def test_what_is_asked_for_is_counted_and_written_as_a_call_while_typing(fleet: User, person: Callable[..., Person]) -> None:
    perform(actor_for(fleet.orgs.get(), fleet), Script, "create", {"name": "hello", "script": "#!/bin/sh\necho hello\n"})
    page = person(fleet).page
    page.goto(f"/o/here/machines/new?cloud={Cloud.objects.get(provider='demo').pk.hex}")
    page.get_by_label("Name", exact=True).first.fill("web-{n:02}")
    page.get_by_role("button", name="More", exact=True).click()
    expect(page.locator("#many")).to_have_text("2 machines")
    call = page.locator("pre[aria-label=CLI]")
    expect(call.locator("i", has_text="'web-{n:02}'")).to_be_visible()
    expect(call.locator("b", has_text="--cloud")).to_be_visible()
    expect(call).not_to_contain_text("--scripts")  # nobody chose one
    expect(page.get_by_role("heading", name="Equivalent call")).to_be_visible()


def test_a_stop_in_one_browser_changes_the_row_in_another_and_keeps_its_focus(fleet: User, person: Callable[..., Person]) -> None:
    machine = Machine.objects.filter(state="running", type="vm").order_by("name").first()
    assert machine is not None
    actor, watcher = person(fleet), person(fleet)
    watcher.page.goto("/o/here/machines")
    row = watcher.page.locator(f"#machine-{machine.pk.hex}")
    expect(row.locator(".mark.running")).to_be_visible()
    row.get_by_role("checkbox").check()
    watcher.page.get_by_role("combobox", name="Search machines").focus()
    watcher.page.keyboard.type("half a que")
    watcher.be_live()
    actor.page.goto(f"/o/here/machines/{machine.pk.hex}")
    actor.page.get_by_role("button", name="More power actions").click()
    actor.page.locator("#power-menu").get_by_role("link", name="Stop").click()
    actor.page.locator("#ask").get_by_role("button", name="Stop").click()
    expect(actor.page.locator(".toast").first).to_contain_text(machine.name)
    expect(row.locator(".mark.running")).to_have_count(0)
    wait(lambda: read_until(machine, "stopped"), 20)
    expect(row.locator(".mark.stopped")).to_be_visible()
    expect(row.get_by_role("checkbox")).to_be_checked()
    assert watcher.page.evaluate("document.activeElement.name") == "q"
    assert watcher.page.get_by_role("combobox", name="Search machines").input_value() == "half a que"
    expect(actor.page.locator(".toast").first).to_contain_text(words.say(words.act("machine.stop").done, machine.name))
    expect(actor.page.locator("#acts").get_by_role("button", name="Start")).to_be_visible()


def test_a_destroy_is_confirmed_by_name_and_undone_from_its_note(fleet: User, person: Callable[..., Person]) -> None:
    machine = Machine.objects.filter(state="running", type="vm").order_by("name").first()
    assert machine is not None
    one = person(fleet)
    page = one.page
    page.goto(f"/o/here/machines/{machine.pk.hex}")
    one.be_live()
    page.get_by_role("button", name="More actions").click()
    page.get_by_role("link", name="Destroy").click()
    dialog = page.get_by_role("dialog")
    button = dialog.get_by_role("button", name="Destroy")
    expect(button).to_be_disabled()
    dialog.get_by_role("textbox").fill(machine.name)
    button.click()
    expect(dialog).to_be_hidden()
    toast = page.locator(".toast")
    expect(toast).to_contain_text("starts in")
    toast.get_by_role("button", name="Undo").click()
    expect(page.locator(".toast").first).to_contain_text("undone")
    assert Job.objects.get(action="machine.destroy").state == "undone"


def test_a_selection_becomes_one_bulk_job(fleet: User, person: Callable[..., Person]) -> None:
    page = person(fleet).page
    page.goto("/o/here/machines?q=state:running")
    boxes = page.locator("tbody input[type=checkbox]")
    for number in range(3):
        boxes.nth(number).check()
    bar = page.get_by_role("toolbar")
    expect(bar).to_contain_text("3 selected")
    page.goto("/o/here/machines?q=state:running&sort=-name")
    expect(bar).to_contain_text("3 selected")
    bar.get_by_role("button", name="Reboot").click()
    dialog = page.locator("#ask")
    expect(dialog).to_contain_text("Reboot 3 machines?")
    dialog.get_by_role("button", name="Reboot 3 machines").click()
    expect(page.locator(".toast").first).to_contain_text("3 machines")
    expect(bar).to_be_hidden()
    wait(lambda: Job.objects.filter(action="machine.reboot", parent__isnull=False).count() == 3, 30)


def test_a_wrong_search_says_where_it_is_wrong(fleet: User, person: Callable[..., Person]) -> None:
    one = person(fleet)
    one.page.goto("/o/here/machines?q=clowd:x")
    expect(one.page.locator("#q-error")).to_contain_text("clowd")
    expect(one.page.locator("tbody tr").first).to_be_visible()
    one.complaints[:] = [text for text in one.complaints if "400" not in text]  # the page's own status


def test_the_socket_tells_the_truth_after_it_was_cut(fleet: User, person: Callable[..., Person]) -> None:
    machine = Machine.objects.filter(state="running", type="vm").order_by("name").first()
    assert machine is not None
    one = person(fleet)
    one.page.goto("/o/here/machines")
    one.be_live()
    one.page.evaluate("document.querySelector('mist-live').connection.socket.close(4000)")
    Machine.objects.filter(pk=machine.pk).update(state="suspended")  # nobody is told: only a fresh look can know
    one.page.evaluate("document.querySelector('mist-live')._htmx.ws.initialized = false")
    one.page.reload()
    expect(one.page.locator(f"#machine-{machine.pk.hex} .mark.suspended")).to_be_visible()


@pytest.mark.skipif(not AXE.exists(), reason="axe-core is not installed: npm ci")
def test_axe_finds_nothing_on_pages_that_are_live(fleet: User, person: Callable[..., Person]) -> None:
    """Every page as it is sent is seen in test_every_page.py."""
    stranger, one = person().page, person(fleet)
    stranger.goto("/sign-in")
    found = in_both_themes(stranger)
    for path in ("/", "/machines", "/jobs", "/log", f"/machines/{machine().pk.hex}"):
        one.page.goto(f"/o/here{path}")
        one.be_live()
        found += [f"{path}: {text}" for text in in_both_themes(one.page)]
    assert not found, "\n".join(found)


def test_a_phone_shows_rows_as_cards_without_sideways_scrolling(fleet: User, browser: Browser, server: str) -> None:
    one = Person(browser, server)
    one.page.set_viewport_size({"width": 390, "height": 844})
    one.sign_in(fleet)
    for path in ("/o/here/", "/o/here/machines", "/o/here/clouds", "/o/here/log", "/o/here/jobs"):
        one.page.goto(path)
        wide = one.page.evaluate("document.documentElement.scrollWidth")
        assert wide <= 390, path
    one.page.goto("/o/here/machines")
    one.page.get_by_role("link", name="Menu").click()
    expect(one.page.get_by_role("link", name="Clouds")).to_be_visible()
    one.context.close()
    assert not one.complaints


def test_the_palette_finds_and_does_by_keyboard_alone(fleet: User, person: Callable[..., Person]) -> None:
    machine = Machine.objects.filter(state="running", type="vm").order_by("name").first()
    assert machine is not None
    page = person(fleet).page
    page.goto("/o/here/machines")
    page.keyboard.press("Control+k")
    palette = page.get_by_role("dialog", name="Search or run a command")
    expect(palette.get_by_role("option", name="Create machine")).to_be_visible()
    page.keyboard.type(f"stop {machine.name}")
    expect(palette.get_by_role("option", name=f"Stop {machine.name}", exact=True)).to_have_attribute("aria-selected", "true")
    page.keyboard.press("Enter")
    expect(palette).to_be_hidden()
    expect(page.locator("#ask, #dialog").get_by_role("button", name="Stop")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("Control+k")
    page.keyboard.type(machine.name)
    expect(palette.get_by_role("option", name=machine.name).first).to_be_visible()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Escape")
    expect(palette).to_be_hidden()
    assert Job.objects.filter(action="machine.stop").count() == 0


def test_tab_in_the_palette_asks_what_else_can_be_done_and_leads_back(fleet: User, person: Callable[..., Person]) -> None:
    machine = Machine.objects.filter(state="running", type="vm").order_by("name").first()
    assert machine is not None
    page = person(fleet).page
    page.goto("/o/here/clouds")
    page.keyboard.press("Control+k")
    palette = page.get_by_role("dialog", name="Search or run a command")
    field = palette.get_by_role("combobox")
    expect(palette.get_by_text("more actions")).to_be_hidden()  # pages have none
    page.keyboard.type(machine.name)
    expect(palette.get_by_role("option", name=machine.name).first).to_have_attribute("aria-selected", "true")
    expect(palette.get_by_text("more actions")).to_be_visible()
    page.keyboard.press("Tab")
    expect(palette.get_by_role("option", name=f"Open {machine.name}")).to_be_visible()
    expect(field).to_be_focused()
    expect(field).to_have_value("")
    if AXE.exists():
        assert not violations(page)
    for way in ("Escape", "Backspace", "Shift+Tab"):
        page.keyboard.press(way)
        expect(field).to_have_value(machine.name)
        expect(palette).to_be_visible()
        page.keyboard.press("Tab")  # at once: it is of what will be found
        expect(field).to_have_value("")
        expect(palette.get_by_role("option", name="Stop", exact=True)).to_be_visible()
        expect(field).to_be_focused()
    page.keyboard.type("stop")
    expect(palette.get_by_role("option", name="Stop", exact=True)).to_have_attribute("aria-selected", "true")
    page.keyboard.press("Enter")
    expect(palette).to_be_hidden()
    expect(page.locator("#ask, #dialog").get_by_role("button", name="Stop")).to_be_visible()
    assert Job.objects.filter(action="machine.stop").count() == 0


def test_single_keys_move_select_open_and_go_and_can_be_turned_off(fleet: User, person: Callable[..., Person]) -> None:
    one = person(fleet)
    page = one.page
    page.goto("/o/here/machines")
    one.be_live()
    for key in ("j", "j", "x"):
        page.keyboard.press(key)
    expect(page.locator("tbody tr").nth(1).get_by_role("checkbox")).to_be_checked()
    page.keyboard.press("Shift+?")
    expect(page.get_by_role("heading", name="Keyboard shortcuts")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("l")
    expect(page.locator("mist-live")).to_have_text("Paused")
    page.keyboard.press("l")
    expect(page.locator("mist-live")).to_have_text("Live")
    page.keyboard.press("g")
    page.keyboard.press("a")
    page.wait_for_url("**/o/here/clouds")
    page.keyboard.press("c")
    page.wait_for_url("**/o/here/clouds/new")
    page.goto("/o/here/settings/keyboard")
    page.get_by_label("Single keys do things").uncheck()
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".toast")).to_contain_text("Keyboard saved")
    page.goto("/o/here/settings/profile")
    page.get_by_label("Rows of lists").select_option("compact")
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".toast")).to_contain_text("Profile saved")
    page.keyboard.press("g")
    page.keyboard.press("a")
    page.wait_for_timeout(300)
    assert page.url.endswith("/settings/profile")
    assert page.evaluate("document.documentElement.dataset.density") == "compact"
