"""What goes wrong with shells: hosts, browsers, disks, processes and rights."""

from __future__ import annotations

import asyncio
import json
import resource
import shutil
import socket
import time
from datetime import timedelta
from pathlib import Path

import asyncssh
import pytest
from asyncssh.constants import MSG_IGNORE
from asyncssh.packet import String
from django.core.management import CommandError, call_command
from django.utils import timezone

from accounts.models import Team, Token
from core import chain
from core.models import Event
from machines.models import Session
from machines.shell import sweep, verify
from machines.shell.live import AHEAD
from machines.shell.recorder import lines_of, path_of
from tests.lab.sshd import Fake, Sshd, free_port, new_key, public_line
from tests.shells.conftest import Open, Place, Shells, ask, dial, ended, fetch, make_place, the_session, wait_for

pytestmark = pytest.mark.django_db(transaction=True)


def rss_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise AssertionError


# --- hosts ------------------------------------------------------------------------------------------------------------


def test_a_host_that_takes_connections_and_says_nothing(shells: Shells, sshd: Sshd, opened: Open) -> None:
    shells.holders[0].stop()
    shells.hold(OPEN_S=1.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        place = make_place(sshd, port=silent.getsockname()[1])
        assert "did not let us in" in opened(place).expect_closed()[1]
    assert ended(the_session()).ended_code == "open_timeout"


def test_nothing_listens_there(shells: Shells, sshd: Sshd, opened: Open) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert "connection refused" in opened(make_place(sshd, port=port)).expect_closed()[1]
    assert ended(the_session()).ended_code == "cloud_unavailable"


def test_a_large_answer_to_what_is_pasted_without_echo_ends_nothing(shells: Shells, fake_ssh: Fake, opened: Open) -> None:
    """OpenSSH answers so what is typed where nothing is echoed, a password's prompt or `stty -echo`: as many bytes as it had."""

    async def answer(process: asyncssh.SSHServerProcess[bytes]) -> None:
        process.stdout.write(b"ready ")
        await process.stdin.read(1)
        process.get_extra_info("connection").send_packet(MSG_IGNORE, String(bytes(2 << 20)))
        process.stdout.write(b"and well")
        await process.stdin.read()

    terminal = opened(make_place(fake_ssh, port=fake_ssh.serve(answer)))
    terminal.expect("ready")
    terminal.type("x")
    terminal.expect("and well")


def test_a_host_that_dies_in_mid_output(shells: Shells, fake_ssh: Fake, opened: Open) -> None:
    async def die(process: asyncssh.SSHServerProcess[bytes]) -> None:
        process.stdout.write(b"half a li")
        await asyncio.sleep(0.3)
        process.get_extra_info("connection").abort()

    terminal = opened(make_place(fake_ssh, port=fake_ssh.serve(die)))
    reason = terminal.expect_closed()[1]
    assert "lost" in reason
    assert bytes(terminal.shown) == b"half a li"
    session = ended(the_session())
    assert (session.ended_code, session.recording, session.exit_status) == ("connection_lost", "complete", None)
    assert list(lines_of(path_of(session.org_id, session.pk)))[1][2] == "half a li"


def test_a_wrong_key_and_a_wrong_user(shells: Shells, sshd: Sshd, opened: Open, tmp_path: Path) -> None:
    stranger = Sshd(tmp_path / "other", host_key=sshd.host_key, port=sshd.port)  # another key, the same host
    assert "does not let" in opened(make_place(stranger, port=sshd.port, user=sshd.user)).expect_closed()[1]
    assert ended(the_session()).ended_code == "cloud_auth_failed"
    assert "does not let" in opened(make_place(sshd, port=sshd.port, user="nobody-here", name="there")).expect_closed()[1]
    assert ended(the_session()).ended_code == "cloud_auth_failed"


def test_a_changed_host_key_blocks(shells: Shells, sshd: Sshd, opened: Open) -> None:
    place = make_place(sshd, port=sshd.port, user=sshd.user, pinned=public_line(new_key()))
    terminal = opened(place)
    assert "another host key" in terminal.expect_closed()[1]
    assert not terminal.shown
    assert ended(the_session()).ended_code == "host_key_changed"


def test_a_flood_grows_no_memory_and_ctrl_c_answers(place: Place, opened: Open, shells: Shells) -> None:
    terminal = opened(place)
    terminal.prompt()
    terminal.keep = False
    terminal.type("yes\r")
    wait_for(lambda: terminal.total > 8 << 20)
    before = {pid: rss_mib(pid) for pid in (shells.web.pid, shells.holders[0].pid)}
    start = terminal.total
    wait_for(lambda: terminal.total > start + (60 << 20), 40)
    grown = {pid: rss_mib(pid) - before[pid] for pid in before}
    assert max(grown.values()) < 20, grown
    terminal.keep = True
    terminal.shown.clear()
    terminal.type("\x03")
    wait_for(lambda: b"ready> " in terminal.shown)
    assert len(terminal.shown) < 8 << 20, "Ctrl-C does not wait for what came before it"  # how soon: tests/bench/bench_shell.py
    assert the_session().recording == "running"


def test_what_floods_for_long_is_read_slowly_and_a_key_lifts_that(shells: Shells, fake_ssh: Fake, opened: Open) -> None:
    async def flood(process: asyncssh.SSHServerProcess[bytes]) -> None:
        process.channel.set_write_buffer_limits(1 << 18)
        while True:
            process.stdout.write(b"y\r\n" * 20_000)
            await process.stdout.drain()

    terminal = opened(make_place(fake_ssh, port=fake_ssh.serve(flood)))
    terminal.keep = False
    wait_for(lambda: terminal.total > 128 << 20, 60)
    time.sleep(1)
    start = terminal.total
    time.sleep(2)
    assert terminal.total - start < 6 << 20
    start = terminal.total
    terminal.type("k")
    wait_for(lambda: terminal.total - start > 6 << 20, 5)


# --- browsers -----------------------------------------------------------------------------------------------------------


def test_a_browser_that_stops_reading_stops_the_host(place: Place, opened: Open, shells: Shells) -> None:
    terminal = opened(place, how={"reads": False})
    time.sleep(0.5)
    terminal.type("yes\r")
    seen = [0]

    def stands_still() -> bool:
        time.sleep(2.5)
        seen.append(the_session().bytes_out)
        return seen[-1] == seen[-2] > 1000

    wait_for(stands_still, 60, lambda: str(seen))
    held, stopped = rss_mib(shells.holders[0].pid), seen[-1]
    assert stopped <= 8 * AHEAD  # ours, the browser's, and what the kernel holds between
    time.sleep(2)
    assert the_session().bytes_out == stopped
    assert rss_mib(shells.holders[0].pid) - held < 2
    terminal.start()
    wait_for(lambda: terminal.total > 4 << 20)


def test_a_client_that_never_acknowledges_gets_a_window_by_pongs(place: Place, opened: Open) -> None:
    terminal = opened(place, control=False, how={"acks": False})
    terminal.prompt()
    terminal.keep = False
    terminal.type("head -c 5000000 /dev/zero | tr '\\0' x\r")
    wait_for(lambda: terminal.total > 5_000_000, 20)


def test_a_watcher_that_lags_holds_nobody_up(place: Place, opened: Open) -> None:
    terminal = opened(place)
    terminal.prompt()
    slow = opened(place, session=the_session(), verb="watch", how={"reads": False})
    terminal.keep = False
    terminal.type("head -c 6000000 /dev/zero | tr '\\0' x; echo\r")
    wait_for(lambda: terminal.total > 6_000_000, 20)
    terminal.keep = True
    terminal.type("echo here-$((1+1))\r")
    terminal.expect("here-2")
    slow.start()
    slow.expect("here-2")
    assert b"\x1bc" in slow.shown  # shown the screen again


def test_nonsense_is_not_answered_and_harms_nothing(place: Place, opened: Open) -> None:
    terminal = opened(place)
    terminal.prompt()
    for frame in (
        b"",
        b"1",
        b"1{",
        b"1[]",
        b'1{"width": -5, "height": "x"}',
        b'1{"width": 1e9}',
        b"2{}",
        b'2{"acked": 99999999999}',
        b"9x",
        b"0",
    ):
        terminal.socket.send(frame)
    terminal.socket.send("1" + "[" * 5000)
    terminal.type("echo fine-$((1+1)); stty size\r")
    terminal.expect("24 80")


# --- disks --------------------------------------------------------------------------------------------------------------


def test_a_full_disk_ends_the_shell(place: Place, opened: Open, shells: Shells) -> None:
    terminal = opened(place)
    terminal.prompt()
    session = the_session()
    size = path_of(session.org_id, session.pk).stat().st_size
    resource.prlimit(shells.holders[0].pid, resource.RLIMIT_FSIZE, (size + 5000, size + 5000))  # the kernel takes no more
    terminal.type("head -c 20000 /dev/zero | tr '\\0' x\r")
    assert "cannot be recorded" in terminal.expect_closed()[1]
    assert terminal.total < size + 20_000  # what was not recorded was not shown
    row = ended(session)
    assert (row.ended_code, row.recording) == ("not_recorded", "interrupted")
    found = [what for what, _ in verify.findings(row)]
    assert found in ([], ["unsealed"])  # the torn line, if there is one


def test_a_recording_whose_folder_vanishes_ends_the_shell(place: Place, opened: Open) -> None:
    terminal = opened(place)
    terminal.prompt()
    session = the_session()
    shutil.rmtree(path_of(session.org_id, session.pk).parent)
    time.sleep(0.6)
    terminal.type("echo unseen-$((1+1))\r")
    assert "taken away" in terminal.expect_closed()[1]
    assert b"unseen-2" not in terminal.shown
    assert ended(session).ended_code == "not_recorded"


def test_a_recording_has_a_longest_size(shells: Shells, sshd: Sshd, opened: Open) -> None:
    shells.holders[0].stop()
    shells.hold(MIST_RECORDING_MIB=1)
    terminal = opened(make_place(sshd, port=sshd.port, user=sshd.user))
    terminal.prompt()
    terminal.type("yes\r")
    assert "limit of 1 MiB" in terminal.expect_closed()[1]


def test_where_nothing_can_be_written_no_shell_opens(shells: Shells, sshd: Sshd, opened: Open, tmp_path: Path) -> None:
    shells.holders[0].stop()
    (tmp_path / "file").write_text("")
    shells.hold(MIST_RECORDINGS=str(tmp_path / "file" / "recordings"))
    terminal = opened(make_place(sshd, port=sshd.port, user=sshd.user))
    assert "cannot be recorded" in terminal.expect_closed()[1]
    assert not terminal.shown
    assert ended(the_session()).ended_code == "not_recorded"


# --- processes ------------------------------------------------------------------------------------------------------------


def test_a_killed_shell_process_leaves_a_recording_that_says_where_it_stops(place: Place, opened: Open, shells: Shells) -> None:
    terminal = opened(place)
    terminal.prompt()
    terminal.type("echo last-$((1+1))\r")
    terminal.expect("last-2")
    session = the_session()
    shells.holders[0].kill()
    assert terminal.expect_closed()[0] == 1012
    Session.objects.filter(pk=session.pk).exclude(holder="").update(holder="gone")  # as if it had been silent for long
    assert sweep.give_up_lost() == 1
    row = ended(session)
    assert (row.ended_code, row.recording) == ("holder_lost", "interrupted")
    late = Event.objects.get(type="session.chunk.observed", target_id=row.pk, detail__late=True)
    assert late.detail["length"] > 0
    assert "last-2" in path_of(row.org_id, row.pk).read_text()
    assert not list(verify.findings(row))
    shells.hold()
    assert ask(place, f"sessions/{row.pk.hex}/actions/join").status_code == 409
    again = opened(place)
    again.prompt()


def test_a_shell_process_that_is_stopped_ends_its_shells_in_order(place: Place, opened: Open, shells: Shells) -> None:
    terminal = opened(place)
    terminal.prompt()
    shells.holders[0].stop()
    assert "was stopped" in terminal.expect_closed()[1]
    row = ended(the_session())
    assert (row.ended_code, row.recording) == ("holder_stopped", "complete")
    assert not list(verify.findings(row))


def test_two_shell_processes_share_the_work(place: Place, opened: Open, shells: Shells) -> None:
    second = shells.hold()
    for _ in range(2):
        opened(place).prompt()
        wait_for(lambda: Session.objects.filter(state="open").count() == Session.objects.count())
        time.sleep(5)  # each tells how many it holds
    names = set(Session.objects.values_list("holder", flat=True))
    assert len(names) == 2
    assert any(f":{second.pid}:" in name for name in names)
    for session in Session.objects.all():
        again = opened(place, session=session)
        again.type("echo at-$((1+1))\r")
        again.expect("at-2")


def test_a_shell_process_elsewhere_is_reached_by_its_address(shells: Shells, sshd: Sshd, opened: Open) -> None:
    shells.holders[0].stop()
    address = f"127.0.0.1:{free_port()}"
    shells.hold(address)
    terminal = opened(make_place(sshd, port=sshd.port, user=sshd.user))
    terminal.prompt()
    assert the_session().holder_address == address
    with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2]))) as sock:  # not a web process
        sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
        sock.settimeout(5)
        assert sock.recv(100) == b""


def test_nobody_opens_a_shell_that_another_asked_for(place: Place, shells: Shells) -> None:
    assert ask(place, f"machines/{place.machine.pk.hex}/actions/ssh").status_code == 302
    other = place.member({"effect": "allow", "verbs": ["*"], "what": {}}, name="other")
    for verb in ("watch", "join"):
        answer = ask(place, f"sessions/{the_session().pk.hex}/actions/{verb}", other)
        assert "not opened it yet" in dial(shells, answer["Location"]).expect_closed()[1]


# --- the record -----------------------------------------------------------------------------------------------------------


def recorded(place: Place, opened: Open) -> Session:
    terminal = opened(place)
    terminal.prompt()
    terminal.type("echo kept-$((1+1)); sleep 6; exit\r")  # two pieces
    terminal.expect_closed(20)
    return ended(the_session())


def test_a_recording_is_sealed_in_pieces_and_a_change_is_noticed(place: Place, opened: Open) -> None:
    row = recorded(place, opened)
    pieces = Event.objects.filter(type="session.chunk.observed", target_id=row.pk)
    assert pieces.count() == row.recorded_chunks >= 2
    path = path_of(row.org_id, row.pk)
    assert path.stat().st_mode & 0o777 == 0o600
    call_command("verify-recordings")
    while chain.seal():
        pass
    assert not chain.verify(row.org_id).findings
    text = path.read_bytes()
    for changed, what in (
        (text.replace(b"kept-2", b"kept-3"), "changed"),
        (text[:-20], "shortened"),
        (text + b'[9, "o", "x"]\n', "unsealed"),
    ):
        path.write_bytes(changed)
        assert [found for found, _ in verify.findings(row)] == [what]
        with pytest.raises(CommandError):
            call_command("verify-recordings", session=row.pk.hex)
    path.unlink()
    assert [found for found, _ in verify.findings(row)] == ["missing"]
    assert fetch(place, f"sessions/{row.pk.hex}/cast").status_code == 409


def test_recordings_are_kept_for_so_long(place: Place, opened: Open) -> None:
    row = recorded(place, opened)
    assert sweep.expire() == 0
    Session.objects.update(ended_at=timezone.now() - timedelta(days=181))
    assert sweep.expire() == 1
    row.refresh_from_db()
    assert row.recording == "expired"
    assert not path_of(row.org_id, row.pk).exists()
    assert not list(verify.findings(row))
    assert fetch(place, f"sessions/{row.pk.hex}/cast").status_code == 409


def test_a_recording_is_deleted_by_who_may(place: Place, opened: Open) -> None:
    row = recorded(place, opened)
    import django.test

    token = place.member({"effect": "allow", "verbs": ["session.read", "session.replay"], "what": {}})
    client = django.test.Client()
    where = f"/api/v2/sessions/{row.pk.hex}"
    assert client.delete(where, headers={"Authorization": f"Bearer {token}"}).status_code == 403
    assert client.delete(where, headers={"Authorization": f"Bearer {place.token}"}).status_code == 200
    assert not path_of(row.org_id, row.pk).exists()
    assert not Session.objects.exists()


# --- limits and rights ------------------------------------------------------------------------------------------------------


def test_a_shell_nobody_types_in_ends(shells: Shells, sshd: Sshd, opened: Open) -> None:
    shells.holders[0].stop()
    shells.hold(MIST_SHELL_IDLE_MINUTES=0.05)
    terminal = opened(make_place(sshd, port=sshd.port, user=sshd.user))
    assert "Nothing was typed for 3 s" in terminal.expect_closed()[1]
    assert ended(the_session()).ended_code == "idle"


def test_a_shell_nobody_comes_back_to_ends(shells: Shells, sshd: Sshd, opened: Open) -> None:
    shells.holders[0].stop()
    shells.hold(SHELL_DETACHED_S=1)
    terminal = opened(make_place(sshd, port=sshd.port, user=sshd.user))
    terminal.prompt()
    terminal.close()
    assert ended(the_session()).ended_code == "detached"


def test_a_shell_ends_with_the_right_to_it(shells: Shells, sshd: Sshd, opened: Open) -> None:
    shells.holders[0].stop()
    shells.hold(RIGHTS_S=0.5)
    place = make_place(sshd, port=sshd.port, user=sshd.user)
    token = place.member({"effect": "allow", "verbs": ["machine.read", "machine.shell"], "what": {}})
    terminal = opened(place, token=token)
    terminal.prompt()
    Team.objects.filter(name="member").update(statements=[])
    assert "may not have a shell" in terminal.expect_closed()[1]
    assert ended(the_session()).ended_code == "no_right"


def test_without_the_right_there_is_no_shell_and_none_is_seen(place: Place, opened: Open) -> None:
    opened(place).prompt()
    session = the_session()
    reader = place.member({"effect": "allow", "verbs": ["machine.read", "session.read"], "what": {}}, name="reader")
    nobody = place.member(name="nobody")
    machine = f"machines/{place.machine.pk.hex}/actions/ssh"
    assert ask(place, machine, reader).status_code == 403
    assert ask(place, machine, nobody).status_code == 404
    for verb in ("watch", "join", "kill"):
        assert ask(place, f"sessions/{session.pk.hex}/actions/{verb}", reader).status_code == 403
        assert ask(place, f"sessions/{session.pk.hex}/actions/{verb}", nobody).status_code == 404
    assert fetch(place, f"sessions/{session.pk.hex}/cast", reader).status_code == 403
    assert fetch(place, f"sessions/{session.pk.hex}/output?q=x", nobody).status_code == 404
    assert fetch(place, "sessions", nobody).json()["data"] == []
    joiner = place.member({"effect": "allow", "verbs": ["session.*"], "what": {}}, name="joiner")
    assert ask(place, f"sessions/{session.pk.hex}/actions/join", joiner).status_code == 403  # no shell on the machine
    refused = set(Event.objects.filter(type__endswith=".refused").values_list("type", flat=True))
    assert {
        "machine.shell.refused",
        "session.watch.refused",
        "session.join.refused",
        "session.kill.refused",
        "session.replay.refused",
    } <= refused


def test_who_may_joins_and_types(place: Place, opened: Open) -> None:
    terminal = opened(place)
    terminal.prompt()
    both = place.member({"effect": "allow", "verbs": ["machine.read", "machine.shell", "session.*"], "what": {}}, name="both")
    joined = opened(place, session=the_session(), token=both)
    joined.type("echo by-two-$((1+1))\r")
    terminal.expect("by-two-2")
    assert ask(place, f"sessions/{the_session().pk.hex}/actions/kill", both).status_code == 200
    terminal.expect_closed()


def test_another_organizations_token_finds_nothing(place: Place, opened: Open, sshd: Sshd) -> None:
    opened(place).prompt()
    other = make_place(sshd, port=sshd.port, name="elsewhere")
    for path in (
        f"machines/{place.machine.pk.hex}/actions/ssh",
        *(f"sessions/{the_session().pk.hex}/actions/{v}" for v in ("watch", "join", "kill")),
    ):
        assert ask(other, path).status_code == 404
    assert fetch(other, f"sessions/{the_session().pk.hex}/cast").status_code == 404


def test_a_read_only_token_opens_no_shell(place: Place) -> None:
    Token.objects.update(scope="read")
    assert ask(place, f"machines/{place.machine.pk.hex}/actions/ssh").status_code == 403


def test_a_stopped_machine_has_no_shell(place: Place) -> None:
    place.machine.state = "stopped"
    place.machine.save()
    answer = ask(place, f"machines/{place.machine.pk.hex}/actions/ssh")
    assert (answer.status_code, answer.json()["code"]) == (409, "machine_wrong_state")
    assert not Session.objects.exists()


def test_somebody_who_is_no_web_process_opens_nothing(shells: Shells) -> None:
    """Bytes at the relay's socket that no web process signed."""
    from machines.models import ShellHolder
    from machines.shell import wire

    address = ShellHolder.objects.order_by("-beat_at")[0].address.removeprefix("unix:")
    for hello in (b"nonsense", json.dumps({"session": "0" * 32}).encode()):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(5)
            sock.connect(address)
            sock.sendall(wire.frame(b"h", hello))
            assert sock.recv(100) == b""
