"""Signing in, contexts, and what is told when that does not hold."""

from __future__ import annotations

import ast
import json
import socket
import stat
import sys
import time

import pytest
from allauth.mfa.totp.internal.auth import TOTP, format_hotp_value, generate_totp_secret, hotp_value, yield_hotp_counters_from_time

from accounts.models import Token
from core.models import Event
from tests.cli.conftest import PASSWORD, ROOT, Mist
from tests.frontend.conftest import make_org
from tests.shells.conftest import Place, token_of

pytestmark = pytest.mark.django_db(transaction=True)


def signed_in(mist: Mist, place: Place, *more: str) -> None:
    mist.ok("login", mist.url, "--email", place.user.email, *more, typed=f"{PASSWORD}\n")


def test_login_keeps_a_token_and_no_password(person: Mist, place: Place) -> None:
    done = person.ok("login", person.url, "--email", place.user.email, typed=f"{PASSWORD}\n")
    kept = json.loads(person.contexts.read_text())
    context = kept["contexts"][kept["current"]]
    assert (context["url"], context["email"], context["org"]) == (person.url, place.user.email, place.org.name)
    assert Token.objects.get(pk=context["token_id"]).name.startswith("mist on ")
    assert PASSWORD not in person.contexts.read_text()
    assert context["token"] not in done.out + done.err
    assert stat.S_IMODE(person.contexts.stat().st_mode) == 0o600
    assert stat.S_IMODE(person.contexts.parent.stat().st_mode) == 0o700
    assert person.ok("machines", "-q", "[].name", "-o", "json").data == ["web-eu-04"]


def test_login_asks_for_the_second_step(person: Mist, place: Place) -> None:
    secret = generate_totp_secret()
    TOTP.activate(place.user, secret)
    wrong = person.run("login", person.url, "--email", place.user.email, typed=f"{PASSWORD}\n")
    assert (wrong.code, wrong.out) == (2, "")
    assert "second line" in wrong.err
    code = format_hotp_value(hotp_value(secret, next(yield_hotp_counters_from_time())))
    assert "Signed in" in person.ok("login", person.url, "--email", place.user.email, typed=f"{PASSWORD}\n{code}\n").out


def test_a_wrong_password_is_told_as_the_api_tells_it(person: Mist, place: Place) -> None:
    done = person.run("login", person.url, "--email", place.user.email, typed="wrong-wrong\n")
    assert done.code == 1
    assert "E-mail and password do not match." in done.err
    assert "request id" in done.err
    assert "wrong-wrong" not in done.err
    assert not person.contexts.exists()


def test_a_token_comes_from_standard_input_and_is_never_shown(person: Mist, place: Place) -> None:
    done = person.ok("login", person.url, "--token", typed=f"{place.token}\n")
    shown = [done, person.ok("context"), person.ok("context", "show", "-o", "json"), person.ok("context", "list", "-o", "yaml")]
    assert all(place.token not in one.out + one.err for one in shown)
    assert person.run("login", person.url, "--token", place.token).code == 2  # no option takes it: others see command lines


def test_several_contexts(person: Mist, place: Place) -> None:
    other, owner = make_org("second")[:2]
    person.ok("login", person.url, "--token", typed=f"{place.token}\n")
    person.ok("login", person.url, "--token", "--name", "work", typed=f"{token_of(other, owner)}\n")
    rows = {row["name"]: row for row in person.ok("context", "list", "-o", "json").data}
    first = next(name for name in rows if name != "work")
    assert rows["work"]["current"] and rows["work"]["org"] == "Second"
    assert person.ok("machines", "-o", "json").data == []
    assert len(person.ok("machines", "-o", "json", "-c", first).data) == 1
    assert len(person.ok("-c", first, "machines", "-o", "json").data) == 1
    assert len(person.ok("machines", "-o", "json", MIST_CONTEXT=first).data) == 1
    person.ok("context", "use", first)
    assert len(person.ok("machines", "-o", "json").data) == 1
    wrong = person.run("context", "use", "nowhere")
    assert wrong.code == 2 and "There are:" in wrong.err
    person.ok("context", "remove", "work")
    assert [row["name"] for row in person.ok("context", "list", "-o", "json").data] == [first]


def test_a_file_that_others_may_read_is_not_used(person: Mist, place: Place) -> None:
    person.ok("login", person.url, "--token", typed=f"{place.token}\n")
    person.contexts.chmod(0o644)
    done = person.run("machines")
    assert done.code == 2 and f"chmod 600 {person.contexts}" in done.err


def test_a_token_of_the_file_goes_to_no_other_server(person: Mist, place: Place) -> None:
    person.ok("login", person.url, "--token", typed=f"{place.token}\n")
    with socket.socket() as elsewhere:
        elsewhere.bind(("127.0.0.1", 0))
        elsewhere.listen(1)
        elsewhere.settimeout(0.5)
        done = person.run("machines", MIST_URL=f"http://127.0.0.1:{elsewhere.getsockname()[1]}")
        assert done.code == 2 and "MIST_TOKEN" in done.err
        with pytest.raises(TimeoutError):
            elsewhere.accept()


def test_logout_revokes(person: Mist, place: Place) -> None:
    signed_in(person, place)
    token = Token.objects.get(name__startswith="mist on ")
    person.ok("logout")
    token.refresh_from_db()
    assert token.revoked_at is not None
    done = person.run("machines")
    assert done.code == 2 and "mist login" in done.err


def test_a_revoked_token_is_told(mist: Mist, place: Place) -> None:
    Token.objects.update(revoked_at="2026-01-01T00:00:00Z")
    done = mist.run("machines")
    assert (done.code, done.out) == (1, "")
    assert "not valid any more" in done.err and "mist login" in done.err and "bad_token" in done.err
    assert place.token not in done.err


def test_a_server_that_is_away(mist: Mist) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        mist.url = f"http://127.0.0.1:{sock.getsockname()[1]}"
    began = time.monotonic()
    done = mist.run("machines")
    assert done.code == 3
    assert f"Cannot reach {mist.url}" in done.err
    assert time.monotonic() - began < 15


def test_something_that_is_no_mist(mist: Mist) -> None:
    mist.url += "/static"
    done = mist.run("machines")
    assert done.code == 3 and "Is the address right?" in done.err


def test_what_it_does_is_recorded_as_of_the_command_line(mist: Mist, place: Place) -> None:
    mist.ok("machines", "tag", "web-eu-04", "--tags", "env=prod")
    assert {event.via for event in Event.objects.filter(type__startswith="machine.tag.")} == {"cli"}


def test_it_uses_the_public_api_alone() -> None:
    """No module of the project, nor of what only the server needs: the command line may be installed where Mist is not."""
    allowed = {"mist_cli", "click", "httpx", "jmespath", "websockets", "yaml", *sys.stdlib_module_names}
    found = set()
    for path in sorted((ROOT / "cli" / "mist_cli").glob("**/*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or "."] if isinstance(node, ast.ImportFrom) else []
            found |= {name.split(".")[0] for name in names}
    assert found <= allowed, found - allowed
