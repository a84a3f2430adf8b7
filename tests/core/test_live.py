"""Live notes: told after the commit, to those who may see, without loss when somebody was away."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import UUID

import pytest
import redis
from channels.db import database_sync_to_async as sync
from channels.testing import WebsocketCommunicator
from django.conf import settings
from django.contrib.auth import HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
from django.db import OperationalError, connections, transaction

from accounts.models import Membership, Team, User
from clouds.models import Cloud
from core import consumers, hub, live, sight, valkey
from core.actor import Actor
from core.models import new_id
from machines.models import Machine
from mist import sockets  # noqa: F401 - it says who opens a socket
from mist.embedded import Valkey
from tests.core.test_doors import make_org

pytestmark = pytest.mark.django_db(transaction=True)

Open = Callable[..., Awaitable[WebsocketCommunicator]]


@pytest.fixture(autouse=True)
def _empty_valkey(valkey: Valkey) -> None:
    with redis.Redis.from_url(settings.MIST_REDIS_URL) as client:
        client.flushdb()


@pytest.fixture
def actor() -> Actor:
    return make_org("here")[2]


@pytest.fixture
def cloud(actor: Actor) -> Cloud:
    return Cloud.objects.create(org_id=actor.org_id, name="demo", provider="demo")


def new_machine(cloud: Cloud, **fields: Any) -> Machine:
    pk = new_id()
    return Machine.objects.create(
        id=pk, org_id=cloud.org_id, cloud=cloud, external_id=pk.hex, **{"name": "web", "state": "running", **fields}
    )


def touch(machine: Machine, **fields: Any) -> None:
    with transaction.atomic():
        Machine.objects.filter(pk=machine.pk).update(**fields)
        live.changed(machine.org_id, "machine", [machine.pk])


@pytest.fixture
async def opened(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Open]:
    """Opens sockets to `/ws/live` as a user, through the session's door."""
    opened = []

    async def connect(user: Any, org_id: UUID, session: SessionStore | None = None) -> WebsocketCommunicator:
        socket = WebsocketCommunicator(consumers.LiveConsumer.as_asgi(), f"/ws/live?org={org_id.hex}")
        socket.scope["user"], socket.scope["session"] = user, session
        connected, _ = await socket.connect()
        assert connected
        opened.append(socket)
        return socket

    yield connect
    for socket in opened:
        await socket.disconnect()
    await asyncio.to_thread(close_connections)


def close_connections() -> None:
    """Of the hub's threads: channels' communicators keep them open (they patch `close_old_connections` away)."""
    both = threading.Barrier(2)

    def close() -> None:
        both.wait(5)
        connections.close_all()

    for done in [sight._threads.submit(close) for _ in range(2)]:
        done.result()


async def asked(socket: WebsocketCommunicator, message: dict[str, Any]) -> dict[str, Any]:
    await socket.send_to(text_data=json.dumps(message))
    return await told(socket)


async def told(socket: WebsocketCommunicator) -> dict[str, Any]:
    return json.loads(await socket.receive_from(timeout=5))


async def user_of(actor: Actor) -> Any:
    return await sync(User.objects.get)(pk=actor.user_id)


async def test_a_change_is_told_after_the_commit(actor: Actor, cloud: Cloud, opened: Open) -> None:
    machine = await sync(new_machine)(cloud)
    socket = await opened(await user_of(actor), actor.org_id)
    first = await asked(socket, {"sub": {"kind": "machine"}})
    assert (first["scope"], first["ids"]) == ("machine", [])
    await sync(touch)(machine, state="stopped")
    note = await told(socket)
    assert note["ids"] == [machine.pk.hex]
    assert note["version"] > note["since"] == first["version"]


def test_a_rolled_back_transaction_tells_nothing_and_the_next_one_tells_its_own(actor: Actor) -> None:
    gone, kept, inner = new_id(), new_id(), new_id()
    assert actor.org_id is not None
    with transaction.atomic():
        live.changed(actor.org_id, "machine", [gone])
        transaction.set_rollback(True)
    with transaction.atomic():
        with transaction.atomic():
            live.changed(actor.org_id, "machine", [inner])
            transaction.set_rollback(True)
        live.changed(actor.org_id, "machine", [kept])
    live.changed(actor.org_id, "machine", [inner])  # outside of any
    entries = valkey.client().xrange(live.stream_key((actor.org_id, "machine")))
    assert [fields[b"ids"].decode() for _, fields in entries] == [kept.hex, inner.hex]


async def test_another_organizations_change_is_not_told(actor: Actor, cloud: Cloud, opened: Open) -> None:
    stranger = (await sync(make_org)("elsewhere"))[2]
    machine = await sync(new_machine)(cloud)
    socket = await opened(await user_of(stranger), stranger.org_id)
    await asked(socket, {"sub": {"kind": "machine"}})
    await sync(touch)(machine, state="stopped")
    assert await socket.receive_nothing(0.4)


async def test_what_one_may_not_see_is_not_told(actor: Actor, cloud: Cloud, opened: Open) -> None:
    member = await sync(User.objects.create_user)("m@example.org", "secret-secret")
    await sync(Membership.objects.create)(org_id=actor.org_id, user=member)
    machine = await sync(new_machine)(cloud)
    blind = await opened(member, actor.org_id)
    sighted = await opened(await user_of(actor), actor.org_id)
    await asked(blind, {"sub": {"kind": "machine"}})
    await asked(sighted, {"sub": {"kind": "machine"}})
    await sync(touch)(machine, state="stopped")
    assert (await told(sighted))["ids"] == [machine.pk.hex]
    assert await blind.receive_nothing(0.3)


async def test_a_deleted_row_is_told_as_gone_to_who_could_see_it(actor: Actor, cloud: Cloud, opened: Open) -> None:
    machine = await sync(new_machine)(cloud)
    socket = await opened(await user_of(actor), actor.org_id)
    await asked(socket, {"sub": {"kind": "machine"}})

    def remove() -> None:
        with transaction.atomic():
            live.changed(machine.org_id, "machine", [machine.pk])
            Machine.objects.filter(pk=machine.pk).delete()

    await sync(remove)()
    note = await told(socket)
    assert (note["ids"], note["gone"]) == ([], [machine.pk.hex])


async def test_who_comes_back_is_told_the_rest(actor: Actor, cloud: Cloud, opened: Open) -> None:
    machine = await sync(new_machine)(cloud)
    user = await user_of(actor)
    socket = await opened(user, actor.org_id)
    version = (await asked(socket, {"sub": {"kind": "machine"}}))["version"]
    await sync(touch)(machine, state="stopped")
    version = (await told(socket))["version"]
    await socket.disconnect()
    await sync(touch)(machine, state="running")
    again = await opened(user, actor.org_id)
    note = await asked(again, {"sub": {"kind": "machine", "version": version}})
    assert (note["since"], note["version"], note["ids"]) == (version, version + 1, [machine.pk.hex])
    third = await opened(user, actor.org_id)
    assert (await asked(third, {"sub": {"kind": "machine", "version": version + 1}}))["ids"] == []


async def test_who_was_away_too_long_is_told_to_read_again(
    actor: Actor, cloud: Cloud, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "NOTES_KEPT", 100)
    machine = await sync(new_machine)(cloud)
    user = await user_of(actor)
    socket = await opened(user, actor.org_id)
    await sync(touch)(machine, state="stopped")
    version = (await asked(socket, {"sub": {"kind": "machine"}}))["version"]
    await socket.disconnect()
    for _ in range(300):
        live.publish({(actor.org_id, "machine"): [machine.pk]})
    again = await opened(user, actor.org_id)
    note = await asked(again, {"sub": {"kind": "machine", "version": version}})
    assert note["resync"] is True
    assert note["version"] == version + 300
    note = await asked(again, {"sub": {"kind": "machine", "version": version + 10**6}})  # of a server we know nothing of
    assert note["resync"] is True


@pytest.mark.skipif(not hasattr(Machine, "search"), reason="machines have no search yet")
async def test_a_search_tells_what_matches_and_what_no_longer_does(
    actor: Actor, cloud: Cloud, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = await sync(new_machine)(cloud), await sync(new_machine)(cloud, state="stopped")
    socket = await opened(await user_of(actor), actor.org_id)
    await asked(socket, {"sub": {"kind": "machine", "search": "state:running", "scope": "mine"}})

    def both() -> None:
        with transaction.atomic():
            touch(one, state="stopped")
            touch(other, state="running")

    await sync(both)()
    note = await told(socket)
    assert (note["scope"], note["ids"], note["gone"]) == ("mine", [other.pk.hex], [one.pk.hex])
    wrong = await asked(socket, {"sub": {"kind": "machine", "search": "state:(", "scope": "bad"}})
    assert wrong["error"]["code"] == "bad_search"
    assert (await asked(socket, {"sub": {"kind": "unicorn"}}))["error"]["code"] == "kind_not_found"


async def test_many_changes_at_once_are_told_as_one_read_again(actor: Actor, cloud: Cloud, opened: Open) -> None:
    socket = await opened(await user_of(actor), actor.org_id)
    await asked(socket, {"sub": {"kind": "machine"}})
    live.publish({(actor.org_id, "machine"): [new_id() for _ in range(live.IDS_A_NOTE + 1)]})
    assert (await told(socket))["resync"] is True


async def test_an_unsubscribed_kind_is_told_no_more(actor: Actor, cloud: Cloud, opened: Open) -> None:
    machine = await sync(new_machine)(cloud)
    socket = await opened(await user_of(actor), actor.org_id)
    await asked(socket, {"sub": {"kind": "machine"}})
    await socket.send_to(text_data='{"unsub": "machine"}')
    assert (await asked(socket, {"ping": True})) == {"pong": True, "versions": {}}
    await sync(touch)(machine, state="stopped")
    assert await socket.receive_nothing(0.3)


async def test_a_removed_members_socket_is_closed(actor: Actor, cloud: Cloud, opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "RECHECK_S", 0.1)
    socket = await opened(await user_of(actor), actor.org_id)
    await asked(socket, {"sub": {"kind": "machine"}})
    assert await socket.receive_nothing(0.3)
    await sync(Membership.objects.all().delete)()
    closed = await socket.receive_output(timeout=3)
    assert (closed["type"], closed["code"]) == ("websocket.close", 4401)


async def test_a_socket_ends_with_its_session(actor: Actor, opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "RECHECK_S", 0.1)
    user, session = await user_of(actor), SessionStore()
    session.update({SESSION_KEY: str(user.pk), HASH_SESSION_KEY: user.get_session_auth_hash()})
    await sync(session.create)()
    socket = await opened(user, actor.org_id, session)
    await asked(socket, {"sub": {"kind": "machine"}})
    assert await socket.receive_nothing(0.3)
    await sync(session.delete)()
    assert (await socket.receive_output(timeout=3))["code"] == 4401


async def test_rights_gained_or_lost_count_from_the_next_check_on(
    actor: Actor, cloud: Cloud, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "RECHECK_S", 0.1)
    machine = await sync(new_machine)(cloud)
    socket = await opened(await user_of(actor), actor.org_id)
    await asked(socket, {"sub": {"kind": "machine"}})
    await sync(touch)(machine, state="stopped")
    assert (await told(socket))["ids"]
    owners = await sync(Team.objects.get)(is_owners=True)
    await sync(owners.members.clear)()
    await asyncio.sleep(0.4)
    await sync(touch)(machine, state="running")
    assert await socket.receive_nothing(0.3)


async def test_nobody_is_closed_with_a_reason_and_a_flood_is_closed(actor: Actor, opened: Open) -> None:
    user = await user_of(actor)
    other_org = await opened(user, new_id())
    assert (await other_org.receive_output())["code"] == 4401
    nobody = await opened(None, actor.org_id)
    assert (await nobody.receive_output())["code"] == 4401
    flood = await opened(user, actor.org_id)
    for _ in range(70):
        await flood.send_to(text_data='{"ping": true}')
    output = await flood.receive_output()
    while output["type"] != "websocket.close":
        output = await flood.receive_output()
    assert output["code"] == 1008
    unreadable = await opened(user, actor.org_id)
    await unreadable.send_to(text_data="[" * 5000)
    assert (await unreadable.receive_output())["code"] == 1008


async def test_a_slow_reader_holds_one_note_a_subscription(actor: Actor, cloud: Cloud) -> None:
    machine = await sync(new_machine)(cloud)
    reader = await hub.hub().join(actor)
    await reader.subscribe("m", kind="machine")
    for n in range(5):
        await sync(touch)(machine, state="stopped" if n % 2 else "running")
        await asyncio.sleep(0.1)
    notes = await anext(reader)
    assert len(notes) == 1
    assert notes[0].ids == {machine.pk}
    assert notes[0].version == notes[0].since + 5 or notes[0].since == 0
    reader.leave()


async def test_without_valkey_nobody_who_acts_fails_and_readers_read_again(
    actor: Actor, cloud: Cloud, opened: Open, valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "RETRY_S", 0.2)
    machine = await sync(new_machine)(cloud)
    user = await user_of(actor)
    socket = await opened(user, actor.org_id)
    await asked(socket, {"sub": {"kind": "machine"}})
    await sync(touch)(machine, state="running")
    await told(socket)
    valkey.stop()  # from the main thread: the server dies with the thread that started it
    try:
        await sync(touch)(machine, state="stopped")  # no exception
        blind = await opened(user, actor.org_id)
        first = await asked(blind, {"sub": {"kind": "machine", "version": 5}})
        assert first == {"away": True} or first["resync"] is True
        assert await told(socket) == {"away": True}
    finally:
        valkey.start()
    assert (await told(socket))["resync"] is True
    assert await told(socket) == {"away": False}
    for _ in range(50):
        if not live._kept.waiting:
            break
        await asyncio.sleep(0.1)
    await sync(touch)(machine, state="running")
    for reader in (socket, blind):
        note = await told(reader)
        while not note.get("ids"):
            assert note.get("resync") or "away" in note
            note = await told(reader)
        assert note["ids"] == [machine.pk.hex]


async def test_who_listens_is_told_while_the_database_is_away(
    actor: Actor, cloud: Cloud, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it does not refuse but never answers."""
    monkeypatch.setattr(hub, "RECHECK_S", 0.2)
    monkeypatch.setattr(hub, "ANSWER_S", 0.2)
    machine = await sync(new_machine)(cloud)
    socket = await opened(await user_of(actor), actor.org_id)
    await asked(socket, {"sub": {"kind": "machine"}})
    asked_again, answers = hub.rechecks.again, threading.Event()

    def stuck(held: Any) -> Any:
        answers.wait(10)
        raise OperationalError("the database is shutting down")

    monkeypatch.setattr(hub.rechecks, "again", stuck)
    assert await told(socket) == {"away": True}
    answers.set()
    await asyncio.sleep(0.3)
    monkeypatch.setattr(hub.rechecks, "again", asked_again)
    note = await told(socket)
    assert (note["scope"], note["resync"]) == ("machine", True)
    assert await told(socket) == {"away": False}
    await sync(touch)(machine, state="stopped")
    assert (await told(socket))["ids"] == [machine.pk.hex]


async def test_readers_come_and_go_while_rights_are_looked_at(actor: Actor, cloud: Cloud) -> None:
    reader = await hub.hub().join(actor)
    for kind in ("machine", "cloud", "job"):
        await reader.subscribe(kind, kind=kind)
    looking = asyncio.create_task(hub.hub().recheck())
    await asyncio.sleep(0)  # it waits for Valkey
    reader.unsubscribe("cloud")
    await looking
    reader.leave()


async def test_after_a_fault_of_the_hub_sockets_are_closed_and_those_opened_then_end_with_their_rights(
    actor: Actor, cloud: Cloud, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also while a socket of before is still there."""
    monkeypatch.setattr(hub, "RECHECK_S", 0.1)
    monkeypatch.setattr(consumers, "FAULT_S", 1.0)
    user = await user_of(actor)
    before = await opened(user, actor.org_id)
    await asked(before, {"sub": {"kind": "machine"}})
    asked_again = hub.rechecks.again

    def broken(held: Any) -> Any:
        raise KeyError("a fault of ours")

    monkeypatch.setattr(hub.rechecks, "again", broken)
    assert await told(before) == {"away": True}
    monkeypatch.setattr(hub.rechecks, "again", asked_again)
    after = await opened(user, actor.org_id)
    await asked(after, {"sub": {"kind": "machine"}})
    assert (await before.receive_output(timeout=3))["code"] == 1011
    await sync(Membership.objects.all().delete)()
    assert (await after.receive_output(timeout=3))["code"] == 4401


async def test_a_lost_connection_loses_no_note(actor: Actor, cloud: Cloud, opened: Open, valkey: Valkey) -> None:
    machine = await sync(new_machine)(cloud)
    socket = await opened(await user_of(actor), actor.org_id)
    await asked(socket, {"sub": {"kind": "machine"}})
    client = redis.Redis.from_url(settings.MIST_REDIS_URL)
    for _ in range(3):
        client.client_kill_filter(_type="normal", skipme=True)
        live.publish({(actor.org_id, "machine"): [machine.pk]})
        note = await told(socket)
        assert note["ids"] == [machine.pk.hex]
    client.close()
