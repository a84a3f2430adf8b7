"""The readers' half of live notes: one hub a process reads the streams of core/live.py once and fans out to its own sockets.

    reader = await hub().join(actor)
    await reader.subscribe("m", kind="machine", search="state:running")
    async for notes in reader:      # list[Note]; ends when its actor may look no more: `reader.ended` says why
        …
    reader.leave()

It raises what stopped the hub, where that was a fault of ours: connect again.
A reader's queue holds one note a subscription, into which later ones are merged: a slow socket costs no memory, only detail.
Whether an id may be told is asked once a batch and distinct actor, in Python on rows loaded once. A row that leaves one's sight
(deleted, retagged, no longer matching the search) is told as `gone` to those who could see it before.
While the database or Valkey does not answer, `reader.is_blind`: what its socket has told may be old. Each turn of that gives an
empty list where there are no notes; when the database is back, every subscription gets one that says "read again".
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID, uuid4
from weakref import WeakKeyDictionary

import redis
from django.conf import settings
from django.db import Error as DatabaseError
from redis import asyncio as aioredis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from core import live, rechecks
from core.actor import Actor
from core.errors import NotFound, Refused, TooMany
from core.rechecks import Held
from core.sight import check_search, hop, kinds, look

log = logging.getLogger(__name__)

BLOCK_S = 10
MERGE_S = 0.05  # what comes within it is looked at together
RECHECK_S = 5.0  # how long somebody whose rights, session or token went may go on listening where no event told of it
RECHECK_APART_S = 0.1
ANSWER_S = 2.0  # a database that takes longer to say who may look is away
AWAY_APART_S = 0.5  # between two looks whether it is back
DATABASE, VALKEY = "the database", "Valkey"
IDS_HELD = 1000  # of one subscription's unread note; more: "read again"
READERS_MAX = 5000
SUBSCRIPTIONS_MAX = 50  # of one reader
AWAY = (redis.RedisError, OSError, asyncio.TimeoutError)


@dataclass(kw_only=True)
class Note:
    """What changed for one subscription after `since`, up to `version`. `resync`: too much or unknown; read again."""

    name: str
    kind: str
    since: int
    version: int
    ids: set[UUID] = field(default_factory=set)  # changed, and there to be read
    gone: set[UUID] = field(default_factory=set)  # deleted, out of sight, or no match of the search any more
    resync: bool = False

    def merge(self, other: Note) -> None:
        """Take a later note in."""
        self.version = other.version
        self.ids = (self.ids - other.gone) | other.ids
        self.gone = (self.gone - other.ids) | other.gone
        self.resync = self.resync or other.resync or len(self.ids) + len(self.gone) > IDS_HELD
        if self.resync:
            self.ids, self.gone = set(), set()


@dataclass(eq=False, kw_only=True)
class _Seat:
    """One actor, however many sockets it has open here."""

    actor: Actor
    session_key: str
    readers: set[Reader] = field(default_factory=set)


@dataclass(eq=False, kw_only=True)
class _Subscription:
    name: str
    kind: str
    search: str
    reader: Reader
    version: int


@dataclass(eq=False, kw_only=True)
class _Topic:
    """One scope somebody here listens to. `version`: of the last note read; none while Valkey is away."""

    scope: live.Scope
    model: Any
    version: int | None = None
    subscriptions: set[_Subscription] = field(default_factory=set)


@dataclass
class _Batch:
    """The notes of one topic that were read together."""

    version: int
    ids: set[UUID] = field(default_factory=set)
    resync: bool = False

    def take(self, version: int, text: str) -> None:
        self.resync = self.resync or text == live.EVERYTHING or version != self.version + 1
        self.version = version
        if not self.resync:
            self.ids.update(UUID(text[i : i + 32]) for i in range(0, len(text), 32))
            self.resync = len(self.ids) > IDS_HELD


def _version(entry: bytes) -> int:
    return int(entry.split(b"-")[0])


class Reader:
    """One socket's subscriptions and what it has not read yet."""

    def __init__(self, hub: Hub, seat: _Seat) -> None:
        self.hub, self.seat = hub, seat
        self.ended = ""  # why, once the hub has ended it
        self.fault: BaseException | None = None
        self.subscriptions: dict[str, _Subscription] = {}
        self._notes: dict[str, Note] = {}
        self._news = asyncio.Event()

    @property
    def actor(self) -> Actor:
        """With the rights it has now: ask anew before each use."""
        return self.seat.actor

    def __aiter__(self) -> AsyncIterator[list[Note]]:
        return self

    async def __anext__(self) -> list[Note]:
        await self._news.wait()
        if self.fault:
            raise RuntimeError("Live updates stopped.") from self.fault
        if self.ended:
            raise StopAsyncIteration
        self._news.clear()
        notes, self._notes = list(self._notes.values()), {}
        return notes

    @property
    def is_blind(self) -> bool:
        """Does what it reads from not answer?"""
        return bool(self.hub.away)

    def nudge(self) -> None:
        """Something other than its notes is to be told."""
        self._news.set()

    def put(self, note: Note) -> None:
        waiting = self._notes.setdefault(note.name, note)
        if waiting is not note:
            waiting.merge(note)
        self._news.set()

    def end(self, why: str) -> None:
        self.ended = why
        self._news.set()

    def fail(self, fault: BaseException) -> None:
        self.fault = fault
        self._news.set()

    async def subscribe(self, name: str, *, kind: str, search: str = "", version: int | None = None) -> None:
        """Listen to a kind; an earlier subscription of that name ends. The first note of that name confirms it.

        With `version`, that note holds what came since.  Raises: NotFound, BadSearch, TooMany.
        """
        model = kinds().get(kind)
        if model is None:
            raise NotFound(f"There is no kind {kind[:60]!r}.", code="kind_not_found")
        await hop(check_search, model, search, self.actor)
        self.unsubscribe(name)
        if len(self.subscriptions) >= SUBSCRIPTIONS_MAX:
            raise TooMany(f"At most {SUBSCRIPTIONS_MAX} subscriptions a socket.", retry_after_s=0)
        subscription = _Subscription(name=name, kind=kind, search=search, reader=self, version=version or 0)
        self.subscriptions[name] = subscription
        await self.hub.subscribe(subscription, model, version)

    def unsubscribe(self, name: str) -> None:
        self._notes.pop(name, None)
        if subscription := self.subscriptions.pop(name, None):
            self.hub.unsubscribe(subscription)

    def versions(self) -> dict[str, int]:
        """{subscription: the version up to which it knows everything}."""
        return {name: self.hub.version_of(s) for name, s in self.subscriptions.items() if name not in self._notes}

    def leave(self) -> None:
        for name in list(self.subscriptions):
            self.unsubscribe(name)
        self.hub.leave(self)


class Hub:
    """Reads the streams of every scope that a reader of this process listens to. One an event loop: see `hub()`."""

    def __init__(self) -> None:
        self._topics: dict[live.Scope, _Topic] = {}
        self._seats: dict[tuple[Any, ...], _Seat] = {}
        self._count = 0
        self.away: set[str] = set()  # of DATABASE and VALKEY
        self._valkey: Any = None
        self._server = ""  # the run id of the Valkey the versions are of
        self._wake_key = f"mist-live:wake:{uuid4().hex}"
        self._woken = "0-0"
        self._rights = asyncio.Event()  # somebody's have changed
        self._rights_at = "0-0"
        self._tasks: list[asyncio.Task[None]] = []

    # --- readers ---

    async def join(self, actor: Actor, session_key: str = "") -> Reader:
        """A reader for this actor; it ends with the session, where it is one's.  Raises: TooMany."""
        if self._count >= READERS_MAX:
            raise TooMany("This server has as many live readers as it can.", retry_after_s=30)
        self._count += 1
        key = (actor.org_id, actor.user_id, actor.token_id, actor.su_by, actor.is_system, actor.address, session_key)
        seat = self._seats.setdefault(key, _Seat(actor=actor, session_key=session_key))
        reader = Reader(self, seat)
        seat.readers.add(reader)
        if not self._tasks:
            self._tasks = [asyncio.create_task(self._read(), name="live-hub"), asyncio.create_task(self._recheck(), name="live-rights")]
            for task in self._tasks:
                task.add_done_callback(self._stopped)
        return reader

    def leave(self, reader: Reader) -> None:
        if reader not in reader.seat.readers:
            return
        self._count -= 1
        reader.seat.readers.discard(reader)
        if not reader.seat.readers:
            self._seats = {key: seat for key, seat in self._seats.items() if seat is not reader.seat}
        if not self._count:  # nobody looks: nothing is read, no connection kept
            self._stop()

    def _stop(self) -> None:
        """The next to join starts it anew."""
        tasks, self._tasks, self.away = self._tasks, [], set()
        for task in tasks:
            task.cancel()

    async def subscribe(self, subscription: _Subscription, model: Any, version: int | None) -> None:
        """Used by readers."""
        org_id = subscription.reader.actor.org_id
        assert org_id is not None
        scope = (org_id, subscription.kind)
        current: int | None = None
        entries: list[Any] = []
        try:
            current = int(await self._client().get(live.version_key(scope)) or 0)
            if version is not None:
                entries = await self._client().xrange(live.stream_key(scope), f"({version}-0", "+")
            if scope not in self._topics:
                await self._wake()
        except AWAY as error:
            log.warning("Valkey does not answer (%s): a live reader starts blind", type(error).__name__)
        if subscription.reader.subscriptions.get(subscription.name) is not subscription:
            return  # gone in the meantime
        # A note told since `current` was read comes twice; none is missed.
        topic = self._topics.setdefault(scope, _Topic(scope=scope, model=model, version=current))
        topic.subscriptions.add(subscription)
        if version is None or current is None:
            at = current or version or 0
            subscription.version = at
            self._put(subscription, at, resync=version is not None)
            return
        batch = _Batch(version)
        for entry, fields in entries:
            batch.take(_version(entry), fields[b"ids"].decode())
        if version > current or batch.version < current:
            batch.version, batch.resync = current, True
        await self._tell(topic, batch, [subscription], confirm=True)

    def unsubscribe(self, subscription: _Subscription) -> None:
        org_id = subscription.reader.actor.org_id
        assert org_id is not None
        topic = self._topics.get((org_id, subscription.kind))
        if topic is not None:
            topic.subscriptions.discard(subscription)
            if not topic.subscriptions:
                del self._topics[topic.scope]

    def version_of(self, subscription: _Subscription) -> int:
        topic = self._topics.get((subscription.reader.actor.org_id, subscription.kind))  # type: ignore[arg-type]
        return max(subscription.version, (topic.version or 0) if topic else 0)

    # --- what does not answer ---

    def lost(self, what: str) -> None:
        """DATABASE or VALKEY does not answer: who listens is told at once, and it is looked for until it is back."""
        if what in self.away or not self._count:
            return
        log.warning("%s does not answer: live readers are told that what they have may be old", what)
        self.away.add(what)
        self._rights.set()
        self._nudge()

    def _found(self, what: str) -> None:
        if what not in self.away:
            return
        log.info("%s answers again: live readers go on", what)
        self.away.discard(what)
        if what == DATABASE:  # nobody could read what they were told meanwhile
            for topic in self._topics.values():
                for subscription in topic.subscriptions:
                    self._put(subscription, topic.version or subscription.version, resync=True)
        self._nudge()

    def _nudge(self) -> None:
        for seat in self._seats.values():
            for reader in seat.readers:
                reader.nudge()

    # --- Valkey ---

    def _client(self) -> Any:
        if self._valkey is None:
            once = Retry(NoBackoff(), 0)  # a connection that was lost must be seen: see _same_server
            self._valkey = aioredis.Redis.from_url(
                settings.MIST_REDIS_URL, socket_timeout=BLOCK_S + 5, socket_connect_timeout=2, retry=once
            )
        return self._valkey

    async def _wake(self) -> None:
        """Let the reading task look at the topics anew. A stream entry, for a signal between two reads would be lost."""
        await self._client().xadd(self._wake_key, {"w": ""}, maxlen=1)
        await self._client().expire(self._wake_key, 60)

    async def _read(self) -> None:
        pause_s = 0.0
        client = self._client()
        try:
            while True:
                try:
                    await asyncio.sleep(pause_s)
                    await self._same_server(client)
                    await self._begin(client)
                    self._found(VALKEY)
                    while True:
                        await self._read_once(client)
                        pause_s = 0.0
                        await asyncio.sleep(MERGE_S)
                except AWAY as error:
                    if pause_s:  # not for one connection that broke
                        self.lost(VALKEY)
                    else:
                        log.warning("Valkey does not answer (%s): live readers wait", type(error).__name__)
                    pause_s = min(1.0, pause_s * 2 or 0.1)
        finally:
            if self._valkey is client:
                self._valkey = None
            await client.aclose()

    async def _same_server(self, client: Any) -> None:
        """After a lost connection: the same server goes on where it was; another one may lack the last notes."""
        run_id = str((await client.info("server"))["run_id"])
        if self._server and run_id != self._server:
            for topic in self._topics.values():
                topic.version = None
        self._server = run_id

    async def _begin(self, client: Any) -> None:
        """Topics of which nobody knows how far they were read are read from now on."""
        for topic in [t for t in self._topics.values() if t.version is None]:
            topic.version = int(await client.get(live.version_key(topic.scope)) or 0)
            for subscription in topic.subscriptions:
                self._put(subscription, topic.version, resync=True)

    async def _read_once(self, client: Any) -> None:
        await self._begin(client)
        asked = {live.stream_key(t.scope): t for t in self._topics.values() if t.version is not None}
        streams = {key: f"{topic.version}-0" for key, topic in asked.items()}
        signals = {self._wake_key: self._woken, live.RIGHTS_KEY: self._rights_at}
        answer = await client.xread({**streams, **signals}, count=200, block=BLOCK_S * 1000)
        told = []
        for key, entries in answer:
            if key.decode() == self._wake_key:
                self._woken = entries[-1][0].decode()
                continue
            if key.decode() == live.RIGHTS_KEY:
                self._rights_at = entries[-1][0].decode()
                self._rights.set()
                continue
            topic = asked[key.decode()]
            batch = _Batch(topic.version or _version(entries[0][0]) - 1)  # 0: the scope's first note ever
            for entry, fields in entries:
                batch.take(_version(entry), fields[b"ids"].decode())
            topic.version = batch.version
            told.append(self._tell(topic, batch, list(topic.subscriptions)))
        await asyncio.gather(*told)

    def _stopped(self, task: asyncio.Task[None]) -> None:
        """A task ended, and not because nobody looks: whoever listens had better connect again than wait for nothing."""
        if task not in self._tasks:
            return
        self._stop()
        fault = asyncio.CancelledError() if task.cancelled() else task.exception() or RuntimeError("it returned")
        log.error("%s stopped", task.get_name(), exc_info=fault)
        for seat in self._seats.values():
            for reader in seat.readers:
                reader.fail(fault)

    # --- what may be told to whom ---

    def _put(self, subscription: _Subscription, version: int, **changes: Any) -> None:
        s = subscription
        s.reader.put(Note(name=s.name, kind=s.kind, since=s.version, version=version, **changes))
        s.version = version

    async def _tell(self, topic: _Topic, batch: _Batch, subscriptions: list[_Subscription], *, confirm: bool = False) -> None:
        seen: dict[tuple[int, str], tuple[set[UUID], set[UUID]]] = {}
        if not batch.resync and batch.ids:
            wanted = {(id(s.reader.seat), s.search): (s.reader.seat.actor, s.search) for s in subscriptions}
            ordered = sorted(wanted, key=lambda key: key[0])  # an actor's searches beside each other
            try:
                found = await hop(look, topic.model, topic.scope[0], batch.ids, [wanted[key] for key in ordered])
            except (DatabaseError, Refused):  # e.g. a regular expression that took too long
                log.exception("live notes of %s could not be checked: their readers read again", topic.scope[1])
                batch.resync = True
            else:
                seen = dict(zip(ordered, found, strict=True))
        for s in subscriptions:
            if s.reader.subscriptions.get(s.name) is not s:
                continue  # it left in the meantime
            ids, gone = seen.get((id(s.reader.seat), s.search), (set(), set()))
            if ids or gone or batch.resync or confirm:
                self._put(s, batch.version, ids=set(ids), gone=set(gone), resync=batch.resync)

    async def _recheck(self) -> None:
        """End the readers who may look no more; give the others the rights of now. When an event tells of it, and by the clock."""
        while True:
            if DATABASE not in self.away:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(RECHECK_S * random.uniform(0.8, 1.2)):  # noqa: S311 - processes need not do it together
                        await self._rights.wait()
            self._rights.clear()
            await self.recheck()
            await asyncio.sleep(AWAY_APART_S if DATABASE in self.away else RECHECK_APART_S)

    async def recheck(self) -> None:
        """Now; so is seen whether the database answers. Says too what is looked at: the scheduler polls that sooner (core.live.watched)."""
        try:
            for org_id, kind in list(self._topics):  # some come and go meanwhile
                await self._client().set(live.watched_key((org_id, kind)), 1, ex=live.WATCHED_S)
        except AWAY:
            pass  # a poll comes later: nothing else is lost
        seats = [seat for seat in self._seats.values() if not seat.actor.is_system]
        held = [Held(actor=replace(seat.actor, cache={}), session_key=seat.session_key) for seat in seats]
        asked = asyncio.ensure_future(hop(rechecks.again, held))
        if not (await asyncio.wait([asked], timeout=ANSWER_S))[0]:
            self.lost(DATABASE)
        try:
            fresh = await asked
        except DatabaseError:
            self.lost(DATABASE)
            return
        self._found(DATABASE)
        for seat, found in zip(seats, fresh, strict=True):
            if isinstance(found, Refused):
                for reader in seat.readers:
                    reader.end(found.detail)
            else:
                seat.actor = found


_hubs: WeakKeyDictionary[asyncio.AbstractEventLoop, Hub] = WeakKeyDictionary()


def hub() -> Hub:
    """The hub of this process (of the running event loop)."""
    return _hubs.setdefault(asyncio.get_running_loop(), Hub())
