"""The machines list, one machine, and what is done to it."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import urlencode

from django.http import Http404, HttpRequest, HttpResponse
from django.utils.translation import gettext as _

from accounts.models import View
from core.actions import get, perform
from core.errors import Invalid, MistError
from core.models import Event, Job
from frontend import acts, forms, listing, toasts, words
from frontend.rows import event_rows, job_rows, machine_queryset, with_jobs
from frontend.views.base import ConsoleView, problem
from machines.models import Machine

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


class OneMachine(ConsoleView):
    """What the views of one machine share."""

    section = "machines"

    def machine(self, identity: str) -> Machine:
        found = self.find(Machine, identity)
        return with_jobs(list(machine_queryset().visible_to(self.actor).defer(None).filter(pk=found.pk)))[0]

    def show(self, machine: Machine, tab: str, context: dict[str, Any]) -> HttpResponse:
        acts.with_offers(self.actor, machine)
        return self.page(
            f"machines/{tab}.html",
            {
                "machine": machine,
                "tab": tab,
                "can_snapshot": bool(acts.offers(self.actor, machine, ("create_snapshot", "list_snapshots"))),
                **context,
            },
        )


class MachineView(OneMachine):
    """Overview: where it is, what it is, what happened to it."""

    def get(self, request: HttpRequest, identity: str) -> HttpResponse:
        machine = self.machine(identity)
        recent = Event.objects.visible_to(self.actor).filter(target_kind="machine", target_id=machine.pk).order_by("-at", "-id")[:8]
        jobs = job_rows(self.actor, Job.objects.filter(target_id=machine.pk).order_by("-created_at"), 5)
        return self.show(
            machine,
            "overview",
            {
                "recent": event_rows(list(recent)),
                "jobs": jobs,
                "keys": machine.key_associations.select_related("key").order_by("key__name"),
                "children": Machine.objects.visible_to(self.actor).filter(parent=machine).order_by("name")[:50],
            },
        )


class MachineEventsView(OneMachine):
    """Its audit log."""

    def get(self, request: HttpRequest, identity: str) -> HttpResponse:
        machine = self.machine(identity)
        rows = Event.objects.filter(target_kind="machine", target_id=machine.pk)
        page = listing.page(rows, request.GET, self.actor, default="-id")
        page.rows = event_rows(page.rows)
        return self.show(machine, "events", {"page": page})


class MachineSnapshotsView(OneMachine):
    """Its snapshots, as its cloud last said."""

    def get(self, request: HttpRequest, identity: str) -> HttpResponse:
        machine = self.machine(identity)
        offers = {
            o.name: o
            for o in acts.offers(self.actor, machine, ("create_snapshot", "remove_snapshot", "revert_to_snapshot", "list_snapshots"))
        }
        return self.show(machine, "snapshots", {"snapshots": machine.snapshots.order_by("-taken_at", "name"), "offers": offers})


class MachineKeysView(OneMachine):
    """Which keys open it."""

    def get(self, request: HttpRequest, identity: str) -> HttpResponse:
        machine = self.machine(identity)
        offers = {o.name: o for o in acts.offers(self.actor, machine, ("associate_key", "disassociate_key"))}
        associations = machine.key_associations.select_related("key").order_by("key__name", "user")
        return self.show(machine, "keys", {"associations": associations, "offers": offers})


class MachineMenuView(OneMachine):
    """The menu of a row, fetched when it is opened."""

    def get(self, request: HttpRequest, identity: str) -> HttpResponse:
        machine = self.machine(identity)
        groups = [acts.offers(self.actor, machine, names) for names in (acts.POWER, acts.CHANGE, acts.END)]
        return self.page("machines/_menu.html", {"machine": machine, "groups": [group for group in groups if group]})


class MachineActView(OneMachine):
    """GET: the form or question before a verb, as a page or in the dialog. POST: do it."""

    def get(self, request: HttpRequest, identity: str, verb: str) -> HttpResponse:
        machine = self.machine(identity)
        return self.form(machine, verb, values={key: value for key, value in request.GET.items() if key != "next"})

    def post(self, request: HttpRequest, identity: str, verb: str) -> HttpResponse:
        machine = self.machine(identity)
        action = get(f"machine.{verb}")
        typed = forms.read(acts.fields(self.actor, verb, machine), request.POST)
        if verb == "disassociate_key":
            typed = {key: request.POST[key] for key in ("key", "user") if request.POST.get(key)}
        if verb == "extend":
            typed = {"hours": request.POST.get("hours", "24")}
        if action.tier >= 2 and "confirm" in request.POST and request.POST["confirm"].strip() != machine.name:
            return self.form(machine, verb, values=typed, wrong_name=True, status=422)
        title = _("%(act)s was not done to %(name)s.") % {"act": words.act(action.verb).label, "name": machine.name}
        try:
            job = perform(self.actor, machine, verb, acts.params(verb, typed, machine))
        except Invalid as error:
            if verb not in acts._FIELDS:
                return self.failed(title, error, self.path(machine))
            return self.form(machine, verb, values=typed, error=error, status=422)
        except MistError as error:
            return self.failed(title, error, self.path(machine))
        gone = action.deletes
        return self.job_done(job, f"{self.frame.base}/machines" if gone else "")

    def path(self, machine: Machine) -> str:
        return f"{self.frame.base}/machines/{machine.pk.hex}"

    def form(
        self,
        machine: Machine,
        verb: str,
        *,
        values: dict[str, Any] | None = None,
        error: Invalid | None = None,
        wrong_name: bool = False,
        status: int = 200,
    ) -> HttpResponse:
        if verb not in acts.names_of(Machine):
            raise Http404
        action = get(f"machine.{verb}")
        if action.creates:
            raise Http404
        specs = acts.fields(self.actor, verb, machine)
        offered = acts.offers(self.actor, machine, (verb,))
        if not offered:
            raise Http404
        said = words.act(action.verb)
        context = {
            "machine": machine,
            "targets": [machine],
            "offer": offered[0],
            "title": f"{said.label} {machine.name}" + ("?" if action.tier and not specs else ""),
            "url": f"{self.path(machine)}/do/{verb}",
            "button": f"{said.label} {machine.name}" if len(machine.name) < 30 else said.label,
            "word": machine.name if action.tier >= 2 else "",
            "wrong_name": wrong_name,
            "undo_s": action.undo_s,
            "fields": forms.bind(specs, values, error.fields if error else None),
            "problem": problem(_("Nothing was changed."), error, specs) if error else None,
            "next": self.back() if self.request.method == "POST" else "",
        }
        inside = self.in_dialog or self.is_htmx
        return self.page("machines/_act.html" if inside else "machines/act.html", context, status=status)
