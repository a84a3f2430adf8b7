"""The search grammar: text → lexemes → a small frozen tree, and back to canonical text.

    search  = [ or ]
    or      = and { "OR" and }
    and     = not { ["AND"] not }
    not     = ( "NOT" | "-" ) not | "(" or ")" | term
    term    = key op value { "," value } | word { "," word }
    op      = ":" | "=" | "!=" | ">" | ">=" | "<" | "<=" | "~"

The words AND, OR, NOT are capital. Quotes hold anything; inside them `\\"` and `\\\\` are escapes, outside them a backslash
is itself. `*` outside quotes is a wildcard for `:` and for bare words, itself for every other operator. The value of `~`
is taken raw, up to a space or a `)` that it did not open.

Nothing here knows which keys a kind has: `core.search.spec` does. Columns are 0-based and count code points.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field

from core.errors import BadSearch

MAX_LENGTH = 2000  # characters
MAX_DEPTH = 20  # parentheses and negations inside each other
MAX_TERMS = 100
MAX_VALUES = 200  # in the whole search
MAX_WILDCARDS = 8  # in one value

SPECIAL_VALUES = frozenset({"none", "me"})  # mean something unless they are quoted
_KEY = re.compile(r"([^\W\d][\w.\-]*)(!=|>=|<=|[:=<>~])")
_KEYWORD = re.compile(r"(?:AND|OR|NOT)(?=[\s()]|$)")
_OPERATORS = "!:=<>~"
_UNSENDABLE = re.compile("[\x00\x1f\ud800-\udfff]")  # U+001F parts the pieces of a haystack


@dataclass(frozen=True, slots=True)
class Value:
    """One value: the literal pieces around its wildcards. `a*b` is ("a", "b"), `web` is ("web",).

    `literal`: it was quoted, so that "none" and "me" are those letters and nothing else; False for every other text.
    """

    parts: tuple[str, ...]
    literal: bool = False
    position: int = field(default=0, compare=False)

    def __post_init__(self) -> None:
        if self.literal and self.text.lower() not in SPECIAL_VALUES:
            object.__setattr__(self, "literal", False)

    @property
    def text(self) -> str:
        return "*".join(self.parts)

    @property
    def wild(self) -> bool:
        return len(self.parts) > 1

    @property
    def anything(self) -> bool:
        """Is it `*` alone?"""
        return self.parts == ("", "")

    def means(self, special: str) -> bool:
        """Is it the unquoted word `none` or `me`?"""
        return not self.literal and not self.wild and self.parts[0].lower() == special


def quote(text: str) -> str:
    """The text between quotes, as the grammar reads it back."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


class Node:
    """A search, or a part of one. `str(node)` is its canonical text: parsed again it is an equal node."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class All(Node):
    """The empty search: every row."""

    def __str__(self) -> str:
        return ""


@dataclass(frozen=True, slots=True)
class Term(Node):
    """`key op values`; a bare word has no key and the operator `:`. Several values mean any of them."""

    key: str
    op: str
    values: tuple[Value, ...]
    position: int = field(default=0, compare=False)  # of the key, or of the word
    op_position: int = field(default=0, compare=False)

    def __str__(self) -> str:
        head = self.key + self.op if self.key else ""
        return head + ",".join(self._written(head, value) for value in self.values)

    def _written(self, head: str, value: Value) -> str:
        """The value as it is, where that reads back; otherwise with quotes."""
        expected: list[tuple[str, Value | None]] = [("key", None), ("op", None), ("value", value)] if self.key else [("word", value)]
        expected.append(("paren", None))  # that it leaves to whoever opened it
        bare = not value.literal and [(lexeme.kind, lexeme.value) for lexeme in _scan(head + value.text + ")")] == expected
        return value.text if bare else "*".join(quote(part) if part or not value.wild else "" for part in value.parts)


@dataclass(frozen=True, slots=True)
class Not(Node):
    node: Node

    def __str__(self) -> str:
        return f"-({self.node})" if isinstance(self.node, And | Or) else f"-{self.node}"


@dataclass(frozen=True, slots=True)
class And(Node):
    nodes: tuple[Node, ...]

    def __str__(self) -> str:
        return " ".join(f"({node})" if isinstance(node, Or) else str(node) for node in self.nodes)


@dataclass(frozen=True, slots=True)
class Or(Node):
    nodes: tuple[Node, ...]

    def __str__(self) -> str:
        return " OR ".join(str(node) for node in self.nodes)


def all_of(nodes: Iterable[Node]) -> Node:
    """AND of the nodes, flat: `a (b c)` is `a b c`. None at all is `All()`."""
    flat = [inner for node in nodes for inner in (node.nodes if isinstance(node, And) else (node,)) if not isinstance(inner, All)]
    return And(tuple(flat)) if len(flat) > 1 else flat[0] if flat else All()


def any_of(nodes: Iterable[Node]) -> Node:
    """OR of one or more nodes, flat."""
    flat = [inner for node in nodes for inner in (node.nodes if isinstance(node, Or) else (node,))]
    return Or(tuple(flat)) if len(flat) > 1 else flat[0]


def terms(node: Node) -> Iterator[Term]:
    """Every term of a search, in order."""
    if isinstance(node, Term):
        yield node
    elif isinstance(node, Not):
        yield from terms(node.node)
    elif isinstance(node, And | Or):
        for inner in node.nodes:
            yield from terms(inner)


def uses_regex(node: Node) -> bool:
    """Does it match by regular expression? Then run its query under a short `statement_timeout`."""
    return any(term.op == "~" for term in terms(node))


# --- lexemes --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Token:
    """A stretch of the text, for the console's query bar: text[start:end].

    `kind`: key, op, value, word, comma, and, or, not, paren, error.
    """

    kind: str
    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class _Lexeme:
    kind: str
    text: str
    start: int
    end: int
    value: Value | None = None
    problem: str = ""


def tokens(text: str) -> list[Token]:
    """The text in coloured pieces; white space is in none of them. Never raises: what is wrong has the kind `error`."""
    found = [Token(lexeme.kind, lexeme.text, lexeme.start, lexeme.end) for lexeme in _scan(text[:MAX_LENGTH]) if lexeme.text]
    if len(text) > MAX_LENGTH:
        found.append(Token("error", text[MAX_LENGTH:], MAX_LENGTH, len(text)))
    return found


def _scan(text: str) -> Iterator[_Lexeme]:
    """Cut the text up. An error is a lexeme with a `problem`; the scan goes on behind it."""
    at, size = 0, len(text)
    while at < size:
        if text[at].isspace():
            at += 1
        elif text[at] in "()":
            yield _Lexeme("paren", text[at], at, at + 1)
            at += 1
        elif text[at] == "-" and at + 1 < size and not text[at + 1].isspace() and text[at + 1] != ")":
            yield _Lexeme("not", "-", at, at + 1)
            at += 1
        elif (key := _KEY.match(text, at)) and not _is_address(text, at):
            yield _Lexeme("key", key[1], at, key.end(1))
            yield _Lexeme("op", key[2], key.start(2), key.end(2))
            at = yield from _scan_values(text, key.end(), key[2], f"{key[1]}{key[2]}")
        elif text[at] in _OPERATORS:
            end = at + 1
            while end < size and text[end] in _OPERATORS:
                end += 1
            problem = f"{text[at:end]} has no key before it. Write key{text[at:end]}value without spaces, or put the text into quotes."
            yield _Lexeme("error", text[at:end], at, end, problem=problem)
            at = end
        else:
            if word := _KEYWORD.match(text, at):
                yield _Lexeme(word[0].lower(), word[0], at, word.end())
                at = word.end()
            else:
                at = yield from _scan_values(text, at, "", "the comma")


def _is_address(text: str, at: int) -> bool:
    """Is the word here an IPv6 address such as fe80::1, which looks like a key and a value?"""
    end = at
    while end < len(text) and end - at < 46 and (text[end] in ":." or text[end] in "0123456789abcdefABCDEF"):
        end += 1
    if text.count(":", at, end) < 2 or (end < len(text) and not text[end].isspace() and text[end] not in "),"):
        return False
    try:
        ipaddress.IPv6Address(text[at:end])
    except ValueError:
        return False
    return True


def _scan_values(text: str, at: int, op: str, name: str) -> Generator[_Lexeme, None, int]:
    """The values behind an operator ("" for a bare word), and the commas between them; returns where it stopped."""
    if op == "~":
        return (yield from _scan_regex(text, at, name))
    while True:
        start, parts, current, quoted = at, list[str](), "", False
        while at < len(text) and not text[at].isspace() and text[at] not in ",()":
            if text[at] == '"':
                piece, end = _unquote(text, at)
                if piece is None:
                    if at > start:
                        yield _Lexeme("value" if op else "word", text[start:at], start, at)
                    yield _Lexeme("error", text[at:], at, len(text), problem="This quote is not closed.")
                    return len(text)
                current, quoted, at = current + piece, True, end
            elif text[at] == "*" and op in ("", ":"):
                if current or not parts:  # ** is *
                    parts.append(current)
                    current = ""
                at += 1
            else:
                current += text[at]
                at += 1
        if at == start:
            problem = f"A value is missing after {name}."
            if op in (":", "="):
                problem += f' {name}none finds what has none, {name}"" an empty text.'
            at += text.startswith(",", at)
            yield _Lexeme("error", text[start:at], start, at, problem=problem)
            return at
        value = Value((*parts, current), literal=quoted, position=start)
        yield _Lexeme("value" if op else "word", text[start:at], start, at, value=value)
        if at < len(text) and text[at] == "(":
            yield _Lexeme("error", "(", at, at + 1, problem="A parenthesis inside a word: put the word into quotes, or a space before it.")
            return at + 1
        if at >= len(text) or text[at] != ",":
            return at
        yield _Lexeme("comma", ",", at, at + 1)
        at, name = at + 1, "the comma"


def _scan_regex(text: str, at: int, name: str) -> Generator[_Lexeme, None, int]:
    start = at
    if text[at : at + 1] == '"':
        pattern, at = _unquote(text, at)
        if pattern is None:
            yield _Lexeme("error", text[start:], start, len(text), problem="This quote is not closed.")
            return len(text)
        if at < len(text) and not text[at].isspace() and text[at] != ")":
            yield _Lexeme("error", text[at], at, at + 1, problem="Put the whole regular expression into the quotes.")
            return at + 1
    else:
        opened, bracket = 0, False
        while at < len(text) and not text[at].isspace():
            if text[at] == "\\" and at + 1 < len(text) and not text[at + 1].isspace():
                at += 1
            elif bracket:
                bracket = text[at] != "]"
            elif text[at] == "[":
                bracket = True
            elif text[at] == "(":
                opened += 1
            elif text[at] == ")":
                if not opened:
                    break
                opened -= 1
            at += 1
        pattern = text[start:at]
    if not pattern:
        yield _Lexeme("error", text[start:at], start, at, problem=f"A regular expression is missing after {name}.")
        return at
    yield _Lexeme("value", text[start:at], start, at, value=Value((pattern,), position=start))
    return at


def _unquote(text: str, at: int) -> tuple[str | None, int]:
    """The text of the quotes that open at `at`, and the column behind them; None when they are not closed."""
    pieces, at = list[str](), at + 1
    while at < len(text):
        if text[at] == '"':
            return "".join(pieces), at + 1
        if text[at] == "\\" and text[at + 1 : at + 2] in ('"', "\\"):
            at += 1
        pieces.append(text[at])
        at += 1
    return None, at


# --- parser ---------------------------------------------------------------------------------------------------------


def parse(text: str) -> Node:
    """Read a search. White space alone is `All()`.

    Raises: BadSearch, with the column of what is wrong; too long, too deep, too many terms included.
    """
    if len(text) > MAX_LENGTH:
        raise BadSearch(f"A search has at most {MAX_LENGTH:,} characters; this one has {len(text):,}.", position=MAX_LENGTH)
    if bad := _UNSENDABLE.search(text):
        raise BadSearch("This character cannot be searched for.", position=bad.start())
    lexemes = list(_scan(text))
    for lexeme in lexemes:
        if lexeme.kind == "error":
            raise BadSearch(lexeme.problem, position=lexeme.start)
        if lexeme.value is not None and len(lexeme.value.parts) > MAX_WILDCARDS + 1:
            raise BadSearch(f"A value has at most {MAX_WILDCARDS} wildcards.", position=lexeme.start)
    if sum(lexeme.value is not None for lexeme in lexemes) > MAX_VALUES:
        raise BadSearch(f"A search has at most {MAX_VALUES} values.", position=lexemes[-1].start)
    return _Parser(lexemes, len(text)).parse()


class _Parser:
    def __init__(self, lexemes: list[_Lexeme], size: int) -> None:
        self.lexemes, self.size, self.at, self.terms = lexemes, size, 0, 0

    def parse(self) -> Node:
        if not self.lexemes:
            return All()
        node = self._or(0)
        if self._next() == ")":
            raise BadSearch("This parenthesis closes nothing.", position=self._position())
        return node

    def _next(self) -> str:
        """What comes: ( ) and or not key word, or "" at the end."""
        if self.at == len(self.lexemes):
            return ""
        lexeme = self.lexemes[self.at]
        return lexeme.text if lexeme.kind == "paren" else lexeme.kind

    def _position(self) -> int:
        return self.lexemes[self.at].start if self.at < len(self.lexemes) else self.size

    def _take(self) -> _Lexeme:
        self.at += 1
        return self.lexemes[self.at - 1]

    def _or(self, depth: int) -> Node:
        nodes = [self._and(depth)]
        while self._next() == "or":
            self.at += 1
            nodes.append(self._and(depth))
        return any_of(nodes)

    def _and(self, depth: int) -> Node:
        nodes = [self._not(depth)]
        while self._next() not in ("", ")", "or"):
            if self._next() == "and":
                self.at += 1
            nodes.append(self._not(depth))
        return all_of(nodes)

    def _not(self, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise BadSearch(f"Parentheses and negations go at most {MAX_DEPTH} deep.", position=self._position())
        coming = self._next()
        if coming == "not":
            self.at += 1
            return Not(self._not(depth + 1))
        if coming == "(":
            opening = self._take()
            node = self._or(depth + 1)
            if self._next() != ")":
                raise BadSearch("This parenthesis is not closed.", position=opening.start)
            self.at += 1
            return node
        if coming in ("key", "word"):
            return self._term()
        if not self.at:
            raise BadSearch(f"Nothing stands before {self._take().text}.", position=self.lexemes[0].start)
        before = self.lexemes[self.at - 1]
        raise BadSearch(f"Something is missing after {before.text}.", position=self._position())

    def _term(self) -> Term:
        self.terms += 1
        if self.terms > MAX_TERMS:
            raise BadSearch(f"A search has at most {MAX_TERMS} terms.", position=self._position())
        start, key, op, op_position = self._position(), "", ":", self._position()
        if self._next() == "key":
            key = self._take().text.lower().replace("-", "_")
            operator = self._take()
            op, op_position = operator.text, operator.start
        values = [self._take().value]
        while self._next() == "comma":
            self.at += 1
            values.append(self._take().value)
        return Term(key, op, tuple(value for value in values if value is not None), position=start, op_position=op_position)
