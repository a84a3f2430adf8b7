"""One budget of calls an account and API, shared by all workers: a token bucket in the Redis-protocol server.

Where that server is away, calls go out: the cloud's own limit still holds, and refusing to list would be worse.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import redis

from clouds.providers.base import Deadline
from core import valkey
from core.errors import RateLimited

log = logging.getLogger(__name__)

RATE, BURST = 10.0, 50.0  # tokens a second, and at most: half of what EC2 grants for reads
LONGEST_WAIT_S = 5.0

# KEYS: bucket. ARGV: rate, burst, now. Answers the seconds to wait; 0 when a token was taken.
TAKE = """
local b = redis.call('HMGET', KEYS[1], 'tokens', 'at')
local tokens, at, now = tonumber(b[1] or ARGV[2]), tonumber(b[2] or ARGV[3]), tonumber(ARGV[3])
tokens = math.min(tonumber(ARGV[2]), tokens + math.max(0, now - at) * tonumber(ARGV[1]))
local wait = 0
if tokens >= 1 then tokens = tokens - 1 else wait = (1 - tokens) / tonumber(ARGV[1]) end
redis.call('HSET', KEYS[1], 'tokens', tostring(tokens), 'at', ARGV[3])
redis.call('EXPIRE', KEYS[1], 3600)
return tostring(wait)
"""


def spender(
    account: str, deadline: Deadline, *, clock: Callable[[], float] = time.time, sleep: Callable[[float], None] = time.sleep
) -> Callable[[str], None]:
    """What a provider calls before each request to its API. It waits shortly, or raises RateLimited."""

    def spend(api: str) -> None:
        waited = 0.0
        while True:
            deadline.check()
            try:
                wait = float(valkey.client().eval(TAKE, 1, f"budget:{account}:{api}", RATE, BURST, clock()))  # type: ignore[arg-type]
            except redis.RedisError as error:
                log.warning("the budget of %s cannot be asked (%s)", api, type(error).__name__)
                return
            if wait <= 0:
                return
            waited += wait
            if waited > LONGEST_WAIT_S:
                raise RateLimited("This account's budget of calls is used up for the moment. It fills by itself.", retry_after_s=wait)
            sleep(wait)

    return spend
