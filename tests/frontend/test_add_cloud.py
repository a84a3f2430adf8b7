"""Adding a cloud: the gallery, and what is typed is tried without being kept."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from accounts.models import User
from clouds import actions as cloud_actions
from clouds.models import Cloud
from clouds.providers import all_providers
from clouds.providers.facts import PermissionCheck
from core.errors import AuthFailed
from core.models import Event, Job
from frontend.views.clouds import merged
from tests.frontend.browsing import IN_A_BROWSER, Person
from tests.frontend.conftest import Place

CHECKED = {"name": "second", "c-machines": "3", "_check": "1"}


def check(client: object, url: str, asked: dict[str, str]) -> str:
    answer = client.post(url, asked, HTTP_HX_REQUEST="true")  # type: ignore[attr-defined]
    assert answer.status_code == 200, answer.content
    assert answer["Cache-Control"] == "no-store"
    return str(answer.content.decode())


def test_a_check_says_each_permission_and_keeps_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [
        PermissionCheck(name="x:See", purpose="See machines", ok=True),
        PermissionCheck(name="x:Make", purpose="create machines", ok=False, fix='{"Effect": "Allow", "Action": "x:Make"}'),
        PermissionCheck(name="x:Bill", purpose="read bills", ok=None),
    ]
    monkeypatch.setattr(all_providers()["demo"], "permissions", lambda self: found)
    clouds, jobs, events = Cloud.objects.count(), Job.objects.count(), Event.objects.count()
    body = check(place.admin, f"{place.base}/clouds/new/demo", CHECKED)
    for text in ("Credentials accepted", "See machines", "not allowed", "could not be tested", "x:Make"):
        assert text in body, text
    assert (Cloud.objects.count(), Job.objects.count(), Event.objects.count()) == (clouds, jobs, events)


def test_without_a_script_the_page_comes_with_its_check(place: Place) -> None:
    body = place.admin.post(f"{place.base}/clouds/new/demo", CHECKED).content.decode()
    assert "Credentials accepted" in body and 'value="second"' in body


def test_a_check_that_fails_says_why_and_no_secret(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: object) -> None:
        raise AuthFailed("The key is not known.", words="InvalidClientTokenId")

    monkeypatch.setattr(all_providers()["demo"], "check", refuse)
    body = check(place.admin, f"{place.base}/clouds/new/demo", CHECKED)
    assert "The key is not known." in body and "InvalidClientTokenId" in body and "accepted" not in body
    wrong = check(place.admin, f"{place.base}/clouds/new/amazon", {"_check": "1", "c-apisecret": "very-secret-text"})
    assert "It does not work yet" in wrong and "very-secret-text" not in wrong


def test_hosts_of_our_own_network_are_not_dialled(place: Place) -> None:
    asked = {"_check": "1", "name": "x", "c-host": "tcp://169.254.169.254", "c-port": "80"}
    body = check(place.admin, f"{place.base}/clouds/new/docker", asked)
    assert "It does not work yet" in body


def test_who_may_not_add_clouds_may_not_have_them_dialled(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(all_providers()["demo"], "check", lambda self: pytest.fail("it was dialled"))
    body = check(place.nobody, f"{place.base}/clouds/new/demo", CHECKED)
    assert "You may not add clouds." in body
    assert place.stranger.post(f"{place.base}/clouds/new/demo", CHECKED).status_code == 404


def test_checks_are_throttled(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cloud_actions, "TRIES_A_MINUTE", 0)
    assert "More than 0 checks" in check(place.admin, f"{place.base}/clouds/new/demo", CHECKED)


def test_what_is_to_be_added_is_one_text() -> None:
    made = merged(['{"Effect": "Allow", "Action": ["a"], "Resource": "*"}', '{"Effect": "Allow", "Action": "b", "Resource": "*"}'])
    assert json.loads(made) == {"Effect": "Allow", "Action": ["a", "b"], "Resource": "*"}
    assert merged(["apt install x", "apt install x", "chmod y"]) == "apt install x\nchmod y"
    assert merged([]) == ""


def test_a_provider_is_found_by_its_name(place: Place) -> None:
    groups = place.admin.get(f"{place.base}/clouds/new?find=AMAZ").context["groups"]
    assert [one["name"] for group in groups for one in group["providers"]] == ["amazon"]
    assert "No provider is called" in place.admin.get(f"{place.base}/clouds/new?find=%3Cnone").content.decode()


class TestInABrowser:
    pytestmark = IN_A_BROWSER

    def test_what_is_typed_is_tried_and_a_provider_found(self, owner: User, person: Callable[..., Person]) -> None:
        page = person(owner).page
        page.goto("/o/here/clouds/new")
        page.get_by_label("Find a provider").fill("demo")
        expect(page.locator(".gallery a:visible")).to_have_count(1)
        page.locator(".gallery a:visible").click()
        panel = page.locator("#cloud-check")
        expect(panel).to_contain_text("tried as soon as it is complete")
        page.get_by_label("Machines").fill("4")
        expect(panel).to_contain_text("Credentials accepted")
        expect(panel).to_contain_text("See and change every demo machine")
        assert not Cloud.objects.exists()
        page.get_by_role("button", name="Check again").click()
        expect(panel).to_contain_text("Credentials accepted")
        page.get_by_role("button", name="Add cloud").click()
        page.wait_for_url("**/o/here/clouds/*")
        assert Cloud.objects.count() == 1
