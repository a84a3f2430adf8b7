"""Reading in recordings: what was shown, as lines of text, and when."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from machines.shell.recorder import lines_of

READ_MOST = 256 << 20  # bytes of a recording that are searched
LINE_MOST = 4000  # characters of one line
_NOT_TEXT = re.compile(r"\x1b\[[0-9;?<>=]*[ -/]*[@-~]|\x1b[\]P^_][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[()#%].|\x1b.|[\x00-\x08\x0b-\x1f\x7f]")


def text_lines(path: Path) -> Iterator[tuple[float, str]]:
    """(seconds from the beginning, line) of the output, without what moves and colours.  Raises: OSError."""
    held, at = "", 0.0
    for event in lines_of(path, most_bytes=READ_MOST):
        if not isinstance(event, list) or event[1] != "o":
            continue
        at = event[0]
        held += event[2]
        if "\n" not in held and len(held) <= LINE_MOST:
            continue
        *whole, held = held.split("\n")
        for line in whole:
            yield at, _NOT_TEXT.sub("", line)[:LINE_MOST]
        held = held[-LINE_MOST:]
    if held:
        yield at, _NOT_TEXT.sub("", held)


def hits(path: Path, text: str, most: int) -> list[tuple[float, str]]:
    """The lines that hold a text, whatever its case; at most so many."""
    wanted, found = text.casefold(), []
    for at, line in text_lines(path):
        if wanted in line.casefold():
            found.append((at, line))
            if len(found) >= most:
                break
    return found
