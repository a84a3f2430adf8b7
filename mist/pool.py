"""The database's connections of one process: how many there are, and what becomes of them when the database goes away and comes back.

Left to itself psycopg's pool looks for a lost database after 1, 2, 4 … 256 seconds, and finds out one by one, ever slower, that its
idle connections are lost: whoever asks waits, though the database has long been back.
"""

from __future__ import annotations

from typing import Any

import psycopg
from django.db import connections
from psycopg_pool import ConnectionPool


class Lent(psycopg.Connection[Any]):
    """When one turns out to be lost, so are most: all idle ones are looked at, at once."""

    def execute(self, *args: Any, **how: Any) -> psycopg.Cursor[Any]:
        """What the pool asks before it lends (Django has cursors of its own)."""
        try:
            return super().execute(*args, **how)
        except psycopg.OperationalError:
            if pool := connections["default"].pool:
                pool.check()
            raise


# Roles in the whole × max_size stays below max_connections (mist/embedded.py); min_size 0, since an idle backend is memory.
# A starved pool fails after `timeout` and says so. One that has not reached its database for a second begins anew.
POOL = {
    "connection_class": Lent,
    "min_size": 0,
    "max_size": 10,
    "timeout": 10,
    "max_idle": 60,
    "max_lifetime": 1800,
    "num_workers": 1,
    "reconnect_timeout": 1,
    "reconnect_failed": ConnectionPool.check,
}
