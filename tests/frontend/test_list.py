"""The machines list: its query bar, saved views, columns, counts, groups, hosts, the past, and what is new in it."""

from __future__ import annotations

import html
import json
import re
import time
from datetime import timedelta
from urllib.parse import urlencode

import pytest
from django.db import connection
from django.utils import timezone

from accounts.models import LongSearch, Team, User, View
from clouds.models import Cloud
from core import ticks
from frontend import columns, grouping, listing, news, searches
from frontend.views.policy import PRESETS
from machines.models import Machine
from tests.frontend.conftest import Place, actor_for, add_user, machine, signed_in
from tests.streamed import content_of


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


def test_prices_of_one_currency_stand_under_its_sign_also_where_rows_come_later(place: Place) -> None:
    one = machine()
    Machine.objects.update(cost_month=None)
    Machine.objects.filter(pk=one.pk).update(cost_month="1070.08", currency="EUR")
    address = f"{place.base}/machines?cols=cost"
    assert headings(place, address) == ["Name", "€ / month"]
    body = place.admin.get(address).content.decode()
    assert ">1,070.08</td>" in body and "€1,070.08" not in body
    assert "&quot;currency&quot;: &quot;EUR&quot;" in body, "what the socket is told, that its rows are drawn so too"
    rows = f"{place.base}/machines/rows?cols=cost&q={one.name}&currency="
    assert ">1,070.08</td>" in place.admin.get(f"{rows}EUR").content.decode()
    assert all(">€1,070.08</td>" in place.admin.get(f"{rows}{head}").content.decode() for head in ("USD", "", "<b>"))
    Machine.objects.exclude(pk=one.pk).filter(cloud=one.cloud).update(cost_month=5, currency="USD")
    assert headings(place, address) == ["Name", "Cost a month"]
    assert ">€1,070.08</td>" in place.admin.get(address).content.decode()


def test_the_form_of_columns_leads_to_an_address_that_says_them(place: Place) -> None:
    asked = {"q": "state:running", "col": ["", "size", "tag:env"], "tag": "team"}
    answer = place.admin.get(f"{place.base}/machines", asked)
    assert answer["Location"] == f"{place.base}/machines?q=state%3Arunning&cols=size%2Ctag%3Aenv%2Ctag%3Ateam"
    usual = ["location", "size", "address", "cost", "owner", "tags", "age"]
    assert place.admin.get(f"{place.base}/machines", {"col": usual, "tag": ""})["Location"] == f"{place.base}/machines"


def test_a_view_is_saved_opened_changed_reset_and_deleted(place: Place) -> None:
    views = f"{place.base}/machines/views"
    sent = {"name": "Up", "q": "state:running", "sort": "-name", "cols": "size,tag:env", "group": "cloud"}
    to = place.admin.post(views, sent)["Location"]
    view = View.objects.get(name="Up")
    assert to == f"{place.base}/machines?view={view.pk.hex}"
    assert place.admin.get(f"{views}/{view.pk.hex}-up")["Location"] == to
    page = place.admin.get(to)
    assert page.context["page"].q == "state:running"
    assert [column.key for column in page.context["columns"]] == ["size", "tag:env"]
    assert [group.title for group in page.context["groups"]] == ["demo one"]
    assert "Save as" not in page.content.decode()
    changed = place.admin.get(f"{to}&q=state:stopped").content.decode()
    assert "Save as" in changed and "Reset" in changed
    place.admin.post(views, {"save": view.pk.hex, "view": view.pk.hex, "q": "", "sort": "", "cols": "", "group": ""})
    view.refresh_from_db()
    assert (view.query, view.sort, view.columns, view.grouping) == ("", "", list(columns.MACHINES.default), "")
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


def test_what_others_keep_for_themselves_is_no_tab_of_who_may_read_everything(place: Place) -> None:
    other = add_user(place.org, "reader@here.example")
    Team.objects.create(org=place.org, name="Readers", statements=PRESETS["operate"][1]).members.add(other)
    signed_in(other).post(f"{place.base}/machines/views", {"name": "Just mine", "q": "state:running"})
    assert "Just mine" in signed_in(other).get(f"{place.base}/machines").content.decode()
    assert "Just mine" not in place.admin.get(f"{place.base}/machines").content.decode()
    place.admin.post(f"{place.base}/machines/views", {"name": "Of the owner", "q": "state:running"})
    assert "Of the owner" not in signed_in(other).get(f"{place.base}/machines").content.decode()


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


ODD = 'it\'s "=" 100%'


@pytest.mark.parametrize("by", [*grouping.KEYS, "tag:env", f"tag:{ODD}"])
def test_a_group_says_how_many_and_leads_to_exactly_those(place: Place, by: str) -> None:
    one = machine()
    Machine.objects.filter(pk=one.pk).update(tags={"env": 'a "b" \\ c=d', ODD: "", "none": "none"}, owner=place.owner, cost_month=5)
    page = place.admin.get(f"{place.base}/machines", {"group": by, "q": "state:running OR -state:running"})
    groups = page.context["groups"]
    assert sum(group.count for group in groups) == Machine.objects.count()
    assert [group.count for group in groups] == sorted((group.count for group in groups), reverse=True)
    for group in groups:
        assert len(group.rows) == group.count, group
        found = place.admin.get(f"{place.base}/machines", {"q": group.q}).context["page"]
        assert {row.pk for row in found.rows} == {row.pk for row in group.rows}, group.q
    assert place.nobody.get(f"{place.base}/machines", {"group": by}).context["groups"] == []


def test_groups_of_more_than_a_page_are_folded_and_their_rows_come_when_asked_for(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "PAGE", 5)
    page = place.admin.get(f"{place.base}/machines?group=state&q=type:vm")
    assert all(not group.rows for group in page.context["groups"])
    body = page.content.decode()
    assert "<tr id=" not in body
    address = html.unescape(re.findall(r'data-unfold="([^"]+)"', body)[0])
    rows = place.admin.get(address).content.decode()
    assert rows.count("<tr id=") == min(5, page.context["groups"][0].count)
    assert ("All " in rows) == (page.context["groups"][0].count > 5)
    assert "<tr" not in place.nobody.get(address).content.decode()
    assert place.stranger.get(address).status_code == 404
    assert place.admin.get(f"{place.base}/machines/rows?q=nothing:x").status_code == 400


def test_what_is_inside_a_host_unfolds_under_it_and_is_found_by_a_search(place: Place) -> None:
    host, inside = Machine.objects.filter(parent=None, type="vm").order_by("name")[:2]
    Machine.objects.exclude(parent=None).update(parent=None)
    Machine.objects.filter(pk=inside.pk).update(parent=host)
    page = place.admin.get(f"{place.base}/machines")
    shown = {row.pk: row for row in page.context["page"].rows}
    assert inside.pk not in shown and shown[host.pk].inside == 1
    assert page.context["page"].total == Machine.objects.count()
    address = html.unescape(re.findall(r'data-unfold="([^"]+)"', page.content.decode())[0])
    rows = place.admin.get(address).content.decode()
    assert rows.count("<tr") == 1
    assert f'id="machine-{inside.pk.hex}" data-live="machine.row:{inside.pk.hex}" data-under="{host.pk.hex}"' in rows
    assert inside.pk in {row.pk for row in place.admin.get(f"{place.base}/machines?q={inside.name}").context["page"].rows}


def test_whoever_may_not_see_the_host_sees_what_is_inside_as_any_other(place: Place) -> None:
    host, inside = Machine.objects.filter(type="vm").order_by("name")[:2]
    Machine.objects.update(parent=None)
    Machine.objects.filter(pk=inside.pk).update(parent=host, tags={"seen": "yes"})
    statements = [{"effect": "allow", "verbs": ["machine.read"], "what": {"tags": {"seen": "yes"}}}]
    Team.objects.create(org=place.org, name="Few", statements=statements).members.add(User.objects.get(email="new@here.example"))
    assert [row.pk for row in place.nobody.get(f"{place.base}/machines").context["page"].rows] == [inside.pk]


def test_the_machines_as_they_were_with_what_is_another_now(place: Place) -> None:
    one, gone = Machine.objects.filter(type="vm").order_by("name")[:2]
    Machine.objects.filter(pk=one.pk).update(state="running", cost_month="7.00")
    then = timezone.now() - timedelta(days=1)
    with connection.cursor() as cursor:  # all that the history holds was so a day before: a test is one transaction, one moment
        cursor.execute("UPDATE core_revision SET from_at = from_at - interval '2 days'")
    Machine.objects.filter(pk=one.pk).update(state="error", cost_month="9.00", tags={"new": "tag"})
    Machine.objects.filter(pk=gone.pk).delete()
    page = place.admin.get(f"{place.base}/machines", {"at": then.isoformat()})
    rows = {row.pk: row for row in page.context["page"].rows}
    assert rows[one.pk].state == "running" and rows[one.pk].now.state == "error"
    assert rows[gone.pk].now is None
    body = page.content.decode()
    assert "now: Error" in body and "no more there" in body
    assert 'data-differs title="Now: 9.00">7.00' in body
    assert 'data-live="machine.row' not in body and 'id="bulk"' not in body
    assert place.admin.get(f"{place.base}/machines?at=soon").status_code == 400
    assert not place.nobody.get(f"{place.base}/machines", {"at": then.isoformat()}).context["page"].rows


def test_select_all_keeps_to_the_scope(place: Place) -> None:
    body = place.admin.get(f"{place.base}/machines?cloud={place.cloud.pk.hex}&q=a+OR+b").content.decode()
    assert f'data-q="(a OR b) cloud={place.cloud.pk.hex}"' in body
    total = re.findall(r'data-total="([^"]+)"', body)[0]
    ids = machine().pk.hex
    assert f"Select all {total}" in place.admin.post(f"{place.base}/machines/bulk", {"ids": ids, "of": total}).content.decode()


def test_the_list_as_json_is_exactly_the_query_of_the_view(place: Place) -> None:
    machine(state="stopped")
    place.admin.post(f"{place.base}/machines/views", {"name": "Down", "q": "state:stopped"})
    view = View.objects.get()
    rows = json.loads(content_of(place.admin.get(f"{place.base}/machines.json?view={view.pk.hex}")))
    assert {row["id"] for row in rows} == {pk.hex for pk in Machine.objects.filter(state="stopped").values_list("pk", flat=True)}
    assert json.loads(content_of(place.nobody.get(f"{place.base}/machines.json"))) == []


def shown(place: Place, address: str, **headers: str) -> str:
    return str(place.admin.get(address, headers=headers).content.decode())


def rows_in(body: str) -> int:
    return body.count('<a class="nm clip"')


@pytest.mark.parametrize(
    ("q", "said", "mended"),
    [
        ("name:a clowd:demo", "No field <b>clowd</b>. Did you mean", "?q=name%3Aa+cloud%3Ademo"),
        ("-state:runing name:a", "No value <b>runing</b>. Did you mean", "?q=-state%3Arunning+name%3Aa"),
    ],
)
def test_a_wrong_word_is_marked_with_what_was_meant_and_keeps_the_rows_from_before(place: Place, q: str, said: str, mended: str) -> None:
    one = machine(state="stopped")
    Machine.objects.exclude(pk=one.pk).update(state="running")
    list_ = f"{place.base}/machines"
    body = shown(place, f"{list_}?{urlencode({'q': q})}", Referer=f"http://testserver{list_}?q=state:stopped")
    error = body.split('id="q-error"')[1].split("</form>")[0].split("<table")[0]
    assert said in error and f'href="{mended}"' in error and "It has:" not in error and "They are:" not in error
    assert (rows_in(body), "scroll stale" in body) == (1, True), "what was found before, dimmed"
    for elsewhere in ("", f"http://testserver{list_}?q=nothing:here", "http://testserver/o/elsewhere/machines?q=state:stopped"):
        assert rows_in(shown(place, f"{list_}?{urlencode({'q': q})}", Referer=elsewhere)) > 1


def test_a_page_has_as_many_rows_as_one_chooses(place: Place) -> None:
    list_ = f"{place.base}/machines"
    total = rows_in(shown(place, list_))
    assert 25 < total < 50
    first = shown(place, f"{list_}?limit=25&sort=-name")
    assert rows_in(first) == 25 and "25 a page" in first
    after = html.unescape(re.findall(r'href="([^"]*)" rel="next"', first)[0])
    second = shown(place, after)
    assert "limit=25" in after and rows_in(second) == total - 25
    back = html.unescape(re.findall(r'href="([^"]*)" rel="prev"', second)[0])
    assert rows_in(shown(place, back)) == 25
    assert rows_in(shown(place, f"{list_}?limit=7")) == rows_in(shown(place, f"{list_}?limit=x")) == total
    assert rows_in(shown(place, f"{list_}?limit=200")) == total


def test_a_search_too_long_for_an_address_has_a_short_id_there(place: Place) -> None:
    one = machine()
    long = f"id:{one.pk.hex} (" + " OR ".join(f"name:{one.name}-or-{number:04d}" for number in range(70)) + f" OR name:{one.name})"
    assert 1500 < len(long) <= 2000
    answer = place.admin.get(f"{place.base}/machines", {"q": long, "sort": "-name", "limit": "25"})
    assert answer.status_code == 302 and len(answer.url) < 100 and "sort=-name" in answer.url
    body = shown(place, answer.url)
    assert rows_in(body) == 1 and html.escape(long) in body
    qid = re.findall(r"qid=([a-z2-7]{12})", answer.url)[0]
    links = [html.unescape(link) for link in re.findall(rf'href="(?:{place.base}/machines[^"]*)?(\?[^"]*)"', body)]
    assert any(f"qid={qid}" in link and "sort=cost" in link for link in links), "what is sorted otherwise is the same search"
    assert not any("q=id" in link for link in links if f"qid={qid}" in link)
    assert all(len(link) < 2500 for link in links)
    assert place.admin.get(f"{place.base}/machines", {"q": long}).url == f"{place.base}/machines?qid={qid}", "the same one has one id"
    assert content_of(place.admin.get(f"{place.base}/machines.csv?qid={qid}")).count(b"\n") == 2
    assert rows_in(shown(place, f"{place.base}/machines?qid={qid}&q=")) > 1, "a search that is written counts"
    assert place.stranger.get(f"/o/elsewhere/machines?qid={qid}").status_code == 404
    assert place.admin.get(f"{place.base}/machines?qid=nothing").status_code == 404
    assert place.admin.get(f"{place.base}/machines", {"q": "a" * 2001}).status_code == 400


def test_a_long_search_is_dropped_when_nobody_opened_it_for_half_a_year(place: Place) -> None:
    long = " OR ".join(f"name:nothing-{number:04d}" for number in range(75))
    assert searches.forget_old in [tick.run for tick in ticks.all_ticks()]
    to = place.admin.get(f"{place.base}/machines", {"q": long}).url
    now = timezone.now()
    LongSearch.objects.update(opened_at=now - timedelta(hours=20))
    place.admin.get(to)
    assert LongSearch.objects.get().opened_at == now - timedelta(hours=20), "it was opened today already"
    LongSearch.objects.update(opened_at=now - timedelta(days=179))
    assert searches.forget_old() == 0
    place.admin.get(to)
    assert LongSearch.objects.get().opened_at >= now
    assert searches.forget_old(now + timedelta(days=179)) == 0
    LongSearch.objects.update(opened_at=now - timedelta(days=179))
    assert place.admin.get(f"{place.base}/machines", {"q": long}).url == to
    assert LongSearch.objects.get().opened_at >= now, "who writes it again has opened it"
    assert searches.forget_old(now + timedelta(days=181)) == 1
    assert place.admin.get(to).status_code == 404


def test_what_came_since_is_counted_and_what_matches_no_more_is_known(place: Place) -> None:
    one = machine(state="running")
    since = str(int(time.time() * 1000) - 1)
    how = {"kind": "machine", "q": "state:running", "cloud": "", "since": since, "whole": ""}
    shown = set(Machine.objects.filter(state="running").values_list("pk", flat=True))
    made = {"org": place.org, "cloud": place.cloud}
    fresh = Machine.objects.create(name="fresh", external_id="fresh", state="running", **made)
    Machine.objects.create(name="off", external_id="off", state="stopped", **made)
    assert news.count(place.actor, how, shown, None) == 1
    assert news.count(place.actor, how, shown, [fresh.pk]) == 1
    assert news.count(place.actor, how, shown | {fresh.pk}, None) == 0
    assert news.count(place.actor, how, shown - {one.pk}, [one.pk]) == 0  # perhaps another page's row
    assert news.count(place.actor, {**how, "whole": "1"}, shown - {one.pk}, [one.pk]) == 1
    assert news.count(actor_for(place.org, User.objects.get(email="new@here.example")), how, set(), None) == 0
    for odd in ({"kind": "nothing"}, {"kind": "job"}, {"since": "x"}, {"q": "clowd:x"}):
        assert news.count(place.actor, {**how, **odd}, set(), None) == 0
    Machine.objects.filter(pk=one.pk).update(state="stopped")
    assert news.matching(place.actor, how, [one.pk, fresh.pk]) == {fresh.pk}
    assert news.matching(place.actor, {**how, "q": ""}, [one.pk]) is None
