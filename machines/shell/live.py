"""One live shell: the line to the machine, its recorder, and who looks.

What comes from the machine is recorded, then shown. Who types is not left behind: while every viewer that may type is AHEAD bytes
behind what was sent, nothing more is read from the machine, and its program waits. A viewer that only looks, or lags behind
another, misses what it cannot take and is shown the screen again when it can. A flood is read at full speed for BURST bytes and
then slowly, so that it fills no disk while nobody types; a key lifts that.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from core.actor import Actor
from core.errors import Rejected, Unavailable
from machines.models import Session
from machines.shell import wire
from machines.shell.files import in_words
from machines.shell.lines import Line
from machines.shell.recorder import Chunk, Recorder, RecordingFailed
from machines.shell.terminal import LONGEST, Terminal
from machines.shell.upload import Upload, Uploads

AHEAD = 256 << 10  # bytes sent and not drawn yet
SCROLLBACK = 256 << 10  # bytes kept for who comes back
UNSENT = 4 << 20  # bytes typed that the machine does not take
TYPED_AHEAD = 64 << 10  # bytes typed before it is open
BURST = 128 << 20  # of output at full speed
TRICKLE = 512 << 10  # bytes a second after that: `yes` for ten minutes is 700 MiB on record
KEY_CREDIT = 8 << 20  # at full speed again, after a key
COMMANDS_SHOWN = 200
COMMAND_TEXT = 60_000  # characters of commands that the search finds
SIZE_MOST = 1000


@dataclass(kw_only=True, eq=False)
class Viewer:
    """One socket. `sent`, `drawn`: bytes of output so far. `told`: does it take JSON beside the bytes?"""

    actor: Actor
    name: str
    types: bool
    told: bool
    push: Callable[[bytes], None]
    hang_up: Callable[[], None]
    sent: int = 0
    drawn: int = 0
    lags: bool = False  # it was left behind: shown the screen again when it has drawn what it has

    @property
    def ahead(self) -> int:
        return self.sent - self.drawn

    def show(self, data: bytes) -> None:
        self.sent += len(data)
        self.push(wire.frame(b"o", data))

    def tell(self, content: dict[str, Any]) -> None:
        if self.told:
            self.push(wire.said(b"c", content))


@dataclass(frozen=True, kw_only=True)
class News:
    """A fact for the audit log: `what` is its type after `session.`. With an `actor` it is their doing, and told of the machine too."""

    what: str
    detail: dict[str, Any]
    actor: Actor | None = None


@dataclass(kw_only=True)
class Limits:
    """Seconds: without a key; in all; with nobody looking."""

    idle_s: float
    total_s: float
    detached_s: float


@dataclass(kw_only=True, eq=False)
class LiveShell:
    """One shell. Belongs to the loop of its process; `ended` is called once."""

    row: Session
    owner: Actor
    limits: Limits
    recorder: Recorder
    sending: Uploads
    ended: Callable[[LiveShell], None]
    clock: Callable[[], float] = time.monotonic
    line: Line | None = None
    viewers: list[Viewer] = field(default_factory=list)
    over: bool = False
    dirty: bool = True  # its row is not written as it is
    opening: asyncio.Task[None] | None = None
    news: list[News] = field(default_factory=list)  # to be recorded
    uploads: list[Upload] = field(default_factory=list)  # that are on their way
    told_of: tuple[Any, ...] = ()  # what lists were told of last
    leaving: dict[str, Any] = field(default_factory=dict)  # what is said of its end, once that is known

    def __post_init__(self) -> None:
        self.began = self.clock()
        self.typed_at = self.began
        self.detached_at: float | None = self.began
        self.terminal = Terminal(self.row.cols)
        self.chunks: list[Chunk] = []  # closed, not sealed yet
        self._came: list[bytes] = []  # output that is not recorded yet
        self._typed_ahead = bytearray()  # before the line is there
        self._screen = bytearray()  # the last bytes of output
        self._paused = False
        self._credit, self._credit_at = float(BURST), self.began
        self._retry: asyncio.TimerHandle | None = None

    @property
    def pk(self) -> UUID:
        return self.row.pk

    # -- from the machine

    def opened(self, line: Line) -> None:
        """The line is there: what was typed meanwhile goes first."""
        self.line = line
        ahead = bytes(self._typed_ahead)
        self._typed_ahead.clear()
        if ahead:
            self._typed(ahead)

    def received(self, data: bytes) -> None:
        """Output. What comes at once is recorded and shown at once."""
        if not self._came:
            asyncio.get_running_loop().call_soon(self._take)
        self._came.append(data)

    def _take(self) -> None:
        """Record what came, then show it."""
        data = b"".join(self._came)
        self._came.clear()
        if self.over or not data:
            return
        now = self.clock()
        try:
            self.recorder.output(data, now)
            for command in self.terminal.shown(data):
                self._command(command, now)
        except RecordingFailed as error:
            self.end("not_recorded", str(error))
            return
        self.row.bytes_out += len(data)
        self.dirty = True
        self._screen += data
        if len(self._screen) > 2 * SCROLLBACK:
            del self._screen[:-SCROLLBACK]
        for viewer in self.viewers:
            if viewer.lags or viewer.ahead > 2 * AHEAD:
                viewer.lags = True
            else:
                viewer.show(data)
        self._credit -= len(data)
        self._flow()

    def lost(self, code: str, detail: str, exit_status: int | None) -> None:
        """The line is gone."""
        self._take()
        self.row.exit_status = exit_status
        self.end(code, detail)

    def _command(self, text: str, now: float) -> None:
        row = self.row
        self.recorder.mark(text, now)
        row.command_count += 1
        row.commands = [*row.commands, [round(now - self.began, 3), text]][-COMMANDS_SHOWN:]
        if len(row.command_text) < COMMAND_TEXT:
            row.command_text += f"{text}\n"
        self.tell_all({"command": {"at": time.time(), "text": text}})

    def _flow(self) -> None:
        """Read on, or wait?"""
        typing = [viewer.ahead for viewer in self.viewers if viewer.types and not viewer.lags]
        wait = bool(typing) and min(typing) >= AHEAD
        if not wait and self._credit < 0:
            now = self.clock()
            self._credit = min(float(BURST), self._credit + (now - self._credit_at) * TRICKLE)
            self._credit_at = now
            if self._credit < 0:
                wait = True
                if self._retry is None:
                    self._retry = asyncio.get_running_loop().call_later(max(0.01, -self._credit / TRICKLE), self._again)
        elif self._credit >= 0:
            self._credit_at = self.clock()
        if wait is not self._paused and self.line is not None:
            self._paused = wait
            self.line.pause() if wait else self.line.resume()

    def _again(self) -> None:
        self._retry = None
        if not self.over:
            self._flow()

    # -- from those who look

    def attach(self, viewer: Viewer) -> None:
        """Somebody looks from now on: shown the screen as it is, the others told."""
        self.viewers.append(viewer)
        self.detached_at = None
        if self._screen:
            self._redraw(viewer, fresh=True)
            if self.terminal.is_full_screen and self.line is not None and viewer.types:  # whatever draws on it draws again
                self.line.resize(self.row.cols, max(1, self.row.rows - 1))
                self.line.resize(self.row.cols, self.row.rows)
        viewer.tell(self.facts())
        viewer.tell({"size": [self.row.cols, self.row.rows]})
        if self.leaving:
            viewer.tell(self.leaving)
        self._viewers_changed()

    def facts(self) -> dict[str, Any]:
        """What a client shows beside the screen."""
        row, no_files = self.row, self.line.no_files if self.line is not None else ""
        shown = {"session": row.pk.hex, "login": row.login, "address": row.address, "credential": row.credential}
        return {"facts": {**shown, "no_files": no_files}}

    def leave(self, viewer: Viewer) -> None:
        if viewer in self.viewers:
            self.viewers.remove(viewer)
            self._give_up([one for one in self.uploads if one.viewer is viewer], "left", "Whoever sent it left, or lost the connection.")
            if not self.viewers:
                self.detached_at = self.clock()
            self._viewers_changed()
            if not self.over:
                self._flow()

    def _viewers_changed(self) -> None:
        seen = [{"user": str(v.actor.user_id or ""), "name": v.name, "mode": "types" if v.types else "looks"} for v in self.viewers]
        self.row.viewers = seen
        self.dirty = True
        self.tell_all({"viewers": [{"name": one["name"], "mode": one["mode"]} for one in seen]})

    def tell_all(self, content: dict[str, Any]) -> None:
        for viewer in self.viewers:
            viewer.tell(content)

    def heard(self, viewer: Viewer, kind: bytes, data: bytes) -> None:
        """A frame of its client. What makes no sense is not answered: the contract has no word for it."""
        if kind == b"2":
            drawn = _number(_object(data).get("acked"))
            if drawn is not None and viewer.drawn < drawn <= viewer.sent:
                viewer.drawn = drawn
                if viewer.lags and viewer.ahead == 0:
                    viewer.lags = False
                    self._redraw(viewer)
                self._flow()
        elif kind == b"3":
            self._asked_to_send(viewer, _object(data))
        elif not viewer.types:
            return
        elif kind == b"4":
            for upload in self._uploads_of(viewer, int.from_bytes(data[:4])):
                upload.received(data[4:])
        elif kind == b"0" and self.line is None:
            self._typed_ahead += data[: TYPED_AHEAD - len(self._typed_ahead)]
        elif kind == b"0":
            self._typed(data)
        elif kind == b"1":
            size = _object(data)
            cols, rows = _number(size.get("width")), _number(size.get("height"))
            if cols and rows and (cols, rows) != (self.row.cols, self.row.rows):
                self.resize(min(cols, SIZE_MOST), min(rows, SIZE_MOST))

    # -- files

    def _asked_to_send(self, viewer: Viewer, content: dict[str, Any]) -> None:
        number = _number(content.get("upload"))
        if number is None:
            return
        if content.get("cancel"):
            self._give_up(self._uploads_of(viewer, number), "cancelled", "It was cancelled.")
        else:
            self.sending.begin(self, viewer, number, content)

    def _uploads_of(self, viewer: Viewer, number: int) -> list[Upload]:
        return [one for one in self.uploads if one.viewer is viewer and one.number == number]

    def _give_up(self, uploads: list[Upload], code: str, detail: str) -> None:
        for upload in uploads:
            upload.stop(Rejected(detail, code=code))

    def uploaded(self, path: str, size: int) -> None:
        """A file is there: shown among the commands, as a remark."""
        if not self.over:
            try:
                self._command(f"# upload: {path} ({in_words(size)})"[:LONGEST], self.clock())
            except RecordingFailed as error:
                self.end("not_recorded", str(error))

    def told(self, what: str, detail: dict[str, Any], actor: Actor) -> None:
        """Somebody did something to the machine that no command of theirs shows."""
        self.news.append(News(what=what, detail=detail, actor=actor))
        self.dirty = True

    def resize(self, cols: int, rows: int) -> None:
        self.row.cols, self.row.rows, self.terminal.cols = cols, rows, cols
        try:
            self.recorder.resize(cols, rows, self.clock())
        except RecordingFailed as error:
            self.end("not_recorded", str(error))
            return
        if self.line is not None:
            self.line.resize(cols, rows)
        self.tell_all({"size": [cols, rows]})

    def _typed(self, data: bytes) -> None:
        assert self.line is not None
        if self.line.unsent() + len(data) > UNSENT:
            self.end("input_flood", f"More than {UNSENT >> 20} MiB were typed that the machine does not read.")
            return
        self.typed_at = self.clock()
        self.row.bytes_in += len(data)
        self.dirty = True
        self.terminal.typed(data, self.typed_at)
        self.line.write(data)
        if self._credit < KEY_CREDIT:
            self._credit = float(KEY_CREDIT)
            self._flow()

    def _redraw(self, viewer: Viewer, *, fresh: bool = False) -> None:
        screen = bytes(self._screen[-SCROLLBACK:])
        if len(self._screen) > SCROLLBACK or self.row.bytes_out > len(self._screen):  # cut: from a whole line on
            screen = screen[screen.find(b"\n") + 1 :]
            screen = self.terminal.restore() + screen
        viewer.show(screen if fresh else b"\x1bc" + screen)

    # -- by the clock

    def overdue(self) -> tuple[str, str] | None:
        """Why it has to end now, if it has to."""
        now, limits = self.clock(), self.limits
        if now - self.began > limits.total_s:
            return "time_limit", f"A shell lasts {_span(limits.total_s)} at most."
        if now - self.typed_at > limits.idle_s:
            return "idle", f"Nothing was typed for {_span(limits.idle_s)}."
        if self.detached_at is not None and now - self.detached_at > limits.detached_s:
            return "detached", f"Nobody came back to it for {_span(limits.detached_s)}."
        return None

    def close_chunk(self, *, last: bool = False) -> None:
        """Put what was recorded since among what is to be sealed, when it is time."""
        if chunk := self.recorder.chunk(self.clock(), last=last):
            self.chunks.append(chunk)
            self.row.recorded_bytes, self.row.recorded_chunks = chunk.offset + chunk.length, chunk.sequence
            self.dirty = True

    def will_end(self, within_s: float, detail: str) -> None:
        """Tell who looks, and who comes, when it will be ended."""
        self.leaving = {"ending": {"at": round(time.time() + within_s), "detail": detail}}
        self.tell_all(self.leaving)

    def end(self, code: str, detail: str) -> None:
        """End it, once. Its recorder is closed by whoever seals the rest."""
        if self.over:
            return
        self.over = True
        if self._retry is not None:
            self._retry.cancel()
        row = self.row
        row.ended_code, row.ended_detail = code, detail[:500]
        for upload in list(self.uploads):
            upload.stop(Unavailable(f"The shell ended before it was there: {detail}", code="shell_ended"))
        if self.line is not None:
            self.line.close()
        for viewer in self.viewers:
            viewer.tell({"ended": {"code": code, "detail": detail, "exit_status": row.exit_status}})
            viewer.push(wire.said(b"x", {"code": 1000, "reason": detail}))
            viewer.hang_up()
        self.viewers.clear()
        row.viewers = []
        self.close_chunk(last=True)
        self.ended(self)


def _object(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1 << 53 else None


def _span(seconds: float) -> str:
    """In words: 30 min, 12 h."""
    return f"{seconds / 3600:g} h" if seconds >= 7200 else f"{seconds / 60:g} min" if seconds >= 60 else f"{seconds:g} s"
