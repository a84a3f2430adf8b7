"""A shell through the cloud's API: `docker exec`, and whatever other provider writes `create_terminal`."""

from __future__ import annotations

import asyncio
import logging
from contextlib import ExitStack
from typing import Any

from clouds.connection import connect
from clouds.providers.base import Provider
from core.errors import MistError
from core.sight import hop
from machines.models import Machine
from machines.shell.lines import Asked, Line, Sink, Way, add

log = logging.getLogger(__name__)

CALL_S = 15.0  # one call of the API
PIECE = 64 << 10


class InsideLine(Line):
    """A stream to a terminal that the provider opened."""

    transport = "exec"

    def __init__(self, asked: Asked, terminal: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, sink: Sink) -> None:
        self._asked, self._terminal, self._reader, self._writer, self._sink = asked, terminal, reader, writer, sink
        self._may_read = asyncio.Event()
        self._may_read.set()
        self._ended = False
        self._size: tuple[int, int] | None = None
        self._resizing: asyncio.Task[None] | None = None
        self._reading = asyncio.ensure_future(self._read())
        self.login, self.address = asked.login, asked.machine.external_id[:12]
        self.credential = f"the API of {asked.machine.cloud.name}"
        self.no_files = f"Files go over SSH, and this shell is opened through {self.credential}."

    async def _read(self) -> None:
        try:
            while data := await self._reader.read(PIECE):
                self._sink.received(data)
                await self._may_read.wait()
            words, status = "The connection to the machine was lost.", None
            for pause in (0, 0.1, 0.5, 1):  # the stream may end before the exit is known
                await asyncio.sleep(pause)
                status = await self._call("terminal_status", self._terminal)
                if status is not None:
                    break
        except (OSError, MistError) as error:
            words, status = f"The connection to the machine was lost: {error}.", None
        self._ended = status is not None
        if status is None:
            self._sink.lost("connection_lost", words[:300], None)
        else:
            self._sink.lost("exited", f"The shell ended with status {status}.", status)

    def _call(self, name: str, *args: Any) -> Any:
        return hop(_call, self._asked, name, args)

    def write(self, data: bytes) -> None:
        if not self._writer.is_closing():
            self._writer.write(data)

    def unsent(self) -> int:
        return self._writer.transport.get_write_buffer_size()

    def resize(self, cols: int, rows: int) -> None:
        self._size = (cols, rows)
        if self._resizing is None or self._resizing.done():
            self._resizing = asyncio.ensure_future(self._resize())

    async def _resize(self) -> None:
        while self._size is not None:
            (cols, rows), self._size = self._size, None
            try:
                await self._call("resize_terminal", self._terminal, cols, rows)
            except MistError as error:
                log.info("a terminal could not be resized: %s", error.code)

    def pause(self) -> None:
        self._may_read.clear()

    def resume(self) -> None:
        self._may_read.set()

    def close(self) -> None:
        self._writer.close()
        if not self._ended:
            self._ended = True
            self._ending = asyncio.ensure_future(self._end())

    async def _end(self) -> None:
        self._reading.cancel()
        try:
            await self._call("end_terminal", self._asked.machine.external_id, self._terminal)
        except MistError as error:
            log.info("what ran in a terminal could not be hung up on: %s", error.code)


async def open_inside(asked: Asked, sink: Sink) -> InsideLine:
    """Raises: ProviderError: the cloud's, with what to do."""
    stack, provider = await hop(_provider, asked)
    try:
        terminal = await hop(_create, provider, asked)
        reader, writer = await provider.attach_terminal(terminal)
    finally:
        await hop(stack.close)
    line = InsideLine(asked, terminal, reader, writer, sink)
    line.resize(asked.cols, asked.rows)  # engines before 23 take no size at the start
    return line


def _create(provider: Provider, asked: Asked) -> str:
    return provider.create_terminal(asked.machine.external_id, user=asked.login, cols=asked.cols, rows=asked.rows)


def _provider(asked: Asked) -> tuple[ExitStack, Provider]:
    stack = ExitStack()
    return stack, stack.enter_context(connect(asked.machine.cloud, asked.actor, deadline_s=CALL_S))


def _call(asked: Asked, name: str, args: tuple[Any, ...]) -> Any:
    with connect(asked.machine.cloud, asked.actor, deadline_s=CALL_S) as provider:
        return getattr(provider, name)(*args)


def leads_to(machine: Machine) -> bool:
    """A running thing whose cloud opens terminals in it."""
    cls = machine.cloud.driver
    return machine.type == Machine.Type.CONTAINER and cls is not None and cls.supports("create_terminal")


add(Way(name="exec", leads_to=leads_to, open=open_inside))
