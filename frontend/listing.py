"""A list as an address asks for it: ?q=&sort=&cloud=&at=&cursor=. Searching, sorting, paging and counting are core.listing's."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.db.models import QuerySet
from django.http import QueryDict

from core import listing
from core.actor import Actor
from core.errors import BadRequest, BadSearch, Invalid
from frontend.searches import shortened

PAGE = 50
SIZES = (25, 50, 100, 200)  # rows of a page, as one chooses by ?limit=
DIRECT = 5000  # rows of a file that is sent at once
BACK = 20  # earlier pages an address remembers


@dataclass(kw_only=True)
class Page:
    """One page of a list. `error`: why `q` could not be read; then the rows are those of the search before, to be dimmed.

    Cursors lead forward only: the address remembers those of the pages before, so that Previous works without a script.
    """

    q: str
    sort: str
    rows: list[Any] = field(default_factory=list)
    total: int = 0
    is_estimate: bool = False
    start: int = 0
    sorts: frozenset[str] = frozenset()
    next_url: str = ""
    previous_url: str = ""
    at: datetime | None = None
    error: BadSearch | None = None
    size: int = PAGE

    @property
    def first(self) -> int:
        return self.start + 1 if self.rows else 0

    @property
    def roughly(self) -> int:
        """The total; a guess without the digits that mean nothing."""
        return round(self.total, -2) if self.is_estimate else self.total

    @property
    def is_long(self) -> bool:
        """Is a file of it made by a job?"""
        return self.total > DIRECT

    @property
    def last(self) -> int:
        return self.start + len(self.rows)

    @property
    def sizes(self) -> tuple[int, ...]:
        return SIZES

    @property
    def wrong(self) -> dict[str, str]:
        """Of a field or value there is not: `word`, the `near`est there is, and the query `mended` by it. Of other errors nothing."""
        extra = self.error.extra if self.error else {}
        word, near = extra.get("word"), extra.get("nearest")
        if self.error is None or not word or not near or not self.marked[1].startswith(word):
            return {}
        mended = f"{self.marked[0]}{near}{self.q[len(self.marked[0]) + len(word) :]}"
        return {"word": word, "near": near, "mended": mended, "field": "1" if "keys" in extra else ""}

    @property
    def marked(self) -> tuple[str, str, str]:
        """The query before the wrong character, that word, and the rest."""
        if self.error is None:
            return self.q, "", ""
        at = min(self.error.position, len(self.q))
        end = next((n for n in range(at, len(self.q)) if self.q[n].isspace()), len(self.q))
        return self.q[:at], self.q[at:end] or " ", self.q[end:]


def query(params: QueryDict, *, default: str = "", limit: int = 0) -> listing.Query:
    """What core.listing is asked.  Raises: BadRequest."""
    at = params.get("at", "").strip()
    return listing.Query(
        search=params.get("q", "").strip(),
        sort=params.get("sort", "") or default,
        cursor=params.get("cursor", ""),
        cloud=params.get("cloud", ""),
        at=listing.parse_at(at) if at else None,
        limit=limit or next((size for size in SIZES if str(size) == params.get("limit")), PAGE),
    )


def page(rows: QuerySet[Any], params: QueryDict, actor: Actor, *, default: str = "", before: QueryDict | None = None) -> Page:
    """The page these parameters ask for.  Raises: BadRequest (a bad sort, cursor or time); a bad search is `error`.

    before: what was asked before, whose rows stay where this search cannot be read.
    """
    asked = query(params, default=default)
    error = None
    try:
        found = listing.page(rows, actor, asked)
    except BadSearch as wrong:
        error = wrong
        found = _last(rows, actor, asked, before)
    except Invalid as wrong:
        raise BadRequest(wrong.detail, code=wrong.code) from wrong
    start = _number(params.get("from", "")) if asked.cursor else 0
    return Page(
        q=params.get("q", "").strip(),
        sort=found.sort,
        rows=found.rows,
        total=found.total,
        is_estimate=found.total_is_estimate,
        start=start,
        sorts=frozenset(listing.sorts_of(rows.model)),
        next_url=_forward(params, found.next, start + len(found.rows)) if found.next else "",
        previous_url=_backward(params, start - asked.limit) if asked.cursor else "",
        at=asked.at,
        error=error,
        size=asked.limit,
    )


def _last(rows: QuerySet[Any], actor: Actor, asked: listing.Query, before: QueryDict | None) -> listing.Page:
    """What was found before a search that cannot be read."""
    try:
        return listing.page(rows, actor, replace(asked, search=(before or {}).get("q", ""), cursor=""))
    except (BadSearch, BadRequest, Invalid):
        return listing.page(rows, actor, listing.Query(sort=asked.sort, limit=asked.limit))


def _number(text: str) -> int:
    return min(int(text), 10**9) if text.isdigit() else 0


def _forward(params: QueryDict, cursor: str, start: int) -> str:
    there = params.copy()
    there.setlist("back", [*params.getlist("back"), params.get("cursor", "")][-BACK:])
    there["cursor"], there["from"] = cursor, str(start)
    return "?" + shortened(there).urlencode()


def _backward(params: QueryDict, start: int) -> str:
    there = shortened(params.copy())
    back = params.getlist("back")
    there.setlist("back", back[:-1])
    there["cursor"], there["from"] = (back[-1] if back else ""), str(max(0, start))
    pairs = [(key, value) for key, values in there.lists() for value in values if value not in ("", "0")]
    return "?" + urlencode(pairs)
