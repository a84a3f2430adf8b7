"""The main paths of the machine page, of creating machines, of acts and of jobs, in a real browser."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone
from playwright.sync_api import Browser, Page, Route, expect

from accounts import drafts
from accounts.models import User
from core.models import Job
from machines.models import Machine
from tests.frontend.browsing import AXE, IN_A_BROWSER, Person, serving, wait
from tests.frontend.conftest import actor_for, machine
from tests.frontend.recorded import in_both_themes

pytestmark = IN_A_BROWSER
Open = Callable[..., Person]


def a_machine(**wanted: object) -> Machine:
    found = Machine.objects.filter(type="vm", **{"state": "running", **wanted}).order_by("name").first()
    assert found is not None
    return found


def test_a_tag_appears_at_once_and_z_takes_it_away_again(fleet: User, person: Open) -> None:
    one, machine = person(fleet), a_machine()
    page = one.page
    page.goto(f"/o/here/machines/{machine.pk.hex}")
    one.be_live()
    page.get_by_role("button", name="Add a tag").click()
    page.get_by_role("textbox", name="Add a tag").fill("tier=gold")
    page.keyboard.press("Enter")
    expect(page.locator(".tagline")).to_contain_text("tier=gold")
    page.locator("h1").click()
    note = page.locator(".toast", has_text="Undo").first
    note.hover()  # so it stays for longer than its six seconds
    wait(lambda: "tier" in Machine.objects.get(pk=machine.pk).tags, 30)
    page.keyboard.press("z")
    wait(lambda: "tier" not in Machine.objects.get(pk=machine.pk).tags, 30)
    expect(page.locator(".tagline")).not_to_contain_text("tier=gold")


def test_a_tag_that_is_refused_comes_back_with_the_reason(fleet: User, person: Open) -> None:
    one, machine = person(fleet), a_machine()
    page = one.page
    page.goto(f"/o/here/machines/{machine.pk.hex}")
    page.get_by_role("button", name="Add a tag").click()
    page.get_by_role("textbox", name="Add a tag").fill("x" * 200)
    page.keyboard.press("Enter")
    expect(page.locator(".toast")).to_contain_text("128 characters")
    expect(page.locator(".toast")).to_contain_text("req_")
    expect(page.locator(".tagline .pending")).to_have_count(0)
    key = next(iter(machine.tags))
    Machine.objects.filter(pk=machine.pk).delete()  # gone meanwhile: the tag that was hidden is there again
    page.get_by_role("button", name=f"Remove tag {key}").click(force=True)
    expect(page.locator(f"form.tag[title^='{key}']")).to_be_visible()
    one.complaints[:] = [text for text in one.complaints if "422" not in text and "404" not in text]


def test_brackets_lead_through_the_list_one_came_from(fleet: User, person: Open) -> None:
    page = person(fleet).page
    page.goto("/o/here/machines?q=state:running&sort=-name")
    names = page.locator("tbody a.nm").all_inner_texts()
    page.locator("tbody a.nm").nth(1).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(names[1])
    page.keyboard.press("]")
    expect(page.get_by_role("heading", level=1)).to_have_text(names[2])
    page.keyboard.press("[")
    expect(page.get_by_role("heading", level=1)).to_have_text(names[1])
    page.get_by_label("Machines", exact=False).or_(page.locator("a[data-back]")).locator("visible=true").last.click()


def test_the_sheet_lists_the_keys_of_its_page_and_they_do_what_it_says(fleet: User, person: Open) -> None:
    machine = a_machine()
    page = person(fleet).page
    dialog = page.locator("#dialog")
    page.goto("/o/here/machines")
    page.keyboard.press("Shift+?")
    expect(dialog.get_by_text("row down, up")).to_be_visible()
    expect(dialog.get_by_text("shell", exact=True)).to_be_visible()  # of the row
    expect(dialog.get_by_text("previous, next of the list", exact=True)).to_be_hidden()
    page.goto(f"/o/here/machines/{machine.pk.hex}")
    page.keyboard.press("Shift+?")
    expect(dialog.get_by_text("row down, up")).to_be_hidden()
    for words in ("shell", "run a script", "edit", "previous, next of the list"):
        expect(dialog.get_by_text(words, exact=True)).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("e")
    expect(dialog.get_by_role("heading", name="Rename")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("r")
    expect(dialog.get_by_role("heading", level=2)).to_contain_text("script")
    page.keyboard.press("Escape")
    page.keyboard.press("s")
    page.wait_for_url("**/shell")


def test_a_machine_is_stopped_by_keyboard_alone(fleet: User, person: Open) -> None:
    machine = a_machine()
    page = person(fleet).page
    page.goto(f"/o/here/machines/{machine.pk.hex}")
    page.get_by_role("button", name="More power actions").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#power-menu").get_by_role("link", name="Stop")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#ask")).to_contain_text(f"Stop {machine.name}?")
    page.keyboard.press("Enter")
    expect(page.locator(".toast").first).to_contain_text(machine.name)
    wait(lambda: Job.objects.filter(action="machine.stop", target_id=machine.pk).exists(), 30)


def filled(page: Page, name: str) -> None:
    """Fill the form as a person does: search an image, pick a size and a place."""
    page.goto("/o/here/machines/new")
    page.get_by_placeholder("web-{n:02}").fill(name)
    page.locator("#step-image").locator("summary").click() if not page.locator("#images").is_visible() else None
    page.get_by_label("Search images").fill("debian 12")
    expect(page.locator("#images tbody tr")).to_have_count(2)
    page.get_by_label("Debian 12 (bookworm)", exact=True).check()
    page.locator("#step-size").locator("summary").click()
    expect(page.locator("#sizes")).to_be_visible()
    page.get_by_label("At least so many vCPU").select_option("2")
    expect(page.locator("#sizes tbody tr").first).to_contain_text("2")
    page.locator("#sizes input[type=radio]").first.check()
    page.locator("#step-cloud").locator("summary").click()
    page.get_by_label("Location").select_option(index=1)


def test_two_machines_are_created_with_what_it_comes_to_before_the_button(fleet: User, person: Open) -> None:
    page = person(fleet).page
    filled(page, "walk-{n:02}")
    page.get_by_role("button", name="More", exact=True).click()
    expect(page.locator("#counters")).to_have_text("01, 02")
    expect(page.locator("#plan")).to_contain_text("2 ×")
    expect(page.locator("#plan .mark.crit")).to_have_count(0)
    expect(page.locator("#go")).to_contain_text("Create 2 machines")
    page.locator("#plan summary", has_text="curl").click()
    expect(page.locator("#plan pre:visible")).to_contain_text("walk-{n:02}")
    page.get_by_placeholder("web-{n:02}").press("Control+Enter")
    page.wait_for_url("**/jobs/**")
    expect(page.get_by_role("heading", level=1)).to_contain_text("2 machines")
    wait(lambda: Machine.objects.filter(name__startswith="walk-", external_id__gt="").count() == 2, 20)
    expect(page.locator("main")).to_contain_text("walk-02")


def test_a_draft_is_kept_leaving_asks_and_it_is_back(fleet: User, person: Open) -> None:
    page = person(fleet).page
    asked: list[str] = []
    page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.accept()))
    page.goto("/o/here/machines/new")
    page.get_by_placeholder("web-{n:02}").fill("half-typed")
    expect(page.locator("[data-draft-note]")).to_contain_text("Draft saved")
    page.goto("/o/here/machines")
    assert asked == ["beforeunload"]
    page.goto("/o/here/machines/new")
    expect(page.get_by_placeholder("web-{n:02}")).to_have_value("half-typed")
    page.get_by_role("button", name="Discard it").click()
    expect(page.get_by_placeholder("web-{n:02}")).to_have_value("")
    assert drafts.find(actor_for(fleet.orgs.get(), fleet), "machine.create") is None


def test_leaving_what_was_typed_asks_but_not_what_was_sent_or_put_away(fleet: User, person: Open) -> None:
    page = person(fleet).page
    asked: list[str] = []
    page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.accept()))
    page.goto("/o/here/scripts/new")
    page.locator(".cm-content").click()
    page.keyboard.type("#!/bin/sh")
    page.goto("/o/here/machines")
    assert asked == ["beforeunload"], "the text of a script"
    page.goto("/o/here/keys/new")
    page.get_by_label("Name", exact=True).fill("half")
    page.goto("/o/here/machines")
    assert asked == ["beforeunload"] * 2, "any field"
    page.goto("/o/here/keys/new")
    page.get_by_label("Name", exact=True).fill("whole")
    page.keyboard.press("Control+Enter")
    page.wait_for_url(re.compile("/keys(?!/new)"))
    page.goto(f"/o/here/machines/{machine().pk.hex}")
    page.get_by_role("button", name="Add a tag").click()
    page.get_by_role("textbox", name="Add a tag").fill("tier=gold")
    page.keyboard.press("Escape")
    page.locator("input[type=search]").first.fill("a search") if page.locator("input[type=search]").count() else None
    page.goto("/o/here/machines")
    assert asked == ["beforeunload"] * 2


def test_a_bulk_destroy_takes_its_words_and_is_undone_from_its_note(fleet: User, person: Open) -> None:
    one = person(fleet)
    page = one.page
    page.goto("/o/here/machines?q=state:running")
    one.be_live()
    for number in range(2):
        page.locator("tbody input[type=checkbox]").nth(number).check()
    page.get_by_role("toolbar").get_by_role("button", name="Destroy").click()
    dialog = page.get_by_role("dialog")
    button = dialog.get_by_role("button", name="Destroy 2 machines")
    expect(button).to_be_disabled()
    dialog.get_by_role("textbox").fill("destroy 2")
    button.click()
    expect(page.locator(".toast").first).to_contain_text("starts in")
    page.locator(".toast").get_by_role("button", name="Undo").click()
    wait(lambda: Job.objects.filter(action="machine.destroy", parent=None, state="undone").exists(), 30)
    expect(page.locator(".toast").first).to_contain_text("undone")
    assert not Job.objects.filter(action="machine.destroy").exclude(state="undone").exists()


def test_a_slow_bar_does_not_take_back_what_was_chosen_since(fleet: User, person: Open) -> None:
    page = person(fleet).page
    page.goto("/o/here/machines?q=state:running")
    held: list[Route] = []
    is_slow = True  # the server: the bar of one row waits
    page.route("**/machines/bulk", lambda route: held.append(route) if is_slow else route.continue_())
    boxes = page.locator("tbody input[type=checkbox]")
    with page.expect_request("**/machines/bulk"):
        boxes.nth(0).check()
    boxes.nth(1).check()
    held[0].continue_()
    page.wait_for_timeout(100)
    expect(page.get_by_role("toolbar")).to_be_hidden()  # not "1 selected" with Destroy beside it
    is_slow = False
    for route in held[1:]:
        route.continue_()
    expect(page.get_by_role("toolbar")).to_contain_text("2 selected")
    page.get_by_role("toolbar").get_by_role("button", name="Destroy").click()
    expect(page.get_by_role("dialog").get_by_role("button", name="Destroy 2 machines")).to_be_disabled()


def test_at_most_three_notes_success_leaves_and_failure_stays(fleet: User, person: Open) -> None:
    one, machine = person(fleet), a_machine()
    page = one.page
    page.goto(f"/o/here/machines/{machine.pk.hex}")
    for number in range(4):
        markup = f"<mist-toast class='toast' id='t{number}'>note {number}</mist-toast>"
        page.evaluate("markup => document.getElementById('toasts').insertAdjacentHTML('beforeend', markup)", markup)
    expect(page.locator(".toast")).to_have_count(3)
    page.evaluate("document.getElementById('t3').dataset.stay = ''")
    page.locator("#t2").hover()
    expect(page.locator("#t1")).to_have_count(0, timeout=20_000)
    expect(page.locator("#t2")).to_be_visible()
    expect(page.locator("#t3")).to_be_visible()


def test_a_job_survives_the_closed_tab_and_the_restart_of_the_server(fleet: User, browser: Browser, client: Client) -> None:
    machine = a_machine()
    with serving() as address:
        port = int(address.rsplit(":", 1)[1])
        first = Person(browser, address).sign_in(fleet)
        first.page.goto(f"/o/here/machines/{machine.pk.hex}/do/destroy")
        first.page.get_by_role("textbox").last.fill(machine.name)
        first.page.get_by_role("button", name=f"Destroy {machine.name}").click()
        expect(first.page.locator(".toast").first).to_contain_text("starts in")
        cookies = first.context.cookies()
        first.context.close()
    assert Job.objects.get(action="machine.destroy").state == "waiting"
    Job.objects.filter(action="machine.destroy").update(not_before=timezone.now() + timedelta(hours=1))  # a server takes its time
    with serving(port) as address:
        again = Person(browser, address)
        again.context.add_cookies(cookies)
        again.page.goto("/o/here/")
        again.be_live()
        again.page.locator("#jobs-button").click()
        row = again.page.locator("#jobs-body .jd", has_text=machine.name)
        expect(row).to_contain_text("starts in")
        expect(row.get_by_role("button", name="Undo")).to_be_visible()
        Job.objects.filter(action="machine.destroy").update(not_before=timezone.now())
        expect(row).not_to_contain_text("starts in")
        expect(row.locator(".mark.ok")).to_be_visible()
        again.context.close()
    assert not first.complaints
    assert not [text for text in again.complaints if "WebSocket" not in text]


@pytest.mark.skipif(not AXE.exists(), reason="axe-core is not installed: npm ci")
def test_axe_finds_nothing_in_what_opens_over_a_page(fleet: User, person: Open) -> None:
    page, machine = person(fleet).page, a_machine()
    page.goto(f"/o/here/machines/{machine.pk.hex}")
    page.get_by_role("button", name="More actions").click()
    found = [f"menu: {text}" for text in in_both_themes(page)]
    page.get_by_role("link", name="Destroy").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    found += [f"dialog: {text}" for text in in_both_themes(page)]
    page.keyboard.press("Escape")
    page.locator("#jobs-button").click()
    expect(page.locator("#jobs-body .seg")).to_be_visible()
    found += [f"drawer: {text}" for text in in_both_themes(page)]
    assert not found, "\n".join(found)
