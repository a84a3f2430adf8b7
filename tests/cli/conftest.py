"""The console script `mist` as a process of its own, on the real web process with jobs and shells."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from clouds.models import Cloud
from machines.models import Machine, ShellHolder
from tests.forked import Process
from tests.frontend.conftest import PASSWORD, browsing, quiet
from tests.lab.sshd import Sshd, fake_ssh, sshd
from tests.shells.conftest import Place, make_place, start, token_of, wait_for

__all__ = ["fake_ssh", "quiet", "sshd"]

ROOT = Path(__file__).resolve().parents[2]
MIST = Path(sys.executable).with_name("mist")


@dataclass
class Done:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        return json.loads(self.out)


@dataclass
class Mist:
    """A person's command line: a home of its own, and where it is signed in by the environment, if it is."""

    home: Path
    url: str
    token: str = ""

    def environment(self, **more: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("MIST_", "XDG_", "DJANGO_"))}
        signed_in = {"MIST_URL": self.url, "MIST_TOKEN": self.token} if self.token else {}
        return {**kept, "HOME": str(self.home), "PYTHONPATH": str(ROOT / "cli"), "LC_ALL": "C.UTF-8", **signed_in, **more}

    def run(self, *arguments: str, typed: str = "", seconds: float = 60, **environment: str) -> Done:
        command = [str(MIST), *arguments]
        made = subprocess.run(command, input=typed, capture_output=True, text=True, timeout=seconds, env=self.environment(**environment))
        assert "Traceback" not in made.stderr, made.stderr
        return Done(made.returncode, made.stdout, made.stderr)

    def ok(self, *arguments: str, **how: Any) -> Done:
        done = self.run(*arguments, **how)
        assert done.code == 0, (arguments, done)
        return done

    def start(self, *arguments: str, **how: Any) -> subprocess.Popen[Any]:
        """In the foreground: whoever runs the tests in the background has Ctrl-C ignored, and children inherit that."""
        return subprocess.Popen([str(MIST), *arguments], env=self.environment(), preexec_fn=foreground, **how)

    @property
    def contexts(self) -> Path:
        return self.home / ".config" / "mist" / "contexts.json"


def foreground() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture(scope="session")
def server(django_db_setup: None, django_db_blocker: object) -> Iterator[str]:
    """The web process; it does the jobs itself, in threads."""
    with browsing.serving() as address:
        yield address


@pytest.fixture
def person(server: str, tmp_path: Path, quiet: None) -> Mist:
    """Somebody who was never here."""
    return Mist(tmp_path, server)


@pytest.fixture
def place(quiet: None, sshd: Sshd) -> Place:
    """An organization with one machine behind a real sshd."""
    made = make_place(sshd, port=sshd.port, user=sshd.user)
    made.user.set_password(PASSWORD)
    made.user.save()
    return made


@pytest.fixture
def mist(person: Mist, place: Place) -> Mist:
    """Its owner, by environment."""
    person.token = place.token
    return person


@pytest.fixture
def holder(place: Place) -> Iterator[Process]:
    """A process that holds shells."""
    process = start("shell", str(settings.SOCKET_DIR / f"cli-shell-{os.getpid()}.sock"))
    wait_for(lambda: ShellHolder.objects.filter(name__contains=f":{process.pid}:").exists(), 40, lambda: process.log.read_text()[-3000:])
    yield process
    process.stop()


Fleet = Callable[..., list[Machine]]


@pytest.fixture
def fleet(place: Place) -> Fleet:
    """Machines of the simulated cloud, which does what it is told."""

    def make(count: int = 12) -> list[Machine]:
        from clouds.models import Poll
        from clouds.polling import poll_once
        from core.actions import perform

        credentials = {"machines": count, "seed": 1, "latency_ms": 0}
        perform(place.actor, Cloud, "create", {"name": "demo", "provider": "demo", "credentials": credentials})
        for poll in Poll.objects.order_by("pk"):
            poll_once(poll.pk)
        return list(Machine.objects.filter(cloud__name="demo", type="vm").order_by("name"))

    return make


__all__ += ["PASSWORD", "token_of"]
