"""The first admin: told who it is until the first sign-in, and never again."""

from __future__ import annotations

import pytest
from django.conf import LazySettings
from django.test import Client

from accounts.models import Organization, Team
from accounts.people import create_first_admin

pytestmark = pytest.mark.django_db


def sign_in(client: Client, password: str) -> int:
    body = {"email": "admin@localhost", "password": password}
    return client.post("/api/v2/auth/sessions", body, content_type="application/json").status_code


def test_a_password_nobody_used_is_replaced_at_the_next_start_and_one_that_was_used_is_not(client: Client) -> None:
    made = create_first_admin()
    again = create_first_admin()
    assert made
    assert again
    (user, first), (same, second) = made, again
    assert user == same
    assert Organization.objects.get().slug == "default"
    assert Team.objects.get(is_owners=True).members.get() == user
    assert first
    assert second
    assert sign_in(client, first) == 401
    assert sign_in(client, second) == 200
    assert create_first_admin() is None


def test_a_given_password_is_never_replaced(client: Client, settings: LazySettings) -> None:
    settings.MIST_ADMIN_PASSWORD = "correct-horse-7"
    made = create_first_admin()
    assert made
    assert made[1] is None
    assert not made[0].must_change_password
    assert create_first_admin() is None
    assert sign_in(client, "correct-horse-7") == 200
