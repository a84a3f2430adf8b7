"""The database goes away under the running product, and its disk runs full."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from mist.embedded import Postgres
from tests import migrated
from tests.ops.stack import Stack, wait_for

pytestmark = pytest.mark.slow

PASSWORD = "correct-horse-7"
GONE_S = 20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, 900 MB in memory."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=900m", "none", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("only root may mount a file system to fill")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


class Served:
    """The product on a PostgreSQL that the test starts and stops."""

    def __init__(self, home: Path, data: Path) -> None:
        self.postgres = Postgres(data=data, sockets=home.parent / "pg", log_file=home.parent / "postgres.log")
        migrated.copy_to(data)
        self.postgres.start()
        url = f"postgresql://mist@{quote(str(self.postgres.sockets), safe='')}/mist"
        self.stack = Stack(home, MIST_DATABASE_URL=url, MIST_ADMIN_PASSWORD=PASSWORD)
        self.stack.start()
        body = {"email": "admin@localhost", "password": PASSWORD, "name": "test"}
        status, answer = self.stack.post("/api/v2/auth/tokens", body)
        assert status == 200, answer
        self.token = json.loads(answer)["data"]["token"]

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        headers = {"Authorization": f"Bearer {self.token}"}
        answered = (
            self.stack.get(f"/api/v2{path}", **headers) if method == "GET" else self.stack.post(f"/api/v2{path}", body or {}, **headers)
        )
        return answered[0], json.loads(answered[1])

    def end(self) -> None:
        self.stack.kill()
        self.postgres.stop()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    product = Served(tmp_path / "home", tmp_path / "pgdata18")
    yield product
    product.end()


def test_nothing_is_lost_when_the_database_is_gone_for_twenty_seconds(served: Served) -> None:
    stack = served.stack
    slow = {"name": "slow", "provider": "demo", "credentials": {"machines": 40, "seed": 1, "latency_ms": 3000}}
    assert served.ask("POST", "/clouds", slow)[0] == 200
    wait_for(lambda: served.ask("GET", "/machines?search=state:running")[1]["meta"]["total"] > 8, 30)
    running = [row["id"] for row in served.ask("GET", "/machines?search=state:running&only=name")[1]["data"]][:8]
    jobs = [served.ask("POST", f"/machines/{machine}/actions/stop")[1]["data"]["jobId"] for machine in running]
    before = stack.pids()
    served.postgres.stop()
    gone, gone_at = time.monotonic(), datetime.now(UTC).isoformat()
    status, answer = served.ask("GET", "/machines")
    assert (status, answer["code"]) == (503, "database_unavailable")
    status, answer = served.ask("POST", f"/machines/{running[0]}/actions/start")
    assert (status, answer["code"]) == (503, "database_unavailable")
    status, page = stack.get("/", Cookie="sessionid=somebody")
    assert (status, b"cannot reach its database" in page) == (503, True)
    assert stack.get("/healthz")[0] == 200
    assert stack.get("/readyz")[0] == 503
    time.sleep(max(0, GONE_S - (time.monotonic() - gone)))
    served.postgres.start()
    back = time.monotonic()
    assert served.ask("GET", "/machines")[0] == 200
    assert time.monotonic() - back < 12, "the pool has not waited longer from try to try"
    wait_for(stack.is_ready, 15, lambda: stack.words[-3000:])
    assert stack.pids() == before, "no process had to be started again"

    def polled() -> str:
        return max(
            poll["succeeded_at"] or "" for poll in served.ask("GET", "/clouds/slow")[1]["data"]["polls"] if poll["kind"] == "machine"
        )

    def ended() -> list[str]:
        return [served.ask("GET", f"/jobs/{job}")[1]["data"]["state"] for job in jobs]

    wait_for(lambda: not {"queued", "running", "waiting"} & set(ended()), 60, lambda: str(ended()))
    assert set(ended()) <= {"succeeded", "lost", "failed"}
    told = served.ask("GET", "/events?search=action:machine.stop&limit=1000")[1]["data"]
    for job in jobs:  # asked for once, and ended once
        outcomes = [row["outcome"] for row in told if row["job"] == job]
        assert len(outcomes) == 2 and "requested" in outcomes, outcomes
    assert served.ask("POST", "/clouds/slow/actions/refresh")[0] == 200
    wait_for(lambda: polled() > gone_at, 30)
    assert "as sealed" in stack.manage("verify-audit")


def test_a_full_disk_at_a_write_to_the_vault_leaves_nothing_half_done(tmp_path: Path, disk: Path) -> None:
    os.chmod(tmp_path, 0o755)
    served = Served(tmp_path / "home", disk / "pgdata18")
    try:
        key = {"generate": True}
        assert served.ask("POST", "/keys", {**key, "name": "first"})[0] == 200
        with (disk / "filler").open("wb", buffering=0) as filler, contextlib.suppress(OSError):
            while True:
                filler.write(bytes(4096))
        refused: tuple[int, dict[str, Any]] = (0, {})
        made = 1
        for number in range(2000):
            refused = served.ask("POST", "/keys", {**key, "name": f"key-{number}"})
            if refused[0] != 200:
                break
            made += 1
        assert refused[0] == 503, refused
        assert refused[1]["code"] == "database_full"
        assert "Nothing was done" in refused[1]["detail"]
        assert served.ask("GET", "/keys?limit=1")[1]["meta"]["total"] == made
        (disk / "filler").unlink()
        wait_for(lambda: served.ask("POST", "/keys", {**key, "name": "after"})[0] == 200, 20)
        counted = served.stack.manage(
            *("shell", "-v0", "-c"),
            "from core.models import VaultEntry; from keys.models import Key; "
            "print(Key.objects.count(), VaultEntry.objects.filter(purpose='key').count())",
        )
        assert counted.split() == [str(made + 1)] * 2
        assert "as sealed" in served.stack.manage("verify-audit")
    finally:
        served.end()
