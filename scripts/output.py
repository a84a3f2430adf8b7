"""Output of hosts: taken as it comes, secrets masked, digested, cut into chunks; and read again from any place.

Written once and appended to. A host's output is numbered by bytes from 0; a chunk knows its first, so that the end of any
size is one look in an index. Beyond the cap bytes are counted and not kept, but for the last ones, which come at the end.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import time
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any
from urllib.parse import quote, quote_plus
from uuid import UUID

from scripts.models import Chunk, RunHost

STDOUT, STDERR = 1, 2
CHUNK = 64 << 10
KEPT_MIB = 16  # of one host, by default
TAIL = 64 << 10  # the last bytes of what was not kept
ALIKE_MOST = 1 << 20  # bytes looked at for likeness
MASK = b"********"
SHORTEST_SECRET = 3  # what is shorter would mask everything
SHORTEST_ENCODED = 6  # likewise of its base64, its hex, itself in capitals
_PERCENT = re.compile("%[0-9A-F]{2}")
_BREAKS = b"\r\n"
_URL_SAFE = bytes.maketrans(b"+/", b"-_")


class Masker:
    """Puts MASK in place of secrets in a stream, also where one is cut by the pieces it comes in, or its base64 by ends of lines."""

    def __init__(self, secrets: Sequence[str]) -> None:
        words = set()
        for secret in secrets:
            words.update(_guises(secret))
            words.update(line.strip().encode() for line in secret.splitlines() if len(line.strip()) >= 8)  # a key, line by line
        self._words, self._pattern = _pattern(words)
        self._encoded, self._encoded_pattern = _pattern({word for secret in secrets for word in _encoded(secret.encode())})
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """What can be told by now."""
        if self._pattern is None:
            return data
        data = self._held + data
        done, self._held = self._told(data, self._from_where(data))
        return done

    def end(self) -> bytes:
        """What was held back."""
        held, self._held = self._held, b""
        return self._told(held, len(held))[0]

    def _told(self, data: bytes, keep: int) -> tuple[bytes, bytes]:
        """What can be told, masked, of that before `keep`, and the rest."""
        done: list[bytes] = []
        at = 0
        for start, end in self._secrets(data):
            if start >= keep:
                break  # a longer secret may begin here
            if start >= at:
                done += (data[at:start], MASK)
            at = max(at, end)
        cut = max(at, keep)
        done.append(data[at:cut])
        return b"".join(done), data[cut:]

    def _secrets(self, data: bytes) -> list[tuple[int, int]]:
        """From where to where each is, in their order."""
        spans = [found.span() for found in self._pattern.finditer(data)] if self._pattern else []
        joined = data.translate(None, _BREAKS) if self._encoded_pattern else b""
        if self._encoded_pattern and (hits := [found.span() for found in self._encoded_pattern.finditer(joined)]):
            places = [place for place, byte in enumerate(data) if byte not in _BREAKS]
            spans = sorted(spans + [(places[start], places[end - 1] + 1) for start, end in hits])
        return spans

    def _from_where(self, data: bytes) -> int:
        """The first place from which the rest of `data` may be the beginning of a secret."""
        first = _beginning(data, self._words)
        if self._encoded:
            tail = data[-3 * len(self._encoded[0]) :]  # in the worst case, each of its letters on a line
            joined = tail.translate(None, _BREAKS)
            if (at := _beginning(joined, self._encoded)) < len(joined):
                places = (place for place, byte in enumerate(tail) if byte not in _BREAKS)
                first = min(first, len(data) - len(tail) + next(islice(places, at, None)))
        return first


def _pattern(words: set[bytes]) -> tuple[list[bytes], re.Pattern[bytes] | None]:
    """The words, longest first, and what finds any of them."""
    found = sorted((word for word in words if len(word) >= SHORTEST_SECRET), key=len, reverse=True)
    return found, re.compile(b"|".join(map(re.escape, found))) if found else None


def _beginning(data: bytes, words: Sequence[bytes]) -> int:
    """The first place from which the rest of `data` is the beginning of a word, or its length."""
    first = len(data)
    for word in words:
        at = max(0, len(data) - len(word) + 1)
        while 0 <= (at := data.find(word[:1], at)) < first:
            if word.startswith(data[at:]):
                first = at
                break
            at += 1
    return first


def _guises(secret: str) -> Iterator[bytes]:
    """A secret as programs write it, but for base64: as it is, in JSON, in an address, in a shell's quotes, in XML; in capitals; in hex."""
    data = secret.encode()
    yield data
    yield json.dumps(secret)[1:-1].encode()
    yield json.dumps(secret, ensure_ascii=False)[1:-1].encode()
    for address in (quote(secret, safe=""), quote(secret), quote_plus(secret)):
        yield address.encode()
        yield _PERCENT.sub(lambda found: found[0].lower(), address).encode()
    for quoted in ("'\\''", "'\"'\"'", "\\'"):  # sh -x and bash -x, shlex, Python
        yield secret.replace("'", quoted).encode()
    yield html.escape(secret).encode()
    yield html.escape(secret, quote=False).encode()
    if len(data) >= SHORTEST_ENCODED:
        yield from (secret.upper().encode(), secret.lower().encode(), data.hex().encode(), data.hex().upper().encode())


def _encoded(data: bytes) -> Iterator[bytes]:
    """Base64 of a secret on its own and within something longer, without what others have a part in."""
    if len(data) < SHORTEST_ENCODED:
        return
    for before in range(3):  # bytes of something else in the first group of three
        encoded = base64.b64encode(b"\0" * before + data)
        whole = encoded[(0, 2, 3)[before] : len(encoded) - (0, 3, 2)[(before + len(data)) % 3]]  # what others have no part in
        yield whole
        yield whole.translate(_URL_SAFE)


def masked(text: str, secrets: Sequence[str]) -> str:
    """The same for words of ours that may quote a host."""
    masker = Masker(secrets)
    data = text.encode(errors="replace")
    return (masker.feed(data) + masker.end()).decode(errors="replace")


_ALIKE = re.compile(
    rb"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d)?\S*"  # a time
    rb"|\b(?:[0-9a-fA-F]{2}[:-]){2,}[0-9a-fA-F]{2}\b"  # a serial, a hardware address
    rb"|\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b"
    rb"|\b[0-9a-fA-F]*\d[0-9a-fA-F]{7,}\b"
    rb"|\d+(?:[.,:]\d+)*"
)


@dataclass(frozen=True, slots=True)
class Piece:
    """One chunk to be written."""

    host_id: UUID
    start: int
    data: bytes
    marks: list[int]


class Output:
    """What one host says, from its first byte to its last."""

    __slots__ = (
        *("host_id", "began", "cap", "size", "seen", "dropped", "last_line", "names"),
        *("_maskers", "_sums", "_alike", "_alike_left", "_line", "_buffer", "_marks", "_tail", "_tail_size"),
    )

    def __init__(self, host_id: UUID, *, began: float, cap: int, secrets: Sequence[str], names: Sequence[str] = ()) -> None:
        self.host_id, self.began, self.cap = host_id, began, cap
        self.size = self.seen = self.dropped = 0
        self.last_line = ""
        self.names = [name.encode() for name in sorted(names, key=len, reverse=True)]
        self._maskers = {STDOUT: Masker(secrets), STDERR: Masker(secrets)} if secrets else {}
        self._sums: dict[int, Any] = {}
        self._alike, self._alike_left = hashlib.sha256(), ALIKE_MOST
        self._line: dict[int, bytes] = {}
        self._buffer, self._marks = bytearray(), list[int]()
        self._tail: deque[tuple[int, int, bytes]] | None = None
        self._tail_size = 0

    def feed(self, stream: int, data: bytes) -> None:
        """Bytes as they came."""
        masker = self._maskers.get(stream)
        self._take(stream, masker.feed(data) if masker else data)

    def _take(self, stream: int, data: bytes) -> None:
        if not data:
            return
        self.seen += len(data)
        total = self._sums.get(stream)
        if total is None:
            total = self._sums[stream] = hashlib.sha256()
        total.update(data)
        self._lines(stream, data)
        ms = int((time.monotonic() - self.began) * 1000)
        room = max(0, self.cap - self.size)
        kept, rest = data[:room], data[room:]
        if kept:
            self._keep(stream, kept, ms)
        if rest:
            if self._tail is None:
                self._tail = deque()
            self._tail.append((stream, ms, rest))
            self._tail_size += len(rest)
            while self._tail_size - len(self._tail[0][2]) >= TAIL:
                gone = len(self._tail.popleft()[2])
                self._tail_size -= gone
                self.dropped += gone

    def _keep(self, stream: int, data: bytes, ms: int) -> None:
        marks = self._marks
        if marks and marks[-2] == stream and ms - marks[-1] < 50:
            marks[-3] += len(data)
        else:
            marks += (len(data), stream, ms)
        self._buffer += data
        self.size += len(data)

    def _lines(self, stream: int, data: bytes) -> None:
        """For likeness, and the last line."""
        if self._alike_left <= 0:
            return
        self._alike_left -= len(data)
        *lines, rest = (self._line.get(stream, b"") + data).split(b"\n")
        for line in lines:
            self._one_line(stream, line)
        self._line[stream] = rest[-8192:]

    def _one_line(self, stream: int, line: bytes) -> None:
        if not line.strip():
            return
        self.last_line = line[:400].decode(errors="replace")
        for name in self.names:
            line = line.replace(name, b"@")
        self._alike.update(b"%d%s\n" % (stream, b" ".join(_ALIKE.sub(b"#", line).split())))

    @property
    def waiting(self) -> int:
        """Bytes taken and not yet in a chunk."""
        return len(self._buffer)

    def take(self) -> Piece | None:
        """The next chunk, of all there is now."""
        if not self._buffer:
            return None
        piece = Piece(self.host_id, self.size - len(self._buffer), bytes(self._buffer), self._marks)
        self._buffer, self._marks = bytearray(), []
        return piece

    def end(self) -> Iterator[Piece]:
        """What is left, and the last bytes of what was too much."""
        for stream, masker in self._maskers.items():
            self._take(stream, masker.end())
        for stream, rest in self._line.items():
            self._one_line(stream, rest)
        if self._tail:
            if self.dropped:
                ms = int((time.monotonic() - self.began) * 1000)
                self._keep(STDERR, f"\n[… {self.dropped:,} bytes were not kept …]\n".encode(), ms)
            for stream, ms, data in self._tail:
                self._keep(stream, data, ms)
            self._tail = None
        piece = self.take()
        while piece is not None:
            yield piece
            piece = self.take()

    def digests(self) -> tuple[str, str]:
        """(of what it said, of what is alike of it): hex; "" for nothing. Its streams are digested apart: their order is chance."""
        if not self._sums:
            return "", ""
        whole = hashlib.sha256(b"".join(b"%d" % stream + self._sums[stream].digest() for stream in sorted(self._sums)))
        return whole.hexdigest(), self._alike.hexdigest()


def chunks(run_id: UUID, pieces: Sequence[Piece]) -> list[Chunk]:
    """Rows, unsaved."""
    return [
        Chunk(run_id=run_id, host_id=p.host_id, start=p.start, size=len(p.data), data=zlib.compress(p.data, 1), marks=p.marks)
        for p in pieces
    ]


# --- reading ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """Bytes of one stream that came together. `ms`: since the run began on that host."""

    start: int
    stream: int
    ms: int
    data: bytes

    @property
    def text(self) -> str:
        """As text: what is not UTF-8 is �, a null byte ␀."""
        return self.data.decode("utf-8", "replace").replace("\0", "\N{SYMBOL FOR NULL}")


def segments(chunk: Chunk) -> Iterator[Segment]:
    """What a chunk holds."""
    data, at = zlib.decompress(chunk.data), 0
    for length, stream, ms in zip(chunk.marks[::3], chunk.marks[1::3], chunk.marks[2::3], strict=True):
        yield Segment(start=chunk.start + at, stream=stream, ms=ms, data=data[at : at + length])
        at += length


def between(host: RunHost, start: int, most: int) -> list[Segment]:
    """At most `most` bytes of a host's output from byte `start` on."""
    found: list[Segment] = []
    stop = start + most
    # the chunk that holds `start` begins at most CHUNK plus what one read brings before it
    first = Chunk.objects.filter(host=host, start__lte=start).order_by("-start").values_list("start", flat=True).first()
    rows = Chunk.objects.filter(host=host, start__gte=first if first is not None else start, start__lt=stop).order_by("start")
    for chunk in rows.iterator(chunk_size=16):
        for segment in segments(chunk):
            low, high = max(start, segment.start), min(stop, segment.start + len(segment.data))
            if low < high:
                data = segment.data[low - segment.start : high - segment.start]
                found.append(Segment(start=low, stream=segment.stream, ms=segment.ms, data=data))
    return found


def last(host: RunHost, most: int) -> list[Segment]:
    """At most the last `most` bytes of a host's output, whatever its size."""
    newest = Chunk.objects.filter(host=host).order_by("-start").first()
    if newest is None:
        return []
    end = newest.start + newest.size
    return between(host, max(0, end - most), most)


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """A line of a host's output that holds what was looked for."""

    host_id: UUID
    start: int  # of the line
    line: str


def find(run_id: UUID, wanted: str, *, most: int = 500, seconds: float = 3.0) -> tuple[list[Found], bool]:
    """(lines that hold `wanted`, whatever the case; was all looked at?)"""
    needle = wanted.encode().lower()
    until = time.monotonic() + seconds
    found: list[Found] = []
    rest: tuple[UUID | None, int, bytes] = (None, 0, b"")
    for chunk in Chunk.objects.filter(run_id=run_id).order_by("host_id", "start").iterator(chunk_size=64):
        if time.monotonic() > until:
            return found, False
        data, start = zlib.decompress(chunk.data), chunk.start
        if rest[0] == chunk.host_id:
            data, start = rest[2] + data, rest[1]
        lowered, at = data.lower(), 0
        while (at := lowered.find(needle, at)) >= 0:
            low = data.rfind(b"\n", 0, at) + 1
            high = data.find(b"\n", at)
            high = len(data) if high < 0 else high
            line = data[max(low, at - 200) : min(high, at + 300)].decode("utf-8", "replace").replace("\0", "\N{SYMBOL FOR NULL}")
            found.append(Found(host_id=chunk.host_id, start=start + low, line=line))
            if len(found) >= most:
                return found, False
            at = high
        tail = data[max(data.rfind(b"\n") + 1, len(data) - 4096) :]
        if needle in tail.lower():
            tail = b""  # told already
        rest = (chunk.host_id, start + len(data) - len(tail), tail)
    return found, True
