"""The machines list and its saved views. Its address is its state: ?view= &q= &sort= &cols= &group= &cloud= &at= &cursor=."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from functools import cached_property
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.db.models import Q, QuerySet, Sum
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse, QueryDict
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.models import View
from accounts.statements import policy_of
from core import guard
from core import listing as lists
from core.actions import perform
from core.errors import BadRequest, BadSearch, MistError
from core.search import Term, Value
from frontend import grouping, listing, toasts
from frontend.columns import MACHINES, currency_of, related, under_one_sign
from frontend.rows import machine_queryset, on_top, with_inside, with_jobs, with_now
from frontend.sparks import with_series
from frontend.templatetags.humanish import money, thousands
from frontend.views.base import ConsoleView
from machines.models import Machine

STARTING_VIEWS = (
    ("", gettext_lazy("All")),
    ("state:running", gettext_lazy("Running")),
    ("state:stopped", gettext_lazy("Stopped")),
    ("state:error,unknown", gettext_lazy("Failed or unknown")),
    ("ends<7d", gettext_lazy("Ends within 7 days")),
    ("owner:none", gettext_lazy("No owner")),
)
SAVED = 20  # views that are tabs
STATE = ("q", "sort", "cols", "group")  # what a view keeps, as in an address


class MachineListView(ConsoleView):
    """What the list, its counts and its exports share: the view that is open, and what is asked."""

    section = "machines"

    @cached_property
    def saved(self) -> list[View]:
        """One's own and those that are shared: an owner may read everybody's, and has no tab of each."""
        mine = Q(owner_id=self.actor.user_id) | View.shared_q(policy_of(self.actor).team_ids)
        return list(View.objects.visible_to(self.actor).filter(mine, of_kind="machine").order_by("name")[:SAVED])

    @cached_property
    def open_view(self) -> View | None:
        """The saved view of ?view=.  Raises: Http404: there is none."""
        wanted = self.request.GET.get("view", "")
        if not wanted:
            return None
        found = next((view for view in self.saved if view.pk.hex == wanted), None)
        return found or self.find(View, wanted)

    @cached_property
    def asked(self) -> QueryDict:
        """The parameters, with what the open view says where the address does not."""
        params = self.request.GET.copy()
        if self.open_view is not None:
            for key, value in kept(self.open_view).items():
                params.setdefault(key, value)
        return params

    @property
    def is_changed(self) -> bool:
        """Is the open view shown otherwise than it was saved?"""
        return self.open_view is not None and any(self.request.GET.get(key, value) != value for key, value in kept(self.open_view).items())


def kept(view: View) -> dict[str, str]:
    """A saved view as parameters of an address."""
    return {"q": view.query, "sort": view.sort, "cols": MACHINES.written(view.columns) if view.columns else "", "group": view.grouping}


class MachinesView(MachineListView):
    """The list."""

    def get(self, request: HttpRequest) -> HttpResponse:
        if "col" in request.GET:
            return HttpResponseRedirect(MACHINES.address(request))
        if not request.GET and (default := next((view for view in self.saved if view.is_default and self.is_mine(view)), None)):
            return HttpResponseRedirect(f"{request.path}?view={default.pk.hex}")
        began = time.perf_counter()
        asked, cols = self.asked, self.asked.get("cols", "")
        shown = MACHINES.chosen(cols)
        by = asked.get("group", "") if grouping.title(asked.get("group", "")) else ""
        nested = not (asked.get("q", "").strip() or by or asked.get("at"))
        rows = machine_queryset(*related(shown), *(("image",) if by == "image" else ()))
        if nested:
            rows = rows.filter(on_top(self.actor))
        page = listing.page(rows, asked, self.actor, default="name", before=self.before)
        found = lists.rows(Machine.objects.all(), self.actor, listing.query(asked)) if not page.error else Machine.objects.none()
        if nested and not page.error:
            counted = page.is_estimate and not asked.get("cloud")
            page.total = self.frame.machine_count if counted else found.count()  # those inside others too
            page.is_estimate = False
        groups = grouping.groups(found, by, page.q) if by and page.rows else []
        if groups and not page.next_url and not page.previous_url:
            grouping.distribute(groups, by, page.rows)
        drawn = [] if groups and page.next_url else page.rows
        with_series(self.actor, with_jobs(drawn), shown if page.at is None else [])
        if nested:
            with_inside(self.actor, drawn)
        if page.at is not None:
            with_now(self.actor, drawn, related(shown))
        currency = currency_of(page.rows)
        context = {
            "page": page,
            "views": self.tabs(page),
            "open_view": self.open_view,
            "is_mine": self.open_view is not None and self.is_mine(self.open_view),
            "is_changed": self.is_changed,
            "state": {key: asked.get(key, "") for key in STATE},
            "save_view_url": f"{self.frame.base}/machines/views",
            "teams": policy_of(self.actor).team_names[:20],
            "may_share": guard.permits(self.actor, View(org=self.org, owner=self.frame.user), "share"),
            "columns": under_one_sign(shown, currency),
            "cols": cols,
            "currency": currency,
            "groups": groups,
            "group_title": grouping.title(by),
            "groupings": self.groupings(page.rows, by),
            "then": page.at,
            "how": json.dumps(
                self.how(page, cols, whole=bool(page.q) and drawn is page.rows) | {"nested": "1" if nested else "", "currency": currency}
            ),
            "whole_q": self.whole_q(page),
            "offered": MACHINES.offered(cols, page.rows),
            "sums": [] if page.total > lists.EXACT_TO or page.error else sums(found),  # of more it is told afterwards
            "filters": self.filters(page),
            "took_ms": round((time.perf_counter() - began) * 1000),
        }
        return self.page("machines/list.html", context, status=400 if page.error else 200)

    def how(self, page: listing.Page, cols: str, *, whole: bool) -> dict[str, str]:
        """What the socket is told of this list: see frontend.news.count. Of the past: nothing new comes to it."""
        if page.at is not None or page.error:
            return {"cols": cols}
        whole = whole and not page.next_url and not page.previous_url
        cloud = self.asked.get("cloud", "")
        return {
            "cols": cols,
            "kind": "machine",
            "q": page.q,
            "cloud": cloud,
            "since": str(time.time_ns() // 10**6),
            "whole": "1" if whole else "",
        }

    def whole_q(self, page: listing.Page) -> str:
        """The query that finds what the list does, its scope too: what “select all” acts on."""
        if page.error or not self.frame.scope:
            return page.q
        return grouping.narrowed(page.q, Term("cloud", "=", (Value((self.frame.scope.pk.hex,)),)))

    def groupings(self, rows: Iterable[Machine], by: str) -> list[tuple[str, str]]:
        """(key, title) of what the list can be grouped by: the tags are those of the rows shown."""
        tags = sorted({f"tag:{key}" for row in rows for key in row.tags or {}} | ({by} if by.startswith("tag:") else set()))
        return [(key, title) for key in (*grouping.KEYS, *tags) if (title := grouping.title(key))]

    def is_mine(self, view: View) -> bool:
        return view.owner_id == self.actor.user_id

    def tabs(self, page: listing.Page) -> list[dict[str, Any]]:
        """Those everybody has, then the saved ones. `key`: by which its count is told."""
        here = f"{self.frame.base}/machines"
        tabs: list[dict[str, Any]] = []
        for number, (query, title) in enumerate(STARTING_VIEWS):
            current = self.open_view is None and query == page.q
            tabs.append({"key": f"s{number}", "title": title, "url": f"{here}?{urlencode({'q': query})}", "current": current})
        tabs[0]["count"] = self.frame.machine_count
        for view in self.saved:
            tabs.append(
                {
                    "key": view.pk.hex,
                    "title": view.name,
                    "url": f"{here}?view={view.pk.hex}",
                    "current": view == self.open_view,
                    "saved": True,
                    "default": view.is_default and self.is_mine(view),
                }
            )
        if self.open_view is not None and self.open_view not in self.saved:
            tabs.append({"key": self.open_view.pk.hex, "title": self.open_view.name, "url": "", "current": True, "saved": True})
        return tabs

    def filters(self, page: listing.Page) -> list[dict[str, Any]]:
        """Terms that a click puts into the query, or takes out of it."""
        groups = (
            (_("State"), [(f"state:{value}", title) for value, title in FILTERED_STATES]),
            (_("Cloud"), [(f"cloud:{_quoted(cloud.name)}", cloud.name) for cloud in self.frame.clouds[:8]]),
            (_("Other"), [(term, title) for term, title in FILTERS]),
        )
        found = []
        for heading, terms in groups:
            items = []
            for term, title in terms:
                on = f" {term} " in f" {page.q} "
                rest = f" {page.q} ".replace(f" {term} ", " ").strip()
                items.append({"title": title, "term": term, "on": on, "q": rest if on else f"{rest} {term}".strip()})
            found.append({"title": heading, "items": items})
        return found


FILTERED_STATES = (
    ("running", gettext_lazy("Running")),
    ("stopped", gettext_lazy("Stopped")),
    ("suspended", gettext_lazy("Suspended")),
    ("error", gettext_lazy("Error")),
    ("unknown", gettext_lazy("Unknown")),
)
FILTERS = (
    ("owner:me", gettext_lazy("Mine")),
    ("owner:none", gettext_lazy("No owner")),
    ("tag:none", gettext_lazy("No tags")),
    ("ends<7d", gettext_lazy("Ends within 7 days")),
    ("age<1d", gettext_lazy("Made within a day")),
    ("missing:yes", gettext_lazy("Gone from its cloud")),
)


def _quoted(name: str) -> str:
    return f'"{name.replace(chr(92), chr(92) * 2).replace(chr(34), chr(92) + chr(34))}"'


def sums(rows: QuerySet[Any]) -> list[str]:
    """What these cost a month, a currency each; what costs nothing known is left out."""
    found = rows.filter(cost_month__isnull=False).order_by().values_list("currency").annotate(total=Sum("cost_month"))
    return [money(total, currency).replace(".00", "") for currency, total in sorted((c, round(t)) for c, t in found) if total]


class MachineRowsView(MachineListView):
    """The rows of a group or of a host, for a list that is open."""

    def get(self, request: HttpRequest) -> HttpResponse:
        cols = self.asked.get("cols", "")
        shown = MACHINES.chosen(cols)
        page = listing.page(machine_queryset(*related(shown)), self.asked, self.actor, default="name")
        if page.error:
            raise page.error
        with_series(self.actor, with_jobs(page.rows), shown if page.at is None else [])
        for row in page.rows:
            row.under = row.parent_id if "under" in request.GET else None
        if page.at is not None:
            with_now(self.actor, page.rows, related(shown))
        currency = request.GET.get("currency", "")[:3]
        context = {
            "page": page,
            "columns": under_one_sign(shown, currency),
            "cols": cols,
            "currency": currency,
            "then": page.at,
            "under": request.GET.get("under", "")[:40],
        }
        response = self.page("machines/_rows.html", context)
        response["Cache-Control"] = "no-store"
        return response


class MachineCountsView(MachineListView):
    """How many machines each tab has, and what those of this query cost: told after the page, and again as things change."""

    def get(self, request: HttpRequest) -> HttpResponse:
        cloud = request.GET.get("cloud", "")
        queries = {f"s{number}": query for number, (query, _title) in enumerate(STARTING_VIEWS)}
        queries |= {view.pk.hex: view.query for view in self.saved}
        counts: dict[str, str] = {}
        for key, query in queries.items():
            try:
                n, more = lists.count(lists.rows(Machine.objects.all(), self.actor, lists.Query(search=query, cloud=cloud)))
            except MistError:  # a view of a key or cloud that is there no more
                continue
            counts[key] = f"{thousands(lists.EXACT_TO)}+" if more and query else thousands(n)
        counts["s0"] = thousands(lists.rows(Machine.objects.all(), self.actor, lists.Query(cloud=cloud)).count())
        costs: list[str] = []
        try:
            costs = sums(lists.rows(Machine.objects.all(), self.actor, listing.query(self.asked)))
        except (BadSearch, BadRequest):
            pass
        response = JsonResponse({"counts": counts, "cost": " + ".join(costs)})
        response["Cache-Control"] = "no-store"
        return response


class OpenViewView(ConsoleView):
    """A saved view by its own address."""

    section = "machines"

    def get(self, request: HttpRequest, identity: str) -> HttpResponse:
        view = self.find(View, identity)
        if view.of_kind != "machine":
            raise Http404
        return HttpResponseRedirect(f"{self.frame.base}/machines?view={view.pk.hex}")


class SaveViewView(ConsoleView):
    """Keep what the list shows under a name, or in the open view; make that the first one opens; forget it."""

    section = "machines"

    def post(self, request: HttpRequest) -> HttpResponse:
        data = request.POST
        here = f"{self.frame.base}/machines"
        back = f"{here}?{urlencode({key: data[key] for key in ('view', *STATE) if data.get(key)})}"
        asked: dict[str, Any] = {
            "query": data.get("q", ""),
            "sort": data.get("sort", ""),
            "columns": list(MACHINES.keys(data.get("cols", ""))),
            "grouping": data.get("group", ""),
        }
        try:
            if "delete" in data:
                perform(self.actor, self.find(View, data["delete"]), "delete")
                return self.done(toasts.note(_("View deleted")), f"{here}?q=")
            if "default" in data:
                view = self.find(View, data["default"])
                perform(self.actor, view, "edit", {"is_default": not view.is_default})
                said = _("Machines open with all again") if view.is_default else _("Machines open with this view now")
                return self.done(toasts.note(said), back)
            if "save" in data:
                view = self.find(View, data["save"])
                perform(self.actor, view, "edit", asked)
                return self.done(toasts.note(_("View saved")), f"{here}?view={view.pk.hex}")
            made = perform(
                self.actor, View, "create", {"kind": "machine", "name": data.get("name", ""), **asked, **_shared(data.get("for", ""))}
            )
        except MistError as error:
            return self.failed(_("The view was not saved."), error, back)
        return self.done(toasts.note(_("View saved")), f"{here}?view={UUID(str(made.target_id)).hex}")


def _shared(whom: str) -> dict[str, Any]:
    """`for` of the form: "" is oneself, "org" everybody, else the id of a team."""
    if whom in ("", "org"):
        return {"visibility": whom or "private"}
    return {"visibility": "team", "team": whom}
