"""The addresses of the API, /api/v2."""

from __future__ import annotations

import hashlib
from functools import cache
from typing import Any

from django.urls import URLPattern, URLResolver, path
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.urls import api_routes as accounts_routes
from clouds.api import CloudViewSet, ImageViewSet, LocationViewSet, ProviderViewSet, SizeViewSet
from core import actions
from core.api import routes
from core.api.document import document
from core.api.events import EventViewSet
from core.api.jobs import ApprovalViewSet, BulkViewSet, JobViewSet, TagViewSet
from core.api.viewset import BaseViewSet
from keys.api import api_routes as keys_routes
from keys.secret_api import OrgWithVaultViewSet
from machines import session_api
from machines.api import MachineSnapshotViewSet, MachineViewSet, PresetViewSet, SnapshotViewSet
from networks.api import NetworkViewSet, SecurityGroupViewSet, SubnetViewSet
from scripts.api import api_routes as scripts_routes
from scripts.run_api import api_routes as runs_routes
from volumes.api import VolumeViewSet


class Root(BaseViewSet):
    """The collections there are. The whole contract, with every operation, is the OpenAPI document at `/api/v2/spec`."""

    schema = None  # it is no operation of the contract
    anonymous = frozenset({"list"})

    def list(self, request: Request) -> Response:
        """The address of each."""
        paths = (str(pattern.pattern) for pattern in urlpatterns if isinstance(pattern, URLPattern))
        names = sorted({path for path in paths if path and "<" not in path and "/" not in path})
        return Response({name: request.build_absolute_uri(f"/api/v2/{name}") for name in names})


class Spec(SpectacularAPIView):
    """The OpenAPI document. Its ETag is of what can be asked, so that a client that kept it asks again for nothing."""

    @extend_schema(exclude=True)
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """The document, or 304 for whoever has this one."""
        mark = f'"{fingerprint()}"'
        known = request.headers.get("If-None-Match", "").split(",")
        if mark in (one.strip().removeprefix("W/") for one in known):
            return Response(status=304, headers={"ETag": mark})
        return Response(document(), headers={"ETag": mark, "Content-Disposition": f'inline; filename="{self._get_filename(request, "")}"'})


@cache
def fingerprint() -> str:
    """Of the addresses, their methods, and the verbs with their params: cheap, where making the document takes seconds."""
    parts = [f"{pattern.pattern} {getattr(pattern.callback, 'actions', '')}" for pattern in urlpatterns if isinstance(pattern, URLPattern)]
    for verb, action in sorted(actions.all_actions().items()):
        parts.append(f"{verb} {action.tier} {action.bulk} {type(action).__doc__} {action.params()!r}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:20]


urlpatterns: list[URLPattern | URLResolver] = [
    path("", Root.as_view({"get": "list"})),
    *accounts_routes(OrgWithVaultViewSet),
    *keys_routes(),
    *routes("clouds", CloudViewSet),
    *routes("images", ImageViewSet),
    *routes("locations", LocationViewSet),
    *routes("sizes", SizeViewSet),
    path("machines/<str:machine>/rdp", MachineViewSet.as_view({"get": "rdp"}, lookup_url_kwarg="machine")),
    path("machines/<str:machine>/snapshots", MachineSnapshotViewSet.as_view({"get": "list", "post": "create"})),
    path("machines/<str:machine>/snapshots/<str:snapshot>", MachineSnapshotViewSet.as_view({"delete": "destroy", "post": "revert"})),
    *session_api.api_routes(),
    *routes("machines", MachineViewSet),
    *routes("presets", PresetViewSet),
    *routes("snapshots", SnapshotViewSet),
    *routes("networks", NetworkViewSet),
    *routes("subnets", SubnetViewSet),
    *routes("security-groups", SecurityGroupViewSet),
    *routes("volumes", VolumeViewSet),
    *scripts_routes(),
    *runs_routes(),
    path("jobs", JobViewSet.as_view({"get": "list"})),
    path("jobs/<str:job_id>", JobViewSet.as_view({"get": "retrieve"})),
    path("jobs/<str:job_id>/undo", JobViewSet.as_view({"post": "undo"})),
    path("jobs/<str:job_id>/cancel", JobViewSet.as_view({"post": "cancel"})),
    path("jobs/<str:job_id>/retry", JobViewSet.as_view({"post": "retry"})),
    path("approvals", ApprovalViewSet.as_view({"get": "list"})),
    path("approvals/<str:approval>", ApprovalViewSet.as_view({"get": "retrieve"})),
    *(path(f"approvals/<str:approval>/{name}", ApprovalViewSet.as_view({"post": name})) for name in ("approve", "decline")),
    path("events", EventViewSet.as_view({"get": "list"})),
    *(path(f"events/{name}", EventViewSet.as_view({"get": name})) for name in ("facets", "histogram", "export", "verify")),
    path("events/<str:event>", EventViewSet.as_view({"get": "retrieve"})),
    path("bulk", BulkViewSet.as_view({"post": "create"})),
    path("tags", TagViewSet.as_view({"get": "list", "post": "create"})),
    path("providers", ProviderViewSet.as_view({"get": "list"})),
    path("providers/<str:provider_name>", ProviderViewSet.as_view({"get": "retrieve"})),
    path("spec", Spec.as_view(authentication_classes=[], permission_classes=[]), name="spec"),
]
