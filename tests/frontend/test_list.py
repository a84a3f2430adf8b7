"""The machines list: its query bar, saved views, columns, counts."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from accounts.models import User, View
from clouds.models import Cloud
from core.actions import perform
from frontend import columns
from machines.models import Machine
from tests.frontend.browsing import IN_A_BROWSER, Person
from tests.frontend.conftest import Place, actor_for, machine, run_jobs


def test_values_complete_with_counts_from_what_one_may_see(place: Place) -> None:
    running = Machine.objects.filter(state="running").count()
    body = place.admin.get(f"{place.base}/complete", {"q": "cores>2 state:ru", "at": "16"}).content.decode()
    assert 'data-insert="running" data-start="14" data-end="16"' in body
    assert f'<span class="n">{running}</span>' in body
    assert 'data-insert="running"' in place.nobody.get(f"{place.base}/complete", {"q": "state:ru"}).content.decode()
    assert f'<span class="n">{running}</span>' not in place.nobody.get(f"{place.base}/complete", {"q": "state:ru"}).content.decode()
    assert "demo one" not in place.nobody.get(f"{place.base}/complete", {"q": "cloud:de"}).content.decode()


@pytest.mark.parametrize(
    "asked",
    [{"kind": "job", "q": "state:fa"}, {"kind": "cloud", "q": "provider:de"}, {"q": "\x00tag:\x00a"}, {"q": "x:" * 3000, "at": "9" * 9}],
)
def test_other_lists_and_odd_questions_are_answered(place: Place, asked: dict[str, str]) -> None:
    assert place.admin.get(f"{place.base}/complete", asked).status_code == 200
    assert place.admin.get(f"{place.base}/complete", {"kind": "nothing"}).status_code == 404
    assert place.stranger.get(f"{place.base}/complete", asked).status_code == 404


def headings(place: Place, address: str) -> list[str]:
    body = place.admin.get(address).content.decode()
    return [re.sub(r"<[^>]+>", "", one).strip() for one in re.findall(r'<th scope="col".*?</th>', body, re.DOTALL)]


def test_columns_are_what_the_address_says_in_its_order(place: Place) -> None:
    one = machine()
    Machine.objects.filter(pk=one.pk).update(tags={"a,b": "<i>", "tier": "gold"})
    assert headings(place, f"{place.base}/machines")[:3] == ["Name", "Location", "Size"]
    address = f"{place.base}/machines?cols=tag:tier,cores,nothing,cores,image"
    assert headings(place, address) == ["Name", "tier", "Cores", "Image"]
    assert "gold" in place.admin.get(f"{address}&q={one.name}").content.decode()
    assert headings(place, f"{place.base}/machines?cols=tag:{'x' * 200},,") == ["Name"]


def test_the_form_of_columns_leads_to_an_address_that_says_them(place: Place) -> None:
    asked = {"q": "state:running", "col": ["", "size", "tag:env"], "tag": "team"}
    answer = place.admin.get(f"{place.base}/machines", asked)
    assert answer["Location"] == f"{place.base}/machines?q=state%3Arunning&cols=size%2Ctag%3Aenv%2Ctag%3Ateam"
    usual = ["location", "size", "address", "cost", "owner", "tags", "age"]
    assert place.admin.get(f"{place.base}/machines", {"col": usual, "tag": ""})["Location"] == f"{place.base}/machines"


def test_a_view_is_saved_opened_changed_reset_and_deleted(place: Place) -> None:
    views = f"{place.base}/machines/views"
    sent = {"name": "Up", "q": "state:running", "sort": "-name", "cols": "size,tag:env"}
    to = place.admin.post(views, sent)["Location"]
    view = View.objects.get(name="Up")
    assert to == f"{place.base}/machines?view={view.pk.hex}"
    assert place.admin.get(f"{views}/{view.pk.hex}-up")["Location"] == to
    page = place.admin.get(to)
    assert page.context["page"].q == "state:running"
    assert [column.key for column in page.context["columns"]] == ["size", "tag:env"]
    assert "Save as" not in page.content.decode()
    changed = place.admin.get(f"{to}&q=state:stopped").content.decode()
    assert "Save as" in changed and "Reset" in changed
    place.admin.post(views, {"save": view.pk.hex, "view": view.pk.hex, "q": "", "sort": "", "cols": ""})
    view.refresh_from_db()
    assert (view.query, view.sort, view.columns) == ("", "", list(columns.DEFAULT))
    assert view.name == "Up"
    place.admin.post(views, {"delete": view.pk.hex})
    assert not View.objects.exists()


def test_ones_own_default_view_opens_first_and_all_can_still_be_seen(place: Place) -> None:
    views = f"{place.base}/machines/views"
    place.admin.post(views, {"name": "Up", "q": "state:running"})
    view = View.objects.get()
    place.admin.post(views, {"default": view.pk.hex})
    assert place.admin.get(f"{place.base}/machines")["Location"] == f"{place.base}/machines?view={view.pk.hex}"
    assert place.admin.get(f"{place.base}/machines?q=").status_code == 200
    place.admin.post(views, {"default": view.pk.hex})
    assert place.admin.get(f"{place.base}/machines").status_code == 200


def test_views_of_others_are_there_only_where_they_are_shared(place: Place) -> None:
    views = f"{place.base}/machines/views"
    place.admin.post(views, {"name": "Mine", "q": "state:running"})
    place.admin.post(views, {"name": "Ours", "q": "state:stopped", "for": "org"})
    mine, ours = View.objects.get(name="Mine"), View.objects.get(name="Ours")
    body = place.nobody.get(f"{place.base}/machines?q=").content.decode()
    assert "Ours" in body and "Mine" not in body.replace("Mine</span>", "")
    assert place.nobody.get(f"{place.base}/machines?view={mine.pk.hex}").status_code == 404
    assert place.nobody.get(f"{place.base}/machines?view={ours.pk.hex}").status_code == 200
    assert place.stranger.get(f"/o/elsewhere/machines?view={ours.pk.hex}").status_code == 404
    assert place.nobody.post(views, {"save": ours.pk.hex, "q": ""}, HTTP_HX_REQUEST="true").status_code == 403
    assert place.nobody.post(views, {"name": "All", "for": "org"}, HTTP_HX_REQUEST="true").status_code == 403
    assert place.nobody.post(views, {"delete": mine.pk.hex}).status_code == 404


def test_tabs_are_counted_and_the_query_is_priced(place: Place) -> None:
    place.admin.post(f"{place.base}/machines/views", {"name": "Down", "q": "state:stopped"})
    Machine.objects.filter(pk__in=Machine.objects.values("pk")[:4]).update(state="stopped", cost_month="10.00")
    view = View.objects.get()
    view.query = "nothing:here"
    broken = View.objects.create(org=view.org, owner=view.owner, of_kind="machine", name="Broken", query="nothing:here")
    told = place.admin.get(f"{place.base}/machines/counts?q=state:stopped+cost:10").json()
    assert told["counts"][view.pk.hex] == str(Machine.objects.filter(state="stopped").count())
    assert told["counts"]["s0"] == str(Machine.objects.count())
    assert broken.pk.hex not in told["counts"]
    assert told["cost"] == f"${10 * Machine.objects.filter(state='stopped', cost_month=10).count()}"
    assert place.nobody.get(f"{place.base}/machines/counts").json()["counts"]["s0"] == "0"
    assert "a month" in place.admin.get(f"{place.base}/machines?q=state:stopped").content.decode()


def test_a_filter_is_a_term_of_the_query(place: Place) -> None:
    groups = place.admin.get(f"{place.base}/machines?q=web+state:running").context["filters"]
    running, stopped = groups[0]["items"][:2]
    assert (running["on"], running["q"]) == (True, "web")
    assert (stopped["on"], stopped["q"]) == (False, "web state:running state:stopped")
    for group in groups:
        for item in group["items"]:
            assert place.admin.get(f"{place.base}/machines", {"q": item["q"]}).status_code == 200, item


def test_machines_that_are_gone_or_whose_cloud_is_disabled_are_dimmed(place: Place) -> None:
    one = machine()
    row = f'id="machine-{one.pk.hex}" data-live="machine.row:{one.pk.hex}" class="gone"'
    assert row not in place.admin.get(f"{place.base}/machines?q={one.name}").content.decode()
    Cloud.objects.update(enabled=False)
    assert row in place.admin.get(f"{place.base}/machines?q={one.name}").content.decode()


class TestInABrowser:
    pytestmark = IN_A_BROWSER

    def test_a_query_is_written_with_arrows_and_enter(self, fleet: User, person: Callable[..., Person]) -> None:
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
        expect(bar).to_have_attribute("aria-activedescendant", "q-option-1")
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

    def test_a_column_stays_when_its_row_changes_and_columns_are_moved(self, fleet: User, person: Callable[..., Person]) -> None:
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
