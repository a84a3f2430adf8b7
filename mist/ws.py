"""uvicorn's WebSocket with what a shell needs of it: a ping one can wait for, and no compression of shell bytes."""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

SHELLS = "/ssh/"


class Socket(WebSocketsSansIOProtocol):
    """In `scope["extensions"]`: `mist.ping`, which ends when the client has answered, and so read all that was sent before."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._waiting: dict[bytes, asyncio.Future[None]] = {}

    def handle_connect(self, event: Any) -> None:
        if event.path.startswith(SHELLS):
            self.conn.available_extensions = []  # deflating a flood takes more time than sending it
        super().handle_connect(event)
        if hasattr(self, "scope"):
            self.scope["extensions"]["mist.ping"] = self.ping  # type: ignore[typeddict-unknown-key]

    async def ping(self) -> None:
        """Raises: ConnectionError when the socket is gone first."""
        payload = secrets.token_bytes(8)
        answered = self.loop.create_future()
        self._waiting[payload] = answered
        self.conn.send_ping(payload)
        self.transport.write(b"".join(self.conn.data_to_send()))
        await answered

    def handle_pong(self, event: Any) -> None:
        waiting = self._waiting.pop(bytes(event.data), None)
        if waiting is None:
            super().handle_pong(event)
        elif not waiting.done():
            waiting.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(ConnectionError("the socket is gone"))
        self._waiting.clear()
        super().connection_lost(exc)
