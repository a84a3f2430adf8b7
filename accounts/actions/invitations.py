"""Inviting, and taking an invitation back."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

from django.utils import timezone
from rest_framework import serializers

from accounts.actions.fields import owners_only
from accounts.credentials import digest_of
from accounts.models import Invitation, Membership, Team
from core import guard
from core.actions import Action, Call, get, register
from core.actor import Actor
from core.errors import Conflict, Denied
from core.params import ResourceField

SECRET = re.compile(r"^[A-Za-z0-9_-]{43,64}$")


class InviteParams(serializers.Serializer[Any]):
    """`teams`: they join these. `days`: the link works so long. `secret` is the link's, made by who sends the mail."""

    email = serializers.EmailField(max_length=254, write_only=True)  # personal: neither job nor event holds it in clear
    teams = serializers.ListField(child=ResourceField(Team), required=False, default=list, max_length=50)
    days = serializers.IntegerField(min_value=1, max_value=30, required=False, default=7)
    secret = serializers.RegexField(SECRET, write_only=True)


@register
class Invite(Action):
    """Invite somebody by e-mail. A second invitation of the same address takes the place of the first."""

    model = Invitation
    name = "create"
    creates = True
    params = InviteParams

    def build(self, actor: Actor, params: dict[str, Any]) -> Invitation:
        Invitation.objects.filter(org_id=actor.org_id, email__iexact=params["email"]).delete()
        return Invitation(
            org_id=actor.org_id,
            name=params["email"],
            email=params["email"],
            digest=digest_of(params["secret"]),
            expires_at=timezone.now() + timedelta(days=params["days"]),
            owner_id=actor.user_id,
            created_by_id=actor.user_id,
        )

    def check(self, call: Call) -> None:
        if Membership.objects.filter(org_id=call.actor.org_id, user__email__iexact=call.params["email"]).exists():
            raise Conflict("This person is a member already.", code="already_member")
        for team in call.params["teams"]:
            if team.is_owners:
                owners_only(call.actor, "invite owners")
            if not guard.permits(call.actor, team, "add_member"):
                raise Denied(f"You may not add people to {team}.", reason="no statement allows team.add_member")

    def needs(self, call: Call) -> list[str]:
        add = get("team.add_member")
        return guard.needs_of_each(Call(actor=call.actor, action=add, target=team) for team in call.params["teams"])

    def run(self, call: Call) -> dict[str, Any]:
        call.target.teams.set(call.params["teams"])
        return {"id": call.target.pk.hex}

    def snapshot(self, target: Any) -> dict[str, Any] | None:
        return {"expires_at": target.expires_at.isoformat()}


@register
class Withdraw(Action):
    """Withdraw an invitation: its link works no more."""

    model = Invitation
    name = "delete"
    deletes = True

    def run(self, call: Call) -> None:
        call.target.delete()

    def snapshot(self, target: Any) -> dict[str, Any] | None:
        return {"expires_at": target.expires_at.isoformat()}
