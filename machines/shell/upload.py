"""Files that people send into the machines of their shells, over the sockets they type on.

A client asks (`3`), is told to go on, and sends pieces (`4`), never more than AHEAD bytes beyond what the machine has taken. A piece
goes on as it comes: nothing of a file is kept here but those bytes. Typing goes between the pieces.

What is said to the client: {"upload": {"id", …}} with one of `go` {folder, name} and `credit`; `credit` (send to there) with `written`;
`exists` {folder, kind, bytes, modified}: ask again with what to do; `done` {folder, name, bytes, sha256}; `failed` {code, detail}.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from django.db import DatabaseError

from core.actor import Actor
from core.errors import Conflict, Denied, Failed, MistError, NotSupported, Rejected, Unavailable
from machines.models import Session
from machines.shell import files
from machines.shell.files import FileAsked, NameTaken, Writing

if TYPE_CHECKING:
    from machines.shell.live import LiveShell, Viewer

log = logging.getLogger(__name__)

AHEAD = 1 << 20  # bytes that may be on their way to the machine
STALL_S = 60.0  # without a byte, from the client or into the machine
FAULT = "Mist itself failed at this. The log has the details."
AT_ONCE = 16  # of one process: each may hold AHEAD bytes


class Uploads:
    """All that are on their way through one process. `may`: may this person still have a shell on the machine of that session?"""

    def __init__(self, *, most_bytes: int, may: Callable[[Session, Actor], Awaitable[bool]]) -> None:
        self.most_bytes, self.may = most_bytes, may
        self.count = 0

    def begin(self, shell: LiveShell, viewer: Viewer, number: int, content: dict[str, Any]) -> None:
        """Somebody asks to send one. Whether it may be is answered on the socket."""
        try:
            if not viewer.types:
                raise Denied("Whoever only watches sends no files.", reason="a ticket to watch", code="watches")
            if shell.line is None or shell.over:
                raise Conflict("The shell is not open. Send the file once it is.", code="not_open")
            if shell.line.no_files:
                raise NotSupported(shell.line.no_files, code="no_files")
            if any(one.viewer is viewer for one in shell.uploads):
                raise Conflict("Another file is on its way: one after the other.", code="busy")
            if self.count >= AT_ONCE:
                raise Conflict(f"{AT_ONCE} files are on their way already. Try again in a moment.", code="busy")
        except MistError as error:
            viewer.tell({"upload": {"id": number, "failed": {"code": error.code, "detail": error.detail}}})
            return
        shell.uploads.append(Upload(self, shell, viewer, number, content))


class Upload:
    """One file on its way. `task` ends with it, and never raises."""

    def __init__(self, uploads: Uploads, shell: LiveShell, viewer: Viewer, number: int, content: dict[str, Any]) -> None:
        self._uploads, self._shell, self.viewer, self.number = uploads, shell, viewer, number
        self.got = self.written = self._credit = 0  # bytes: from the client, taken by the machine, that may be sent in all
        self._digest = hashlib.sha256()
        self._asked: FileAsked | None = None
        self._writing: Writing | None = None
        self._writes: set[asyncio.Task[None]] = set()
        self._moved = asyncio.Event()
        self._error: MistError | None = None
        self._may_stop = True
        uploads.count += 1
        self.task = asyncio.ensure_future(self._run(content))

    def received(self, data: bytes) -> None:
        """A piece of it."""
        if self._writing is None or self.got + len(data) > self._credit:
            self.stop(Rejected("More of it came than was asked for.", code="more_than_asked"))
            return
        self._digest.update(data)
        task = asyncio.ensure_future(self._writing.write(self.got, data))
        task.add_done_callback(partial(self._wrote, len(data)))
        self._writes.add(task)
        self.got += len(data)
        self._shell.typed_at = self._shell.clock()  # somebody is at it

    def _wrote(self, length: int, task: asyncio.Task[None]) -> None:
        self._writes.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            self.written += length
        elif self._error is None:
            self._error = error if isinstance(error, MistError) else Failed(FAULT, code="internal_error")
            if self._error is not error:
                log.error("a piece of a file could not be written", exc_info=error)
        self._moved.set()

    def stop(self, error: MistError) -> None:
        """Give it up, for this reason. What has all its bytes is finished."""
        if self._may_stop:
            self._may_stop, self._error = False, self._error or error
            self.task.cancel()

    async def _run(self, content: dict[str, Any]) -> None:
        error: MistError | None = None
        try:
            await self._send(content)
        except asyncio.CancelledError:
            if self._error is None:
                raise  # the process ends
            error = self._error
        except MistError as failure:
            error = failure
        except DatabaseError:
            error = Unavailable("The database does not answer. Try again in a moment.", code="database_unavailable")
        except Exception:  # a fault of ours breaks off this file, and nothing else
            log.exception("a file could not be sent")
            error = Failed(FAULT, code="internal_error")
        finally:
            self._may_stop = False
            self._uploads.count -= 1
            for task in self._writes:
                task.cancel()
        left = await self._writing.drop() if error is not None and self._writing is not None else ""
        self._shell.uploads.remove(self)
        self._say(error, left)

    async def _send(self, content: dict[str, Any]) -> None:
        """Raises: MistError."""
        asked = self._asked = files.read(content, self._uploads.most_bytes)
        shell, viewer = self._shell, self.viewer
        if not await self._uploads.may(shell.row, viewer.actor):
            raise Denied(f"You may have no shell on {shell.row.name}.", reason="no statement allows machine.shell", code="no_right")
        assert shell.line is not None
        writing = await shell.line.begin_file(asked)
        self._writing = writing
        await writing.open()
        self._credit = min(asked.size, AHEAD)
        self._tell(go={"folder": writing.folder, "name": writing.name}, credit=self._credit)
        while self.written < asked.size:
            try:
                async with asyncio.timeout(STALL_S):
                    await self._moved.wait()
            except TimeoutError as error:
                who = "The machine took nothing of it" if self.got > self.written else "Nothing of it came"
                raise Failed(f"{who} for {STALL_S:.0f} s.", code="stalled") from error
            self._moved.clear()
            if self._error is not None:
                raise self._error
            self._credit = min(asked.size, self.written + AHEAD)
            self._tell(credit=self._credit, written=self.written)
        self._may_stop = False
        await writing.finish(asked.size)

    def _tell(self, **what: Any) -> None:
        if self.viewer in self._shell.viewers:
            self.viewer.tell({"upload": {"id": self.number, **what}})

    def _say(self, error: MistError | None, left: str) -> None:
        """What came of it: to the client, and for the record."""
        shell, asked, writing = self._shell, self._asked, self._writing
        facts: dict[str, Any] = {"session": shell.pk.hex, "as": shell.row.login}
        if asked is not None:
            facts |= {"name": asked.name, "folder": asked.folder, "bytes": asked.size}
        if writing is not None:
            facts |= {"name": writing.name, "folder": writing.folder}
        if error is None:
            assert asked is not None
            facts |= {"sha256": self._digest.hexdigest(), "exists": asked.exists}
            self._tell(done={name: facts[name] for name in ("folder", "name", "bytes", "sha256")})
            shell.uploaded(f"{facts['folder'].rstrip('/')}/{facts['name']}", asked.size)
            shell.told("upload.succeeded", facts, self.viewer.actor)
        elif isinstance(error, NameTaken):
            self._tell(exists=error.extra)
        else:
            detail = f"{error.detail} A part of it is left there: {left}" if left else error.detail
            self._tell(failed={"code": error.code, "detail": detail})
            if isinstance(error, NotSupported):
                shell.tell_all(shell.facts())
            if writing is not None:
                shell.told("upload.failed", facts | {"code": error.code, "error": detail, "sent": self.written}, self.viewer.actor)
            elif error.code == "no_right":
                shell.told("upload.refused", facts | {"code": error.code, "error": detail}, self.viewer.actor)
