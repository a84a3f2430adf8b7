"""Guessing is slow: each try is counted before it is made, atomically, for the account and for the address.

In the database, so that no process and no lost cache forgets. A counter's window begins with its first failure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime, timedelta

from django.db import connection
from django.utils import timezone

from accounts.models import Attempts
from core.errors import TooMany
from core.ticks import every

WINDOW_S = 900
PER_ACCOUNT, PER_ADDRESS = 10, 100  # failures in a window

_COUNT = """
INSERT INTO accounts_attempts (key, count, since) VALUES (%(key)s, 1, %(now)s)
ON CONFLICT (key) DO UPDATE SET
    count = CASE WHEN accounts_attempts.since <= %(old)s THEN 1 ELSE LEAST(accounts_attempts.count + 1, 1000000) END,
    since = CASE WHEN accounts_attempts.since <= %(old)s THEN %(now)s ELSE accounts_attempts.since END
RETURNING count, since
"""


def _keys(email: str, address: str) -> list[tuple[str, int]]:
    found = [("account " + email.strip().lower(), PER_ACCOUNT), ("address " + address, PER_ADDRESS)]
    return [(hashlib.sha256(text.encode("utf-8", "replace")).hexdigest(), most) for text, most in found]


def count(email: str, address: str, *, clock: Callable[[], datetime] = timezone.now) -> None:
    """Count a try that is about to be made.  Raises: TooMany: it is not to be made."""
    now = clock()
    for key, most in _keys(email, address):
        with connection.cursor() as cursor:
            cursor.execute(_COUNT, {"key": key, "now": now, "old": now - timedelta(seconds=WINDOW_S)})
            tries, since = cursor.fetchone()
        if tries > most:
            wait_s = (since + timedelta(seconds=WINDOW_S) - now).total_seconds()
            raise TooMany(
                "Too many failed attempts. Wait, then try again, or reset your password.", retry_after_s=max(1.0, wait_s), code="locked_out"
            )


def is_last(email: str) -> bool:
    """Was the failed try the one after which the account is locked?"""
    return Attempts.objects.filter(key=_keys(email, "")[0][0], count=PER_ACCOUNT).exists()


def give_back(email: str, address: str) -> None:
    """The try was no failure (the password was right, a code is still to come): it does not count, earlier ones do."""
    keys = [key for key, _ in _keys(email, address)]
    with connection.cursor() as cursor:
        cursor.execute("UPDATE accounts_attempts SET count = GREATEST(count - 1, 0) WHERE key = ANY(%s)", [keys])


def succeeded(email: str, address: str) -> None:
    """Somebody signed in, second step and all: the account starts anew; the address is given its one try back."""
    give_back(email, address)
    Attempts.objects.filter(key=_keys(email, address)[0][0]).delete()


@every(3600)
def forget() -> int:
    """Drop counters whose window is over.  Returns: how many."""
    return Attempts.objects.filter(since__lt=timezone.now() - timedelta(seconds=WINDOW_S)).delete()[0]
