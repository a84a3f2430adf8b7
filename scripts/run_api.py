"""Runs over HTTP: their hosts, equal output, output from any place, following, stopping, trying again."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from uuid import UUID

from channels.db import DatabaseSyncToAsync
from django.db.models import Count, Min, QuerySet
from django.http import StreamingHttpResponse
from django.urls import URLPattern, path
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from core import jobs, rechecks
from core.actions import perform
from core.actor import Actor
from core.api import HexField, ReadViewSet, RefField, routes
from core.api.fields import JsonField
from core.api.lists import number, refuse_unknown
from core.api.schema import TEXT, takes
from core.api.viewset import JobAnswer, job_answer
from core.consumers import session_of
from core.errors import BadRequest, Conflict, NotFound, Refused
from scripts import output
from scripts.actions.run import retry_params
from scripts.models import Chunk, Run, RunHost

STREAMS = {output.STDOUT: "stdout", output.STDERR: "stderr"}
MOST_READ = 1 << 20
POLL_S = 0.3  # at most
SOON_S = 0.08  # the first look after something was said: more is likely to follow, or the end
LOOK_AGAIN_S = 5.0  # may who follows a run still look?
NATURAL = {"type": "integer", "minimum": 0}


class RunSerializer(serializers.Serializer[Any]):
    """A run."""

    id = HexField()
    job_id = HexField()
    name = serializers.CharField(read_only=True)
    script = RefField()
    version = serializers.IntegerField(source="version_number", read_only=True)
    exec_type = serializers.CharField(read_only=True)
    state = serializers.ChoiceField(choices=Run.State.choices, read_only=True)
    note = serializers.CharField(read_only=True)
    selector = JsonField()
    parameters = JsonField()
    arguments = serializers.ListField(child=serializers.CharField(), read_only=True)
    environment = JsonField()
    su = serializers.BooleanField(read_only=True)
    dry = serializers.BooleanField(read_only=True)
    timeout = serializers.IntegerField(source="timeout_s", read_only=True)
    concurrency = serializers.IntegerField(read_only=True)
    wave = serializers.CharField(read_only=True)
    stop_after = serializers.IntegerField(read_only=True, allow_null=True)
    retry_of = HexField(source="retry_of_id", allow_null=True)
    total = serializers.IntegerField(read_only=True)
    counts = serializers.DictField(child=serializers.IntegerField(), read_only=True)
    tags = serializers.DictField(child=serializers.CharField(), read_only=True)
    created_by = RefField()
    created = serializers.DateTimeField(source="created_at", read_only=True)
    started = serializers.DateTimeField(source="started_at", read_only=True, allow_null=True)
    finished = serializers.DateTimeField(source="finished_at", read_only=True, allow_null=True)


class HostSerializer(serializers.Serializer[Any]):
    """A run on one host."""

    id = HexField()
    machine = HexField(source="machine_id", allow_null=True)
    name = serializers.CharField()
    place = serializers.CharField()
    wave = serializers.IntegerField()
    state = serializers.ChoiceField(choices=RunHost.State.choices)
    exit = serializers.IntegerField(allow_null=True)
    code = serializers.CharField()
    detail = serializers.CharField()
    facts = JsonField()
    started = serializers.DateTimeField(source="started_at", allow_null=True)
    finished = serializers.DateTimeField(source="finished_at", allow_null=True)
    size = serializers.IntegerField()
    dropped = serializers.IntegerField()
    digest = serializers.CharField()
    last_line = serializers.CharField()


class GroupSerializer(serializers.Serializer[Any]):
    """Hosts that ended alike and said the same. `sample`: one of them."""

    state = serializers.ChoiceField(choices=RunHost.State.choices)
    exit = serializers.IntegerField(allow_null=True)
    code = serializers.CharField()
    digest = serializers.CharField()
    count = serializers.IntegerField()
    names = serializers.ListField(child=serializers.CharField())
    sample = serializers.CharField()
    last_line = serializers.CharField()


class SegmentSerializer(serializers.Serializer[Any]):
    """Bytes that came together. `ms`: since the run began on that host."""

    start = serializers.IntegerField()
    stream = serializers.ChoiceField(choices=list(STREAMS.values()))
    ms = serializers.IntegerField()
    text = serializers.CharField()


class OutputSerializer(serializers.Serializer[Any]):
    """Some of a host's output. `next`: where to read on."""

    start = serializers.IntegerField()
    next = serializers.IntegerField()
    size = serializers.IntegerField()
    dropped = serializers.IntegerField()
    segments = SegmentSerializer(many=True)


class FoundSerializer(serializers.Serializer[Any]):
    """A line that holds what was looked for."""

    host = HexField(source="host_id")
    name = serializers.CharField()
    start = serializers.IntegerField()
    line = serializers.CharField()


class FindAnswer(serializers.Serializer[Any]):
    """Lines, and whether all output was looked at."""

    complete = serializers.BooleanField()
    lines = FoundSerializer(many=True)


def groups(run: Run, by: str = "digest") -> list[dict[str, Any]]:
    """Its hosts by how they ended and what they said, the largest first. `by`: digest, or alike."""
    rows = (
        run.hosts.filter(state__in=RunHost.DONE)
        .order_by()
        .values("state", "exit", "code", by)
        .annotate(count=Count("pk"), sample=Min("name"))
        .order_by("-count", "state")[:200]
    )
    found = []
    for row in rows:
        same = run.hosts.filter(state=row["state"], exit=row["exit"], code=row["code"], **{by: row[by]}).order_by("name")
        few = list(same[:3])
        found.append(
            {**row, "digest": row[by], "names": [host.name for host in few], "sample": few[0].pk.hex, "last_line": few[0].last_line}
        )
    return found


class RunViewSet(ReadViewSet):
    """Runs of scripts."""

    queryset = Run.objects.select_related("script", "created_by", "job")
    serializer_class = RunSerializer
    answers = {"groups": GroupSerializer(many=True), "hosts": HostSerializer(many=True)}
    operation_ids = {
        "hosts": "list_run_hosts",
        "groups": "list_run_groups",
        "output": "get_run_output",
        "stream": "follow_run",
        "find_in": "find_in_run",
        "cancel": "cancel_run",
        "retry": "retry_run",
    }
    path_kinds = {"host": "run_host"}
    asks = frozenset({"retry"})

    def one(self) -> Run:
        run: Run = self.find()
        return run

    def host(self, run: Run) -> RunHost:
        """By id, or exact name.  Raises: NotFound."""
        text = self.kwargs["host"].replace("\0", "")
        try:
            found = list(run.hosts.filter(pk=UUID(text)))
        except ValueError:
            found = list(run.hosts.filter(name=text)[:2])
        if not found:
            raise NotFound
        if len(found) > 1:
            raise Conflict("Several have this name: use an id.", code="ambiguous_name", ids=[host.pk.hex for host in found])
        return found[0]

    @takes(state=TEXT, start=NATURAL, limit=NATURAL)
    @extend_schema(responses=HostSerializer(many=True))
    def hosts(self, request: Request, **kwargs: Any) -> Response:
        """Its hosts, in the order of waves and names. `state`: some, separated by commas."""
        refuse_unknown(request, ("state", "start", "limit"))
        given = request.query_params
        rows: QuerySet[RunHost] = self.one().hosts.order_by("wave", "name", "pk")
        if states := [s for s in given.get("state", "").split(",") if s]:
            if set(states) - set(RunHost.State.values):
                raise BadRequest(f"States are: {', '.join(RunHost.State.values)}.", code="bad_parameter")
            rows = rows.filter(state__in=states)
        start, limit = number(given.get("start", ""), "start", 0, 10**6), number(given.get("limit", ""), "limit", 1000, 10_000)
        return Response({"data": HostSerializer(rows[start : start + limit], many=True).data})

    @takes(alike={"type": "boolean", "default": False})
    @extend_schema(responses=GroupSerializer(many=True))
    def groups(self, request: Request, **kwargs: Any) -> Response:
        """Hosts with equal output. `alike`: names, addresses, times and numbers left out."""
        refuse_unknown(request, ("alike",))
        by = "alike" if request.query_params.get("alike", "").lower() in ("1", "true", "yes") else "digest"
        return Response({"data": GroupSerializer(groups(self.one(), by), many=True).data})

    @takes(start=NATURAL, limit=NATURAL, tail=NATURAL)
    @extend_schema(responses=OutputSerializer)
    def output(self, request: Request, **kwargs: Any) -> Response:
        """A host's output from byte `start` on, at most `limit` bytes; or its last `tail` bytes."""
        refuse_unknown(request, ("start", "limit", "tail"))
        given = request.query_params
        host = self.host(self.one())
        start = number(given.get("start", ""), "start", 0, 10**12)
        limit = number(given.get("limit", ""), "limit", 65536, MOST_READ)
        tail = number(given.get("tail", ""), "tail", 0, MOST_READ)
        found = output.last(host, tail) if tail else output.between(host, start, limit)
        begins = found[0].start if found else start
        data = {
            "start": begins,
            "next": found[-1].start + len(found[-1].data) if found else start,
            "size": host.size,
            "dropped": host.dropped,
            "segments": [{"start": s.start, "stream": STREAMS[s.stream], "ms": s.ms, "text": s.text} for s in found],
        }
        return Response({"data": data})

    @takes(text={"type": "string", "minLength": 1, "maxLength": 200})
    @extend_schema(responses=FindAnswer)
    def find_in(self, request: Request, **kwargs: Any) -> Response:
        """Lines of its hosts' output that hold `text`, whatever the case; at most 500."""
        refuse_unknown(request, ("text",))
        run, wanted = self.one(), request.query_params.get("text", "")
        if not 0 < len(wanted) <= 200:
            raise BadRequest("`text`: 1 to 200 characters.", code="bad_parameter")
        found, complete = output.find(run.pk, wanted)
        names = dict(run.hosts.filter(pk__in={f.host_id for f in found}).values_list("pk", "name"))
        lines = [{"host": f.host_id.hex, "name": names[f.host_id], "start": f.start, "line": f.line} for f in found]
        return Response({"data": {"complete": complete, "lines": lines}})

    @takes(after=NATURAL, follow={"type": "boolean", "default": True})
    @extend_schema(responses={(200, "application/x-ndjson"): OpenApiTypes.STR})
    def stream(self, request: Request, **kwargs: Any) -> StreamingHttpResponse:
        """All output from the beginning (or after chunk `after`), then what comes, a JSON object a line; ends with the run.

        `follow=false`: what there is, and the state it is in.
        """
        refuse_unknown(request, ("after", "follow"))
        follows = request.query_params.get("follow", "true").lower() not in ("0", "false", "no")
        after = number(request.query_params.get("after", ""), "after", 0, 10**15)
        run = self.one()
        looks = Onlooker(request, self.actor, run.pk)
        response = StreamingHttpResponse(follow(looks, after, follows=follows), content_type="application/x-ndjson")
        response["Cache-Control"] = "no-store"
        response["X-Accel-Buffering"] = "no"
        return response

    @extend_schema(request=None, responses=JobAnswer)
    def cancel(self, request: Request, **kwargs: Any) -> Response:
        """Stop it: nothing more begins, and what runs is ended on its host."""
        refuse_unknown(request, ())
        return Response(job_answer(jobs.cancel(self.actor, self.one().job)))

    @extend_schema(request=None, responses=JobAnswer)
    def retry(self, request: Request, **kwargs: Any) -> Response:
        """A new run, of the same version with the same values, on the hosts where it failed."""
        refuse_unknown(request, ())
        return Response(job_answer(again(self.actor, self.one())))


def again(actor: Any, run: Run) -> Any:
    """The job of a run that tries the failed hosts again.  Raises: Conflict, NotFound, Refused."""
    if run.is_active:
        raise Conflict("It is still running. Stop it, or wait.", code="run_active")
    if run.script is None:
        raise NotFound("The script was deleted.", code="target_gone")
    return perform(actor, run.script, "run", retry_params(run))


class Onlooker:
    """Who follows a run, asked again every few seconds whether they may: a stream lasts as long as its run."""

    def __init__(self, request: Any, actor: Actor, run_id: UUID) -> None:
        self.actor, self.run_id = actor, run_id
        self.session_key = session_of({"session": getattr(request, "session", None), "user": request.user}, actor)
        self._until = time.monotonic() + LOOK_AGAIN_S

    async def may(self) -> bool:
        """Still?"""
        if time.monotonic() < self._until:
            return True
        self._until = time.monotonic() + LOOK_AGAIN_S
        return await DatabaseSyncToAsync(self._may, thread_sensitive=False)()

    def _may(self) -> bool:
        (found,) = rechecks.again([rechecks.Held(actor=replace(self.actor, cache={}), session_key=self.session_key)])
        return not isinstance(found, Refused) and Run.objects.visible_to(found).filter(pk=self.run_id).exists()


async def follow(looks: Onlooker, after: int, *, follows: bool = True) -> AsyncIterator[bytes]:
    """Chunks as they are written, as lines of JSON; the run's end, or (`follows` not) its state now, is the last line.

    It breaks off, without that line, when who asked may look no more.
    """
    look, more = (DatabaseSyncToAsync(function, thread_sensitive=False) for function in (_state, _lines))
    pause, run_id = SOON_S, looks.run_id
    while await looks.may():
        state, counts = await look(run_id)
        while await looks.may():
            lines, after = await more(run_id, after)
            if not lines:
                break
            pause = SOON_S
            yield b"".join(lines)
        else:
            return
        if state not in Run.ACTIVE or not follows:
            yield json.dumps({"end": state, "counts": counts}).encode() + b"\n"
            return
        await asyncio.sleep(pause)
        pause = min(POLL_S, pause * 1.5)


def _state(run_id: UUID) -> tuple[str, dict[str, int]]:
    return Run.objects.values_list("state", "counts").filter(pk=run_id).first() or (Run.State.UNKNOWN, {})


def _lines(run_id: UUID, after: int) -> tuple[list[bytes], int]:
    """`after` of a line is the chunk before its own until that is told whole: who was cut off and asks from there on loses nothing."""
    lines = []
    for chunk in Chunk.objects.select_related("host").filter(run_id=run_id, pk__gt=after).order_by("pk")[:50]:
        host, found = {"host": chunk.host.name, "host_id": chunk.host_id.hex}, list(output.segments(chunk))
        for segment in found:
            told = chunk.pk if segment is found[-1] else after
            said = {
                **host,
                "stream": STREAMS[segment.stream],
                "ms": segment.ms,
                "start": segment.start,
                "text": segment.text,
                "after": told,
            }
            lines.append(json.dumps(said, ensure_ascii=False).encode() + b"\n")
        after = chunk.pk
    return lines, after


def api_routes() -> list[URLPattern]:
    """The paths of runs."""
    one = {"lookup_url_kwarg": "run"}
    gets = {"hosts": "hosts", "groups": "groups", "stream": "stream", "find": "find_in"}
    return [
        *routes("runs", RunViewSet),
        *(path(f"runs/<str:run>/{name}", RunViewSet.as_view({"get": method}, **one)) for name, method in gets.items()),
        *(path(f"runs/<str:run>/{name}", RunViewSet.as_view({"post": name}, **one)) for name in ("cancel", "retry")),
        path("runs/<str:run>/hosts/<str:host>/output", RunViewSet.as_view({"get": "output"}, **one)),
    ]
