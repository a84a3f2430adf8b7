"""Files on their way into a machine that break off: what is left of them, and what is told."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from core.models import Event
from tests.shells.conftest import Open, Place, Shells, Terminal, ended, make_place, the_session, wait_for
from tests.shells.uploads.conftest import MIB, Sending, half, host, names, send

pytestmark = pytest.mark.django_db(transaction=True)


def test_cancelled_it_leaves_nothing(terminal: Terminal, home: Path) -> None:
    sending, _ = half(terminal, home)
    sending.say(cancel=True)
    assert sending.expect("failed") == {"code": "cancelled", "detail": "It was cancelled."}
    assert names(home) == []
    wait_for(lambda: Event.objects.filter(type="machine.upload.failed").exists())
    detail = Event.objects.get(type="machine.upload.failed").detail
    assert (detail["code"], detail["name"], detail["bytes"], detail["sent"]) == ("cancelled", "half.bin", 4 * MIB, 2 * MIB)
    send(terminal, "half.bin", b"again").expect("done")


def test_a_dropped_socket_leaves_nothing_and_the_shell_stays(terminal: Terminal, home: Path, place: Place, opened: Open) -> None:
    half(terminal, home)
    terminal.socket.socket.close()
    wait_for(lambda: names(home) == [])
    wait_for(lambda: Event.objects.filter(type="session.upload.failed").exists())
    assert Event.objects.get(type="session.upload.failed").detail["code"] == "left"
    again = opened(place, session=the_session())
    send(again, "half.bin", b"whole").expect("done")


def test_a_killed_web_process_leaves_nothing(terminal: Terminal, home: Path, shells: Shells) -> None:
    half(terminal, home)
    shells.web.kill()
    wait_for(lambda: names(home) == [])
    assert the_session().state == "open"
    shells.start_web()


def test_a_killed_shell_process_leaves_no_file_of_that_name(terminal: Terminal, home: Path, shells: Shells) -> None:
    half(terminal, home)
    shells.holders[0].kill()
    assert terminal.expect_closed()[0] == 1012
    assert [name.partition(".part-")[0] for name in names(home)] == ["half.bin"]  # nobody lives who could remove it
    assert not (home / "half.bin").exists()


def test_a_shell_that_ends_takes_what_was_on_its_way_along(terminal: Terminal, home: Path) -> None:
    half(terminal, home)
    terminal.type("exit\r")
    terminal.expect_closed()
    wait_for(lambda: names(home) == [])
    session = ended(the_session())
    wait_for(lambda: Event.objects.filter(type="session.ended.observed").exists())
    types = list(Event.objects.filter(target_id=session.pk).order_by("at", "id").values_list("type", flat=True))
    assert types[-2:] == ["session.upload.failed", "session.ended.observed"]
    assert Event.objects.get(type="session.upload.failed").detail["code"] == "shell_ended"


def test_a_shell_process_that_is_stopped_removes_the_part(terminal: Terminal, home: Path, shells: Shells) -> None:
    half(terminal, home)
    shells.holders[0].stop()
    assert names(home) == []
    assert Event.objects.filter(type="session.upload.failed").exists()
    assert the_session().state == "ended"


def test_a_killed_sftp_server_is_told_and_its_part_removed(shells: Shells, opened: Open, tmp_path: Path) -> None:
    """By another session on the same connection."""
    with host(tmp_path, sftp="/usr/lib/openssh/sftp-server") as server:
        terminal = opened(make_place(server, port=server.port, user=server.user))
        terminal.prompt()
        home = server.directory / "home"
        sending, _ = half(terminal, home)
        found = subprocess.run(["pgrep", "-f", f"sftp-server -d {home}"], capture_output=True, text=True, check=True)
        for pid in found.stdout.split():
            os.kill(int(pid), signal.SIGKILL)
        sending.piece(b"x" * 1000)
        assert sending.expect("failed")["code"] == "connection_lost"
        assert names(home) == []
        terminal.type("echo fine-$((1+1))\r")
        terminal.expect("fine-2")


def test_more_than_was_asked_for_is_not_taken(terminal: Terminal, home: Path) -> None:
    sending = Sending(terminal, "flood", 8 * MIB)
    sending.expect("go")
    for _ in range(17):  # in the end more than all of it, however fast it is taken
        sending.piece(bytes(512 << 10))
    assert sending.expect("failed")["code"] == "more_than_asked"
    assert names(home) == []
    small = Sending(terminal, "small", 3)
    small.expect("go")
    small.piece(b"four")
    assert small.expect("failed")["code"] == "more_than_asked"


def test_one_file_after_the_other(terminal: Terminal, home: Path) -> None:
    sending, data = half(terminal, home)
    assert Sending(terminal, "second", 1).expect("failed")["code"] == "busy"
    sending.send(data)
    sending.expect("done")
