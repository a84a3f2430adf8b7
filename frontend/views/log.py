"""The audit log."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse

from core.models import Event
from frontend import listing
from frontend.rows import event_rows
from frontend.views.base import ConsoleView

OUTCOMES = ("succeeded", "failed", "refused", "requested", "observed")
KINDS = ("machine", "cloud", "key", "team", "user", "token", "policy")


class LogView(ConsoleView):
    """Every act, refusal and change, newest first."""

    section = "log"

    def get(self, request: HttpRequest) -> HttpResponse:
        page = listing.page(Event.objects.all(), request.GET, self.actor, default="-id")
        page.rows = event_rows(page.rows)
        facets = [
            {"title": key, "items": [{"value": v, "on": f"{key}:{v}" in page.q.split()} for v in values]}
            for key, values in (("outcome", OUTCOMES), ("kind", KINDS))
        ]
        for facet in facets:
            for item in facet["items"]:
                term = f"{facet['title']}:{item['value']}"
                words = [word for word in page.q.split() if word != term and not (word.startswith(f"{facet['title']}:"))]
                item["q"] = " ".join(words if item["on"] else [*words, term])
        return self.page("log/list.html", {"page": page, "facets": facets}, status=400 if page.error else 200)
