"""Lists as files: exactly the query of the page, with its columns. A short one at once, a long one by a job."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from django.http import HttpRequest, HttpResponse, QueryDict
from django.http.response import HttpResponseBase
from django.utils.translation import gettext as _

from accounts.export_api import file_answer as kept_file
from accounts.models import Export
from core import exports, listing
from core.api.lists import file_answer
from core.errors import MistError
from core.search import Term, Value
from frontend import listing as asked_for
from frontend import timeline, toasts
from frontend.columns import MACHINES
from frontend.eventcolumns import EVENTS
from frontend.grouping import narrowed
from frontend.templatetags.humanish import thousands
from frontend.views.base import ConsoleView
from frontend.views.holdings import HoldingView
from frontend.views.machines import MachineListView


class ListFile(ConsoleView):
    """GET sends the file, or, where it is long, a page that offers to have it made; POST has it made."""

    kind = ""
    default_sort = ""

    def parameters(self) -> QueryDict:
        return self.request.GET

    def query(self) -> listing.Query:
        """What the page asks, the cloud it is about as a term of its search.  Raises: BadRequest, BadSearch."""
        found = replace(asked_for.query(self.parameters(), default=self.default_sort, limit=listing.MOST), cursor="")
        if not found.cloud:
            return found
        term = Term("cloud", "=", (Value((found.cloud,)),))
        return replace(found, search=narrowed(found.search, term), cloud="")

    def columns(self) -> list[str]:
        """Those of the file; none: all."""
        return []

    def get(self, request: HttpRequest, form: str) -> HttpResponseBase:
        source, query = exports.sources()[self.kind], self.query()
        columns = source.chosen(self.columns())
        found = listing.rows(source.model.objects.all(), self.actor, query)
        _few, is_long = listing.count(found, asked_for.DIRECT)
        if is_long:
            return self.page("exports/ask.html", {"count": self.words(found), "name": f"{source.name}.{form}", "form": form})
        return file_answer(source.file(form, self.actor, query, columns), exports.FORMS[form], f"{source.name}.{form}")

    def post(self, request: HttpRequest, form: str) -> HttpResponse:
        query, columns = self.query(), self.columns()
        found = listing.rows(exports.sources()[self.kind].model.objects.all(), self.actor, query)
        asked: dict[str, Any] = {"kind": self.kind, "format": form, "search": query.search, "sort": query.sort, "columns": columns}
        if query.at is not None:
            asked["at"] = query.at.isoformat()
        try:
            job = self.perform(Export, "create", asked)
        except MistError as error:
            return self.failed(_("The file is not being made."), error)
        toast = toasts.of_job(job, self.frame.base)
        said = _("%(count)s rows: the file is being made") % {"count": self.words(found)}
        return self.done({**toast, "title": said}, "" if self.is_htmx else toast["link"])

    def words(self, found: Any) -> str:
        """How many rows; “about” where that is a guess."""
        count, guessed = listing.count(found)
        return _("about %(count)s") % {"count": thousands(round(count, -2))} if guessed else thousands(count)


class MachinesFileView(ListFile, MachineListView):
    """The machines of a query."""

    kind, default_sort = "machine", "name"

    def parameters(self) -> QueryDict:
        return self.asked

    def columns(self) -> list[str]:
        return MACHINES.filed(self.asked.get("cols", ""))


class LogFileView(ListFile):
    """The events of a query in the page's span of time, newest first."""

    section, kind = "log", "event"

    def query(self) -> listing.Query:
        return timeline.span(self.request.GET, self.actor.org_id).narrowed(super().query())

    def columns(self) -> list[str]:
        return EVENTS.filed(self.request.GET.get("cols", ""))


class HoldingFileView(ListFile, HoldingView):
    """The volumes, networks or images of a query."""

    @property
    def kind(self) -> str:  # type: ignore[override]
        return self.holding.model.kind()

    @property
    def default_sort(self) -> str:  # type: ignore[override]
        return self.holding.default_sort


class ExportFileView(ConsoleView):
    """A file that a job made: for the one who asked for it alone."""

    section = "jobs"

    def get(self, request: HttpRequest, identity: str) -> HttpResponseBase:
        return kept_file(self.actor, self.find(Export, identity))
