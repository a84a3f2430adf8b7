"""Secrets in a store outside, against a far side that speaks the engine's HTTP API."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from accounts.models import Organization, User
from clouds import vault_kv
from core.errors import Rejected, Unavailable
from core.models import Event, Job, VaultEntry
from keys import stores
from keys.models import Secret, SecretStore
from tests.keys.test_keys_api import allow, data, make_client, send, wrong
from tests.keys.test_secrets import everything_stored, org
from tests.lab.certificates import Authority
from tests.lab.vaultd import Far, vaultd

__all__ = ["org"]

pytestmark = pytest.mark.django_db


@pytest.fixture
def far() -> Iterator[Far]:
    with vaultd() as running:
        yield running


@pytest.fixture
def me(org: Organization) -> Client:
    """An installation admin, who may have us dial this very machine."""
    client = make_client(org, "owner@example.org", owner=True)
    User.objects.filter(email="owner@example.org").update(is_superuser=True)
    return client


def store(me: Client, far: Far, **more: Any) -> dict[str, Any]:
    sent = {"name": "kv", "address": f"http://127.0.0.1:{far.port}", "token": far.root, "default": True, **more}
    return data(send(me, "POST", "/secret-stores", sent))  # type: ignore[no-any-return]


@pytest.fixture
def kept(me: Client, far: Far) -> dict[str, Any]:
    """A secret that is in the store."""
    store(me, far)
    return data(send(me, "POST", "/secrets", {"name": "team/db", "secret": {"user": "app", "password": "hunter2-horse"}}))  # type: ignore[no-any-return]


def test_new_secrets_go_to_the_default_store_and_only_there(me: Client, far: Far, kept: dict[str, Any]) -> None:
    assert (kept["store"], kept["path"], kept["version"], kept["keys"]) == ("kv", "team/db", 1, ["password", "user"])
    assert far.kept["team/db"][0].data == {"user": "app", "password": "hunter2-horse"}
    assert not VaultEntry.objects.filter(purpose="secret").exists()
    assert "hunter2" not in everything_stored()
    assert "root-token" not in everything_stored()
    assert data(send(me, "GET", f"/secrets/{kept['id']}?value=true"))["value"] == {"user": "app", "password": "hunter2-horse"}
    assert "root-token" not in json.dumps(data(send(me, "GET", "/secret-stores")))
    own = data(send(me, "POST", "/secrets", {"name": "own", "secret": {"a": "1"}, "store": None}))
    assert own["store"] is None and "own" not in far.kept


def test_versions_edits_and_restores_are_the_stores_own(me: Client, far: Far, kept: dict[str, Any]) -> None:
    path = f"/secrets/{kept['id']}"
    assert data(send(me, "PATCH", path, {"change": {"user": "root"}, "remove": ["password"]}))["version"] == 2
    assert far.kept["team/db"][1].data == {"user": "root"}
    far.put("team/db", user="from elsewhere", port=5432)
    assert data(send(me, "PATCH", path, {"change": {"more": "x"}}))["version"] == 4  # after what is there, not after what we knew
    assert far.kept["team/db"][3].data == {"user": "from elsewhere", "port": 5432, "more": "x"}  # a number stays one
    assert send(me, "PATCH", path, {"change": {"more": "y"}, "based_on": 2}).json()["code"] == "version_moved"
    data(send(me, "POST", f"{path}/actions/restore", {"version": 1}))
    assert data(send(me, "GET", f"{path}?value=true"))["value"]["password"] == "hunter2-horse"
    assert [(one["number"], one["gone"]) for one in data(send(me, "GET", f"{path}/versions"))] == [(n, False) for n in (5, 4, 3, 2, 1)]
    assert data(send(me, "POST", f"{path}/actions/read-value", {"version": 4}))["value"]["port"] == "5432"


def test_two_who_write_at_once_do_not_overwrite_each_other(me: Client, far: Far, kept: dict[str, Any], monkeypatch: Any) -> None:
    read = vault_kv.VaultKv.read

    def meanwhile(self: Any, secret: Secret, number: int | None = None) -> stores.Contents:
        found = read(self, secret, number)
        far.put("team/db", user="somebody else")
        return found

    monkeypatch.setattr(vault_kv.VaultKv, "read", meanwhile)
    answer = send(me, "PATCH", f"/secrets/{kept['id']}", {"change": {"user": "me"}})
    assert (answer.status_code, answer.json()["code"]) == (409, "version_moved")
    assert far.kept["team/db"][-1].data == {"user": "somebody else"}


def test_what_is_deleted_there_is_told_and_restored_here(me: Client, far: Far, kept: dict[str, Any]) -> None:
    path = f"/secrets/{kept['id']}"
    data(send(me, "PATCH", path, {"change": {"user": "second"}}))
    far.delete_newest("team/db")
    assert data(send(me, "GET", f"{path}?value=true"))["value"] == {}
    assert data(send(me, "GET", f"{path}/versions"))[0]["gone"] is True
    assert send(me, "PATCH", path, {"change": {"user": "third"}}).json()["code"] == "secret_gone"
    data(send(me, "POST", f"{path}/actions/restore", {"version": 1}))
    assert far.kept["team/db"][2].data == {"user": "app", "password": "hunter2-horse"}


def test_a_path_that_is_taken_is_not_overwritten_but_may_be_adopted(me: Client, far: Far) -> None:
    row = store(me, far)
    far.put("team/api", key="k1")
    answer = send(me, "POST", "/secrets", {"name": "team/api", "secret": {"key": "mine"}})
    assert (answer.status_code, answer.json()["code"]) == (409, "path_taken")
    adopted = data(send(me, "POST", "/secrets/adopt", {"name": "api", "store": row["id"], "path": "team/api"}))
    assert (adopted["adopted"], adopted["keys"], adopted["path"]) == (True, ["key"], "team/api")
    assert wrong(send(me, "POST", "/secrets/adopt", {"name": "b", "store": "kv", "path": "team/none"})).startswith("path:")
    far.put("team/api", key="k2", more="x")
    data(send(me, "POST", f"/secrets/{adopted['id']}/actions/refresh", {}))
    assert data(send(me, "GET", "/secrets/api"))["keys"] == ["key", "more"]
    data(send(me, "DELETE", "/secrets/api"))
    assert len(far.kept["team/api"]) == 2  # what was there before us stays
    data(send(me, "POST", "/secrets", {"name": "ours", "secret": {"a": "1"}}))
    data(send(me, "DELETE", "/secrets/ours"))
    assert "ours" not in far.kept
    data(send(me, "DELETE", "/secret-stores/kv"))
    assert not VaultEntry.objects.filter(purpose="secret_store").exists()


def test_adopting_is_a_right_of_its_own(me: Client, org: Organization, far: Far) -> None:
    store(me, far)
    far.put("payroll", key="k")
    maker = make_client(org, "maker@example.org", allow("secret.create", "secret.read", "secret.read_value", "secret_store.read"))
    assert send(maker, "POST", "/secrets/adopt", {"name": "payroll", "store": "kv"}).status_code == 403
    assert far.asked[-1][1] != "/v1/secret/data/payroll"  # it was not even read


@pytest.mark.parametrize("name", ["../sys", "a//b", "a/./b", "a/../../b", "/"])
def test_a_name_is_no_way_out_of_the_mount(me: Client, far: Far, name: str) -> None:
    store(me, far)
    asked = len(far.asked)
    assert wrong(send(me, "POST", "/secrets", {"name": name, "secret": {"a": "1"}})).startswith("name:")
    assert len(far.asked) == asked


def test_a_name_of_odd_letters_is_one_path(me: Client, far: Far) -> None:
    store(me, far)
    for name in ("what? #1 %2e%2e", "é/ü", "a;b"):
        data(send(me, "POST", "/secrets", {"name": name, "secret": {"a": "1"}}))
        assert name in far.kept


def test_an_approle_signs_in_for_each_call_and_leaves_no_token_behind(me: Client, far: Far) -> None:
    answer = send(
        me, "POST", "/secret-stores", {"name": "kv", "address": f"http://127.0.0.1:{far.port}", "role_id": "role-1", "secret_id": "wrong"}
    )
    assert (answer.status_code, answer.json()["code"]) == (422, "store_auth_failed")
    far.namespace = "team-a"
    store(me, far, token="", role_id="role-1", secret_id="secret-id-1", namespace="/team-a/")
    data(send(me, "POST", "/secrets", {"name": "a", "secret": {"a": "1"}}))
    assert data(send(me, "GET", "/secrets/a?value=true"))["value"] == {"a": "1"}
    assert far.tokens == set()
    assert "secret-id-1" not in everything_stored()


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        ({"token": ""}, "token"),
        ({"token": "wrong\r\nX-Evil: 1"}, "token"),
        ({"role_id": "role-1"}, "token"),
        ({"token": "", "role_id": "role-1"}, "secret_id"),
        ({"address": "ftp://a"}, "address"),
        ({"address": "http://user:word@vault"}, "address"),
        ({"address": "http://vault/v1"}, "address"),
        ({"mount": "../sys"}, "mount"),
        ({"mount": "old"}, "mount"),
        ({"mount": "none"}, "mount"),
        ({"ca": "-----BEGIN PRIVATE KEY-----"}, "ca"),
    ],
)
def test_a_store_is_tried_before_it_is_kept(me: Client, far: Far, sent: dict[str, Any], field: str) -> None:
    body = {"name": "kv", "address": f"http://127.0.0.1:{far.port}", "token": far.root, **sent}
    assert wrong(send(me, "POST", "/secret-stores", body)).startswith(f"{field}:")
    assert not SecretStore.objects.exists()


def test_credentials_are_not_sent_to_another_address_unasked(me: Client, far: Far) -> None:
    row = store(me, far)
    with vaultd() as other:
        elsewhere = {"address": f"http://127.0.0.1:{other.port}"}
        assert wrong(send(me, "PATCH", f"/secret-stores/{row['id']}", elsewhere)).startswith("token:")
        assert other.asked == []
    far.root = "s.second"
    assert send(me, "PATCH", f"/secret-stores/{row['id']}", {"token": "s.third"}).json()["code"] == "store_auth_failed"
    data(send(me, "PATCH", f"/secret-stores/{row['id']}", {"token": "s.second", "name": "new"}))
    data(send(me, "POST", "/secrets", {"name": "a", "secret": {"a": "1"}}))
    assert send(me, "PATCH", f"/secret-stores/{row['id']}", {"mount": "other"}).json()["code"] == "store_in_use"
    assert send(me, "DELETE", f"/secret-stores/{row['id']}").json()["code"] == "store_in_use"
    User.objects.update(is_superuser=False)  # loopback is not to be dialled for who is no admin, whatever was allowed before
    assert send(me, "PATCH", f"/secret-stores/{row['id']}", {"token": "s.second"}).json()["code"] == "address_forbidden"


@pytest.mark.parametrize("mood", ["sealed", "denied", "redirect", "nonsense"])
def test_a_store_that_does_not_answer_well_is_told_in_words(me: Client, far: Far, kept: dict[str, Any], mood: str) -> None:
    far.mood = mood
    answer = send(me, "GET", f"/secrets/{kept['id']}?value=true")
    assert answer.status_code in (422, 503)
    assert "kv" in answer.json()["detail"] and "cloud" not in answer.json()["detail"].lower()
    assert "hunter2" not in answer.content.decode()
    assert send(me, "PATCH", f"/secrets/{kept['id']}", {"change": {"user": "x"}}).status_code in (422, 503)
    assert len(far.kept["team/db"]) == 1
    assert not any("169.254" in path for _, path in far.asked)


@pytest.mark.parametrize("mood", ["silent", "trickle"])
def test_a_store_that_takes_its_time_costs_no_more_than_its_deadline(
    me: Client,
    far: Far,
    kept: dict[str, Any],
    mood: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(vault_kv, "DEADLINE_S", 1.0)
    far.mood = mood
    before = time.monotonic()
    answer = send(me, "GET", f"/secrets/{kept['id']}?value=true")
    assert time.monotonic() - before < 10
    assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable")


def test_a_store_is_dialled_where_the_rules_allow_alone(me: Client, org: Organization, settings: Any) -> None:
    for address in ("http://169.254.169.254", "http://[fd00:ec2::254]", f"http://127.0.0.1:{next(iter(settings.MIST_OWN_PORTS), 8000)}"):
        answer = send(me, "POST", "/secret-stores", {"name": "kv", "address": address, "token": "t"})
        assert answer.json()["code"] == "address_forbidden", answer.content
    row = SecretStore(org=org, name="kv", address="http://127.0.0.1:9")
    with pytest.raises(Rejected, match="admin"):
        stores.remote(row, {"token": "t"}).check()


def test_tls_is_verified_against_the_ca_given(me: Client, tmp_path: Path) -> None:
    ca = Authority()
    pair = ca.issue("vault", "localhost")
    (tmp_path / "cert.pem").write_text(pair.certificate)
    (tmp_path / "key.pem").write_text(pair.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    with vaultd(context) as far:
        body = {"name": "kv", "address": f"https://localhost:{far.port}", "token": far.root}
        answer = send(me, "POST", "/secret-stores", body)
        assert answer.status_code == 422 and "not trusted" in answer.json()["detail"]
        assert far.asked == []
        assert data(send(me, "POST", "/secret-stores", {**body, "ca": ca.certificate}))["mount"] == "secret"


def test_the_contract_sets_the_vault_of_an_organization(me: Client, org: Organization, far: Far) -> None:
    path = f"/orgs/{org.pk.hex}"
    vault = {"address": f"http://127.0.0.1:{far.port}", "secrets_engine_path": "secret", "token": "wrong"}
    assert send(me, "PATCH", path, {"vault": vault}).json()["code"] == "store_auth_failed"
    answer = send(me, "PATCH", path, {"vault": {**vault, "secrets_engine_path": "old", "token": far.root}})
    assert answer.status_code == 422 and list(answer.json()["fields"]["vault"]) == ["secrets_engine_path"]
    data(send(me, "PATCH", path, {"name": "Renamed", "vault": {**vault, "token": far.root}}))
    assert SecretStore.objects.get().is_default and Organization.objects.get(pk=org.pk).name == "Renamed"
    data(send(me, "POST", "/secrets", {"name": "a", "secret": {"a": "1"}}))
    assert "a" in far.kept
    data(send(me, "PATCH", path, {"vault": {"token": None, "role_id": "role-1", "secret_id": "secret-id-1"}}))
    assert data(send(me, "GET", "/secrets/a?value=true"))["value"] == {"a": "1"}
    plain = make_client(org, "plain@example.org", allow("org.edit", "org.read"))
    assert send(plain, "PATCH", path, {"vault": vault}).status_code in (403, 404)
    assert send(me, "PATCH", path, {"vault": {"nonsense": 1}}).status_code == 422


def test_an_organization_is_made_with_its_vault_or_not_at_all(me: Client, org: Organization, far: Far) -> None:
    vault = {"address": f"http://127.0.0.1:{far.port}", "token": "wrong"}
    assert send(me, "POST", "/orgs", {"name": "Second", "vault": vault}).json()["code"] == "store_auth_failed"
    for bad, where in (({**vault, "secrets_engine_path": "old", "token": far.root}, "secrets_engine_path"), ({"token": "t"}, "address")):
        answer = send(me, "POST", "/orgs", {"name": "Second", "vault": bad})
        assert answer.status_code == 422 and list(answer.json()["fields"]["vault"]) == [where]
    assert send(me, "POST", "/orgs", {"name": "Second", "vault": ["no object"]}).status_code == 422
    assert not Organization.objects.filter(name="Second").exists()
    made = data(send(me, "POST", "/orgs", {"name": "Second", "vault": {**vault, "token": far.root}}))
    row = SecretStore.objects.get()
    assert (row.org_id.hex, row.name, row.is_default, row.mount) == (made["id"], "vault", True, "secret")
    answer = me.post(
        "/api/v2/secrets",
        json.dumps({"name": "a", "secret": {"a": "1"}}),
        content_type="application/json",
        headers={"X-Org": made["id"]},
    )
    assert answer.status_code < 300 and far.kept["a"][0].data == {"a": "1"}
    said = json.dumps([*Job.objects.values("params", "result"), *Event.objects.values("before", "after", "detail")], default=str)
    assert far.root not in said


def test_no_job_or_event_of_a_store_holds_what_lets_us_in(me: Client, far: Far, kept: dict[str, Any]) -> None:
    said = json.dumps([*Job.objects.values("params", "result"), *Event.objects.values("before", "after", "detail")], default=str)
    assert "127.0.0.1" in said
    assert "root-token" not in said and "hunter2" not in said
    with pytest.raises(Unavailable):
        stores.remote(SecretStore(name="x", address="http://nowhere.invalid"), {"token": "t"}).check()
