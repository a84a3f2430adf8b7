"""What the processes of an installation do: web, shell, worker (one a queue), scheduler. Each runs in a fork of the supervisor."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import importlib
import logging
import os
import signal
import socket
import threading
import time
import warnings
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import uvicorn
from celery import signals
from celery.apps.worker import Worker
from celery.platforms import SecurityWarning
from celery.worker import state
from django.conf import settings
from django.db import DatabaseError, OperationalError, close_old_connections, connections
from django.urls import get_resolver

from core import tasks, ticks, watch
from machines.shell.holder import Holder
from mist import asgi, health
from mist.board import Board
from mist.celery import app
from mist.ws import Socket

log = logging.getLogger(__name__)

BEAT_S = 5
CANARY_S = 15
TASK_DEADLINE_S = 300  # of a task that names no limit of its own
SCHEDULER_LOCK = 0x6D697374  # "mist": PostgreSQL's advisory lock of the leading scheduler
SCHEDULER_THREADS = 4
_M_ARENA_MAX = -8


def prepare(role: str, *, connections_max: int) -> None:
    """First thing in a process: bounds on its memory and on its database connections."""
    ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 2)  # glibc makes an arena a thread, and keeps them
    options = connections.settings["default"]["OPTIONS"]
    options["options"] = f"{options.get('options', '')} {settings.SERVER_DATABASE_OPTIONS}".strip()
    options["application_name"] = f"mist {role}"
    options["pool"] = {**options["pool"], "max_size": connections_max}


# --- web ---------------------------------------------------------------------------------------------------------------


class _WebServer(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, board: Board) -> None:
        super().__init__(config)
        self.board = board

    async def on_tick(self, counter: int) -> bool:
        self.board.beat()
        return await super().on_tick(counter)


def web_config() -> uvicorn.Config:
    """Loaded before the fork, so that the server's code is shared."""
    config = uvicorn.Config(
        asgi.application,
        lifespan="off",
        log_config=None,
        access_log=False,  # query strings are searches: people's words
        server_header=False,
        proxy_headers=True,
        forwarded_allow_ips=settings.MIST_TRUSTED_PROXIES,
        timeout_graceful_shutdown=3,
        ws_max_size=1024 * 1024,
        ws_max_queue=16,
        ws_ping_interval=20,
        ws_ping_timeout=20,
        ws=Socket,
        backlog=1024,
    )
    config.load()
    return config


def listen(bind: str, port: int) -> socket.socket:
    """The listening socket, made before the fork: while the web process is started again, callers wait and are not refused.

    Raises: OSError.
    """
    family = socket.AF_INET6 if ":" in bind else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((bind, port))
    except OSError:
        listener.close()
        raise
    listener.listen(1024)
    return listener


def listen_local(path: Path) -> socket.socket:
    """The same on a unix socket, of ours alone."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    path.chmod(0o600)
    listener.listen(128)
    return listener


def web(board: Board, config: uvicorn.Config, listener: socket.socket) -> None:
    """Serve HTTP and sockets."""
    prepare("web", connections_max=12)
    warnings.filterwarnings("ignore", "StreamingHttpResponse must consume synchronous iterators")  # WhiteNoise's, of files of some KiB
    _WebServer(config, board).run(sockets=[listener])


# --- shell -------------------------------------------------------------------------------------------------------------


def shell(board: Board, listener: socket.socket, address: str) -> None:
    """Hold shells, for whoever web brings to `listener`."""
    prepare("shell", connections_max=6)
    asyncio.run(_hold(board, listener, address))


async def _hold(board: Board, listener: socket.socket, address: str) -> None:
    loop = asyncio.get_running_loop()
    holder = Holder(name=f"{socket.gethostname()[:60]}:{os.getpid()}:{int(time.time())}", address=address)
    loop.add_signal_handler(signal.SIGTERM, holder.stop)
    server = await holder.listen(listener)
    try:
        await holder.run(board.beat)
    finally:
        server.close()


# --- worker ------------------------------------------------------------------------------------------------------------


def preload() -> None:
    """Before the fork: the code of every role, so that it is shared."""
    app.loader.import_default_modules()
    app.finalize()
    for module in ("celery.concurrency.thread", "celery.worker.consumer", "kombu.transport.redis", "channels_redis.pubsub"):
        importlib.import_module(module)
    get_resolver().url_patterns  # noqa: B018 - imports every view
    os.environ["CELERY_SKIP_CHECKS"] = "1"  # Django's checks in each worker cost it some MB; `manage.py check` is for that


def settle() -> None:
    """What is in memory now is never collected again, so that its pages stay shared. What requests leave is, less often than Python
    does by itself."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)  # at 50,000 whoever asks just then waits: bench_list's p95 tells


def worker(board: Board, queue: str, slots: int) -> None:
    """Run the tasks of one queue in `slots` threads, and say on the board what each is at."""
    if queue not in ("interactive", "runs"):  # what nobody waits for leaves the processor to those who wait
        os.nice(5)
    prepare(f"worker {queue}", connections_max=slots + 3)
    watch.watched_by(board.extend)
    own_queue = f"canary.{socket.gethostname()}.{queue}"
    stopping = threading.Event()

    def begin(task: Any, **_: Any) -> None:
        board.begin(task.name, within_s=task.time_limit or task.soft_time_limit or TASK_DEADLINE_S)

    def end(task: Any, **_: Any) -> None:
        if task.name == health.canary.name:
            board.canary()
        board.end()

    def ready(**_: Any) -> None:
        signal.signal(signal.SIGTERM, stop)  # Celery's own handler does the same, and talks

    def stop(*_: Any) -> None:
        stopping.set()
        state.should_stop = os.EX_OK  # finish what is at hand, take nothing new

    signals.task_prerun.connect(begin, weak=False)
    signals.task_postrun.connect(end, weak=False)
    signals.worker_ready.connect(ready, weak=False)
    warnings.simplefilter("ignore", SecurityWarning)  # as root: embedded servers drop to another user, containers have none
    threading.Thread(target=_beat, args=(queue, own_queue, stopping), name="beat", daemon=True).start()
    Worker(
        app=app,
        hostname=f"{queue}@{socket.gethostname()}",
        pool="threads",
        concurrency=slots,
        queues=[queue, own_queue],
        without_mingle=True,
        without_gossip=True,
        without_heartbeat=True,
        quiet=True,
        loglevel="WARNING",
    ).start()


def _beat(queue: str, own_queue: str, stopping: threading.Event) -> None:
    """Tell the database that this process lives; send a canary through the broker to ourselves and see it come out."""
    next_canary = 0.0
    while True:
        try:
            tasks.beat(queue)
        except DatabaseError as error:
            log.warning("no beat: %s", type(error).__name__)
        finally:
            close_old_connections()
        if time.monotonic() >= next_canary and not stopping.is_set():
            next_canary = time.monotonic() + CANARY_S
            try:
                health.canary.apply_async((queue,), queue=own_queue, priority=0, expires=2 * CANARY_S, retry=False)
            except Exception as error:  # noqa: BLE001 - whatever a broker client raises: the next one may get through
                log.warning("no canary: %s", type(error).__name__)
        time.sleep(BEAT_S)


# --- scheduler ---------------------------------------------------------------------------------------------------------


class Scheduler:
    """Calls the registered ticks, each when due, in a few threads; a slow or failing tick holds up no other.

    Any number of processes may run this; the one that holds the lock acts. django-celery-beat would dispatch some hundred
    tasks a second and cannot stand by for another; ours are functions, and what they find due is found by SQL.
    """

    def __init__(self, board: Board, all_ticks: list[ticks.Tick]) -> None:
        self.board = board
        self.due = {tick.name: (time.monotonic(), tick) for tick in all_ticks}
        self.at_work: dict[str, Future[None]] = {}
        self.pool = ThreadPoolExecutor(SCHEDULER_THREADS, thread_name_prefix="tick")

    def step(self, now: float) -> float:
        """Start what is due and not at work. Returns the lag in seconds: how long the most belated has been due."""
        lag = 0.0
        for name, (due, tick) in self.due.items():
            if now < due:
                continue
            if (former := self.at_work.get(name)) and not former.done():
                lag = max(lag, now - due)
                continue
            following = due + tick.every_s
            self.due[name] = (following if following > now else now + tick.every_s, tick)  # missed times are not made up for
            self.at_work[name] = self.pool.submit(self._run, tick)
        return lag

    def _run(self, tick: ticks.Tick) -> None:
        try:
            with self.board.working(tick.name, within_s=max(120, 10 * tick.every_s)):
                tick.run()
        except OperationalError as error:
            log.warning("tick %s did not reach the database (%s); it is called again when due", tick.name, type(error).__name__)
        except Exception:  # one tick's fault is nobody else's
            log.exception("tick %s failed; it is called again when due", tick.name)
        finally:
            close_old_connections()


def scheduler(board: Board) -> None:
    """Lead, or stand by until the leader is gone."""
    prepare("scheduler", connections_max=SCHEDULER_THREADS + 2)
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    loop = Scheduler(board, ticks.all_ticks())
    leadership: psycopg.Connection[Any] | None = None
    is_leader, next_report = False, 0.0
    while not stopping.wait(0.25):
        board.beat()
        try:
            if leadership is None:
                leadership = _direct_connection()
            if not is_leader:
                is_leader = bool(leadership.execute("SELECT pg_try_advisory_lock(%s)", (SCHEDULER_LOCK,)).fetchone()[0])  # type: ignore[index]
                if not is_leader:
                    stopping.wait(2)
                    continue
                log.info("this scheduler leads")
            lag = loop.step(time.monotonic())
            if time.monotonic() >= next_report:
                leadership.execute("SELECT 1")  # the lock is gone with the connection: notice
                health.report_scheduler(lag)
                next_report = time.monotonic() + 5
        except psycopg.Error as error:
            log.warning("the database is away (%s): another scheduler may lead", type(error).__name__)
            if leadership is not None:
                leadership.close()
            leadership, is_leader = None, False
            stopping.wait(1)
    if leadership is not None:
        leadership.close()


def _direct_connection() -> psycopg.Connection[Any]:
    """A session of its own beside the pool: an advisory lock belongs to a session."""
    parameters = connections["default"].get_connection_params()
    for name in ("pool", "cursor_factory", "context", "prepare_threshold", "options"):
        parameters.pop(name, None)
    keepalives = {"keepalives": 1, "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 15_000}
    return psycopg.connect(**{**parameters, **keepalives, "autocommit": True})
