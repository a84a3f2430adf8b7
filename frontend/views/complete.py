"""What the query bar offers at the cursor: keys, and values with how many rows have them."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse

from core.search import complete, context_of, lookup_in
from core.sight import kinds
from frontend.views.base import ConsoleView

MOST = 12


class CompleteView(ConsoleView):
    """`kind` of the list, `q` as typed, `at` the cursor in it."""

    def get(self, request: HttpRequest) -> HttpResponse:
        model = kinds().get(request.GET.get("kind", "machine"))
        if model is None:
            raise Http404
        text, at = request.GET.get("q", ""), request.GET.get("at", "")
        context = context_of(self.actor)
        lookup = lookup_in(model.objects.visible_to(self.actor), model.search, context)
        cursor = int(at) if at.isascii() and at.isdigit() and len(at) < 6 else len(text)
        found = complete(text, cursor, model.search, context, lookup)
        response = self.page("components/completions.html", {"found": found[:MOST]})
        response["Cache-Control"] = "no-store"
        return response
