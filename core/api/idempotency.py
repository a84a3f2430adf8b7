"""`Idempotency-Key`: the same key and body within 24 h gives the first answer again.

Whoever holds the key's lock (PostgreSQL's advisory lock, of the connection) is at work on it; if its process dies, the lock
is gone with it. Then the jobs made under the first request's id tell whether it acted: `perform` writes a job with the act,
or neither. Of the body a keyed digest is kept; the answer, which may show a secret once, is encrypted with the vault's keys.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from cryptography.fernet import InvalidToken
from django.db import DatabaseError, connection
from django.utils import timezone
from django.utils.crypto import salted_hmac
from rest_framework.exceptions import APIException
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from core import vault
from core.actor import Actor
from core.errors import Asked, BadRequest, Conflict, Invalid, MistError
from core.models import IdempotencyKey, Job

KEPT = timedelta(hours=24)
LONGEST = 200


def once(request: Request, actor: Actor, act: Callable[[], Response], answer_of: Callable[[Job], dict[str, Any]]) -> Response:
    """Run `act`, or answer what it answered to this key before. `answer_of`: how a job is answered.

    Raises: Invalid: the key came with another request. Conflict: the first request is still at work.
    """
    key = request.headers.get("Idempotency-Key", "")
    if not key:
        return act()
    if len(key) > LONGEST or not key.isprintable():
        raise BadRequest(f"An Idempotency-Key has at most {LONGEST} printable characters.", code="bad_idempotency_key")
    scope = f"{actor.org_id}:{actor.token_id or actor.user_id}"
    digest = _digest(request)
    with _held(scope, key):
        row = IdempotencyKey.objects.filter(scope=scope, key=key).first()
        if row is not None and row.created_at < timezone.now() - KEPT:
            row.delete()
            row = None
        if row is not None and row.digest != digest:
            raise Invalid("This Idempotency-Key came with another request. Use a new one.", code="idempotency_key_reused")
        if row is not None and row.status is not None:
            return _again(row)
        if row is not None and (jobs := _jobs(actor, row.request_id)):
            return _keep(row, _after_death(jobs, answer_of))
        if row is None:
            row = IdempotencyKey(scope=scope, key=key, digest=digest)
        row.request_id = actor.request_id
        row.save()
        try:
            response = act()
        except (MistError, APIException):
            if not _jobs(actor, actor.request_id):
                row.delete()  # nothing was done: the key may come with a better body
            raise
        return _keep(row, response)


def _digest(request: Request) -> str:
    """Of method, address and body, with a key: the bodies that hold passwords cannot be guessed from it."""
    body = json.dumps(request.data, sort_keys=True)
    return salted_hmac(
        "mist.idempotency", f"{request.method} {request.get_full_path()} {body}".encode("utf-8", "backslashreplace"), algorithm="sha256"
    ).hexdigest()


@contextmanager
def _held(scope: str, key: str) -> Iterator[None]:
    number = int.from_bytes(hashlib.sha256(f"{scope}:{key}".encode()).digest()[:8], "big", signed=True)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [number])
        taken = cursor.fetchone()[0]
    if not taken:
        raise Conflict("The first request with this Idempotency-Key is still at work. Ask again shortly.", code="idempotency_in_progress")
    try:
        yield
    finally:
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [number])
        except DatabaseError:  # the connection is gone, and the lock with it
            connection.close()


def _jobs(actor: Actor, request_id: str) -> list[Job]:
    return list(Job.objects.filter(org_id=actor.org_id, request_id=request_id, parent=None).order_by("pk")[:100])


def _after_death(jobs: list[Job], answer_of: Callable[[Job], dict[str, Any]]) -> Response:
    """The first request acted and died before it answered: its jobs are the answer. What it would have shown once is lost."""
    answer = answer_of(jobs[0])
    if len(jobs) > 1:
        answer["data"]["jobs"] = [{"jobId": job.pk.hex} for job in jobs]
    return Response(answer, status=Asked.status if jobs[0].state == Job.State.ASKED else 200)


def _keep(row: IdempotencyKey, response: Response) -> Response:
    headers = {name: value for name, value in response.headers.items() if name.lower() == "cache-control"}
    kept = {"of": f"{row.scope}:{row.key}", "headers": headers, "answer": JSONRenderer().render(response.data).decode()}
    row.status, row.answer = response.status_code, vault.box().encrypt(json.dumps(kept).encode())
    row.save(update_fields=["status", "answer"])
    return response


def _again(row: IdempotencyKey) -> Response:
    try:
        kept = json.loads(vault.box().decrypt(bytes(row.answer or b"")))
    except InvalidToken:
        kept = {}
    if kept.get("of") != f"{row.scope}:{row.key}":
        raise Conflict("This was done; its answer cannot be read any more. Look at the jobs.", code="idempotency_answer_lost")
    return Response(json.loads(kept["answer"]), status=row.status, headers={**kept["headers"], "Idempotent-Replayed": "true"})
