"""Lists as files: exactly the query of the page."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from core import listing as lists
from core.api.events import events_file
from core.api.lists import csv_answer, file_answer, json_array
from frontend import listing, timeline
from frontend.rows import machine_queryset
from frontend.views.base import ConsoleView
from frontend.views.machines import MachineListView
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


class MachinesFileView(MachineListView):
    """The machines of a query: CSV, or one JSON array."""

    def get(self, request: HttpRequest, form: str) -> HttpResponseBase:
        asked = listing.query(self.asked, default="name")
        pages = lists.pages(machine_queryset("image"), self.actor, replace(asked, limit=lists.MOST))
        first = next(pages)  # a wrong query is refused before anything is sent
        shown = ([_machine(row) for row in page] for page in itertools.chain([first], pages))
        if form == "csv":
            return csv_answer(shown, MACHINE_COLUMNS, "machines")
        return file_answer(json_array(itertools.chain.from_iterable(shown)), "application/json", "machines.json")


class LogFileView(ConsoleView):
    """The events of a query in the page's span of time, oldest last: CSV, or JSON a line."""

    section = "log"

    def get(self, request: HttpRequest, form: str) -> HttpResponseBase:
        span = timeline.span(request.GET, self.actor.org_id)
        return events_file(self.actor, span.narrowed(listing.query(request.GET)), form)


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
