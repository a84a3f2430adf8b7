"""What a key of a search is, and the two-valued predicates it is compiled to.

Every predicate here is true or false, never NULL, also where a column is NULL. So `~q` is the exact complement of `q`,
alone and inside any other filter; `-cloud:aws` finds the rows that have no cloud. What keeps it so is `IS NOT NULL`
beside a comparison, which PostgreSQL drops for columns that cannot be null, and which spoils no index.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from django.db.models import BooleanField, Expression, F, Model, Q, QuerySet, TextField
from django.db.models import Value as Literal

from core.search.grammar import Value
from core.search.values import escape


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchContext:
    """Who searches, and when. `visible(model)`: the rows of a model that this one may see; references resolve in it alone."""

    now: datetime
    org_id: UUID | None
    user_id: UUID | None
    visible: Callable[[type[Model]], QuerySet[Any]]


Column = str | Expression  # a column of the row, or what is made of some


class Condition(Expression):
    """A boolean written in SQL: `{0}`, `{1}` … stand for the expressions, `%%` for a percent sign."""

    output_field = BooleanField()
    conditional = True
    _SLOT = re.compile(r"\{(\d+)\}")

    def __init__(self, template: str, *expressions: Any) -> None:
        super().__init__(output_field=BooleanField())
        self.template = template
        self.expressions = [F(e) if isinstance(e, str) else e for e in expressions]

    def get_source_expressions(self) -> list[Any]:
        return self.expressions

    def set_source_expressions(self, exprs: Any) -> None:
        self.expressions = list(exprs)

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, list[Any]]:  # type: ignore[override]
        compiled = [compiler.compile(expression) for expression in self.expressions]
        sql, params = [], []
        for index, piece in enumerate(self._SLOT.split(self.template)):
            if index % 2:
                piece, more = compiled[int(piece)]
                params.extend(more)
            sql.append(piece)
        return f"({''.join(sql)})", params


def condition(template: str, *expressions: Any) -> Q:
    """A `Condition` as a Q. A str among the expressions is a column; texts to compare with are `text(...)`."""
    return Q(Condition(template, *expressions))


def text(value: str) -> Literal:
    """A text for PostgreSQL."""
    return Literal(value, output_field=TextField())


NOTHING = condition("FALSE")
EVERYTHING = condition("TRUE")


def any_q(predicates: Iterable[Q]) -> Q:
    """OR; of none at all: nothing."""
    result: Q | None = None
    for predicate in predicates:
        result = predicate if result is None else result | predicate
    return NOTHING if result is None else result


SEPARATOR = "\x1f"  # before and after each piece of a haystack


def narrowed(haystack: str, piece: str, q: Q) -> Q:
    """`q`, which holds only where the haystack has `piece` somewhere: said too, because the haystack has an index.

    "" for no haystack: `q` alone.
    """
    if not haystack or len(piece) < 3:  # trigrams
        return q
    return condition("{0} LIKE lower({1}) AND {0} IS NOT NULL", haystack, text(f"%{escape(piece)}%")) & q


@dataclass(frozen=True)
class Field:
    """One key of a kind: `match` (`:`, `=`; `!=` is the complement of `=`), `compare` (`>` …), `regex` (`~`), `none`, `word` (a bare
    word). Each gets one value. What is not among `operators` is never called.
    """

    title: ClassVar[str] = "value"
    operators: ClassVar[tuple[str, ...]] = (":", "=", "!=")
    dear: ClassVar[bool] = False  # costs several times what comparing a text does: of an AND it is asked last

    def describe(self) -> str:
        """What kind of value it takes, in a word or two."""
        return self.title

    def takes(self) -> tuple[str, ...]:
        """The operators it has."""
        return self.operators

    def match(self, value: Value, *, exact: bool, context: SearchContext) -> Q:
        raise NotImplementedError

    def compare(self, op: str, value: Value, *, context: SearchContext) -> Q:
        raise NotImplementedError

    def regex(self, pattern: str, *, context: SearchContext) -> Q:
        raise NotImplementedError

    def none(self, *, context: SearchContext) -> Q:
        raise NotImplementedError

    def word(self, value: Value, *, context: SearchContext) -> Q | None:
        """Where a bare word may look; None: it cannot be here."""
        return self.match(value, exact=False, context=context)

    def choices(self) -> tuple[str, ...]:
        """The values of a closed set, for completions."""
        return ()
