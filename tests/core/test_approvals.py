"""What is not done without somebody else's yes: asked for, approved, declined, withdrawn, forgotten."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from smtplib import SMTPRecipientsRefused
from typing import Any

import pytest
from django.core import mail
from django.db import OperationalError
from django.utils import timezone

from accounts.approvals import tell
from accounts.exports import sweep
from accounts.models import Export, Membership, Team, User
from clouds.models import Cloud, Poll
from clouds.polling import poll_once
from core import actions, approvals, bulks, jobs
from core.actions import perform
from core.actor import Actor
from core.errors import ApprovalNeeded, Asked, Conflict, Denied, Invalid, NotFound
from core.models import Event, Job
from keys.models import Key
from machines.models import Machine
from mist import metrics
from scripts.models import Run, Script
from scripts.recovery import settle
from tests.core.test_doors import make_org, run_waiting

pytestmark = pytest.mark.django_db
EVERYTHING = {"effect": "allow", "verbs": ["*"], "what": {}}
ASKS = {"effect": "ask", "verbs": ["machine.stop", "machine.destroy", "key.delete", "machine.tag"], "what": {}}


@pytest.fixture
def owner() -> Actor:
    return make_org("here")[2]


@pytest.fixture
def machine(owner: Actor) -> Machine:
    perform(owner, Cloud, "create", {"name": "demo", "provider": "demo", "credentials": {"machines": 20, "seed": 1, "latency_ms": 0}})
    for poll in Poll.objects.order_by("pk"):
        poll_once(poll.pk)
    return Machine.objects.filter(state="running").order_by("name")[0]


def member(owner: Actor, email: str, *statements: dict[str, Any]) -> Actor:
    user = User.objects.create_user(email, "secret-secret")
    assert owner.org_id
    Membership.objects.create(org_id=owner.org_id, user=user)
    Team.objects.create(org_id=owner.org_id, name=f"of {email}", statements=list(statements)).members.add(user)
    return Actor(org_id=owner.org_id, user_id=user.pk, email=email)


@pytest.fixture
def asker(owner: Actor) -> Actor:
    return member(owner, "asker@example.org", EVERYTHING, ASKS)


def ask(actor: Actor, target: Any, name: str, params: dict[str, Any] | None = None) -> Job:
    with pytest.raises(Asked) as asked:
        perform(replace(actor, ask="it is broken"), target, name, params)
    job: Job = asked.value.job
    assert job.state == "asked"
    return job


def test_what_a_policy_asks_about_is_refused_until_somebody_approves(owner: Actor, asker: Actor, machine: Machine) -> None:
    with pytest.raises(ApprovalNeeded, match=r"Statement 2 of team of asker@example\.org asks for approval"):
        perform(asker, machine, "stop")
    job = ask(asker, machine, "stop")
    run_waiting()
    machine.refresh_from_db()
    assert machine.state == "running"
    approved = approvals.approve(owner, job, "go on")
    assert approved.state == "queued"
    run_waiting()
    job.refresh_from_db()
    machine.refresh_from_db()
    assert (job.state, job.answered_by_id, job.answer) == ("succeeded", owner.user_id, "go on")
    assert machine.state in ("stopping", "stopped")
    told = list(Event.objects.filter(job_id=job.pk).order_by("at", "id").values_list("type", flat=True))
    assert told == ["machine.stop.asked", "machine.stop.approved", "machine.stop.succeeded"]
    asked = Event.objects.get(job_id=job.pk, type="machine.stop.asked").detail
    assert asked["ask"] == "it is broken" and asked["needs"] == ["Statement 2 of team of asker@example.org asks for approval."]


def test_both_are_told_by_letter(owner: Actor, asker: Actor, machine: Machine) -> None:
    job = ask(asker, machine, "stop")
    assert tell() == 1
    assert [letter.to for letter in mail.outbox] == [["here@example.org"]]
    assert "it is broken" in mail.outbox[0].body and machine.name in mail.outbox[0].body and job.pk.hex in mail.outbox[0].body
    assert tell() == 0
    approvals.decline(owner, job, "not today")
    assert tell() == 1
    assert mail.outbox[1].to == ["asker@example.org"] and "not today" in mail.outbox[1].body


def test_an_inline_act_is_done_when_approved_with_its_before_and_after(owner: Actor, asker: Actor, machine: Machine) -> None:
    job = ask(asker, machine, "tag", {"tags": {"kept": "prod"}})
    machine.refresh_from_db()
    assert "kept" not in machine.tags
    approvals.approve(owner, job)
    run_waiting()
    job.refresh_from_db()
    machine.refresh_from_db()
    assert (job.state, machine.tags["kept"]) == ("succeeded", "prod")
    done = Event.objects.get(job_id=job.pk, type="machine.tag.succeeded")
    assert done.after and done.after["tags"]["kept"] == "prod" and done.actor_id == asker.user_id


def test_nobody_approves_their_own_and_nobody_without_the_right(owner: Actor, asker: Actor, machine: Machine) -> None:
    job = ask(asker, machine, "stop")
    with pytest.raises(Denied, match="Somebody else"):
        approvals.approve(asker, job)
    reader = member(owner, "reader@example.org", {"effect": "allow", "verbs": ["*.read"], "what": {}})
    with pytest.raises(Denied):
        approvals.approve(reader, job)
    with pytest.raises(NotFound):
        approvals.approve(make_org("there")[2], job)
    job.refresh_from_db()
    assert job.state == "asked"
    assert approvals.decline(owner, job).error_code == "declined"
    with pytest.raises(Conflict):
        approvals.approve(owner, job)


def test_many_wait_as_one(owner: Actor, asker: Actor, machine: Machine) -> None:
    ids = list(Machine.objects.filter(state="running").order_by("name").values_list("pk", flat=True)[:3])
    job = bulks.bulk(replace(asker, ask="night"), Machine, "stop", ids=ids)
    assert job.state == "asked" and "asks for approval" in job.needs
    run_waiting()
    assert not job.children.exists()
    approvals.approve(owner, job)
    run_waiting()
    run_waiting()
    assert set(job.children.values_list("state", flat=True)) == {"succeeded"}


def test_many_without_asking_are_each_refused(asker: Actor, machine: Machine) -> None:
    job = bulks.bulk(asker, Machine, "stop", ids=[machine.pk])
    run_waiting()
    assert job.children.get().error_code == "approval_required"


def test_rights_are_asked_again_when_it_is_done(owner: Actor, asker: Actor, machine: Machine) -> None:
    job = ask(asker, machine, "stop")
    Team.objects.filter(name="of asker@example.org").update(statements=[])
    approvals.approve(owner, job)
    run_waiting()
    job.refresh_from_db()
    assert (job.state, job.error_code) == ("failed", "not_found")


def test_what_carries_a_secret_or_hands_something_out_cannot_wait(asker: Actor, machine: Machine) -> None:
    with pytest.raises(Invalid, match="cannot wait"):
        perform(replace(asker, ask="why"), machine, "shell")
    with pytest.raises(Invalid, match="cannot wait"):
        perform(replace(asker, ask="why"), Key, "create", {"name": "new", "generate": True})


def test_the_same_is_asked_once_and_can_be_withdrawn(asker: Actor, machine: Machine) -> None:
    job = ask(asker, machine, "stop")
    with pytest.raises(Conflict, match="asked already"):
        perform(replace(asker, ask="again"), machine, "stop")
    assert jobs.cancel(asker, job).state == "cancelled"
    assert tell() == 0
    ask(asker, machine, "stop")


def test_what_nobody_answers_is_called_off(asker: Actor, machine: Machine) -> None:
    job = ask(asker, machine, "stop")
    assert approvals.expire(timezone.now() + timedelta(days=6)) == 0
    assert approvals.expire(timezone.now() + timedelta(days=8)) == 1
    job.refresh_from_db()
    assert (job.state, job.error_code) == ("cancelled", "approval_expired")
    tell()
    assert "within seven days" in mail.outbox[-1].body


def test_an_approved_destroy_has_its_undo_window(owner: Actor, asker: Actor, machine: Machine) -> None:
    job = approvals.approve(owner, ask(asker, machine, "destroy"))
    assert job.state == "waiting"
    assert jobs.undo(asker, job).state == "undone"


def test_a_run_and_an_export_that_wait_are_left_to_wait(owner: Actor, machine: Machine) -> None:
    asker = member(owner, "asker@example.org", EVERYTHING, {"effect": "ask", "verbs": ["script.run", "export.create"], "what": {}})
    made = perform(owner, Script, "create", {"name": "up", "script": "#!/bin/sh\nuptime\n"})
    run = ask(asker, Script.objects.get(pk=made.target_id), "run", {"machines": [machine.pk.hex]})
    export = ask(asker, Export, "create", {"kind": "machine"})
    settle(), sweep()
    assert Run.objects.get(pk=run.pk).state == "queued"
    assert Export.objects.filter(pk=export.target_id).exists()
    approvals.decline(owner, run)
    approvals.decline(owner, export)
    settle(), sweep()
    assert Run.objects.get(pk=run.pk).state == "cancelled"
    assert not Export.objects.filter(pk=export.target_id).exists()


def test_what_waits_is_counted_among_what_is_open(asker: Actor, machine: Machine) -> None:
    ask(asker, machine, "stop")
    assert dict(metrics.jobs())[("asked",)] == 1
    assert ("asked",) not in dict(metrics.ended_jobs())


def test_an_approved_act_whose_worker_died_is_lost_and_has_to_be_asked_for_again(owner: Actor, asker: Actor, machine: Machine) -> None:
    job = approvals.approve(owner, ask(asker, machine, "stop"))
    assert actions.claim(job.pk, "a worker that is killed")
    Job.objects.filter(pk=job.pk).update(started_at=timezone.now() - timedelta(minutes=1))
    jobs.give_up_lost()
    job.refresh_from_db()
    assert job.state == "lost"
    with pytest.raises(ApprovalNeeded):
        jobs.retry(asker, job)


def test_an_inline_act_is_not_done_where_the_database_goes_away_meanwhile(
    owner: Actor, asker: Actor, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = approvals.approve(owner, ask(asker, machine, "tag", {"tags": {"kept": "prod"}}))

    def gone(*_: Any) -> None:
        raise OperationalError("the connection is lost")

    monkeypatch.setattr("core.actions.inline.finish", gone)
    run_waiting()
    job.refresh_from_db()
    machine.refresh_from_db()
    assert (job.state, job.error_code, job.result) == ("failed", "internal_error", None)
    assert "kept" not in machine.tags
    told = Event.objects.get(job_id=job.pk, type="machine.tag.failed")
    assert told.before is None and told.after is None


# --- letters ----------------------------------------------------------------------------------------------------------


def test_a_poisoned_name_writes_no_line_and_no_header_of_its_own(owner: Actor, asker: Actor, machine: Machine) -> None:
    poison = "web-1\r\nBcc: all@evil.example\n\nApprove here: http://evil.example/\u2028\x85<script>"
    Machine.objects.filter(pk=machine.pk).update(name=poison)
    User.objects.filter(pk=asker.user_id).update(first_name="Eve\r\nBcc: all@evil.example")
    machine.refresh_from_db()
    job = ask(asker, machine, "stop")
    ids = [machine.pk, Machine.objects.exclude(pk=machine.pk).filter(state="running")[0].pk]
    many = bulks.bulk(replace(asker, ask="night"), Machine, "stop", ids=ids)
    assert tell() == 2
    approvals.decline(owner, job)
    approvals.decline(owner, many)
    assert tell() == 2
    assert len(mail.outbox) == 4
    for letter in mail.outbox:
        assert letter.message()["Bcc"] is None and letter.recipients() in (["here@example.org"], ["asker@example.org"])
        assert "\n" not in letter.subject
        assert not any(line.startswith(("Bcc", "Approve here")) for line in letter.body.splitlines())


def test_nobody_who_may_approve_is_told_nothing_and_it_still_waits(owner: Actor, machine: Machine) -> None:
    lone = ask(owner, machine, "stop")
    assert tell() == 1
    assert mail.outbox == []
    lone.refresh_from_db()
    assert (lone.state, lone.to_tell) == ("asked", False)
    assert jobs.cancel(owner, lone).state == "cancelled"


class Refusing:
    """A mail server that takes nothing."""

    def __init__(self, **_: Any) -> None: ...

    def send_messages(self, _: Any) -> int:
        raise SMTPRecipientsRefused({})


def test_a_mail_server_that_refuses_stops_nothing(
    owner: Actor, asker: Actor, machine: Machine, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.EMAIL_BACKEND = "tests.core.test_approvals.Refusing"
    job = ask(asker, machine, "stop")
    assert tell() == 1 and tell() == 0
    assert job.pk.hex in caplog.text.replace("-", "") and machine.name not in caplog.text
    assert approvals.approve(owner, job).state == "queued"
