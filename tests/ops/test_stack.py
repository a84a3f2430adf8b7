"""The whole product under its supervisor: what is killed comes back, what is stopped is gone."""

from __future__ import annotations

import ast
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ops.stack import PATIENCE, ROOT, Stack, children, is_alive, wait_for

pytestmark = pytest.mark.slow

PARTS = (
    *("postgres", "valkey-server", "mist-web", "mist-shell", "mist-scheduler"),
    *("mist-worker-int", "mist-worker-pol", "mist-worker-bul", "mist-worker-run", "mist-worker-sys"),  # the kernel keeps 15 characters
)


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    running = Stack(tmp_path_factory.mktemp("stack") / "home")
    yield running
    running.kill()


@pytest.fixture
def stack(installation: Stack) -> Stack:
    """Running and ready; one for the whole file, started again after a test that stopped it."""
    if installation.process is None or installation.process.poll() is not None:
        installation.start()
    return installation


def test_it_says_where_it_is_and_that_it_is_well(stack: Stack) -> None:
    wait_for(lambda: "Mist is ready at" in stack.words, 10)
    assert f"Mist is ready at http://localhost:{stack.port}" in stack.words
    state = stack.ready()
    assert state["ready"] is True
    assert set(state["parts"]) == {
        *("database", "broker", "scheduler"),
        *("queue:interactive", "queue:poll", "queue:bulk", "queue:runs", "queue:system"),
    }
    assert stack.get("/healthz") == (200, b"ok\n")


def test_the_first_admin_is_told_once_and_the_password_is_good_for_signing_in(stack: Stack) -> None:
    (password,) = re.findall(r"Sign in as admin@localhost with the password (\S+)", stack.words)
    status, body = stack.post("/api/v2/auth/sessions", {"email": "admin@localhost", "password": password})
    assert status in {200, 403}, body
    status, body = stack.post("/api/v2/auth/tokens", {"email": "admin@localhost", "password": password, "name": "too early"})
    assert status in {401, 403}, body  # a one-time password makes no tokens


def test_the_supervisor_has_one_thread_and_no_connection(stack: Stack) -> None:
    assert stack.process
    status = Path(f"/proc/{stack.process.pid}/status").read_text()
    assert re.search(r"^Threads:\t1$", status, re.MULTILINE)
    sockets = [os.readlink(fd) for fd in Path(f"/proc/{stack.process.pid}/fd").iterdir() if os.readlink(fd).startswith("socket:")]
    assert len(sockets) == 2  # those it listens on for the web and the shell process


def test_its_keys_are_its_own(stack: Stack) -> None:
    assert stack.home.stat().st_mode & 0o777 == 0o700
    for name in ("secret.key", "vault.keys"):
        assert (stack.home / name).stat().st_mode & 0o777 == 0o600
    assert (stack.home / "secret.key").read_text() != (stack.home / "vault.keys").read_text()


def test_figures_are_for_local_callers(stack: Stack) -> None:
    status, body = stack.get("/metrics")
    assert status == 200
    assert b"mist_requests_total" in body
    assert stack.get("/metrics", **{"X-Forwarded-For": "203.0.113.7"})[0] == 403


def test_every_answer_carries_its_request_id_and_a_policy_for_browsers(stack: Stack) -> None:
    result = subprocess.run(["curl", "-si", f"http://127.0.0.1:{stack.port}/healthz"], capture_output=True, text=True, check=True)
    assert "x-request-id: " in result.stdout.lower()
    assert "x-frame-options: deny" in result.stdout.lower()


def test_another_host_name_is_refused(stack: Stack) -> None:
    assert stack.get("/api/v2/spec", Host="evil.example")[0] == 400


def test_the_apis_document_is_made_before_anybody_asks(stack: Stack) -> None:
    wait_for(lambda: list((stack.home / "cache").glob("openapi-*.json")), 60)
    (kept,) = (stack.home / "cache").glob("openapi-*.json")
    document = json.loads(kept.read_text())
    assert document["paths"]["/api/v2/machines"]["get"]["operationId"] == "list_machines"
    document["info"]["title"] = "as it was kept"
    kept.write_text(json.dumps(document))
    assert json.loads(stack.get("/api/v2/spec", Accept="application/json")[1]) == document, "it was made once more"


@pytest.mark.parametrize("name", PARTS)
def test_a_killed_child_is_back_within_five_seconds(stack: Stack, name: str) -> None:
    before = stack.pids()
    os.kill(before[name], signal.SIGKILL)
    wait_for(lambda: stack.pids().get(name, before[name]) != before[name], 5, lambda: stack.words[-2000:])
    wait_for(stack.is_ready, 5, lambda: stack.words[-2000:])
    after = stack.pids()
    assert {other: pid for other, pid in after.items() if other != name} == {other: pid for other, pid in before.items() if other != name}
    assert "was ended by SIGKILL" in stack.words


def test_after_the_broker_was_killed_every_queue_works_again(stack: Stack, tmp_path: Path) -> None:
    file = tmp_path / "notes"
    os.kill(stack.pids()["valkey-server"], signal.SIGKILL)
    wait_for(stack.is_ready, 10)
    queues = ("interactive", "poll", "bulk", "system")
    stack.manage(
        *("shell", "-v0", "-c"),
        f"from tests.ops.stuck.tasks import note; [note.apply_async(({str(file)!r}, q), queue=q) for q in {queues!r}]",
    )
    wait_for(lambda: file.exists() and sorted(file.read_text().split()) == sorted(queues), 15, lambda: stack.words[-2000:])


def test_what_was_queued_while_its_worker_was_dead_is_done_once(stack: Stack, tmp_path: Path) -> None:
    file = tmp_path / "notes"
    os.kill(stack.pids()["mist-worker-bul"], signal.SIGKILL)
    send = f"from tests.ops.stuck.tasks import note; [note.apply_async(({str(file)!r}, str(n)), queue='bulk') for n in range(20)]"
    stack.manage("shell", "-v0", "-c", send)
    wait_for(lambda: file.exists() and len(file.read_text().split()) >= 20, 20)
    assert sorted(file.read_text().split(), key=int) == [str(n) for n in range(20)]


def test_a_stuck_worker_is_replaced_and_what_it_still_has_ends(stack: Stack, tmp_path: Path) -> None:
    file = tmp_path / "notes"
    before = stack.pids()["mist-worker-bul"]
    send = (
        "from tests.ops.stuck.tasks import hang, note; hang.apply_async((300,), queue='bulk'); "
        f"note.apply_async(({str(file)!r}, 'late', 16), queue='bulk')"
    )
    stack.manage("shell", "-v0", "-c", send)
    wait_for(lambda: stack.pids().get("mist-worker-bul", before) != before, 20, lambda: stack.words[-2000:])
    assert "tests.ops.stuck.tasks.hang runs for" in stack.words
    wait_for(lambda: not is_alive(before), 30)
    assert file.read_text() == "late\n"  # begun in the old process, and let to end
    stack.manage("shell", "-v0", "-c", f"from tests.ops.stuck.tasks import note; note.apply_async(({str(file)!r}, 'new'), queue='bulk')")
    wait_for(lambda: file.read_text() == "late\nnew\n", 5)


def test_a_database_that_stands_still_holds_nobody_for_good(stack: Stack) -> None:
    before = stack.pids()
    sessions = [before["postgres"], *children(before["postgres"])]
    for pid in sessions:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(4)
    assert stack.get("/healthz")[0] == 200
    for pid in sessions:
        os.kill(pid, signal.SIGCONT)
    wait_for(stack.is_ready, 10)
    assert stack.pids() == before


def refusal(stack: Stack, *arguments: str) -> str:
    """What it says when it does not start."""
    command = [sys.executable, "manage.py", "up", *arguments]
    result = subprocess.run(command, cwd=ROOT, env=stack.environment, capture_output=True, text=True, timeout=60)
    assert result.returncode == 1
    return result.stderr


def test_a_second_one_in_the_same_home_is_refused_in_words(stack: Stack) -> None:
    assert stack.process
    assert f"Mist already runs in {stack.home} (process {stack.process.pid}" in refusal(Stack(stack.home))


def test_a_taken_port_is_named(stack: Stack, tmp_path: Path) -> None:
    assert f"Something else listens on 127.0.0.1:{stack.port}" in refusal(Stack(tmp_path / "home", port=stack.port))


def test_a_killed_supervisor_takes_all_with_it_and_the_next_start_is_quick(stack: Stack) -> None:
    assert stack.process
    family = stack.family()
    assert len(family) > 12
    stack.process.kill()
    stack.process.wait()
    wait_for(lambda: not any(is_alive(pid) for pid in family), 10)
    assert stack.start() <= 10 * PATIENCE


def test_a_stale_pid_of_somebody_else_stops_nobody(stack: Stack) -> None:
    assert stack.process
    stack.process.kill()
    stack.process.wait()
    wait_for(lambda: not any(is_alive(pid) for pid in stack.family()), 10)
    pid_file = stack.home / "pgdata18" / "postmaster.pid"
    pid_file.write_text(f"{os.getpid()}\n/somewhere\n0\n5432\n/tmp\n\n  1 1\nready\n")
    stack.start(within_s=20)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_told_to_stop_it_leaves_nothing_running(stack: Stack, number: int) -> None:
    family = stack.family()
    assert stack.stop(number) <= 10 * PATIENCE
    assert not [pid for pid in family if is_alive(pid)]
    assert stack.process
    assert stack.process.returncode == 0


def test_commands_reach_the_running_installation(stack: Stack) -> None:
    words = stack.manage("shell", "-v0", "-c", "from core.models import Worker; print(set(Worker.objects.values_list('queue', flat=True)))")
    assert ast.literal_eval(words) == {"bulk", "interactive", "poll", "runs", "system"}
