"""Files over the connection a shell has already: SFTP in a channel of its own, as the same login.

A server says little of what went wrong ("Failure"): what it might be is asked for, as how full the disk is.

Source: https://datatracker.ietf.org/doc/html/draft-ietf-secsh-filexfer-02 and OpenSSH's PROTOCOL, section 4
"""

from __future__ import annotations

import asyncio
import posixpath
import stat
from collections.abc import Awaitable, Callable
from typing import TypeVar

import asyncssh
from asyncssh.constants import OPEN_REQUEST_SESSION_FAILED

from core.errors import Failed, MistError, NotSupported, Rejected, Unavailable
from machines.shell.files import BOTH_MOST, FileAsked, NameTaken, Writing, copy_of, in_words, part_of

ANSWER_S = 20.0  # for one answer of the server
KEEP_S = 180.0  # until all of it is on the disk there
DROP_S = 8.0  # to remove a part: what is on its way is before it
ROOM_LEFT = 1 << 20  # bytes: with less the disk is called full
_NONE = (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath)
_GONE = (asyncssh.SFTPConnectionLost, asyncssh.SFTPNoConnection, asyncssh.ConnectionLost, asyncssh.DisconnectError)
_WORDS = (asyncssh.Error, OSError, TimeoutError, ValueError)  # ValueError: a file that a lost connection has closed
T = TypeVar("T")


async def begin(connection: asyncssh.SSHClientConnection, login: str, asked: FileAsked, ended: Callable[[Writing], None]) -> SftpWriting:
    """Look at where it goes; nothing is written. `ended`: told once, when it is over.

    Raises: NotSupported: no SFTP here; NameTaken; Rejected; Unavailable.
    """
    client = await _start(connection)
    try:
        folder = await _folder(client, login, asked.folder)
        name, old = await _name(client, folder, asked)
        await _room(client, folder, asked.size)
    except BaseException:
        client.exit()
        raise
    return SftpWriting(connection, client, login=login, folder=folder, name=name, asked=asked, old=old, ended=ended)


class SftpWriting(Writing):
    """One file. Its SFTP session ends with it."""

    def __init__(
        self,
        connection: asyncssh.SSHClientConnection,
        client: asyncssh.SFTPClient,
        *,
        login: str,
        folder: str,
        name: str,
        asked: FileAsked,
        old: asyncssh.SFTPAttrs | None,
        ended: Callable[[Writing], None],
    ) -> None:
        self._connection, self._client, self._login, self._asked, self._old, self._ended = connection, client, login, asked, old, ended
        self.folder, self.name = folder, name
        self._part = posixpath.join(folder, part_of(name))
        self._file: asyncssh.SFTPClientFile | None = None
        self._opened = False  # it was tried, so that there may be a part

    async def open(self) -> None:
        self._opened = True
        # What replaces a file is nobody else's to read before it has that one's mode; another has what the login's umask says.
        attrs = asyncssh.SFTPAttrs(permissions=0o600) if self._old is not None else asyncssh.SFTPAttrs()
        self._file = await self._told(self._client.open(self._part, "xb", attrs))

    async def write(self, at: int, data: bytes) -> None:
        assert self._file is not None
        try:
            await self._file.write(data, at)
        except _WORDS as error:
            raise await self._why(error) from error

    async def finish(self, size: int) -> None:
        assert self._file is not None
        try:
            await _answer(self._file.fsync(), KEEP_S)
        except asyncssh.SFTPOpUnsupported:
            pass
        except _WORDS as error:
            raise await self._why(error) from error
        there = await self._told(self._file.stat())
        if self._old is not None:
            await self._as_the_old_one(self._old)
        await self._told(self._file.close())  # a network's disk may be found full here
        if there.size != size:
            raise Failed(f"{self.name} has {there.size} bytes there of the {size} that were sent. Send it again.", code="not_whole")
        await self._take_name()
        self._over()

    async def drop(self) -> str:
        left = self._part if self._opened else ""
        try:
            async with asyncio.timeout(DROP_S):
                if self._opened:
                    left = await self._remove()
        except TimeoutError:
            pass
        finally:
            self._over()
        return left

    async def _remove(self) -> str:
        """By its own session, or where that was ended on the host by another."""
        for again in (False, True):
            try:
                client = await _start(self._connection) if again else self._client
                if self._file is not None and not again:
                    await self._file.close()
                await client.remove(self._part)
                if again:
                    client.exit()
            except _NONE:
                return ""
            except (*_WORDS, MistError):
                continue
            return ""
        return self._part

    def _over(self) -> None:
        self._client.exit()
        self._ended(self)

    async def _as_the_old_one(self, old: asyncssh.SFTPAttrs) -> None:
        """Mode and, where the login may, owner of the file it replaces. By its handle: a name may lead elsewhere by now."""
        assert self._file is not None
        if old.uid is not None and old.gid is not None:
            try:
                await _answer(self._file.chown(old.uid, old.gid))
            except asyncssh.SFTPError:
                pass  # it is the login's from now on, as a file that an editor saves is
        await self._told(self._file.chmod(stat.S_IMODE(old.permissions or 0o600) & 0o777))

    async def _take_name(self) -> None:
        if self._asked.exists == "replace":
            await self._replace(posixpath.join(self.folder, self.name))
            return
        for _ in range(BOTH_MOST):
            try:
                await _answer(self._client.rename(self._part, posixpath.join(self.folder, self.name)))  # only to a name that is free
                return
            except _WORDS as error:
                taken = await _look(self._client, self.folder, self.name)
                if taken is None:
                    raise await self._why(error) from error
                if self._asked.exists != "both":
                    raise _taken(self.folder, self.name, taken) from error
                self.name, _old = await _name(self._client, self.folder, self._asked)
        raise _copied_enough(self.folder, self._asked)

    async def _replace(self, path: str) -> None:
        try:
            await _answer(self._client.posix_rename(self._part, path))
            return
        except asyncssh.SFTPOpUnsupported:
            pass  # then there is none of that name for a moment
        except _WORDS as error:
            raise await self._why(error) from error
        try:
            await _answer(self._client.remove(path))
        except _NONE:
            pass
        except _WORDS as error:
            raise await self._why(error) from error
        await self._told(self._client.rename(self._part, path))

    async def _told(self, asked: Awaitable[T]) -> T:
        """Raises: MistError: what went wrong, in words."""
        try:
            return await _answer(asked)
        except _WORDS as error:
            raise await self._why(error) from error

    async def _why(self, error: Exception) -> MistError:
        if type(error) is asyncssh.SFTPFailure and await self._is_full():
            return Rejected(f"The disk that {self.folder} is on is full: {self.name} has no room there.", code="disk_full")
        return _why(error, self.folder, self._login)

    async def _is_full(self) -> bool:
        try:
            disk = await _answer(self._client.statvfs(self.folder))
        except _WORDS:
            return False
        return bool(disk.blocks) and disk.bavail * disk.frsize < ROOM_LEFT


async def _start(connection: asyncssh.SSHClientConnection) -> asyncssh.SFTPClient:
    try:
        return await _answer(connection.start_sftp_client())
    except asyncssh.ChannelOpenError as error:
        if error.code == OPEN_REQUEST_SESSION_FAILED:
            raise NotSupported("This host does not offer SFTP: its sshd has no `Subsystem sftp`.", code="no_sftp") from error
        words = f"This host opens no second session on a connection (“{error.reason}”): its sshd's MaxSessions may be 1."
        raise NotSupported(words, code="no_sftp") from error
    except (asyncssh.SFTPBadMessage, asyncssh.SFTPConnectionLost, asyncssh.SFTPOpUnsupported, EOFError) as error:
        words = "What answered on this host speaks no SFTP: is its sftp-server installed, and does its login print nothing?"
        raise NotSupported(words, code="no_sftp") from error
    except _WORDS as error:
        raise _why(error, "", "") from error


async def _folder(client: asyncssh.SFTPClient, login: str, wanted: str) -> str:
    """As the machine calls it. `~` is the home it starts in."""
    path = "." + wanted[1:] if wanted == "~" or wanted.startswith("~/") else wanted or "."
    try:
        folder = str(await _answer(client.realpath(path)))
        attrs = await _answer(client.stat(folder))
    except _NONE as error:
        raise Rejected(f"There is no folder {wanted} on it. Make it, and send the file again.", code="no_folder") from error
    except _WORDS as error:
        raise _why(error, wanted or "the home", login) from error
    if attrs.permissions is not None and not stat.S_ISDIR(attrs.permissions):
        raise Rejected(f"{folder} is no folder.", code="no_folder")
    return folder


async def _name(client: asyncssh.SFTPClient, folder: str, asked: FileAsked) -> tuple[str, asyncssh.SFTPAttrs | None]:
    """The name it gets, and the file it replaces.  Raises: NameTaken."""
    there = await _look(client, folder, asked.name)
    if there is None:
        return asked.name, None
    is_folder = stat.S_ISDIR(there.permissions or 0)
    if asked.exists == "ask" or (asked.exists == "replace" and is_folder):
        raise _taken(folder, asked.name, there)
    if asked.exists == "replace":
        return asked.name, there if stat.S_ISREG(there.permissions or 0) else None
    for number in range(2, BOTH_MOST + 1):
        name = copy_of(asked.name, number)
        if await _look(client, folder, name) is None:
            return name, None
    raise _copied_enough(folder, asked)


async def _look(client: asyncssh.SFTPClient, folder: str, name: str) -> asyncssh.SFTPAttrs | None:
    try:
        return await _answer(client.lstat(posixpath.join(folder, name)))
    except _NONE:
        return None
    except _WORDS as error:
        raise _why(error, folder, "") from error


def _taken(folder: str, name: str, there: asyncssh.SFTPAttrs) -> NameTaken:
    mode = there.permissions or 0
    kind = "folder" if stat.S_ISDIR(mode) else "link" if stat.S_ISLNK(mode) else "file" if stat.S_ISREG(mode) else "other"
    return NameTaken(folder, name, kind=kind, size=there.size or 0, modified=there.mtime or 0)


def _copied_enough(folder: str, asked: FileAsked) -> Rejected:
    return Rejected(f"{folder} has {BOTH_MOST} copies of {asked.name} already.", code="copied_enough")


async def _room(client: asyncssh.SFTPClient, folder: str, size: int) -> None:
    """Raises: Rejected: it would not fit."""
    try:
        disk = await _answer(client.statvfs(folder))
    except asyncssh.SFTPError:
        return  # it does not say: it will when it is full
    except _WORDS as error:
        raise _why(error, folder, "") from error
    free = disk.bavail * disk.frsize
    if size > free and disk.blocks:  # none: it does not count them
        raise Rejected(f"The disk that {folder} is on has {in_words(free)} free; the file has {in_words(size)}.", code="disk_full")


async def _answer(asked: Awaitable[T], within_s: float = ANSWER_S) -> T:
    async with asyncio.timeout(within_s):
        return await asked


def _why(error: Exception, folder: str, login: str) -> MistError:
    if isinstance(error, asyncssh.SFTPPermissionDenied):
        whom = login or "this login"
        return Rejected(
            f"{whom} may not write in {folder}. Choose another folder, or become who may in the shell.", code="permission_denied"
        )
    if isinstance(error, asyncssh.SFTPNoSpaceOnFilesystem):
        return Rejected(f"The disk that {folder} is on is full.", code="disk_full")
    if isinstance(error, asyncssh.SFTPQuotaExceeded):
        return Rejected(f"The quota of {login or 'this login'} is used up there.", code="disk_full")
    if isinstance(error, TimeoutError):
        return Unavailable("The machine did not answer in time.", code="machine_silent")
    if isinstance(error, (*_GONE, ValueError, OSError)):
        return Unavailable("The connection to the machine was lost.", code="connection_lost")
    if isinstance(error, _NONE):
        return Rejected(f"{folder}, or what was being written there, is not there any more.", code="no_folder")
    words = str(getattr(error, "reason", "") or error)[:200]
    return Rejected(f"The machine says “{words}”. A quota may be used up, or its files may not be changed.", code="refused_there")
