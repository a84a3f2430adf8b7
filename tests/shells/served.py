"""The web and shell processes for tests of shells: the project's own, on the test database.

A module of the fork server (tests/forked.py).
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from pathlib import Path
from typing import Any

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"

import django
from django.conf import settings

django.setup()

import uvicorn  # noqa: E402  settings first

from machines.shell import holder as holding  # noqa: E402
from machines.shell import upload  # noqa: E402
from machines.shell.holder import Holder  # noqa: E402
from mist import roles  # noqa: E402


def run(what: str, where: str, changed: dict[str, Any]) -> None:
    """Be one of them: "web" on a port, "shell" on a unix socket's path or host:port."""
    for name, value in changed.items():
        for module in (holding, upload):
            if hasattr(module, name):  # how often and how long it does what
                setattr(module, name, value)
    if what == "web":
        web(int(where))
    else:
        asyncio.run(shell(where))


def web(port: int) -> None:
    settings.SOCKET_ORIGINS.append(f"http://127.0.0.1:{port}")
    listener = roles.listen("127.0.0.1", port)
    config = roles.web_config()
    uvicorn.Server(config).run(sockets=[listener])


async def shell(where: str) -> None:
    """On a unix socket (a path), or on TCP (host:port)."""
    loop = asyncio.get_running_loop()
    is_local = where.startswith("/")
    host, _, port = where.rpartition(":")
    listener = roles.listen_local(Path(where)) if is_local else roles.listen(host, int(port))
    address = settings.MIST_SHELL_ADDRESS or (f"unix:{where}" if is_local else where)
    holder = Holder(name=f"{socket.gethostname()[:60]}:{os.getpid()}:1", address=address)
    loop.add_signal_handler(signal.SIGTERM, holder.stop)
    server = await holder.listen(listener)
    await holder.run(lambda: None)
    server.close()
