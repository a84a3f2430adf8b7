"""`Idempotency-Key`: the same key and body within 24 h gives the first answer again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response

from core.actor import Actor
from core.errors import BadRequest, Conflict, Invalid
from core.models import IdempotencyKey

KEPT = timedelta(hours=24)


def once(request: Request, actor: Actor, act: Callable[[], Response]) -> Response:
    """Run `act`, or answer what it answered to this key before.

    Raises: Invalid: the key came with another body. Conflict: the first request is still at work.
    """
    key = request.headers.get("Idempotency-Key", "")
    if not key or request.method in ("GET", "HEAD", "OPTIONS"):
        return act()
    if len(key) > 200 or not key.isprintable():
        raise BadRequest("An Idempotency-Key has at most 200 printable characters.", code="bad_idempotency_key")
    scope = f"{actor.org_id}:{actor.token_id or actor.user_id}"
    body = json.dumps(request.data, sort_keys=True, default=str)
    digest = hashlib.sha256(f"{request.method} {request.get_full_path()} {body}".encode("utf-8", "surrogatepass")).hexdigest()
    IdempotencyKey.objects.filter(scope=scope, key=key, created_at__lt=timezone.now() - KEPT).delete()
    try:
        with transaction.atomic():
            row = IdempotencyKey.objects.create(scope=scope, key=key, digest=digest)
    except IntegrityError:
        return _again(IdempotencyKey.objects.filter(scope=scope, key=key).first(), digest)
    try:
        response = act()
    except BaseException:
        row.delete()  # nothing was done: the key may be used again
        raise
    row.status, row.answer = response.status_code, _plain(response.data)
    row.save(update_fields=["status", "answer"])
    return response


def _again(row: IdempotencyKey | None, digest: str) -> Response:
    if row is not None and row.digest != digest:
        raise Invalid("This Idempotency-Key came with another request. Use a new one.", code="idempotency_key_reused")
    if row is None or row.status is None:
        raise Conflict("The first request with this Idempotency-Key is still at work. Ask again shortly.", code="idempotency_in_progress")
    return Response(row.answer, status=row.status, headers={"Idempotent-Replayed": "true"})


def _plain(data: Any) -> Any:
    return json.loads(json.dumps(data, default=str))
