"""The one way to machines over SSH: addresses, host keys, logins to try and what dials them, for many in a few queries.

Shells, runs and what is done to a machine's own files take it. `connect` is for who has a loop, `open` for a worker's thread. A login
that is refused gives way to the next; a host whose key changed gets none.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import asyncssh
from django.utils import timezone

from clouds import addresses
from core import vault
from core.actor import Actor
from core.errors import AuthFailed, HostKeyChanged, MistError, Rejected, Unavailable
from core.models import VaultEntry
from keys import hostkeys, ssh
from keys.models import HostKey, Key, KeyAssociation
from machines.models import Machine

MOST_TRIED = 4  # sshd hangs up on who tries more, and each costs a connection
WITHIN_S = 30.0

Ask = Callable[..., Awaitable[Any]]  # calls what it is given in a thread that may use the database


@dataclass(frozen=True, kw_only=True, slots=True)
class Login:
    """As whom, on which port, by what right. `error`: why it is no use."""

    user: str
    port: int
    what: str  # in words: "key deploy"
    association_id: UUID | None = None
    key_id: UUID | None = None
    pem: str = field(default="", repr=False)
    error: MistError | None = None

    def client_keys(self) -> list[ssh.ClientKey]:
        """What is shown to the host.  Raises: Rejected."""
        if self.error is not None:
            raise self.error
        return [ssh.load_key(self.pem)]


@dataclass(kw_only=True, slots=True)
class Reach:
    """One machine, ready to be dialled. `error`: why it cannot be. `login`: who was let in, else who is tried first."""

    machine: Machine
    host: str = ""
    logins: Sequence[Login] = ()
    pinned: dict[int, list[str]] = field(default_factory=dict)  # by port
    error: MistError | None = None
    login: Login | None = None

    @property
    def needs_sudo(self) -> bool:
        return self.login is not None and self.login.user != "root"

    async def connect(self, actor: Actor, ask: Ask) -> asyncssh.SSHClientConnection:
        """Dial, verify the host's key (a first one is trusted and recorded, or refused), log in.

        Raises: Unavailable, AuthFailed, Rejected, HostKeyChanged, HostKeyUnknown.
        """
        tries = _Tries(self)
        for login in tries:
            try:
                with ssh.translated(self.host, login.port, login.user):
                    keys = login.client_keys()
                    targets = await self.pin(login, actor, ask)
                    made = await ssh.log_in(self.host, login.port, login.user, targets, pinned=self.pinned[login.port], keys=keys)
            except HostKeyChanged as error:
                if error.code == HostKeyChanged.code:
                    await ask(self._changed, actor, login.port, error.offered)
                raise
            except (AuthFailed, Rejected, Unavailable) as error:
                tries.failed(login, error)
                continue
            self.login = login
            return made
        raise tries.error

    async def pin(self, login: Login, actor: Actor, ask: Ask) -> list[str]:
        """The addresses to dial, once the host has a key that we know it by.  Raises: what `connect` raises, untranslated."""
        if _is_literal(self.host):
            targets = self._resolve(actor, login.port)
        else:  # name servers take their time, in a thread of their own
            targets = await asyncio.get_running_loop().run_in_executor(None, self._resolve, actor, login.port)
        if not self.pinned.get(login.port):
            offered = await ssh.offered_key(self.host, login.port, targets)
            await ask(hostkeys.trust_first, actor, self.machine.cloud, self.host, login.port, offered)
            self.pinned[login.port] = [offered]
        return targets

    def open(self, actor: Actor, remaining: Callable[[], float] = lambda: WITHIN_S) -> ssh.Host:
        """The same for a thread: connected, to be closed.  Raises: what `connect` raises."""
        tries = _Tries(self)
        for login in tries:
            host = ssh.Host(
                host=self.host,
                port=login.port,
                user=login.user,
                client_keys=login.client_keys,
                resolve=lambda name, port: self._resolve(actor, port),
                host_keys=lambda name, port: self.pinned.get(port, []),
                trust=lambda name, port, line: hostkeys.trust_first(actor, self.machine.cloud, name, port, line),
                changed=lambda name, port, line: self._changed(actor, port, line),
                remaining=remaining,
            )
            try:
                host.connect()
            except HostKeyChanged:
                raise
            except (AuthFailed, Rejected, Unavailable) as error:
                tries.failed(login, error)
                continue
            self.login = login
            return host
        raise tries.error

    def _resolve(self, actor: Actor, port: int) -> list[str]:
        loopback = actor.is_admin or bool(self.machine.cloud.extra.get("loopback"))
        return addresses.resolve(self.host, port, loopback=loopback)

    def _changed(self, actor: Actor, port: int, line: str) -> None:
        hostkeys.changed(actor, self.machine.org_id, self.host, port, line)


class _Tries:
    """The logins in their order, without those that cannot help any more. `error`: the first one's."""

    def __init__(self, way: Reach) -> None:
        self.way, self.closed = way, set[int]()
        self._errors: list[MistError] = [way.error] if way.error else []

    def __iter__(self) -> Iterator[Login]:
        if self.way.error is None:
            for login in self.way.logins[:MOST_TRIED]:
                if login.port not in self.closed:
                    yield login

    def failed(self, login: Login, error: MistError) -> None:
        self._errors.append(error)
        if isinstance(error, Unavailable):
            self.closed.add(login.port)

    @property
    def error(self) -> MistError:
        return self._errors[0]


def reaches(machines: Iterable[Machine], *, user: str = "") -> list[Reach]:
    """For each machine its way, the login used last first. `user`: as whom alone. The machines come with their clouds."""
    machines = list(machines)
    ways = [Reach(machine=machine, host=address_of(machine)) for machine in machines]
    logins: dict[UUID, list[Login]] = {}
    found = KeyAssociation.objects.filter(machine__in=machines).select_related("key").order_by("-last_used_at", "created_at")
    rows = list(found.filter(user=user) if user else found)
    pems = _private_parts({one.key for one in rows})
    for one in sorted(rows, key=lambda one: one.last_used_at is None):  # never used: after those that were
        pem = pems[one.key_id]
        logins.setdefault(one.machine_id, []).append(
            Login(
                user=one.user,
                port=one.port,
                what=f"key {one.key.name}",
                association_id=one.pk,
                key_id=one.key_id,
                pem=pem if isinstance(pem, str) else "",
                error=None if isinstance(pem, str) else pem,
            )
        )
    known: dict[tuple[UUID, str], dict[int, list[str]]] = {}
    for org_id, host, port, line in HostKey.objects.filter(
        org_id__in={m.org_id for m in machines}, host__in={way.host for way in ways}
    ).values_list("org_id", "host", "port", "public"):
        known.setdefault((org_id, host), {}).setdefault(port, []).append(line)
    for way in ways:
        way.logins = sorted(logins.get(way.machine.pk, ()), key=lambda login: login.error is not None)
        if not way.host:
            way.error = Rejected(f"{way.machine} has no address.", code="no_address")
        elif not way.logins:
            as_whom = f" as {user}" if user else ""
            way.error = Rejected(f"No key opens {way.machine}{as_whom}: associate one with it.", code="no_key")
        else:
            way.login = way.logins[0]
            way.error = way.login.error
            way.pinned = known.get((way.machine.org_id, way.host), {})
    return ways


def reach(machine: Machine, *, user: str = "") -> Reach:
    """The way to one."""
    return reaches([machine], user=user)[0]


def used(logins: Iterable[Login]) -> None:
    """Remember that these let us in: they are tried first the next time."""
    KeyAssociation.objects.filter(pk__in=[one.association_id for one in logins if one.association_id]).update(last_used_at=timezone.now())


def address_of(machine: Machine) -> str:
    """The address to dial: a person's word first, then public, then private."""
    return next(iter(filter(None, (machine.address, *machine.public_ips, *machine.private_ips, machine.hostname))), "")


def _is_literal(host: str) -> bool:
    """An address, which no name server is asked about."""
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def _private_parts(keys: set[Key]) -> dict[UUID, str | MistError]:
    entries = VaultEntry.objects.in_bulk([key.vault_id for key in keys if key.vault_id])
    parts: dict[UUID, str | MistError] = {}
    for key in keys:
        try:
            parts[key.pk] = str(vault.open_entry(entries[key.vault_id])["private"]) if key.vault_id else _without(key)
        except (MistError, KeyError) as error:
            parts[key.pk] = error if isinstance(error, MistError) else _without(key)
    return parts


def _without(key: Key) -> Rejected:
    return Rejected(f"Key {key} has no private part here. Upload it, or choose another.", code="key_without_private")
