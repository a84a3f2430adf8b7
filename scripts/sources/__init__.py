"""Where scripts come from: text, an address, a repository."""

from __future__ import annotations

from core.actor import Actor
from keys import references
from keys.models import Key
from scripts import content
from scripts.content import Content
from scripts.sources import git, web


def load(
    actor: Actor,
    *,
    location_type: str,
    script: str,
    exec_type: str,
    entrypoint: str,
    ref: str,
    key: Key | None = None,
    token: str = "",
) -> Content:
    """Fetch what a script says; with a deadline. `token`: a reference to a secret, read now.

    Raises: Invalid, Refused; Failed when the other side does not answer.
    """
    if location_type == "inline":
        return content.inline(script, exec_type, entrypoint)
    read = references.read(actor, [token], why=f"script from {script.strip()[:200]}")[token] if token else ""
    if location_type == "url":
        return web.load(actor, script, exec_type, entrypoint, read)
    return git.load(actor, script, ref, exec_type, entrypoint, key=key, token=read)
