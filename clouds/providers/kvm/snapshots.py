"""Snapshots of a machine, as libvirt keeps them inside its qcow2 files.

Source: https://libvirt.org/formatsnapshot.html
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from core.errors import Gone, Rejected

from ..facts import SnapshotInfo
from . import domain as domains
from .host import Hypervisor, valid_name


def read(host: Hypervisor, uuid: str) -> list[SnapshotInfo]:
    """All of a machine."""
    found = host.script(
        'v dominfo "$1" >/dev/null || exit 1\nmark current; v snapshot-current "$1" --name 2>/dev/null\n'
        'v snapshot-list "$1" --name | while read -r s; do [ "$s" ] || continue; mark one; v snapshot-dumpxml "$1" "$s"; done',
        uuid,
    )
    current = found["current"][0].strip()
    snapshots = []
    for text in found.get("one", []):
        if not text.strip():
            continue
        tree = domains.parse(text)
        name, created = domains.text_of(tree, "name"), domains.text_of(tree, "creationTime")
        snapshots.append(
            SnapshotInfo(
                external_id=name,
                name=name,
                created_at=datetime.fromtimestamp(int(created), UTC) if created.isdigit() else None,
                description=domains.text_of(tree, "description"),
                active=name == current,
                extra={"state": domains.text_of(tree, "state")},
            )
        )
    return snapshots


def create(host: Hypervisor, uuid: str, name: str, description: str) -> str:
    """Take one; its name.  Raises: Rejected."""
    # virsh puts the description into XML itself; control characters would make it refuse in riddles.
    words = re.sub(r"[^\S ]|[\x00-\x1f\x7f]", " ", description).strip()[:500]
    more = ["--description", words] if words else []
    host.virsh("snapshot-create-as", uuid, "--name", valid_name(name, "snapshot"), "--atomic", *more)
    return name


def named(snapshot: str) -> str:
    """A name fit to be given to virsh: made elsewhere it may be any but one that would be taken for an option.  Raises: Gone."""
    if not snapshot or snapshot.startswith("-") or not snapshot.isprintable():
        raise Gone("There is no such snapshot.")
    return snapshot


def act(host: Hypervisor, command: str, uuid: str, snapshot: str) -> None:
    """`snapshot-delete` or `snapshot-revert`.  Raises: Gone when it is not there."""
    try:
        host.virsh(command, uuid, snapshot)
    except Rejected as error:
        if "no domain snapshot with matching name" in error.words:
            raise Gone("There is no such snapshot.", words=error.words) from error
        raise
