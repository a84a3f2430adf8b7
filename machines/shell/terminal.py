"""What the output of a shell tells: which commands were given, and in which modes its terminal is.

A command is what stood on the line when Enter was typed, behind what stood there before the first key: read from the output, so that
a recalled or completed one is seen whole, and a password, which is not echoed, is not seen.
"""

from __future__ import annotations

import re

TAIL = 8192  # bytes of the line that is being written
LONGEST = 500  # characters of a command
STALE_S = 1.0  # what was entered so long before the next key has had its line
_MODES = re.compile(rb"\x1b\[\?([0-9;]{1,20})([hl])")
_STEP = re.compile(
    r"\x1b\[([0-9;?]*)([@-~])|\x1b[\]P^_].*?(?:\x07|\x1b\\|$)|\x1b[()#].|\x1b.|[\x00-\x1f\x7f]|[^\x00-\x1f\x7f\x1b]+", re.DOTALL
)
_PROMPT = re.compile(r"^.{0,120}?[#$%>❯»]\s+")
_SCREENS = (b"1049", b"1047", b"47")
# What a client needs to be told again that joins late: wrap, cursor keys, mouse, focus, paste, cursor shown.
_KEPT = (b"1", b"7", b"25", b"1000", b"1002", b"1003", b"1004", b"1006", b"2004", *_SCREENS)
_AT_FIRST = {b"7": True, b"25": True}


class Terminal:
    """Follows one shell. Cheap while output floods: only the last line is kept, and read when a key is typed."""

    def __init__(self, cols: int) -> None:
        self.cols = cols
        self._tail = bytearray()
        self._prompt: str | None = None  # what stood on the line before the first key
        self._entered = 0  # Enter was typed so often, and its line has not ended yet
        self._typed_at = 0.0
        self.modes: dict[bytes, bool] = {}

    @property
    def is_full_screen(self) -> bool:
        return any(self.modes.get(mode) for mode in _SCREENS)

    def typed(self, data: bytes, now: float) -> None:
        """Somebody typed. `now`: in seconds, of any clock."""
        if self.is_full_screen:
            return
        if self._prompt is None or (self._entered and now - self._typed_at > STALE_S):
            self._prompt, self._entered = render(bytes(self._tail), self.cols), 0
        self._typed_at = now
        self._entered = min(100, self._entered + data.count(b"\r") + data.count(b"\n"))

    def shown(self, data: bytes) -> list[str]:
        """Output came.  Returns: the commands it shows to have been given."""
        was_full = self.is_full_screen  # an editor's first bytes come with the end of the line that started it
        if b"\x1b[?" in data:
            for match in _MODES.finditer(data):
                for mode in match[1].split(b";"):
                    if mode in _KEPT:
                        self.modes[mode] = match[2] == b"h"
        found = []
        while self._entered and (end := data.find(b"\n")) >= 0:
            command = self._command(bytes(self._tail) + data[: min(end, TAIL)])
            if command is not None:
                self._entered -= 1
                if command and not was_full:
                    found.append(command)
            if not self._entered:
                self._prompt = None
            self._tail.clear()
            data = data[end + 1 :]
        end = data.rfind(b"\n")
        if end >= 0:
            self._tail[:] = data[end + 1 :][-TAIL:]
            if not self._entered:
                self._prompt = None  # what was typed before belongs to a line that is gone
        else:
            self._tail += data
            del self._tail[:-TAIL]
        return found

    def _command(self, line: bytes) -> str | None:
        """What was entered on this line; None: it is output. Typed ahead, it stands behind a prompt that was not there yet."""
        text, prompt = render(line, self.cols), self._prompt or ""
        if prompt and text.startswith(prompt):
            rest = text[len(prompt) :]
        elif match := _PROMPT.match(text):
            rest = text[match.end() :]
        else:
            return None
        return " ".join(rest.split())[:LONGEST]

    def restore(self) -> bytes:
        """The bytes that bring a fresh terminal into the modes of this one."""
        told = (mode for mode, on in self.modes.items() if on != _AT_FIRST.get(mode, False))
        return b"".join(b"\x1b[?" + mode + (b"h" if self.modes[mode] else b"l") for mode in told)


def render(line: bytes, cols: int) -> str:
    """What a line of output looks like in the end, after what moved and erased on it: shells draw their line again and again."""
    cells: list[str] = []
    at = 0
    for match in _STEP.finditer(line.decode("utf-8", "replace")):
        text = match[0]
        if match[2]:
            first = match[1].split(";")[0]
            n = int(first) if first.isdigit() else 0
            at = _control(cells, at, match[2], n, cols)
        elif text == "\b":
            at = max(0, at - 1)
        elif text == "\r":
            at -= at % cols
        elif text[0] >= " " and text[0] != "\x7f":
            cells += " " * (at - len(cells))
            cells[at : at + len(text)] = text
            at += len(text)
    return "".join(cells)


def _control(cells: list[str], at: int, what: str, n: int, cols: int) -> int:
    """One control sequence; where the cursor is then."""
    one = max(1, n)
    match what:
        case "K" | "J" if n == 0:
            del cells[at:]
        case "K" | "J" if n == 2:
            cells.clear()
        case "C":
            return at + min(one, 10 * cols)
        case "D":
            return max(0, at - one)
        case "A":
            return max(0, at - one * cols)
        case "B":
            return at + min(one, 50) * cols
        case "G":
            return at - at % cols + min(one, cols) - 1
        case "P":
            del cells[at : at + one]
        case "X":
            cells[at : at + one] = " " * min(one, max(0, len(cells) - at))
        case "@":
            cells[at:at] = " " * min(one, cols)
    return at
