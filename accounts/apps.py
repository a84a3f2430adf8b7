"""The accounts application."""

from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "accounts"

    def ready(self) -> None:
        from accounts import actions, adapter, approvals, auth, drafts, exports, throttle  # noqa: F401, PLC0415 - they register themselves
