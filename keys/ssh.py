"""The one way Mist runs a command on a host over SSH from a worker's thread.

A `Host` is a blocking façade over asyncssh: one connection, any number of commands, every one under the job's deadline.
All connections of a process live on one background event loop; what may ask the database (`trust`, `host_keys`) is
called in the thread that uses the host, never on that loop.

Rules kept here: only address literals are dialled; nothing is read from `~/.ssh` or an agent; a command is an argument
vector, quoted by `shlex.join`; a host shows a key that is pinned, or nothing is run on it.

Source: https://asyncssh.readthedocs.io/en/latest/api.html
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ipaddress
import logging
import os
import shlex
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from types import TracebackType
from typing import Any, Self, TypeVar
from weakref import WeakKeyDictionary

import asyncssh

from core.errors import AuthFailed, HostKeyChanged, ProviderError, Rejected, Unavailable

log = logging.getLogger(__name__)
# asyncssh tells of each connection and command at INFO: arguments must not reach a log.
logging.getLogger("asyncssh").setLevel(logging.WARNING)

T = TypeVar("T")
ClientKey = asyncssh.SSHKey | tuple[asyncssh.SSHKey, asyncssh.SSHCertificate]

MAX_OUTPUT = 1 << 20  # bytes kept of each of stdout and stderr
FLOOD = 64 << 20  # bytes after which a command that does not stop writing is cut off
WINDOW = 256 << 10  # bytes in flight: the library's own 2 MiB are held in memory for each channel
# First of what both know: one call a packet. The library's own first, ChaCha20, is six, and five times as long.
CIPHERS = "^aes256-gcm@openssh.com,aes128-gcm@openssh.com"
HANDSHAKES = 64  # at once in a process: they are CPU, 2–3 ms each, and must not starve each other into timeouts
DIAL_S = 10.0  # for TCP to one address
LOGIN_S = 20.0  # for the handshake after that
CERTIFICATE_S = 300.0  # how long what an authority of ours signs is good for
SKEW_S = 60.0  # a host's clock may be behind ours by so much

# Plain keys only: a certificate would have to be checked against a CA we do not know.
_HOST_KEY_ALGORITHMS = (
    "ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "rsa-sha2-512", "rsa-sha2-256",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What a command left behind. `exit` is negative for a signal; None when it was cut off after FLOOD bytes."""

    exit: int | None
    stdout: bytes
    stderr: bytes
    truncated: bool  # more than `max_output` came; the rest was dropped

    @property
    def text(self) -> str:
        """stdout as text; what is not UTF-8 is shown as �."""
        return self.stdout.decode(errors="replace")

    @property
    def complaint(self) -> str:
        """The last words of stderr (or stdout), at most 300 characters, for an error's detail."""
        lines = [line.strip() for line in (self.stderr or self.stdout).decode(errors="replace").splitlines() if line.strip()]
        return " ".join(lines[-3:])[-300:]


class Host:
    """One host over SSH, connected at the first command. Belongs to one thread; close it, or use it as a context manager.

    `resolve(host, port)`: the address literals to dial, SSRF rules applied. `host_keys(host, port)`: pinned OpenSSH
    lines. `trust(host, port, line)`: records a first trust or raises HostKeyUnknown. `changed(host, port, line)`: told of another
    key than the one pinned. `remaining()`: seconds left of the deadline, raising Unavailable when none are. The key is
    `private_key`, or what `client_keys()` gives at each connection.
    """

    def __init__(
        self,
        *,
        host: str,
        port: int = 22,
        user: str = "root",
        private_key: str = "",
        client_keys: Callable[[], Sequence[ClientKey]] | None = None,
        resolve: Callable[[str, int], Sequence[str]],
        host_keys: Callable[[str, int], Sequence[str]],
        trust: Callable[[str, int, str], None],
        changed: Callable[[str, int, str], None] = lambda host, port, line: None,
        remaining: Callable[[], float],
    ) -> None:
        self.host, self.port, self.user = host, port, user
        self._private_key, self._client_keys, self._changed = private_key, client_keys, changed
        self._resolve, self._host_keys, self._trust, self._remaining = resolve, host_keys, trust, remaining
        self._connection: asyncssh.SSHClientConnection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def connect(self) -> None:
        """Dial, verify the host's key, log in; nothing when already done.

        Raises: Unavailable, AuthFailed, Rejected (our key is no use), HostKeyChanged, HostKeyUnknown.
        """
        if self._connection is not None:
            return
        keys = self._client_keys() if self._client_keys is not None else [load_key(self._private_key)]
        addresses = self._resolve(self.host, self.port)
        pinned = list(self._host_keys(self.host, self.port))
        if not pinned:
            # The key exchange proves that the host holds the key; only then is somebody asked to trust it.
            offered = self._call(offered_key(self.host, self.port, addresses))
            self._trust(self.host, self.port, offered)
            pinned = [offered]
        try:
            self._connection = self._call(log_in(self.host, self.port, self.user, addresses, pinned=pinned, keys=keys))
        except HostKeyChanged as error:
            self._changed(self.host, self.port, error.offered)
            raise

    def run(self, argv: Sequence[str], *, input: bytes = b"", timeout_s: float | None = None, max_output: int = MAX_OUTPUT) -> Result:
        """Run one command; its exit status is the caller's to judge.

        At the deadline the host is asked to kill it, and its input and output are closed. (OpenSSH refuses the signal in
        root's own sessions: a command that neither reads nor writes then goes on there until it ends.)

        Raises: what `connect` raises; Unavailable (code `command_timeout`) when it does not end in time.
        """
        if not argv or any("\0" in word for word in argv):
            raise Rejected("A command needs at least one word and may not hold a null byte.")
        self.connect()
        return self._call(self._run(shlex.join(argv), input, max_output), timeout_s, doing=f"“{argv[0][:40]}”")

    def script(self, text: str, *args: str, sudo: bool = False, timeout_s: float | None = None, max_output: int = MAX_OUTPUT) -> Result:
        """Run a POSIX sh script of ours with `args` as "$1" …; user's values go there, never into `text`.

        It travels by stdin, so that any login shell and a small command-line limit (dropbear: 9,000) will do.
        """
        body = f'main() {{\n{text}\n}}\nmain "$@" </dev/null\n'
        shell = ["sudo", "-n", "sh"] if sudo else ["sh"]
        return self.run([*shell, "-s", "--", *args], input=body.encode(), timeout_s=timeout_s, max_output=max_output)

    def upload(self, data: bytes, path: str, mode: int = 0o600) -> None:
        """Write a file on the host, whole or not at all.  Raises: Rejected with the host's words."""
        write = 'umask 077 && cat >"$1.part" && chmod "$2" "$1.part" && mv -f "$1.part" "$1" || { rm -f "$1.part"; exit 1; }'
        result = self.run(["sh", "-c", write, "sh", path, f"{mode:o}"], input=data)
        if result.exit != 0:
            raise Rejected(f"{path} could not be written on {self.host}: {result.complaint}", words=result.complaint)

    def close(self) -> None:
        """Hang up. Never raises, never waits for the other side."""
        connection, self._connection = self._connection, None
        if connection is not None:
            loop().call_soon_threadsafe(connection.abort)

    # -- this side: threads

    def _call(self, coroutine: Coroutine[Any, Any, T], timeout_s: float | None = None, doing: str = "SSH") -> T:
        """Run on the loop, in time, errors translated."""
        try:
            left = self._remaining()
            left = left if timeout_s is None else min(left, timeout_s)
            future = asyncio.run_coroutine_threadsafe(coroutine, loop())
        except BaseException:
            coroutine.close()
            raise
        try:
            return future.result(left)
        except TimeoutError as error:
            future.cancel()
            raise Unavailable(
                f"{doing} on {where(self.host, self.port)} did not end within {left:.0f} s.", code="command_timeout"
            ) from error
        except ProviderError:
            raise
        except (OSError, asyncssh.Error, ValueError) as error:
            raise translate(error, self.host, self.port, self.user) from error
        except BaseException:  # the worker's own end: leave nothing running for a caller who is gone
            future.cancel()
            raise

    # -- the other side: the loop

    async def _run(self, command: str, data: bytes, max_output: int) -> Result:
        assert self._connection is not None
        process: asyncssh.SSHClientProcess[bytes] = await self._connection.create_process(
            command, encoding=None, window=WINDOW, request_pty=False
        )
        out, err, seen = bytearray(), bytearray(), 0

        async def keep(stream: asyncssh.SSHReader[bytes], kept: bytearray) -> None:
            nonlocal seen
            while chunk := await stream.read(WINDOW):
                seen += len(chunk)
                kept += chunk[: max_output - len(kept)]
                if seen > FLOOD:
                    raise _Flood

        async def feed() -> None:
            try:
                for start in range(0, len(data), WINDOW):
                    process.stdin.write(data[start : start + WINDOW])
                    await process.stdin.drain()
                process.stdin.write_eof()
            except (OSError, asyncssh.ConnectionLost):
                pass  # it ended without reading all of its input: its exit status tells

        tasks = [asyncio.ensure_future(job) for job in (feed(), keep(process.stdout, out), keep(process.stderr, err))]
        cut = ended = False
        try:
            await asyncio.gather(*tasks)
            await process.wait_closed()
            ended = True
        except _Flood:
            cut = True
        finally:
            for task in tasks:
                task.cancel()
            if not ended:  # cut off, out of time, or given up: end it over there too
                with contextlib.suppress(OSError):  # the channel is gone already
                    process.channel.kill()
                process.channel.abort()
        code = None if cut else process.returncode
        if code is None and not cut:
            raise asyncssh.ConnectionLost("the connection was lost before the command ended")
        return Result(exit=code, stdout=bytes(out), stderr=bytes(err), truncated=cut or seen > len(out) + len(err))


class _Flood(Exception):
    """A command wrote more than FLOOD bytes."""


# --- one connection, for whoever has a loop of their own -----------------------------------------------------------------


async def offered_key(host: str, port: int, addresses: Sequence[str]) -> str:
    """The key the host shows and holds, as an OpenSSH line. Nobody is logged in."""
    async with _slots():
        sock = await dial([_literal(address) for address in addresses], port)
        try:
            async with asyncio.timeout(LOGIN_S):
                key = await asyncssh.get_server_host_key(host, port, sock=sock, config=None, server_host_key_algs=_HOST_KEY_ALGORITHMS)
        except TimeoutError:
            raise OSError("it takes connections and says nothing") from None
    if key is None:
        raise asyncssh.HostKeyNotVerifiable("it shows no host key")
    return _line(key)


async def log_in(
    host: str, port: int, user: str, addresses: Sequence[str], *, pinned: Sequence[str], keys: Sequence[ClientKey]
) -> asyncssh.SSHClientConnection:
    """A connection to the host that holds a pinned key.  Raises: HostKeyChanged; else what `translate` makes words of."""
    known = [parsed for line in pinned if (parsed := _public(line))]
    # Pinned kinds first, the others after: a host that lost its old key shows its new one, and that is what we tell.
    first = [name for one in known for name in _algorithms(one)]
    shown: list[asyncssh.SSHKey] = []
    async with _slots():
        sock = await dial([_literal(address) for address in addresses], port)
        try:
            return await asyncssh.connect(
                host,
                port,
                sock=sock,
                config=None,
                client_factory=partial(_Verifier, shown),
                known_hosts=(known, [], []),
                server_host_key_algs=list(dict.fromkeys([*first, *_HOST_KEY_ALGORITHMS])),
                x509_trusted_certs=None,
                username=user,
                client_keys=list(keys),
                preferred_auth=["publickey"],
                agent_path=None,
                agent_forwarding=False,
                x11_forwarding=False,
                gss_host=None,
                send_env=None,
                compression_algs=None,
                encryption_algs=CIPHERS,
                login_timeout=LOGIN_S,
                keepalive_interval=15,
                keepalive_count_max=3,
            )
        except asyncssh.HostKeyNotVerifiable as error:
            if not shown:
                raise
            raise HostKeyChanged(
                f"{where(host, port)} shows another host key ({shown[0].get_fingerprint()}) than the one trusted before. Nothing was run. "
                "If it was reinstalled, trust its new key; if not, somebody may be answering in its place.",
                host=host,
                port=port,
                offered=_line(shown[0]),
            ) from error


class _Verifier(asyncssh.SSHClient):
    """Says no to a key that is not among the known, the only ones it is asked about, and remembers it."""

    def __init__(self, shown: list[asyncssh.SSHKey]) -> None:
        self.shown = shown

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        self.shown.append(key)
        return False


async def dial(addresses: Sequence[str], port: int) -> socket.socket:
    """A connected socket to the first address that takes it."""
    last: Exception = OSError("its name has no address")
    for address in addresses:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.setblocking(False)
        try:
            async with asyncio.timeout(DIAL_S):
                await asyncio.get_running_loop().sock_connect(sock, (address, port))
        except TimeoutError:
            sock.close()
            last = OSError(f"{address} does not answer")
        except OSError as error:
            sock.close()
            last = error
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise last


@contextlib.contextmanager
def translated(host: str, port: int, user: str) -> Iterator[None]:
    """Around what dials or logs in: asyncssh's errors in, ours out."""
    try:
        yield
    except (OSError, asyncssh.Error, ValueError) as error:
        raise translate(error, host, port, user) from error


def where(host: str, port: int) -> str:
    """`host:port`, as people write it."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def translate(error: Exception, host: str, port: int, user: str) -> ProviderError:
    """What went wrong on the way to a host, in our words."""
    words, place = str(error)[:300], where(host, port)
    match error:
        case asyncssh.PermissionDenied():
            return AuthFailed(f"{place} does not let {user} in with this key.", words=words)
        case ConnectionRefusedError():
            return Unavailable(f"Nothing answers SSH on {place}: connection refused.", words=words)
        case asyncssh.KeyExchangeFailed():
            return Rejected(f"{place} offers no algorithm that we accept: its SSH server is too old.", words=words)
        case asyncssh.ChannelOpenError():
            return Rejected(f"{place} lets {user} in but runs no commands for them.", words=words)
        case asyncssh.Error():
            return Unavailable(f"{place} broke off, or does not speak SSH: {words}", words=words)
    return Unavailable(f"{place} cannot be reached: {words}", words=words)


# --- keys ------------------------------------------------------------------------------------------------------------


def load_key(pem: str) -> asyncssh.SSHKey:
    """A private key ready for use. Read once a process: an RSA key takes 95 ms of CPU each time.

    Raises: Rejected, with what is wrong with it.
    """
    return _parsed(hashlib.sha256(pem.encode()).digest(), _Secret(pem))


class _Secret(str):
    """Equal to any other, so that the cache goes by the digest beside it and compares no secrets."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Secret)

    def __hash__(self) -> int:
        return 0


@lru_cache(maxsize=512)
def _parsed(digest: bytes, pem: _Secret) -> asyncssh.SSHKey:
    try:
        return asyncssh.import_private_key(str(pem))
    except (asyncssh.KeyEncryptionError, asyncssh.KeyImportError) as error:
        if isinstance(error, asyncssh.KeyEncryptionError) or "assphrase" in str(error):
            raise Rejected(
                "The private key is protected by a passphrase. Upload it again with its passphrase.", code="key_encrypted"
            ) from error
        raise Rejected("The private key cannot be read: it is not in OpenSSH or PEM format.", code="key_unreadable") from error


def _public(line: str) -> asyncssh.SSHKey | None:
    """A pinned key; None when the line is damaged, which then matches no key at all."""
    try:
        return asyncssh.import_public_key(line)
    except asyncssh.KeyImportError:
        log.warning("a pinned host key cannot be read and is not used")
        return None


def _line(key: asyncssh.SSHKey) -> str:
    """The key as known_hosts has it, without a comment: "ssh-ed25519 AAAA…"."""
    return " ".join(key.export_public_key("openssh").decode().split()[:2])


def _algorithms(key: asyncssh.SSHKey) -> list[str]:
    return [name for raw in key.sig_algorithms if (name := raw.decode()) in _HOST_KEY_ALGORITHMS]


def _literal(address: str) -> str:
    """Raises: Rejected for a name, which the operating system would look up again, past the rules."""
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:
        raise Rejected(f"“{address[:100]}” is not an IP address.") from None


def mint(authority_pem: str, *, user: str, key_id: str, seconds: float = CERTIFICATE_S) -> tuple[asyncssh.SSHKey, asyncssh.SSHCertificate]:
    """A key made now, and the authority's certificate that it is good for `user` on a terminal or for commands, for `seconds`.

    `key_id` is what the host's own log says of the login.  Raises: Rejected.
    """
    key = asyncssh.generate_private_key("ssh-ed25519")
    now = time.time()
    certificate = load_key(authority_pem).generate_user_certificate(
        key,
        key_id[:200],
        principals=[user],
        valid_after=int(now - SKEW_S),
        valid_before=int(now - SKEW_S + max(seconds, CERTIFICATE_S)),
        permit_x11_forwarding=False,
        permit_agent_forwarding=False,
        permit_port_forwarding=False,
        permit_user_rc=False,
    )
    return key, certificate


# --- the loop --------------------------------------------------------------------------------------------------------

_background: tuple[int, asyncio.AbstractEventLoop] | None = None  # whose process, and its loop
_starting = threading.Lock()
_semaphores: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()


def loop() -> asyncio.AbstractEventLoop:
    """The process's loop for SSH, started at first use; a forked child, which lost the thread, gets its own."""
    global _background
    with _starting:
        if _background is None or _background[0] != os.getpid():
            made = asyncio.new_event_loop()
            _background = (os.getpid(), made)
            threading.Thread(target=made.run_forever, name="ssh", daemon=True).start()
        return _background[1]


def _slots() -> asyncio.Semaphore:
    """Of the loop that runs: its handshakes."""
    return _semaphores.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(HANDSHAKES))
