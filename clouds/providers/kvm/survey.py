"""What there is on a host: one script that asks libvirt for everything, and readers that make rows of it."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import posixpath
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from typing import Any

from core.errors import Rejected, Unavailable

from ..facts import ImageInfo, MachineInfo, NetworkInfo
from . import domain as domains
from .host import Hypervisor, is_uuid

MAX_XML_KEPT = 8000  # characters of a domain's XML that a row carries

# libvirt's words for a domain's state. "paused" is what `virsh suspend` makes.
STATES = {
    "running": "running",
    "idle": "running",
    "no state": "unknown",
    "paused": "suspended",
    "pmsuspended": "suspended",
    "in shutdown": "stopping",
    "shut off": "stopped",
    "crashed": "error",
}

# Fifty machines to a virsh: an argument has 128 KiB at most. Not with -q, which takes the end of the line from `echo`.
# That a machine has no address is an error to virsh, not to us.
_MACHINES = r"""
mark node; v nodeinfo || exit 1
mark system; hostname; uname -m; uname -r
ids=$(v list --all --uuid) || exit 1
mark ids; echo "$ids"
ask() {
  set -- $ids
  while [ $# -gt 0 ]; do
    c= i=0
    while [ $# -gt 0 ] && [ $i -lt 50 ]; do
      c="$c; echo $n xml $1; dumpxml $1; echo $n state $1; domstate $1; echo $n blocks $1; domblkinfo $1 --all"
      c="$c; echo $n address $1; domifaddr $1 --source lease; domifaddr $1 --source arp"
      shift; i=$((i + 1))
    done
    virsh -c "$uri" "${c#; }" 2>/dev/null
  done
}
ask
"""

# The guest's own agent knows addresses that no lease shows; a guest that hangs must not hold the listing.
_AGENTS = r"""
for id in "$@"; do
  mark address "$id"
  timeout 3 virsh -q -c "$uri" domifaddr "$id" --source agent 2>/dev/null
done
"""

_NETWORKS = r"""
ids=$(v net-list --all --uuid) || exit 1
for id in $ids; do mark network; v net-dumpxml "$id"; done
mark active; v net-list --uuid
"""

# Files right in images_location and volumes of active pools, but not what a machine has as its disk.
_IMAGES = r"""
mark used
ids=$(v list --all --uuid) || exit 1
for id in $ids; do v domblklist "$id" --details; done
for p in $(v pool-list --uuid); do mark pool; v pool-dumpxml "$p"; mark volumes; v vol-list "$p"; done
mark files
find -L "$images" -maxdepth 1 -type f
"""

_INFO = r"""
for f in "$@"; do mark info; qemu-img info -U --output=json "$f" 2>/dev/null; done
"""

_IMAGE_NAME = re.compile(r"\.(qcow2|img|raw|iso)$", re.IGNORECASE)
_SEED_NAME = re.compile(r"-[0-9a-f]{8}-seed\.iso$")


def machines(host: Hypervisor) -> list[MachineInfo]:
    """The hypervisor and its domains.  Raises: Unavailable when one that is there could not be read."""
    found = host.script(_MACHINES)
    ids = [word for word in found["ids"][0].split() if is_uuid(word)]
    rows = [_hypervisor(host, found)]
    read = [(uuid, _domain(found, uuid)) for uuid in ids]
    silent = [uuid for uuid, tree in read if tree is not None and not found.get(f"state {uuid}", [""])[0].strip()]
    if silent:
        raise Unavailable(f"libvirt on {host.entry.name} stopped answering in mid-listing.")
    trees = {uuid: tree for uuid, tree in read if tree is not None}  # the others went in the meantime
    leases = {uuid: _addresses("\n".join(found.get(f"address {uuid}", []))) for uuid in trees}
    mute = [uuid for uuid, tree in trees.items() if not leases[uuid] and _agent_connected(tree)]
    if mute:
        answers = host.script(_AGENTS, *mute[:20])
        for uuid in mute[:20]:
            leases[uuid] = _addresses(answers.get(f"address {uuid}", [""])[0])
    for uuid, tree in trees.items():
        blocks = _blocks(found.get(f"blocks {uuid}", [""])[0])
        rows.append(_machine(host, tree, found[f"xml {uuid}"][0], found[f"state {uuid}"][0].strip(), blocks, leases[uuid]))
    return rows


def _domain(found: Mapping[str, list[str]], uuid: str) -> ET.Element | None:
    text = found.get(f"xml {uuid}", [""])[0].strip()
    return domains.parse(text) if text else None


def _hypervisor(host: Hypervisor, found: Mapping[str, list[str]]) -> MachineInfo:
    node = dict(re.findall(r"^([^:\n]+):\s*(.+)$", found["node"][0], re.MULTILINE))
    names = [*found["system"][0].split("\n"), "", "", ""]
    memory = re.match(r"(\d+) KiB", node.get("Memory size", ""))
    literals: list[str] = []
    with contextlib.suppress(ValueError):
        literals = [str(ipaddress.ip_address(host.entry.host))]
    public, private = split(literals)
    return MachineInfo(
        external_id=host.entry.id,
        name=host.entry.name,
        state="running",
        type="hypervisor",
        hostname=names[0].strip()[:253],
        public_ips=public,
        private_ips=private,
        cores=int(node["CPU(s)"]) if node.get("CPU(s)", "").isdigit() else None,
        ram_mib=int(memory[1]) // 1024 or None if memory else None,
        os_type="linux",
        architecture=names[1].strip()[:20],
        location=host.entry.id,
        refusals=dict.fromkeys(VERBS, "This is the host itself; Mist manages the machines on it."),
        extra={"kernel": names[2].strip()[:100], "cpu_model": node.get("CPU model", "")[:50], "images_location": host.entry.images},
    )


VERBS = (
    "start", "stop", "reboot", "power_cycle", "suspend", "resume", "destroy", "undefine", "rename", "resize", "clone",
    "list_snapshots", "create_snapshot", "remove_snapshot", "revert_to_snapshot",
)  # fmt: skip


def _machine(host: Hypervisor, tree: ET.Element, xml: str, state: str, blocks: Mapping[str, int], addresses: list[str]) -> MachineInfo:
    text_of = domains.text_of
    disks = [
        {"target": disk.target, "path": disk.path, "device": disk.device, "format": disk.format, "gib": _gib(blocks.get(disk.target, 0))}
        for disk in domains.disks(tree)
    ]
    total = sum(blocks.get(disk.target, 0) for disk in domains.disks(tree) if disk.device == "disk" and not disk.readonly)
    interfaces = []
    for interface in tree.findall("devices/interface"):
        source, mac = interface.find("source"), interface.find("mac")
        where = {key: source.get(key, "") for key in ("network", "bridge", "dev") if source.get(key)} if source is not None else {}
        interfaces.append({"mac": mac.get("address", "") if mac is not None else "", **where})
    network = next((one["network"] for one in interfaces if one.get("network")), None)
    vcpu = tree.find("vcpu")
    cores = (vcpu.get("current") or vcpu.text or "").strip() if vcpu is not None else ""
    kind = tree.find("os/type")
    public, private = split(addresses)
    extra: dict[str, Any] = {"virt_type": tree.get("type", ""), "disks": disks[:32], "interfaces": interfaces[:32]}
    graphics = tree.find("devices/graphics[@type='vnc']")
    if graphics is not None and graphics.get("port", "-1").isdigit():
        extra["vnc"] = {"host": graphics.get("listen", "127.0.0.1"), "port": int(graphics.get("port", "0"))}
    serial = tree.find("devices/serial/source")
    if serial is not None and serial.get("path"):
        extra["serial"] = serial.get("path")
    if title := text_of(tree, "title"):
        extra["title"] = title[:200]
    xml = xml.strip()
    extra["xml"] = xml if len(xml) <= MAX_XML_KEPT else xml[:MAX_XML_KEPT] + "…"
    return MachineInfo(
        external_id=f"{host.entry.id}/{text_of(tree, 'uuid')}",
        name=text_of(tree, "name"),
        state=STATES.get(state, "unknown"),
        type="vm",
        public_ips=public,
        private_ips=private,
        cores=int(cores) if cores.isdigit() and int(cores) else None,
        ram_mib=domains.mib(tree, "currentMemory") or domains.mib(tree, "memory") or None,
        disk_gib=-(-total // 2**30) if total else None,
        architecture=kind.get("arch", "") if kind is not None else "",
        location=host.entry.id,
        network=f"{host.entry.id}/{network}" if network else None,
        parent=host.entry.id,
        extra=extra,
    )


def _gib(size: int) -> float:
    return round(size / 2**30, 2)


def _blocks(text: str) -> dict[str, int]:
    """{target: bytes} of `domblkinfo --all`: target, capacity, allocation, physical."""
    return {words[0]: int(words[1]) for line in text.splitlines() if len(words := line.split()) >= 2 and words[1].isdigit()}


def _addresses(text: str) -> list[str]:
    """The addresses in `domifaddr`'s table: name, MAC, protocol, address/prefix."""
    found: dict[str, None] = {}
    for word in text.split():
        with contextlib.suppress(ValueError):
            literal = ipaddress.ip_interface(word).ip if "/" in word else None
            if literal and not (literal.is_loopback or literal.is_link_local):
                found[str(literal)] = None
    return list(found)[:32]


def _agent_connected(tree: ET.Element) -> bool:
    return tree.find("devices/channel/target[@name='org.qemu.guest_agent.0'][@state='connected']") is not None


def split(addresses: list[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Public and private."""
    return (
        tuple(one for one in addresses if ipaddress.ip_address(one).is_global),
        tuple(one for one in addresses if not ipaddress.ip_address(one).is_global),
    )


def networks(host: Hypervisor) -> Iterator[NetworkInfo]:
    """libvirt's networks."""
    found = host.script(_NETWORKS)
    active = found["active"][0].split()
    for text in found.get("network", []):
        if not text.strip():
            continue
        tree = domains.parse(text)
        name, forward, bridge = domains.text_of(tree, "name"), tree.find("forward"), tree.find("bridge")
        cidrs = [str(cidr) for element in tree.findall("ip") if (cidr := _cidr(element))]
        yield NetworkInfo(
            external_id=f"{host.entry.id}/{name}",
            name=name,
            cidr=cidrs[0] if cidrs else "",
            location=host.entry.id,
            extra={
                "uuid": domains.text_of(tree, "uuid"),
                "active": domains.text_of(tree, "uuid") in active,
                "forward": forward.get("mode", "nat") if forward is not None else "isolated",
                "bridge": bridge.get("name", "") if bridge is not None else "",
                "cidrs": cidrs,
            },
        )


def _cidr(element: ET.Element) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    address, mask = element.get("address", ""), element.get("prefix") or element.get("netmask") or ""
    try:
        return ipaddress.ip_network(f"{address}/{mask}" if mask else address, strict=False)
    except ValueError:
        return None


def images(host: Hypervisor) -> Iterator[ImageInfo]:
    """Disk images and ISO files that machines can be made from."""
    found = host.script(_IMAGES)
    used = {line.split(None, 3)[3].strip() for line in found["used"][0].splitlines() if len(line.split(None, 3)) == 4}
    paths: dict[str, None] = {}
    for path in found["files"][0].splitlines():
        paths[path] = None
    for table in found.get("volumes", []):
        for line in table.splitlines():
            name, _, path = line.strip().partition("  ")
            if name and path.strip().startswith("/"):
                paths[path.strip()] = None
    wanted = [path for path in sorted(paths) if _IMAGE_NAME.search(path) and not _SEED_NAME.search(path) and path not in used][:500]
    answers = host.script(_INFO, *wanted).get("info", []) if wanted else []
    for path, answer in zip(wanted, answers, strict=True):
        try:
            info = json.loads(answer)
        except ValueError:
            continue  # gone in the meantime, or no image after all
        name, kind = posixpath.basename(path), str(info.get("format", "raw"))
        iso = name.lower().endswith(".iso")
        yield ImageInfo(
            external_id=host.entry.id + path,
            name=name,
            os_type="windows" if re.match(r"win(dows)?[-_. \d]", name, re.IGNORECASE) else "linux",
            os_distro=next((distro for distro in _DISTROS if distro in name.lower()), ""),
            min_disk_gib=None if iso else -(-int(info.get("virtual-size", 0)) // 2**30) or None,
            locations=(host.entry.id,),
            extra={"path": path, "format": kind, "kind": "iso" if iso else "disk", "bytes": int(info.get("actual-size", 0))},
        )


_DISTROS = (
    "debian",
    "ubuntu",
    "fedora",
    "centos",
    "rocky",
    "alma",
    "rhel",
    "opensuse",
    "suse",
    "arch",
    "alpine",
    "freebsd",
    "coreos",
    "flatcar",
)

_ROOTS = r"""
mark images; readlink -f -- "$images"
for p in $(v pool-list --uuid); do mark pool; v pool-dumpxml "$p"; done
mark chain; real=$(readlink -f -- "$1") && [ -f "$real" ] && qemu-img info -U --backing-chain --output=json "$real"
mark real; echo "$real"
"""


def inspect(host: Hypervisor, path: str) -> tuple[str, str, int]:
    """An image's real path, format and size in bytes, when it may be used.

    It must lie in images_location or a storage pool, links followed, and so must each file behind it: an image names its
    backing file itself, and one that names /etc/shadow would hand that to the machine.
    Raises: Rejected.
    """
    found = host.script(_ROOTS, path)
    roots = [found["images"][0].strip()]
    for text in found.get("pool", []):
        target = domains.text_of(domains.parse(text), "target/path") if text.strip() else ""
        if target.startswith("/") and posixpath.normpath(target) != "/" and not target.startswith("/dev"):
            roots.append(posixpath.normpath(target))
    real = found["real"][0].strip("\n")
    try:
        chain = json.loads(found["chain"][0])
    except ValueError:
        raise Rejected(f"There is no image {path[:200]} on {host.entry.name}.") from None
    for part in chain:
        name = posixpath.normpath(str(part.get("filename", "")))
        inside = any(name.startswith(root.rstrip("/") + "/") for root in roots if root)
        data = (part.get("format-specific") or {}).get("data") or {}
        if not inside or data.get("data-file"):
            raise Rejected(f"The image {path[:200]} is, or is built on, a file outside of {host.entry.images} and the storage pools.")
        if part.get("format") not in ("qcow2", "raw"):
            raise Rejected(f"The image {path[:200]} is of format {str(part.get('format'))[:20]}; qcow2 and raw can be used.")
    return real, str(chain[0]["format"]), int(chain[0]["virtual-size"])
