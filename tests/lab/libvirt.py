"""A real libvirt with software emulation for tests marked `kvm`, and a host entry that reaches it over a real sshd."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mist.embedded import locked

URI = "qemu:///system"
NETWORK = "mistlab"
TOOLS = (
    "sshd", "virsh", "libvirtd", "virtlogd", "qemu-system-x86_64", "qemu-img", "genisoimage", "dnsmasq", "busybox", "dropbear", "cpio",
    "syslinux", "mformat", "sfdisk", "iptables",
)  # fmt: skip
_SCRIPT = Path(__file__).with_name("tinyvm.sh")
_NETWORK_XML = f"""<network><name>{NETWORK}</name><forward mode='nat'/><bridge name='mistlab0'/>
 <ip address='192.168.231.1' netmask='255.255.255.0'><dhcp><range start='192.168.231.2' end='192.168.231.254'/></dhcp></ip></network>"""


def missing(*tools: str) -> list[str]:
    path = os.environ["PATH"] + ":/usr/sbin:/sbin"
    return [tool for tool in tools if not shutil.which(tool, path=path)]


@dataclass
class Libvirt:
    images: Path

    def virsh(self, *arguments: str) -> str:
        done = subprocess.run(["virsh", "-q", "-c", URI, *arguments], capture_output=True, text=True, check=True)
        return done.stdout

    def clear(self, below: str) -> None:
        """Nothing is left of machines with a disk below this path."""
        for uuid in self.virsh("list", "--all", "--uuid").split():
            if below in self.virsh("dumpxml", uuid):
                for command in (("destroy", uuid), ("undefine", uuid, "--snapshots-metadata", "--nvram", "--managed-save")):
                    subprocess.run(["virsh", "-q", "-c", URI, *command], capture_output=True, check=False)


@pytest.fixture(scope="session")
def libvirt() -> Iterator[Libvirt]:
    """libvirtd with an empty directory of images but for tiny.qcow2. What tests define in it goes at the end."""
    if os.getuid() != 0 or (lacking := missing(*TOOLS)):
        pytest.skip("needs root" if os.getuid() else f"needs {', '.join(lacking)} (tests/lab/tinyvm.sh says which Debian packages)")
    # A machine has one libvirtd, one bridge and one range of addresses: another run of the tests on it is waited for.
    with locked(Path("/var/tmp/mist-lab-libvirt.lock"), wait_s=1200, refusal="another run of the tests has libvirt"):
        cache = Path("/var/tmp/mist-lab-tiny")  # QEMU's own user must get there, so not below pytest's private directory
        cache.mkdir(exist_ok=True)
        made_by, digest = cache / "made-by", hashlib.sha256(_SCRIPT.read_bytes()).hexdigest()
        if not (cache / "tiny.qcow2").exists() or not made_by.exists() or made_by.read_text() != digest:
            built = subprocess.run(["bash", str(_SCRIPT), "image", str(cache)], capture_output=True, text=True, check=False)
            if built.returncode:
                pytest.skip(f"the image could not be built: {built.stderr[-300:]}")
            made_by.write_text(digest)
        directory = Path(tempfile.mkdtemp(prefix="mist-lab-", dir="/var/tmp"))
        directory.chmod(0o755)
        images, run = directory / "images", directory / "run"
        images.mkdir()
        run.mkdir()
        shutil.copy(cache / "tiny.qcow2", images / "tiny.qcow2")
        (images / "tiny.qcow2").chmod(0o644)
        (run / "network.xml").write_text(_NETWORK_XML)
        up = subprocess.run(["bash", str(_SCRIPT), "up", str(run)], capture_output=True, text=True, check=False)
        if up.returncode:
            subprocess.run(["bash", str(_SCRIPT), "down", str(run)], check=False)
            shutil.rmtree(directory)
            pytest.fail(f"libvirt did not start: {up.stderr[-2000:]}")
        made = Libvirt(images=images)
        made.clear("/var/tmp/mist-lab-")  # of a run that was killed: nobody else has the lock
        try:
            yield made
        finally:
            made.clear(str(images))
            made.virsh("net-destroy", NETWORK)
            subprocess.run(["bash", str(_SCRIPT), "down", str(run)], check=False)
            shutil.rmtree(directory)
