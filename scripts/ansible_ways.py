"""What a confined play may ask of us: connections to its hosts, and signatures by their keys. It gets neither a network nor a key."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Collection, Sequence
from pathlib import Path

import asyncssh

from keys import ssh

DIAL_S = 15.0
WAITING = 64  # of either, at once
MOST = 256 << 10  # bytes of a question


class Door:
    """Where a play asks for connections to its hosts: dialled by us, to those addresses and no others, and handed to it."""

    def __init__(self, path: Path, allowed: Collection[tuple[str, int]]) -> None:
        self._allowed = allowed
        self.failed: dict[tuple[str, int], str] = {}  # why one could not be dialled: ssh does not tell
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(WAITING)
        self._listener.setblocking(False)
        self._tasks = {asyncio.create_task(self._open())}

    async def _open(self) -> None:
        while True:
            asked, _ = await asyncio.get_running_loop().sock_accept(self._listener)
            task = asyncio.create_task(self._hand_in(asked))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _hand_in(self, asked: socket.socket) -> None:
        place = ("", 0)
        with asked:
            try:
                async with asyncio.timeout(DIAL_S):
                    address, port = (await asyncio.get_running_loop().sock_recv(asked, 200)).decode().split()
                    place = (address, int(port))
                    if place not in self._allowed:
                        raise OSError("it is no host of this run")
                    self.failed[place] = f"{ssh.where(*place)} does not answer."
                    with await ssh.dial([address], place[1]) as made:
                        self.failed.pop(place, None)  # another may have been let in before
                        made.setblocking(True)
                        socket.send_fds(asked, [b"."], [made.fileno()])
            except (OSError, ValueError) as error:  # of time, too
                with contextlib.suppress(OSError):
                    asked.send((str(error) or "it does not answer").encode()[:400])
                if place in self._allowed and str(error):
                    self.failed[place] = ssh.translate(error, *place, "").detail

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        self._listener.close()


class Agent:
    """An SSH agent: it signs for who has a key here to log in with, and never gives the key away.

    Source: https://datatracker.ietf.org/doc/html/draft-ietf-sshm-ssh-agent
    """

    FAILURE, LIST, LISTED, SIGN, SIGNED = 5, 11, 12, 13, 14
    RSA = {2: b"rsa-sha2-256", 4: b"rsa-sha2-512"}  # by the flags of a question

    def __init__(self, path: Path, keys: Sequence[asyncssh.SSHKey]) -> None:
        self._path, self._keys = path, {key.public_data: key for key in keys}
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        self._server = await asyncio.start_unix_server(self._answer, str(self._path), limit=MOST)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, EOFError, struct.error, ValueError), contextlib.closing(writer):
            while True:
                (size,) = struct.unpack(">I", await reader.readexactly(4))
                if not 0 < size <= MOST:
                    return
                said = self._said(await reader.readexactly(size))
                writer.write(_text(said))
                await writer.drain()

    def _said(self, asked: bytes) -> bytes:
        kind, rest = asked[0], asked[1:]
        if kind == self.LIST:
            return bytes([self.LISTED]) + struct.pack(">I", len(self._keys)) + b"".join(_text(blob) + _text(b"") for blob in self._keys)
        if kind == self.SIGN:
            blob, rest = _taken(rest)
            data, rest = _taken(rest)
            key = self._keys.get(blob)
            if key is not None:
                (flags,) = struct.unpack(">I", rest[:4])
                algorithm = self.RSA.get(flags, key.sig_algorithms[0]) if key.algorithm == b"ssh-rsa" else key.sig_algorithms[0]
                return bytes([self.SIGNED]) + _text(key.sign(data, algorithm))
        return bytes([self.FAILURE])

    def close(self) -> None:
        if self._server is not None:
            self._server.close()


def _text(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def _taken(data: bytes) -> tuple[bytes, bytes]:
    (size,) = struct.unpack(">I", data[:4])
    return data[4 : 4 + size], data[4 + size :]
