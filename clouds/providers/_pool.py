"""Several hosts asked at once, each in a thread of its own, so that a dead one delays no other."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any, TypeVar

from core.errors import MistError, Unavailable

from .base import Context

T = TypeVar("T")
R = TypeVar("R")


def each(items: Sequence[T], work: Callable[[T, Context], R], context: Context, *, width: int = 32) -> Iterator[tuple[T, R | MistError]]:
    """`work(item, context)` for each item, at most `width` at once: (item, result or our error), as they finish.

    What the context asks of the rest of Mist (keys, host keys, trust, budget) is asked in the thread that iterates, since
    that may be the database; only `resolve` is called in the pool's threads. Items not done at the deadline come back as
    Unavailable; nobody waits for their threads.
    """
    inbox: queue.SimpleQueue[Callable[[], tuple[T, R | MistError] | None]] = queue.SimpleQueue()

    def at_the_desk(ask: Callable[..., Any]) -> Callable[..., Any]:
        def forward(*args: Any) -> Any:
            answer: Future[Any] = Future()

            def serve() -> None:
                try:
                    answer.set_result(ask(*args))
                except MistError as error:
                    answer.set_exception(error)

            inbox.put(serve)
            try:
                return answer.result(context.deadline.remaining())
            except TimeoutError as error:
                raise Unavailable("There was no time left to ask.", code="cloud_timeout") from error

        return forward

    def done(item: T, future: Future[R]) -> tuple[T, R | MistError]:
        error = future.exception()
        if isinstance(error, MistError):
            return item, error
        return item, future.result()

    ours = replace(
        context,
        spend=at_the_desk(context.spend),
        private_key=at_the_desk(context.private_key),
        host_keys=at_the_desk(context.host_keys),
        trust=at_the_desk(context.trust),
        changed=at_the_desk(context.changed),
    )
    pool = ThreadPoolExecutor(max_workers=max(1, min(width, len(items))), thread_name_prefix="hosts")
    waiting = dict(enumerate(items))

    def submit(number: int, item: T) -> None:
        def report(future: Future[R]) -> None:
            if not future.cancelled():
                inbox.put(lambda: done(waiting.pop(number), future))

        pool.submit(work, item, ours).add_done_callback(report)

    try:
        for number, item in list(waiting.items()):
            submit(number, item)
        while waiting:
            try:
                message = inbox.get(timeout=context.deadline.remaining())
            except (queue.Empty, Unavailable):
                break
            if (finished := message()) is not None:
                yield finished
        for item in waiting.values():
            yield item, Unavailable(f"There was no answer within {context.deadline.seconds:.0f} s.", code="cloud_timeout")
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
