"""Playbooks: ansible-core in a child process of its own, in a private folder that is gone afterwards.

It gets a generated inventory of addresses we resolved, the host keys we pinned in a known_hosts of its own, and an agent that signs
for it by the keys of its hosts; nothing of our environment, no configuration of the machine we run on. It needs an OpenSSH client.

What a play says of the machine it is played from, it says of a place that holds nothing (scripts/confined.py): it reads none of
our files, talks to none of our processes, and gets to its own hosts alone, by connections we dial for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import asyncssh
import yaml
from django.conf import settings
from django.utils import timezone

from core.errors import Failed, MistError
from keys import ssh
from machines.reach import Login, Reach
from scripts.ansible_ways import Agent, Door
from scripts.content import Content
from scripts.desk import Desk, ended, failed
from scripts.models import Run, RunHost
from scripts.output import STDERR, STDOUT, Output, masked
from scripts.parameters import Handed

FORKS = 50
LINE = 4 << 20  # of the callback's JSON
ENDING_S = 5.0
_PLUGIN, _DIAL, _CONFINED = (Path(__file__).with_name(f"{name}.py") for name in ("ansible_callback", "ansible_dial", "confined"))
_SAFE_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def missing() -> str:
    """Why playbooks cannot be run on this installation; "": they can."""
    if importlib.util.find_spec("ansible") is None:
        return "Playbooks need ansible-core in Mist's environment. Executable scripts run without."
    if shutil.which("ssh", path=_SAFE_PATH) is None:
        return "Playbooks need an OpenSSH client where Mist's workers run (package openssh-client). Executable scripts run without."
    if not settings.MIST_PLAYBOOKS_TRUSTED and (why := _no_place()):
        return (
            f"Playbooks need user namespaces where Mist's workers run, so that they reach nothing of Mist itself ({why}). Allow them, or "
            "set MIST_PLAYBOOKS_TRUSTED where everybody who writes scripts may do all that Mist may. Executable scripts run without."
        )
    return ""


def _no_place() -> str:
    """Why a program cannot be confined here; "": it can."""
    try:
        _try_place()
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    return ""


@cache  # that it can be; where it cannot, it is tried again
def _try_place() -> None:
    """Raises: OSError, SubprocessError."""
    base = Path(tempfile.mkdtemp(prefix="mist-play-"))
    try:
        command = [*_confined(base), "/bin/sh", "-c", "exit 0"]
        done = subprocess.run(command, capture_output=True, cwd=base / "work", env={"PATH": _SAFE_PATH}, timeout=30, check=False)
        if done.returncode:
            raise OSError(done.stderr.decode(errors="replace").strip()[-200:] or f"exit {done.returncode}")
    finally:
        shutil.rmtree(base, ignore_errors=True)


def _confined(base: Path) -> list[str]:
    """The words before those of a program that is to see `base`/work and nothing else of ours. Both folders are made."""
    for name in ("root", "work"):
        (base / name).mkdir(exist_ok=True)
    found = importlib.util.find_spec("ansible")
    packages = [str(Path(place).parent) for place in (found.submodule_search_locations or ())] if found else []
    ours = (settings.MIST_HOME, settings.MIST_RECORDINGS, settings.MIST_EXPORTS, settings.SECRET_KEY_FILE, settings.VAULT_KEYS_FILE)
    spec = {
        "root": str(base / "root"),
        "folder": str(base / "work"),
        "programs": list(dict.fromkeys([sys.prefix, sys.base_prefix, *packages])),
        "hide": [str(path) for path in (*ours, settings.AUDIT_KEYS_FILE)],
    }
    return [sys.executable, "-I", str(_CONFINED), json.dumps(spec)]


class Play:
    """One run of a playbook: a child process a wave."""

    def __init__(self, run: Run, content: Content, given: Handed, desk: Desk, *, cap: int, wait_s: float = 0) -> None:
        self.wait_s = wait_s  # for a host that does not answer yet
        self.run, self.content, self.given, self.desk, self.cap = run, content, given, desk, cap
        self.failures = 0
        self.stopped = ""
        self.child: asyncio.subprocess.Process | None = None
        self._before: list[str] = []  # the words that confine a wave's child
        self._door: Door | None = None  # by which it gets to its hosts

    def cancel(self) -> None:
        """End the child, and all it started."""
        self.stopped = "cancelled"
        self._signal(signal.SIGTERM)

    def _signal(self, number: int) -> None:
        if self.child is not None and self.child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.child.pid, number)

    async def conduct(self, waves: Sequence[Sequence[RunHost]], find: Callable[[Sequence[RunHost]], list[Reach]]) -> None:
        """Wave after wave."""
        if why := missing():
            raise Failed(why, code="no_ssh_client")
        for wave in waves:
            if self.stopped:
                for host in wave:
                    state = RunHost.State.CANCELLED if self.stopped == "cancelled" else RunHost.State.SKIPPED
                    ended(host, state, self.stopped, "The run was stopped before it began here.")
                    self.desk.tell(host)
                continue
            base = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="mist-play-"))
            try:
                self._before = await asyncio.to_thread(_confined, base)
                await self._wave(base / "work", wave, await self.desk.ask(find, wave))
            finally:
                await asyncio.to_thread(shutil.rmtree, base, True)

    async def _wave(self, folder: Path, hosts: Sequence[RunHost], ways: Sequence[Reach]) -> None:
        able: dict[str, _Host] = {}
        known: list[str] = []
        keys: list[asyncssh.SSHKey] = []
        inventory: dict[str, Any] = {}
        for number, (host, way) in enumerate(zip(hosts, ways, strict=True)):
            host.started_at = timezone.now()
            try:
                if way.error is not None or way.login is None:
                    raise way.error or Failed("There is no way to it.", code="no_key")
                if self.wait_s:
                    (await way.connect_within(self.desk.actor, self.desk.ask, self.wait_s)).abort()
                login = way.login
                address = await self._address(way, login)
            except MistError as error:
                failed(host, error)
                self._done(host, way)
                continue
            name = f"host-{number}"  # machines' names may be anything; the play sees them as `mist_name`
            names = [n for n in {host.name, way.host, *way.machine.public_ips, *way.machine.private_ips} if len(n) > 2]
            said = Output(host.pk, began=time.monotonic(), cap=self.cap, secrets=self.given.secrets, names=names)
            able[name] = _Host(host, way, said, (address, login.port))
            shown = login.client_keys(self.desk.actor, seconds=self.run.timeout_s + 60)[0]  # ssh may log in again as long as it plays
            private, certificate = shown if isinstance(shown, tuple) else (shown, None)
            keys.append(private)
            key, options = folder / f"key-{number}.pub", f"-o HostKeyAlias={name} -o ControlPath={folder}/c-{number}"
            key.write_bytes(private.export_public_key("openssh"))
            if certificate is not None:
                (folder / f"cert-{number}.pub").write_bytes(certificate.export_certificate("openssh"))
                options += f" -o CertificateFile={folder}/cert-{number}.pub"
            known += [f"{name} {line}" for line in way.pinned[login.port]]  # two machines may have one address, and other keys
            inventory[name] = {
                "ansible_host": address,
                "ansible_port": login.port,
                "ansible_user": login.user,
                "ansible_ssh_private_key_file": str(key),
                "ansible_ssh_common_args": options,
                "mist_name": host.name,
                "mist_tags": json.dumps(way.machine.tags),
            }
            host.state = RunHost.State.RUNNING
            self.desk.tell(host)
        if able:
            await asyncio.to_thread(self._prepare, folder, inventory, known)
            agent, self._door = Agent(folder / "agent", keys), Door(folder / "dial", {one.place for one in able.values()})
            await agent.open()
            try:
                await self._play(folder, able)
            finally:
                agent.close()
                self._door.close()

    async def _address(self, way: Reach, login: Login) -> str:
        """The address to dial, with a key we know it by: a host never met is asked for it, and trusted or refused."""
        with ssh.translated(way.host, login.port, login.user):
            return (await way.pin(login, self.desk.actor, self.desk.ask))[0]

    def _prepare(self, folder: Path, inventory: dict[str, Any], known: list[str]) -> None:
        for path, file in self.content.files.items():
            target = folder / "play" / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.data)
            target.chmod(0o700 if file.executable else 0o600)
        (folder / "plugins").mkdir()
        shutil.copy(_PLUGIN, folder / "plugins" / "mist.py")
        shutil.copy(_DIAL, folder / "dial.py")
        (folder / "inventory.yml").write_text(yaml.dump({"all": {"hosts": _unsafe(inventory)}}, Dumper=_Dumper))
        (folder / "known_hosts").write_text("".join(f"{line}\n" for line in known))
        variables = folder / "variables.yml"
        variables.touch(0o600)
        given = {name: _Unsafe(value) for name, value in self.given.environment.items()}
        variables.write_text(yaml.dump(given, Dumper=_Dumper))
        (folder / "ansible.cfg").write_text("[defaults]\n")

    async def _play(self, folder: Path, able: dict[str, _Host]) -> None:
        words = [*([] if settings.MIST_PLAYBOOKS_TRUSTED else self._before), sys.executable, "-m", "ansible.cli.playbook"]
        words += ["-i", str(folder / "inventory.yml"), "-e", f"@{folder / 'variables.yml'}"]
        words += ["--forks", str(min(self.run.concurrency, FORKS, len(able)))]
        words += ["--check", "--diff"] if self.run.dry else []
        words += ["--become"] if self.run.su else []
        words += [*self.given.words, str(folder / "play" / self.content.entrypoint)]
        options = f"-o UserKnownHostsFile={folder}/known_hosts -o GlobalKnownHostsFile=/dev/null -o StrictHostKeyChecking=yes"
        options += f" -F /dev/null -o IdentitiesOnly=yes -o IdentityAgent={folder}/agent"
        options += f" -o 'ProxyCommand={sys.executable} -I -S {folder}/dial.py {folder}/dial %h %p' -o ProxyUseFdpass=yes"
        options += " -o ControlMaster=auto -o ControlPersist=30"
        environment = {
            "PATH": f"{Path(sys.executable).parent}:{_SAFE_PATH}",
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "ANSIBLE_CONFIG": str(folder / "ansible.cfg"),
            "ANSIBLE_LOCAL_TEMP": str(folder / "tmp"),
            "ANSIBLE_STDOUT_CALLBACK": "mist",
            "ANSIBLE_CALLBACK_PLUGINS": str(folder / "plugins"),
            "ANSIBLE_SSH_ARGS": options,
            "ANSIBLE_HOST_KEY_CHECKING": "1",
            "ANSIBLE_SSH_PIPELINING": "1",
            "ANSIBLE_TIMEOUT": "20",
            "ANSIBLE_RETRY_FILES_ENABLED": "0",
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_PYTHON_INTERPRETER": "auto_silent",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        self.child = await asyncio.create_subprocess_exec(
            *words,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=folder / "play",
            env=environment,
            start_new_session=True,
            limit=LINE,
        )
        complaint = bytearray()
        reading = asyncio.gather(self._read(able), self._complaints(complaint))
        timed_out = False
        try:
            async with asyncio.timeout(self.run.timeout_s):
                await reading
                await self.child.wait()
        except TimeoutError:
            timed_out = True
        finally:
            self._signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(ENDING_S):
                    await self.child.wait()
            except TimeoutError:
                self._signal(signal.SIGKILL)
                await self.child.wait()
        words_of_it = masked(complaint.decode("utf-8", "replace")[-2000:].strip().replace(str(folder), "…"), self.given.secrets)
        for one in able.values():
            if self._door is not None and (why := self._door.failed.get(one.place)) and one.unreachable:
                one.unreachable = why
            one.close(self, timed_out=timed_out, complaint=words_of_it)
            self._done(one.host, one.way)

    async def _read(self, able: dict[str, _Host]) -> None:
        assert self.child is not None and self.child.stdout is not None
        while True:
            try:
                line = await self.child.stdout.readline()
            except ValueError:  # longer than LINE: its reader has dropped it
                continue
            if not line:
                return
            try:
                told = json.loads(line)
            except ValueError:
                continue
            one = able.get(told.get("host", "")) if isinstance(told, dict) else None
            if one is not None:
                one.take(told)
                if one.said.waiting and (piece := one.said.take()):
                    self.desk.write(piece)
            await self.desk.room.wait()

    async def _complaints(self, complaint: bytearray) -> None:
        assert self.child is not None and self.child.stderr is not None
        while data := await self.child.stderr.read(65536):
            complaint += data
            del complaint[:-65536]

    def _done(self, host: RunHost, way: Reach) -> None:
        host.detail = masked(host.detail, self.given.secrets)
        if host.state in (RunHost.State.FAILED, RunHost.State.UNKNOWN):
            self.failures += 1
            if self.run.stop_after and self.failures >= self.run.stop_after and not self.stopped:
                self.stopped = "stopped"
        self.desk.tell(host, way)


class _Host:
    """One host of a play."""

    def __init__(self, host: RunHost, way: Reach, said: Output, place: tuple[str, int]) -> None:
        self.host, self.way, self.said, self.place = host, way, said, place
        self.stats: dict[str, int] | None = None
        self.unreachable = ""

    def take(self, told: dict[str, Any]) -> None:
        """A task's result, or the sum of all."""
        if "stats" in told:
            self.stats = {key: int(value) for key, value in told["stats"].items() if value}
            return
        item = f" ({told['item']})" if told.get("item") else ""
        state, text = str(told.get("state")), str(told.get("text") or "")
        stream = STDERR if state in ("failed", "unreachable") else STDOUT
        body = "".join(f"    {line}\n" for line in text.splitlines())
        self.said.feed(stream, f"{state:<9}{told.get('task', '')}{item}\n{body}".encode(errors="replace"))
        if state == "unreachable":
            self.unreachable = text

    def close(self, play: Play, *, timed_out: bool, complaint: str) -> None:
        """Its end, into its row."""
        host, stats = self.host, self.stats
        if stats is None and complaint:
            self.said.feed(STDERR, complaint.encode() + b"\n")
        for piece in self.said.end():
            play.desk.write(piece)
        host.size, host.dropped, host.facts = self.said.size, self.said.dropped, stats or {}
        host.digest, host.alike = self.said.digests()
        host.last_line = self.said.last_line.replace("\0", "").strip()[:200]
        if stats is not None and not (stats.get("failures") or stats.get("unreachable")):
            ended(host, RunHost.State.SUCCEEDED)
            host.exit = 0
        elif stats is not None and stats.get("unreachable"):
            ended(host, RunHost.State.FAILED, "unreachable", self.unreachable or "Ansible could not reach it.")
        elif stats is not None:
            ended(host, RunHost.State.FAILED, "task_failed", f"{stats['failures']} of its tasks failed.")
            host.exit = 2
        elif play.stopped == "cancelled":
            ended(host, RunHost.State.CANCELLED, "cancelled", "It was stopped here by hand.")
        elif timed_out:
            ended(host, RunHost.State.FAILED, "timed_out", f"The play did not end within {play.run.timeout_s:,} s and was ended.")
        else:
            words = complaint.splitlines()[-1][:500] if complaint else "Ansible ended without a word."
            ended(host, RunHost.State.FAILED, "not_played", words)


class _Unsafe(str):
    """Text that Ansible must not take for a template."""

    __slots__ = ()


class _Dumper(yaml.SafeDumper):
    """YAML with Ansible's `!unsafe`."""


_Dumper.add_representer(_Unsafe, lambda dumper, text: dumper.represent_scalar("!unsafe", str(text)))


def _unsafe(hosts: dict[str, Any]) -> dict[str, Any]:
    """What people named is data: `{{ … }}` in a machine's name is no template."""
    return {
        name: {key: _Unsafe(value) if key.startswith("mist_") else value for key, value in each.items()} for name, each in hosts.items()
    }
