"""What needs somebody else's approval: asked for with --ask, told how it is withdrawn, and answered by who may."""

from __future__ import annotations

from pathlib import Path

import pytest

from accounts.models import Membership, Team, User
from core.models import Job
from tests.cli.conftest import Fleet, Mist, token_of
from tests.cli.test_hosts import completed
from tests.cli.test_verbs import running, typed
from tests.shells.conftest import Place

pytestmark = pytest.mark.django_db(transaction=True)
ASKED = ["machine.stop", "machine.destroy", "team.edit", "script.run", "machine.create"]


@pytest.fixture
def asker(server: str, mist: Mist, place: Place, tmp_path: Path) -> Mist:
    """Somebody whose team has to ask."""
    user = User.objects.create_user("asker@example.org", "secret-secret")
    Membership.objects.create(org=place.org, user=user)
    statements = [{"effect": "allow", "verbs": ["*"], "what": {}}, {"effect": "ask", "verbs": ASKED, "what": {}}]
    Team.objects.create(org=place.org, name="askers", statements=statements).members.add(user)
    (tmp_path / "asker").mkdir()
    return Mist(tmp_path / "asker", server, token_of(place.org, user))


def test_a_verb_that_needs_approval_says_how_to_ask_and_waits(mist: Mist, asker: Mist, fleet: Fleet) -> None:
    (one,) = running(fleet(), 1)
    refused = asker.run("machines", "stop", one.name)
    assert refused.code == 1 and "approval_required" in refused.err and '--ask "what for"' in refused.err and "`ask`" not in refused.err
    assert asker.run("machines", "stop", one.name, "--ask", " ").code == 2
    assert not Job.objects.filter(action="machine.stop").exists(), "asked for nothing, and done nothing"
    done = asker.ok("machines", "stop", one.name, "--ask", "it is broken")
    job = Job.objects.get(action="machine.stop")
    assert (job.state, job.ask) == ("asked", "it is broken")
    assert f"stop {one.name}: waits" in done.err and f"mist jobs cancel {job.pk.hex}" in done.err
    assert done.out.splitlines()[1].split()[:2] == ["machine.stop", "asked"]
    assert f"mist jobs cancel {job.pk.hex}" in asker.ok("logs", "-f", job.pk.hex).err
    own = asker.run("approvals", "approve", job.pk.hex)
    assert own.code == 1 and "own_request" in own.err
    listed = mist.ok("approvals", "state:asked").out.splitlines()
    assert "it is broken" in listed[1] and one.name in listed[1] and "asker@example.org" in listed[1]
    done = mist.ok("approvals", "approve", job.pk.hex, "--note", "go on")
    job.refresh_from_db()
    assert (job.state, job.answer) == ("succeeded", "go on") and "succeeded" in done.out
    assert "go on" in asker.ok("approvals", "show", job.pk.hex).out


def test_several_and_a_search_wait_as_one(mist: Mist, asker: Mist, fleet: Fleet) -> None:
    some = running(fleet(), 3)
    done = asker.ok("machines", "stop", some[0].name, some[1].name, "--ask", "night", "-o", "json")
    assert [row["state"] for row in done.data] == ["asked"]
    found = asker.ok("stop", f"id:{some[2].pk.hex}", "--ask", "night", "--yes", "-o", "json")
    assert [row["state"] for row in found.data] == ["asked"]
    assert asker.ok("stop", f"id:{some[2].pk.hex}", "--ask", "night", "--dry-run", "-q", "able").out.strip() == "1"
    assert Job.objects.filter(action="machine.stop", ask="night", target_id=None).count() == 2
    first, second = done.data[0]["id"], found.data[0]["id"]
    assert mist.ok("approvals", "approve", first).out.count("succeeded") == 2
    assert mist.ok("approvals", "decline", second, "--note", "not today").code == 0
    assert asker.run("jobs", "cancel", second).code == 1
    assert Job.objects.get(pk=second).error_detail == "It was not approved: not today"


def test_what_is_refused_among_many_says_how_to_ask(asker: Mist, fleet: Fleet) -> None:
    some = running(fleet(), 2)
    done = asker.run("machines", "stop", some[0].name, some[1].name)
    assert done.code == 1 and '--ask "what for"' in done.err and "approval_required" in done.err


def test_an_edit_a_create_and_a_run_wait(asker: Mist, place: Place, mist: Mist, fleet: Fleet) -> None:
    team = Team.objects.create(org=place.org, name="web")
    done = asker.ok("teams", "edit", "web", "--description", "new", "--ask", "why not", "-o", "json")
    assert [row["action"] for row in done.data] == ["team.edit"] and "waits" in done.err
    team.refresh_from_db()
    assert team.description == ""
    run = asker.ok("run", "-m", place.machine.name, "--ask", "to look", "-o", "json", "--", "uptime")
    assert Job.objects.get(pk=run.data["run"]).state == "asked" and "mist jobs cancel" in run.err
    assert asker.run("run", "-m", place.machine.name, "--ask", "", "--", "uptime").code == 2
    assert asker.ok("jobs", "cancel", run.data["run"]).code == 0
    fleet()
    size = asker.ok("sizes", "--cloud", "demo", "--limit", "1", "-o", "json").data[0]
    image = asker.ok("images", "--cloud", "demo", "-q", f"[?architecture=='{size['architecture']}'] | [0].id", "-o", "json").data
    where = asker.ok("locations", "--cloud", "demo", "-q", "[0].name").out.strip()
    how = ("--cloud", "demo", "--image", image, "--size", size["id"], "--location", where, "--ask", "for the shop")
    made = asker.ok("machines", "create", "--name", "new", *how, "-o", "json")
    assert made.data["state"] == "asked" and f"mist jobs cancel {made.data['jobId']}" in made.err
    assert asker.ok("machines", "create", "--name", "many-{n}", "--quantity", "2", *how, "-o", "json").data["plan"]["quantity"] == 2


def test_a_yes_to_what_destroys_is_asked_about_as_destroying_is(mist: Mist, asker: Mist, fleet: Fleet) -> None:
    (one,) = running(fleet(), 1)
    (row,) = asker.ok("machines", "destroy", one.name, "--ask", "it is old", "--yes", "-o", "json").data
    refused = mist.run("approvals", "approve", row["id"])
    assert refused.code == 2 and "add --yes" in refused.err and one.name in refused.err and "it is old" in refused.err
    assert typed(mist, ["approvals", "approve", row["id"], "--no-wait"], "something else\n")[0] == 1
    assert Job.objects.get(pk=row["id"]).state == "asked"
    code, shown = typed(mist, ["approvals", "approve", row["id"], "--no-wait"], f"{one.name}\n")
    assert (code, Job.objects.get(pk=row["id"]).state) == (0, "waiting"), shown
    mist.ok("jobs", "undo", row["id"])


def test_what_waits_completes_and_is_explained(mist: Mist, asker: Mist, fleet: Fleet) -> None:
    (one,) = running(fleet(), 1)
    (row,) = asker.ok("machines", "stop", one.name, "--ask", "x", "-o", "json").data
    assert "--note" in mist.ok("approvals", "approve", "--help").out  # and it knows what there is
    assert completed(mist, "mist approvals a") == ["approve"] and completed(mist, "mist approvals d") == ["decline"]
    assert completed(mist, f"mist approvals approve {row['id'][:6]}") == [row["id"]]
    assert "--ask" in mist.ok("machines", "stop", "--help").out and "--ask" not in mist.ok("keys", "create", "--help").out
