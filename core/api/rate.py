"""How often one may ask: so many requests a minute and token (or person), counted in Valkey."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from django.conf import settings
from redis.exceptions import RedisError

from core import valkey
from core.actor import Actor
from core.errors import TooMany

log = logging.getLogger(__name__)

WINDOW_S = 60


def check(actor: Actor, clock: Callable[[], float] = time.time) -> None:
    """Count one request.  Raises: TooMany, when there were more than `settings.MIST_API_PER_MINUTE` since the minute began."""
    most: int = settings.MIST_API_PER_MINUTE
    if most:
        count(actor, "api", most, "requests", clock)


def count(actor: Actor, what: str, most: int, words: str, clock: Callable[[], float] = time.time) -> None:
    """Count one of these of a token (or person). Without Valkey nobody is counted: a lost counter is better than a closed door.

    words: what is counted, in the message.  Raises: TooMany, when there were more than `most` since the minute began.
    """
    if actor.is_system:
        return
    now = clock()
    key = f"mist-{what}:{actor.token_id or actor.user_id}:{int(now // WINDOW_S)}"
    try:
        pipeline = valkey.client().pipeline(transaction=False)
        pipeline.incr(key)
        pipeline.expire(key, WINDOW_S * 2)
        counted = pipeline.execute()[0]
    except RedisError as error:
        log.warning("%s are not counted: %s", words, type(error).__name__)
        return
    if counted > most:
        raise TooMany(f"More than {most:,} {words} in a minute. Wait, then go on.", retry_after_s=WINDOW_S - now % WINDOW_S)
