"""What every test may use: the embedded PostgreSQL and Valkey, started once a test process, on unix sockets of their own."""

from __future__ import annotations

import faulthandler
import os
import shutil
import signal
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

import pytest
from django.conf import settings
from django.core.cache import caches
from django.db import OperationalError, connection, transaction
from django.test import TransactionTestCase

from mist.embedded import TEST_CONF, Postgres, Valkey
from tests import migrated

ROOT = Path(__file__).resolve().parent
LOG_SHOWN = 3000  # characters
BUSY_S = 60  # that a server may go on writing
STUCK_S = 600  # the longest test takes two minutes, and more beside other work
TAKEN_DOWN_S = 120
WAITED_FOR: list[Callable[[], None]] = []  # ends what a test that hangs may wait for: who offers such a thing adds it, and takes it away
# The files that take longest, first: two processes that share the files are done together when none begins with these at the end.
LONG = (
    "clouds/providers/test_kvm_guests.py",
    "frontend/test_every_page.py",
    "ops/test_database_faults.py",
    "shells/test_faults.py",
    "shells/test_shell_pages.py",
    "shells/test_relay.py",
    "frontend/test_walks.py",
    "frontend/test_away.py",
    "frontend/test_browser.py",
    "api/test_schemathesis.py",
    "frontend/test_loading.py",
    "ops/test_stack.py",
    "ops/test_shells_stop.py",
    "ops/test_jobs_survive.py",
    "scripts/test_more_faults.py",
    "clouds/providers/amazon/test_listings.py",
    "clouds/test_vault_kv.py",
    "frontend/test_sign_in.py",
    "frontend/test_list_live.py",
    "clouds/providers/amazon/test_faults.py",
    "clouds/providers/test_docker.py",
    "clouds/providers/test_kvm.py",
    "ops/test_roles.py",
)
MADE_BY_MIGRATE = {"django_migrations", "django_content_type", "auth_permission"}


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """The PostgreSQL of this test process. With pytest-xdist each worker has its own: it starts in less than a second."""
    home = settings.MIST_HOME
    migrated.copy_to(home / "pgdata")
    server = Postgres(data=home / "pgdata", sockets=settings.SOCKET_DIR, log_file=home / "postgres.log", conf=TEST_CONF)
    server.start()
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
def django_db_keepdb() -> bool:
    """Nothing is dropped at the end: the whole server goes."""
    return True


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings_parallel_suffix: None, postgres: Postgres, valkey: Valkey) -> None:
    """pytest-django's hook before it makes the test database: whoever needs the database has both servers."""
    TransactionTestCase._fixture_teardown = empty_tables  # type: ignore[method-assign, assignment]


def empty_tables(_case: TransactionTestCase) -> None:
    """After a test that commits: no rows but those a migrate makes.

    In place of Django's `flush`, whose TRUNCATE of every table takes half a second and leaves the audit log, which is no model it manages.
    What a server still writes is written first, and never waits for this while this waits for it.
    """
    until = time.monotonic() + BUSY_S
    while True:
        with suppress(OperationalError) if time.monotonic() < until else nullcontext(), transaction.atomic(), connection.cursor() as cursor:
            tables = [f'"{name}"' for name in connection.introspection.table_names(cursor) if name not in MADE_BY_MIGRATE]
            cursor.execute(f"LOCK TABLE {', '.join(tables)} IN SHARE ROW EXCLUSIVE MODE NOWAIT")
            cursor.execute(f"SELECT {', '.join(f'EXISTS (SELECT FROM {table})' for table in tables)}")
            full = [table for table, has_rows in zip(tables, cursor.fetchone(), strict=True) if has_rows]
            cursor.execute("SET LOCAL session_replication_role = replica")  # neither triggers (the log is only appended to) nor references
            for table in full:
                cursor.execute(f"DELETE FROM {table}")
            return
        time.sleep(0.05)


@pytest.fixture(autouse=True)
def _empty_cache() -> None:
    for one in caches.all(initialized_only=True):
        one.clear()


@contextmanager
def in_time(seconds: int = STUCK_S) -> Iterator[None]:
    """What hangs is a failure that says where each thread was, and not a run without an end.

    Of each phase anew: pytest-timeout gives one time to a test, and none to what is taken down after it or tried again.
    """

    def fail(*_: object) -> None:
        faulthandler.dump_traceback(all_threads=True)
        for end in WAITED_FOR:
            end()
        pytest.fail(f"it hung: not done within {seconds} s")

    signal.signal(signal.SIGALRM, fail)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup() -> Generator[None]:
    with in_time():
        return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call() -> Generator[None]:
    with in_time():
        return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown() -> Generator[None]:
    with in_time(TAKEN_DOWN_S):
        return (yield)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With `--no-loadscope-reorder` the files are given out in this order."""
    turns = {ROOT / name: turn for turn, name in enumerate(LONG)}
    items.sort(key=lambda item: turns.get(item.path, len(LONG)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure comes with what the web processes of the browser's tests (tests/frontend/browsing.py) wrote to their logs."""
    report = yield
    if report.failed:
        for log in sorted(settings.MIST_HOME.glob("served-*.log")):
            if text := log.read_text(errors="replace")[-LOG_SHOWN:]:
                report.sections.append((f"end of {log.name}", text))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What passed only when tried again has a fault too."""
    for report in terminalreporter.stats.get("rerun", []):
        terminalreporter.write_sep("_", f"passed, or failed, when tried again: {report.nodeid}")
        terminalreporter.write_line(report.longreprtext)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if not hasattr(session.config, "workerinput"):  # the first process, not a worker of xdist
        shutil.rmtree(os.environ.get("MIST_TESTS_HOME", ""), ignore_errors=True)
