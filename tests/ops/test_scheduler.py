"""The loop that calls the ticks: each when due, none twice at a time, and one's fault is nobody else's."""

from __future__ import annotations

import threading

import pytest
from django.db import OperationalError

from core.ticks import Tick
from mist.board import Board
from mist.roles import SCHEDULER_THREADS, Scheduler


def scheduler(**functions: object) -> Scheduler:
    ticks = [Tick(name=name, every_s=10, run=function) for name, function in functions.items()]  # type: ignore[arg-type]
    loop = Scheduler(Board(SCHEDULER_THREADS), ticks)
    loop.due = {name: (0.0, tick) for name, (_, tick) in loop.due.items()}
    return loop


def finish(loop: Scheduler) -> None:
    for future in loop.at_work.values():
        future.result(5)


def test_a_tick_is_called_when_due_and_not_before() -> None:
    calls: list[int] = []
    loop = scheduler(count=lambda: calls.append(1))
    for now in (1.0, 2.0, 9.9, 10.5, 11.0):
        loop.step(now)
        finish(loop)
    assert len(calls) == 2


def test_a_failing_tick_is_called_again_and_holds_up_no_other(caplog: pytest.LogCaptureFixture) -> None:
    calls: list[str] = []

    def fail() -> None:
        calls.append("fail")
        raise ZeroDivisionError

    def away() -> None:
        raise OperationalError

    loop = scheduler(fail=fail, away=away, work=lambda: calls.append("work"))
    for now in (1.0, 12.0):
        loop.step(now)
        finish(loop)
    assert sorted(calls) == ["fail", "fail", "work", "work"]
    assert "tick fail failed" in caplog.text
    assert "tick away did not reach the database" in caplog.text


def test_a_slow_tick_is_not_called_twice_at_a_time_and_its_lag_is_told() -> None:
    go, calls = threading.Event(), []

    def slow() -> None:
        calls.append(1)
        go.wait(5)

    loop = scheduler(slow=slow)
    assert loop.step(1.0) == 0
    assert loop.step(25.0) == 15  # due again at 10
    assert loop.board.running()[0].what == "slow"
    go.set()
    finish(loop)
    loop.step(26.0)
    finish(loop)
    assert len(calls) == 2


def test_after_a_long_sleep_a_tick_is_called_once_and_not_for_each_time_missed() -> None:
    calls: list[int] = []
    loop = scheduler(count=lambda: calls.append(1))
    for now in (1.0, 1000.0, 1001.0, 1002.0):
        loop.step(now)
        finish(loop)
    assert len(calls) == 2
