"""What the values of a search mean: numbers, sizes, times, globs. Pure; the time of day is an argument.

Raises everywhere: BadSearch, at the column of the value.
"""

from __future__ import annotations

import re
from calendar import monthrange
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from core.errors import BadSearch
from core.search.grammar import Value

_NUMBER = re.compile(r"[+-]?\d{1,18}(?:\.\d{1,9})?")
_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,6})?) ?([kmgtp]?)(?:i?b)?", re.IGNORECASE)
_DURATION = re.compile(r"(?:\d{1,6}(?:mo|[smhdwy]))+")
_PART = re.compile(r"(\d+)(mo|[smhdwy])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_DATE = re.compile(
    r"(?P<year>\d{4})(?:-(?P<month>\d\d)(?:-(?P<day>\d\d)(?:[T ](?P<hour>\d\d):(?P<minute>\d\d)"
    r"(?::(?P<second>\d\d)(?:\.(?P<fraction>\d{1,6}))?)?(?P<zone>Z|[+-]\d\d:?\d\d)?)?)?)?",
    re.IGNORECASE,
)


def plain(value: Value) -> str:
    """The text of a value that may hold no wildcard."""
    if value.wild:
        raise BadSearch("No wildcard is possible here.", position=value.position)
    return value.text.strip()


def number(value: Value) -> Decimal:
    text = plain(value)
    if not (text.isascii() and _NUMBER.fullmatch(text)):
        raise BadSearch(f'"{text[:40]}" is not a number.', position=value.position)
    return Decimal(text)


def size(value: Value, unit: int) -> Decimal:
    """An amount of memory or disk in units of `unit` bytes; a bare number is in that unit already.

    GB and GiB are the same 1024³ bytes: the "4 GB" that clouds sell are 4096 MiB, and must be found by `mem:4GB`.
    """
    text = plain(value)
    found = _SIZE.fullmatch(text) if text.isascii() else None
    if found is None:
        raise BadSearch(f'"{text[:40]}" is not a size such as 512MB, 4GB or 1.5TiB.', position=value.position)
    amount = Decimal(found[1])
    if text[-1].isdigit():
        return amount
    power = " kmgtp".index(found[2].lower() or " ")
    return amount * Decimal(1024**power) / unit


def duration(text: str) -> bool:
    """Is it a length of time: 90s, 7d, 1d12h, 2mo, 1y?"""
    return text.isascii() and _DURATION.fullmatch(text) is not None


def shift(now: datetime, text: str, sign: int, position: int) -> datetime:
    """`now` plus (sign 1) or minus (-1) a duration. Months and years are those of the calendar."""
    try:
        for amount, unit in _PART.findall(text):
            if unit in _SECONDS:
                now += sign * timedelta(seconds=int(amount) * _SECONDS[unit])
            else:
                months = now.year * 12 + now.month - 1 + sign * int(amount) * (12 if unit == "y" else 1)
                year, month = divmod(months, 12)
                now = now.replace(year=year, month=month + 1, day=min(now.day, monthrange(year, month + 1)[1]))
    except (OverflowError, ValueError):  # outside the years 1 to 9999; IllegalMonthError is a ValueError
        raise BadSearch(f"{text[:40]} is too long a time.", position=position) from None
    return now


def span(text: str, now: datetime, position: int) -> tuple[datetime, datetime]:
    """The time a date names, as [start, end): 2026-11-01 is that whole day, 2026-11 that month, 10:30 that minute.

    Also now, today, yesterday, tomorrow, and -7d or +7d: so long before or after now. UTC unless the text says otherwise.
    """
    instant = timedelta(microseconds=1)
    word = text.lower()
    if word == "now":
        return now, now + instant
    if word in ("today", "yesterday", "tomorrow"):
        days = {"yesterday": -1, "today": 0, "tomorrow": 1}[word]
        start = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=days)
        return start, start + timedelta(days=1)
    if text[:1] in ("-", "+") and duration(text[1:]):
        moment = shift(now, text[1:], -1 if text[0] == "-" else 1, position)
        return moment, moment + instant
    found = _DATE.fullmatch(text) if text.isascii() else None
    if found is None:
        raise BadSearch(f'"{text[:40]}" is not a time: write 2026-11-01, 2026-11-01T09:30Z, today, or -7d.', position=position)
    try:
        zone = found["zone"] or "Z"
        start = datetime.fromisoformat(
            f"{found['year']}-{found['month'] or '01'}-{found['day'] or '01'}T{found['hour'] or '00'}:{found['minute'] or '00'}:"
            f"{found['second'] or '00'}.{(found['fraction'] or '0').ljust(6, '0')}{zone.upper()}"
        ).astimezone(UTC)
        if found["fraction"]:
            return start, start + instant
        if found["second"]:
            return start, start + timedelta(seconds=1)
        if found["hour"]:
            return start, start + timedelta(minutes=1)
        if found["day"]:
            return start, start + timedelta(days=1)
        return start, shift(start, "1mo" if found["month"] else "1y", 1, position)
    except (OverflowError, ValueError):
        raise BadSearch(f'"{text[:40]}" is not a date of the calendar.', position=position) from None


def like(value: Value, *, contains: bool) -> str:
    """The LIKE pattern of a value: its wildcards; without any, the text anywhere (`contains`) or exactly."""
    pattern = "%".join(escape(part) for part in value.parts)
    return f"%{pattern}%" if contains and not value.wild else pattern


def escape(text: str) -> str:
    """The text as LIKE takes it literally."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
