"""Scripts that are run on a machine once it is created: begun when it answers, one after the other, and told when they are not."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.models import Membership, Team, User
from clouds.models import Cloud, Image, Location, Poll, Size
from clouds.polling import poll_once
from core import approvals
from core.actions import perform
from core.actor import Actor
from core.errors import ApprovalNeeded, Asked, Invalid
from core.models import Event, Job
from keys.models import KeyAssociation
from machines import reach
from machines.actions import create as create_module
from machines.models import Machine
from scripts import after
from scripts.models import AfterCreation, Run, Script
from tests.lab.sshd import Sshd, free_port, new_key
from tests.scripts.conftest import Place, finish, make_place, said

pytestmark = pytest.mark.django_db


@pytest.fixture
def demo(place: Place) -> Cloud:
    perform(place.actor, Cloud, "create", {"name": "demo", "provider": "demo", "credentials": {"machines": 0, "seed": 1, "latency_ms": 0}})
    for poll in Poll.objects.filter(cloud__name="demo"):
        poll_once(poll.pk)
    return Cloud.objects.get(name="demo")


def shape(demo: Cloud) -> dict[str, str]:
    image = Image.objects.filter(cloud=demo, name__startswith="Debian").order_by("name")[0]
    size = Size.objects.filter(cloud=demo, architecture=image.architecture).order_by("-ram_mib")[0]
    return {"image": image.pk.hex, "size": size.pk.hex, "location": Location.objects.filter(cloud=demo)[0].pk.hex}


def create(place: Place, demo: Cloud, actor: Actor | None = None, **params: Any) -> Machine:
    """Made by a worker, as far as the cloud's answer."""
    asked = {"name": "fresh", "cloud": demo.pk.hex, **shape(demo), **params}
    job = perform(actor or place.actor, Machine, "create", asked)
    Job.objects.filter(pk=job.pk).update(state="queued", not_before=None)
    job = finish(Job.objects.get(pk=job.pk))
    assert job.state == "succeeded", job.error_detail
    return Machine.objects.get(pk=job.target_id)


def answers_at(place: Place, machine: Machine, server: Sshd) -> None:
    """It has booted: it is where that server listens, and runs."""
    place.behind(server, "stands-for-it")
    other = Machine.objects.get(name="stands-for-it")
    machine.key_associations.all().delete()
    other.key_associations.update(machine=machine)
    other.delete()
    Cloud.objects.filter(pk=machine.cloud_id).update(extra={"loopback": True})
    Machine.objects.filter(pk=machine.pk).update(state="running", address="127.0.0.1")


def runs(machine: Machine) -> list[Run]:
    """What was begun, carried out to its end."""
    found = []
    for row in AfterCreation.objects.filter(machine=machine).exclude(run=None).order_by("position"):
        job = Job.objects.get(pk=row.run_id)
        if job.state == "queued":
            finish(job)
        found.append(Run.objects.get(pk=row.run_id))
    return found


def test_two_scripts_are_run_one_after_the_other_once_it_answers(place: Place, demo: Cloud, sshd: Sshd) -> None:
    place.script("#!/bin/sh\necho one $NAME\n", "one", parameters=[{"name": "NAME", "type": "text"}])
    place.script("#!/bin/sh\necho two $1\n", "two")
    machine = create(place, demo, scripts=[{"script": "one", "params": "NAME=maya"}, {"script": "two", "params": "words"}])
    Machine.objects.filter(pk=machine.pk).update(state="pending")
    assert after.begin_due() == 0, "it does not run yet"
    answers_at(place, machine, sshd)
    assert after.begin_due() == 1
    assert after.begin_due() == 0, "the first has not ended"
    assert [said(run.hosts.get()) for run in runs(machine)] == ["one maya\n"]
    assert after.begin_due() == 1
    assert [said(run.hosts.get()) for run in runs(machine)] == ["one maya\n", "two words\n"]
    event = Event.objects.filter(type="machine.run.requested", target_id=machine.pk).first()
    assert event is not None
    assert event.actor_id == place.actor.user_id, "in the name of who made it"


def test_the_second_is_not_run_where_the_first_fails(place: Place, demo: Cloud, sshd: Sshd) -> None:
    place.script("#!/bin/sh\nexit 3\n", "bad")
    place.script(name="good")
    machine = create(place, demo, scripts=["bad", "good"])
    answers_at(place, machine, sshd)
    after.begin_due()
    assert [run.state for run in runs(machine)] == ["failed"]
    after.begin_due()
    row = AfterCreation.objects.get(machine=machine, position=1)
    assert (row.state, row.run) == ("failed", None)
    assert "bad" in row.detail
    assert Event.objects.filter(type="machine.run.failed", target_id=machine.pk, detail__reason=row.detail).exists()


def test_it_waits_for_the_server_of_a_machine_that_boots(place: Place, demo: Cloud, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The address is known before anything listens there."""
    monkeypatch.setattr(reach, "AGAIN_S", 0.3)
    place.script()
    machine = create(place, demo, scripts=["hello"])
    server = Sshd(tmp_path)
    answers_at(place, machine, server)
    assert after.begin_due() == 1
    begins = threading.Timer(2.0, server.start)
    begins.start()
    try:
        assert [said(run.hosts.get()) for run in runs(machine)] == ["hello\n"]
    finally:
        begins.join()
        server.stop()


def test_a_machine_that_never_answers_is_told(place: Place, demo: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "AGAIN_S", 0.2)
    monkeypatch.setattr(after, "WAIT_S", 1)
    place.script()
    machine = create(place, demo, scripts=["hello"])
    Machine.objects.filter(pk=machine.pk).update(state="pending")
    AfterCreation.objects.update(until=timezone.now() - timedelta(seconds=1))
    after.begin_due()
    assert "within 30 minutes" in AfterCreation.objects.get().detail
    other = create(place, demo, name="other", scripts=["hello"])
    key = place.key(new_key(), "k")
    KeyAssociation.objects.create(org_id=other.org_id, key=key, machine=other, user="root", port=free_port())
    Cloud.objects.filter(pk=other.cloud_id).update(extra={"loopback": True})
    Machine.objects.filter(pk=other.pk).update(state="running", address="127.0.0.1")
    assert after.begin_due() == 1
    (run,) = runs(other)
    assert run.state == "failed"
    assert run.hosts.get().detail


@pytest.mark.parametrize(
    ("scripts", "says"),
    [
        (["nothing-of-that-name"], "Script 1: Not found"),
        ([{"params": "x"}], "Script 1: This"),
        ([{"script": "typed"}], "Script 1: params.N: "),
        ([{"script": "typed", "params": {"N": "many"}}], "Script 1: params.N: "),
        ([{"script": "hello", "env": {"LD_PRELOAD": "x"}}], "Script 1: env: "),
        ([{"script": "hello", "env": {"A": "secret:none/none"}}], "Script 1: "),
        (["hello"] * 11, "10"),
        ([17], "Script 1: "),
    ],
)
def test_what_cannot_be_run_is_refused_before_anything_is_made(place: Place, demo: Cloud, scripts: list[Any], says: str) -> None:
    place.script()
    place.script("#!/bin/sh\n", "typed", parameters=[{"name": "N", "type": "number", "required": True}])
    with pytest.raises(Invalid) as refused:
        create(place, demo, scripts=scripts)
    assert says in str(refused.value.fields["scripts"])
    assert not Machine.objects.filter(name="fresh").exists()


def test_who_may_create_but_run_nothing_is_refused(place: Place, demo: Cloud, member: Callable[..., Actor]) -> None:
    place.script()
    actor = member({"effect": "allow", "verbs": ["machine.create", "*.read"], "what": {}})
    with pytest.raises(Invalid) as refused:
        create(place, demo, actor, scripts=["hello"])
    assert "You may not run hello" in str(refused.value.fields["scripts"])


def test_a_right_taken_away_meanwhile_counts(place: Place, demo: Cloud, member: Callable[..., Actor], sshd: Sshd) -> None:
    place.script()
    actor = member({"effect": "allow", "verbs": ["machine.*", "script.*", "*.read"], "what": {}})
    machine = create(place, demo, actor, scripts=["hello"])
    Team.objects.filter(members=actor.user_id).update(statements=[{"effect": "allow", "verbs": ["*.read"], "what": {}}])
    answers_at(place, machine, sshd)
    assert after.begin_due() == 0
    assert AfterCreation.objects.get().state == "failed"
    assert not Run.objects.filter(script__name="hello").exists()


def test_who_approved_a_machine_approved_its_scripts(place: Place, demo: Cloud, sshd: Sshd) -> None:
    place.script()
    org_id, user = place.actor.org_id, User.objects.create_user("asker@example.org", "secret-secret")
    assert org_id
    Membership.objects.create(org_id=org_id, user=user)
    asks = {"effect": "ask", "verbs": ["machine.create", "machine.run"], "what": {}}
    Team.objects.create(org_id=org_id, name="askers", statements=[{**asks, "effect": "allow", "verbs": ["*"]}, asks]).members.add(user)
    asker = Actor(org_id=org_id, user_id=user.pk, ask="for the shop")
    with pytest.raises(Asked) as asked:
        create(place, demo, asker, scripts=["hello"])
    job = approvals.approve(place.actor, asked.value.job)
    Job.objects.filter(pk=job.pk).update(state="queued", not_before=None)
    assert finish(Job.objects.get(pk=job.pk)).state == "succeeded"
    machine = Machine.objects.get(pk=job.target_id)
    answers_at(place, machine, sshd)
    assert after.begin_due() == 1
    assert [run.state for run in runs(machine)] == ["succeeded"]
    with pytest.raises(ApprovalNeeded):
        perform(replace(asker, ask=None), machine, "run", {"script": "hello"})


def test_another_organizations_script_is_not_found(place: Place, demo: Cloud) -> None:
    theirs = make_place("elsewhere").script(name="theirs")
    with pytest.raises(Invalid) as refused:
        create(place, demo, scripts=[theirs.pk.hex])
    assert "Not found" in str(refused.value.fields["scripts"])


def test_a_machine_that_is_gone_again_ends_it(place: Place, demo: Cloud) -> None:
    place.script()
    machine = create(place, demo, scripts=["hello"])
    Machine.objects.filter(pk=machine.pk).update(missing_since=timezone.now())
    after.begin_due()
    assert "not in its cloud" in AfterCreation.objects.get().detail
    script = Script.objects.get(name="hello")
    perform(place.actor, script, "delete")
    assert AfterCreation.objects.get().name == "hello"


def test_a_script_that_goes_while_the_cloud_creates_costs_no_machine(
    place: Place, demo: Cloud, sshd: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was there when it was asked for. The creation succeeds, and that it is not run is told."""
    script = place.script()
    began = after.begin

    def meanwhile(call: Any, machine: Machine) -> None:
        Script.objects.filter(pk=script.pk).delete()
        began(call, machine)

    monkeypatch.setitem(create_module._afterwards, "scripts", replace(create_module._afterwards["scripts"], begin=meanwhile))
    machine = create(place, demo, scripts=["hello"])
    answers_at(place, machine, sshd)
    after.begin_due()
    row = AfterCreation.objects.get()
    assert (row.name, row.state) == ("hello", "failed")
    assert "deleted" in row.detail


def test_one_that_waits_keeps_no_other_from_beginning(place: Place, demo: Cloud, sshd: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(after, "AT_ONCE", 1)
    place.script()
    waits = create(place, demo, name="waits", scripts=["hello"])
    machine = create(place, demo, scripts=["hello"])
    answers_at(place, machine, sshd)
    Machine.objects.filter(pk=waits.pk).update(state="running", address="", hostname="", public_ips=[], private_ips=[])
    assert after.begin_due() == 1
    assert AfterCreation.objects.get(machine=machine).run is not None
    assert AfterCreation.objects.get(machine=waits).state == "waiting"


def test_the_plan_takes_them_too(place: Place, demo: Cloud, api: APIClient) -> None:
    place.script()
    body = {"name": "x", "cloud": demo.pk.hex, **shape(demo)}
    answer = api.post("/api/v2/machines", {**body, "dry": True, "scripts": ["hello"]}, format="json")
    assert answer.status_code == 200, answer.content
    wrong = api.post("/api/v2/machines", {**body, "dry": True, "scripts": ["nope"]}, format="json")
    assert wrong.status_code == 422
    assert "Not found" in str(wrong.json()["fields"]["scripts"])


def test_a_scheduler_that_dies_as_it_begins_runs_nothing_twice(
    place: Place, demo: Cloud, sshd: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.script()
    machine = create(place, demo, scripts=["hello"])
    answers_at(place, machine, sshd)

    def dies(*args: Any, **how: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(after, "perform", dies)
        with pytest.raises(KeyboardInterrupt):
            after.begin_due()
    assert after.begin_due() == 0
    AfterCreation.objects.update(begun_at=timezone.now() - timedelta(minutes=2))
    after.begin_due()
    row = AfterCreation.objects.get()
    assert (row.state, row.run) == ("failed", None)
    assert "died" in row.detail
    assert not Run.objects.exists()
