"""Key pairs: made, read from what people have, never printed."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field
from typing import Any

import asyncssh
from asyncssh.asn1 import ASN1DecodeError, der_decode

from core.errors import Invalid

ALGORITHMS = {"ssh-ed25519": {}, "ecdsa-sha2-nistp256": {}, "ssh-rsa": {"key_size": 3072}}
MAX_CHARACTERS = 32_768
MAX_ROUNDS = 1024  # of bcrypt: ssh-keygen takes 16, or what -a says; more would keep this process busy for minutes
MAX_ITERATIONS = 5_000_000  # of PBKDF2, likewise
MIN_RSA_BITS = 2048
ENCRYPTED = "This key is encrypted: send its passphrase, once."


@dataclass(frozen=True, kw_only=True)
class Pair:
    """`public`: an OpenSSH line without comment. `private`: OpenSSH's format, not encrypted; "" where only the public half is known."""

    public: str
    fingerprint: str
    algorithm: str
    private: str = field(default="", repr=False)


def generate(algorithm: str = "ssh-ed25519") -> Pair:
    """A new pair."""
    return _pair(asyncssh.generate_private_key(algorithm, **ALGORITHMS[algorithm]))  # type: ignore[arg-type]


def read_private(text: str, passphrase: str = "") -> Pair:
    """The pair of a private key in OpenSSH's or a PEM format.  Raises: Invalid, never with any of the key in its words."""
    if len(text) > MAX_CHARACTERS:
        raise _wrong("private", "This is too long for a private key.")
    _check_cost(text)
    try:
        key = asyncssh.import_private_key(text.strip() + "\n", passphrase or None)
    except asyncssh.KeyEncryptionError:
        raise _wrong(
            "passphrase", "The passphrase is not right." if passphrase else ENCRYPTED
        ) from None  # the cause may quote what was sent
    except (asyncssh.KeyImportError, ValueError, IndexError, OverflowError, MemoryError) as error:
        if not passphrase and "assphrase" in str(error):
            raise _wrong("passphrase", ENCRYPTED) from None
        raise _wrong("private", "This is no private key in OpenSSH's or a PEM format.") from None
    return _pair(key)


def read_public(line: str) -> Pair:
    """The public half of a pair.  Raises: Invalid."""
    if len(line) > MAX_CHARACTERS or "PRIVATE" in line:
        raise _wrong("public", "This is no OpenSSH public key.")
    try:
        key = asyncssh.import_public_key(line)
    except (asyncssh.KeyImportError, ValueError, IndexError):
        raise _wrong("public", "This is no OpenSSH public key.") from None
    return _describe(key)


def read_certificate(text: str, pair: Pair) -> str:
    """An OpenSSH user certificate of this pair, as one line.  Raises: Invalid."""
    try:
        certificate = asyncssh.import_certificate(text)
        line = certificate.export_certificate("openssh").decode().strip()
        public = _line(certificate.key)
    except (asyncssh.KeyImportError, asyncssh.KeyExportError, ValueError, IndexError, AttributeError):
        raise _wrong("certificate", "This is no OpenSSH certificate.") from None
    if public != pair.public:
        raise _wrong("certificate", "This certificate is of another key.")
    return line


def _pair(key: asyncssh.SSHKey) -> Pair:
    public = _describe(key)
    private = key.export_private_key("openssh").decode()
    return Pair(public=public.public, fingerprint=public.fingerprint, algorithm=public.algorithm, private=private)


def _describe(key: asyncssh.SSHKey) -> Pair:
    algorithm = key.get_algorithm()
    if algorithm == "ssh-dss":
        raise _wrong("private", "DSA keys are refused by today's servers. Use Ed25519.")
    bits = getattr(getattr(key, "pyca_key", None), "key_size", None)
    if algorithm == "ssh-rsa" and bits is not None and bits < MIN_RSA_BITS:
        raise _wrong("private", f"RSA keys have at least {MIN_RSA_BITS} bits; this one has {bits}.")
    return Pair(public=_line(key), fingerprint=str(key.get_fingerprint()), algorithm=algorithm)


def _line(key: asyncssh.SSHKey) -> str:
    return " ".join(key.export_public_key("openssh").decode().split()[:2])


def _check_cost(text: str) -> None:
    """An encrypted key says itself how long opening it takes: not to be believed without bound.  Raises: Invalid."""
    found = re.search(r"-----BEGIN ([A-Z ]*PRIVATE KEY)-----(.*?)-----END", text, re.S)
    if not found:
        return
    try:
        data = base64.b64decode("".join(line for line in found[2].splitlines() if ":" not in line), validate=False)
        if found[1] == "OPENSSH PRIVATE KEY":
            cost, most = _bcrypt_rounds(data), MAX_ROUNDS
        elif found[1] == "ENCRYPTED PRIVATE KEY":
            decoded: Any = der_decode(data)
            cost, most = max(_integers(decoded[0]), default=0), MAX_ITERATIONS
        else:
            return
    except (ValueError, IndexError, TypeError, binascii.Error, ASN1DecodeError, RecursionError):
        return  # no key at all: the importer says so
    if cost > most:
        raise _wrong("private", "Opening this key would take too long: its passphrase is stretched too often. Encrypt it with less.")


def _bcrypt_rounds(data: bytes) -> int:
    """Of openssh-key-v1: cipher, KDF and its options (salt, rounds), each with its length before it. 0: not encrypted."""
    at = len(b"openssh-key-v1\x00")
    for _ in range(2):
        at += 4 + int.from_bytes(data[at : at + 4], "big")
    options = data[at + 4 : at + 4 + int.from_bytes(data[at : at + 4], "big")]
    return int.from_bytes(options[-4:], "big") if len(options) >= 8 else 0


def _integers(value: Any) -> list[int]:
    if isinstance(value, bool):
        return []
    if isinstance(value, int):
        return [value]
    return [number for one in value for number in _integers(one)] if isinstance(value, tuple | list) else []


def _wrong(name: str, what: str) -> Invalid:
    return Invalid(fields={name: [what]}, code="bad_key")
