"""The machines list and its saved views."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _

from accounts.models import View
from core.actions import perform
from core.errors import MistError
from frontend import listing, toasts
from frontend.rows import machine_queryset, with_jobs
from frontend.views.base import ConsoleView

STARTING_VIEWS = (
    ("", _("All")),
    ("state:running", _("Running")),
    ("state:stopped", _("Stopped")),
    ("state:error,unknown", _("Failed or unknown")),
    ("ends<7d", _("Ends within 7 days")),
    ("owner:none", _("No owner")),
)


class MachinesView(ConsoleView):
    """The list. Its address is its state."""

    section = "machines"

    def get(self, request: HttpRequest) -> HttpResponse:
        began = time.perf_counter()
        page = listing.page(machine_queryset(), request.GET, self.actor, default="name")
        with_jobs(page.rows)
        context = {
            "page": page,
            "views": self.views(page),
            "save_view_url": f"{self.frame.base}/machines/views",
            "took_ms": round((time.perf_counter() - began) * 1000),
            "columns": COLUMNS,
        }
        return self.page("machines/list.html", context, status=400 if page.error else 200)

    def views(self, page: listing.Page) -> list[dict[str, Any]]:
        """The tabs: those everybody has, then the saved ones."""
        tabs: list[dict[str, Any]] = [{"q": q, "title": title, "current": q == page.q} for q, title in STARTING_VIEWS]
        for view in View.objects.visible_to(self.actor).filter(of_kind="machine").order_by("name")[:20]:
            pairs = {key: value for key, value in (("q", view.query), ("sort", view.sort)) if value}
            url = f"{self.frame.base}/machines?{urlencode(pairs)}"
            current = view.query == page.q and (not view.sort or view.sort == page.sort)
            tabs.append({"title": view.name, "url": url, "current": current, "mine": view.owner_id == self.actor.user_id, "view": view})
        seen = False
        for tab in reversed(tabs):  # of two that say the same the saved one is the current
            tab["current"], seen = tab["current"] and not seen, seen or tab["current"]
        return tabs


class SaveViewView(ConsoleView):
    """Keep the query of the list under a name; or forget one."""

    section = "machines"

    def post(self, request: HttpRequest) -> HttpResponse:
        data = request.POST
        query = {key: data[key] for key in ("q", "sort") if data.get(key)}
        to = f"{self.frame.base}/machines?{urlencode(query)}"
        try:
            if "delete" in data:
                perform(self.actor, self.find(View, data["delete"]), "delete")
                return self.done(toasts.note(_("View deleted")), f"{self.frame.base}/machines")
            asked = {"kind": "machine", "name": data.get("name", ""), "query": data.get("q", ""), "sort": data.get("sort", "")}
            perform(self.actor, View, "create", asked)
        except MistError as error:
            return self.failed(_("The view was not saved."), error, to)
        return self.done(toasts.note(_("View saved")), to)


COLUMNS = (
    ("name", _("Name"), "", ""),
    ("location", _("Location"), "w-160 p2", ""),
    ("size", _("Size"), "w-160 p2", ""),
    ("", _("Address"), "w-120 p1", ""),
    ("cost", _("Cost a month"), "w-100 p3", "n"),
    ("", _("Owner"), "w-100 p3", ""),
    ("", _("Tags"), "w-200 p3", ""),
    ("created", _("Age"), "w-70 p2", "n"),
)
