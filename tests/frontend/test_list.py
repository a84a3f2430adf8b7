"""The machines list: its query bar."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from accounts.models import User
from machines.models import Machine
from tests.frontend.browsing import IN_A_BROWSER, Person
from tests.frontend.conftest import Place


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
