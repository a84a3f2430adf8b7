"""Whether those who listen may still look: accounts knows, and says here how it is asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from core import actions
from core.actor import Actor
from core.errors import Refused


@dataclass(frozen=True, kw_only=True)
class Held:
    """Somebody who listens, to be asked again whether they may. `session_key` "": not by a session."""

    actor: Actor
    session_key: str


Recheck = Callable[[list[Held]], list[Actor | Refused]]


def _one_by_one(held: list[Held]) -> list[Actor | Refused]:
    found: list[Actor | Refused] = []
    for one in held:
        try:
            found.append(actions.with_rights(one.actor))
        except Refused as refusal:
            found.append(refusal)
    return found


_asked: list[Recheck] = [_one_by_one]


def register(function: Recheck) -> Recheck:
    """Decorator: accounts says, in few queries, what each of these may do now, or why they may look no more."""
    _asked[:] = [function]
    return function


def again(held: list[Held]) -> list[Actor | Refused]:
    """What each may do now, or why they may look no more."""
    return _asked[0](held)
