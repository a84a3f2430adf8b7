"""The real web process for browser tests: the project's ASGI application on the test database, with the jobs run in threads.

uvicorn tests.frontend.served:application, with TEST_DATABASE, TEST_PORT and MIST_TESTS_HOME in the environment.
"""

from __future__ import annotations

import os
import threading
import time

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"

import django
from django.conf import settings

settings.DATABASES["default"]["NAME"] = os.environ["TEST_DATABASE"]
settings.MIST_API_PER_MINUTE = int(os.environ.get("TEST_API_PER_MINUTE", settings.MIST_API_PER_MINUTE))
settings.SOCKET_ORIGINS += [f"http://{host}:{os.environ['TEST_PORT']}" for host in ("127.0.0.1", "localhost")]
django.setup()

from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler  # noqa: E402  settings first
from django.db import DatabaseError, close_old_connections  # noqa: E402

from core import actions, jobs  # noqa: E402
from core.models import Job  # noqa: E402
from core.tasks import run_job  # noqa: E402
from mist.asgi import application as project  # noqa: E402


@actions.on_enqueue
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
            jobs.settle_bulks()
        except DatabaseError:  # a test has stopped it, and will start it again
            close_old_connections()
        time.sleep(0.3)


threading.Thread(target=tick, daemon=True).start()
application = ASGIStaticFilesHandler(project)
