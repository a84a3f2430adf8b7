"""The networks application."""

from django.apps import AppConfig


class NetworksConfig(AppConfig):
    name = "networks"

    def ready(self) -> None:
        from networks import exports, inventory  # noqa: F401, PLC0415 - they register themselves
