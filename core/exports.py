"""Lists as files: what stands in each column of a kind, and rows as CSV or JSON. A kind that can be exported says so with `register`."""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from typing import Any

from core import listing
from core.actor import Actor
from core.errors import BadRequest

Row = Mapping[str, Any]
Cells = Mapping[str, Callable[[Any], Any]]
FORMS = {"csv": "text/csv; charset=utf-8", "json": "application/json", "jsonl": "application/x-ndjson"}


@dataclass(frozen=True, kw_only=True)
class Source:
    """One kind. `cells`: {column: what stands there, of a row}. `rows`: with what the cells read, in one query.

    `forms`: the kinds of file, the first by default. `in_csv`: what becomes of a value there.
    """

    model: type[Any]
    cells: Cells
    rows: Callable[[], Any]
    forms: tuple[str, ...] = ("csv", "json", "jsonl")
    in_csv: Callable[[Any], Any] = lambda value: value

    @property
    def kind(self) -> str:
        return str(self.model.kind())

    @property
    def name(self) -> str:
        """Of the file, without its ending."""
        return str(self.model.plural or f"{self.kind}s")

    @property
    def columns(self) -> list[str]:
        return list(self.cells)

    def chosen(self, asked: Iterable[str]) -> list[str]:
        """These columns, or all where none is asked for; any tag's key can be one.  Raises: BadRequest."""
        tagged = "tags" in self.cells
        for column in asked:
            if column not in self.cells and not (tagged and column.startswith("tag:")):
                there = ", ".join(self.cells) + (", tag:<key>" if tagged else "")
                raise BadRequest(f"There is no column {column[:60]!r}. There are: {there}.", code="unknown_column")
        return list(dict.fromkeys(asked)) or self.columns

    def pages(self, actor: Actor, query: listing.Query, columns: Sequence[str]) -> Iterator[list[Row]]:
        """All that the query finds of what the actor may see, some at a time: no more than a page is held.  Raises: BadRequest."""
        for page in listing.pages(self.rows(), actor, query):
            yield [self.row(row, columns) for row in page]

    def file(self, form: str, actor: Actor, query: listing.Query, columns: Sequence[str]) -> Iterator[bytes]:
        """The file, a piece a page: the first is made at once, so that a wrong query is refused before anything is sent."""
        pages: Iterator[Iterable[Row]] = self.pages(actor, query, columns)
        first = next(pages, [])
        return written(form, self.ready(itertools.chain([first], pages), form), columns)

    def ready(self, pages: Iterable[Iterable[Row]], form: str) -> Iterator[list[Row]]:
        for page in pages:
            yield [{k: self.in_csv(v) for k, v in row.items()} for row in page] if form == "csv" else list(page)

    def row(self, row: Any, columns: Sequence[str]) -> Row:
        return {c: (row.tags or {}).get(c[4:]) if c.startswith("tag:") else self.cells[c](row) for c in columns}


def name_of(row: Any) -> str:
    """Of what a row points to; "" where it points to nothing."""
    return row.name if row else ""


def named(*columns: str) -> Cells:
    """Columns of the row itself, by their names."""
    return {column: attrgetter(column) for column in columns}


def iso(at: datetime | None) -> str:
    return at.isoformat() if at else ""


_sources: dict[str, Source] = {}


def register(source: Source) -> Source:
    """Makes a kind one that can be exported."""
    _sources[source.kind] = source
    return source


def sources() -> Mapping[str, Source]:
    """{kind: its source}."""
    return _sources


# --- rows as text -----------------------------------------------------------------------------------------------------


def written(form: str, pages: Iterable[Iterable[Row]], columns: Sequence[str]) -> Iterator[bytes]:
    """The file, a piece a page."""
    if form == "csv":
        return csv_pieces(pages, columns)
    return json_lines(pages) if form == "jsonl" else json_array(pages)


def csv_pieces(pages: Iterable[Iterable[Row]], columns: Sequence[str]) -> Iterator[bytes]:
    """CSV. A cell that a spreadsheet would take for a formula is led by an apostrophe."""
    for page in itertools.chain([[dict(zip(columns, columns, strict=True))]], pages):
        buffer = io.StringIO()
        csv.writer(buffer).writerows([cell(row.get(column)) for column in columns] for row in page)
        yield buffer.getvalue().encode()


def json_lines(pages: Iterable[Iterable[Row]]) -> Iterator[bytes]:
    """A JSON object a line."""
    for page in pages:
        yield "".join(json.dumps(row, ensure_ascii=False, separators=(",", ":"), default=str) + "\n" for row in page).encode()


def json_array(pages: Iterable[Iterable[Row]]) -> Iterator[bytes]:
    """A JSON array, a row a line."""
    before = b"["
    for page in pages:
        if lines := [json.dumps(row, ensure_ascii=False, default=str).encode() for row in page]:
            yield before + b",\n".join(lines)
            before = b",\n"
    yield b"[]\n" if before == b"[" else b"]\n"


def cell(value: Any) -> str:
    """One cell of CSV."""
    if value is None:
        return ""
    if isinstance(value, dict):
        value = " ".join(f"{k}={v}" for k, v in value.items())
    elif isinstance(value, list | tuple):
        value = " ".join(str(v) for v in value)
    text = str(value)
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") and not isinstance(value, int | float) else text
