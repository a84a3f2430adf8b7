"""Every address that speaks WebSocket."""

from __future__ import annotations

from django.urls import URLPattern, path

from accounts.auth import rights_of_all, socket_actor
from core import consumers, rechecks
from frontend.consumers import ConsoleConsumer
from machines.consumers import ShellConsumer

consumers.identifies(socket_actor)
rechecks.register(rights_of_all)

routes: list[URLPattern] = [
    path("ws/live", consumers.LiveConsumer.as_asgi()),
    path("ws/console", ConsoleConsumer.as_asgi()),
    path("ssh/<str:ticket>", ShellConsumer.as_asgi()),
]
