"""The dashboard: what it says, to whom, that a part may fail alone, and that it changes by itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone
from playwright.sync_api import expect

from accounts.models import Team, User
from clouds.models import Poll
from core.actions import perform
from core.errors import MistError
from core.models import Job
from frontend import overview
from machines.models import Machine
from tests.frontend.browsing import IN_A_BROWSER, Person
from tests.frontend.conftest import Place, actor_for, machine, make_org, run_jobs, signed_in


def shown(place: Place, client: Any = None) -> str:
    response = (client or place.admin).get(f"{place.base}/")
    assert response.status_code == 200
    return str(response.content.decode())


def test_a_first_visit_is_three_steps_with_the_next_one_in_front(db: None) -> None:
    _org, owner = make_org("empty")
    body = signed_in(owner).get("/o/empty/").content.decode()
    assert body.count('<span class="no">') == 3
    assert '<a class="btn pri" data-key="c" href="/o/empty/clouds/new">Add cloud</a>' in body
    assert "dash-figures" not in body, "there is nothing to count yet"


def test_the_steps_say_what_is_done_and_go_when_all_is(place: Place) -> None:
    assert "first-run" not in shown(place), "two members, a cloud and machines: nothing is left"
    Machine.objects.all().delete()
    body = shown(place)
    assert body.count('<li class="done">') == 2
    assert '<a class="btn pri" href="/o/here/machines">Open machines</a>' in body


def test_it_counts_machines_by_state_and_the_price_of_what_runs(place: Place) -> None:
    Machine.objects.update(state="stopped", cost_month=Decimal(10), currency="USD")
    running = Machine.objects.order_by("pk")[:3]
    Machine.objects.filter(pk__in=[one.pk for one in running]).update(state="running", cost_month=Decimal("100.40"))
    Machine.objects.filter(pk=running[2].pk).update(cost_month=None)
    whole, by_cloud = overview.sums(place.actor)
    assert (whole.running, whole.stopped, whole.total) == (3, Machine.objects.count() - 3, Machine.objects.count())
    assert whole.cost == (Decimal("200.80"), "USD")
    assert by_cloud[place.cloud.pk].total == whole.total
    body = shown(place)
    assert "3 running" in body
    assert "$201" in body
    assert "price known of 2 of 3" in body


def test_sums_of_two_currencies_are_never_one(place: Place) -> None:
    Machine.objects.update(state="running", cost_month=Decimal(1), currency="USD")
    one = Machine.objects.first()
    assert one is not None
    Machine.objects.filter(pk=one.pk).update(cost_month=Decimal(500), currency="EUR")
    whole, _by_cloud = overview.sums(place.actor)
    assert whole.cost == (Decimal(500), "EUR")
    assert whole.other_costs == [(Decimal(Machine.objects.count() - 1), "USD")]


def test_machines_that_are_out_of_sight_do_not_count(place: Place) -> None:
    before = overview.sums(place.actor)[0].total
    one = machine()
    Machine.objects.filter(pk=one.pk).update(missing_since=timezone.now())
    assert overview.sums(place.actor)[0].total == before - 1


def test_what_needs_attention_is_ranked_and_leads_to_where_it_is_seen_to(place: Place) -> None:
    Poll.objects.filter(cloud=place.cloud, kind="machine").update(error_code="cloud_auth_failed", error_detail="The key was revoked.")
    Machine.objects.filter(state__in=("error", "failed")).update(state="running")
    broken, ending = machine(), machine(state="stopped")
    Machine.objects.filter(pk=broken.pk).update(state="error")
    Machine.objects.filter(pk=ending.pk).update(expires_at=timezone.now() + timedelta(days=2))
    perform(place.actor, machine(), "stop")
    Job.objects.filter(action="machine.stop").update(state="failed")
    notices = overview.attention(place.actor, place.base)
    assert [notice.title for notice in notices] == [
        "demo one does not take its credentials",
        "1 machine is in error",
        "1 job failed within a day",
        "1 machine ends within a week",
    ]
    for notice in notices:
        assert place.admin.get(notice.url).status_code == 200, notice.url
    found = place.admin.get(notices[3].url).content.decode()
    assert ending.name in found
    assert broken.name not in found


def test_when_nothing_is_wrong_it_says_so(place: Place) -> None:
    Machine.objects.filter(state__in=("error", "failed")).update(state="running")
    assert overview.attention(place.actor, place.base) == []
    assert "Nothing needs you" in shown(place)


def test_a_job_is_one_line_of_the_activity_and_many_of_a_kind_are_one(place: Place) -> None:
    one = machine(state="running")
    perform(place.actor, one, "stop")
    run_jobs()
    lines = overview.activity(place.actor)
    assert [line.type for line in lines].count("machine.stop.requested") == 0, "how it ended stands for it"
    assert (lines[0].subject, *lines[0].said) == (lines[0].who, "stopped", "")
    for other in Machine.objects.exclude(pk=one.pk).order_by("pk")[:3]:
        perform(place.actor, other, "set_owner", {"owner": place.owner.pk.hex})
    lines = overview.activity(place.actor)
    assert lines[0].type == "machine.set_owner.succeeded"
    assert lines[0].more == 2
    assert lines[1].type == "machine.stop.succeeded"


def test_the_activity_says_who_did_what_and_does_not_say_it_before_it_is_so(place: Place) -> None:
    User.objects.filter(pk=place.owner.pk).update(first_name="Maya", last_name="Lindqvist")
    one = machine(state="running")
    perform(place.actor, one, "stop")
    assert f"Maya: Stop <b>{one.name}</b>" in shown(place)
    run_jobs()
    assert f"Maya stopped <b>{one.name}</b>" in shown(place)
    with pytest.raises(MistError):
        perform(place.actor, one, "stop")
    assert f"Maya: <b>{one.name}</b> was not stopped" in " ".join(shown(place).split())


def test_who_sees_a_part_of_the_fleet_is_told_of_that_part_alone(place: Place) -> None:
    mine = machine()
    secret = Machine.objects.exclude(pk=mine.pk).order_by("name").first()
    assert secret is not None
    Machine.objects.filter(pk=secret.pk).update(state="error", name="the-secret-one")
    statement = {"effect": "allow", "verbs": ["machine.read"], "what": {"ids": [mine.pk.hex]}}
    member = User.objects.get(email="new@here.example")
    Team.objects.create(org=place.org, name="few", statements=[statement]).members.add(member)
    body = shown(place, place.nobody)
    assert "the-secret-one" not in body
    whole, _by_cloud = overview.sums(actor_for(place.org, member))
    assert whole.total == 1


def test_who_has_no_rights_is_told_whom_to_ask(place: Place) -> None:
    body = shown(place, place.nobody)
    assert "owner@here.example" in body
    assert "dash-" not in body


def test_a_part_that_takes_too_long_fails_alone(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(actor: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(2)")

    monkeypatch.setattr(overview, "PART_MS", 100)
    monkeypatch.setattr(overview, "clouds", slow)
    body = shown(place)
    assert "The clouds could not be read in time" in body
    assert "dash-figures" in body
    assert "running" in body
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('statement_timeout')")
        assert cursor.fetchone()[0] != "100ms"


class TestInABrowser:
    pytestmark = IN_A_BROWSER

    def test_what_happens_changes_the_figures_and_the_activity_of_who_looks(self, fleet: User, person: Callable[..., Person]) -> None:
        watcher = person(fleet)
        watcher.page.goto("/o/here/")
        watcher.be_live()
        one = machine(state="running")
        org = fleet.orgs.get()
        Machine.objects.filter(pk=one.pk).update(expires_at=timezone.now() + timedelta(days=1), name="soon-to-end")
        perform(actor_for(org, fleet), Machine.objects.get(pk=one.pk), "set_owner", {"owner": fleet.pk.hex})
        expect(watcher.page.locator("#dash-ending")).to_contain_text("soon-to-end")
        expect(watcher.page.locator("#dash-activity")).to_contain_text("set the owner of soon-to-end")
        expect(watcher.page.locator("#dash-attention")).to_contain_text("1 machine ends within a week")
        watcher.page.locator("#dash-ending").get_by_role("link", name="Extend soon-to-end").click()
        expect(watcher.page.locator("#dialog, #ask").locator("visible=true").first).to_contain_text("soon-to-end")

    def test_both_columns_end_where_the_longer_does_and_no_line_is_cut(self, fleet: User, person: Callable[..., Person]) -> None:
        org = fleet.orgs.get()
        ends = (timezone.now() + timedelta(days=30)).isoformat()
        for number, one in enumerate(Machine.objects.order_by("pk")[:30]):
            verb, params = ("set_owner", {"owner": fleet.pk.hex}) if number % 2 else ("set_expiration", {"date": ends, "action": "stop"})
            perform(actor_for(org, fleet), one, verb, params)
        page = person(fleet).page
        page.set_viewport_size({"width": 1440, "height": 900})
        page.goto("/o/here/")
        bottoms, lines = page.evaluate(
            """() => {
            const box = (node) => node.getBoundingClientRect();
            const list = document.querySelector("#dash-activity ul");
            const columns = [[...document.querySelector(".cols > .grid").children], [...document.querySelector(".cols").children]];
            const seen = [...list.children].filter((line) => box(line).left < box(list).right);
            return [columns.map((column) => box(column.findLast((part) => part.offsetHeight)).bottom),
                    seen.map((line) => Math.round(box(list).bottom - box(line).bottom))];
            }"""
        )
        assert abs(bottoms[0] - bottoms[1]) < 1, bottoms
        assert len(lines) >= 10
        assert min(lines) >= 0, lines
        page.set_viewport_size({"width": 390, "height": 844})
        assert page.locator("#dash-activity li >> visible=true").count() == 10

    @pytest.mark.parametrize("width", [390, 1440])
    def test_the_keyboard_goes_through_the_parts_as_they_are_seen(self, fleet: User, person: Callable[..., Person], width: int) -> None:
        Machine.objects.filter(pk=machine().pk).update(expires_at=timezone.now() + timedelta(days=1))
        page = person(fleet).page
        page.set_viewport_size({"width": width, "height": 900})
        page.goto("/o/here/")
        page.locator("#dash-figures a").last.focus()
        seen: list[tuple[str, float, float]] = []
        for _press in range(60):
            page.keyboard.press("Tab")
            at = page.evaluate(
                """() => {
                const part = document.activeElement.closest("[id^=dash-]"), box = part?.getBoundingClientRect();
                return part && [part.id, box.left, box.top + scrollY];
                }"""
            )
            if at is None:
                break
            if not seen or seen[-1][0] != at[0]:
                seen.append(tuple(at))
        assert [name for name, _left, _top in seen] == ["dash-attention", "dash-clouds", "dash-ending", "dash-activity"]
        narrow = seen if width == 390 else [one for one in seen if one[1] == seen[0][1]]
        assert [top for _name, _left, top in narrow] == sorted(top for _name, _left, top in narrow), "each below the one before"
        assert len(narrow) == (4 if width == 390 else 2), seen

    def test_many_changes_are_sent_together(self, fleet: User, person: Callable[..., Person]) -> None:
        """Twenty in a second or two: the figures are sent a few times, not twenty."""
        watcher = person(fleet)
        frames: list[str] = []
        watcher.page.on("websocket", lambda socket: socket.on("framereceived", lambda data: frames.append(str(data))))
        watcher.page.goto("/o/here/")
        watcher.be_live()
        watcher.page.wait_for_timeout(1500)
        frames.clear()
        org, began = fleet.orgs.get(), time.monotonic()
        for one in Machine.objects.order_by("pk")[:20]:
            perform(actor_for(org, fleet), one, "set_owner", {"owner": fleet.pk.hex})
            watcher.page.wait_for_timeout(40)
        watcher.page.wait_for_timeout(3500)
        figures = [frame for frame in frames if "dash-figures" in frame]
        assert 1 <= len(figures) <= 2 + (time.monotonic() - began), "once a second at most"
        expect(watcher.page.locator("#dash-activity")).to_contain_text("and 19 others")
