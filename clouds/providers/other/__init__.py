"""Servers of any kind, added one by one or as a list: probed by ping, TCP and, with a key, SSH.

Nothing is provisioned here and no account is behind it: the hosts are the credentials.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from typing import Any

from core.errors import Gone, MistError, NotSupported, Rejected, Unavailable
from keys.ssh import Host, load_key

from .._pool import each
from ..base import Context, Provider, register
from ..facts import Field, LoginInfo, MachineInfo
from . import facts
from .hosts import Entry, parse_hosts, read_entries
from .knock import Knock, knock

__all__ = ["Other", "parse_hosts"]

WIDTH = 64  # hosts probed at once: threads that wait, mostly
KNOCK_S = 2.0
FACTS_S = 20.0
PORTS = (22, 80, 443, 3389)

# busybox has no `shutdown`.
_REBOOT = """
PATH=$PATH:/usr/sbin:/sbin; export PATH
if [ "$(id -u)" = 0 ]; then set --; else set -- sudo -n; fi
if command -v shutdown >/dev/null; then "$@" shutdown -r now; else "$@" reboot; fi
"""


@register
class Other(Provider):
    """Hosts reached over the network alone; `reboot` works where a key is given."""

    name, title = "other", "Other servers"
    aliases = ("ssh", "bare_metal")
    category = "other"
    tile = "ssh"
    doc = "Any host with an address. With a key that may log in, Mist also reads what it is and can reboot it."
    credential_fields = (
        Field(
            name="hosts",
            label="Hosts",
            kind="list",
            required=True,
            aliases=("machines",),
            paste=parse_hosts,
            help="One by one, or pasted as a list.",
            fields=(
                Field(name="host", label="Host name or address", required=True, aliases=("machine_hostname",)),
                Field(name="name", label="Name", aliases=("machine_name",)),
                Field(name="user", label="User", default="root", aliases=("machine_user", "username")),
                Field(name="port", label="SSH port", kind="integer", default=22, minimum=1, maximum=65535, aliases=("machine_port",)),
                Field(name="key", label="SSH key", kind="key", aliases=("machine_key",), help="Without one, only ping and TCP are tried."),
                Field(
                    name="os",
                    label="Operating system",
                    kind="choice",
                    default="unix",
                    choices=(("unix", "Unix"), ("windows", "Windows"), ("coreos", "CoreOS")),
                    aliases=("operating_system",),
                ),
                Field(
                    name="rdp_port",
                    label="Remote desktop port",
                    kind="integer",
                    default=3389,
                    minimum=1,
                    maximum=65535,
                    aliases=("remote_desktop_port",),
                ),
                Field(name="id", label="Identifier", help="Keeps the machine the same when its address changes. Default: host:port."),
            ),
        ),
    )

    def check(self) -> None:
        """Are the entries and keys well formed, and may their addresses be dialled? A host that is down is no reason to refuse."""
        self.context.deadline.check()
        entries = self._entries()
        for name in {entry.key for entry in entries if entry.key}:
            load_key(self.context.private_key(name))
        for entry, result in each(entries, lambda entry, context: context.resolve(entry.host, entry.port), self.context, width=WIDTH):
            if isinstance(result, Rejected):
                raise Rejected(f"{entry.name[:100]}: {result.detail}") from result

    def list_machines(self) -> Iterator[MachineInfo]:
        """A row a host, as they answer; what cannot be reached is a row too, in state unknown."""
        self.context.deadline.check()
        entries = self._entries()
        refused: list[tuple[Entry, Rejected]] = []
        for entry, result in each(entries, self._probe, self.context, width=WIDTH):
            if isinstance(result, Rejected):
                refused.append((entry, result))
            else:
                yield _row(entry, _unprobed(result) if isinstance(result, MistError) else result)
        if len(refused) == len(entries):  # then the listing as a whole is refused
            raise refused[0][1]
        for entry, error in refused:
            yield _row(entry, _unprobed(error))

    def get_machine(self, external_id: str) -> MachineInfo:
        entry = self._entry(external_id)
        return _row(entry, self._probe(entry, self.context))

    def reboot_machine(self, external_id: str) -> None:
        entry = self._entry(external_id)
        if not entry.key:
            raise NotSupported(NO_KEY)
        with self._ssh(entry, self.context) as host:
            host.connect()
            try:
                result = host.script(_REBOOT, timeout_s=FACTS_S)
            except Unavailable as error:
                if error.code == "command_timeout":
                    raise
                return  # it hung up on us: it is going down
        if result.exit != 0:
            raise Rejected(f"{entry.name} did not reboot: {result.complaint or f'exit status {result.exit}'}", words=result.complaint)

    # -- one host

    def _entries(self) -> list[Entry]:
        return read_entries(self.credentials.get("hosts"))

    def _entry(self, external_id: str) -> Entry:
        self.context.deadline.check()
        for entry in self._entries():
            if entry.external_id == external_id:
                return entry
        raise Gone("The host is not in the list any more.")

    def _ssh(self, entry: Entry, context: Context, addresses: Sequence[str] | None = None) -> Host:
        return Host(
            host=entry.host,
            port=entry.port,
            user=entry.user,
            private_key=context.private_key(entry.key),
            resolve=context.resolve if addresses is None else lambda host, port: addresses,
            host_keys=context.host_keys,
            trust=context.trust,
            changed=context.changed,
            remaining=context.deadline.remaining,
        )

    def _probe(self, entry: Entry, context: Context) -> dict[str, Any]:
        """What `extra.probe` says, and `addresses`, the literals that were dialled."""
        addresses = context.resolve(entry.host, entry.port)
        ports = dict.fromkeys((entry.port, *PORTS, entry.rdp_port))
        found = knock(addresses, ports, context.deadline.remaining(KNOCK_S))
        probe: dict[str, Any] = {
            "ping": {"ok": found.ping_ok, "ms": found.ping_ms, "detail": found.ping_detail},
            "tcp": {str(port): ms for port, ms in found.open.items()},
            "refused": list(found.refused),
            "ssh": self._ask(entry, context, found, addresses) if entry.key else {"ok": None, "detail": "No key is given."},
            "addresses": addresses,
            "answers": found.answers,
        }
        return probe

    def _ask(self, entry: Entry, context: Context, found: Knock, addresses: Sequence[str]) -> dict[str, Any]:
        if entry.port not in found.open:
            return {"ok": False, "detail": f"Port {entry.port} is closed.", "code": "ssh_closed"}
        try:
            with self._ssh(entry, context, addresses) as host:
                result = host.script(facts.SCRIPT, timeout_s=FACTS_S, max_output=64 << 10)
        except MistError as error:
            return {"ok": False, "detail": error.detail, "code": error.code}
        told = facts.read(result.text)
        detail = "" if told else f"It runs no POSIX shell: {result.complaint}"
        return {"ok": True, "detail": detail, **told}


NO_KEY = "Give this host a key that may log in, then it can be rebooted."
_OS = {"unix": "unix", "windows": "windows", "coreos": "linux"}


def _unprobed(error: MistError) -> dict[str, Any]:
    return {"detail": error.detail, "code": error.code}


def _row(entry: Entry, probe: dict[str, Any]) -> MachineInfo:
    ssh = probe.get("ssh") or {}
    dialled = probe.pop("addresses", [])
    public, private = _split([*dialled, *ssh.get("addresses", [])])
    disks = round(sum(disk["gib"] for disk in ssh.get("disks", [])))
    return MachineInfo(
        external_id=entry.external_id,
        name=entry.name,
        type="machine",
        # Silence proves nothing: a firewall may drop all that we send. So never "stopped".
        state="running" if probe.pop("answers", False) else "unknown",
        hostname=ssh.get("hostname", ""),
        public_ips=public,
        private_ips=private,
        cores=ssh.get("cores"),
        ram_mib=ssh.get("memory_mib"),
        disk_gib=disks or None,
        os_type=ssh["system"].lower() if "system" in ssh else _OS.get(entry.os, entry.os),
        architecture=ssh.get("architecture", ""),
        refusals={} if entry.key else {"reboot": NO_KEY},
        login=LoginInfo(host=entry.host, port=entry.port, user=entry.user, key=entry.key) if entry.key else None,
        extra={
            "probe": probe,
            "user": entry.user,
            "port": entry.port,
            "rdp_port": entry.rdp_port,
            "os": entry.os,
            **({"os_distro": ssh["os_id"]} if "os_id" in ssh else {}),
        },
    )


def _split(addresses: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Public and private addresses, each once, in order."""
    public: dict[str, None] = {}
    private: dict[str, None] = {}
    for address in addresses:
        literal = ipaddress.ip_address(address)
        (public if literal.is_global else private)[str(literal)] = None
    return tuple(public), tuple(private)
