"""HTTP for providers whose API is plain REST: one host, one deadline, nothing from the environment.

What a general client does and this one never does: follow a redirect (which would lead past `Context.resolve`), ask the
environment for proxies or CA bundles, read a configuration file of the user we run as, resolve a name by itself, wait
longer than the deadline because bytes keep trickling in, or read an answer of any size into memory.
"""

from __future__ import annotations

import asyncio
import base64
import http.client
import io
import json
import os
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from core.errors import AuthFailed, ProviderError, Rejected, Unavailable

from .base import Context, Deadline

CONNECT_S = 10.0  # for one address; a dead one must leave time for the next
LONGEST_ANSWER = 64 * 1024 * 1024
_UNTRUSTED_CLIENT = ("CERTIFICATE_REQUIRED", "BAD_CERTIFICATE", "UNKNOWN_CA", "CERTIFICATE_UNKNOWN", "CERTIFICATE_EXPIRED", "ACCESS_DENIED")


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What came back, whole. `headers`: names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body read as JSON.  Raises: Unavailable when it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError) as error:
            raise Unavailable("The cloud's answer makes no sense. Is it the right address?", words=said(self.body)) from error


def said(body: bytes) -> str:
    """The first words of an answer, printable, for people."""
    text = body[:400].decode("utf-8", "replace")
    return "".join(letter if letter.isprintable() else " " for letter in text).strip()


def tls_context(*, ca: str = "", certificate: str = "", key: str = "") -> ssl.SSLContext:
    """TLS that verifies the other side, by the CA given or the system's, and shows a client certificate when there is one.

    All are PEM text. The key never touches a disk: OpenSSL reads it from an anonymous file in memory.  Raises: AuthFailed.
    """
    if bool(certificate) != bool(key):
        raise AuthFailed("A client certificate and its key come together: give both or none.", code="cloud_tls_failed")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # checks the certificate and the name in it
    try:
        if ca:
            context.load_verify_locations(cadata=ca)
        else:
            context.load_default_certs()
    except (ssl.SSLError, ValueError) as error:
        raise AuthFailed("The CA certificate cannot be read: it has to be PEM text.", code="cloud_tls_failed") from error
    if certificate:
        memory = os.memfd_create("tls")
        try:
            with os.fdopen(os.dup(memory), "wb") as file:
                file.write(f"{certificate.strip()}\n{key.strip()}\n".encode())
            # A key with a passphrase would ask for it on our terminal: an empty answer makes that an error instead.
            context.load_cert_chain(f"/proc/self/fd/{memory}", password="")
        except (ssl.SSLError, OSError, ValueError) as error:
            detail = "The client certificate or its key cannot be read: PEM text without a passphrase, of one pair."
            raise AuthFailed(detail, code="cloud_tls_failed") from error
        finally:
            os.close(memory)
    return context


def basic(username: str, password: str) -> str:
    """The value of an Authorization header."""
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


class _Reader(io.RawIOBase):
    """A socket read with what is left of the deadline, each time."""

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self._sock, self._deadline = sock, deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._sock.settimeout(self._deadline.remaining())
        return self._sock.recv_into(buffer)


class _Wire:
    """What http.client needs of a socket. Closing is ours: http.client would do it with the body unread."""

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self.sock, self._deadline = sock, deadline

    def sendall(self, data: bytes) -> None:
        self.sock.settimeout(self._deadline.remaining())
        self.sock.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Reader(self.sock, self._deadline), 65536)

    def close(self) -> None:
        pass


class Http:
    """Calls to one host: `unix` is a socket's path, or else `host` and `port` are dialled where `Context.resolve` says.

    `api`: what the budget counts. `headers`: sent with each call, secrets among them. Reads share one connection; a
    write has its own, for a connection that dies under it must not make anybody wonder whether to ask again.
    """

    def __init__(
        self,
        context: Context,
        *,
        api: str,
        host: str = "",
        port: int = 0,
        unix: str = "",
        tls: ssl.SSLContext | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._context, self._api, self._host, self._port, self._unix, self._tls = context, api, host, port, unix, tls
        self._headers = dict(headers or {})
        self._kept: socket.socket | None = None

    def close(self) -> None:
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    def call(self, method: str, path: str, query: Mapping[str, str] | None = None, body: Any = None) -> Answer:
        """One call, its answer whole, whatever the status.  Raises: AuthFailed (TLS), Unavailable, RateLimited, Rejected."""
        with self.stream(method, path, query, body) as response:
            whole = response.read(LONGEST_ANSWER + 1)
            if len(whole) > LONGEST_ANSWER:
                raise Unavailable(f"{self.place} answers more than {LONGEST_ANSWER >> 20} MiB: that cannot be right.")
            return Answer(status=response.status, headers={name.lower(): value for name, value in response.getheaders()}, body=whole)

    @contextmanager
    def stream(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Iterator[http.client.HTTPResponse]:
        """One call whose answer is read while it comes, within the deadline. Errors of reading are translated too.

        `body`: bytes as they are, anything else as JSON. `headers`: of this call alone.
        """
        self._context.deadline.check()
        self._context.spend(self._api)
        target = quote(path, safe="/%:@") + ("?" + urlencode(query) if query else "")
        sent = {**self._headers, "Host": "localhost" if self._unix else self.place, "User-Agent": "mist", "Accept": "application/json"}
        data = None
        if isinstance(body, bytes):
            data = body
        elif body is not None:
            data, sent["Content-Type"] = json.dumps(body).encode(), "application/json"
        elif method != "GET":
            data = b""
        sent |= headers or {}
        sock: socket.socket | None = None
        whole = False
        try:
            response, sock = self._ask(method, target, data, sent)
            yield response
            whole = response.isclosed() and not response.will_close
        except ProviderError:
            raise
        except TimeoutError as error:
            self._context.deadline.check()  # past it: says so in its own words
            raise Unavailable(f"{self.place} does not answer.", code="cloud_timeout") from error
        except ssl.SSLError as error:
            raise self._tls_error(error) from error
        except OSError as error:
            raise Unavailable(f"{self.place} cannot be reached: {_reason(error)}.", words=str(error)) from error
        except (http.client.HTTPException, ValueError) as error:
            detail = f"{self.place} breaks off or answers what makes no sense. Is it the right address?"
            raise Unavailable(detail, words=type(error).__name__) from error
        finally:
            if sock is not None and whole and method == "GET":
                self._kept = sock
            elif sock is not None:
                sock.close()

    async def upgrade(self, path: str, body: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """POST, and then the connection itself, for a protocol of its own that runs both ways. It has no deadline once it is there.

        Raises: as `call`; Rejected, with the answer's first words, when the other side does not switch.
        """
        deadline = self._context.deadline
        await asyncio.to_thread(self._context.spend, self._api)
        data = json.dumps(body).encode()
        headers = {
            **self._headers,
            "Host": "localhost" if self._unix else self.place,
            "User-Agent": "mist",
            "Content-Type": "application/json",
        }
        headers |= {"Content-Length": str(len(data)), "Connection": "Upgrade", "Upgrade": "tcp"}
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        writer: asyncio.StreamWriter | None = None
        try:
            async with asyncio.timeout(deadline.remaining()):
                reader, writer = await self._stream()
                writer.write(f"POST {quote(path, safe='/%:@')} HTTP/1.1\r\n{head}\r\n".encode() + data)
                status, *_ = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
                if b" 101 " not in status and b" 200 " not in status:
                    words = said(await reader.read(4096))
                    raise Rejected(f"{self.place} opens no terminal: {words[:300]}", words=words)
                return reader, writer
        except BaseException as error:
            if writer is not None:
                writer.close()
            if isinstance(error, TimeoutError):
                raise Unavailable(f"{self.place} does not answer.", code="cloud_timeout") from error
            if isinstance(error, ssl.SSLError):
                raise self._tls_error(error) from error
            if isinstance(error, OSError | EOFError | asyncio.LimitOverrunError):
                raise Unavailable(f"{self.place} cannot be reached: {error}.", words=str(error)) from error
            raise

    async def _stream(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to the first address that takes it, each one that the rules allow.  Raises: OSError."""
        if self._unix:
            return await asyncio.open_unix_connection(self._unix)
        failure: OSError = OSError(f"{self._host} has no address")
        for address in await asyncio.to_thread(self._context.resolve, self._host, self._port):
            try:
                async with asyncio.timeout(CONNECT_S):
                    name = self._host if self._tls else None  # checked against the name, not the address
                    return await asyncio.open_connection(address, self._port, ssl=self._tls, server_hostname=name)
            except ssl.SSLError:
                raise
            except OSError as error:
                failure = error
        raise failure

    @property
    def place(self) -> str:
        """The host in the words of a URL."""
        if self._unix:
            return self._unix
        return f"[{self._host}]:{self._port}" if ":" in self._host else f"{self._host}:{self._port}"

    def _ask(
        self, method: str, target: str, data: bytes | None, headers: Mapping[str, str]
    ) -> tuple[http.client.HTTPResponse, socket.socket]:
        kept, self._kept = self._kept, None
        if kept is not None and method == "GET":
            try:
                return self._send(kept, method, target, data, headers), kept
            except (http.client.HTTPException, OSError):
                kept.close()  # it was closed while idle: a read may be asked again
        elif kept is not None:
            kept.close()
        sock = self._dial()
        try:
            return self._send(sock, method, target, data, headers), sock
        except BaseException:
            sock.close()
            raise

    def _send(
        self, sock: socket.socket, method: str, target: str, data: bytes | None, headers: Mapping[str, str]
    ) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection(self._host or "localhost", self._port or None)
        connection.sock = _Wire(sock, self._context.deadline)
        connection.request(method, target, data, headers)
        return connection.getresponse()

    def _dial(self) -> socket.socket:
        deadline = self._context.deadline
        if self._unix:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                sock.settimeout(deadline.remaining(CONNECT_S))
                sock.connect(self._unix)
            except BaseException:
                sock.close()
                raise
            return sock
        failure: OSError = OSError(f"{self._host} has no address")
        for address in self._context.resolve(self._host, self._port):
            try:
                sock = socket.create_connection((address, self._port), timeout=deadline.remaining(CONNECT_S))
            except OSError as error:
                failure = error
                continue
            if self._tls is None:
                return sock
            try:
                sock.settimeout(deadline.remaining(CONNECT_S))
                return self._tls.wrap_socket(sock, server_hostname=self._host)  # checked against the name, not the address
            except BaseException:
                sock.close()
                raise
        raise failure

    def _tls_error(self, error: ssl.SSLError) -> ProviderError:
        reason = (error.reason or "").upper()
        if isinstance(error, ssl.SSLCertVerificationError):
            detail = f"The certificate that {self.place} shows is not trusted: {error.verify_message.rstrip('.')}."
            if "mismatch" not in error.verify_message.lower():
                detail += " Give the certificate of the CA that signed it."
            return AuthFailed(detail, code="cloud_tls_failed", words=error.verify_message)
        if any(word in reason for word in _UNTRUSTED_CLIENT):
            detail = f"{self.place} does not accept our client certificate, or wants one. Give a certificate and key it trusts."
            return AuthFailed(detail, code="cloud_tls_failed", words=reason)
        if any(word in reason for word in ("WRONG_VERSION", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "RECORD_LAYER", "PACKET_LENGTH")):
            return Unavailable(f"{self.place} does not speak TLS there. Is it the right port?", words=reason)
        return Unavailable(f"No TLS connection to {self.place} came about.", words=reason or str(error))


def _reason(error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return "its name is not known"
    return (error.strerror or str(error) or type(error).__name__).rstrip(".").lower()
