"""Every address that speaks WebSocket."""

from __future__ import annotations

from django.urls import URLPattern, path

from accounts.auth import socket_actor
from core.consumers import LiveConsumer, identifies

identifies(socket_actor)
routes: list[URLPattern] = [path("ws/live", LiveConsumer.as_asgi())]
