"""Pages before and beside an organization: where / leads, and the first run."""

from __future__ import annotations

import sys
from contextlib import suppress

from django.conf import settings
from django.contrib.auth.views import redirect_to_login
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.template.loader import render_to_string
from django.utils import translation
from django.utils.translation import gettext as _
from django.views.csrf import csrf_failure
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters

from accounts import people
from accounts.auth import console_actor
from accounts.models import Team, User
from accounts.statements import load_policy
from clouds.providers.facts import Field
from core.actions import perform
from core.api.errors import database_fault, is_database_fault
from core.errors import Invalid, MistError
from frontend import forms, parts
from frontend.views.base import problem


def broken(request: HttpRequest) -> HttpResponse:
    """The page, or the part of one, for what no view caught. The database may be what failed: then it is not asked who is there."""
    error = sys.exc_info()[1]
    code = database_fault(error)["code"] if error is not None and is_database_fault(error) else ""
    status = 503 if code else 500
    identity = getattr(request, "request_id", "")
    frame = getattr(request, "frame", None)
    with translation.override(translation.get_language() if frame else translation.get_language_from_request(request)):
        if parts.is_part(request):
            response = parts.failed(request, status, code=code, request_id=identity)
        else:
            response = HttpResponse(_broken_page(request, error, code, identity), status=status)
    if code:
        response["Retry-After"] = "5"
    return response


def _broken_page(request: HttpRequest, error: BaseException | None, code: str, identity: str) -> str:
    """In the frame where there is one, unless that is what failed."""
    context = {"request_id": identity, "code": code, "again": request.get_full_path() if request.method == "GET" else ""}
    frame = getattr(request, "frame", None)
    if frame is not None and error is not None and not code:
        framed = {**context, "frame": frame, "base": frame.base, "around": "errors/framed.html"}
        with suppress(type(error), DatabaseError):
            return render_to_string("500.html", framed, request)
    return render_to_string("503.html" if code else "500.html", context)


def forged(request: HttpRequest, reason: str = "") -> HttpResponse:
    """A form with the token of another session: somebody else's page sent it, or it was opened before the last sign-in."""
    if not parts.is_part(request):
        return csrf_failure(request, reason)
    return parts.failed(request, 403, code="form_expired", request_id=getattr(request, "request_id", ""))


def home(request: HttpRequest) -> HttpResponse:
    """To the organization last used; who has none is told."""
    user = request.user
    if not isinstance(user, User):
        return redirect_to_login(request.get_full_path(), settings.LOGIN_URL)
    if user.must_change_password:
        return HttpResponseRedirect("/first-run")
    orgs = user.orgs.order_by("name")
    org = orgs.filter(pk=user.last_org_id).first() or orgs.first()
    if org is None:
        return render(request, "entry_no_org.html")
    own = load_policy(org.pk, user.pk).only_own("machine", "read")
    return HttpResponseRedirect(f"/o/{org.slug}/machines" if own else f"/o/{org.slug}/")


@never_cache
@sensitive_post_parameters()
def first_run(request: HttpRequest) -> HttpResponse:
    """The one-time password is changed; an owner names the organization."""
    user = request.user
    if not isinstance(user, User):
        return redirect_to_login(request.get_full_path(), settings.LOGIN_URL)
    if not user.must_change_password:
        return HttpResponseRedirect("/")
    org = user.orgs.filter(pk__in=Team.objects.filter(is_owners=True, members=user).values("org")).order_by("name").first()
    fields = [
        Field(name="old", label=_("One-time password"), secret=True, required=True),
        Field(name="password", label=_("Your own password"), secret=True, required=True, help=_("Ten characters or more.")),
    ]
    if org is not None:
        fields.append(Field(name="organization", label=_("Name of the organization"), required=True, default=org.name))
    names_it = org is not None
    if request.method != "POST":
        return render(request, "entry_first_run.html", {"fields": forms.bind(fields), "names_it": names_it})
    try:
        people.change_password(request, user, request.POST.get("old", ""), request.POST.get("password", ""))
    except MistError as error:
        wrong = error.fields if isinstance(error, Invalid) else {}
        context = {"fields": forms.bind(fields, request.POST.dict(), wrong), "problem": problem(_("Nothing was changed."), error, fields)}
        return render(request, "entry_first_run.html", context | {"names_it": names_it}, status=error.status)
    name = request.POST.get("organization", "").strip()
    if org is not None and name and name != org.name:
        slug = {"slug": people.free_slug(name)} if org.slug == people.slug_of(org.name) else {}  # nobody has chosen one
        try:
            perform(console_actor(request, org.slug), org, "edit", {"name": name} | slug)
        except MistError:
            return HttpResponseRedirect(f"/o/{org.slug}/settings/organization")  # the password holds; the name is asked again there
    return HttpResponseRedirect("/")
