"""Our processes for tests, as forks of one that has loaded everything: to load takes seconds, to fork none."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connection

from mist.embedded import die_with_parent

LOADED = ["tests.frontend.served", "tests.shells.served"]

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(LOADED)


class Process:
    """One of them, on this test process's database: `run(*arguments)` of a module, with these settings changed. `kill` is kill -9."""

    def __init__(self, module: str, log: Path, *arguments: Any, changed: dict[str, Any] | None = None) -> None:
        assert module in LOADED
        self.log = log
        self.log.touch()
        target = (module, str(log), str(connection.settings_dict["NAME"]), changed or {}, arguments)
        self._process = _context.Process(target=_begin, args=target, daemon=True)
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process.is_alive()

    def kill(self) -> None:
        self._process.kill()
        self._process.join()

    def tell_to_stop(self) -> None:
        self._process.terminate()

    def wait(self, seconds: float) -> int | None:
        """How it ended; None when it did not in time."""
        self._process.join(seconds)
        return self._process.exitcode

    def stop(self) -> None:
        self.tell_to_stop()
        if self.wait(8) is None:
            self.kill()


def _begin(module: str, log: str, database: str, changed: dict[str, Any], arguments: tuple[Any, ...]) -> None:
    die_with_parent(signal.SIGTERM)
    with open(log, "wb") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    settings.DATABASES["default"]["NAME"] = database
    for name, value in changed.items():
        setattr(settings, name, value)
    importlib.import_module(module).run(*arguments)
