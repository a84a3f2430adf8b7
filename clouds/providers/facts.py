"""What a provider tells and what it is asked, in our words and units: rows of listings, what to make, fields of forms."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

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
