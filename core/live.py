"""Telling those who look that something changed: ids only, after the commit. Readers ask again what they may see.

A scope is (organization, kind). Each note takes the scope's next version and is an entry of the scope's Valkey stream, whose id
is that version: a reader that names the version it has is told the rest, or that it has to read again. Nothing here is the
truth. While Valkey is away notes are kept back as "read again" (`_Kept`), and nobody who acts waits or fails for it.
The readers' half is core/hub.py.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Mapping
from uuid import UUID

import redis
from django.db import transaction

from core import valkey

log = logging.getLogger(__name__)

IDS_A_NOTE = 500  # more changed at once: the note says "read again"
EVERYTHING = "*"  # the ids of such a note
NOTES_KEPT = 1000  # a scope's stream, about
KEPT_S = 86_400  # of a scope in which nothing happens
RETRY_S = 1.0
SCOPES_KEPT_BACK = 10_000

Scope = tuple[UUID, str]

# KEYS: version and stream of each scope. ARGV: notes kept, seconds kept, the ids of each scope.
# The first version is the time in milliseconds: should Valkey lose its data, versions still only rise.
NOTE = """
for i = 1, #KEYS, 2 do
    if redis.call('EXISTS', KEYS[i]) == 0 then
        local now = redis.call('TIME')
        redis.call('SET', KEYS[i], string.format('%.0f', now[1] * 1000 + math.floor(now[2] / 1000)))
    end
    local version = string.format('%.0f', redis.call('INCR', KEYS[i]))
    redis.call('XADD', KEYS[i + 1], 'MAXLEN', '~', ARGV[1], version .. '-0', 'ids', ARGV[2 + (i + 1) / 2])
    redis.call('EXPIRE', KEYS[i], ARGV[2])
    redis.call('EXPIRE', KEYS[i + 1], ARGV[2])
end
"""


def version_key(scope: Scope) -> str:
    return f"mist-live:version:{scope[0].hex}:{scope[1]}"


def stream_key(scope: Scope) -> str:
    return f"mist-live:notes:{scope[0].hex}:{scope[1]}"


def changed(org_id: UUID | None, kind: str, ids: Iterable[UUID]) -> None:
    """Rows of `kind` were made, changed or removed. Told when the transaction commits (if it does), once a kind."""
    if org_id is None:
        return  # the installation's own chain has no readers
    connection = transaction.get_connection()
    if not connection.in_atomic_block:
        publish({(org_id, kind): set(ids)})
        return
    # What a savepoint's rollback throws away is no longer in this list, and is then made anew.
    telling = next((hook for _, hook, _ in connection.run_on_commit if isinstance(hook, _Telling)), None)
    if telling is None:
        telling = _Telling()
        transaction.on_commit(telling, robust=True)
    telling.notes.setdefault((org_id, kind), set()).update(ids)


WATCHED_S = 20  # how long a look counts


def watched_key(scope: Scope) -> str:
    return f"mist-live:watched:{scope[0].hex}:{scope[1]}"


def watched(kind: str) -> list[UUID]:
    """The organizations in which somebody has a list or thing of `kind` open now. None where Valkey is away."""
    try:
        keys = valkey.client().scan_iter(match=f"mist-live:watched:*:{kind}", count=1000)
        return [UUID(key.decode().split(":")[2]) for key in keys]
    except (redis.RedisError, OSError):
        return []


RIGHTS_KEY = "mist-live:rights"


def rights_changed() -> None:
    """Who may look where has changed: once it is committed, every hub asks again for all who listen.

    A stream of one entry, for a signal between two reads would be lost. Not told while Valkey is away: hubs ask by the clock too.
    """
    transaction.on_commit(_tell_rights, robust=True)


def _tell_rights() -> None:
    try:
        valkey.client().xadd(RIGHTS_KEY, {"r": ""}, maxlen=1)
    except (redis.RedisError, OSError) as error:
        log.warning("Valkey does not answer (%s): live readers' rights are checked by the clock", type(error).__name__)


class _Telling:
    """What one transaction has to tell."""

    def __init__(self) -> None:
        self.notes: dict[Scope, set[UUID]] = {}

    def __call__(self) -> None:
        publish(self.notes)


def publish(notes: Mapping[Scope, Iterable[UUID]]) -> None:
    """Tell it now, in one round trip. Never raises: what cannot be told is told later, as "read again"."""
    texts = {scope: _text(ids) for scope, ids in notes.items()}
    if _kept.waiting:  # not again and again into a time-out, each one a person's wait
        _kept.add(texts)
        return
    try:
        _send(texts)
    except (redis.RedisError, OSError) as error:
        log.warning("Valkey does not answer (%s): live notes wait", type(error).__name__)
        _kept.add(texts)


def _text(ids: Iterable[UUID]) -> str:
    hexes = [pk.hex for pk in ids]
    return "".join(hexes) if len(hexes) <= IDS_A_NOTE else EVERYTHING


def _send(texts: Mapping[Scope, str]) -> None:
    if not texts:
        return
    keys = [key for scope in texts for key in (version_key(scope), stream_key(scope))]
    valkey.client().register_script(NOTE)(keys=keys, args=[NOTES_KEPT, KEPT_S, *texts.values()])


class _Kept:
    """The scopes whose notes could not be told. A thread tells their readers to read again, once Valkey answers."""

    def __init__(self) -> None:
        self.waiting = False
        self._scopes: set[Scope] = set()
        self._lock = threading.Lock()

    def add(self, scopes: Iterable[Scope]) -> None:
        with self._lock:
            if len(self._scopes) < SCOPES_KEPT_BACK:
                self._scopes.update(scopes)
            if not self.waiting:
                self.waiting = True
                threading.Thread(target=self._tell, name="live-notes", daemon=True).start()

    def _tell(self) -> None:
        told = 0
        while True:
            time.sleep(RETRY_S)
            with self._lock:
                scopes, self._scopes = self._scopes, set()
                if not scopes:
                    self.waiting = False
                    break
            try:
                _send(dict.fromkeys(scopes, EVERYTHING))
                told += len(scopes)
            except (redis.RedisError, OSError):
                with self._lock:
                    self._scopes |= scopes
        log.info("Valkey answers again: the readers of %s scopes were told to read again", told)


_kept = _Kept()
