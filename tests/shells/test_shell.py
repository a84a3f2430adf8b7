"""A shell, through the API and its socket, on a real sshd."""

from __future__ import annotations

import json
import time

import pytest

from core.models import Event, Job
from machines.models import Session, ShellTicket
from machines.shell.recorder import lines_of, path_of
from tests.shells.conftest import Open, Place, Shells, ask, dial, ended, fetch, the_session, wait_for

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_shell_is_opened_typed_in_and_recorded(place: Place, opened: Open) -> None:
    terminal = opened(place, reason="INC-4127 502 on web-eu")
    terminal.prompt()
    terminal.type("echo one-$((40+2))\r")
    terminal.expect("one-42")
    terminal.type("exit 3\r")
    code, reason = terminal.expect_closed()
    assert (code, reason) == (1000, "The shell ended with status 3.")
    session = ended(the_session())
    assert (session.reason, session.ended_code, session.exit_status, session.transport) == ("INC-4127 502 on web-eu", "exited", 3, "ssh")
    assert [text for _, text in session.commands][1:] == ["echo one-$((40+2))", "exit 3"]
    assert session.recording == "complete"
    assert place.machine.key_associations.get().last_used_at
    header, *lines = lines_of(path_of(session.org_id, session.pk))
    assert header["version"] == 2
    assert (header["width"], header["height"]) == (80, 24)
    assert "one-42" in "".join(line[2] for line in lines if line[1] == "o")
    assert {line[1] for line in lines} == {"o", "m"}


def test_the_answer_is_the_contracts(place: Place) -> None:
    answer = ask(place, f"machines/{place.machine.pk.hex}/actions/ssh")
    assert answer.status_code == 302
    assert answer["Location"].startswith("ws://testserver/ssh/")
    assert answer["Cache-Control"] == "no-store"
    ticket = answer["Location"].rpartition("/")[2]
    job = Job.objects.get(action="machine.shell")
    assert ticket not in json.dumps([job.params, job.result])
    assert not [event for event in Event.objects.all() if ticket in json.dumps([event.detail, event.after])]
    assert bytes(ShellTicket.objects.get().digest) != ticket.encode()


def test_a_ticket_is_for_one_use(place: Place, opened: Open, shells: Shells) -> None:
    answer = ask(place, f"machines/{place.machine.pk.hex}/actions/ssh")
    first = dial(shells, answer["Location"])
    first.prompt()
    second = dial(shells, answer["Location"])
    assert second.expect_closed()[0] == 4403
    assert not second.shown
    first.close()


def test_a_ticket_expires(place: Place, shells: Shells) -> None:
    answer = ask(place, f"machines/{place.machine.pk.hex}/actions/ssh")
    ShellTicket.objects.update(expires_at="2020-01-01T00:00:00Z")
    assert dial(shells, answer["Location"]).expect_closed()[0] == 4403


def test_another_sites_page_opens_no_socket(place: Place, shells: Shells) -> None:
    from websockets.exceptions import InvalidStatus

    answer = ask(place, f"machines/{place.machine.pk.hex}/actions/ssh")
    with pytest.raises(InvalidStatus):
        dial(shells, answer["Location"], headers={"Origin": "https://evil.example"})


def test_one_comes_back_to_a_shell_and_sees_what_was_shown(place: Place, opened: Open) -> None:
    terminal = opened(place)
    terminal.prompt()
    terminal.type("echo first-$((1+1))\r")
    terminal.expect("first-2")
    terminal.close()
    session = the_session()
    wait_for(lambda: Session.objects.get(pk=session.pk).detached_at)
    again = opened(place, session=session)
    again.expect("first-2")
    again.type("echo second-$((1+1))\r")
    again.expect("second-2")


def test_a_shell_outlives_web(place: Place, opened: Open, shells: Shells) -> None:
    terminal = opened(place)
    terminal.prompt()
    terminal.type("MARK=kept-$((1+1)); echo set-$((1+1))\r")
    terminal.expect("set-2")
    shells.web.kill()
    terminal.expect_closed()
    shells.start_web()
    again = opened(place, session=the_session())
    again.type("echo $MARK.\r")
    again.expect("kept-2.")


def test_a_password_is_not_recorded(place: Place, opened: Open) -> None:
    terminal = opened(place)
    terminal.prompt()
    terminal.type("read -s -p 'Password: ' SECRET\r")
    terminal.expect("Password: ")
    time.sleep(0.2)
    terminal.type("hunter2hunter2\r")
    terminal.type("echo length-${#SECRET}\r")
    terminal.expect("length-14")
    terminal.type("exit\r")
    session = ended(the_session())
    text = path_of(session.org_id, session.pk).read_text()
    assert "hunter2" not in text
    assert "hunter2" not in json.dumps(session.commands)
    assert "read -s -p 'Password: ' SECRET" in [command for _, command in session.commands]


def test_the_terminal_has_the_size_of_the_browser(place: Place, opened: Open) -> None:
    terminal = opened(place, width=100, height=30)
    terminal.prompt()
    terminal.type("stty size\r")
    terminal.expect("30 100")
    terminal.resize(132, 43)
    terminal.type("stty size\r")
    terminal.expect("43 132")
    assert wait_for(lambda: [told for told in terminal.told if told.get("size") == [132, 43]])


def test_a_shell_is_watched_and_whoever_is_at_it_is_told(place: Place, opened: Open) -> None:
    terminal = opened(place)
    terminal.prompt()
    watcher = place.member({"effect": "allow", "verbs": ["session.read", "session.watch"], "what": {}}, name="jonas")
    session = the_session()
    assert ask(place, f"sessions/{session.pk.hex}/actions/join", watcher).status_code == 403
    looking = opened(place, session=session, verb="watch", token=watcher)
    assert wait_for(lambda: [told for told in terminal.told if len(told.get("viewers", [])) == 2])
    looking.type("echo from-the-watcher\r")
    terminal.type("echo seen-$((1+1))\r")
    looking.expect("seen-2")
    assert b"from-the-watcher" not in looking.shown
    looking.close()
    assert wait_for(lambda: len(terminal.told[-1].get("viewers", [0, 0])) == 1)


def test_a_shell_is_killed(place: Place, opened: Open) -> None:
    terminal = opened(place)
    terminal.prompt()
    session = the_session()
    assert ask(place, f"sessions/{session.pk.hex}/actions/kill").status_code == 200
    assert "ended it" in terminal.expect_closed()[1]
    assert ended(session).ended_code == "killed"
    assert ask(place, f"sessions/{session.pk.hex}/actions/join").status_code == 409


def test_the_list_says_who_where_and_why(place: Place, opened: Open) -> None:
    terminal = opened(place, reason="INC-7")
    terminal.prompt()
    terminal.type("echo find-$((1+1))-me\r")
    terminal.expect("find-2-me")
    session = the_session()
    wait_for(lambda: Session.objects.get(pk=session.pk).command_count >= 2)
    rows = fetch(place, "sessions?search=state:open reason:INC-7 command:find machine:web").json()["data"]
    assert [(row["machine"], row["owned_by"], row["reason"], row["login"]) for row in rows] == [
        ("web-eu-04", "here@example.org", "INC-7", place.machine.key_associations.get().user)
    ]
    assert fetch(place, "sessions?search=state:ended").json()["data"] == []
    found = fetch(place, f"sessions/{session.pk.hex}/output?q=FIND-2").json()["data"]
    assert [hit["line"] for hit in found] == ["find-2-me"]
    cast = b"".join(fetch(place, f"sessions/{session.pk.hex}/cast").streaming_content)
    assert cast.startswith(b'{"version": 2')
    assert Event.objects.filter(type="session.replay.succeeded", target_id=session.pk).count() == 2


def test_what_is_typed_before_it_is_open_is_not_lost(place: Place, opened: Open) -> None:
    """A script that pastes at once, and a person who is fast."""
    terminal = opened(place)
    terminal.type("echo early-$((40+2))\r")
    terminal.expect("early-42")
