"""A socket that is open ends when whoever opened it may be here no more: on the real server, for each cause and each socket."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.contrib.sessions.models import Session as StoredSession
from django.test import Client
from django.utils import timezone
from websockets.sync.client import connect

from accounts.models import Membership, Organization, Team, Token, User
from core.actions import perform
from core.actor import Actor
from machines.models import Machine
from tests.core.test_doors import make_org
from tests.shells.conftest import Open, Place, Shells, Terminal, dial, token_of, wait_for

pytestmark = pytest.mark.django_db(transaction=True)

PASSWORD = "correct horse battery"
AT_ONCE_S = 2.0  # where an event tells of it
BY_THE_CLOCK_S = 20.0
EVERYTHING = {"effect": "allow", "verbs": ["*"], "what": {}}


class Someone:
    """A member with a session and a token, and sockets open by both: `sockets` {what it is: the socket}."""

    def __init__(self, web: Shells, org: Organization, owner: User, name: str = "someone") -> None:
        self.web, self.org, self.owner = web, org, owner
        self.user = User.objects.create_user(f"{name}@example.org", PASSWORD)
        Membership.objects.create(org=org, user=self.user)
        Team.objects.create(org=org, name=name, statements=[EVERYTHING]).members.add(self.user)
        self.client = sign_in(self.user)
        self.by_token = {"Authorization": f"Bearer {token_of(org, self.user)}"}
        self.cookie = {"Cookie": f"sessionid={self.client.cookies['sessionid'].value}"}
        self.sockets: dict[str, Terminal] = {}
        for path in ("/ws/live", "/ws/console"):
            self._open(f"session {path}", f"{path}?org={org.pk.hex}", self.cookie)
        self._open("token /ws/live", "/ws/live", self.by_token)

    def _open(self, name: str, path: str, headers: dict[str, str]) -> None:
        found = connect(f"ws://127.0.0.1:{self.web.port}{path}", additional_headers=headers, compression=None, legacy=True)
        self.sockets[name] = Terminal(found, acks=False)
        found.send(json.dumps({"ping": True}))
        wait_for(lambda: self.sockets[name].told)

    def open_shells(self, machine: Machine) -> None:
        for name, client, headers, cookie in (
            ("session shell", self.client, {}, self.cookie),
            ("token shell", Client(), self.by_token, {}),
        ):
            answer = client.post(f"/api/v2/machines/{machine.pk.hex}/actions/ssh", "{}", content_type="application/json", headers=headers)
            assert answer.status_code == 302, answer.content
            self.sockets[name] = dial(self.web, answer["Location"], headers=cookie)
            self.sockets[name].prompt()

    def closed(self) -> set[str]:
        return {name for name, socket in self.sockets.items() if socket.closed}

    def expect_only(self, how: str, seconds: float) -> None:
        """Those opened so are closed within so long, with the code that says why, and the others go on."""
        names = {name for name in self.sockets if name.startswith(how)}
        wait_for(lambda: self.closed() >= names, seconds, lambda: f"closed: {self.closed()}")
        assert {self.sockets[name].closed[0] for name in names} == {4401}  # type: ignore[index]
        for name in self.sockets.keys() - names:
            if "shell" in name:
                self.sockets[name].type("echo still' 'here\r")
                self.sockets[name].expect("still here")
            else:
                before = len(self.sockets[name].told)
                self.sockets[name].socket.send(json.dumps({"ping": True}))
                wait_for(lambda name=name, before=before: len(self.sockets[name].told) > before)
        assert self.closed() == names


@pytest.fixture
def arrive(web: Shells, transactional_db: None) -> Iterator[Callable[..., Someone]]:
    """Somebody comes to an organization, with sockets open."""
    made: list[Someone] = []

    def come(org: Organization, owner: User, name: str = "someone") -> Someone:
        made.append(Someone(web, org, owner, name))
        return made[-1]

    yield come
    for one in made:
        for socket in one.sockets.values():
            socket.close()


@pytest.fixture
def someone(arrive: Callable[..., Someone]) -> Someone:
    org, owner, _actor = make_org("here")
    return arrive(org, owner)


def sign_in(user: User) -> Client:
    client = Client()
    assert client.post("/sign-in", {"login": user.email, "password": PASSWORD}).status_code == 302
    return client


def act(one: Someone, target: Any, verb: str, params: dict[str, Any] | None = None) -> None:
    """Its owner does it."""
    perform(Actor(org_id=one.org.pk, user_id=one.owner.pk, email=one.owner.email, address="10.1.2.3"), target, verb, params or {})


def sign_out(one: Someone) -> None:
    assert one.client.post("/sign-out").status_code == 302


def revoke_session(one: Someone) -> None:
    other = sign_in(one.user)
    theirs = next(row for row in other.get("/api/v2/auth/sessions").json()["data"] if not row["is_current"])
    assert other.delete(f"/api/v2/auth/sessions/{theirs['id']}").status_code in (200, 204)


def change_password(one: Someone) -> None:
    """From another browser."""
    sent = {"old": PASSWORD, "password": "another horse battery"}
    answer = sign_in(one.user).put("/api/v2/auth/password", json.dumps(sent), content_type="application/json")
    assert answer.status_code in (200, 204), answer.content


def revoke_token(one: Someone) -> None:
    act(one, Token.objects.get(owner=one.user), "delete")


def remove_member(one: Someone) -> None:
    act(one, Membership.objects.get(user=one.user), "remove")


def close_addresses(one: Someone) -> None:
    act(one, one.org, "edit", {"allowed_addresses": ["10.0.0.0/8"]})


def ask_for_a_second_step(one: Someone) -> None:
    Authenticator.objects.create(user=one.owner, type=Authenticator.Type.TOTP, data={"secret": ""})
    act(one, one.org, "edit", {"require_second_step": True})


def age_sessions(one: Someone) -> None:
    UserSession.objects.filter(user=one.user).update(created_at=timezone.now() - timedelta(hours=3))
    act(one, one.org, "edit", {"session_hours": 2})


def disable(one: Someone) -> None:
    User.objects.filter(pk=one.user.pk).update(is_active=False)


def expire_session(one: Someone) -> None:
    StoredSession.objects.filter(pk=one.client.cookies["sessionid"].value).update(expire_date=timezone.now() - timedelta(seconds=1))


def expire_token(one: Someone) -> None:
    Token.objects.filter(owner=one.user).update(expires_at=timezone.now())


def set_the_password_by_hand(one: Someone) -> None:
    one.user.set_password("by an admin at the command line")
    one.user.save()


@pytest.mark.parametrize(
    ("cause", "of"),
    [
        (sign_out, "session"),
        (revoke_session, "session"),
        (change_password, "session"),
        (revoke_token, "token"),
        (remove_member, ""),
        (close_addresses, ""),
        (ask_for_a_second_step, ""),
        (age_sessions, "session"),
    ],
)
def test_an_open_socket_ends_at_once_with_what_opened_it(someone: Someone, cause: Callable[[Someone], None], of: str) -> None:
    cause(someone)
    someone.expect_only(of, AT_ONCE_S)


def test_what_no_event_tells_of_is_seen_by_the_clock(arrive: Callable[..., Someone]) -> None:
    org, owner, _actor = make_org("here")
    causes = {disable: "", expire_session: "session", expire_token: "token", set_the_password_by_hand: "session"}
    people = {cause: arrive(org, owner, f"{cause.__name__}") for cause in causes}
    for cause, one in people.items():
        cause(one)
    for cause, one in people.items():
        one.expect_only(causes[cause], BY_THE_CLOCK_S)


def test_a_shell_is_left_by_who_signs_out_and_by_who_leaves(place: Place, arrive: Callable[..., Someone], opened: Open) -> None:
    one = arrive(place.org, place.user)
    one.open_shells(place.machine)
    mine = opened(place)
    mine.prompt()
    sign_out(one)
    one.expect_only("session", AT_ONCE_S)
    remove_member(one)
    one.expect_only("", AT_ONCE_S)
    mine.type("echo still' 'here\r")
    mine.expect("still here")
