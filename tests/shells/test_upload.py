"""Files into a machine through its shell: over the socket, on a real sshd, and what goes wrong on the way."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.models import Event
from machines.models import Session
from machines.shell import upload as uploads
from machines.shell.recorder import lines_of, path_of
from tests.lab.sshd import Sshd
from tests.shells.conftest import Open, Place, Shells, Terminal, ended, fetch, make_place, the_session, wait_for
from tests.shells.test_faults import rss_mib

pytestmark = pytest.mark.django_db(transaction=True)

_numbers = itertools.count(1)
MIB = 1 << 20


class Sending:
    """What a browser does with one file."""

    def __init__(self, terminal: Terminal, name: str, size: int, **asked: Any) -> None:
        self.terminal, self.number, self.size, self.sent = terminal, next(_numbers), size, 0
        self.say(name=name, size=size, **asked)

    def say(self, **what: Any) -> None:
        self.terminal.socket.send(b"3" + json.dumps({"upload": self.number, **what}).encode())

    def piece(self, data: bytes) -> None:
        self.terminal.socket.send(b"4" + self.number.to_bytes(4, "big") + data)
        self.sent += len(data)

    def told(self, what: str) -> Any:
        """The last that was told, or None."""
        for told in reversed(list(self.terminal.told)):
            mine = told.get("upload", {})
            if mine.get("id") == self.number and what in mine:
                return mine[what]
        return None

    def expect(self, what: str, seconds: float = 15) -> Any:
        others = ("failed", "exists", "done")
        wait_for(
            lambda: any(self.told(one) for one in (what, *others)) or self.terminal.closed, seconds, lambda: str(self.terminal.told[-5:])
        )
        found = self.told(what)
        assert found is not None, ({one: self.told(one) for one in others}, self.terminal.closed)
        return found

    def send(self, data: bytes, until: int | None = None) -> None:
        """All of it, or so far, as far as may be."""
        until = len(data) if until is None else until
        self.expect("go")
        while self.sent < until and self.told("failed") is None:
            wait_for(lambda: self.told("credit") > self.sent or self.told("failed"))
            end = min(until, self.told("credit"), self.sent + (64 << 10))
            if end > self.sent:
                self.piece(data[self.sent : end])


def send(terminal: Terminal, name: str, data: bytes, **asked: Any) -> Sending:
    sending = Sending(terminal, name, len(data), **asked)
    sending.send(data)
    return sending


def content(size: int) -> bytes:
    return os.urandom(min(size, MIB)) * (size // MIB) + os.urandom(size % MIB if size >= MIB else 0)


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """Of this module alone: it looks at what is in the home."""
    server = Sshd(tmp_path_factory.mktemp("sshd"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def terminal(place: Place, opened: Open) -> Terminal:
    found = opened(place)
    found.prompt()
    return found


@pytest.fixture
def home(sshd: Sshd) -> Iterator[Path]:
    """What a test leaves there is gone after it."""
    found = sshd.directory / "home"
    before = set(found.iterdir())
    yield found
    for path in set(found.iterdir()) - before:
        subprocess.run(["rm", "-rf", str(path)], check=True)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


# --- there and whole ---------------------------------------------------------------------------------------------------------


def test_a_file_is_sent_into_the_home_while_somebody_types(terminal: Terminal, home: Path, place: Place) -> None:
    data = content(5 * MIB + 321)
    sending = Sending(terminal, "report ü.csv", len(data))
    sending.send(data, 2 * MIB)
    assert [name.partition(".part-")[0] for name in names(home)] == ["report ü.csv"]
    assert names(home) != ["report ü.csv"]
    terminal.type("echo typed-$((40+2))\r")
    terminal.expect("typed-42")
    sending.send(data)
    done = sending.expect("done")
    digest = hashlib.sha256(data).hexdigest()
    assert done == {"folder": str(home), "name": "report ü.csv", "bytes": len(data), "sha256": digest}
    assert (home / "report ü.csv").read_bytes() == data
    assert names(home) == ["report ü.csv"]
    session = the_session()
    wait_for(lambda: Event.objects.filter(type="session.upload.succeeded").exists())
    on_session, on_machine = (Event.objects.get(type=f"{kind}.upload.succeeded") for kind in ("session", "machine"))
    assert (on_session.target_id, on_machine.target_id) == (session.pk, place.machine.pk)
    for event in (on_session, on_machine):
        assert event.actor_id == place.user.pk
        assert event.cloud_id == place.cloud.pk
        said = {name: event.detail[name] for name in ("session", "name", "folder", "bytes", "sha256")}
        assert said == {"session": session.pk.hex, "name": "report ü.csv", "folder": str(home), "bytes": len(data), "sha256": digest}
    remark = f"# upload: {home}/report ü.csv (5 MiB)"
    assert any(told.get("command", {}).get("text") == remark for told in terminal.told)
    rows = fetch(place, "sessions?search=command:upload").json()["data"]
    assert rows[0]["commands"][-1]["text"] == remark
    terminal.type("exit\r")
    terminal.expect_closed()
    session = ended(session)
    assert [line[2] for line in lines_of(path_of(session.org_id, session.pk)) if isinstance(line, list) and line[1] == "m"][-2:-1] == [
        remark
    ]


def test_an_empty_file_and_a_folder_below_the_home(terminal: Terminal, home: Path) -> None:
    (home / "in" / "here").mkdir(parents=True)
    for folder in ("in/here", "~/in/here", str(home / "in" / "here"), "in/../in/here/"):
        name = f"{next(_numbers)}.txt"
        assert send(terminal, name, b"", folder=folder).expect("done")["folder"] == str(home / "in" / "here")
        assert (home / "in" / "here" / name).read_bytes() == b""
    assert send(terminal, "~", b"x", folder="~").expect("done")["name"] == "~"
    assert (home / "~").read_bytes() == b"x"


# --- names and folders ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("", "bad_name"),
        (".", "bad_name"),
        ("..", "bad_name"),
        ("../x", "bad_name"),
        ("a/b", "bad_name"),
        ("a\\b", "bad_name"),
        ("a\nb", "bad_name"),
        ("a\x1b[31mb", "bad_name"),
        ("a\x00b", "bad_name"),
        ("gpj.\u202eexe", "bad_name"),
        ("a\ud800b", "bad_name"),
        ("x" * 256, "bad_name"),
        ("ü" * 128, "bad_name"),
        (7, "bad_upload"),
    ],
)
def test_a_name_is_a_name(name: Any, code: str) -> None:
    from core.errors import Invalid
    from machines.shell import files

    with pytest.raises(Invalid) as refused:
        files.read({"name": name, "size": 1}, 10)
    assert refused.value.code == code
    assert "\x1b" not in refused.value.detail
    assert "\n" not in refused.value.detail


def test_what_else_is_refused_before_a_byte(terminal: Terminal, home: Path) -> None:
    (home / "file").write_text("x")
    for asked, code in (
        ({"name": "a/b", "size": 1}, "bad_name"),
        ({"name": "a", "size": 1, "folder": "a\nb"}, "bad_folder"),
        ({"name": "a", "size": -1}, "too_large"),
        ({"name": "a", "size": (1 << 30) + 1}, "too_large"),
        ({"name": "a", "size": True}, "bad_upload"),
        ({"name": "a", "size": 1, "exists": "perhaps"}, "bad_upload"),
        ({"name": "a", "size": 1, "folder": "not-there"}, "no_folder"),
        ({"name": "a", "size": 1, "folder": "file"}, "no_folder"),
        ({"name": "a", "size": 1, "folder": "/sys"}, "permission_denied"),
    ):
        failed = Sending(terminal, **asked).expect("failed")
        assert failed["code"] == code, failed
    assert "at most 1 GiB" in Sending(terminal, "a", (1 << 30) + 1).expect("failed")["detail"]
    assert names(home) == ["file"]
    terminal.socket.send(b"3" + json.dumps({"upload": "x"}).encode())
    terminal.socket.send(b"4")
    terminal.socket.send(b"4" + bytes(40))
    terminal.type("echo fine-$((1+1))\r")
    terminal.expect("fine-2")
    assert not Event.objects.filter(type__contains=".upload.").exists()


def test_the_longest_name_has_a_part_too(terminal: Terminal, home: Path) -> None:
    name = "ü" * 125 + ".txt"
    send(terminal, name, b"long").expect("done")
    assert (home / name).read_bytes() == b"long"


# --- one of that name ------------------------------------------------------------------------------------------------------------


def test_an_existing_file_is_asked_about_and_replaced_with_its_mode(terminal: Terminal, home: Path) -> None:
    there = home / "deploy.sh"
    there.write_text("old")
    there.chmod(0o750)
    asked = Sending(terminal, "deploy.sh", 3).expect("exists")
    assert (asked["kind"], asked["bytes"], asked["folder"]) == ("file", 3, str(home))
    assert abs(asked["modified"] - time.time()) < 60
    assert names(home) == ["deploy.sh"]
    sending = Sending(terminal, "deploy.sh", 3, exists="replace")
    sending.expect("go")
    part = next(path for path in home.iterdir() if ".part-" in path.name)
    assert part.stat().st_mode & 0o777 == 0o600  # nobody reads it before it has the old one's mode
    assert there.read_text() == "old"
    sending.send(b"new")
    sending.expect("done")
    assert (there.read_text(), there.stat().st_mode & 0o777) == ("new", 0o750)
    assert names(home) == ["deploy.sh"]


def test_both_are_kept(terminal: Terminal, home: Path) -> None:
    (home / "a.tar.gz").write_text("1")
    (home / "a (2).tar.gz").write_text("2")
    assert send(terminal, "a.tar.gz", b"3", exists="both").expect("done")["name"] == "a (3).tar.gz"
    assert [(home / name).read_text() for name in ("a.tar.gz", "a (2).tar.gz", "a (3).tar.gz")] == ["1", "2", "3"]
    assert send(terminal, "new", b"4", exists="both").expect("done")["name"] == "new"


def test_a_folder_is_not_replaced_and_of_a_link_only_the_link_is(terminal: Terminal, home: Path) -> None:
    (home / "d").mkdir()
    assert Sending(terminal, "d", 1, exists="replace").expect("exists")["kind"] == "folder"
    (home / "target").write_text("kept")
    (home / "link").symlink_to(home / "target")
    assert Sending(terminal, "link", 1).expect("exists")["kind"] == "link"
    send(terminal, "link", b"x", exists="replace").expect("done")
    assert (home / "target").read_text() == "kept"
    assert not (home / "link").is_symlink()


def test_what_appears_meanwhile_is_not_overwritten(terminal: Terminal, home: Path) -> None:
    sending = Sending(terminal, "late", 4)
    sending.expect("go")
    (home / "late").write_text("theirs")
    sending.send(b"ours")
    assert sending.expect("exists")["kind"] == "file"
    both = Sending(terminal, "late", 4, exists="both")
    assert both.expect("go")["name"] == "late (2)"
    (home / "late (2)").write_text("theirs")
    both.send(b"ours")
    assert both.expect("done")["name"] == "late (3)"
    assert [(home / name).read_text() for name in ("late", "late (2)", "late (3)")] == ["theirs", "theirs", "ours"]
    assert names(home) == ["late", "late (2)", "late (3)"]


# --- broken off ------------------------------------------------------------------------------------------------------------------


def half(terminal: Terminal, home: Path, name: str = "half.bin") -> tuple[Sending, bytes]:
    """Sent to the middle, and that has been written there."""
    data = content(4 * MIB)
    sending = Sending(terminal, name, len(data))
    sending.send(data, 2 * MIB)
    wait_for(lambda: sending.told("written") == 2 * MIB)
    assert any(".part-" in name for name in names(home))
    return sending, data


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


# --- disks and hosts -------------------------------------------------------------------------------------------------------------


class host:  # noqa: N801 - a context
    """An sshd of one test."""

    def __init__(self, folder: Path, **how: Any) -> None:
        self.server = Sshd(folder / "host", **how)

    def __enter__(self) -> Sshd:
        self.server.start()
        return self.server

    def __exit__(self, *_error: object) -> None:
        self.server.stop()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """8 MiB."""
    where = tmp_path / "small"
    where.mkdir()
    if os.getuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(where)], capture_output=True).returncode:
        pytest.skip("needs to mount a tmpfs")
    yield where
    subprocess.run(["umount", "-l", str(where)], check=True)


def test_a_file_that_has_no_room_is_not_begun(terminal: Terminal, small_disk: Path) -> None:
    failed = Sending(terminal, "big", 9 * MIB, folder=str(small_disk)).expect("failed")
    assert failed["code"] == "disk_full"
    assert "has 8 MiB free; the file has 9 MiB" in failed["detail"]
    assert names(small_disk) == []


def test_a_disk_that_fills_up_on_the_way(terminal: Terminal, small_disk: Path) -> None:
    data = content(7 * MIB)
    sending = Sending(terminal, "big", len(data), folder=str(small_disk))
    sending.send(data, MIB)
    (small_disk / "other").write_bytes(bytes(5 * MIB))
    sending.send(data)
    failed = sending.expect("failed")
    assert (failed["code"], failed["detail"]) == ("disk_full", f"The disk that {small_disk} is on is full: big has no room there.")
    assert names(small_disk) == ["other"]


def test_a_host_without_sftp_says_so_and_the_client_is_told_why(shells: Shells, opened: Open, tmp_path: Path) -> None:
    with host(tmp_path, sftp="") as server:
        terminal = opened(make_place(server, port=server.port, user=server.user))
        terminal.prompt()
        failed = Sending(terminal, "a", 1).expect("failed")
        assert (failed["code"], "does not offer SFTP" in failed["detail"]) == ("no_sftp", True)
        assert wait_for(lambda: [told for told in terminal.told if told.get("facts", {}).get("no_files") == failed["detail"]])
        assert Sending(terminal, "a", 1).expect("failed")["code"] == "no_files"


def test_an_sftp_server_that_is_not_there_says_so(shells: Shells, opened: Open, tmp_path: Path) -> None:
    with host(tmp_path, sftp="/nowhere/sftp-server") as server:
        terminal = opened(make_place(server, port=server.port, user=server.user))
        terminal.prompt()
        assert "speaks no SFTP" in Sending(terminal, "a", 1).expect("failed")["detail"]


def test_a_host_that_opens_one_session_a_connection(shells: Shells, opened: Open, tmp_path: Path) -> None:
    server = Sshd(tmp_path / "host")
    config = server.directory / "sshd_config"
    config.write_text(config.read_text().replace("MaxSessions 100", "MaxSessions 1"))
    server.start()
    try:
        terminal = opened(make_place(server, port=server.port, user=server.user))
        terminal.prompt()
        assert "MaxSessions" in Sending(terminal, "a", 1).expect("failed")["detail"]
    finally:
        server.stop()


def test_a_host_that_only_reads(shells: Shells, opened: Open, tmp_path: Path) -> None:
    with host(tmp_path, sftp="internal-sftp -R") as server:
        terminal = opened(make_place(server, port=server.port, user=server.user))
        terminal.prompt()
        failed = Sending(terminal, "a", 1).expect("failed")
        assert (failed["code"], f"{server.user} may not write in" in failed["detail"]) == ("permission_denied", True)


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
