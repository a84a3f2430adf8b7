"""Which regular expressions a search may hold: a part of PostgreSQL's own syntax that is cheap to run.

PostgreSQL would raise in the middle of a query for a pattern it cannot compile, and takes long over some that it can.
So a pattern is read here first, by a whitelist: whatever passes compiles there (a property test says so).
Left out: back references, look-around, a repeated group that repeats something inside, large bounds.

Source: https://www.postgresql.org/docs/current/functions-matching.html#POSIX-SYNTAX-DETAILS
"""

from __future__ import annotations

import re

from core.errors import BadSearch

MAX_PATTERN = 200  # characters
MAX_REPEAT = 100  # in one bound
MAX_REPEATS = 300  # all bounds together
_BOUND = re.compile(r"\{(\d{1,5})(?:(,)(\d{0,5}))?\}")
_CLASSES = frozenset({"alnum", "alpha", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper", "xdigit"})
_SHORTHAND = "dswDSW"
_CHARACTERS = "tnrfv"
_CONSTRAINTS = "mMyYAZ"
_PUNCTUATION = frozenset("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~ ")


def check(pattern: str, position: int) -> str:
    """The pattern, unchanged, when it may run.  Raises: BadSearch at `position`, which says what is not allowed."""
    if len(pattern) > MAX_PATTERN:
        raise BadSearch(f"A regular expression has at most {MAX_PATTERN} characters.", position=position)
    _Reader(pattern, position).read()
    return pattern


class _Reader:
    def __init__(self, pattern: str, position: int) -> None:
        self.pattern, self.position, self.at, self.repeats = pattern, position, 0, 0

    def read(self) -> None:
        if self.pattern.startswith("(?i)"):
            self.at = 4
        groups: list[bool] = []  # for each open group: does it repeat something?
        atom, repeats = False, False  # may a quantifier follow; does what it would repeat hold a repetition
        while self.at < len(self.pattern):
            char = self.pattern[self.at]
            if char == "(":
                self._open()
                groups.append(False)
                atom = False
                if len(groups) > 10:
                    raise self._bad("has groups more than 10 deep")
            elif char == ")":
                if not groups:
                    raise self._bad("has a ) that closes nothing; write \\) for the character")
                repeats, atom = groups.pop(), True
                if groups:
                    groups[-1] = groups[-1] or repeats
                self.at += 1
            elif char in "*+?{":
                if not atom:
                    raise self._bad(f"has a {char} with nothing to repeat; write \\{char} for the character")
                if self._quantifier() and repeats:
                    raise self._bad("repeats a group that already repeats something")
                if groups:
                    groups[-1] = True
                atom = False
            elif char in "^$|":
                atom = False
                self.at += 1
            elif char == "[":
                self._bracket()
                atom, repeats = True, False
            elif char == "\\":
                atom, repeats = self._escape(), False
            elif char in "]}":
                raise self._bad(f"has a single {char}; write \\{char} for the character")
            else:
                self.at += 1
                atom, repeats = True, False
        if groups:
            raise self._bad("has a ( that is not closed; write \\( for the character")

    def _bad(self, what: str) -> BadSearch:
        return BadSearch(f"The regular expression {what}.", position=self.position)

    def _open(self) -> None:
        if self.pattern.startswith("(?:", self.at):
            self.at += 3
        elif self.pattern.startswith("(?", self.at):
            raise self._bad("looks ahead or behind, or has options; only (?:…) and a leading (?i) are allowed")
        else:
            self.at += 1

    def _quantifier(self) -> bool:
        """Step over one; does it repeat more than once?"""
        many = True
        if self.pattern[self.at] == "{":
            bound = _BOUND.match(self.pattern, self.at)
            if bound is None:
                raise self._bad("has a { that is no bound such as {2,5}; write \\{ for the character")
            low, high = int(bound[1]), int(bound[3] or bound[1])
            if max(low, high) > MAX_REPEAT or high < low:
                raise self._bad(f"has a bound that does not fit: at most {MAX_REPEAT}, the smaller number first")
            self.repeats += high
            if self.repeats > MAX_REPEATS:
                raise self._bad(f"repeats more than {MAX_REPEATS} times in all")
            self.at = bound.end()
        else:
            many = self.pattern[self.at] != "?"
            self.at += 1
        if self.pattern.startswith("?", self.at):  # the shortest match
            self.at += 1
        return many

    def _escape(self) -> bool:
        """Step over an escape outside brackets; is it something to repeat?"""
        char = self.pattern[self.at + 1 : self.at + 2]
        self.at += 2
        if char and (char in _SHORTHAND or char in _CHARACTERS or char in _PUNCTUATION):
            return True
        if char and char in _CONSTRAINTS:
            return False
        if char in ("b", "B"):
            raise self._bad(f"has \\{char}: the edge of a word is \\y here")
        if char.isdigit():
            raise self._bad("refers back to a group")
        raise self._bad(f"has an escape that is not known, \\{char}")

    def _bracket(self) -> None:
        self.at += 1
        if self.pattern.startswith("^", self.at):
            self.at += 1
        first, low = True, ""  # low: the character a range may start at
        while True:
            char = self.pattern[self.at : self.at + 1]
            if not char:
                raise self._bad("has a [ that is not closed; write \\[ for the character")
            if char == "]" and not first:
                self.at += 1
                return
            if char == "]":
                raise self._bad("has nothing between [ and ]; write \\] for the character")
            leading, first = first, False
            if char == "[":
                name = re.compile(r"\[:(\w+):\]").match(self.pattern, self.at)
                if name is None or name[1] not in _CLASSES:
                    raise self._bad("has a [ inside brackets that is no class such as [:alpha:]; write \\[ for the character")
                self.at, low = name.end(), ""
            elif char == "-":
                if leading or self.pattern.startswith("-]", self.at):
                    self.at, low = self.at + 1, ""  # at either end it is itself
                elif not low:
                    raise self._bad("has a - inside brackets that is no range; write it first or last")
                else:
                    self.at += 1
                    high = self._bracket_character()
                    if not high or high < low or ord(high) - ord(low) > 1000:
                        raise self._bad("has a range inside brackets that does not fit")
                    low = ""
            else:
                low = self._bracket_character()

    def _bracket_character(self) -> str:
        """Step over one character inside brackets; "" when it is a whole class."""
        char = self.pattern[self.at : self.at + 1]
        if char != "\\":
            if char in ("", "[", "]"):
                raise self._bad("has a range inside brackets that does not fit")
            self.at += 1
            return char
        char = self.pattern[self.at + 1 : self.at + 2]
        self.at += 2
        if char and char in "dsw":
            return ""
        if char and char in _PUNCTUATION:
            return char
        if char and char in _CHARACTERS:
            return {"t": "\t", "n": "\n", "r": "\r", "f": "\f", "v": "\v"}[char]
        raise self._bad(f"has an escape inside brackets that is not known, \\{char}")
