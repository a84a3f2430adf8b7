"""The one way to machines over SSH: addresses, host keys, logins to try and what dials them, for many in a few queries.

Shells, runs and what is done to a machine's own files take it. `connect` is for who has a loop, `open` for a worker's thread. A login
that is refused gives way to the next; a host whose key changed gets none.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

import asyncssh
from django.db import connection
from django.db.models import F
from django.utils import timezone

from clouds import addresses
from clouds.connection import connect
from core import vault
from core.actor import Actor
from core.errors import AuthFailed, Failed, HostKeyChanged, MistError, Rejected, Unavailable
from core.models import VaultEntry
from keys import hostkeys, ssh
from keys.models import Authority, AuthorityTrust, GivenHostKey, HostKey, Key, KeyAssociation
from machines.models import Machine

MOST_TRIED = 4  # sshd hangs up on who tries more, and each costs a connection
WITHIN_S = 30.0
AGAIN_S = 5.0  # between two tries at a machine that boots
CONSOLE_S = 10.0  # for the cloud to say what a machine it never met printed

log = logging.getLogger(__name__)

T = TypeVar("T")
Ask = Callable[..., Awaitable[Any]]  # calls what it is given in a thread that may use the database


@dataclass(frozen=True, kw_only=True, slots=True)
class Login:
    """As whom, on which port, by what right. `error`: why it is no use."""

    user: str
    port: int
    what: str  # in words: "key deploy"
    association_id: UUID | None = None
    trust_id: UUID | None = None  # then `pem` is the authority's, which signs a key for this once
    pem: str = field(default="", repr=False)
    error: MistError | None = None

    def client_keys(self, actor: Actor, *, seconds: float = ssh.CERTIFICATE_S) -> list[ssh.ClientKey]:
        """What is shown to the host.  Raises: Rejected."""
        if self.error is not None:
            raise self.error
        if self.trust_id is None:
            return [ssh.load_key(self.pem)]
        key_id = f"mist {actor.email or actor.user_id or actor.via} {actor.request_id}"
        return [ssh.mint(self.pem, user=self.user, key_id=key_id, seconds=seconds)]


@dataclass(kw_only=True, slots=True)
class Reach:
    """One machine, ready to be dialled. `error`: why it cannot be. `login`: who was let in, else who is tried first."""

    machine: Machine
    host: str = ""
    logins: Sequence[Login] = ()
    pinned: dict[int, list[str]] = field(default_factory=dict)  # by port
    given: str = ""  # the host key put into it, which it has to show where none is pinned yet
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
                    keys = login.client_keys(actor)
                    targets = await self.pin(login, actor, ask)
                    made = await ssh.log_in(self.host, login.port, login.user, targets, pinned=self.pinned[login.port], keys=keys)
            except HostKeyChanged as error:
                if error.code == HostKeyChanged.code and await ask(self._changed, actor, login.port, error.offered) and self.may_be_told:
                    told = await asyncio.to_thread(_apart, self.told, actor)
                    await ask(self._vouch, login.port, error.offered, told)
                raise
            except (AuthFailed, Rejected, Unavailable) as error:
                tries.failed(login, error)
                continue
            self.login = login
            return made
        raise tries.error

    async def connect_within(self, actor: Actor, ask: Ask, wait_s: float) -> asyncssh.SSHClientConnection:
        """`connect`, again and again for so long while nothing answers or lets us in: of a machine that boots.  Raises: as `connect`."""
        until = time.monotonic() + wait_s
        while True:
            try:
                return await self.connect(actor, ask)
            except (Unavailable, AuthFailed):
                if time.monotonic() + AGAIN_S > until:
                    raise
            await asyncio.sleep(AGAIN_S)

    async def pin(self, login: Login, actor: Actor, ask: Ask) -> list[str]:
        """The addresses to dial, once the host has a key that we know it by.  Raises: what `connect` raises, untranslated."""
        if _is_literal(self.host):
            targets = self._resolve(actor, login.port)
        else:  # name servers take their time, in a thread of their own
            targets = await asyncio.get_running_loop().run_in_executor(None, self._resolve, actor, login.port)
        if self.given and not self.pinned.get(login.port):
            await ask(self._pin_given, actor, login.port)
        if not self.pinned.get(login.port):
            offered = await ssh.offered_key(self.host, login.port, targets)
            told = await asyncio.to_thread(_apart, self.told, actor) if self.may_be_told else ()
            await ask(self._first_met, actor, login.port, offered, told)
            self.pinned[login.port] = [offered]
        return targets

    def open(self, actor: Actor, remaining: Callable[[], float] = lambda: WITHIN_S) -> ssh.Host:
        """The same for a thread: connected, to be closed.  Raises: what `connect` raises."""
        tries = _Tries(self)
        for login in tries:
            if self.given and not self.pinned.get(login.port):
                self._pin_given(actor, login.port)
            host = ssh.Host(
                host=self.host,
                port=login.port,
                user=login.user,
                client_keys=partial(login.client_keys, actor),
                resolve=lambda name, port: self._resolve(actor, port),
                host_keys=lambda name, port: self.pinned.get(port, []),
                trust=lambda name, port, line: self._first_met(actor, port, line, self.told(actor) if self.may_be_told else ()),
                changed=lambda name, port, line: self._changed_here(actor, port, line),
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

    def _pin_given(self, actor: Actor, port: int) -> None:
        """Know it by the key that was put into it, before it is dialled: if it shows another, that one is blocked and may be trusted."""
        hostkeys.pin(actor, self.machine.cloud, self.host, port, self.given, source="cloud-init")
        self.pinned[port] = [self.given]

    @property
    def may_be_told(self) -> bool:
        """Does its cloud pass on what it printed on its console?"""
        cls = self.machine.cloud.driver
        return bool(self.machine.external_id) and cls is not None and cls.supports("host_fingerprints")

    def told(self, actor: Actor) -> Collection[str]:
        """Fingerprints of its host keys by its console; none where the cloud does not say."""
        try:
            with connect(self.machine.cloud, actor, deadline_s=CONSOLE_S) as made:
                return made.host_fingerprints(self.machine.external_id)
        except Failed as error:
            log.info("the console of machine %s tells no host key: %s", self.machine.pk, error.code)
            return ()

    def _first_met(self, actor: Actor, port: int, line: str, told: Collection[str]) -> None:
        hostkeys.first_met(actor, self.machine, self.host, port, line, told=told)

    def _changed(self, actor: Actor, port: int, line: str) -> bool:
        given = GivenHostKey.objects.filter(machine=self.machine, public=line).exists()
        return hostkeys.changed(actor, self.machine.org_id, self.host, port, line, vouched="cloud-init" if given else "")

    def _changed_here(self, actor: Actor, port: int, line: str) -> None:
        if self._changed(actor, port, line) and self.may_be_told:
            self._vouch(port, line, self.told(actor))

    def _vouch(self, port: int, line: str, told: Collection[str]) -> None:
        """Its address was another machine's, say: the key that is new to us is the one its console printed."""
        if hostkeys.fingerprint(line) in told:
            hostkeys.vouch(self.machine.org_id, self.host, port, line, "console")


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
    for login, machine_id in sorted(_logins(machines, user), key=lambda found: found[0].error is not None):
        logins.setdefault(machine_id, []).append(login)
    known: dict[tuple[UUID, str], dict[int, list[str]]] = {}
    for org_id, host, port, line in (
        HostKey.objects.filter(org_id__in={m.org_id for m in machines}, host__in={way.host for way in ways})
        .exclude(public="")
        .values_list("org_id", "host", "port", "public")
    ):
        known.setdefault((org_id, host), {}).setdefault(port, []).append(line)
    met = {way.machine.pk for way in ways if (way.machine.org_id, way.host) in known}
    unmet = [way.machine.pk for way in ways if way.machine.pk not in met]
    given = dict(GivenHostKey.objects.filter(machine__in=unmet).values_list("machine_id", "public")) if unmet else {}
    for way in ways:
        way.given = given.get(way.machine.pk, "")
        way.logins = logins.get(way.machine.pk, ())
        way.pinned = known.get((way.machine.org_id, way.host), {})
        if not way.host:
            way.error = Rejected(f"{way.machine} has no address.", code="no_address")
        elif not way.logins:
            as_whom = f" as {user}" if user else ""
            way.error = Rejected(f"No key opens {way.machine}{as_whom}: associate one with it.", code="no_key")
        else:
            way.login = way.logins[0]
            way.error = way.login.error
    return ways


def reach(machine: Machine, *, user: str = "", by: Sequence[Login] | None = None) -> Reach:
    """The way to one. `by`: these logins and no others."""
    way = reaches([machine], user=user)[0]
    if by is not None:
        way.logins, way.login = by, by[0] if by else None
        if by and way.host:
            way.error = by[0].error if all(login.error for login in by) else None
    return way


def used(logins: Iterable[Login]) -> None:
    """Remember that these let us in: they are tried first the next time."""
    logins, now = list(logins), timezone.now()
    KeyAssociation.objects.filter(pk__in=[one.association_id for one in logins if one.association_id]).update(last_used_at=now)
    if trusts := [one.trust_id for one in logins if one.trust_id]:
        AuthorityTrust.objects.filter(pk__in=trusts).update(last_used_at=now)


def speaks_ssh(machine: Machine) -> bool:
    """May it be reached so, as far as its row tells?"""
    return machine.os_type != "windows" and machine.type not in (Machine.Type.POD,)


def address_of(machine: Machine) -> str:
    """The address to dial: a person's word first, then public, then private."""
    return next(iter(filter(None, (machine.address, *machine.public_ips, *machine.private_ips, machine.hostname))), "")


def _apart(function: Callable[..., T], *args: Any) -> T:
    """In a thread of its own, with a database connection that ends with it."""
    try:
        return function(*args)
    finally:
        connection.close()


def _is_literal(host: str) -> bool:
    """An address, which no name server is asked about."""
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def _logins(machines: Sequence[Machine], user: str) -> Iterator[tuple[Login, UUID]]:
    """Certificates first, then keys; of each, the one used last."""
    trusts = AuthorityTrust.objects.filter(machine__in=machines).select_related("authority")
    associations = KeyAssociation.objects.filter(machine__in=machines).select_related("key")
    if user:
        trusts, associations = trusts.filter(user=user), associations.filter(user=user)
    last = F("last_used_at").desc(nulls_last=True)
    by_ca, by_key = list(trusts.order_by(last, "created_at")), list(associations.order_by(last, "created_at"))
    pems = _private_parts({*(one.authority for one in by_ca), *(one.key for one in by_key)})
    for trust in by_ca:
        what = f"certificate of {trust.authority.name}"
        yield Login(user=trust.user, port=trust.port, what=what, trust_id=trust.pk, **pems[trust.authority_id]), trust.machine_id
    for one in by_key:
        yield Login(user=one.user, port=one.port, what=f"key {one.key.name}", association_id=one.pk, **pems[one.key_id]), one.machine_id


def with_key(key: Key, user: str, port: int) -> Login:
    """By a key that need not be associated."""
    return Login(user=user, port=port, what=f"key {key.name}", **_private_parts({key})[key.pk])


def with_certificate(authority: Authority, user: str, port: int) -> Login:
    """By a certificate of an authority that need not be trusted yet."""
    what = f"certificate of {authority.name}"
    return Login(user=user, port=port, what=what, trust_id=authority.pk, **_private_parts({authority})[authority.pk])


def _private_parts(owners: set[Key | Authority]) -> dict[UUID, dict[str, Any]]:
    """For each its `pem`, or the `error`: why there is none."""
    entries = VaultEntry.objects.in_bulk([one.vault_id for one in owners if one.vault_id])
    parts: dict[UUID, dict[str, Any]] = {}
    for one in owners:
        entry = entries.get(one.vault_id) if one.vault_id else None
        try:
            parts[one.pk] = {"pem": str(vault.open_entry(entry)["private"])} if entry else {"error": _without(one)}
        except MistError as error:
            parts[one.pk] = {"error": error}
    return parts


def _without(owner: Key | Authority) -> Rejected:
    return Rejected(f"{owner} has no private part here. Upload it, or choose another key.", code="key_without_private")
