"""What every cloud looks like from our side: one class to fill in, and what it is given. Its words and units: `facts.py`.

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
from typing import Any, ClassVar

from core.errors import Gone, HostKeyUnknown, NotSupported, Unavailable

from .facts import (
    Field,
    ImageInfo,
    LocationInfo,
    MachineInfo,
    MachineSpec,
    NetworkInfo,
    PermissionCheck,
    SecurityGroupInfo,
    SizeInfo,
    SnapshotInfo,
    SubnetInfo,
    Terraform,
    TerraformSpec,
    VolumeInfo,
)

# --- what a provider is given ---------------------------------------------------------------------------------------


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
