"""Around every request: its id, in the answer and in every log line; and what the browser may load (CSP)."""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Callable
from contextvars import ContextVar
from functools import wraps
from typing import Any, Concatenate, ParamSpec

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.functional import SimpleLazyObject
from uuid_utils.compat import uuid7

P = ParamSpec("P")
GetResponse = Callable[[HttpRequest], HttpResponseBase]

request_id: ContextVar[str] = ContextVar("request_id", default="-")

# Nothing from another host, nothing inline but styles with this answer's nonce. `data:` for icons in CSS and QR codes.
CSP = {
    "default-src": "'self'",
    "script-src": "'self'",
    "style-src": "'self' 'nonce-{nonce}'",
    "img-src": "'self' data: blob:",
    "font-src": "'self'",
    "connect-src": "'self'",
    "object-src": "'none'",
    "base-uri": "'none'",
    "form-action": "'self'",
    "frame-ancestors": "'none'",
}


class RequestMiddleware:
    """Gives each request an id (`request.request_id`, X-Request-Id) and a nonce (`request.csp_nonce`) for the styles of its page."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        # Ours alone, never the caller's: events are grouped by it.
        identity = uuid7().hex
        nonce = SimpleLazyObject(lambda: secrets.token_urlsafe(16))
        request.request_id = identity  # type: ignore[attr-defined]
        request.csp_nonce = nonce  # type: ignore[attr-defined]
        token = request_id.set(identity)
        try:
            response = self.get_response(request)
        finally:
            request_id.reset(token)
        response["X-Request-Id"] = identity
        response.setdefault("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()")
        if "Content-Security-Policy" not in response:
            policy = CSP | getattr(response, "csp", {})
            response["Content-Security-Policy"] = "; ".join(f"{name} {value}" for name, value in policy.items()).format(nonce=nonce)
        return response


def csp(
    **directives: str,
) -> Callable[[Callable[Concatenate[HttpRequest, P], HttpResponse]], Callable[Concatenate[HttpRequest, P], HttpResponse]]:
    """Decorator: this view's page needs another policy: `@csp(style_src="'self' 'unsafe-inline'")` (a nonce beside it would undo it)."""

    def decorate(view: Callable[Concatenate[HttpRequest, P], HttpResponse]) -> Callable[Concatenate[HttpRequest, P], HttpResponse]:
        @wraps(view)
        def wrapped(request: HttpRequest, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
            response = view(request, *args, **kwargs)
            response.csp = {name.replace("_", "-"): value for name, value in directives.items()}  # type: ignore[attr-defined]
            return response

        return wrapped

    return decorate


class RequestFilter(logging.Filter):
    """Puts the current request's id on each record."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = request_id.get()
        return True


class JsonFormatter(logging.Formatter):
    """One JSON object a line: at, level, process, logger, request, message, trace."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "at": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "process": record.processName,
            "logger": record.name,
            "request": getattr(record, "request_id", "-"),
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)
