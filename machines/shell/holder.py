"""The process that holds shells (role `shell`): web comes and goes, they stay.

Any number of these may run; a session's row names the one that holds it. Once a second each closes the chunks that are due, seals
them into the audit log, writes its rows, and looks who is to be ended. While the database is away recordings go on in their files;
what cannot be sealed for UNSEALED_S ends.

Told to stop, it takes no new shell and tells who looks at one when that ends: after MIST_SHELL_DRAIN_S. It is gone with the last.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError, transaction
from django.utils import timezone

from core import events, guard, live
from core.actions import with_rights
from core.actor import Actor
from core.errors import MistError, NotFound, Refused
from core.models import Job
from core.sight import hop
from machines.models import Machine, Session, ShellHolder
from machines.shell import tls, wire
from machines.shell.lines import Asked, way_to
from machines.shell.live import Limits, LiveShell, News, Viewer
from machines.shell.recorder import Chunk, Recorder, RecordingFailed, path_of
from machines.shell.upload import Uploads

log = logging.getLogger(__name__)

TICK_S = 1.0
BEAT_S = 4.0
RIGHTS_S = 20.0
OPEN_S = 45.0  # to be let in by the machine
HELLO_S = 5.0
UNSEALED_S = 60.0
EARLY = 1 << 20  # bytes a client may send before it is let in
KEPT = (
    *("state", "transport", "login", "address", "credential", "cols", "rows", "opened_at", "input_at", "detached_at", "ended_at"),
    *("ended_code", "ended_detail", "exit_status", "viewers", "bytes_in", "bytes_out", "commands", "command_count", "command_text"),
    *("recording", "recorded_bytes", "recorded_chunks"),
)


class Relay(asyncio.Protocol):
    """One connection of web: a socket of somebody."""

    def __init__(self, holder: Holder) -> None:
        self.holder = holder
        self._frames = wire.Frames()
        self._early: list[tuple[bytes, bytes]] = []
        self._early_bytes = 0
        self.shell: LiveShell | None = None
        self.viewer: Viewer | None = None
        self._hello: asyncio.Task[None] | None = None

    def connection_made(self, transport: Any) -> None:
        self.transport: asyncio.Transport = transport
        self._timer = asyncio.get_running_loop().call_later(HELLO_S, transport.abort)

    def data_received(self, data: bytes) -> None:
        try:
            for kind, content in self._frames.take(data):
                if self._hello is None:
                    if kind != b"h":
                        raise wire.BadFrame
                    self._timer.cancel()
                    self._hello = asyncio.ensure_future(self.holder.admit(self, wire.read_hello(content)))
                elif self.shell is not None and self.viewer is not None:
                    self.shell.heard(self.viewer, kind, content)
                else:
                    self._early.append((kind, content))
                    self._early_bytes += len(content)
                    if self._early_bytes > EARLY:
                        raise wire.BadFrame
        except wire.BadFrame:
            log.warning("a connection that does not speak our relay protocol was dropped")
            self.transport.abort()

    def admitted(self, shell: LiveShell, viewer: Viewer) -> None:
        """From now on its frames are the shell's."""
        self.shell, self.viewer = shell, viewer
        for kind, content in self._early:
            shell.heard(viewer, kind, content)
        self._early.clear()

    def refuse(self, code: int, reason: str) -> None:
        self.transport.write(wire.said(b"x", {"code": code, "reason": reason}))
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        if self.shell is not None and self.viewer is not None:
            self.shell.leave(self.viewer)


class Holder:
    """All the shells of one process."""

    def __init__(self, *, name: str, address: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.name, self.address, self.clock = name, address, clock
        self.shells: dict[UUID, LiveShell] = {}
        self.ending: dict[UUID, LiveShell] = {}
        self.limits = Limits(
            idle_s=settings.MIST_SHELL_IDLE_MINUTES * 60, total_s=settings.MIST_SHELL_HOURS * 3600, detached_s=settings.SHELL_DETACHED_S
        )
        self.sending = Uploads(most_bytes=settings.MIST_UPLOAD_MIB << 20, may=_may_send)
        self._wake = asyncio.Event()
        self._beaten_at = self._rights_at = -1e9
        self._unsealed_since: float | None = None
        self.stopping = False
        self._stop_at = 0.0  # by the clock, once it is stopping

    async def listen(self, listener: socket.socket) -> asyncio.Server:
        """Take in whom web brings: on a unix socket as they are, on any other by TLS."""
        loop = asyncio.get_running_loop()
        listener.setblocking(False)
        if listener.family == socket.AF_UNIX:
            return await loop.create_unix_server(lambda: Relay(self), sock=listener)
        return await loop.create_server(lambda: Relay(self), sock=listener, ssl=tls.server(), ssl_handshake_timeout=HELLO_S)

    # -- who comes

    async def admit(self, relay: Relay, hello: dict[str, Any]) -> None:
        """Let somebody in whose ticket was good."""
        pk = UUID(hello["session"])
        shell = self.shells.get(pk)
        if shell is None and hello["new"] and self.stopping:
            relay.refuse(1012, "The process that was to hold this shell stops. Ask for the shell again.")
            return
        if shell is None and hello["new"]:
            try:
                shell = await self._begin(pk, hello)
            except (Refused, RecordingFailed) as error:
                relay.refuse(1011, str(error))
                return
            except DatabaseError:
                log.exception("a shell could not be begun")
                relay.refuse(1011, "The database does not answer. Try again in a moment.")
                return
        if shell is None or shell.over:
            relay.refuse(1011, "This shell has ended.")
            return
        if relay.transport.is_closing():
            return
        viewer = Viewer(
            actor=_actor(hello["actor"]),
            name=hello["name"],
            types=hello["types"],
            told=hello["told"],
            push=relay.transport.write,
            hang_up=relay.transport.close,
        )
        shell.attach(viewer)
        relay.admitted(shell, viewer)

    async def _begin(self, pk: UUID, hello: dict[str, Any]) -> LiveShell:
        """A new shell: recorded from the first byte on; its line is opened beside.  Raises: Refused, RecordingFailed."""
        row, owner = await hop(self._take, pk)
        now = self.clock()
        try:
            recorder = Recorder(
                path_of(row.org_id, row.pk),
                cols=row.cols,
                rows=row.rows,
                began=now,
                at=time.time(),
                title=f"{row.name}"[:200],
                most_bytes=settings.MIST_RECORDING_MIB << 20,
            )
        except RecordingFailed as error:
            await hop(_cannot_record, row, str(error))
            raise
        row.recording = Session.Recording.RUNNING
        shell = LiveShell(
            row=row, owner=owner, limits=self.limits, recorder=recorder, sending=self.sending, ended=self._ended, clock=self.clock
        )
        self.shells[pk] = shell
        shell.opening = asyncio.ensure_future(self._open(shell))
        if self.stopping:
            self._tell(shell)
        return shell

    def _take(self, pk: UUID) -> tuple[Session, Actor]:
        """Make the row ours."""
        with transaction.atomic():
            row = Session.objects.select_for_update().filter(pk=pk).first()
            if row is None or row.state != Session.State.OPENING or row.holder:
                raise Refused("This shell has been opened already.")
            job = Job.objects.filter(pk=row.job_id).first()
            if job is None:
                raise Refused("What asked for this shell is not known any more. Ask again.")
            owner = with_rights(job.actor())
            row.holder, row.holder_address = self.name, self.address
            row.save(update_fields=["holder", "holder_address"])
        return row, owner

    async def _open(self, shell: LiveShell) -> None:
        row = shell.row
        try:
            machine: Machine = await hop(_machine, row)
            asked = Asked(machine=machine, actor=shell.owner, cols=row.cols, rows=row.rows, login=row.login)
            async with asyncio.timeout(OPEN_S):
                line = await way_to(machine, row.transport).open(asked, shell)
        except TimeoutError:
            shell.end("open_timeout", f"{row.name} did not let us in within {OPEN_S:.0f} s.")
            return
        except (MistError, OSError) as error:
            code, detail = (error.code, error.detail) if isinstance(error, MistError) else ("unreachable", str(error))
            shell.end(code, detail)
            return
        except Exception:  # a fault of ours ends this shell, and no other
            log.exception("shell %s could not be opened", row.pk)
            shell.end("internal_error", "Mist itself failed at this. The log has the details.")
            return
        if shell.over:
            line.close()
            return
        row.state, row.opened_at = Session.State.OPEN, timezone.now()
        row.transport, row.login, row.address, row.credential = line.transport, line.login, line.address[:300], line.credential[:200]
        if (asked.cols, asked.rows) != (row.cols, row.rows):
            line.resize(row.cols, row.rows)
        shell.opened(line)
        shell.dirty = True
        shell.tell_all(shell.facts())
        opened = {"transport": line.transport, "login": line.login, "address": line.address, "by": line.credential}
        shell.news.append(News(what="opened.observed", detail=opened))
        self._wake.set()

    def _ended(self, shell: LiveShell) -> None:
        self.shells.pop(shell.pk, None)
        if shell.opening is not None and not shell.opening.done() and shell.opening is not asyncio.current_task():
            shell.opening.cancel()
        row = shell.row
        row.state, row.ended_at = Session.State.ENDED, timezone.now()
        row.recording = Session.Recording.INTERRUPTED if row.ended_code == "not_recorded" else Session.Recording.COMPLETE
        self.ending[shell.pk] = shell
        self._wake.set()

    # -- by the clock

    async def run(self, beat: Callable[[], None]) -> None:
        """Until `stop` is called: what has to be done once a second, and at once when a shell ends. `beat`: this loop lives."""
        while not (self.stopping and not self.shells and not self.ending):
            try:
                async with asyncio.timeout(TICK_S):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            beat()
            try:
                await self.tick()
            except DatabaseError as error:
                log.warning("shells could not be written down (%s); tried again", type(error).__name__)
                self._unsealed_since = self._unsealed_since or self.clock()
                is_last = self.stopping and self.clock() >= self._stop_at
                if is_last or self.clock() - self._unsealed_since > UNSEALED_S:
                    for shell in list(self.shells.values()):
                        shell.end("not_recorded", "What it shows can be sealed no more: the database does not answer.")
                if is_last:
                    return
        await hop(ShellHolder.objects.filter(name=self.name).delete)

    def stop(self) -> None:
        """This process is told to stop: no new shell, and the time that is left for those it holds. Told twice: no time."""
        left_s = 0 if self.stopping else settings.MIST_SHELL_DRAIN_S
        self.stopping, self._stop_at = True, self.clock() + left_s
        self._beaten_at = -1e9  # the next tick says that nobody new is taken in
        for shell in self.shells.values():
            self._tell(shell)
        asyncio.get_running_loop().call_later(left_s, self._wake.set)
        self._wake.set()

    def _tell(self, shell: LiveShell) -> None:
        shell.will_end(self._stop_at - self.clock(), "The process that holds this shell was told to stop.")

    async def tick(self) -> None:
        """Raises: DatabaseError: nothing of it was written, and it is tried again."""
        is_last = self.stopping and self.clock() >= self._stop_at
        for shell in list(self.shells.values()):
            if is_last:
                shell.end("holder_stopped", "The process that held it was stopped.")
            elif why := shell.overdue():
                shell.end(*why)
            else:
                shell.close_chunk()
        told = [
            shell for shell in (*self.shells.values(), *self.ending.values()) if shell.dirty or shell.chunks or shell.news or shell.over
        ]
        for shell, words in await hop(_keep, [shell for shell in told if shell.chunks]):
            shell.end("not_recorded", words)
            shell.row.recording = Session.Recording.INTERRUPTED
        notes = [_Note(shell) for shell in told]
        now = self.clock()
        beats = now - self._beaten_at > BEAT_S
        look = await hop(self._write, notes, list(self.shells), beats)
        self._unsealed_since = None
        if beats:
            self._beaten_at = now
        for note in notes:
            note.done()
            if note.last:
                self.ending.pop(note.shell.pk, None)
        for pk, why in look.items():
            if pk in self.shells:
                self.shells[pk].end(*why)
        if now - self._rights_at > RIGHTS_S:
            self._rights_at = now
            await self._recheck()

    def _write(self, notes: list[_Note], held: list[UUID], beats: bool) -> dict[UUID, tuple[str, str]]:
        """Events and rows, in one transaction.  Returns: the shells that are to end, and why."""
        with transaction.atomic():
            events.record_all([event for note in notes for event in note.events()])
            for note in notes:
                Session.objects.filter(pk=note.shell.pk).update(**note.values)
                if note.loud:
                    live.changed(note.shell.row.org_id, "session", [note.shell.pk])
        if beats:
            facts = {"address": self.address, "sessions": len(held), "is_stopping": self.stopping, "beat_at": timezone.now()}
            ShellHolder.objects.update_or_create(name=self.name, defaults=facts)
        found: dict[UUID, tuple[str, str]] = {}
        gone = set(held)
        for pk, state, kill_by in Session.objects.filter(pk__in=held).values_list("pk", "state", "kill_by"):
            gone.discard(pk)
            if kill_by:
                found[pk] = ("killed", f"{kill_by} ended it.")
            elif state == Session.State.ENDED:
                found[pk] = ("holder_lost", "It was given up: this process was not heard of.")
        return found | dict.fromkeys(gone, ("deleted", "It was deleted."))

    async def _recheck(self) -> None:
        """Whoever lost the right since is sent away; a shell ends with the right of who opened it."""
        shells = list(self.shells.values())
        asked = [(shell.row, shell.owner, [(viewer.actor, viewer.types) for viewer in shell.viewers]) for shell in shells]
        viewers = [list(shell.viewers) for shell in shells]
        for shell, those, (may, may_each) in zip(shells, viewers, await hop(_rights, asked), strict=True):
            if not may:
                shell.end("no_right", "Whoever opened it may not have a shell here any more.")
                continue
            for viewer, holds in zip(those, may_each, strict=True):
                if not holds:
                    viewer.push(wire.said(b"x", {"code": 4403, "reason": "You may not look at this shell any more."}))
                    viewer.hang_up()


class _Note:
    """What is to be written of one shell, as it was when the tick looked: the loop goes on meanwhile."""

    def __init__(self, shell: LiveShell) -> None:
        self.shell, self.last = shell, shell.over and not shell.uploads  # what comes of those is told before its end
        self.chunks, self.news = list(shell.chunks), list(shell.news)
        row = shell.row
        row.input_at = timezone.now() - timedelta(seconds=shell.clock() - shell.typed_at)
        row.detached_at = None if shell.detached_at is None else timezone.now() - timedelta(seconds=shell.clock() - shell.detached_at)
        self.values = {name: getattr(row, name) for name in KEPT}
        seen = (row.state, row.command_count, len(row.viewers))
        self.loud = seen != shell.told_of  # worth a note to who looks at lists
        shell.told_of = seen
        shell.dirty = False

    def events(self) -> Iterable[Any]:
        row = self.shell.row
        actor = Actor.system(row.org_id, via="shell")
        facts = [News(what="chunk.observed", detail=_facts(chunk)) for chunk in self.chunks]
        facts += self.news
        if self.last:
            ended = {
                "code": row.ended_code,
                "why": row.ended_detail,
                "exit_status": row.exit_status,
                "bytes": row.bytes_out,
                "commands": row.command_count,
                "recorded_bytes": row.recorded_bytes,
                "chunks": row.recorded_chunks,
            }
            facts.append(News(what="ended.observed", detail=ended))
        for news in facts:
            if news.actor is None:
                yield events.build(f"session.{news.what}", actor, target=row, job_id=row.job_id, detail=news.detail)
                continue
            yield events.build(f"session.{news.what}", news.actor, target=row, detail=news.detail)
            if row.machine_id is not None:
                about: dict[str, Any] = {"target_kind": "machine", "target_id": row.machine_id, "target_name": row.name}
                yield events.build(f"machine.{news.what}", news.actor, target=row, detail=news.detail, **about)

    def done(self) -> None:
        del self.shell.chunks[: len(self.chunks)], self.shell.news[: len(self.news)]
        if self.last:
            self.shell.recorder.close()


def _facts(chunk: Chunk) -> dict[str, Any]:
    return {
        "sequence": chunk.sequence,
        "offset": chunk.offset,
        "length": chunk.length,
        "sha256": chunk.sha256,
        "until_s": chunk.last_s,
    }


def _keep(shells: list[LiveShell]) -> list[tuple[LiveShell, str]]:
    """What is sealed is on the disk before.  Returns: those that could not be kept."""
    failed = []
    for shell in shells:
        try:
            shell.recorder.keep()
        except RecordingFailed as error:
            failed.append((shell, str(error)))
    return failed


def _machine(row: Session) -> Machine:
    found: Machine | None = Machine.objects.select_related("cloud").filter(pk=row.machine_id).first()
    if found is None:
        raise NotFound(f"{row.name} is not there any more.", code="target_gone")
    return found


def _cannot_record(row: Session, why: str) -> None:
    row.state, row.ended_at, row.ended_code, row.ended_detail = Session.State.ENDED, timezone.now(), "not_recorded", why
    row.save()
    events.record(
        "session.ended.observed",
        Actor.system(row.org_id, via="shell"),
        target=row,
        job_id=row.job_id,
        detail={"code": "not_recorded", "why": why},
    )


def _rights(asked: list[tuple[Session, Actor, list[tuple[Actor, bool]]]]) -> list[tuple[bool, list[bool]]]:
    """May each owner still have a shell there, and each viewer still look or type?"""
    machines = {machine.pk: machine for machine in Machine.objects.filter(pk__in=[row.machine_id for row, _, _ in asked])}
    found = []
    for row, owner, viewers in asked:
        machine = machines.get(row.machine_id)
        target, right = (machine, "shell") if machine is not None else (row, "read")
        found.append((_may(owner, target, right), [_may(actor, row, "join" if types else "watch") for actor, types in viewers]))
    return found


def _may(actor: Actor, target: Any, right: str) -> bool:
    try:
        fresh = with_rights(actor)
    except Refused:
        return False
    return not (fresh.read_only and right != "watch") and guard.permits(fresh, target, right)


async def _may_send(row: Session, actor: Actor) -> bool:
    """May this person type in this shell, and have one on its machine?"""
    return bool(await hop(_may_write, row, actor))


def _may_write(row: Session, actor: Actor) -> bool:
    machine = Machine.objects.filter(pk=row.machine_id).first()
    return machine is not None and _may(actor, machine, "shell") and _may(actor, row, "join")


def _actor(facts: dict[str, Any]) -> Actor:
    ids = {name: UUID(facts[name]) if facts[name] else None for name in ("org_id", "user_id", "token_id", "su_by")}
    return Actor(via=facts["via"], request_id=facts["request_id"], address=facts["address"], read_only=facts["read_only"], **ids)  # type: ignore[arg-type]


def facts_of(actor: Actor) -> dict[str, Any]:
    """An actor as a hello carries it."""
    ids = {name: getattr(actor, name).hex if getattr(actor, name) else "" for name in ("org_id", "user_id", "token_id", "su_by")}
    return {"via": actor.via, "request_id": actor.request_id, "address": actor.address, "read_only": actor.read_only, **ids}
