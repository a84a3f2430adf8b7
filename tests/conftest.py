"""What every test may use: the embedded PostgreSQL and Valkey, started once a test process, on unix sockets of their own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from django.conf import settings
from django.core.cache import cache
from django.db import connection

from mist.embedded import TEST_CONF, Postgres, Valkey


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """The PostgreSQL of this test process. With pytest-xdist each worker has its own: it starts in less than a second."""
    home = settings.MIST_HOME
    server = Postgres(data=home / "pgdata", sockets=settings.SOCKET_DIR, log_file=home / "postgres.log", conf=TEST_CONF)
    server.start()
    server.create_database("mist")
    yield server
    server.stop()


@pytest.fixture(scope="session")
def valkey() -> Iterator[Valkey]:
    """The Valkey of this test process: `settings.MIST_REDIS_URL`, the broker and the channel layer."""
    home = settings.MIST_HOME
    server = Valkey(data=home / "valkey", sockets=settings.SOCKET_DIR, log_file=home / "valkey.log")
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings_parallel_suffix: None, postgres: Postgres, valkey: Valkey) -> None:
    """pytest-django's hook before it makes the test database: whoever needs the database has both servers."""


@pytest.fixture(autouse=True)
def _no_events_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """After a test that commits Django empties the tables it manages; the audit log's is not one of them."""
    yield
    mark = request.node.get_closest_marker("django_db")
    if "transactional_db" in request.fixturenames or (mark and mark.kwargs.get("transaction")):
        with request.getfixturevalue("django_db_blocker").unblock(), connection.cursor() as cursor:
            cursor.execute("SET session_replication_role = replica")  # no trigger: it is only ever appended to
            cursor.execute("TRUNCATE core_event")
            cursor.execute("SET session_replication_role = origin")


@pytest.fixture(autouse=True)
def _empty_cache() -> None:
    cache.clear()


def pytest_sessionfinish(session: pytest.Session) -> None:
    if not hasattr(session.config, "workerinput"):  # the first process, not a worker of xdist
        shutil.rmtree(os.environ.get("MIST_TESTS_HOME", ""), ignore_errors=True)
