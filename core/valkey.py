"""The Redis-protocol server: doorbells, budgets and notes. Never the truth."""

from __future__ import annotations

import os
from functools import lru_cache

import redis
from django.conf import settings


@lru_cache(maxsize=2)
def _client(url: str, pid: int) -> redis.Redis:
    return redis.Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2, health_check_interval=30)


def client() -> redis.Redis:
    """A client of this process (not one inherited through a fork)."""
    return _client(settings.MIST_REDIS_URL, os.getpid())
