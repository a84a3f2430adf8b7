"""Sockets. `/ws/live` tells a client what changed (API.md §6):

→ {"sub": {"kind": "machine", "search": "state:running", "scope": "mine", "version": 1790000000123}}
← {"scope": "mine", "kind": "machine", "since": 1790000000123, "version": 1790000000130, "ids": ["0198…"], "gone": ["0197…"]}
← {"scope": "mine", "kind": "machine", "since": …, "version": …, "resync": true}         too much, or unknown: read again
→ {"unsub": "mine"}        → {"ping": true}  ← {"pong": true, "versions": {"mine": 1790000000130}}
← {"error": {"code": "bad_search", "detail": "…"}, "scope": "mine"}
← {"away": true}         the database or Valkey does not answer: what you were told may be old
← {"away": false}        it answers again; what you missed stands in the notes before

`scope` is the client's own name of the subscription (by default the kind). The first note confirms it; `version`, when sent, is
the last the client has, and that note then holds the rest. `gone`: deleted, out of sight, or no match of the search any more.
Close codes: 4401 sign in (again), 1008 too many or unreadable messages, 1012 connect again now (planned),
1013 full, or the database is away: later, 1011 a fault of ours: later.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from channels.generic.websocket import AsyncWebsocketConsumer
from django.db import InterfaceError, OperationalError

from core.actor import Actor
from core.errors import BadRequest, MistError, Refused, TooMany, Unauthenticated
from core.hub import DATABASE, Note, Reader, hub
from core.sight import hop

log = logging.getLogger(__name__)

MESSAGE_MAX = 32_768  # characters: a page may show 500 rows, and has a search
MESSAGES_A_S = 10.0
MESSAGES_AT_ONCE = 60.0  # a page's subscriptions when it opens
LIFE_S = 12 * 3600  # then a planned reconnect: nothing lives for ever
AWAY_S, FAULT_S = 1.0, 5.0  # before a socket is closed that will be opened again at once: the database is away; we failed
AWAY = (OperationalError, InterfaceError)

Identify = Callable[[Mapping[str, Any]], Actor]


def _nobody(scope: Mapping[str, Any]) -> Actor:
    raise Unauthenticated("Sign in.")


_identify: list[Identify] = [_nobody]


def identifies(function: Identify) -> Identify:
    """Decorator: accounts says who opens a socket (session, or token in the Authorization header).  Raises: Unauthenticated."""
    _identify[:] = [function]
    return function


def in_short(reason: str) -> str:
    """As much of it as a close frame holds."""
    return reason.encode()[:120].decode(errors="ignore")


def session_of(scope: Mapping[str, Any], actor: Actor) -> str:
    """The key of the session that the actor opened this socket with; "": another way."""
    session, user = scope.get("session"), scope.get("user")
    if session is None or user is None or user.pk != actor.user_id or actor.token_id is not None:
        return ""
    return session.session_key or ""


class ActorConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]
    """A socket of somebody: identified, throttled, ended when the right to look ends, planned to reconnect; it says when it is blind.

    Give it `on_message(message)` and `on_notes(notes)`; `self.reader` (core/hub.py) is its subscriptions.
    """

    channel_layer_alias = ""  # none: the hub reads for all
    reader: Reader
    is_away: bool | None = False  # as it was told last

    async def connect(self) -> None:
        await self.accept()
        self._tasks: list[asyncio.Task[None]] = []
        self._budget, self._asked_at = MESSAGES_AT_ONCE, asyncio.get_running_loop().time()
        try:
            actor = await hop(_identify[0], self.scope)
            if actor.org_id is None:
                raise Unauthenticated("You are in no organization.")
            self.reader = await hub().join(actor, session_key=session_of(self.scope, actor))
        except TooMany as refusal:
            await self.close(1013, in_short(refusal.detail))
        except Refused as refusal:
            await self.close(4401, in_short(refusal.detail))
        except AWAY as error:
            await self._close_away(error)
        else:
            self._begin(self._forward())
            self._begin(self._expire())

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Do it beside; it ends with the socket. If it fails, the client is told, and had better connect again."""
        task = asyncio.create_task(work)
        self._tasks = [one for one in self._tasks if not one.done()] + [task]
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        fault = None if task.cancelled() else task.exception()
        if fault is not None and not isinstance(fault, OSError):  # that: it has gone meanwhile
            log.error("a live socket failed", exc_info=fault)
            self._tasks.append(asyncio.create_task(self._close_failed()))

    async def _close_failed(self) -> None:
        await self.send_json({"away": True})
        await asyncio.sleep(FAULT_S)
        await self.close(1011, "Live updates failed. Connect again.")

    async def _close_away(self, error: Exception) -> None:
        log.warning("a live socket is closed: the database does not answer (%s)", type(error).__name__)
        await asyncio.sleep(AWAY_S)
        await self.close(1013, "The database does not answer. Connect again.")

    async def disconnect(self, code: int) -> None:
        for task in self._tasks:
            task.cancel()
        if hasattr(self, "reader"):
            self.reader.leave()

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if not hasattr(self, "reader"):
            return
        now = asyncio.get_running_loop().time()
        self._budget = min(MESSAGES_AT_ONCE, self._budget + (now - self._asked_at) * MESSAGES_A_S) - 1
        self._asked_at = now
        if self._budget < 0:
            await self.close(1008, "Too many messages.")
            return
        try:
            message = json.loads(text_data or "") if len(text_data or "") <= MESSAGE_MAX else None
        except (ValueError, RecursionError):
            message = None
        if not isinstance(message, dict):
            await self.close(1008, f"Send a JSON object of at most {MESSAGE_MAX} characters.")
        elif message.get("ping"):
            await self.send_json({"pong": True, "versions": self.reader.versions()})
        else:
            try:
                await self.on_message(message)
            except AWAY as error:
                self.reader.hub.lost(DATABASE)
                await self.tell_away()
                await self._close_away(error)

    async def send_json(self, content: Mapping[str, Any]) -> None:
        await self.send(json.dumps(content, separators=(",", ":")))

    async def on_message(self, message: dict[str, Any]) -> None:
        """A message of the client other than a ping."""
        raise NotImplementedError

    async def on_notes(self, notes: list[Note]) -> None:
        """What changed. While it is awaited, later notes are merged: send what the client can take."""
        raise NotImplementedError

    async def _forward(self) -> None:
        async for notes in self.reader:
            if self.reader.is_blind:
                await self.tell_away()
            try:
                await self.on_notes(notes)
            except AWAY:  # once it is back, there is a note to read everything again
                self.reader.hub.lost(DATABASE)
            await self.tell_away()
        await self.close(4401, in_short(self.reader.ended))

    async def tell_away(self) -> None:
        """Whether what it was told may be old, where that has changed."""
        if self.reader.is_blind is not self.is_away:
            self.is_away = self.reader.is_blind
            await self.send_json({"away": self.is_away})

    async def _expire(self) -> None:
        await asyncio.sleep(LIFE_S * random.uniform(0.9, 1.1))  # noqa: S311 - so that not all come back at once
        await self.close(1012, "Connect again.")


class LiveConsumer(ActorConsumer):
    """`/ws/live`."""

    async def on_message(self, message: dict[str, Any]) -> None:
        name = ""
        try:
            if "unsub" in message:
                self.reader.unsubscribe(_text(message, "unsub"))
                return
            asked = message.get("sub")
            if not isinstance(asked, dict):
                raise BadRequest("Send sub, unsub or ping.")
            kind, version = _text(asked, "kind"), asked.get("version")
            name = _text(asked, "scope", kind)
            if version is not None and (not isinstance(version, int) or isinstance(version, bool) or not 0 <= version < 2**53):
                raise BadRequest("`version` is the number of a note you got.")
            await self.reader.subscribe(name, kind=kind, search=_text(asked, "search", ""), version=version)
        except MistError as error:
            await self.send_json({"error": {"code": error.code, "detail": error.detail, **error.extra}, "scope": name})

    async def on_notes(self, notes: list[Note]) -> None:
        for note in notes:
            answer: dict[str, Any] = {"scope": note.name, "kind": note.kind, "since": note.since, "version": note.version}
            if note.resync:
                answer["resync"] = True
            else:
                answer["ids"] = [pk.hex for pk in note.ids]
                if note.gone:
                    answer["gone"] = [pk.hex for pk in note.gone]
            await self.send_json(answer)


def _text(message: Mapping[str, Any], key: str, default: str | None = None) -> str:
    """Raises: BadRequest."""
    value = message.get(key, default)
    if not isinstance(value, str) or (not value and default is None) or "\x00" in value or (key in ("scope", "unsub") and len(value) > 100):
        raise BadRequest(f"`{key}` is a text.")
    return value
