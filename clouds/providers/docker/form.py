"""What the Docker provider's forms ask, and how what was written there is read.

Source: https://docs.docker.com/reference/api/engine/ (PortBindings, Binds, Resources)
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from core.errors import Rejected

from ..facts import Field

VOLUME_OR_NETWORK = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
_PORT = re.compile(r"(?:(?:(?P<ip>[0-9.]+|\[[0-9a-fA-F:]+\]):)?(?P<public>\d{1,5}):)?(?P<private>\d{1,5})(?:/(?P<protocol>tcp|udp|sctp))?")

CREDENTIALS = (
    Field(name="host", label="Host", required=True, aliases=("docker_host",), help="A name or address, or unix:///path of a local socket."),
    Field(
        name="port",
        label="Port",
        kind="integer",
        aliases=("docker_port",),
        minimum=1,
        maximum=65535,
        help="2376 with TLS, 2375 without, when left empty.",
    ),
    Field(
        name="tlsKey",
        label="TLS key",
        kind="textarea",
        secret=True,
        aliases=("key_file",),
        help="The client's key, PEM. Without TLS, whoever reaches the port or reads the traffic owns the host.",
    ),
    Field(name="tlsCert", label="TLS certificate", kind="textarea", secret=True, aliases=("cert_file",), help="The client's, PEM."),
    Field(
        name="tlsCaCert",
        label="CA certificate",
        kind="textarea",
        secret=True,
        aliases=("ca_cert_file",),
        help="That signed the engine's certificate, PEM. Left empty, the CAs of this machine are trusted.",
    ),
    Field(name="username", label="User", aliases=("auth_user",), help="For a proxy in front of the engine that asks for one."),
    Field(name="password", label="Password", kind="password", secret=True, aliases=("auth_password",)),
    Field(
        name="showAll",
        label="Stopped containers too",
        kind="toggle",
        default=True,
        aliases=("show_all",),
        help="Without it a container that is stopped counts as missing.",
    ),
    Field(
        name="hostAccess",
        label="Containers may use the host's folders and network",
        kind="toggle",
        default=False,
        help="Whoever may create containers here could then do everything on the host.",
    ),
)
CREATE = (
    Field(
        name="env",
        label="Environment",
        kind="textarea",
        aliases=("docker_env",),
        help="NAME=value, one a line. No secrets: whoever sees the job reads them.",
    ),
    Field(name="command", label="Command", aliases=("docker_command",), help="In place of the image's own."),
    Field(
        name="ports",
        label="Published ports",
        kind="textarea",
        aliases=("docker_port_bindings",),
        help="8080:80, 127.0.0.1:8080:80/tcp, or 80 for any free port; one a line.",
    ),
    Field(name="exposed", label="Exposed ports", kind="textarea", aliases=("docker_exposed_ports",), help="80/tcp, one a line."),
    Field(name="mounts", label="Volumes", kind="textarea", help="volume:/path or volume:/path:ro, one a line; made when not there."),
    Field(
        name="restart",
        label="Restart",
        kind="choice",
        default="no",
        choices=(("no", "Never"), ("on-failure", "When it fails"), ("unless-stopped", "Unless stopped"), ("always", "Always")),
    ),
)


def is_socket(host: str) -> bool:
    """Is it the path of a local socket?"""
    return host.strip().lower().startswith(("unix:", "/"))


def is_ip(text: str) -> bool:
    """Is it an IP literal?"""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def address(credentials: Mapping[str, Any]) -> tuple[str, int, bool]:
    """(host or unix:///path, port, is it TLS) of the form.  Raises: Rejected."""
    written = str(credentials.get("host") or "").strip()
    if is_socket(written):
        return "unix://" + re.sub("^unix:(//)?", "", written, flags=re.IGNORECASE), 0, False
    if "://" not in written:
        bare_v6 = written.count(":") > 1 and "[" not in written
        written = f"tcp://[{written}]" if bare_v6 else f"tcp://{written}"
    wrong = Rejected("The host is a name or an address, tcp://name:port, or unix:///path.", code="cloud_bad_host")
    try:
        parts = urlsplit(written)
        host, given = parts.hostname or "", parts.port
    except ValueError as error:
        raise wrong from error
    if parts.scheme not in {"tcp", "http", "https"} or parts.username is not None or parts.path.strip("/") or parts.query or parts.fragment:
        raise wrong
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,253}|[0-9a-fA-F:.]{2,45}", host):
        raise wrong
    port = int(credentials.get("port") or given or 0)
    pem = any(credentials.get(name) for name in ("tlsKey", "tlsCert", "tlsCaCert"))
    tls = pem or parts.scheme == "https" or port == 2376
    return host, port or (2376 if tls else 2375), tls


def read_lines(value: Any) -> list[str]:
    """The lines of a textarea, or the items of a list, without empty ones."""
    found = value.splitlines() if isinstance(value, str) else [str(one) for one in value or ()]
    return [line.strip() for line in found if line.strip()]


def read_port(line: str) -> tuple[str, str, str]:
    """(host's address, host's port, container's port with protocol) of a line.  Raises: Rejected."""
    match = _PORT.fullmatch(line)
    if match is None or not all(0 < int(match[part]) < 65536 for part in ("public", "private") if match[part]):
        raise Rejected(f"“{line[:50]}” is no port: write 8080:80, 127.0.0.1:8080:80/tcp, or 80.")
    return (match["ip"] or "").strip("[]"), match["public"] or "", f"{match['private']}/{match['protocol'] or 'tcp'}"


def read_mount(line: str, host_too: bool) -> str:
    """A line of volumes, as it is, when it may be mounted.  Raises: Rejected."""
    source, _, rest = line.partition(":")
    if not rest.startswith("/") or not source:
        raise Rejected(f"“{line[:50]}” is no volume: write volume:/path or volume:/path:ro.")
    if not VOLUME_OR_NETWORK.fullmatch(source) and not (host_too and source.startswith("/")):
        raise Rejected("Containers of this cloud may use named volumes only, not the host's folders.")
    return line


def limits(cores: int | None, ram_mib: int | None) -> dict[str, Any]:
    """A container's limits in the engine's words. Swap follows memory as the engine's own default does: as much again."""
    found: dict[str, Any] = {}
    if cores:
        found["NanoCpus"] = cores * 1_000_000_000
    if ram_mib:
        found |= {"Memory": ram_mib << 20, "MemorySwap": ram_mib << 21}
    return found
