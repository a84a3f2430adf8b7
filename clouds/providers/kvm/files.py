"""Files of machines on a host: disks made, copied and removed; the cloud-init seed written. Only below images_location.

Source: https://www.qemu.org/docs/master/tools/qemu-img.html,
https://cloudinit.readthedocs.io/en/latest/reference/datasources/nocloud.html
"""

from __future__ import annotations

import io
import json
import posixpath
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass, field

from core.errors import Rejected
from keys import pairs

from ..facts import MachineSpec
from . import domain as domains
from .host import Hypervisor, is_uuid

MAX_CLOUDINIT = 256 << 10
_HEADERS = ("#cloud-config", "#!", "#include", "#cloud-boothook", "#part-handler", "## template:", "Content-Type:", "MIME-Version:")

# $1 how, $2 file, $3 image, $4 its format, $5 GiB or "".
_MAKE = r"""
case $1 in
  overlay) files qemu-img create -q -f qcow2 -F "$4" -b "$3" "$2" ${5:+"${5}G"} ;;
  copy) files qemu-img convert -q -U -f "$4" -O qcow2 "$3" "$2" && { [ -z "$5" ] || files qemu-img resize -q "$2" "${5}G"; } ;;
  blank) files qemu-img create -q -f qcow2 "$2" "${5}G" ;;
  plain) files cp -- "$3" "$2" ;;
esac || exit 1
"""

# noclobber makes it one step to see that nothing is there and to put something there.
_RESERVE = r"""
files sh -c 'set -C; umask 077; : >"$1"' sh "$1" || exit 1
"""

# One by one, links followed for the directory but not for the file; what lies elsewhere is left alone.
_REMOVE = r"""
root=$(readlink -f -- "$images") || exit 1
for f in "$@"; do
  d=$(readlink -f -- "$(dirname -- "$f")") || continue
  case "$d/" in "$root"/*) files rm -f -- "$d/$(basename -- "$f")" || exit 1 ;; esac
done
"""

# $1 file; the three documents come as a tar by stdin, so that no secret is in a list of processes.
_SEED = r"""
umask 077
d=$(mktemp -d) || exit 1
trap 'rm -rf "$d"' EXIT
tar -xf - -C "$d" || exit 1
[ -w "$2" ] && set -- "$1" || set -- "$1" sudo -n
f=$1; shift
if command -v genisoimage; then set -- "$@" genisoimage
elif command -v mkisofs; then set -- "$@" mkisofs
elif command -v xorriso; then set -- "$@" xorriso -as mkisofs
else echo "genisoimage: command not found" >&2; exit 127
fi >/dev/null
"$@" -quiet -output "$f" -volid cidata -joliet -rock "$d/user-data" "$d/meta-data" "$d/vendor-data"
"""

_IN_USE = r"""
mark disks
ids=$(v list --all --uuid) || exit 1
for id in $ids; do mark xml "$id"; v dumpxml --inactive "$id"; done
"""

_CHAINS = r"""
for f in "$@"; do mark chain; qemu-img info -U --backing-chain --output=json "$f" 2>/dev/null; done
"""


def reserve(host: Hypervisor, path: str) -> None:
    """An empty file, which is ours from here on.  Raises: Rejected when one is there already."""
    host.script(_RESERVE, path)


def make(host: Hypervisor, how: str, path: str, image: str = "", format: str = "", gib: int | None = None) -> None:
    """A disk at `path`, reserved before: "overlay" (copy on write on `image`), "copy" or "blank", all qcow2; "plain" copies bytes."""
    host.script(_MAKE, how, path, image, format, str(gib or ""))


def remove(host: Hypervisor, paths: Iterable[str]) -> None:
    """Remove those that lie below images_location; one that is not there is no error."""
    if wanted := list(paths):
        host.script(_REMOVE, *wanted)


def write_seed(host: Hypervisor, path: str, documents: dict[str, str]) -> None:
    """An ISO labelled `cidata` that cloud-init reads at first boot."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, text in documents.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data := text.encode()), 0o600
            tar.addfile(entry, io.BytesIO(data))
    result = host.ssh.run(["env", "LC_ALL=C", "sh", "-c", _SEED, "sh", path, host.entry.images], input=archive.getvalue())
    if result.exit != 0:
        raise host.error(result, "writing the cloud-init disk")


def seed_documents(spec: MachineSpec, uuid: str) -> dict[str, str]:
    """The documents of NoCloud. JSON is YAML: nothing of a user's is pasted into text.

    The user's own document goes in as it is; what the form asks for (user, key) and the host key are vendor data, which it may override.
    Raises: Rejected for a document that cloud-init would ignore.
    """
    if spec.cloudinit and not spec.cloudinit.startswith(_HEADERS):
        raise Rejected("Cloud-init data begins with “#cloud-config”, “#!” or another header that cloud-init knows.")
    if len(spec.cloudinit) > MAX_CLOUDINIT:
        raise Rejected(f"Cloud-init data has at most {MAX_CLOUDINIT >> 10} KiB.")
    meta: dict[str, object] = {"instance-id": uuid, "local-hostname": spec.name}
    vendor: dict[str, object] = {}
    if spec.public_key:
        meta["public-keys"] = [spec.public_key]
    if spec.host_key:
        public = pairs.read_private(spec.host_key).public
        vendor["ssh_keys"] = {"ed25519_private": spec.host_key, "ed25519_public": public}
    if spec.user:
        user: dict[str, object] = {"name": spec.user, "ssh_authorized_keys": [spec.public_key] if spec.public_key else []}
        if spec.user == "root":
            vendor["disable_root"] = False
        else:
            user |= {"sudo": "ALL=(ALL) NOPASSWD:ALL", "shell": "/bin/bash", "lock_passwd": True}
        vendor["users"] = ["default", user]
    return {
        "user-data": spec.cloudinit or "#cloud-config\n{}\n",
        "meta-data": json.dumps(meta) + "\n",
        "vendor-data": "#cloud-config\n" + json.dumps(vendor) + "\n",
    }


def removable(host: Hypervisor, uuid: str) -> list[str]:
    """The disk files that go with a machine: below images_location, and no other machine's disk or what one is built on.

    Raises: Rejected when another machine needs one of them.
    """
    found = host.script(_IN_USE)
    mine: list[str] = []
    others: dict[str, str] = {}
    for title, texts in found.items():
        if not title.startswith("xml ") or not is_uuid(title[4:]) or not texts[0].strip():
            continue
        tree = domains.parse(texts[0])
        for disk in domains.disks(tree):
            if not disk.path:
                continue
            if title[4:] == uuid:
                if (disk.device == "disk" or disk.path.endswith("-seed.iso")) and below(disk.path, host.entry.images):
                    mine.append(disk.path)
            else:
                others[disk.path] = domains.text_of(tree, "name")
    chains = host.script(_CHAINS, *others).get("chain", []) if others and mine else []
    for (path, name), text in zip(list(others.items()), chains, strict=False):
        try:
            chain = json.loads(text)
        except ValueError:
            continue  # its own file is missing; it is built on nothing
        for part in chain:
            others.setdefault(posixpath.normpath(str(part.get("filename", ""))), name)
        others.setdefault(path, name)
    for path in mine:
        if path in others:
            raise Rejected(f"The disk {path} is needed by {others[path]} too. Undefine the machine without deleting its disks.")
    return mine


def below(path: str, root: str) -> bool:
    return posixpath.normpath(path) == path and path.startswith(root.rstrip("/") + "/")


@dataclass
class Made:
    """What a create or clone has made so far, to be taken back if it fails: nothing that was there before it."""

    paths: list[str] = field(default_factory=list)
    uuid: str = ""

    def undo(self, host: Hypervisor) -> None:
        if self.uuid:
            # Not defined, or not running: both are where it should come to.
            host.script('v destroy "$1" 2>/dev/null; v undefine "$1" --nvram 2>/dev/null; true', self.uuid)
        remove(host, self.paths)
