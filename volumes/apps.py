"""The volumes application."""

from django.apps import AppConfig


class VolumesConfig(AppConfig):
    name = "volumes"

    def ready(self) -> None:
        from volumes import actions, exports, inventory  # noqa: F401, PLC0415 - they register themselves
