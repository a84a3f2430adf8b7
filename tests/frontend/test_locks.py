"""Locked machines in the console: the mark beside a name, who may lock and unlock, what is taken back, and that a note is text."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.utils import timezone
from playwright.sync_api import Route, expect

from accounts.models import User
from core import bulks, exports
from core.actions import perform
from core.models import Event, Job
from frontend.columns import MACHINES
from frontend.inverse import inverse
from machines.models import Machine
from tests.frontend.browsing import IN_A_BROWSER, Person, wait
from tests.frontend.conftest import Place, machine, run_jobs
from tests.frontend.test_machine_page import MARKUP, TABS, member, url

pytestmark = pytest.mark.django_db


def locked(one: Machine) -> tuple[bool, str]:
    now = Machine.objects.get(pk=one.pk)
    return now.locked_at is not None, now.lock_note


def test_a_locked_machine_says_by_whom_and_what_for_wherever_it_is(place: Place) -> None:
    one = machine()
    perform(place.actor, one, "lock", {"note": "the database moves"})
    said = f"Locked by {place.owner.full_name}: the database moves"
    listed = place.admin.get(f"{place.base}/machines?q=locked:yes").content.decode()
    assert listed.count(f'title="{said}"') == 1
    assert f'<span class="vh">{said}</span>' in listed
    page = place.admin.get(url(place, one)).content.decode()
    assert f'title="{said}"' in page
    (line,) = re.findall(rf'<dd id="lock-{one.pk.hex}".*?</dd>', page)
    assert place.owner.full_name in line and "the database moves" in line and "/do/unlock" in line
    perform(place.actor, one, "unlock")
    assert "Locked by" not in place.admin.get(url(place, one)).content.decode()
    perform(place.actor, one, "lock")
    assert f'title="Locked by {place.owner.full_name}"' in place.admin.get(url(place, one)).content.decode()
    Machine.objects.filter(pk=one.pk).update(locked_by=None)
    assert 'title="Locked"' in place.admin.get(url(place, one)).content.decode()
    changes = place.admin.get(f"{place.base}/log?q=type:machine.lock.succeeded").content.decode()
    assert "the database moves" in changes and place.owner.pk.hex not in html.unescape(changes).split("<main", 1)[1].split("</main>")[0]


def test_a_column_says_it_too_and_so_does_the_file_of_that_list(place: Place) -> None:
    one, other = Machine.objects.filter(type="vm").order_by("name")[:2]
    perform(place.actor, one, "lock", {"note": "the database moves"})
    listed = place.admin.get(f"{place.base}/machines?cols=locked").content.decode()
    said = f"Locked by {place.owner.full_name}: the database moves"
    assert f'<span class="ink2 clip" title="{said}">{place.owner.full_name}: the database moves</span>' in listed
    assert listed.count('<span class="ink2 clip" title="Locked') == 1
    assert other.name in listed
    Machine.objects.filter(pk=one.pk).update(locked_by=None, lock_note="")
    assert '<span class="ink2 clip" title="Locked">Locked</span>' in place.admin.get(f"{place.base}/machines?cols=locked").content.decode()
    assert MACHINES.filed("locked") == ["id", "name", "state", "locked", "locked_by", "lock_note"]
    filed = exports.sources()["machine"].chosen(MACHINES.filed("locked"))
    assert filed == MACHINES.filed("locked")


def test_what_is_locked_beyond_its_end_says_when_that_comes(place: Place) -> None:
    one = machine()
    ends = timezone.now() + timedelta(hours=5, minutes=1)
    Machine.objects.filter(pk=one.pk).update(expires_at=ends, expire_action="stop", locked_at=timezone.now())
    for path in (url(place, one), f"{place.base}/machines?q=locked:yes"):
        Machine.objects.filter(pk=one.pk).update(expires_at=ends)
        assert "ends in 5 h" in place.admin.get(path).content.decode()
        Machine.objects.filter(pk=one.pk).update(expires_at=timezone.now() - timedelta(hours=1))
        assert "ends when it is unlocked" in place.admin.get(path).content.decode()
        assert "endet mit dem Entsperren" in place.admin.get(path, headers={"Accept-Language": "de"}).content.decode()


def test_menus_offer_the_one_of_both_that_changes_something(place: Place) -> None:
    one = machine()
    for verb, other in (("lock", "unlock"), ("unlock", "lock")):
        for rest in ("", "/menu"):
            menu = place.admin.get(url(place, one, rest)).content.decode()
            menu = menu.split('id="machine-menu"')[1].split("</div>")[0] if not rest else menu
            assert f"/do/{verb}" in menu and f"/do/{other}" not in menu, (verb, rest)
        assert place.admin.post(url(place, one, f"/do/{verb}")).status_code == 302
    assert locked(one) == (False, "")


def test_who_may_only_look_sees_the_lock_and_finds_no_button(place: Place) -> None:
    one, reader = machine(), member(place)
    perform(place.actor, one, "lock", {"note": "hands off"})
    page = reader.get(url(place, one)).content.decode()
    assert "hands off" in page
    for verb in ("lock", "unlock"):
        assert f"/do/{verb}" not in page
        assert reader.post(url(place, one, f"/do/{verb}"), HTTP_HX_REQUEST="true").status_code == 403
        assert place.nobody.get(url(place, one, f"/do/{verb}")).status_code == 404
        assert place.stranger.post(url(place, one, f"/do/{verb}")).status_code == 404
    assert locked(one) == (True, "hands off")


def test_a_note_is_text_and_at_most_a_line_of_it(place: Place) -> None:
    one = machine()
    for bad in MARKUP:
        assert place.admin.post(url(place, one, "/do/lock"), {"note": bad}).status_code == 302
        assert locked(one) == (True, bad)
        pages = [place.admin.get(url(place, one, rest)).content.decode() for rest in (*TABS, "/do/lock", "/do/unlock")]
        pages.append(place.admin.get(f"{place.base}/machines?q=locked:yes").content.decode())
        for page in pages:
            assert "<script>alert" not in page and "<img src=x" not in page
        assert html.escape(bad) in pages[0] and html.escape(bad) in pages[-1]
    long = place.admin.post(url(place, one, "/do/lock"), {"note": "x" * 201}, HTTP_HX_REQUEST="true", HTTP_HX_DIALOG="1")
    assert long.status_code == 422
    assert "200 characters" in long.content.decode()
    assert locked(one) == (True, bad)


def test_the_note_of_a_lock_is_changed_and_taken_away_and_so_is_that(place: Place) -> None:
    one = machine()
    perform(place.actor, one, "lock", {"note": "one"})
    assert 'value="one"' in place.admin.get(url(place, one, "/do/lock")).content.decode()
    for note in ("two", ""):
        before = locked(one)
        place.admin.post(url(place, one, "/do/lock"), {"note": note})
        assert locked(one) == (True, note)
        job = Job.objects.filter(action="machine.lock").latest("created_at")
        assert place.admin.post(f"{place.base}/jobs/{job.pk.hex}/back").status_code == 302
        assert locked(one) == before == (True, "one")
    same = place.admin.post(url(place, one, "/do/lock"), {"note": "one"}, HTTP_HX_REQUEST="true")
    assert same.status_code == 409
    assert "is locked already" in same.content.decode()


def many(place: Place, verb: str, on: list[Machine], **params: str) -> Job:
    """A bulk from the page, done and over."""
    data = {"ids": ",".join(one.pk.hex for one in on), **params}
    assert place.admin.post(f"{place.base}/machines/bulk/{verb}", data).status_code == 302
    run_jobs()
    bulks.settle_bulks()
    return Job.objects.filter(action=f"machine.{verb}", target_id=None).latest("created_at")


def back(place: Place, job: Job) -> None:
    assert place.admin.post(f"{place.base}/jobs/{job.pk.hex}/back").status_code == 302
    run_jobs()
    bulks.settle_bulks()


def test_many_are_locked_unlocked_and_each_is_as_it_was_before(place: Place) -> None:
    on = list(Machine.objects.filter(type="vm").order_by("name")[:3])
    job = many(place, "lock", on, note="all of them")
    assert [locked(one) for one in on] == [(True, "all of them")] * 3
    back(place, job)
    assert [locked(one) for one in on] == [(False, "")] * 3
    perform(place.actor, on[0], "lock", {"note": "before"})
    job = many(place, "lock", on, note="")
    assert job.children.get(target_id=on[0].pk).state == "skipped"
    assert [locked(one) for one in on] == [(True, "before"), (True, ""), (True, "")]
    back(place, job)
    assert [locked(one) for one in on] == [(True, "before"), (False, ""), (False, "")]
    job = many(place, "lock", on, note="other")
    assert [locked(one) for one in on] == [(True, "other")] * 3
    back(place, job)
    assert [locked(one) for one in on] == [(True, "before"), (False, ""), (False, "")]
    question = place.admin.post(f"{place.base}/machines/bulk", {"ids": ",".join(one.pk.hex for one in on)}).content.decode()
    assert "1 of 3" in question.split("Unlock")[1]
    job = many(place, "unlock", on)
    assert job.state == "succeeded" and job.children.filter(state="skipped").count() == 2
    back(place, job)
    assert [locked(one) for one in on] == [(True, "before"), (False, ""), (False, "")]


def test_nothing_is_taken_back_that_did_not_happen(place: Place) -> None:
    job = perform(place.actor, machine(), "lock")
    assert inverse(job) is not None
    Job.objects.filter(pk=job.pk).update(state="failed")
    job.refresh_from_db()
    assert inverse(job) is None


class TestInABrowser:
    pytestmark = IN_A_BROWSER

    def test_a_lock_is_seen_by_who_looks_on_and_taken_back_from_its_note(self, fleet: User, person: Callable[..., Person]) -> None:
        one, watcher = person(fleet), person(fleet)
        target = machine()
        watcher.page.goto(f"/o/here/machines?q={target.name}")
        row = watcher.page.locator(f"#machine-{target.pk.hex}")
        expect(row).to_be_visible()
        watcher.be_live()
        page = one.page
        page.goto(f"/o/here/machines/{target.pk.hex}")
        one.be_live()
        head, line = page.locator(f"#facts-{target.pk.hex}"), page.locator(f"#lock-{target.pk.hex}")
        expect(line).to_contain_text("No")
        page.get_by_role("button", name="More actions").click()
        page.locator("#machine-menu").get_by_role("link", name="Lock").click()
        dialog = page.get_by_role("dialog")
        expect(dialog).to_contain_text("Nobody stops, resizes or destroys it without approval")
        dialog.get_by_label("What it is locked for").fill("the <b>database</b> moves")
        dialog.get_by_role("button", name="Lock").click()
        expect(dialog).to_be_hidden()
        expect(head.locator(".pill", has_text="Locked")).to_have_attribute(
            "title", f"Locked by {fleet.full_name}: the <b>database</b> moves"
        )
        expect(line).to_contain_text("the <b>database</b> moves")
        mark = row.get_by_title("Locked by")
        expect(mark).to_contain_text(f"Locked by {fleet.full_name}: the <b>database</b> moves")
        expect(mark.locator("svg")).to_be_visible()
        page.locator(".toast").get_by_role("button", name="Undo").click()
        expect(head.locator(".pill", has_text="Locked")).to_have_count(0)
        expect(line).to_contain_text("No")
        expect(mark).to_have_count(0)

    def test_it_is_unlocked_where_the_lock_is_shown_and_locked_from_a_list(self, fleet: User, person: Callable[..., Person]) -> None:
        one, target = person(fleet), machine()
        Machine.objects.filter(pk=target.pk).update(locked_at=timezone.now(), locked_by=fleet, lock_note="a test")
        page = one.page
        page.goto(f"/o/here/machines/{target.pk.hex}")
        one.be_live()
        line = page.locator(f"#lock-{target.pk.hex}")
        unlocked = line.get_by_role("link", name="Lock")

        def come_last(route: Route) -> None:
            """The answer is there after the socket has taken the form away that asked."""
            answer = route.fetch()
            unlocked.wait_for()
            route.fulfill(response=answer)

        page.route("**/do/unlock", come_last)
        line.get_by_role("button", name="Unlock").click()
        expect(unlocked).to_be_visible()
        expect(page.locator(f"#facts-{target.pk.hex} .pill", has_text="Locked")).to_have_count(0)
        page.locator(".toast", has_text="Undo").hover()  # so it stays for longer than its six seconds
        page.keyboard.press("z")
        expect(line).to_contain_text("a test")
        page.unroute("**/do/unlock")
        page.goto(f"/o/here/machines?q={target.name}")
        one.be_live()
        row = page.locator(f"#machine-{target.pk.hex}")
        expect(row.get_by_title("Locked by")).to_be_visible()
        row.get_by_role("link", name="Actions for").click()
        page.get_by_role("button", name="Unlock").click()
        expect(row.get_by_title("Locked by")).to_have_count(0)
        wait(lambda: Event.objects.filter(type="machine.unlock.succeeded", target_id=target.pk).count() == 2, 10)
        row.get_by_role("checkbox").check()
        page.get_by_role("toolbar").get_by_role("button", name="More").click()
        page.locator("#bulk-more").get_by_role("button", name="Lock", exact=True).click()
        page.get_by_role("dialog").get_by_role("button", name="Lock 1 machine").click()
        expect(row.get_by_title("Locked by")).to_be_visible()
