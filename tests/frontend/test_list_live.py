"""The machines list in a real browser: its query bar, its columns, and what comes while one looks."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import urlencode

from playwright.sync_api import expect

from accounts.models import User
from clouds.models import Cloud
from core import consumers
from core.actions import perform
from core.models import Job
from machines.models import Machine
from tests.frontend.browsing import IN_A_BROWSER, Person, wait
from tests.frontend.conftest import actor_for, machine, run_jobs
from tests.frontend.recorded import violations

pytestmark = IN_A_BROWSER


def test_a_query_is_written_with_arrows_and_enter(fleet: User, person: Callable[..., Person]) -> None:
    stopped = Machine.objects.filter(type="vm").order_by("name").values("pk")[:3]
    Machine.objects.filter(pk__in=stopped).update(state="stopped")
    page = person(fleet).page
    page.goto("/o/here/machines")
    bar = page.get_by_role("combobox", name="Search machines")
    page.keyboard.press("/")
    expect(bar).to_be_focused()
    page.keyboard.type("sta")
    options = page.locator("#q-list [role=option]")
    expect(options.first).to_contain_text("state:")
    page.keyboard.press("ArrowDown")
    expect(bar).to_have_attribute("aria-activedescendant", re.compile(r"q-option-1$"))
    page.keyboard.press("Enter")
    expect(bar).to_have_value("state:")
    page.keyboard.type("stopp")
    expect(options.first).to_contain_text("stopped" + str(Machine.objects.filter(state="stopped").count()))
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Tab")
    expect(bar).to_have_value("state:stopped ")
    expect(page.locator("#q-list")).to_be_hidden()
    page.keyboard.type("cl")
    expect(page.locator("#q-list")).to_be_visible()
    page.keyboard.press("Escape")
    expect(bar).to_have_attribute("aria-expanded", "false")
    expect(bar).to_have_value("state:stopped cl")
    page.keyboard.type("oud:demo")
    expect(options.first).to_contain_text("demo one")
    page.keyboard.press("Enter")
    page.wait_for_url("**cloud%3Ademo*")


def test_a_page_of_two_hundred_rows_of_a_long_search_is_live(fleet: User, person: Callable[..., Person]) -> None:
    org = fleet.orgs.get()
    more = [Machine(org=org, cloud=Cloud.objects.get(), name=f"many-{n:03d}", external_id=f"m{n}", state="running") for n in range(200)]
    Machine.objects.bulk_create(more)
    last = more[-1]
    reader = person(fleet)
    page, sent = reader.page, []
    page.on("websocket", lambda socket: socket.on("framesent", lambda text: sent.append(len(text))))
    long = "many- OR " + " OR ".join(f"name:nothing-{number:04d}" for number in range(85))
    page.goto("/o/here/machines?" + urlencode({"q": long, "sort": "name", "limit": "200"}))
    reader.be_live()
    expect(page.locator("tbody tr")).to_have_count(200)
    perform(actor_for(org, fleet), last, "tag", {"tags": {"env": "far-down"}})
    run_jobs()
    expect(page.locator(f"#machine-{last.pk.hex}")).to_contain_text("far-down")
    assert 8192 < max(sent) < consumers.MESSAGE_MAX, "what the page shows is told in one message"


def test_a_column_stays_when_its_row_changes_and_columns_are_moved(fleet: User, person: Callable[..., Person]) -> None:
    one = machine()
    Machine.objects.filter(pk=one.pk).update(tags={"tier": "gold"})
    reader = person(fleet)
    page = reader.page
    page.goto(f"/o/here/machines?q={one.name}")
    page.get_by_role("button", name="Columns").click()
    menu = page.locator("#columns-menu")
    menu.get_by_role("checkbox", name="tier").check()
    for name in ("Location", "Size", "Owner", "Tags", "Age", "Cost a month"):
        menu.get_by_role("checkbox", name=name, exact=True).uncheck()
    menu.get_by_role("button", name="Move tier up").press("Enter")
    menu.get_by_role("button", name="Show these columns").click()
    page.wait_for_url("**cols=address%2Ctag%3Atier")
    row = page.locator(f"#machine-{one.pk.hex}")
    expect(row).to_contain_text("gold")
    reader.be_live()
    perform(actor_for(fleet.orgs.get(), fleet), one, "tag", {"tags": {"tier": "silver"}})
    run_jobs()
    expect(row).to_contain_text("silver")
    expect(row.locator("td")).to_have_count(5)
    expect(page.locator("[data-count=s0]")).to_have_text(str(Machine.objects.count()))


def test_a_row_that_changes_under_its_open_menu_is_right_when_that_closes(fleet: User, person: Callable[..., Person]) -> None:
    one, reader = machine(), person(fleet)
    page, came = reader.page, []
    page.on("websocket", lambda socket: socket.on("framereceived", lambda text: came.append("under-it" in str(text))))
    page.goto(f"/o/here/machines?q={one.name}")
    reader.be_live()
    row = page.locator(f"#machine-{one.pk.hex}")
    row.get_by_role("link", name="Actions for").click()
    expect(page.locator("#row-menu")).to_be_visible()
    perform(actor_for(fleet.orgs.get(), fleet), one, "tag", {"tags": {"env": "under-it"}})
    run_jobs()
    while True not in came:
        page.wait_for_timeout(50)
    expect(page.locator("#row-menu")).to_be_visible()
    expect(row).not_to_contain_text("under-it")
    page.keyboard.press("Escape")
    expect(row).to_contain_text("under-it")


def test_a_cell_is_tinted_as_often_as_it_changes_and_keeps_nothing_of_it(fleet: User, person: Callable[..., Person]) -> None:
    one, reader = machine(), person(fleet)
    Machine.objects.filter(pk=one.pk).update(tags={})
    page = reader.page
    page.add_init_script(
        "window.kept = 0; const add = HTMLTableCellElement.prototype.addEventListener;"
        "HTMLTableCellElement.prototype.addEventListener = function (...of) { window.kept++; return add.apply(this, of); }"
    )
    page.goto(f"/o/here/machines?q={one.name}")
    reader.be_live()
    row = page.locator(f"#machine-{one.pk.hex}")
    for tier in ("tin", "silver", "gold"):  # each before the tint of the last has gone
        perform(actor_for(fleet.orgs.get(), fleet), one, "tag", {"tags": {"tier": tier}})
        run_jobs()
        expect(row).to_contain_text(tier)
        expect(row.locator("td.flash")).not_to_have_count(0)
    expect(row.locator("td.flash")).to_have_count(0)
    assert page.evaluate("window.kept") == 0


def test_rows_that_come_wait_above_the_table_and_those_that_match_no_more_are_dimmed(fleet: User, person: Callable[..., Person]) -> None:
    one, other = Machine.objects.filter(type="vm").order_by("name")[:2]
    Machine.objects.update(tags={})
    Machine.objects.filter(pk=one.pk).update(tags={"tier": "gold"})
    actor = actor_for(fleet.orgs.get(), fleet)
    reader = person(fleet)
    page = reader.page
    page.goto("/o/here/machines?q=tag:tier=gold")
    reader.be_live()
    rows = page.locator("tbody tr")
    expect(rows).to_have_count(1)
    perform(actor, other, "tag", {"tags": {"tier": "gold"}})
    perform(actor, one, "tag", {"tags": {"tier": "tin"}})
    run_jobs()
    expect(page.locator("#news")).to_have_text("1 new · Show")
    expect(rows).to_have_count(1)
    expect(page.locator(f"#machine-{one.pk.hex}")).to_have_class("gone")
    page.locator("#news a").click()
    expect(page.locator(f"#machine-{other.pk.hex}")).to_be_visible()
    expect(rows).to_have_count(1)
    expect(page.locator("#news")).to_be_hidden()


def test_a_host_unfolds_and_stays_so_when_it_changes(fleet: User, person: Callable[..., Person]) -> None:
    host, inside = Machine.objects.filter(type="vm").order_by("name")[:2]
    Machine.objects.update(parent=None)
    Machine.objects.filter(pk=inside.pk).update(parent=host)
    reader = person(fleet)
    page = reader.page
    page.goto("/o/here/machines")
    reader.be_live()
    page.get_by_role("button", name=f"1 machine inside {host.name}").press("Enter")
    row = page.locator(f"#machine-{inside.pk.hex}")
    expect(row).to_be_visible()
    actor = actor_for(fleet.orgs.get(), fleet)
    for which in (host, inside):
        perform(actor, which, "tag", {"tags": {"a": "seen"}})
    run_jobs()
    expect(page.locator(f"#machine-{host.pk.hex}")).to_contain_text("seen")
    expect(row).to_contain_text("seen")
    expect(row).to_have_attribute("data-under", host.pk.hex)
    page.get_by_role("button", name=f"1 machine inside {host.name}").click()
    expect(row).to_have_count(0)


def test_what_is_harmless_is_done_to_a_few_at_once(fleet: User, person: Callable[..., Person]) -> None:
    one = machine(state="stopped")
    reader = person(fleet)
    page = reader.page
    page.goto(f"/o/here/machines?q=id:{one.pk.hex}")
    page.get_by_role("checkbox", name=re.compile(one.name)).check()
    page.locator("#bulk").get_by_role("button", name=re.compile("^Start")).click()
    expect(page.locator("#toasts mist-toast").first).to_contain_text(re.compile("1 machine"))
    expect(page.locator("#dialog[open]")).to_have_count(0)
    expect(page.locator("#bulk")).to_be_hidden()
    wait(lambda: Job.objects.filter(target_id=one.pk, action="machine.start").exists(), 20)


def test_a_short_question_has_its_equivalent_call_and_a_job_one_note(fleet: User, person: Callable[..., Person]) -> None:
    one = machine(state="running")
    page = person(fleet).page
    page.goto(f"/o/here/machines?q=id:{one.pk.hex}&limit=200")
    page.get_by_role("checkbox", name=re.compile(one.name)).check()
    page.locator("#bulk").get_by_role("button", name=re.compile("^Stop")).click()
    ask = page.locator("#ask")
    ask.get_by_text("Equivalent call").click()
    expect(ask.locator("pre").first).to_contain_text("--action stop")
    expect(ask.locator("pre").first).to_contain_text(one.pk.hex)
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert not violations(page)
    page.set_viewport_size({"width": 1440, "height": 900})
    ask.get_by_role("button", name="Cancel").click()
    page.locator("#bulk").get_by_role("button", name=re.compile("^Destroy")).click()
    page.locator("#dialog mist-confirm input").fill("destroy 1")
    page.locator("#dialog button[type=submit]").click()
    note = page.locator("#toasts mist-toast")
    expect(note).to_contain_text("starts in")
    page.keyboard.press("z")
    expect(note.filter(has_text="1 machine was not destroyed")).to_be_visible()
    expect(note).to_have_count(1)
