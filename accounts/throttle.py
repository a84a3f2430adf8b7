"""Guessing is slow: each try is counted before it is made, atomically, for the account and for the address.

An address from which an account signed in lately has a counter of its own: whoever guesses from elsewhere locks out strangers, not
the person. In the database, so that no process and no lost cache forgets. A counter's window begins with its first failure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime, timedelta

from django.db import connection
from django.utils import timezone

from accounts.models import Attempts, Home
from core.errors import TooMany
from core.ticks import every

WINDOW_S = 900
KNOWN_DAYS = 90  # since an account last signed in from an address
PER_ACCOUNT, PER_ADDRESS = 10, 100  # failures in a window

_COUNT = """
INSERT INTO accounts_attempts (key, count, since) VALUES (%(key)s, 1, %(now)s)
ON CONFLICT (key) DO UPDATE SET
    count = CASE WHEN accounts_attempts.since <= %(old)s THEN 1 ELSE LEAST(accounts_attempts.count + 1, 1000000) END,
    since = CASE WHEN accounts_attempts.since <= %(old)s THEN %(now)s ELSE accounts_attempts.since END
RETURNING count, since
"""


def _key(words: str) -> str:
    return hashlib.sha256(words.encode("utf-8", "replace")).hexdigest()


def _place(email: str, address: str) -> str:
    return _key(f"place {email.strip().lower()} {address}")


def _account(email: str, address: str) -> str:
    """The counter of an account: of this address alone where the account is at home, else of all other addresses together."""
    since = timezone.now() - timedelta(days=KNOWN_DAYS)
    place = _place(email, address)
    known = Home.objects.filter(key=place, seen_at__gt=since).exists()
    return place if known else _key("account " + email.strip().lower())


def _keys(email: str, address: str) -> list[tuple[str, int]]:
    return [(_account(email, address), PER_ACCOUNT), (_key("address " + address), PER_ADDRESS)]


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


def is_last(email: str, address: str) -> bool:
    """Was the failed try the one after which the account is locked, from there?"""
    return Attempts.objects.filter(key=_account(email, address), count=PER_ACCOUNT).exists()


def give_back(email: str, address: str) -> None:
    """The try was no failure (the password was right, a code is still to come): it does not count, earlier ones do."""
    keys = [key for key, _ in _keys(email, address)]
    with connection.cursor() as cursor:
        cursor.execute("UPDATE accounts_attempts SET count = GREATEST(count - 1, 0) WHERE key = ANY(%s)", [keys])


def succeeded(email: str, address: str) -> None:
    """Somebody signed in, second step and all: this counter starts anew, and the account is at home here from now on."""
    give_back(email, address)
    Attempts.objects.filter(key=_account(email, address)).delete()
    Home.objects.update_or_create(key=_place(email, address), defaults={"seen_at": timezone.now()})


@every(3600)
def forget() -> int:
    """Drop counters whose window is over, and homes nobody came back to.  Returns: how many counters."""
    Home.objects.filter(seen_at__lt=timezone.now() - timedelta(days=KNOWN_DAYS)).delete()
    return Attempts.objects.filter(since__lt=timezone.now() - timedelta(seconds=WINDOW_S)).delete()[0]
