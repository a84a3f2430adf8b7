"""`manage.py up`: everything of an installation under one supervisor, or one role of it."""

from __future__ import annotations

import errno
import http.client
import json
import logging
import os
import socket
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import connection

from accounts.people import create_first_admin
from core.api import document
from mist import roles
from mist.embedded import CannotStart, Postgres, Valkey, locked
from mist.supervisor import STOP_S, Fork, Program, Stopped, Supervisor

log = logging.getLogger(__name__)

ROLES = ("all", "web", "shell", "worker", "scheduler")
MIGRATION_LOCK = 0x6D696772  # "migr": several roles may start at once on an external database
READY_WITHIN_S = 120


class Command(BaseCommand):
    help = "Start Mist: its database and broker (unless MIST_DATABASE_URL and MIST_REDIS_URL name others), web, workers and scheduler."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--role", choices=ROLES, default="all", help="what to run here (default: all)")
        parser.add_argument("--queue", choices=sorted(settings.QUEUES), action="append", help="with --role worker: these queues only")

    def handle(self, *, role: str, queue: list[str] | None, **_: Any) -> None:
        began = time.monotonic()
        if role != "all" and (settings.EMBEDDED_POSTGRES or settings.EMBEDDED_VALKEY):
            raise CommandError(f"--role {role} runs beside others: set MIST_DATABASE_URL and MIST_REDIS_URL to the servers they share.")
        supervisor = Supervisor()
        try:
            with _only_one(role) if role == "all" else _nothing():
                try:
                    self._start(supervisor, role, queue or list(settings.QUEUES), began)
                    supervisor.watch()
                finally:
                    if role == "all":
                        print("\nStopping …", flush=True)
                    supervisor.stop()
        except Stopped:
            pass
        except CannotStart as error:
            raise CommandError(str(error)) from error

    def _start(self, supervisor: Supervisor, role: str, queues: list[str], began: float) -> None:
        serves = role in {"all", "web"}
        listener = _listener() if serves else None
        if settings.EMBEDDED_POSTGRES or settings.EMBEDDED_VALKEY:
            _start_stores(supervisor)
        web_config = roles.web_config() if serves else None
        roles.preload()
        roles.settle()
        admin = supervisor.once("setup", _set_up)
        if listener is not None and web_config is not None:
            supervisor.start(Fork("web", partial(roles.web, config=web_config, listener=listener), beats=True))
        if role in {"all", "shell"}:
            for number in range(settings.MIST_SHELL_PROCESSES):
                supervisor.start(_shell(number))
        if role in {"all", "worker"}:
            for name in queues:
                slots = settings.QUEUES[name]
                supervisor.start(Fork(f"worker-{name}", partial(roles.worker, queue=name, slots=slots), slots=slots, canaries=True))
        if role in {"all", "scheduler"}:
            supervisor.start(Fork("scheduler", roles.scheduler, slots=roles.SCHEDULER_THREADS, beats=True))
        if role == "all":
            supervisor.aside("announce", partial(_announce, began, admin))
        elif serves:
            supervisor.aside("document", document.make_ahead)


def _shell(number: int) -> Fork:
    """A process that holds shells. Its listener is made here, so that callers wait while it is started again."""
    name = f"shell-{number}" if number else "shell"
    if settings.MIST_SHELL_BIND:
        host, _, port = settings.MIST_SHELL_BIND.rpartition(":")
        listener, address = roles.listen(host.strip("[]"), int(port) + number), settings.MIST_SHELL_ADDRESS
        if number:
            address = f"{address.rpartition(':')[0]}:{int(address.rpartition(':')[2]) + number}"
    else:
        path = settings.SOCKET_DIR / f"{name}.sock"
        listener, address = roles.listen_local(path), f"unix:{path}"
    stop_s = settings.MIST_SHELL_DRAIN_S + STOP_S
    return Fork(name, partial(roles.shell, listener=listener, address=address), beats=True, turn=0, stop_s=stop_s)


def _listener() -> socket.socket:
    try:
        return roles.listen(settings.MIST_BIND, settings.MIST_PORT)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise CannotStart(
                f"Something else listens on {settings.MIST_BIND}:{settings.MIST_PORT}. Stop it, or choose another MIST_PORT."
            ) from error
        raise CannotStart(f"Cannot listen on {settings.MIST_BIND}:{settings.MIST_PORT}: {error.strerror}.") from error


def _start_stores(supervisor: Supervisor) -> None:
    home, logs = settings.MIST_HOME, settings.MIST_HOME / "log"
    logs.mkdir(exist_ok=True)
    if settings.EMBEDDED_POSTGRES:
        postgres = Postgres(data=home / "pgdata18", sockets=settings.SOCKET_DIR, log_file=logs / "postgres.log")
        supervisor.start(Program("postgres", postgres))
    if settings.EMBEDDED_VALKEY:
        valkey = Valkey(data=home / "valkey", sockets=settings.SOCKET_DIR, log_file=logs / "valkey.log")
        supervisor.start(Program("valkey", valkey))
        valkey.wait_ready()
    if settings.EMBEDDED_POSTGRES:
        postgres.wait_ready(60)
        postgres.create_database("mist")


@contextmanager
def _nothing() -> Iterator[None]:
    yield


@contextmanager
def _only_one(role: str) -> Iterator[None]:
    """One installation a home. Raises: CannotStart, naming the one that runs."""
    home = settings.MIST_HOME
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    who = home / "mist.pid"
    try:
        former = int(who.read_text().split()[0])
        os.kill(former, 0)
        wait_s = 0.2
    except (OSError, ValueError, IndexError):
        wait_s = 10.0  # nobody, or one that was killed and whose children are ending
    words = f"Mist already runs in {home}" + (f" (process {who.read_text().strip()})" if who.exists() else "")
    refusal = f"{words}. Stop that one first, or choose another MIST_HOME."
    with locked(home / "mist.lock", wait_s=wait_s, refusal=refusal):
        who.write_text(f"{os.getpid()} {settings.MIST_PUBLIC_URL}\n")
        yield
        who.unlink(missing_ok=True)


def _set_up() -> str:
    """In a process of its own, so that the supervisor never connects to anything: tables, and the first admin.

    Returns: what to tell about that admin.
    """
    with connection.cursor() as cursor:
        # Asked again and again, not waited for: a waiting statement holds a snapshot, and CREATE INDEX CONCURRENTLY waits for those.
        while True:
            cursor.execute("SELECT pg_try_advisory_lock(%s)", [MIGRATION_LOCK])
            if cursor.fetchone() == (True,):
                break
            time.sleep(0.5)
        call_command("migrate", interactive=False, verbosity=0)
        made = create_first_admin()
    if made is None:
        return ""
    user, password = made
    if password is None:
        return f"Sign in as {user.email} with the password of MIST_ADMIN_PASSWORD."
    return f"Sign in as {user.email} with the password {password}\nIt is for one sign-in: you choose your own then. It is shown this once."


def _announce(began: float, admin: str) -> None:
    """Wait until all is well, then say where, and who the first admin is; then make what pages of the API begin with."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.MIST_BIND, settings.MIST_BIND)  # noqa: S104
    deadline = time.monotonic() + READY_WITHIN_S
    state: dict[str, Any] = {}
    while time.monotonic() < deadline:
        try:
            request = http.client.HTTPConnection(host, settings.MIST_PORT, timeout=10)
            request.request("GET", "/readyz", headers={"Host": "localhost"})
            answer = request.getresponse()
            state = json.load(answer)
            if answer.status == 200:
                break
        except (OSError, ValueError, http.client.HTTPException):
            pass
        time.sleep(0.1)
    else:
        missing = [name for name, part in state.get("parts", {}).items() if not part["ok"]] or ["the web process does not answer"]
        print(f"Mist is not ready after {READY_WITHIN_S} s: {', '.join(missing)}. It goes on trying; see the messages above.", flush=True)
        return
    took = f"(after {time.monotonic() - began:.1f} s; Ctrl-C stops it)"
    print("", f"Mist is ready at {settings.MIST_PUBLIC_URL}", *admin.splitlines(), took, "", sep="\n", flush=True)
    document.make_ahead()
