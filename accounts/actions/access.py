"""Asking for access, and declining that. It is granted by putting the one who asks into a team (team.add_member)."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone
from rest_framework import serializers

from accounts import mail
from accounts.actions.fields import TextField
from accounts.models import Membership, Team, User
from core.actions import Action, Call, register
from core.errors import Already, Denied, Failed, TooMany

AGAIN = timedelta(hours=1)
OWNERS_TOLD = 20


class AskParams(serializers.Serializer[Any]):
    """`reason`: what for, in a person's words."""

    reason = TextField(max_length=500, required=True, allow_blank=False)


@register
class Ask(Action):
    """Ask the owners for access one does not have: each gets a letter, and it stands on their dashboard until it is answered."""

    model = Membership
    name = "ask"
    params = AskParams
    background = True
    bulk = False

    def check(self, call: Call) -> None:
        if call.target.user_id != call.actor.user_id:
            raise Denied("People ask for themselves.", reason="access is asked for by the one who needs it")
        if call.job is not None or call.target.asked_at is None:
            return
        wait = call.target.asked_at + AGAIN - timezone.now()
        if wait > timedelta(0):
            raise TooMany("You have asked already. The owners were told; ask again in an hour.", retry_after_s=wait.total_seconds())

    def asked(self, call: Call) -> None:
        call.target.asked_for, call.target.asked_at = call.params["reason"], timezone.now()
        call.target.save(update_fields=["asked_for", "asked_at"])

    def run(self, call: Call) -> dict[str, Any]:
        member = Membership.objects.select_related("org", "user").get(pk=call.target.pk)
        owners = list(User.objects.filter(teams__org=member.org, teams__is_owners=True, is_active=True).order_by("email")[:OWNERS_TOLD])
        told = mail.send_request(member, owners) if member.asked_for else 0
        if member.asked_for and not told:
            raise Failed("No letter could be sent. It is on the owners' dashboard all the same.", code="not_mailed")
        return {"told": told}


@register
class Decline(Action):
    """Answer a request for access with no: it is open no more."""

    model = Membership
    name = "decline"
    bulk = False

    def check(self, call: Call) -> None:
        if not call.target.asked_for:
            raise Already("Nothing is asked for, or it was answered already.")

    def run(self, call: Call) -> None:
        answer(call.target.org_id, call.target.user_id)


def answer(org_id: UUID, user_id: UUID, team: Team | None = None) -> None:
    """What this person asked for, if anything, is answered: with this team, or no. They get a letter once that is so."""
    row = Membership.objects.select_related("org", "user").exclude(asked_for="").filter(org_id=org_id, user_id=user_id).first()
    if row is None:
        return
    reason, row.asked_for = row.asked_for, ""
    row.save(update_fields=["asked_for"])
    transaction.on_commit(partial(mail.send_answer, row, reason, team), robust=True)
