"""Drafts of long forms: the page sends what is being typed, and fills the form from it when one comes back within a day.

A page takes part with three things: `data-draft="{{ draft.url }}"` on its form, `self.draft(FORM)` where it is first shown, and
`drafts.drop(self.actor, FORM)` when the form was sent and did its work.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.http import HttpRequest, HttpResponse, QueryDict
from django.utils.translation import gettext as _

from accounts import drafts
from core.errors import Invalid
from frontend import toasts
from frontend.views.base import ConsoleView


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A form's draft on its page. `data` None: there is none."""

    url: str
    data: QueryDict | None = None
    at: datetime | None = None


class DraftedView(ConsoleView):
    """A page with a long form."""

    def draft(self, form: str) -> Shown:
        """What this person typed into it before, and where it is kept from now on."""
        kept = drafts.find(self.actor, form)
        url = f"{self.frame.base}/drafts/{form}"
        return Shown(url=url, data=QueryDict(kept.data), at=kept.at) if kept else Shown(url=url)


class DraftView(ConsoleView):
    """POST: keep what the form holds now. POST with `_discard`: forget it and show the form anew."""

    def post(self, request: HttpRequest, form: str) -> HttpResponse:
        if "_discard" in request.POST:
            drafts.drop(self.actor, form)
            return self.done(toasts.note(_("Draft discarded")), self.back())
        typed = request.POST.copy()
        typed.pop("csrfmiddlewaretoken", None)
        try:
            drafts.keep(self.actor, form, typed.urlencode())
        except Invalid as error:
            return HttpResponse(error.detail, status=error.status, content_type="text/plain; charset=utf-8")
        return HttpResponse(status=204)
