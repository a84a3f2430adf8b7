"""One's own account over HTTP: who am I, sessions, tokens, password, acting as somebody."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import people
from accounts.actions.fields import StatementsField, TextField
from accounts.auth import address_of, org_named
from accounts.credentials import TOKEN_PREFIX, check_password, new_secret
from accounts.models import Membership, Organization, Token, User
from core import listing
from core.actions import perform
from core.actor import Actor
from core.api import HexField
from core.api.lists import envelope, keep_only, query_of, refuse_unknown
from core.api.viewset import BaseViewSet, JobAnswer, ReadViewSet, job_answer
from core.errors import Denied, Invalid, Unauthenticated
from core.params import KindField, NameField


class UserSerializer(serializers.Serializer[Any]):
    """A person, in the contract's fields."""

    id = HexField()
    email = serializers.CharField(read_only=True)
    username = serializers.CharField(source="email", read_only=True)
    first_name = serializers.CharField(read_only=True)
    last_name = serializers.CharField(read_only=True)
    last_login = serializers.DateTimeField(read_only=True, allow_null=True)
    registration_date = serializers.DateTimeField(source="date_joined", read_only=True)


class OrgSerializer(serializers.Serializer[Any]):
    """An organization, in the contract's fields and some of ours."""

    id = HexField()
    name = serializers.CharField(read_only=True)
    slug = serializers.CharField(read_only=True)
    description = serializers.CharField(read_only=True)
    currency = serializers.CharField(read_only=True)
    time_zone = serializers.CharField(read_only=True)
    language = serializers.CharField(read_only=True)
    require_second_step = serializers.BooleanField(read_only=True)
    allowed_addresses = serializers.ListField(child=serializers.CharField(), read_only=True)
    session_hours = serializers.IntegerField(read_only=True, allow_null=True)
    avatar = serializers.SerializerMethodField()
    created = serializers.SerializerMethodField()
    created_at = serializers.DateTimeField(read_only=True)
    last_active = serializers.SerializerMethodField()
    billing = serializers.SerializerMethodField()
    resources = serializers.SerializerMethodField()

    def get_last_active(self, org: Organization) -> datetime | None:
        """When one of its members last signed in."""
        return getattr(org, "last_active", None)

    def get_billing(self, org: Organization) -> dict[str, str]:
        return {}

    def get_resources(self, org: Organization) -> dict[str, int]:
        """With `summary` alone: {kind: how many one sees}."""
        return {}

    def get_avatar(self, org: Organization) -> str:
        return ""

    def get_created(self, org: Organization) -> bool:
        return True


class Described(serializers.Serializer[Any]):
    """Who asks, through what, and where."""

    user = UserSerializer()
    orgs = OrgSerializer(many=True)
    org = serializers.CharField(allow_null=True)
    is_admin = serializers.BooleanField()
    is_owner = serializers.BooleanField()
    must_change_password = serializers.BooleanField()
    scope = serializers.ChoiceField(choices=Token.Scope.choices)
    su_by = serializers.CharField(allow_null=True)


class ActedAs(serializers.Serializer[Any]):
    """Who one is now."""

    user = UserSerializer()


class Login(serializers.Serializer[Any]):
    """`otp`: the code of the authenticator, or a recovery code, where one is set up."""

    email = serializers.CharField(max_length=254)
    password = serializers.CharField(max_length=4096, trim_whitespace=False)
    otp = serializers.CharField(max_length=64, required=False, allow_blank=True, default="")


class SessionAnswer(serializers.Serializer[Any]):
    """A session, by an id that opens nothing."""

    id = serializers.CharField()
    created_at = serializers.DateTimeField()
    address = serializers.CharField()
    user_agent = serializers.CharField()
    is_current = serializers.BooleanField()


class PasswordRequest(serializers.Serializer[Any]):
    """`old`: the present one."""

    old = serializers.CharField(max_length=4096, trim_whitespace=False)
    password = serializers.CharField(max_length=4096, trim_whitespace=False)


class ProfileRequest(serializers.Serializer[Any]):
    """What is left out stays. `allowed_addresses`: networks one may come from, `[]` from anywhere."""

    first_name = TextField(max_length=100)
    last_name = TextField(max_length=100)
    settings = serializers.DictField(required=False)
    allowed_addresses = serializers.ListField(child=serializers.CharField(max_length=60), required=False, max_length=50)


class SuRequest(serializers.Serializer[Any]):
    """`user`: id or e-mail."""

    user = KindField("user")


class ConfirmRequest(serializers.Serializer[Any]):
    """One's password, once more."""

    password = serializers.CharField(max_length=4096, trim_whitespace=False)


def valid(form: type[serializers.Serializer[Any]], data: Any, actor: Actor | None = None) -> dict[str, Any]:
    """Raises: Invalid."""
    made = form(data=data, context={"actor": actor})
    if not made.is_valid():
        raise Invalid(fields=made.errors)
    return dict(made.validated_data)


class AuthViewSet(BaseViewSet):
    """One's own account. JSON alone, so that no other site's form can sign anybody in."""

    serializer_class = Described
    open_to_one_time = True
    lists = frozenset({"sessions"})
    anonymous = frozenset({"login"})
    with_cookies = frozenset({"login", "logout", "su", "su_end"})
    operation_ids = {
        "describe": "describe_auth",
        "sessions": "list_sessions",
        "login": "login",
        "logout": "logout",
        "revoke": "revoke_session",
        "password": "change_password",
        "profile": "edit_profile",
        "su": "su",
        "su_end": "end_su",
        "delete_account": "delete_account",
    }

    def _session(self) -> Actor:
        actor = self.actor
        if actor.token_id is not None:
            raise Denied("Only a session may do this: sign in.", code="session_only", reason="asked by a token")
        return actor

    @extend_schema(responses=Described)
    def describe(self, request: Request) -> Response:
        """Who am I, and where."""
        refuse_unknown(request, ())
        return Response({"data": self._described(self.actor)})

    def _described(self, actor: Actor) -> dict[str, Any]:
        user = User.objects.get(pk=actor.user_id)
        orgs = Organization.objects.visible_to(actor).order_by("name")
        owned = user.teams.filter(org_id=actor.org_id, is_owners=True).exists()
        return {
            "user": UserSerializer(user).data,
            "orgs": OrgSerializer(orgs, many=True).data,
            "org": actor.org_id.hex if actor.org_id else None,
            "is_admin": actor.is_admin,
            "is_owner": owned,
            "must_change_password": user.must_change_password,
            "scope": "read" if actor.read_only else "all",
            "su_by": actor.su_by.hex if actor.su_by else None,
        }

    @extend_schema(responses=SessionAnswer)
    def sessions(self, request: Request) -> Response:
        """One's live sessions, newest first."""
        query = query_of(request)
        current = getattr(request._request, "session", None)
        found = people.sessions_of(self.actor.user_id)  # type: ignore[arg-type]
        rows = [
            {
                "id": people.session_id(one),
                "created_at": one.created_at,
                "address": one.ip,
                "user_agent": one.user_agent,
                "is_current": current is not None and current.session_key == one.session_key,
            }
            for one in found
        ]
        some = rows[query.start : query.start + max(1, query.limit)]
        page = listing.Page(rows=some, total=len(rows), total_is_estimate=False, sort="-created_at", start=query.start, next=None)
        return Response(envelope(page, keep_only(SessionAnswer(some, many=True).data, request.query_params.get("only", "")), "session"))

    @extend_schema(request=Login, responses=Described)
    def login(self, request: Request) -> Response:
        """Sign in: the answer sets the session's cookie."""
        refuse_unknown(request, ())
        sent = valid(Login, self.body())
        user = check_password(sent["email"], sent["password"], sent["otp"], address=address_of(request._request))
        people.sign_in(request._request, user)
        org_id = user.last_org_id or Membership.objects.filter(user=user).values_list("org_id", flat=True).order_by("created_at").first()
        return Response({"data": self._described(Actor(org_id=org_id, user_id=user.pk, email=user.email, is_admin=user.is_superuser))})

    @extend_schema(request=None, responses=None)
    def logout(self, request: Request) -> Response:
        """Sign out."""
        refuse_unknown(request, ())
        self._session()
        people.sign_out(request._request)
        return Response({"data": {}})

    @extend_schema(request=None, responses=None)
    def revoke(self, request: Request, sign_in: str) -> Response:
        """End one of one's sessions."""
        refuse_unknown(request, ())
        people.revoke_session(self._session(), sign_in)
        return Response({"data": {}})

    @extend_schema(request=PasswordRequest, responses=None)
    def password(self, request: Request) -> Response:
        """Change one's password; other sessions end."""
        refuse_unknown(request, ())
        actor = self._session()
        sent = valid(PasswordRequest, self.body())
        people.change_password(request._request, User.objects.get(pk=actor.user_id), sent["old"], sent["password"])
        return Response({"data": {}})

    @extend_schema(request=ProfileRequest, responses=UserSerializer)
    def profile(self, request: Request) -> Response:
        """Change one's names, settings and allowed addresses."""
        refuse_unknown(request, ())
        actor = self._session()
        return Response({"data": UserSerializer(people.edit_profile(actor, valid(ProfileRequest, self.body()))).data})

    @extend_schema(request=SuRequest, responses=ActedAs)
    def su(self, request: Request) -> Response:
        """Go on as somebody else; administrators of the installation alone."""
        refuse_unknown(request, ())
        actor = self._session()
        user = people.find_user(valid(SuRequest, self.body())["user"]) if actor.is_admin else User()
        people.act_as(request._request, actor, user)
        return Response({"data": {"user": UserSerializer(user).data}})

    @extend_schema(request=None, responses=ActedAs)
    def su_end(self, request: Request) -> Response:
        """Go on as oneself."""
        refuse_unknown(request, ())
        self._session()
        admin = people.act_as_oneself(request._request)
        return Response({"data": {"user": UserSerializer(admin).data}})

    @extend_schema(request=ConfirmRequest, responses=None)
    def delete_account(self, request: Request) -> Response:
        """End one's account."""
        refuse_unknown(request, ())
        people.delete_account(self._session(), valid(ConfirmRequest, self.body())["password"])
        return Response({"data": {}})


# --- tokens -----------------------------------------------------------------------------------------------------------


class TokenSerializer(serializers.Serializer[Any]):
    """A token, without what it is."""

    id = HexField()
    name = serializers.CharField(read_only=True)
    hint = serializers.CharField(read_only=True)
    scope = serializers.ChoiceField(choices=Token.Scope.choices, read_only=True)
    limits = serializers.ListField(child=serializers.DictField(), read_only=True)
    org = serializers.SerializerMethodField()
    owned_by = serializers.SerializerMethodField()
    created = serializers.DateTimeField(source="created_at", read_only=True)
    expires = serializers.DateTimeField(source="expires_at", read_only=True, allow_null=True)
    last_used = serializers.DateTimeField(source="last_used_at", read_only=True, allow_null=True)

    def get_org(self, token: Token) -> str:
        return token.org_id.hex

    def get_owned_by(self, token: Token) -> str | None:
        return str(token.owner) if token.owner else None


class TokenRequest(serializers.Serializer[Any]):
    """E-mail and password, unless there is a session or token. `ttl`: seconds. `org`: id or name."""

    name = NameField(max_length=100)
    ttl = serializers.IntegerField(required=False, allow_null=True)
    scope = serializers.ChoiceField(choices=Token.Scope.choices, required=False)
    limits = StatementsField(required=False)
    org = KindField("org", max_length=100, required=False)
    email = serializers.CharField(max_length=254, required=False)
    password = serializers.CharField(max_length=4096, required=False, trim_whitespace=False)
    otp = serializers.CharField(max_length=64, required=False, allow_blank=True)


class NewToken(TokenSerializer):
    """`token`: shown this once."""

    token = serializers.CharField(read_only=True)


class TokenViewSet(ReadViewSet):
    """API tokens."""

    queryset = Token.objects.filter(revoked_at__isnull=True).select_related("owner")
    serializer_class = TokenSerializer
    anonymous = frozenset({"create"})
    asks = frozenset({"destroy"})
    lookup_url_kwarg = "token"

    @extend_schema(responses=TokenSerializer)
    def list(self, request: Request, **kwargs: Any) -> Any:
        """Tokens one may see: one's own."""
        return super().list(request, **kwargs)

    @extend_schema(responses=TokenSerializer)
    def retrieve(self, request: Request, **kwargs: Any) -> Response:
        """One token."""
        return super().retrieve(request, **kwargs)

    @extend_schema(request=TokenRequest, responses=NewToken)
    def create(self, request: Request, **kwargs: Any) -> Response:
        """Make a token; it is shown this once."""
        refuse_unknown(request, ())
        sent = valid(TokenRequest, self.body())
        actor = self._maker(request, sent)
        if sent.get("org"):
            actor = replace(actor, org_id=org_named(actor, sent["org"]).pk, cache={})
        secret = new_secret(TOKEN_PREFIX)
        asked = {name: sent[name] for name in ("name", "ttl", "scope", "limits") if name in sent}
        job = perform(actor, Token, "create", {**asked, "secret": secret})
        row = Token.objects.visible_to(actor).get(pk=job.target_id)
        return Response({"data": {**TokenSerializer(row).data, "token": secret}})

    def _maker(self, request: Request, sent: dict[str, Any]) -> Actor:
        if "email" not in sent and "password" not in sent:
            return self.actor
        if "email" not in sent or "password" not in sent:
            raise Unauthenticated("Send email and password.")
        user = check_password(sent["email"], sent["password"], sent.get("otp", ""), address=address_of(request._request))
        orgs = list(Membership.objects.filter(user=user).order_by("created_at").values_list("org_id", flat=True))
        org_id: UUID | None = user.last_org_id if user.last_org_id in orgs else next(iter(orgs), None)
        if org_id is None:
            raise Invalid(fields={"org": ["You are in no organization: make one first, or ask to be invited."]}, code="no_org")
        request_id = getattr(request._request, "request_id", "")
        return Actor(org_id=org_id, user_id=user.pk, email=user.email, address=address_of(request._request), request_id=request_id)

    @extend_schema(request=None, responses=JobAnswer)
    def destroy(self, request: Request, **kwargs: Any) -> Response:
        """Revoke it."""
        refuse_unknown(request, ())
        return Response(job_answer(perform(self.actor, self.find(), "delete")))
