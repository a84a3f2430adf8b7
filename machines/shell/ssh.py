"""A shell over SSH."""

from __future__ import annotations

import asyncssh
from django.db.models import F
from django.utils import timezone

from clouds import addresses
from core.errors import Rejected
from core.hub import hop
from keys import hostkeys
from keys.models import KeyAssociation
from keys.ssh import Host, load_key
from machines.api import address_of
from machines.models import Machine
from machines.shell.lines import WINDOW, Asked, Line, Sink, Way, add


class SshLine(Line):
    """A session on a connection of its own."""

    transport = "ssh"

    def __init__(self, connection: asyncssh.SSHClientConnection, channel: asyncssh.SSHClientChannel[bytes], shell: _Shell) -> None:
        self._connection, self._channel = connection, channel
        self.login, self.address, self.credential = "", "", ""
        shell.connection = connection

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

    def close(self) -> None:
        self._connection.abort()


class _Shell(asyncssh.SSHClientSession[bytes]):
    """Passes on what asyncssh tells of the channel."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._exit: int | None = None
        self._signal = ""
        self.connection: asyncssh.SSHClientConnection | None = None

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
        if self.connection is not None:
            self.connection.close()


async def open_ssh(asked: Asked, sink: Sink) -> SshLine:
    """Dial, verify the host's key, log in, and start the login shell on a terminal.

    Raises: Unavailable, AuthFailed, Rejected, HostKeyChanged, HostKeyUnknown.
    """
    host, pem, association = await hop(_reach, asked)
    targets = list(await hop(host._resolve, host.host, host.port))
    pinned = list(await hop(host._host_keys, host.host, host.port))
    try:
        if not pinned:
            offered = await host._offered_key(targets)
            await hop(host._trust, host.host, host.port, offered)
            pinned = [offered]
        connection = await host._login(targets, pinned, load_key(pem))
    except (OSError, asyncssh.Error, ValueError) as error:
        raise host._translate(error) from error
    shell = _Shell(sink)
    try:
        channel, _ = await connection.create_session(
            lambda: shell,
            term_type="xterm-256color",
            term_size=(asked.cols, asked.rows),
            encoding=None,
            window=WINDOW,
        )
    except BaseException as error:  # out of time, or given up: leave no connection behind
        connection.abort()
        if isinstance(error, asyncssh.Error):
            raise host._translate(error) from error
        raise
    await hop(_used, association)
    line = SshLine(connection, channel, shell)
    line.login, line.address, line.credential = host.user, f"{host.host}:{host.port}", f"key {association.key.name}"
    return line


def _reach(asked: Asked) -> tuple[Host, str, KeyAssociation]:
    """By the login that was used last."""
    machine = asked.machine
    found = machine.key_associations.select_related("key").order_by(F("last_used_at").desc(nulls_last=True), "created_at")
    association = (found.filter(user=asked.login) if asked.login else found).first()
    if association is None:
        raise Rejected(f"No key opens {machine}: associate one with it.", code="no_key")
    pem = hostkeys.private_part(association.key, association.key.name)
    host = Host(
        host=address_of(machine),
        port=association.port,
        user=association.user,
        private_key=pem,
        resolve=lambda name, port: addresses.resolve(
            name, port, loopback=asked.actor.is_admin or bool(machine.cloud.extra.get("loopback"))
        ),
        host_keys=lambda name, port: hostkeys.pinned(machine.org_id, name, port),
        trust=lambda name, port, line: hostkeys.trust_first(asked.actor, machine.cloud, name, port, line),
        remaining=lambda: 30.0,
    )
    return host, pem, association


def _used(association: KeyAssociation) -> None:
    KeyAssociation.objects.filter(pk=association.pk).update(last_used_at=timezone.now())


def leads_to(machine: Machine) -> bool:
    return machine.os_type != "windows" and machine.type not in (Machine.Type.POD,)


add(Way(name="ssh", leads_to=leads_to, open=open_ssh))
