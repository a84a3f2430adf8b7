"""How a request of botocore's reaches the network: our socket, our deadline, our budget.

botocore asks the event `before-send` whether somebody else will answer a request; `Wire.send` does. So each call
  - is dialled only to an address that `context.resolve` gave (botocore would resolve by itself, after any check),
  - takes its time-outs from what is left of `context.deadline` now (botocore's are fixed when a client is made) and is cut
    off when the deadline passes, even while a byte still drips in now and then,
  - is counted by `context.spend`, retries and pages too,
  - knows no proxy and no certificate bundle of the environment beyond the system's own store.
`Wire.retry` answers `needs-retry` in place of botocore's own, which would repeat writes and sleep past a deadline.

Source: botocore/endpoint.py `_do_get_response` and `_needs_retry`.
"""

from __future__ import annotations

import http.client
import io
import random
import select
import socket
import ssl
import threading
from collections.abc import Iterator
from functools import cache
from typing import Any, cast
from urllib.parse import urlsplit

from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.httpsession import where
from botocore.model import OperationModel

from clouds.providers.base import Context
from core.errors import RateLimited, Rejected, Unavailable

from .errors import is_throttled, retry_after_s

CONNECT_TIMEOUT_S = 10
READ_TIMEOUT_S = 30  # one answer's silence; a page of 1,000 instances takes AWS up to some 10 s
LONGEST_ANSWER = 64 * 2**20  # bytes; a page of 1,000 instances is some 6 MB
READS = ("Describe", "Get", "AssumeRole")  # what may be asked again: it changes nothing
ATTEMPTS = 4
LONGEST_WAIT_S = 5.0  # a cloud that wants us to wait longer is left to the next poll


@cache
def _trust() -> ssl.SSLContext:
    """The system's certificates (a private cloud's own authority is added there) and those AWS is signed by."""
    trusted = ssl.create_default_context()
    trusted.load_verify_locations(where())
    return trusted


class _Body(io.BytesIO):
    """A body that was read already, as AWSResponse wants it."""

    def stream(self) -> Iterator[bytes]:
        yield self.getvalue()


class Wire:
    """The connections of one provider object; not thread safe, as it is not.  Raises: Unavailable, RateLimited, Rejected."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._kept: dict[tuple[str, str, int], http.client.HTTPConnection] = {}

    def close(self) -> None:
        while self._kept:
            self._kept.popitem()[1].close()

    def send(self, request: AWSPreparedRequest, event_name: str, **_: Any) -> AWSResponse:
        """Handler of `before-send.<service>.<operation>`."""
        _event, service, operation = event_name.split(".")
        self._context.deadline.check()
        self._context.spend(service)
        url = urlsplit(request.url)
        host = url.hostname or ""
        port = url.port or (443 if url.scheme == "https" else 80)
        sock: socket.socket | None = None
        cut: threading.Timer | None = None
        try:
            connection = self._connection(url.scheme, host, port)
            sock = connection.sock
            cut = threading.Timer(self._context.deadline.remaining(), _cut, (sock,))
            cut.daemon = True
            cut.start()
            if isinstance(sock, ssl.SSLSocket):
                sock.do_handshake()  # returns at once where it was done already
            target = url.path + (f"?{url.query}" if url.query else "") or "/"
            connection.request(request.method, target, body=cast(bytes, request.body), headers=dict(request.headers))
            answer = connection.getresponse()
            body = self._read(answer)
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            self._context.deadline.check()
            raise self._broken(host, error) from error
        except BaseException:
            self.close()
            raise
        finally:
            if cut is not None:
                cut.cancel()
        if answer.will_close:
            self.close()
        if answer.status == 200 and f"{operation}Response".encode() not in body[:1024]:
            # A login page of some network in between is well-formed, too: it would read as a cloud without machines.
            raise Unavailable(f"{host} answered, but not as AWS does.", code="cloud_garbage")
        return AWSResponse(request.url, answer.status, cast(Any, dict(answer.getheaders())), _Body(body))

    def retry(
        self,
        response: tuple[AWSResponse, dict[str, Any]] | None,
        operation: OperationModel,
        attempts: int,
        caught_exception: BaseException | None,
        **_: Any,
    ) -> float | None:
        """Handler of `needs-retry`: the seconds to wait before a read is asked again; None: it is not."""
        if not operation.name.startswith(READS) or attempts >= ATTEMPTS:
            return None
        wait_s = random.uniform(0.1, 0.25 * 2**attempts)  # noqa: S311 - spreads load, guards nothing
        if caught_exception is not None:
            if not isinstance(caught_exception, Unavailable) or isinstance(caught_exception, RateLimited):
                return None
        elif response is not None:
            http_response, parsed = response
            code = parsed.get("Error", {}).get("Code", "")
            if is_throttled(code, http_response.status_code):
                wait_s = max(wait_s, retry_after_s(http_response.headers) or 0)
            elif http_response.status_code < 500 or code.startswith("Insufficient"):
                return None
        try:
            left_s = self._context.deadline.remaining()
        except Unavailable:
            return None
        return wait_s if wait_s < min(LONGEST_WAIT_S, left_s) else None

    def _connection(self, scheme: str, host: str, port: int) -> http.client.HTTPConnection:
        kept = self._kept.get((scheme, host, port))
        if kept is not None and kept.sock is not None:
            if not _is_readable(kept.sock):
                kept.sock.settimeout(self._context.deadline.remaining(READ_TIMEOUT_S))
                return kept
            kept.close()  # nothing was asked, so what there is to read is its end
        kind = http.client.HTTPSConnection if scheme == "https" else http.client.HTTPConnection
        made = kind(host, port)
        made.sock = self._dial(host, port)
        if scheme == "https":
            made.sock = _trust().wrap_socket(made.sock, server_hostname=host, do_handshake_on_connect=False)
        self._kept[scheme, host, port] = made
        return made

    def _dial(self, host: str, port: int) -> socket.socket:
        """A socket to the first of the permitted addresses that answers."""
        failure: OSError | None = None
        try:
            addresses = self._context.resolve(host, port)
        except Unavailable as error:  # so it says that a name does not resolve: a region that is none has no other sign
            raise Unavailable(error.detail, words=error.words, code="cloud_no_address") from error
        for address in addresses:
            try:
                sock = socket.create_connection((address, port), timeout=self._context.deadline.remaining(CONNECT_TIMEOUT_S))
            except OSError as error:
                failure = error
                continue
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.settimeout(self._context.deadline.remaining(READ_TIMEOUT_S))
            return sock
        raise failure or OSError("it has no address")

    def _read(self, answer: http.client.HTTPResponse) -> bytes:
        parts: list[bytes] = []
        size = 0
        while part := answer.read(2**20):
            parts.append(part)
            size += len(part)
            if size > LONGEST_ANSWER:
                raise Unavailable(f"The cloud's answer is longer than {LONGEST_ANSWER // 2**20} MiB.", code="cloud_garbage")
        if answer.length:
            raise http.client.IncompleteRead(b"", answer.length)
        return b"".join(parts)

    @staticmethod
    def _broken(host: str, error: Exception) -> Unavailable | Rejected:
        if isinstance(error, TimeoutError):
            return Unavailable(f"{host} did not answer in time. It will be asked again.", code="cloud_timeout")
        if isinstance(error, socket.gaierror):
            return Unavailable(f"{host} has no address: the name is wrong, or the name service does not answer.", code="cloud_no_address")
        if isinstance(error, ssl.SSLCertVerificationError):
            return Rejected(f"The certificate of {host} is not to be trusted: {error.verify_message}.", code="cloud_certificate")
        if isinstance(error, ConnectionRefusedError):
            return Unavailable(f"{host} refuses the connection. It will be asked again.")
        return Unavailable(f"The connection to {host} broke off. It will be asked again.")


def _cut(sock: socket.socket) -> None:
    """End whatever waits on this socket. The plain method: SSLSocket's own would pull the state from under a reader."""
    try:
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
    except OSError:
        pass  # it had ended by itself


def _is_readable(sock: socket.socket) -> bool:
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))
