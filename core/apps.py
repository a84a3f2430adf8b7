"""The core application."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig, apps
from django.db import connections
from django.db.models.signals import post_migrate

from core import history


class CoreConfig(AppConfig):
    name = "core"

    def ready(self) -> None:
        from core import chain, log, retention  # noqa: F401, PLC0415 - they register themselves

        post_migrate.connect(keep_history, sender=self)


def keep_history(sender: AppConfig, using: str = "default", **_: Any) -> None:
    """After each migrate: every resource table keeps its versions. A new kind cannot forget to."""
    with connections[using].cursor() as cursor:
        present = set(connections[using].introspection.table_names(cursor))
        kept = set(history.tables())
        for model in apps.get_models():
            table = model._meta.db_table
            if getattr(model, "has_history", False) and model._meta.managed and table in present and table not in kept:
                cursor.execute(history.trigger_sql(table))
