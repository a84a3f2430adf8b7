"""`/ws/console`: the page says what it shows, and gets the markup of what of it changed.

→ {"show": {"machine.row": ["0198…", …], "job.toast": […], "jobs.button": ["<organization>"]}, "how": {"cols": "location,size"}}
→ {"again": {"machine.row": ["0198…"]}}           of that, what the page left out when it came
← <tr id=… hx-swap-oob="outerMorph">…</tr>…      what is on screen, as it is now: on every connect, then on every change
← {"gone": {"machine.row": ["0198…"]}}            deleted, or out of sight
← {"new": 3}                                      rows have come to the list that are not on the page (frontend/news.py)
← {"away": false}                                 all of that is right now: after the first show, and when what it is read from is back
← {"away": true}                                  the database or Valkey does not answer: what the page shows may be old
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs
from uuid import UUID

from accounts.models import Organization, User
from core.actor import Actor
from core.consumers import AWAY, ActorConsumer
from core.errors import MistError
from core.hub import Note
from core.sight import hop
from frontend import fragments, news
from frontend.viewer import as_seen_by

BATCH_S = 0.25  # what changes within it is sent together


class ConsoleConsumer(ActorConsumer):
    """One page's socket."""

    shown: dict[str, set[UUID]]
    how: dict[str, str]
    is_away = None  # nobody knows whether a page is right before it was sent what it shows
    is_shown = False

    async def connect(self) -> None:
        self.sent: dict[str, float] = {}  # {fragment that is sent so often at most: when it was}
        self.late: dict[str, set[UUID]] = {}  # what waits for its turn
        self.unseen: set[UUID] = set()  # rows of the list's kind that changed and are not on the page
        self.told = 0  # of them were said to be new
        self.language = parse_qs(self.scope.get("query_string", b"").decode("latin-1")).get("lang", [""])[0]
        await super().connect()

    async def on_message(self, message: dict[str, Any]) -> None:
        if "again" in message:
            asked = {name: ids & getattr(self, "shown", {}).get(name, set()) for name, ids in fragments.parse(message["again"]).items()}
            await self._send({name: ids for name, ids in asked.items() if ids})
        if "show" not in message:
            return
        before = getattr(self, "shown", {})
        self.shown, self.how = fragments.parse(message["show"]), fragments.parse_how(message.get("how"))
        for kind in {kind for name in self.shown for kind in fragments.kinds_of(name)} - self.reader.subscriptions.keys():
            try:
                await self.reader.subscribe(kind, kind=kind)
            except MistError as error:
                await self.send_json({"error": {"code": error.code, "detail": error.detail}})
        new = {name: ids - before.get(name, set()) for name, ids in self.shown.items()}
        await self._send({name: ids for name, ids in new.items() if ids})
        self.unseen, self.told = set(), 0
        await self._tell_new(None)
        self.is_shown = True
        await self.tell_away()

    async def tell_away(self) -> None:
        if self.is_shown or self.reader.is_blind:
            await super().tell_away()

    async def on_notes(self, notes: list[Note]) -> None:
        changed: dict[str, set[UUID]] = {}
        for note in notes:
            touched = note.ids | note.gone
            for name, ids in getattr(self, "shown", {}).items():
                if note.kind not in fragments.kinds_of(name):
                    continue
                wanted = ids if note.resync or (fragments.is_whole(name) and touched) else ids & touched
                if wanted:
                    changed.setdefault(name, set()).update(wanted)
        await self._look_for_new(notes)
        for name in [name for name in changed if fragments.every_s(name)]:
            self._in_turn(name, changed)
        if changed:
            await self._send(changed)
            await asyncio.sleep(BATCH_S)  # later notes are merged meanwhile

    async def _look_for_new(self, notes: list[Note]) -> None:
        mine = [note for note in notes if note.kind == getattr(self, "how", {}).get("kind")]
        there = self._on_screen()
        if any(note.resync for note in mine):
            await self._tell_new(None)
        elif unseen := {pk for note in mine for pk in note.ids} - there:
            self.unseen = set(list(self.unseen | unseen)[-fragments.MOST :])
            await self._tell_new(self.unseen)

    def _on_screen(self) -> set[UUID]:
        kind = self.how.get("kind", "")
        return {pk for name, ids in self.shown.items() if kind in fragments.kinds_of(name) and not fragments.is_whole(name) for pk in ids}

    async def _tell_new(self, among: set[UUID] | None) -> None:
        """Say how many rows have come, where that has changed. among: those that changed; None where nobody knows."""
        if not self.how.get("kind"):
            return
        count = await hop(news.count, self.reader.actor, self.how, self._on_screen(), among)
        if count != self.told:
            self.told = count
            await self.send_json({"new": count})

    def _in_turn(self, name: str, changed: dict[str, set[UUID]]) -> None:
        """Too early since it was last sent: it is taken out and sent when its time has come, as it is then."""
        loop = asyncio.get_running_loop()
        wait_s = self.sent.get(name, float("-inf")) + fragments.every_s(name) - loop.time()
        if wait_s <= 0:
            self.sent[name] = loop.time()
            return
        waiting = self.late.setdefault(name, set())
        if not waiting:
            self._begin(self._send_late(name, wait_s))
        waiting.update(changed.pop(name))

    async def _send_late(self, name: str, wait_s: float) -> None:
        await asyncio.sleep(wait_s)
        ids = self.late.pop(name) & self.shown.get(name, set())
        self.sent[name] = asyncio.get_running_loop().time()
        if ids:
            with suppress(*AWAY):  # once the database is back, there is a note to read everything again
                await self._send({name: ids})

    async def _send(self, wanted: Mapping[str, set[UUID]]) -> None:
        pieces, gone = await hop(_render, self.reader.actor, wanted, self.how, self.language)
        # Rows by themselves: a <tr> among other elements loses its tags when the browser reads it.
        for is_row in (True, False):
            html = "".join(piece for piece in pieces if piece.lstrip().startswith("<tr") is is_row)
            if html:
                await self.send(html)
        if gone:
            await self.send_json({"gone": gone})


Pieces = tuple[list[str], dict[str, list[str]]]


def _render(actor: Actor, wanted: Mapping[str, set[UUID]], how: Mapping[str, str], language: str) -> Pieces:
    """(the markup of what may be seen, what may not)."""
    user = User.objects.filter(pk=actor.user_id).first()
    org = Organization.objects.filter(pk=actor.org_id).first()
    if user is None or org is None:
        return [], {}
    with as_seen_by(user, org, language):
        return _pieces(fragments.Viewer(org=org, user=user, actor=actor, how=how), wanted)


def _pieces(viewer: fragments.Viewer, wanted: Mapping[str, set[UUID]]) -> Pieces:
    pieces: list[str] = []
    gone: dict[str, list[str]] = {}
    for name, ids in wanted.items():
        made = fragments.render(viewer, name, ids)
        pieces += made.values()
        missing = [pk.hex for pk in ids if pk not in made]
        if missing:
            gone[name] = missing
    return pieces, gone
