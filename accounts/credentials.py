"""What people show to be let in: passwords with a second step, tokens, links. Only digests are kept."""

from __future__ import annotations

import hashlib
import ipaddress
import secrets
from collections.abc import Iterable

from allauth.mfa.models import Authenticator
from django.contrib.auth.hashers import make_password
from django.db.models.functions import Lower

from accounts import throttle
from accounts.models import User
from core import events
from core.actor import Actor
from core.errors import Denied, TooMany, Unauthenticated

TOKEN_PREFIX = "mist_"  # noqa: S105 - what a token begins with
WRONG = "E-mail and password do not match."


def new_secret(prefix: str = "") -> str:
    """256 random bits, for a token or link."""
    return prefix + secrets.token_urlsafe(32)


def digest_of(secret: str) -> str:
    """What is kept of one: SHA-256, enough for random secrets."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def check_password(email: str, password: str, otp: str, *, address: str, via: str = "api") -> User:
    """The person whose e-mail, password and, where set up, second step these are. Failures are counted and recorded.

    Raises: Unauthenticated (`otp_required` where only the second step is missing), TooMany, Denied.
    """
    actor = Actor(org_id=None, email=email[:254], via=via, address=address)
    try:
        throttle.count(email, address)
    except TooMany:
        tell(actor, "session.create.refused", code="locked_out")
        raise
    user = User.objects.annotate(lower=Lower("email")).filter(lower=email.strip().lower()).first() if "\x00" not in email else None
    if user is None or not user.is_active:
        make_password(password[:4096])  # as slow as a known one
        _fail(actor, "unknown or inactive")
    if not user.check_password(password[:4096]):
        _fail(actor, "wrong password", user)
    _second_step(actor, user, otp)
    check_address(user, address)
    throttle.succeeded(email, address)
    return user


def _fail(actor: Actor, why: str, user: User | None = None, code: str = "unauthenticated", detail: str = WRONG) -> None:
    tell(actor, "session.create.refused", user, code=code, reason=why)
    if throttle.is_last(actor.email, actor.address):
        tell(actor, "session.lock_out.observed", user, code="locked_out")
    raise Unauthenticated(detail, code=code)


def _second_step(actor: Actor, user: User, otp: str) -> None:
    means = list(Authenticator.objects.filter(user=user))
    if not means:
        return
    by_code = [one for one in means if one.type in (Authenticator.Type.TOTP, Authenticator.Type.RECOVERY_CODES)]
    if not by_code:
        _fail(actor, "needs a passkey", user, "passkey_required", "This account signs in with a passkey: use the console.")
    if not otp:
        throttle.give_back(actor.email, actor.address)
        raise Unauthenticated("Send the code of your authenticator as `otp`.", code="otp_required")
    if not any(one.wrap().validate_code(otp.strip()[:64]) for one in by_code):
        _fail(actor, "wrong code", user, "otp_wrong", "This code is not right, or was used before.")


def check_address(user: User, address: str) -> None:
    """Raises: Denied, when the person is not to come from this address."""
    if user.allowed_addresses and not is_within(address, user.allowed_addresses):
        raise Denied("You may not sign in from this address.", code="address_not_allowed", reason="the person's allowed addresses")


def is_within(address: str, networks: Iterable[str]) -> bool:
    """Is an address in one of the networks? What cannot be read is in none."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None) or found
    return any(mapped in ipaddress.ip_network(network, strict=False) for network in networks)


def tell(actor: Actor, what: str, user: User | None = None, **detail: str) -> None:
    """An event of the installation's own chain, about a person. E-mail and address go with the actor, where they can be erased."""
    events.record(what, actor, target_kind="user", target_id=user.pk if user else None, detail=detail)
