"""Where scripts come from: text, an address, a repository."""

from __future__ import annotations

from core.actor import Actor
from scripts import content
from scripts.content import Content
from scripts.sources import git, web


def load(actor: Actor, *, location_type: str, script: str, exec_type: str, entrypoint: str, ref: str) -> Content:
    """Fetch what a script says; with a deadline.  Raises: Invalid, Refused; Failed when the other side does not answer."""
    if location_type == "inline":
        return content.inline(script, exec_type, entrypoint)
    if location_type == "url":
        return web.load(actor, script, exec_type, entrypoint)
    return git.load(actor, script, ref, exec_type, entrypoint)
