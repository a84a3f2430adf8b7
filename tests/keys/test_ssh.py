"""Commands on hosts over SSH: against a real sshd, and against asyncssh servers that misbehave."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from core.errors import AuthFailed, HostKeyChanged, HostKeyUnknown, Rejected, Unavailable
from keys.ssh import FLOOD, Host, load_key
from tests.lab.sshd import Fake, Sshd, fake_ssh, free_port, new_key, public_line, sshd  # noqa: F401

Dial = Callable[..., Host]


@pytest.fixture
def dial(sshd: Sshd) -> Iterator[Dial]:  # noqa: F811
    """Makes a Host for the session's sshd: dial(private_key=…) changes what is said."""
    made: list[Host] = []

    def make(*, seconds: float = 20, **changes: Any) -> Host:
        end = time.monotonic() + seconds
        said: dict[str, Any] = {
            "host": "farm.example",
            "port": sshd.port,
            "user": sshd.user,
            "private_key": sshd.private_key,
            "resolve": lambda host, port: ["127.0.0.1"],
            "host_keys": lambda host, port: [sshd.public_host_key],
            "trust": lambda host, port, line: pytest.fail("a pinned host was put up for trust"),
            "remaining": lambda: end - time.monotonic(),
        }
        made.append(Host(**{**said, **changes}))
        return made[-1]

    yield make
    for host in made:
        host.close()


def fake_at(fake: Fake, port: int) -> dict[str, Any]:
    return {"port": port, "private_key": fake.private_key, "host_keys": lambda host, port: [fake.public_host_key]}


def test_several_commands_run_over_one_connection(dial: Dial) -> None:
    host = dial()
    first = host.script('echo "$SSH_CONNECTION"; echo oops >&2; exit 3')
    assert (first.exit, first.stderr, first.truncated) == (3, b"oops\n", False)
    assert host.script('echo "$SSH_CONNECTION"').stdout == first.stdout


@pytest.mark.parametrize("word", ["a b", "$(id)", "`id`", "; id", "a'b\"c", "*", "~", "", "-n", "é€", "a\nb", "!!", "\\", "x" * 9000])
def test_an_argument_reaches_the_command_as_it_is(dial: Dial, word: str) -> None:
    host = dial()
    assert host.run(["printf", "%s|", word, "end"]).stdout.decode() == f"{word}|end|"
    assert host.script('printf "%s|" "$@"', word, "end").stdout.decode() == f"{word}|end|"


def test_a_null_byte_in_a_command_is_refused(dial: Dial) -> None:
    with pytest.raises(Rejected):
        dial().run(["echo", "a\0b"])


def test_input_and_output_are_bytes_whatever_they_hold(dial: Dial) -> None:
    garbage = bytes(range(256)) * 4000
    result = dial().run(["cat"], input=garbage)
    assert (result.exit, result.stdout, result.truncated) == (0, garbage, False)
    assert "�" in result.text


def test_a_command_that_reads_no_input_ends_all_the_same(dial: Dial) -> None:
    assert dial().run(["true"], input=b"x" * 5_000_000).exit == 0


def test_what_is_more_than_asked_for_is_dropped_and_the_command_goes_on(dial: Dial) -> None:
    result = dial().script("head -c 3000000 /dev/zero; exit 7", max_output=1000)
    assert (result.exit, len(result.stdout), result.truncated) == (7, 1000, True)


def test_a_flood_is_cut_off(dial: Dial) -> None:
    host = dial()
    result = host.run(["yes", "x" * 4000], max_output=2000)
    assert (result.exit, len(result.stdout), result.truncated) == (None, 2000, True)
    assert host.run(["echo", "still there"]).stdout == b"still there\n"
    assert FLOOD < 100_000_000


def test_a_command_ended_by_a_signal_says_which(dial: Dial) -> None:
    assert dial().run(["sh", "-c", "kill -9 $$"]).exit == -9


def test_a_command_that_hangs_in_mid_output_is_left_at_its_time(dial: Dial) -> None:
    host = dial()
    before = time.monotonic()
    with pytest.raises(Unavailable) as caught:
        host.run(["sh", "-c", "echo half; sleep 60"], timeout_s=0.8)
    assert time.monotonic() - before < 20
    assert caught.value.code == "command_timeout"
    assert host.run(["echo", "next"]).stdout == b"next\n"


def test_a_command_out_of_time_is_killed_over_there(dial: Dial, fake_ssh: Fake) -> None:  # noqa: F811
    signals: list[str] = []
    told = threading.Event()

    async def handler(process: asyncssh.SSHServerProcess[bytes]) -> None:
        def note(signal: str) -> None:
            signals.append(signal)
            told.set()

        process.signal_received = note  # type: ignore[method-assign]
        await asyncio.sleep(1)

    with pytest.raises(Unavailable):
        dial(**fake_at(fake_ssh, fake_ssh.serve(handler))).run(["hang"], timeout_s=0.5)
    assert told.wait(5)
    assert signals == ["KILL"]


def test_the_deadline_of_the_job_is_over_all(dial: Dial) -> None:
    host = dial(seconds=1)
    before = time.monotonic()
    with pytest.raises(Unavailable):
        host.run(["sleep", "600"], timeout_s=500)
    assert time.monotonic() - before < 20


def test_a_server_that_says_nothing_is_left_at_the_deadline(dial: Dial) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for pins in ([], [public_line(new_key())]):
            before = time.monotonic()
            with pytest.raises(Unavailable):
                dial(seconds=0.7, port=silent.getsockname()[1], host_keys=lambda host, port, pins=pins: pins).connect()
            assert time.monotonic() - before < 20


def test_a_server_that_speaks_something_else_is_unavailable(dial: Dial) -> None:
    with socket.create_server(("127.0.0.1", 0)) as web:

        def answer() -> None:
            client, _ = web.accept()
            client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 100)
            client.close()

        threading.Thread(target=answer, daemon=True).start()
        with pytest.raises(Unavailable):
            dial(port=web.getsockname()[1]).connect()


def test_a_refused_connection_is_unavailable(dial: Dial) -> None:
    with pytest.raises(Unavailable, match="refused"):
        dial(port=free_port()).connect()


def test_the_next_address_is_tried_when_the_first_is_closed(dial: Dial) -> None:
    assert dial(resolve=lambda host, port: ["127.0.0.254", "127.0.0.1"]).run(["true"]).exit == 0


def test_only_an_address_is_dialled(dial: Dial) -> None:
    with pytest.raises(Rejected, match="not an IP address"):
        dial(resolve=lambda host, port: ["localhost"]).connect()


# -- our key


def test_a_key_the_host_does_not_know_is_refused(dial: Dial, sshd: Sshd) -> None:  # noqa: F811
    with pytest.raises(AuthFailed, match=sshd.user):
        dial(private_key=new_key()).connect()


def test_an_encrypted_or_damaged_key_is_refused_in_words_that_help_and_hide_it(dial: Dial, tmp_path: Path) -> None:
    locked = asyncssh.generate_private_key("ssh-ed25519").export_private_key("pkcs8-pem", passphrase="open sesame").decode()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "open sesame", "-f", str(tmp_path / "key")], check=True)
    locked_too = (tmp_path / "key").read_text()
    for pem, code in (
        (locked, "key_encrypted"),
        (locked_too, "key_encrypted"),
        ("-----BEGIN nothing", "key_unreadable"),
        ("", "key_unreadable"),
        ("é", "key_unreadable"),
    ):
        with pytest.raises(Rejected) as caught:
            dial(private_key=pem).connect()
        assert caught.value.code == code
        assert not pem or pem not in caught.value.detail


def test_a_key_is_read_once() -> None:
    pem = new_key()
    assert load_key(pem) is load_key(str(pem))
    assert load_key(pem) is not load_key(new_key())


# -- the host's key


def test_an_unknown_host_is_trusted_in_the_thread_that_asks_and_then_verified(dial: Dial, sshd: Sshd) -> None:  # noqa: F811
    asked: list[tuple[str, int, str, int]] = []
    host = dial(host_keys=lambda *_: [], trust=lambda host, port, line: asked.append((host, port, line, threading.get_ident())))
    assert host.run(["true"]).exit == 0
    assert asked == [("farm.example", sshd.port, sshd.public_host_key, threading.get_ident())]


def test_an_unknown_host_that_nobody_trusts_is_told_nothing(dial: Dial, fake_ssh: Fake) -> None:  # noqa: F811
    ran: list[str | None] = []

    async def handler(process: asyncssh.SSHServerProcess[bytes]) -> None:
        ran.append(process.command)
        process.exit(0)

    def refuse(host: str, port: int, line: str) -> None:
        raise HostKeyUnknown("Not known yet.", host=host, port=port, offered=line)

    said = fake_at(fake_ssh, fake_ssh.serve(handler))
    with pytest.raises(HostKeyUnknown) as caught:
        dial(**{**said, "host_keys": lambda *_: [], "trust": refuse}).run(["id"])
    assert caught.value.offered == fake_ssh.public_host_key
    assert ran == []
    assert dial(**said).run(["id"]).exit == 0
    assert ran == ["id"]


@pytest.mark.parametrize("kind", ["ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa"])
def test_a_host_with_another_key_than_the_pinned_one_is_told_nothing(dial: Dial, sshd: Sshd, kind: str) -> None:  # noqa: F811
    other = " ".join(asyncssh.generate_private_key(kind).export_public_key("openssh").decode().split()[:2])
    with pytest.raises(HostKeyChanged) as caught:
        dial(host_keys=lambda *_: [other]).run(["id"])
    assert not isinstance(caught.value, HostKeyUnknown)
    assert caught.value.offered == sshd.public_host_key
    assert "Nothing was run" in caught.value.detail
    assert "trust its new key" in caught.value.detail


def test_a_damaged_pin_is_no_leave_to_trust_anew(dial: Dial) -> None:
    with pytest.raises(HostKeyChanged):
        dial(host_keys=lambda *_: ["ssh-ed25519 damaged"]).connect()


def test_one_of_several_pinned_keys_is_enough(dial: Dial, sshd: Sshd) -> None:  # noqa: F811
    assert dial(host_keys=lambda *_: [public_line(new_key()), sshd.public_host_key + " a comment"]).run(["true"]).exit == 0


# -- files, and the end


def test_a_file_is_uploaded_whole_with_its_mode(dial: Dial, tmp_path: Path) -> None:
    path = tmp_path / "a 'quoted' $name"
    dial().upload(b"\x00\xff" * 100_000, str(path), 0o640)
    assert path.read_bytes() == b"\x00\xff" * 100_000
    assert path.stat().st_mode & 0o777 == 0o640
    with pytest.raises(Rejected, match="could not be written"):
        dial().upload(b"x", str(tmp_path / "none" / "file"))
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_a_connection_lost_in_mid_command_is_unavailable(dial: Dial, fake_ssh: Fake) -> None:  # noqa: F811
    async def handler(process: asyncssh.SSHServerProcess[bytes]) -> None:
        process.stdout.write(b"half")
        process.channel.get_connection().abort()

    with pytest.raises(Unavailable):
        dial(**fake_at(fake_ssh, fake_ssh.serve(handler))).run(["id"])


def test_a_channel_closed_without_a_status_is_no_success(dial: Dial, fake_ssh: Fake) -> None:  # noqa: F811
    async def handler(process: asyncssh.SSHServerProcess[bytes]) -> None:
        process.stdout.write(b"half")
        process.close()

    with pytest.raises(Unavailable):
        dial(**fake_at(fake_ssh, fake_ssh.serve(handler))).run(["id"])


def test_a_host_can_be_closed_twice_and_used_again(dial: Dial) -> None:
    host = dial()
    host.close()
    assert host.run(["true"]).exit == 0
    host.close()
    host.close()
    assert host.run(["true"]).exit == 0


def test_many_hosts_are_asked_at_once(dial: Dial) -> None:
    results: list[bytes] = []

    def ask(number: int) -> None:
        with dial() as host:
            results.append(host.run(["echo", str(number)]).stdout)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(int(line) for line in results) == list(range(40))
