"""Is anybody there? Ping and TCP knocks on one host, all at once, with plain sockets.

Ping is ICMP over a datagram socket, which needs no privilege where the kernel's `net.ipv4.ping_group_range` holds our
group; elsewhere it is said to be unavailable. A refused connection is an answer too: somebody refused.

Source: https://man7.org/linux/man-pages/man7/icmp.7.html, RFC 792, RFC 4443
"""

from __future__ import annotations

import errno
import os
import selectors
import socket
import struct
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

AFTERTHOUGHT_S = 0.5  # what the silent ports get once one has answered: a firewall drops in silence

_ECHO = {socket.AF_INET: 8, socket.AF_INET6: 128}
_REPLY = {socket.AF_INET: 0, socket.AF_INET6: 129}
_PROTOCOL = {socket.AF_INET: socket.IPPROTO_ICMP, socket.AF_INET6: socket.IPPROTO_ICMPV6}


@dataclass(frozen=True, kw_only=True, slots=True)
class Knock:
    """`open`: {port: milliseconds}. `ping_ok` None: could not be sent; `ping_detail` says why."""

    open: dict[int, float]
    refused: tuple[int, ...]
    ping_ok: bool | None
    ping_ms: float | None
    ping_detail: str

    @property
    def answers(self) -> bool:
        return bool(self.open or self.refused or self.ping_ok)


def knock(addresses: Sequence[str], ports: Iterable[int], timeout_s: float) -> Knock:
    """Ping the first address and knock on `ports` of the first three, for at most `timeout_s`."""
    begun = time.monotonic()
    opened: dict[int, float] = {}
    refused: set[int] = set()
    ping_ms: float | None = None
    ping_ok: bool | None = False
    end, detail = begun + timeout_s, "no reply"
    sockets: list[socket.socket] = []
    with selectors.DefaultSelector() as waiting:
        try:
            for address in addresses[:3]:
                for port in ports:
                    sock = socket.socket(_family(address), socket.SOCK_STREAM)
                    sockets.append(sock)
                    sock.setblocking(False)
                    code = sock.connect_ex((address, port))
                    if code in (0, errno.EINPROGRESS):
                        waiting.register(sock, selectors.EVENT_WRITE, port)
                    elif code == errno.ECONNREFUSED:
                        refused.add(port)
            try:
                if addresses:
                    sockets.append(_ping(addresses[0]))
                    waiting.register(sockets[-1], selectors.EVENT_READ, None)
            except PermissionError:
                ping_ok, detail = None, "unavailable: this installation may not send ICMP (sysctl net.ipv4.ping_group_range)"
            except OSError as error:
                detail = error.strerror or str(error)
            while waiting.get_map() and (left := end - time.monotonic()) > 0:
                for key, _ in waiting.select(left):
                    assert isinstance(key.fileobj, socket.socket)
                    sock, port = key.fileobj, key.data
                    took = round((time.monotonic() - begun) * 1000, 1)
                    answered = True
                    if port is None:
                        try:
                            answered = sock.recv(1024)[0] == _REPLY[sock.family]
                        except OSError as error:  # an unreachable, from a router on the way
                            answered, detail = False, error.strerror or str(error)
                            waiting.unregister(sock)
                        if answered:
                            ping_ok, ping_ms, detail = True, took, ""
                            waiting.unregister(sock)
                    else:
                        waiting.unregister(sock)
                        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                        if code == 0:
                            opened.setdefault(port, took)
                        elif code == errno.ECONNREFUSED:
                            refused.add(port)
                        else:
                            answered = False
                    if answered:
                        end = min(end, time.monotonic() + AFTERTHOUGHT_S)
        finally:
            for sock in sockets:
                sock.close()
    return Knock(
        open=dict(sorted(opened.items())),
        refused=tuple(sorted(refused - opened.keys())),
        ping_ok=ping_ok,
        ping_ms=ping_ms,
        ping_detail=detail,
    )


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _ping(address: str) -> socket.socket:
    """A socket an echo request has left by.  Raises: PermissionError where ICMP is not ours to send, OSError."""
    family = _family(address)
    sock = socket.socket(family, socket.SOCK_DGRAM, _PROTOCOL[family])
    try:
        sock.setblocking(False)
        sock.connect((address, 0))
        # The kernel fills in identifier and checksum, and hands us replies to ours alone.
        sock.send(struct.pack("!BBHHH", _ECHO[family], 0, 0, 0, 1) + os.urandom(16))
    except OSError:
        sock.close()
        raise
    return sock
