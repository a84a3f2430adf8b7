"""What web and the shell process say to each other about one socket: frames of a kind (one byte), a length (four) and so many bytes.

On one machine they speak over a unix socket, on two by TLS (tls.py), never in the clear.
web → holder: `h` who comes (signed, once, first), then as the client sends them (API.md §6): `0` input, `1` size, `2` drawn so far,
`3` about an upload, `4` a piece of one.
holder → web: `o` output, `c` JSON for clients that asked for it, `x` JSON {code, reason}: close. Nothing follows it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
import struct
from typing import Any

from django.core import signing

from machines.shell import tls

log = logging.getLogger(__name__)

HEADER = struct.Struct("!cI")
LONGEST = 2 << 20
SALT = "mist.shell.relay"
HELLO_S = 30  # a hello older than this opens nothing
CONNECT_S = 5.0
PIECE = 256 << 10  # bytes that are read at once in a flood


class BadFrame(Exception):
    """Whoever speaks there does not speak this."""


def frame(kind: bytes, data: bytes = b"") -> bytes:
    return HEADER.pack(kind, len(data)) + data


def said(kind: bytes, content: Any) -> bytes:
    """A frame of JSON."""
    return frame(kind, json.dumps(content, separators=(",", ":")).encode())


class Frames:
    """Takes bytes as they come, gives frames."""

    def __init__(self) -> None:
        self._held = bytearray()

    def take(self, data: bytes) -> list[tuple[bytes, bytes]]:
        """Raises: BadFrame."""
        self._held += data
        found, at, size = [], 0, len(self._held)
        while size - at >= HEADER.size:
            kind, length = HEADER.unpack_from(self._held, at)
            if length > LONGEST:
                raise BadFrame
            end = at + HEADER.size + length
            if end > size:
                break
            found.append((kind, bytes(self._held[at + HEADER.size : end])))
            at = end
        del self._held[:at]
        return found


def sign(who: dict[str, Any]) -> bytes:
    """The hello of somebody whose ticket was good. The holder believes it for our signature, whichever way it came."""
    return signing.dumps(who, salt=SALT).encode()


def read_hello(data: bytes) -> dict[str, Any]:
    """Raises: BadFrame."""
    try:
        found: dict[str, Any] = signing.loads(data.decode("ascii", "replace"), salt=SALT, max_age=HELLO_S)
    except signing.BadSignature as error:
        raise BadFrame from error
    return found


async def dial(addresses: list[str]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to the first holder that answers.  Raises: OSError."""
    failure = OSError("there is none")
    for address in addresses:
        try:
            return await _dial(address)
        except OSError as error:
            failure = error
    raise failure


async def _dial(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """`unix:<path>`, or `host:port` by TLS.  Raises: OSError."""
    try:
        async with asyncio.timeout(CONNECT_S):
            if address.startswith("unix:"):
                return await asyncio.open_unix_connection(address[5:], limit=PIECE)
            host, _, port = address.rpartition(":")
            return await asyncio.open_connection(host.strip("[]"), int(port), limit=PIECE, ssl=tls.client())
    except TimeoutError as error:
        raise OSError("it does not answer") from error
    except ssl.SSLError as error:
        log.error("%s is no shell process of this installation (%s). Has it the same MIST_SECRET_KEY_FILE?", address, error.reason)
        raise
