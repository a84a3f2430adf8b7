"""The machines application."""

from django.apps import AppConfig


class MachinesConfig(AppConfig):
    name = "machines"

    def ready(self) -> None:
        from machines import actions, exports, inventory, tasks  # noqa: F401, PLC0415 - they register themselves
        from machines.shell import inside, ssh, sweep  # noqa: F401, PLC0415 - and these
