"""Saved views of lists."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from accounts.actions.fields import TextField, owners_only
from accounts.models import Team, View
from accounts.statements import kinds, policy_of
from core import guard
from core.actions import Action, Call, register
from core.actor import Actor
from core.errors import Denied, Invalid
from core.params import NameField, ResourceField, TagsField


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
