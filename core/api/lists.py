"""List parameters, their envelope, and CSV."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from channels.db import DatabaseSyncToAsync
from django.http import StreamingHttpResponse
from rest_framework.request import Request

from core import exports, listing
from core.api.schema import LIST_PARAMETERS
from core.errors import BadRequest, Invalid

FORMATS = ("csv", "json")


def query_of(request: Request, extra: Iterable[str] = ()) -> listing.Query:
    """The list parameters of a request.  Raises: BadRequest, naming a parameter that is not known or not well formed."""
    refuse_unknown(request, {*LIST_PARAMETERS, *extra})
    given = request.query_params
    if given.get("format", "json") not in FORMATS:
        raise BadRequest("`format` is csv or json.", code="bad_parameter")
    return listing.Query(
        search=given.get("search", ""),
        sort=given.get("sort", ""),
        start=number(given.get("start", ""), "start", 0, 10**9),
        limit=number(given.get("limit", ""), "limit", listing.LIMIT, listing.MOST),
        cursor=given.get("cursor", ""),
        at=listing.parse_at(given["at"]) if given.get("at") else None,
        cloud=given.get("cloud", ""),
    )


def refuse_unknown(request: Request, known: Iterable[str]) -> None:
    """Raises: BadRequest for a query parameter nobody reads, or one no database could."""
    for name, value in request.query_params.items():
        if name not in known:
            there = f" There are: {', '.join(sorted(known))}." if known else ""
            raise BadRequest(f"There is no parameter {name[:60]!r} here.{there}", code="unknown_parameter")
        if "\x00" in value:
            raise BadRequest(f"`{name}` holds a null character.", code="bad_parameter")


def refuse_unknown_fields(body: Mapping[str, Any], known: Iterable[str]) -> None:
    """Raises: Invalid for a field of a body that nobody reads: who sends `preview` for `dry` must not act."""
    if unknown := body.keys() - set(known):
        there = f"There are: {', '.join(sorted(known))}." if known else "There are none."
        raise Invalid(fields={name[:60]: [f"There is no such field here. {there}"] for name in sorted(unknown)[:20]})


def number(text: str, name: str, default: int, most: int) -> int:
    """A whole number of a query parameter, at most `most`.  Raises: BadRequest."""
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 12:
        raise BadRequest(f"`{name}` is a whole number from 0 to {most}.", code="bad_parameter")
    return min(int(text), most)


def envelope(page: listing.Page, data: list[Any], kind: str) -> dict[str, Any]:
    """`{"data": […], "meta": {…}}`."""
    meta: dict[str, Any] = {
        "total": page.total,
        "returned": len(data),
        "sort": page.sort,
        "start": page.start,
        "next": page.next,
        "kind": kind,
    }
    if page.total_is_estimate:
        meta["total_is_estimate"] = True
    return {"data": data, "meta": meta}


def wanted(only: str, fields: Collection[str]) -> set[str]:
    """The fields of `only=`, and `id`; none, where all are wanted.  Raises: BadRequest."""
    names = {name.strip() for name in only.split(",") if name.strip()}
    if unknown := names - set(fields):
        raise BadRequest(f"There is no field {sorted(unknown)[0][:60]!r}. There are: {', '.join(fields)}.", code="unknown_field")
    return names | {"id"} if names else set()


def keep_only(data: list[dict[str, Any]], only: str) -> list[dict[str, Any]]:
    """The fields a caller asked for; `id` always."""
    if not data or not (names := wanted(only, data[0])):
        return data
    return [{key: value for key, value in row.items() if key in names} for row in data]


def csv_answer(pages: Iterable[Iterable[Mapping[str, Any]]], columns: Sequence[str], name: str) -> StreamingHttpResponse:
    """A list as CSV."""
    return file_answer(exports.csv_pieces(pages, columns), exports.FORMS["csv"], f"{name}.csv")


def file_answer(pieces: Iterator[bytes], content_type: str, filename: str) -> StreamingHttpResponse:
    """A download, made a piece at a time as the client reads it: between two pieces it holds neither thread nor connection.

    Under ASGI a plain iterator would be read whole, into memory, before the first byte is sent.
    """

    async def steps() -> AsyncIterator[bytes]:
        step = DatabaseSyncToAsync(next, thread_sensitive=False)
        while (piece := await step(pieces, None)) is not None:
            yield piece

    response = StreamingHttpResponse(steps(), content_type=content_type)
    response["Content-Disposition"] = f'attachment; filename="{filename}"'
    return response
