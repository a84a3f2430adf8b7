"""The pages of django-allauth, in our settings: they answer, and a second step set up there is asked for at the next sign-in."""

from __future__ import annotations

from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value, yield_hotp_counters_from_time
from django.core import mail
from django.test import Client

from accounts import people
from accounts.models import User
from core.models import Event

pytestmark = pytest.mark.django_db

PASSWORD = "correct horse battery"


@pytest.fixture
def user() -> User:
    found = people.make_user("a@example.org", PASSWORD)
    people.make_org("here", found)
    return found


def sign_in(user: User) -> tuple[Client, str]:
    client = Client()
    answer = client.post("/sign-in", {"login": user.email, "password": PASSWORD})
    return client, answer.headers.get("Location", "")


def test_a_second_step_is_set_up_and_asked_for(user: User) -> None:
    client, _ = sign_in(user)
    activate = "/account/2fa/totp/activate/"
    if client.get(activate).status_code == 302:
        client.post(f"/account/reauthenticate/?next={activate}", {"password": PASSWORD})
    page = client.get(activate)
    assert page.status_code == 200
    counters = list(yield_hotp_counters_from_time())
    code = format_hotp_value(hotp_value(page.context["form"].secret, counters[len(counters) // 2]))
    assert client.post(activate, {"code": code}).status_code == 302
    other, where = sign_in(user)
    assert where.startswith("/account/2fa/authenticate")
    assert "_auth_user_id" not in other.session


def test_what_one_signs_in_with_comes_and_goes_on_record(user: User, django_capture_on_commit_callbacks: Any) -> None:
    client, _ = sign_in(user)
    activate = "/account/2fa/totp/activate/"
    client.post(f"/account/reauthenticate/?next={activate}", {"password": PASSWORD})
    counters = list(yield_hotp_counters_from_time())
    secret = client.get(activate).context["form"].secret
    with django_capture_on_commit_callbacks(execute=True):
        client.post(activate, {"code": format_hotp_value(hotp_value(secret, counters[len(counters) // 2]))})
    key = Authenticator.objects.create(user=user, type=Authenticator.Type.WEBAUTHN, data={"name": "laptop", "credential": {}})
    assert client.post(f"/account/2fa/webauthn/keys/{key.pk}/remove/").status_code == 302
    assert client.post("/account/2fa/totp/deactivate/").status_code == 302
    told = Event.objects.filter(target_id=user.pk).exclude(type__startswith="session.").order_by("at", "id")
    assert [(event.type, event.actor_id) for event in told] == [
        (f"{what}.succeeded", user.pk) for what in ("authenticator.create", "passkey.delete", "authenticator.delete")
    ]


def test_the_pages_of_ones_account_answer(user: User) -> None:
    client, _ = sign_in(user)
    for path in ("password/change/", "2fa/", "2fa/webauthn/", "sessions/", "email/"):
        assert client.get(f"/account/{path}").status_code == 200, path


def test_a_forgotten_password_is_reset_by_mail_once(user: User) -> None:
    client = Client()
    client.post("/account/password/reset/", {"email": user.email})
    client.post("/account/password/reset/", {"email": "nobody@example.org"})
    [letter] = mail.outbox
    link = next(word for word in letter.body.split() if "/password/reset/key/" in word)
    path = link[link.index("/account/") :]
    form = client.get(path)["Location"]
    assert client.post(form, {"password1": "another good horse", "password2": "another good horse"}).status_code == 302
    user.refresh_from_db()
    assert user.check_password("another good horse")
    assert Client().get(path).status_code == 200  # says that the link is spent
