"""`/ssh/<ticket>`: the socket of one shell (API.md §6), relayed to the process that holds it.

→ binary, at most 1 MiB a message: `0` input; `1` {"height", "width"}; `2` {"acked": bytes of output drawn since the socket was opened};
with `?control=1` also `3` {"upload": a number, "name", "folder", "size", "exists": ask | replace | both} or {"upload", "cancel": true}
and `4` that number (four bytes, big-endian) and a piece of the file, up to the credit that was told (machines/shell/upload.py).
← binary: the terminal's bytes. With `?control=1` also text: JSON of who looks, sizes, commands, uploads, the end
and, where it is known before, when that will be.
A client that never acks is taken to have drawn what it was sent before a ping that it answered.
Close codes: 1000 the shell ended, 4401 sign in again, 4403 the ticket opens nothing, 1012 the other process is gone: ask for the
shell again, 1011, 1013.
"""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import replace

from channels.generic.websocket import AsyncWebsocketConsumer
from django.db import DatabaseError

from core.consumers import in_short, session_of
from core.errors import MistError, NotFound, TooMany
from core.hub import Reader, hub
from core.sight import hop
from machines.shell import tickets, wire
from machines.shell.holder import facts_of

log = logging.getLogger(__name__)

KINDS = frozenset({b"0", b"1", b"2", b"3", b"4"})
PING_EVERY = 64 << 10  # bytes sent to a client that does not ack


class ShellConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]
    """One socket of one shell. It may go, the shell stays."""

    channel_layer_alias = ""  # shell bytes go straight to their process

    async def connect(self) -> None:
        await self.accept()
        self._pump_task: asyncio.Task[None] | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._listener: Reader | None = None
        self._watch_task: asyncio.Task[None] | None = None
        self._acks = False
        self._sent = self._pinged = 0
        self._pinging: asyncio.Task[None] | None = None
        try:
            admission = await hop(tickets.claim, self.scope["url_route"]["kwargs"]["ticket"])
        except (MistError, DatabaseError) as error:
            detail = error.detail if isinstance(error, MistError) else "The database does not answer. Try again in a moment."
            await self.close(4403 if isinstance(error, NotFound) else 1013, in_short(detail))
            return
        actor = replace(admission.actor, address=(self.scope.get("client") or [""])[0])
        try:
            self._listener = await hub().join(actor, session_key=session_of(self.scope, actor))
        except TooMany as refusal:
            await self.close(1013, in_short(refusal.detail))
            return
        self._watch_task = asyncio.create_task(self._watch(self._listener))
        try:
            self._reader, self._writer = await wire.dial(admission.addresses)
        except OSError:
            await self.close(1012, "The process that holds this shell does not answer. Ask for the shell again.")
            return
        hello = {
            "session": admission.session.pk.hex,
            "new": admission.is_new,
            "types": admission.types,
            "told": b"control=1" in self.scope.get("query_string", b""),
            "name": admission.name,
            "actor": facts_of(admission.actor),
        }
        self._writer.write(wire.frame(b"h", wire.sign(hello)))
        self._pump_task = asyncio.create_task(self._pump())

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        data = bytes_data if bytes_data is not None else (text_data or "").encode("utf-8", "replace")
        kind = data[:1]
        if self._writer is None or self._writer.is_closing() or kind not in KINDS:
            return
        self._acks = self._acks or kind == b"2"
        self._writer.write(wire.frame(kind, data[1:]))
        try:
            await self._writer.drain()
        except OSError:
            pass  # the pump sees it too, and closes

    async def disconnect(self, code: int) -> None:
        for task in (self._pump_task, self._pinging, self._watch_task):
            if task is not None:
                task.cancel()
        if self._listener is not None:
            self._listener.leave()
        if self._writer is not None:
            self._writer.close()

    async def _watch(self, listener: Reader) -> None:
        """It listens to nothing: the hub ends it when its person, session or token may be here no more."""
        async for _ in listener:
            pass
        await self.close(4401, in_short(listener.ended))

    async def _pump(self) -> None:
        """From the holder to the client, until either is gone."""
        frames, code, reason = wire.Frames(), 1012, "The process that held this shell is gone. Ask for the shell again."
        try:
            while data := await self._reader.read(wire.PIECE):
                output: list[bytes] = []
                for kind, content in frames.take(data):
                    if kind == b"o":
                        output.append(content)
                        continue
                    await self._show(output)
                    output = []
                    if kind == b"c":
                        await self.send(text_data=content.decode())
                    elif kind == b"x":
                        said = json.loads(content)
                        code, reason = said["code"], said["reason"]
                        return
                await self._show(output)
        except (OSError, wire.BadFrame):
            pass
        finally:
            if self._pump_task is not None and not self._pump_task.cancelling():
                await self.close(code, in_short(reason))

    async def _show(self, output: list[bytes]) -> None:
        """Everything that came at once is one message."""
        if not output:
            return
        data = output[0] if len(output) == 1 else b"".join(output)
        await self.send(bytes_data=data)
        self._sent += len(data)
        if not self._acks and self._sent - self._pinged >= PING_EVERY and (self._pinging is None or self._pinging.done()):
            self._pinging = asyncio.create_task(self._ping())

    async def _ping(self) -> None:
        """What was sent before a ping that is answered has arrived."""
        ping = self.scope.get("extensions", {}).get("mist.ping")
        self._pinged = self._sent
        if ping is not None:
            await ping()
        if not self._acks and self._writer is not None:
            self._writer.write(wire.said(b"2", {"acked": self._pinged}))
