"""A file on its way into a machine, whichever way: what it may be called, where it goes, and how it is written there.

It is written as `<name>.part-…` beside its name, and has the name when it is whole. A name is a name: it leads nowhere.
"""

from __future__ import annotations

import abc
import re
import secrets
import unicodedata
from dataclasses import dataclass
from typing import Any

from core.errors import Conflict, Invalid

NAME_BYTES = 255
PATH_BYTES = 4000
PART_BYTES = 230  # of the name in a part's: the rest is for what is added
BOTH_MOST = 100  # the last number of a copy that is looked for
EXISTS = ("ask", "replace", "both")
_NO_TEXT = frozenset({"Cc", "Cs", "Zl", "Zp"})  # control characters, half of a character, ends of lines
_TURNING = re.compile("[\u202a-\u202e\u2066-\u2069]")  # a name that reads as another
_ENDING = re.compile(r"(?s)(.+?)((?:\.tar)?\.[^.]{1,10})?")


@dataclass(frozen=True, kw_only=True)
class FileAsked:
    """A file that is to be written. `folder` "": the login's home; relative: below it. `exists`: what is done where the name is taken."""

    name: str
    folder: str
    size: int
    exists: str = "ask"


class NameTaken(Conflict):
    """There is one of that name. `kind`: file, folder, link, other; `modified`: a Unix time."""

    code = "name_taken"

    def __init__(self, folder: str, name: str, *, kind: str, size: int, modified: int) -> None:
        super().__init__(f"There is a {kind} {name} in {folder} already.", folder=folder, kind=kind, bytes=size, modified=modified)


class Writing(abc.ABC):
    """One file that is being written. `open`, then `write`, then `finish` or `drop`. Each raises MistError, with what to do."""

    folder: str  # as the machine calls it
    name: str  # as it will be called: with "both" a number may be added

    @abc.abstractmethod
    async def open(self) -> None:
        """Begin its part."""

    @abc.abstractmethod
    async def write(self, at: int, data: bytes) -> None:
        """Several may be on their way at once."""

    @abc.abstractmethod
    async def finish(self, size: int) -> None:
        """It has all its bytes: on the disk, and under its name."""

    @abc.abstractmethod
    async def drop(self) -> str:
        """Give up: its part is removed. Never raises.  Returns: the path of what could not be removed, or ""."""


def read(content: dict[str, Any], most_bytes: int) -> FileAsked:
    """What a client asks for.  Raises: Invalid."""
    name, folder, size = content.get("name"), content.get("folder", ""), content.get("size")
    exists = content.get("exists", "ask")
    if not isinstance(name, str) or not isinstance(folder, str) or type(size) is not int or exists not in EXISTS:
        raise Invalid("An upload has a `name`, a `folder`, a `size` in bytes, and in `exists` ask, replace or both.", code="bad_upload")
    if not name or name in (".", ".."):
        raise Invalid("A file has a name, and that is not . or ..", code="bad_name")
    if "/" in name or "\\" in name:
        raise Invalid(f"{plain(name)!r} is no name of a file: a name has no slash. The folder is asked for beside it.", code="bad_name")
    for text, what in ((name, "name"), (folder, "folder")):
        if any(unicodedata.category(char) in _NO_TEXT for char in text) or _TURNING.search(text):
            raise Invalid(f"The {what} {plain(text)!r} has a control character in it. Rename it, and send it again.", code=f"bad_{what}")
    if len(name.encode()) > NAME_BYTES:
        raise Invalid(f"The name {name[:40]}… is longer than {NAME_BYTES} bytes. Give the file a shorter one.", code="bad_name")
    if len(folder.encode()) > PATH_BYTES:
        raise Invalid(f"The folder {folder[:40]}… is longer than {PATH_BYTES} bytes.", code="bad_folder")
    if size < 0 or size > most_bytes:
        raise Invalid(f"{name} has {in_words(size)}: at most {in_words(most_bytes)} a file are sent so.", code="too_large")
    return FileAsked(name=name, folder=folder.strip(), size=size, exists=exists)


def plain(text: str) -> str:
    """For a message: what cannot be read is no part of it."""
    return "".join("\N{REPLACEMENT CHARACTER}" if unicodedata.category(c) in _NO_TEXT or _TURNING.match(c) else c for c in text)[:200]


def part_of(name: str) -> str:
    """What it is called while it is written: by a word of its own, so that two may be."""
    return f"{name.encode()[:PART_BYTES].decode(errors='ignore')}.part-{secrets.token_hex(4)}"


def copy_of(name: str, number: int) -> str:
    """report.csv → report (2).csv"""
    match = _ENDING.fullmatch(name)
    stem, ending = (match[1], match[2] or "") if match else (name, "")
    added = f" ({number}){ending}"
    return stem.encode()[: NAME_BYTES - len(added.encode())].decode(errors="ignore") + added


def in_words(size: int) -> str:
    """1536 → 1.5 KiB"""
    amount, unit = float(max(size, 0)), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):  # noqa: B007 - the last one is what it is said in
        if amount < 1024:
            break
        amount /= 1024
    return f"{amount:.1f}".removesuffix(".0") + f" {unit}"
