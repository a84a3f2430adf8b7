"""The API's documentation, drawn by us from the document it serves."""

from __future__ import annotations

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse

from frontend import apidocs
from frontend.views.base import ConsoleView


class ApiDocsView(ConsoleView):
    """The operations of one noun, or those a search finds, each with its call as command, curl and Python."""

    section = "api/docs"

    def get(self, request: HttpRequest, noun: str = "machines") -> HttpResponse:
        nouns = apidocs.nouns()
        if noun not in dict(nouns):
            raise Http404
        docs, q = apidocs.Docs(self.actor, self.org), request.GET.get("q", "").strip()[:200]
        return self.page(
            "api/docs.html",
            {
                "nouns": nouns,
                "noun": "" if q else noun,
                "q": q,
                "operations": docs.found(q) if q else docs.of(noun),
                "url": f"{settings.MIST_PUBLIC_URL}/api/v2/",
            },
        )
