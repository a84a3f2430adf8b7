"""A cloud whose credentials refer to a secret, when that gets a new version."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import Organization
from clouds import polling
from clouds.models import Cloud, Poll
from keys import references
from keys.models import Secret
from tests.clouds.test_vault_kv import far, me, store
from tests.keys.test_keys_api import data, send
from tests.keys.test_secrets import org
from tests.lab.vaultd import Far

__all__ = ["far", "me", "org"]

pytestmark = pytest.mark.django_db


@pytest.fixture
def clouds(me: Client, org: Organization) -> dict[str, Cloud]:
    """Three that refer to secrets, refused an hour ago and not due for another; one of them is switched off."""
    made = {}
    for name, secret in (("refers", "one"), ("off", "one"), ("other", "two")):
        row = Secret.objects.filter(name=secret).first()
        if row is None:
            row = Secret.objects.get(pk=data(send(me, "POST", "/secrets", {"name": secret, "secret": {"token": "first"}}))["id"])
        made[name] = Cloud.objects.create(org=org, name=name, provider="demo", enabled=name != "off")
        polling.schedule(made[name])
        references.note_uses("cloud", made[name].pk, {"apikey ← token": row, "apisecret ← token": row})
    Poll.objects.update(due_at=timezone.now() + timedelta(hours=1), failures=3, error_code="auth_failed", error_detail="no")
    return made


def due(cloud: Cloud) -> bool:
    """Is everything of it read at once?"""
    polls = list(Poll.objects.filter(cloud=cloud))
    assert polls
    found = {poll.due_at <= timezone.now() and not poll.error_code and not poll.failures for poll in polls}
    assert len(found) == 1
    return found.pop()


def test_a_new_version_has_the_clouds_that_refer_to_it_read_at_once(me: Client, clouds: dict[str, Cloud]) -> None:
    data(send(me, "PATCH", "/secrets/one", {"name": "renamed"}))
    assert not any(map(due, clouds.values()))  # no other value
    data(send(me, "PATCH", "/secrets/renamed", {"change": {"token": "second"}}))
    assert {name: due(cloud) for name, cloud in clouds.items()} == {"refers": True, "off": False, "other": False}


def test_so_does_an_older_version_that_is_restored(me: Client, clouds: dict[str, Cloud]) -> None:
    data(send(me, "PATCH", "/secrets/two", {"secret": {"token": "second"}}))
    Poll.objects.update(due_at=timezone.now() + timedelta(hours=1))
    data(send(me, "POST", "/secrets/two/actions/restore", {"version": 1}))
    assert {name: due(cloud) for name, cloud in clouds.items()} == {"refers": False, "off": False, "other": True}


def test_so_does_a_version_that_is_found_in_the_store_outside(me: Client, far: Far, org: Organization) -> None:
    store(me, far)
    row = Secret.objects.get(pk=data(send(me, "POST", "/secrets", {"name": "far", "secret": {"token": "first"}}))["id"])
    cloud = Cloud.objects.create(org=org, name="far", provider="demo")
    polling.schedule(cloud)
    references.note_uses("cloud", cloud.pk, {"apikey ← token": row})
    Poll.objects.update(due_at=timezone.now() + timedelta(hours=1))
    data(send(me, "POST", "/secrets/far/actions/refresh"))
    assert not due(cloud)
    far.put("far", token="second")
    data(send(me, "POST", "/secrets/far/actions/refresh"))
    assert due(cloud)
