"""Keys that match columns of the row itself: texts, choices, numbers, times, ids, tags, addresses."""

from __future__ import annotations

import difflib
import ipaddress
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar
from uuid import UUID

from django.db.models import Q
from django.db.models import Value as Literal

from core.errors import BadSearch
from core.search import values
from core.search.grammar import Value
from core.search.predicates import EVERYTHING, NOTHING, SEPARATOR, Column, Field, SearchContext, any_q, condition, narrowed, text

MiB, GiB = 1024**2, 1024**3  # for Size.unit
_HEX = re.compile(r"[0-9a-f]{1,32}")
_ADDRESS = re.compile(r"[0-9a-fA-F.:]{2,45}")
_OCTET = "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4 = rf"^{_OCTET}(\.{_OCTET}){{3}}$"


@dataclass(frozen=True)
class Text(Field):
    """Words of people and clouds. `:` contains, without case; `=` is exact. An empty text is none.

    A trigram index on the column (`gin_trgm_ops`) serves `:`, wildcards and `~`. `closed`: `:` is equal, as for the names of a
    closed set, and an ordinary index serves it.
    """

    column: Column
    closed: bool = False
    title: ClassVar[str] = "text"
    operators: ClassVar[tuple[str, ...]] = (":", "=", "!=", "~")

    def match(self, value: Value, *, exact: bool, context: SearchContext) -> Q:
        if exact or (self.closed and not value.wild):
            return condition("{0} = {1} AND {0} IS NOT NULL", self.column, text(value.text))
        return condition("{0} ILIKE {1} AND {0} IS NOT NULL", self.column, text(values.like(value, contains=True)))

    def regex(self, pattern: str, *, context: SearchContext) -> Q:
        return condition("{0} ~ {1} AND {0} IS NOT NULL", self.column, text(pattern))

    def none(self, *, context: SearchContext) -> Q:
        return condition("{0} IS NULL OR {0} = ''", self.column)


@dataclass(frozen=True)
class Words(Field):
    """Full text, in a stored `tsvector` with a GIN index: whole words in that order, `*` at the end for their beginning."""

    column: str
    config: str = "simple"
    title: ClassVar[str] = "text"
    operators: ClassVar[tuple[str, ...]] = (":",)

    def match(self, value: Value, *, exact: bool, context: SearchContext) -> Q:
        words = re.findall(r"\w+", value.text)
        if not words:
            return NOTHING
        if value.wild and value.parts[-1] == "":
            query = " <-> ".join(f"'{word}'" for word in words) + ":*"
            return condition("{0} @@ to_tsquery({1}::regconfig, {2}) AND {0} IS NOT NULL", self.column, text(self.config), text(query))
        sql = "{0} @@ phraseto_tsquery({1}::regconfig, {2}) AND {0} IS NOT NULL"
        return condition(sql, self.column, text(self.config), text(value.text.replace("*", " ")))

    def none(self, *, context: SearchContext) -> Q:
        return condition("{0} IS NULL", self.column)


@dataclass(frozen=True)
class Haystack(Field):
    """All that a bare word looks in, as one stored text: pieces in lower case, `SEPARATOR` before and after each, a tag's key
    before its value. One trigram index serves what would otherwise be an OR over columns, and no row is lowered again.
    """

    column: str = "haystack"
    operators: ClassVar[tuple[str, ...]] = (":",)
    title: ClassVar[str] = "text"

    def match(self, value: Value, *, exact: bool, context: SearchContext) -> Q:
        if not value.wild:
            return condition("{0} LIKE lower({1}) AND {0} IS NOT NULL", self.column, text(values.like(value, contains=True)))
        glob = f"[^{SEPARATOR}]*".join(re.sub(r"([^\w\s])", r"\\\1", part, flags=re.ASCII) for part in value.parts)
        return condition("{0} ~ lower({1}) AND {0} IS NOT NULL", self.column, text(f"{SEPARATOR}{glob}{SEPARATOR}"))

    def none(self, *, context: SearchContext) -> Q:
        return NOTHING


@dataclass(frozen=True)
class Choice(Field):
    """One of a closed set; `:` is equal, without case, wildcards pick from the set. `aliases`: other words for a value."""

    column: Column
    values: tuple[str, ...] | Callable[[], Iterable[str]]
    aliases: Callable[[], Mapping[str, str]] | None = None
    title: ClassVar[str] = "choice"

    def choices(self) -> tuple[str, ...]:
        return self.values if isinstance(self.values, tuple) else tuple(self.values())

    def _chosen(self, value: Value) -> list[str]:
        known = self.choices()
        if value.wild:
            glob = re.compile(".*".join(re.escape(part) for part in value.parts), re.IGNORECASE | re.DOTALL)
            return [choice for choice in known if glob.fullmatch(choice)]
        aliases = self.aliases() if self.aliases is not None else {}
        wanted = aliases.get(value.text.lower(), value.text).lower()
        return [choice for choice in known if choice.lower() == wanted]

    def match(self, value: Value, *, exact: bool, context: SearchContext) -> Q:
        chosen = self._chosen(value)
        if not chosen and not value.wild:
            near = difflib.get_close_matches(value.text.lower(), self.choices(), 1, 0.5)
            hint = f' Did you mean "{near[0]}"?' if near else ""
            listed = ", ".join(self.choices()[:40])
            raise BadSearch(
                f'"{value.text[:40]}" is not one of the values here.{hint} They are: {listed}.',
                position=value.position,
                nearest=near[0] if near else None,
                word=value.text,
            )
        return self._is(chosen)

    def _is(self, chosen: list[str]) -> Q:
        if not chosen:
            return NOTHING
        slots = ", ".join(f"{{{n}}}" for n in range(1, len(chosen) + 1))
        return condition(f"{{0}} IN ({slots}) AND {{0}} IS NOT NULL", self.column, *map(text, chosen))

    def none(self, *, context: SearchContext) -> Q:
        return condition("{0} IS NULL OR {0} = ''", self.column)

    def word(self, value: Value, *, context: SearchContext) -> Q | None:
        chosen = self._chosen(value)
        return self._is(chosen) if chosen else None


class _Ordered(Field):
    """Compares with one column: numbers and sizes."""

    column: Column
    operators: ClassVar[tuple[str, ...]] = (":", "=", "!=", ">", ">=", "<", "<=")

    def amount(self, value: Value) -> Decimal:
        raise NotImplementedError

    def match(self, value: Value, *, exact: bool, context: SearchContext) -> Q:
        return self.compare("=", value, context=context)

    def compare(self, op: str, value: Value, *, context: SearchContext) -> Q:
        return condition(f"{{0}} {op} {{1}} AND {{0}} IS NOT NULL", self.column, Literal(self.amount(value)))

    def none(self, *, context: SearchContext) -> Q:
        return condition("{0} IS NULL", self.column)

    def word(self, value: Value, *, context: SearchContext) -> Q | None:
        return None


@dataclass(frozen=True)
class Number(_Ordered):
    """A number; without a decimal point as well as with one."""

    column: str
    title: ClassVar[str] = "number"

    def amount(self, value: Value) -> Decimal:
        return values.number(value)


@dataclass(frozen=True)
class Size(_Ordered):
    """An amount of memory or disk. `unit`: how many bytes a 1 in the column is (`MiB`, `GiB`)."""

    column: str
    unit: int
    title: ClassVar[str] = "size"

    def amount(self, value: Value) -> Decimal:
        return values.size(value, self.unit)


@dataclass(frozen=True)
class Date(Field):
    """A point in time. `:` and `=` are within what the date names (a day, a month, a minute); `>` is after it, `<` before.

    `durations`: what a bare `7d` is. "ahead": so long from now (`ends<7d`); "ago": the key is an age, and `age>7d` is older
    than that; "": not taken, `-7d` and `+7d` are.
    """

    column: Column
    durations: str = ""
    operators: ClassVar[tuple[str, ...]] = (":", "=", "!=", ">", ">=", "<", "<=")
    title: ClassVar[str] = "time"

    def _span(self, value: Value, context: SearchContext) -> tuple[datetime, datetime]:
        written = values.plain(value)
        if values.duration(written):
            if self.durations != "ahead":
                detail = f"{written[:20]} from now or before now? Write -{written[:20]} or +{written[:20]}."
                raise BadSearch(detail, position=value.position)
            written = f"+{written}"
        return values.span(written, context.now, value.position)

    def match(self, value: Value, *, exact: bool, context: SearchContext) -> Q:
        if self.durations == "ago":
            raise BadSearch("An age is compared: age>7d, age<=12h.", position=value.position)
        start, end = self._span(value, context)
        return condition("{0} >= {1} AND {0} < {2} AND {0} IS NOT NULL", self.column, Literal(start), Literal(end))

    def compare(self, op: str, value: Value, *, context: SearchContext) -> Q:
        if self.durations == "ago":
            written = values.plain(value)
            if not values.duration(written):
                raise BadSearch("An age is a length of time such as 90s, 12h, 7d, 2w, 3mo, 1y.", position=value.position)
            moment = values.shift(context.now, written, -1, value.position)
            flipped = {">": "<", ">=": "<=", "<": ">", "<=": ">="}[op]
            return condition(f"{{0}} {flipped} {{1}} AND {{0}} IS NOT NULL", self.column, Literal(moment))
        start, end = self._span(value, context)
        sql, moment = {">": (">=", end), ">=": (">=", start), "<": ("<", start), "<=": ("<", end)}[op]
        return condition(f"{{0}} {sql} {{1}} AND {{0}} IS NOT NULL", self.column, Literal(moment))

    def none(self, *, context: SearchContext) -> Q:
        return condition("{0} IS NULL", self.column)

    def word(self, value: Value, *, context: SearchContext) -> Q | None:
        return None


def _truth(value: Value) -> bool:
    written = values.plain(value).lower()
    if written in ("yes", "true", "on", "1"):
        return True
    if written in ("no", "false", "off", "0"):
        return False
    raise BadSearch(f'"{written[:40]}" is neither yes nor no.', position=value.position)


@dataclass(frozen=True)
class Bool(Field):
    """Yes or no (true, false, on, off, 1, 0)."""

    column: str
    title: ClassVar[str] = "yes or no"

    def match(self, value: Value, *, exact: bool, context: SearchContext) -> Q:
        return condition("{0} IS TRUE" if _truth(value) else "{0} IS FALSE", self.column)

    def none(self, *, context: SearchContext) -> Q:
        return condition("{0} IS NULL", self.column)

    def word(self, value: Value, *, context: SearchContext) -> Q | None:
        return None

    def choices(self) -> tuple[str, ...]:
        return ("yes", "no")


@dataclass(frozen=True)
class Present(Bool):
    """Yes where a nullable column has a value: `missing:yes` of `missing_since`."""

    def match(self, value: Value, *, exact: bool, context: SearchContext) -> Q:
        return condition("{0} IS NOT NULL" if _truth(value) else "{0} IS NULL", self.column)


@dataclass(frozen=True)
class Id(Field):
    """A uuid column, by its first hexadecimal digits (`:`) or all of them; as one range of the column's own index."""

    column: str = "id"
    title: ClassVar[str] = "id"
    WORD_LENGTH: ClassVar[int] = 8  # a shorter bare word is no id: ids of one day begin alike

    def match(self, value: Value, *, exact: bool, context: SearchContext) -> Q:
        found = self._range(value, exact)
        if found is None:
            raise BadSearch("An id is 32 hexadecimal digits, or the first of them.", position=value.position)
        return found

    def _range(self, value: Value, exact: bool) -> Q | None:
        if value.wild and value.parts[1:] != ("",):
            return None
        digits = value.parts[0].lower().replace("-", "")
        if not _HEX.fullmatch(digits):
            return None
        if exact and len(digits) < 32:
            return NOTHING
        low, high = UUID(digits.ljust(32, "0")), UUID(digits.ljust(32, "f"))
        if low == high:
            return condition("{0} = {1} AND {0} IS NOT NULL", self.column, Literal(low))
        return condition("{0} BETWEEN {1} AND {2} AND {0} IS NOT NULL", self.column, Literal(low), Literal(high))

    def none(self, *, context: SearchContext) -> Q:
        return condition("{0} IS NULL", self.column)

    def word(self, value: Value, *, context: SearchContext) -> Q | None:
        return self._range(value, False) if len(value.parts[0].replace("-", "")) >= self.WORD_LENGTH else None


@dataclass(frozen=True)
class Tags(Field):
    """A JSONB object of texts: `tag:k`, `tag:k=v` exactly, with wildcards without case. `\\=` in quotes is a = of the key.

    A GIN index (`jsonb_ops`: the other one knows no keys) serves `k` and `k=v`, the haystack the wildcards.
    """

    column: str = "tags"
    haystack: str = ""
    title: ClassVar[str] = "tag"
    operators: ClassVar[tuple[str, ...]] = (":", "=", "!=", "~")
    dear: ClassVar[bool] = True
    _EACH: ClassVar[str] = "EXISTS (SELECT 1 FROM jsonb_each_text({0}) AS tag(k, v) WHERE %s)"

    def match(self, value: Value, *, exact: bool, context: SearchContext) -> Q:
        if value.anything:
            return ~self.none(context=context)
        # \0 cannot be in a search: it stands for the wildcard while key and value are told apart.
        parted = re.split(r"(?<!\\)=", "\0".join(value.parts), maxsplit=1)
        key, wanted = (Value(tuple(part.replace("\\=", "=").split("\0"))) for part in (parted[0], parted[-1]))
        if len(parted) == 1 or (not key.wild and wanted.anything):
            return self._has(key)
        if not key.wild and not wanted.wild:
            pair = json.dumps({key.text: wanted.text}, ensure_ascii=False)
            return condition("{0} @> {1}::jsonb AND {0} IS NOT NULL", self.column, text(pair))
        pattern = text(values.like(wanted, contains=False))
        if key.wild:
            each = condition(self._EACH % "k ILIKE {1} AND v ILIKE {2}", self.column, text(values.like(key, contains=False)), pattern)
            return narrowed(self.haystack, max(*key.parts, *wanted.parts, key=len), each)
        sql = "{0} ? {1} AND COALESCE({0} ->> {1} ILIKE {2}, FALSE) AND {0} IS NOT NULL"
        return narrowed(
            self.haystack, SEPARATOR.join(("", key.text, wanted.parts[0])), condition(sql, self.column, text(key.text), pattern)
        )

    def _has(self, key: Value) -> Q:
        if key.wild:
            each = condition(self._EACH % "k ILIKE {1}", self.column, text(values.like(key, contains=False)))
            return narrowed(self.haystack, max(key.parts, key=len), each)
        return condition("{0} ? {1} AND {0} IS NOT NULL", self.column, text(key.text))

    def regex(self, pattern: str, *, context: SearchContext) -> Q:
        return condition(self._EACH % "k || '=' || v ~ {1}", self.column, text(pattern))

    def none(self, *, context: SearchContext) -> Q:
        return condition("{0} IS NULL OR {0} = '{}'::jsonb", self.column)

    def word(self, value: Value, *, context: SearchContext) -> Q | None:
        """In a key or a value. First in the text of the whole object, which is quick; then in each, which is exact."""
        pattern = "%".join(values.escape(json.dumps(part, ensure_ascii=False)[1:-1]) for part in value.parts)
        each = self._EACH % "k ILIKE {2} OR v ILIKE {2}"
        sql = "{0}::text ILIKE {1} AND {0} IS NOT NULL AND " + each
        return condition(sql, self.column, text(f"%{pattern}%"), text(values.like(value, contains=True)))


@dataclass(frozen=True)
class Addresses(Field):
    """Arrays of addresses: a whole one, the beginning of one, a wildcard, or an IPv4 network such as 10.0.0.0/8.

    A GIN index on each array serves whole ones; the haystack serves everything.
    """

    columns: tuple[str, ...]
    haystack: str = ""
    title: ClassVar[str] = "address"
    operators: ClassVar[tuple[str, ...]] = (":", "=", "!=", "~")

    def match(self, value: Value, *, exact: bool, context: SearchContext) -> Q:
        written = value.text.strip()
        if value.wild:
            return narrowed(self.haystack, max(value.parts, key=len), self._some("a ILIKE {1}", text(values.like(value, contains=False))))
        if exact or _is_address(written):
            either = list(dict.fromkeys((written, written.lower())))
            whole = any_q(Q(**{f"{column}__overlap": either}) & condition("{0} IS NOT NULL", column) for column in self.columns)
            return narrowed(self.haystack, f"{SEPARATOR}{written}{SEPARATOR}", whole)
        if "/" in written:
            return self._network(written, value.position)
        return narrowed(self.haystack, SEPARATOR + written, self._some("a ILIKE {1}", text(values.escape(written) + "%")))

    def _some(self, test: str, *args: Any) -> Q:
        each = f"EXISTS (SELECT 1 FROM unnest({{0}}) AS address(a) WHERE {test})"  # noqa: S608  # `test` is ours
        return any_q(condition(each, column, *args) for column in self.columns)

    def _network(self, written: str, position: int) -> Q:
        try:
            network = ipaddress.IPv4Network(written, strict=False)
        except ValueError:
            raise BadSearch(f'"{written[:50]}" is not an IPv4 network such as 10.0.0.0/8.', position=position) from None
        # CASE, because PostgreSQL is free to cast first and test afterwards; not every address here is an IPv4 one.
        inside = self._some("CASE WHEN a ~ {1} THEN a::inet <<= {2}::inet ELSE FALSE END", text(_IPV4), text(str(network)))
        octets = str(network.network_address).split(".")[: network.prefixlen // 8]
        return narrowed(self.haystack, SEPARATOR + "".join(f"{octet}." for octet in octets[:3]), inside)

    def regex(self, pattern: str, *, context: SearchContext) -> Q:
        return self._some("a ~ {1}", text(pattern))

    def none(self, *, context: SearchContext) -> Q:
        result = EVERYTHING
        for column in self.columns:
            result &= condition("COALESCE(cardinality({0}), 0) = 0", column)
        return result

    def word(self, value: Value, *, context: SearchContext) -> Q | None:
        """Nothing but what could be an address looks among the addresses."""
        looks = _ADDRESS.fullmatch("".join(value.parts)) and any(char in ".:" for part in value.parts for char in part)
        return self.match(value, exact=False, context=context) if looks else None


def _is_address(written: str) -> bool:
    try:
        ipaddress.ip_address(written)
    except ValueError:
        return False
    return True
