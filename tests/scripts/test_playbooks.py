"""Playbooks on real hosts: what they are given and tell; and that nothing of the machine they are played from is theirs."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from core.actions import perform
from core.errors import Conflict
from core.models import Job
from keys import pairs
from keys.models import Authority, AuthorityTrust, KeyAssociation
from scripts import ansible
from scripts.models import Run, Script
from tests.lab.sshd import Sshd, new_key, public_line, sshd
from tests.scripts.conftest import Place, place, said

__all__ = ["place", "sshd"]
pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(bool(ansible.missing()), reason=ansible.missing() or "-"),
]
PYTHON = ("- ansible.builtin.set_fact: {ansible_python_interpreter: /usr/bin/python3}",)  # a developer's PATH holds others
HEAD = "- hosts: all\n  gather_facts: false\n  tasks:\n"


def tasks(*lines: str) -> str:
    return HEAD + "".join(f"    {line}\n" for line in "\n".join(lines).splitlines())


def play(place: Place, sshd: Sshd, text: str, *names: str, **how: Any) -> Run:
    script = place.script(text, "play", exec_type="ansible", parameters=how.pop("parameters", []))
    return place.run(script, place.behind(sshd, *(names or ("web-1",))), **how)


def test_values_arrive_as_they_are_and_are_no_templates(place: Place, sshd: Sshd) -> None:
    nasty = 'it\'s "q" $(id) `id` \\ {{ 1+1 }} {% raw %}\nsecond: - line ü\t;|&'
    text = tasks('- ansible.builtin.debug: {msg: "{{ A }}"}', "- ansible.builtin.raw: printf '%s' {{ A | quote }}")
    run = play(place, sshd, text, "{{ 7*7 }}", "b", parameters=[{"name": "A"}], params={"A": nasty})
    assert run.state == "succeeded", run.hosts.first().detail
    for host in run.hosts.all():
        assert said(host).count("\n    ".join(nasty.splitlines())) == 2


def test_loops_variables_and_failures_are_told(place: Place, sshd: Sshd) -> None:
    run = play(
        place,
        sshd,
        tasks(
            '- {ansible.builtin.raw: "echo said-{{ item }}", loop: [one, two]}',
            "- {ansible.builtin.set_fact: {found: {deep: [1, 2]}}}",
            "- {ansible.builtin.debug: {var: found}}",
            '- {ansible.builtin.raw: "echo very-private", no_log: true, loop: [private-item]}',
            "- {ansible.builtin.raw: exit 3, ignore_errors: true}",
            '- {ansible.builtin.raw: "echo why >&2; exit 4"}',
        ),
    )
    host = run.hosts.get()
    text = said(host)
    assert (host.state, host.code, host.exit) == ("failed", "task_failed", 2)
    assert "(one)\n    said-one" in text and "(two)\n    said-two" in text and '{"deep": [1, 2]}' in text
    assert "very-private" not in text and "private-item" not in text
    assert "ignored" in text and "why" in text


def test_a_dry_run_changes_nothing(place: Place, sshd: Sshd) -> None:
    path = sshd.directory / "home" / "made"
    run = play(place, sshd, tasks(*PYTHON, f"- ansible.builtin.copy: {{content: hello, dest: {path}}}"), dry=True)
    shown = said(run.hosts.get())
    assert run.state == "succeeded", (run.hosts.get().detail, shown)
    assert "+hello" in shown and not path.exists()


def test_a_changed_host_key_and_a_host_that_is_away_cost_themselves_alone(place: Place, sshd: Sshd) -> None:
    good = place.behind(sshd, "good")[0]
    away = place.machine("away", port=1, pem=sshd.private_key, pinned=sshd.public_host_key)
    how = {"port": sshd.port, "pem": sshd.private_key, "user": sshd.user, "pinned": public_line(new_key())}
    changed = place.machine("changed", host="localhost", **how)
    run = place.run(place.script(tasks("- ansible.builtin.raw: echo hello"), exec_type="ansible"), [good, away, changed])
    states = {host.name: (host.state, host.code) for host in run.hosts.all()}
    assert states["good"] == ("succeeded", "") and states["away"] == ("failed", "unreachable")
    assert states["changed"] == ("failed", "unreachable") and "HOST IDENTIFICATION HAS CHANGED" in said(run.hosts.get(name="changed"))
    assert "connection refused" in run.hosts.get(name="away").detail


def test_a_play_that_does_not_end_is_ended_and_leaves_nothing(place: Place, sshd: Sshd) -> None:
    began = time.monotonic()
    run = play(place, sshd, tasks("- ansible.builtin.raw: sleep 987.654", "- ansible.builtin.raw: echo never"), timeout=4)
    assert (run.hosts.get().state, run.hosts.get().code) == ("failed", "timed_out")
    assert time.monotonic() - began < 30
    assert not [path for path in Path(tempfile.gettempdir()).glob("mist-play-*") if time.time() - path.stat().st_mtime < 30]
    left = subprocess.run(["pgrep", "-fa", "confined.py"], capture_output=True, text=True, check=False).stdout
    assert run.pk.hex not in left and "mist-play" not in "".join(line for line in left.splitlines() if "pytest" not in line)


# --- the machine it is played from -------------------------------------------------------------------------------------


@pytest.fixture
def private() -> Any:
    """A file of Mist's own, which it can read."""
    path = Path(settings.MIST_HOME) / "play-test-private"
    path.write_text("the keys of the vault")
    yield path
    path.unlink()


def test_a_play_reads_nothing_of_mist(place: Place, sshd: Sshd, private: Path) -> None:
    """By a lookup, by a program, on localhost, by a plugin beside the play."""
    ways = [
        f"{{{{ lookup('ansible.builtin.file', '{private}', errors='ignore') }}}}",
        f"{{{{ lookup('ansible.builtin.pipe', 'cat {private} 2>&1; ls -d {settings.BASE_DIR}/manage.py 2>&1; true') }}}}",
        "{{ lookup('ansible.builtin.pipe', 'cat /proc/*/environ 2>/dev/null | tr \"\\\\0\" \"\\\\n\"; id -u; ps ax 2>&1 | wc -l') }}",
    ]
    text = tasks(
        *(f"- {{ansible.builtin.debug: {{msg: {json.dumps(way)}}}, ignore_errors: true}}" for way in ways),
        f"- {{ansible.builtin.command: cat {private}, delegate_to: localhost, ignore_errors: true}}",
        f"- {{ansible.builtin.fetch: {{src: {private}, dest: /, flat: true}}, delegate_to: localhost, ignore_errors: true}}",
    )
    run = play(place, sshd, text)
    shown = said(run.hosts.get())
    assert run.state == "succeeded", (run.hosts.get().detail, shown)
    assert "keys of the vault" not in shown and "No such file or directory" in shown
    assert not any(f"{name}=" in shown for name in os.environ if name.startswith(("DJANGO_", "MIST_", "PYTEST_")))


def test_a_play_does_not_take_the_machine(place: Place, sshd: Sshd) -> None:
    """Neither its memory nor its disk; and when memory is out, it goes before anything else does."""
    memory = 'python3 -c "print(len(bytearray(3 << 30)))" 2>&1; cat /proc/self/oom_score_adj; true'
    disk = "truncate -s 1T big 2>&1; ls big; true"
    run = play(
        place,
        sshd,
        tasks(
            *(f"- {{ansible.builtin.command: {json.dumps(f'sh -c {shlex.quote(way)}')}, delegate_to: localhost}}" for way in (memory, disk))
        ),
    )
    shown = said(run.hosts.get())
    assert run.state == "succeeded", (run.hosts.get().detail, shown)
    assert "MemoryError" in shown and str(3 << 30) not in shown
    assert "\n    1000\n" in shown
    assert "File size limit exceeded" in shown


@pytest.mark.parametrize("kind", ["ssh-rsa", "ecdsa-sha2-nistp256", "certificate"])
def test_a_play_enters_by_a_key_it_never_has(place: Place, sshd: Sshd, kind: str) -> None:
    (machine,) = place.behind(sshd, "web-1")
    before = sshd.authorized_keys.read_text()
    if kind == "certificate":
        perform(place.actor, Authority, "create")
        authority = Authority.objects.get()
        sshd.authorized_keys.write_text(f"{before}{authority.line}\n")
        AuthorityTrust.objects.create(org_id=place.actor.org_id, authority=authority, machine=machine, user=sshd.user, port=sshd.port)
        KeyAssociation.objects.all().delete()
    else:
        pair = pairs.generate(kind)
        sshd.authorized_keys.write_text(f"{before}{pair.public}\n")
        KeyAssociation.objects.update(key=place.key(pair.private, kind))
    ways = ["cat ../* 2>/dev/null; true", "ls .. ; ssh-add -L 2>&1; true"]
    text = tasks(
        *(f"- {{ansible.builtin.debug: {{msg: \"{{{{ lookup('ansible.builtin.pipe', '{way}') }}}}\"}}}}" for way in ways),
        "- ansible.builtin.raw: echo in",
    )
    try:
        run = place.run(place.script(text, exec_type="ansible"), [machine])
    finally:
        sshd.authorized_keys.write_text(before)
    shown = said(run.hosts.get())
    assert run.state == "succeeded", (run.hosts.get().detail, shown)
    assert "PRIVATE" not in shown and "key-0.pub" in shown and "    in\n" in shown


def test_a_play_reaches_nothing_but_its_hosts(place: Place, sshd: Sshd) -> None:
    database = f"127.0.0.1:{sshd.port}"  # whatever listens here
    code = (
        "import socket,os;"
        f"made=socket.socket();made.settimeout(3);print('tcp',made.connect_ex(('127.0.0.1',{sshd.port})));"
        "asked=socket.socket(socket.AF_UNIX);asked.connect(os.environ['HOME']+'/dial');asked.sendall(b'127.0.0.1 22\\n');"
        "print('door',socket.recv_fds(asked,500,1)[:2]);"
        f"sockets={[str(path) for path in Path(settings.SOCKET_DIR).glob('*')]!r};"
        "print('unix',[p for p in sockets if os.path.exists(p)]);"
        "print('mount',os.system('mount -o remount,rw /usr 2>/dev/null'));"
        "print('write',os.access('/usr',os.W_OK),os.path.exists('/proc/sys'))"
    )
    text = tasks(
        "- ansible.builtin.command:",
        f"    argv: [/usr/bin/env, python3, -c, {code!r}]",
        "  delegate_to: localhost",
        '- ansible.builtin.raw: "echo and its host"',
    )
    run = play(place, sshd, text)
    shown = said(run.hosts.get())
    assert run.state == "succeeded", (run.hosts.get().detail, shown, database)
    assert "tcp 0" not in shown and "tcp " in shown
    assert "door (b'it is no host of this run', [])" in shown
    assert "unix []" in shown and "mount 0" not in shown and "write False False" in shown
    assert "and its host" in shown


def test_where_it_cannot_be_confined_it_is_not_played_and_all_else_is(
    place: Place, sshd: Sshd, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    monkeypatch.setattr(ansible, "_no_place", lambda: "unshare: Operation not permitted")
    machines = place.behind(sshd, "a")
    script = place.script(tasks("- ansible.builtin.raw: echo hello"), "play", exec_type="ansible")
    with pytest.raises(Conflict, match="user namespaces"):
        perform(place.actor, script, "run", {"machine": machines[0].pk.hex})
    assert place.run(place.script(), machines).state == "succeeded"
    settings.MIST_PLAYBOOKS_TRUSTED = True
    assert place.run(Script.objects.get(name="play"), machines).state == "succeeded"
    assert Job.objects.filter(action="script.run", state="succeeded").count() == 2
