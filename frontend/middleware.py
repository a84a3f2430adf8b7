"""What pages must say to browsers and caches: a content security policy, and that they are a person's own."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.utils.cache import patch_vary_headers

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'nonce-{nonce}'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; manifest-src 'self'"
)


NO_PAGE = "mist-no-page"  # loading.js


class ConsoleMiddleware:
    """Sets `request.csp_nonce`, and on every HTML answer the policy (unless it has its own), Vary and Cache-Control.

    Of an answer that is no page the page it was asked from hears nothing: a cookie says so, for a moment.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request.csp_nonce = secrets.token_urlsafe(16)  # type: ignore[attr-defined]
        response = self.get_response(request)
        if response.get("Content-Type", "").startswith("text/html"):
            response.headers.setdefault("Content-Security-Policy", POLICY.format(nonce=request.csp_nonce))  # type: ignore[attr-defined]
            patch_vary_headers(response, ["HX-Request", "HX-Dialog", "Cookie"])  # htmx gets other answers to the same address
            response.headers.setdefault("Cache-Control", "no-store")
        if request.headers.get("Sec-Fetch-Mode") == "navigate" and not is_page(response):
            response.set_cookie(NO_PAGE, "1", max_age=30, samesite="Lax", secure=request.is_secure())
        return response


def is_page(response: HttpResponse) -> bool:
    """Does a browser show it in place of the page it was on?"""
    if 300 <= response.status_code < 400:
        return True  # where it leads says so
    kept = response.get("Content-Disposition", "").startswith("attachment")
    return response.get("Content-Type", "").startswith("text/html") and not kept and response.status_code not in (204, 205)
