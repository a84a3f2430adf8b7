"""What has become of the demo cloud's machines: rows, from how each was born and the document of what was done to it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

from core.errors import Gone

from ..facts import MachineInfo, SnapshotInfo, VolumeInfo
from . import fleet
from .state import Document


def is_gone(change: Document | None, now: float) -> bool:
    """Was it destroyed, and long enough ago?"""
    return change is not None and bool(change.get("gone")) and now >= change["until"]


def at(seconds: float) -> datetime:
    """The time so many seconds after 1970."""
    return datetime.fromtimestamp(seconds, tz=UTC)


def newborn(external_id: str, change: Document) -> MachineInfo:
    """A machine that was created or cloned, as it was asked for."""
    born = change["born"]
    lists = {"private_ips": tuple(born["private_ips"]), "public_ips": tuple(born["public_ips"])}
    return _sized(MachineInfo(external_id=external_id, created_at=at(change["born_at"]), **(born | lists)), born["size"])


def _sized(info: MachineInfo, size: str) -> MachineInfo:
    kind = fleet.SIZES[size]
    return replace(
        info,
        size=size,
        cores=kind.cores,
        ram_mib=kind.ram_mib,
        disk_gib=kind.disk_gib,
        architecture=kind.architecture,
        cost_hour=kind.cost_hour,
    )


def changed(info: MachineInfo, change: Document, now: float) -> MachineInfo:
    """The machine after what was done to it."""
    if "size" in change and change["size"] != info.size:
        info = _sized(info, change["size"])
    values: Document = {key: change[key] for key in ("name", "tags") if key in change}
    if "state" in change:
        values["state"] = change["via"] if now < change["until"] else change["state"]
    return replace(info, **values) if values else info


def volumes(machine: str, change: Document, now: float) -> Iterator[VolumeInfo]:
    """Those that were made with a machine, but such as went with it."""
    gone = is_gone(change, now)
    for row in change.get("volumes", ()):
        if not (gone and row["delete_with_machine"]):
            yield VolumeInfo(
                external_id=row["id"],
                name=row["name"],
                size_gib=row["size_gib"],
                volume_type=row["volume_type"] or "ssd",
                state="available" if gone else "in-use",
                attached_to=() if gone else (machine,),
                location=change["born"]["location"],
                created_at=at(change["born_at"]),
                tags={},
                extra={"is_deleted_with_machine": row["delete_with_machine"]},
            )


def find_snapshot(change: Document, snapshot: str) -> Document:
    """The row of a snapshot of a machine.  Raises: Gone."""
    rows: list[Document] = change.get("snapshots", [])
    for row in rows:
        if row["id"] == snapshot:
            return row
    raise Gone("The snapshot is not there any more.", words="InvalidSnapshotID.NotFound")


def snapshot(row: Document) -> SnapshotInfo:
    """One of those rows, as a provider tells it."""
    return SnapshotInfo(
        external_id=row["id"], name=row["name"], created_at=at(row["at"]), description=row["description"], active=row["active"]
    )
