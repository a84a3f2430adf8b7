"""Lists as files: exactly the query of the page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from django.http import HttpRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase

from core import listing as lists
from core.api.lists import csv_answer
from core.events import canonical
from core.models import Event
from frontend import listing
from frontend.rows import machine_queryset
from frontend.views.base import ConsoleView
from machines.models import Machine

MACHINE_COLUMNS = [
    "id",
    "name",
    "state",
    "type",
    "cloud",
    "location",
    "size",
    "cores",
    "ram_mib",
    "disk_gib",
    "image",
    "public_ips",
    "private_ips",
    "hostname",
    "os_type",
    "owner",
    "cost_month",
    "currency",
    "created",
    "expires",
    "tags",
    "external_id",
    "missing_since",
]
EVENT_COLUMNS = ["at", "type", "actor", "via", "request", "target_kind", "target_id", "target_name", "job", "before", "after", "detail"]


class MachinesCsvView(ConsoleView):
    """The machines of a query."""

    section = "machines"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        asked = listing.query(request.GET, default="name")
        rows = lists.rows(machine_queryset().select_related("image"), self.actor, asked).order_by("name", "pk")
        return csv_answer((_machine(row) for row in rows.iterator(chunk_size=1000)), MACHINE_COLUMNS, "machines")


class LogFileView(ConsoleView):
    """The events of a query, oldest last: CSV, or JSON a line."""

    section = "log"

    def get(self, request: HttpRequest, form: str) -> HttpResponseBase:
        rows = lists.rows(Event.objects.all(), self.actor, listing.query(request.GET)).order_by("-at", "-pk")
        events = rows.iterator(chunk_size=1000)
        if form == "csv":
            return csv_answer((_event(event) for event in events), EVENT_COLUMNS, "events")

        def lines() -> Iterator[bytes]:
            for event in events:
                yield canonical(_event(event)) + b"\n"

        response = StreamingHttpResponse(lines(), content_type="application/x-ndjson")
        response["Content-Disposition"] = 'attachment; filename="events.jsonl"'
        return response


def _machine(row: Machine) -> Mapping[str, Any]:
    return {
        "id": row.pk.hex,
        "name": row.name,
        "state": row.state,
        "type": row.type,
        "cloud": row.cloud.name,
        "location": row.location.name if row.location else "",
        "size": row.size.name if row.size else "",
        "cores": row.cores,
        "ram_mib": row.ram_mib,
        "disk_gib": row.disk_gib,
        "image": row.image.name if row.image else "",
        "public_ips": row.public_ips,
        "private_ips": row.private_ips,
        "hostname": row.hostname,
        "os_type": row.os_type,
        "owner": row.owner.email if row.owner else "",
        "cost_month": row.cost_month,
        "currency": row.currency,
        "created": row.machine_created_at.isoformat() if row.machine_created_at else "",
        "expires": row.expires_at.isoformat() if row.expires_at else "",
        "tags": row.tags,
        "external_id": row.external_id,
        "missing_since": row.missing_since.isoformat() if row.missing_since else "",
    }


def _event(event: Event) -> dict[str, Any]:
    return {
        "at": event.at.isoformat(),
        "type": event.type,
        "actor": event.actor_id.hex if event.actor_id else "",
        "via": event.via,
        "request": event.request_id,
        "target_kind": event.target_kind,
        "target_id": event.target_id.hex if event.target_id else "",
        "target_name": event.target_name,
        "job": event.job_id.hex if event.job_id else "",
        "before": event.before or {},
        "after": event.after or {},
        "detail": event.detail,
    }
