"""What has been done to a demo cloud: a JSON document a machine, in an SQLite file that every process opens.

Write-ahead logging and one writer at a time: a process killed in the middle leaves what was there before.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.conf import settings

from core.errors import Unavailable

from ..base import Deadline

_SCHEMA = """
CREATE TABLE IF NOT EXISTS change (machine TEXT PRIMARY KEY, document TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS called (id INTEGER PRIMARY KEY CHECK (id = 1), times INTEGER NOT NULL);
"""
Document = dict[str, Any]


def state_folder(cloud_id: str) -> Path:
    """Where the cloud of that id keeps what was done to it. The id is made safe for a path."""
    safe = cloud_id if re.fullmatch(r"[A-Za-z0-9-]{1,64}", cloud_id) else "x" + hashlib.sha256(cloud_id.encode()).hexdigest()[:32]
    return Path(settings.MIST_HOME) / "demo" / safe


class State:
    """The documents of one cloud. Opened when first asked; belongs to one thread.  All raise Unavailable when it cannot be kept."""

    def __init__(self, cloud_id: str, deadline: Deadline) -> None:
        self._folder, self._deadline = state_folder(cloud_id), deadline
        self._connection: sqlite3.Connection | None = None

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def changes(self, external_id: str | None = None) -> dict[str, Document]:
        """{external id: document} of all changed machines, or of the one."""
        with self._store() as store:
            if external_id is None:
                rows = store.execute("SELECT machine, document FROM change").fetchall()
            else:
                rows = store.execute("SELECT machine, document FROM change WHERE machine = ?", (external_id,)).fetchall()
        return {machine: json.loads(document) for machine, document in rows}

    def add(self, external_id: str, change: Document) -> None:
        """Keep the document of a new machine; one that is there stays as it is."""
        with self._store() as store:
            store.execute("INSERT OR IGNORE INTO change VALUES (?, ?)", (external_id, json.dumps(change)))

    def put(self, external_id: str, change: Document) -> None:
        with self._store() as store:
            store.execute("INSERT OR REPLACE INTO change VALUES (?, ?)", (external_id, json.dumps(change)))

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Others that would write wait. What the body kept is kept together, or not at all when it raises."""
        with self._store() as store:
            store.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                store.execute("ROLLBACK")
                raise
            store.execute("COMMIT")

    def count(self) -> int:
        """How often this was asked, over all processes, this time included."""
        with self._store() as store:
            row = store.execute("INSERT INTO called VALUES (1, 1) ON CONFLICT DO UPDATE SET times = times + 1 RETURNING times").fetchone()
            return int(row[0])

    @contextmanager
    def _store(self) -> Iterator[sqlite3.Connection]:
        try:
            if self._connection is None:
                self._connection = self._open()
            yield self._connection
        except (sqlite3.Error, OSError) as error:
            raise Unavailable("The demo cloud cannot keep its state. Is the disk full?", words=str(error)) from error

    def _open(self) -> sqlite3.Connection:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = self._folder / "state.sqlite3"
        with (self._folder / "lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # SQLite does not wait for its turn when the journal's mode is changed
            connection = sqlite3.connect(file, isolation_level=None, timeout=self._deadline.remaining(20))
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.executescript(_SCHEMA)
        return connection
