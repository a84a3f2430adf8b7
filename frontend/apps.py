"""The console as a Django app."""

from __future__ import annotations

from django.apps import AppConfig


class FrontendConfig(AppConfig):
    name = "frontend"

    def ready(self) -> None:
        from frontend import searches  # noqa: F401, PLC0415 - it registers itself
