"""A Git repository over SSH: `git-upload-pack` on the other side, a library on this one. No `ssh` and no `git` program is run.

The host shows a key that somebody has trusted, or nothing is asked of it: what comes from there is run on machines. The rules of
keys/ssh.py hold: addresses we resolved, a key of the organization's own, nothing from `~/.ssh`.
"""

from __future__ import annotations

import asyncio
import re
import shlex
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import unquote

import asyncssh
from dulwich.client import TraditionalGitClient
from dulwich.protocol import Protocol

from clouds import addresses
from clouds.providers.base import Deadline
from core.actor import Actor
from core.errors import AuthFailed, HostKeyChanged, Invalid, Unavailable
from keys import hostkeys, ssh
from keys.models import Key

T = TypeVar("T")
_URL = re.compile(r"ssh://(?:([^@/\s]+)@)?(\[[0-9A-Fa-f:.]+\]|[^:/@\s]+)(?::(\d{1,5}))?(/\S+)")
_SHORT = re.compile(r"(?:([^@/:\s]+)@)([^:/@\s]+):(?!/)(\S+)")  # as git writes it: git@host:owner/name.git
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}")
PIECE = 64 << 10


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a repository is. `text`: as people write it."""

    user: str
    host: str
    port: int
    path: str
    text: str


def place(text: str) -> Place | None:
    """A repository's address over SSH, taken apart; None when it is of another kind.  Raises: Invalid."""
    text = text.strip()
    url, short = _URL.fullmatch(text), _SHORT.fullmatch(text)
    if url is None and short is None:
        if text.startswith("ssh://"):
            raise _wrong("An address like ssh://git@host/owner/name.git or git@host:owner/name.git, without a password.")
        return None
    if url is not None:
        user, host, port, path = url.group(1) or "git", url.group(2), int(url.group(3) or 22), unquote(url.group(4))
        path = path[1:] if path.startswith("/~") else path
    else:
        assert short is not None
        user, host, port, path = short.group(1), short.group(2), 22, short.group(3)
    if not _USER.fullmatch(user) or path.startswith("-") or not path.isprintable() or not 0 < port < 65536:
        raise _wrong("An address like ssh://git@host/owner/name.git or git@host:owner/name.git, without a password.")
    return Place(user=user, host=host.strip("[]"), port=port, path=path, text=text)


@contextmanager
def opened(actor: Actor, where: Place, key: Key | None, deadline: Deadline, most: int) -> Iterator[SshGit]:
    """The repository, logged in to.

    Raises: Invalid (in `key`, `script`), Rejected, Unavailable, HostKeyUnknown, HostKeyChanged.
    """
    if key is None:
        raise Invalid(fields={"key": ["A repository over SSH needs a key that is let in there."]}, code="key_missing")
    pem = hostkeys.private_part(key, key.name)
    connection = _log_in(actor, where, key.name, pem, deadline)
    try:
        yield SshGit(where, connection, deadline, most)
    finally:
        ssh.loop().call_soon_threadsafe(connection.abort)


def _log_in(actor: Actor, where: Place, name: str, pem: str, deadline: Deadline) -> asyncssh.SSHClientConnection:
    assert actor.org_id is not None
    found = addresses.resolve(where.host, where.port, loopback=actor.is_admin)
    pinned = hostkeys.pinned(actor.org_id, where.host, where.port)
    with ssh.translated(where.host, where.port, where.user):
        if not pinned:
            offered = _wait(ssh.offered_key(where.host, where.port, found), deadline)
            hostkeys.ask_first(actor, actor.org_id, where.host, where.port, offered)
        try:
            login = ssh.log_in(where.host, where.port, where.user, found, pinned=pinned, keys=[ssh.load_key(pem)])
            return _wait(login, deadline)
        except HostKeyChanged as error:
            hostkeys.changed(actor, actor.org_id, where.host, where.port, error.offered)
            raise
        except asyncssh.PermissionDenied as error:
            said = f"{where.host} does not let {where.user} in by it. Its public half has to be known there, as a deploy key say."
            raise Invalid(fields={"key": [said]}, code=AuthFailed.code) from error


def _wait(work: Coroutine[Any, Any, T], deadline: Deadline) -> T:
    """What the SSH loop comes to, in time.  Raises: Unavailable, and what `work` raises."""
    try:
        left = deadline.remaining()
        future = asyncio.run_coroutine_threadsafe(work, ssh.loop())
    except BaseException:
        work.close()
        raise
    try:
        return future.result(left)
    except TimeoutError as error:
        future.cancel()
        if future.done() and not future.cancelled():
            raise
        raise Unavailable("It did not answer in time.", code="cloud_timeout") from error


class SshGit(TraditionalGitClient):
    """The library's Git over our own SSH. Each question is a command on one connection."""

    def __init__(self, where: Place, connection: asyncssh.SSHClientConnection, deadline: Deadline, most: int) -> None:
        super().__init__(quiet=True)
        self._where, self._connection, self._deadline, self._left = where, connection, deadline, most

    def get_url(self, path: str) -> str:
        return self._where.text

    def _connect(self, cmd: bytes, path: str | bytes, protocol_version: int | None = None) -> tuple[Protocol, Callable[[], bool], None]:
        command = f"git-{cmd.decode()} {shlex.quote(self._where.path)}"
        process = _wait(self._started(command), self._deadline)
        held = bytearray()

        def read(size: int) -> bytes:
            while len(held) < size and (piece := _wait(process.stdout.read(PIECE), self._deadline)):
                self._left -= len(piece)
                if self._left < 0:
                    raise _wrong("One commit of it is too large.", code="archive_too_large")
                held.extend(piece)
            found = bytes(held[:size])
            del held[:size]
            return found

        def write(data: bytes) -> None:
            ssh.loop().call_soon_threadsafe(process.stdin.write, data)

        def close() -> None:
            ssh.loop().call_soon_threadsafe(process.channel.abort)

        return Protocol(read, write, close), lambda: bool(held), None

    async def _started(self, command: str) -> asyncssh.SSHClientProcess[bytes]:
        found: asyncssh.SSHClientProcess[bytes] = await self._connection.create_process(
            command, encoding=None, window=ssh.WINDOW, request_pty=False
        )
        return found


def _wrong(words: str, code: str = "bad_url") -> Invalid:
    return Invalid(fields={"script": [words]}, code=code)
