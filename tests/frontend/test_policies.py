"""Teams & policies: the editor with its errors and preview, completion, the tester, and what statements look like as text."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone, translation
from playwright.sync_api import Page, expect

from accounts import where
from accounts.models import Team, User
from clouds.models import Cloud
from core.errors import BadSearch
from frontend.views.policy import PRESETS
from machines.models import Machine
from tests.frontend.browsing import IN_A_BROWSER, Person
from tests.frontend.conftest import Place, add_user, machine
from tests.frontend.recorded import in_both_themes, violations


@pytest.fixture
def team(place: Place) -> Team:
    made = Team.objects.create(org=place.org, name="Web", statements=[{"effect": "allow", "verbs": ["*.read"], "what": {}}])
    made.members.add(User.objects.get(email="new@here.example"))
    return made


def row(number: int, verbs: str, what: str = "", effect: str = "allow") -> dict[str, str]:
    return {f"s-{number}-effect": effect, f"s-{number}-verbs": verbs, f"s-{number}-what": what}


def editor(place: Place, team: Team, **data: str) -> Any:
    return place.admin.post(f"{place.base}/teams/{team.pk.hex}/policy", data)


def seen_in(response: Any) -> str:
    found = re.search(r'name="seen" value="(\w+)"', response.content.decode())
    assert found
    return found[1]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", {}),
        ("tag:env=prod tag:team", {"tags": {"env": "prod", "team": None}}),
        ('cloud:"AWS production",lab', {"clouds": ["AWS production", "lab"]}),
        ("kind:machine,volume own:yes", {"kinds": ["machine", "volume"], "own": True}),
        ("owner:me", {"own": True}),
        ('tag:"a b=c d"', {"tags": {"a b": "c d"}}),
    ],
)
def test_where_a_statement_holds_is_written_as_a_search(text: str, what: dict[str, Any]) -> None:
    assert where.read(text) == what
    assert where.read(where.write(what)) == what


@pytest.mark.parametrize(
    ("text", "position", "says"),
    [
        ("clowd:x", 0, "knows no clowd"),
        ("tag:a OR tag:b", 0, "no OR"),
        ("-tag:a", 1, "no NOT"),
        ("tag:a tag:b,c", 6, "tag:a tag:b"),
        ("tag:e*", 4, "no wildcard"),
        ("web", 0, "tag:web"),
        ("tag>1", 3, "compares by :"),
        ("own:maybe", 4, "yes or no"),
        ("tag:a tag:a", 6, "twice"),
    ],
)
def test_what_a_statement_cannot_hold_is_said_and_where(text: str, position: int, says: str) -> None:
    with pytest.raises(BadSearch) as wrong:
        where.read(text)
    assert says in wrong.value.detail
    assert wrong.value.position == position


def test_a_change_is_shown_before_it_is_saved(place: Place, team: Team) -> None:
    one = machine()
    Machine.objects.exclude(pk=one.pk).update(tags={})
    Machine.objects.filter(pk=one.pk).update(tags={"env": "dev"}, name="dev-1")
    data = {**row(0, "*.read"), **row(1, "machine.stop", "tag:env=dev")}
    shown = editor(place, team, **data, preview="1")
    body = shown.content.decode()
    assert "machine.stop: 1 (dev-1)" in body
    assert "new@here.example" in body
    assert "machine.read" not in body, "that does not change"
    team.refresh_from_db()
    assert len(team.statements) == 1, "nothing is saved yet"
    assert editor(place, team, **data, seen=seen_in(shown), save="1").status_code == 302
    team.refresh_from_db()
    assert team.statements[1] == {"effect": "allow", "verbs": ["machine.stop"], "what": {"tags": {"env": "dev"}}}


def test_what_was_changed_since_it_was_shown_is_shown_again(place: Place, team: Team) -> None:
    seen = seen_in(editor(place, team, **row(0, "machine.read"), preview="1"))
    again = editor(place, team, **row(0, "*"), seen=seen, save="1")
    assert again.status_code == 200
    assert seen_in(again) != seen
    team.refresh_from_db()
    assert team.statements[0]["verbs"] == ["*.read"]
    seen = seen_in(editor(place, team, **row(0, "machine.read"), preview="1"))
    Team.objects.filter(pk=team.pk).update(statements=[])  # by another owner, meanwhile
    assert editor(place, team, **row(0, "machine.read"), seen=seen, save="1").status_code == 200


def test_each_mistake_stands_beside_its_field(place: Place, team: Team) -> None:
    response = editor(place, team, **row(0, "machine.stpo"), **row(1, "*.read", "clowd:x"), **row(2, "", "tag:a"), preview="1")
    assert response.status_code == 422
    body = response.content.decode()
    errors = dict(re.findall(r'id="f-(s-\d-\w+)-error">([^<]+)<', body))
    assert "Did you mean machine.stop?" in errors["s-0-verbs"]
    assert "knows no clowd" in errors["s-1-what"]
    assert "names no verb" in errors["s-2-verbs"]
    assert 'value="machine.stpo"' in body, "what was typed stays"


def test_what_cannot_wait_for_approval_is_said_beside_its_verbs(place: Place, team: Team) -> None:
    data = {**row(0, "*.read"), **row(1, "machine.stop machine.shell", "tag:env=prod", "ask"), **row(2, "machine.read", effect="ask")}
    response = editor(place, team, **data, **row(3, "*.read", effect="perhaps"), preview="1")
    assert response.status_code == 422
    errors = dict(re.findall(r'id="f-(s-\d-\w+)-error">([^<]+)<', response.content.decode()))
    assert sorted(errors) == ["s-1-verbs", "s-2-verbs", "s-3-effect"]
    assert "Machine.shell cannot wait for approval" in errors["s-1-verbs"]
    assert "Machine.read needs no approval" in errors["s-2-verbs"]
    assert "allow, deny or ask" in errors["s-3-effect"]
    assert re.findall(r'<option value="(\w+)" selected', response.content.decode())[:3] == ["allow", "ask", "ask"]


def test_the_preview_says_who_must_ask_and_who_need_not_any_more(place: Place, team: Team) -> None:
    one = machine()
    Machine.objects.exclude(pk=one.pk).update(tags={})
    Machine.objects.filter(pk=one.pk).update(name="<script>alert(1)</script>", tags={"env": "prod"})
    may = {"effect": "allow", "verbs": ["*.read", "machine.stop"], "what": {}}
    ask = {"effect": "ask", "verbs": ["machine.stop"], "what": {"tags": {"env": "prod"}}}
    Team.objects.filter(pk=team.pk).update(name="<script>alert(2)</script>", statements=[may])
    allowed = row(0, "*.read machine.stop")
    body = editor(place, team, **allowed, **row(1, "machine.stop", "tag:env=prod", "ask")).content.decode()
    assert "Must ask for machine.stop: 1 (&lt;script&gt;alert(1)" in body
    assert "<script>alert" not in body
    assert "<b>Must ask to</b> stop machines" in body
    assert "− machine.stop" not in body, "it is still allowed"
    Team.objects.filter(pk=team.pk).update(statements=[may, ask])
    body = editor(place, team, **allowed).content.decode()
    assert "Need not ask any more for machine.stop: 1" in body
    assert "Must ask for" not in body


def test_the_preview_says_so_only_of_what_would_be_asked_about(place: Place, team: Team) -> None:
    """Reading never waits; who may not do it at all does not ask."""
    assert machine()
    Team.objects.filter(pk=team.pk).update(statements=[{"effect": "allow", "verbs": ["*.read", "machine.stop"], "what": {}}])
    body = editor(place, team, **row(0, "*.read machine.stop"), **row(1, "machine.*", effect="ask")).content.decode()
    assert re.findall(r"Must ask for ([^:<]+):", body) == ["machine.stop"]
    assert ask(place.nobody, place, verb="machine.read", thing=machine().name)[1].count("approv") == 0
    body = editor(place, team, **row(0, "*.read"), **row(1, "machine.*", effect="ask")).content.decode()
    assert "− machine.stop" in body
    assert "ask for machine" not in body


def test_clouds_are_written_by_name_and_kept_by_id(place: Place, team: Team) -> None:
    Cloud.objects.filter(pk=place.cloud.pk).update(name="AWS production")
    data = row(0, "machine.*", 'cloud:"AWS production"')
    editor(place, team, **data, seen=seen_in(editor(place, team, **data)), save="1")
    team.refresh_from_db()
    assert team.statements[0]["what"] == {"clouds": [place.cloud.pk.hex]}
    assert "cloud:&quot;AWS production&quot;" in place.admin.get(f"{place.base}/teams/{team.pk.hex}/policy").content.decode()


def test_the_editor_is_for_owners_and_the_owners_have_no_policy(place: Place, team: Team) -> None:
    Team.objects.filter(pk=team.pk).update(statements=[{"effect": "allow", "verbs": ["*"], "what": {}}])
    url = f"{place.base}/teams/{team.pk.hex}/policy"
    assert place.nobody.get(url).status_code == 403
    assert place.nobody.post(url, row(0, "*")).status_code == 403
    assert "Edit policy" not in place.nobody.get(f"{place.base}/teams/{team.pk.hex}").content.decode()
    owners = Team.objects.get(org=place.org, is_owners=True)
    assert place.admin.get(f"{place.base}/teams/{owners.pk.hex}/policy").status_code == 404


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_can_be_saved_as_it_is(place: Place, team: Team, preset: str) -> None:
    body = place.admin.get(f"{place.base}/teams/{team.pk.hex}/policy?preset={preset}").content.decode()
    data = dict(re.findall(r'name="(s-\d+-(?:verbs|what))" id="[^"]+" value="([^"]*)"', body))
    for number, chosen in re.findall(r'<select class="in" name="s-(\d+)-effect".*?<option value="(\w+)" selected', body):
        if f"s-{number}-verbs" in data:
            data[f"s-{number}-effect"] = chosen
    shown = editor(place, team, **data)
    assert shown.status_code == 200, shown.content.decode()
    assert editor(place, team, **data, seen=seen_in(shown), save="1").status_code == 302
    team.refresh_from_db()
    assert [one["effect"] for one in team.statements] == [one["effect"] for one in PRESETS[preset][1]]


def test_verbs_and_places_complete_at_the_cursor(place: Place) -> None:
    Machine.objects.all().update(tags={"env": "prod"})

    def offered(part: str, text: str) -> list[str]:
        body = place.admin.get(f"{place.base}/teams/complete", {"part": part, "q": text, "at": str(len(text))}).content.decode()
        return re.findall(r'data-insert="([^"]+)"', body)

    assert "machine.stop" in offered("verbs", "*.read machine.st")
    assert "machine.*" in offered("verbs", "machine.")
    assert offered("verbs", "zzz") == []
    assert "cloud:" in offered("what", "clo")
    assert "env=prod" in offered("what", "tag:en")


def ask(client: Client, place: Place, **asked: str) -> tuple[int, str]:
    response = client.get(f"{place.base}/teams/test", asked)
    return response.status_code, " ".join(re.sub(r"<[^>]+>", " ", response.content.decode()).split())


def test_the_tester_names_the_statement_that_decides(place: Place, team: Team) -> None:
    one = machine()
    Machine.objects.exclude(pk=one.pk).update(tags={})
    Machine.objects.filter(pk=one.pk).update(name="web-1", tags={"env": "prod"})
    deny = {"effect": "deny", "verbs": ["machine.stop"], "what": {"tags": {"env": "prod"}}}
    Team.objects.filter(pk=team.pk).update(statements=[{"effect": "allow", "verbs": ["*"], "what": {}}, deny])
    ana = User.objects.get(email="new@here.example")
    status, text = ask(place.admin, place, user=ana.pk.hex, verb="machine.stop", thing="web-1")
    assert status == 200
    assert "new@here.example may not stop web-1" in text
    assert "Statement 2 of Web" in text
    assert "May never stop machines env=prod" in text
    _status, text = ask(place.admin, place, user=ana.pk.hex, verb="machine.start", thing="web-1")
    assert "new@here.example may start web-1" in text
    assert "Statement 1 of Web" in text
    _status, text = ask(place.admin, place, user=ana.pk.hex, verb="machine.create")
    assert "may create machine somewhere" in text


def test_the_tester_says_what_needs_approval_why_and_who_could_give_it(place: Place, team: Team) -> None:
    one = machine()
    Machine.objects.exclude(pk=one.pk).update(tags={})
    Machine.objects.filter(pk=one.pk).update(name="web-1", tags={"env": "prod"})
    asks = {"effect": "ask", "verbs": ["machine.stop"], "what": {"tags": {"env": "prod"}}}
    Team.objects.filter(pk=team.pk).update(statements=[{"effect": "allow", "verbs": ["machine.*"], "what": {}}, asks])
    ana = User.objects.get(email="new@here.example")
    _status, text = ask(place.admin, place, user=ana.pk.hex, verb="machine.stop", thing="web-1")
    assert "Yes, with approval" in text
    assert "new@here.example may stop web-1. Statement 1 of team Web allows it." in text
    assert "Somebody else has to approve it first. Must ask to stop machines env=prod Statement 2 of Web" in text
    assert re.search(r"Who could approve it .*owner@here.example", text)
    assert "new@here.example Statement 1 of team Web allows it with approval" in text
    assert "owner@here.example Owners may do everything with approval" not in text, "no statement binds Owners"
    _status, text = ask(place.admin, place, user=ana.pk.hex, verb="machine.start", thing="web-1")
    assert "Yes" in text
    assert "approv" not in text
    _status, text = ask(place.admin, place, user=ana.pk.hex, verb="machine.stop")
    assert "may stop machine somewhere" in text
    assert "In some places or all, somebody else has to approve it first." in text
    _status, text = ask(place.nobody, place, verb="machine.stop", thing="web-1")
    assert "Yes, with approval" in text
    assert "Who could approve it" not in text, "who may not look at others is told of nobody"


def test_who_holds_job_approve_there_could_approve_it_but_not_for_themselves(place: Place, team: Team) -> None:
    one = machine()
    Machine.objects.exclude(pk=one.pk).update(tags={})
    Machine.objects.filter(pk=one.pk).update(name="web-1", tags={"env": "prod"})
    ana, ben = User.objects.get(email="new@here.example"), add_user(place.org, "ben@here.example")
    may = {"effect": "allow", "verbs": ["machine.*", "job.approve"], "what": {"tags": {"env": "prod"}}}
    Team.objects.filter(pk=team.pk).update(statements=[may, {"effect": "ask", "verbs": ["machine.stop"], "what": {}}])

    def approvers() -> list[str]:
        body = place.admin.get(f"{place.base}/teams/test", {"user": ana.pk.hex, "verb": "machine.stop", "thing": "web-1"}).content.decode()
        said = re.search(r"<h3>Who could approve it</h3>(.*?)</ul>", body, re.DOTALL)
        assert said
        return re.findall(r"[\w-]+@here\.example", re.sub(r"<svg.*?</svg>|title=\S+", "", said[1]))

    assert set(approvers()) == {place.owner.email}
    team.members.add(ben)
    assert set(approvers()) == {place.owner.email, ben.email}
    Machine.objects.filter(pk=one.pk).update(tags={})
    Team.objects.filter(pk=team.pk).update(statements=[{**may, "what": {}}, {"effect": "ask", "verbs": ["machine.stop"], "what": {}}])
    assert set(approvers()) == {place.owner.email, ben.email}


def test_the_tester_says_that_a_lock_is_why(place: Place, team: Team) -> None:
    one = machine()
    Machine.objects.filter(pk=one.pk).update(name="web-1", locked_at=timezone.now(), lock_note="<script>alert(1)</script>.")
    Team.objects.filter(pk=team.pk).update(
        statements=[{"effect": "allow", "verbs": ["*"], "what": {}}, {"effect": "ask", "verbs": ["machine.tag"], "what": {}}]
    )
    ana = User.objects.get(email="new@here.example")
    for who in (ana, place.owner):
        asked = {"user": who.pk.hex, "verb": "machine.stop", "thing": "web-1"}
        body = place.admin.get(f"{place.base}/teams/test", asked).content.decode()
        assert "Somebody else has to approve it first.</b> web-1 is locked: &lt;script&gt;alert(1)&lt;/script&gt;.</div>" in body
        assert "<script>alert" not in body
        assert "Must ask to" not in body
    body = ask(place.admin, place, user=ana.pk.hex, verb="machine.tag", thing="web-1")[1]
    assert "Must ask to tag machines" in body
    assert "is locked" not in body, "tags may change all the same"
    team.members.clear()
    assert "Nobody else yet." in ask(place.admin, place, user=place.owner.pk.hex, verb="machine.stop", thing="web-1")[1]


def test_the_tester_speaks_german(place: Place, team: Team) -> None:
    one = machine()
    Machine.objects.filter(pk=one.pk).update(name="web-1")
    Team.objects.filter(pk=team.pk).update(
        name="<script>alert(1)</script>",
        statements=[{"effect": "allow", "verbs": ["*"], "what": {}}, {"effect": "ask", "verbs": ["machine.stop"], "what": {}}],
    )
    asked = {"user": User.objects.get(email="new@here.example").pk.hex, "verb": "machine.stop", "thing": "web-1"}
    body = place.admin.get(f"{place.base}/teams/test", asked, headers={"Accept-Language": "de"}).content.decode()
    translation.deactivate()
    assert "Ja, mit Genehmigung" in body
    assert "Aussage 1 von Team &lt;script&gt;alert(1)&lt;/script&gt; erlaubt es" in body
    assert "<b>Muss fragen</b> stop machines" in body
    assert "Eigentümer dürfen alles" in body
    assert "<script>alert" not in body


def test_the_tester_says_what_is_wrong_beside_the_field(place: Place, team: Team) -> None:
    ana = User.objects.get(email="new@here.example").pk.hex
    assert "Did you mean machine.stop?" in ask(place.admin, place, user=ana, verb="machine.stpo", thing="x")[1]
    assert "Say which verb" in ask(place.admin, place, user=ana, thing="x")[1]
    assert "You see no machine of that name" in ask(place.admin, place, user=ana, verb="machine.stop", thing="nowhere")[1]
    assert "Not a member" in ask(place.admin, place, user="0" * 32, verb="machine.stop", thing="x")[1]
    status, _text = ask(place.admin, place, user="not-an-id", verb="machine.stop", thing="x")
    assert status == 422


def test_of_others_only_who_may_see_teams_may_ask(place: Place, team: Team) -> None:
    Team.objects.filter(pk=team.pk).update(statements=[{"effect": "allow", "verbs": ["machine.*"], "what": {}}])
    one = machine()
    Machine.objects.filter(pk=one.pk).update(name="web-1")
    status, text = ask(place.nobody, place, user=place.owner.pk.hex, verb="machine.stop", thing="web-1")
    assert status == 403
    status, text = ask(place.nobody, place, verb="machine.stop", thing="web-1")
    assert status == 200
    assert "new@here.example may stop web-1" in text
    assert "Who may do this here" not in text


def test_members_show_their_roles(place: Place, team: Team) -> None:
    body = place.admin.get(f"{place.base}/teams").content.decode()
    assert '<span class="pill flat acc">Owner</span>' in body
    assert f'<a class="link" href="/o/here/teams/{team.pk.hex}-web">Web</a>' in body


class TestInABrowser:
    pytestmark = IN_A_BROWSER

    def test_a_policy_is_written_with_completion_shown_and_saved(self, fleet: User, person: Callable[..., Person]) -> None:
        org = fleet.orgs.get()
        Machine.objects.all().update(tags={})
        one = machine()
        Machine.objects.filter(pk=one.pk).update(name="dev-1", tags={"env": "dev"})
        team = Team.objects.create(org=org, name="Web")
        team.members.add(User.objects.get(email="second@here.example"))
        page = person(fleet).page
        page.goto(f"/o/here/teams/{team.pk.hex}")
        page.get_by_role("link", name="Edit policy").click()
        page.get_by_label("Do").press_sequentially("machine.st")
        page.get_by_role("option", name="machine.stop").first.click()
        page.get_by_label("Where").press_sequentially("tag:en")
        page.get_by_role("option", name="env=dev").click()
        page.get_by_role("button", name="Show what it changes").click()
        expect(page.locator("#preview")).to_contain_text("machine.stop: 1")
        page.get_by_role("button", name="Save policy").click()
        expect(page.locator(".toast")).to_contain_text("Policy of Web saved")
        expect(page.locator(".stms")).to_contain_text("May stop machines env=dev")
        team.refresh_from_db()
        assert team.statements == [{"effect": "allow", "verbs": ["machine.stop"], "what": {"tags": {"env": "dev"}}}]

    def test_a_statement_that_asks_is_written_shown_saved_and_found_by_the_tester(self, fleet: User, person: Callable[..., Person]) -> None:
        org = fleet.orgs.get()
        Machine.objects.all().update(tags={})
        target = machine()
        Machine.objects.filter(pk=target.pk).update(name="db-1", tags={"env": "prod"})
        team = Team.objects.create(org=org, name="Web", statements=[{"effect": "allow", "verbs": ["machine.*"], "what": {}}])
        team.members.add(User.objects.get(email="second@here.example"))
        one = person(fleet)
        page = one.page
        page.goto(f"/o/here/teams/{team.pk.hex}/policy")
        page.get_by_role("button", name="Add a statement").click()
        page.get_by_label("Its members").nth(1).select_option("Must ask to")
        page.get_by_label("Do").nth(1).press_sequentially("machine.she")
        page.get_by_role("option", name="machine.shell").click()
        page.get_by_label("Where").nth(1).press_sequentially("tag:en")
        page.get_by_role("option", name="env=prod").click()
        page.get_by_role("button", name="Show what it changes").click()
        beside = page.locator(".stm-row", has=page.locator("[aria-invalid]")).locator(".err")
        expect(beside).to_contain_text("Machine.shell cannot wait for approval")
        one.complaints.clear()  # the browser's word on a page that comes as 422
        expect(page.get_by_label("Its members").nth(1)).to_have_value("ask")
        page.get_by_label("Do").nth(1).fill("machine.destroy")
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Show what it changes").click()
        preview = page.locator("#preview")
        expect(preview).to_contain_text("Must ask to destroy machines env=prod")
        expect(preview.locator(".c-warn")).to_contain_text("Must ask for machine.destroy: 1 (db-1)")
        self.is_readable(page)
        page.get_by_role("button", name="Save policy").click()
        expect(page.locator(".toast")).to_contain_text("Policy of Web saved")
        expect(page.locator(".stms .mark.warn")).to_be_visible()
        team.refresh_from_db()
        assert team.statements[1] == {"effect": "ask", "verbs": ["machine.destroy"], "what": {"tags": {"env": "prod"}}}
        page.get_by_role("link", name="Ask", exact=True).click()
        page.get_by_label("Person").select_option("second@here.example")
        page.get_by_role("combobox", name="Verb").fill("machine.destroy")
        page.get_by_label(re.compile("^On")).fill("db-1")
        page.get_by_role("button", name="Ask", exact=True).click()
        expect(page.get_by_role("heading", name="Yes, with approval")).to_be_visible()
        expect(page.locator("#needs")).to_contain_text("Must ask to destroy machines env=prod")
        expect(page.locator("#needs")).to_contain_text(fleet.email)
        expect(page.locator(".mini li", has_text="with approval")).to_contain_text("second@here.example")
        self.is_readable(page)

    def is_readable(self, page: Page) -> None:
        """In both themes axe finds nothing, and on a telephone nothing is wider than the screen."""
        assert not in_both_themes(page)
        page.set_viewport_size({"width": 390, "height": 844})
        assert page.evaluate("Math.max(document.documentElement.scrollWidth, document.querySelector('main').scrollWidth)") <= 390
        assert not violations(page, load=False)
        page.set_viewport_size({"width": 1440, "height": 900})
