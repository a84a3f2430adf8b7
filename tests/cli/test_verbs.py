"""Verbs: by names and by search, asked about, followed to their end."""

from __future__ import annotations

import json
import os
import pty
import time
from typing import Any

import pytest

from core.models import Job
from keys.models import Key
from machines.models import Machine
from tests.cli.conftest import Fleet, Mist
from tests.lab.sshd import new_key
from tests.shells.conftest import Place
from volumes.models import Volume

pytestmark = pytest.mark.django_db(transaction=True)


def running(machines: list[Machine], count: int) -> list[Machine]:
    """Those that its cloud, too, holds for running: the fleet of a demo cloud is another each time."""
    some = [one for one in machines if one.state == "running"][:count]
    assert len(some) == count
    return some


def test_a_verb_is_followed_to_its_end(mist: Mist, fleet: Fleet) -> None:
    (one,) = running(fleet(), 1)
    done = mist.ok("machines", "stop", one.name)
    assert done.out.splitlines()[1].split()[:3] == [one.name, "machine.stop", "succeeded"]
    assert Job.objects.get(action="machine.stop").state == "succeeded"
    assert Job.objects.get(action="machine.stop").via == "cli"


def test_several_by_name_are_one_bulk(mist: Mist, fleet: Fleet) -> None:
    some = running(fleet(), 3)
    rows = mist.ok("machines", "stop", *(one.name for one in some), "-o", "json").data
    assert {row["target_name"] for row in rows} == {one.name for one in some}
    assert {row["state"] for row in rows} == {"succeeded"}
    assert Job.objects.filter(action="machine.stop", parent__isnull=True).count() == 1


def test_a_machine_is_locked_with_a_note_and_found_by_that(mist: Mist, fleet: Fleet) -> None:
    some = running(fleet(), 2)
    assert "--note" in mist.ok("machines", "lock", "--help").out
    mist.ok("machines", "lock", *(one.name for one in some), "--note", "the database moves")
    found = mist.ok("machines", "locked:yes", "--columns", "name,lock_note", "-o", "json").data
    assert {row["name"]: row["lock_note"] for row in found} == {one.name: "the database moves" for one in some}
    mist.ok("unlock", "locked:yes", "--yes")
    assert not Machine.objects.exclude(locked_at=None).exists()


def test_a_search_is_asked_about_and_without_anybody_refused(mist: Mist, fleet: Fleet) -> None:
    some = running(fleet(), 2)
    search = f"id:{','.join(one.pk.hex for one in some)}"
    refused = mist.run("stop", search)
    assert refused.code == 2 and "add --yes" in refused.err and some[0].name in refused.err
    assert not Job.objects.filter(action="machine.stop").exists()
    assert len(mist.ok("stop", search, "--yes", "-o", "json").data) == 2


def test_a_dry_run_does_nothing(mist: Mist, fleet: Fleet) -> None:
    some = running(fleet(), 2)
    Machine.objects.filter(pk=some[1].pk).update(state="stopped")
    found = mist.ok("machines", "stop", some[0].name, some[1].name, "--dry-run", "-o", "json").data
    assert (found["count"], found["able"]) == (2, 1) and len(found["reasons"]) == 1
    assert not Job.objects.filter(action="machine.stop").exists()


def test_a_failing_job_is_the_exit_code(mist: Mist, fleet: Fleet) -> None:
    (one,) = running(fleet(), 1)
    Machine.objects.filter(pk=one.pk).update(external_id="not-there-any-more")
    done = mist.run("machines", "stop", one.name)
    job = Job.objects.get(action="machine.stop")
    assert (job.state, done.code) == ("failed", 1)
    assert job.error_detail in done.err and job.pk.hex in done.err and job.request_id in done.err


def test_one_that_fails_among_many_is_named(mist: Mist, fleet: Fleet) -> None:
    some = running(fleet(), 3)
    Machine.objects.filter(pk=some[1].pk).update(external_id="not-there-any-more")
    done = mist.run("machines", "stop", *(one.name for one in some), "-o", "json")
    assert done.code == 1
    assert {row["target_name"]: row["state"] for row in done.data} == {
        some[0].name: "succeeded",
        some[1].name: "failed",
        some[2].name: "succeeded",
    }
    assert some[1].name in done.err and some[0].name not in done.err


def test_not_waited_for(mist: Mist, fleet: Fleet) -> None:
    (one,) = running(fleet(), 1)
    (row,) = mist.ok("machines", "stop", one.name, "--no-wait", "-o", "json").data
    assert mist.ok("logs", "-f", row["id"]).out.strip().endswith("succeeded")
    assert mist.ok("jobs", "show", row["id"], "-q", "state").out.strip() == "succeeded"


def test_what_it_may_not_start_from_is_told(mist: Mist, fleet: Fleet) -> None:
    (one,) = running(fleet(), 1)
    Machine.objects.filter(pk=one.pk).update(state="stopped")
    done = mist.run("machines", "stop", one.name)
    assert done.code == 1 and one.name in done.err and "request id" in done.err


def test_what_destroys_is_asked_about_by_name_and_can_be_undone(mist: Mist, fleet: Fleet) -> None:
    (one,) = running(fleet(), 1)
    assert mist.run("machines", "destroy", one.name).code == 2
    assert typed(mist, ["machines", "destroy", one.name], "something else\n")[0] == 1
    assert not Job.objects.filter(action="machine.destroy").exists()
    code, shown = typed(mist, ["machines", "destroy", one.name, "--no-wait"], f"{one.name}\n")
    job = Job.objects.get(action="machine.destroy")
    assert (code, job.state) == (0, "waiting") and "This cannot be undone" in shown
    mist.ok("jobs", "undo", job.pk.hex)
    job.refresh_from_db()
    assert job.state == "undone"


def test_creating_and_deleting(mist: Mist, place: Place, tmp_path: Any) -> None:
    assert mist.ok("teams", "create", "--name", "Ops", "-o", "json").data["name"] == "Ops"
    assert mist.ok("teams", "edit", "Ops", "--description", "Those who operate", "-o", "json").data["description"] == "Those who operate"
    mist.ok("teams", "delete", "Ops", "--yes")
    assert mist.run("teams", "show", "Ops").code == 1


def test_a_secret_is_never_on_the_command_line_nor_shown(mist: Mist, place: Place, tmp_path: Any) -> None:
    private = new_key()
    refused = mist.run("keys", "create", "--name", "mine", "--private", private)
    assert refused.code == 2 and "@FILE" in refused.err and "PRIVATE KEY" not in refused.err
    file = tmp_path / "id"
    file.write_text(private)
    done = mist.ok("keys", "create", "--name", "mine", "--private", f"@{file}", "-o", "json")
    assert Key.objects.filter(name="mine").exists() and "PRIVATE KEY" not in done.out + done.err
    mist.ok("keys", "create", "--name", "again", "--private", "-", typed=new_key())
    cloud = json.dumps({"machines": 3, "seed": 2})
    done = mist.ok("clouds", "create", "--name", "two", "--provider", "demo", "--credentials", "-", "-o", "json", typed=cloud)
    assert done.data["name"] == "two"


def test_fields_that_are_wrong_are_named(mist: Mist) -> None:
    done = mist.run("keys", "create", "--name", "x", "--data", '{"algorithm": "rot13", "generate": true}')
    assert done.code == 1 and "algorithm:" in done.err and "request id" in done.err
    assert mist.run("keys", "create", "--data", "{").code == 2


def test_interrupted_it_says_that_the_job_goes_on(mist: Mist, fleet: Fleet) -> None:
    (one,) = running(fleet(), 1)
    import signal
    import subprocess

    process = mist.start("machines", "destroy", one.name, "--yes", stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    first = process.stderr.readline()
    assert "To take it back: mist jobs undo" in first
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130 and "The job goes on" in err
    mist.ok("jobs", "undo", Job.objects.get(action="machine.destroy").pk.hex)


def typed(mist: Mist, arguments: list[str], keys: str) -> tuple[int, str]:
    """Run it on a terminal and type.  Returns: exit code and what was shown."""
    from tests.cli.conftest import MIST

    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(MIST, [str(MIST), *arguments], mist.environment(TERM="xterm", COLUMNS="100"))
    shown, sent, end = b"", False, time.monotonic() + 30
    while time.monotonic() < end:
        try:
            data = os.read(terminal, 4096)
        except OSError:
            break
        if not data:
            break
        shown += data
        if not sent and b"to go on" in shown:
            os.write(terminal, keys.encode())
            sent = True
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown.decode(errors="replace")


def test_a_machine_is_planned_created_and_shown(mist: Mist, fleet: Fleet) -> None:
    fleet()
    cloud = ("--cloud", "demo")
    size = mist.ok("sizes", *cloud, "--limit", "1", "-o", "json").data[0]
    alike = f"[?architecture=='{size['architecture']}'] | [0].id"
    image = mist.ok("images", *cloud, "-q", alike, "-o", "json").data
    place = mist.ok("locations", *cloud, "-q", "[0].name").out.strip()
    how = ("--name", "made-1", *cloud, "--image", image, "--size", size["id"], "--location", place, "--tags", "env=dev")
    plan = mist.ok("machines", "create", *how, "--dry-run", "-o", "json").data
    assert "plan" in plan and not Machine.objects.filter(name="made-1").exists()
    done = mist.ok("machines", "create", *how)
    assert "succeeded" in done.out and "created" in done.err  # each step as it is done
    assert mist.ok("machines", "show", "made-1", "-q", "tags.env").out.strip() == "dev"


def test_a_machine_is_destroyed_with_its_volumes_and_a_volume_by_itself(mist: Mist, fleet: Fleet) -> None:
    ids = [volume.attached_to[0] for volume in Volume.objects.exclude(attached_to=[])] if fleet(30) else []
    one = Machine.objects.filter(pk__in=ids, type="vm", state="running").order_by("name").first()
    assert one is not None
    volume = Volume.objects.get(attached_to=[one.pk])
    free = Volume.objects.create(org_id=one.org_id, cloud_id=one.cloud_id, name="free", external_id="vol-none")
    [row] = mist.ok("machines", "destroy", one.name, "--destroy-volumes", "--undo-s", "0", "--yes", "-o", "json").data
    assert [(left["name"], left["state"]) for left in row["result"]["volumes"]] == [(volume.name, "succeeded")]
    volume.refresh_from_db()
    assert volume.missing_since is not None
    done = mist.run("volumes", "delete", "free", "--yes", "-o", "json")
    free.refresh_from_db()
    assert (done.code, free.missing_since is not None) == (0, True), done.err
