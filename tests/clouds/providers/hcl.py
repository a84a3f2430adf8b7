"""HCL as it is read, by a parser that is not ours: blocks by what they are, their values as Terraform would have them for one machine."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import hcl2

_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\"}


class Reference(str):
    """An expression: what it is comes from elsewhere."""


def read(text: str, index: int = 0) -> dict[tuple[str, ...], Any]:
    """{(kind, labels …): its body}, with `count.index` being `index`."""
    found: dict[tuple[str, ...], Any] = {}
    for kind, blocks in hcl2.loads(text).items():
        for block in blocks if kind != "__comments__" else ():
            for labels, body in _unnested(block):
                assert (kind, *labels) not in found
                found[(kind, *labels)] = _value(body, index)
    return found


def comments(text: str) -> list[str]:
    """Those at the top."""
    return [line.removeprefix("# ") for line in text.split("\n\n")[0].splitlines()]


def unquoted(text: str, index: int = 0) -> str:
    """The text that a quoted one is. Source: https://github.com/hashicorp/hcl/blob/main/hclsyntax/spec.md#template-expressions"""
    assert text[0] == text[-1] == '"'
    made, rest = "", text[1:-1]
    while rest:
        if rest[:3] in ("$${", "%%{"):
            made, rest = made + rest[1:3], rest[3:]
        elif rest[:2] in ("${", "%{"):
            inner = _inner(rest[2:])
            made, rest = made + _evaluated(inner, index), rest[len(inner) + 3 :]
        elif rest[0] == "\\" and rest[1] in "uU":
            digits = 4 if rest[1] == "u" else 8
            made, rest = made + chr(int(rest[2 : 2 + digits], 16)), rest[2 + digits :]
        elif rest[0] == "\\":
            made, rest = made + _ESCAPES[rest[1]], rest[2:]
        else:
            assert rest[0] not in '"\n\r', text
            made, rest = made + rest[0], rest[1:]
    return made


def _unnested(block: Mapping[str, Any]) -> list[tuple[tuple[str, ...], Mapping[str, Any]]]:
    if "__is_block__" in block:
        return [((), block)]
    return [((label.strip('"'), *labels), body) for label, inner in block.items() for labels, body in _unnested(inner)]


def _inner(text: str) -> str:
    """Up to the brace that closes what was opened before."""
    depth = 1
    for at, c in enumerate(text):
        depth += {"{": 1, "}": -1}.get(c, 0)
        if not depth:
            return text[:at]
    raise AssertionError(f"never closed: {text}")


def _evaluated(inner: str, index: int) -> str:
    if inner == "count.index + 1":
        return str(index + 1)
    if counted := re.fullmatch(r'format\("%0(\d)d", count\.index \+ 1\)', inner):
        return str(index + 1).zfill(int(counted[1]))
    return f"${{{inner}}}"


def _value(value: Any, index: int) -> Any:
    if isinstance(value, dict):
        pairs = {key: inner for key, inner in value.items() if key != "__is_block__"}
        return {unquoted(key, index) if key.startswith('"') else key: _value(inner, index) for key, inner in pairs.items()}
    if isinstance(value, list):
        return [_value(one, index) for one in value]
    if isinstance(value, str) and value.startswith('"'):
        return unquoted(value, index)
    if isinstance(value, str):
        assert value.startswith("${") and value.endswith("}")
        return Reference(value[2:-1].replace("[count.index]", f"[{index}]"))
    return value
