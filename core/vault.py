"""Secrets at rest: encrypted with keys that are outside the database (settings.MIST_VAULT_KEYS, newest first).

An entry is bound to its own id, so that a ciphertext moved to another row does not open. Fernet (AES-128-CBC and HMAC-SHA256)
is used through `MultiFernet`: the newest key seals, any of them opens, `rotate` moves an entry to the newest.
Source: https://cryptography.io/en/latest/fernet/
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from uuid import UUID

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.utils import timezone

from core.errors import Failed
from core.models import VaultEntry, new_id


@lru_cache(maxsize=4)
def _box(keys: tuple[str, ...]) -> MultiFernet:
    if not keys:
        raise Failed("There is no vault key. Put one into MIST_VAULT_KEYS_FILE.", code="vault_no_key")
    return MultiFernet([Fernet(key.encode()) for key in keys])


def box() -> MultiFernet:
    """The keys of this installation, newest first."""
    return _box(tuple(settings.MIST_VAULT_KEYS))


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


def rotate(batch: int = 500) -> int:
    """Seal every entry with the newest key. Rerunnable.  Returns: how many."""
    done, last = 0, UUID(int=0)
    while rows := list(VaultEntry.objects.filter(pk__gt=last).order_by("pk")[:batch]):
        for row in rows:
            row.ciphertext = box().rotate(bytes(row.ciphertext))
            row.sealed_at = timezone.now()
        VaultEntry.objects.bulk_update(rows, ["ciphertext", "sealed_at"])
        done, last = done + len(rows), rows[-1].pk
    return done
