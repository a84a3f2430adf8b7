"""Secrets and their stores in the console."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from accounts.models import Team, User
from clouds.models import Cloud
from core import vault
from core.actions import perform
from core.models import Event
from keys import references, stores
from keys.models import Secret, SecretStore
from scripts.models import Script
from tests.frontend.browsing import IN_A_BROWSER, Person
from tests.frontend.conftest import Place, add_user, signed_in
from tests.lab.vaultd import vaultd

pytestmark = pytest.mark.django_db

PASSWORD = "hunter2-<b>horse</b>"


def made(place: Place) -> Secret:
    rows = {"values-0-key": "password", "values-0-value": PASSWORD, "values-1-key": "user", "values-1-value": "app"}
    form = {"name": "db", **rows, "tags": "env=prod"}
    answer = place.admin.post(f"{place.base}/keys/secrets/new", form)
    secret = Secret.objects.get(name="db")
    assert answer["Location"] == f"{place.base}/keys/secrets/{secret.pk.hex}"
    return secret


def values(secret: Secret) -> dict[str, str]:
    return stores.of(secret).read(secret).texts


def test_a_secret_is_made_shown_under_record_and_hidden_again(place: Place) -> None:
    assert b"No secrets yet" in place.admin.get(f"{place.base}/keys/secrets").content
    secret = made(place)
    assert values(secret) == {"password": PASSWORD, "user": "app"} and secret.tags == {"env": "prod"}
    here = f"{place.base}/keys/secrets/{secret.pk.hex}"
    for path in (
        here,
        f"{place.base}/keys/secrets",
        f"{place.base}/keys/secrets?q=key:password",
        f"{place.base}/log",
        f"{place.base}/jobs",
    ):
        page = place.admin.get(path).content.decode()
        assert "hunter2" not in page
    assert "secret:db/password" in place.admin.get(here).content.decode()
    shown = place.admin.post(here, {"reveal": "", "reason": "incident 42"})
    page = shown.content.decode()
    assert "hunter2-&lt;b&gt;horse" in page and "hunter2-<b>" not in page
    assert re.search(r'<mist-reveal seconds="\d+">', page) and shown["Cache-Control"] == "no-store"
    assert Event.objects.get(type="secret.read_value.succeeded").detail["params"] == {"reason": "incident 42"}
    assert "hunter2" not in place.admin.get(here).content.decode()


def test_some_values_are_changed_without_seeing_the_others(place: Place) -> None:
    secret = made(place)
    here = f"{place.base}/keys/secrets/{secret.pk.hex}"
    more = {"values-0-key": "pem", "values-0-value": "a\r\nb\r\n"}
    form = {"values": "1", "k-0": "password", "v-0": "", "k-1": "user", "v-1": "", "r-1": "on", **more}
    assert place.admin.post(here, form).status_code == 302
    assert values(Secret.objects.get()) == {"password": PASSWORD, "pem": "a\nb\n"}
    stale = place.admin.post(here, {**form, "v-0": "hunter3"})
    assert stale.status_code == 409 and "changed by somebody else" in stale.content.decode() and "hunter3" not in stale.content.decode()
    wrong = place.admin.post(here, {"values": "2", "values-0-key": "a/b", "values-0-value": "hunter4"})
    assert wrong.status_code == 422 and "no slash" in wrong.content.decode() and "hunter4" not in wrong.content.decode()
    assert place.admin.post(here, {"restore": "1", "_sure": "1"}).status_code == 302
    assert values(Secret.objects.get()) == {"password": PASSWORD, "user": "app"}
    shown = place.admin.post(here, {"reveal": "2"}).content.decode()
    assert "values of version 2" in shown and "pem" in shown


def test_what_is_wrong_with_a_new_secret_stands_beside_it_without_its_values(place: Place) -> None:
    form = {"name": "", "values-0-key": "a/b", "values-0-value": "hunter2"}
    page = place.admin.post(f"{place.base}/keys/secrets/new", form)
    assert page.status_code == 422 and b"no slash" in page.content and b"hunter2" not in page.content
    more = place.admin.post(f"{place.base}/keys/secrets/new", {**form, "_more": "values"})
    assert more.status_code == 200 and b"values-1-key" in more.content
    made(place)
    taken = place.admin.post(f"{place.base}/keys/secrets/new", {"name": "DB", "values-0-key": "a", "values-0-value": "b"})
    assert taken.status_code == 409 and b"already a secret of that name" in taken.content


def test_it_says_what_uses_it_and_is_deleted_by_its_name(place: Place) -> None:
    secret = made(place)
    here = f"{place.base}/keys/secrets/{secret.pk.hex}"
    parameters = [{"name": "PW", "type": "secret", "default": "db/password"}]
    perform(place.actor, Script, "create", {"name": "backup", "script": "#!/bin/sh\n:\n", "parameters": parameters})
    cloud = Cloud.objects.filter(org=place.org).first()
    assert cloud is not None
    references.note_uses("cloud", cloud.pk, {"password ← password": secret})
    page = place.admin.get(here).content.decode()
    assert "backup" in page and cloud.name in page and "It is in use" in page
    references.note_uses("cloud", cloud.pk, {})
    assert place.admin.post(here, {"delete": "1", "confirm": "no"}).status_code == 422
    assert place.admin.post(here, {"delete": "1", "confirm": "db"})["Location"] == f"{place.base}/keys/secrets"
    assert not Secret.objects.exists()


def test_the_pages_are_right_for_who_has_few_rights(place: Place) -> None:
    secret = made(place)
    here = f"{place.base}/keys/secrets/{secret.pk.hex}"
    assert place.stranger.get(f"/o/elsewhere/keys/secrets/{secret.pk.hex}").status_code == 404
    assert place.nobody.get(here).status_code == 404 == place.nobody.post(here, {"reveal": ""}).status_code
    assert place.nobody.post(f"{place.base}/keys/secrets/new", {"name": "x", "values-0-key": "a", "values-0-value": "b"}).status_code == 403
    assert "You have no rights" in place.nobody.get(f"{place.base}/keys/secrets").content.decode()
    lister = add_user(place.org, "lister@example.org")
    allow = {"effect": "allow", "verbs": ["secret.read", "secret.edit"], "what": {}}
    Team.objects.create(org=place.org, name="Listers", statements=[allow]).members.add(lister)
    client = signed_in(lister)
    page = client.get(here).content.decode()
    assert "You may refer to it and not see its values" in page and "Change values" in page and "Delete secret" not in page
    refused = client.post(here, {"reveal": ""})
    assert refused.status_code == 403 and "hunter2" not in refused.content.decode()


def test_a_store_is_added_used_and_told_when_it_does_not_answer(place: Place) -> None:
    User.objects.update(is_superuser=True)  # who may have us dial this machine
    url = f"{place.base}/keys/stores"
    assert "own vault" in place.admin.get(url).content.decode()
    with vaultd() as far:
        form = {"name": "kv", "address": f"http://127.0.0.1:{far.port}", "mount": "secret", "token": "wrong", "default": "on"}
        refused = place.admin.post(url, form)
        assert refused.status_code == 422 and "Check its credentials" in refused.content.decode()
        assert place.admin.post(url, {**form, "token": far.root}).status_code == 302
        row = SecretStore.objects.get()
        page = place.admin.get(f"{url}/{row.pk.hex}").content.decode()
        assert far.root not in page and "Stored. Leave empty to keep it." in page
        assert place.admin.post(f"{url}/{row.pk.hex}", {**form, "token": "", "name": "kv-2"}).status_code == 302
        new = {"name": "db", "store": row.pk.hex, "values-0-key": "a", "values-0-value": "b"}
        answer = place.admin.post(f"{place.base}/keys/secrets/new", new)
        here = answer["Location"]
        assert far.kept["db"][0].data == {"a": "b"}
        far.put("elsewhere", x="y")
        adopt = {"way": "adopt", "name": "other", "store": row.pk.hex, "path": "elsewhere"}
        assert place.admin.post(f"{place.base}/keys/secrets/new", adopt).status_code == 302
        assert vault.read(row.vault_id) == {"token": far.root}
        assert "are kept there" in place.admin.get(f"{url}/{row.pk.hex}").content.decode()
        far.mood = "sealed"
        page = place.admin.get(here).content.decode()
        assert "kv-2 cannot answer now" in page and "secret:db/a" in page
        assert place.admin.post(here, {"reveal": ""}).status_code == 503


class TestInABrowser:
    pytestmark = IN_A_BROWSER

    def test_values_are_typed_shown_and_gone_again(self, owner: User, person: Callable[..., Person]) -> None:
        page = person(owner).page
        page.goto("/o/here/keys/secrets")
        page.keyboard.press("c")
        page.get_by_label("Name").fill("db")
        page.get_by_label("Key", exact=True).fill("password")
        page.get_by_label("Value").first.fill(PASSWORD)
        page.get_by_role("button", name="Add another").click()
        page.get_by_label("Key", exact=True).nth(1).fill("user")
        page.get_by_label("Value").nth(1).fill("app")
        page.get_by_role("button", name="Keep it").click()
        expect(page.get_by_role("heading", name="db")).to_be_visible()
        assert PASSWORD not in page.content()
        page.get_by_label("Why, for the record").fill("to look")
        page.get_by_role("button", name="Show values").click()
        expect(page.locator("pre", has_text=PASSWORD)).to_be_visible()
        page.get_by_role("link", name="Hide them").click()
        expect(page.get_by_text("The values are hidden again.")).to_be_visible()
        assert "hunter2" not in page.content()
        page.get_by_role("button", name="Show values").click()
        expect(page.locator("pre", has_text=PASSWORD)).to_be_visible()
        page.evaluate("const one = document.querySelector('mist-reveal'); one.setAttribute('seconds', '0.2'); one.replaceWith(one)")
        expect(page.get_by_text("The values are hidden again.")).to_be_visible()
        assert "hunter2" not in page.content()
