"""Keys that lead to other rows: what a foreign key points at, what points here, and one key for several places.

Each is `column IN (subquery)`: the subquery is over the rows that the caller may see, and small.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from django.apps import apps
from django.db.models import Q
from django.db.models import Value as Literal

from core.search import values
from core.search.fields import Id, Text
from core.search.grammar import Value
from core.search.predicates import EVERYTHING, NOTHING, Field, SearchContext, any_q, condition, text


@dataclass(frozen=True)
class Ref(Field):
    """A foreign key, by what its row is called: `by` are columns of text there. Resolves among the visible rows alone.

    `closed`: `:` is equal (cloud), not contains. `me`: the word `me` is the caller (owner). `parent`: the column by which
    rows there are inside each other, and a row stands for all that is inside it (up to four levels: locations).
    """

    column: str  # as in the ORM: "cloud", or "target_id" where there is no foreign key
    model: str  # "clouds.Cloud"
    by: tuple[str, ...] = ("name",)
    closed: bool = False
    me: bool = False
    parent: str = ""
    title: ClassVar[str] = "reference"
    operators: ClassVar[tuple[str, ...]] = (":", "=", "!=", "~")

    def match(self, value: Value, *, exact: bool, context: SearchContext) -> Q:
        if self.me and value.means("me"):
            return NOTHING if context.user_id is None else condition("{0} = {1} AND {0} IS NOT NULL", self.column, Literal(context.user_id))
        if value.anything:
            return ~self.none(context=context)
        if exact:
            found = any_q(Text(column).match(value, exact=True, context=context) for column in self.by)
        else:
            pattern = text(values.like(value, contains=not self.closed))
            found = any_q(condition("{0} ILIKE {1} AND {0} IS NOT NULL", column, pattern) for column in self.by)
        by_id = Id("pk").word(value, context=context)
        if by_id is not None and (not exact or len(value.text.replace("-", "")) == 32):
            found |= by_id
        return self._within(found, context)

    def _within(self, found: Q, context: SearchContext) -> Q:
        rows = context.visible(apps.get_model(self.model))
        if self.parent:
            start, path = rows.filter(found).values("pk"), self.parent
            for _ in range(4):
                found |= Q(**{f"{path}__in": start})
                path += f"__{self.parent}"
        return Q(**{f"{self.column}__in": rows.filter(found).order_by().values("pk")}) & condition("{0} IS NOT NULL", self.column)

    def regex(self, pattern: str, *, context: SearchContext) -> Q:
        return self._within(any_q(Text(column).regex(pattern, context=context) for column in self.by), context)

    def none(self, *, context: SearchContext) -> Q:
        return condition("{0} IS NULL", self.column)

    def choices(self) -> tuple[str, ...]:
        return ("me", "none") if self.me else ()


@dataclass(frozen=True)
class Refs(Ref):
    """An array of ids, by what any of its rows is called."""

    def _within(self, found: Q, context: SearchContext) -> Q:
        rows = context.visible(apps.get_model(self.model)).filter(found).order_by().values("pk")
        return Q(**{f"{self.column}__overlap": rows}) & condition("{0} IS NOT NULL", self.column)

    def none(self, *, context: SearchContext) -> Q:
        return condition("COALESCE(cardinality({0}), 0) = 0", self.column)


@dataclass(frozen=True)
class Through(Field):
    """A key of the row that a foreign key points at: a machine's `provider` is its cloud's."""

    column: str
    model: str
    field: Field
    target: str = "pk"  # what of that row `column` holds

    def describe(self) -> str:
        return self.field.describe()

    def takes(self) -> tuple[str, ...]:
        return self.field.takes()

    def _within(self, found: Q, context: SearchContext) -> Q:
        rows = context.visible(apps.get_model(self.model)).filter(found, **{f"{self.target}__isnull": False}).order_by().values(self.target)
        return Q(**{f"{self.column}__in": rows}) & condition("{0} IS NOT NULL", self.column)

    def match(self, value: Value, *, exact: bool, context: SearchContext) -> Q:
        return self._within(self.field.match(value, exact=exact, context=context), context)

    def compare(self, op: str, value: Value, *, context: SearchContext) -> Q:
        return self._within(self.field.compare(op, value, context=context), context)

    def regex(self, pattern: str, *, context: SearchContext) -> Q:
        return self._within(self.field.regex(pattern, context=context), context)

    def none(self, *, context: SearchContext) -> Q:
        return ~self._within(~self.field.none(context=context), context)

    def word(self, value: Value, *, context: SearchContext) -> Q | None:
        found = self.field.word(value, context=context)
        return None if found is None else self._within(found, context)

    def choices(self) -> tuple[str, ...]:
        return self.field.choices()


@dataclass(frozen=True)
class Many(Through):
    """A key of rows that point here: `key_associations` of a machine. `column` is ours, `target` theirs that points at it.

    `none`: no such row. The rows between are those of `model` alone (an association, a membership), not asked whether they
    are visible: what they lead to is.
    """

    def _within(self, found: Q, context: SearchContext) -> Q:
        between = apps.get_model(self.model)._base_manager.filter(found, **{f"{self.target}__isnull": False}).values(self.target)
        return Q(**{f"{self.column}__in": between}) & condition("{0} IS NOT NULL", self.column)

    def none(self, *, context: SearchContext) -> Q:
        return ~self._within(EVERYTHING, context)


@dataclass(frozen=True)
class Either(Field):
    """One key that looks in several places. The first says which operators and values there are; in the others a value
    looks where it could be one of theirs."""

    fields: tuple[Field, ...]

    def describe(self) -> str:
        return self.fields[0].describe()

    def takes(self) -> tuple[str, ...]:
        return self.fields[0].takes()

    def choices(self) -> tuple[str, ...]:
        return tuple(choice for field in self.fields for choice in field.choices())

    def match(self, value: Value, *, exact: bool, context: SearchContext) -> Q:
        found = self.fields[0].match(value, exact=exact, context=context)
        for field in self.fields[1:]:
            more = field.word(value, context=context)
            if more is not None:
                found |= field.match(value, exact=True, context=context) if exact else more
        return found

    def compare(self, op: str, value: Value, *, context: SearchContext) -> Q:
        return any_q(field.compare(op, value, context=context) for field in self.fields if op in field.takes())

    def regex(self, pattern: str, *, context: SearchContext) -> Q:
        return any_q(field.regex(pattern, context=context) for field in self.fields if "~" in field.takes())

    def none(self, *, context: SearchContext) -> Q:
        return ~any_q(~field.none(context=context) for field in self.fields)

    def word(self, value: Value, *, context: SearchContext) -> Q | None:
        found = [q for q in (field.word(value, context=context) for field in self.fields) if q is not None]
        return any_q(found) if found else None
