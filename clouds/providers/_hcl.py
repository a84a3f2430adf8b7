"""HCL, as Terraform's configuration is written: every text quoted here and nowhere else, and laid out as `terraform fmt` lays it out.

Source: https://github.com/hashicorp/hcl/blob/main/hclsyntax/spec.md,
https://developer.hashicorp.com/terraform/language/style
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

WIDTH = 56  # a value that would make a line longer is written over several
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_INTRODUCER, _TWICE = re.compile(r"([$%])(?=\{)"), r"\1\1"  # ${ and %{ are where something is evaluated
_NAME = re.compile(r"(?!(?:for|true|false|null)$)[A-Za-z_][A-Za-z0-9_]*")


class Expression(str):
    """Written as it is: a reference, a call. Never made of what somebody typed."""

    __slots__ = ()


@dataclass(frozen=True)
class Template:
    """A text with expressions in it."""

    parts: tuple[str, ...]  # an Expression among them is one

    def __add__(self, text: str) -> Template:
        return Template((*self.parts, text))


@dataclass(frozen=True)
class Call:
    """A function of one argument."""

    function: str
    argument: Mapping[str, Value]


Value = str | bool | int | Template | Call | Sequence["Value"] | Mapping[str, "Value"]


class Blocks:
    """Under a name in a body: a block of that name for each."""

    __slots__ = ("each",)

    def __init__(self, each: Iterable[Body]) -> None:
        self.each = tuple(each)


Body = Mapping[str, "Value | Blocks | None"]  # what is None is left out


@dataclass(frozen=True)
class Block:
    """A block at the top: `resource "aws_instance" "web" { … }`."""

    kind: str
    labels: tuple[str, ...]
    body: Body


def document(blocks: Iterable[Block]) -> str:
    return "\n".join("\n".join((*_block(" ".join((one.kind, *map(quoted, one.labels))), one.body, ""), "")) for one in blocks)


def comment(text: str) -> str:
    """One line of a comment, whatever is in the text."""
    return "# " + " ".join("".join(c if c.isprintable() else " " for c in text).split())


def quoted(text: str) -> str:
    """A text as a literal that is that text: nothing in it ends the literal, and nothing in it is evaluated."""
    written = "".join(map(_character, text))
    return f'"{_INTRODUCER.sub(_TWICE, written)}"'


def _character(c: str) -> str:
    if c in _ESCAPES:
        return _ESCAPES[c]
    if c.isprintable():
        return c
    return f"\\u{ord(c):04x}" if ord(c) < 0x10000 else f"\\U{ord(c):08x}"


def _block(head: str, body: Body, indent: str) -> Iterator[str]:
    lines = list(_body(body, indent + "  "))
    if not lines:
        yield f"{indent}{head} {{}}"
        return
    yield f"{indent}{head} {{"
    yield from lines
    yield f"{indent}}}"


def _body(body: Body, indent: str) -> Iterator[str]:
    said = {name: value for name, value in body.items() if value is not None and not isinstance(value, Blocks)}
    lines = list(_pairs(said, indent))
    yield from lines
    for name, value in body.items():
        for inner in value.each if isinstance(value, Blocks) else ():
            if lines:
                yield ""
            lines = list(_block(name, inner, indent))
            yield from lines


def _pairs(pairs: Mapping[str, Value], indent: str) -> Iterator[str]:
    """`name = value` each; those beside each other that fit in a line have their signs in one column."""
    row: list[tuple[str, str]] = []
    for name, value in pairs.items():
        key = name if _NAME.fullmatch(name) else quoted(name)
        text = _inline(value)
        if len(indent) + len(key) + 3 + len(text) <= WIDTH or not _can_break(value):
            row.append((key, text))
            continue
        yield from _aligned(row, indent)
        row = []
        first, *others = _broken(value, indent)
        yield f"{indent}{key} = {first}"
        yield from others
    yield from _aligned(row, indent)


def _aligned(row: Sequence[tuple[str, str]], indent: str) -> Iterator[str]:
    longest = max((len(key) for key, _text in row), default=0)
    for key, text in row:
        yield f"{indent}{key:<{longest}} = {text}"


def _can_break(value: Value) -> bool:
    return isinstance(value, Call) or (isinstance(value, Mapping | Sequence) and not isinstance(value, str) and bool(value))


def _broken(value: Value, indent: str) -> Iterator[str]:
    """The lines of a value that begins where its name stands."""
    inner = indent + "  "
    if isinstance(value, Call):
        first, *others = _broken(value.argument, indent)
        yield f"{value.function}({first}"
        yield from others[:-1]
        yield others[-1] + ")"
        return
    if isinstance(value, Mapping):
        yield "{"
        yield from _pairs(value, inner)
        yield indent + "}"
        return
    yield "["
    for one in value if isinstance(value, Sequence) else ():
        text = _inline(one)
        if len(inner) + len(text) + 1 <= WIDTH or not _can_break(one):
            yield f"{inner}{text},"
            continue
        first, *others = _broken(one, inner)
        yield inner + first
        yield from others[:-1]
        yield others[-1] + ","
    yield indent + "]"


def _inline(value: Value) -> str:
    if isinstance(value, Expression):
        return str(value)
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, Template):
        return f'"{_within(value)}"'
    if isinstance(value, Call):
        return f"{value.function}({_inline(value.argument)})"
    if isinstance(value, Mapping):
        pairs = (f"{name if _NAME.fullmatch(name) else quoted(name)} = {_inline(one)}" for name, one in value.items())
        return f"{{ {', '.join(pairs)} }}" if value else "{}"
    return f"[{', '.join(_inline(one) for one in value)}]"


def _within(template: Template) -> str:
    """What stands between the quotes. A text that ends in $ would make the sign of the expression after it a literal."""
    made = ""
    for is_expression, parts in groupby(template.parts, lambda part: isinstance(part, Expression)):
        if is_expression:
            made = re.sub(r"\$$", r"\\u0024", made) + "".join(f"${{{part}}}" for part in parts)
        else:
            made += quoted("".join(parts))[1:-1]
    return made
