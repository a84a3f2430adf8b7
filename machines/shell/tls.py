"""Between web and a shell process on another machine: TLS, both ends pinned to one certificate.

Its Ed25519 key is derived from the installation's secret key, as the signature of a hello is, and everything else about it is fixed:
every process of an installation makes the same certificate, byte for byte, and no file has to be carried about. Whoever shows another
one is not spoken to. A new secret key goes first in its file while the old one stands behind it: both are believed meanwhile.
Source: RFC 5869 (HKDF), RFC 8410 (Ed25519 in certificates), RFC 5280 4.1.2.5 (a certificate without an end).
"""

from __future__ import annotations

import os
import ssl
from asyncio import sslproto
from datetime import UTC, datetime
from functools import lru_cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from django.conf import settings

INFO = b"mist.shell.relay"
# asyncio keeps a buffer of 256 KiB for each TLS connection: of an idle shell, most of what it costs. A record has 16 KiB at most.
sslproto.SSLProtocol.max_size = 32 << 10
ALWAYS = (datetime(2000, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC))


def server() -> ssl.SSLContext:
    """Of a process that holds shells."""
    return _context(True, settings.SECRET_KEY, tuple(settings.SECRET_KEY_FALLBACKS))


def client() -> ssl.SSLContext:
    """Of web, which dials it."""
    return _context(False, settings.SECRET_KEY, tuple(settings.SECRET_KEY_FALLBACKS))


@lru_cache(maxsize=4)
def _context(is_server: bool, secret: str, former: tuple[str, ...]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if is_server else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False  # it is pinned: whatever its address is called, nobody else has this key
    context.verify_mode = ssl.CERT_REQUIRED
    for one in (secret, *former):
        context.load_verify_locations(cadata=_pair(one)[0].decode())
    if is_server:
        context.num_tickets = 0
    # OpenSSL reads a pair from a file alone; this one is memory, and gone with its descriptor.
    held = os.memfd_create("relay")
    try:
        os.write(held, b"".join(_pair(secret)))
        context.load_cert_chain(f"/proc/self/fd/{held}")
    finally:
        os.close(held)
    return context


def _pair(secret: str) -> tuple[bytes, bytes]:
    """The certificate and its key, PEM."""
    seed = HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=INFO).derive(secret.encode())
    key = Ed25519PrivateKey.from_private_bytes(seed)
    # Named after its key: OpenSSL finds who signed by the name, and two secret keys may be good at once.
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"mist shells {key.public_key().public_bytes_raw().hex()[:16]}")])
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
    signed = made.not_valid_before(ALWAYS[0]).not_valid_after(ALWAYS[1]).sign(key, None)
    return signed.public_bytes(Encoding.PEM), key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
