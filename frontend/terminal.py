"""Output of hosts as markup: escaped, with the colours its escape sequences ask for, a time before each line."""

from __future__ import annotations

import re
from collections.abc import Iterable

from django.utils.html import escape, format_html
from django.utils.safestring import SafeString, mark_safe

from scripts.output import STDERR, Segment

_ESCAPE = re.compile(r"\x1b(?:\[([0-9;]*)m|\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-_])")
_UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\x9b]")
_COLOURS = {
    30: "d",
    31: "r",
    32: "g",
    33: "y",
    34: "u",
    35: "m",
    36: "c",
    37: "",
    90: "d",
    91: "r",
    92: "g",
    93: "y",
    94: "u",
    95: "m",
    96: "c",
    97: "b",
}


def clock(ms: int) -> str:
    """Since the beginning: 0:07.3, 1:02:03.0."""
    tenths = ms // 100
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    return (f"{hours}:{minutes:02}" if hours else f"{minutes}") + f":{rest // 10:02}.{rest % 10}"


def lines(segments: Iterable[Segment]) -> SafeString:
    """A span a line (or part of one): `e` of standard error, colours within."""
    parts: list[str] = []
    for segment in segments:
        at, css = clock(segment.ms), ' class="e"' if segment.stream == STDERR else ""
        for line in segment.text.replace("\r\n", "\n").splitlines(keepends=True):
            parts.append(f'<span{css} data-t="{at}">{_coloured(line)}</span>')
    return mark_safe("".join(parts))  # noqa: S308 - each piece is escaped in _coloured


def plain(text: str) -> str:
    """A line as text alone."""
    return _UNSEEN.sub("", _ESCAPE.sub("", text))


def _coloured(text: str) -> str:
    if "\x1b" not in text:
        return escape(_UNSEEN.sub("", text))
    out, at, colour = [], 0, ""
    for found in _ESCAPE.finditer(text):
        out.append(_piece(text[at : found.start()], colour))
        at = found.end()
        if found.group(1) is not None:
            for code in (int(part or 0) for part in found.group(1).split(";")[:8] if len(part) < 4):
                colour = _after(colour, code)
    out.append(_piece(text[at:], colour))
    return "".join(out)


def _after(colour: str, code: int) -> str:
    """A colour holds until another, or until all is taken back; bold and dim are for what has none."""
    if code == 0:
        return ""
    return _COLOURS[code] if code in _COLOURS else colour or {1: "b", 2: "d"}.get(code, "")


def _piece(text: str, colour: str) -> str:
    text = escape(_UNSEEN.sub("", text))
    return format_html('<i class="{}">{}</i>', colour, text) if colour and text else text
