"""Policies over HTTP: what teams may do, who may do what and why, and what a change would come to."""

from __future__ import annotations

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import policies
from accounts.actions.fields import StatementsField, owners_only
from accounts.actions.teams import PolicyParams
from accounts.api import valid
from accounts.guards import explain
from accounts.models import Team, User
from accounts.statements import Decision, policy_of
from core import listing
from core.actions import perform
from core.actor import Actor
from core.api import HexField, ReadViewSet
from core.api.lists import refuse_unknown
from core.errors import Denied, Invalid, NotFound
from core.params import KindField

ID = OpenApiParameter("id", {"type": "string", "x-kind": "*"}, required=True, description="Id or exact name.")
VERB = OpenApiParameter("verb", OpenApiTypes.STR, required=True, description="`machine.stop`.")


class PolicySerializer(serializers.Serializer[Any]):
    """A team's statements, and each in words."""

    id = HexField()
    name = serializers.CharField(read_only=True)
    is_owners = serializers.BooleanField(read_only=True)
    statements = serializers.SerializerMethodField()

    def get_statements(self, team: Team) -> list[dict[str, Any]]:
        names = policies.names_in(team.statements, self.context["actor"])
        return [{**stored, "sentence": policies.sentence(stored, names)} for stored in team.statements]


class ExplainAnswer(serializers.Serializer[Any]):
    """What decided."""

    verb = serializers.CharField()
    user = serializers.CharField()
    allowed = serializers.BooleanField()
    needs = serializers.CharField(help_text="Allowed, but not without somebody else's approval, and why; else empty.")
    guard = serializers.CharField()
    why = serializers.CharField()
    team = serializers.CharField(allow_null=True)
    statement = serializers.IntegerField(allow_null=True, help_text="Its number in the team's policy, from 1.")


class PreviewRequest(serializers.Serializer[Any]):
    """`team`: id or name; `statements`: what its policy would be."""

    team = KindField("team", max_length=255)
    statements = StatementsField()


class PolicyViewSet(ReadViewSet):
    """Policies: what teams may do."""

    queryset = Team.objects.all()
    serializer_class = PolicySerializer
    lookup_url_kwarg = "team"
    reads = frozenset({"preview"})
    asks = frozenset({"update"})
    operation_ids = {
        "list": "list_policies",
        "retrieve": "get_policy",
        "update": "set_policy",
        "explain": "explain_policy",
        "who": "who_can",
        "preview": "preview_policy",
        "verbs": "list_verbs",
    }

    @extend_schema(responses=PolicySerializer)
    def list(self, request: Request, **kwargs: Any) -> Any:
        """The policies of the teams one may see."""
        return super().list(request, **kwargs)

    @extend_schema(responses=PolicySerializer)
    def retrieve(self, request: Request, **kwargs: Any) -> Response:
        """The policy of a team."""
        return super().retrieve(request, **kwargs)

    @extend_schema(request=PolicyParams, responses=PolicySerializer)
    def update(self, request: Request, **kwargs: Any) -> Response:
        """Give a team its statements, all anew."""
        refuse_unknown(request, ())
        team = self.find()
        perform(self.actor, team, "set_policy", self.body())
        return Response({"data": self.answer(Team.objects.get(pk=team.pk))})

    def _asked(self) -> tuple[Any, str]:
        """The row and right of `verb` and `id`."""
        query = self.request.query_params
        if not query.get("verb"):
            raise Invalid(fields={"verb": ["Say which verb, as in ?verb=machine.stop&id=web-1. /policies/verbs lists them."]})
        kind, _, right = query.get("verb", "").partition(".")
        known = policies.verbs_known()
        if right not in known.get(kind, ()):
            raise Invalid(fields={"verb": [policies.no_verb(query["verb"])]})
        if not query.get("id"):
            raise Invalid(fields={"id": [f"Say which {kind.replace('_', ' ')}, by id or name."]})
        try:
            return policies.find(self.actor, kind, query.get("id", "")), right
        except NotFound:
            raise Invalid(fields={"id": ["Not found."]}, code="not_found") from None

    @extend_schema(responses=ExplainAnswer, parameters=[VERB, ID, OpenApiParameter("user", {"type": "string", "x-kind": "user"})])
    def explain(self, request: Request, **kwargs: Any) -> Response:
        """Whether somebody (oneself, without `user`) may do a verb to a thing, and which statement says so."""
        refuse_unknown(request, ("verb", "id", "user"))
        target, right = self._asked()
        actor, wanted = self.actor, request.query_params.get("user")
        if wanted:
            self._may_look()
            rows = User.objects.visible_to(actor)
            found = listing.by_id_or_name(rows, wanted) or list(rows.filter(email__iexact=wanted.replace("\x00", "")))
            if not found:
                raise Invalid(fields={"user": ["Not found."]}, code="not_found")
            actor = Actor(org_id=actor.org_id, user_id=found[0].pk, email=found[0].email, is_admin=found[0].is_superuser)
        verb = f"{target.kind()}.{right}"
        return Response({"data": _decided(verb, actor.email, explain(actor, target, right))})

    @extend_schema(responses=ExplainAnswer(many=True), parameters=[VERB, ID])
    def who(self, request: Request, **kwargs: Any) -> Response:
        """Who may do a verb to a thing, and why."""
        refuse_unknown(request, ("verb", "id"))
        self._may_look()
        target, right = self._asked()
        assert self.actor.org_id is not None
        able = policies.who_can(self.actor.org_id, target, right)
        return Response({"data": [_decided(f"{target.kind()}.{right}", one.user.email, one.decision) for one in able]})

    @extend_schema(request=PreviewRequest, responses=OpenApiTypes.OBJECT)
    def preview(self, request: Request, **kwargs: Any) -> Response:
        """Who would gain and lose what, were these the team's statements. Nothing is changed."""
        refuse_unknown(request, ())
        sent = valid(PreviewRequest, self.body())
        found = listing.by_id_or_name(self.rows().visible_to(self.actor), sent["team"])
        if not found:
            raise Invalid(fields={"team": ["Not found."]}, code="not_found")
        owners_only(self.actor, "preview policies")
        statements = policies.validate(sent["statements"], self.actor, kept=found[0].statements)
        sentences = [policies.sentence(one, policies.names_in([one], self.actor)) for one in statements]
        changes = policies.preview(self.actor, found[0], statements)
        return Response({"data": {"statements": statements, "sentences": sentences, "changes": changes}})

    @extend_schema(responses=OpenApiTypes.OBJECT)
    def verbs(self, request: Request, **kwargs: Any) -> Response:
        """Every verb a statement can name, by kind."""
        refuse_unknown(request, ())
        return Response({"data": {kind: sorted(rights) for kind, rights in sorted(policies.verbs_known().items())}})

    def _may_look(self) -> None:
        if not policy_of(self.actor).somewhere(Team, "read"):
            raise Denied("You may not look at what others may do. Ask an owner.", reason="no statement allows team.read")


def _decided(verb: str, email: str, decision: Decision) -> dict[str, Any]:
    statement = decision.statement
    return {
        "verb": verb,
        "user": email,
        "allowed": decision.allowed,
        "needs": " ".join(decision.needs),
        "guard": decision.guard,
        "why": decision.why,
        "team": (statement.team if statement is not None else decision.team) or None,
        "statement": statement.number if statement is not None and statement.team else None,
    }
