"""Organizations over HTTP: their members, teams, invitations, saved views and shares."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from django.db.models import Max
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import mail, people, policies
from accounts.actions.fields import MemberParams, UserField
from accounts.actions.invitations import InviteParams
from accounts.actions.orgs import EditOrgParams, OrgParams, RemoveParams, create_org
from accounts.actions.shares import share, shares_of
from accounts.api import OrgSerializer, UserSerializer, valid
from accounts.auth import org_named
from accounts.credentials import new_secret
from accounts.models import Invitation, Membership, Organization, Team, User, View
from accounts.policy_api import ID
from accounts.statements import kinds
from core import listing
from core.actions import perform
from core.actor import Actor
from core.api import HexField, ReadViewSet, RefField, ResourceViewSet
from core.api.lists import envelope, keep_only, query_of, refuse_unknown
from core.api.schema import takes
from core.api.viewset import BaseViewSet, JobAnswer, job_answer
from core.errors import Conflict, Denied, Invalid, NotFound
from core.params import KindField

# --- organizations and members ----------------------------------------------------------------------------------------


class OrgViewSet(ReadViewSet):
    """Organizations one is in."""

    queryset = Organization.objects.annotate(last_active=Max("memberships__user__last_login"))
    serializer_class = OrgSerializer
    lookup_url_kwarg = "org"
    asks = frozenset({"partial_update"})
    operation_ids = {"list": "list_orgs", "retrieve": "get_org", "create": "create_org", "partial_update": "update_org"}

    @extend_schema(responses=OrgSerializer, parameters=[OpenApiParameter("allorgs", OpenApiTypes.BOOL)])
    def list(self, request: Request, **kwargs: Any) -> Any:
        """One's organizations; `allorgs`: every one, for administrators of the installation."""
        query = query_of(request, ("allorgs",))
        everything = request.query_params.get("allorgs", "").lower() in ("1", "true", "yes") and self.actor.is_admin
        page = listing.page(self.rows(), Actor.system() if everything and self.actor.token_id is None else self.actor, query)
        return Response(envelope(page, keep_only(self.serialize(page.rows), request.query_params.get("only", "")), "org"))

    @extend_schema(responses=OrgSerializer, parameters=[OpenApiParameter("summary", OpenApiTypes.BOOL)])
    def retrieve(self, request: Request, **kwargs: Any) -> Response:
        """One organization; `summary`: how much of each kind one sees there."""
        refuse_unknown(request, ("only", "deref", "sort", "format", "summary"))
        org = org_named(self.actor, kwargs["org"])
        data = self.answer(self.rows().get(pk=org.pk))
        if request.query_params.get("summary", "").lower() in ("1", "true", "yes"):
            there = within(self.actor, org)
            data["resources"] = {
                name: kinds()[name].objects.visible_to(there).count() for name in ("cloud", "machine", "volume", "network", "key", "team")
            }
        return Response({"data": keep_only([data], request.query_params.get("only", ""))[0]})

    @extend_schema(request=OrgParams, responses=OrgSerializer)
    def create(self, request: Request, **kwargs: Any) -> Response:
        """Make an organization and own it."""
        refuse_unknown(request, ())
        there, job = create_org(self.actor, self.body())
        return Response({"data": {**self.answer(Organization.objects.get(pk=there.org_id)), "jobId": job.pk.hex}})

    @extend_schema(request=EditOrgParams, responses=OrgSerializer)
    def partial_update(self, request: Request, **kwargs: Any) -> Response:
        """Rename or describe it."""
        refuse_unknown(request, ())
        org = org_named(self.actor, kwargs["org"])
        perform(within(self.actor, org), org, "edit", self.body())
        return Response({"data": self.answer(Organization.objects.get(pk=org.pk))})

    @extend_schema(request=MemberParams, responses=JobAnswer)
    def transfer(self, request: Request, **kwargs: Any) -> Response:
        """Make another member an owner in one's own place."""
        refuse_unknown(request, ())
        org = org_named(self.actor, kwargs["org"])
        return Response(job_answer(perform(within(self.actor, org), org, "transfer", self.body())))


def within(actor: Actor, org: Organization) -> Actor:
    """The same person in an organization the path names."""
    return actor if actor.org_id == org.pk else replace(actor, org_id=org.pk, cache={})


class _Within(ReadViewSet):
    """What lives below /orgs/{org}."""

    @property
    def actor(self) -> Actor:
        asked = super().actor
        held: Actor | None = getattr(self, "_there", None)
        if held is None:
            held = self._there = within(asked, org_named(asked, self.kwargs["org"])) if "org" in self.kwargs else asked
        return replace(held, ask=asked.ask)


class MemberSerializer(UserSerializer):
    """A member, in the contract's fields."""

    pending = serializers.SerializerMethodField()

    def get_pending(self, user: User) -> bool:
        return False


class MemberViewSet(_Within):
    """The members of an organization."""

    queryset = User.objects.all()
    serializer_class = MemberSerializer
    lookup_url_kwarg = "member"
    asks = frozenset({"destroy"})
    path_kinds = {"member": "user"}
    operation_ids = {"list": "list_org_members", "retrieve": "get_member", "destroy": "remove_member"}

    def find(self) -> User:
        rows = self.rows().visible_to(self.actor)
        wanted = self.kwargs["member"]
        found = listing.by_id_or_name(rows, wanted) or list(rows.filter(email__iexact=wanted.replace("\x00", "")))
        if not found:
            raise NotFound
        return found[0]  # type: ignore[no-any-return]

    @extend_schema(responses=MemberSerializer)
    def list(self, request: Request, **kwargs: Any) -> Any:
        """Who is in it."""
        return super().list(request, **kwargs)

    @extend_schema(responses=MemberSerializer)
    def retrieve(self, request: Request, **kwargs: Any) -> Response:
        """One member, by id or e-mail."""
        return super().retrieve(request, **kwargs)

    @extend_schema(request=RemoveParams, responses=JobAnswer)
    @takes(heir={"type": "string", "x-kind": "user"})
    def destroy(self, request: Request, **kwargs: Any) -> Response:
        """Take a person out of the organization; what they owned passes to `heir`, or to nobody."""
        refuse_unknown(request, ("heir",))
        row = Membership.objects.select_related("user").get(org_id=self.actor.org_id, user=self.find())
        return Response(job_answer(perform(self.actor, row, "remove", {**request.query_params.dict(), **self.body()})))


class UserViewSet(ReadViewSet):
    """People of one's organization."""

    queryset = User.objects.all()
    serializer_class = UserSerializer


# --- teams ------------------------------------------------------------------------------------------------------------


class TeamSerializer(serializers.Serializer[Any]):
    """A team, its members and its policy."""

    id = HexField()
    name = serializers.CharField(read_only=True)
    description = serializers.CharField(read_only=True)
    is_owners = serializers.BooleanField(read_only=True)
    tags = serializers.DictField(child=serializers.CharField(), read_only=True)
    owned_by = RefField(source="owner")
    created_by = RefField()
    members = serializers.SerializerMethodField()
    members_count = serializers.SerializerMethodField()
    policy = serializers.SerializerMethodField()

    def get_members(self, team: Team) -> list[str]:
        return [user.pk.hex for user in team.members.all()]

    def get_members_count(self, team: Team) -> int:
        return len(team.members.all())

    def get_policy(self, team: Team) -> dict[str, Any]:
        return {"statements": team.statements}


class TeamViewSet(ResourceViewSet):
    """Teams: members with a policy."""

    queryset = Team.objects.select_related("owner", "created_by").prefetch_related("members")
    serializer_class = TeamSerializer


class OrgTeamViewSet(_Within):
    """The teams of an organization."""

    queryset = TeamViewSet.queryset
    serializer_class = TeamSerializer
    operation_ids = {"list": "list_org_teams"}

    @extend_schema(responses=TeamSerializer)
    def list(self, request: Request, **kwargs: Any) -> Any:
        """Its teams, as far as one may see them."""
        return super().list(request, **kwargs)


# --- invitations ------------------------------------------------------------------------------------------------------


class InvitationSerializer(serializers.Serializer[Any]):
    """Somebody asked to join."""

    id = HexField()
    email = serializers.CharField(read_only=True)
    teams = serializers.SerializerMethodField()
    created_by = RefField()
    created = serializers.DateTimeField(source="created_at", read_only=True)
    expires = serializers.DateTimeField(source="expires_at", read_only=True)

    def get_teams(self, row: Invitation) -> list[str]:
        return [team.name for team in row.teams.all()]


class InviteRequest(InviteParams):
    """`teams`: ids or names."""

    secret = None  # type: ignore[assignment]


class AcceptRequest(serializers.Serializer[Any]):
    """`token`: the last part of the link."""

    token = serializers.CharField(max_length=64)


class InvitationViewSet(ResourceViewSet):
    """Invitations that are open."""

    queryset = Invitation.objects.select_related("created_by").prefetch_related("teams")
    serializer_class = InvitationSerializer
    create_params = InviteRequest
    operation_ids = {"accept": "accept_invitation"}

    def create(self, request: Request, **kwargs: Any) -> Response:
        """Invite by e-mail. The answer holds the link, this once, for where no mail goes out."""
        refuse_unknown(request, ())
        secret = new_secret()
        job = perform(self.actor, Invitation, "create", {**self.known(self.body()), "secret": secret})
        row = self.queryset.select_related("org").get(pk=job.target_id)
        sent = mail.send_invitation(row, secret, row.created_by)
        return Response({"data": {**self.answer(row), "link": mail.link_of(secret), "mail_sent": sent, "jobId": job.pk.hex}})

    @extend_schema(request=AcceptRequest, responses=OrgSerializer)
    def accept(self, request: Request, **kwargs: Any) -> Response:
        """Join the organization that invited one."""
        refuse_unknown(request, ())
        actor = self.actor
        if actor.token_id is not None:
            raise Denied("Only a session may do this: sign in.", code="session_only", reason="asked by a token")
        user = User.objects.get(pk=actor.user_id)
        org = people.accept(valid(AcceptRequest, self.body())["token"], user, address=actor.address, via=actor.via)
        return Response({"data": OrgSerializer(org).data})


# --- saved views ------------------------------------------------------------------------------------------------------


class ViewSerializer(serializers.Serializer[Any]):
    """A saved view."""

    id = HexField()
    name = serializers.CharField(read_only=True)
    kind = serializers.CharField(source="of_kind", read_only=True)
    query = serializers.CharField(read_only=True)
    columns = serializers.ListField(child=serializers.CharField(), read_only=True)
    sort = serializers.CharField(read_only=True)
    grouping = serializers.CharField(read_only=True)
    visibility = serializers.ChoiceField(choices=View.Visibility.choices, read_only=True)
    team = RefField()
    is_default = serializers.BooleanField(read_only=True)
    tags = serializers.DictField(child=serializers.CharField(), read_only=True)
    owned_by = RefField(source="owner")
    created_by = RefField()


class ViewViewSet(ResourceViewSet):
    """Saved views: one's own, one's teams' and the organization's."""

    queryset = View.objects.select_related("owner", "created_by", "team")
    serializer_class = ViewSerializer


# --- shares -----------------------------------------------------------------------------------------------------------


class ShareRequest(serializers.Serializer[Any]):
    """`rights`: verbs of the kind, with or without it; `[]` takes all back."""

    kind = serializers.CharField(max_length=40)
    id = KindField("*", max_length=255)
    user = UserField()
    rights = serializers.ListField(child=serializers.CharField(max_length=90), max_length=50)


class SharedSerializer(serializers.Serializer[Any]):
    """One thing, one person, and what that person may do with it."""

    kind = serializers.CharField()
    id = serializers.CharField()
    user = serializers.CharField()
    rights = serializers.ListField(child=serializers.CharField())


class ShareViewSet(BaseViewSet):
    """One thing shared with one person."""

    serializer_class = ShareRequest
    operation_ids = {"shared": "list_shares", "create": "share"}

    def _shared(self, kind: str, name: str) -> Any:
        try:
            return policies.find(self.actor, kind, name)
        except NotFound:
            raise Invalid(fields={"id": ["Not found."]}, code="not_found") from None

    @extend_schema(
        responses=SharedSerializer(many=True),
        parameters=[ID, OpenApiParameter("kind", {"type": "string", "maxLength": 40, "default": "machine"})],
    )
    def shared(self, request: Request) -> Response:
        """With whom one thing is shared, and for what. For owners alone."""
        refuse_unknown(request, ("id", "kind"))
        kind = request.query_params.get("kind", "machine")
        target = self._shared(kind, request.query_params.get("id", ""))
        rows = [{"kind": kind, "id": target.pk.hex, "user": email, "rights": rights} for email, rights in shares_of(self.actor, target)]
        return Response({"data": rows})

    @extend_schema(request=ShareRequest, responses=ShareRequest)
    def create(self, request: Request) -> Response:
        """Let one person do these verbs with one thing."""
        refuse_unknown(request, ())
        sent = valid(ShareRequest, self.body(), self.actor)
        target = self._shared(sent["kind"], sent["id"])
        if sent["kind"] in ("org", "member", "team", "token", "job", "event", "view", "invitation"):
            raise Conflict(f"A {sent['kind']} is not shared.", code="not_shareable")
        rights = [right.removeprefix(f"{sent['kind']}.") for right in sent["rights"]]
        share(self.actor, target, sent["user"], rights)
        return Response({"data": {"kind": sent["kind"], "id": target.pk.hex, "user": sent["user"].email, "rights": rights}})
