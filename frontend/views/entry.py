"""Pages before and beside an organization: where / leads, and the first run."""

from __future__ import annotations

from django.conf import settings
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render

from accounts.models import User


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
    return HttpResponseRedirect(f"/o/{org.slug}/")
