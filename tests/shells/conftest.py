"""Shells for tests: the real web and shell processes, a real sshd, and a client of the socket that does what a browser does."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from accounts.credentials import TOKEN_PREFIX, digest_of, new_secret
from accounts.models import Membership, Organization, Team, Token, User
from clouds.models import Cloud
from core.actions import perform
from core.actor import Actor
from keys.models import HostKey, Key, KeyAssociation
from machines.models import Machine, Session, ShellHolder
from tests.core.test_doors import make_org
from tests.forked import Process
from tests.lab.sshd import Fake, Sshd, fake_ssh, free_port, sshd

__all__ = ["fake_ssh", "sshd"]

_numbers = itertools.count(1)


def start(what: str, where: str, **changed: Any) -> Process:
    log = settings.MIST_HOME / f"{what}-{next(_numbers)}.log"
    return Process("tests.shells.served", log, what, where, changed, changed=changed)


def wait_for(done: Callable[[], Any], seconds: float = 15, why: Callable[[], str] = lambda: "") -> Any:
    end = time.monotonic() + seconds
    while not (found := done()):
        if time.monotonic() > end:
            pytest.fail(f"it did not happen within {seconds} s. {why()}")
        time.sleep(0.02)
    return found


@dataclass
class Shells:
    """The processes. `web` and `holder` may be killed and started again."""

    port: int = field(default_factory=free_port)
    web: Process = field(init=False)
    holders: list[Process] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.start_web()

    def start_web(self) -> None:
        self.web = start("web", str(self.port))
        wait_for(self._answers, 40, lambda: self.web.log.read_text()[-3000:])

    def _answers(self) -> bool:
        import socket

        assert self.web.is_alive, self.web.log.read_text()[-3000:]
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", self.port)) == 0

    def hold(self, where: str = "", **changed: Any) -> Process:
        """Another shell process, ready. `where`: host:port, else a unix socket."""
        process = start("shell", where or str(settings.SOCKET_DIR / f"shell-{next(_numbers)}.sock"), **changed)
        self.holders.append(process)
        here = f":{process.pid}:"
        wait_for(lambda: ShellHolder.objects.filter(name__contains=here).exists(), 40, lambda: process.log.read_text()[-3000:])
        return process

    def stop(self) -> None:
        for process in [*self.holders, self.web]:
            process.stop()


@pytest.fixture(scope="session")
def web(django_db_setup: None, django_db_blocker: Any) -> Iterator[Shells]:
    made = Shells()
    yield made
    made.stop()


@pytest.fixture
def shells(web: Shells, transactional_db: None) -> Iterator[Shells]:
    """With one shell process; what the test starts more is stopped."""
    if not web.web.is_alive:
        web.start_web()
    web.hold()
    yield web
    for process in web.holders:
        process.stop()
    web.holders.clear()


@dataclass
class Place:
    """An organization with one host behind SSH, and who asks."""

    org: Organization
    user: User
    actor: Actor
    cloud: Cloud
    machine: Machine
    key: Key
    token: str

    def member(self, *statements: dict[str, Any], name: str = "member") -> str:
        """Somebody with these statements and no others; their token."""
        user = User.objects.create_user(f"{name}@example.org", "secret-secret")
        Membership.objects.create(org=self.org, user=user)
        Team.objects.create(org=self.org, name=name, statements=list(statements)).members.add(user)
        return token_of(self.org, user)


def token_of(org: Organization, user: User) -> str:
    secret = new_secret(TOKEN_PREFIX)
    Token.objects.create(org=org, owner=user, name=f"token-{next(_numbers)}", digest=digest_of(secret), hint="mist_")
    return secret


def make_place(host: Sshd | Fake, *, port: int, user: str = "root", name: str = "here", pinned: str | None = None) -> Place:
    """A machine whose address is 127.0.0.1 and this port."""
    org, person, actor = make_org(name)
    perform(actor, Key, "create", {"name": "lab", "private": host.private_key})
    key = Key.objects.get(org=org)
    cloud = Cloud.objects.create(org=org, name="lab", provider="other", extra={"loopback": True})
    machine = Machine.objects.create(
        org=org, cloud=cloud, name="web-eu-04", external_id=f"127.0.0.1:{port}", state="running", type="machine", address="127.0.0.1"
    )
    KeyAssociation.objects.create(org=org, machine=machine, key=key, user=user, port=port)
    perform(actor, HostKey, "trust", {"host": "127.0.0.1", "port": port, "public": pinned or host.public_host_key})
    return Place(org=org, user=person, actor=actor, cloud=cloud, machine=machine, key=key, token=token_of(org, person))


@pytest.fixture
def place(shells: Shells, sshd: Sshd) -> Place:
    return make_place(sshd, port=sshd.port, user=sshd.user)


class Terminal:
    """What a browser is to the server: reads, acknowledges what it has drawn (unless told not to), types."""

    def __init__(self, socket: ClientConnection, *, acks: bool = True, reads: bool = True) -> None:
        self.socket, self.acks = socket, acks
        self.shown = bytearray()
        self.total = 0
        self.told: list[dict[str, Any]] = []
        self.closed: tuple[int, str] | None = None
        self.keep = True  # the bytes, not their number alone
        if reads:
            self.start()

    def start(self) -> None:
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            for message in self.socket:
                if isinstance(message, str):
                    self.told.append(json.loads(message))
                    continue
                self.total += len(message)
                if self.keep:
                    self.shown += message
                if self.acks:
                    self.socket.send(b"2" + json.dumps({"acked": self.total}).encode())
        except ConnectionClosed:
            pass
        self.closed = (self.socket.close_code or 1006, self.socket.close_reason or "")

    def type(self, text: str) -> None:
        self.socket.send(b"0" + text.encode())

    def resize(self, cols: int, rows: int) -> None:
        self.socket.send(b"1" + json.dumps({"width": cols, "height": rows}).encode())

    def expect(self, text: str, seconds: float = 15) -> str:
        wait_for(lambda: text.encode() in self.shown or self.closed, seconds, lambda: f"no {text!r} in {bytes(self.shown[-600:])!r}")
        assert text.encode() in self.shown, (text, bytes(self.shown[-600:]), self.closed)
        return self.shown.decode(errors="replace")

    def expect_closed(self, seconds: float = 15) -> tuple[int, str]:
        found: tuple[int, str] = wait_for(lambda: self.closed, seconds)
        return found

    def prompt(self) -> None:
        """A prompt we know, from now on."""
        wait_for(lambda: b"# " in self.shown or b"$ " in self.shown or self.closed)
        self.type("PS1='ready''> '\r")
        self.expect("ready> ")

    def close(self) -> None:
        self.socket.close()


Open = Callable[..., Terminal]


def ask(place: Place, path: str, token: str = "", **body: Any) -> Any:
    """POST to the API."""
    return Client().post(
        f"/api/v2/{path}", json.dumps(body), content_type="application/json", headers={"Authorization": f"Bearer {token or place.token}"}
    )


def fetch(place: Place, path: str, token: str = "") -> Any:
    return Client().get(f"/api/v2/{path}", headers={"Authorization": f"Bearer {token or place.token}"})


@pytest.fixture
def opened(web: Shells) -> Iterator[Open]:
    """Opens a socket: of a new shell, or (`session`, `verb`) of one there is."""
    made: list[Terminal] = []

    def open_one(
        place: Place,
        *,
        session: Session | None = None,
        verb: str = "join",
        token: str = "",
        control: bool = True,
        how: Any = None,
        **body: Any,
    ) -> Terminal:
        where = f"sessions/{session.pk.hex}/actions/{verb}" if session else f"machines/{place.machine.pk.hex}/actions/ssh"
        answer = ask(place, where, token, **body)
        assert answer.status_code == 302, answer.content
        made.append(dial(web, answer["Location"], control=control, **(how or {})))
        return made[-1]

    yield open_one
    for terminal in made:
        terminal.close()


def dial(web: Shells, location: str, *, control: bool = True, headers: dict[str, str] | None = None, **how: Any) -> Terminal:
    address = location.replace("testserver", f"127.0.0.1:{web.port}") + ("?control=1" if control else "")
    return Terminal(connect(address, max_size=None, additional_headers=headers, compression=None, legacy=True), **how)


def the_session() -> Session:
    return Session.objects.order_by("-created_at")[0]


def ended(session: Session, seconds: float = 15) -> Session:
    """The row once it has ended."""

    def look() -> bool:
        session.refresh_from_db()
        return session.state == "ended"

    wait_for(look, seconds)
    return session
