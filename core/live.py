"""Telling those who look that something changed: ids only, after the commit. Readers ask again what they may see.

A scope is (organization, kind). Each note carries the scope's next version; the last notes are kept in a Redis stream, so that
a client that names the version it has is told the rest. Nothing here is the truth: a lost note costs a reader one more read.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from uuid import UUID

from django.db import connection, transaction

log = logging.getLogger(__name__)


def changed(org_id: UUID | None, kind: str, ids: Iterable[UUID]) -> None:
    """Rows of `kind` were made, changed or removed. Told when the transaction commits, once a kind."""
    if org_id is None:
        return
    pending: dict[tuple[UUID, str], set[UUID]] | None = getattr(connection, "mist_pending", None)
    if pending is None or not connection.in_atomic_block:
        pending = connection.mist_pending = {}
    if not pending:
        transaction.on_commit(lambda: _publish(pending), robust=True)
    pending.setdefault((org_id, kind), set()).update(ids)


def _publish(pending: dict[tuple[UUID, str], set[UUID]]) -> None:
    notes = {scope: list(ids) for scope, ids in pending.items()}
    pending.clear()
    for (org_id, kind), ids in notes.items():
        publish(org_id, kind, ids)


def publish(org_id: UUID, kind: str, ids: list[UUID]) -> None:
    """Tell it now."""
