"""Domain XML: read without trusting it, and written by an XML library.

Source: https://libvirt.org/formatdomain.html
"""

from __future__ import annotations

import posixpath
import xml.etree.ElementTree as ET
from dataclasses import dataclass

from core.errors import Rejected

MAX_XML = 1 << 20


def parse(text: str) -> ET.Element:
    """An element tree.  Raises: Rejected for what is no XML, too long, or declares a document type (entities, includes)."""
    if len(text) > MAX_XML or "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise Rejected("The host answered XML that is not to be read.")
    try:
        return ET.fromstring(text.strip())  # noqa: S314
    except ET.ParseError as error:
        raise Rejected("The host answered something that is not XML.") from error


def text_of(element: ET.Element, path: str, default: str = "") -> str:
    return (element.findtext(path) or default).strip()


def mib(element: ET.Element, path: str) -> int | None:
    """A memory size in MiB. libvirt writes KiB back, whatever was given."""
    found = element.find(path)
    if found is None or not (found.text or "").strip().isdigit():
        return None
    unit = {
        "b": 1,
        "bytes": 1,
        "KB": 1000,
        "k": 1024,
        "KiB": 1024,
        "MB": 10**6,
        "M": 2**20,
        "MiB": 2**20,
        "GB": 10**9,
        "G": 2**30,
        "GiB": 2**30,
    }
    return int((found.text or "").strip()) * unit.get(found.get("unit", "KiB"), 1024) // 2**20


@dataclass(frozen=True, kw_only=True, slots=True)
class Disk:
    """A disk of a domain. `path` "" where it is no file or block device, or an empty drive."""

    target: str
    path: str
    device: str  # disk, cdrom, floppy
    format: str
    readonly: bool


def disks(domain: ET.Element) -> list[Disk]:
    found = []
    for disk in domain.findall("devices/disk"):
        source, driver, target = disk.find("source"), disk.find("driver"), disk.find("target")
        path = (source.get("file") or source.get("dev") or "") if source is not None else ""
        found.append(
            Disk(
                target=target.get("dev", "") if target is not None else "",
                path=path,
                device=disk.get("device", "disk"),
                format=driver.get("type", "") if driver is not None else "",
                readonly=disk.find("readonly") is not None or disk.get("device") == "cdrom",
            )
        )
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """A machine to define. `disk`: a qcow2 file. `seed`, `cdrom`: ISO files or ""."""

    uuid: str
    name: str
    virt_type: str
    architecture: str
    cores: int
    ram_mib: int
    disk: str
    seed: str = ""
    cdrom: str = ""
    network: str = ""  # of libvirt's own, by name; "" for none
    efi: bool = False


def build(plan: Plan) -> bytes:
    """The XML of a domain: virtio disk, network and entropy; serial console; VNC on loopback; the guest agent's channel."""
    domain = ET.Element("domain", type=plan.virt_type)
    add = ET.SubElement
    add(domain, "name").text = plan.name
    add(domain, "uuid").text = plan.uuid
    add(domain, "memory", unit="MiB").text = str(plan.ram_mib)
    add(domain, "vcpu").text = str(plan.cores)
    system = add(domain, "os")
    if plan.efi or plan.architecture == "aarch64":
        system.set("firmware", "efi")
    machine = {"x86_64": "q35", "aarch64": "virt"}.get(plan.architecture)
    kind = add(system, "type", arch=plan.architecture)
    kind.text = "hvm"
    if machine:
        kind.set("machine", machine)
    # The disk first: it is empty until an installer has run, then the installer's CD is not asked again.
    add(system, "boot", dev="hd")
    if plan.cdrom:
        add(system, "boot", dev="cdrom")
    features = add(domain, "features")
    add(features, "acpi")
    if plan.architecture == "x86_64":
        add(features, "apic")
    # Emulated, the plainest model lacks what newer distributions are compiled for.
    add(domain, "cpu", mode="host-passthrough" if plan.virt_type == "kvm" else "maximum")
    add(domain, "clock", offset="utc")
    add(domain, "on_poweroff").text = "destroy"
    add(domain, "on_reboot").text = "restart"
    add(domain, "on_crash").text = "destroy"
    devices = add(domain, "devices")
    _disk(devices, plan.disk, "qcow2", "vda")
    if plan.seed:
        # A virtio disk, not a CD: the small kernels of cloud images have no drivers for CD controllers.
        _disk(devices, plan.seed, "raw", "vdb", readonly=True)
    if plan.cdrom:
        _disk(devices, plan.cdrom, "raw", "sda", device="cdrom", bus="sata" if plan.architecture == "x86_64" else "scsi", readonly=True)
    if plan.network:
        interface = add(devices, "interface", type="network")
        add(interface, "source", network=plan.network)
        add(interface, "model", type="virtio")
    add(devices, "serial", type="pty")
    add(devices, "console", type="pty")
    channel = add(devices, "channel", type="unix")
    add(channel, "target", type="virtio", name="org.qemu.guest_agent.0")
    add(devices, "graphics", type="vnc", listen="127.0.0.1", autoport="yes")
    add(add(devices, "video"), "model", type="virtio" if plan.architecture == "aarch64" else "vga")
    # Without it a guest waits minutes for entropy before its sshd answers.
    rng = add(devices, "rng", model="virtio")
    add(rng, "backend", model="random").text = "/dev/urandom"
    return ET.tostring(domain, encoding="unicode").encode()


def _disk(
    devices: ET.Element, path: str, kind: str, target: str, *, device: str = "disk", bus: str = "virtio", readonly: bool = False
) -> None:
    disk = ET.SubElement(devices, "disk", type="file", device=device)
    ET.SubElement(disk, "driver", name="qemu", type=kind)
    ET.SubElement(disk, "source", file=path)
    ET.SubElement(disk, "target", dev=target, bus=bus)
    if readonly:
        ET.SubElement(disk, "readonly")


def clone(domain: ET.Element, *, uuid: str, name: str, moved: dict[str, str]) -> bytes:
    """The XML of a copy: other identity, no addresses of the original's. `moved`: {disk's path: its copy's}."""
    for tag in ("name", "uuid"):
        element = domain.find(tag)
        if element is not None:
            element.text = name if tag == "name" else uuid
    domain.attrib.pop("id", None)
    system = domain.find("os")
    if system is not None:
        for nvram in system.findall("nvram"):  # libvirt makes a fresh one from its template
            system.remove(nvram)
    for interface in domain.findall("devices/interface"):
        for tag in ("mac", "target"):
            for element in interface.findall(tag):
                interface.remove(element)
    for disk in domain.findall("devices/disk"):
        source, driver = disk.find("source"), disk.find("driver")
        path = source.get("file", "") if source is not None else ""
        if source is not None and path in moved:
            source.set("file", moved[path])
            source.attrib.pop("index", None)
            if driver is not None and posixpath.splitext(moved[path])[1] == ".qcow2":
                driver.set("type", "qcow2")  # whatever it was, its copy is that
        for element in disk.findall("backingStore"):
            disk.remove(element)
    for graphics in domain.findall("devices/graphics"):
        if graphics.get("autoport") == "yes":
            graphics.attrib.pop("port", None)
    for channel in domain.findall("devices/channel/source"):
        channel.attrib.pop("path", None)
    return ET.tostring(domain, encoding="unicode").encode()


def resize(domain: ET.Element, *, cores: int | None, ram_mib: int | None) -> bytes:
    """The XML with other cores and memory, maximum and current alike."""
    if cores:
        vcpu = domain.find("vcpu")
        if vcpu is None:
            vcpu = ET.SubElement(domain, "vcpu")
        vcpu.text = str(cores)
        vcpu.attrib.pop("current", None)
        for listed in domain.findall("vcpus"):
            domain.remove(listed)
        cpu = domain.find("cpu")
        if cpu is not None:
            for topology in cpu.findall("topology"):  # it names sockets × cores of the old number
                cpu.remove(topology)
    if ram_mib:
        for tag in ("memory", "currentMemory"):
            element = domain.find(tag)
            if element is not None:
                element.text = str(ram_mib)
                element.set("unit", "MiB")
    return ET.tostring(domain, encoding="unicode").encode()
