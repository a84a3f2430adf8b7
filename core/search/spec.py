"""Which keys a kind has, and how a search over them becomes one predicate."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial, reduce
from operator import and_

from django.db.models import Q

from core.errors import BadSearch
from core.search import grammar, regex
from core.search.grammar import All, And, Node, Not, Or, Term, Value, parse
from core.search.predicates import EVERYTHING, Field, SearchContext, any_q


@dataclass(frozen=True, kw_only=True)
class SearchSpec:
    """The keys of one kind. `bare`: the keys a bare word looks in. `aliases`: {other name: key}.

    A value that reads `none` finds what has none, for every key.
    """

    kind: str
    fields: Mapping[str, Field]
    aliases: Mapping[str, str] = field(default_factory=dict)
    bare: tuple[str, ...] = ("name", "id", "tag")

    def __post_init__(self) -> None:
        for key in (*self.aliases.values(), *self.bare):
            if key not in self.fields:
                raise ValueError(f"The search of {self.kind} has no key {key}.")

    @property
    def names(self) -> tuple[str, ...]:
        """Every key and alias, sorted."""
        return tuple(sorted({*self.fields, *self.aliases}))

    def find(self, key: str) -> Field | None:
        return self.fields.get(self.aliases.get(key, key))


def compile(text_or_node: str | Node, spec: SearchSpec, *, context: SearchContext) -> Q:
    """The predicate of a search: true or false for every row, so `~` of it is the exact complement.

    Asks the database nothing: references become subqueries. Run the query under a statement timeout where
    `uses_regex(node)` says so.  Raises: BadSearch, with the column of what is wrong.
    """
    node = parse(text_or_node) if isinstance(text_or_node, str) else text_or_node
    return _compile(node, spec, context)


def _compile(node: Node, spec: SearchSpec, context: SearchContext) -> Q:
    if isinstance(node, Term):
        return _term(node, spec, context)
    if isinstance(node, Not):
        return ~_compile(node.node, spec, context)
    if isinstance(node, And):
        found = [_compile(inner, spec, context) for inner in sorted(node.nodes, key=partial(_is_dear, spec=spec))]
        return reduce(and_, found)
    if isinstance(node, Or):
        return any_q(_compile(inner, spec, context) for inner in node.nodes)
    if isinstance(node, All):
        return EVERYTHING
    raise TypeError(f"{type(node).__name__} is no part of a search.")


def _is_dear(node: Node, spec: SearchSpec) -> bool:
    """PostgreSQL, to whom all comparisons cost the same, asks them in the order they are written."""
    place = spec.find(node.key) if isinstance(node, Term) and node.key else None
    return place is not None and place.dear


def _term(term: Term, spec: SearchSpec, context: SearchContext) -> Q:
    if not term.key:
        places = [spec.fields[key] for key in spec.bare]
        found = [place.word(value, context=context) for value in term.values for place in places]
        return any_q(q for q in found if q is not None)
    place = spec.find(term.key)
    if place is None:
        raise _unknown(term, spec)
    op, none = term.op, len(term.values) == 1 and term.values[0].means("none")
    if op not in place.takes():
        takes = " ".join(place.takes())
        raise BadSearch(f"{term.key} is a {place.describe()} and does not take {op}: it takes {takes}.", position=term.op_position)
    if op == "~":
        return place.regex(regex.check(term.values[0].text, term.values[0].position), context=context)
    if op in (">", ">=", "<", "<="):
        if len(term.values) > 1:
            raise BadSearch(f"{op} compares with one value.", position=term.values[1].position)
        if none:
            raise BadSearch(f"{op} cannot compare with none.", position=term.values[0].position)
        return place.compare(op, term.values[0], context=context)
    result = any_q(_value(value, place, op, context) for value in term.values)
    return ~result if op == "!=" else result


def _value(value: Value, place: Field, op: str, context: SearchContext) -> Q:
    if value.means("none"):
        return place.none(context=context)
    if value.anything:
        return ~place.none(context=context)
    return place.match(value, exact=op != ":", context=context)


def _unknown(term: Term, spec: SearchSpec) -> BadSearch:
    near = difflib.get_close_matches(term.key, spec.names, 1, 0.5)
    hint = f' Did you mean "{near[0]}"?' if near else ""
    detail = f'No field "{term.key[:40]}" on {spec.kind}.{hint} It has: {", ".join(spec.names)}.'
    return BadSearch(detail, position=term.position, nearest=near[0] if near else None, word=term.key, keys=list(spec.names))


# --- completions ----------------------------------------------------------------------------------------------------

MAX_COMPLETIONS = 30


@dataclass(frozen=True, slots=True)
class Counted:
    """A value, and how many rows have it; `at_least`: not all rows were looked at."""

    value: str
    count: int
    at_least: bool = False


Lookup = Callable[[str, str], Iterable[Counted]]  # (key, what is typed in lower case)


@dataclass(frozen=True, kw_only=True, slots=True)
class Completion:
    """Put `insert` in the place of text[start:end]. `detail`: what kind of key; `count`: how many rows, when known (see Counted)."""

    insert: str
    start: int
    end: int
    detail: str = ""
    count: int | None = None
    at_least: bool = False


def complete(text: str, cursor: int, spec: SearchSpec, context: SearchContext, lookup: Lookup | None = None) -> list[Completion]:
    """What may come at the cursor: keys, values of closed sets, and after two letters what `lookup` finds in the data.

    Never raises for what is typed.
    """
    cursor = max(0, min(cursor, len(text), grammar.MAX_LENGTH))
    before = grammar.tokens(text[:cursor])
    whole = grammar.tokens(text)
    last = before[-1] if before and before[-1].end == cursor else None
    if last is None or last.kind in ("not", "paren", "word", "and", "or", "key"):
        start = last.start if last and last.kind not in ("not", "paren") else cursor
        if last and (last.text == ")" or (last.kind == "word" and len(before) > 1 and before[-2].kind == "comma")):
            return []
        return _keys(text[start:cursor], start, _end(whole, start, cursor), spec)
    if last.kind not in ("op", "comma", "value"):
        return []
    key = next((token.text for token in reversed(before) if token.kind == "key"), "").lower().replace("-", "_")
    place = spec.find(key)
    if place is None or (last.kind == "comma" and not any(token.kind == "op" for token in before)):
        return []
    start = last.start if last.kind == "value" else cursor
    return _values(key, place, text[start:cursor], start, _end(whole, start, cursor), lookup)


def _end(whole: list[grammar.Token], start: int, cursor: int) -> int:
    """Where the word under the cursor ends."""
    return max([cursor, *(token.end for token in whole if token.start == start and token.kind in ("word", "key", "value"))])


def _keys(typed: str, start: int, end: int, spec: SearchSpec) -> list[Completion]:
    typed = typed.lower().replace("-", "_")
    ranked = sorted((not name.startswith(typed), name) for name in spec.names if typed in name)
    found = []
    for _, name in ranked[:MAX_COMPLETIONS]:
        place = spec.find(name)
        if place is not None:
            op = ":" if ":" in place.takes() else place.takes()[0]
            found.append(Completion(insert=name + op, start=start, end=end, detail=place.describe()))
    return found


def _values(key: str, place: Field, typed: str, start: int, end: int, lookup: Lookup | None) -> list[Completion]:
    typed = typed.strip('"').lower()
    counted: dict[str, Counted | None] = {choice: None for choice in place.choices() if choice.startswith(typed)}
    if lookup is not None and (len(typed) >= 2 or counted or getattr(place, "closed", False)):
        counted.update({one.value: one for one in lookup(key, typed)})
    found = []
    ranked = sorted(counted.items(), key=lambda item: item[1] is None)  # what there is first
    for value, one in ranked[:MAX_COMPLETIONS]:
        written = str(Term("k", ":", (Value((value,), literal=value not in place.choices()),)))[2:]  # quoted where it must be
        count, at_least = (one.count, one.at_least) if one else (None, False)
        found.append(Completion(insert=written, start=start, end=end, detail=place.describe(), count=count, at_least=at_least))
    return found
