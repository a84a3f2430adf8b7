"""A shell over SSH."""

from __future__ import annotations

import asyncio
from functools import partial

import asyncssh

from core.errors import NotSupported
from core.sight import hop
from keys.ssh import translate
from machines import reach
from machines.reach import Reach
from machines.shell import sftp
from machines.shell.files import FileAsked, Writing
from machines.shell.lines import WINDOW, Asked, Line, Sink, Way, add

# While a terminal does not echo, OpenSSH answers what it hands to it with a message of the same size (SSH_MSG_IGNORE, against those who
# watch the traffic): of all it holds at once, which its channel's window limits. The library gives up on one above 256 KiB.
ANSWERED_MOST = 2 << 20


class SshLine(Line):
    """A session on a connection of its own, and files beside it on the same one."""

    transport = "ssh"

    def __init__(self, connection: asyncssh.SSHClientConnection, channel: asyncssh.SSHClientChannel[bytes]) -> None:
        self._connection, self._channel = connection, channel
        self._files: set[Writing] = set()
        self._files_over = asyncio.Event()
        self._leaving: asyncio.Task[None] | None = None

    def write(self, data: bytes) -> None:
        if not self._channel.is_closing():
            self._channel.write(data)

    def unsent(self) -> int:
        return self._channel.get_write_buffer_size()

    def resize(self, cols: int, rows: int) -> None:
        if not self._channel.is_closing():
            self._channel.change_terminal_size(cols, rows)

    def pause(self) -> None:
        self._channel.pause_reading()

    def resume(self) -> None:
        self._channel.resume_reading()

    async def begin_file(self, asked: FileAsked) -> Writing:
        try:
            writing = await sftp.begin(self._connection, self.login, asked, self._file_over)
        except NotSupported as error:
            self.no_files = error.detail
            raise
        self._files.add(writing)
        return writing

    def _file_over(self, writing: Writing) -> None:
        self._files.discard(writing)
        if not self._files:
            self._files_over.set()

    def close(self) -> None:
        if not self._files:
            self._connection.abort()
        elif self._leaving is None:
            self._channel.abort()  # the shell ends at once
            self._files_over.clear()
            self._leaving = asyncio.ensure_future(self._leave())

    async def _leave(self) -> None:
        """Once nothing is left of what was on its way."""
        try:
            async with asyncio.timeout(sftp.DROP_S):
                await self._files_over.wait()
        except TimeoutError:
            pass
        finally:
            self._connection.abort()


class _Shell(asyncssh.SSHClientSession[bytes]):
    """Passes on what asyncssh tells of the channel."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._exit: int | None = None
        self._signal = ""
        self.line: SshLine | None = None

    def data_received(self, data: bytes, datatype: int | None) -> None:
        self._sink.received(data)

    def exit_status_received(self, status: int) -> None:
        self._exit = status

    def exit_signal_received(self, signal: str, core_dumped: bool, msg: str, lang: str) -> None:
        self._signal = signal

    def connection_lost(self, exc: Exception | None) -> None:
        if self._exit is not None:
            self._sink.lost("exited", f"The shell ended with status {self._exit}.", self._exit)
        elif self._signal:
            self._sink.lost("exited", f"The shell was ended by SIG{self._signal}.", None)
        else:
            words = f": {exc}" if exc else ""
            self._sink.lost("connection_lost", f"The connection to the machine was lost{words}."[:300], None)
        if self.line is not None:
            self.line.close()


async def open_ssh(asked: Asked, sink: Sink) -> SshLine:
    """Dial, verify the host's key, log in, and start the login shell on a terminal.

    Raises: Unavailable, AuthFailed, Rejected, HostKeyChanged, HostKeyUnknown.
    """
    way: Reach = await hop(partial(reach.reach, asked.machine, user=asked.login))
    connection = await way.connect(asked.actor, hop)
    login = way.login
    assert login is not None
    shell = _Shell(sink)
    try:
        channel, _ = await connection.create_session(
            lambda: shell,
            term_type="xterm-256color",
            term_size=(asked.cols, asked.rows),
            encoding=None,
            window=WINDOW,
            max_pktsize=ANSWERED_MOST,
        )
    except BaseException as error:  # out of time, or given up: leave no connection behind
        connection.abort()
        if isinstance(error, asyncssh.Error):
            raise translate(error, way.host, login.port, login.user) from error
        raise
    line = shell.line = SshLine(connection, channel)
    line.login, line.address, line.credential = login.user, f"{way.host}:{login.port}", login.what
    try:
        await hop(reach.used, [login])
    except BaseException:
        line.close()
        raise
    return line


add(Way(name="ssh", leads_to=reach.speaks_ssh, open=open_ssh))
