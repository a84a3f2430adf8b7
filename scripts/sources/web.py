"""A script behind an address: fetched once, within a deadline and a size, each hop dialled where our rules allow."""

from __future__ import annotations

import base64
import ssl
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from http.client import HTTPResponse
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import parse_qsl, urljoin, urlsplit

from clouds import addresses
from clouds.providers._http import Http, tls_context
from clouds.providers.base import Context, Deadline
from core.actor import Actor
from core.errors import Failed, Invalid, Rejected, Unavailable
from scripts.content import MOST_BYTES, Content, fetched

DEADLINE_S = 30.0
REDIRECTS = 5


@dataclass(frozen=True, kw_only=True)
class Address:
    """A URL, taken apart and found fit to be asked."""

    scheme: str
    host: str
    port: int
    path: str
    query: tuple[tuple[str, str], ...]
    text: str


def address(text: str, field: str = "script") -> Address:
    """Raises: Invalid for what is no http(s) address, or carries a password."""
    try:
        parts = urlsplit(text.strip())
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in ("http", "https") or not parts.hostname or any(ord(c) <= 32 for c in text.strip()):
        raise Invalid(fields={field: ["An address that begins with https:// or http://."]}, code="bad_url")
    if parts.username or parts.password:
        raise Invalid(fields={field: ["An address that holds no user or password: it would be shown to everybody."]}, code="bad_url")
    return Address(
        scheme=parts.scheme,
        host=parts.hostname,
        port=port or (443 if parts.scheme == "https" else 80),
        path=parts.path or "/",
        query=tuple(parse_qsl(parts.query, keep_blank_values=True)),
        text=parts._replace(fragment="").geturl(),
    )


class Client:
    """GET and POST within one deadline. Redirects are followed, each as if a person had typed it.

    `authorization`: a header's value, for the first host that is asked, by https, and for no other.
    """

    def __init__(self, actor: Actor, deadline_s: float = DEADLINE_S, *, authorization: str = "") -> None:
        self.deadline = Deadline(deadline_s)
        self._authorization, self._first = authorization, ("", "", 0)
        self._context = Context(deadline=self.deadline, resolve=lambda host, port: addresses.resolve(host, port, loopback=actor.is_admin))
        self._open = ExitStack()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *error: Any) -> bool | None:
        return self._open.__exit__(*error)  # so that errors of reading are translated too

    def ask(
        self, url: str, *, method: str = "GET", data: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[HTTPResponse, str]:
        """The answer, unread, and the address it came from at last.  Raises: Invalid, Rejected, Unavailable."""
        secure = False
        for _ in range(REDIRECTS + 1):
            where = address(url)
            sent = {"Accept": "*/*", **(headers or {}), **self._right(where)}
            if secure and where.scheme == "http":
                raise Rejected(f"{where.host} is where https leads to http: not followed.", code="insecure_redirect")
            secure = secure or where.scheme == "https"
            http = Http(self._context, api="script", host=where.host, port=where.port, tls=_tls() if where.scheme == "https" else None)
            self._open.callback(http.close)
            call = http.stream(method, where.path, dict(where.query), data, headers=sent)
            answer = self._open.enter_context(call)
            if answer.status not in (301, 302, 303, 307, 308) or method != "GET":
                return answer, where.text
            url = urljoin(where.text, answer.getheader("Location") or "")
        raise Rejected("That address leads on and on.", code="too_many_redirects")

    def _right(self, where: Address) -> dict[str, str]:
        """The header by which a private place is read.  Raises: Invalid, where it would be read by all on the way."""
        if not self._authorization:
            return {}
        place = (where.scheme, where.host, where.port)
        if self._first == ("", "", 0):
            if where.scheme != "https":
                raise Invalid(fields={"script": ["A token is sent to an address that begins with https:// alone."]}, code="bad_url")
            self._first = place
        return {"Authorization": self._authorization} if place == self._first else {}


def _tls() -> ssl.SSLContext:
    return tls_context()


def load(actor: Actor, url: str, exec_type: str, entrypoint: str, token: str = "") -> Content:
    """A file, tar or zip. `token`: a bearer's, or user:password.

    Raises: Invalid, with what is wrong with it; Failed when nothing answers in time.
    """
    with told(url), Client(actor, authorization=authorization(token, bearer=True)) as client:
        answer, last = client.ask(url)
        if answer.status != 200:
            raise Invalid(fields={"script": [f"{address(last).host} answers {answer.status} for it."]}, code="not_fetched")
        data = read(answer, MOST_BYTES)
        return fetched(data, PurePosixPath(address(last).path).name, exec_type, entrypoint, address(url).text)


def authorization(token: str, *, bearer: bool = False) -> str:
    """The header's value for a token, or for user:password."""
    if not token or (bearer and ":" not in token):
        return f"Bearer {token}" if token else ""
    pair = token if ":" in token else f"git:{token}"  # a Git server takes a token as anybody's password
    return f"Basic {base64.b64encode(pair.encode()).decode()}"


def read(answer: HTTPResponse, most: int) -> bytes:
    """The body, at most `most` bytes.  Raises: Invalid."""
    whole = bytearray()
    while piece := answer.read(65536):
        whole += piece
        if len(whole) > most:
            raise Invalid(fields={"script": [f"It is larger than {most >> 20} MiB."]}, code="archive_too_large")
    return bytes(whole)


class told:  # noqa: N801 - reads as a word: `with told(url)`
    """Errors of fetching in words about the script."""

    def __init__(self, url: str, host: str = "") -> None:
        self.host = host or urlsplit(url).hostname or url[:60]

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Unavailable) and error.code == "cloud_timeout":
            raise Failed(f"{self.host} did not answer in time. Nothing was saved; try again.", code="source_timeout") from error
        if isinstance(error, Rejected):
            raise Invalid(fields={"script": [error.detail]}, code=error.code) from error
