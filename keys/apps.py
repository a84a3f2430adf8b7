"""The keys application: registers its actions."""

from django.apps import AppConfig


class KeysConfig(AppConfig):
    name = "keys"

    def ready(self) -> None:
        from keys import actions  # noqa: F401, PLC0415 - they register themselves
