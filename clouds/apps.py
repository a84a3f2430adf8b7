"""The clouds application: registers its actions and inventories."""

from django.apps import AppConfig


class CloudsConfig(AppConfig):
    name = "clouds"

    def ready(self) -> None:
        from clouds import actions, exports, inventory, polling, tasks, vault_kv  # noqa: F401, PLC0415 - they register themselves
        from keys import references  # noqa: PLC0415

        references.tell("cloud", polling.renew)
