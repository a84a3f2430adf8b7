"""Volumes, networks and images: a list of each, a page of one."""

from __future__ import annotations

import json
import time
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.utils.translation import gettext as _

from clouds.models import Image
from core.actions import allowed, get, perform
from core.errors import MistError
from core.models import Event
from frontend import holdings, listing, toasts
from frontend.reasons import in_words
from frontend.rows import event_rows
from frontend.views.base import ConsoleView

RECENT = 10


class HoldingView(ConsoleView):
    """`path`: which kind, as in frontend.holdings."""

    path = ""

    @property
    def holding(self) -> holdings.Holding:
        return holdings.HOLDINGS[self.path]

    def setup(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        super().setup(request, *args, **kwargs)
        self.section = self.path


class HoldingsView(HoldingView):
    """The list. Its address is its state."""

    def get(self, request: HttpRequest) -> HttpResponse:
        began = time.perf_counter()
        holding = self.holding
        page = listing.page(holding.rows(), request.GET, self.actor, default=holding.default_sort, before=self.before)
        page.rows = holdings.ready(holding, self.actor, self.frame.base, page.rows)
        whole = bool(page.q) and not page.next_url and not page.previous_url
        how = {
            "kind": holding.model.kind(),
            "q": page.q,
            "cloud": request.GET.get("cloud", ""),
            "since": str(time.time_ns() // 10**6),
            "whole": "1" if whole else "",
        }
        context = {
            "page": page,
            "holding": holding,
            "columns": holding.columns,
            "how": json.dumps(how if not page.error else {}),
            "took_ms": round((time.perf_counter() - began) * 1000),
        }
        return self.page("inventory/list.html", context, status=400 if page.error else 200)


class OneHoldingView(HoldingView):
    """One of them: what it is, what belongs to it, what happened to it."""

    def row(self, identity: str) -> Any:
        found = self.find(self.holding.model, identity)
        row = self.holding.rows().get(pk=found.pk)
        return holdings.ready(self.holding, self.actor, self.frame.base, [row])[0]

    def get(self, request: HttpRequest, identity: str) -> HttpResponse:
        return self.show(self.row(identity))

    def post(self, request: HttpRequest, identity: str) -> HttpResponse:
        """Delete it, once its name was typed."""
        row = self.row(identity)
        if "delete" not in allowed(self.actor, row):
            raise Http404
        if not self.is_told and request.POST.get("confirm", "").strip() != row.name:
            return self.show(row, wrong_name=True)
        try:
            job = self.perform(row, "delete")
        except MistError as error:
            return self.failed(_("%(name)s was not deleted.") % {"name": row.name}, error, request.path)
        return self.job_done(job, request.path)

    def show(self, row: Any, *, wrong_name: bool = False) -> HttpResponse:
        verdict = allowed(self.actor, row).get("delete")
        events = Event.objects.visible_to(self.actor).filter(target_id=row.pk).order_by("-at", "-id")[:RECENT]
        context = {
            "row": row,
            "holding": self.holding,
            "facts": [(label, cell(row)) for label, cell in self.holding.facts],
            "parts": holdings.parts(self.actor, row) if self.path == "networks" else None,
            "events": event_rows(events),
            "may_delete": verdict is not None,
            "why_not": "" if verdict in (True, None) else in_words(str(verdict)),
            "undo_s": get(f"{row.kind()}.delete").undo_s if verdict else 0,
            "wrong_name": wrong_name,
        }
        return self.page("inventory/one.html", context, status=422 if wrong_name else 200)


class StarView(ConsoleView):
    """Offer an image first, or no longer."""

    section = "images"

    def post(self, request: HttpRequest, identity: str) -> HttpResponse:
        image = self.find(Image, identity)
        starred = request.POST.get("starred", "1") == "1"
        try:
            perform(self.actor, image, "star", {"starred": starred})
        except MistError as error:
            return self.failed(_("%(name)s was not changed.") % {"name": image.name}, error)
        said = _("%(name)s is offered first") if starred else _("%(name)s is offered like any other")
        return self.done(toasts.note(said % {"name": image.name}))
