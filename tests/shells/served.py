"""The web and shell processes for tests of shells: the project's own, on the test database.

python -m tests.shells.served web|shell <port|socket path or host:port>; in the environment:
TEST_DATABASE, MIST_TESTS_HOME and TEST_SETTINGS (JSON).
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from pathlib import Path

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"

import django
from django.conf import settings

settings.DATABASES["default"]["NAME"] = os.environ["TEST_DATABASE"]
changed = json.loads(os.environ.get("TEST_SETTINGS", "{}"))
for name, value in changed.items():
    setattr(settings, name, value)
django.setup()

from machines.shell import holder as holding  # noqa: E402  settings first
from machines.shell import upload  # noqa: E402
from machines.shell.holder import Holder  # noqa: E402
from mist import roles  # noqa: E402

for module in (holding, upload):
    for name in changed:
        if hasattr(module, name):  # how often and how long it does what
            setattr(module, name, changed[name])


def web(port: int) -> None:
    settings.SOCKET_ORIGINS.append(f"http://127.0.0.1:{port}")
    listener = roles.listen("127.0.0.1", port)
    config = roles.web_config()
    import uvicorn

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


if __name__ == "__main__":
    if sys.argv[1] == "web":
        web(int(sys.argv[2]))
    else:
        asyncio.run(shell(sys.argv[2]))
