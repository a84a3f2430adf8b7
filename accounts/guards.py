"""Reasons to refuse that come from accounts: the statements of one's teams."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.models import Q

from accounts.models import Team
from core.actions import Call
from core.actor import Actor
from core.errors import Denied
from core.guard import Guard


class StatementGuard(Guard):
    """Allowed = some statement allows and none denies; Owners are bound by none."""

    def _is_owner(self, actor: Actor) -> bool:
        if "is_owner" not in actor.cache:
            actor.cache["is_owner"] = Team.objects.filter(org_id=actor.org_id, is_owners=True, members=actor.user_id).exists()
        return bool(actor.cache["is_owner"])

    def narrow(self, actor: Actor, model: type[models.Model], verb: str) -> Q:
        if actor.is_system or self._is_owner(actor):
            return Q()
        return Q(pk__in=[])

    def permits(self, actor: Actor, target: Any, verb: str) -> bool:
        return actor.is_system or self._is_owner(actor)

    def check(self, call: Call) -> None:
        if not self.permits(call.actor, call.target, call.action.rights or call.action.name):
            raise Denied(f"You may not {call.action.verb} here. Ask an owner of the organization.", reason="no statement allows it")
