"""What every cloud looks like from our side: words, units, and one class to fill in.

A provider is one file that subclasses `Provider` and says `@register`. A method it does not write is a thing the
cloud cannot do: `supports()` reads the class, there is no second list of capabilities. Nothing of a driver leaves its
file: not its objects, not its errors (`core.errors.ProviderError` and below come out, nothing else).

A provider object belongs to one thread and one job; it is made, used and dropped (drivers are not thread safe).
Listings are generators: they yield rows page by page, and running to the end means the listing is *complete*.
Where a part could not be reached, yield the rest and say `self.partial("why")`; then nothing is marked missing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar, Literal

from core.errors import Gone, HostKeyUnknown, NotSupported, Unavailable

from . import _hcl

FieldKind = Literal["text", "password", "textarea", "toggle", "integer", "number", "choice", "list", "key"]

# --- what a provider lists ------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class LocationInfo:
    """A place a machine can be in. `parent`: external id of the location around it (zone → region)."""

    external_id: str
    name: str
    parent: str | None = None
    location_type: str = "zone"  # region, zone, datacenter, host, namespace
    country: str = ""  # ISO 3166 alpha-2
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class SizeInfo:
    """A size machines come in. Price None is unknown, never 0."""

    external_id: str
    name: str
    cores: float | None = None
    ram_mib: int | None = None
    disk_gib: int | None = None
    architecture: str = ""  # x86_64, arm64
    cost_hour: Decimal | None = None
    currency: str = "USD"
    locations: tuple[str, ...] | None = None  # external ids; None = everywhere
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageInfo:
    external_id: str
    name: str
    os_type: str = "linux"  # linux, windows, …
    os_distro: str = ""
    architecture: str = ""
    min_disk_gib: int | None = None
    min_ram_mib: int | None = None
    created_at: datetime | None = None
    starred: bool = False  # offered first
    locations: tuple[str, ...] | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkInfo:
    external_id: str
    name: str
    cidr: str = ""
    location: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class SubnetInfo:
    external_id: str
    name: str
    network: str  # external id
    cidr: str = ""
    location: str | None = None
    free_addresses: int | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class SecurityGroupInfo:
    external_id: str
    name: str
    network: str | None = None
    description: str = ""
    rules: tuple[Mapping[str, Any], ...] = ()  # {direction, protocol, from_port, to_port, peer}
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class VolumeInfo:
    external_id: str
    name: str
    size_gib: int
    state: str = "available"  # available, in-use, creating, deleting, error, unknown
    volume_type: str = ""
    location: str | None = None
    attached_to: tuple[str, ...] = ()  # external ids of machines
    created_at: datetime | None = None
    tags: Mapping[str, str] | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class SnapshotInfo:
    """A state of one machine that it can be put back into."""

    external_id: str
    name: str
    created_at: datetime | None = None
    description: str = ""
    active: bool = False  # the one the machine now descends from
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class LoginInfo:
    """By which key of ours, as whom and where a machine is logged in to, as a person said who listed it. `key`: id or name."""

    host: str
    port: int
    user: str
    key: str


@dataclass(frozen=True, kw_only=True, slots=True)
class MachineInfo:
    """A machine as its cloud sees it now. References are external ids; None or "" is unknown."""

    external_id: str
    name: str
    state: str = "unknown"  # a value of machines.models.Machine.State
    type: str = "vm"  # vm, container, hypervisor, container-host, machine, node, pod
    hostname: str = ""
    public_ips: tuple[str, ...] = ()
    private_ips: tuple[str, ...] = ()
    cores: float | None = None
    ram_mib: int | None = None
    disk_gib: int | None = None
    os_type: str = ""
    architecture: str = ""
    location: str | None = None
    size: str | None = None
    image: str | None = None
    network: str | None = None
    subnet: str | None = None
    parent: str | None = None  # external id of the machine it runs on or in
    created_at: datetime | None = None
    tags: Mapping[str, str] | None = None  # None: this cloud keeps no tags; ours stand alone
    cost_hour: Decimal | None = None  # None is unknown, never 0
    currency: str = "USD"
    # Verbs this machine cannot do now although its provider and state could: {"resize": "spot instances keep their size"}
    refusals: Mapping[str, str] = field(default_factory=dict)
    login: LoginInfo | None = None  # only of a list that people wrote: never what a cloud says
    extra: Mapping[str, Any] = field(default_factory=dict)  # small, JSON, no secrets: provider's own data


# --- what is asked of one -------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class VolumeSpec:
    """A volume to make or attach with a machine: either `external_id` of one that exists, or a size."""

    external_id: str | None = None
    size_gib: int | None = None
    name: str = ""
    volume_type: str = ""
    device: str = ""
    delete_with_machine: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class MachineSpec:
    """One machine to create. References are external ids. `token` is unique to the request: repeat-safe where a cloud can."""

    name: str
    token: str
    image: str = ""
    size: str | None = None
    cores: int | None = None  # custom size
    ram_mib: int | None = None
    disk_gib: int | None = None
    location: str | None = None
    network: str | None = None
    subnet: str | None = None
    security_groups: tuple[str, ...] = ()
    public_key: str = ""  # OpenSSH line
    key_name: str = ""
    host_key: str = field(default="", repr=False)  # private, OpenSSH PEM: what it is to show over SSH, where `takes_host_key`
    user: str = ""
    cloudinit: str = ""
    volumes: tuple[VolumeSpec, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)  # validated by the provider's `create_fields`


@dataclass(frozen=True, kw_only=True, slots=True)
class TerraformSpec:
    """Machines to write as Terraform: `count` like `spec`, each with a name of its own.

    `spec`: as far as it is known, without what is secret (`cloudinit`: that there is one). `name`: its texts, and a number, counted from
    1, where an int stands (how many digits it has at least). `config`: the cloud's credentials that are no secrets. `image`: what
    `list_images` said of the image in `extra`, and `min_disk_gib`.
    """

    spec: MachineSpec
    name: tuple[str | int, ...]
    count: int = 1
    config: Mapping[str, Any] = field(default_factory=dict)
    image: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Terraform:
    """Its text, and what of the spec it does not say or says otherwise: each a sentence of the class's `terraform_notes` and its values."""

    text: str
    notes: tuple[tuple[str, Mapping[str, Any]], ...] = ()

    def below(self, lines: Iterable[str]) -> str:
        """The text below comments of a line each."""
        return "\n".join([*map(_hcl.comment, lines), *([f"\n{self.text}"] if self.text else [])])


@dataclass(frozen=True, kw_only=True, slots=True)
class Field:
    """One field of a form: of the credentials, or of what a create takes beyond the common fields."""

    name: str
    label: str
    kind: FieldKind = "text"
    required: bool = False
    secret: bool = False  # goes to the vault, never answered
    default: Any = None
    help: str = ""
    choices: tuple[tuple[str, str], ...] = ()  # (value, label)
    aliases: tuple[str, ...] = ()  # names of the ancestor's clients, accepted
    minimum: float | None = None
    maximum: float | None = None
    fields: tuple[Field, ...] = ()  # of each row, when kind is "list"
    paste: Callable[[str], list[dict[str, Any]]] | None = None  # a text instead of rows.  Raises: Invalid, in `fields[name]`


@dataclass(frozen=True, kw_only=True, slots=True)
class PermissionCheck:
    """One permission the credentials should hold. `ok` None: could not be tested. `fix`: exact text to add, when missing."""

    name: str
    purpose: str
    ok: bool | None
    fix: str = ""


class Deadline:
    """A point in time no call may pass. Give `remaining()` to every socket; `check()` between steps."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self.seconds = seconds

    def remaining(self, cap: float | None = None) -> float:
        """Seconds left (at most `cap`).  Raises: Unavailable when none are."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise Unavailable(f"The cloud did not answer within {self.seconds:.0f} s. It will be asked again.", code="cloud_timeout")
        return left if cap is None else min(left, cap)

    check = remaining


def _no_host_keys(host: str, port: int) -> list[str]:
    return []


def _refuse_trust(host: str, port: int, key: str) -> None:
    raise HostKeyUnknown(f"{host} is not known yet.", host=host, port=port, offered=key)


def _no_key(name: str) -> str:
    raise NotSupported("This provider has no access to keys here.")


def _any_address(host: str, port: int) -> list[str]:
    return [host]


@dataclass(frozen=True, kw_only=True)
class Context:
    """All that a provider may ask of the rest of Mist. Tests make their own."""

    cloud_id: str = ""
    deadline: Deadline = field(default_factory=lambda: Deadline(60))
    # Before each API call: takes one token of the account's budget; waits shortly or raises RateLimited.
    spend: Callable[[str], None] = lambda api: None
    # The addresses (IP literals) to dial for a host, SSRF rules applied; raises core.errors.Rejected. Dial only what it gave.
    resolve: Callable[[str, int], list[str]] = _any_address
    # A key's id or name → its private part (OpenSSH PEM text).
    private_key: Callable[[str], str] = _no_key
    # Pinned public host keys (OpenSSH lines) of host:port.
    host_keys: Callable[[str, int], list[str]] = _no_host_keys
    # A host shows a key and none is pinned: records the first trust (audited) and returns, or raises HostKeyUnknown.
    trust: Callable[[str, int, str], None] = _refuse_trust
    # A host shows another key than the one pinned, so that nothing is run on it: whom to tell.
    changed: Callable[[str, int, str], None] = lambda host, port, line: None


# --- the class ------------------------------------------------------------------------------------------------------


class Provider:
    """One cloud's API in our words. Subclass, fill in, `@register`.

    `credentials`: the validated values of `credential_fields`, secrets included; never logged, never in an error.
    """

    name: ClassVar[str]  # "amazon": the wire contract's id
    title: ClassVar[str]  # "Amazon Web Services"
    aliases: ClassVar[tuple[str, ...]] = ()
    category: ClassVar[str] = "public"  # public, private, hypervisor, container-host, other
    tile: ClassVar[str] = ""  # two or three letters
    doc: ClassVar[str] = ""  # where to get the credentials: one or two sentences for the add-cloud form
    credential_fields: ClassVar[tuple[Field, ...]] = ()
    create_fields: ClassVar[tuple[Field, ...]] = ()
    # What a create needs of the common fields: subset of {"image", "size", "location", "key", "network"}.
    create_requires: ClassVar[frozenset[str]] = frozenset({"image", "size", "location"})
    # Do a machine's snapshots stay when it is destroyed? Then one may be taken first.
    snapshots_outlive: ClassVar[bool] = False
    purposes: ClassVar[tuple[str, ...]] = ()  # what permissions are for
    custom_size: ClassVar[bool] = False  # cores / ram_mib / disk_gib instead of a size
    # Overrides of which verbs a state allows (PROVIDERS.md §3): {"rename": {"running", "stopped"}}; default rules otherwise.
    verb_states: ClassVar[Mapping[str, frozenset[str]]] = {}
    terraform_notes: ClassVar[tuple[str, ...]] = ()  # all that a text of `terraform` may be annotated with
    polls: ClassVar[Mapping[str, int]] = {}  # {kind: seconds between polls} where the default does not fit

    def __init__(self, credentials: Mapping[str, Any], context: Context | None = None) -> None:
        self.credentials = credentials
        self.context = context or Context()
        self.incomplete: list[str] = []  # why the current listing is not complete

    # -- class level

    @classmethod
    def supports(cls, method: str) -> bool:
        """Is this method written? `Provider.supports("stop_machine")`."""
        mine = getattr(cls, method, None)
        return mine is not None and mine is not getattr(Provider, method, None)

    @classmethod
    def needs_admin(cls, credentials: Mapping[str, Any]) -> str:
        """Why only an installation admin may add a cloud with these credentials; "" when anybody may."""
        return ""

    @classmethod
    def account(cls, credentials: Mapping[str, Any]) -> str:
        """What the API counts calls by (never a secret in clear): clouds with the same answer share one budget."""
        return ""

    @classmethod
    def takes_host_key(cls, spec: MachineSpec) -> bool:
        """Can this machine be given its SSH host key by a channel that nobody else reads?"""
        return False

    # -- connection

    def check(self) -> None:
        """Do these credentials work? One cheap call.  Raises: AuthFailed, Unavailable, Rejected, HostKey…"""
        raise NotSupported(f"{self.title} cannot be checked.")

    def permissions(self) -> list[PermissionCheck]:
        """Which permissions the credentials hold, tested without changing anything. The `purpose` of each is one of `purposes`."""
        return []

    def close(self) -> None:
        """Let go of sockets. Called once, also after an error."""

    def partial(self, why: str) -> None:
        """Say that what is being listed is not all there is."""
        self.incomplete.append(why)

    # -- listings (generators). Not supported unless written.

    def list_machines(self) -> Iterator[MachineInfo]:
        raise self._unsupported("list machines")

    def list_locations(self) -> Iterator[LocationInfo]:
        raise self._unsupported("list locations")

    def list_sizes(self) -> Iterator[SizeInfo]:
        raise self._unsupported("list sizes")

    def list_images(self) -> Iterator[ImageInfo]:
        raise self._unsupported("list images")

    def list_networks(self) -> Iterator[NetworkInfo]:
        raise self._unsupported("list networks")

    def list_subnets(self) -> Iterator[SubnetInfo]:
        raise self._unsupported("list subnets")

    def list_security_groups(self) -> Iterator[SecurityGroupInfo]:
        raise self._unsupported("list security groups")

    def list_volumes(self) -> Iterator[VolumeInfo]:
        raise self._unsupported("list volumes")

    # -- one machine

    def get_machine(self, external_id: str) -> MachineInfo:
        """The machine as it is now.  Raises: Gone."""
        for info in self.list_machines():
            if info.external_id == external_id:
                return info
        raise Gone("The machine is not in the cloud any more.")

    def create_machine(self, spec: MachineSpec) -> str:
        """Ask for one machine; its external id, before it has booted."""
        raise self._unsupported("create machines")

    @staticmethod
    def terraform(wanted: TerraformSpec) -> Terraform:
        """What makes the same machines in the cloud itself, by its Terraform provider. Nobody is asked; nothing of it is secret."""
        raise NotSupported("There is no Terraform provider for this cloud.")

    def start_machine(self, external_id: str) -> None:
        raise self._unsupported("start machines")

    def stop_machine(self, external_id: str) -> None:
        raise self._unsupported("stop machines")

    def reboot_machine(self, external_id: str) -> None:
        raise self._unsupported("reboot machines")

    def power_cycle_machine(self, external_id: str) -> None:
        raise self._unsupported("power-cycle machines")

    def suspend_machine(self, external_id: str) -> None:
        raise self._unsupported("suspend machines")

    def resume_machine(self, external_id: str) -> None:
        raise self._unsupported("resume machines")

    def destroy_machine(self, external_id: str) -> None:
        raise self._unsupported("destroy machines")

    def undefine_machine(self, external_id: str, *, delete_disks: bool = False) -> None:
        raise self._unsupported("undefine machines")

    def rename_machine(self, external_id: str, name: str) -> None:
        raise self._unsupported("rename machines")

    def resize_machine(self, external_id: str, size: str | None, *, cores: int | None = None, ram_mib: int | None = None) -> None:
        """Another size: `size` is a size's external id, or cores and ram_mib where sizes are custom."""
        raise self._unsupported("resize machines")

    def clone_machine(self, external_id: str, name: str) -> str:
        """A copy under another name; its external id."""
        raise self._unsupported("clone machines")

    def tag_machine(self, external_id: str, tags: Mapping[str, str], removed: Iterable[str]) -> None:
        """Write our tags to the cloud's: `tags` to set, `removed` keys to drop."""
        raise self._unsupported("keep tags")

    # -- a terminal inside, for machines that are entered through their cloud's API. `terminal`: what `create_terminal` gave.

    def create_terminal(self, external_id: str, *, user: str, cols: int, rows: int) -> str:
        """Make ready a login shell on a terminal of that size; it starts when it is attached. `user` "": the machine's own."""
        raise self._unsupported("open terminals")

    async def attach_terminal(self, terminal: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Start it. What is typed goes in, what is shown comes out; the stream lives on beyond the deadline and this object."""
        raise self._unsupported("open terminals")

    def resize_terminal(self, terminal: str, cols: int, rows: int) -> None:
        raise self._unsupported("open terminals")

    def terminal_status(self, terminal: str) -> int | None:
        """The exit status of its shell; None while it runs."""
        raise self._unsupported("open terminals")

    def end_terminal(self, external_id: str, terminal: str) -> None:
        """Hang up on what runs in it: closing the stream alone may leave it running."""
        raise self._unsupported("open terminals")

    def host_fingerprints(self, external_id: str) -> Sequence[str]:
        """SHA256:… of each SSH host key that it printed on its console when it booted; none when it said nothing yet."""
        raise self._unsupported("read what a machine printed")

    # -- one volume

    def get_volume(self, external_id: str) -> VolumeInfo:
        """The volume as it is now.  Raises: Gone."""
        for info in self.list_volumes():
            if info.external_id == external_id:
                return info
        raise Gone("The volume is not in the cloud any more.")

    def delete_volume(self, external_id: str) -> None:
        """Delete a volume that is attached to nothing. One that is: Rejected, `cloud_wrong_state`."""
        raise self._unsupported("delete volumes")

    # -- snapshots of a machine

    def list_snapshots(self, external_id: str) -> Sequence[SnapshotInfo]:
        raise self._unsupported("list snapshots")

    def create_snapshot(self, external_id: str, name: str, description: str = "") -> str:
        raise self._unsupported("make snapshots")

    def remove_snapshot(self, external_id: str, snapshot: str) -> None:
        raise self._unsupported("remove snapshots")

    def revert_to_snapshot(self, external_id: str, snapshot: str) -> None:
        raise self._unsupported("revert to snapshots")

    def _unsupported(self, what: str) -> NotSupported:
        return NotSupported(f"{self.title} cannot {what}.")


_providers: dict[str, type[Provider]] = {}


def register(cls: type[Provider]) -> type[Provider]:
    """Class decorator: makes the provider known under its name and aliases."""
    for name in (cls.name, *cls.aliases):
        if _providers.setdefault(name, cls) is not cls:
            raise ValueError(f"Two providers answer to {name!r}.")
    return cls
