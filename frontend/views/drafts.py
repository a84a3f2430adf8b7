"""Drafts of long forms: the page sends what is being typed, and fills the form from it when one comes back within a day.

A page takes part with: its form in FORMS; `self.draft(…)` where it is shown, `self.sent(…)` when it did its work; in its template
`data-draft="{{ draft.url }}"` on the form, components/draft.html and components/draft_saved.html. The form of an edit holds `based_on`,
the version it began with, so that a draft knows when it is older than what is saved; and every one its `_page`, so that a save on its
way while the form is sent does not bring back what was used.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.utils.translation import gettext as _

from accounts import drafts
from accounts.models import Team
from clouds.providers import all_providers
from core.errors import Conflict, Invalid
from frontend import forms, toasts
from frontend.views.base import ConsoleView
from scripts.content import MOST_FILE_BYTES
from scripts.models import Script

MACHINE, NEW_SCRIPT, SCRIPT, POLICY, CLOUD = "machine.create", "script.create", "script.edit", "team.set_policy", "cloud.create"
A_SCRIPT = 3 * MOST_FILE_BYTES + drafts.MAX_CHARACTERS  # a byte is three characters in an address at most; and what stands beside it


def _of_cloud(data: QueryDict, provider: str) -> QueryDict:
    """Of the form of a new cloud what is known to be no secret, and nothing else."""
    found = all_providers().get(provider)
    if found is None:
        raise Http404
    kept = forms.without_secrets((forms.NAME,), data)
    kept.update(forms.without_secrets(found.credential_fields, data, "c-"))
    return kept


@dataclass(frozen=True, kw_only=True)
class Long:
    """A form whose draft is kept. `of`: each of its drafts is of one of these, by id. `keeps`: what is kept of what was typed, by the
    name after `:`."""

    of: type[Any] | None = None
    most: int = drafts.MAX_CHARACTERS
    keeps: Callable[[QueryDict, str], QueryDict] | None = None


FORMS = {
    MACHINE: Long(),
    NEW_SCRIPT: Long(most=A_SCRIPT),
    SCRIPT: Long(of=Script, most=A_SCRIPT),
    POLICY: Long(of=Team),
    CLOUD: Long(keeps=_of_cloud),
}


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A form's draft on its page. `data` None: there is none in the form. `is_old`: what it is of was changed since. `is_aside`: something
    else is shown in its place, and what is typed there is no draft: what is saved or, with `begins`, what was asked to begin from.
    `omits`: the form has secrets. `page`: which page the form is on."""

    url: str
    page: str
    data: QueryDict | None = None
    at: datetime | None = None
    is_old: bool = False
    is_aside: bool = False
    begins: bool = False
    omits: bool = False


def _page(request: HttpRequest) -> str:
    return request.POST.get("_page", "")[:32].replace("\x00", "")


class DraftedView(ConsoleView):
    """A page with a long form."""

    def draft(self, form: str, of: str = "", *, based_on: str = "", omits: bool = False, begins: bool = False) -> Shown:
        """What this person typed into it before, and where it is kept from now on. `based_on`: the version an edit would begin with now;
        `begins`: it was asked to begin from something else, and whether the draft stays is asked."""
        name = f"{form}:{of}" if of else form
        url = f"{self.frame.base}/drafts/{name}"
        page = _page(self.request) or secrets.token_hex(8)
        begins = begins or self.request.POST.get("_aside") == "begins"
        is_aside = begins or "saved" in self.request.GET or "_aside" in self.request.POST
        kept = drafts.find(self.actor, name) if is_aside or self.request.method != "POST" else None
        if kept is None:
            return Shown(url=url, page=page)
        if is_aside:
            return Shown(url=url, page=page, at=kept.at, is_aside=True, begins=begins)
        data = QueryDict(kept.data)
        return Shown(url=url, page=page, data=data, at=kept.at, is_old=data.get("based_on", "") != based_on, omits=omits)

    def sent(self, form: str, of: str = "") -> None:
        """It did its work: its draft is not needed, but for one that was put aside."""
        if "_aside" not in self.request.POST:
            drafts.drop(self.actor, f"{form}:{of}" if of else form, page=_page(self.request))


class DraftView(ConsoleView):
    """POST: keep what the form holds now. POST with `_discard`: forget it and show the form anew."""

    def post(self, request: HttpRequest, form: str) -> HttpResponse:
        kind, _colon, of = form.partition(":")
        long = FORMS.get(kind)
        if long is None or bool(of) != bool(long.of or long.keeps):
            raise Http404
        if long.of is not None and self.find(long.of, of).pk.hex != of:
            raise Http404
        typed = request.POST.copy()
        kept = long.keeps(typed, of) if long.keeps else typed
        if "_discard" in request.POST:
            drafts.drop(self.actor, form, page=_page(request))
            return self.done(toasts.note(_("Draft discarded")), self.back())
        for name in ("csrfmiddlewaretoken", "_page"):
            kept.pop(name, None)
        try:
            drafts.keep(self.actor, form, kept.urlencode(), long.most, page=_page(request))
        except (Conflict, Invalid) as error:
            return HttpResponse(error.detail, status=error.status, content_type="text/plain; charset=utf-8")
        return HttpResponse(status=204)
