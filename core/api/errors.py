"""From an exception to `{"code", "detail"}`: the one handler of the API."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from psycopg.errors import DiskFull
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import set_rollback

from core.errors import Invalid, MistError, RateLimited, TooMany

log = logging.getLogger(__name__)


@csrf_exempt
def no_such_address(request: HttpRequest) -> JsonResponse:
    """For every address below /api that is none: a program asked, a program is answered."""
    detail = "There is nothing at this address. /api/v2/spec says what there is."
    return JsonResponse({"code": "not_found", "detail": detail, "request_id": getattr(request, "request_id", "")}, status=404)


def handle(error: Exception, context: dict[str, Any]) -> Response | None:
    """Never a stack trace, never a secret. What is not known here becomes a 500 with the request's id."""
    set_rollback()
    request = context.get("request")
    request_id = getattr(request, "request_id", None) or getattr(getattr(request, "_request", None), "request_id", "")
    status, body, headers = _answer(error)
    if status == 500:
        log.error("request failed", exc_info=error)
    body["request_id"] = request_id
    return Response(body, status=status, headers=headers)


def _invalid(fields: Any, detail: str) -> dict[str, Any]:
    """An id that is not there, or not to be seen, has a code of its own."""
    fields = fields if isinstance(fields, dict) else {"non_field_errors": fields}
    leaves = list(_leaves(fields))
    if leaves and all(leaf == "Not found." for leaf in leaves):
        return {"code": "not_found", "detail": "Some of these are not there.", "fields": fields}
    return {"code": "invalid", "detail": detail, "fields": fields}


def _leaves(fields: Any) -> Iterator[str]:
    if isinstance(fields, dict):
        for value in fields.values():
            yield from _leaves(value)
    elif isinstance(fields, list | tuple):
        for value in fields:
            yield from _leaves(value)
    else:
        yield str(fields)


def _answer(error: Exception) -> tuple[int, dict[str, Any], dict[str, str]]:
    if isinstance(error, MistError):
        headers = {}
        if isinstance(error, TooMany | RateLimited) and error.retry_after_s:
            headers["Retry-After"] = str(int(error.retry_after_s) + 1)
        if error.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        if isinstance(error, Invalid) and error.code == Invalid.code:
            return 422, _invalid(error.fields, error.detail), headers
        return error.status, {"code": error.code, "detail": error.detail, **error.extra}, headers
    if isinstance(error, exceptions.ValidationError):
        return 422, _invalid(error.detail, "Some fields are wrong."), {}
    if isinstance(error, exceptions.APIException):
        code = {
            400: "bad_request",
            401: "unauthenticated",
            403: "denied",
            404: "not_found",
            405: "method_not_allowed",
            406: "not_acceptable",
            413: "too_large",
            415: "unsupported_media_type",
            429: "too_many_requests",
        }.get(error.status_code, "bad_request")
        headers = {}
        if getattr(error, "wait", None):
            headers["Retry-After"] = str(int(error.wait) + 1)  # type: ignore[attr-defined]
        if error.status_code == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return error.status_code, {"code": code, "detail": str(error.detail)}, headers
    if isinstance(error, Http404):
        return 404, {"code": "not_found", "detail": "Not found."}, {}
    if isinstance(error, PermissionDenied):
        return 403, {"code": "denied", "detail": "You may not do this."}, {}
    if isinstance(error, RequestDataTooBig):
        return 413, {"code": "too_large", "detail": "The body is too large."}, {}
    if isinstance(error, SuspiciousOperation | UnicodeError):
        return 400, {"code": "bad_request", "detail": "The request could not be read."}, {}
    if is_database_fault(error):
        return 503, database_fault(error), {"Retry-After": "5"}
    return 500, {"code": "internal_error", "detail": "Mist failed at this. Tell an administrator the request id."}, {}


def is_database_fault(error: BaseException) -> bool:
    """Is it the database that does not answer?"""
    return isinstance(error, OperationalError | InterfaceError) or type(error).__name__ == "PoolTimeout"


def database_fault(error: BaseException) -> dict[str, str]:
    """`code` and `detail` of a database that does not answer, or has no room."""
    if isinstance(error.__cause__, DiskFull):
        log.error("the database's disk is full")
        detail = "The database has no room left. Nothing was done; free space on its disk, then try again."
        return {"code": "database_full", "detail": detail}
    log.warning("the database does not answer (%s)", type(error).__name__)
    return {"code": "database_unavailable", "detail": "The database does not answer. Nothing was done; try again shortly."}
