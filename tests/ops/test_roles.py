"""The same code in parts, on servers that are not ours: as containers run it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from mist.embedded import Postgres, Valkey
from tests.ops.stack import PATIENCE, Stack, is_alive, wait_for
from tests.ops.test_stack import refusal

pytestmark = pytest.mark.slow

Launch = Callable[..., Stack]


@pytest.fixture
def launch(postgres: Postgres, valkey: Valkey, tmp_path: Path) -> Iterator[Launch]:
    postgres.create_database("mist_roles")
    started: list[Stack] = []

    def start(role: str, *arguments: str) -> Stack:
        stack = Stack(
            tmp_path / f"home{len(started)}",
            MIST_DATABASE_URL=f"postgresql://mist@{quote(str(postgres.sockets), safe='')}/mist_roles",
            MIST_REDIS_URL=f"unix://{valkey.socket}",
            # Keys are the installation's: its parts are given the same files.
            MIST_SECRET_KEY_FILE=str(tmp_path / "secret.key"),
            MIST_VAULT_KEYS_FILE=str(tmp_path / "vault.keys"),
        )
        started.append(stack.launch("--role", role, *arguments))
        return stack

    yield start
    for stack in started:
        stack.kill()


def test_the_parts_make_a_whole_and_another_scheduler_takes_over(launch: Launch) -> None:
    web, workers = launch("web"), launch("worker")
    leader = launch("scheduler")
    web.wait_ready(300)  # migrations too, and three starts at once
    wait_for(lambda: "this scheduler leads" in leader.words, 30)
    standby = launch("scheduler")
    wait_for(lambda: "mist-scheduler" in standby.pids(), 60)
    wait_for(lambda: set(web.pids()) == {"mist-web"}, 60, lambda: str(web.pids()))  # at first it has the API's document made
    assert set(workers.pids()) == {"mist-worker-int", "mist-worker-pol", "mist-worker-bul", "mist-worker-run", "mist-worker-sys"}
    family = leader.family()
    assert leader.process
    os.kill(leader.process.pid, signal.SIGKILL)
    wait_for(lambda: not any(is_alive(pid) for pid in family[1:]), 10)
    wait_for(lambda: "this scheduler leads" in standby.words, 15)
    for part in (web, workers, standby):
        assert part.stop(signal.SIGTERM) <= 10 * PATIENCE
        assert part.process
        assert part.process.returncode == 0


def test_a_worker_may_serve_one_queue(launch: Launch) -> None:
    worker = launch("worker", "--queue", "poll")
    wait_for(lambda: set(worker.pids()) == {"mist-worker-pol"}, 60, lambda: worker.words)
    assert worker.stop(signal.SIGTERM) <= 10 * PATIENCE


def test_a_role_alone_needs_shared_servers(tmp_path: Path) -> None:
    assert "set MIST_DATABASE_URL and MIST_REDIS_URL" in refusal(Stack(tmp_path / "home"), "--role", "worker")
