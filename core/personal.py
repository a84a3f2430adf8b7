"""What an event says of a person beyond an id (e-mail, address, who acted as them), under a key of that person alone.

The ciphertext is part of the event and of its digest. `erase` drops the key: nobody reads it again, and the chain still verifies.
Format 1: 1 byte version, 16 bytes id of the person's key, 12 bytes nonce, AES-256-GCM with the event's id as associated data.
Format 2, where an event tells of two persons: 1 byte version, then parts of format 1, each led by its length in 2 bytes.
Source: NIST SP 800-38D; https://cryptography.io/en/latest/hazmat/primitives/aead/
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import os
import time
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings
from django.db import transaction
from django.db.models import Q

from core import vault
from core.actor import Actor
from core.models import PersonKey, VaultEntry

log = logging.getLogger(__name__)

PURPOSE = "person"
REMEMBERED_S = 60  # how long a process may go on with a key that was dropped
REMEMBERED = 10_000  # persons
_ONE, _MANY = b"\x01", b"\x02"

_by_person: dict[str, tuple[float, UUID, bytes]] = {}
_by_key: dict[UUID, tuple[float, bytes | None]] = {}


def _hashes(words: str) -> list[bytes]:
    """What finds a person's keys without the e-mail being there; the first is of today's secret key."""
    keys = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    return [hmac.new(key.encode(), b"person:" + words.strip().lower().encode(), hashlib.sha256).digest() for key in keys]


def seal(actor: Actor, event_id: UUID, subject: str = "") -> bytes | None:
    """The personal part of an event by `actor`, about the person with the e-mail `subject`; None: there is none."""
    facts = {"email": actor.email, "address": actor.address, "su_by": actor.su_by.hex if actor.su_by else ""}
    facts = {name: value for name, value in facts.items() if value}
    parts = []
    if facts:
        person = f"user:{actor.user_id}" if actor.user_id else f"email:{actor.email}" if actor.email else f"address:{actor.address}"
        parts.append(_sealed(facts, event_id, person, actor.user_id, actor.email))
    if subject:
        parts.append(_sealed({"subject": subject}, event_id, f"email:{subject}", None, subject))
    if len(parts) > 1:
        return _MANY + b"".join(len(part).to_bytes(2, "big") + part for part in parts)
    return parts[0] if parts else None


def _sealed(facts: dict[str, str], event_id: UUID, person: str, user_id: UUID | None, email: str) -> bytes:
    key_id, key = _key_of(person, user_id, email)
    nonce = os.urandom(12)
    return _ONE + key_id.bytes + nonce + AESGCM(key).encrypt(nonce, json.dumps(facts).encode(), event_id.bytes)


def _parts(sealed: bytes | memoryview | None) -> list[bytes]:
    """The parts of format 1 in it."""
    data, found = bytes(sealed or b""), list[bytes]()
    if data[:1] != _MANY:
        return [data] if data else []
    at = 1
    while at < len(data):
        end = at + 2 + int.from_bytes(data[at : at + 2], "big")
        found.append(data[at + 2 : end])
        at = end
    return found


def read(sealed: bytes | memoryview | None, event_id: UUID) -> dict[str, str] | None:
    """What is in it; None: nothing was, or it has been erased."""
    facts: dict[str, str] = {}
    for part in _parts(sealed):
        key = _key(UUID(bytes=part[1:17]))
        if key is None:
            continue
        try:
            facts |= json.loads(AESGCM(key).decrypt(part[17:29], part[29:], event_id.bytes))
        except InvalidTag:
            log.error("the personal part of event %s does not open: it was changed (verify-audit finds such)", event_id)
    return facts or None


def read_all(sealed: dict[UUID, bytes | memoryview | None]) -> dict[UUID, dict[str, str] | None]:
    """The same for a page of events, {event id: …}, with one query for the keys."""
    wanted = {UUID(bytes=part[1:17]) for data in sealed.values() for part in _parts(data)}
    now = time.monotonic()
    missing = [pk for pk in wanted if pk not in _by_key or _by_key[pk][0] < now]
    if missing:
        found = {row.pk: _open(row.vault) for row in PersonKey.objects.select_related("vault").filter(pk__in=missing)}
        for pk in missing:
            _remember_key(pk, found.get(pk))
    return {event_id: read(data, event_id) for event_id, data in sealed.items()}


def _key(key_id: UUID) -> bytes | None:
    held = _by_key.get(key_id)
    if held and held[0] > time.monotonic():
        return held[1]
    row = PersonKey.objects.select_related("vault").filter(pk=key_id).first()
    return _remember_key(key_id, _open(row.vault) if row else None)


def _open(entry: VaultEntry) -> bytes:
    return base64.b64decode(vault.open_entry(entry)["key"])


def _remember_key(key_id: UUID, key: bytes | None) -> bytes | None:
    if len(_by_key) > REMEMBERED:
        _by_key.clear()
    _by_key[key_id] = (time.monotonic() + REMEMBERED_S, key)
    return key


def _key_of(person: str, user_id: UUID | None, email: str) -> tuple[UUID, bytes]:
    """The key of this person, made at the first event."""
    held = _by_person.get(person)
    if held and held[0] > time.monotonic():
        return held[1:]
    lookup = _hashes(person)[0]
    row = PersonKey.objects.select_related("vault").filter(lookup=lookup).order_by("pk").first() or _make(lookup, user_id)
    if email and bytes(row.email_hash or b"") != _hashes(email)[0]:
        PersonKey.objects.filter(pk=row.pk).update(email_hash=_hashes(email)[0])
    key = _open(row.vault)

    def remember() -> None:  # not before the commit: the row may yet be rolled back
        if len(_by_person) > REMEMBERED:
            _by_person.clear()
        _by_person[person] = (time.monotonic() + REMEMBERED_S, row.pk, key)

    transaction.on_commit(remember, robust=True)
    return row.pk, key


def _make(lookup: bytes, user_id: UUID | None) -> PersonKey:
    """Two that do so at the same time do not wait for each other: a person may have several keys."""
    entry = vault.put(None, PURPOSE, {"key": base64.b64encode(os.urandom(32)).decode()})
    return PersonKey.objects.create(lookup=lookup, user_id=user_id, vault=entry)


def erase(user_id: UUID | None, email: str) -> int:
    """Drop every key of a person: what the log holds of them beyond their id can be read by nobody any more.

    Other processes may remember a key for REMEMBERED_S.  Returns: how many keys.
    """
    wanted = Q(pk__in=[])
    if user_id is not None:
        wanted |= Q(user_id=user_id)
    if email:
        wanted |= Q(email_hash__in=_hashes(email)) | Q(lookup__in=_hashes(f"email:{email}"))
    with transaction.atomic():
        entries = list(PersonKey.objects.filter(wanted).values_list("vault_id", flat=True))
        VaultEntry.objects.filter(pk__in=entries).delete()  # the person's key goes with it
    _by_person.clear()
    _by_key.clear()
    return len(entries)
