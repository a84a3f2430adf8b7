"""A run: how far it is, who said the same, what each host said; stopping it, trying again, its output as a file."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import UUID

from channels.db import DatabaseSyncToAsync
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from core import guard, jobs
from core.api.lists import file_answer
from core.errors import MistError
from frontend import listing, runs, terminal
from frontend.views.base import ConsoleView
from scripts import output
from scripts.models import Chunk, Run, RunHost
from scripts.run_api import POLL_S, Onlooker, again, groups

VIEWS = ("hosts", "stream", "grouped")
STATES = (
    ("", gettext_lazy("All")),
    ("state:queued,running", gettext_lazy("Running")),
    ("state:failed,unknown", gettext_lazy("Failed")),
    ("owner:me", gettext_lazy("Mine")),
)
WHOLE = 256 << 10  # bytes of a host shown alone


class RunsView(ConsoleView):
    """All runs, newest first."""

    section = "scripts"

    def get(self, request: HttpRequest) -> HttpResponse:
        rows = Run.objects.select_related("script", "version", "created_by")
        page = listing.page(rows, request.GET, self.actor, default="-created")
        page.rows = [runs.with_head(run) for run in page.rows]
        views = [{"q": q, "title": title, "current": q == page.q} for q, title in STATES]
        return self.page("runs/list.html", {"page": page, "views": views}, status=400 if page.error else 200)


class OneRun(ConsoleView):
    """What the views of one run share."""

    section = "scripts"

    def run(self, identity: str) -> Run:
        found = runs.run_rows(self.actor, [self.find(Run, identity).pk])
        if not found:
            raise Http404
        return found[0]

    def host(self, run: Run, text: str) -> RunHost:
        try:
            found = run.hosts.filter(pk=UUID(text)).first()
        except ValueError:
            found = None
        if found is None:
            raise Http404
        return found


class RunView(OneRun):
    """The page. `view`: hosts, stream or grouped; `host`: one alone; `q`: lines that hold it; `group`: hosts of one output."""

    def get(self, request: HttpRequest, identity: str) -> HttpResponse:
        run = self.run(identity)
        view = request.GET.get("view", "hosts")
        view = view if view in VIEWS else "hosts"
        chosen, wanted, group = request.GET.get("host", ""), request.GET.get("q", "").strip()[:200], request.GET.get("group", "")
        runs.with_side(run, chosen)
        last = Chunk.objects.filter(run=run).order_by("-pk").values_list("pk", flat=True).first() or 0
        context: dict[str, Any] = {"run": run, "view": view, "q": wanted, "after": last, "can": self.can(run)}
        if wanted:
            found, complete = output.find(run.pk, wanted, most=300)
            names = dict(run.hosts.filter(pk__in={f.host_id for f in found}).values_list("pk", "name"))
            context |= {"hits": [(f.host_id.hex, names[f.host_id], f.line) for f in found], "complete": complete}
        elif chosen:
            context["panes"] = runs.with_output([self.host(run, chosen)], WHOLE)
            context["alone"] = True
        elif view == "stream":
            context["stream"], context["after"] = runs.one_stream(run)
        elif view == "grouped":
            context["panes"] = self.grouped(run)
        else:
            hosts = run.hosts.order_by("wave", "name")
            if group:
                hosts = hosts.filter(alike=group[:64])
            elif run.total > runs.PANES:
                hosts = run.hosts.annotate(first=runs.FIRST).order_by("first", "wave", "name")
            context["panes"] = runs.with_output(hosts[: runs.PANES])
            context["others"] = max(0, (hosts.count() if group else run.total) - runs.PANES)
        return self.page("runs/run.html", context)

    def can(self, run: Run) -> dict[str, bool]:
        """What this person may do with it now."""
        mine = run.created_by_id == self.actor.user_id
        return {
            "cancel": run.is_active and (mine or guard.permits(self.actor, run.job, "cancel")),
            "retry": not run.is_active and run.script is not None and guard.permits(self.actor, run.script, "run"),
        }

    def grouped(self, run: Run) -> list[RunHost]:
        """One host of each group, with how many said the same."""
        found = groups(run)[: 2 * runs.PANES]
        hosts = {host.pk.hex: host for host in runs.with_output(run.hosts.filter(pk__in=[UUID(g["sample"]) for g in found]))}
        panes = []
        for group in found:
            host: Any = hosts[group["sample"]]
            host.same, host.names = group["count"], group["names"]
            panes.append(host)
        return panes


class RunDoView(OneRun):
    """Stop it, or try again where it failed."""

    def post(self, request: HttpRequest, identity: str, verb: str) -> HttpResponse:
        run = self.run(identity)
        here = f"{self.frame.base}/runs/{run.pk.hex}"
        try:
            if verb == "stop":
                return self.job_done(jobs.cancel(self.actor, run.job), here)
            if verb == "retry":
                job = again(self.actor, run)
                return self.job_done(job, f"{self.frame.base}/runs/{job.pk.hex}")
        except MistError as error:
            return self.failed(_("Nothing was done to the run of %(name)s.") % {"name": run.name}, error, here)
        raise Http404


class RunOutputView(OneRun):
    """What all hosts said, or one, as a file."""

    def get(self, request: HttpRequest, identity: str) -> HttpResponseBase:
        run = self.run(identity)
        hosts = run.hosts.order_by("wave", "name")
        if "host" in request.GET:
            hosts = hosts.filter(pk=self.host(run, request.GET["host"]).pk)
        return file_answer(whole(hosts), "text/plain; charset=utf-8", f"run-{run.pk.hex}.txt")


def whole(hosts: Any) -> Iterator[bytes]:
    """Each host's name and end, then what it said; a query a piece, for nothing is held between two."""
    for pk, name, state, exit_, detail in list(hosts.values_list("pk", "name", "state", "exit", "detail")):
        yield f"===== {name}: {state}, {f'exit {exit_}' if exit_ is not None else detail}\n".encode()
        start = -1
        while chunk := Chunk.objects.filter(host_id=pk, start__gt=start).order_by("start").first():
            start = chunk.start
            yield b"".join(segment.data for segment in output.segments(chunk))
        yield b"\n"


class RunStreamView(OneRun):
    """Lines of JSON for the page: {"host", "html"} of what came after chunk `after`; `host`s: of these alone. Ends with the run."""

    def get(self, request: HttpRequest, identity: str) -> HttpResponseBase:
        run = self.run(identity)
        wanted = {self.host(run, text).pk for text in request.GET.get("host", "").split(",")[: 4 * runs.PANES] if text}
        after = request.GET.get("after", "0")
        looks = Onlooker(request, self.actor, run.pk)
        response = StreamingHttpResponse(follow(looks, int(after) if after.isdigit() else 0, wanted), content_type="application/x-ndjson")
        response["Cache-Control"] = "no-store"
        response["X-Accel-Buffering"] = "no"
        return response


async def follow(looks: Onlooker, after: int, wanted: set[UUID]) -> AsyncIterator[bytes]:
    """Until the run has ended and all of it is told, or who asked may look no more."""
    read = DatabaseSyncToAsync(_read, thread_sensitive=False)
    while await looks.may():
        pieces, after, is_over = await read(looks.run_id, after, wanted)
        for piece in pieces:
            yield json.dumps(piece, ensure_ascii=False).encode() + b"\n"
        if is_over and not pieces:
            return
        if not pieces:
            await asyncio.sleep(POLL_S)


def _read(run_id: UUID, after: int, wanted: set[UUID]) -> tuple[list[dict[str, Any]], int, bool]:
    is_over = not Run.objects.filter(pk=run_id, state__in=Run.ACTIVE).exists()
    rows = Chunk.objects.filter(run_id=run_id, pk__gt=after).select_related("host").order_by("pk")
    if wanted:
        rows = rows.filter(host_id__in=wanted)
    pieces = []
    for chunk in rows[:30]:
        after = chunk.pk
        pieces.append(
            {"host": chunk.host_id.hex, "name": chunk.host.name, "after": chunk.pk, "html": terminal.lines(output.segments(chunk))}
        )
    return pieces, after, is_over
