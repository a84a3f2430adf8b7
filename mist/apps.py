"""The project as a Django app: its commands (`up`), and the Celery application as everybody's default."""

from __future__ import annotations

from django.apps import AppConfig

from mist.celery import app


class MistConfig(AppConfig):
    name = "mist"

    def ready(self) -> None:
        app.set_default()
