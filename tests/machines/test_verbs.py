"""Every verb of a machine: done by who may, on a simulated cloud, and refused to who may not."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import Membership, Team, User
from clouds.models import Cloud, Poll
from clouds.polling import poll_once
from core import actions, jobs
from core.actions import actions_of, perform
from core.actor import Actor
from core.errors import Conflict, Denied, Invalid, MistError, NotFound
from core.models import Event, Job
from keys.models import Authority, Key, KeyAssociation
from machines.models import Machine, Snapshot
from machines.tasks import expire, remind
from tests.core.test_doors import make_org

pytestmark = pytest.mark.django_db


@pytest.fixture
def owner() -> Actor:
    return make_org("here")[2]


@pytest.fixture
def cloud(owner: Actor) -> Cloud:
    perform(owner, Cloud, "create", {"name": "demo", "provider": "demo", "credentials": {"machines": 30, "seed": 1, "latency_ms": 0}})
    for poll in Poll.objects.order_by("pk"):
        poll_once(poll.pk)
    return Cloud.objects.get()


def member(owner: Actor, *statements: dict[str, Any]) -> Actor:
    """One with these statements and no others."""
    user = User.objects.create_user("member@example.org", "secret-secret")
    Membership.objects.create(org_id=owner.org_id, user=user)
    Team.objects.create(org_id=owner.org_id, name="Members", statements=list(statements)).members.add(user)
    return Actor(org_id=owner.org_id, user_id=user.pk)


def a_machine(state: str, cloud: Cloud) -> Machine:
    """A machine in that state; brought there where the fleet has none."""
    found = Machine.objects.filter(cloud=cloud, state=state, type="vm").order_by("name").first()
    if found is None:
        running = Machine.objects.filter(cloud=cloud, state="running", type="vm").order_by("name").first()
        assert running is not None
        done(perform(Actor.system(cloud.org_id), running, {"suspended": "suspend", "stopped": "stop"}[state]))
        found = Machine.objects.get(pk=running.pk)
    assert found.state == state
    return found


def done(job: Job) -> Job:
    """Run a job as a worker does."""
    if job.state == "waiting":
        Job.objects.filter(pk=job.pk).update(not_before=timezone.now())
        jobs.release_due()
    if actions.get(job.action).background:
        claimed = actions.claim(job.pk, "test")
        assert claimed is not None
        actions.run(claimed)
    job.refresh_from_db()
    return job


def a_key(machine: Machine) -> Key:
    return Key.objects.create(org_id=machine.org_id, name="k", public="ssh-ed25519 AAAA", fingerprint="SHA256:x", algorithm="ssh-ed25519")


def a_snapshot(machine: Machine) -> Snapshot:
    done(perform(Actor.system(machine.org_id), machine, "create_snapshot", {"name": "before"}))
    return Snapshot.objects.get(machine=machine)


def gone(machine: Machine) -> dict[str, Any]:
    Machine.objects.filter(pk=machine.pk).update(missing_since=timezone.now())
    return {}


def associated(machine: Machine) -> dict[str, Any]:
    key = a_key(machine)
    KeyAssociation.objects.create(org_id=machine.org_id, machine=machine, key=key)
    return {"key": key.pk.hex, "record_only": True}


def with_authority(machine: Machine) -> dict[str, Any]:
    perform(Actor.system(machine.org_id), Authority, "create")
    return {"user": "root", "record_only": True}


def trusting(machine: Machine) -> dict[str, Any]:
    sent = with_authority(machine)
    done(perform(Actor.system(machine.org_id), machine, "trust_ca", sent))
    return sent


def expiring(machine: Machine) -> dict[str, Any]:
    Machine.objects.filter(pk=machine.pk).update(expires_at=timezone.now() + timedelta(hours=1), expire_action="stop")
    return {"hours": 2}


def locked(machine: Machine) -> dict[str, Any]:
    Machine.objects.filter(pk=machine.pk).update(locked_at=timezone.now())
    return {}


def another_size(machine: Machine) -> dict[str, Any]:
    sizes = machine.cloud.polls.model._meta.apps.get_model("clouds", "Size").objects.filter(cloud=machine.cloud).exclude(pk=machine.size_id)
    sizes = sizes.filter(architecture=machine.architecture)
    return {"size": sizes.order_by("cores").first().pk.hex}


def tomorrow(machine: Machine) -> dict[str, Any]:
    return {"date": (timezone.now() + timedelta(days=1)).isoformat(), "action": "destroy"}


Params = Callable[[Machine], dict[str, Any]]

# verb: (state to start from, params, what is true of the machine afterwards)
VERBS: dict[str, tuple[str, Params | dict[str, Any], Callable[[Machine], bool]]] = {
    "start": ("stopped", {}, lambda m: m.state == "running"),
    "stop": ("running", {}, lambda m: m.state == "stopped"),
    "reboot": ("running", {}, lambda m: m.state == "running"),
    "power_cycle": ("running", {}, lambda m: m.state == "running"),
    "suspend": ("running", {}, lambda m: m.state == "suspended"),
    "resume": ("suspended", {}, lambda m: m.state == "running"),
    "resize": ("stopped", another_size, lambda m: m.size is not None),
    "rename": ("running", {"name": "new name"}, lambda m: m.name == "new name"),
    "clone": ("running", {"name": "copy"}, lambda m: Machine.objects.filter(name="copy").exists()),
    "destroy": ("running", {}, lambda m: m.missing_since is not None or m.state == "terminated"),
    "undefine": ("stopped", {"delete_disks": True}, lambda m: m.missing_since is not None),
    "tag": ("running", {"tags": {"a": "b"}}, lambda m: m.tags["a"] == "b"),
    "push_tags": ("running", {}, lambda m: True),
    "set_owner": ("running", {"owner": None}, lambda m: m.owner is None),
    "set_expiration": ("running", tomorrow, lambda m: m.expire_action == "destroy"),
    "extend": ("running", expiring, lambda m: m.expires_at is not None and m.expires_at > timezone.now() + timedelta(hours=2)),
    "lock": ("running", {"note": "a test"}, lambda m: m.locked_at is not None and m.lock_note == "a test"),
    "unlock": ("running", locked, lambda m: m.locked_at is None),
    "edit": ("running", {"address": "10.0.0.1"}, lambda m: m.address == "10.0.0.1"),
    "remove": ("running", gone, lambda m: not Machine.objects.filter(pk=m.pk).exists()),
    "associate_key": ("running", lambda m: {"key": a_key(m).pk.hex, "record_only": True}, lambda m: m.key_associations.count() == 1),
    "disassociate_key": ("running", associated, lambda m: m.key_associations.count() == 0),
    "trust_ca": ("running", with_authority, lambda m: m.authority_trusts.get().user == "root"),
    "distrust_ca": ("running", trusting, lambda m: not m.authority_trusts.exists()),
    "create_snapshot": ("running", {"name": "s"}, lambda m: m.snapshots.get().name == "s"),
    "remove_snapshot": ("running", lambda m: {"snapshot": a_snapshot(m).pk.hex}, lambda m: not m.snapshots.exists()),
    "revert_to_snapshot": ("running", lambda m: {"snapshot": a_snapshot(m).pk.hex}, lambda m: m.snapshots.get().active),
    "list_snapshots": ("running", {}, lambda m: True),
}


def test_no_verb_is_forgotten_here() -> None:
    elsewhere = {"shell", "run"}  # tests/shells, tests/scripts
    assert set(VERBS) == {action.name for action in actions_of(Machine) if not action.creates} - elsewhere


@pytest.mark.parametrize("verb", VERBS)
def test_who_may_does_it(verb: str, owner: Actor, cloud: Cloud) -> None:
    state, params, holds = VERBS[verb]
    machine = a_machine(state, cloud)
    job = done(perform(owner, machine, verb, params(machine) if callable(params) else params))
    assert job.state == "succeeded", job.error_detail
    assert holds(Machine.objects.filter(pk=machine.pk).first() or machine)
    assert Event.objects.filter(job_id=job.pk, type=f"machine.{verb}.succeeded", target_id=machine.pk).count() == 1


@pytest.mark.parametrize("verb", VERBS)
def test_who_only_reads_is_refused_and_that_is_on_record(verb: str, owner: Actor, cloud: Cloud) -> None:
    reader = member(owner, {"effect": "allow", "verbs": ["*.read"]})
    state, params, _ = VERBS[verb]
    machine = a_machine(state, cloud)
    sent = params(machine) if callable(params) else params
    Event.objects.filter(target_id=machine.pk)
    if actions.get(f"machine.{verb}").rights == "read":
        assert perform(reader, machine, verb, sent).state == "queued"
        return
    with pytest.raises(Denied if verb not in ("associate_key", "disassociate_key") else MistError):
        perform(reader, machine, verb, sent)
    refusal = Event.objects.get(type=f"machine.{verb}.refused", actor_id=reader.user_id)
    assert refusal.detail["reason"]
    assert not Job.objects.filter(action=f"machine.{verb}", user_id=reader.user_id).exists()


@pytest.mark.parametrize("verb", VERBS)
def test_who_sees_nothing_is_told_nothing(verb: str, owner: Actor, cloud: Cloud) -> None:
    state, params, _ = VERBS[verb]
    machine = a_machine(state, cloud)
    sent = params(machine) if callable(params) else params
    for actor in (member(owner), make_org("elsewhere")[2]):
        with pytest.raises((NotFound, Invalid)):
            perform(actor, machine, verb, sent)


def test_a_machine_destroyed_behind_our_back_fails_the_job_and_goes_missing(owner: Actor, cloud: Cloud) -> None:
    machine = a_machine("running", cloud)
    job = perform(owner, machine, "stop")
    Machine.objects.filter(pk=machine.pk).update(external_id="i-not-there")
    job = done(job)
    assert (job.state, job.error_code) == ("failed", "cloud_gone")
    machine.refresh_from_db()
    assert machine.missing_since is not None
    assert {"machine.stop.failed", "machine.missing.observed"} <= set(
        Event.objects.filter(target_id=machine.pk).values_list("type", flat=True)
    )


def test_two_people_on_one_machine_the_second_is_told_who_was_first(owner: Actor, cloud: Cloud) -> None:
    machine = a_machine("running", cloud)
    first = perform(owner, machine, "stop")
    with pytest.raises(Conflict) as caught:
        perform(owner, machine, "reboot")
    assert caught.value.extra["job"] == first.pk.hex


def test_a_right_that_went_while_the_job_waited_fails_it(owner: Actor, cloud: Cloud) -> None:
    actor = member(owner, {"effect": "allow", "verbs": ["*"]})
    machine = a_machine("running", cloud)
    job = perform(actor, machine, "destroy")
    Team.objects.filter(name="Members").update(statements=[{"effect": "allow", "verbs": ["*.read"]}])
    job = done(job)
    assert (job.state, job.error_code) == ("failed", "denied")
    machine.refresh_from_db()
    assert machine.state == "running"


def test_an_undo_window_may_be_skipped_only_with_the_right(owner: Actor, cloud: Cloud) -> None:
    machine = a_machine("running", cloud)
    actor = member(owner, {"effect": "allow", "verbs": ["machine.read", "machine.destroy"]})
    with pytest.raises(Denied, match="undo window"):
        perform(actor, machine, "destroy", undo_s=0)
    assert perform(owner, machine, "destroy", undo_s=0).state == "queued"


def test_what_expires_is_reminded_of_once_and_then_stopped(owner: Actor, cloud: Cloud, mailoutbox: list[Any]) -> None:
    machine = a_machine("running", cloud)
    user = User.objects.get(pk=owner.user_id)
    ends = timezone.now() + timedelta(hours=1)
    Machine.objects.filter(pk=machine.pk).update(expires_at=ends, expire_action="stop", remind_s=7200, owner=user)
    assert remind() == 1
    assert remind() == 0
    assert mailoutbox[0].to == [user.email]
    assert expire() == 0
    assert expire(now=ends + timedelta(seconds=1)) == 1
    assert Job.objects.get(action="machine.stop").via == "expiration"


def test_a_create_that_the_cloud_refuses_leaves_no_row(owner: Actor, cloud: Cloud) -> None:
    form = {"name": "new", "cloud": "demo"}
    for field, kind in (("image", "Image"), ("size", "Size"), ("location", "Location")):
        rows = cloud.polls.model._meta.apps.get_model("clouds", kind).objects.filter(cloud=cloud)
        form[field] = rows.filter(location_type="zone").first().pk.hex if kind == "Location" else rows.first().pk.hex
    job = done(perform(owner, Machine, "create", form))
    assert job.state == "succeeded", job.error_detail
    assert Machine.objects.get(pk=job.target_id).external_id
    Cloud.objects.filter(pk=cloud.pk).update(config={**cloud.config, "failure_rate": 1.0})
    outcomes = set()
    for n in range(12):
        job = done(perform(owner, Machine, "create", {**form, "name": f"new-{n}"}))
        assert job.state == "failed"
        outcomes.add((job.error_code in ("cloud_unavailable", "cloud_rate_limited"), Machine.objects.filter(pk=job.target_id).exists()))
    assert outcomes <= {(True, True), (False, False)}, "gone where the cloud said no, kept in error where nobody knows"
