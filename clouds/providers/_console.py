"""SSH host keys that cloud-init prints on a machine's console at its first boot: read out of what a cloud keeps of it.

Root of the machine alone writes there. The last block counts: keys are made anew when a machine is made from another.
Source: https://cloudinit.readthedocs.io/en/latest/reference/modules.html#keys-to-console
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re

_BLOCK = re.compile(r"-----BEGIN SSH HOST KEY (KEYS|FINGERPRINTS)-----(.*?)-----END SSH HOST KEY \1-----", re.DOTALL)
_KEY = re.compile(r"\b(?:ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(?:256|384|521)) ([A-Za-z0-9+/]{40,}={0,2})(?=\s|$)")
_FINGERPRINT = re.compile(r"\bSHA256:([A-Za-z0-9+/]{43})(?=\s|$)")


def fingerprints(text: str) -> list[str]:
    """`SHA256:…` of each key of the last block of keys, and of the last block of fingerprints."""
    last = dict(_BLOCK.findall(text))
    found = [f"SHA256:{digest}" for digest in _FINGERPRINT.findall(last.get("FINGERPRINTS", ""))]
    for blob in _KEY.findall(last.get("KEYS", "")):
        try:
            digest = hashlib.sha256(base64.b64decode(blob, validate=True)).digest()
        except binascii.Error:
            continue
        found.append("SHA256:" + base64.b64encode(digest).decode().rstrip("="))
    return list(dict.fromkeys(found))
