"""What happens to accounts themselves: made, signed in, acted for, ended. Told in the installation's own chain."""

from __future__ import annotations

import hashlib
import ipaddress
import json
import re
import secrets
from typing import Any
from uuid import UUID

from allauth.account.models import EmailAddress
from allauth.usersessions.models import UserSession
from django.apps import apps
from django.conf import settings
from django.contrib.auth import login, logout, update_session_auth_hash
from django.contrib.auth.password_validation import validate_password
from django.contrib.sessions.backends.base import SessionBase
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils import timezone
from guardian.models import UserObjectPermission

from accounts import throttle
from accounts.auth import address_of
from accounts.credentials import digest_of, is_within, tell
from accounts.models import FormerSlug, Invitation, Membership, Organization, Team, Token, User, View
from core import events
from core.actor import Actor
from core.errors import Conflict, Denied, Invalid, NotFound
from core.models import Resource, new_id

BACKEND = "allauth.account.auth_backends.AuthenticationBackend"


# --- making -----------------------------------------------------------------------------------------------------------


def slug_of(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:50] or "org"


def free_slug(name: str) -> str:
    """A slug of the name that no organization has yet."""
    base = slug_of(name)
    taken = {
        slug
        for model in (Organization, FormerSlug)
        for slug in model._default_manager.filter(slug__startswith=base).values_list("slug", flat=True)
    }
    if base not in taken:
        return base
    return next(f"{base}-{n}" for n in range(2, len(taken) + 3) if f"{base}-{n}" not in taken)


def check_new_password(password: str, user: User | None) -> None:
    """Raises: Invalid, with the rules it breaks."""
    try:
        validate_password(password, user)
    except ValidationError as error:
        raise Invalid(fields={"password": error.messages}, code="weak_password") from error


def make_user(email: str, password: str | None, *, is_admin: bool = False, one_time: bool = False, **names: str) -> User:
    """A person, whose address counts as confirmed.  Raises: Conflict: there is one; Invalid: no address."""
    try:
        with transaction.atomic():
            user = User.objects.create_user(email, password, is_superuser=is_admin, must_change_password=one_time, **names)
            EmailAddress.objects.create(user=user, email=user.email, primary=True, verified=True)
    except IntegrityError as error:
        raise Conflict(f"There is already an account for {email[:254]}.", code="user_exists") from error
    return user


def make_org(name: str, owner: User | None = None, org_id: UUID | None = None) -> Organization:
    """An organization with its Owners team, and its first owner."""
    org = Organization.objects.create(id=org_id or new_id(), name=name[:100], slug=free_slug(name))
    owners = Team.objects.create(org=org, name="Owners", is_owners=True)
    if owner is not None:
        Membership.objects.create(org=org, user=owner)
        owners.members.add(owner)
    return org


def add_user(email: str, *, is_admin: bool = False, org: str = "", password: str | None = None) -> tuple[User, str | None]:
    """What `manage.py adduser` does: make the account and, with `org` (a name), put it among that organization's members.

    The first member of an organization becomes its owner. Returns: the person, and the one-time password if one was generated.
    """
    generated = None if password else secrets.token_urlsafe(12)
    with transaction.atomic():
        user = make_user(email, password or generated, is_admin=is_admin, one_time=generated is not None)
        if org:
            found = Organization.objects.filter(name=org).first() or Organization.objects.filter(slug=org).first()
            if found is None:
                make_org(org, user)
            else:
                Membership.objects.create(org=found, user=user)
                owners = Team.objects.get(org=found, is_owners=True)
                if not owners.members.exists():
                    owners.members.add(user)
        tell(Actor.system(), "user.create.succeeded", user, admin=str(is_admin).lower())
    return user, generated


def create_first_admin() -> tuple[User, str | None] | None:
    """The first admin with the organization `default`, when there is nobody yet.

    A generated password that nobody has used (its first start was cut short, or its words got lost) is replaced by another.
    Returns: the person, and the one-time password unless MIST_ADMIN_PASSWORD gave one; None: there is somebody.
    """
    someone = User.objects.order_by("date_joined").first()
    if someone is not None:
        if not (someone.must_change_password and someone.last_login is None and someone.is_superuser) or User.objects.count() > 1:
            return None
        generated = secrets.token_urlsafe(12)
        someone.set_password(generated)
        someone.save(update_fields=["password"])
        return someone, generated
    return add_user(settings.MIST_ADMIN_EMAIL, is_admin=True, org="default", password=settings.MIST_ADMIN_PASSWORD or None)


# --- sessions ---------------------------------------------------------------------------------------------------------


def sign_in(request: Any, user: User) -> UserSession:
    """Begin a session for somebody whose credentials were checked."""
    login(request, user, backend=BACKEND)
    UserSession.objects.create_from_request(request)
    tell(_me(request, user), "session.create.succeeded", user)
    return UserSession.objects.get(session_key=request.session.session_key)


def sign_out(request: Any) -> None:
    me, user = _me(request, request.user), request.user
    UserSession.objects.filter(session_key=request.session.session_key).delete()
    logout(request)
    tell(me, "session.delete.succeeded", user)


def session_id(session: UserSession) -> str:
    """The id a session goes by: nothing that could be used in its place."""
    return hashlib.sha256(b"session " + session.session_key.encode()).hexdigest()[:32]


def sessions_of(user_id: UUID) -> list[UserSession]:
    """Live sessions, newest first."""
    user = User.objects.get(pk=user_id)
    return sorted(UserSession.objects.purge_and_list(user), key=lambda one: one.created_at, reverse=True)


def revoke_session(actor: Actor, wanted: str) -> None:
    """End one of one's own sessions.  Raises: NotFound."""
    for session in sessions_of(_person(actor).pk):
        if session_id(session) == wanted.replace("-", "").lower():
            session.end()
            tell(actor_without_org(actor), "session.revoke.succeeded", _person(actor), session=wanted)
            return
    raise NotFound


# --- one's own account ------------------------------------------------------------------------------------------------


def change_password(request: Any, user: User, old: str, new: str) -> None:
    """Change one's password; other sessions end, this one goes on.  Raises: Invalid, TooMany."""
    address = address_of(request)
    throttle.count(user.email, address)
    if not user.check_password(old[:4096]):
        tell(_me(request, user), "user.change_password.refused", user, reason="wrong password")
        raise Invalid(fields={"old": ["This is not your password."]}, code="wrong_password")
    throttle.give_back(user.email, address)
    if old == new:
        raise Invalid(fields={"password": ["Choose another than before."]}, code="weak_password")
    check_new_password(new, user)
    with transaction.atomic():
        user.set_password(new)
        user.must_change_password = False
        user.save(update_fields=["password", "must_change_password"])
        tell(_me(request, user), "user.change_password.succeeded", user)
    update_session_auth_hash(request, user)
    UserSession.objects.create_from_request(request)
    for session in UserSession.objects.filter(user=user).exclude(session_key=request.session.session_key):
        session.end()


def edit_profile(actor: Actor, changes: dict[str, Any]) -> User:
    """Names, settings (merged) and allowed addresses of one's own.  Raises: Invalid: it would lock oneself out, or is no network."""
    user = _person(actor)
    networks = changes.get("allowed_addresses")
    if networks:
        try:
            changes["allowed_addresses"] = [str(ipaddress.ip_network(network, strict=False)) for network in networks]
        except ValueError as error:
            raise Invalid(fields={"allowed_addresses": [str(error)]}) from error
        if not is_within(actor.address, changes["allowed_addresses"]):
            raise Invalid(fields={"allowed_addresses": [f"You are at {actor.address}: this would lock you out."]}, code="would_lock_out")
    if "settings" in changes:
        changes["settings"] = {**user.settings, **changes["settings"]}
        if len(json.dumps(changes["settings"])) > 20_000:
            raise Invalid(fields={"settings": ["At most 20,000 characters."]})
    for name, value in changes.items():
        setattr(user, name, value)
    with transaction.atomic():
        user.save(update_fields=list(changes) or None)
        tell(actor_without_org(actor), "user.edit.succeeded", user, changed=", ".join(sorted(changes)))
    return user


def find_user(wanted: str) -> User:
    """Anybody, by id or e-mail; for administrators.  Raises: NotFound."""
    try:
        user = User.objects.filter(pk=UUID(wanted)).first()
    except ValueError:
        user = User.objects.filter(email__iexact=wanted).first() if "\x00" not in wanted else None
    if user is None:
        raise NotFound
    return user


def delete_account(actor: Actor, password: str) -> None:
    """End one's account; what one owned stays with its organizations, owned by nobody.

    Raises: Conflict: the last owner or admin of something. Invalid, TooMany.
    """
    user = _person(actor)
    throttle.count(user.email, actor.address)
    if not user.check_password(password[:4096]):
        raise Invalid(fields={"password": ["This is not your password."]}, code="wrong_password")
    throttle.succeeded(user.email, actor.address)
    with transaction.atomic():
        for org in Organization.objects.filter(memberships__user=user):
            keep_an_owner(org.pk, user)
        others = User.objects.select_for_update().filter(is_superuser=True, is_active=True).exclude(pk=user.pk)
        if user.is_superuser and not others.exists():
            raise Conflict("You are the only administrator of this installation. Make another first.", code="last_admin")
        for org in Organization.objects.filter(memberships__user=user):
            leave(org.pk, user)
        tell(actor_without_org(actor), "user.delete.succeeded", user)
        for session in UserSession.objects.filter(user=user):
            session.end()
        user.delete()


def keep_an_owner(org_id: UUID, leaving: User) -> None:
    """Raises: Conflict, when nobody but `leaving` owns the organization. Holds the Owners team, so that two cannot leave at once."""
    owners = Team.objects.select_for_update().get(org_id=org_id, is_owners=True)
    members = owners.members.filter(is_active=True)
    if members.filter(pk=leaving.pk).exists() and not members.exclude(pk=leaving.pk).exists():
        name = owners.org.name
        raise Conflict(f"{leaving.email} is the only owner of {name}. Make somebody else an owner first.", code="last_owner")


def leave(org_id: UUID, user: User, heir: User | None = None) -> int:
    """Take a person out of an organization: teams, tokens, shares, own views; what they owned passes to `heir`, or to nobody.

    Returns: how many rows changed owner. Inside a transaction.
    """
    for team in Team.objects.filter(org_id=org_id, members=user):
        team.members.remove(user)
    Token.objects.filter(org_id=org_id, owner=user, revoked_at__isnull=True).update(revoked_at=timezone.now())
    View.objects.filter(org_id=org_id, owner=user).delete()
    passed = 0
    for model in apps.get_models():
        if not issubclass(model, Resource):
            continue
        mine = model._default_manager.filter(org_id=org_id)
        if model is not Token:
            passed += mine.filter(owner=user).update(owner=heir)
        shares = UserObjectPermission.objects.filter(user=user, content_type__model=model._meta.model_name)
        held = [UUID(pk) for pk in shares.values_list("object_pk", flat=True)]
        here = [str(pk) for pk in mine.filter(pk__in=held).values_list("pk", flat=True)] if held else []
        shares.filter(object_pk__in=here).delete()
    User.objects.filter(pk=user.pk, last_org_id=org_id).update(last_org=None)
    Membership.objects.filter(org_id=org_id, user=user).delete()
    return passed


# --- acting as somebody -----------------------------------------------------------------------------------------------


def act_as(request: Any, actor: Actor, user: User) -> None:
    """An admin goes on as another person; every event of the session says so.  Raises: Denied."""
    admin = _person(actor)
    if not admin.is_superuser or actor.su_by is not None or actor.token_id is not None:
        tell(actor_without_org(actor), "user.su.refused", user)
        raise Denied("Only an administrator of the installation, in a session of their own, may act as somebody else.", code="admin_only")
    if user.is_superuser or not user.is_active:
        raise Denied("Administrators and inactive people cannot be acted for.", code="su_refused")
    tell(actor_without_org(actor), "user.su.succeeded", user)
    _swap(request, user, {"su_by": admin.pk.hex})


def act_as_oneself(request: Any) -> User:
    """Back to the admin who began.  Raises: Conflict: nobody acts as somebody here."""
    admin = User.objects.filter(pk=request.session.get("su_by"), is_active=True, is_superuser=True).first()
    if admin is None:
        raise Conflict("You are yourself already.", code="not_su")
    tell(_me(request, admin), "user.su_end.succeeded", request.user)
    _swap(request, admin, {})
    return admin


def _swap(request: Any, user: User, keep: dict[str, str]) -> None:
    session: SessionBase = request.session
    UserSession.objects.filter(session_key=session.session_key).delete()
    session.flush()
    signed_in_at = user.last_login
    login(request, user, backend=BACKEND)
    User.objects.filter(pk=user.pk).update(last_login=signed_in_at)  # they did not sign in
    session.update(keep)
    UserSession.objects.create_from_request(request)


# --- invitations ------------------------------------------------------------------------------------------------------


def invitation_of(secret: str) -> Invitation:
    """The open invitation of a link.  Raises: NotFound."""
    row = Invitation.objects.select_related("org", "created_by").filter(digest=digest_of(secret), expires_at__gt=timezone.now()).first()
    if row is None:
        raise NotFound("This invitation does not exist, was used, or has expired. Ask for another.", code="invitation_gone")
    return row


def accept(secret: str, user: User, *, address: str = "", via: str = "console") -> Organization:
    """Join the organization that invited this person.  Raises: NotFound, Denied: it was meant for another address."""
    with transaction.atomic():
        row = invitation_of(secret)
        Invitation.objects.select_for_update().get(pk=row.pk)
        if row.email.lower() != user.email.lower():
            raise Denied(f"This invitation is for {row.email}. Sign in as that person.", code="invitation_of_another")
        Membership.objects.get_or_create(org=row.org, user=user)
        for team in row.teams.all():
            team.members.add(user)
        User.objects.filter(pk=user.pk).update(last_org=row.org)
        actor = Actor(org_id=row.org_id, user_id=user.pk, email=user.email, via=via, address=address)
        events.record("invitation.accept.succeeded", actor, target=row)
        row.delete()
        bump(row.org_id)
    return row.org


def join(secret: str, password: str, *, address: str, **names: str) -> User:
    """Make an account for whom an invitation is for, and accept it: both or neither.  Raises: NotFound, Conflict."""
    with transaction.atomic():
        user = make_user(invitation_of(secret).email, password, **names)
        tell(
            Actor(org_id=None, user_id=user.pk, email=user.email, via="console", address=address),
            "user.create.succeeded",
            user,
            by="invitation",
        )
        accept(secret, user, address=address)
    return user


def bump(org_id: UUID) -> None:
    """Teams, members or statements changed: who keeps rights for long reads them again."""
    Organization.objects.filter(pk=org_id).update(policy_version=F("policy_version") + 1)


def _person(actor: Actor) -> User:
    user = User.objects.filter(pk=actor.user_id).first()
    if user is None:
        raise NotFound
    return user


def actor_without_org(actor: Actor) -> Actor:
    """For the installation's own chain."""
    return Actor(
        org_id=None,
        user_id=actor.user_id,
        email=actor.email,
        via=actor.via,
        address=actor.address,
        request_id=actor.request_id,
        su_by=actor.su_by,
        token_id=actor.token_id,
    )


def _me(request: Any, user: User) -> Actor:
    return Actor(
        org_id=None,
        user_id=user.pk,
        email=user.email,
        via="api",
        address=address_of(request),
        request_id=getattr(request, "request_id", ""),
    )
