"""From a cloud's row to its provider: credentials out of the vault, and all a provider may ask of the rest of Mist."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from clouds import addresses, budget
from clouds.models import Cloud
from clouds.providers import provider
from clouds.providers.base import Context, Deadline, Provider
from core import vault
from core.actor import Actor
from keys import hostkeys, references
from keys.models import Key


@contextmanager
def connect(cloud: Cloud, actor: Actor, *, deadline_s: float = 60) -> Iterator[Provider]:
    """The cloud's provider, closed afterwards. For one thread and one job.

    What its credentials refer to is read now.  Raises: Failed when that, or the vault, does not open.
    """
    secret = references.opened(cloud.org_id, vault.read(cloud.vault_id)) if cloud.vault_id else {}
    with open_provider(cloud.provider, {**cloud.config, **secret}, cloud=cloud, actor=actor, deadline_s=deadline_s) as found:
        yield found


@contextmanager
def open_provider(name: str, credentials: Mapping[str, Any], *, cloud: Cloud, actor: Actor, deadline_s: float = 60) -> Iterator[Provider]:
    """A provider on credentials that need not be saved yet. `cloud` may be an unsaved row: its organization counts."""
    cls = provider(name)
    deadline = Deadline(deadline_s)
    # What listens on loopback trusts whoever is on this machine: only an admin may have us dial it (a cloud that an admin added
    # remembers, so that its polls may too).
    loopback = actor.is_admin or bool(cloud.extra.get("loopback"))
    context = Context(
        cloud_id=cloud.pk.hex,
        deadline=deadline,
        spend=budget.spender(f"{name}:{account_of(cls, credentials, cloud)}", deadline),
        resolve=lambda host, port: addresses.resolve(host, port, loopback=loopback),
        private_key=lambda wanted: private_key(cloud.org_id, wanted),
        host_keys=lambda host, port: hostkeys.pinned(cloud.org_id, host, port),
        trust=lambda host, port, line: hostkeys.trust_first(actor, cloud, host, port, line),
        changed=lambda host, port, line: hostkeys.changed(actor, cloud.org_id, host, port, line),
    )
    made = cls(credentials, context)
    try:
        yield made
    finally:
        made.close()


def account_of(cls: type[Provider], credentials: Mapping[str, Any], cloud: Cloud) -> str:
    """What the budget counts by: a digest, for an account name may be half a secret."""
    account = cls.account(credentials)
    return hashlib.sha256(account.encode()).hexdigest()[:24] if account else cloud.pk.hex


def private_key(org_id: UUID, wanted: str) -> str:
    """The private part of the organization's key with that id or name.  Raises: Failed."""
    keys = Key.objects.filter(org_id=org_id)
    try:
        key = keys.filter(pk=UUID(wanted)).first()
    except ValueError:
        key = keys.filter(name=wanted).first()
    return hostkeys.private_part(key, wanted)
