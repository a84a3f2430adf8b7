"""Who asks: from a request's credential to an actor."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.middleware.csrf import CsrfViewMiddleware
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import PermissionDenied

from accounts.models import Membership, User
from core.actor import Actor


def session_actor(request: Any, wanted: str = "", via: str = "api") -> Actor | None:
    """The actor of a live session, in the organization `wanted` (id), else the last used; None: not signed in."""
    user: User | None = getattr(request, "user", None)
    if user is None or not user.is_authenticated or not user.is_active:
        return None
    orgs = list(Membership.objects.filter(user=user).values_list("org_id", flat=True))
    org_id = next((org for org in orgs if wanted and org == _uuid(wanted)), None) if wanted else None
    if org_id is None and not wanted:
        org_id = user.last_org_id if user.last_org_id in orgs else next(iter(orgs), None)
    return Actor(
        org_id=org_id,
        user_id=user.pk,
        email=user.email,
        via=via,
        request_id=getattr(request, "request_id", ""),
        address=request.META.get("REMOTE_ADDR", ""),
        is_admin=user.is_superuser,
    )


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


class _Csrf(CsrfViewMiddleware):
    def _reject(self, request: Any, reason: str) -> Any:
        return reason


class SessionAuthentication(BaseAuthentication):
    """The console's cookie, with Django's CSRF rules and `X-Org`."""

    def authenticate(self, request: Any) -> tuple[Any, Actor] | None:
        actor = session_actor(request._request, request.headers.get("X-Org", ""))
        if actor is None:
            return None
        check = _Csrf(lambda _: None)  # type: ignore[arg-type, return-value]
        check.process_request(request._request)
        reason = check.process_view(request._request, None, (), {})
        if reason:
            raise PermissionDenied(f"CSRF: {reason}")
        return request._request.user, actor

    def authenticate_header(self, request: Any) -> str:
        return "Bearer"
