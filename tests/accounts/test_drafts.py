"""Drafts: one person's, of one form, in one organization, for a day."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.test import Client
from django.utils import timezone

from accounts import drafts
from accounts.models import Draft
from core.actor import Actor
from core.errors import Conflict, Invalid
from core.models import VaultEntry
from tests.core.test_doors import make_org
from tests.frontend.conftest import add_user, signed_in

pytestmark = pytest.mark.django_db


def test_a_draft_is_ones_own_and_the_newest() -> None:
    org, _user, actor = make_org("here")
    other = Actor(org_id=org.pk, user_id=add_user(org, "other@here.example").pk)
    drafts.keep(actor, "machine.create", "name=web-1")
    drafts.keep(actor, "machine.create", "name=web-2&cloudinit=%23!/bin/sh")
    found = drafts.find(actor, "machine.create")
    assert found is not None
    assert found.data == "name=web-2&cloudinit=%23!/bin/sh"
    assert drafts.find(other, "machine.create") is None
    assert drafts.find(actor, "cloud.create") is None
    assert VaultEntry.objects.filter(purpose="draft").count() == 1
    assert b"web-2" not in bytes(VaultEntry.objects.get(purpose="draft").ciphertext)


def test_a_draft_is_gone_after_a_day_and_when_it_was_sent() -> None:
    _org, _user, actor = make_org("here")
    drafts.keep(actor, "machine.create", "name=web-1")
    Draft.objects.update(updated_at=timezone.now() - timedelta(hours=25))
    assert drafts.find(actor, "machine.create") is None
    assert drafts.forget_old() == 1
    drafts.keep(actor, "machine.create", "name=web-1")
    drafts.drop(actor, "machine.create")
    assert not Draft.objects.exists()
    assert not VaultEntry.objects.filter(purpose="draft").exists()


def test_what_a_page_saves_after_its_form_was_sent_is_not_kept() -> None:
    _org, _user, actor = make_org("here")
    drafts.keep(actor, "machine.create", "name=web-1", page="one")
    drafts.drop(actor, "machine.create", page="one")
    assert not VaultEntry.objects.filter(purpose="draft").exists()
    with pytest.raises(Conflict, match="Open it anew"):
        drafts.keep(actor, "machine.create", "name=web-1", page="one")
    assert drafts.find(actor, "machine.create") is None
    drafts.keep(actor, "machine.create", "name=web-2", page="two")
    drafts.keep(actor, "script.create", "name=up", page="one")
    for number in range(drafts.USED + 3):
        drafts.drop(actor, "machine.create", page=f"p{number}")
    assert len(Draft.objects.get(form="machine.create").used) == drafts.USED
    Draft.objects.update(updated_at=timezone.now() - timedelta(hours=25))
    assert drafts.forget_old() == 2
    assert not Draft.objects.exists()
    assert not VaultEntry.objects.filter(purpose="draft").exists()


@pytest.mark.django_db(transaction=True)
def test_a_save_that_has_begun_and_a_form_that_is_sent_wait_for_each_other() -> None:
    """The save holds the draft, unsaved as yet, as the form is sent: it is gone all the same."""
    _org, _user, actor = make_org("here")
    begun, sent = threading.Event(), threading.Event()

    def save() -> None:
        with transaction.atomic():
            drafts.keep(actor, "machine.create", "name=web-1", page="one")
            begun.set()
            sent.wait(0.3)  # in vain: the form that is sent waits for the draft
        connection.close()

    saving = threading.Thread(target=save)
    saving.start()
    assert begun.wait(10)
    drafts.drop(actor, "machine.create", page="one")
    sent.set()
    saving.join(10)
    assert drafts.find(actor, "machine.create") is None
    with pytest.raises(Conflict):
        drafts.keep(actor, "machine.create", "name=web-1", page="one")


def test_a_draft_too_long_to_keep_is_refused_and_the_last_one_stays() -> None:
    _org, _user, actor = make_org("here")
    drafts.keep(actor, "machine.create", "name=web-1")
    with pytest.raises(Invalid):
        drafts.keep(actor, "machine.create", "x" * (drafts.MAX_CHARACTERS + 1))
    found = drafts.find(actor, "machine.create")
    assert found is not None
    assert found.data == "name=web-1"


def test_the_page_keeps_and_discards_it(client: Client) -> None:
    org, user, actor = make_org("here")
    browser = signed_in(user)
    url = f"/o/{org.slug}/drafts/machine.create"
    assert browser.post(url, {"name": "web-1", "csrfmiddlewaretoken": "x"}).status_code == 204
    found = drafts.find(actor, "machine.create")
    assert found is not None
    assert found.data == "name=web-1"
    assert browser.post(url, {"name": "x" * 200_000}).status_code == 422
    assert browser.post(url, {"_discard": "1"}).status_code == 302
    assert drafts.find(actor, "machine.create") is None
    assert client.post(url, {"name": "x"}).status_code == 302
