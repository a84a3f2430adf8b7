"""Bodies: JSON in UTF-8 that our database can keep."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import IO, Any, NoReturn

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from rest_framework.parsers import BaseParser

from core.errors import BadRequest, Invalid

UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
DEEPEST = 40  # objects and lists inside each other
NOT_TEXT = "Null characters and halves of surrogate pairs are not allowed."


class Parser(BaseParser):
    """Strict JSON: no NaN, no number beyond a double, at most DEEPEST deep, no null characters.

    Raises: BadRequest (400), Invalid (422) naming the field, RequestDataTooBig (413).
    """

    media_type = "application/json"

    def parse(self, stream: IO[bytes], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None) -> Any:
        most = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        raw = stream.read(most + 1)
        if len(raw) > most:
            raise RequestDataTooBig
        if not raw.strip():
            return {}
        try:
            data = json.loads(raw.decode("utf-8-sig"), parse_constant=_no_number, parse_float=_finite)
        except RecursionError:
            raise _too_deep() from None
        except ValueError as error:  # bad UTF-8, bad JSON, an integer of more digits than Python reads
            where = f" at line {error.lineno}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
            raise BadRequest(f"The body is not JSON{where}.", code="bad_json") from None
        if isinstance(data, dict):
            for name, value in data.items():
                _check(name, value)
        return data


def _no_number(text: str) -> NoReturn:
    raise ValueError(text)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def _too_deep() -> BadRequest:
    return BadRequest(f"The body is nested deeper than {DEEPEST}.", code="too_deep")


def _check(name: str, value: Any) -> None:
    """A loop, not a recursion: the depth is the caller's choice."""
    left: list[tuple[int, Any]] = [(1, name), (1, value)]
    while left:
        depth, item = left.pop()
        if depth > DEEPEST:
            raise _too_deep()
        if isinstance(item, str):
            if UNSTORABLE.search(item):
                raise Invalid(fields={UNSTORABLE.sub("?", name)[:60]: [NOT_TEXT]})
        elif isinstance(item, dict):
            left.extend((depth + 1, part) for pair in item.items() for part in pair)
        elif isinstance(item, list):
            left.extend((depth + 1, part) for part in item)
