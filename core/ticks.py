"""What the scheduler does by itself: small functions, each every so many seconds, each alone in its faults."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

Function = Callable[[], object]


@dataclass(frozen=True, kw_only=True)
class Tick:
    name: str
    every_s: float
    run: Function


_ticks: dict[str, Tick] = {}


def every(seconds: float) -> Callable[[Function], Function]:
    """Decorator: the leading scheduler calls this function every `seconds`."""

    def add(function: Function) -> Function:
        name = f"{function.__module__}.{function.__qualname__}"
        _ticks[name] = Tick(name=name, every_s=seconds, run=function)
        return function

    return add


def all_ticks() -> list[Tick]:
    return list(_ticks.values())
