"""Keys and host keys in the console, and hosts pasted as a list."""

from __future__ import annotations

import pytest
from django.utils import timezone

from clouds.models import Cloud
from core.models import Event
from frontend import toasts
from keys import pairs
from keys.models import Authority, AuthorityTrust, GivenHostKey, HostKey, Key
from machines.models import Machine
from machines.reach import address_of
from tests.frontend.conftest import Place, run_jobs

pytestmark = pytest.mark.django_db


def test_a_key_is_generated_shown_renamed_and_deleted(place: Place) -> None:
    assert b"No keys yet" in place.admin.get(f"{place.base}/keys").content
    made = place.admin.post(f"{place.base}/keys/new", {"way": "generate", "name": "laptop", "algorithm": "ssh-ed25519"})
    key = Key.objects.get()
    assert made["Location"] == f"{place.base}/keys/{key.pk.hex}"
    assert key.is_default
    page = place.admin.get(made["Location"]).content.decode()
    assert key.public in page
    assert "PRIVATE KEY" not in page
    place.admin.post(made["Location"], {"name": "desk"})
    listed = place.admin.get(f"{place.base}/keys?q=name:desk").content.decode()
    assert key.fingerprint in listed
    assert place.admin.post(made["Location"], {"delete": "1", "confirm": "laptop"}).status_code == 422
    assert Key.objects.exists()
    place.admin.post(made["Location"], {"delete": "1", "confirm": "desk"})
    assert not Key.objects.exists()


def test_an_uploaded_private_key_is_kept_and_never_shown_unasked(place: Place) -> None:
    pair = pairs.generate("ssh-ed25519")
    form = {"way": "upload", "name": "mine", "private": pair.private}
    wrong = place.admin.post(f"{place.base}/keys/new", {**form, "private": "nonsense SECRETWORD"})
    assert wrong.status_code == 422
    assert b"SECRETWORD" not in wrong.content
    made = place.admin.post(f"{place.base}/keys/new", form)
    key = Key.objects.get()
    assert key.fingerprint == pair.fingerprint
    assert "PRIVATE" not in place.admin.get(made["Location"]).content.decode()
    shown = place.admin.post(made["Location"], {"export": "1"})
    assert "PRIVATE KEY" in shown.content.decode()
    assert shown["Cache-Control"] == "no-store"
    assert Event.objects.filter(type="key.export.succeeded", target_id=key.pk).count() == 1


def test_keys_of_others_are_not_found_and_without_rights_none_is_made(place: Place) -> None:
    place.admin.post(f"{place.base}/keys/new", {"way": "generate", "name": "laptop"})
    key = Key.objects.get()
    assert place.stranger.get(f"/o/elsewhere/keys/{key.pk.hex}").status_code == 404
    assert place.nobody.get(f"{place.base}/keys/{key.pk.hex}").status_code == 404
    assert place.nobody.post(f"{place.base}/keys/new", {"way": "generate", "name": "x"}).status_code == 403
    assert b"laptop" not in place.nobody.get(f"{place.base}/keys").content
    assert Key.objects.count() == 1


def test_a_hosts_key_is_trusted_and_forgotten(place: Place) -> None:
    public = pairs.generate("ssh-ed25519").public
    path = f"{place.base}/keys/hosts"
    assert place.admin.post(path, {"host": "db.example", "port": "22", "public": "ssh-nothing"}).status_code == 422
    place.admin.post(path, {"host": "db.example", "port": "22", "public": public})
    host = HostKey.objects.get()
    assert host.fingerprint in place.admin.get(path).content.decode()
    assert place.nobody.post(path, {"forget": host.pk.hex}).status_code == 404
    place.admin.post(path, {"forget": host.pk.hex, "_sure": "1"})
    assert not HostKey.objects.exists()


def test_hosts_are_pasted_as_a_list_with_one_key_for_all(place: Place) -> None:
    place.admin.post(f"{place.base}/keys/new", {"way": "generate", "name": "fleet"})
    key = Key.objects.get()
    text = "deploy@10.20.30.40:2222 web-1\n10.20.30.41  # the other\n"
    form = {"name": "rack", "c-hosts-0-host": "", "c-hosts-paste": text, "c-hosts-paste-key": key.pk.hex}
    made = place.admin.post(f"{place.base}/clouds/new/other", form)
    assert made.status_code == 302, made.content
    hosts = Cloud.objects.get(name="rack").config["hosts"]
    assert [(row["host"], row["user"], row["port"], row["key"]) for row in hosts] == [
        ("10.20.30.40", "deploy", 2222, key.pk.hex),
        ("10.20.30.41", "root", 22, key.pk.hex),
    ]


def test_a_wrong_line_of_a_pasted_list_is_named_and_what_was_pasted_stays(place: Place) -> None:
    page = place.admin.post(f"{place.base}/clouds/new/other", {"name": "rack", "c-hosts-paste": "ok.example\na.example:99999"})
    assert page.status_code == 422
    assert "Line 2:" in page.content.decode()
    assert "a.example:99999" in page.content.decode()
    assert not Cloud.objects.filter(name="rack").exists()


def test_removing_a_cloud_says_that_it_begins_in_a_moment(place: Place) -> None:
    answer = place.admin.post(f"{place.base}/clouds/{place.cloud.pk.hex}/do/remove", {"confirm": place.cloud.name})
    assert answer["Location"] == f"{place.base}/clouds"
    page = place.admin.get(answer["Location"]).content.decode()
    assert "Undo" in page
    assert Cloud.objects.filter(pk=place.cloud.pk).exists()
    assert toasts.MARKS["waiting"] in page


def test_the_authority_is_made_shown_rotated_and_deleted(place: Place) -> None:
    url = f"{place.base}/keys/authority"
    assert b"No certificate authority yet" in place.admin.get(url).content
    assert place.nobody.post(url, {"create": "1"}).status_code == 403
    assert place.admin.post(url, {"create": "1", "_sure": "1"}).status_code == 302
    old = Authority.objects.get()
    assert old.line in place.admin.get(url).content.decode()
    assert place.admin.post(url, {"rotate": old.pk.hex, "_sure": "1"}).status_code == 302
    new = Authority.objects.get(is_current=True)
    page = place.admin.get(url).content.decode()
    assert new.line in page and old.line not in page and old.fingerprint in page
    assert place.nobody.post(url, {"rotate": new.pk.hex}).status_code == 404
    assert "Nothing was done" not in place.admin.post(url, {"delete": old.pk.hex}).content.decode()
    assert place.admin.post(url, {"delete": old.pk.hex, "_sure": old.name}).status_code == 302
    assert Authority.objects.get() == new


def test_a_host_that_shows_another_key_is_shown_with_both_and_trusted_again(place: Place) -> None:
    known, shown = pairs.generate(), pairs.generate()
    row = HostKey.objects.create(
        org=place.org,
        name="h:22",
        host="h",
        public=known.public,
        fingerprint=known.fingerprint,
        offered=shown.public,
        offered_at=timezone.now(),
    )
    url = f"{place.base}/keys/hosts"
    page = place.admin.get(url).content.decode()
    assert known.fingerprint in page and shown.fingerprint in page and "Nothing is run on it" in page
    assert "It showed this one when it was first reached" in page and "Nobody else knows it" in page
    for field, value, words in (
        ("offered_from", "cloud-init", "which Mist put into the machine that has this address"),
        ("offered_from", "console", "and printed it on its console"),
        ("source", "cloud-init", "Mist put this one into it when it was made"),
    ):
        HostKey.objects.filter(pk=row.pk).update(**{field: value})
        assert words in place.admin.get(url).content.decode()
    assert place.admin.post(url, {"retrust": row.pk.hex, "_sure": "1", "fingerprint": known.fingerprint}).status_code == 409
    assert place.admin.post(url, {"retrust": row.pk.hex, "_sure": "1", "fingerprint": shown.fingerprint}).status_code == 302
    row.refresh_from_db()
    assert (row.fingerprint, row.offered) == (shown.fingerprint, "")
    assert "Nothing is run on it" not in place.admin.get(url).content.decode()


def test_a_cloud_whose_hosts_are_not_trusted_at_first_sight(place: Place) -> None:
    url = f"{place.base}/clouds/{place.cloud.pk.hex}"
    assert "The key a host shows first is kept" in place.admin.get(url).content.decode()
    assert place.nobody.post(f"{url}/do/edit", {"strict_host_keys": "1"}).status_code == 404
    place.admin.post(f"{url}/do/edit", {"strict_host_keys": "1"})
    place.cloud.refresh_from_db()
    assert place.cloud.extra["strict_host_keys"] is True
    assert "No host is trusted at first sight" in place.admin.get(url).content.decode()
    one, shown = Machine.objects.filter(org=place.org).first(), pairs.generate()
    Machine.objects.filter(pk=one.pk).update(address="10.9.8.7")
    more = {"offered": shown.public, "offered_at": timezone.now(), "source": "unmet", "cloud": place.cloud}
    row = HostKey.objects.create(org=place.org, name="10.9.8.7:22", host="10.9.8.7", **more)
    assert "Nobody has trusted the key it shows" in place.admin.get(f"{place.base}/machines/{one.pk.hex}/keys").content.decode()
    hosts = f"{place.base}/keys/hosts"
    page = place.admin.get(hosts).content.decode()
    assert "is new here" in page and shown.fingerprint in page and "I compared it: trust this key" in page
    place.admin.post(hosts, {"retrust": row.pk.hex, "_sure": "1", "fingerprint": shown.fingerprint})
    row.refresh_from_db()
    assert (row.public, row.source) == (shown.public, "operator")
    place.admin.post(f"{url}/do/edit", {"strict_host_keys": "0"})
    place.cloud.refresh_from_db()
    assert place.cloud.extra["strict_host_keys"] is False


def test_a_machine_says_what_it_trusts(place: Place) -> None:
    one = Machine.objects.filter(org=place.org).first()
    url = f"{place.base}/machines/{one.pk.hex}/keys"
    assert "has no certificate authority" in place.admin.get(url).content.decode()
    place.admin.post(f"{place.base}/keys/authority", {"create": "1", "_sure": "1"})
    ca = Authority.objects.get()
    assert ca.line in place.admin.get(url).content.decode()
    AuthorityTrust.objects.create(org=place.org, machine=one, authority=ca, user="deploy")
    page = place.admin.get(url).content.decode()
    assert "deploy" in page and "Not met yet" in page
    given = pairs.generate()
    GivenHostKey.objects.create(machine=one, public=given.public, fingerprint=given.fingerprint)
    page = place.admin.get(url).content.decode()
    assert given.fingerprint in page and "put into it by cloud-init" in page
    host = address_of(one)
    HostKey.objects.create(org=place.org, name=f"{host}:22", host=host, public=given.public, fingerprint=given.fingerprint, offered="x")
    page = place.admin.get(url).content.decode()
    assert f"{host}:22" in page and "nothing is run on it until somebody trusts that one" in page
    form = place.admin.get(f"{place.base}/machines/{one.pk.hex}/do/distrust_ca").content.decode()
    assert "record_only" in form and "confirm" in form
    place.admin.post(f"{place.base}/machines/{one.pk.hex}/do/distrust_ca", {"user": "", "record_only": "on"})
    run_jobs()
    assert not AuthorityTrust.objects.exists()
