"""Values of secrets that a script refers to, read when its run begins and kept nowhere."""

from __future__ import annotations

from collections.abc import Collection

from core.actor import Actor
from core.errors import Invalid


def read(actor: Actor, references: Collection[str]) -> dict[str, str]:
    """{reference: value}. A reference is `name`, or `name:key`.  Raises: Invalid for one that is not there."""
    if references:
        raise Invalid(fields={"params": [f"There is no secret {sorted(references)[0][:80]}."]}, code="no_secret")
    return {}
