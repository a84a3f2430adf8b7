"""Addresses: /auth, /orgs, /users, /teams, /policies, /invitations, /views, /exports, /shares (API), and the page of an invitation."""

from __future__ import annotations

from django.urls import URLPattern, path

from accounts import views
from accounts.api import AuthViewSet, TokenViewSet
from accounts.export_api import ExportViewSet
from accounts.org_api import (
    InvitationViewSet,
    MemberViewSet,
    OrgTeamViewSet,
    OrgViewSet,
    ShareViewSet,
    TeamViewSet,
    UserViewSet,
    ViewViewSet,
)
from accounts.policy_api import PolicyViewSet
from core.api import routes


def api_routes(orgs: type[OrgViewSet] = OrgViewSet) -> list[URLPattern]:
    """Below /api/v2. `orgs`: of organizations, where an app above adds to what can be said of one."""
    return [
        path("auth", AuthViewSet.as_view({"get": "describe"})),
        path("auth/sessions", AuthViewSet.as_view({"get": "sessions", "post": "login", "delete": "logout"})),
        path("auth/sessions/<str:sign_in>", AuthViewSet.as_view({"delete": "revoke"})),
        path("auth/tokens", TokenViewSet.as_view({"get": "list", "post": "create"})),
        path("auth/tokens/<str:token>", TokenViewSet.as_view({"get": "retrieve", "delete": "destroy"})),
        path("auth/password", AuthViewSet.as_view({"put": "password"})),
        path("auth/profile", AuthViewSet.as_view({"patch": "profile"})),
        path("auth/su", AuthViewSet.as_view({"post": "su", "delete": "su_end"})),
        path("auth/account", AuthViewSet.as_view({"delete": "delete_account"})),
        path("orgs", orgs.as_view({"get": "list", "post": "create"})),
        path("orgs/<str:org>", orgs.as_view({"get": "retrieve", "patch": "partial_update"})),
        path("orgs/<str:org>/transfer", orgs.as_view({"post": "transfer"})),
        path("orgs/<str:org>/members", MemberViewSet.as_view({"get": "list"})),
        path("orgs/<str:org>/members/<str:member>", MemberViewSet.as_view({"get": "retrieve", "delete": "destroy"})),
        path("orgs/<str:org>/teams", OrgTeamViewSet.as_view({"get": "list"})),
        *routes("users", UserViewSet),
        path("policies", PolicyViewSet.as_view({"get": "list"})),
        path("policies/explain", PolicyViewSet.as_view({"get": "explain"})),
        path("policies/who", PolicyViewSet.as_view({"get": "who"})),
        path("policies/verbs", PolicyViewSet.as_view({"get": "verbs"})),
        path("policies/preview", PolicyViewSet.as_view({"post": "preview"})),
        path("policies/<str:team>", PolicyViewSet.as_view({"get": "retrieve", "put": "update"})),
        *routes("teams", TeamViewSet),
        path("invitations/accept", InvitationViewSet.as_view({"post": "accept"})),
        *routes("invitations", InvitationViewSet),
        *routes("views", ViewViewSet),
        path("exports/<str:export>/file", ExportViewSet.as_view({"get": "file"})),
        *routes("exports", ExportViewSet),
        path("shares", ShareViewSet.as_view({"get": "shared", "post": "create"})),
    ]


pages = [path("invitations/<str:secret>", views.invitation, name="invitation")]
