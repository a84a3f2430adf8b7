"""A simulated cloud: any number of machines, as slow and as faulty as asked for, for tests, benchmarks and a look around.

The fleet is computed (`fleet.py`); what has been done to it is kept (`state.py`), a JSON document a machine, in an SQLite
file under `MIST_HOME/demo/<cloud id>/`: every process sees the same cloud, and a killed one breaks nothing. A state that
takes time (stopping, starting, creating) is a pair of states and a point in time, looked at when somebody lists (`rows.py`).

Faults on demand: `failure_rate` 1 fails every call, `slow_listing_s` above the caller's deadline is a cloud that hangs.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import MappingProxyType
from typing import Any, NoReturn

from core.errors import Gone, ProviderError, RateLimited, Rejected, Unavailable

from ..base import Context, Provider, register
from ..facts import (
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
    VolumeInfo,
)
from . import fleet, rows
from .state import Document, State

# How long a change of state takes, in calls: start with a latency of 100 ms takes 2 s, with 0 it is there at once.
_CALLS = {"start": 20, "stop": 10, "reboot": 30, "power_cycle": 25, "suspend": 10, "resume": 10, "create": 40, "destroy": 10, "resize": 10}


@register
class Demo(Provider):
    """`clock`: seconds since 1970, replaceable: tests need not wait for a machine to stop."""

    name, title, tile, category = "demo", "Demo cloud", "dm", "other"
    aliases = ("simulated",)
    doc = "A simulated cloud: no account is needed and nothing is real. Acts change only this installation's own copy of it."
    purposes = ("see and change every demo machine",)
    credential_fields = (
        Field(name="machines", label="Machines", kind="integer", required=True, default=60, minimum=0, maximum=fleet.MAX_MACHINES),
        Field(
            name="latency_ms",
            label="Latency (ms)",
            kind="integer",
            default=100,
            minimum=0,
            maximum=60_000,
            help="How long each call takes.",
        ),
        Field(
            name="failure_rate",
            label="Failure rate",
            kind="number",
            default=0,
            minimum=0,
            maximum=1,
            help="The share of calls that fail: 0 none, 1 all.",
        ),
        Field(
            name="slow_listing_s",
            label="Slow listing (s)",
            kind="number",
            default=0,
            minimum=0,
            maximum=3600,
            help="How long a listing takes. Above the deadline of a poll, the cloud seems to hang.",
        ),
        Field(name="seed", label="Seed", kind="integer", help="The same seed is the same fleet. Empty: a fleet of its own."),
    )
    verb_states = MappingProxyType({"resize": frozenset({"stopped"}), "undefine": frozenset({"stopped"})})

    def __init__(self, credentials: Mapping[str, Any], context: Context | None = None) -> None:
        super().__init__(credentials, context)
        self.clock: Callable[[], float] = time.time
        self._latency_s = self._number("latency_ms", 100) / 1000
        self._failure_rate = self._number("failure_rate", 0)
        self._slow_s = self._number("slow_listing_s", 0)
        seed = self.credentials.get("seed")
        self._seed = str(self.context.cloud_id if seed in (None, "") else int(seed))
        self._fleet = fleet.Fleet(self._seed, min(int(self._number("machines", 60)), fleet.MAX_MACHINES))
        self._state = State(self.context.cloud_id, self.context.deadline)

    def check(self) -> None:
        self._call("check")

    def permissions(self) -> list[PermissionCheck]:
        return [PermissionCheck(name="demo:*", purpose=self.purposes[0], ok=True)]

    def close(self) -> None:
        self._state.close()

    # -- listings

    def list_machines(self) -> Iterator[MachineInfo]:
        self._call("list")
        changes, now = self._state.changes(), self.clock()
        hosts_down: set[str] = set()  # a container is gone or stopped with its host, which comes before it
        for info in self._everything(changes):
            change = changes.get(info.external_id)
            if change is not None:
                if rows.is_gone(change, now):
                    hosts_down.add(info.external_id)
                    continue
                info = rows.changed(info, change, now)
            if info.type == "container-host" and info.state != "running":
                hosts_down.add(info.external_id)
            elif info.parent in hosts_down:
                if rows.is_gone(changes.get(info.parent), now):
                    continue
                info = replace(info, state="stopped")
            yield info

    def list_locations(self) -> Iterator[LocationInfo]:
        self._call("list")
        yield from fleet.locations()

    def list_sizes(self) -> Iterator[SizeInfo]:
        self._call("list")
        yield from fleet.SIZES.values()

    def list_images(self) -> Iterator[ImageInfo]:
        self._call("list")
        yield from fleet.IMAGES.values()

    def list_networks(self) -> Iterator[NetworkInfo]:
        self._call("list")
        yield from fleet.networks()

    def list_subnets(self) -> Iterator[SubnetInfo]:
        self._call("list")
        yield from fleet.subnets()

    def list_security_groups(self) -> Iterator[SecurityGroupInfo]:
        self._call("list")
        yield from fleet.security_groups()

    def list_volumes(self) -> Iterator[VolumeInfo]:
        self._call("list")
        yield from self._volumes()

    def _volumes(self) -> Iterator[VolumeInfo]:
        changes, now = self._state.changes(), self.clock()
        for volume in self._fleet.volumes():
            if volume.external_id in changes:
                continue  # deleted
            if any(rows.is_gone(changes.get(machine), now) for machine in volume.attached_to):
                volume = replace(volume, state="available", attached_to=())  # outlives its machine, as real ones do
            yield volume
        for machine, change in changes.items():
            yield from (info for info in rows.volumes(machine, change, now) if info.external_id not in changes)

    # -- one machine

    def get_machine(self, external_id: str) -> MachineInfo:
        self._call("get")
        return self._see(external_id, self._state.changes(external_id))

    def create_machine(self, spec: MachineSpec) -> str:
        self._call("create")
        size, image, place = fleet.SIZES.get(spec.size or ""), fleet.IMAGES.get(spec.image), fleet.place_of(spec.location or "eu-west")
        if size is None:
            _refuse(f"There is no size “{spec.size}”.", "InvalidParameter: size")
        if image is None:
            _refuse(f"There is no image “{spec.image}”.", "InvalidParameter: image")
        if place is None:
            _refuse(f"There is no location “{spec.location}”.", "InvalidParameter: location")
        if image.architecture != size.architecture:
            _refuse(f"{image.name} does not run on {size.architecture}.", "InvalidParameter: architecture of image and size differ")
        if image.min_disk_gib and size.disk_gib and size.disk_gib < image.min_disk_gib:
            _refuse(f"{image.name} needs a disk of {image.min_disk_gib} GiB.", "InvalidParameter: disk is too small")
        region, zone = fleet.REGIONS[place[0]][0], fleet.ZONES[place[1]]
        born = {
            "name": spec.name,
            "size": size.external_id,
            "image": image.external_id,
            "location": f"{region}-{zone}",
            "network": f"net-{region}",
            "subnet": f"subnet-{region}-{zone}",
            "os_type": image.os_type,
            "hostname": f"{spec.name}.demo.internal",
            "extra": {"key": spec.key_name, "cloudinit": bool(spec.cloudinit)},
        }
        volumes = [
            {
                "name": each.name or f"{spec.name}-{number}",
                "size_gib": each.size_gib or 10,
                "volume_type": each.volume_type,
                "delete_with_machine": each.delete_with_machine,
            }
            for number, each in enumerate(spec.volumes, 1)
            if each.external_id is None
        ]
        return self._bear(spec.token, born, tags=dict(spec.tags), address=place, volumes=volumes)

    def start_machine(self, external_id: str) -> None:
        self._move(external_id, "start", {"stopped", "error"}, "starting", "running")

    def stop_machine(self, external_id: str) -> None:
        self._move(external_id, "stop", {"running", "error"}, "stopping", "stopped")

    def reboot_machine(self, external_id: str) -> None:
        self._move(external_id, "reboot", {"running"}, "rebooting", "running")

    def power_cycle_machine(self, external_id: str) -> None:
        self._move(external_id, "power_cycle", {"running", "error", "suspended"}, "rebooting", "running")

    def suspend_machine(self, external_id: str) -> None:
        self._move(external_id, "suspend", {"running"}, "stopping", "suspended")

    def resume_machine(self, external_id: str) -> None:
        self._move(external_id, "resume", {"suspended"}, "starting", "running")

    def destroy_machine(self, external_id: str) -> None:
        self._call("destroy")
        with self._changing(external_id) as (_, change):
            change.update(via="stopping", state="terminated", until=self._later("destroy"), gone=True)

    def undefine_machine(self, external_id: str, *, delete_disks: bool = False) -> None:
        self._call("undefine")
        with self._changing(external_id) as (info, change):
            _must_be(info, {"stopped"}, "undefined")
            change.update(via="terminated", state="terminated", until=self.clock(), gone=True)
            if delete_disks:
                change["volumes"] = [row | {"delete_with_machine": True} for row in change.get("volumes", ())]

    def rename_machine(self, external_id: str, name: str) -> None:
        self._call("rename")
        with self._changing(external_id) as (_, change):
            change["name"] = name

    def resize_machine(self, external_id: str, size: str | None, *, cores: int | None = None, ram_mib: int | None = None) -> None:
        self._call("resize")
        with self._changing(external_id) as (info, change):
            if size not in fleet.SIZES:
                _refuse(f"There is no size “{size}”.", "InvalidParameter: size")
            _must_allow(info, "resize")
            _must_be(info, {"stopped"}, "resized")
            if fleet.SIZES[size].architecture != info.architecture:
                _refuse(f"{size} is of another architecture than {info.name}.", "InvalidParameter: architecture")
            change.update(size=size, via="reconfiguring", state="stopped", until=self._later("resize"))

    def clone_machine(self, external_id: str, name: str) -> str:
        self._call("create")
        info = self._see(external_id, self._state.changes(external_id))
        if info.type == "container":
            _refuse("A container is made from its image, not cloned.", "OperationNotPermitted")
        born = {key: getattr(info, key) for key in ("size", "image", "location", "network", "subnet", "os_type")}
        token = f"{external_id}/{name}/{random.SystemRandom().getrandbits(64):x}"
        place = fleet.place_of(info.location or "") or (0, 0)
        return self._bear(token, born | {"name": name, "hostname": f"{name}.demo.internal"}, tags=dict(info.tags or {}), address=place)

    def tag_machine(self, external_id: str, tags: Mapping[str, str], removed: Iterable[str]) -> None:
        self._call("tag")
        with self._changing(external_id) as (info, change):
            dropped = set(removed)
            change["tags"] = {key: value for key, value in (info.tags or {}).items() if key not in dropped} | dict(tags)

    # -- volumes

    def delete_volume(self, external_id: str) -> None:
        """One that is deleted is kept in mind under its own id: no machine is called so."""
        self._call("delete_volume")
        with self._state.alone():
            info = next((one for one in self._volumes() if one.external_id == external_id), None)
            if info is None:
                raise Gone("The volume is not in the cloud any more.", words="InvalidVolumeID.NotFound")
            if info.attached_to:
                raise Rejected(f"{info.name} is attached to a machine. Detach it first.", words="VolumeInUse", code="cloud_wrong_state")
            self._state.put(external_id, {"deleted_at": self.clock()})

    # -- snapshots

    def list_snapshots(self, external_id: str) -> Sequence[SnapshotInfo]:
        self._call("list")
        change = self._state.changes(external_id)
        self._see(external_id, change)
        return [rows.snapshot(row) for row in change.get(external_id, {}).get("snapshots", ())]

    def create_snapshot(self, external_id: str, name: str, description: str = "") -> str:
        self._call("snapshot")
        with self._changing(external_id) as (info, change):
            _must_allow(info, "create_snapshot")
            kept = change.setdefault("snapshots", [])
            if any(row["name"] == name for row in kept):
                _refuse(f"{info.name} has a snapshot “{name}” already.", "DuplicateSnapshotName")
            change["snapshots_made"] = made = change.get("snapshots_made", 0) + 1
            for row in kept:
                row["active"] = False
            row = {"id": f"snap-{external_id[2:]}-{made}", "name": name, "description": description, "at": self.clock(), "active": True}
            kept.append(row | {"size": info.size, "tags": dict(info.tags or {})})
            return str(row["id"])

    def remove_snapshot(self, external_id: str, snapshot: str) -> None:
        self._call("snapshot")
        with self._changing(external_id) as (_, change):
            change["snapshots"].remove(rows.find_snapshot(change, snapshot))

    def revert_to_snapshot(self, external_id: str, snapshot: str) -> None:
        self._call("snapshot")
        with self._changing(external_id) as (info, change):
            _must_be(info, {"running", "stopped", "suspended", "error"}, "reverted")
            chosen = rows.find_snapshot(change, snapshot)
            for row in change["snapshots"]:
                row["active"] = row is chosen
            state = "stopped" if info.state == "stopped" else "running"
            change.update(size=chosen["size"], tags=chosen["tags"], via="reconfiguring", state=state, until=self._later("reboot"))

    # -- what a machine has become

    def _everything(self, changes: Mapping[str, Document]) -> Iterator[MachineInfo]:
        yield from self._fleet
        for external_id, change in changes.items():
            if "born" in change:
                yield rows.newborn(external_id, change)

    def _see(self, external_id: str, changes: Mapping[str, Document]) -> MachineInfo:
        """One machine as it is now.  Raises: Gone."""
        change, now = changes.get(external_id), self.clock()
        index = self._fleet.index_of(external_id)
        if rows.is_gone(change, now) or (index is None and "born" not in (change or {})):
            raise Gone("The machine is not in the demo cloud any more.", words="InvalidMachineID.NotFound")
        info = rows.newborn(external_id, change) if index is None and change else self._fleet.machine(index or 0)
        if change is not None:
            info = rows.changed(info, change, now)
        if info.parent is not None:
            host = self._see(info.parent, self._state.changes(info.parent))  # Gone with its host
            info = info if host.state == "running" else replace(info, state="stopped")
        return info

    def _bear(self, token: str, born: Document, *, tags: dict[str, str], address: tuple[int, int], volumes: Sequence[Document] = ()) -> str:
        """Keep a new machine; the same token twice is the same machine."""
        external_id = "i-" + hashlib.sha256(f"{self._fleet.key}/{token}".encode()).hexdigest()[:17]
        host = fleet.MAX_MACHINES + int(external_id[-4:], 16) % 60_000  # above the fleet's addresses
        change: Document = {
            "born": born | {"private_ips": [fleet.private_ip(*address, host)], "public_ips": [fleet.public_ip(host)]},
            "born_at": self.clock(),
            "tags": tags,
            "via": "creating",
            "state": "running",
            "until": self._later("create"),
            "volumes": [row | {"id": f"vol-{external_id[2:]}-{number}"} for number, row in enumerate(volumes, 1)],
        }
        self._state.add(external_id, change)
        return external_id

    def _move(self, external_id: str, verb: str, states: set[str], via: str, state: str) -> None:
        self._call(verb)
        with self._changing(external_id) as (info, change):
            _must_be(info, states, _DONE[verb])
            change.update(via=via, state=state, until=self._later(verb))

    def _later(self, verb: str) -> float:
        return self.clock() + _CALLS[verb] * self._latency_s

    # -- what is kept

    @contextmanager
    def _changing(self, external_id: str) -> Iterator[tuple[MachineInfo, Document]]:
        """The machine as it is, and its document to change, alone: others wait. Nothing is kept when the body raises."""
        with self._state.alone():
            changes = self._state.changes(external_id)
            info = self._see(external_id, changes)
            change = changes.get(external_id, {})
            yield info, change
            self._state.put(external_id, change)

    # -- knobs

    def _number(self, name: str, default: float) -> float:
        value = self.credentials.get(name)
        return default if value in (None, "") else float(value)

    def _call(self, verb: str) -> None:
        """What every call of the API goes through: the budget, the latency, the fault."""
        self.context.spend("demo")
        self._wait(self._latency_s + (self._slow_s if verb == "list" else 0))
        if self._failure_rate and (self._failure_rate >= 1 or self._luck() < self._failure_rate):
            raise self._fault(verb)

    def _wait(self, seconds: float) -> None:
        if seconds > 0:
            time.sleep(min(seconds, self.context.deadline.remaining()))
        self.context.deadline.check()

    def _luck(self) -> float:
        """The next of a row of even random numbers in [0, 1): the same row for a seed, whichever processes draw from it."""
        times = self._state.count()
        return random.Random(f"{self._seed}/{times}").random()  # noqa: S311 — repeatable is the point

    def _fault(self, verb: str) -> ProviderError:
        faults: list[ProviderError] = [
            Unavailable(
                "The demo cloud failed, as it was asked to. It will be asked again.", words="503 Service Unavailable: InternalError"
            ),
            RateLimited("The demo cloud was asked too often.", retry_after_s=5, words="429 Too Many Requests: RequestLimitExceeded"),
        ]
        if verb not in {"list", "get", "check"}:
            faults += [
                Rejected("The demo cloud has no capacity left there. Try another size or location.", words="InsufficientMachineCapacity"),
                Rejected("The demo account's limit is reached. Ask its owner to raise it.", words="LimitExceeded: vCPU limit of 64"),
            ]
        return faults[int(self._luck() * len(faults))]


_DONE = {
    "start": "started",
    "stop": "stopped",
    "reboot": "rebooted",
    "power_cycle": "power-cycled",
    "suspend": "suspended",
    "resume": "resumed",
}


def _refuse(detail: str, words: str) -> NoReturn:
    raise Rejected(detail, words=words)


def _must_be(info: MachineInfo, states: set[str], done: str) -> None:
    if info.state not in states:
        _refuse(f"{info.name} is {info.state} and cannot be {done} now.", f"IncorrectMachineState: {info.state}")


def _must_allow(info: MachineInfo, verb: str) -> None:
    if verb in info.refusals:
        _refuse(info.refusals[verb], "OperationNotPermitted")
