"""Running a script on many hosts: in one event loop a process, many hosts at a time, waves, stop conditions, an end for each.

The worker's thread sits at the run's `Desk`; here, on the loop, is nothing but network. A host that hangs, floods, changes its
key or dies costs itself alone.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import asyncssh
from django.utils import timezone

from core.errors import MistError, Rejected
from keys import ssh
from machines.reach import Reach
from scripts.desk import Desk, ended, failed
from scripts.models import Run, RunHost
from scripts.output import STDERR, STDOUT, Output, masked
from scripts.shellside import Order

log = logging.getLogger(__name__)

AHEAD = 100  # hosts whose ways are looked up together
WINDOW = 256 << 10  # bytes in flight of one host
PIECE = 64 << 10
SWEEP_S = 0.3  # how old output gets before it is written
ENDING_S = 5.0  # from SIGTERM to SIGKILL
NOT_FOUND = 127  # a shell's exit status where there is no such program
NOISE = 64 << 10  # of a login shell's own start files, before the script begins


class Conductor:
    """One run on the loop."""

    def __init__(self, run: Run, order: Order | None, secrets: Sequence[str], desk: Desk, *, cap: int, wait_s: float = 0) -> None:
        self.run, self.order, self.secrets, self.desk, self.cap = run, order, secrets, desk, cap
        self.wait_s = wait_s  # for a host that does not answer yet
        self.failures = 0
        self.stopped = ""  # why no further host begins: a code
        self.at_work: set[Session] = set()
        self.tasks: set[asyncio.Task[None]] = set()

    async def conduct(self, waves: Sequence[Sequence[RunHost]], find: Callable[[Sequence[RunHost]], list[Reach]]) -> None:
        """Wave after wave. `find`: the ways of some hosts, asked in the worker's thread."""
        sweeper = asyncio.create_task(self._sweep())
        try:
            for wave in waves:
                await self._wave(wave, find)
        finally:
            sweeper.cancel()

    def cancel(self) -> None:
        """Nothing more begins; what runs is ended on its host."""
        if self.stopped == "cancelled":
            return
        self.stopped = "cancelled"
        for session in list(self.at_work):
            session.stop("cancelled")

    async def _wave(self, hosts: Sequence[RunHost], find: Callable[[Sequence[RunHost]], list[Reach]]) -> None:
        slots = asyncio.Semaphore(self.run.concurrency)
        batches = [hosts[start : start + AHEAD] for start in range(0, len(hosts), AHEAD)]
        asked = [self._ask(find, batch) for batch in batches[:1]]
        try:
            for number, batch in enumerate(batches, start=1):
                ways = await asked.pop()
                asked += [self._ask(find, later) for later in batches[number : number + 1]]  # while these are at work
                for index, host in enumerate(batch):
                    await slots.acquire()
                    if self.stopped or not ways:
                        slots.release()
                        self._not_begun(host)
                        continue
                    task = asyncio.create_task(self._one(host, ways[index], slots))
                    self.tasks.add(task)
                    task.add_done_callback(self.tasks.discard)
        finally:
            for unread in asked:
                unread.cancel()
        if self.tasks:
            await asyncio.wait(self.tasks)

    def _ask(self, find: Callable[[Sequence[RunHost]], list[Reach]], batch: Sequence[RunHost]) -> asyncio.Task[list[Reach]]:
        async def ask() -> list[Reach]:
            return [] if self.stopped else await self.desk.ask(find, batch)

        return asyncio.create_task(ask())

    def _not_begun(self, host: RunHost) -> None:
        if self.stopped == "cancelled":
            ended(host, RunHost.State.CANCELLED, "cancelled", "The run was stopped before it began here.")
        else:
            ended(host, RunHost.State.SKIPPED, "stopped", f"The run stopped after {self.failures} failures.")
        self.desk.tell(host)

    async def _one(self, host: RunHost, way: Reach, slots: asyncio.Semaphore) -> None:
        try:
            if way.error is not None:
                host.started_at = timezone.now()
                failed(host, way.error)
            else:
                await self._run_on(host, way)
        except MistError as error:
            failed(host, error)
        except Exception as error:
            log.exception("run %s: host %s failed unexpectedly", self.run.pk, host.pk)
            ended(host, RunHost.State.FAILED, "internal_error", f"Mist itself failed at this ({type(error).__name__}).")
        finally:
            slots.release()
        host.detail = masked(host.detail, self.secrets)
        if host.state in (RunHost.State.FAILED, RunHost.State.UNKNOWN):
            self.failures += 1
            if self.run.stop_after and self.failures >= self.run.stop_after and not self.stopped:
                self.stopped = "failures"
        self.desk.tell(host, way)

    async def _run_on(self, host: RunHost, way: Reach) -> None:
        assert self.order is not None
        host.state, host.started_at = RunHost.State.RUNNING, timezone.now()
        self.desk.tell(host)
        names = [n for n in {host.name, way.host, *way.machine.public_ips, *way.machine.private_ips, way.machine.hostname} if len(n) > 2]
        said = Output(host.pk, began=time.monotonic(), cap=self.cap, secrets=self.secrets, names=names)
        session = Session(self, way, said, self.order)
        self.at_work.add(session)
        try:
            await session.run(host)
        finally:
            self.at_work.discard(session)
            for piece in said.end():
                self.desk.write(piece)
            host.size, host.dropped = said.size, said.dropped
            host.digest, host.alike = said.digests()
            host.last_line = said.last_line.replace("\0", "")[:200]

    async def _sweep(self) -> None:
        """What hosts said a moment ago is written, however little."""
        while True:
            await asyncio.sleep(SWEEP_S)
            for session in list(self.at_work):
                session.pass_on()


class Session(asyncssh.SSHClientSession[bytes]):
    """One script on one host: input fed as it is taken, output taken as there is room for it."""

    def __init__(self, conductor: Conductor, way: Reach, said: Output, order: Order) -> None:
        self.conductor, self.way, self.said, self.order = conductor, way, said, order
        self.sudo = False  # once we know as whom we are let in
        self.began = ""  # pid, parent, what it left: told by the host's first line
        self._noise = bytearray()
        self._channel: Any = None
        self._exit: int | None = None
        self._signal = ""
        self._over = asyncio.Event()
        self._may_write = asyncio.Event()
        self._may_write.set()
        self._stop = ""
        self._stopping = asyncio.Event()

    # --- what asyncssh tells

    def connection_made(self, chan: Any) -> None:
        self._channel = chan

    def data_received(self, data: bytes, datatype: int | None) -> None:
        if datatype is None and not self.began:
            data = self._after_first_line(data)
        if data:
            self.said.feed(STDERR if datatype else STDOUT, data)
        if self.said.waiting >= PIECE:
            self.pass_on()
        if not self.conductor.desk.room.is_set():
            self._channel.pause_reading()
            task = asyncio.create_task(self._resume())
            self.conductor.tasks.add(task)
            task.add_done_callback(self.conductor.tasks.discard)

    async def _resume(self) -> None:
        await self.conductor.desk.room.wait()
        if not self._over.is_set():
            self._channel.resume_reading()

    def _after_first_line(self, data: bytes) -> bytes:
        """Keep back what a login shell says of itself, until our own first line."""
        self._noise += data
        mark = self.order.token.encode() + b" "
        at = self._noise.find(mark)
        end = self._noise.find(b"\n", at) if at >= 0 else -1
        if end >= 0:
            self.began = self._noise[at + len(mark) : end].decode(errors="replace")
            rest = bytes(self._noise[end + 1 :])
            self._noise = bytearray()
            return rest
        if len(self._noise) > NOISE:
            self.began, rest = " ", bytes(self._noise)
            self._noise = bytearray()
            return rest
        return b""

    def pause_writing(self) -> None:
        self._may_write.clear()

    def resume_writing(self) -> None:
        self._may_write.set()

    def exit_status_received(self, status: int) -> None:
        self._exit = status

    def exit_signal_received(self, signal: str, core_dumped: bool, msg: str, lang: str) -> None:
        self._signal = signal

    def connection_lost(self, exc: Exception | None) -> None:
        self._over.set()
        self._may_write.set()

    # --- ours

    def stop(self, why: str) -> None:
        """End it on its host: "cancelled" or "timed_out"."""
        self._stop = self._stop or why
        self._stopping.set()

    def pass_on(self) -> None:
        piece = self.said.take()
        if piece is not None:
            self.conductor.desk.write(piece)

    async def run(self, host: RunHost) -> None:
        """From dialling to its end, which is written into `host`."""
        limit = self.conductor.run.timeout_s
        way, desk = self.way, self.conductor.desk
        connecting = asyncio.ensure_future(way.connect_within(desk.actor, desk.ask, self.conductor.wait_s))
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait({connecting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not connecting.done():
                connecting.cancel()
                self._end(host)
                return
            connection = connecting.result()
        finally:
            stopping.cancel()
        try:
            assert way.login is not None
            self.sudo = self.conductor.run.su and way.needs_sudo
            with ssh.translated(way.host, way.login.port, way.login.user):
                await connection.create_session(lambda: self, self.order.command(sudo=self.sudo), encoding=None, window=WINDOW)
            feeding = asyncio.create_task(self._feed())
            try:
                await self._until_over(connection, limit)
            finally:
                feeding.cancel()
        finally:
            connection.abort()
        if self._noise:
            self.said.feed(STDOUT, bytes(self._noise))
        self._end(host)

    async def _feed(self) -> None:
        data = memoryview(self.order.stdin)
        for start in range(0, len(data), PIECE):
            await self._may_write.wait()
            if self._over.is_set() or self._channel.is_closing():
                return
            self._channel.write(bytes(data[start : start + PIECE]))
        self._channel.write_eof()

    async def _until_over(self, connection: asyncssh.SSHClientConnection, limit: float) -> None:
        over = asyncio.ensure_future(self._over.wait())
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait({over, stopping}, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
            if not over.done():
                self.stop("timed_out")
                for signal in ("TERM", "KILL"):
                    await self._signal_it(connection, signal)
                    await asyncio.wait({over}, timeout=ENDING_S)
                    if over.done():
                        break
        finally:
            over.cancel()
            stopping.cancel()

    async def _signal_it(self, connection: asyncssh.SSHClientConnection, signal: str) -> None:
        """By a second channel: OpenSSH takes no signals for root's own sessions. The session's group, then what is left of it."""
        words = self.began.split(" ", 2)
        if len(words) < 3 or not (words[0].isdigit() and words[1].isdigit()):
            return  # it had not begun
        command = self.order.ending(signal, sudo=self.sudo, pid=words[0], parent=words[1], left=words[2])
        try:
            async with asyncio.timeout(ENDING_S):
                await connection.run(command, check=False, encoding=None)
        except (TimeoutError, OSError, asyncssh.Error) as error:
            log.info("a host would not be told to end its script: %s", type(error).__name__)

    def _end(self, host: RunHost) -> None:
        limit = self.conductor.run.timeout_s
        if self._stop == "cancelled":
            ended(host, RunHost.State.CANCELLED, "cancelled", "It was stopped here by hand.")
        elif self._stop == "timed_out":
            ended(host, RunHost.State.FAILED, "timed_out", f"It did not end within {limit:,} s and was ended.")
        elif self._exit is not None:
            host.exit = self._exit
            ended(host, RunHost.State.SUCCEEDED if self._exit == 0 else RunHost.State.FAILED)
            if self._exit and not self.began.strip() and self.sudo:
                user = self.way.login.user if self.way.login else ""
                why = "There is no sudo here." if self._exit == NOT_FOUND else f"{user} may not become root here without a password."
                ended(host, RunHost.State.FAILED, "no_sudo", why)
        elif self._signal:
            ended(host, RunHost.State.FAILED, "signalled", f"It was ended by SIG{self._signal}.")
        else:
            ended(
                host,
                RunHost.State.UNKNOWN,
                "connection_lost",
                "The connection broke off before it ended: it may still be running there.",
            )


# --- waves -----------------------------------------------------------------------------------------------------------


def waves_of(hosts: Iterable[Any], wave: str, place: Callable[[Any], str]) -> list[list[Any]]:
    """Hosts in waves, one after the other: "" all at once, "10" so many, "25%" such a part, "location" or "cloud" one at a time.

    Raises: Rejected for a wave that is none of these.
    """
    hosts = list(hosts)
    if not hosts:
        return []
    if wave in ("location", "cloud"):
        groups: dict[str, list[Any]] = {}
        for host in sorted(hosts, key=lambda h: place(h)):
            groups.setdefault(place(host), []).append(host)
        return list(groups.values())
    if not wave:
        return [hosts]
    size = wave_size(wave, len(hosts))
    return [hosts[start : start + size] for start in range(0, len(hosts), size)]


def wave_size(wave: str, total: int) -> int:
    """Raises: Rejected."""
    number = wave.removesuffix("%")
    if not number.isascii() or not number.isdigit() or not 0 < int(number) <= (100 if wave.endswith("%") else 100_000):
        raise Rejected("A wave is a number of hosts, a percentage, location or cloud.", code="bad_wave")
    return max(1, math.ceil(total * int(number) / 100)) if wave.endswith("%") else int(number)


def loop() -> asyncio.AbstractEventLoop:
    """The process's loop for SSH."""
    return ssh.loop()
