"""A part of a page, or an act, that cannot be answered: what htmx and the dialogs get in place of a whole page. CONSOLE.md §12."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from frontend import toasts

TITLES: dict[int, Promise] = {
    400: gettext_lazy("This request could not be read."),
    403: gettext_lazy("You may not do this."),
    404: gettext_lazy("It is not there any more."),
    429: gettext_lazy("That was too often."),
    500: gettext_lazy("Mist failed at this."),
}
DETAILS: dict[int, Promise] = {
    404: gettext_lazy("It may have been removed or renamed, or you may not be allowed to see it. Nothing was changed."),
    500: gettext_lazy("It is our fault, not yours. Look at the thing itself before you do it again."),
}
# Of some codes: a title of its own, and what to do. A database that cannot be asked (core.api.errors), a form that is too old.
KNOWN: dict[str, tuple[Promise, Promise]] = {
    "form_expired": (
        gettext_lazy("The form was not sent."),
        gettext_lazy("It was opened before you last signed in or out. Nothing was changed. Load the page again and send it once more."),
    ),
    "database_full": (
        gettext_lazy("The database has no room left."),
        gettext_lazy("Nothing was done. Whoever runs this installation has to free space on its disk."),
    ),
    "database_unavailable": (
        gettext_lazy("Mist cannot reach its database."),
        gettext_lazy("Nothing was done, and your machines are not touched by this. Try again in a minute."),
    ),
}


def is_part(request: HttpRequest) -> bool:
    """Did a script of ours ask, for something smaller than a page?"""
    return request.headers.get("HX-Request") == "true"


def failed(request: HttpRequest, status: int, *, reason: str = "", code: str = "", request_id: str = "") -> HttpResponse:
    """A note in the part's place, with a button that asks again; of an act, or of what would open, a note at the corner.

    `code`: one of KNOWN. The database is not asked: it may be what failed.
    """
    known = KNOWN.get(code)
    title = str(known[0] if known else TITLES.get(status) or _("This cannot be shown now."))
    detail = str(known[1] if known else DETAILS.get(status) or reason)
    if request.method == "GET" and "HX-Dialog" not in request.headers:
        said = {"title": title, "detail": detail, "request_id": request_id, "again": request.get_full_path()}
        return HttpResponse(render_to_string("errors/part.html", said), status=status)
    toast = toasts.note(title, mark="crit", detail=detail, stay=True, request_id=request_id)
    html = render_to_string("components/toast.html", {"toast": toast})
    return HttpResponse(f'<div hx-swap-oob="beforeend:#toasts">{html}</div>', status=status)
