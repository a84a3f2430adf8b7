"""Reasons to say no, or to show less. The guards themselves live in the apps; settings.ACTION_GUARDS names them in order."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.module_loading import import_string

from core.actor import Actor
from core.errors import Denied, NotFound, Refused, Unauthenticated

if TYPE_CHECKING:
    from core.actions import Call

QS = TypeVar("QS", bound="models.QuerySet[Any]")


class Guard:
    """One reason. `narrow` and `permits` are the same rule twice, in SQL and in Python; a property test holds them equal."""

    def narrow(self, actor: Actor, model: type[models.Model], verb: str) -> Q:
        """The rows of `model` on which `actor` may do `verb`; Q() is all."""
        return Q()

    def permits(self, actor: Actor, target: Any, verb: str) -> bool:
        """The same for one row at hand, without a query of its own where it can."""
        return True

    def permitted(self, actor: Actor, target: Any, verbs: Collection[str]) -> Collection[str]:
        """Those of many verbs that `permits` this row: a list asks each row about all its verbs."""
        return [verb for verb in verbs if self.permits(actor, target, verb)]

    def check(self, call: Call) -> None:
        """Raises: Refused, when this guard forbids the call."""

    def needs(self, call: Call) -> list[str]:
        """Why the call needs somebody else's approval, a sentence each; none: it does not."""
        return []


class TenantGuard(Guard):
    """Nobody sees or touches another organization's things; the system does, nobody's do not."""

    def narrow(self, actor: Actor, model: type[models.Model], verb: str) -> Q:
        if actor.is_system and actor.org_id is None:
            return Q()
        if actor.org_id is None or actor.is_nobody:
            return Q(pk__in=[])
        return Q(**{getattr(model, "org_path", "org_id"): actor.org_id})

    def permits(self, actor: Actor, target: Any, verb: str) -> bool:
        if actor.is_system and actor.org_id is None:
            return True
        return actor.org_id is not None and not actor.is_nobody and target.org_id == actor.org_id

    def permitted(self, actor: Actor, target: Any, verbs: Collection[str]) -> Collection[str]:
        return verbs if self.permits(actor, target, "") else ()

    def check(self, call: Call) -> None:
        if call.actor.is_nobody:
            raise Unauthenticated("Sign in, or send a token.")
        if not self.permits(call.actor, call.target, call.action.name):
            raise NotFound
        if call.actor.read_only:
            raise Denied("This token is read-only. Use one that may act.", code="read_only_token", reason="token scope")


@cache
def guards() -> tuple[Guard, ...]:
    """The guards of this installation, in order."""
    return tuple(import_string(path)() for path in settings.ACTION_GUARDS)


def narrow(queryset: QS, actor: Actor, verb: str) -> QS:
    for guard in guards():
        q = guard.narrow(actor, queryset.model, verb)
        if q:
            queryset = queryset.filter(q)
    return queryset


def permits(actor: Actor, target: Any, verb: str) -> bool:
    """May `actor` do `verb` on this row, as far as rights go?"""
    return all(guard.permits(actor, target, verb) for guard in guards())


def permitted(actor: Actor, target: Any, verbs: Collection[str]) -> Collection[str]:
    """Those of the verbs that `permits` this row."""
    for guard in guards():
        verbs = guard.permitted(actor, target, verbs)
    return verbs


def check(call: Call) -> None:
    """Raises: the first guard's Refused; NotFound where the target may not even be read."""
    try:
        for guard in guards():
            guard.check(call)
    except Denied as denied:
        if not call.is_new and not permits(call.actor, call.target, "read"):
            raise NotFound from denied
        raise


def needs(call: Call) -> list[str]:
    """Why the call needs somebody else's approval; none: it does not. It may need that and be refused for other reasons."""
    return [why for guard in guards() for why in guard.needs(call)]


def needs_of_each(calls: Iterable[Call]) -> list[str]:
    """The same of several calls, each reason once."""
    return list(dict.fromkeys(why for call in calls for why in needs(call)))


__all__ = ["Guard", "Refused", "TenantGuard", "check", "guards", "narrow", "needs", "needs_of_each", "permits", "permitted"]
