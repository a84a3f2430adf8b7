"""Who asks: from a request's credential to an actor."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs
from uuid import UUID

from allauth.usersessions.models import UserSession
from django.contrib.auth import HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.models import Session
from django.db.models import Exists, OuterRef, Q
from django.middleware.csrf import CsrfViewMiddleware
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import PermissionDenied

from accounts.credentials import TOKEN_PREFIX, check_address, digest_of, tell
from accounts.models import Membership, Organization, Token, User
from accounts.rules import COLUMNS, Rules, with_second_step
from accounts.statements import load_policies
from core import events
from core.actions import rights_source
from core.actor import Actor, new_request_id
from core.errors import Denied, NotFound, Refused, Unauthenticated
from core.rechecks import Held

USED_EVERY = timedelta(minutes=1)  # `last_used_at` is written no more often
BAD_TOKEN = "This token is not valid any more. Make another."  # noqa: S105


def address_of(request: Any) -> str:
    """Where a request comes from: the server has put the client's address here, believing trusted proxies alone."""
    return str(request.META.get("REMOTE_ADDR", ""))[:45]


def _actor(user: User, org_id: UUID | None, request: Any, **facts: Any) -> Actor:
    return Actor(
        org_id=org_id,
        user_id=user.pk,
        email=user.email,
        is_admin=user.is_superuser,
        request_id=getattr(request, "request_id", "") or new_request_id(),
        address=address_of(request),
        **facts,
    )


# --- sessions -------------------------------------------------------------------------------------------------------


def session_actor(
    request: Any, wanted: str = "", via: str = "api", *, one_time: bool = False, orgs: Iterable[Organization] | None = None
) -> Actor | None:
    """The actor of a live session, in the organization `wanted` (id or slug), else the last used, else the first; None: not signed in.

    `one_time`: also of somebody who has yet to change a one-time password. `orgs`: all of theirs, where they were read.
    Raises: NotFound: no such organization for this person. Denied: a one-time password, or an address that is not allowed.
    """
    user: User | None = getattr(request, "user", None)
    if user is None or not user.is_authenticated or not user.is_active:
        return None
    check_address(user, address_of(request))
    if user.must_change_password and not one_time:
        raise Denied(
            "Change your one-time password first (PUT /auth/password).", code="password_change_required", reason="one-time password"
        )
    org_id, rules = _org_of(user, wanted, orgs)
    session = getattr(request, "session", None)
    su_by = session.get("su_by") if session is not None else None
    if not su_by:
        rules.obey(user.pk, address_of(request), getattr(session, "session_key", "") or "")
    return _actor(user, org_id, request, via=via, su_by=UUID(su_by) if su_by else None)


def _org_of(user: User, wanted: str, known: Iterable[Organization] | None = None) -> tuple[UUID | None, Rules]:
    if known is not None:
        orgs = {org.pk: (org.slug, Rules(**{name: getattr(org, name) for name in COLUMNS})) for org in known}
    else:
        columns = [f"org__{name}" for name in COLUMNS]
        rows = Membership.objects.filter(user=user).order_by("created_at").values_list("org_id", "org__slug", *columns)
        orgs = {pk: (slug, Rules(**dict(zip(COLUMNS, asked, strict=True)))) for pk, slug, *asked in rows}
    if not wanted:
        found = user.last_org_id if user.last_org_id in orgs else next(iter(orgs), None)
        return (found, orgs[found][1]) if found else (None, Rules())
    found = next((pk for pk, (slug, _rules) in orgs.items() if wanted in (pk.hex, str(pk), slug)), None)
    if found is None:
        raise NotFound
    if found != user.last_org_id:
        User.objects.filter(pk=user.pk).update(last_org=found)
        user.last_org_id = found
    return found, orgs[found][1]


def console_actor(request: Any, slug: str = "", orgs: Iterable[Organization] | None = None) -> Actor:
    """The actor of a page, in the organization its path names.  Raises: Unauthenticated, NotFound, Denied."""
    actor = session_actor(request, slug, via="console", orgs=orgs)
    if actor is None:
        raise Unauthenticated("Sign in.")
    return actor


# --- tokens ---------------------------------------------------------------------------------------------------------


def token_actor(secret: str, request: Any) -> Actor:
    """The actor of a token: one query, and one write a minute.  Raises: Unauthenticated, Denied."""
    member = Membership.objects.filter(org_id=OuterRef("org_id"), user_id=OuterRef("owner_id"))
    token = (
        Token.objects.select_related("owner", "org").annotate(is_member=Exists(member)).filter(digest=digest_of(secret)).first()
        if secret.startswith(TOKEN_PREFIX)
        else None
    )
    if token is None:
        raise Unauthenticated(BAD_TOKEN, code="bad_token")
    user, now = token.owner, timezone.now()
    why = _why_not(token, user, now, is_member=token.is_member)
    if user is None or why:
        tell(Actor(org_id=None, via="api", address=address_of(request)), "token.use.refused", user, reason=why, token=token.pk.hex)
        raise Unauthenticated(BAD_TOKEN, code="bad_token")
    check_address(user, address_of(request))
    Rules.of(token.org).obey(user.pk, address_of(request))
    if token.last_used_at is None or token.last_used_at < now - USED_EVERY:
        fresh = Q(last_used_at__isnull=True) | Q(last_used_at__lt=now - USED_EVERY)
        Token.objects.filter(fresh, pk=token.pk).update(last_used_at=now)
    via = "cli" if request.META.get("HTTP_USER_AGENT", "").startswith("mist-cli") else "api"
    return _actor(user, token.org_id, request, via=via, token_id=token.pk, read_only=token.scope == Token.Scope.READ)


def _why_not(token: Token, user: User | None, now: Any, *, is_member: bool) -> str:
    if token.revoked_at is not None:
        return "revoked"
    if token.expires_at is not None and token.expires_at <= now:
        return "expired"
    if user is None or not user.is_active:
        return "its person is gone"
    if user.must_change_password:
        return "one-time password"
    return "" if is_member else "its person is no member any more"


# --- doors ----------------------------------------------------------------------------------------------------------


class _Csrf(CsrfViewMiddleware):
    def _reject(self, request: Any, reason: str) -> Any:
        return reason


class TokenAuthentication(BaseAuthentication):
    """`Authorization: <token>` or `Authorization: Bearer <token>`."""

    def authenticate(self, request: Any) -> tuple[Any, Actor] | None:
        header = request.headers.get("Authorization", "").strip()
        if not header:
            return None
        kind, _, rest = header.partition(" ")
        secret = rest.strip() if rest and kind.lower() in ("bearer", "token") else header
        return None, token_actor(secret, request._request)

    def authenticate_header(self, request: Any) -> str:
        return "Bearer"


class SessionAuthentication(BaseAuthentication):
    """The console's cookie, with Django's CSRF rules and `X-Org`."""

    def authenticate(self, request: Any) -> tuple[Any, Actor] | None:
        view = (request.parser_context or {}).get("view")
        one_time = getattr(view, "open_to_one_time", False)
        actor = session_actor(request._request, request.headers.get("X-Org", ""), one_time=one_time)
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


class _ScopeRequest:
    """A socket's scope, as far as the functions above ask a request."""

    def __init__(self, scope: Mapping[str, Any]) -> None:
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope.get("headers", ())}
        self.META = {"REMOTE_ADDR": (scope.get("client") or [""])[0], "HTTP_USER_AGENT": headers.get("user-agent", "")}
        self.headers = headers
        self.user = scope.get("user")
        self.session = scope.get("session") or {}
        self.request_id = new_request_id()


def socket_actor(scope: Mapping[str, Any]) -> Actor:
    """Who opens a socket: by its token, or its session (in the organization that `?org=<id or slug>` names). Asks the database.

    An actor remembers its rights: take a new one (`again`) for what lives longer than a request.
    Raises: Unauthenticated, NotFound, Denied.
    """
    request = _ScopeRequest(scope)
    header = request.headers.get("authorization", "").strip()
    if header:
        return token_actor(header.split(" ")[-1], request)
    asked = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("org", [""])[0]
    actor = session_actor(request, asked, via="console")
    if actor is None:
        raise Unauthenticated("Sign in.")
    return actor


def again(actor: Actor) -> Actor:
    """The same actor with the rights of now; for what lives longer than a request.  Raises: Unauthenticated."""
    return todays_rights(actor)


@rights_source
def todays_rights(actor: Actor) -> Actor:
    """An actor taken from a row (a job's, a schedule's), with what that person may do today.

    Raises: Unauthenticated: the person left, or the token was revoked or has expired.
    """
    if actor.is_system:
        return replace(actor, cache={})
    gone = "The person who asked for this may not act here any more. Somebody else has to ask again."
    user = User.objects.filter(pk=actor.user_id, is_active=True).first() if actor.user_id else None
    if user is None or not Membership.objects.filter(org_id=actor.org_id, user=user).exists():
        raise Unauthenticated(gone, code="actor_gone")
    read_only = actor.read_only
    if actor.token_id is not None:
        now = timezone.now()
        token = Token.objects.filter(pk=actor.token_id).first()
        if token is None or _why_not(token, user, now, is_member=True):
            raise Unauthenticated("The token that asked for this was revoked or has expired. Ask again with another.", code="token_gone")
        read_only = token.scope == Token.Scope.READ
    if actor.su_by is not None and not User.objects.filter(pk=actor.su_by, is_active=True, is_superuser=True).exists():
        raise Unauthenticated(gone, code="actor_gone")
    return replace(actor, email=user.email, is_admin=user.is_superuser, read_only=read_only, cache={})


events.about_rights("user", "org", "member", "team", "token")


def rights_of_all(held: list[Held]) -> list[Actor | Refused]:
    """For live sockets, in some eight queries: each with the rights of now and their policies, or why they may look no more."""
    known, found = _Known(held), []
    for one in held:
        try:
            found.append(known.again(one))
        except Refused as refusal:
            found.append(refusal)
    policies = load_policies({(a.org_id, a.user_id) for a in found if isinstance(a, Actor) and a.org_id and a.user_id})
    for actor in found:
        if isinstance(actor, Actor):
            actor.cache["policy"] = policies[actor.org_id, actor.user_id]
    return found


class _Known:
    """What the database says of many who listen, read at once. `again` asks of each what `session_actor` and `token_actor` ask."""

    def __init__(self, held: list[Held]) -> None:
        actors, keys = [one.actor for one in held], {one.session_key for one in held if one.session_key}
        self.now = timezone.now()
        self.users = User.objects.in_bulk({a.user_id for a in actors} | {a.su_by for a in actors if a.su_by})
        members = Membership.objects.filter(user__in=self.users, org__in={a.org_id for a in actors}).select_related("org")
        self.rules = {(row.org_id, row.user_id): Rules.of(row.org) for row in members}
        self.tokens = Token.objects.in_bulk({a.token_id for a in actors if a.token_id})
        self.sessions = {row.pk: row.get_decoded() for row in Session.objects.filter(pk__in=keys, expire_date__gt=self.now)}
        asked = self.rules.values()
        self.with_step = with_second_step({a.user_id for a in actors}) if any(r.require_second_step for r in asked) else set()
        begun = UserSession.objects.filter(session_key__in=keys).values_list("session_key", "created_at")
        self.begun = dict(begun) if any(r.session_hours for r in asked) else {}

    def again(self, one: Held) -> Actor:
        """Raises: Unauthenticated, Denied."""
        actor, user = one.actor, self.users.get(one.actor.user_id)
        rules = self.rules.get((actor.org_id, actor.user_id))
        if user is None or not user.is_active or rules is None:
            raise Unauthenticated("You are not in this organization any more.", code="actor_gone")
        read_only = actor.read_only
        if actor.token_id is not None:
            token = self.tokens.get(actor.token_id)
            if token is None or _why_not(token, user, self.now, is_member=True):
                raise Unauthenticated(BAD_TOKEN, code="bad_token")
            read_only = token.scope == Token.Scope.READ
        elif user.must_change_password or (one.session_key and not _is_session_of(self.sessions.get(one.session_key), user)):
            raise Unauthenticated("Your session has ended. Sign in again.", code="session_ended")
        check_address(user, actor.address)
        if actor.su_by is None:
            rules.obey(user.pk, actor.address, one.session_key, has_step=self.with_step.__contains__, is_old=self._is_old)
        elif not ((admin := self.users.get(actor.su_by)) and admin.is_active and admin.is_superuser):
            raise Unauthenticated("Whoever acts here as somebody else may not any more.", code="actor_gone")
        return replace(actor, email=user.email, is_admin=user.is_superuser, read_only=read_only, cache={})

    def _is_old(self, session_key: str, age: timedelta) -> bool:
        return session_key in self.begun and self.begun[session_key] < self.now - age


def _is_session_of(data: Mapping[str, Any] | None, user: User) -> bool:
    """Does a session's content still sign this person in? One begun with a former password does not."""
    if data is None or data.get(SESSION_KEY) != str(user.pk):
        return False
    hashes = [user.get_session_auth_hash(), *user.get_session_auth_fallback_hash()]
    return any(constant_time_compare(data.get(HASH_SESSION_KEY, ""), one) for one in hashes)


def org_named(actor: Actor, wanted: str) -> Organization:
    """The organization a path names, if the actor's person is in it and its token is for it.  Raises: NotFound."""
    try:
        q = Q(pk=UUID(wanted))
    except ValueError:
        q = Q(slug=wanted) | Q(name=wanted)
    rows = Organization.objects.filter(q, memberships__user_id=actor.user_id)
    if actor.token_id is not None:
        rows = rows.filter(pk=actor.org_id)
    found = rows.first() if "\x00" not in wanted else None
    if found is None:
        raise NotFound
    return found
