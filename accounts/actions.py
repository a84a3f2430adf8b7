"""What can be done to organizations, their members, teams and policies, invitations, tokens, views and shares."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import replace
from datetime import timedelta
from functools import cache
from typing import Any
from uuid import UUID
from zoneinfo import available_timezones

from django.conf import settings
from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone
from drf_spectacular.utils import extend_schema_field
from guardian.models import UserObjectPermission
from rest_framework import serializers

from accounts import people, policies, rules
from accounts.credentials import digest_of, is_within
from accounts.models import FormerSlug, Invitation, Membership, Organization, Team, Token, User, View
from accounts.statements import kinds, policy_of
from core import events, guard
from core.actions import Action, Call, perform, register
from core.actor import Actor
from core.errors import Conflict, Denied, Invalid, Refused
from core.models import Job, new_id
from core.params import NameField, ResourceField, TagsField, clean_text


@cache
def zones() -> frozenset[str]:
    """Every time zone one may choose."""
    return frozenset(name for name in available_timezones() if "/" in name or name == "UTC")


SECRET = re.compile(r"^[A-Za-z0-9_-]{43,64}$")
MAX_TTL_S = 10 * 365 * 24 * 3600


def create_org(actor: Actor, params: dict[str, Any]) -> tuple[Actor, Job]:
    """Make an organization; it is its own tenant, so the actor comes to it before it is there.

    Returns: the actor in the new organization, and the job.  Raises: Denied: a token belongs to one organization, and makes no other.
    """
    if actor.token_id is not None:
        raise Denied("A token belongs to one organization and makes no other. Sign in.", code="token_of_one_org", reason="asked by a token")
    there = replace(actor, org_id=new_id(), cache={})
    return there, perform(there, Organization, "create", params)


class TextField(serializers.CharField):
    """Free text without control characters."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"max_length": 2000, "allow_blank": True, "required": False, **kwargs})

    def to_internal_value(self, data: Any) -> str:
        return clean_text(super().to_internal_value(data))


@extend_schema_field({"type": "string", "x-kind": "user"})
class UserField(serializers.Field[Any, Any, Any, Any]):
    """A member of the organization, by id or e-mail."""

    def to_internal_value(self, data: Any) -> User:
        rows = User.objects.visible_to(self.context["actor"])
        if isinstance(data, str) and "\x00" not in data:
            try:
                found = rows.filter(pk=data).first()
            except (ValueError, TypeError, ValidationError):
                found = rows.filter(email__iexact=data).first()
            if found is not None:
                return found
        raise serializers.ValidationError("Not found.", code="not_found")

    def to_representation(self, value: Any) -> str:
        return str(getattr(value, "email", value))


class ZoneField(serializers.CharField):
    """A time zone by its name: Europe/Athens."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"max_length": 60, **kwargs})

    def to_internal_value(self, data: Any) -> str:
        zone = super().to_internal_value(data)
        if zone not in zones():
            raise serializers.ValidationError(f"There is no time zone {zone}. They are written as Europe/Athens.")
        return zone


class NetworkField(serializers.CharField):
    """An address or a network, as 10.0.0.0/8; it is kept as a network."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"max_length": 50, **kwargs})

    def to_internal_value(self, data: Any) -> str:
        text = super().to_internal_value(data)
        try:
            return str(ipaddress.ip_network(text, strict=False))
        except ValueError:
            raise serializers.ValidationError(f"{text} is no address and no network. Write 203.0.113.7 or 10.0.0.0/8.") from None


def owners_only(actor: Actor, what: str) -> None:
    """Raises: Denied. For what would let somebody give themselves any right."""
    if not (actor.is_system or policy_of(actor).is_owner):
        raise Denied(f"Only an owner of the organization may {what}.", code="owners_only", reason="owners alone")


def _bump(call: Call) -> None:
    people.bump(call.target.org_id)
    call.actor.cache.pop("policy", None)


# --- organizations ----------------------------------------------------------------------------------------------------


class OrgParams(serializers.Serializer[Any]):
    """`name`: what people see."""

    name = NameField(max_length=100)
    description = TextField()


@register
class CreateOrg(Action):
    """Make an organization, owned by who makes it. The actor comes with the new organization's id: see `create_org`."""

    model = Organization
    name = "create"
    creates = True
    params = OrgParams

    def build(self, actor: Actor, params: dict[str, Any]) -> Organization:
        return Organization(
            id=actor.org_id, name=params["name"], description=params.get("description", ""), slug=people.free_slug(params["name"])
        )

    def run(self, call: Call) -> dict[str, Any]:
        user = User.objects.get(pk=call.actor.user_id)
        Membership.objects.create(org=call.target, user=user)
        Team.objects.create(org=call.target, name="Owners", is_owners=True).members.add(user)
        call.actor.cache.pop("policy", None)
        return {"id": call.target.pk.hex, "slug": call.target.slug}


class EditOrgParams(serializers.Serializer[Any]):
    """What is left out stays."""

    name = NameField(max_length=100, required=False)
    description = TextField()
    currency = serializers.RegexField(r"^[A-Z]{3}$", required=False)
    slug = serializers.RegexField(r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=60, required=False)
    time_zone = ZoneField(required=False)
    language = serializers.ChoiceField(choices=["", *dict(settings.LANGUAGES)], required=False)
    require_second_step = serializers.BooleanField(required=False)
    allowed_addresses = serializers.ListField(child=NetworkField(), required=False, max_length=200)
    session_hours = serializers.IntegerField(min_value=1, max_value=8760, required=False, allow_null=True)


SECURITY = frozenset(rules.COLUMNS)


@register
class EditOrg(Action):
    """Rename or describe the organization, or say what it asks of its members. A former slug leads on to the new one."""

    model = Organization
    name = "edit"
    params = EditOrgParams

    def check(self, call: Call) -> None:
        asked = call.params
        if SECURITY & set(asked):
            owners_only(call.actor, "change what the organization asks of its members")
        if asked.get("require_second_step") and not (call.target.require_second_step or rules.has_second_step(_person(call))):
            raise Invalid(
                fields={"require_second_step": ["Set up a second step of your own first: this would lock you out."]}, code="would_lock_out"
            )
        networks = asked.get("allowed_addresses")
        if networks and not is_within(call.actor.address, networks):
            where = call.actor.address or "an unknown address"
            raise Invalid(fields={"allowed_addresses": [f"You are at {where}: this would lock you out."]}, code="would_lock_out")
        slug = asked.get("slug", call.target.slug)
        if slug != call.target.slug:
            others = (
                Organization.objects.filter(slug=slug).exists() or FormerSlug.objects.filter(slug=slug).exclude(org=call.target).exists()
            )
            if others:
                raise Invalid(fields={"slug": ["This one is taken. Choose another."]}, code="slug_taken")

    def run(self, call: Call) -> None:
        org = call.target
        slug = call.params.get("slug", org.slug)
        if slug != org.slug:
            FormerSlug.objects.filter(org=org, slug=slug).delete()
            FormerSlug.objects.update_or_create(slug=org.slug, defaults={"org": org, "until": timezone.now()})
        for name, value in call.params.items():
            setattr(org, name, value)
        org.save()


def _person(call: Call) -> UUID:
    assert call.actor.user_id is not None  # an owner is somebody
    return call.actor.user_id


class MemberParams(serializers.Serializer[Any]):
    """`user`: a member."""

    user = UserField()


@register
class Transfer(Action):
    """Make somebody else an owner in one's own place."""

    model = Organization
    name = "transfer"
    params = MemberParams
    tier = 1

    def check(self, call: Call) -> None:
        owners_only(call.actor, "pass ownership on")
        if call.params["user"].pk == call.actor.user_id:
            raise Invalid(fields={"user": ["You are an owner already."]})

    def run(self, call: Call) -> None:
        owners = Team.objects.select_for_update().get(org=call.target, is_owners=True)
        owners.members.add(call.params["user"])
        owners.members.remove(call.actor.user_id)
        people.bump(call.target.pk)  # the actor's rights are asked once more, as they were: the act was an owner's


class RemoveParams(serializers.Serializer[Any]):
    """`heir`: the member who gets what they owned; left out: nobody."""

    heir = UserField(required=False)


@register
class RemoveMember(Action):
    """Take a person out of the organization: teams, tokens, shares and own views go; what they owned passes on."""

    model = Membership
    name = "remove"
    params = RemoveParams
    deletes = True
    tier = 2
    bulk = False

    def check(self, call: Call) -> None:
        people.keep_an_owner(call.target.org_id, call.target.user)
        if Team.objects.filter(org_id=call.target.org_id, is_owners=True, members=call.target.user).exists():
            owners_only(call.actor, "remove an owner")

    def run(self, call: Call) -> dict[str, Any]:
        passed = people.leave(call.target.org_id, call.target.user, call.params.get("heir"))
        _bump(call)
        return {"passed_on": passed}


# --- teams and their policies -----------------------------------------------------------------------------------------


class TeamParams(serializers.Serializer[Any]):
    """A team; its statements are set by `set_policy`."""

    name = NameField(max_length=100)
    description = TextField()
    tags = TagsField(required=False, default=dict)


@register
class CreateTeam(Action):
    """Make a team. It has no rights until it is given a policy."""

    model = Team
    name = "create"
    creates = True
    params = TeamParams

    def build(self, actor: Actor, params: dict[str, Any]) -> Team:
        return Team(org_id=actor.org_id, owner_id=actor.user_id, created_by_id=actor.user_id, **params)

    def run(self, call: Call) -> dict[str, Any]:
        return {"id": call.target.pk.hex}


class EditTeamParams(serializers.Serializer[Any]):
    """What is left out stays."""

    name = NameField(max_length=100, required=False)
    description = TextField()
    tags = TagsField(required=False)


class TeamAction(Action):
    """On a team that is there; the Owners team is for owners to touch."""

    model = Team

    def check(self, call: Call) -> None:
        if call.target.is_owners:
            owners_only(call.actor, "change the Owners team")


@register
class EditTeam(TeamAction):
    """Rename, describe or tag a team."""

    name = "edit"
    params = EditTeamParams

    def check(self, call: Call) -> None:
        super().check(call)
        if call.target.is_owners and call.params.get("name", call.target.name) != call.target.name:
            raise Conflict("The Owners team keeps its name.", code="owners_permanent")

    def run(self, call: Call) -> None:
        for name, value in call.params.items():
            setattr(call.target, name, value)
        call.target.save()


@extend_schema_field({"type": "array", "items": {"type": "object", "additionalProperties": {}}})
class StatementsField(serializers.JSONField):
    """Statements, as accounts/policies.py reads them."""


class PolicyParams(serializers.Serializer[Any]):
    """`statements`: the whole policy anew."""

    statements = StatementsField()


@register
class SetPolicy(TeamAction):
    """Give a team its statements. For owners alone: whoever sets policies could give themselves anything."""

    name = "set_policy"
    params = PolicyParams
    tier = 1
    bulk = False

    def check(self, call: Call) -> None:
        owners_only(call.actor, "change policies")
        if call.target.is_owners:
            raise Conflict("No statement binds Owners: this team has no policy.", code="owners_permanent")

    def run(self, call: Call) -> None:
        call.target.statements = policies.validate(call.params["statements"], call.actor, kept=call.target.statements)
        call.target.save(update_fields=["statements", "updated_at"])
        _bump(call)


@register
class AddMember(TeamAction):
    """Put a member of the organization into a team. Nobody but an owner puts themselves into one."""

    name = "add_member"
    params = MemberParams
    bulk = False

    def check(self, call: Call) -> None:
        super().check(call)
        if call.params["user"].pk == call.actor.user_id:
            owners_only(call.actor, "join a team by themselves")

    def run(self, call: Call) -> None:
        call.target.members.add(call.params["user"])
        _bump(call)

    def snapshot(self, target: Any) -> dict[str, Any] | None:
        return members_of(target)


@register
class RemoveFromTeam(TeamAction):
    """Take a member out of a team."""

    name = "remove_member"
    params = MemberParams
    bulk = False

    def check(self, call: Call) -> None:
        super().check(call)
        if call.target.is_owners:
            people.keep_an_owner(call.target.org_id, call.params["user"])

    def run(self, call: Call) -> None:
        call.target.members.remove(call.params["user"])
        if call.params["user"].pk != call.actor.user_id:
            _bump(call)
        else:
            people.bump(call.target.org_id)

    def snapshot(self, target: Any) -> dict[str, Any] | None:
        return members_of(target)


def members_of(team: Team) -> dict[str, Any]:
    return {"members": sorted(pk.hex for pk in team.members.values_list("pk", flat=True))}


@register
class DeleteTeam(TeamAction):
    """Delete a team; its members keep what other teams give them."""

    name = "delete"
    deletes = True
    tier = 2

    def check(self, call: Call) -> None:
        if call.target.is_owners:
            raise Conflict("The Owners team is permanent.", code="owners_permanent")

    def run(self, call: Call) -> None:
        call.target.delete()
        people.bump(call.target.org_id)


# --- invitations ------------------------------------------------------------------------------------------------------


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


# --- tokens -----------------------------------------------------------------------------------------------------------


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


# --- saved views ------------------------------------------------------------------------------------------------------


class ViewParams(serializers.Serializer[Any]):
    """`kind`: of the list. `team`: whose, where the visibility is team."""

    name = NameField(max_length=100)
    kind = serializers.CharField(max_length=40)
    query = TextField()
    columns = serializers.ListField(child=serializers.CharField(max_length=140), required=False, max_length=60)
    sort = TextField(max_length=60)
    grouping = TextField(max_length=60)
    visibility = serializers.ChoiceField(choices=View.Visibility.choices, required=False)
    team = ResourceField(Team, required=False, allow_null=True)
    is_default = serializers.BooleanField(required=False)
    tags = TagsField(required=False)

    def validate_kind(self, value: str) -> str:
        if value not in kinds():
            raise serializers.ValidationError(f"There is no kind {value[:40]}.")
        return value

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        model = kinds().get(attrs.get("kind") or getattr(self.context.get("target"), "of_kind", ""))
        if attrs.get("query") and model is not None:
            model.search_q(attrs["query"], self.context["actor"])  # BadSearch says where it is wrong
        return attrs


class EditViewParams(ViewParams):
    """What is left out stays. The kind cannot change."""

    name = NameField(max_length=100, required=False)
    kind = None  # type: ignore[assignment]


def _fill(view: View, params: dict[str, Any]) -> None:
    for name, value in params.items():
        setattr(view, "of_kind" if name == "kind" else name, value)


class ViewAction(Action):
    """What saving asks: who may share with whom, and one default a person and kind."""

    model = View
    bulk = False

    def check_sharing(self, call: Call, view: View) -> None:
        if view.visibility == View.Visibility.TEAM:
            if view.team is None:
                raise Invalid(fields={"team": ["Say which team."]})
            if view.team_id not in policy_of(call.actor).team_ids:
                owners_only(call.actor, "save a view for a team they are not in")
        if view.visibility == View.Visibility.ORG and not guard.permits(call.actor, view, "share"):
            raise Denied("You may not save views for the whole organization.", reason="no statement allows view.share")

    def one_default(self, view: View) -> None:
        if view.is_default:
            View.objects.filter(org_id=view.org_id, owner_id=view.owner_id, of_kind=view.of_kind).exclude(pk=view.pk).update(
                is_default=False
            )


@register
class SaveView(ViewAction):
    """Save a view."""

    name = "create"
    creates = True
    params = ViewParams

    def build(self, actor: Actor, params: dict[str, Any]) -> View:
        view = View(org_id=actor.org_id, owner_id=actor.user_id, created_by_id=actor.user_id)
        _fill(view, params)
        self.one_default(view)
        return view

    def check(self, call: Call) -> None:
        self.check_sharing(call, call.target)

    def run(self, call: Call) -> dict[str, Any]:
        return {"id": call.target.pk.hex}


@register
class EditView(ViewAction):
    """Change a saved view."""

    name = "edit"
    params = EditViewParams

    def run(self, call: Call) -> None:
        _fill(call.target, call.params)
        self.check_sharing(call, call.target)
        self.one_default(call.target)
        call.target.save()


@register
class DeleteView(ViewAction):
    """Delete a saved view."""

    name = "delete"
    deletes = True

    def run(self, call: Call) -> None:
        call.target.delete()


# --- single-object shares ---------------------------------------------------------------------------------------------


def share(actor: Actor, target: Any, user: User, rights: list[str]) -> None:
    """Let one person do these things (rights of the kind, without it) with one row; `[]` takes all back. For owners alone.

    Raises: Denied, NotFound, Invalid.
    """
    try:
        _check_share(actor, target, rights)
    except Refused as refusal:
        reason = {"code": refusal.code, "reason": refusal.detail, "user": user.pk.hex, "rights": rights}
        events.record(f"{target.kind()}.share.refused", actor, org_id=actor.org_id, target_kind=target.kind(), detail=reason)
        raise
    kind = ContentType.objects.get_for_model(type(target))
    with transaction.atomic(durable=True):
        had = UserObjectPermission.objects.filter(user=user, content_type=kind, object_pk=str(target.pk))
        before = sorted(had.values_list("permission__codename", flat=True))
        had.delete()
        for right in dict.fromkeys(rights):
            named = {"name": f"{target.kind()}.{right}"}
            permission, _ = Permission.objects.get_or_create(content_type=kind, codename=right, defaults=named)
            UserObjectPermission.objects.create(user=user, permission=permission, content_type=kind, object_pk=str(target.pk))
        facts = {"before": {"rights": before}, "after": {"rights": sorted(set(rights))}, "detail": {"user": user.pk.hex}}
        events.record(f"{target.kind()}.share.succeeded", actor, target=target, **facts)


def shares_of(actor: Actor, target: Any) -> list[tuple[str, list[str]]]:
    """(e-mail, rights) of whom a row is shared with, by e-mail.  Raises: Denied, but for owners."""
    owners_only(actor, "see with whom single things are shared")
    kind = ContentType.objects.get_for_model(type(target))
    found: dict[str, list[str]] = {}
    rows = UserObjectPermission.objects.filter(content_type=kind, object_pk=str(target.pk))
    for email, right in rows.order_by("user__email", "permission__codename").values_list("user__email", "permission__codename"):
        found.setdefault(email, []).append(right)
    return list(found.items())


def _check_share(actor: Actor, target: Any, rights: list[str]) -> None:
    if not target.__class__.objects.visible_to(actor).filter(pk=target.pk).exists():
        raise Invalid(fields={"id": ["Not found."]}, code="not_found")
    owners_only(actor, "share single things")
    if actor.read_only:
        raise Denied("This token is read-only. Use one that may act.", code="read_only_token", reason="token scope")
    known = policies.verbs_known().get(target.kind(), set())
    wrong = [right for right in rights if right not in known and right != "*"]
    if wrong:
        raise Invalid(fields={"rights": [f"There is no verb {target.kind()}.{wrong[0][:60]}."]})
