"""How machines are reached: the logins that are tried, and what is said of a host that changed its key."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from core.actions import perform
from core.actor import Actor
from core.errors import AuthFailed, Conflict, Denied, HostKeyChanged, MistError, Rejected, Unavailable
from core.models import Event
from keys import pairs, ssh
from keys.models import HostKey, KeyAssociation
from machines.models import Machine
from machines.reach import reach, used
from tests.lab.sshd import Fake, Sshd, fake_ssh, new_key, public_line, silent_ssh, sshd
from tests.scripts.conftest import Place, member, place

__all__ = ["fake_ssh", "member", "place", "silent_ssh", "sshd"]
pytestmark = pytest.mark.django_db(transaction=True)


def login(place: Place, machine: Machine, pem: str, user: str, port: int, name: str = "other") -> KeyAssociation:
    return KeyAssociation.objects.create(
        org_id=machine.org_id, key=place.key(pem, name), machine=machine, user=user, port=port, last_used_at="2026-01-01T00:00Z"
    )


def whoami(place: Place, machine: Machine) -> str:
    """In a thread, and on a loop: both ways in."""
    way = reach(machine)
    with way.open(place.actor) as host:
        there = host.run(["sh", "-c", "echo in"]).text.strip()
    assert there == "in"

    async def ask(function: Any, *args: Any) -> Any:
        return function(*args)

    async def on_a_loop() -> str:
        second = reach(machine)
        connection = await second.connect(place.actor, ask)
        try:
            assert second.login is not None
            return second.login.what
        finally:
            connection.abort()

    assert way.login is not None
    loop = asyncio.new_event_loop()
    try:
        found = loop.run_until_complete(_with_database(on_a_loop()))
    finally:
        loop.close()
    assert found == way.login.what
    return found


async def _with_database(coroutine: Any) -> Any:
    import os

    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"  # the rows are read in this thread, which is the test's alone
    try:
        return await coroutine
    finally:
        del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


def test_a_login_that_is_refused_gives_way_to_the_next(place: Place, sshd: Sshd) -> None:
    machine = place.behind(sshd, "web")[0]
    login(place, machine, new_key(), sshd.user, sshd.port)  # used last, and no good any more
    assert reach(machine).logins[0].what == "key other"
    assert whoami(place, machine) != "key other"


def test_the_login_that_let_us_in_is_tried_first_the_next_time(place: Place, sshd: Sshd) -> None:
    machine = place.behind(sshd, "web")[0]
    login(place, machine, new_key(), sshd.user, sshd.port)
    way = reach(machine)
    with way.open(place.actor):
        assert way.login is not None
        used([way.login])
    assert reach(machine).logins[0].what == way.login.what != "key other"


def test_a_key_that_cannot_be_read_is_passed_over(place: Place, sshd: Sshd) -> None:
    machine = place.behind(sshd, "web")[0]
    encrypted = _encrypted()
    key = place.key(sshd.private_key, "whatever")
    row = login(place, machine, new_key(), sshd.user, sshd.port, "locked")
    from core import vault

    assert row.key.vault_id is not None and key.vault_id is not None
    vault.replace(row.key.vault_id, {"private": encrypted})
    assert whoami(place, machine) != "key locked"
    KeyAssociation.objects.exclude(pk=row.pk).delete()
    with pytest.raises(Rejected, match="passphrase") as caught:
        reach(machine).open(place.actor)
    assert caught.value.code == "key_encrypted"


def _encrypted() -> str:
    import asyncssh

    return asyncssh.generate_private_key("ssh-ed25519").export_private_key("openssh", passphrase="x", rounds=16).decode()


def test_nobody_is_let_in_as_somebody_else(place: Place, sshd: Sshd) -> None:
    machine = place.machine("web", port=sshd.port, pem=sshd.private_key, user="nobody-here", pinned=sshd.public_host_key)
    with pytest.raises(AuthFailed, match="does not let nobody-here in"):
        reach(machine).open(place.actor)
    with pytest.raises(Rejected, match="No key opens web as deploy"):
        reach(machine, user="deploy").open(place.actor)


def test_a_port_that_is_closed_costs_no_second_try(place: Place, sshd: Sshd) -> None:
    machine = place.behind(sshd, "web")[0]
    login(place, machine, new_key(), sshd.user, 1, "a")
    login(place, machine, new_key(), sshd.user, 1, "b")
    KeyAssociation.objects.filter(port=sshd.port).update(last_used_at="2025-01-01T00:00Z")
    HostKey.objects.create(
        org_id=machine.org_id, name="127.0.0.1:1", host="127.0.0.1", port=1, public=public_line(new_key()), fingerprint="x"
    )
    assert whoami(place, machine).startswith("key key-")


def test_an_sshd_that_says_nothing_is_given_up(place: Place, silent_ssh: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh, "LOGIN_S", 0.5)
    machine = place.machine("web", port=silent_ssh, pem=new_key())
    with pytest.raises(Unavailable, match="says nothing"):
        reach(machine).open(place.actor)
    assert not HostKey.objects.filter(port=silent_ssh).exists()


def test_a_changed_key_blocks_is_told_once_and_can_be_trusted_again(place: Place, sshd: Sshd) -> None:
    old = public_line(new_key())
    machine = place.machine("web", port=sshd.port, pem=sshd.private_key, user=sshd.user, pinned=old)
    for _ in range(2):
        with pytest.raises(HostKeyChanged):
            reach(machine).open(place.actor)
    shown = pairs.read_public(sshd.public_host_key).fingerprint
    event = Event.objects.get(type="host_key.changed.observed")
    assert event.target_kind == "host_key" and event.detail["offered"] == shown and event.detail["known"] == ["x"]
    row = HostKey.objects.get(host="127.0.0.1", port=sshd.port)
    assert row.offered == sshd.public_host_key
    with pytest.raises(Conflict, match="shows SHA256"):
        perform(place.actor, row, "retrust", {"fingerprint": "SHA256:another"})
    job = perform(place.actor, row, "retrust", {"fingerprint": shown})
    assert job.result == {"fingerprint": shown, "forgotten": ["x"], "forgotten_source": "first-use", "offered_from": ""}
    assert whoami(place, machine)
    with pytest.raises(Conflict) as caught:
        perform(place.actor, row, "retrust", {"fingerprint": shown})
    assert caught.value.code == "host_key_unchanged"


def test_who_has_not_the_right_cannot_trust_again(place: Place, sshd: Sshd, member: Callable[..., Actor]) -> None:
    machine = place.machine("web", port=sshd.port, pem=sshd.private_key, user=sshd.user, pinned=public_line(new_key()))
    with pytest.raises(MistError):
        reach(machine).open(place.actor)
    row = HostKey.objects.get(host="127.0.0.1", port=sshd.port)
    reader = member({"effect": "allow", "verbs": ["*.read"]})
    with pytest.raises(Denied):
        perform(reader, row, "retrust", {"fingerprint": pairs.read_public(sshd.public_host_key).fingerprint})
    row.refresh_from_db()
    assert row.offered


def test_many_connections_parse_a_key_once(place: Place, fake_ssh: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    import asyncssh

    async def done(process: Any) -> None:
        process.exit(0)

    machine = place.machine("web", port=fake_ssh.serve(done), pem=fake_ssh.private_key, pinned=fake_ssh.public_host_key)
    parsed = []
    real = asyncssh.import_private_key
    monkeypatch.setattr(asyncssh, "import_private_key", lambda *a, **k: parsed.append(1) or real(*a, **k))
    ssh._parsed.cache_clear()
    for _ in range(3):
        with reach(machine).open(place.actor) as host:
            assert host.run(["true"]).exit == 0
    assert len(parsed) == 1
