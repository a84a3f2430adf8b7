"""API tokens: made for oneself, revoked."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

from django.utils import timezone
from rest_framework import serializers

from accounts import policies
from accounts.actions.fields import StatementsField
from accounts.credentials import digest_of
from accounts.models import Token, User
from core.actions import Action, Call, register
from core.actor import Actor
from core.errors import Conflict, Denied, Invalid
from core.params import NameField

MAX_TTL_S = 10 * 365 * 24 * 3600


class TokenParams(serializers.Serializer[Any]):
    """`ttl`: seconds it works, none for ever. `limits`: what alone it does, as statements that allow. `secret`: of who shows it, once."""

    name = NameField(max_length=100)
    ttl = serializers.IntegerField(min_value=60, max_value=MAX_TTL_S, required=False, allow_null=True, default=None)
    scope = serializers.ChoiceField(choices=Token.Scope.choices, required=False, default=Token.Scope.ALL)
    limits = StatementsField(required=False, default=list)
    secret = serializers.RegexField(re.compile(r"^mist_[A-Za-z0-9_-]{43}$"), write_only=True)


def _limits(sent: Any, actor: Actor) -> list[dict[str, Any]]:
    """Raises: Invalid."""
    try:
        limits = policies.validate(sent, actor)
    except Invalid as error:
        raise Invalid(fields={"limits": error.fields["statements"]}, code=error.code) from error
    if any(one["effect"] != "allow" for one in limits):
        raise Invalid(fields={"limits": ["A token's statements allow. What none of them allows it does not do."]}, code="bad_statement")
    return limits


@register
class CreateToken(Action):
    """Make a token for oneself."""

    model = Token
    name = "create"
    creates = True
    params = TokenParams

    def build(self, actor: Actor, params: dict[str, Any]) -> Token:
        return Token(
            org_id=actor.org_id,
            name=params["name"],
            digest=digest_of(params["secret"]),
            hint=params["secret"][:9],
            scope=params["scope"],
            limits=_limits(params["limits"], actor),
            expires_at=timezone.now() + timedelta(seconds=params["ttl"]) if params["ttl"] else None,
            owner_id=actor.user_id,
            created_by_id=actor.user_id,
        )

    def draft(self, actor: Actor, params: dict[str, Any]) -> Token:
        return self.build(actor, params)

    def check(self, call: Call) -> None:
        user = User.objects.get(pk=call.actor.user_id)
        if user.must_change_password:
            raise Denied("Change your one-time password first.", code="password_change_required", reason="one-time password")
        if call.actor.token_id is not None:
            raise Denied(
                "A token makes no tokens: sign in, or send e-mail and password.", code="token_makes_no_token", reason="asked by a token"
            )
        if call.actor.su_by is not None:
            raise Denied("Nobody makes tokens for somebody else.", code="su_refused", reason="acting as another person")
        if Token.objects.filter(org_id=call.actor.org_id, owner=user, revoked_at__isnull=True).count() >= 100:
            raise Conflict("You have 100 tokens. Revoke some first.", code="too_many_tokens")

    def run(self, call: Call) -> dict[str, Any]:
        return {"id": call.target.pk.hex}

    def snapshot(self, target: Any) -> dict[str, Any] | None:
        return token_facts(target)


@register
class RevokeToken(Action):
    """Revoke a token. It stays known, so that its use is refused by name."""

    model = Token
    name = "delete"

    def reason(self, target: Token) -> str | None:
        return "It is revoked." if target.revoked_at else None

    def check(self, call: Call) -> None:
        if call.target.revoked_at:
            raise Conflict("This token is revoked already.", code="token_revoked")

    def run(self, call: Call) -> None:
        call.target.revoked_at = timezone.now()
        call.target.save(update_fields=["revoked_at", "updated_at"])

    def snapshot(self, target: Any) -> dict[str, Any] | None:
        return token_facts(target)


def token_facts(token: Token) -> dict[str, Any]:
    return {
        "name": token.name,
        "scope": token.scope,
        "limits": token.limits,
        "expires_at": token.expires_at,
        "revoked_at": token.revoked_at,
    }
