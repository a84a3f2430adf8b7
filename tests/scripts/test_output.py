"""Output: masked, digested, cut into chunks, read from any place."""

from __future__ import annotations

import time
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.output import MASK, STDERR, STDOUT, Masker, Output


def fed(masker: Masker, pieces: list[bytes]) -> bytes:
    return b"".join(masker.feed(p) for p in pieces) + masker.end()


@given(
    st.lists(st.integers(1, 12), max_size=40), st.sampled_from([b"a hunter2 b hunter2hunter2 c", b"hunhunter2 hunter", b"\0\xffhunter2"])
)
def test_a_secret_is_masked_wherever_it_is_cut(cuts: list[int], text: bytes) -> None:
    pieces, at = [], 0
    for cut in cuts:
        pieces.append(text[at : at + cut])
        at += cut
    pieces.append(text[at:])
    assert fed(Masker(["hunter2"]), pieces) == text.replace(b"hunter2", MASK)


def test_a_secret_within_another_and_a_key_by_its_lines() -> None:
    assert fed(Masker(["pass", "password1"]), [b"password1 pass pas", b"s passwor", b"d1"]) == b"%s %s %s %s" % ((MASK,) * 4)
    key = "-----BEGIN-----\nabcdefghijkl\nmnopqrstuvwx\n-----END-----"
    assert b"abcdefghijkl" not in fed(Masker([key]), [b"  abcdefghijkl\n"])


def test_what_begins_like_a_secret_is_told_at_the_end() -> None:
    assert fed(Masker(["hunter2"]), [b"hunt"]) == b"hunt"


def output(**more: object) -> Output:
    return Output(uuid4(), began=time.monotonic(), cap=1 << 20, secrets=(), **more)  # type: ignore[arg-type]


def test_equal_output_has_one_digest_however_it_came_and_another_stream_another() -> None:
    one, two, three = output(), output(), output()
    one.feed(STDOUT, b"hello\nworld\n")
    for piece in (b"hel", b"lo\nwor", b"ld\n"):
        two.feed(STDOUT, piece)
    three.feed(STDERR, b"hello\nworld\n")
    for each in (one, two, three):
        list(each.end())
    assert one.digests() == two.digests()
    assert one.digests()[0] != three.digests()[0]


def test_alike_leaves_out_names_addresses_times_and_numbers() -> None:
    one, two, other = output(names=["web-1", "10.0.0.1"]), output(names=["web-2", "10.0.0.22"]), output()
    one.feed(STDOUT, b"reading web-1.pem\nserial 7f:3a:1c valid 90 d at 2026-11-27T10:00:00Z from 10.0.0.1\n")
    two.feed(STDOUT, b"reading web-2.pem\nserial 7f:3a:9e valid 91 d at 2026-11-28T10:00:00Z from 10.0.0.22\n")
    other.feed(STDOUT, b"reading web-1.pem\nfailed\n")
    for each in (one, two, other):
        list(each.end())
    assert one.digests()[0] != two.digests()[0]
    assert one.digests()[1] == two.digests()[1] != other.digests()[1]
    assert one.last_line.startswith("serial")


@pytest.mark.parametrize("size", [10, 1 << 20, (1 << 20) + 10, 3 << 20])
def test_the_cap_counts_what_it_drops(size: int) -> None:
    said = output()
    pieces = []
    for _ in range(size // 1000):
        said.feed(STDOUT, b"x" * 1000)
        if piece := said.take():
            pieces.append(piece)
    said.feed(STDOUT, b"y" * (size % 1000))
    pieces += said.end()
    whole = b"".join(p.data for p in pieces)
    assert [p.start for p in pieces] == [sum(len(q.data) for q in pieces[:n]) for n in range(len(pieces))]
    note = f"\n[… {said.dropped:,} bytes were not kept …]\n".encode() if said.dropped else b""
    assert len(whole) == said.size == size - said.dropped + len(note)
