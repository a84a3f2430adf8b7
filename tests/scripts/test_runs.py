"""Runs on real SSH servers: what reaches the script, what comes back, how it ends."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from core import approvals
from core.actions import perform
from core.errors import ApprovalNeeded, Asked
from core.models import Event, Job
from scripts import output
from scripts.models import Run
from tests.lab.sshd import Sshd
from tests.scripts.conftest import Place, finish, said

pytestmark = pytest.mark.django_db

NASTY = 'it\'s "quoted" $(touch /tmp/never) `id` \\n\nand a second line; rm -rf / # $HOME *'


def test_a_run_on_three_hosts_is_a_job_with_one_each(place: Place, sshd: Sshd) -> None:
    run = place.run(place.script(), place.behind(sshd, "a", "b", "c"))
    assert (run.state, run.total, run.counts) == ("succeeded", 3, {"succeeded": 3})
    for host in run.hosts.all():
        assert (host.state, host.exit, said(host), host.last_line) == ("succeeded", 0, "hello\n", "hello")
    assert len({host.digest for host in run.hosts.all()}) == 1
    children = Job.objects.filter(parent_id=run.pk)
    assert {(job.action, job.state, job.target_name) for job in children} == {("machine.run", "succeeded", n) for n in "abc"}
    assert Event.objects.filter(org_id=place.actor.org_id, type="machine.run.succeeded").count() == 3
    assert Event.objects.filter(org_id=place.actor.org_id, type="script.run.succeeded").count() == 1
    assert not list(sshd.directory.glob("home/mist*"))


def test_parameters_arrive_as_they_are(place: Place, sshd: Sshd) -> None:
    parameters = [
        {"name": "text"},
        {"name": "count", "type": "number", "via": "option"},
        {"name": "dry_run", "type": "boolean", "via": "option"},
        {"name": "where", "via": "argument"},
    ]
    script = place.script('#!/usr/bin/env bash\nprintf "%s|" "$text" "$EXTRA" "$@"\n', parameters=parameters)
    values = {"text": NASTY, "count": "3", "dry_run": True, "where": NASTY}
    run = place.run(script, place.behind(sshd, "a"), params=values, env={"EXTRA": NASTY})
    assert said(run.hosts.get()) == "|".join([NASTY, NASTY, "--count", "3", "--dry-run", NASTY, ""])


def test_words_of_the_contract_arrive_as_words(place: Place, sshd: Sshd) -> None:
    run = place.run(place.script('#!/bin/sh\nprintf "[%s]" "$@"\n'), place.behind(sshd, "a"), params="one 'two three' $(id)")
    assert said(run.hosts.get()) == "[one][two three][$(id)]"


def test_an_exit_code_and_both_streams(place: Place, sshd: Sshd) -> None:
    run = place.run(place.script("#!/bin/sh\necho out\necho err >&2\nexit 3\n"), place.behind(sshd, "a"))
    host = run.hosts.get()
    assert (run.state, host.state, host.exit) == ("failed", "failed", 3)
    assert (said(host, 1), said(host, 2)) == ("out\n", "err\n")
    job = Job.objects.get(pk=run.pk)
    assert (job.state, job.error_code, job.result) == ("failed", "some_failed", {"run": run.pk.hex, "hosts": {"failed": 1}})


def test_null_bytes_and_what_is_no_utf8_survive(place: Place, sshd: Sshd) -> None:
    run = place.run(place.script("#!/bin/sh\nprintf 'a\\000b\\377\\376c\\n'\n"), place.behind(sshd, "a"))
    host = run.hosts.get()
    assert b"".join(s.data for s in output.between(host, 0, 100)) == b"a\0b\xff\xfec\n"
    assert host.state == "succeeded"


def test_a_host_over_its_time_is_ended_there(place: Place, sshd: Sshd) -> None:
    script = place.script("#!/bin/sh\necho $$\nsleep 300 &\nsleep 300\n")
    run = place.run(script, place.behind(sshd, "a"), timeout=1)
    host = run.hosts.get()
    assert (host.state, host.code) == ("failed", "timed_out")
    with pytest.raises(ProcessLookupError):
        os.kill(int(said(host, 1)), 0)


def test_one_wave_after_the_other_and_a_stop_after_failures(place: Place, sshd: Sshd) -> None:
    machines = place.behind(sshd, "a", "b", "c", "d", "e")
    run = place.run(place.script("#!/bin/sh\nexit 1\n"), machines, wave="2", stop_after=2)
    assert [(h.name, h.wave, h.state) for h in run.hosts.order_by("name")] == [
        ("a", 0, "failed"),
        ("b", 0, "failed"),
        ("c", 1, "skipped"),
        ("d", 1, "skipped"),
        ("e", 2, "skipped"),
    ]


def test_a_dry_run_parses_and_runs_nothing(place: Place, sshd: Sshd) -> None:
    good = place.run(place.script("#!/bin/bash\necho never\n"), place.behind(sshd, "a"), dry=True)
    assert (good.state, said(good.hosts.get())) == ("succeeded", "")
    bad = place.run(place.script("#!/bin/bash\nif then\n", name="bad"), place.behind(sshd, "b"), dry=True)
    assert bad.state == "failed"
    assert "syntax error" in said(bad.hosts.get())


@pytest.mark.parametrize(
    "text",
    [
        "#!/usr/bin/perl\nBEGIN { print 'it ' . 'ran' }\n",
        "#!/usr/bin/env python3\nprint('it ' + 'ran')\n",
        '#!/usr/bin/awk -f\nBEGIN { print "it " "ran" }\n',
    ],
)
def test_a_dry_run_runs_nothing_while_it_looks(place: Place, sshd: Sshd, text: str) -> None:
    run = place.run(place.script(text), place.behind(sshd, "a"), dry=True)
    assert run.state == "succeeded" and "it ran" not in said(run.hosts.get())


def test_a_machine_alone_runs_a_script(place: Place, sshd: Sshd) -> None:
    (machine,) = place.behind(sshd, "a")
    job = finish(perform(place.actor, machine, "run", {"script": place.script().pk.hex}))
    run = Run.objects.get(pk=job.pk)
    assert (job.state, said(run.hosts.get())) == ("succeeded", "hello\n")
    assert Event.objects.filter(org_id=place.actor.org_id, type="machine.run.succeeded").count() == 1


def test_a_script_on_many_is_an_act_on_each_so_a_locked_one_needs_approval(place: Place, sshd: Sshd) -> None:
    script, machines = place.script(), place.behind(sshd, "a", "b")
    perform(place.actor, machines[1], "lock", {"note": "the shop"})
    with pytest.raises(ApprovalNeeded, match="b is locked: the shop"):
        perform(place.actor, script, "run", {"machines": [one.pk.hex for one in machines]})
    with pytest.raises(ApprovalNeeded):
        perform(place.actor, script, "run", {"search": "name:a,b"})
    assert not Run.objects.exists()
    with pytest.raises(Asked) as asked:
        perform(replace(place.actor, ask="a patch"), script, "run", {"machines": [one.pk.hex for one in machines]})
    job = asked.value.job
    assert "b is locked" in job.needs
    Job.objects.filter(pk=job.pk).update(user=None)  # somebody else's
    approvals.approve(place.actor, job)
    Job.objects.filter(pk=job.pk).update(user=place.actor.user_id)
    assert Run.objects.get(pk=finish(job).pk).counts == {"succeeded": 2}
