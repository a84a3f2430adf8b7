"""The API over HTTP: one client, its errors in words, lists page after page."""

from __future__ import annotations

import ssl
import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

import httpx

from mist_cli import __version__
from mist_cli.contexts import Context
from mist_cli.errors import Away, Refused, Stop

PAGE = 1000
TRIES = 3
PATIENCE_S = 60.0  # the longest we wait because a server said Retry-After
Json = dict[str, Any]


class Client:
    """What a command asks through. Redirects are not followed: a token goes to its own server alone."""

    def __init__(self, context: Context, *, timeout_s: float = 60.0) -> None:
        self.context = context
        headers = {"User-Agent": f"mist-cli/{__version__}", "Accept": "application/json"}
        if context.token:
            headers["Authorization"] = f"Bearer {context.token}"
        self._http = httpx.Client(base_url=f"{context.url}/api/v2", headers=headers, timeout=httpx.Timeout(timeout_s, connect=10.0))

    def ask(
        self, method: str, path: str, *, query: Mapping[str, Any] | None = None, body: Any = None, headers: Any = None
    ) -> httpx.Response:
        """An answer below 400.  Raises: Refused, Away.

        What is unsafe carries a key by which the server knows it again, so that what was cut off is asked once more and done once.
        """
        sent = dict(headers or {})
        if method != "GET":
            sent["Idempotency-Key"] = uuid.uuid4().hex
        for attempt in range(1, TRIES + 1):
            try:
                answer = self._http.request(method, path, params=query, json=body, headers=sent)
            except httpx.ConnectError as error:
                raise self._away(error) from error
            except httpx.TransportError as error:
                if attempt == TRIES:
                    raise self._away(error) from error
                continue
            wait_s = _number(answer.headers.get("retry-after", ""))
            if answer.status_code in (429, 503) and wait_s is not None and wait_s <= PATIENCE_S and attempt < TRIES:
                time.sleep(wait_s)
                continue
            break
        if answer.status_code >= 400:
            raise self.refusal(answer)
        return answer

    def refusal(self, answer: httpx.Response) -> Stop:
        """The error an answer is."""
        try:
            body = answer.json()
        except ValueError:
            body = None
        if not isinstance(body, dict) or "detail" not in body:
            return Away(f"{self.context.url} does not answer as Mist does (HTTP {answer.status_code}). Is the address right?")
        if answer.status_code == 401 and self.context.token:
            return Refused(401, {**body, "detail": f"{body['detail']} Context “{self.context.name}”: sign in again with mist login."})
        return Refused(answer.status_code, body)

    def _away(self, error: Exception) -> Away:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, ssl.SSLError):
            cause = cause.__cause__ or cause.__context__
        if cause is not None:
            return Away(f"The certificate of {self.context.url} is not good: {cause}. SSL_CERT_FILE names an authority of your own.")
        why = "it took too long" if isinstance(error, httpx.TimeoutException) else str(error) or type(error).__name__
        return Away(f"Cannot reach {self.context.url}: {why}. Is it running, and is the address right? (mist context)")

    def get(self, path: str, **query: Any) -> Any:
        """The `data` of a read."""
        return self.json(self.ask("GET", path, query=_given(query)))["data"]

    def send(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        """The `data` of an act."""
        return self.json(self.ask(method, path, query=_given(query), body=body))["data"]

    def json(self, answer: httpx.Response) -> Json:
        """Its JSON object.  Raises: Away."""
        try:
            found = answer.json()
        except ValueError:
            found = None
        if not isinstance(found, dict) or "data" not in found:
            raise Away(f"{self.context.url} does not answer as Mist does. Is the address right?")
        return found

    def pages(self, path: str, query: Mapping[str, Any], most: int | None, *, by_cursor: bool = True) -> Iterator[tuple[list[Json], Json]]:
        """(rows, meta) of each page, until `most` rows or the end. By cursor where the list has one: any depth costs the same."""
        asked, left, start = _given(query), most, 0
        while left is None or left > 0:
            asked["limit"] = PAGE if left is None else min(PAGE, left)
            found = self.json(self.ask("GET", path, query=asked))
            rows, meta = found["data"], found.get("meta", {})
            yield rows, meta
            left = None if left is None else left - len(rows)
            start += len(rows)
            if by_cursor and meta.get("next"):
                asked["cursor"] = meta["next"]
            elif not by_cursor and rows and start < meta.get("total", 0):
                asked["start"] = start
            else:
                return

    def lines(self, path: str, **query: Any) -> Iterator[str]:
        """A stream, a line at a time, however long it says nothing.  Raises: Refused, Away."""
        try:
            with self._http.stream("GET", path, params=_given(query), timeout=httpx.Timeout(None, connect=10.0)) as answer:
                if answer.status_code >= 400:
                    answer.read()
                    raise self.refusal(answer)
                yield from answer.iter_lines()
        except httpx.TransportError as error:
            raise self._away(error) from error


def fill(path: str, *values: str) -> str:
    """The path with its `{parameters}` filled in, in order."""
    parts, given = [], iter(values)
    for part in path.split("/"):
        parts.append(quote(next(given), safe="") if part.startswith("{") else part)
    return "/".join(parts)


def _given(query: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in query.items() if value not in (None, "", ())}


def _number(text: str) -> float | None:
    try:
        return max(0.0, float(text))
    except ValueError:
        return None
