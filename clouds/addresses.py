"""Which addresses may be dialled for a host a person typed.

Link-local addresses, cloud metadata services and our own ports are refused always; private and loopback addresses where
MIST_ALLOW_PRIVATE_HOSTS is off. Callers dial exactly the literals given here, so that a name cannot change its mind in between.
"""

from __future__ import annotations

import ipaddress
import socket

from django.conf import settings

from core.errors import Rejected, Unavailable

METADATA = {ipaddress.ip_address(a) for a in ("169.254.169.254", "fd00:ec2::254", "100.100.100.200", "192.0.0.192", "168.63.129.16")}


def resolve(host: str, port: int, *, loopback: bool = True) -> list[str]:
    """The IP literals to dial for host:port. `loopback`: may it be this very machine?

    Raises: Rejected: not to be dialled. Unavailable: the name does not resolve.
    """
    host = host.strip().strip("[]")
    if not host or len(host) > 253 or any(c.isspace() or ord(c) < 33 for c in host) or "/" in host or "@" in host:
        raise Rejected("That is no host name or address.", code="bad_host")
    if not 0 < port < 65536:
        raise Rejected("A port is between 1 and 65535.", code="bad_port")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        raise Unavailable(
            f"The name {host} does not resolve. Check it, and the name servers of this installation.", words=str(error)
        ) from error
    literals = list(dict.fromkeys(str(entry[4][0]).split("%")[0] for entry in found))
    for literal in literals:
        why = _forbidden(ipaddress.ip_address(literal), port, loopback)
        if why:
            raise Rejected(f"{host} is not to be dialled: {why}.", code="address_forbidden")
    return literals


def _forbidden(address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int, loopback: bool) -> str:
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if inner is not None:
            return _forbidden(inner, port, loopback)
    if address in METADATA or address.is_link_local:
        return "it is a link-local or metadata address"
    if address.is_multicast or address.is_unspecified or (address.is_reserved and not address.is_private):
        return "it is no address of one host"
    if (address.is_loopback or str(address) in settings.MIST_OWN_ADDRESSES) and port in settings.MIST_OWN_PORTS:
        return "it is Mist itself"
    if address.is_loopback and not loopback:
        return "it is the machine Mist runs on, which only an installation admin may add"
    if not settings.MIST_ALLOW_PRIVATE_HOSTS and not address.is_global:
        return "it is a private address, and MIST_ALLOW_PRIVATE_HOSTS is off"
    return ""
