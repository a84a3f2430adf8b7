"""Keys over HTTP: made, uploaded, exported under record, and the private part nowhere else; hosts trusted and forgotten."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from django.test import Client

from accounts import people
from accounts.models import Membership, Organization, Team, User
from core import vault
from core.models import Event, Job, Revision, VaultEntry
from keys import pairs
from keys.models import HostKey, Key

pytestmark = pytest.mark.django_db

Statement = dict[str, Any]


def make_client(org: Organization, email: str, *statements: Statement, owner: bool = False) -> Client:
    user = User.objects.create_user(email, "correct horse battery")
    Membership.objects.create(org=org, user=user)
    if owner:
        Team.objects.get(org=org, is_owners=True).members.add(user)
    if statements:
        Team.objects.create(org=org, name=email, statements=list(statements)).members.add(user)
    client = Client()
    client.force_login(user, backend=people.BACKEND)
    return client


def allow(*verbs: str, **what: Any) -> Statement:
    return {"effect": "allow", "verbs": list(verbs), "what": what}


@pytest.fixture
def org() -> Organization:
    return people.make_org("here")


@pytest.fixture
def me(org: Organization) -> Client:
    return make_client(org, "owner@example.org", owner=True)


def send(client: Client, method: str, path: str, body: Any = None, **extra: str) -> Any:
    return client.generic(method, f"/api/v2{path}", json.dumps(body) if body is not None else "", content_type="application/json", **extra)


def data(answer: Any) -> Any:
    assert answer.status_code == 200, answer.content
    return answer.json()["data"]


def wrong(answer: Any) -> str:
    assert answer.status_code == 422, answer.content
    return " ".join(f"{name}: {' '.join(what)}" for name, what in answer.json()["fields"].items())


def kept_anywhere(secret: str) -> bool:
    """Does a line of a secret stand in a job, event, earlier version or key, or unsealed in the vault?"""
    body = [line for line in secret.strip().splitlines() if line and not line.startswith(("-----", "Proc-Type", "DEK-Info"))]
    rows = [*Job.objects.values(), *Event.objects.values(), *Revision.objects.values(), *Key.objects.values()]
    text = json.dumps(rows, default=str) + "".join(repr(bytes(one.ciphertext)) for one in VaultEntry.objects.all())
    return any(line in text for line in body)


def keygen(folder: Path, *args: str) -> str:
    subprocess.run(["ssh-keygen", "-q", "-f", str(folder / "id"), *args], check=True)
    return (folder / "id").read_text()


def test_a_generated_key_is_ed25519_the_default_and_its_private_part_only_in_the_vault(me: Client) -> None:
    made = data(send(me, "POST", "/keys", {"name": "first", "generate": True}))
    assert (made["algorithm"], made["default"], made["type"]) == ("ssh-ed25519", True, "ssh")
    assert "private" not in made
    key = Key.objects.get()
    assert key.vault_id is not None
    private = vault.read(key.vault_id)["private"]
    assert asyncssh.import_private_key(private).export_public_key().decode().split()[:2] == made["public"].split()
    assert not kept_anywhere(private)
    assert data(send(me, "POST", "/keys", {"name": "second", "generate": True, "algorithm": "ecdsa-sha2-nistp256"}))["default"] is False


def test_a_dry_key_is_shown_and_not_kept(me: Client) -> None:
    made = data(send(me, "POST", "/keys", {"generate": True, "dry": True}, HTTP_IDEMPOTENCY_KEY="k"))
    assert asyncssh.import_private_key(made["private"]).export_public_key().decode().split()[:2] == made["public"].split()
    assert not Key.objects.exists()
    assert not kept_anywhere(made["private"])
    again = data(send(me, "POST", "/keys", {"generate": True, "dry": True}, HTTP_IDEMPOTENCY_KEY="k"))
    assert again == made
    assert data(send(me, "POST", "/keys", {"generate": True, "dry": True}))["public"] != made["public"]


@pytest.mark.parametrize(
    "args",
    [
        ("-t", "ed25519", "-N", ""),
        ("-t", "ed25519", "-N", "opensesame"),
        ("-t", "rsa", "-b", "2048", "-m", "PEM", "-N", ""),
        ("-t", "rsa", "-b", "2048", "-m", "PEM", "-N", "opensesame"),
        ("-t", "ecdsa", "-m", "PKCS8", "-N", ""),
        ("-t", "ecdsa", "-m", "PKCS8", "-N", "opensesame"),
    ],
)
def test_keys_of_ssh_keygen_are_read(me: Client, tmp_path: Path, args: tuple[str, ...]) -> None:
    private = keygen(tmp_path, *args)
    body = {"name": "mine", "private": private, **({"passphrase": args[-1]} if args[-1] else {})}
    made = data(send(me, "POST", "/keys", body))
    assert made["public"] == " ".join((tmp_path / "id.pub").read_text().split()[:2])
    assert not kept_anywhere(private)
    assert not kept_anywhere("opensesame")


def test_an_encrypted_key_needs_its_passphrase(me: Client, tmp_path: Path) -> None:
    private = keygen(tmp_path, "-t", "ed25519", "-N", "opensesame")
    assert wrong(send(me, "POST", "/keys", {"name": "k", "private": private})).startswith("passphrase: This key is encrypted")
    assert (
        wrong(send(me, "POST", "/keys", {"name": "k", "private": private, "passphrase": "no"}))
        == "passphrase: The passphrase is not right."
    )
    assert not kept_anywhere(private)
    assert Event.objects.filter(type="key.create.refused").count() == 2


def test_a_key_that_takes_minutes_to_open_is_refused_at_once(tmp_path: Path) -> None:
    private = keygen(tmp_path, "-t", "ed25519", "-N", "opensesame", "-a", "16")
    head, body, tail = private.partition("\n")[0], private.strip().splitlines()[1:-1], private.strip().splitlines()[-1]
    raw = base64.b64decode("".join(body)).replace(
        (16).to_bytes(4, "big") + (1).to_bytes(4, "big"), (2**30).to_bytes(4, "big") + (1).to_bytes(4, "big"), 1
    )
    with pytest.raises(pairs.Invalid) as refused:
        pairs.read_private(f"{head}\n{base64.b64encode(raw).decode()}\n{tail}\n", "opensesame")
    assert "too long" in refused.value.fields["private"][0]


@pytest.mark.parametrize(
    "sent",
    [
        {"private": "not a key"},
        {"private": "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----"},
        {"private": "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----", "passphrase": "x"},
        {"private": "-----BEGIN RSA PRIVATE KEY-----\n\n-----END RSA PRIVATE KEY-----"},
        {"private": "x" * 40_000},
        {"private": "a\x00b"},
        {"public": "ssh-ed25519 nonsense"},
        {"public": "-----BEGIN OPENSSH PRIVATE KEY-----"},
        {"generate": True, "algorithm": "ssh-dss"},
        {"generate": True, "certificate": "ssh-ed25519-cert-v01@openssh.com AAAA"},
        {},
    ],
)
def test_what_is_no_key_is_refused(me: Client, sent: dict[str, Any]) -> None:
    wrong(send(me, "POST", "/keys", {"name": "k", **sent}))
    assert not Key.objects.exists()
    assert not VaultEntry.objects.filter(purpose="key").exists()


@pytest.mark.parametrize("name", ["", "a\x00b", "x" * 256, "a\x1b[31m"])
def test_a_name_that_breaks_things_is_refused(me: Client, name: str) -> None:
    assert wrong(send(me, "POST", "/keys", {"name": name, "generate": True})).startswith("name:")


def test_a_certificate_is_of_its_key(me: Client) -> None:
    authority = asyncssh.generate_private_key("ssh-ed25519")
    key, other = asyncssh.generate_private_key("ssh-ed25519"), asyncssh.generate_private_key("ssh-ed25519")
    certificate = authority.generate_user_certificate(key, "me").export_certificate().decode()
    body = {"name": "k", "certificate": certificate}
    assert data(send(me, "POST", "/keys", {**body, "private": key.export_private_key().decode()}))["type"] == "signed_ssh"
    assert wrong(send(me, "POST", "/keys", {**body, "private": other.export_private_key().decode()})) == (
        "certificate: This certificate is of another key."
    )


def test_a_key_is_renamed_made_default_tagged_and_deleted(me: Client) -> None:
    one = data(send(me, "POST", "/keys", {"name": "one", "generate": True}))
    two = data(send(me, "POST", "/keys", {"name": "two", "generate": True, "tags": {"env": "dev"}}))
    assert data(send(me, "PUT", "/keys/two?name=three&default=true"))["name"] == "three"
    assert {row["name"]: row["default"] for row in data(send(me, "GET", "/keys"))} == {"one": False, "three": True}
    data(send(me, "POST", f"/keys/{two['id']}/actions/tag", {"tags": {"a": "b"}, "remove": ["env"]}))
    assert data(send(me, "GET", "/keys/three"))["tags"] == {"a": "b"}
    assert send(me, "PUT", f"/keys/{one['id']}", {"name": "THREE"}).status_code == 409
    entries = VaultEntry.objects.count()
    data(send(me, "DELETE", f"/keys/{one['id']}"))
    assert VaultEntry.objects.count() == entries - 1


def test_the_private_part_comes_out_only_under_record(me: Client, org: Organization) -> None:
    made = data(send(me, "POST", "/keys", {"name": "k", "generate": True}))
    reader = make_client(org, "reader@example.org", allow("key.read"))
    answer = send(me, "GET", "/keys/k?private=true")
    private = data(answer)["private"]
    assert asyncssh.import_private_key(private).export_public_key().decode().split()[:2] == made["public"].split()
    assert answer["Cache-Control"] == "no-store"
    assert Event.objects.filter(type="key.export.succeeded", org_id=org.pk).count() == 1
    assert data(send(me, "POST", "/keys/k/actions/export", {}))["private"] == private
    assert data(send(reader, "GET", "/keys/k"))["actions"] == {}
    assert send(reader, "GET", "/keys/k?private=true").status_code == 403
    assert Event.objects.filter(type="key.export.refused").count() == 1
    assert not kept_anywhere(private)


def test_a_public_key_alone_has_nothing_to_export(me: Client) -> None:
    line = pairs.generate().public
    assert data(send(me, "POST", "/keys", {"name": "k", "public": line + " somebody@somewhere"}))["has_private"] is False
    assert send(me, "GET", "/keys/k?private=true").json()["code"] == "key_without_private"


def test_keys_of_another_organization_are_not_found(me: Client) -> None:
    made = data(send(me, "POST", "/keys", {"name": "k", "generate": True}))
    stranger = make_client(people.make_org("there"), "stranger@example.org", owner=True)
    assert data(send(stranger, "GET", "/keys")) == []
    for method, path in (("GET", ""), ("GET", "?private=true"), ("PUT", ""), ("DELETE", ""), ("POST", "/actions/export")):
        for name in (made["id"], "k"):
            assert send(stranger, method, f"/keys/{name}{path}", None if method == "GET" else {}).status_code == 404


def test_a_member_without_rights_makes_and_sees_no_keys(me: Client, org: Organization) -> None:
    data(send(me, "POST", "/keys", {"name": "k", "generate": True}))
    plain = make_client(org, "plain@example.org")
    assert send(plain, "POST", "/keys", {"name": "x", "generate": True}).status_code == 403
    assert send(plain, "GET", "/keys/k").status_code == 404
    assert send(plain, "POST", "/host-keys", {"host": "h", "public": pairs.generate().public}).status_code == 403


def test_a_new_host_key_is_trusted_in_place_of_the_old_one(me: Client, org: Organization) -> None:
    old, new = pairs.generate(), pairs.generate()
    HostKey.objects.create(org=org, name="h:22", host="h", public=old.public, fingerprint=old.fingerprint)
    made = data(send(me, "POST", "/host-keys", {"host": "h", "public": new.public + " root@h"}))
    assert (made["fingerprint"], made["forgotten"], made["source"]) == (new.fingerprint, [old.fingerprint], "operator")
    assert [row["fingerprint"] for row in data(send(me, "GET", "/host-keys?search=host:h"))] == [new.fingerprint]
    assert Event.objects.filter(type="host_key.trust.succeeded", org_id=org.pk).count() == 1
    assert send(me, "POST", "/host-keys", {"host": "h", "public": new.public}).json()["code"] == "host_key_known"
    assert wrong(send(me, "POST", "/host-keys", {"host": "h; rm", "public": new.public})).startswith("host:")
    assert wrong(send(me, "POST", "/host-keys", {"host": "h", "public": "x"})).startswith("public:")
    data(send(me, "DELETE", f"/host-keys/{made['id']}"))
    assert not HostKey.objects.exists()
