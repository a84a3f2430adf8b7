"""The real web process for browser tests: the project's ASGI application on the test database, with the jobs run in threads.

A module of the fork server (tests/forked.py).
"""

from __future__ import annotations

import os
import threading
import time

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"

import django
import uvicorn
from django.conf import settings

django.setup()

from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler  # noqa: E402  settings first
from django.db import DatabaseError, close_old_connections  # noqa: E402

from core import actions, bulks, jobs  # noqa: E402
from core.models import Job  # noqa: E402
from core.tasks import run_job  # noqa: E402
from mist.asgi import application as project  # noqa: E402


def run(port: int) -> None:
    settings.SOCKET_ORIGINS += [f"http://{host}:{port}" for host in ("127.0.0.1", "localhost")]
    actions.on_enqueue(in_a_thread)
    threading.Thread(target=tick, daemon=True).start()
    uvicorn.run(ASGIStaticFilesHandler(project), port=port, log_level="warning")


def in_a_thread(job: Job) -> None:
    """In place of the broker and a worker: the same task, in this process."""

    def work() -> None:
        run_job(job.pk.hex)
        close_old_connections()

    threading.Thread(target=work, daemon=True).start()


def tick() -> None:
    while True:
        try:
            jobs.release_due()
            bulks.settle_bulks()
        except DatabaseError:  # a test has stopped it, and will start it again
            close_old_connections()
        time.sleep(0.3)
