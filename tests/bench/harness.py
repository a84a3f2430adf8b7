"""What benchmarks share: a database as the product runs it, people and fleets to measure on, and how a figure is printed.

A benchmark is a script: `python -m tests.bench.bench_list`. It prints `name: figure unit (ratio of bar)` lines and exits 1 when a bar
is missed; `make bench` runs all.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import django

if TYPE_CHECKING:
    from core.actor import Actor

missed: list[str] = []


def setup(home: str | None = None) -> Path:
    """Settings of the product in a home of its own; servers are started by `database`."""
    folder = Path(home or tempfile.mkdtemp(prefix="mist-bench-"))
    os.environ["MIST_HOME"] = str(folder)
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.bench.settings"
    django.setup()
    return folder


@contextmanager
def database() -> Iterator[Path]:
    """PostgreSQL and Valkey with the product's own configuration, migrated; gone afterwards."""
    folder = setup()
    from django.conf import settings
    from django.core.management import call_command
    from django.db import connections

    from mist.embedded import Postgres, Valkey

    postgres = Postgres(data=folder / "pgdata18", sockets=settings.SOCKET_DIR, log_file=folder / "postgres.log")
    valkey = Valkey(data=folder / "valkey", sockets=settings.SOCKET_DIR, log_file=folder / "valkey.log")
    postgres.start()
    valkey.start()
    try:
        postgres.create_database(settings.DATABASES["default"]["NAME"])
        call_command("migrate", verbosity=0)
        yield folder
    finally:
        connections.close_all()
        for alias in connections:
            if hasattr(connections[alias], "close_pool"):
                connections[alias].close_pool()
        valkey.stop()
        postgres.stop()
        shutil.rmtree(folder, ignore_errors=True)


def make_owner(name: str = "bench") -> Actor:
    """An organization with one owner."""
    from accounts.models import Membership, Organization, Team, User
    from core.actor import Actor

    org = Organization.objects.create(name=name, slug=name)
    user = User.objects.create_user(f"{name}@example.org", "a-long-password")
    Membership.objects.create(org=org, user=user)
    Team.objects.create(org=org, name="Owners", is_owners=True).members.add(user)
    return Actor(org_id=org.pk, user_id=user.pk, is_admin=True, email=user.email)


def timed(function: Callable[[], Any], *, times: int = 1) -> list[float]:
    """Wall seconds of each call, sorted."""
    found = []
    for _ in range(times):
        begun = time.perf_counter()
        function()
        found.append(time.perf_counter() - begun)
    return sorted(found)


def percentile(sorted_values: list[float], share: float) -> float:
    return sorted_values[min(len(sorted_values) - 1, int(len(sorted_values) * share))]


def report(name: str, figure: float, bar: float, unit: str) -> None:
    """One line: the figure, the bar, and the ratio of the two (1.00 or less is met)."""
    ratio = figure / bar
    if ratio > 1:
        missed.append(name)
    print(f"{'ok  ' if ratio <= 1 else 'MISS'} {name}: {figure:.4g} {unit}, bar {bar:.4g} {unit}, ratio {ratio:.2f}", flush=True)


def finish() -> None:
    """Ends the benchmark, badly where a bar was missed."""
    sys.exit(1 if missed else 0)
