"""Disks without room and hosts that take no files: what whoever sends one is told."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.sshd import Sshd
from tests.shells.conftest import Open, Shells, Terminal, make_place, wait_for
from tests.shells.uploads.conftest import MIB, Sending, content, host, names

pytestmark = pytest.mark.django_db(transaction=True)


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
