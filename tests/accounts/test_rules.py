"""What an organization asks of its members holds on pages, in the API and for tokens; nobody locks themselves out; old names lead on."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.test import Client
from django.utils import timezone

from accounts import people
from accounts.credentials import digest_of, new_secret
from accounts.models import Organization, Token, User
from core.actions import perform
from core.actor import Actor
from core.errors import Denied, Invalid
from tests.accounts.conftest import PASSWORD, actor_for, make_member

pytestmark = pytest.mark.django_db


def signed_in(user: User) -> Client:
    client = Client()
    assert client.post("/sign-in", {"login": user.email, "password": PASSWORD}).status_code == 302
    return client


def at(org: Organization, user: User, address: str = "10.1.2.3") -> Actor:
    return Actor(org_id=org.pk, user_id=user.pk, email=user.email, address=address)


def token_of(org: Organization, user: User) -> dict[str, str]:
    secret = new_secret("mist_")
    Token.objects.create(org=org, owner=user, name="t", digest=digest_of(secret), hint="mist_")
    return {"Authorization": f"Bearer {secret}"}


def has_app(user: User) -> None:
    Authenticator.objects.create(user=user, type=Authenticator.Type.TOTP, data={"secret": ""})


def test_a_second_step_that_is_asked_for_is_asked_for_everywhere(org: Organization, owner: User) -> None:
    member = make_member(org, "m@example.org", {"effect": "allow", "verbs": ["*"], "what": {}})
    client, header = signed_in(member), token_of(org, member)
    assert client.get("/o/here/").status_code == 200
    has_app(owner)
    perform(at(org, owner), org, "edit", {"require_second_step": True})
    page = client.get("/o/here/machines")
    assert page.status_code == 403
    assert "Set up a second step" in page.content.decode()
    assert client.get("/account/2fa/").status_code == 200, "the way in stays open"
    for answer in (client.get("/api/v2/machines"), Client().get("/api/v2/machines", headers=header)):
        assert (answer.status_code, answer.json()["code"]) == (403, "second_step_required")
    has_app(member)
    assert client.get("/o/here/machines").status_code == 200
    assert Client().get("/api/v2/machines", headers=header).status_code == 200


def test_recovery_codes_alone_are_no_second_step(org: Organization, owner: User) -> None:
    Authenticator.objects.create(user=owner, type=Authenticator.Type.RECOVERY_CODES, data={})
    with pytest.raises(Invalid) as refused:
        perform(at(org, owner), org, "edit", {"require_second_step": True})
    assert refused.value.code == "would_lock_out"


def test_addresses_are_kept_to_and_nobody_locks_themselves_out(org: Organization, owner: User) -> None:
    with pytest.raises(Invalid) as refused:
        perform(at(org, owner), org, "edit", {"allowed_addresses": ["192.0.2.0/24"]})
    assert "You are at 10.1.2.3" in refused.value.fields["allowed_addresses"][0]
    with pytest.raises(Invalid):
        perform(at(org, owner), org, "edit", {"allowed_addresses": ["nonsense"]})
    perform(at(org, owner), org, "edit", {"allowed_addresses": ["10.1.2.9/16", "127.0.0.1"]})
    org.refresh_from_db()
    assert org.allowed_addresses == ["10.1.0.0/16", "127.0.0.1/32"]
    client, header = signed_in(owner), token_of(org, owner)
    assert client.get("/o/here/").status_code == 200
    away = {"REMOTE_ADDR": "198.51.100.4"}
    assert client.get("/o/here/", **away).status_code == 403
    answer: Any = Client().get("/api/v2/machines", headers=header, **away)
    assert (answer.status_code, answer.json()["code"]) == (403, "address_not_allowed")


def test_a_session_that_is_too_old_signs_in_again(org: Organization, owner: User) -> None:
    client = signed_in(owner)
    perform(at(org, owner), org, "edit", {"session_hours": 8})
    assert client.get("/o/here/").status_code == 200
    UserSession.objects.update(created_at=timezone.now() - timedelta(hours=9))
    assert client.get("/api/v2/machines").json()["code"] == "session_too_old"
    answer = client.get("/o/here/machines?q=x")
    assert answer["Location"] == "/sign-in?next=/o/here/machines%3Fq%3Dx"
    assert "_auth_user_id" not in client.session


def test_only_owners_say_what_is_asked(org: Organization, owner: User) -> None:
    member = make_member(org, "m@example.org", {"effect": "allow", "verbs": ["org.*"], "what": {}})
    perform(at(org, member), org, "edit", {"description": "ours"})
    for change in ({"session_hours": 1}, {"allowed_addresses": []}, {"require_second_step": False}):
        with pytest.raises(Denied):
            perform(at(org, member), org, "edit", change)


def test_a_former_name_leads_on_and_is_nobody_elses(org: Organization, owner: User) -> None:
    client = signed_in(owner)
    perform(at(org, owner), org, "edit", {"slug": "there"})
    assert client.get("/o/here/machines?q=a")["Location"] == "/o/there/machines?q=a"
    assert client.get("/o/there/machines").status_code == 200
    stranger = make_member(Organization.objects.create(name="x", slug="x"), "s@example.org")
    assert signed_in(stranger).get("/o/here/machines").status_code == 404
    assert people.free_slug("Here") != "here"
    other = people.make_org("Other", owner)
    with pytest.raises(Invalid) as refused:
        perform(actor_for(other, owner), other, "edit", {"slug": "here"})
    assert refused.value.code == "slug_taken"
    perform(at(org, owner), Organization.objects.get(pk=org.pk), "edit", {"slug": "here"})
    assert client.get("/o/there/")["Location"] == "/o/here/"
    assert client.get("/o/here/").status_code == 200


@pytest.mark.parametrize("slug", ["", "UPPER", "a b", "-a", "a--b", "ä", "x" * 61])
def test_a_slug_is_what_an_address_can_hold(org: Organization, owner: User, slug: str) -> None:
    with pytest.raises(Invalid) as refused:
        perform(at(org, owner), org, "edit", {"slug": slug})
    assert "slug" in refused.value.fields
