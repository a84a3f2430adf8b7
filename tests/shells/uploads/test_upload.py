"""Files into a machine through its shell: over the socket, on a real sshd."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import Any

import pytest

from core.models import Event
from machines.shell.recorder import lines_of, path_of
from tests.shells.conftest import Place, Terminal, ended, fetch, the_session, wait_for
from tests.shells.uploads.conftest import MIB, Sending, content, names, numbers, send

pytestmark = pytest.mark.django_db(transaction=True)


# --- there and whole -------------------------------------------------------------------------------------------------------------


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
        name = f"{next(numbers)}.txt"
        assert send(terminal, name, b"", folder=folder).expect("done")["folder"] == str(home / "in" / "here")
        assert (home / "in" / "here" / name).read_bytes() == b""
    assert send(terminal, "~", b"x", folder="~").expect("done")["name"] == "~"
    assert (home / "~").read_bytes() == b"x"


# --- names and folders -----------------------------------------------------------------------------------------------------------


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
