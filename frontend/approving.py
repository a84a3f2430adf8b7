"""Acts that need somebody else's approval: why, and who may give it. CONSOLE.md §6, the third tier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from accounts.approvals import approvers, would_approve
from accounts.models import User
from core import actions, guard
from core.actor import Actor
from core.models import Job
from frontend.reasons import in_words

WHYS = 5
NAMED = 3  # of those who may approve


@dataclass(frozen=True, kw_only=True)
class Need:
    """`whys`: why it needs approval, a sentence each; `who`: some who may give it, by name; `more`: how many beside."""

    whys: list[str]
    who: list[str] = field(default_factory=list)
    more: int = 0


def need(actor: Actor, action: actions.Action, rows: Sequence[Any]) -> Need | None:
    """What these need before this can be done to them; None: nothing."""
    found = [(row, whys) for row in rows if (whys := guard.needs(actions.Call(actor=actor, action=action, target=row)))]
    if not found:
        return None
    said = list(dict.fromkeys(in_words(why) for _row, whys in found for why in whys))
    assert actor.org_id is not None  # who sees the form is in one
    return _with_names(said[:WHYS], would_approve(actor.org_id, actor.user_id, found[0][0]))


def _with_names(whys: list[str], people: Sequence[User]) -> Need:
    names = [user.full_name for user in people]
    return Need(whys=whys, who=names[:NAMED], more=max(0, len(names) - NAMED))


def asked(job: Job) -> Need | None:
    """Of a job that waits for approval."""
    return _with_names([in_words(line) for line in job.needs.splitlines()], approvers(job)) if job.state == Job.State.ASKED else None
