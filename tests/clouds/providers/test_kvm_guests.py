"""KVM with real guests: a libvirtd, QEMU's emulation, an image that boots by itself and reads its cloud-init disk."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clouds.models import Cloud, Image, Location, Poll
from clouds.polling import poll_once
from clouds.providers.facts import MachineInfo, MachineSpec
from clouds.providers.kvm import Kvm
from core.actions import perform
from core.errors import Gone, ProviderError, Rejected, Unavailable
from core.models import Event, Job
from keys.models import GivenHostKey, HostKey, Key
from keys.ssh import Host
from machines.models import Machine
from tests.core.test_doors import make_org
from tests.keys.test_secrets import everything_stored
from tests.lab.libvirt import NETWORK, Libvirt, libvirt  # noqa: F401
from tests.lab.sshd import Sshd, Trust, fake_ssh, new_key, public_line, sshd  # noqa: F401
from tests.scripts.conftest import Place, finish, said

pytestmark = [pytest.mark.kvm, pytest.mark.slow, pytest.mark.xdist_group("kvm")]

GUEST_KEY = new_key()
BOOT_S = 120  # under emulation, on a busy machine


class Lab:
    """A cloud of one host, asked anew with each call: a provider object lives for one job."""

    def __init__(self, sshd: Sshd, libvirt: Libvirt) -> None:  # noqa: F811
        self.images, self.where = libvirt.images, f"127.0.0.1:{sshd.port}"
        self.trust = Trust(private_keys={"farm": sshd.private_key})
        self.row = {
            "host": "127.0.0.1", "port": sshd.port, "user": sshd.user, "key": "farm", "alias": "lab",
            "images_location": str(libvirt.images), "virt_type": "qemu",
        }  # fmt: skip

    @property
    def provider(self) -> Kvm:
        return Kvm({"hosts": [self.row]}, self.trust.context(seconds=60))

    def create(self, name: str, **changes: Any) -> str:
        said: dict[str, Any] = {
            "name": name, "token": f"token-{name}", "image": f"{self.where}{self.images}/tiny.qcow2", "location": self.where, "cores": 1,
            "ram_mib": 128, "network": f"{self.where}/{NETWORK}", "public_key": public_line(GUEST_KEY), "user": "root",
        }  # fmt: skip
        return self.provider.create_machine(MachineSpec(**{**said, **changes}))

    def machine(self, external_id: str) -> MachineInfo:
        return self.provider.get_machine(external_id)

    def until(self, external_id: str, true: Callable[[MachineInfo], object], what: str) -> MachineInfo:
        end = time.monotonic() + BOOT_S
        while time.monotonic() < end:
            if true(info := self.machine(external_id)):
                return info
            time.sleep(0.5)
        raise AssertionError(f"{what}: {self.machine(external_id)}")

    def ask(self, external_id: str, *argv: str) -> str:
        """A command inside the guest, once it answers."""
        address = self.until(external_id, lambda info: info.private_ips, "it never had an address").private_ips[0]
        end = time.monotonic() + BOOT_S
        while True:
            host = Host(
                host=address, user="root", private_key=GUEST_KEY, resolve=lambda host, port: [host], host_keys=lambda host, port: [],
                trust=lambda host, port, line: None, remaining=lambda: 30.0,
            )  # fmt: skip
            try:
                with host:
                    return host.run(list(argv)).text.strip()
            except ProviderError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.5)

    def forget(self, external_id: str) -> None:
        try:
            if self.machine(external_id).state != "stopped":
                self.provider.destroy_machine(external_id)
            self.provider.undefine_machine(external_id, delete_disks=True)
        except Gone:
            pass


@pytest.fixture(scope="module")
def lab(sshd: Sshd, libvirt: Libvirt) -> Lab:  # noqa: F811
    return Lab(sshd, libvirt)


@pytest.fixture(scope="module")
def guest(lab: Lab) -> Iterator[str]:
    """A machine made from the image, up; its user-data left a file."""
    external_id = lab.create("guest-1", cloudinit='#!/bin/sh\necho "it\'s done" >/tmp/proof\n', disk_gib=1)
    lab.ask(external_id, "true")
    yield external_id
    lab.forget(external_id)


@pytest.fixture
def stopped(lab: Lab) -> Iterator[str]:
    """A machine that is defined and off."""
    external_id = lab.create("guest-2")
    lab.provider.destroy_machine(external_id)
    yield external_id
    lab.forget(external_id)


def test_a_host_that_has_all_passes_the_check(lab: Lab) -> None:
    lab.provider.check()
    assert all(check.ok for check in lab.provider.permissions())


def test_a_machine_made_from_an_image_boots_as_cloud_init_was_told(lab: Lab, guest: str) -> None:
    assert lab.ask(guest, "hostname") == "guest-1"
    assert lab.ask(guest, "cat", "/tmp/proof") == "it's done"
    assert lab.ask(guest, "cat", "/root/.ssh/authorized_keys") == public_line(GUEST_KEY)
    info = lab.machine(guest)
    assert (info.state, info.type, info.parent, info.cores, info.ram_mib, info.disk_gib) == ("running", "vm", lab.where, 1, 128, 1)
    assert info.network == f"{lab.where}/{NETWORK}"
    assert info.extra["vnc"]["host"] == "127.0.0.1"
    assert info.extra["serial"].startswith("/dev/pts/")
    assert int(lab.ask(guest, "cat", "/sys/block/vda/size")) * 512 == 2**30
    disk = Path(info.extra["disks"][0]["path"])
    assert disk.parent == lab.images
    assert f"{lab.where}{disk}" not in {image.external_id for image in lab.provider.list_images()}, "a machine's disk is no image"


def test_a_host_key_put_in_with_cloud_init_is_what_the_machine_shows(lab: Lab) -> None:
    key = new_key()
    spec = MachineSpec(name="guest-3", token="t", image="/tiny.qcow2", extra={"host_key": True})
    assert Kvm.takes_host_key(spec) and not Kvm.takes_host_key(replace(spec, image="/a.ISO"))
    external_id = lab.create("guest-3", host_key=key)
    try:
        address = lab.until(external_id, lambda info: info.private_ips, "it never had an address").private_ips[0]
        end = time.monotonic() + BOOT_S
        while True:
            host = Host(
                host=address, user="root", private_key=GUEST_KEY, resolve=lambda host, port: [host],
                host_keys=lambda host, port: [public_line(key)],
                trust=lambda host, port, line: pytest.fail("it was known before"), remaining=lambda: 30.0,
            )  # fmt: skip
            try:
                with host:
                    assert host.run(["hostname"]).text.strip() == "guest-3"
                break
            except Unavailable:
                if time.monotonic() > end:
                    raise
                time.sleep(0.5)
    finally:
        lab.forget(external_id)


def test_the_same_request_again_makes_no_second_machine(lab: Lab, guest: str) -> None:
    assert lab.create("guest-1") == guest
    with pytest.raises(Rejected, match="already"):
        lab.create("guest-1", token="another")
    assert [info.name for info in lab.provider.list_machines()].count("guest-1") == 1


def test_the_image_is_listed_with_its_size(lab: Lab) -> None:
    (image,) = [image for image in lab.provider.list_images() if image.name == "tiny.qcow2"]
    assert (image.extra["format"], image.extra["kind"], image.min_disk_gib, image.locations) == ("qcow2", "disk", 1, (lab.where,))


def test_the_network_is_listed_with_its_cidr(lab: Lab) -> None:
    (network,) = [network for network in lab.provider.list_networks() if network.name == NETWORK]
    assert (network.cidr, network.extra["active"], network.extra["forward"]) == ("192.168.231.0/24", True, "nat")


def test_a_running_machine_is_suspended_and_resumed(lab: Lab, guest: str) -> None:
    lab.provider.suspend_machine(guest)
    assert lab.machine(guest).state == "suspended"
    with pytest.raises(Rejected):
        lab.provider.start_machine(guest)
    lab.provider.resume_machine(guest)
    assert lab.machine(guest).state == "running"


def test_a_running_machine_refuses_what_needs_it_off(lab: Lab, guest: str) -> None:
    for refused in (
        lambda: lab.provider.undefine_machine(guest, delete_disks=True),
        lambda: lab.provider.rename_machine(guest, "other"),
        lambda: lab.provider.resize_machine(guest, None, cores=2),
        lambda: lab.provider.clone_machine(guest, "copy"),
        lambda: lab.provider.start_machine(guest),
    ):
        with pytest.raises(Rejected):
            refused()
    assert lab.machine(guest).state == "running"


def test_a_snapshot_of_a_running_machine_brings_its_memory_back(lab: Lab, guest: str) -> None:
    lab.ask(guest, "sh", "-c", "echo before >/tmp/state")
    lab.provider.create_snapshot(guest, "clean", "<b>before</b> & 'after'\n\x01")
    lab.ask(guest, "sh", "-c", "echo after >/tmp/state")
    (snapshot,) = lab.provider.list_snapshots(guest)
    assert (snapshot.external_id, snapshot.name, snapshot.active) == ("clean", "clean", True)
    assert snapshot.description.startswith("<b>before</b> & 'after'")
    assert snapshot.created_at is not None
    assert abs(snapshot.created_at.timestamp() - time.time()) < 300
    lab.provider.revert_to_snapshot(guest, "clean")
    assert lab.ask(guest, "cat", "/tmp/state") == "before"
    lab.provider.remove_snapshot(guest, "clean")
    assert lab.provider.list_snapshots(guest) == []
    for verb in ("revert_to_snapshot", "remove_snapshot"):
        with pytest.raises(Gone):
            getattr(lab.provider, verb)(guest, "clean")
        with pytest.raises(Gone):
            getattr(lab.provider, verb)(guest, "--current")
    with pytest.raises(Rejected, match="name here has"):
        lab.provider.create_snapshot(guest, "--halt")


def test_a_machine_reboots_power_cycles_and_stops_when_asked(lab: Lab, guest: str) -> None:
    def boot_id() -> str:
        return lab.ask(guest, "cat", "/proc/sys/kernel/random/boot_id")

    first = boot_id()
    lab.provider.power_cycle_machine(guest)
    assert boot_id_after(boot_id, first) != first
    lab.provider.stop_machine(guest)
    lab.until(guest, lambda info: info.state == "stopped", "it did not hear the power button")
    lab.provider.start_machine(guest)
    assert lab.ask(guest, "hostname") == "guest-1"
    lab.provider.reboot_machine(guest)  # by ACPI: this guest takes it as its power button


def boot_id_after(boot_id: Callable[[], str], first: str) -> str:
    """The reset takes a moment; until then the old guest answers."""
    end = time.monotonic() + BOOT_S
    while (found := boot_id()) == first and time.monotonic() < end:
        time.sleep(0.5)
    return found


def test_destroy_takes_the_power_and_leaves_the_machine(lab: Lab, stopped: str) -> None:
    info = lab.machine(stopped)
    assert (info.state, info.private_ips) == ("stopped", ())
    assert Path(info.extra["disks"][0]["path"]).exists()
    with pytest.raises(Rejected):
        lab.provider.destroy_machine(stopped)


def test_a_stopped_machine_is_renamed_and_resized(lab: Lab, stopped: str) -> None:
    lab.provider.rename_machine(stopped, "renamed.2")
    lab.provider.resize_machine(stopped, None, cores=2, ram_mib=192)
    info = lab.machine(stopped)
    assert (info.name, info.cores, info.ram_mib) == ("renamed.2", 2, 192)
    for bad in ({"cores": 0, "ram_mib": 0}, {"cores": -1}, {"ram_mib": 1}):
        with pytest.raises(Rejected):
            lab.provider.resize_machine(stopped, None, **bad)
    with pytest.raises(Rejected):
        lab.provider.rename_machine(stopped, "--all")


def test_a_clone_has_disks_and_addresses_of_its_own(lab: Lab, stopped: str) -> None:
    copy = lab.provider.clone_machine(stopped, "the-copy")
    try:
        theirs, ours = lab.machine(stopped), lab.machine(copy)
        assert (ours.name, ours.state, ours.cores, ours.ram_mib) == ("the-copy", "stopped", theirs.cores, theirs.ram_mib)
        assert not {disk["path"] for disk in ours.extra["disks"]} & {disk["path"] for disk in theirs.extra["disks"]}
        assert ours.extra["interfaces"][0]["mac"] != theirs.extra["interfaces"][0]["mac"]
        lab.provider.start_machine(copy)
        assert lab.ask(copy, "hostname") == "guest-2", "its seed is a copy too"
        with pytest.raises(Rejected, match="already"):
            lab.provider.clone_machine(stopped, "the-copy")
    finally:
        lab.forget(copy)


def test_undefine_leaves_the_disks_unless_asked(lab: Lab, stopped: str) -> None:
    disks = [Path(disk["path"]) for disk in lab.machine(stopped).extra["disks"]]
    lab.provider.undefine_machine(stopped)
    with pytest.raises(Gone):
        lab.machine(stopped)
    assert all(disk.exists() for disk in disks)
    for disk in disks:
        disk.unlink()


def test_undefine_with_disks_takes_what_is_in_the_images_location_alone(lab: Lab, stopped: str, libvirt: Libvirt) -> None:  # noqa: F811
    uuid = stopped.partition("/")[2]
    outside = lab.images.parent / "precious.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(outside), "1M"], check=True)
    libvirt.virsh("attach-disk", uuid, str(outside), "vdc", "--subdriver", "qcow2", "--config")
    disks = [Path(disk["path"]) for disk in lab.machine(stopped).extra["disks"]]
    assert outside in disks
    lab.provider.undefine_machine(stopped, delete_disks=True)
    assert [disk for disk in disks if disk.exists()] == [outside]
    assert (lab.images / "tiny.qcow2").exists(), "the image it was built on is not its disk"
    outside.unlink()


def test_a_disk_that_another_machine_is_built_on_is_not_deleted(lab: Lab, stopped: str) -> None:
    disk = lab.machine(stopped).extra["disks"][0]["path"]
    child = lab.create("child", image=f"{lab.where}{disk}")
    lab.provider.destroy_machine(child)
    try:
        with pytest.raises(Rejected, match="needed by child"):
            lab.provider.undefine_machine(stopped, delete_disks=True)
        assert lab.machine(stopped).state == "stopped"
        assert Path(disk).exists()
    finally:
        lab.forget(child)


def test_a_full_copy_needs_its_image_no_more(lab: Lab) -> None:
    copy = lab.create("full-copy", extra={"disk_mode": "copy", "autostart": True}, disk_gib=1)
    try:
        lab.provider.destroy_machine(copy)
        disk = lab.machine(copy).extra["disks"][0]["path"]
        told = subprocess.run(["qemu-img", "info", disk], capture_output=True, text=True, check=True).stdout
        assert "backing file" not in told
        assert "1 GiB" in told
    finally:
        lab.forget(copy)


def test_an_iso_becomes_a_cd_beside_an_empty_disk(lab: Lab) -> None:
    subprocess.run(["genisoimage", "-quiet", "-o", str(lab.images / "installer.iso"), "/etc/hostname"], check=True)
    (lab.images / "installer.iso").chmod(0o644)
    machine = lab.create("from-iso", image=f"{lab.where}{lab.images}/installer.iso", disk_gib=2)
    try:
        disks = {disk["device"]: disk for disk in lab.machine(machine).extra["disks"]}
        assert disks["cdrom"]["path"] == str(lab.images / "installer.iso")
        assert (disks["disk"]["gib"], lab.machine(machine).disk_gib) == (2.0, 2)
    finally:
        lab.forget(machine)
    assert (lab.images / "installer.iso").exists()


def test_a_machine_that_cannot_start_leaves_nothing(lab: Lab) -> None:
    before = sorted(lab.images.iterdir())
    lab.row["virt_type"] = "kvm"
    try:
        with pytest.raises(ProviderError):
            lab.create("too-large", ram_mib=32 << 20)  # 32 TiB: QEMU cannot have them
    finally:
        lab.row["virt_type"] = "qemu"
    assert sorted(lab.images.iterdir()) == before
    assert "too-large" not in {info.name for info in lab.provider.list_machines()}


def test_a_machine_destroyed_behind_our_back_is_gone(lab: Lab, stopped: str, libvirt: Libvirt) -> None:  # noqa: F811
    libvirt.virsh("undefine", stopped.partition("/")[2])
    for verb in ("start", "stop", "resume", "undefine"):
        with pytest.raises(Gone):
            getattr(lab.provider, f"{verb}_machine")(stopped)
    for leftover in lab.images.glob("guest-2-*"):
        leftover.unlink()


def read_again(cloud: Cloud) -> None:
    for poll in Poll.objects.filter(cloud=cloud).order_by("pk"):
        poll_once(poll.pk)


@pytest.mark.django_db
def test_a_new_machine_is_verified_at_first_contact(sshd: Sshd, libvirt: Libvirt) -> None:  # noqa: F811
    """It has a host key that we know before it was ever reached: from the form to a script that ran."""
    _, _, actor = make_org("here")
    perform(actor, Key, "create", {"name": "farm", "private": sshd.private_key})
    perform(actor, Key, "create", {"name": "guests", "generate": True, "default": True})
    row = {"host": "127.0.0.1", "port": sshd.port, "user": sshd.user, "key": "farm", "alias": "lab"}
    row |= {"images_location": str(libvirt.images), "virt_type": "qemu"}
    perform(actor, Cloud, "create", {"name": "lab", "provider": "kvm", "credentials": {"hosts": [row]}})
    cloud = Cloud.objects.get()
    read_again(cloud)
    asked = {
        "name": "verified",
        "cloud": cloud.pk.hex,
        "image": Image.objects.get(name="tiny.qcow2").pk.hex,
        "location": Location.objects.get(external_id__startswith="127.0.0.1").pk.hex,
        "network": NETWORK,
        "size": {"cores": 1, "memory": 128},
    }
    job = finish(perform(actor, Machine, "create", asked))
    machine = Machine.objects.get(name="verified")
    try:
        assert job.state == "succeeded", job.error_detail
        given = GivenHostKey.objects.get(machine=machine)
        assert {"name": "host_key", "detail": given.fingerprint}.items() <= next(s for s in job.steps if s["name"] == "host_key").items()
        assert "PRIVATE KEY" not in everything_stored()
        Cloud.objects.update(extra={"loopback": True, "strict_host_keys": True})  # nobody is trusted at sight
        place, end = Place(actor, cloud), time.monotonic() + BOOT_S
        script = place.script("#!/bin/sh\nhostname\n")
        while time.monotonic() < end:
            read_again(cloud)
            machine.refresh_from_db()
            run = place.run(script, [machine]) if machine.private_ips else None
            if run is not None and run.state == "succeeded":
                break
            time.sleep(1)
        assert run is not None and said(run.hosts.get()) == "verified\n"
        pin = HostKey.objects.get(host=machine.private_ips[0])
        assert (pin.public, pin.source) == (given.public, "cloud-init")
        assert not Event.objects.filter(org_id=actor.org_id, type="host_key.changed.observed").exists()
        assert Job.objects.filter(action="machine.run", state="succeeded").exists()
    finally:
        finish(perform(actor, machine, "destroy", {}, undo_s=0))
        machine.refresh_from_db()
        perform(actor, machine, "undefine", {"delete_domain_image": True}, undo_s=0)
        finish(Job.objects.get(action="machine.undefine"))
