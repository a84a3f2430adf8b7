"""Every page, for every kind of person, as plain HTTP."""

from __future__ import annotations

import html
import re
from datetime import timedelta

import pytest
from django.db.models import F
from django.test import Client
from django.utils import timezone

from accounts.models import Organization, Team, User
from clouds.models import Image, Location, Size
from core.actions import perform
from core.models import Event, Job
from frontend import frame, listing
from machines.models import Machine
from tests.frontend.conftest import PASSWORD, Place, machine, run_jobs
from tests.frontend.test_log import told
from tests.streamed import content_of

PAGES = [
    "",
    "machines",
    "machines?q=state:running",
    "machines?sort=-name",
    "clouds",
    "clouds/new",
    "clouds/new/demo",
    "jobs",
    "log",
    "machines/new",
]
PERSONAL = ["teams", "settings/profile", "settings/password", "settings/sessions", "settings/tokens"]


def pages(place: Place) -> list[str]:
    one = machine().pk.hex
    job = Job.objects.first()
    assert job is not None
    more = [f"machines/{one}", f"machines/{one}-any-name", f"machines/{one}/log", f"machines/{one}/keys", f"machines/{one}/menu"]
    return [f"{place.base}/{path}" for path in [*PAGES, *PERSONAL, *more, f"clouds/{place.cloud.pk.hex}", f"jobs/{job.pk.hex}"]]


def test_an_owner_may_open_every_page(place: Place) -> None:
    for path in pages(place):
        assert place.admin.get(path).status_code == 200, path


def test_every_page_sends_who_is_not_signed_in_to_sign_in_and_back(place: Place) -> None:
    for path in pages(place):
        response = place.anonymous.get(path)
        assert response.status_code == 302, path
        assert response["Location"].startswith("/sign-in?next=/o/here/"), path


def test_every_page_is_not_there_for_another_organizations_people(place: Place) -> None:
    for path in pages(place):
        assert place.stranger.get(path).status_code == 404, path


def test_a_member_without_rights_sees_nothing_of_the_fleet_and_whom_to_ask(place: Place) -> None:
    secret = machine()
    for path in ("/", "/machines", "/clouds", "/jobs"):
        response = place.nobody.get(place.base + path)
        assert response.status_code == 200, path
        assert secret.name not in response.content.decode()
    assert "owner@here.example" in place.nobody.get(f"{place.base}/machines").content.decode()
    assert place.nobody.get(f"{place.base}/machines/{secret.pk.hex}").status_code == 404
    assert place.nobody.get(f"{place.base}/clouds/{place.cloud.pk.hex}").status_code == 404


def test_the_menus_count_of_a_large_fleet_may_be_seconds_old_but_is_of_ones_rights(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frame, "MANY", 2)

    def counted(client: Client) -> int:
        (line,) = re.findall(r'href="/o/here/machines"[^>]*data-go(.*?)</a>', client.get("/o/here/clouds").content.decode(), re.DOTALL)
        found = re.search(r">([0-9]+)</span>", line)
        return int(found[1]) if found else 0

    there = Machine.objects.filter(missing_since=None).count()
    assert counted(place.admin) == there > 2
    Machine.objects.filter(pk=machine().pk).update(missing_since=timezone.now())
    assert counted(place.admin) == there
    assert counted(place.nobody) == 0
    Organization.objects.update(policy_version=F("policy_version") + 1)  # rights may be others now
    assert counted(place.admin) == there - 1


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "\u202eevil", "x" * 255, "🦄"])
def test_a_name_is_text_wherever_it_appears(place: Place, name: str) -> None:
    one = machine()
    Machine.objects.filter(pk=one.pk).update(name=name, tags={name: name})
    for path in ("/machines", f"/machines/{one.pk.hex}", f"/machines/{one.pk.hex}/menu", f"/machines/{one.pk.hex}/do/destroy"):
        body = place.admin.get(place.base + path).content.decode()
        assert "<script>alert" not in body
        assert "<img src=x" not in body


def test_a_machine_is_stopped_from_its_page_and_the_note_is_on_the_next(place: Place) -> None:
    one = machine(state="running")
    response = place.admin.post(f"{place.base}/machines/{one.pk.hex}/do/stop", HTTP_REFERER=f"http://testserver{place.base}/machines")
    assert response.status_code == 302
    assert response["Location"] == f"{place.base}/machines"
    assert f"Stopping {one.name}" in place.admin.get(response["Location"]).content.decode()
    assert Event.objects.filter(type="machine.stop.requested", target_id=one.pk, via="console").exists()
    run_jobs()
    one.refresh_from_db()
    assert one.state in ("stopping", "stopped")


def test_an_act_that_is_refused_says_why_and_leaves_an_event(place: Place) -> None:
    one = machine(state="stopped")
    response = place.admin.post(f"{place.base}/machines/{one.pk.hex}/do/stop", HTTP_HX_REQUEST="true")
    assert response.status_code == 409
    assert "is stopped" in response.content.decode()
    assert Event.objects.filter(type="machine.stop.refused", target_id=one.pk).exists()


def test_a_destroy_asks_for_the_name_and_can_be_undone(place: Place) -> None:
    one = machine(state="running")
    url = f"{place.base}/machines/{one.pk.hex}/do/destroy"
    assert "Type <b" in place.admin.get(url).content.decode()
    assert place.admin.post(url, {"confirm": "something else"}).status_code == 422
    assert not Job.objects.filter(action="machine.destroy").exists()
    assert place.admin.post(url, {"confirm": one.name}).status_code == 302
    job = Job.objects.get(action="machine.destroy")
    assert job.state == "waiting"
    assert place.admin.post(f"{place.base}/jobs/{job.pk.hex}/undo").status_code == 302
    job.refresh_from_db()
    assert job.state == "undone"


def test_a_cloud_is_added_from_the_generated_form_and_errors_stand_beside_their_fields(place: Place) -> None:
    url = f"{place.base}/clouds/new/demo"
    response = place.admin.post(url, {"name": "", "c-machines": "many"})
    assert response.status_code == 422
    assert "A whole number" in response.content.decode() or "may not be blank" in response.content.decode()
    response = place.admin.post(url, {"name": "second", "c-machines": "3"})
    assert response.status_code == 302, response.content.decode()
    assert "/clouds/" in response["Location"]
    assert "second" in place.admin.get(response["Location"]).content.decode()


def test_another_organizations_machine_cannot_be_acted_on(place: Place) -> None:
    one = machine(state="running")
    elsewhere = "/o/elsewhere"
    assert place.stranger.post(f"{elsewhere}/machines/{one.pk.hex}/do/stop").status_code == 404
    assert place.stranger.post(f"{place.base}/machines/{one.pk.hex}/do/stop").status_code == 404
    assert not Job.objects.filter(action="machine.stop").exists()


def test_tags_are_edited_as_lines(place: Place) -> None:
    one = machine()
    perform(place.actor, one, "tag", {"tags": {"old": "1", "env": "dev"}})
    response = place.admin.post(f"{place.base}/machines/{one.pk.hex}/do/tag", {"tags": "env=prod\nteam"})
    assert response.status_code == 302
    one.refresh_from_db()
    assert one.tags == {"env": "prod", "team": ""}


def test_the_bulk_bar_says_on_how_many_each_verb_can_be_done(place: Place) -> None:
    running, stopped = machine(state="running"), machine(state="stopped")
    ids = f"{running.pk.hex},{stopped.pk.hex}"
    body = place.admin.post(f"{place.base}/machines/bulk", {"ids": ids}).content.decode()
    assert "2 selected" in body
    assert "1 of 2" in body
    ask = place.admin.post(f"{place.base}/machines/bulk/stop", {"ids": ids, "ask": "1"}, HTTP_HX_REQUEST="true").content.decode()
    assert "Stop 1 of 2 machines?" in ask
    assert "1 already stopped" in ask
    assert place.admin.post(f"{place.base}/machines/bulk/stop", {"ids": ids}).status_code == 302
    run_jobs()
    parent = Job.objects.get(parent=None, action="machine.stop")
    assert parent.total == 2
    assert parent.children.filter(state="succeeded").count() == 1


def test_a_bulk_of_ids_of_another_organization_does_nothing(place: Place) -> None:
    one = machine(state="running")
    assert place.stranger.post("/o/elsewhere/machines/bulk/stop", {"ids": one.pk.hex}).status_code in (404, 422)
    assert not Job.objects.filter(action="machine.stop").exists()


def test_every_page_of_ones_own_is_there_for_a_member_without_rights(place: Place) -> None:
    for path in PERSONAL:
        assert place.nobody.get(f"{place.base}/{path}").status_code == 200, path
    assert place.nobody.get(f"{place.base}/settings/organization").status_code == 404


def test_a_token_is_shown_once_and_opens_the_api(place: Place) -> None:
    body = place.admin.post(f"{place.base}/settings/tokens", {"name": "ci", "days": "30", "scope": "read"}).content.decode()
    found = re.search(r'id="token-secret">(mist_[A-Za-z0-9_-]+)<', body)
    assert found
    assert found[1] not in place.admin.get(f"{place.base}/settings/tokens").content.decode()
    answer = place.anonymous.get("/api/v2/machines", headers={"Authorization": f"Bearer {found[1]}"})
    assert answer.status_code == 200
    assert not any(found[1] in str(event.detail) for event in Event.objects.all())


def test_a_team_made_in_the_console_lets_its_members_do_what_its_policy_says(place: Place) -> None:
    place.admin.post(f"{place.base}/teams", {"t-name": "Operators"})
    team = Team.objects.get(name="Operators")
    member = User.objects.get(email="new@here.example")
    url = f"{place.base}/teams/{team.pk.hex}"
    place.admin.post(url, {"user": member.pk.hex})
    statement = {"s-0-effect": "allow", "s-0-verbs": "*.read machine.stop", "s-0-what": ""}
    seen = re.search(r'name="seen" value="(\w+)"', place.admin.post(f"{url}/policy", statement).content.decode())
    assert seen
    assert place.admin.post(f"{url}/policy", {**statement, "seen": seen[1], "save": "1"}).status_code == 302
    assert "read everything; stop machines" in place.admin.get(url).content.decode()
    one = machine(state="running")
    page = place.nobody.get(f"{place.base}/machines/{one.pk.hex}").content.decode()
    assert "Stop" in page
    assert "do/destroy" not in page
    assert place.nobody.post(f"{place.base}/machines/{one.pk.hex}/do/stop").status_code == 302
    assert Job.objects.filter(action="machine.stop", user=member).exists()
    refused = place.nobody.post(f"{place.base}/machines/{one.pk.hex}/do/tag", {"tags": "a=b"}, HTTP_HX_REQUEST="true")
    assert refused.status_code == 403


def test_the_first_run_changes_the_password_and_names_the_organization(place: Place) -> None:
    User.objects.filter(pk=place.owner.pk).update(must_change_password=True)
    assert place.admin.get(f"{place.base}/machines")["Location"] == "/first-run"
    assert "name the organization" in place.admin.get("/first-run").content.decode()
    User.objects.filter(email="new@here.example").update(must_change_password=True)
    assert "name the organization" not in place.nobody.get("/first-run").content.decode()  # who may not
    asked = {"old": PASSWORD, "password": "short", "organization": "Acme"}
    assert place.admin.post("/first-run", asked).status_code == 422
    assert place.admin.post("/first-run", {**asked, "password": "another horse battery"})["Location"] == "/"
    place.org.refresh_from_db()
    assert (place.org.name, place.org.slug) == ("Acme", "acme")
    assert place.admin.get("/o/acme/machines").status_code == 200
    assert place.admin.get("/o/here/machines")["Location"] == "/o/acme/machines"


def test_a_machine_is_planned_then_created_from_what_its_cloud_offers(place: Place) -> None:
    image, size, location = (model.objects.filter(cloud=place.cloud).first() for model in (Image, Size, Location))
    assert image and size and location
    asked = {"cloud": place.cloud.pk.hex, "name": "fresh-1", "image": image.pk.hex, "size": size.pk.hex, "location": location.pk.hex}
    url = f"{place.base}/machines/new"
    planned = place.admin.post(url, {**asked, "_plan": "1"})
    assert planned.status_code == 200
    assert size.name in planned.content.decode()
    assert not Machine.objects.filter(name="fresh-1").exists()
    assert place.admin.post(url, {**asked, "image": ""}).status_code == 422
    assert place.admin.post(url, {**asked, "tags": "env=dev"}).status_code == 302
    run_jobs()
    made = Machine.objects.get(name="fresh-1")
    assert made.external_id
    assert made.tags == {"env": "dev"}


@pytest.mark.parametrize("path", ["machines", "log", "machines?q=state:stopped"])
def test_the_exports_a_page_offers_are_there(place: Place, path: str) -> None:
    page = place.admin.get(f"{place.base}/{path}").content.decode()
    links = [html.unescape(link) for link in re.findall(r'<a class="it" href="([^"]+)" download', page)]
    assert links
    for link in links:
        assert place.admin.get(link).status_code == 200, link


def test_a_list_is_exported_as_its_query_says(place: Place) -> None:
    response = place.admin.get(f"{place.base}/machines.csv?q=state:stopped")
    lines = content_of(response).decode().splitlines()
    assert lines[0].startswith("id,name,state")
    assert len(lines) == 1 + Machine.objects.filter(state="stopped", missing_since=None).count()
    assert content_of(place.nobody.get(f"{place.base}/machines.csv")).count(b"\n") == 1


def test_previous_leads_back_through_the_pages(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "PAGE", 10)
    first = place.admin.get(f"{place.base}/machines").context["page"]
    second = place.admin.get(f"{place.base}/machines{first.next_url}").context["page"]
    third = place.admin.get(f"{place.base}/machines{second.next_url}").context["page"]
    again = place.admin.get(f"{place.base}/machines{third.previous_url}").context["page"]
    assert [row.pk for row in again.rows] == [row.pk for row in second.rows]
    assert (again.first, again.last) == (11, 20)
    start = place.admin.get(f"{place.base}/machines{again.previous_url}").context["page"]
    assert [row.pk for row in start.rows] == [row.pk for row in first.rows]


@pytest.mark.django_db(transaction=True)  # a file is made in threads of its own
def test_the_files_are_of_exactly_the_query_and_the_time(place: Place) -> None:
    told(place, "machine.stop.succeeded", timedelta(days=3), target_name="three-days-old")
    told(place, "machine.stop.succeeded", target_name="of-today")
    for form in ("csv", "jsonl"):
        text = content_of(place.admin.get(f"{place.base}/log.{form}?q=action:machine.stop")).decode()
        assert "of-today" in text
        assert "three-days-old" not in text
        assert "three-days-old" in content_of(place.admin.get(f"{place.base}/log.{form}?range=7d")).decode()
