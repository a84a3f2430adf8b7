"""How each of many machines is reached: address, login, key and the host keys it is known by, in a few queries."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, field
from uuid import UUID

from clouds import addresses
from core import vault
from core.actor import Actor
from core.errors import MistError, Rejected
from core.models import VaultEntry
from keys import hostkeys
from keys.models import HostKey, Key, KeyAssociation
from keys.ssh import Host
from machines.api import address_of
from machines.models import Machine


@dataclass(kw_only=True, slots=True)
class Reach:
    """One machine, ready to be dialled. `error`: why it cannot be."""

    machine: Machine
    host: str = ""
    port: int = 22
    user: str = ""
    association_id: UUID | None = None
    key_name: str = ""
    pem: str = field(default="", repr=False)
    pinned: list[str] = field(default_factory=list)
    error: MistError | None = None

    @property
    def needs_sudo(self) -> bool:
        return self.user != "root"

    def ssh(self, actor: Actor) -> Host:
        """The one way to it over SSH."""
        machine = self.machine
        loopback = actor.is_admin or bool(machine.cloud.extra.get("loopback"))
        return Host(
            host=self.host,
            port=self.port,
            user=self.user,
            private_key=self.pem,
            resolve=lambda name, port: addresses.resolve(name, port, loopback=loopback),
            host_keys=lambda name, port: self.pinned,
            trust=lambda name, port, line: hostkeys.trust_first(actor, machine.cloud, name, port, line),
            remaining=lambda: 30.0,
        )


def is_literal(host: str) -> bool:
    """An address, which no name server is asked about."""
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def reaches(machines: Iterable[Machine]) -> list[Reach]:
    """For each machine its way, by the login used last. The machines come with their clouds."""
    machines = list(machines)
    ways = [Reach(machine=machine, host=address_of(machine)) for machine in machines]
    logins: dict[UUID, KeyAssociation] = {}
    found = KeyAssociation.objects.filter(machine__in=machines, key__vault__isnull=False)
    for one in found.select_related("key").order_by("last_used_at", "-created_at"):
        logins[one.machine_id] = one
    pems = _private_parts({one.key for one in logins.values()})
    known: dict[tuple[UUID, str, int], list[str]] = {}
    for org_id, host, port, line in HostKey.objects.filter(
        org_id__in={m.org_id for m in machines}, host__in={way.host for way in ways}
    ).values_list("org_id", "host", "port", "public"):
        known.setdefault((org_id, host, port), []).append(line)
    for way in ways:
        login = logins.get(way.machine.pk)
        if not way.host:
            way.error = Rejected(f"{way.machine} has no address.", code="no_address")
        elif login is None:
            way.error = Rejected(f"No key opens {way.machine}: associate one with it.", code="no_key")
        else:
            way.port, way.user, way.association_id, way.key_name = login.port, login.user, login.pk, login.key.name
            way.pinned = known.get((way.machine.org_id, way.host, way.port), [])
            pem = pems[login.key_id]
            way.pem, way.error = (pem, None) if isinstance(pem, str) else ("", pem)
    return ways


def _private_parts(keys: set[Key]) -> dict[UUID, str | MistError]:
    entries = VaultEntry.objects.in_bulk([key.vault_id for key in keys])
    parts: dict[UUID, str | MistError] = {}
    for key in keys:
        try:
            parts[key.pk] = str(vault.open_entry(entries[key.vault_id])["private"])
        except (MistError, KeyError) as error:
            parts[key.pk] = error if isinstance(error, MistError) else Rejected(f"Key {key} has no private part here.", code="no_key")
    return parts
