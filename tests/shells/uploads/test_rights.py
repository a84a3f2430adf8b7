"""Who may send files into a machine, and how much they hold of ours while they do."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import pytest

from core.models import Event
from machines.models import Session
from machines.shell import upload as uploads
from tests.lab.sshd import Sshd
from tests.shells.conftest import Open, Place, Shells, Terminal, make_place, the_session, wait_for
from tests.shells.test_faults import rss_mib
from tests.shells.uploads.conftest import MIB, Sending, content, names, send

pytestmark = pytest.mark.django_db(transaction=True)


# --- rights ----------------------------------------------------------------------------------------------------------------------


def test_who_only_watches_sends_nothing(terminal: Terminal, place: Place, opened: Open, home: Path) -> None:
    watcher = place.member({"effect": "allow", "verbs": ["session.read", "session.watch"], "what": {}}, name="jonas")
    looking = opened(place, session=the_session(), verb="watch", token=watcher)
    sending = Sending(looking, "a", 1)
    assert sending.expect("failed")["code"] == "watches"
    sending.piece(b"x")
    terminal.type("echo fine-$((1+1))\r")
    looking.expect("fine-2")
    assert names(home) == []


def test_who_lost_the_right_since_sends_nothing(place: Place, opened: Open, home: Path) -> None:
    from accounts.models import Team

    token = place.member({"effect": "allow", "verbs": ["machine.read", "machine.shell", "session.*"], "what": {}}, name="both")
    terminal = opened(place, token=token)
    terminal.prompt()
    Team.objects.filter(name="both").update(statements=[])
    assert Sending(terminal, "a", 1).expect("failed")["code"] == "no_right"
    assert names(home) == []
    wait_for(lambda: Event.objects.filter(type="machine.upload.refused").exists())


def test_who_joined_sends_a_file_and_it_is_theirs_on_record(terminal: Terminal, place: Place, opened: Open, home: Path) -> None:
    token = place.member({"effect": "allow", "verbs": ["machine.read", "machine.shell", "session.*"], "what": {}}, name="both")
    joined = opened(place, session=the_session(), token=token)
    send(joined, "theirs", b"x").expect("done")
    wait_for(lambda: Event.objects.filter(type="machine.upload.succeeded").exists())
    event = Event.objects.get(type="machine.upload.succeeded")
    assert event.actor_id != place.user.pk
    assert Session.objects.get().owner_id == place.user.pk


# --- bounds ----------------------------------------------------------------------------------------------------------------------


def test_no_memory_grows_with_a_file_and_nobody_is_ended_as_idle(shells: Shells, sshd: Sshd, opened: Open, home: Path) -> None:
    shells.holders[0].stop()
    holder = shells.hold(MIST_SHELL_IDLE_MINUTES=0.05)  # 3 s
    terminal = opened(make_place(sshd, port=sshd.port, user=sshd.user))
    terminal.prompt()
    send(terminal, "warm", content(4 * MIB)).expect("done")
    data = content(100 * MIB)
    before = {pid: rss_mib(pid) for pid in (shells.web.pid, holder.pid)}
    most = dict.fromkeys(before, 0.0)
    sending = Sending(terminal, "big", len(data))
    for end in range(5 * MIB, len(data) + 1, 5 * MIB):
        sending.send(data, end)
        time.sleep(0.2)
        for pid in most:
            most[pid] = max(most[pid], rss_mib(pid) - before[pid])
    assert sending.expect("done")["sha256"] == hashlib.sha256(data).hexdigest()
    assert max(most.values()) < 32, most
    assert (home / "big").read_bytes() == data


def test_a_client_that_stops_sending_holds_nothing_for_long(shells: Shells, sshd: Sshd, opened: Open, home: Path) -> None:
    assert uploads.STALL_S == 60
    shells.holders[0].stop()
    shells.hold(STALL_S=1.0)
    terminal = opened(make_place(sshd, port=sshd.port, user=sshd.user))
    terminal.prompt()
    sending = Sending(terminal, "slow", 100)
    sending.expect("go")
    assert sending.expect("failed") == {"code": "stalled", "detail": "Nothing of it came for 1 s."}
    assert names(home) == []
