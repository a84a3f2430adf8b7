"""Secrets over HTTP: kept in the vault in versions, shown under record to who may, found by no search, opened by no other organization."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.apps import apps
from django.core.management import call_command
from django.core.serializers.json import DjangoJSONEncoder
from django.test import Client

from accounts import people
from accounts.models import Organization
from core import vault
from core.models import Event, Job, VaultEntry
from keys.models import Authority, Key, Secret, SecretVersion
from keys.stores import MOST_VERSIONS
from tests.api.test_matrix import read
from tests.keys.test_keys_api import allow, data, keygen, make_client, send, wrong

pytestmark = pytest.mark.django_db

VALUES = {"user": "app", "password": "Tr0ub4dor&3 hunter2-horse"}
PASSWORD = VALUES["password"]


@pytest.fixture
def org() -> Organization:
    return people.make_org("here")


@pytest.fixture
def me(org: Organization) -> Client:
    return make_client(org, "owner@example.org", owner=True)


@pytest.fixture
def db_secret(me: Client) -> dict[str, Any]:
    return data(send(me, "POST", "/secrets", {"name": "db", "secret": VALUES, "tags": {"env": "prod"}}))  # type: ignore[no-any-return]


def everything_stored() -> str:
    """Every column of every row there is, as text; the vault's as it is sealed."""
    rows: list[Any] = []
    for model in apps.get_models():
        if model._meta.managed or model is Event:
            rows += [model.__name__, *model._base_manager.values()]

    class Encoder(DjangoJSONEncoder):
        def default(self, o: Any) -> Any:
            if isinstance(o, bytes | memoryview):
                return bytes(o).decode("latin-1")
            return str(o)

    return json.dumps(rows, cls=Encoder, ensure_ascii=False)


def test_a_secret_is_kept_sealed_and_its_values_stand_nowhere(
    me: Client, db_secret: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    assert db_secret["keys"] == ["password", "user"] and db_secret["version"] == 1
    with caplog.at_level(logging.DEBUG):
        answers = [
            send(me, "GET", "/secrets"),
            send(me, "GET", "/secrets/db"),
            send(me, "GET", "/secrets?format=csv"),
            send(me, "PUT", "/secrets/db", {"change": {"password": PASSWORD + "!"}}),
            send(me, "GET", "/secrets/db/versions"),
            send(me, "GET", "/jobs"),
            send(me, "GET", "/events"),
            send(me, "POST", "/secrets", {"name": "db", "secret": VALUES}),
            send(me, "POST", "/secrets", {"name": "x" * 300, "secret": VALUES}),
            send(me, "POST", "/secrets", {"name": "y", "secret": {"a/b": PASSWORD}}),
            send(me, "POST", "/secrets", {"name": "y", "secret": "{" + PASSWORD, "json": True}),
            send(me, "POST", "/secrets", {"name": "y", "secret": [{"key": "a", "value": [PASSWORD]}]}),
            send(me, "POST", "/secrets", {"name": "y", "secret": VALUES, "nonsense": 1}),
        ]
    assert [answer.status_code for answer in answers] == [200] * 7 + [409, 422, 422, 422, 422, 422]
    for answer in answers:
        assert "hunter2" not in read(answer)
    assert "hunter2" not in everything_stored()
    assert "hunter2" not in caplog.text


def test_the_check_that_nothing_is_stored_can_fail(me: Client, db_secret: dict[str, Any]) -> None:
    Secret.objects.update(path="hunter2")
    assert "hunter2" in everything_stored()


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ({"secret": {"a": "1", "b": 2, "c": True}}, {"a": "1", "b": "2", "c": "true"}),
        ({"secret": [{"key": "a", "value": "1"}]}, {"a": "1"}),
        ({"secret": "just text\n"}, {"value": "just text\n"}),
        ({"secret": '{"a": "1"}', "json": True}, {"a": "1"}),
        ({"secret": {"cert": "  line\nline\n"}}, {"cert": "  line\nline\n"}),
    ],
)
def test_values_come_in_the_contracts_shapes(me: Client, sent: dict[str, Any], kept: dict[str, str]) -> None:
    data(send(me, "POST", "/secrets", {"name": "s", **sent}))
    assert data(send(me, "GET", "/secrets/s?value=true"))["value"] == kept


@pytest.mark.parametrize(
    "secret",
    [
        *({}, [], "", None, 5),
        *({"": "x"}, {"a": None}, {"a": {}}, {"a": "\0"}, {"a": "x" * 70_000}),
        {str(n): "" for n in range(101)},
        [{"value": "x"}],
        [{"key": "a", "value": "1"}, {"key": "a", "value": "2"}],
    ],
)
def test_what_is_no_set_of_values_is_refused(me: Client, secret: Any) -> None:
    assert "secret:" in wrong(send(me, "POST", "/secrets", {"name": "s", "secret": secret}))
    assert not Secret.objects.exists()
    assert not VaultEntry.objects.filter(purpose="secret").exists()


def test_an_edit_is_a_version_and_an_older_one_is_restored(me: Client, db_secret: dict[str, Any]) -> None:
    assert data(send(me, "PUT", "/secrets/db", {"secret": {"password": "second"}}))["version"] == 2
    assert data(send(me, "PATCH", "/secrets/db", {"change": {"user": "root"}, "remove": ["password"]}))["keys"] == ["user"]
    assert data(send(me, "PATCH", "/secrets/db", {"change": {"user": "root"}}))["version"] == 3  # nothing else: no version
    assert send(me, "PATCH", "/secrets/db", {"change": {"user": "x"}, "based_on": 2}).json()["code"] == "version_moved"
    assert wrong(send(me, "PATCH", "/secrets/db", {"remove": ["user"]})).startswith("change:")
    data(send(me, "POST", "/secrets/db/actions/restore", {"version": 1}))
    assert data(send(me, "GET", "/secrets/db?value=true&reason=looking"))["value"] == VALUES
    assert data(send(me, "POST", "/secrets/db/actions/read-value", {"version": 2}))["value"] == {"password": "second"}
    assert send(me, "POST", "/secrets/db/actions/restore", {"version": 1}).json()["code"] == "same_values"
    assert wrong(send(me, "POST", "/secrets/db/actions/restore", {"version": 9})).startswith("version:")
    versions = data(send(me, "GET", "/secrets/db/versions"))
    assert [(one["number"], one["keys"]) for one in versions] == [
        (4, ["password", "user"]),
        (3, ["user"]),
        (2, ["password"]),
        (1, ["password", "user"]),
    ]


def test_old_versions_go_with_their_entries(me: Client, db_secret: dict[str, Any]) -> None:
    for number in range(MOST_VERSIONS + 3):
        data(send(me, "PATCH", "/secrets/db", {"change": {"n": str(number)}}))
    assert SecretVersion.objects.count() == MOST_VERSIONS == VaultEntry.objects.filter(purpose="secret").count()
    assert send(me, "POST", "/secrets/db/actions/read-value", {"version": 1}).status_code == 404
    data(send(me, "DELETE", "/secrets/db"))
    assert not Secret.objects.exists() and not VaultEntry.objects.filter(purpose="secret").exists()


def test_reading_a_value_is_a_right_of_its_own_and_on_record(me: Client, org: Organization, db_secret: dict[str, Any]) -> None:
    lister = make_client(org, "lister@example.org", allow("secret.read", "secret.edit", "secret.use", "secret.restore"))
    reader = make_client(org, "reader@example.org", allow("secret.read", "secret.read_value", tags={"env": "prod"}))
    assert data(send(lister, "GET", "/secrets/db"))["keys"] == ["password", "user"]
    for refused in (
        send(lister, "GET", "/secrets/db?value=true"),
        send(lister, "GET", "/secrets/db?value"),
        send(lister, "POST", "/secrets/db/actions/read-value", {}),
    ):
        assert refused.status_code == 403 and b"hunter2" not in refused.content
    assert Event.objects.filter(type="secret.read_value.refused").count() == 3
    edited = send(lister, "PATCH", "/secrets/db", {"change": {"user": "new"}})  # without seeing the password, which stays
    assert b"hunter2" not in edited.content
    answer = send(reader, "POST", "/secrets/db/actions/read-value", {"reason": "incident 42"})
    assert data(answer)["value"] == {**VALUES, "user": "new"}
    assert answer["Cache-Control"] == "no-store"
    event = Event.objects.get(type="secret.read_value.succeeded")
    assert event.detail["params"] == {"reason": "incident 42"} and Job.objects.filter(pk=event.job_id, action="secret.read_value").exists()
    data(send(me, "POST", "/secrets/db/actions/tag", {"tags": {"env": "dev"}}))
    assert send(reader, "GET", "/secrets/db?value=true").status_code == 404


def test_a_read_only_token_and_a_bulk_see_no_value(me: Client, db_secret: dict[str, Any]) -> None:
    token = data(send(me, "POST", "/auth/tokens", {"name": "r", "scope": "read"}))["token"]
    api = Client(headers={"Authorization": f"Bearer {token}"})
    assert send(api, "GET", "/secrets/db").status_code == 200
    assert send(api, "GET", "/secrets/db?value=true").status_code == 403
    assert send(me, "POST", "/bulk", {"kind": "secret", "ids": [db_secret["id"]], "action": "read_value"}).status_code == 422


@pytest.mark.parametrize("search", ["hunter2", "Tr0ub4dor", "value:hunter2", "key~hunter", "name~hunter", "-hunter2 path:hunter"])
def test_no_search_matches_a_value(me: Client, db_secret: dict[str, Any], search: str) -> None:
    answer = me.get("/api/v2/secrets", {"search": search})
    assert answer.status_code == 400 or answer.json()["data"] == []
    assert (
        me.get("/api/v2/events", {"search": search}).status_code == 400 or me.get("/api/v2/events", {"search": search}).json()["data"] == []
    )
    assert [row["name"] for row in me.get("/api/v2/secrets", {"search": "key:password tag:env=prod"}).json()["data"]] == ["db"]


def test_secrets_of_another_organization_are_not_found(me: Client, db_secret: dict[str, Any]) -> None:
    stranger = make_client(people.make_org("there"), "stranger@example.org", owner=True)
    assert data(send(stranger, "GET", "/secrets")) == []
    for name in (db_secret["id"], "db"):
        reads = [("GET", ""), ("GET", "?value=true"), ("GET", "/versions")]
        for method, path in (*reads, ("PUT", ""), ("DELETE", ""), ("POST", "/actions/restore")):
            assert send(stranger, method, f"/secrets/{name}{path}", None if method == "GET" else {}).status_code == 404
        assert send(stranger, "POST", f"/secrets/{name}/actions/read-value", {}).status_code == 404


def test_a_member_without_rights_makes_and_sees_none(org: Organization, db_secret: dict[str, Any]) -> None:
    plain = make_client(org, "plain@example.org")
    assert send(plain, "POST", "/secrets", {"name": "x", "secret": VALUES}).status_code == 403
    assert send(plain, "GET", "/secrets/db").status_code == 404
    assert send(plain, "GET", "/secrets/db?value=true").status_code == 404


def test_a_repeated_request_gives_the_value_again_from_a_sealed_answer(me: Client, db_secret: dict[str, Any]) -> None:
    for _ in range(2):
        answer = send(me, "POST", "/secrets/db/actions/read-value", {}, HTTP_IDEMPOTENCY_KEY="k")
        assert data(answer)["value"] == VALUES and answer["Cache-Control"] == "no-store"
    assert Event.objects.filter(type="secret.read_value.succeeded").count() == 1
    assert "hunter2" not in everything_stored()


@pytest.mark.django_db(transaction=True)
def test_rotating_the_vaults_keys_covers_every_version(me: Client, db_secret: dict[str, Any], tmp_path: Path, settings: Any) -> None:
    data(send(me, "PATCH", "/secrets/db", {"change": {"user": "second"}}))
    file = tmp_path / "vault.keys"
    file.write_text("\n".join([*vault.keys(), ""]))
    settings.VAULT_KEYS_FILE, vault._read = file, None
    try:
        call_command("rotate-keys", "--drop-old", verbosity=0)
        newest = Fernet(vault.keys()[0].encode())
        assert len(vault.keys()) == 1
        assert all(newest.decrypt(bytes(version.vault.ciphertext)) for version in SecretVersion.objects.select_related("vault"))
        assert data(send(me, "GET", "/secrets/db?value=true"))["value"] == {**VALUES, "user": "second"}
        assert data(send(me, "POST", "/secrets/db/actions/read-value", {"version": 1}))["value"] == VALUES
    finally:
        vault._read = None


def test_a_key_is_uploaded_by_reference(me: Client, org: Organization) -> None:
    from keys import pairs

    pair = pairs.generate()
    data(send(me, "POST", "/secrets", {"name": "ssh", "secret": {"private": pair.private}}))
    made = data(send(me, "POST", "/keys", {"name": "k", "private": "secret:ssh/private"}))
    assert made["public"] == pair.public
    maker = make_client(org, "maker@example.org", allow("key.*", "secret.read", "secret.read_value"))
    assert "no such secret" in wrong(send(maker, "POST", "/keys", {"name": "l", "private": "secret:ssh/private"}))
    assert Event.objects.filter(type="secret.use.succeeded").count() == 1


# --- private parts of keys --------------------------------------------------------------------------------------------


def body_of(pem: str) -> list[str]:
    return [line for line in pem.strip().splitlines() if line and not line.startswith(("-----", "Proc-Type", "DEK-Info"))]


def test_private_parts_are_in_the_vault_and_the_export_alone(
    me: Client, org: Organization, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A key is made, others are uploaded, one is exported; then everything that is stored and was answered is searched."""
    base = f"/o/{org.slug}"
    for number in "123":
        (tmp_path / number).mkdir()
    with caplog.at_level(logging.DEBUG):
        uploads = {
            "ecdsa": keygen(tmp_path / "1", "-t", "ecdsa", "-m", "PKCS8", "-N", ""),
            "rsa": keygen(tmp_path / "2", "-t", "rsa", "-b", "2048", "-m", "PEM", "-N", ""),
            "locked": keygen(tmp_path / "3", "-t", "ed25519", "-N", "open-sesame-42"),
        }
        answers = [send(me, "POST", "/keys", {"name": "made", "generate": True})]
        for name, pem in uploads.items():
            body = {"name": name, "private": pem, "passphrase": "open-sesame-42" if name == "locked" else ""}
            answers += [send(me, "POST", "/keys", body), send(me, "POST", "/keys", body)]  # the second is a conflict
        answers += [
            send(me, "POST", "/keys", {"name": "wrong", "private": uploads["locked"], "passphrase": "not-it-at-all"}),
            send(me, "POST", "/keys", {"name": "cut", "private": uploads["rsa"][:400]}),
            send(me, "POST", "/authorities", {"name": "ca"}),
            *(send(me, "GET", f"/{path}") for path in ("keys", "keys?format=csv", "keys/made", "authorities", "jobs", "events")),
            *(me.get(f"{base}/{path}") for path in ("keys", "keys/new?way=upload", "keys/authority", "log", "jobs", "log.jsonl")),
            me.post(f"{base}/keys/new", {"way": "upload", "name": "x", "private": uploads["ecdsa"][:-40]}),
        ]
        stored = {key.name: str(vault.read(key.vault_id)["private"]) for key in Key.objects.exclude(vault=None)}
        exported = send(me, "POST", "/keys/rsa/actions/export", {})
    assert set(stored) == {"made", *uploads}
    assert data(exported)["private"] == stored["rsa"] and exported["Cache-Control"] == "no-store"
    pems = [*stored.values(), *uploads.values(), vault.read(Authority.objects.get().vault_id)["private"]]
    publics = " ".join([*Key.objects.values_list("public", flat=True), Authority.objects.get().public])
    hidden = {line for pem in pems for line in body_of(pem) if line not in publics}  # a private file holds the public half too
    assert len(hidden) > 30
    hidden |= {"open-sesame-42", "not-it-at-all"}
    places = [read(answer) for answer in answers] + [everything_stored(), caplog.text] + [str(answer.headers) for answer in answers]
    assert not [(line[:20], place[:80]) for place in places for line in hidden if line in place and len(line) > 12]
    assert body_of(stored["rsa"])[2] in exported.content.decode()  # the search can find it
