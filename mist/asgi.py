"""What the web process serves: HTTP by Django, sockets by Channels."""

from __future__ import annotations

import os
from typing import Any

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import OriginValidator
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mist.settings")

http = get_asgi_application()  # sets Django up: consumers may be imported after this line only

from django.conf import settings  # noqa: E402

from core import metrics  # noqa: E402
from mist.sockets import routes  # noqa: E402


class _Origin(OriginValidator):
    """Another site's page would send our cookie along: its Origin is refused. Browsers always send one; programs need not."""

    def valid_origin(self, parsed_origin: Any) -> bool:
        return parsed_origin is None or bool(super().valid_origin(parsed_origin))


_sockets = _Origin(AuthMiddlewareStack(URLRouter(routes)), settings.SOCKET_ORIGINS)


async def sockets(scope: Any, receive: Any, send: Any) -> None:
    """Every WebSocket, counted while it is open."""
    with metrics.SOCKETS.track_inprogress():
        await _sockets(scope, receive, send)


application = ProtocolTypeRouter({"http": http, "websocket": sockets})
