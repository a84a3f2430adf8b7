"""Asking the owners for access."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _

from clouds.providers.facts import Field
from core.actions import perform
from core.errors import Invalid, MistError
from frontend import forms
from frontend.views.base import ConsoleView, problem


class AccessView(ConsoleView):
    """GET: the form; `for` says what the page it comes from needs. POST: ask."""

    def field(self) -> Field:
        asked = _("What do you want to do, and for what? Nothing is given away by asking.")
        return Field(name="reason", label=_("What you need"), kind="textarea", required=True, help=asked)

    def get(self, request: HttpRequest) -> HttpResponse:
        return self.show(request.GET.get("for", "")[:500])

    def post(self, request: HttpRequest) -> HttpResponse:
        reason = request.POST.get("reason", "")
        try:
            return self.job_done(perform(self.actor, self.frame.membership, "ask", {"reason": reason}), self.back())
        except MistError as error:
            return self.show(reason, error)

    def show(self, reason: str, error: MistError | None = None) -> HttpResponse:
        wrong = error.fields if isinstance(error, Invalid) else None
        inside = self.in_dialog or self.is_htmx
        context = {
            "field": forms.bind((self.field(),), {"reason": reason}, wrong)[0],
            "names": ", ".join(owner.full_name for owner in self.frame.owners),
            "problem": problem(_("Nobody was asked."), error, (self.field(),)) if error else None,
            "next": self.back(),
        }
        return self.page("_access.html" if inside else "access.html", context, status=error.status if error else 200)
