"""What can be done to teams and their policies."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from accounts import people, policies
from accounts.actions.access import answer
from accounts.actions.fields import MemberParams, StatementsField, TextField, bump, owners_only
from accounts.models import Team
from core.actions import Action, Call, register
from core.actor import Actor
from core.errors import Conflict
from core.params import NameField, TagsField


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
        bump(call)


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
        answer(call.target.org_id, call.params["user"].pk, call.target)
        bump(call)

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
            bump(call)
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
