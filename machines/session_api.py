"""Shells over HTTP: how one is opened, those there are, and their recordings."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.http import FileResponse
from django.urls import URLPattern, path
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from core.actions import allowed, perform
from core.api import RefField, ResourceViewSet, routes
from core.api.fields import ACTIONS, HexField
from core.api.lists import number, refuse_unknown
from core.api.schema import takes
from core.api.viewset import job_answer
from core.errors import BadRequest, Conflict
from core.models import Job
from machines.actions.shell import ShellParams
from machines.api import MachineViewSet
from machines.models import Session
from machines.shell import tickets
from machines.shell.recorder import path_of
from machines.shell.transcript import hits

HITS_MOST = 500


class OpenedSerializer(serializers.Serializer[Any]):
    """Where the socket is, as in the Location header: good once, for 30 s."""

    jobId = serializers.CharField()  # noqa: N815 - the contract's name
    action = serializers.CharField()
    state = serializers.CharField()
    session = serializers.CharField()
    location = serializers.CharField()


OPENED = {302: OpenApiResponse(OpenedSerializer, description="Connect to the WebSocket that Location names.")}


def opened(request: Any, job: Job, session: Session) -> dict[str, Any]:
    """What leads to the socket of an act that was done: its address with a new ticket."""
    there = request.build_absolute_uri(f"/ssh/{tickets.issue(job, session)}")
    return {"session": session.pk.hex, "location": there.replace("http", "ws", 1)}


def _found(request: Request, job: Job, session: Session) -> Response:
    facts = opened(request, job, session)
    answer = job_answer(job, **facts)
    return Response(answer, status=302, headers={"Location": facts["location"], "Cache-Control": "no-store"})


class MachineShellViewSet(MachineViewSet):
    """A shell on a machine."""

    lookup_url_kwarg = "machine"
    operation_ids = {"ssh": "ssh"}

    @extend_schema(request=ShellParams, responses=OPENED)
    def ssh(self, request: Request, **kwargs: Any) -> Response:
        """Open a shell: recorded, and held by the server until it is ended."""
        refuse_unknown(request, ())
        job = perform(self.actor, self.find(), "shell", self.body())
        assert job.result is not None
        return _found(request, job, Session.objects.get(pk=job.result["session"]))


class SessionSerializer(serializers.Serializer[Any]):
    """A shell, live or ended. Its name is its machine's."""

    id = HexField()
    name = serializers.CharField(read_only=True)
    machine = RefField()
    state = serializers.ChoiceField(choices=Session.State.choices, read_only=True)
    reason = serializers.CharField(read_only=True)
    tags = serializers.DictField(child=serializers.CharField(), read_only=True)
    owned_by = RefField(source="owner")
    via = serializers.CharField(read_only=True)
    transport = serializers.CharField(read_only=True)
    login = serializers.CharField(read_only=True)
    address = serializers.CharField(read_only=True)
    credential = serializers.CharField(read_only=True)
    width = serializers.IntegerField(source="cols", read_only=True)
    height = serializers.IntegerField(source="rows", read_only=True)
    created = serializers.DateTimeField(source="created_at", read_only=True)
    opened = serializers.DateTimeField(source="opened_at", read_only=True, allow_null=True)
    ended = serializers.DateTimeField(source="ended_at", read_only=True, allow_null=True)
    how = serializers.CharField(source="ended_code", read_only=True)
    how_detail = serializers.CharField(source="ended_detail", read_only=True)
    exit_status = serializers.IntegerField(read_only=True, allow_null=True)
    viewers = serializers.SerializerMethodField()
    bytes_in = serializers.IntegerField(read_only=True)
    bytes_out = serializers.IntegerField(read_only=True)
    commands = serializers.SerializerMethodField()
    command_count = serializers.IntegerField(read_only=True)
    recording = serializers.ChoiceField(choices=Session.Recording.choices, read_only=True)
    recorded_bytes = serializers.IntegerField(read_only=True)
    recorded_chunks = serializers.IntegerField(read_only=True)
    actions = serializers.SerializerMethodField()

    @extend_schema_field(
        {"type": "array", "items": {"type": "object", "properties": {"name": {"type": "string"}, "mode": {"type": "string"}}}}
    )
    def get_viewers(self, row: Session) -> list[dict[str, str]]:
        return [{"name": one["name"], "mode": one["mode"]} for one in row.viewers]

    @extend_schema_field(
        {"type": "array", "items": {"type": "object", "properties": {"at_s": {"type": "number"}, "text": {"type": "string"}}}}
    )
    def get_commands(self, row: Session) -> list[dict[str, Any]]:
        return [{"at_s": at, "text": text} for at, text in row.commands]

    @extend_schema_field(ACTIONS)
    def get_actions(self, row: Session) -> dict[str, Any]:
        return allowed(self.context["actor"], row)


Q = OpenApiParameter("q", {"type": "string", "pattern": "\\S", "maxLength": 200}, required=True, description="The text to find.")


class HitSerializer(serializers.Serializer[Any]):
    """A line of output that holds what was searched, and when it was shown (seconds from the beginning)."""

    at_s = serializers.FloatField()
    line = serializers.CharField()


class SessionViewSet(ResourceViewSet):
    """Shells, live and ended, and their recordings."""

    queryset = Session.objects.select_related("machine", "owner")
    serializer_class = SessionSerializer
    lookup_url_kwarg = "session"
    written = frozenset({"watch", "join", "replay"})
    operation_ids = {
        "list": "list_shell_sessions",
        "watch": "watch_session",
        "join": "join_session",
        "cast": "get_session_cast",
        "output": "search_session",
    }

    @extend_schema(request=None, responses=OPENED)
    def watch(self, request: Request, **kwargs: Any) -> Response:
        """Look at a shell that runs. Whoever is at it is told."""
        return self._socket(request, "watch")

    @extend_schema(request=None, responses=OPENED)
    def join(self, request: Request, **kwargs: Any) -> Response:
        """Type in a shell that runs: one's own again, or another's."""
        return self._socket(request, "join")

    def _socket(self, request: Request, verb: str) -> Response:
        refuse_unknown(request, ())
        session = self.find()
        return _found(request, perform(self.actor, session, verb, self.body()), session)

    @extend_schema(responses={(200, "application/x-asciicast"): OpenApiTypes.STR})
    def cast(self, request: Request, **kwargs: Any) -> FileResponse:
        """The recording, asciicast v2: a recorded act. Of a shell that runs, what there is so far."""
        refuse_unknown(request, ())
        session = self.find()
        return cast_response(session, recording_for(self.actor, session))

    cast.enveloped = False  # type: ignore[attr-defined]

    @takes(limit={"type": "integer", "minimum": 1, "maximum": HITS_MOST})
    @extend_schema(responses=HitSerializer(many=True), parameters=[Q])
    def output(self, request: Request, **kwargs: Any) -> Response:
        """Search in what it showed: lines that hold a text, whatever its case. A recorded act."""
        refuse_unknown(request, ("q", "limit"))
        session = self.find()
        text = request.query_params.get("q", "")
        if not text.strip() or len(text) > 200:
            raise BadRequest("`q` is the text to find, at most 200 characters.", code="bad_parameter")
        most = number(request.query_params.get("limit", ""), "limit", 100, HITS_MOST) or 1
        found = hits(recording_for(self.actor, session), text, most)
        return Response({"data": [{"at_s": at, "line": line} for at, line in found]})


def recording_for(actor: Any, session: Session) -> Path:
    """The file, after the act of reading it is on record.  Raises: Refused; Conflict: it is not here."""
    perform(actor, session, "replay")
    found = path_of(session.org_id, session.pk)
    if not found.exists():
        raise Conflict("The recording is not on this server. Its events in the audit log say what it was.", code="recording_missing")
    return found


def cast_response(session: Session, file: Path) -> FileResponse:
    """As a download, by a name that says what it is."""
    name = "".join(c if c.isalnum() or c in "-._" else "-" for c in session.name)[:60]
    response = FileResponse(_whole_lines(file), as_attachment=True, filename=f"{name}-{session.created_at:%Y%m%d-%H%M}.cast")
    response["Content-Type"], response["Cache-Control"] = "application/x-asciicast", "no-store"
    return response


def _whole_lines(file: Path) -> Iterator[bytes]:
    """The file as long as it is now, without a last line that is being written or was never ended."""
    left = os.stat(file).st_size
    with file.open("rb") as source:
        while left > 0 and (piece := source.read(min(left, 1 << 18))):
            left -= len(piece)
            if left <= 0:
                piece = piece[: piece.rfind(b"\n") + 1]
            yield piece


def api_routes() -> list[URLPattern]:
    """Below /api/v2."""
    return [
        path("machines/<str:machine>/actions/ssh", MachineShellViewSet.as_view({"post": "ssh"})),
        path("sessions/<str:session>/actions/watch", SessionViewSet.as_view({"post": "watch"})),
        path("sessions/<str:session>/actions/join", SessionViewSet.as_view({"post": "join"})),
        path("sessions/<str:session>/cast", SessionViewSet.as_view({"get": "cast"})),
        path("sessions/<str:session>/output", SessionViewSet.as_view({"get": "output"})),
        *routes("sessions", SessionViewSet),
    ]
