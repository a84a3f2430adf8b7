"""One KVM host: its entry in the credentials, and `virsh` on it over verified SSH.

Source: https://libvirt.org/manpages/virsh.html
"""

from __future__ import annotations

import ipaddress
import posixpath
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from core.errors import AuthFailed, Gone, ProviderError, Rejected, Unavailable
from keys.ssh import Host, Result

from ..base import Context

IMAGES = "/var/lib/libvirt/images"
URI = "qemu:///system"

_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_.])?")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")
_PATH = re.compile(r"/[A-Za-z0-9._+@%:,=/ -]*")
_URI = re.compile(r"(qemu|test):///[A-Za-z0-9._/-]*")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, kw_only=True, slots=True)
class HostEntry:
    """A row of the credential field `hosts`. `id` is the location's and the hypervisor's external id."""

    id: str
    host: str
    name: str
    user: str
    port: int
    key: str
    images: str
    virt_type: str
    uri: str


def read_hosts(rows: Any) -> list[HostEntry]:
    """Raises: Rejected, naming the row that is wrong (1-based)."""
    if not isinstance(rows, list | tuple) or not rows:
        raise Rejected("Give at least one host.")
    entries: dict[str, HostEntry] = {}
    for number, row in enumerate(rows, 1):
        if not isinstance(row, Mapping):
            raise Rejected(f"Host {number}: not an object.")

        def text(name: str, pattern: re.Pattern[str], default: str, row: Mapping[str, Any] = row, number: int = number) -> str:
            value = str(row.get(name) or default).strip()
            if not pattern.fullmatch(value):
                raise Rejected(f"Host {number}: {name} “{value[:80]}” cannot be one." if value else f"Host {number}: {name} is missing.")
            return value

        host = str(row.get("host") or "").strip().lower()
        try:
            host = str(ipaddress.ip_address(host))
        except ValueError:
            host = text("host", _HOST, "").lower()
        port = row.get("port") or 22
        if isinstance(port, bool) or not str(port).isdigit() or not 1 <= int(port) <= 65535:
            raise Rejected(f"Host {number}: “{str(port)[:20]}” is no port.")
        if not row.get("key"):
            raise Rejected(f"Host {number}: a key is needed to reach {host}.")
        if (virt_type := str(row.get("virt_type") or "auto")) not in ("auto", "kvm", "qemu"):
            raise Rejected(f"Host {number}: virt_type is auto, kvm or qemu.")
        images = text("images_location", _PATH, IMAGES)
        if posixpath.normpath(images) in ("/", "//") or ".." in images.split("/"):
            raise Rejected(f"Host {number}: images_location must be a directory of its own.")
        where = host if int(port) == 22 else f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        if where in entries:
            raise Rejected(f"Host {number}: {where} is there twice.")
        entries[where] = HostEntry(
            id=where,
            host=host,
            name=str(row.get("alias") or host)[:200],
            user=text("user", _USER, "root"),
            port=int(port),
            key=str(row["key"]),
            images=posixpath.normpath(images),
            virt_type=virt_type,
            uri=text("uri", _URI, URI),
        )
    return list(entries.values())


def valid_name(name: str, what: str = "machine") -> str:
    """A name that is safe as a file's and as an argument.  Raises: Rejected."""
    if not _NAME.fullmatch(name):
        raise Rejected(f"A {what}'s name here has 1 to 63 letters, digits, dots, dashes or underscores, and begins with a letter or digit.")
    return name


def is_uuid(text: str) -> bool:
    return bool(_UUID.fullmatch(text))


class Hypervisor:
    """A connection to one host; close it, or use it as a context manager."""

    def __init__(self, entry: HostEntry, context: Context, *, grace_s: float | None = None) -> None:
        """`grace_s`: seconds to live instead of the deadline's: for cleaning up after it has passed."""
        self.entry = entry
        self.ssh = Host(
            host=entry.host,
            port=entry.port,
            user=entry.user,
            private_key=context.private_key(entry.key),
            resolve=context.resolve,
            host_keys=context.host_keys,
            trust=context.trust,
            changed=context.changed,
            remaining=context.deadline.remaining if grace_s is None else lambda: grace_s,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.ssh.close()

    def virsh(self, *arguments: str, input: bytes = b"") -> str:
        """One virsh command; what it printed.

        Raises: Gone (no such domain), AuthFailed, Unavailable (libvirt is down), Rejected with virsh's words.
        """
        result = self.ssh.run(["env", "LC_ALL=C", "virsh", "-q", "-c", self.entry.uri, *arguments], input=input)
        if result.exit != 0:
            raise self.error(result, f"virsh {arguments[0]}")
        return result.text

    def script(self, text: str, *arguments: str, max_output: int = 8 << 20) -> dict[str, list[str]]:
        """A script of ours given (uri, mark, images, *arguments): what it printed after each line "<mark> <title>", by title.

        The mark is random, so that no text of a guest's can pass for it. A title that comes again adds to a list.
        Raises: as `virsh`; Unavailable when the script did not come to its end, or said too much.
        """
        mark = f"mist-{secrets.token_hex(12)}"
        result = self.ssh.script(
            _PREAMBLE + text + "\nmark end\n", self.entry.uri, mark, self.entry.images, *arguments, max_output=max_output
        )
        if result.exit != 0:
            raise self.error(result, "the host")
        sections: dict[str, list[str]] = {}
        for title, body in _sections(result.text, mark):
            sections.setdefault(title, []).append(body)
        if result.truncated or "end" not in sections:
            raise Unavailable(f"{self.entry.name} did not answer to the end.", words=result.complaint)
        return sections

    def error(self, result: Result, doing: str) -> ProviderError:
        """What a failed command means."""
        name, words = self.entry.name, result.complaint
        said = result.stderr.decode(errors="replace").lower()
        if "failed to get domain" in said or "domain not found" in said:
            return Gone(f"The machine is not on {name} any more.", words=words)
        if result.exit == 127 or "command not found" in said or "no such file or directory: virsh" in said:
            return Rejected(f"{name} lacks a program that is needed: {words}", words=words)
        if "authentication failed" in said or "permission denied" in said or "a password is required" in said:
            return AuthFailed(
                f"{self.entry.user} may not do that on {name}: {words}. Let it use libvirt (group libvirt) and write "
                f"{self.entry.images}, or sudo without a password.",
                words=words,
            )
        if "failed to connect" in said or "cannot recv data" in said or "connection refused" in said:
            return Unavailable(f"libvirt does not answer on {name}: {words}", words=words)
        if "timed out during operation" in said or "cannot acquire state change lock" in said:
            return Unavailable(f"{name} is busy with that machine: {words}", words=words)
        return Rejected(f"{name}: {doing} failed: {words or f'exit status {result.exit}'}", words=words)


# `virsh` takes several commands in one argument, so a listing costs few processes, however many machines there are.
# `files` runs what touches images_location, by sudo where we may not write there ourselves.
_PREAMBLE = r"""
LC_ALL=C; export LC_ALL
PATH=$PATH:/usr/sbin:/sbin; export PATH
uri=$1 n=$2 images=$3; shift 3
mark() { printf '\n%s %s\n' "$n" "$*"; }
v() { virsh -q -c "$uri" "$@"; }
files() { if [ -w "$images" ]; then "$@"; else sudo -n "$@"; fi; }
"""


def _sections(text: str, mark: str) -> Iterator[tuple[str, str]]:
    for part in re.split(rf"^{mark} ", text, flags=re.MULTILINE)[1:]:
        title, _, body = part.partition("\n")
        yield title.strip(), body


def batch(commands: Sequence[str]) -> str:
    """Commands for one virsh. Only our own words, UUIDs and numbers belong in here: it has its own quoting."""
    return "; ".join(commands)
