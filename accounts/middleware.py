"""What a session's person has to obey on every page: the one-time password, the addresses they may come from."""

from __future__ import annotations

from collections.abc import Callable

from django.contrib.auth import logout
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse

from accounts.auth import address_of
from accounts.credentials import is_within

# The API says the same in its own way (accounts/auth.py); the others need no session at all.
OPEN = ("/api/", "/static/", "/healthz", "/readyz", "/metrics")
FIRST_RUN = "/first-run"


class SessionRulesMiddleware:
    """While the password is a one-time one, every page leads to the first run. From an address that is not allowed, the session ends.
    Who guessed passwords too often is told so by the status, too, and when to return.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not request.path.startswith(OPEN) and request.user.is_authenticated:
            user = request.user
            if user.allowed_addresses and not is_within(address_of(request), user.allowed_addresses):
                logout(request)
                return redirect(reverse("account_login"))
            change = reverse("account_change_password")
            if user.must_change_password and request.path not in (change, reverse("account_logout"), FIRST_RUN):
                return redirect(FIRST_RUN)
        response = self.get_response(request)
        if (wait_s := getattr(request, "locked_out_s", None)) is not None:
            response.status_code = 429
            response["Retry-After"] = str(int(wait_s) + 1)
        return response
