"""Every address that speaks WebSocket."""

from __future__ import annotations

from django.urls import URLPattern, path

from core.consumers import LiveConsumer

routes: list[URLPattern] = [path("ws/live", LiveConsumer.as_asgi())]
