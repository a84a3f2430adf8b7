"""What is read out of a shell's output."""

from __future__ import annotations

import pytest

from machines.shell.terminal import Terminal, render

PROMPT = b"\x1b[?2004h\x1b[32mroot@web\x1b[0m:~# "


def given(*steps: bytes | tuple[bytes, ...], cols: int = 80) -> list[str]:
    """Commands seen; a tuple is typed, bytes are shown, each two seconds after the one before."""
    terminal, found, now = Terminal(cols), [], 0.0
    for step in steps:
        now += 2
        if isinstance(step, tuple):
            for keys in step:
                terminal.typed(keys, now)
        else:
            found += terminal.shown(step)
    return found


@pytest.mark.parametrize(
    ("steps", "seen"),
    [
        ([PROMPT, (b"l",), b"l", (b"s\r",), b"s\r\n", b"file\r\n", PROMPT], ["ls"]),
        ([PROMPT, (b"ls\r",), b"ls\r\nfile\r\n", PROMPT], ["ls"]),
        (
            [PROMPT, (b"ls\r", b"who\r"), b"ls\r\ntotal 40\r\nx # y\r\n", PROMPT + b"who\r\nroot\r\n", PROMPT],
            ["ls", "y"],
        ),  # "x # y" looks like it
        ([PROMPT, (b"ls\r", b"who\r"), b"ls\r\ntotal 40\r\n", PROMPT + b"who\r\nroot\r\n", PROMPT], ["ls", "who"]),
        ([PROMPT, (b"\x1b[A",), b"echo old", (b"\r",), b"\r\nold\r\n"], ["echo old"]),  # recalled
        ([PROMPT, (b"ecx",), b"ecx", (b"\x7f",), b"\b\x1b[K", (b"ho\r",), b"ho\r\n"], ["echo"]),  # mended
        ([b"Password: ", (b"hunter2\r",), b"\r\n", PROMPT], []),  # no echo
        ([PROMPT, (b"\r",), b"\r\n", PROMPT], []),
        ([PROMPT, (b"vi x\r",), b"vi x\r\n\x1b[?1049h", (b":wq\r",), b"\x1b[2J:wq\r\n\x1b[?1049l", PROMPT], ["vi x"]),
        ([PROMPT, b"", b"noise\r\n", PROMPT], []),  # nobody typed
        ([(b"ls\r",), b"motd\r\n", PROMPT + b"ls\r\n"], ["ls"]),  # before the prompt came
    ],
)
def test_commands_are_read_from_the_output(steps: list[bytes | tuple[bytes, ...]], seen: list[str]) -> None:
    assert given(*steps) == seen


def test_a_line_is_what_it_looks_like_in_the_end() -> None:
    assert render(b"abc\b\bX", 80) == "aXc"
    assert render(b"abc\rxy", 80) == "xyc"
    assert render(b"abc\x1b[2DX\x1b[K", 80) == "aX"
    assert render("a\x1b[1mé\x1b[0m\x1b]0;title\x07ü".encode(), 80) == "aéü"
    assert render(b"\xff\xfe", 80) == "\ufffd\ufffd"


def test_a_late_client_is_told_the_modes() -> None:
    terminal = Terminal(80)
    terminal.shown(b"\x1b[?2004h\x1b[?1049;25l\x1b[?1000h\x1b[?7l\x1b[?7h")
    restored = terminal.restore()
    assert b"\x1b[?2004h" in restored
    assert b"\x1b[?25l" in restored
    assert b"\x1b[?1000h" in restored
    assert b"?7" not in restored


@pytest.mark.parametrize("junk", [b"\x1b", b"\x1b[", b"\x1b]0;", b"\x1b[999999999999999C", b"\x1b[99999999G\x1b[99999999@", b"\x00" * 9000])
def test_junk_costs_nothing(junk: bytes) -> None:
    assert len(render(junk * 20, 200)) < 500_000
    terminal = Terminal(1)
    terminal.shown(junk)
    terminal.typed(b"x\r", 1)
    terminal.shown(junk + b"\n")
