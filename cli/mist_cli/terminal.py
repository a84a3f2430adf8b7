"""`mist ssh`: the terminal of a machine, over the socket of API.md §6. It is recorded, and outlives the line: it is joined again."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Thread
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from mist_cli import __version__
from mist_cli.commands.said import client_of, find, names_argument, told
from mist_cli.errors import Away, Refused, Stop, Usage

if TYPE_CHECKING:
    from mist_cli.client import Client

ENDED, SPENT = 1000, 4403
COME_BACK_S = 600.0  # for so long the server keeps a shell whose line broke
PIECE = 64 << 10
END_AGAIN_S = 1.0
# Modes a program may have left: cursor keys, mouse, paste, the other screen; and the cursor shown.
RESET = b"\x1b[?1l\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?2004l\x1b[?1049l\x1b[?25h\x1b[0m"
CLEAR = b"\x1b[H\x1b[2J"  # what was shown comes again from the server


class Ssh(click.Command):
    """Behind `--`, or behind the host, stands a command."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if "--" in args:
            at = args.index("--")
            args, ctx.meta["command"] = args[:at], args[at + 1 :]
        return super().parse_args(ctx, args)


@click.command(cls=Ssh, params=[names_argument("machines", "[USER@]MACHINE", many=False)])
@click.option("--reason", default="", help="Why, for the record.")
@click.option("--through", type=click.Choice(["ssh", "exec"]), default=None, help="Which way in, where there are several.")
@click.pass_context
def ssh(ctx: click.Context, names: str, reason: str, through: str | None) -> None:
    """Open a terminal on MACHINE, or run the command behind `--` there.

    Enter ~ . leaves; the shell goes on for a while and can be joined again: mist sessions join. Exit code: that of the shell. A
    command without a terminal is a run (mist run), with its output as it is and its exit code.
    """
    client = client_of(ctx)
    user, _, name = names.rpartition("@")
    machine = find(client, "machines", name)
    if command := ctx.meta.get("command"):
        if user or through:
            raise Usage("A command runs as the machine's own login, over SSH: leave the user and --through away.")
        raise click.exceptions.Exit(_run(client, machine["id"], command))
    cols, rows = shutil.get_terminal_size()
    body = {"width": cols, "height": rows, "user": user, "reason": reason, **({"through": through} if through else {})}
    raise click.exceptions.Exit(attach(client, lambda: client.ask("POST", f"/machines/{machine['id']}/actions/ssh", body=body)))


def _run(client: Client, machine: str, command: list[str]) -> int:
    from mist_cli import runs

    script = runs.kept(client, runs._text(None, command), " ".join(command))
    answer = client.send("POST", f"/scripts/{script}/actions/run", {"machines": [machine]})
    return runs.follow(client, answer["jobId"], wait=True, output="table", query="", prefix=False)


def of_session(verb: str) -> click.Command:
    """`mist sessions join|watch SESSION`."""

    @click.command(verb, params=[click.Argument(["session"], metavar="SESSION")])
    @click.pass_context
    def command(ctx: click.Context, session: str) -> None:
        client = client_of(ctx)

        def ask() -> Any:
            try:
                return client.ask("POST", f"/sessions/{session}/actions/{verb}", body={})
            except Refused as refusal:
                raise told(client, "sessions", refusal) from None

        raise click.exceptions.Exit(attach(client, ask))

    command.help = (
        "Type in a shell that runs: one's own again, or another's."
        if verb == "join"
        else "Look at a shell that runs. Whoever is at it is told."
    )
    return command


def attach(client: Client, ask: Any) -> int:
    """A terminal on the shell that an act leads to, to its end.  Returns: the exit code."""
    answer = ask()
    facts = answer.json()["data"]
    shell = Shell(client, facts["session"])
    with raw() as is_terminal:
        try:
            asyncio.run(shell.run(answer.headers["Location"], is_terminal=is_terminal))
        finally:
            if is_terminal and not shell.ended:
                os.write(1, RESET)
    if shell.left:
        click.echo(f"\nLeft. The shell goes on: mist sessions join {shell.session}", err=True)
        return 0
    if shell.why:
        click.echo(shell.why, err=True)
    return shell.exit_code()


@contextmanager
def raw() -> Iterator[bool]:
    """Keys go through as they are typed, while it lasts; yields whether there is a terminal."""
    if not sys.stdin.isatty():
        yield False
        return
    before = termios.tcgetattr(0)
    try:
        tty.setraw(0)
        yield True
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)


class Shell:
    """One session as this terminal sees it, over one socket after the other."""

    def __init__(self, client: Client, session: str) -> None:
        self.client, self.session = client, session
        self.ended = self.left = False
        self.why = ""
        self._status: int | None = None
        self._code = ""
        self._socket: Any = None
        self._open = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._is_again = False
        self._keys: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._fresh_line, self._held = True, b""

    def exit_code(self) -> int:
        """What the shell ended with; where the line did not tell, the record does."""
        if self._status is None and self.ended:
            end = time.monotonic() + 5
            while time.monotonic() < end:
                try:
                    row = self.client.get(f"/sessions/{self.session}")
                except Stop:
                    break
                if row["state"] == "ended":
                    self._status, self._code = row["exit_status"], row["how"]
                    break
                time.sleep(0.1)
        if self._status is not None:
            return self._status % 256
        return 0 if self._code == "exited" else 255

    async def run(self, location: str, *, is_terminal: bool) -> None:
        """Until the shell ends, or one leaves it."""
        loop = asyncio.get_running_loop()
        try:
            loop.add_reader(0, self._typed, is_terminal)
        except OSError:  # a file, or nothing at all, is not waited for: it is read
            Thread(target=self._read_whole, args=[loop], daemon=True).start()
        if is_terminal:
            loop.add_signal_handler(signal.SIGWINCH, self._resized)
        sender, self._task = asyncio.create_task(self._send()), asyncio.current_task()
        try:
            end = time.monotonic() + COME_BACK_S
            while True:
                if await self._one_socket(location):
                    end = time.monotonic() + COME_BACK_S
                if self.ended or self.left:
                    break
                self._say(f"{self.why} Joining it again for {COME_BACK_S / 60:.0f} minutes at most; Ctrl-C gives up.")
                location = await self._come_back(end)
                self._is_again = is_terminal
        except asyncio.CancelledError:
            if not self.left:
                raise
        finally:
            sender.cancel()
            loop.remove_reader(0)

    async def _one_socket(self, location: str) -> bool:
        """Until it closes.  Returns: did it open?"""
        from websockets.asyncio.client import connect
        from websockets.exceptions import ConnectionClosed, WebSocketException

        opened, drawn = False, 0
        loop = asyncio.get_running_loop()
        headers = {"User-Agent": f"mist-cli/{__version__}"}
        try:
            async with connect(
                self._address(location),
                max_size=None,
                compression=None,
                additional_headers=headers,
                user_agent_header=None,
                open_timeout=20,
            ) as socket:
                self._socket, opened = socket, True
                if self._is_again:
                    self._is_again = False
                    _write(RESET + CLEAR)
                self._open.set()
                self._resized()
                try:
                    async for message in socket:
                        if isinstance(message, str):
                            self._told(message)
                            continue
                        await loop.run_in_executor(None, _write, message)  # a terminal that is slow holds the sender back
                        drawn += len(message)
                        with suppress(ConnectionClosed):  # what came before the end is still to be read
                            await socket.send(b"2" + json.dumps({"acked": drawn}).encode())
                except ConnectionClosed:
                    pass
                self._closed(socket.close_code or 1006, socket.close_reason or "")
        except (OSError, WebSocketException) as error:
            self.why = f"The line to the shell broke: {error}."
        finally:
            self._socket = None
            self._open.clear()
        return opened

    def _address(self, location: str) -> str:
        """The ticket goes to the server we know, as well encrypted as everything else."""
        ours, theirs = urlsplit(self.client.context.url), urlsplit(location)
        return f"{'wss' if ours.scheme == 'https' else 'ws'}://{ours.netloc}{theirs.path}?control=1"

    def _closed(self, code: int, reason: str) -> None:
        self.why = reason or ("" if code == ENDED else "The line to the shell broke.")
        if code in (ENDED, SPENT) and not self.left:
            self.ended = True
            if self._code == "exited":
                self.why = ""

    def _told(self, message: str) -> None:
        found = json.loads(message)
        if isinstance(ending := found.get("ending"), dict):
            self._say(f"{ending.get('detail', '')} It ends at {time.strftime('%H:%M:%S', time.localtime(ending.get('at', 0)))}.")
        if isinstance(ended := found.get("ended"), dict):
            self._code = str(ended.get("code", ""))
            if isinstance(ended.get("exit_status"), int):
                self._status = ended["exit_status"]

    async def _come_back(self, end: float) -> str:
        """A new ticket to the same shell.  Raises: Stop, when there is no way back."""
        pause = 0.3
        while True:
            try:
                answer = await _aside(lambda: self.client.ask("POST", f"/sessions/{self.session}/actions/join", body={}))
                return str(answer.headers["Location"])
            except Refused as refusal:
                if (refusal.status >= 500 or refusal.status == 429) and time.monotonic() < end:
                    await asyncio.sleep(pause)
                    continue
                raise Stop(f"{self.why}\r\nThe shell cannot be joined again: {refusal.format_message()}") from refusal
            except Away:
                if time.monotonic() > end:
                    raise
            await asyncio.sleep(pause)
            pause = min(5.0, pause * 1.6)

    def _say(self, words: str) -> None:
        """A line of ours, on the screen of the host's."""
        os.write(2, f"\r\n[mist] {words}\r\n".encode())

    def _resized(self) -> None:
        if sys.stdin.isatty():
            cols, rows = os.get_terminal_size(0)
            self._keys.put_nowait(b"1" + json.dumps({"width": cols, "height": rows}).encode())

    def _read_whole(self, loop: asyncio.AbstractEventLoop) -> None:
        """Standard input that is a file: all of it, then its end."""
        with suppress(RuntimeError):  # the loop is gone: the shell ended before
            while data := os.read(0, PIECE):
                loop.call_soon_threadsafe(self._keys.put_nowait, b"0" + data)
            loop.call_soon_threadsafe(self._no_more)

    def _no_more(self) -> None:
        """The end of what was piped in is the end of input there, too: for whoever reads, again and again, as of a file that has ended.

        (A Ctrl-D that comes while a shell starts is lost between two modes of its terminal.)
        """
        self._keys.put_nowait(b"0\x04")
        asyncio.get_running_loop().call_later(END_AGAIN_S, self._no_more)

    def _typed(self, is_terminal: bool) -> None:
        data = os.read(0, PIECE)
        if not data:
            asyncio.get_running_loop().remove_reader(0)
            self._no_more()
            return
        if is_terminal and not self._open.is_set() and b"\x03" in data and self._task is not None:
            self.left = True
            self._task.cancel()
            return
        if is_terminal:
            data = self._escaped(data)
        if data:
            self._keys.put_nowait(b"0" + data)
        if self.left:
            self._keys.put_nowait(None)

    def _escaped(self, data: bytes) -> bytes:
        """What is for the shell, without `~.` at the beginning of a line; `~~` is a `~`."""
        sent = bytearray()
        for byte in data:
            one = bytes([byte])
            if self._held:
                self._held = b""
                if one == b".":
                    self.left = True
                    break
                sent += one if one == b"~" else b"~" + one
            elif self._fresh_line and one == b"~":
                self._held = one
                continue
            else:
                sent += one
            self._fresh_line = one in b"\r\n"
        return bytes(sent)

    async def _send(self) -> None:
        """Keys and sizes, in order. What is typed while the line is broken waits for the next."""
        while True:
            item = await self._keys.get()
            if item is not None:
                await self._open.wait()
            if item is None:
                if self._socket is not None:
                    await self._socket.close()
                return
            try:
                await self._socket.send(item)
            except Exception as error:  # noqa: BLE001 - whatever it was, the reader sees the socket end
                self.why = str(error)


async def _aside(function: Callable[[], Any]) -> Any:
    """What it gives, called in a thread that nobody waits for at the end, as one does for an executor's."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[Any] = loop.create_future()

    def settle(settler: Callable[[Any], None], found: Any) -> None:
        if not answer.done():
            settler(found)

    def call() -> None:
        with suppress(RuntimeError):  # the loop is gone: somebody gave up
            try:
                found = function()
            except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to who asked
                loop.call_soon_threadsafe(settle, answer.set_exception, error)
            else:
                loop.call_soon_threadsafe(settle, answer.set_result, found)

    Thread(target=call, daemon=True).start()
    return await answer


def _write(data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]
