"""One process that starts the others, starts them again, and ends them. It preloads the code and forks: its children share
its pages and are back in milliseconds.

It has one thread and no connection to anything, so that a fork copies nothing it should not. It is told of everything by
signals, which it keeps blocked and takes one at a time. Children are told to die with it by the kernel, and what a child
leaves behind falls to it (PR_SET_CHILD_SUBREAPER) and is killed: nothing outlives us.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from mist.board import Board
from mist.embedded import CannotStart, Server, die_with_parent

log = logging.getLogger(__name__)

DEADLINE_GRACE_S = 10  # past its deadline, before its process is replaced
CANARY_STALE_S = 90  # a process with a free slot that finishes no canary for so long consumes nothing
BEAT_STALE_S = 30  # a main loop that stands still
RETIRE_S = 60  # what a replaced process still has at hand may take so long
STOP_S = 6
HASTE_S = 2  # once somebody asks again
BACK_OFF_S = (0, 0.5, 1, 2, 4, 8, 15, 30)
HEALTHY_S = 60  # who lived so long begins again with the first step of BACK_OFF_S

_libc = ctypes.CDLL(None, use_errno=True)
_PR_SET_NAME, _PR_SET_CHILD_SUBREAPER = 15, 36
_SIGNALS = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}


class Stopped(Exception):
    """We were told to stop while we waited for something."""


class Part:
    """One process that is to run always."""

    name: str
    turn = 1  # in which it ends: shells before the web process that shows them, a store after all that use it
    stop_s: float = STOP_S  # from being told to stop to being killed

    def start(self) -> int:
        """Start it; its pid. Raises: CannotStart, OSError."""
        raise NotImplementedError

    def stop(self, pid: int) -> None:
        os.kill(pid, signal.SIGTERM)

    def complaint(self, now: float) -> str:
        """Why it must be replaced, or nothing."""
        return ""


class Program(Part):
    """A server of ours that is another program."""

    turn = 2
    stop_s = STOP_S / 2

    def __init__(self, name: str, server: Server) -> None:
        self.name, self.server = name, server

    def start(self) -> int:
        return self.server.spawn(lock_wait_s=3).pid

    def stop(self, pid: int) -> None:
        os.kill(pid, self.server.stop_signal)


class Fork(Part):
    """A function of ours in a process of its own. `run` gets the board it is watched by and returns when told to stop by SIGTERM."""

    def __init__(
        self,
        name: str,
        run: Callable[[Board], None],
        *,
        slots: int = 0,
        beats: bool = False,
        canaries: bool = False,
        turn: int = 1,
        stop_s: float = STOP_S,
    ) -> None:
        self.name, self.run, self.slots, self.beats, self.canaries = name, run, slots, beats, canaries
        self.turn, self.stop_s = turn, stop_s
        self.board = Board()

    def start(self) -> int:
        self.board = Board(self.slots)  # a new one each time: a retired process still writes on its own
        return fork(self.name, lambda: self.run(self.board))

    def complaint(self, now: float) -> str:
        if late := self.board.overdue(now, DEADLINE_GRACE_S):
            slot = late[0]
            return f"{slot.what} runs for {now - slot.started:.0f} s, {now - slot.deadline:.0f} s past its deadline"
        if self.beats and now - max(self.board.beat_at, self.board.created) > BEAT_STALE_S:
            return f"its main loop has stood still for {BEAT_STALE_S} s"
        is_busy = len(self.board.running()) >= self.slots
        if self.canaries and not is_busy and now - max(self.board.canary_at, self.board.created) > CANARY_STALE_S:
            return f"nothing came through its queue for {CANARY_STALE_S} s"
        return ""


def fork(name: str, run: Callable[[], None]) -> int:
    """Run a function in a child that dies with us; its exit status is 1 when it raised. Returns the pid."""
    sys.stdout.flush()
    sys.stderr.flush()
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        die_with_parent(signal.SIGKILL)
        if os.getppid() != parent:  # it died before we asked
            os._exit(1)
        os.setpgid(0, 0)  # the terminal's Ctrl-C is for the supervisor
        _libc.prctl(_PR_SET_NAME, f"mist-{name}".encode()[:15], 0, 0, 0)
        multiprocessing.current_process().name = name  # %(processName)s in logs
        for number in (*_SIGNALS, signal.SIGPIPE):
            signal.signal(number, signal.SIG_IGN if number == signal.SIGPIPE else signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, set())
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        gc.enable()
        run()
        status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    except BaseException:
        log.exception("%s failed", name)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)  # no atexit of the supervisor's, no waiting for threads


@dataclass(kw_only=True)
class _Running:
    part: Part
    pid: int
    since: float


@dataclass(kw_only=True)
class _Retired:
    """A process that is on its way out: killed when nothing on its board can end well any more, at the latest at `until`."""

    pid: int
    board: Board | None
    until: float


@dataclass
class Supervisor:
    """Keeps parts running. `start` adds one; `watch` returns when told to stop; `stop` ends all."""

    running: dict[str, _Running] = field(default_factory=dict)
    retired: list[_Retired] = field(default_factory=list)
    waiting: dict[str, tuple[float, Part]] = field(default_factory=dict)  # when to start again
    failures: dict[str, int] = field(default_factory=dict)
    stopping: bool = False

    def __post_init__(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    # --- starting

    def start(self, part: Part) -> None:
        """Start a part now, and again whenever it ends. Raises: CannotStart, OSError."""
        self.running[part.name] = _Running(part=part, pid=part.start(), since=time.monotonic())

    def once(self, name: str, run: Callable[[], str]) -> str:
        """Run a function in a child, wait for its end, and return what it returned (a few lines at most).

        Raises: Stopped; CannotStart when it failed.
        """
        reader, writer = os.pipe()
        pid = fork(name, lambda: os.write(writer, run().encode()) and None)
        os.close(writer)
        while True:
            self._take_signal(0.5)
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                with os.fdopen(reader) as result:
                    words = result.read()
                if status:
                    raise CannotStart(f"{name} failed; its reason is above.")
                return words
            if self.stopping:
                os.kill(pid, signal.SIGKILL)
                raise Stopped

    def aside(self, name: str, run: Callable[[], None]) -> None:
        """Run a function in a child nobody waits for; it ends with us at the latest."""
        self.retired.append(_Retired(pid=fork(name, run), board=None, until=time.monotonic() + 600))

    # --- watching

    def watch(self) -> None:
        """Keep everything running until told to stop."""
        while not self.stopping:
            self._take_signal(1)
            self._reap()
            now = time.monotonic()
            self._replace_stuck(now)
            self._end_retired(now)
            for name, (due, part) in list(self.waiting.items()):
                if now >= due:
                    del self.waiting[name]
                    self._start_again(part)

    def _take_signal(self, wait_s: float) -> None:
        taken = signal.sigtimedwait(_SIGNALS, wait_s)
        if taken and taken.si_signo in {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}:
            self.stopping = True

    def _start_again(self, part: Part) -> None:
        try:
            self.start(part)
        except (CannotStart, OSError) as error:
            log.error("%s cannot be started: %s", part.name, error)
            self._plan(part, time.monotonic())

    def _reap(self) -> None:
        known = {running.pid: running for running in self.running.values()}
        someone_died = False
        while True:
            try:
                # Looked at before it is taken: Popen wants to take its own.
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                break
            if ended is None:
                break
            pid = ended.si_pid
            _, status = os.waitpid(pid, 0)
            if pid in known:
                someone_died = True
                self._ended(known[pid], os.waitstatus_to_exitcode(status))
            self.retired = [retired for retired in self.retired if retired.pid != pid]
        if someone_died:
            self._kill_orphans()

    def _ended(self, running: _Running, code: int) -> None:
        part, now = running.part, time.monotonic()
        del self.running[part.name]
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
        lived = now - running.since
        log.warning("%s (pid %d) %s after %.0f s", part.name, running.pid, how, lived)
        if lived > HEALTHY_S:
            self.failures[part.name] = 0
        self._plan(part, now)

    def _plan(self, part: Part, now: float) -> None:
        count = self.failures.get(part.name, 0)
        self.failures[part.name] = count + 1
        delay = BACK_OFF_S[min(count, len(BACK_OFF_S) - 1)]
        if count:
            log.error("%s has ended %d times in a row: next try in %g s", part.name, count + 1, delay)
        self.waiting[part.name] = (now + delay, part)

    def _replace_stuck(self, now: float) -> None:
        for running in list(self.running.values()):
            if not (complaint := running.part.complaint(now)):
                continue
            part = running.part
            assert isinstance(part, Fork)
            log.error("%s (pid %d) is stuck and is replaced: %s", part.name, running.pid, complaint)
            self.retired.append(_Retired(pid=running.pid, board=part.board, until=now + RETIRE_S))
            _signal(running.pid, signal.SIGTERM)  # takes nothing new, finishes what it can
            del self.running[part.name]
            self._start_again(part)

    def _end_retired(self, now: float) -> None:
        for retired in self.retired:
            is_done = retired.board is not None and all(now > slot.deadline for slot in retired.board.running())
            if now > retired.until or (is_done and now > retired.until - RETIRE_S + 1):  # a second for its last words
                _signal(retired.pid, signal.SIGKILL)

    def _kill_orphans(self) -> None:
        """Kill what a part left behind; it is our child now. So often as killing them brings up their own children."""
        for _ in range(5):
            ours = {running.pid for running in self.running.values()} | {retired.pid for retired in self.retired}
            orphans = [pid for pid in _children() if pid not in ours]
            for pid in orphans:
                _signal(pid, signal.SIGKILL)
            for pid in orphans:
                try:
                    os.waitpid(pid, 0)
                except ChildProcessError:
                    pass
            if not orphans:
                return

    # --- stopping

    def stop(self) -> None:
        """End everything, in order: shells, what takes requests and work, then the stores. A second signal makes haste."""
        self.stopping = True
        for turn in (0, 1, 2):
            self._stop_parts([running for running in self.running.values() if running.part.turn == turn])
            if turn == 1:
                for retired in self.retired:
                    _signal(retired.pid, signal.SIGKILL)
        self._kill_orphans()

    def _stop_parts(self, parts: list[_Running]) -> None:
        for running in parts:
            try:
                running.part.stop(running.pid)
            except ProcessLookupError:
                pass
        left = {running.pid: running for running in parts}
        deadline = time.monotonic() + max((running.part.stop_s for running in parts), default=0)
        while left:
            taken = signal.sigtimedwait(_SIGNALS, 0.1)
            if taken is not None and taken.si_signo != signal.SIGCHLD:
                for running in left.values():
                    _signal(running.pid, signal.SIGTERM)
                deadline = min(deadline, time.monotonic() + HASTE_S)
            if time.monotonic() > deadline:
                for pid, running in left.items():
                    log.warning("%s (pid %d) did not stop in time and is killed", running.part.name, pid)
                    _signal(pid, signal.SIGKILL)
                deadline = float("inf")
            for pid in list(left):
                try:
                    if os.waitpid(pid, os.WNOHANG)[0]:
                        del self.running[left.pop(pid).part.name]
                except ChildProcessError:
                    del self.running[left.pop(pid).part.name]


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def _children() -> list[int]:
    """The pids of our children, those adopted too."""
    me, found = os.getpid(), []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rsplit(")", 1)[1].split()[1])
        except (OSError, IndexError):  # it ended meanwhile
            continue
        if parent == me:
            found.append(int(stat.parent.name))
    return found
