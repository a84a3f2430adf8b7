"""What can be done to organizations and their members."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

from django.conf import settings
from django.utils import timezone
from rest_framework import serializers

from accounts import people, rules
from accounts.actions.fields import MemberParams, NetworkField, TextField, UserField, ZoneField, bump, owners_only
from accounts.credentials import is_within
from accounts.models import FormerSlug, Membership, Organization, Team, User
from core.actions import Action, Call, perform, register
from core.actor import Actor
from core.errors import Denied, Invalid
from core.models import Job, new_id
from core.params import NameField


def create_org(actor: Actor, params: dict[str, Any]) -> tuple[Actor, Job]:
    """Make an organization; it is its own tenant, so the actor comes to it before it is there.

    Returns: the actor in the new organization, and the job.  Raises: Denied: a token belongs to one organization, and makes no other.
    """
    if actor.token_id is not None:
        raise Denied("A token belongs to one organization and makes no other. Sign in.", code="token_of_one_org", reason="asked by a token")
    there = replace(actor, org_id=new_id(), cache={})
    return there, perform(there, Organization, "create", params)


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
        bump(call)
        return {"passed_on": passed}
