"""What pages must say to caches: they are a person's own, and htmx gets other answers to the same address."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.utils.cache import patch_vary_headers


class ConsoleMiddleware:
    """Vary and Cache-Control of every HTML answer. The content security policy is core.middleware's."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if response.get("Content-Type", "").startswith("text/html"):
            patch_vary_headers(response, ["HX-Request", "HX-Dialog", "Cookie"])
            response.headers.setdefault("Cache-Control", "no-store")
        return response
