"""One's own settings and the organization's: language, time zone, name in addresses, security."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime

from playwright.sync_api import expect

from accounts.models import Organization, Token, User
from core.models import Event, Job
from machines.models import Machine
from tests.frontend.browsing import IN_A_BROWSER, Person
from tests.frontend.conftest import Place, machine

PROFILE = {"first_name": "Ana", "last_name": "", "theme": "dark", "density": "default", "language": "", "time_zone": ""}


def shown_end(place: Place) -> str:
    Token.objects.update_or_create(
        org=place.org,
        owner=place.owner,
        name="t",
        defaults={"digest": "0" * 64, "hint": "mist_", "expires_at": datetime(2031, 7, 1, 22, 30, tzinfo=UTC)},
    )
    found = re.search(r"<time [^>]*data-at>([^<]+)</time>", place.admin.get(f"{place.base}/settings/tokens").content.decode())
    assert found
    return found[1]


def test_times_are_in_the_zone_one_chose_else_the_organizations_else_utc(place: Place) -> None:
    assert shown_end(place) == "1 Jul 2031 22:30 UTC"
    Organization.objects.filter(pk=place.org.pk).update(time_zone="America/New_York")
    assert shown_end(place) == "1 Jul 2031 18:30 EDT"
    assert place.admin.post(f"{place.base}/settings/profile", {**PROFILE, "time_zone": "Europe/Athens"}).status_code == 302
    assert shown_end(place) == "2 Jul 2031 01:30 EEST"
    assert 'data-zone="Europe/Athens"' in place.admin.get(f"{place.base}/").content.decode()


def test_a_zone_that_is_none_is_said_beside_its_field(place: Place) -> None:
    response = place.admin.post(f"{place.base}/settings/profile", {**PROFILE, "time_zone": "Mars/Olympus"})
    assert response.status_code == 422
    assert "There is no such time zone" in response.content.decode()
    assert 'value="Mars/Olympus"' in response.content.decode()


def test_the_organizations_name_in_addresses_changes_with_its_consequence_told(place: Place) -> None:
    page = place.admin.get(f"{place.base}/settings/organization").content.decode()
    assert "Old links lead on" in page
    data = {"name": "Here", "slug": "there", "description": "", "currency": "EUR", "time_zone": "", "language": ""}
    assert place.admin.post(f"{place.base}/settings/organization", data)["Location"] == "/o/there/settings/organization"
    assert place.admin.get("/o/there/settings/organization").status_code == 200
    wrong = place.admin.post("/o/there/settings/organization", {**data, "slug": "No Way"})
    assert wrong.status_code == 422
    assert 'id="f-slug-error"' in wrong.content.decode()


def test_security_is_the_owners_and_locks_nobody_out(place: Place) -> None:
    url = f"{place.base}/settings/security"
    page = place.admin.get(url).content.decode()
    assert "You are at 127.0.0.1" in page
    assert "new@here.example" in page, "who has no second step is named"
    refused = place.admin.post(url, {"allowed_addresses": "192.0.2.0/24"})
    assert refused.status_code == 422
    assert "this would lock you out" in refused.content.decode()
    assert "192.0.2.0/24" in refused.content.decode()
    refused = place.admin.post(url, {"require_second_step": "on"})
    assert "Set up a second step of your own first" in refused.content.decode()
    assert place.admin.post(url, {"allowed_addresses": "127.0.0.0/8\n10.0.0.0/8", "session_hours": "12"}).status_code == 302
    place.org.refresh_from_db()
    assert (place.org.allowed_addresses, place.org.session_hours) == (["127.0.0.0/8", "10.0.0.0/8"], 12)
    assert place.nobody.get(url).status_code == 404
    assert place.nobody.post(url, {"session_hours": "1"}).status_code == 403


def test_a_token_is_made_of_what_one_just_did(place: Place) -> None:
    one = machine(state="running")
    Machine.objects.exclude(pk=one.pk).update(tags={})
    Machine.objects.filter(pk=one.pk).update(name="web-1", tags={"env": "prod"})
    place.admin.post(f"{place.base}/machines/{one.pk.hex}/do/stop")
    job = Job.objects.get(action="machine.stop")
    assert f"settings/tokens?job={job.pk.hex}" in place.admin.get(f"{place.base}/jobs/{job.pk.hex}").content.decode()
    url = f"{place.base}/settings/tokens?job={job.pk.hex}"
    page = place.admin.get(url).content.decode()
    assert "Stop: web-1 alone" in page
    assert "Stop: all with env=prod" in page
    made = place.admin.post(url, {"name": "stopper", "days": "1", "scope": "one"})
    assert made.status_code == 200
    assert Token.objects.get(name="stopper").limits == [
        {"effect": "allow", "verbs": ["machine.stop", "machine.read"], "what": {"ids": [one.pk.hex]}}
    ]
    assert "stop, read machines" in made.content.decode()
    event = Event.objects.filter(type="machine.stop.requested").first()
    assert event is not None
    assert "Stop: web-1 alone" in place.admin.get(f"{place.base}/settings/tokens?event={event.pk.hex}").content.decode()
    assert "Stop: web-1 alone" not in place.nobody.get(url).content.decode(), "nobody learns a name from it"
    by_call = place.admin.get(f"{place.base}/settings/tokens?verb=machine.create").content.decode()
    assert "Create: all machines" in by_call
    plain = place.admin.post(url, {"name": "all of it", "days": "1", "scope": "all"})
    assert plain.status_code == 200
    assert Token.objects.get(name="all of it").limits == []


class TestInABrowser:
    pytestmark = IN_A_BROWSER

    def test_the_browsers_zone_holds_until_one_is_chosen(self, fleet: User, person: Callable[..., Person]) -> None:
        ends = datetime(2031, 7, 1, 22, 30, tzinfo=UTC)
        Token.objects.create(org=fleet.orgs.get(), owner=fleet, name="t", digest="0" * 64, hint="mist_", expires_at=ends)
        page = person(fleet, timezone_id="Asia/Tokyo").page
        page.goto("/o/here/settings/tokens")
        expect(page.locator("time[data-at]")).to_contain_text("07:30")
        page.goto("/o/here/settings/profile")
        page.get_by_label("Time zone").fill("Europe/Athens")
        page.get_by_role("button", name="Save").click()
        page.goto("/o/here/settings/tokens")
        expect(page.locator("time[data-at]")).to_contain_text("01:30")
