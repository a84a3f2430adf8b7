"""Signing in: with a passkey, with a code, and again when the session ended while somebody typed. And pages of what went wrong."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value, yield_hotp_counters_from_time
from django.contrib.sessions.models import Session
from django.test import Client
from playwright.sync_api import Page, expect

from accounts.models import Team, User
from core.models import Event
from machines.models import Machine
from tests.frontend.browsing import AXE, IN_A_BROWSER, Person, sign_in_by_form, wait
from tests.frontend.conftest import PASSWORD, Place, machine, signed_in
from tests.frontend.recorded import violations


def test_a_form_sent_without_a_session_leads_back_to_its_page(place: Place) -> None:
    url = f"{place.base}/settings/profile"
    there = "/sign-in?next=/o/here/settings/profile%3Fresume%3D1"
    assert place.anonymous.post(url, HTTP_REFERER=f"http://testserver{url}")["Location"] == there
    answer = place.anonymous.post(
        f"{place.base}/machines/bulk", HTTP_HX_REQUEST="true", HTTP_HX_CURRENT_URL=f"http://testserver{place.base}/machines?q=a"
    )
    assert (answer.status_code, answer["HX-Redirect"]) == (401, "/sign-in?next=/o/here/machines%3Fq%3Da%26resume%3D1")
    outside = place.anonymous.post(url, HTTP_REFERER="https://evil.example/x")
    assert outside["Location"] == "/sign-in?next=/o/here/%3Fresume%3D1"


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [("/o/here/nothing", 404, "There is nothing at this address."), ("/nowhere", 404, "There is nothing at this address.")],
)
def test_what_went_wrong_is_said_in_our_words_with_the_request(place: Place, path: str, status: int, words: str) -> None:
    response = place.admin.get(path)
    body = response.content.decode()
    assert response.status_code == status
    assert words in body
    assert re.search(r"req_[0-9a-f]{32}", body)
    assert 'class="alone"' in body


def test_a_failure_of_ours_and_a_forged_form_have_pages_too(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("not for your eyes")

    monkeypatch.setattr("frontend.views.dashboard.DashboardView.get", broken)
    place.admin.raise_request_exception = False
    response = place.admin.get(f"{place.base}/")
    assert response.status_code == 500
    assert "not for your eyes" not in response.content.decode()
    assert re.search(r"req_[0-9a-f]{32}", response.content.decode())
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = place.admin.cookies
    forged = strict.post(f"{place.base}/settings/profile", {"first_name": "x"})
    assert forged.status_code == 403
    assert "The form was not sent." in forged.content.decode()
    part = strict.post(f"{place.base}/settings/profile", {"first_name": "x"}, headers={"HX-Request": "true"})
    assert part.status_code == 403
    assert 'hx-swap-oob="beforeend:#toasts"' in part.content.decode()
    assert "The form was not sent." in part.content.decode()


def code_of(secret: str) -> str:
    counters = list(yield_hotp_counters_from_time())
    return str(format_hotp_value(hotp_value(secret, counters[len(counters) // 2])))


@pytest.mark.parametrize("path", ["", "totp/activate/", "webauthn/add/", "webauthn/"])
def test_the_pages_of_the_second_step_are_ours(place: Place, path: str) -> None:
    url = f"/account/2fa/{path}"
    if place.admin.get(url).status_code == 302:
        place.admin.post(f"/account/reauthenticate/?next={url}", {"password": PASSWORD})
    response = place.admin.get(url)
    assert response.status_code == 200
    body = response.content.decode()
    assert 'class="entry"' in body
    assert "Back to the console" in body
    assert "Please" not in body


def confirm(page: Page) -> None:
    """What changes how one signs in asks for the password once more."""
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Continue").click()


class TestInABrowser:
    pytestmark = IN_A_BROWSER

    @pytest.fixture
    def passkeys(self, owner: User, server: str, person: Callable[..., Person]) -> Page:
        """A browser with a passkey in it, on localhost: an address that is no name can have none."""
        one = person()
        page = one.page
        session = one.context.new_cdp_session(page)
        session.send("WebAuthn.enable")
        options = {
            "protocol": "ctap2",
            "transport": "internal",
            "hasResidentKey": True,
            "hasUserVerification": True,
            "isUserVerified": True,
            "automaticPresenceSimulation": True,
        }
        session.send("WebAuthn.addVirtualAuthenticator", {"options": options})
        return page

    def test_a_password_is_shown_while_one_wants_to_see_it(self, owner: User, person: Callable[..., Person]) -> None:
        page = person().page
        page.goto("/sign-in")
        field, eye = page.get_by_label("Password"), page.get_by_role("button", name="Show what is typed")
        field.fill("not the right one")
        expect(field).to_have_attribute("type", "password")
        eye.click()
        expect(field).to_have_attribute("type", "text")
        expect(eye).to_have_attribute("aria-pressed", "true")
        expect(field).to_be_focused()
        if AXE.exists():
            assert not violations(page)
        eye.click()
        expect(field).to_have_attribute("type", "password")
        eye.click()
        page.get_by_label("E-mail").fill(owner.email)
        field.evaluate("({ form }) => { form.addEventListener('submit', (event) => event.preventDefault()); form.requestSubmit(); }")
        expect(field).to_have_attribute("type", "password")  # so that no browser keeps it as text

    def test_a_passkey_is_added_and_signs_in_by_itself(self, owner: User, server: str, passkeys: Page) -> None:
        page, home = passkeys, server.replace("127.0.0.1", "localhost")
        page.goto(f"{home}/sign-in")
        sign_in_by_form(page, owner)
        page.wait_for_url("**/o/here/")
        page.goto(f"{home}/account/2fa/webauthn/add/")
        confirm(page)
        page.get_by_label("Name").fill("this laptop")
        page.get_by_role("button", name="Add passkey").click()
        page.wait_for_url(re.compile("/account/2fa/(webauthn/|recovery-codes/.*)?$"))
        assert Authenticator.objects.filter(user=owner, type="webauthn").count() == 1
        assert Event.objects.filter(type="passkey.create.succeeded", target_id=owner.pk).count() == 1
        page.context.clear_cookies()
        page.goto(f"{home}/sign-in?next=/o/here/clouds")
        page.get_by_role("button", name="Use a passkey").click()
        page.wait_for_url("**/o/here/clouds")
        expect(page.get_by_role("heading", name="Clouds", exact=True)).to_be_visible()

    def test_an_app_is_set_up_and_its_code_asked_for(self, owner: User, person: Callable[..., Person]) -> None:
        page = person(owner).page
        page.goto("/account/2fa/totp/activate/")
        confirm(page)
        code = code_of(page.locator("#authenticator_secret").inner_text())
        page.get_by_label("Authenticator code").fill(code)
        page.get_by_role("button", name="Turn on").click()
        page.wait_for_url(re.compile("/account/2fa/(recovery-codes/.*)?$"))
        page.goto("/account/2fa/")
        expect(page.get_by_role("heading", name="Recovery codes")).to_be_visible()
        Authenticator.objects.filter(user=owner).update(last_used_at=None)
        page.context.clear_cookies()
        page.goto("/sign-in?next=/o/here/jobs")
        sign_in_by_form(page, owner)
        expect(page.get_by_role("heading", name="Second step")).to_be_visible()
        page.get_by_label("Code").fill("000000")
        page.get_by_role("button", name="Sign in").click()
        expect(page.locator(".err, .note.crit").first).to_be_visible()
        if AXE.exists():
            assert not violations(page)

    def test_what_was_typed_survives_the_end_of_the_session(self, owner: User, person: Callable[..., Person]) -> None:
        page = person(owner).page
        page.goto("/o/here/settings/profile")
        page.get_by_label("First name").fill("Anastasia")
        page.get_by_label("Theme").select_option("dark")
        Session.objects.all().delete()
        page.get_by_role("button", name="Save").click()
        sign_in_by_form(page, owner)
        page.wait_for_url("**/settings/profile")
        expect(page.locator("#resumed")).to_be_visible()
        expect(page.get_by_label("First name")).to_have_value("Anastasia")
        expect(page.get_by_label("Theme")).to_have_value("dark")
        owner.refresh_from_db()
        assert owner.first_name == ""
        page.get_by_role("button", name="Save").click()
        expect(page.locator(".toast")).to_contain_text("Profile saved")
        owner.refresh_from_db()
        assert owner.first_name == "Anastasia"

    def test_what_was_ticked_survives_it_too(self, owner: User, person: Callable[..., Person]) -> None:
        page = person(owner).page
        page.goto("/o/here/settings/keyboard")
        page.get_by_label("Single keys do things").uncheck()
        Session.objects.all().delete()
        page.locator("main form").get_by_role("button", name="Save").click()
        sign_in_by_form(page, owner)
        page.wait_for_url("**/settings/keyboard")
        expect(page.get_by_label("Single keys do things")).not_to_be_checked()

    @pytest.mark.parametrize("many", [False, True])
    def test_what_was_typed_in_a_dialog_is_in_it_again(self, fleet: User, person: Callable[..., Person], many: bool) -> None:
        one, target = person(fleet), machine(state="running")
        page = one.page
        if many:
            page.goto(f"/o/here/machines?q=id:{target.pk.hex}")
            page.get_by_role("checkbox", name=f"Select {target.name}").check()
            page.locator("#bulk").get_by_role("button", name="Tag").click()
        else:
            page.goto(f"/o/here/machines/{target.pk.hex}")
            page.get_by_role("button", name="Add a tag").click()
            page.get_by_role("link", name="Edit all tags").click()
        dialog = page.locator("#dialog")
        dialog.locator("textarea[name=tags]").fill("tier=gold\nenv=prod")
        Session.objects.all().delete()
        dialog.locator("button[type=submit]").click()
        sign_in_by_form(page, fleet)
        page.wait_for_url("**/machines?q=*" if many else f"**/{target.pk.hex}")
        expect(dialog.locator("textarea[name=tags]")).to_have_value("tier=gold\nenv=prod")
        expect(page.locator("#resumed")).to_be_visible()
        target.refresh_from_db()
        assert "tier" not in target.tags
        dialog.locator("button[type=submit]").click()
        expect(dialog).not_to_be_visible()
        wait(lambda: Machine.objects.get(pk=target.pk).tags.get("tier") == "gold", 30)
        one.complaints.clear()  # a browser says so of an answer of 401

    def test_the_end_of_a_session_is_said_over_the_page_and_rows_come_back(self, owner: User, person: Callable[..., Person]) -> None:
        one = person()
        page, org = one.page, owner.orgs.get()
        page.goto("/sign-in")
        sign_in_by_form(page, owner)
        page.wait_for_url("**/o/here/")
        team = Team.objects.create(org=org, name="Ops", statements=[{"effect": "allow", "verbs": ["*.read"], "what": {}}] * 2)
        page.goto(f"/o/here/teams/{team.pk.hex}/policy")
        one.be_live()
        page.get_by_role("button", name="Remove this statement").first.click()
        for number, verbs in enumerate(["machine.start", "machine.stop"]):
            page.get_by_role("button", name="Add a statement").click()
            page.get_by_label("Do", exact=True).last.fill(verbs)
            page.get_by_label("Its members").last.select_option(["allow", "deny"][number])
        typed = [(field.get_attribute("name"), field.input_value()) for field in page.locator(".list-row input, .list-row select").all()]
        other = signed_in(owner)
        for row in other.get("/api/v2/auth/sessions").json()["data"]:
            if not row["is_current"]:
                other.delete(f"/api/v2/auth/sessions/{row['id']}")
        dialog = page.get_by_role("dialog", name="Your session has ended")
        expect(dialog).to_be_visible()
        expect(page.locator("mist-live")).to_have_attribute("data-state", "ended")
        if AXE.exists():
            assert not violations(page)
        dialog.get_by_role("link", name="Sign in").click()
        sign_in_by_form(page, owner)
        page.wait_for_url("**/policy")
        expect(page.locator("#resumed")).to_be_visible()
        found = [(field.get_attribute("name"), field.input_value()) for field in page.locator(".list-row input, .list-row select").all()]
        assert sorted(found) == sorted(typed)
        assert [value for name, value in typed if name.endswith("-verbs")] == ["*.read", "machine.start", "machine.stop"]
        page.get_by_role("button", name="Show what it changes").click()
        expect(page.locator("main")).to_contain_text("machine.stop")
        one.complaints[:] = [text for text in one.complaints if "401" not in text]  # its draft could not be kept any more

    def test_a_password_changed_elsewhere_in_the_same_browser_ends_no_page(self, owner: User, person: Callable[..., Person]) -> None:
        """The session's key is another then, and the page's socket comes back by itself."""
        one = person(owner)
        one.page.goto("/o/here/machines")
        one.be_live()
        settings = one.context.new_page()
        settings.goto("/o/here/settings/password")
        settings.get_by_label("Password now").fill(PASSWORD)
        settings.get_by_label("New password", exact=True).fill("another horse battery")
        settings.locator("main button.pri").click()
        expect(settings.locator(".toast")).to_contain_text("Password changed")
        settings.close()
        expect(one.page.locator("mist-live")).to_have_attribute("data-again", re.compile("[0-9]+"), timeout=20_000)
        one.be_live()
        expect(one.page.locator("#ended")).not_to_be_visible()
