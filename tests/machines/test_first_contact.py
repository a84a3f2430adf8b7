"""The first time a machine is dialled: its key is known by cloud-init, by its console, or trusted at sight, in this order."""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import asyncssh
import pytest
from django.utils import timezone

from clouds.models import Cloud
from clouds.providers import _console
from core import vault
from core.actions import perform
from core.actor import Actor
from core.errors import Conflict, Denied, HostKeyChanged, HostKeyUnknown
from core.models import Event
from keys import hostkeys, pairs
from keys.models import GivenHostKey, HostKey
from machines.models import Machine
from machines.reach import reach
from machines.tasks import compare_host_keys
from tests.clouds.providers.amazon.conftest import SECRET, ec2, moto_port
from tests.lab.ec2_front import Front, body, error
from tests.lab.sshd import Fake, Sshd, fake_ssh, new_key, public_line, sshd
from tests.scripts.conftest import Place, member, place

__all__ = ["ec2", "fake_ssh", "member", "moto_port", "place", "sshd"]

RSA = " ".join(asyncssh.generate_private_key("ssh-rsa", key_size=2048).export_public_key("openssh").decode().split()[:2])
OTHER = public_line(new_key())


def unmet(place: Place, server: Sshd, name: str = "new", **more: Any) -> Machine:
    return place.machine(name, port=server.port, pem=server.private_key, user=server.user, **more)


def give(machine: Machine, line: str) -> None:
    GivenHostKey.objects.create(machine=machine, public=line, fingerprint=hostkeys.fingerprint(line))


def ran(place: Place, machine: Machine) -> str:
    with reach(machine).open(place.actor) as host:
        return host.run(["echo", "hello"]).text


@pytest.mark.django_db
def test_the_key_that_was_put_in_is_pinned_before_anything_is_said(place: Place, sshd: Sshd) -> None:
    machine = unmet(place, sshd)
    give(machine, sshd.public_host_key)
    place.cloud.extra["strict_host_keys"] = True  # no first use here, and none is needed
    place.cloud.save()
    assert place.run(place.script(), [machine]).state == "succeeded"
    assert HostKey.objects.get().source == "cloud-init"
    assert Event.objects.get(type="key.host_trusted.succeeded", org_id=place.actor.org_id).detail["source"] == "cloud-init"
    assert ran(place, machine) == "hello\n"


@pytest.mark.django_db
def test_a_machine_that_shows_another_key_than_was_put_in_is_told_nothing(place: Place, fake_ssh: Fake) -> None:
    commands: list[str | None] = []

    async def handler(process: asyncssh.SSHServerProcess[bytes]) -> None:
        commands.append(process.command)
        process.exit(0)

    machine = place.machine("new", port=fake_ssh.serve(handler), pem=fake_ssh.private_key)
    give(machine, OTHER)
    with pytest.raises(HostKeyChanged) as refused:
        ran(place, machine)
    assert refused.value.offered == fake_ssh.public_host_key
    host = place.run(place.script(), [machine]).hosts.get()
    assert (host.state, host.code) == ("failed", "host_key_changed")
    assert commands == []
    known = HostKey.objects.get()
    assert (known.public, known.source, known.offered) == (OTHER, "cloud-init", fake_ssh.public_host_key)
    seen = Event.objects.get(type="host_key.changed.observed", org_id=place.actor.org_id)  # told once
    assert seen.detail["known"] == [hostkeys.fingerprint(OTHER)]
    perform(place.actor, known, "retrust", {"fingerprint": hostkeys.fingerprint(fake_ssh.public_host_key)})
    ran(place, machine)  # an image without cloud-init: somebody looked
    assert commands == ["echo hello"]


@pytest.mark.django_db
def test_a_machine_of_which_nothing_is_known_is_trusted_at_first_use(place: Place, sshd: Sshd) -> None:
    assert ran(place, unmet(place, sshd)) == "hello\n"
    assert HostKey.objects.get().source == "first-use"


# --- the console ------------------------------------------------------------------------------------------------------


PRINTED = """[    0.000000] Linux version 6.1.0
ci-info: no authorized SSH keys
ec2: #############
ec2: -----BEGIN SSH HOST KEY FINGERPRINTS-----
{prints}
ec2: -----END SSH HOST KEY FINGERPRINTS-----
ec2: #############
-----BEGIN SSH HOST KEY KEYS-----
{keys}
-----END SSH HOST KEY KEYS-----
[   15.1] cloud-init done
""".replace("\n", "\r\n")


def printed(*lines: str) -> str:
    """As cloud-init prints it, in between what a kernel says."""
    prints = "\r\n".join(f"ec2: 256 {hostkeys.fingerprint(line)} root@ip-10-0-0-1 (ED25519)" for line in lines)
    return PRINTED.format(prints=prints, keys="\r\n".join(f"{line} root@ip-10-0-0-1" for line in lines))


def answered(text: str) -> Any:
    encoded = base64.b64encode(text.encode()).decode()
    return body(
        f'<GetConsoleOutputResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>r</requestId><instanceId>i-1</instanceId>'
        f"<timestamp>2026-11-29T10:00:00.000Z</timestamp><output>{encoded}</output></GetConsoleOutputResponse>".encode()
    )


def test_keys_are_read_out_of_what_a_console_shows() -> None:
    line = pairs.generate().public
    assert set(_console.fingerprints(printed(line, RSA))) == {hostkeys.fingerprint(line), hostkeys.fingerprint(RSA)}
    assert _console.fingerprints(printed(OTHER) + printed(line)) == [hostkeys.fingerprint(line)]  # made from an image that had booted
    only_prints = printed(line).split("-----BEGIN SSH HOST KEY KEYS-----")[0]
    assert _console.fingerprints(only_prints) == [hostkeys.fingerprint(line)]
    for nothing in ("", "SHA256:" + "A" * 43, line, printed(), printed(line).split("-----END SSH HOST KEY FINGER")[0], "\0\ufffd" * 1000):
        assert _console.fingerprints(nothing) == []


@pytest.fixture
def aws(place: Place, ec2: Front) -> Cloud:
    """The place's cloud, at the lab's EC2."""
    entry = vault.put(place.actor.org_id, "cloud", {"apisecret": SECRET})
    config = {"region": "us-east-1", "apikey": "AKIAIOSFODNN7EXAMPLE", "endpoint": f"http://127.0.0.1:{ec2.port}"}
    Cloud.objects.filter(pk=place.cloud.pk).update(provider="amazon", config=config, vault=entry)
    place.cloud.refresh_from_db()
    return place.cloud


@pytest.mark.django_db(transaction=True)  # it is read in another thread, on a connection of its own
def test_a_key_that_the_console_printed_is_pinned_by_it(place: Place, aws: Cloud, ec2: Front, sshd: Sshd) -> None:
    ec2.answer("GetConsoleOutput", answered(printed(RSA, sshd.public_host_key)))
    machine = unmet(place, sshd)
    run = place.run(place.script(), [machine])  # on the loop
    assert run.state == "succeeded", run.hosts.get().detail
    assert HostKey.objects.get().source == "console"
    HostKey.objects.all().delete()
    assert ran(place, machine) == "hello\n"  # in a thread
    assert HostKey.objects.get().source == "console"
    ran(place, machine)
    assert ec2.actions().count("GetConsoleOutput") == 2  # asked at first contact alone
    assert ec2.params("GetConsoleOutput")[0]["InstanceId"] == "new"


@pytest.mark.django_db
def test_a_key_that_the_console_did_not_print_is_told_nothing(place: Place, aws: Cloud, ec2: Front, sshd: Sshd) -> None:
    ec2.answer("GetConsoleOutput", answered(printed(OTHER)))
    machine = unmet(place, sshd)
    for _ in range(2):
        with pytest.raises(HostKeyUnknown, match="console"):
            ran(place, machine)
    row = HostKey.objects.get()
    assert (row.public, row.source, row.fingerprint) == ("", "console", hostkeys.fingerprint(OTHER))
    assert row.offered == sshd.public_host_key
    assert Event.objects.filter(type="host_key.changed.observed", org_id=place.actor.org_id).count() == 1  # told once
    ec2.rules.clear()
    ec2.answer("GetConsoleOutput", answered(printed(OTHER, sshd.public_host_key)))  # it was not whole yet
    assert ran(place, machine) == "hello\n"
    assert [(one.public, one.source) for one in HostKey.objects.all()] == [(sshd.public_host_key, "console")]


@pytest.mark.django_db(transaction=True)
def test_a_key_that_the_console_contradicts_is_trusted_by_one_act_on_record(place: Place, aws: Cloud, ec2: Front, sshd: Sshd) -> None:
    ec2.answer("GetConsoleOutput", answered(printed(OTHER, RSA)))
    machine = unmet(place, sshd)
    host = place.run(place.script(), [machine]).hosts.get()  # on the loop
    assert (host.state, host.code) == ("failed", "host_key_unknown")
    row = HostKey.objects.get()
    assert row.fingerprint.split() == sorted(map(hostkeys.fingerprint, (OTHER, RSA)))
    shown = hostkeys.fingerprint(sshd.public_host_key)
    perform(place.actor, row, "retrust", {"fingerprint": shown})
    assert ran(place, machine) == "hello\n"
    event = Event.objects.get(type="host_key.retrust.succeeded")
    assert event.before["fingerprint"] == row.fingerprint and event.before["source"] == "console"
    assert event.after["fingerprint"] == shown and event.after["source"] == "operator"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("vouched", ["cloud-init", "console", ""])
def test_who_else_knows_the_key_that_is_new_is_kept_with_it(place: Place, aws: Cloud, ec2: Front, sshd: Sshd, vouched: str) -> None:
    """The address was another machine's."""
    ec2.answer("GetConsoleOutput", answered(printed(sshd.public_host_key) if vouched == "console" else ""))
    for loop in (False, True):
        HostKey.objects.all().delete()
        machine = unmet(place, sshd, f"new-{loop}", pinned=OTHER)
        if vouched == "cloud-init":
            give(machine, sshd.public_host_key)
        if loop:
            assert place.run(place.script(), [machine]).hosts.get().code == "host_key_changed"
        else:
            with pytest.raises(HostKeyChanged):
                ran(place, machine)
        row = HostKey.objects.get()
        assert (row.public, row.offered, row.offered_from) == (OTHER, sshd.public_host_key, vouched)


@pytest.mark.django_db
@pytest.mark.parametrize("says", ["the same", "another", "nothing"])
def test_a_key_trusted_at_first_use_is_compared_with_the_console_later(place: Place, aws: Cloud, ec2: Front, sshd: Sshd, says: str) -> None:
    ec2.answer("GetConsoleOutput", answered(""))  # EC2 passes it on minutes later
    machine = unmet(place, sshd)
    assert ran(place, machine) == "hello\n"
    ec2.rules.clear()
    lines = {"the same": [RSA, sshd.public_host_key], "another": [OTHER], "nothing": []}[says]
    ec2.answer("GetConsoleOutput", answered(printed(*lines) if lines else ""))
    now = timezone.now()
    assert compare_host_keys(now) == 0  # too early
    assert compare_host_keys(now + timedelta(minutes=15)) == 1
    assert compare_host_keys(now + timedelta(minutes=15)) == 0  # once
    row = HostKey.objects.get()
    if says == "another":
        assert (row.public, row.fingerprint, row.source) == ("", hostkeys.fingerprint(OTHER), "console")
        assert row.offered == sshd.public_host_key
        assert Event.objects.get(type="host_key.changed.observed").detail["known"] == [hostkeys.fingerprint(OTHER)]
        with pytest.raises(HostKeyUnknown):
            ran(place, machine)
    else:
        assert (row.public, row.source) == (sshd.public_host_key, "console" if says == "the same" else "first-use")
        assert ran(place, machine) == "hello\n"


@pytest.mark.django_db
@pytest.mark.parametrize("answer", [error("UnauthorizedOperation", 403), answered(""), error("InternalError", 500)])
def test_a_console_that_says_nothing_leaves_it_at_first_use(
    place: Place,
    aws: Cloud,
    ec2: Front,
    sshd: Sshd,
    answer: Any,
) -> None:
    ec2.answer("GetConsoleOutput", answer)
    assert ran(place, unmet(place, sshd)) == "hello\n"
    assert HostKey.objects.get().source == "first-use"


@pytest.mark.django_db
def test_a_block_holds_when_the_console_has_forgotten_what_it_printed(place: Place, aws: Cloud, ec2: Front, sshd: Sshd) -> None:
    ec2.answer("GetConsoleOutput", answered(printed(OTHER)))
    machine = unmet(place, sshd)
    with pytest.raises(HostKeyUnknown):
        ran(place, machine)
    for answer in (answered(""), error("InternalError", 500)):  # the buffer holds 64 KiB; a cloud may be away
        ec2.rules.clear()
        ec2.answer("GetConsoleOutput", answer)
        with pytest.raises(HostKeyUnknown, match="did not print"):
            ran(place, machine)
    assert HostKey.objects.get().public == ""


@pytest.mark.django_db
def test_a_console_that_told_nothing_is_asked_again_ever_more_seldom(place: Place, aws: Cloud, ec2: Front, sshd: Sshd) -> None:
    ec2.answer("GetConsoleOutput", answered(""))
    assert ran(place, unmet(place, sshd)) == "hello\n"
    met = HostKey.objects.get().trusted_at
    asked = [hours for hours in range(1, 24 * 30) if compare_host_keys(met + timedelta(hours=hours))]
    assert asked == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]
    ec2.rules.clear()
    ec2.answer("GetConsoleOutput", answered(printed(sshd.public_host_key)))  # it booted again
    assert compare_host_keys(met + timedelta(hours=1024)) == 1
    assert HostKey.objects.get().source == "console"
    assert compare_host_keys(met + timedelta(hours=9999)) == 0


# --- where a person looks first -----------------------------------------------------------------------------------------


@pytest.fixture
def strict(place: Place) -> Cloud:
    """The place's cloud, told not to trust at first sight."""
    perform(place.actor, place.cloud, "edit", {"strict_host_keys": True})
    place.cloud.refresh_from_db()
    return place.cloud


@pytest.mark.django_db
def test_a_host_nobody_has_trusted_is_told_nothing_and_trusted_by_one_act(place: Place, strict: Cloud, fake_ssh: Fake) -> None:
    commands: list[str | None] = []

    async def handler(process: asyncssh.SSHServerProcess[bytes]) -> None:
        commands.append(process.command)
        process.exit(0)

    machine = place.machine("new", port=fake_ssh.serve(handler), pem=fake_ssh.private_key)
    for _ in range(2):
        with pytest.raises(HostKeyUnknown, match="nobody has trusted it yet"):
            ran(place, machine)
    assert place.run(place.script(), [machine]).hosts.get().code == "host_key_unknown"  # on the loop
    assert commands == []
    row, shown = HostKey.objects.get(), hostkeys.fingerprint(fake_ssh.public_host_key)
    assert (row.public, row.fingerprint, row.source, row.offered, row.cloud) == ("", "", "unmet", fake_ssh.public_host_key, strict)
    seen = Event.objects.get(type="host_key.unknown.observed", org_id=place.actor.org_id)  # told once
    assert (seen.target_id, seen.detail["offered"]) == (row.pk, shown)
    with pytest.raises(Conflict):  # what who looked did not see
        perform(place.actor, row, "retrust", {"fingerprint": hostkeys.fingerprint(OTHER)})
    perform(place.actor, row, "retrust", {"fingerprint": shown})
    ran(place, machine)
    assert commands == ["echo hello"]
    trusted = Event.objects.get(type="host_key.retrust.succeeded")
    assert (trusted.before["source"], trusted.after["fingerprint"]) == ("unmet", shown)


@pytest.mark.django_db
def test_another_key_that_an_unknown_host_shows_by_then_is_not_trusted(place: Place, strict: Cloud, fake_ssh: Fake) -> None:
    row = HostKey.objects.create(
        org_id=place.actor.org_id, cloud=strict, name="h", host="127.0.0.1", port=fake_ssh.serve(None), source="unmet", offered=OTHER
    )
    machine = place.machine("new", port=row.port, pem=fake_ssh.private_key)
    with pytest.raises(HostKeyUnknown):
        ran(place, machine)
    with pytest.raises(Conflict):
        perform(place.actor, row, "retrust", {"fingerprint": hostkeys.fingerprint(OTHER)})


@pytest.mark.django_db
def test_who_may_not_trust_cannot_trust_a_host_that_is_unknown(
    place: Place, strict: Cloud, sshd: Sshd, member: Callable[..., Actor]
) -> None:
    with pytest.raises(HostKeyUnknown):
        ran(place, unmet(place, sshd))
    row, shown = HostKey.objects.get(), hostkeys.fingerprint(sshd.public_host_key)
    reader = member({"effect": "allow", "verbs": ["*.read", "machine.*"], "what": {}})
    with pytest.raises(Denied):
        perform(reader, row, "retrust", {"fingerprint": shown})
    with pytest.raises(Denied):
        perform(reader, strict, "edit", {"strict_host_keys": False})
    assert {"host_key.retrust.refused", "cloud.edit.refused"} <= set(Event.objects.values_list("type", flat=True))
    assert HostKey.objects.get().public == ""


@pytest.mark.django_db(transaction=True)
def test_what_the_console_printed_is_trusted_where_a_person_looks_first(
    place: Place, aws: Cloud, strict: Cloud, ec2: Front, sshd: Sshd
) -> None:
    ec2.answer("GetConsoleOutput", answered(""))
    machine = unmet(place, sshd)
    with pytest.raises(HostKeyUnknown):
        ran(place, machine)
    ec2.rules.clear()
    ec2.answer("GetConsoleOutput", answered(printed(sshd.public_host_key)))
    assert ran(place, machine) == "hello\n"
    assert [(one.public, one.source) for one in HostKey.objects.all()] == [(sshd.public_host_key, "console")]


# --- our own keys -----------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_key_is_parsed_once_however_many_connections_it_opens(
    place: Place,
    sshd: Sshd,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    parsed: list[str] = []
    parse = asyncssh.import_private_key

    def counting(data: Any, *args: Any, **more: Any) -> Any:
        parsed.append(str(data))
        return parse(data, *args, **more)

    monkeypatch.setattr(asyncssh, "import_private_key", counting)
    key = parse(sshd.private_key)
    pem = key.export_private_key("openssh").decode()  # the same key in a text nobody has parsed yet: OpenSSH's format has a random part
    machines = [place.machine(f"m{n}", port=sshd.port, pem=pem, user=sshd.user, pinned=sshd.public_host_key) for n in range(4)]
    parsed.clear()
    for name in ("first", "second"):
        assert place.run(place.script(name=name), machines).counts == {"succeeded": 4}
    for machine in machines:
        assert ran(place, machine) == "hello\n"
    assert parsed.count(pem) == 1  # of 12 connections
