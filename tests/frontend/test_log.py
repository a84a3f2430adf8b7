"""The audit log's page: its span of time, bars, facets, live tail, and the files of exactly what it shows."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.db.models import F
from django.http import QueryDict
from django.test import Client
from django.utils import timezone
from playwright.sync_api import expect

from accounts.models import Team, User
from core import events, listing, search
from core.actions import perform
from core.actor import Actor
from core.models import Event, Job
from frontend import timeline
from frontend.eventcolumns import EVENTS
from frontend.facets import _toggled, facets
from frontend.story import changes, diff, facts, people_in, record
from tests.frontend.browsing import IN_A_BROWSER, Person
from tests.frontend.conftest import Place, actor_for, add_user, machine, run_jobs, signed_in
from tests.streamed import content_of


def told(place: Place, type_: str, ago: timedelta = timedelta(), via: str = "console", user: User | None = None, **more: Any) -> Event:
    """An event, of then."""
    actor = actor_for(place.org, user or place.owner)
    event = events.build(type_, actor, **more)
    event.at, event.via = timezone.now() - ago, via
    event.save(force_insert=True)
    return event


def get(place: Place, path: str = "", client: Client | None = None) -> str:
    answer = (client or place.admin).get(f"{place.base}/log{path}")
    assert answer.status_code == 200, answer.content[:500]
    return str(answer.content.decode())


def facet(body: str, title: str) -> dict[str, int]:
    """{label: count} of one facet of the page."""
    part = body.split(f"<h3>{title}</h3>")[1].split("<h3>")[0]
    found = re.findall(r'<span class="clip">([^<]*)</span><span class="n">([\d,]+)</span>', part)
    return {label: int(count.replace(",", "")) for label, count in found}


def test_the_last_day_is_shown_and_longer_spans_on_request(place: Place) -> None:
    told(place, "machine.stop.succeeded", timedelta(days=3), target_name="three-days-old")
    assert "three-days-old" not in get(place)
    assert "in the last 24 hours" in get(place)
    assert "three-days-old" in get(place, "?range=7d")
    assert "three-days-old" in get(place, "?range=all")
    assert place.admin.get(f"{place.base}/log?range=9y").status_code == 400


def test_a_part_of_the_time_is_what_the_list_shows_and_the_bars_hold_it(place: Place) -> None:
    told(place, "machine.stop.succeeded", timedelta(days=3), target_name="three-days-old")
    told(place, "machine.stop.succeeded", target_name="of-today")
    at = Event.objects.get(target_name="three-days-old").at
    low, high = ((at + timedelta(minutes=m)).strftime("%Y-%m-%dT%H:%M:%SZ") for m in (-1, 1))
    body = get(place, f"?since={low}&until={high}")
    assert "three-days-old" in body
    assert "of-today" not in body
    assert 'class="brush"' in body
    assert "Back to now" in body
    assert 'id="tail"' not in body, "what is over does not go on"
    assert place.admin.get(f"{place.base}/log?since={high}&until={low}").status_code == 400
    assert place.admin.get(f"{place.base}/log?since=yesterday").status_code == 400


def test_the_bars_count_every_event_of_the_span_once(place: Place) -> None:
    for hours in (1, 1, 5, 23):
        told(place, "machine.stop.failed", timedelta(hours=hours))
    actor = actor_for(place.org, place.owner)
    span = timeline.span(QueryDict("q=type:machine.stop.failed"), place.org.pk)
    found = timeline.bars(actor, listing.Query(search="type:machine.stop.failed"), span)
    assert found.total == found.bad == 4
    assert [bar.count for bar in found.bars if bar.count] == [1, 1, 2]
    assert len(found.bars) <= 98
    assert found.since <= span.since
    assert found.since.timestamp() % found.step_s == 0, "bars begin at whole steps, so that they stay when time goes on"


@pytest.mark.parametrize(("highest", "tick"), [(0, 1), (1, 1), (2, 1), (3, 2), (7, 4), (72, 40), (100, 50), (101, 80), (9999, 5000)])
def test_the_line_across_the_bars_is_a_round_number(highest: int, tick: int) -> None:
    assert timeline._tick(highest) == tick


def test_each_preset_is_drawn_in_at_most_a_hundred_bars_with_labels(place: Place) -> None:
    told(place, "machine.stop.failed", timedelta(days=700))
    actor = actor_for(place.org, place.owner)
    for name in timeline.PRESETS:
        span = timeline.span({"range": name}, place.org.pk)
        found = timeline.bars(actor, listing.Query(), span)
        assert 1 < len(found.bars) <= 98, name
        assert 2 <= len(found.labels) <= 10, (name, found.labels)


def test_a_facets_own_terms_do_not_narrow_its_counts(place: Place) -> None:
    for outcome in ("succeeded", "succeeded", "failed"):
        told(place, f"gadget.attach.{outcome}")
    told(place, "gadget.detach.failed")
    body = get(place, "?q=action:gadget.*+outcome:failed")
    assert facet(body, "Outcome") == {"Succeeded": 2, "Failed": 2, "Refused": 0, "Requested": 0}
    assert facet(body, "Action")["gadget.*"] == 2, "of what failed"
    assert facet(body, "Action")["gadget.attach"] == 1, "the actions of a kind that is chosen"
    assert body.count('<tbody id="e-') == 2


def test_the_facets_name_people_and_where_it_came_from(place: Place) -> None:
    maya = add_user(place.org, "maya@here.example")
    User.objects.filter(pk=maya.pk).update(first_name="Maya", last_name="Lindqvist")
    told(place, "script.run.succeeded", user=maya, via="cli")
    told(place, "machine.found.observed", via=f"poll:{place.cloud.pk.hex}")
    body = get(place)
    assert facet(body, "Actor")["Maya Lindqvist"] == 1
    assert facet(body, "Came from")["Command line"] == 1
    assert facet(body, "Came from")["Seen by polling"] >= 1
    q = parse_qs(urlsplit(re.findall(r'href="(\?q=actor[^"]*)"', body.split("<h3>Actor</h3>")[1])[0]).query)["q"][0]
    assert q in ("actor:maya@here.example", "actor:owner@here.example")


def test_whom_nobody_knows_is_said_to_be_unknown(place: Place) -> None:
    found = {name: events.record("auth.sign_in.failed", Actor(org_id=place.org.pk, via=name)) for name in ("console", "expiration")}
    body = get(place)
    lines = {name: body.split(f'id="e-{event.pk.hex}"')[1].split("</tr>")[0] for name, event in found.items()}
    assert '<span class="clip dim">unknown</span>' in lines["console"] and "#i-user" in lines["console"]
    assert '<span class="clip">Expiration</span>' in lines["expiration"] and "#i-clock" in lines["expiration"]


@pytest.mark.parametrize(
    ("q", "key", "value", "becomes"),
    [
        ("", "outcome", "failed", "outcome:failed"),
        ("outcome:failed", "outcome", "failed", ""),
        ("outcome:failed nginx", "outcome", "refused", "outcome:failed,refused nginx"),
        ("outcome:failed,refused", "outcome", "failed", "outcome:refused"),
        ("a OR b", "via", "api", "(a OR b) via:api"),
        ("user:maya", "actor", "o@x.org", "actor:maya,o@x.org"),
        ("-outcome:failed", "outcome", "failed", "-outcome:failed outcome:failed"),
        ("outcome:failed x outcome:refused", "outcome", "observed", "outcome:failed,refused,observed x"),
        ("", "action", "machine.*", "action:machine.*"),
        ('target:"two words"', "via", "none", 'target:"two words" via:none'),
    ],
)
def test_a_facet_adds_and_takes_values_of_one_term(q: str, key: str, value: str, becomes: str) -> None:
    assert search.parse(str(_toggled(search.parse(q), key, value))) == search.parse(becomes)


def test_a_wrong_search_says_where_and_keeps_the_page(place: Place) -> None:
    answer = place.admin.get(f"{place.base}/log?q=nonsense:1")
    assert answer.status_code == 400
    assert "nonsense" in answer.content.decode()
    assert "<h3>Outcome</h3>" in answer.content.decode()


def test_what_one_may_not_see_is_in_no_count(place: Place) -> None:
    told(place, "machine.stop.succeeded", target_name="secret-plan")
    body = get(place, "?range=all", place.nobody)
    assert "secret-plan" not in body
    assert sum(facet(body, "Outcome").values()) == 0
    assert "0 events" in body
    assert place.stranger.get(f"{place.base}/log").status_code == 404


def test_a_row_says_what_changed_how_long_it_took_and_from_where(place: Place) -> None:
    one = machine(state="running")
    perform(actor_for(place.org, place.owner), one, "stop")
    run_jobs()
    Job.objects.update(finished_at=F("started_at") + timedelta(seconds=3))  # too short a time is not told
    perform(actor_for(place.org, place.owner), one, "tag", {"tags": {"tier": "gold"}})
    body = get(place, "?q=action:machine.stop+outcome:succeeded")
    row = re.search(r'<tr>\s*<td class="num ink2".*?</tr>', body, re.DOTALL)
    assert row is not None
    assert re.search(r'<td class="p3 n dim">3\.0 s', row[0]), "how long its job took"
    assert '<td class="p3 n dim"></td>' in get(place, "?q=action:machine.stop+outcome:requested"), "the asking took no time"
    assert "tags.tier: gold" in get(place, "?q=action:machine.tag")


@pytest.mark.parametrize(
    ("before", "after", "line", "lines"),
    [
        ({"size": "small"}, {"size": "large"}, "size: small → large", ["- size: small", "+ size: large"]),
        ({"tags": {"a": "1", "b": "2"}}, {"tags": {"a": "1", "c": "3"}}, "tags.b: 2 → – · tags.c: 3", ["- tags.b: 2", "+ tags.c: 3"]),
        (None, {"id": "f" * 32, "name": "x", "limits": [], "scope": "all"}, "scope: all", ["+ scope: all"]),
        (None, {"keys": ["user", "password"], "adopted": False}, "keys: user, password", ["+ adopted: false", "+ keys: user, password"]),
        ({"owner": "maya"}, {"owner": None}, "owner: maya → –", ["- owner: maya"]),
        ({"owner_id": None}, {"owner_id": "ab" * 16}, "owner: Priya Raman", ["+ owner: Priya Raman"]),
        (
            {"expires_at": None},
            {"expires_at": "2026-12-02T23:53:45.966017+00:00"},
            "expires_at: 2 Dec 2026 23:53 UTC",
            ["+ expires_at: 2 Dec 2026 23:53 UTC"],
        ),
        ({"a": {"b": 1}}, {"a": 2}, "a: 2", ['- a: {"b": 1}', "+ a: 2"]),
        ({"same": 1}, {"same": 1}, "", []),
    ],
)
def test_what_changed_in_a_line_and_in_lines(before: Any, after: Any, line: str, lines: list[str]) -> None:
    event = Event(before=before, after=after)
    names = {"ab" * 16: "Priya Raman"}
    assert changes(event, names) == line
    assert [text for _css, text in diff(event, names)] == lines
    assert {pk.hex for pk in people_in(event)} <= set(names)


@pytest.mark.parametrize(
    ("detail", "line"),
    [
        ({"params": {"machines": ["f" * 32] * 8, "concurrency": 3}}, "machines: 8 · concurrency: 3"),
        ({"params": {"name": "web", "provider": "demo", "dry": False}}, "provider: demo"),
        ({"run": "f" * 32, "exit": 3}, "exit: 3"),
        ({"params": None}, ""),
    ],
)
def test_what_was_asked_in_a_line_without_ids(detail: Any, line: str) -> None:
    assert facts(Event(target_name="web", detail=detail)) == line


def test_the_whole_of_an_event_in_lines() -> None:
    event = Event(target_kind="machine", target_name="web-1", before={"size": "s"}, after={"size": "m"})
    event.detail = {"params": {"size": "m", "dry": False}, "exit": 0, "by": "ab" * 16}
    told = [text for _css, text in record(event, {"ab" * 16: "Priya Raman"})]
    assert told == ["machine web-1", "- size: s", "+ size: m", "  params.size: m", "  params.dry: false", "  exit: 0", "  by: Priya Raman"]
    assert record(Event(target_kind="machine", target_name="web-1"), {}) == [], "its name alone stands in the row"


def heads(body: str) -> list[str]:
    return re.findall(r"<th [^>]*>(?:<span[^>]*>)?([^<]+)", body.split('aria-label="Events"')[-1].split("</thead>")[0])


def test_columns_are_what_the_address_says_in_its_order_and_so_is_the_file(place: Place) -> None:
    perform(place.actor, machine(), "tag", {"tags": {"env": "prod"}})
    perform(place.actor, machine(), "tag", {"tags": {"env": "test"}})
    assert heads(get(place)) == ["Time, UTC", "Actor", "Action", "Resource", "Detail", "Via", "Took", "Outcome"]
    body = get(place, "?cols=tag:env,request,target&q=action:machine.tag")
    assert heads(body) == ["Time, UTC", "env", "Request", "Resource", "Outcome"]
    assert 'colspan="5"' in body
    assert "cols=tag%3Aenv%2Crequest%2Ctarget" in body.split('id="export-menu"')[1].split("</div>")[0]
    there = place.admin.get(f"{place.base}/log?q=x&col=&col=via&col=actor&tag=env")
    assert there["Location"] == f"{place.base}/log?q=x&cols=via%2Cactor%2Ctag%3Aenv"
    text = content_of(place.admin.get(f"{place.base}/log.csv?cols=tag:env,request&q=action:machine.tag")).decode()
    assert text.splitlines()[0] == "at,outcome,id,tag:env,request"
    assert "succeeded" in text.splitlines()[1]


def test_every_column_there_is_is_drawn(place: Place) -> None:
    perform(place.actor, machine(), "stop")
    run_jobs()
    every = ",".join(EVENTS.known)
    assert len(heads(get(place, f"?cols={every}"))) == len(EVENTS.known) + 2
    for path in (f"/log.csv?cols={every}", f"/log.jsonl?cols={every}"):
        assert place.admin.get(f"{place.base}{path}").status_code == 200


def test_a_token_is_made_of_ones_own_acts_alone(place: Place) -> None:
    perform(place.actor, machine(), "tag", {"tags": {"env": "prod"}})
    told(place, "session.started.observed")
    own = Event.objects.filter(type="machine.tag.succeeded").get()
    body = get(place)
    assert f"settings/tokens?event={own.pk.hex}" in body
    assert (
        body.count("settings/tokens?event=") == Event.objects.filter(type__in=["machine.tag.succeeded", "cloud.create.succeeded"]).count()
    )
    offered = place.admin.get(f"{place.base}/settings/tokens?event={own.pk.hex}").content.decode()
    assert machine().name in offered
    colleague = add_user(place.org, "colleague@here.example")
    Team.objects.get(org=place.org, is_owners=True).members.add(colleague)
    assert "settings/tokens?event=" not in get(place, client=signed_in(colleague))


def test_a_queries_count_does_not_grow_with_the_rows(place: Place, django_assert_max_num_queries: Any) -> None:
    for _n in range(30):
        told(place, "machine.stop.succeeded")
    with django_assert_max_num_queries(27):
        get(place, "?q=outcome:succeeded")


class TestInABrowser:
    pytestmark = IN_A_BROWSER

    def test_what_happens_comes_in_on_top_and_waits_while_one_reads(self, fleet: User, person: Callable[..., Person]) -> None:
        one = person(fleet)
        page = one.page
        page.goto("/o/here/log")
        one.be_live()
        actor = actor_for(fleet.orgs.get(), fleet)

        def happens(name: str) -> None:
            events.record("machine.stop.succeeded", actor, target_name=name)

        newest = page.locator("#events tbody").first
        page.locator("h1").hover()
        happens("the-first")
        expect(newest).to_contain_text("the-first")
        page.locator("#events summary").first.click()
        expect(page.locator("#events tr.det").first).to_be_visible()
        happens("the-second")
        expect(page.locator("#fresh")).to_have_text("1 new · Show")
        expect(newest).to_contain_text("the-first")
        page.locator("#fresh").click()
        expect(newest).to_contain_text("the-second")
        expect(page.locator("#fresh")).to_be_hidden()
        page.get_by_role("button", name="Pause the live tail").click()
        page.locator("#events summary").nth(1).click()
        happens("the-third")
        page.wait_for_timeout(2500)
        expect(page.locator("#events")).not_to_contain_text("the-third")
        page.get_by_role("button", name="Pause the live tail").click()
        page.locator("h1").hover()
        expect(newest).to_contain_text("the-third")

    def test_a_part_is_chosen_on_the_bars_and_a_facet_narrows_it(self, fleet: User, person: Callable[..., Person]) -> None:
        one = person(fleet)
        page = one.page
        page.goto("/o/here/log")
        box = page.locator("mist-brush").bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + 30)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] - 2, box["y"] + 30, steps=4)
        page.mouse.up()
        page.wait_for_url("**since=**until=**")
        expect(page.locator("rect.brush")).to_be_visible()
        expect(page.locator("#meta")).to_contain_text("UTC")
        page.locator("#facets").get_by_role("link", name="Observed").click()
        page.wait_for_url("**q=outcome**")
        assert "since=" in page.url
        expect(page.locator("#facets a[aria-current]")).to_have_count(1)
        page.get_by_role("link", name="Back to now").click()
        page.wait_for_url(lambda url: "since=" not in url)
        assert "outcome" in page.url


def test_a_team_that_may_read_one_clouds_events_counts_only_those(place: Place) -> None:
    user = add_user(place.org, "narrow@here.example")
    narrow = [{"effect": "allow", "verbs": ["machine.read"], "what": {"tags": {"like": "nothing"}}}]
    Team.objects.create(org=place.org, name="narrow", statements=narrow).members.add(user)
    told(place, "machine.stop.succeeded", target_name="elsewhere")
    client = signed_in(user)
    assert "elsewhere" not in get(place, "?range=all", client)
    found = facets(actor_for(place.org, user), listing.Query(), timeline.span({}, place.org.pk))
    assert sum(item.count for item in found[0].items) == 0
