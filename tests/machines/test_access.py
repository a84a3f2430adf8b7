"""Who is let in: keys and the organization's authority on a real sshd, whose authorized_keys is edited and read again."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from core.actions import allowed, perform
from core.actor import Actor
from core.errors import AuthFailed, Conflict, Denied, Invalid, NotFound
from core.models import Event, Job, VaultEntry
from keys import pairs
from keys.models import Authority, AuthorityTrust, HostKey, Key, KeyAssociation
from machines.models import Machine
from machines.reach import reach
from tests.lab.sshd import Sshd, new_key, public_line
from tests.scripts.conftest import Place, client_of, finish, make_place, member, place

__all__ = ["member", "place"]
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Sshd]:
    """A real sshd whose authorized_keys is the test's own."""
    server = Sshd(tmp_path / "host", settings="LogLevel VERBOSE\n")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def machine(place: Place, host: Sshd) -> Machine:
    return place.behind(host, "web")[0]


def lines(host: Sshd) -> list[str]:
    return host.authorized_keys.read_text().splitlines()


def make_key(place: Place, name: str = "deploy", **how: Any) -> Key:
    return Key.objects.get(pk=perform(place.actor, Key, "create", {"name": name, **(how or {"generate": True})}).target_id)


def act(place: Place, machine: Machine, verb: str, **params: Any) -> Job:
    return finish(
        perform(place.actor, machine, verb, {name: getattr(v, "pk", v) if name != "key" else v.pk.hex for name, v in params.items()})
    )


def authority(place: Place) -> Authority:
    return Authority.objects.get(pk=perform(place.actor, Authority, "create").target_id)


# --- keys


def test_a_key_is_put_in_verified_and_taken_out_again(place: Place, machine: Machine, host: Sshd) -> None:
    before, key = lines(host), make_key(place)
    job = act(place, machine, "associate_key", key=key, user=host.user, port=host.port)
    assert job.state == "succeeded", job.error_detail
    assert [step["name"] for step in job.steps] == ["written", "verified"]
    assert lines(host) == [*before, f"{key.public} mist-{key.pk.hex[:12]}"]
    assert oct(host.authorized_keys.stat().st_mode & 0o777) == "0o600"
    assert {login.what for login in reach(machine).logins} >= {"key deploy"}
    again = act(place, machine, "associate_key", key=key, user=host.user, port=host.port)
    assert [step["name"] for step in again.steps] == ["there"] and len(lines(host)) == len(before) + 1
    assert machine.key_associations.count() == 2
    job = act(place, machine, "disassociate_key", key=key)
    assert job.state == "succeeded", job.error_detail
    assert lines(host) == before and machine.key_associations.count() == 1
    assert [e.type for e in Event.objects.filter(type__startswith="machine.disassociate_key").order_by("at")] == [
        "machine.disassociate_key.requested",
        "machine.disassociate_key.succeeded",
    ]


def test_what_others_wrote_stays_with_its_options_and_a_line_without_an_end(place: Place, machine: Machine, host: Sshd) -> None:
    theirs = (
        f'# ours\nfrom="127.0.0.1",command="sh -c \'echo hi\'" {public_line(new_key())} eve@example.org\n{public_line(host.private_key)}'
    )
    host.authorized_keys.write_text(theirs)
    key = make_key(place)
    act(place, machine, "associate_key", key=key, user=host.user, port=host.port)
    assert host.authorized_keys.read_text().startswith(theirs + "\n")
    act(place, machine, "disassociate_key", key=key)
    assert host.authorized_keys.read_text() == theirs + "\n"


def test_a_key_with_options_of_the_hosts_own_is_left_as_it_is(place: Place, machine: Machine, host: Sshd) -> None:
    key = make_key(place)
    with host.authorized_keys.open("a") as file:
        file.write(f"no-pty {key.public} by hand\n")
    before = lines(host)
    job = act(place, machine, "associate_key", key=key, user=host.user, port=host.port)
    assert job.state == "succeeded" and lines(host) == before


def test_a_link_is_followed_and_stays_one(place: Place, machine: Machine, host: Sshd, tmp_path: Path) -> None:
    real = tmp_path / "real"
    host.authorized_keys.rename(real)
    host.authorized_keys.symlink_to(real)
    key = make_key(place)
    assert act(place, machine, "associate_key", key=key, user=host.user, port=host.port).state == "succeeded"
    assert host.authorized_keys.is_symlink() and key.public in real.read_text()


def test_the_public_half_alone_is_put_in_and_not_verified(place: Place, machine: Machine, host: Sshd) -> None:
    key = make_key(place, "theirs", public=public_line(new_key()))
    job = act(place, machine, "associate_key", key=key, user=host.user, port=host.port)
    assert [step["name"] for step in job.steps] == ["written", "not_verified"] and key.public in host.authorized_keys.read_text()


def test_a_line_that_sshd_does_not_honour_is_taken_out_again(place: Place, machine: Machine, host: Sshd, tmp_path: Path) -> None:
    shown = tmp_path / "read-by-sshd"
    shown.write_text(public_line(host.private_key) + "\n")
    config = host.directory / "sshd_config"
    config.write_text(config.read_text().replace(str(host.authorized_keys), str(shown)))
    host.stop()
    host.start()
    key, before = make_key(place), lines(host)
    job = act(place, machine, "associate_key", key=key, user=host.user, port=host.port)
    assert (job.state, job.error_code) == ("failed", "not_let_in") and "AuthorizedKeysFile" in job.error_detail
    assert lines(host) == before and machine.key_associations.count() == 1


def test_without_a_login_the_line_is_shown(place: Place, machine: Machine, host: Sshd) -> None:
    KeyAssociation.objects.all().delete()
    key = make_key(place)
    job = act(place, machine, "associate_key", key=key, user=host.user, port=host.port)
    assert (job.state, job.error_code) == ("failed", "no_way_in") and key.public in job.error_detail
    assert not machine.key_associations.exists()


def test_a_host_that_is_away_changes_nothing_and_can_be_recorded_only(place: Place, machine: Machine, host: Sshd) -> None:
    key = make_key(place)
    host.stop()
    job = act(place, machine, "associate_key", key=key, user=host.user, port=host.port)
    assert job.state == "failed" and "record_only" in job.error_detail and machine.key_associations.count() == 1
    assert act(place, machine, "associate_key", key=key, user=host.user, port=host.port, record_only=True).state == "succeeded"
    assert machine.key_associations.count() == 2
    job = act(place, machine, "disassociate_key", key=key)
    assert job.state == "failed" and machine.key_associations.count() == 2
    job = act(place, machine, "disassociate_key", key=key, record_only=True)
    assert job.result is not None and job.result["recorded"] and machine.key_associations.count() == 1


def test_the_last_way_in_goes_only_when_that_is_confirmed(place: Place, machine: Machine, host: Sshd) -> None:
    key = machine.key_associations.get().key
    with pytest.raises(Conflict) as caught:
        perform(place.actor, machine, "disassociate_key", {"key": key.pk.hex})
    assert caught.value.code == "last_way_in" and lines(host)
    dead = make_key(place, "dead")  # known here, and not let in there: no way in either
    KeyAssociation.objects.create(org_id=machine.org_id, machine=machine, key=dead, user=host.user, port=host.port)
    job = act(place, machine, "disassociate_key", key=key)
    assert (job.state, job.error_code) == ("failed", "last_way_in") and len(lines(host)) == 1
    assert act(place, machine, "disassociate_key", key=key, confirm=True).state == "succeeded"
    assert lines(host) == []
    with pytest.raises(AuthFailed):
        reach(machine).open(place.actor)


def test_another_user_is_reached_as_root(place: Place, machine: Machine, host: Sshd) -> None:
    if host.user != "root":
        pytest.skip("needs root")
    subprocess.run(["useradd", "-m", "mist-test-deploy"], check=True)
    home = Path("/home/mist-test-deploy")
    try:
        key = make_key(place, "theirs", public=public_line(new_key()))
        assert act(place, machine, "associate_key", key=key, user="mist-test-deploy", port=host.port).state == "succeeded"
        file = home / ".ssh" / "authorized_keys"
        assert key.public in file.read_text() and file.owner() == file.parent.owner() == "mist-test-deploy"
        assert act(place, machine, "disassociate_key", key=key).state == "succeeded"
        assert file.read_text() == ""
        job = act(place, machine, "associate_key", key=key, user="nobody-here", port=host.port)
        assert job.error_code == "not_written" and "there is no user nobody-here" in job.error_detail
    finally:
        subprocess.run(["userdel", "-rf", "mist-test-deploy"], check=False, capture_output=True)


@pytest.mark.parametrize("user", ["$(id)", "a b", "-x", "", "a" * 65, "a\nb", "../root"])
def test_a_user_that_cannot_be_one_is_refused(place: Place, machine: Machine, user: str) -> None:
    with pytest.raises(Invalid):
        perform(place.actor, machine, "associate_key", {"key": make_key(place).pk.hex, "user": user})


# --- the authority


def test_a_machine_that_trusts_the_authority_is_entered_by_a_certificate_of_five_minutes(
    place: Place, machine: Machine, host: Sshd
) -> None:
    ca = authority(place)
    job = act(place, machine, "trust_ca")
    assert job.state == "succeeded", job.error_detail
    assert job.result == {"authority": ca.pk.hex, "user": host.user, "port": host.port, "recorded": False}
    assert lines(host)[-1] == ca.line and len(lines(host)) == 2
    assert [step["name"] for step in act(place, machine, "trust_ca").steps] == ["there"] and len(lines(host)) == 2
    KeyAssociation.objects.all().delete()
    host.authorized_keys.write_text(f"{ca.line}\n")
    way = reach(machine)
    with way.open(place.actor) as there:
        assert there.run(["echo", "in"]).text == "in\n"
    assert way.login is not None and way.login.what == "certificate of ssh-ca"
    log = (host.directory / "log").read_text()
    assert re.search(r"ED25519-CERT .* ID mist \S+ .* CA ED25519 " + re.escape(ca.fingerprint), log), log[-600:]
    seconds = _certificate(way.login, place.actor)._valid_before - _certificate(way.login, place.actor)._valid_after
    assert 295 <= seconds <= 305


def _certificate(login: Any, actor: Actor) -> Any:
    return login.client_keys(actor)[0][1]


def test_each_login_has_a_key_of_its_own_for_its_user_alone(place: Place, machine: Machine, host: Sshd) -> None:
    authority(place)
    act(place, machine, "trust_ca")
    login = reach(machine).logins[0]
    (first, one), (second, two) = login.client_keys(place.actor)[0], login.client_keys(place.actor)[0]
    assert first.export_public_key() != second.export_public_key()
    assert one.principals == two.principals == [host.user]


def test_a_certificate_that_has_expired_or_is_anothers_opens_nothing(
    place: Place, machine: Machine, host: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    ca = authority(place)
    host.authorized_keys.write_text(f"{ca.line}\n")
    KeyAssociation.objects.all().delete()
    AuthorityTrust.objects.create(org_id=machine.org_id, machine=machine, authority=ca, user=host.user, port=host.port)
    reach(machine).open(place.actor).close()
    import time

    real = time.time
    with monkeypatch.context() as patched:
        patched.setattr("keys.ssh.time.time", lambda: real() - 600)
        with pytest.raises(AuthFailed):
            reach(machine).open(place.actor)
    perform(place.actor, ca, "rotate")
    AuthorityTrust.objects.update(authority=Authority.objects.get(is_current=True))
    with pytest.raises(AuthFailed):
        reach(machine).open(place.actor)


def test_the_authority_is_rotated_and_machines_follow_one_by_one(place: Place, machine: Machine, host: Sshd) -> None:
    old = authority(place)
    act(place, machine, "trust_ca")
    job = perform(place.actor, old, "rotate")
    old.refresh_from_db()
    new = Authority.objects.get(is_current=True)
    assert job.result is not None and job.result["machines"] == 1 and new.pk != old.pk and old.retired_at
    with pytest.raises(Conflict):
        perform(place.actor, old, "rotate")
    with pytest.raises(Conflict) as caught:
        perform(place.actor, old, "delete")
    assert caught.value.code == "authority_trusted"
    reach(machine).open(place.actor).close()  # the old one signs for it still
    KeyAssociation.objects.all().delete()
    host.authorized_keys.write_text(f"{old.line}\n")
    assert act(place, machine, "trust_ca").state == "succeeded"
    assert lines(host) == [new.line]
    entry = old.vault_id
    perform(place.actor, old, "delete")
    assert not VaultEntry.objects.filter(pk=entry).exists()
    reach(machine).open(place.actor).close()


def test_trust_is_taken_back(place: Place, machine: Machine, host: Sshd) -> None:
    authority(place)
    before = lines(host)
    act(place, machine, "trust_ca")
    assert allowed(place.actor, machine)["distrust_ca"] is True
    assert act(place, machine, "distrust_ca").state == "succeeded"
    assert lines(host) == before and not machine.authority_trusts.exists()
    with pytest.raises(NotFound):
        perform(place.actor, machine, "distrust_ca")


def test_the_last_trust_goes_only_when_that_is_confirmed(place: Place, machine: Machine, host: Sshd) -> None:
    ca = authority(place)
    act(place, machine, "trust_ca")
    KeyAssociation.objects.all().delete()
    with pytest.raises(Conflict) as caught:
        perform(place.actor, machine, "distrust_ca")
    assert caught.value.code == "last_way_in"
    assert act(place, machine, "distrust_ca", confirm=True).state == "succeeded"
    assert ca.line not in lines(host)


def test_without_an_authority_there_is_nothing_to_trust(place: Place, machine: Machine) -> None:
    with pytest.raises(Conflict) as caught:
        perform(place.actor, machine, "trust_ca")
    assert caught.value.code == "no_authority"


def test_only_who_may_makes_and_rotates_the_authority(place: Place, machine: Machine, member: Callable[..., Actor]) -> None:
    reader = member({"effect": "allow", "verbs": ["*.read"]})
    with pytest.raises(Denied):
        perform(reader, Authority, "create")
    ca = authority(place)
    with pytest.raises(Conflict):
        perform(place.actor, Authority, "create", {"name": "second"})
    for verb in ("rotate", "delete"):
        with pytest.raises(Denied):
            perform(reader, ca, verb)
    for verb in ("trust_ca", "distrust_ca"):
        with pytest.raises(Denied):
            perform(reader, machine, verb)
    other = make_place("there")
    assert not Authority.objects.visible_to(other.actor).exists()
    with pytest.raises(NotFound):
        perform(other.actor, ca, "rotate")


def test_a_script_runs_by_certificate_and_says_so(place: Place, machine: Machine, host: Sshd) -> None:
    ca = authority(place)
    act(place, machine, "trust_ca")
    host.authorized_keys.write_text(f"{ca.line}\n")
    run = place.run(place.script("#!/bin/sh\necho by certificate\n"), [machine])
    assert run.state == "succeeded", run.note
    assert AuthorityTrust.objects.get().last_used_at is not None


def test_the_private_part_of_an_authority_is_nowhere_but_in_the_vault(place: Place, machine: Machine) -> None:
    ca = authority(place)
    act(place, machine, "trust_ca")
    api = client_of(place)
    seen = api.get(f"/api/v2/authorities/{ca.pk.hex}").json()["data"]
    assert seen["line"] == ca.line and seen["logins"] == 1 and seen["current"]
    trust = api.get(f"/api/v2/machines/{machine.pk.hex}").json()["data"]["authority_trusts"][0]
    assert trust["authority"] == "ssh-ca" or trust["authority"]["name"] == "ssh-ca"
    from core import vault

    secret = vault.read(ca.vault_id)["private"]
    body = secret.splitlines()[2]
    told = [str(seen), *(str(e.__dict__) for e in Event.objects.all()), *(str(j.__dict__) for j in Job.objects.all())]
    assert body and not any(body in one for one in told)
    assert api.post(f"/api/v2/authorities/{ca.pk.hex}/actions/export").status_code == 404


def test_the_api_takes_confirm_and_record_only(place: Place, machine: Machine, host: Sshd) -> None:
    api, key = client_of(place), machine.key_associations.get().key
    path = f"/api/v2/machines/{machine.pk.hex}/actions"
    refused = api.delete(f"{path}/disassociate-key", {"key": key.pk.hex}, format="json")
    assert refused.status_code == 409 and refused.json()["code"] == "last_way_in"
    assert api.post(f"{path}/trust-ca", {}, format="json").json()["code"] == "no_authority"
    api.post("/api/v2/authorities", {"name": "ours"}, format="json")
    answer = api.post(f"{path}/trust-ca", {"user": "root", "record_only": True}, format="json")
    assert answer.status_code == 200 and answer.json()["data"]["state"] == "queued"
    assert HostKey.objects.get().public == pairs.read_public(host.public_host_key).public
    assert asyncssh.import_public_key(Authority.objects.get().public).get_algorithm() == "ssh-ed25519"
