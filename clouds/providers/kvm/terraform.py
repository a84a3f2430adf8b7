"""The machines that `create_machine` makes, as the Terraform provider of dmacvicar for libvirt makes them: as `domain.build` has them.

Source: the documentation of terraform-provider-libvirt: resources libvirt_domain, libvirt_volume and libvirt_cloudinit_disk
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .. import _terraform as common
from .._hcl import Block, Body, Call, Expression, Template, Value, document
from ..facts import MachineSpec, Terraform, TerraformSpec
from .host import IMAGES, HostEntry, read_hosts

POOL_NOTE = "Its disks are made in libvirt's storage pool default; Mist makes them in %(folder)s."
FULL_COPY = "The disk is on top of the image, which has to stay: libvirt_volume makes no full copy of a file on the host."
NETWORK = "No network was chosen: it is libvirt's own, default, which has to be there."
SIZE = "The disk has %(gib)d GiB, as the size of the image is not known here."
HOST_KEY = "The SSH host key that Mist would give it is not here, so that it is not known the first time it is reached."
USER = "Left out, as libvirt_cloudinit_disk has no vendor data: the user %(user)s, to be added to cloudinit.txt."
NO_VOLUMES = "Left out, as Mist attaches none on these hosts: the volumes."
NOTES = (common.CLOUDINIT_NOTE, POOL_NOTE, FULL_COPY, NETWORK, SIZE, HOST_KEY, USER, NO_VOLUMES)
POOL = "default"
DISK_GIB = 10  # for an installer, as `create_machine`


def written(wanted: TerraformSpec) -> Terraform:
    """Raises: Rejected, when the hosts of the cloud cannot be read."""
    spec, label, name = wanted.spec, common.label_of(wanted), common.name_of(wanted)
    entries = {one.id: one for one in read_hosts(wanted.config.get("hosts"))}
    entry = entries.get(spec.location or "") or (next(iter(entries.values())) if len(entries) == 1 else None)
    where = f"{entry.id}/" if entry else ""
    path = f"/{spec.image.removeprefix(where)}" if where and spec.image.startswith(where) else spec.image
    is_iso = path.lower().endswith(".iso")
    blocks = common.head("libvirt", "dmacvicar/libvirt", "~> 0.9.7", {"uri": _uri(entry) if entry else "qemu+ssh://HOST/system"})
    blocks.append(common.resource(wanted, "libvirt_volume", f"{label}_disk", _disk(wanted, name, path, is_iso)))
    if not is_iso:
        blocks += _seed(wanted, name, label)
    domain: Body = {
        "name": name,
        "type": "qemu" if entry and entry.virt_type == "qemu" else "kvm",
        "vcpu": spec.cores or 1,
        "memory": spec.ram_mib or 1024,
        "memory_unit": "MiB",
        "os": {
            "type": "hvm",
            **({"firmware": "efi"} if spec.extra.get("firmware") == "efi" else {}),
            "boot_devices": [{"dev": "hd"}, *([{"dev": "cdrom"}] if is_iso else [])],
        },
        "cpu": {"mode": "maximum" if entry and entry.virt_type == "qemu" else "host-passthrough"},
        "features": {"acpi": True},
        "devices": _devices(wanted, label, path if is_iso else "", spec.network.removeprefix(where) if spec.network else "default"),
        "autostart": True if spec.extra.get("autostart") else None,
        "running": True,
    }
    blocks.append(common.resource(wanted, "libvirt_domain", label, domain))
    return Terraform(text=document(blocks), notes=tuple(_notes(wanted, entry, is_iso)))


def _uri(entry: HostEntry) -> str:
    scheme, _, path = entry.uri.partition("://")
    host = f"[{entry.host}]" if ":" in entry.host else entry.host
    return f"{scheme}+ssh://{entry.user}@{host}{'' if entry.port == 22 else f':{entry.port}'}{path}"


def _disk(wanted: TerraformSpec, name: Template, path: str, is_iso: bool) -> Body:
    gib = _gib(wanted) or DISK_GIB
    kind = str(wanted.image.get("format") or ("raw" if path.lower().endswith(".raw") else "qcow2"))
    return {
        "name": name + ".qcow2",
        "pool": POOL,
        "capacity": Expression(f"{gib} * 1024 * 1024 * 1024"),
        "target": {"format": {"type": "qcow2"}},
        "backing_store": None if is_iso else {"path": path, "format": {"type": kind}},
    }


def _gib(wanted: TerraformSpec) -> int:
    """What was asked for, or what the image has; 0: unknown."""
    return wanted.spec.disk_gib or int(wanted.image.get("min_disk_gib") or 0)


def _seed(wanted: TerraformSpec, name: Template, label: str) -> Iterator[Block]:
    """The cloud-init disk, as `files.seed_documents` fills it; without vendor data, which the resource has not."""
    spec = wanted.spec
    user_data: Value = "#cloud-config\n{}\n"
    if spec.cloudinit:
        user_data = common.CLOUDINIT
    elif spec.user:
        yield Block("locals", (), {f"{label}_cloud_config": _cloud_config(spec)})
        user_data = Template(("#cloud-config\n", Expression(f"jsonencode(local.{label}_cloud_config)"), "\n"))
    about: dict[str, Value] = {"instance-id": name, "local-hostname": name}
    if spec.public_key:
        about["public-keys"] = [spec.public_key]
    seed: Body = {"name": name + "-seed", "user_data": user_data, "meta_data": Call("jsonencode", about)}
    yield common.resource(wanted, "libvirt_cloudinit_disk", label, seed)
    content: Value = {"content": {"url": common.each(wanted, f"libvirt_cloudinit_disk.{label}", "path")}}
    volume: Body = {"name": name + "-seed.iso", "pool": POOL, "create": content}
    yield common.resource(wanted, "libvirt_volume", f"{label}_seed", volume)


def _cloud_config(spec: MachineSpec) -> Mapping[str, Value]:
    user: dict[str, Value] = {"name": spec.user, "ssh_authorized_keys": [spec.public_key] if spec.public_key else []}
    if spec.user == "root":
        return {"disable_root": False, "users": ["default", user]}
    return {"users": ["default", {**user, "sudo": "ALL=(ALL) NOPASSWD:ALL", "shell": "/bin/bash", "lock_passwd": True}]}


def _devices(wanted: TerraformSpec, label: str, cdrom: str, network: str) -> Mapping[str, Value]:
    disks: list[Value] = [_attached(wanted, f"{label}_disk", "vda", {"name": "qemu", "type": "qcow2"})]
    if cdrom:
        file: Value = {"file": {"file": cdrom}}
        disks.append({"device": "cdrom", "source": file, "target": {"dev": "sda", "bus": "sata"}, "read_only": True})
    else:
        disks.append({**_attached(wanted, f"{label}_seed", "vdb", {"name": "qemu", "type": "raw"}), "read_only": True})
    return {
        "disks": disks,
        "interfaces": [{"source": {"network": {"network": network}}, "model": {"type": "virtio"}}],
        "serials": [{}],  # pseudo-terminals, as libvirt has them where nothing is said
        "consoles": [{}],
        "channels": [{"source": {"unix": {}}, "target": {"virt_io": {"name": "org.qemu.guest_agent.0"}}}],
        "graphics": [{"vnc": {"auto_port": True, "listen": "127.0.0.1"}}],
        "rngs": [{"model": "virtio", "backend": {"random": "/dev/urandom"}}],
    }


def _attached(wanted: TerraformSpec, volume: str, device: str, driver: Mapping[str, Value]) -> Mapping[str, Value]:
    address = f"libvirt_volume.{volume}"
    source: Value = {"pool": common.each(wanted, address, "pool"), "volume": common.each(wanted, address, "name")}
    return {"driver": driver, "source": {"volume": source}, "target": {"dev": device, "bus": "virtio"}}


def _notes(wanted: TerraformSpec, entry: HostEntry | None, is_iso: bool) -> Iterator[tuple[str, Mapping[str, Any]]]:
    spec = wanted.spec
    if spec.cloudinit and not is_iso:
        yield common.CLOUDINIT_NOTE, {}
        if spec.user:
            yield USER, {"user": spec.user}
    if entry and entry.images != IMAGES:
        yield POOL_NOTE, {"folder": entry.images}
    if spec.extra.get("disk_mode") == "copy" and not is_iso:
        yield FULL_COPY, {}
    if not _gib(wanted) and not is_iso:
        yield SIZE, {"gib": DISK_GIB}
    if not spec.network:
        yield NETWORK, {}
    if spec.extra.get("host_key") and not is_iso:
        yield HOST_KEY, {}
    if spec.volumes:
        yield NO_VOLUMES, {}
