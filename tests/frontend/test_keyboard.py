"""Single keys: moved, switched off, and what they do on the row that is marked."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from accounts.models import User
from frontend import keyboard
from tests.frontend.browsing import IN_A_BROWSER, Person
from tests.frontend.conftest import Place, machine

Open = Callable[..., Person]


def sent(**changed: str) -> dict[str, str]:
    """The form as shipped, with these keys written otherwise."""
    return {"keys": "on", **{key: key for key in keyboard.DOES}, **changed}


def moved(place: Place) -> dict[str, str]:
    found = re.search(r'data-keys="([^"]*)"', place.admin.get(f"{place.base}/machines").content.decode())
    return json.loads(found[1].replace("&quot;", '"')) if found else {}


def test_a_key_is_moved_switched_off_and_brought_back(place: Place) -> None:
    address = f"{place.base}/settings/keyboard"
    assert moved(place) == {}
    assert place.admin.post(address, sent(c="n", z="")).status_code == 302
    assert moved(place) == {"c": "n", "z": ""}
    assert "<kbd>N</kbd>" in place.admin.get(f"{place.base}/machines").content.decode()
    assert "as shipped: C" in place.admin.get(address).content.decode()
    assert place.admin.post(address, {"reset": "1"}).status_code == 302
    assert moved(place) == {}


def test_all_are_switched_off_and_shown_nowhere(place: Place) -> None:
    everything = sent()
    del everything["keys"]
    assert place.admin.post(f"{place.base}/settings/keyboard", everything).status_code == 302
    assert set(moved(place).values()) == {""}
    assert "<kbd>C</kbd>" not in place.admin.get(f"{place.base}/machines").content.decode()
    assert "checked" not in place.admin.get(f"{place.base}/settings/keyboard").content.decode().split('name="keys"')[1].split(">")[0]


@pytest.mark.parametrize(
    ("changed", "words"), [({"j": "k"}, "Another line has this key too."), ({"j": "ab"}, "One key that writes something.")]
)
def test_what_cannot_be_is_said_beside_its_line(place: Place, changed: dict[str, str], words: str) -> None:
    answer = place.admin.post(f"{place.base}/settings/keyboard", sent(**changed))
    assert answer.status_code == 422
    assert words in answer.content.decode().split('id="f-j-error"')[1].split("</small>")[0]
    assert moved(place) == {}


@pytest.mark.parametrize("stored", [None, [], {"j": 3}, {"j": "abc"}, {"nothing": "x"}, "x"])
def test_what_else_was_stored_is_passed_over(place: Place, stored: object) -> None:
    User.objects.filter(pk=place.owner.pk).update(settings={"key_of": stored})
    assert moved(place) == {}


class TestInABrowser:
    pytestmark = IN_A_BROWSER

    def test_the_marked_row_does_what_its_machine_page_does(self, fleet: User, person: Open) -> None:
        one = person(fleet)
        page, dialog = one.page, one.page.locator("#dialog")
        page.goto("/o/here/machines?q=state:running")
        one.be_live()
        names = page.locator("tbody a.nm").all_inner_texts()
        page.keyboard.press("s")  # no row is marked: nothing
        page.keyboard.press("j")
        page.keyboard.press("j")
        expect(page.locator("tr[data-here] a.nm")).to_have_text(names[1])
        page.keyboard.press("e")
        expect(dialog.get_by_role("heading", name=f"Rename {names[1]}")).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.locator("tr[data-here] a.nm")).to_be_focused()
        page.keyboard.press("r")
        expect(dialog.get_by_role("heading", level=2)).to_contain_text("script")
        page.keyboard.press("Escape")
        page.keyboard.press("k")
        page.keyboard.press(".")
        expect(page.locator("#row-menu")).to_contain_text("Shell")
        page.keyboard.press("e")  # an open menu answers to the keys it shows
        expect(dialog.get_by_role("heading", name=f"Rename {names[0]}")).to_be_visible()
        page.keyboard.press("Escape")
        page.keyboard.press("j")
        page.keyboard.press("x")
        page.keyboard.press("j")
        page.keyboard.press("j")
        page.keyboard.press("Shift+X")
        expect(page.get_by_role("toolbar")).to_contain_text("3 selected")
        page.keyboard.press("Escape")
        expect(page.get_by_role("toolbar")).to_be_hidden()
        page.keyboard.press("s")
        page.wait_for_url("**/shell")
        expect(page.get_by_role("heading", name=f"Open a shell on {names[3]}")).to_be_visible()

    def test_a_moved_key_does_it_and_its_old_one_no_more(self, fleet: User, person: Open) -> None:
        User.objects.filter(pk=fleet.pk).update(settings={"key_of": {"j": "n", "g": ";", "l": ""}})
        one = person(fleet)
        page = one.page
        page.goto("/o/here/machines")
        one.be_live()
        page.keyboard.press("j")
        expect(page.locator("tr[data-here]")).to_have_count(0)
        page.keyboard.press("n")
        expect(page.locator("tr[data-here]")).to_have_count(1)
        page.keyboard.press("l")
        one.be_live()
        page.keyboard.press("/")
        expect(page.get_by_role("combobox", name="Search machines")).to_be_focused()
        page.keyboard.press("Escape")
        page.keyboard.press("Escape")
        page.keyboard.press(";")
        page.keyboard.press("d")
        page.wait_for_url("**/o/here/")

    def test_brackets_lead_through_other_lists_too(self, fleet: User, person: Open) -> None:
        page = person(fleet).page
        page.goto("/o/here/volumes")
        names = page.locator(".tbl.page a.nm").all_inner_texts()
        page.locator(".tbl.page a.nm").first.click()
        expect(page.get_by_role("heading", level=1)).to_have_text(names[0])
        page.keyboard.press("]")
        expect(page.get_by_role("heading", level=1)).to_have_text(names[1])

    def test_nothing_happens_where_all_are_off(self, fleet: User, person: Open) -> None:
        User.objects.filter(pk=fleet.pk).update(settings={"keys": False})
        one, a_machine = person(fleet), machine()
        page = one.page
        page.goto("/o/here/machines")
        page.goto(f"/o/here/machines/{a_machine.pk.hex}")
        one.be_live()
        for key in ("]", "s", "/", "?", "l"):
            page.keyboard.press(key)
        one.be_live()
        expect(page).to_have_url(re.compile(a_machine.pk.hex))
        page.keyboard.press("Control+k")
        expect(page.locator("#palette")).to_be_visible()
