"""Reasons to refuse that come from accounts: the statements of one's teams, and shares."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from operator import or_
from typing import Any
from uuid import UUID

from django.db import models
from django.db.models import Q

from accounts.models import Token
from accounts.statements import NOTHING, Decision, Statement, policy_of
from core import guard
from core.actions import Call, actions_of, cannot_wait
from core.actor import Actor
from core.errors import ApprovalNeeded, Denied
from core.guard import Guard


class StatementGuard(Guard):
    """Allowed = some statement allows and none denies; Owners are bound by none."""

    def narrow(self, actor: Actor, model: type[models.Model], verb: str) -> Q:
        return Q() if actor.is_system else policy_of(actor).q(model, verb)

    def permits(self, actor: Actor, target: Any, verb: str) -> bool:
        return actor.is_system or policy_of(actor).decide(target, verb).allowed

    def permitted(self, actor: Actor, target: Any, verbs: Collection[str]) -> Collection[str]:
        return verbs if actor.is_system else policy_of(actor).allowed(target, verbs)

    def check(self, call: Call) -> None:
        actor, right = call.actor, call.action.right
        if actor.is_system or policy_of(actor).is_owner:
            return
        if call.is_new and call.job is None:
            self._give_tags(call, right)
        decision = policy_of(actor).decide(call.target, right)
        if not decision.allowed:
            raise Denied(f"You may not {call.action.verb} here. Ask an owner of the organization.", reason=decision.why)
        if not call.is_new and not call.action.background and not call.action.deletes:
            self._keep_reach(call)

    def _give_tags(self, call: Call, right: str) -> None:
        """A new row gets the tags its creator's allowing statement demands: of those that would do, the fewest."""
        policy, row = policy_of(call.actor), call.target
        if policy.decide(row, right).allowed:
            return
        lacking = (statement.missing_tags(row, right) for statement in policy.statements)
        for tags in sorted((t for t in lacking if t), key=lambda t: (len(t), sorted(t.items()))):
            asked = row.tags
            row.tags = {**asked, **tags}
            if policy.decide(row, right).allowed:
                return
            row.tags = asked

    def _keep_reach(self, call: Call) -> None:
        """An edit may not move a row into one's reach: rights on it that one did not have before are not to be had by editing it,
        nor is what one had to ask approval for to be had without.
        """
        policy, slot = policy_of(call.actor), f"reach:{call.target.pk}"
        allowed = set(policy.allowed(call.target, rights_of(type(call.target))))
        has = {right for right in allowed if policy.asks(call.target, right) is None}
        if not call.is_done:
            call.actor.cache[slot] = has
            return
        gained = sorted(has - call.actor.cache.pop(slot, has))
        if gained:
            verbs = ", ".join(f"{call.target.kind()}.{right}" for right in gained[:5])
            raise Denied(
                f"That would give you {verbs} on {call.target}. Ask an owner of the organization.",
                code="into_reach",
                reason="an edit may not move a row into one's reach",
            )
        if "read" not in allowed:
            raise Denied(
                f"You could not see {call.target} any more.", code="out_of_reach", reason="an edit may not move a row out of one's reach"
            )


class TokenGuard(Guard):
    """A token that was made for some things does those alone, whatever its person may. One without limits does what its person may."""

    def narrow(self, actor: Actor, model: type[models.Model], verb: str) -> Q:
        limits = limits_of(actor)
        if limits is None:
            return Q()
        found = [q for q in (statement.q(model, verb) for statement in limits) if q is not None]
        if not found:
            return NOTHING
        return Q() if any(not q for q in found) else reduce(or_, found)

    def permitted(self, actor: Actor, target: Any, verbs: Collection[str]) -> Collection[str]:
        return verbs if limits_of(actor) is None else super().permitted(actor, target, verbs)

    def permits(self, actor: Actor, target: Any, verb: str) -> bool:
        limits = limits_of(actor)
        return limits is None or any(statement.matches(target, verb) for statement in limits)

    def check(self, call: Call) -> None:
        if not self.permits(call.actor, call.target, call.action.right):
            raise Denied(
                f"This token was not made for {call.action.verb} here. Use another, or make one that is.",
                code="token_limited",
                reason="the token's limits",
            )


class ApprovalGuard(Guard):
    """What is locked, and what a team's policy asks about, is not done without somebody else's yes. A lock binds everybody, the system
    and Owners too; a policy does not bind Owners, nor the system.
    """

    def check(self, call: Call) -> None:
        if not call.approved and (whys := self.needs(call)):
            raise ApprovalNeeded(whys, verb=call.action.verb, target=str(call.target), instead=cannot_wait(call.action))

    def needs(self, call: Call) -> list[str]:
        actor, target, found = call.actor, call.target, []
        if call.action.tier and getattr(target, "locked_at", None) is not None:
            note = target.lock_note.rstrip(".")
            found.append(f"{target} is locked: {note}." if note else f"{target} is locked.")
        statement = None if actor.is_system else policy_of(actor).asks(target, call.action.right)
        if statement is not None:
            found.append(f"{statement.where[:1].upper()}{statement.where[1:]} asks for approval.")
        return found


def limits_of(actor: Actor) -> tuple[Statement, ...] | None:
    """What the actor's token was made for; None: it has no limits, or there is no token. One query a request, where there is one."""
    if actor.token_id is None or actor.is_system:
        return None
    if "limits" not in actor.cache:
        stored = Token.objects.filter(pk=actor.token_id).values_list("limits", flat=True).first()
        actor.cache["limits"] = read_limits(stored, actor.user_id)
    found: tuple[Statement, ...] | None = actor.cache["limits"]
    return found


def read_limits(stored: Sequence[Mapping[str, Any]] | None, user_id: UUID | None) -> tuple[Statement, ...] | None:
    return tuple(Statement.load(one, user_id=user_id) for one in stored) if stored else None


def rights_of(model: type[Any]) -> set[str]:
    """Every right there is on rows of a kind."""
    return {"read", *(action.right for action in actions_of(model) if not action.creates)}


def explain(actor: Actor, target: Any, verb: str) -> Decision:
    """Which guard, and which statement of which team, decides whether `actor` may `verb` this.

    `verb`: the name of an action or right of the target's kind, without the kind.
    """
    decided = Decision(allowed=True, guard="none", why="nothing forbids it")
    for one in guard.guards():
        if isinstance(one, StatementGuard):
            if actor.is_system:
                continue
            decided = policy_of(actor).decide(target, verb)
        elif not one.permits(actor, target, verb):
            name = type(one).__name__.removesuffix("Guard").lower()
            decided = Decision(allowed=False, guard=name, why=f"{name} forbids it")
        if not decided.allowed:
            return decided
    return replace(decided, needs=needs_of(actor, target, verb))


def needs_of(actor: Actor, target: Any, verb: str) -> tuple[str, ...]:
    """Why `actor` could not `verb` this without somebody else's approval, a sentence each; none: they could."""
    action = next((one for one in actions_of(type(target)) if verb in (one.name, one.right)), None)
    return () if action is None else tuple(guard.needs(Call(actor=actor, action=action, target=target)))
