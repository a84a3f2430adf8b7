"""Is a recording what was sealed? Its file against the events of its chunks, and those against their own digests.

That the events themselves stand where they were sealed is the chain's to say (`verify-audit`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from core import events
from core.models import Event
from machines.models import Session
from machines.shell.recorder import path_of

PIECE = 1 << 20


def findings(session: Session) -> Iterator[tuple[str, str]]:
    """(what, in words) of everything that is not as it was sealed; nothing: all is."""
    if session.recording in (Session.Recording.NONE, Session.Recording.EXPIRED):
        return
    path = path_of(session.org_id, session.pk)
    try:
        with path.open("rb") as file:
            yield from _against(session, file, path)
    except OSError as error:
        yield "missing", f"{path} cannot be read: {(error.strerror or str(error)).lower()}"


def _against(session: Session, file: BinaryIO, path: Path) -> Iterator[tuple[str, str]]:
    told = Event.objects.filter(type="session.chunk.observed", target_id=session.pk).order_by("at", "id")
    at, expected = 0, 1
    for event in sorted(told, key=lambda one: int(one.detail.get("sequence", 0))):
        chunk = event.detail
        place = f"piece {chunk.get('sequence')} (bytes {chunk.get('offset')} and {chunk.get('length')} on)"
        if bytes(event.digest) != events.digest(event):
            yield "rewritten", f"the event of {place} is not what was recorded"
            continue
        if chunk["sequence"] != expected or chunk["offset"] != at:
            yield "gap", f"{place} does not follow piece {expected - 1}, which ends at byte {at}"
        expected, at = chunk["sequence"] + 1, chunk["offset"] + chunk["length"]
        length, digest = _digest(file, chunk["offset"], chunk["length"])
        if length < chunk["length"]:
            yield "shortened", f"{path.name} ends at byte {chunk['offset'] + length}, within {place}"
            return
        if digest != chunk["sha256"]:
            yield "changed", f"{place} is not what was sealed"
    rest = path.stat().st_size - at
    if rest > 0 and not session.is_live:
        yield "unsealed", f"{rest} bytes after byte {at} are no sealed part of it"


def _digest(file: BinaryIO, offset: int, length: int) -> tuple[int, str]:
    """How many of these bytes there are, and their SHA-256."""
    file.seek(offset)
    digest, read = hashlib.sha256(), 0
    while read < length and (piece := file.read(min(PIECE, length - read))):
        digest.update(piece)
        read += len(piece)
    return read, digest.hexdigest()
