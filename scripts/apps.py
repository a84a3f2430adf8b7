"""The scripts application."""

from django.apps import AppConfig


class ScriptsConfig(AppConfig):
    name = "scripts"

    def ready(self) -> None:
        from scripts import actions, after, recovery  # noqa: F401, PLC0415 - they register themselves
