"""What a supervisor reads of a process that may not answer any more."""

from __future__ import annotations

import os
import threading
import time

from mist.board import Board
from mist.supervisor import BEAT_STALE_S, CANARY_STALE_S, DEADLINE_GRACE_S, Fork


def test_a_child_writes_and_its_parent_reads() -> None:
    board = Board(2)
    pid = os.fork()
    if not pid:
        board.begin("core.tasks.run_job", within_s=5)
        board.beat()
        board.canary()
        os._exit(0)
    os.waitpid(pid, 0)
    now = time.monotonic()
    (slot,) = board.running()
    assert slot.what == "core.tasks.run_job"
    assert now - 10 < slot.started <= now
    assert slot.deadline == slot.started + 5
    assert now - 10 < board.beat_at <= now
    assert board.canary_at >= board.beat_at


def test_each_thread_has_a_slot_and_gives_it_back() -> None:
    board = Board(2)
    inside, leave = threading.Barrier(3), threading.Event()

    def work(name: str) -> None:
        with board.working(name, within_s=60):
            inside.wait(5)
            leave.wait(5)

    threads = [threading.Thread(target=work, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    inside.wait(5)
    assert {slot.what for slot in board.running()} == {"a", "b"}
    board.begin("one too many", within_s=1)  # not watched, and nobody's slot is taken
    board.end()
    assert {slot.what for slot in board.running()} == {"a", "b"}
    leave.set()
    for thread in threads:
        thread.join()
    assert board.running() == []


def test_a_deadline_may_be_moved_by_what_runs() -> None:
    board = Board(1)
    board.begin("poll", within_s=300)
    board.extend(10)
    assert board.running()[0].deadline <= time.monotonic() + 10


def part(slots: int = 2) -> Fork:
    fork = Fork("worker-poll", lambda board: None, slots=slots, beats=True, canaries=True)
    fork.board = Board(slots)
    return fork


def test_a_slot_past_its_deadline_and_grace_is_a_complaint() -> None:
    fork = part()
    fork.board.begin("clouds.tasks.poll", within_s=20)
    fork.board.beat()
    started = fork.board.running()[0].started
    assert fork.complaint(started + 20 + DEADLINE_GRACE_S - 1) == ""
    assert fork.complaint(started + 20 + DEADLINE_GRACE_S + 1).startswith("clouds.tasks.poll runs for 31 s, 11 s past its deadline")


def test_a_main_loop_that_stands_still_is_a_complaint() -> None:
    fork = part()
    fork.board.beat()
    assert fork.complaint(fork.board.beat_at + BEAT_STALE_S - 1) == ""
    assert "main loop" in fork.complaint(fork.board.beat_at + BEAT_STALE_S + 1)


def test_no_canary_is_a_complaint_of_a_worker_with_a_free_slot_but_not_of_a_busy_one() -> None:
    fork = part()
    fork.beats = False
    later = fork.board.created + CANARY_STALE_S + 1
    assert "nothing came through its queue" in fork.complaint(later)
    for _ in range(2):
        fork.board.begin("long", within_s=1000)
        fork.board._mine.index = None  # as another thread would
    assert fork.complaint(later) == ""
