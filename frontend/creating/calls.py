"""The same create as a command, a curl and a few lines of Python."""

from __future__ import annotations

from typing import Any

from frontend import calls as writing
from frontend.calls import Call
from frontend.creating.asked import Asked


def body(asked: Asked) -> dict[str, Any]:
    """What the API is sent; what a field of the provider keeps secret, and the text of cloud-init, stand as three dots."""
    sent = asked.params()
    if asked.quantity > 1:
        sent["quantity"] = asked.quantity
    secret = {spec.name for spec in asked.cls.create_fields if spec.secret}
    if "extra" in sent:
        sent["extra"] = {key: "…" if key in secret else value for key, value in sent["extra"].items()}
    if sent.get("cloudinit"):
        sent["cloudinit"] = "…"
    return sent


def calls(asked: Asked) -> list[Call]:
    """CLI, curl, Python."""
    sent = body(asked)
    return writing.calls("machines create", "machines", {**sent, "name": sent.get("name") or "NAME"}, files=["cloudinit"])
