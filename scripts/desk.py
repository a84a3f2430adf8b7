"""The thread a run's records are made in: the worker's own. The loop hands it facts and asks it for rows; it writes in batches.

One run has one database connection, whatever the number of its hosts, and the loop never waits for a disk.
"""

from __future__ import annotations

import asyncio
import json
import queue
import time
from collections.abc import Callable
from copy import copy
from datetime import datetime
from typing import Any, TypeVar

from django.db import connection, transaction
from django.db.models import Count
from django.utils import timezone

from core import events, live
from core.actor import Actor
from core.errors import Failed, MistError
from core.models import Job
from machines import reach
from machines.reach import Reach
from scripts import output
from scripts.models import Chunk, Run, RunHost

T = TypeVar("T")

FLUSH_S = 0.25
BATCH = 500
MOST_WAITING = 16 << 20  # bytes of output not written yet: beyond, hosts are not read


class Desk:
    """Of one run. `serve` belongs to the worker's thread, all else to the loop."""

    def __init__(self, run: Run, actor: Actor, loop: asyncio.AbstractEventLoop) -> None:
        self.run, self.actor, self.loop = run, actor, loop
        self._inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._changed: dict[Any, tuple[RunHost, Reach | None]] = {}
        self._pieces: list[output.Piece] = []
        self._waiting = 0
        self.room = asyncio.Event()
        self.room.set()
        self._is_closed = False

    # --- of the loop

    async def ask(self, function: Callable[..., T], *args: Any) -> T:
        """What `function` gives, called in the worker's thread."""
        if self._is_closed:
            raise _over()
        answer: asyncio.Future[T] = self.loop.create_future()
        self._inbox.put((function, args, answer))
        return await answer

    def tell(self, host: RunHost, way: Reach | None = None) -> None:
        """A host changed; once it is done, `way` says by which login."""
        if self._is_closed:
            return
        self._inbox.put((copy(host), way))  # as it is now: the loop goes on with its own

    def write(self, piece: output.Piece) -> None:
        """A chunk. The caller waits for `room` before it reads more."""
        if self._is_closed:
            return
        self._waiting += len(piece.data)
        if self._waiting > MOST_WAITING:
            self.room.clear()
        self._inbox.put(piece)

    def _written(self, size: int) -> None:
        self._waiting -= size
        if self._waiting < MOST_WAITING // 2:
            self.room.set()

    # --- of the worker's thread

    def serve(self, work: Any, cancelled: Callable[[], bool], cancel: Callable[[], None]) -> None:
        """Until `work` (a future of the loop) is done and all of it is written.  Raises: what it raised."""
        work.add_done_callback(lambda _: self._inbox.put(None))  # so that its end is seen at once
        next_flush, next_look = time.monotonic() + FLUSH_S, time.monotonic() + 1
        while True:
            is_over = work.done()
            try:
                item = self._inbox.get(timeout=0 if is_over else max(0.01, next_flush - time.monotonic()))
            except queue.Empty:
                item = None
                if is_over:
                    break
            if item is not None:
                self._file(item)
            now = time.monotonic()
            if now >= next_flush or len(self._changed) >= BATCH:
                self.flush()
                next_flush = time.monotonic() + FLUSH_S
            if now >= next_look:
                next_look = now + 1
                if cancelled():
                    self.loop.call_soon_threadsafe(cancel)
        self.flush()
        work.result()

    def _file(self, item: Any) -> None:
        if isinstance(item, output.Piece):
            self._pieces.append(item)
        elif isinstance(item[0], RunHost):
            self._changed[item[0].pk] = item
        else:
            function, args, answer = item
            try:
                found = function(*args)
            except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to who asked
                self.loop.call_soon_threadsafe(_fail, answer, error)
            else:
                self.loop.call_soon_threadsafe(_answer, answer, found)

    def close(self) -> None:
        """Nobody serves it any more, for it could not write: who asks is refused, who waits for room goes on, nothing is kept."""
        self._is_closed = True
        while True:
            try:
                item = self._inbox.get_nowait()
            except queue.Empty:
                break
            if isinstance(item, tuple) and len(item) == 3:
                self.loop.call_soon_threadsafe(_fail, item[2], _over())
        self.loop.call_soon_threadsafe(self.room.set)

    def flush(self) -> None:
        """Write what came since, in one transaction, and tell who watches."""
        pieces, self._pieces = self._pieces, []
        changed, self._changed = list(self._changed.values()), {}
        if not pieces and not changed:
            return
        with transaction.atomic():
            Chunk.objects.bulk_create(output.chunks(self.run.pk, pieces), batch_size=200)
            _save([host for host, _ in changed])
            self._record([(host, way) for host, way in changed if host.state in RunHost.DONE])
            counts(self.run)
            live.changed(self.run.org_id, "run", [self.run.pk])
        self.loop.call_soon_threadsafe(self._written, sum(len(piece.data) for piece in pieces))

    def _record(self, done: list[tuple[RunHost, Reach | None]]) -> None:
        """A job and an event for each host that came to its end; where it was the run's one target, the run's own are enough."""
        reach.used(way.login for _, way in done if way is not None and way.login is not None)
        if self.run.job.target_kind == "machine":
            return
        records(self.run, self.actor, [host for host, _ in done], {host.pk: way for host, way in done})


# {what may change of a host: its type}, for `_save`.
_CHANGING = {
    **dict.fromkeys(("state", "code", "detail", "digest", "alike", "last_line"), "text"),
    **dict.fromkeys(("size", "dropped"), "bigint"),
    **dict.fromkeys(("started_at", "finished_at"), "timestamptz"),
    "exit": "integer",
    "facts": "jsonb",
}
_NAMES, _ARRAYS = ", ".join(_CHANGING), ", ".join(f"%s::{kind}[]" for kind in _CHANGING.values())
_SAVE = (
    f"UPDATE scripts_runhost h SET {', '.join(f'{name} = n.{name}' for name in _CHANGING)} "  # noqa: S608 - names of ours
    f"FROM unnest(%s::uuid[], {_ARRAYS}) AS n (id, {_NAMES}) WHERE h.id = n.id"
)


def _save(hosts: list[RunHost]) -> None:
    """In one statement with an array a column: Django's bulk_update costs a millisecond of CPU a row, which the loop beside us needs."""
    if not hosts:
        return
    columns = [[host.pk for host in hosts]]
    for name in _CHANGING:
        values = [getattr(host, name) for host in hosts]
        columns.append([json.dumps(value) for value in values] if name == "facts" else values)
    with connection.cursor() as cursor:
        cursor.execute(_SAVE, columns)


def _over() -> Failed:
    return Failed("The run has ended.", code="run_over")


def _answer(future: asyncio.Future[Any], found: Any) -> None:
    if not future.done():
        future.set_result(found)


def _fail(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)


OUTCOMES = {"succeeded": Job.State.SUCCEEDED, "cancelled": Job.State.CANCELLED, "skipped": Job.State.SKIPPED, "unknown": Job.State.LOST}


def records(run: Run, actor: Actor, hosts: list[RunHost], ways: dict[Any, Reach | None]) -> None:
    """The job and the event of each host, in two statements."""
    jobs, facts = [], []
    for host in hosts:
        if host.machine_id is None:
            continue
        way = ways.get(host.pk)
        machine = way.machine if way is not None else host.machine
        assert machine is not None
        state = OUTCOMES.get(host.state, Job.State.FAILED)
        result = {"run": run.pk.hex, "host": host.pk.hex, "exit": host.exit}
        job = Job(
            org_id=run.org_id,
            parent_id=run.job_id,
            action="machine.run",
            state=state,
            target_kind="machine",
            target_id=host.machine_id,
            target_name=host.name,
            target_tags=machine.tags,
            cloud_id=machine.cloud_id,
            exclusive=False,
            params={"script": run.name, "version": run.version_number},
            **Job.asked_by(actor),
            queue="runs",
            queued_at=None,
            started_at=host.started_at or timezone.now(),
            finished_at=host.finished_at or timezone.now(),
            worker=run.job.worker,
            result=result,
            error_code=host.code,
            error_detail=host.detail,
        )
        jobs.append(job)
        outcome = "refused" if host.code == "denied" else "failed" if host.state == RunHost.State.UNKNOWN else host.state
        detail = {**result, "script": run.name, "version": run.version_number}
        if host.code:
            detail |= {"code": host.code, "error": host.detail}
        if way is not None and way.login is not None:
            detail |= {"login": way.login.user, "credential": way.login.what, "sudo": run.su and way.needs_sudo}
        facts.append(events.build(f"machine.run.{outcome}", actor, target=machine, job_id=job.pk, detail=detail))
    Job.objects.bulk_create(jobs, batch_size=BATCH)
    events.record_all(facts)


def counts(run: Run) -> dict[str, int]:
    """How its hosts are doing, counted and written."""
    rows = RunHost.objects.filter(run=run).order_by().values_list("state").annotate(n=Count("pk"))
    run.counts = dict(rows)
    Run.objects.filter(pk=run.pk).update(counts=run.counts)
    return run.counts


def finish(run: Run, state: str, note: str = "") -> None:
    """The run's end."""
    run.state, run.note, run.finished_at = state, note[:500], timezone.now()
    run.save(update_fields=["state", "note", "finished_at"])
    live.changed(run.org_id, "run", [run.pk])


def abandon(run: Run, *, began: tuple[str, str], waiting: tuple[str, str, str]) -> bool:
    """End the hosts that nobody looks after any more. `began`: code and detail of those that had begun; `waiting`: state, code and detail.

    Returns: did any of them begin, so that nobody knows how it ended?
    """
    hosts = list(run.hosts.filter(state__in=[RunHost.State.WAITING, RunHost.State.RUNNING]).select_related("machine"))
    for host in hosts:
        if host.state == RunHost.State.RUNNING:
            ended(host, RunHost.State.UNKNOWN, *began)
        else:
            ended(host, *waiting)
    RunHost.objects.bulk_update(hosts, ["state", "code", "detail", "finished_at"], batch_size=500)
    if run.job.target_kind != "machine":
        records(run, Actor.system(run.org_id), hosts, {})
    counts(run)
    return any(host.state == RunHost.State.UNKNOWN for host in hosts)


def ended(host: RunHost, state: str, code: str = "", detail: str = "", at: datetime | None = None) -> None:
    """A host's end."""
    host.state, host.code, host.detail = state, code, detail[:2000]
    host.finished_at = at or timezone.now()


def failed(host: RunHost, error: MistError) -> None:
    """A host that failed by what the error says."""
    ended(host, RunHost.State.FAILED, error.code, error.detail)
