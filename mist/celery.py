"""The Celery application. Web processes import it too: whoever enqueues needs it as the default."""

from __future__ import annotations

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mist.settings")

app = Celery("mist")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
