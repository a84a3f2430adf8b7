"""Is this installation well? /healthz: this process answers. /readyz: everything it needs does. /metrics: figures, for Prometheus."""

from __future__ import annotations

import hmac
import logging
import time
from collections.abc import Callable
from typing import Any

from celery import shared_task
from django.conf import settings
from django.core.cache import cache
from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_safe

from mist import metrics

log = logging.getLogger(__name__)

CANARY_STALE_S = 120
SCHEDULER_STALE_S = 30
SCHEDULER_LAG_S = 60
_KEEP_S = 24 * 3600


@shared_task(ignore_result=True, soft_time_limit=20)
def canary(queue: str) -> None:
    """Comes out at the end of a queue: broker, consumer and a slot work."""
    cache.set(f"canary:{queue}", time.time(), _KEEP_S)


def report_scheduler(lag_s: float) -> None:
    """The leading scheduler lives; its most belated tick is late by `lag_s`."""
    try:
        cache.set("scheduler", {"at": time.time(), "lag_s": round(lag_s, 3)}, _KEEP_S)
    except Exception as error:  # noqa: BLE001 - whatever a cache client raises: the ticks matter more
        log.warning("the scheduler's state could not be told: %s", type(error).__name__)


@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """200 while this process answers."""
    return HttpResponse("ok\n", content_type="text/plain")


@require_safe
def readyz(request: HttpRequest) -> HttpResponse:
    """200 when every part works, else 503; both say of each part whether, and since when."""
    parts = {
        "database": _checked(_database),
        "broker": _checked(_broker),
        **{f"queue:{queue}": _checked(lambda queue=queue: _queue(queue)) for queue in settings.QUEUES},
        "scheduler": _checked(_scheduler),
    }
    is_ready = all(part["ok"] for part in parts.values())
    response = JsonResponse({"ready": is_ready, "parts": parts}, status=200 if is_ready else 503, headers={"Cache-Control": "no-store"})
    response._has_been_logged = True  # type: ignore[attr-defined]  # an answer, not a fault of this process
    return response


@require_safe
def metrics_page(request: HttpRequest) -> HttpResponse:
    """Prometheus' text. For local callers, and for `Authorization: Bearer <MIST_METRICS_TOKEN>` when there is one."""
    token = settings.MIST_METRICS_TOKEN
    offered = request.headers.get("Authorization", "").removeprefix("Bearer ")
    is_local = request.META.get("REMOTE_ADDR") in {"127.0.0.1", "::1"} and "X-Forwarded-For" not in request.headers
    if not (hmac.compare_digest(offered.encode(), token.encode()) if token else is_local):
        return HttpResponse("Set MIST_METRICS_TOKEN and send it as a bearer token.\n", status=403, content_type="text/plain")
    return HttpResponse(metrics.text(), content_type=metrics.CONTENT_TYPE)


def _checked(check: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return {"ok": True, **check()}
    except Exception as error:  # noqa: BLE001 - whatever it is, it is not ready, and the kind of error says why
        return {"ok": False, "error": type(error).__name__}


def _database() -> dict[str, Any]:
    began = time.monotonic()
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        if cursor.fetchone() != (1,):
            raise DatabaseError
    return {"ms": round((time.monotonic() - began) * 1000, 1)}


def _broker() -> dict[str, Any]:
    began = time.monotonic()
    cache.set("probe", began, 10)
    if cache.get("probe") is None:
        raise ConnectionError
    return {"ms": round((time.monotonic() - began) * 1000, 1)}


def _queue(queue: str) -> dict[str, Any]:
    at = cache.get(f"canary:{queue}")
    if at is None:
        return {"ok": False, "error": "no worker has answered yet"}
    age = time.time() - at
    return {"ok": age < CANARY_STALE_S, "canary_age_s": round(age, 1)}


def _scheduler() -> dict[str, Any]:
    state = cache.get("scheduler")
    if state is None:
        return {"ok": False, "error": "no scheduler has led yet"}
    age = time.time() - state["at"]
    return {"ok": age < SCHEDULER_STALE_S and state["lag_s"] < SCHEDULER_LAG_S, "age_s": round(age, 1), "lag_s": state["lag_s"]}
