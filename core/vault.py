"""Secrets at rest: encrypted with keys that are outside the database (MIST_VAULT_KEYS_FILE, newest first).

An entry is bound to its own id, so that a ciphertext moved to another row does not open. Fernet (AES-128-CBC and HMAC-SHA256)
is used through `MultiFernet`: the newest key seals, any of them opens, `rotate` moves an entry to the newest. A process that runs
sees a changed file at its next use.
Source: https://cryptography.io/en/latest/fernet/
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

from core.errors import Failed
from core.models import VaultEntry, new_id

log = logging.getLogger(__name__)

_read: tuple[tuple[int, int, int], MultiFernet, list[str]] | None = None  # (the file's inode, time and size, its keys)


def keys() -> list[str]:
    """The keys of this installation, newest first."""
    return _opened()[1]


def box() -> MultiFernet:
    """What seals with the newest key and opens with any."""
    return _opened()[0]


def _opened() -> tuple[MultiFernet, list[str]]:
    global _read  # what this process knows of one file
    try:
        status = os.stat(settings.VAULT_KEYS_FILE)
        version = (status.st_ino, status.st_mtime_ns, status.st_size)
        if _read is None or _read[0] != version:
            found = _parse(Path(settings.VAULT_KEYS_FILE).read_text())
            if not found:
                raise Failed("MIST_VAULT_KEYS_FILE holds no key. Restore it from a backup.", code="vault_no_key")
            _read = (version, MultiFernet([Fernet(key.encode()) for key in found]), found)
    except (OSError, ValueError) as error:
        if _read is None:
            raise Failed("MIST_VAULT_KEYS_FILE cannot be read. Restore it from a backup.", code="vault_no_key") from error
        log.error("MIST_VAULT_KEYS_FILE cannot be read any more (%s): going on with the keys it held", type(error).__name__)
    return _read[1:]


def _parse(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]


def _seal(entry_id: UUID, secret: Mapping[str, Any]) -> bytes:
    return box().encrypt(json.dumps({"id": entry_id.hex, "secret": dict(secret)}, separators=(",", ":")).encode())


def put(org_id: UUID | None, purpose: str, secret: Mapping[str, Any]) -> VaultEntry:
    """A new entry, saved. `secret`: JSON values."""
    entry_id = new_id()
    return VaultEntry.objects.create(id=entry_id, org_id=org_id, purpose=purpose, ciphertext=_seal(entry_id, secret))


def replace(entry_id: UUID, secret: Mapping[str, Any]) -> None:
    """Put another secret into an entry that is there."""
    VaultEntry.objects.filter(pk=entry_id).update(ciphertext=_seal(entry_id, secret), sealed_at=timezone.now())


def read(entry_id: UUID) -> dict[str, Any]:
    """The secret of an entry.  Raises: Failed, when no key opens it or it is not there."""
    entry = VaultEntry.objects.filter(pk=entry_id).first()
    if entry is None:
        raise Failed("The secret is not in the vault any more. Enter it again.", code="vault_missing")
    return open_entry(entry)


def open_entry(entry: VaultEntry) -> dict[str, Any]:
    """The secret of an entry at hand.  Raises: Failed."""
    try:
        opened = json.loads(box().decrypt(bytes(entry.ciphertext)))
    except InvalidToken as error:
        raise Failed("No vault key opens this secret. Is MIST_VAULT_KEYS_FILE the right file?", code="vault_wrong_key") from error
    if opened["id"] != entry.pk.hex:
        raise Failed("This secret belongs to another entry.", code="vault_wrong_entry")
    secret: dict[str, Any] = opened["secret"]
    return secret


def delete(entry_id: UUID | None) -> None:
    if entry_id is not None:
        VaultEntry.objects.filter(pk=entry_id).delete()


# --- rotation: see the command rotate-keys ----------------------------------------------------------------------------


def add_key() -> None:
    """Put a new key first in the file; every process seals with it from its next use on.  Raises: OSError, and nothing changed."""
    _write([Fernet.generate_key().decode(), *keys()])


def rotate(batch: int = 500) -> int:
    """Seal every entry with the newest key. Rerunnable; an entry somebody replaces meanwhile keeps what that one wrote.

    Returns: how many were moved.  Raises: Failed, naming an entry that no key opens.
    """
    newest = Fernet(keys()[0].encode())
    moved, last = 0, UUID(int=0)
    while True:
        with transaction.atomic():
            rows = list(VaultEntry.objects.select_for_update().filter(pk__gt=last).order_by("pk")[:batch])
            old = [row for row in rows if not _opens(newest, row)]
            for row in old:
                try:
                    row.ciphertext = box().rotate(bytes(row.ciphertext))
                except InvalidToken as error:
                    raise Failed(f"No key of the file opens entry {row.pk.hex} ({row.purpose}).", code="vault_wrong_key") from error
                row.sealed_at = timezone.now()
            VaultEntry.objects.bulk_update(old, ["ciphertext", "sealed_at"])
        if not rows:
            return moved
        moved, last = moved + len(old), rows[-1].pk


def _opens(key: Fernet, entry: VaultEntry) -> bool:
    try:
        key.decrypt(bytes(entry.ciphertext))
    except InvalidToken:
        return False
    return True


def drop_old() -> int:
    """Take all keys but the newest out of the file, once nothing needs them.  Returns: how many.

    A transaction that sealed with an old key before it saw the new file may commit late: all that are open now are waited for.
    Raises: Failed, OSError; then no key is dropped.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_current_xact_id()::text::bigint")
        now = cursor.fetchone()[0]
        for _ in range(600):
            cursor.execute("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint > %s", [now])
            if cursor.fetchone()[0]:
                break
            time.sleep(0.1)
        else:
            raise Failed("A transaction has been open for a minute. Try again; no key was dropped.", code="vault_busy")
    rotate()
    newest = Fernet(keys()[0].encode())
    for entry in VaultEntry.objects.iterator(chunk_size=500):
        if not _opens(newest, entry):
            raise Failed(f"Entry {entry.pk.hex} still needs an old key. Try again; no key was dropped.", code="vault_busy")
    dropped = len(keys()) - 1
    _write(keys()[:1])
    return dropped


def _write(lines: list[str]) -> None:
    """The file whole or not at all: 0600, its owner kept, on disk before it is in place."""
    file = Path(settings.VAULT_KEYS_FILE)
    owner = file.stat()
    descriptor, draft = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")  # mkstemp makes it 0600
    try:
        with os.fdopen(descriptor, "wb") as handle:
            os.fchown(handle.fileno(), owner.st_uid, owner.st_gid)
            handle.write("".join(f"{line}\n" for line in lines).encode())
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(draft, file)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
