"""What django-allauth asks us while people sign in: throttling, our audit log, our vault."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from allauth.account.adapter import DefaultAccountAdapter
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from accounts import throttle
from accounts.auth import address_of
from accounts.credentials import is_within, tell
from accounts.models import User
from core import vault
from core.actor import Actor, new_request_id
from core.errors import TooMany
from core.models import VaultEntry
from core.ticks import every

PURPOSE = "mfa"  # of their entries in the vault


def actor_in(request: Any, user: User | None = None, email: str = "") -> Actor:
    """The actor of what happens to an account itself, in no organization."""
    known = user if user is not None else getattr(request, "user", None)
    signed_in = known is not None and known.is_authenticated
    return Actor(
        org_id=None,
        user_id=known.pk if signed_in else None,
        email=known.email if signed_in else email[:254],
        via="console",
        address=address_of(request),
        request_id=getattr(request, "request_id", "") or new_request_id(),
    )


# What django-allauth writes to people about, and what it is in the audit log.
MFA_EVENTS = {
    "mfa/email/totp_activated": "authenticator.create.succeeded",
    "mfa/email/totp_deactivated": "authenticator.delete.succeeded",
    "mfa/email/webauthn_added": "passkey.create.succeeded",
    "mfa/email/webauthn_removed": "passkey.delete.succeeded",
    "mfa/email/recovery_codes_generated": "recovery_codes.create.succeeded",
}


class AccountAdapter(DefaultAccountAdapter):
    """Sign-in, sign-out and passwords."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return bool(settings.MIST_SIGN_UP)

    def get_client_ip(self, request: HttpRequest) -> str:
        return address_of(request) or "127.0.0.1"

    def pre_authenticate(self, request: HttpRequest, **credentials: Any) -> None:
        email = str(credentials.get("email") or "")
        try:
            throttle.count(email, address_of(request))
        except TooMany as error:
            tell(actor_in(request, email=email), "session.create.refused", code=error.code)
            raise self.locked_out(request, error) from error

    def locked_out(self, request: HttpRequest, error: TooMany) -> Exception:
        """What the form says; the answer becomes a 429 that says when to return (accounts/middleware.py)."""
        request.locked_out_s = error.retry_after_s  # type: ignore[attr-defined]
        return self.validation_error("too_many_login_attempts")  # type: ignore[no-any-return]

    def _rollback_login_failed_rl_usage(self) -> None:
        """Ours is given back in `authenticate`."""

    def authenticate(self, request: HttpRequest, **credentials: Any) -> User | None:
        user = super().authenticate(request, **credentials)
        if user is not None:
            throttle.give_back(str(credentials.get("email") or ""), address_of(request))
        return user

    def authentication_failed(self, request: HttpRequest, **credentials: Any) -> None:
        email = str(credentials.get("email") or "")
        actor = actor_in(request, email=email)
        tell(actor, "session.create.refused", code="unauthenticated", reason="wrong password")
        if throttle.is_last(email, actor.address):
            tell(actor, "session.lock_out.observed", code="locked_out")

    def reauthenticate(self, user: User, password: str) -> bool:
        address = address_of(self.request)
        try:
            throttle.count(user.email, address)
        except TooMany as error:
            raise self.locked_out(self.request, error) from error
        good = user.check_password(password)
        if good:
            throttle.give_back(user.email, address)
        return bool(good)

    def pre_login(self, request: HttpRequest, user: User, **kwargs: Any) -> HttpResponse | None:
        if user.allowed_addresses and not is_within(address_of(request), user.allowed_addresses):
            tell(actor_in(request, user), "session.create.refused", user, code="address_not_allowed")
            return self.respond_user_inactive(request, user)
        answer: HttpResponse | None = super().pre_login(request, user, **kwargs)
        return answer

    def post_login(self, request: HttpRequest, user: User, **kwargs: Any) -> HttpResponse:
        throttle.succeeded(user.email, address_of(request))
        tell(actor_in(request, user), "session.create.succeeded", user)
        answer: HttpResponse = super().post_login(request, user, **kwargs)
        return answer

    def logout(self, request: HttpRequest) -> None:
        user = request.user
        actor = actor_in(request)
        super().logout(request)
        if user.is_authenticated:  # told when it has ended: live sockets are asked at once
            tell(actor, "session.delete.succeeded", user)

    def set_password(self, user: User, password: str) -> None:
        user.must_change_password = False
        super().set_password(user, password)
        tell(actor_in(self.request, user), "user.change_password.succeeded", user)

    def send_notification_mail(self, template: str, user: User, *args: Any, **kwargs: Any) -> None:
        """What a person is written to about is an event too."""
        if template in MFA_EVENTS:
            tell(actor_in(self.request, user), MFA_EVENTS[template], user)
        super().send_notification_mail(template, user, *args, **kwargs)


class MfaAdapter(DefaultMFAAdapter):
    """Seeds and recovery codes are entries of the vault, so that they are sealed anew with the others; their rows hold the entry's id."""

    def encrypt(self, text: str) -> str:
        return vault.put(None, PURPOSE, {"text": text}).pk.hex

    def decrypt(self, encrypted_text: str) -> str:
        return str(vault.read(UUID(encrypted_text))["text"])


@every(86_400)
def sweep(now: datetime | None = None) -> int:
    """Drop the entries whose authenticator was removed.  Returns: how many."""
    kept: set[UUID] = set()
    for data in Authenticator.objects.exclude(type=Authenticator.Type.WEBAUTHN).values_list("data", flat=True):
        kept |= {UUID(value) for value in data.values() if isinstance(value, str) and len(value) == 32}
    old = (now or timezone.now()) - timedelta(hours=1)  # one that is being set up has no row yet
    return VaultEntry.objects.filter(purpose=PURPOSE, created_at__lt=old).exclude(pk__in=kept).delete()[0]
