"""What goes to hosts: runs with live output, logs, terminals on a real sshd; and completion."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import shutil
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from typing import Any

import pytest

from machines.models import Session
from scripts.models import Run, Script
from tests.cli.conftest import MIST, ROOT, Mist
from tests.lab.sshd import Sshd
from tests.shells.conftest import Place, Process, Shells, wait_for

pytestmark = pytest.mark.django_db(transaction=True)


def behind(place: Place, sshd: Sshd, *names: str) -> None:
    """More machines behind the same sshd."""
    from keys.models import KeyAssociation
    from machines.models import Machine

    for name in names:
        machine = Machine.objects.create(
            org=place.org,
            cloud=place.cloud,
            name=name,
            external_id=name,
            address="127.0.0.1",
            state="running",
            type="machine",
            source="poll",
        )
        KeyAssociation.objects.create(org=place.org, machine=machine, key=place.key, user=sshd.user, port=sshd.port)


# --- runs -------------------------------------------------------------------------------------------------------------


def test_a_command_on_a_search(mist: Mist, place: Place, sshd: Sshd) -> None:
    behind(place, sshd, "db-1", "db-2")
    done = mist.ok("run", "name:db", "--", "echo", "a  b", "$HOME;", "'q'")
    assert sorted(done.out.splitlines()) == ["db-1 | a  b $HOME; 'q'", "db-2 | a  b $HOME; 'q'"]
    assert "2 succeeded (exit 0) db-1, db-2" in done.err and "succeeded" in done.err.splitlines()[-1]
    again = mist.ok("run", "name:db-1", "--", "echo", "a  b", "$HOME;", "'q'")
    assert again.out == "a  b $HOME; 'q'\n" or again.out == "db-1 | a  b $HOME; 'q'\n"
    assert Script.objects.count() == 1 and Run.objects.count() == 2  # the same command is the same script


def test_the_exit_code_is_the_hosts_or_that_some_failed(mist: Mist, place: Place, sshd: Sshd) -> None:
    assert mist.run("run", "-m", "web-eu-04", "--", "exit 7").code == 7
    behind(place, sshd, "db-1")
    done = mist.run("run", "state:running", "--", "echo out; echo err >&2; exit 3")
    assert done.code == 1
    assert "db-1 | out" in done.out.splitlines() and "db-1 ! err" in done.out.splitlines()
    assert "2 failed (exit 3)" in done.err
    rows = mist.run("run", "state:running", "-o", "json", "--", "echo out; exit 3").data
    assert {(row["name"], row["exit"], row["last_line"]) for row in rows} == {("db-1", 3, "out"), ("web-eu-04", 3, "out")}


def test_a_file_with_parameters_and_environment(mist: Mist, place: Place, tmp_path: Any) -> None:
    path = tmp_path / "check.sh"
    path.write_text('#!/bin/sh\nprintf "%s|" "$@" "$WHAT"; echo\n')
    done = mist.ok("run", "-m", "web-eu-04", "--file", str(path), "--args", "one 'two three'", "-e", "WHAT=it's $(x)", "--no-prefix")
    assert done.out == "one|two three|it's $(x)|\n"
    assert mist.run("run", "-m", "web-eu-04", "--file", str(path), "--", "uptime").code == 2
    assert mist.run("run", "--", "uptime").code == 2


def test_output_is_shown_while_it_comes_and_a_cut_follows_on(mist: Mist, place: Place) -> None:
    process = mist.start(
        "run", "-m", "web-eu-04", "--", "echo first; sleep 9; echo second", stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "web-eu-04 | first\n"
    assert Run.objects.get().state == "running"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130 and "The run goes on" in err
    run = Run.objects.get().pk.hex
    now = mist.ok("logs", run)
    assert now.out.splitlines() == ["web-eu-04 | first"]
    assert mist.ok("logs", "-f", run, "--no-prefix").out.splitlines() == ["first", "second"]
    assert mist.ok("logs", run).out.splitlines() == ["web-eu-04 | first", "web-eu-04 | second"]


def test_a_run_is_stopped(mist: Mist, place: Place) -> None:
    mist.ok("run", "-m", "web-eu-04", "--no-wait", "--", "sleep 60")
    wait_for(lambda: Run.objects.filter(state="running").exists())
    began = time.monotonic()
    mist.ok("runs", "cancel", Run.objects.get().pk.hex)
    assert time.monotonic() - began < 20
    assert mist.run("logs", "-f", Run.objects.get().pk.hex).code == 1


def test_a_terminal_is_not_told_what_a_host_says_to_it(mist: Mist, place: Place) -> None:
    code, shown = on_a_terminal(mist, "run", "-m", "web-eu-04", "--", r"printf 'a\033]0;owned\007b\tc\n'")
    assert code == 0 and b"a\xef\xbf\xbd]0;owned\xef\xbf\xbdb\tc" in shown


def test_a_reader_that_goes_away_is_told_that_the_run_goes_on(mist: Mist, place: Place) -> None:
    process = mist.start(
        "run", "-m", "web-eu-04", "--", "echo first; sleep 2; echo second; sleep 1", stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None and process.stderr is not None
    assert process.stdout.readline() == b"web-eu-04 | first\n"
    process.stdout.close()  # | head -1
    assert process.wait(30) == 141
    said = process.stderr.read().decode()
    assert "The run goes on" in said and "Traceback" not in said and "Broken pipe" not in said
    assert mist.ok("logs", "-f", Run.objects.get().pk.hex, "--no-prefix").out.splitlines() == ["first", "second"]


def test_a_server_that_is_gone_in_mid_run_is_waited_for_and_nothing_is_lost_or_told_twice(mist: Mist, place: Place) -> None:
    said = "for i in $(seq 80); do echo $i; echo e$i >&2; sleep 0.1; done"
    run = mist.ok("run", "-m", "web-eu-04", "--no-wait", "-o", "json", "--", said).data["run"]
    web = Shells()  # another web process: the first one does the jobs
    try:
        mist.url = f"http://127.0.0.1:{web.port}"
        process = mist.start("logs", "-f", run, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stdout is not None and process.stderr is not None
        shown = [process.stdout.readline() for _ in range(20)]
        web.web.kill()
        time.sleep(1.5)
        web.start_web()
        out, err = process.stdout.read(), process.stderr.read()  # communicate() would lose what readline() read ahead
        process.wait(60)
    finally:
        web.stop()
    assert process.returncode == 0, err
    lines = "".join([*shown, out]).splitlines()
    assert [line for line in lines if "|" in line] == [f"web-eu-04 | {n}" for n in range(1, 81)]
    assert [line for line in lines if "!" in line] == [f"web-eu-04 ! e{n}" for n in range(1, 81)]


# --- terminals --------------------------------------------------------------------------------------------------------


class Pty:
    """A command on a terminal of its own, as a person sits at one."""

    def __init__(self, mist: Mist, *arguments: str, program: list[str] | None = None, rows: int = 30, cols: int = 100) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            command = program or [str(MIST), *arguments]
            os.execvpe(command[0], command, mist.environment(TERM="xterm", PATH=f"{MIST.parent}:{os.environ['PATH']}"))
        self.resize(rows, cols)
        os.set_blocking(self.fd, False)
        self.shown = b""

    def resize(self, rows: int, cols: int) -> None:
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))

    def read(self) -> bool:
        """What there is.  Returns: is it still there?"""
        try:
            data = os.read(self.fd, 1 << 16)
        except BlockingIOError:
            return True
        except OSError:
            return False
        self.shown += data
        return bool(data)

    def expect(self, text: bytes, seconds: float = 20) -> None:
        wait_for(lambda: text in self.shown or not self.read() or text in self.shown, seconds, lambda: repr(self.shown[-800:]))
        assert text in self.shown, self.shown[-800:]

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def end(self, seconds: float = 20) -> int:
        wait_for(lambda: not self.read(), seconds, lambda: repr(self.shown[-800:]))
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def prompt(self) -> None:
        wait_for(lambda: self.read() and re.search(rb"[#$] ", self.shown), 20, lambda: repr(self.shown[-800:]))
        self.type("PS1='ready''> '\r")
        self.expect(b"ready> ")


def on_a_terminal(mist: Mist, *arguments: str) -> tuple[int, bytes]:
    made = Pty(mist, *arguments)
    return made.end(), made.shown


def test_a_terminal_and_its_exit_status(mist: Mist, place: Place, holder: Process) -> None:
    shell = Pty(mist, "ssh", "web-eu-04", "--reason", "a look")
    shell.prompt()
    shell.type("echo $((6*7))-$(tput cols)-$(tput lines); tty\r")
    shell.expect(b"42-100-30")
    shell.expect(b"/dev/")
    shell.resize(50, 132)
    os.kill(shell.pid, signal.SIGWINCH)
    wait_for(lambda: Session.objects.get().cols == 132 or not shell.read(), 10)
    shell.type("echo now-$(tput cols)\r")
    shell.expect(b"now-132")
    shell.type("sleep 100\r")
    time.sleep(0.5)
    shell.type("\x03")  # the key, not the signal: it goes to the host
    shell.expect(b"^C")
    shell.type("exit 5\r")
    assert shell.end() == 5
    session = Session.objects.get()
    assert (session.reason, session.exit_status, session.via) == ("a look", 5, "cli")


def test_left_and_joined_again(mist: Mist, place: Place, holder: Process) -> None:
    shell = Pty(mist, "ssh", "web-eu-04")
    shell.prompt()
    shell.type("X=still-here\r")
    shell.expect(b"still-here")
    shell.type("\r~.")
    assert shell.end() == 0 and b"mist sessions join" in shell.shown
    session = Session.objects.get()
    assert session.state == "open"
    again = Pty(mist, "sessions", "join", session.pk.hex)
    again.expect(b"ready> ")
    again.type("echo $X-again\r")
    again.expect(b"still-here-again")
    again.type("exit\r")
    assert again.end() == 0


@pytest.fixture
def restarted(place: Place, mist: Mist) -> Iterator[Shells]:
    """The real web and shell processes, of which either may be killed; the command line speaks to this web process."""
    made = Shells()
    made.hold()
    mist.url = f"http://127.0.0.1:{made.port}"
    yield made
    made.stop()


def test_a_web_process_that_is_killed_is_found_again_by_itself(mist: Mist, place: Place, restarted: Shells) -> None:
    shell = Pty(mist, "ssh", "web-eu-04")
    shell.prompt()
    shell.type("X=still-here; echo on-the-$((1+1))-screen\r")
    shell.expect(b"on-the-2-screen")
    restarted.web.kill()
    shell.expect(b"Joining it again for 10 minutes at most; Ctrl-C gives up.")
    shell.type("echo $X-again\r")  # waits for the next line
    time.sleep(2)
    shell.shown = b""
    restarted.start_web()
    shell.expect(b"still-here-again", 40)
    assert shell.shown.index(b"\x1b[2J") < shell.shown.index(b"on-the-2-screen") < shell.shown.index(b"still-here-again")
    assert Session.objects.count() == 1
    restarted.web.kill()
    shell.expect(b"Joining it again")
    shell.type("\x03")
    began = time.monotonic()
    assert shell.end() == 0 and time.monotonic() - began < 20
    assert b"Left. The shell goes on: mist sessions join" in shell.shown
    assert Session.objects.get().state == "open"


def test_a_shell_process_that_is_killed_ends_the_terminal_in_words(mist: Mist, place: Place, restarted: Shells) -> None:
    shell = Pty(mist, "ssh", "web-eu-04")
    shell.prompt()
    restarted.holders[0].kill()
    shell.expect(b"Joining it again")
    Session.objects.update(state="ended")  # as the scheduler finds out
    assert shell.end() != 0 and b"cannot be joined again" in shell.shown


def test_much_output_arrives_whole(mist: Mist, place: Place, holder: Process) -> None:
    shell = Pty(mist, "ssh", "web-eu-04")
    shell.prompt()
    shell.type("stty -onlcr; seq 1 200000 | md5sum; echo beg''in; seq 1 200000; echo e''nd\r")
    shell.expect(b"end\n", 60)
    body = shell.shown.split(b"begin\n", 1)[1].split(b"end\n")[0]
    assert body == b"".join(b"%d\n" % number for number in range(1, 200001))
    shell.type("exit\r")
    shell.end()


def test_standard_input_that_is_a_file_or_nothing(mist: Mist, place: Place, holder: Process, tmp_path: Any) -> None:
    (tmp_path / "typed").write_text("echo from-a-$((1+1))-file\nexit 4\n")
    for path, code in ((str(tmp_path / "typed"), 4), ("/dev/null", 0)):
        with open(path) as stdin:
            process = mist.start("ssh", "web-eu-04", stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            out, err = process.communicate(timeout=60)
        assert (process.returncode, "Traceback" in err) == (code, False), (path, out, err)
        assert ("from-a-2-file" in out) is (code == 4)


def test_what_is_piped_in(mist: Mist, place: Place, holder: Process) -> None:
    done = mist.run("ssh", "web-eu-04", typed="echo $((40+2))-piped\nexit 9\n")
    assert done.code == 9 and "42-piped" in done.out


def test_a_command_behind_the_host_is_a_run(mist: Mist, place: Place) -> None:
    done = mist.run("ssh", "web-eu-04", "--", "echo", "hi", ";", "exit", "4")
    assert (done.code, done.out) == (0, "hi ; exit 4\n")  # words as they are; one word is a line for the shell
    done = mist.run("ssh", "web-eu-04", "--", "echo hi; echo no >&2; exit 4")
    assert (done.code, done.out, done.err) == (4, "hi\n", "no\n")


def test_who_may_not_have_a_shell_is_told_and_nothing_opens(mist: Mist, place: Place, holder: Process) -> None:
    mist.token = place.member({"effect": "allow", "verbs": ["machine.read"], "what": {"kind": "machine"}})
    done = mist.run("ssh", "web-eu-04")
    assert done.code == 1 and "request id" in done.err
    assert not Session.objects.exists()


# --- completion -------------------------------------------------------------------------------------------------------


def completed(mist: Mist, line: str) -> list[str]:
    """What bash is told for the last word of a line."""
    words = line.split(" ")
    done = mist.ok(_MIST_COMPLETE="bash_complete", COMP_WORDS=line, COMP_CWORD=str(len(words) - 1))
    return [one.partition(",")[2] for one in done.out.splitlines() if one]


def test_commands_verbs_and_names_complete(mist: Mist, place: Place) -> None:
    mist.ok("machines")  # the catalogue is known from then on
    assert "machines" in completed(mist, "mist mach")
    assert {"stop", "ssh", "show"} <= set(completed(mist, "mist machines s"))
    assert {"stop", "ssh"} <= set(completed(mist, "mist s"))
    assert completed(mist, "mist machines stop web-") == ["web-eu-04"]
    assert completed(mist, "mist ssh we") == ["web-eu-04"]
    assert "yaml" in completed(mist, "mist machines -o y")
    mist.url = "http://127.0.0.1:9"
    assert completed(mist, "mist machines stop web-") == []


@pytest.mark.parametrize(
    ("shell", "holds"), [("bash", "complete -o nosort -F"), ("zsh", "#compdef mist"), ("fish", "complete --no-files --command mist")]
)
def test_each_shell_gets_its_script(person: Mist, shell: str, holds: str) -> None:
    assert holds in person.ok("completion", shell).out


def test_the_script_works_in_bash(mist: Mist, place: Place) -> None:
    mist.ok("machines")
    script = (
        f'PATH="{MIST.parent}:$PATH"; eval "$(mist completion bash)"; COMP_WORDS=(mist machines stop web-); COMP_CWORD=3; '
        '_mist_completion mist; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=mist.environment(), timeout=30, cwd=ROOT)
    assert done.stdout.split() == ["web-eu-04"], done.stderr


def on_tab(shell: list[str], mist: Mist, *typed: str) -> bytes:
    """A real shell on a terminal, the script for it read, the words typed and Tab pressed.  Returns: its screen, once it says enough."""
    made = Pty(mist, program=shell)
    wait_for(lambda: made.read() and made.shown, 20)
    for line in typed:
        time.sleep(0.3)
        made.type(line)
    wait_for(lambda: not made.read() or b"stop web-eu-04" in made.shown, 30, lambda: repr(made.shown[-1500:]))
    os.kill(made.pid, signal.SIGKILL)
    os.waitpid(made.pid, 0)
    return made.shown


@pytest.mark.parametrize(
    ("shell", "prepare"),
    [
        (["bash", "--norc", "--noprofile", "-i"], 'eval "$(mist completion bash)"\r'),
        (["zsh", "-f", "-i"], 'autoload -Uz compinit; compinit -u; eval "$(mist completion zsh)"\r'),
        (["fish", "--no-config", "-i"], "mist completion fish | source\r"),
    ],
    ids=["bash", "zsh", "fish"],
)
def test_tab_completes_a_name_in_the_real_shell(mist: Mist, place: Place, shell: list[str], prepare: str) -> None:
    if shutil.which(shell[0]) is None:
        pytest.skip(f"{shell[0]} is not installed here")
    mist.ok("machines")
    shown = on_tab(shell, mist, prepare, "mist machines stop web-\t")
    assert b"stop web-eu-04" in shown
