"""The product's database, migrated once a test run and copied by whoever needs one: to migrate takes ten seconds, to copy half a one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

from mist import env
from mist.embedded import TEST_CONF, Postgres, locked

ROOT = Path(__file__).resolve().parent.parent
NAME = "mist"  # of the database


def copy_to(data: Path) -> None:
    """Make `data` the folder of a PostgreSQL that has never run, with the migrated database in it."""
    home = Path(os.environ["MIST_TESTS_HOME"]) / "migrated"
    home.mkdir(exist_ok=True)
    with locked(home / "lock", wait_s=300, refusal="another process has been migrating for five minutes"):
        if not (home / "done").exists():
            _migrate(home)
            (home / "done").touch()
    data.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    shutil.copytree(home / "pgdata", data)


def _migrate(home: Path) -> None:
    server = Postgres(data=home / "pgdata", sockets=env.socket_dir(home), log_file=home / "postgres.log", conf=TEST_CONF)
    server.start()
    try:
        server.create_database(NAME)
        others = {name: value for name, value in os.environ.items() if not name.startswith("MIST_")}
        url = f"postgresql://mist@{quote(str(server.sockets), safe='')}/{NAME}"
        environment = {**others, "DJANGO_SETTINGS_MODULE": "mist.settings", "MIST_HOME": str(home), "MIST_DATABASE_URL": url}
        subprocess.run([sys.executable, "manage.py", "migrate", "-v0"], cwd=ROOT, env=environment, check=True)
    finally:
        server.stop()
