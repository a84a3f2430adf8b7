"""The command palette and the sheet of keys."""

from __future__ import annotations

from uuid import UUID

from django.http import HttpRequest, HttpResponse

from frontend.palette import Palette
from frontend.views.base import ConsoleView

CHOSEN = 1000  # rows of a selection that are looked at


class PaletteView(ConsoleView):
    """`q`: what is typed; `path`: the page it is typed on; `view`: the search of its list; `ids`: the rows chosen there; `more`: of
    an option, whose other acts are wanted. A page of its own without script."""

    def get(self, request: HttpRequest) -> HttpResponse:
        chosen = []
        for part in request.GET.get("ids", "").split(",")[:CHOSEN]:
            try:
                chosen.append(UUID(part))
            except ValueError:
                continue
        text = request.GET.get("q", "")
        entries = [entry for _title, some in self.frame.pages for entry in some]
        asked = {name: request.GET.get(name, "") for name in ("path", "view", "more")}
        found = Palette(self.actor, self.frame.base, text, pages=entries, chosen=chosen, **asked)
        template = "palette/_found.html" if self.is_htmx else "palette/page.html"
        response = self.page(template, {"sections": found.sections(), "text": text})
        response["Cache-Control"] = "no-store"
        return response


class ShortcutsView(ConsoleView):
    """The keys of this page, and how to search."""

    def get(self, request: HttpRequest) -> HttpResponse:
        pages = [entry for _title, some in self.frame.pages for entry in some if entry.key]
        inside = self.in_dialog or self.is_htmx
        return self.page("palette/_shortcuts.html" if inside else "palette/shortcuts.html", {"pages": pages})
