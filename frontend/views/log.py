"""The audit log."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect

from frontend import listing, timeline
from frontend.eventcolumns import EVENTS
from frontend.facets import facets
from frontend.rows import event_rows, times_of, with_story
from frontend.views.base import ConsoleView


class LogView(ConsoleView):
    """Every act, refusal and change, newest first: how many when, what of, by whom; new ones come in on top."""

    section = "log"

    def get(self, request: HttpRequest) -> HttpResponse:
        if "col" in request.GET:
            return HttpResponseRedirect(EVENTS.address(request))
        cols = request.GET.get("cols", "")
        span = timeline.span(request.GET, self.actor.org_id)
        page = listing.page(span.rows(), request.GET, self.actor, default="-id")
        page.rows = with_story(self.actor, event_rows(page.rows), self.frame.base)
        query = listing.query(request.GET)
        if page.error:
            query = replace(query, search="")
        context: dict[str, Any] = {
            "page": page,
            "columns": EVENTS.chosen(cols),
            "cols": cols,
            "offered": EVENTS.offered(cols, page.rows),
            "span": span,
            "presets": [(name, label) for name, (label, _words, _length) in timeline.PRESETS.items()],
            "bars": timeline.bars(self.actor, query, span),
            "facets": facets(self.actor, query, span),
            "tails": span.last is None and not page.previous_url and not page.error,
            **times_of(page.rows),
        }
        if context["tails"]:
            context |= timeline.tail(self.actor)
        return self.page("log/list.html", context, status=400 if page.error else 200)
