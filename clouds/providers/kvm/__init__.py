"""KVM: libvirt's machines on hosts of one's own, driven through `virsh` there over verified SSH.

Nothing of libvirt is needed on our side. On the host: virsh, qemu-img, and one of genisoimage, mkisofs or xorriso.

Words: `stop` asks the guest to shut down (ACPI); `destroy` takes its power away at once, and the machine stays, stopped,
with its disks (libvirt's own meaning of the word); `undefine` makes a stopped machine go, with its disks if asked.

External ids: a host's is its address; a machine's is "<host>/<uuid>", a network's "<host>/<name>", an image's
"<host>/path/of/the/file".

Source: https://libvirt.org/manpages/virsh.html, https://libvirt.org/formatdomain.html
"""

from __future__ import annotations

import contextlib
import posixpath
import uuid as uuids
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from core.errors import Gone, MistError, NotSupported, Rejected, Unavailable

from .._pool import each
from ..base import Context, Provider, register
from ..facts import (
    Field,
    ImageInfo,
    LocationInfo,
    MachineInfo,
    MachineSpec,
    NetworkInfo,
    PermissionCheck,
    SnapshotInfo,
    Terraform,
    TerraformSpec,
)
from . import domain as domains
from . import files, snapshots, survey, terraform
from .host import IMAGES, URI, HostEntry, Hypervisor, is_uuid, read_hosts, valid_name

__all__ = ["Kvm"]

T = TypeVar("T")

UNDO_S = 15.0  # past the deadline, to leave nothing half made behind
_OURS = uuids.UUID("5f5b9f7e-6b43-4a43-9d0c-2f6c3f6d7a10")  # makes a request's token a machine's UUID
_RUNNING, _STOPPED = frozenset({"running"}), frozenset({"stopped"})

_CHECK = r"""
mark missing
for t in virsh qemu-img; do command -v $t >/dev/null || echo $t; done
command -v genisoimage >/dev/null || command -v mkisofs >/dev/null || command -v xorriso >/dev/null || echo genisoimage
mark libvirt; command -v virsh >/dev/null && { v nodeinfo 2>&1 && echo fine; }
mark images; [ -d "$images" ] && echo there; files test -w "$images" 2>/dev/null && echo writable
"""


@register
class Kvm(Provider):
    """Machines of libvirt on any number of hosts; a host that is down leaves the others listed."""

    name, title = "kvm", "KVM"
    aliases = ("libvirt",)
    category = "hypervisor"
    tile = "kvm"
    doc = (
        "Hosts with libvirt (virsh), qemu-img and genisoimage that a key opens over SSH, as root or as a user who may use "
        "libvirt and write where the images are."
    )
    purposes = ("virsh, qemu-img and genisoimage do the work", "list machines and act on them", "make disks: create and clone machines")
    credential_fields = (
        Field(
            name="hosts",
            label="Hosts",
            kind="list",
            required=True,
            fields=(
                Field(name="host", label="Host name or address", required=True),
                Field(name="alias", label="Name"),
                Field(name="user", label="User", default="root", aliases=("username",)),
                Field(name="port", label="SSH port", kind="integer", default=22, minimum=1, maximum=65535),
                Field(name="key", label="SSH key", kind="key", required=True),
                Field(
                    name="images_location",
                    label="Where images and disks are",
                    default=IMAGES,
                    help="A directory on the host. Disks of new machines are made in it.",
                ),
                Field(
                    name="virt_type",
                    label="Virtualization",
                    kind="choice",
                    default="auto",
                    choices=(("auto", "KVM where the host has it"), ("kvm", "KVM"), ("qemu", "Emulated (slow)")),
                ),
                Field(name="uri", label="libvirt connection", default=URI, help="As seen on the host: qemu:///system, qemu:///session."),
            ),
        ),
    )
    create_fields = (
        Field(
            name="disk_mode",
            label="Disk",
            kind="choice",
            default="overlay",
            choices=(("overlay", "On top of the image: made at once, and needs it from then on"), ("copy", "A full copy of the image")),
        ),
        Field(name="firmware", label="Firmware", kind="choice", default="bios", choices=(("bios", "BIOS"), ("efi", "UEFI"))),
        Field(name="autostart", label="Start with the host", kind="toggle", default=False),
        Field(
            name="host_key",
            label="Give it a host key",
            kind="toggle",
            default=True,
            help="By cloud-init, so that it is verified the first time it is reached. Not for images without cloud-init.",
        ),
    )
    create_requires = frozenset({"image", "location"})
    terraform_notes = terraform.NOTES
    custom_size = True
    verb_states = {
        "start": _STOPPED,
        "stop": _RUNNING,
        "reboot": _RUNNING,
        "power_cycle": _RUNNING | {"error"},
        "suspend": _RUNNING,
        "resume": frozenset({"suspended"}),
        "destroy": frozenset({"running", "suspended", "stopping", "error", "unknown"}),
        "undefine": _STOPPED | {"error"},
        "rename": _STOPPED,
        "resize": _STOPPED,
        "clone": _STOPPED | {"suspended"},  # a running machine writes to the disks that are copied
        "create_snapshot": _RUNNING | _STOPPED | {"suspended"},
        "remove_snapshot": _RUNNING | _STOPPED | {"suspended"},
        "revert_to_snapshot": _RUNNING | _STOPPED | {"suspended"},
    }

    def check(self) -> None:
        """Can each host be reached, and does it have what is needed?  Raises: the first host's trouble, by its name."""
        for entry, found in self._each(lambda host: host.script(_CHECK)):
            missing = found["missing"][0].split()
            if missing:
                raise Rejected(
                    f"{entry.name} lacks {', '.join(missing)}. On Debian: apt install libvirt-clients qemu-utils genisoimage.",
                    code="host_lacks_programs",
                )
            said = found["libvirt"][0]
            if "fine" not in said.split():
                words = " ".join(said.split())[:300]
                raise Unavailable(f"libvirt does not answer {entry.user} on {entry.name}: {words}", words=words)
            if "there" not in found["images"][0]:
                raise Rejected(f"{entry.name} has no directory {entry.images}.")

    def permissions(self) -> list[PermissionCheck]:
        programs, libvirt, images = self.purposes
        checks = []
        for entry, found in self._each(lambda host: host.script(_CHECK)):
            missing = found["missing"][0].split()
            writable = "writable" in found["images"][0]
            checks += [
                PermissionCheck(
                    name=f"{entry.name}: programs",
                    purpose=programs,
                    ok=not missing,
                    fix=f"apt install libvirt-clients qemu-utils genisoimage  # lacks {', '.join(missing)}" if missing else "",
                ),
                PermissionCheck(
                    name=f"{entry.name}: libvirt",
                    purpose=libvirt,
                    ok="fine" in found["libvirt"][0].split(),
                    fix=f"usermod -aG libvirt {entry.user}",
                ),
                PermissionCheck(
                    name=f"{entry.name}: {entry.images}",
                    purpose=images,
                    ok=writable,
                    fix=f"setfacl -m u:{entry.user}:rwx {entry.images}",
                ),
            ]
        return checks

    # -- listings

    def list_machines(self) -> Iterator[MachineInfo]:
        for _, rows in self._each(survey.machines, partly=True):
            yield from rows

    def list_locations(self) -> Iterator[LocationInfo]:
        self.context.deadline.check()
        for entry in self._entries():
            yield LocationInfo(external_id=entry.id, name=entry.name, location_type="host")

    def list_images(self) -> Iterator[ImageInfo]:
        for _, rows in self._each(lambda host: list(survey.images(host)), partly=True):
            yield from rows

    def list_networks(self) -> Iterator[NetworkInfo]:
        for _, rows in self._each(lambda host: list(survey.networks(host)), partly=True):
            yield from rows

    def get_machine(self, external_id: str) -> MachineInfo:
        entry, _ = self._find(external_id, hypervisor=True)
        with self._open(entry) as host:
            for info in survey.machines(host):
                if info.external_id == external_id:
                    return info
        raise Gone("The machine is not on its host any more.")

    # -- verbs

    def start_machine(self, external_id: str) -> None:
        self._virsh(external_id, "start")

    def stop_machine(self, external_id: str) -> None:
        """Press the power button; a guest without ACPI does not hear it."""
        self._virsh(external_id, "shutdown")

    def reboot_machine(self, external_id: str) -> None:
        self._virsh(external_id, "reboot")

    def power_cycle_machine(self, external_id: str) -> None:
        self._virsh(external_id, "reset")

    def suspend_machine(self, external_id: str) -> None:
        self._virsh(external_id, "suspend")

    def resume_machine(self, external_id: str) -> None:
        entry, uuid = self._find(external_id)
        with self._open(entry) as host:
            host.virsh("dompmwakeup" if host.virsh("domstate", uuid).strip() == "pmsuspended" else "resume", uuid)

    def destroy_machine(self, external_id: str) -> None:
        """Power off at once. The machine stays defined, stopped, with its disks: `undefine` makes it go."""
        self._virsh(external_id, "destroy")

    def undefine_machine(self, external_id: str, *, delete_disks: bool = False) -> None:
        """Make a stopped machine go, its snapshots with it; `delete_disks`: also its files in images_location.

        Raises: Rejected when it runs, or when a disk to delete is needed by another machine: then nothing was done.
        """
        entry, uuid = self._find(external_id)
        with self._open(entry) as host:
            if host.virsh("domstate", uuid).strip() not in ("shut off", "crashed"):
                raise Rejected("Stop the machine first.")
            paths = files.removable(host, uuid) if delete_disks else []
            host.virsh("undefine", uuid, "--managed-save", "--snapshots-metadata", "--nvram")
            files.remove(host, paths)

    def rename_machine(self, external_id: str, name: str) -> None:
        entry, uuid = self._find(external_id)
        with self._open(entry) as host:
            host.virsh("domrename", uuid, valid_name(name))

    def resize_machine(self, external_id: str, size: str | None, *, cores: int | None = None, ram_mib: int | None = None) -> None:
        """Other cores and memory, from the next start on."""
        entry, uuid = self._find(external_id)
        if size or not (cores or ram_mib):
            raise Rejected("Give cores, memory or both: there are no named sizes here.")
        _bounds(cores, ram_mib)
        with self._open(entry) as host:
            if host.virsh("domstate", uuid).strip() != "shut off":
                raise Rejected("Stop the machine first.")
            tree = domains.parse(host.virsh("dumpxml", uuid, "--inactive", "--security-info"))
            host.virsh("define", "/dev/stdin", input=domains.resize(tree, cores=cores, ram_mib=ram_mib))

    def clone_machine(self, external_id: str, name: str) -> str:
        """A copy with full copies of its disks, another UUID and MAC addresses; it is not started."""
        entry, source = self._find(external_id)
        uuid = str(uuids.uuid4())
        with self._open(entry) as host:
            if host.virsh("domstate", source).strip() not in ("shut off", "paused"):
                raise Rejected("Stop or suspend the machine first: a disk that is written to cannot be copied.")
            self._name_is_free(host, valid_name(name))
            tree = domains.parse(host.virsh("dumpxml", source, "--inactive", "--security-info"))
            moved: dict[str, str] = {}
            for disk in domains.disks(tree):
                if disk.path and (not disk.readonly or disk.path.endswith("-seed.iso")):
                    moved[disk.path] = self._file(entry, name, uuid, f"-{disk.target}.qcow2" if not disk.readonly else "-seed.iso")
            with self._or_undone(entry) as made:
                for disk in domains.disks(tree):
                    if disk.path in moved:
                        files.reserve(host, moved[disk.path])
                        made.paths.append(moved[disk.path])
                        files.make(host, "plain" if disk.readonly else "copy", moved[disk.path], disk.path, disk.format or "raw")
                made.uuid = uuid
                host.virsh("define", "/dev/stdin", input=domains.clone(tree, uuid=uuid, name=name, moved=moved))
        return f"{entry.id}/{uuid}"

    @classmethod
    def takes_host_key(cls, spec: MachineSpec) -> bool:
        """Where there is a cloud-init disk, and its user does not put a key in himself."""
        return bool(spec.extra.get("host_key")) and not spec.image.lower().endswith(".iso") and "ssh_keys" not in spec.cloudinit

    def create_machine(self, spec: MachineSpec) -> str:
        """A machine from an image in images_location or a pool, set up by cloud-init; asked again with the same token, the same one.

        An ISO image becomes a CD beside an empty disk. Without a network, libvirt's `default` is used where there is one.
        """
        entries = {entry.id: entry for entry in self._entries()}
        where = spec.location or (next(iter(entries)) if len(entries) == 1 else "")
        if where not in entries:
            raise Rejected("Choose the host to make the machine on.")
        entry, uuid = entries[where], str(uuids.uuid5(_OURS, f"{where} {spec.token}"))
        cores, ram_mib = spec.cores or 1, spec.ram_mib or 1024
        _bounds(cores, ram_mib, spec.disk_gib)
        valid_name(spec.name)
        documents = files.seed_documents(spec, uuid)
        if spec.volumes:
            raise NotSupported("Volumes cannot be attached here: choose the size of the machine's own disk.")
        path = _on(entry, spec.image, "image")
        if not path.startswith("/"):
            raise Rejected("Choose an image of that host.")
        with self._open(entry) as host:
            with contextlib.suppress(Gone):
                host.virsh("domstate", uuid)
                return f"{where}/{uuid}"
            self._name_is_free(host, spec.name)
            network = self._network(host, _on(entry, spec.network, "network").lstrip("/") if spec.network else "")
            image, format, size = survey.inspect(host, path)
            iso = path.lower().endswith(".iso")
            if not iso and spec.disk_gib and spec.disk_gib * 2**30 < size:
                raise Rejected(f"The image has {-(-size // 2**30)} GiB; the disk cannot be smaller.")
            disk = self._file(entry, spec.name, uuid, ".qcow2")
            seed = "" if iso else self._file(entry, spec.name, uuid, "-seed.iso")
            plan = domains.Plan(
                uuid=uuid,
                name=spec.name,
                virt_type=self._virt_type(host),
                architecture=host.ssh.run(["uname", "-m"]).text.strip(),
                cores=cores,
                ram_mib=ram_mib,
                disk=disk,
                seed=seed,
                cdrom=image if iso else "",
                network=network,
                efi=spec.extra.get("firmware") == "efi",
            )
            with self._or_undone(entry) as made:
                for path in filter(None, (disk, seed)):
                    files.reserve(host, path)
                    made.paths.append(path)
                how = "blank" if iso else "copy" if spec.extra.get("disk_mode") == "copy" else "overlay"
                files.make(host, how, disk, image, format, spec.disk_gib or (10 if iso else None))
                if seed:
                    files.write_seed(host, seed, documents)
                made.uuid = uuid
                host.virsh("define", "/dev/stdin", input=domains.build(plan))
                if spec.extra.get("autostart"):
                    host.virsh("autostart", uuid)
                host.virsh("start", uuid)
        return f"{where}/{uuid}"

    @staticmethod
    def terraform(wanted: TerraformSpec) -> Terraform:
        return terraform.written(wanted)

    # -- snapshots

    def list_snapshots(self, external_id: str) -> Sequence[SnapshotInfo]:
        with self._with(external_id) as (host, uuid):
            return snapshots.read(host, uuid)

    def create_snapshot(self, external_id: str, name: str, description: str = "") -> str:
        """Disks, and memory where it runs; inside its qcow2 files."""
        with self._with(external_id) as (host, uuid):
            return snapshots.create(host, uuid, name, description)

    def remove_snapshot(self, external_id: str, snapshot: str) -> None:
        self._on_snapshot("snapshot-delete", external_id, snapshot)

    def revert_to_snapshot(self, external_id: str, snapshot: str) -> None:
        self._on_snapshot("snapshot-revert", external_id, snapshot)

    # -- how

    def _entries(self) -> list[HostEntry]:
        return read_hosts(self.credentials.get("hosts"))

    def _open(self, entry: HostEntry, *, grace_s: float | None = None) -> Hypervisor:
        return Hypervisor(entry, self.context, grace_s=grace_s)

    def _each(self, ask: Callable[[Hypervisor], T], *, partly: bool = False) -> Iterator[tuple[HostEntry, T]]:
        """Ask every host at once. `partly`: a host that fails makes the listing incomplete, and only all of them an error."""
        self.context.deadline.check()
        entries = self._entries()

        def work(entry: HostEntry, context: Context) -> T:
            with Hypervisor(entry, context) as host:
                return ask(host)

        failed: list[MistError] = []
        for entry, result in each(entries, work, self.context, width=16):
            if not isinstance(result, MistError):
                yield entry, result
            elif partly and len(entries) > 1:
                failed.append(result)
                self.partial(f"{entry.name}: {result.detail}")
            else:
                raise result
        if failed and len(failed) == len(entries):
            raise failed[0]

    def _find(self, external_id: str, *, hypervisor: bool = False) -> tuple[HostEntry, str]:
        """The host and UUID of a machine.  Raises: Gone; NotSupported for a host itself, unless that is wanted."""
        self.context.deadline.check()
        where, _, uuid = external_id.partition("/")
        for entry in self._entries():
            if entry.id == where and is_uuid(uuid):
                return entry, uuid
            if entry.id == external_id:
                if hypervisor:
                    return entry, ""
                raise NotSupported("This is the host itself; Mist manages the machines on it.")
        raise Gone("The machine's host is not in this cloud any more.")

    def _virsh(self, external_id: str, command: str) -> None:
        with self._with(external_id) as (host, uuid):
            host.virsh(command, uuid)

    @contextlib.contextmanager
    def _with(self, external_id: str) -> Iterator[tuple[Hypervisor, str]]:
        """The host a machine is on, and the machine's UUID there."""
        entry, uuid = self._find(external_id)
        with self._open(entry) as host:
            yield host, uuid

    def _on_snapshot(self, command: str, external_id: str, snapshot: str) -> None:
        named = snapshots.named(snapshot)
        with self._with(external_id) as (host, uuid):
            snapshots.act(host, command, uuid, named)

    def _name_is_free(self, host: Hypervisor, name: str) -> None:
        with contextlib.suppress(Gone):
            host.virsh("domuuid", name)
            raise Rejected(f"{host.entry.name} has a machine named {name} already.")

    def _network(self, host: Hypervisor, name: str) -> str:
        names = [line.strip() for line in host.virsh("net-list", "--name").splitlines() if line.strip()]
        if name and name not in names:
            raise Rejected(f"The network {name[:80]} is not active on {host.entry.name}.")
        return name or ("default" if "default" in names else "")

    def _virt_type(self, host: Hypervisor) -> str:
        if host.entry.virt_type != "auto":
            return host.entry.virt_type
        probe = host.ssh.script('[ -c /dev/kvm ] && virsh -q -c "$1" domcapabilities --virttype kvm >/dev/null 2>&1', host.entry.uri)
        return "kvm" if probe.exit == 0 else "qemu"

    @staticmethod
    def _file(entry: HostEntry, name: str, uuid: str, ending: str) -> str:
        """A path no other machine's file has: the name alone may have been somebody's before."""
        return posixpath.join(entry.images, f"{name}-{uuid[:8]}{ending}")

    @contextlib.contextmanager
    def _or_undone(self, entry: HostEntry) -> Iterator[files.Made]:
        """What is half made is taken back, over a connection of its own: the other may be what failed."""
        made = files.Made()

        def undo() -> None:
            with self._open(entry, grace_s=UNDO_S) as host:
                made.undo(host)

        done = False
        try:
            yield made
            done = True
        except MistError as error:
            done = True
            try:
                undo()
            except MistError as further:
                error.detail += f" What was made of it may still be on {entry.name}: {further.detail}"
            raise
        finally:
            if not done:  # a bug, or the worker's own end
                with contextlib.suppress(MistError):
                    undo()


def _on(entry: HostEntry, external_id: str, what: str) -> str:
    """What follows the host in an external id of an image or network.  Raises: Rejected when it is another host's."""
    if not external_id.startswith(entry.id + "/"):
        raise Rejected(f"That {what} is not on {entry.name}.")
    return external_id[len(entry.id) :]


def _bounds(cores: int | None, ram_mib: int | None, disk_gib: int | None = None) -> None:
    for value, low, high, what in (
        (cores, 1, 1024, "cores"),
        (ram_mib, 32, 64 << 20, "MiB of memory"),
        (disk_gib, 1, 1 << 20, "GiB of disk"),
    ):
        if value is not None and not low <= value <= high:
            raise Rejected(f"{value} {what} is not between {low} and {high}.")
