"""What an organization asks of whoever works in it: a second step at sign-in, an address it knows, a session that is not too old.

Asked of every session and token that comes to the organization (accounts/auth.py), so that pages, API and sockets hold alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.utils import timezone

from accounts.credentials import is_within
from core.errors import Denied, Unauthenticated

COLUMNS = ("require_second_step", "allowed_addresses", "session_hours")
SECOND_STEP, ADDRESS, TOO_OLD = "second_step_required", "address_not_allowed", "session_too_old"


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Of one organization."""

    require_second_step: bool = False
    allowed_addresses: Sequence[str] = ()
    session_hours: int | None = None

    @classmethod
    def of(cls, org: Any) -> Rules:
        return cls(**{name: getattr(org, name) for name in COLUMNS})

    def obey(
        self,
        user_id: UUID | None,
        address: str,
        session_key: str = "",
        *,
        has_step: Callable[[UUID | None], bool] | None = None,
        is_old: Callable[[str, timedelta], bool] | None = None,
    ) -> None:
        """Asks the database only where there is a rule; where it was asked for many at once, `has_step` and `is_old` know.

        Raises: Denied, Unauthenticated.
        """
        if self.allowed_addresses and not is_within(address, self.allowed_addresses):
            raise Denied(
                f"This organization is not open to {address}. Come from an address it knows, or ask an owner.",
                code=ADDRESS,
                reason="the organization's allowed addresses",
            )
        if self.require_second_step and not (has_step or has_second_step)(user_id):
            raise Denied(
                "This organization asks for a second step at sign-in. Set up an authenticator app or a passkey first.",
                code=SECOND_STEP,
                reason="the organization requires a second step",
            )
        if self.session_hours and session_key and (is_old or is_older)(session_key, timedelta(hours=self.session_hours)):
            raise Unauthenticated(f"This organization ends sessions after {self.session_hours} h. Sign in again.", code=TOO_OLD)


def has_second_step(user_id: UUID | None) -> bool:
    """An authenticator app or a passkey; recovery codes alone are none."""
    return with_second_step({user_id}) == {user_id}


def with_second_step(user_ids: set[UUID | None]) -> set[UUID | None]:
    """Those of these people who have one."""
    means = [Authenticator.Type.TOTP, Authenticator.Type.WEBAUTHN]
    return set(Authenticator.objects.filter(user_id__in=user_ids, type__in=means).values_list("user_id", flat=True))


def is_older(session_key: str, age: timedelta) -> bool:
    return UserSession.objects.filter(session_key=session_key, created_at__lt=timezone.now() - age).exists()
