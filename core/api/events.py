"""The audit log over HTTP: list, read, facets, histogram, export, verify."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from django.http import StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from core import chain, exports, listing, log
from core.actor import Actor
from core.api import lists
from core.api.fields import JsonField
from core.api.viewset import ReadViewSet
from core.errors import BadRequest
from core.models import Event

VERIFY_MOST = 20_000


class EventSerializer(serializers.Serializer[Any]):
    """A fact, and its place in the chain once it is sealed. `email`, `address`: null where there is none, or it was erased."""

    id = serializers.CharField()
    org = serializers.CharField(allow_null=True)
    sequence = serializers.IntegerField(allow_null=True)
    at = serializers.DateTimeField()
    type = serializers.CharField(help_text="<kind>.<verb>.<outcome>")
    outcome = serializers.CharField()
    actor = serializers.CharField(allow_null=True)
    email = serializers.CharField(allow_null=True)
    address = serializers.CharField(allow_null=True)
    su_by = serializers.CharField(allow_null=True)
    via = serializers.CharField()
    request = serializers.CharField()
    kind = serializers.CharField(allow_null=True)
    target = serializers.CharField(allow_null=True)
    target_name = serializers.CharField(allow_null=True)
    tags = JsonField()
    cloud = serializers.CharField(allow_null=True)
    job = serializers.CharField(allow_null=True)
    before = JsonField(allow_null=True)
    after = JsonField(allow_null=True)
    detail = JsonField()
    digest = serializers.CharField()
    hash = serializers.CharField(allow_null=True)


class FacetValue(serializers.Serializer[Any]):
    """One value and how often it was found."""

    value = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]
    count = serializers.IntegerField()


class Facets(serializers.Serializer[Any]):
    """Of the newest 20,000 found."""

    counted = serializers.IntegerField()
    is_partial = serializers.BooleanField()
    facets = serializers.DictField(child=FacetValue(many=True))


class Bin(serializers.Serializer[Any]):
    """One step of time."""

    at = serializers.DateTimeField()
    count = serializers.IntegerField()
    outcomes = serializers.DictField(child=serializers.IntegerField())


class Histogram(serializers.Serializer[Any]):
    """Events a step of time."""

    since = serializers.DateTimeField()
    until = serializers.DateTimeField()
    step_s = serializers.FloatField()
    bins = Bin(many=True)


class FindingSerializer(serializers.Serializer[Any]):
    """One thing that is not as it was sealed."""

    what = serializers.CharField()
    detail = serializers.CharField()
    sequence = serializers.IntegerField(allow_null=True)
    event = serializers.CharField(allow_null=True)


class Verified(serializers.Serializer[Any]):
    """What the newest part of the organization's chain was found to be."""

    ok = serializers.BooleanField()
    events = serializers.IntegerField()
    unsealed = serializers.IntegerField()
    sequence = serializers.IntegerField()
    hash = serializers.CharField()
    findings = FindingSerializer(many=True)


class JsonLinesRenderer(JSONRenderer):
    """Lets `Accept: application/x-ndjson` and `format=jsonl` through to the export; a refusal is told in JSON all the same."""

    media_type = "application/x-ndjson"
    format = "jsonl"


SEARCH = [OpenApiParameter("search", str), OpenApiParameter("cloud", {"type": "string", "x-kind": "cloud"})]


class EventViewSet(ReadViewSet):
    """The audit log. Live: `/ws/live` with kind `event`."""

    queryset = Event.objects.defer("words")
    serializer_class = EventSerializer
    lookup_url_kwarg = "event"
    renderer_classes = (*ReadViewSet.renderer_classes, JsonLinesRenderer)  # type: ignore[misc]

    def serialize(self, rows: list[Any], only: Collection[str] = ()) -> list[dict[str, Any]]:
        return [{k: v for k, v in row.items() if k in only} if only else row for row in log.shown(rows)]

    def _query(self, *extra: str) -> listing.Query:
        lists.refuse_unknown(self.request, ("search", "cloud", *extra))
        return lists.query_of(self.request, extra)

    @extend_schema(responses=EventSerializer)
    def list(self, request: Request, **kwargs: Any) -> Any:
        """Events, newest first."""
        return super().list(request, **kwargs)

    def csv(self, query: listing.Query) -> Any:
        return self._stream(query, "csv")

    @extend_schema(responses=EventSerializer)
    def retrieve(self, request: Request, **kwargs: Any) -> Response:
        """One event."""
        return super().retrieve(request, **kwargs)

    @extend_schema(responses=Facets, parameters=SEARCH, operation_id="count_events")
    def facets(self, request: Request, **kwargs: Any) -> Response:
        """What was found, counted by type, action, outcome, kind, via, actor and cloud."""
        return Response({"data": log.facets(self.actor, self._query())})

    @extend_schema(
        responses=Histogram,
        operation_id="get_event_histogram",
        parameters=[
            *SEARCH,
            OpenApiParameter("since", OpenApiTypes.DATETIME),
            OpenApiParameter("until", OpenApiTypes.DATETIME),
            OpenApiParameter("bins", int),
        ],
    )
    def histogram(self, request: Request, **kwargs: Any) -> Response:
        """Events a step of time, by outcome; by default of the last 24 hours in 60 steps."""
        query = self._query("since", "until", "bins")
        given = request.query_params
        since, until = (listing.parse_at(given[name]) if given.get(name) else None for name in ("since", "until"))
        bins = lists.number(given.get("bins", ""), "bins", 60, log.BINS_MAX)
        found = log.histogram(self.actor, query, since, until, bins)
        return Response({"data": found})

    @extend_schema(
        responses={(200, "application/x-ndjson"): OpenApiTypes.STR, (200, "text/csv"): OpenApiTypes.STR},
        operation_id="export_events",
        parameters=[*SEARCH, OpenApiParameter("format", str, enum=["jsonl", "csv"]), OpenApiParameter("columns", str)],
    )
    def export(self, request: Request, **kwargs: Any) -> Any:
        """All that was found, newest first: JSON lines, or CSV."""
        query = self._query("format", "columns")
        form = request.query_params.get("format") or "jsonl"
        if form not in ("jsonl", "csv"):
            raise BadRequest("`format` is jsonl or csv.", code="bad_parameter")
        return self._stream(query, form)

    export.enveloped = False  # type: ignore[attr-defined]

    @extend_schema(responses=Verified, operation_id="verify_events", parameters=[OpenApiParameter("last", int)])
    def verify(self, request: Request, **kwargs: Any) -> Response:
        """Read the newest events of the organization's chain again (`last`: how many); `manage.py verify-audit` reads all of it."""
        lists.refuse_unknown(request, ("last",))
        most = max(1, lists.number(request.query_params.get("last", ""), "last", 5000, VERIFY_MOST))
        report = chain.verify(self.actor.org_id, most=most)
        named = {f.event_id for f in report.findings if f.event_id}
        seen = set(Event.objects.visible_to(self.actor).filter(pk__in=named).values_list("pk", flat=True))
        findings = [
            {
                "what": f.what,
                "detail": f.detail if f.event_id is None or f.event_id in seen else "An event you may not see is not what it was.",
                "sequence": f.sequence,
                "event": f.event_id.hex if f.event_id in seen and f.event_id else None,
            }
            for f in report.findings
        ]
        data = {
            "ok": not findings,
            "events": report.events,
            "unsealed": report.unsealed,
            "sequence": report.sequence,
            "hash": report.hash.hex(),
            "findings": findings,
        }
        return Response({"data": data})

    def _stream(self, query: listing.Query, form: str) -> StreamingHttpResponse:
        asked = [c.strip() for c in self.request.query_params.get("columns", "").split(",") if c.strip()]
        return events_file(self.actor, query, form, asked)


def events_file(actor: Actor, query: listing.Query, form: str, columns: Sequence[str] = ()) -> StreamingHttpResponse:
    """All events a query finds, newest first. `form`: csv or jsonl.  Raises: BadRequest, BadSearch, before anything is sent."""
    pieces = log.SOURCE.file(form, actor, query, log.SOURCE.chosen(columns))
    return lists.file_answer(pieces, exports.FORMS[form], f"events.{form}")
