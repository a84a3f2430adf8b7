"""The pool of database connections: whoever asks for one once the database is back has it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from django.db.utils import ConnectionHandler
from psycopg_pool import ConnectionPool

from mist import env, pool
from mist.embedded import TEST_CONF, Postgres

IDLE = 8
AWAY_S = 7.5


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[Postgres]:
    server = Postgres(data=tmp_path / "pgdata", sockets=env.socket_dir(tmp_path), log_file=tmp_path / "postgres.log", conf=TEST_CONF)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def connections(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> Iterator[ConnectionPool]:
    """The pool, as Django makes it of the product's settings, with some idle connections."""
    default = env.database("", postgres.sockets) | {"NAME": "postgres", "CONN_HEALTH_CHECKS": True, "OPTIONS": {"pool": pool.POOL}}
    django = ConnectionHandler({"default": default})
    monkeypatch.setattr(pool, "connections", django)
    made = django["default"].pool
    made.open()
    for one in [made.getconn() for _ in range(IDLE)]:
        made.putconn(one)
    yield made
    django["default"].close_pool()


def ask(connections: ConnectionPool) -> float:
    """Seconds until it answered."""
    began = time.monotonic()
    with connections.connection() as one, one.cursor() as cursor:
        cursor.execute("SELECT 1")
    return time.monotonic() - began


def test_a_restarted_database_keeps_nobody_waiting(postgres: Postgres, connections: ConnectionPool) -> None:
    postgres.stop()
    postgres.start()
    assert ask(connections) < 2, "idle connections are not found lost one by one"


def test_a_database_that_was_away_for_longer_is_found_within_a_second_or_so(postgres: Postgres, connections: ConnectionPool) -> None:
    postgres.stop()
    with ThreadPoolExecutor(1) as beside:
        asked = beside.submit(ask, connections)
        time.sleep(AWAY_S)
        postgres.start()
        assert asked.result() < AWAY_S + 2, "psycopg's own attempts are at 3 and 7 seconds, then at 15"
