"""A machine is locked: by whom and for what, who may, what is found and told of it, and what leaves it alone."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from accounts.models import Membership, Team, User
from clouds.models import Poll
from clouds.polling import poll_once
from core import listing
from core.actions import allowed, perform
from core.actor import Actor
from core.errors import Already, ApprovalNeeded, Denied, Invalid, NotFound
from core.models import Event, Job
from core.search import complete, context_of, lookup_in
from machines.models import Machine
from machines.tasks import expire, remind
from tests.api.test_matrix import ask
from tests.api.test_matrix import client as with_token
from tests.api.world import World, make_world
from tests.core.test_doors import make_org
from tests.streamed import content_of

pytestmark = pytest.mark.django_db

MARKUP = "<script>alert(1)</script>"


@pytest.fixture
def here(db: None) -> World:
    return make_world("here")


@pytest.fixture
def machine(here: World) -> Machine:
    return Machine.objects.get(pk=here.rows["machine"].pk)


def member(world: World, *verbs: str) -> Actor:
    user = User.objects.create_user("member@example.org", "secret-secret")
    Membership.objects.create(org=world.org, user=user)
    Team.objects.create(org=world.org, name="Members", statements=[{"effect": "allow", "verbs": list(verbs)}]).members.add(user)
    return Actor(org_id=world.org.pk, user_id=user.pk)


def found(actor: Actor, search: str, **how: Any) -> set[str]:
    page = listing.page(Machine.objects.all(), actor, listing.Query(search=search, sort="name", limit=100, **how))
    return {row.name for row in page.rows}


def test_who_locks_says_what_for_and_the_record_says_both(here: World, machine: Machine) -> None:
    job = perform(here.actor, machine, "lock", {"note": "  the database\tmoves  "})
    machine.refresh_from_db()
    assert machine.locked_at is not None and abs(timezone.now() - machine.locked_at) < timedelta(minutes=1)
    assert (machine.locked_by, machine.lock_note) == (here.user, "the database moves")
    event = Event.objects.get(job_id=job.pk, type="machine.lock.succeeded")
    assert event.before == {"locked_at": None, "locked_by_id": None, "lock_note": ""}
    assert event.after is not None
    assert (event.after["locked_by_id"], event.after["lock_note"]) == (here.user.pk.hex, "the database moves")
    job = perform(here.actor, machine, "unlock")
    machine.refresh_from_db()
    assert (machine.locked_at, machine.locked_by, machine.lock_note) == (None, None, "")
    event = Event.objects.get(job_id=job.pk, type="machine.unlock.succeeded")
    assert event.before is not None
    assert event.before["lock_note"] == "the database moves"
    assert event.after == {"locked_at": None, "locked_by_id": None, "lock_note": ""}


def test_locked_again_it_has_another_note_or_nothing_was_to_do(here: World, machine: Machine) -> None:
    perform(here.actor, machine, "lock", {"note": "one"})
    for same in ({}, {"note": "one"}, {"note": " one "}):
        with pytest.raises(Already, match="is locked already"):
            perform(here.actor, machine, "lock", same)
    other = member(here, "machine.read", "machine.lock")
    perform(other, machine, "lock", {"note": "two"})
    machine.refresh_from_db()
    assert (machine.lock_note, machine.locked_by_id) == ("two", other.user_id), "a note is its writer's"
    perform(here.actor, machine, "lock", {"note": ""})
    machine.refresh_from_db()
    assert machine.lock_note == "" and machine.locked_at is not None
    perform(here.actor, machine, "unlock")
    with pytest.raises(Already, match=r"^It is not locked\.$"):
        perform(here.actor, machine, "unlock")


@pytest.mark.parametrize("note", ["x" * 201, "a\x00b", "a\x1b[31mred", ["a"], {"a": 1}])
def test_a_note_is_a_line_of_text(here: World, machine: Machine, note: Any) -> None:
    with pytest.raises(Invalid) as caught:
        perform(here.actor, machine, "lock", {"note": note})
    assert "note" in (caught.value.fields or {})
    machine.refresh_from_db()
    assert machine.locked_at is None


def test_each_has_a_right_of_its_own_and_is_offered_where_it_changes_something(here: World, machine: Machine) -> None:
    locks = member(here, "machine.read", "machine.lock")
    assert allowed(locks, machine) | {"lock": True} == allowed(locks, machine)
    assert allowed(here.actor, machine)["unlock"] == "It is not locked."
    perform(locks, machine, "lock")
    machine.refresh_from_db()
    assert allowed(here.actor, machine)["unlock"] is True
    assert "unlock" not in allowed(locks, machine)
    with pytest.raises(Denied):
        perform(locks, machine, "unlock")
    assert Event.objects.filter(type="machine.unlock.refused", actor_id=locks.user_id).exists()
    machine.refresh_from_db()
    assert machine.locked_at is not None


@pytest.mark.parametrize("verb", ["stop", "reboot", "destroy"])
def test_a_lock_binds_owners_and_the_system_until_it_is_taken_away(here: World, machine: Machine, verb: str) -> None:
    perform(here.actor, machine, "lock", {"note": "the database moves"})
    for actor in (here.actor, Actor.system(here.org.pk, via="expiration")):
        with pytest.raises(ApprovalNeeded, match="is locked: the database moves"):
            perform(actor, machine, verb)
    perform(here.actor, machine, "tag", {"tags": {"still": "ours"}})  # what harms nothing needs nobody
    perform(here.actor, machine, "unlock")
    assert perform(here.actor, machine, verb).state in ("queued", "waiting")


def test_another_organizations_machine_is_not_found(here: World, machine: Machine) -> None:
    stranger = make_org("elsewhere")[2]
    for verb in ("lock", "unlock"):
        with pytest.raises(NotFound):
            perform(stranger, machine, verb)
    machine.refresh_from_db()
    assert machine.locked_at is None


def test_locked_machines_are_found_and_the_query_bar_knows_the_key(here: World, machine: Machine) -> None:
    other = Machine.objects.filter(org=here.org).exclude(pk=machine.pk).order_by("name").first()
    assert other is not None
    perform(here.actor, machine, "lock")
    assert found(here.actor, "locked:yes") == {machine.name}
    assert other.name in found(here.actor, "locked:no")
    assert machine.name not in found(here.actor, "locked:no")
    rows = Machine.objects.visible_to(here.actor)
    lookup = lookup_in(rows, Machine.search, context_of(here.actor))
    offered = {one.insert for one in complete("locked:", 7, Machine.search, context_of(here.actor), lookup)}
    assert offered == {"yes", "no"}


@pytest.mark.django_db(transaction=True)  # a version begins when its transaction did
def test_the_past_is_locked_as_it_was(here: World, machine: Machine) -> None:
    perform(here.actor, machine, "lock", {"note": "then"})
    locked = timezone.now()
    perform(here.actor, machine, "unlock")
    assert found(here.actor, "locked:yes") == set()
    assert found(here.actor, "locked:yes", at=locked) == {machine.name}
    path = f"/api/v2/machines?at={locked.isoformat().replace('+00:00', 'Z')}&search=locked:yes"
    (row,) = ask(with_token(here.token), "GET", path).json()["data"]
    assert (row["locked"], row["locked_by"], row["lock_note"]) == (True, here.user.email, "then")
    with connection.cursor() as cursor:  # a version that was kept before there were locks
        cursor.execute('UPDATE core_revision SET "row" = "row" - \'{locked_at,locked_by_id,lock_note}\'::text[]')
    rows = ask(with_token(here.token), "GET", path.partition("&")[0]).json()["data"]
    (row,) = [row for row in rows if row["id"] == machine.pk.hex]
    assert (row["locked"], row["locked_by"], row["lock_note"]) == (False, None, "")


def test_over_the_api_a_lock_is_told_set_and_taken_away(here: World, machine: Machine) -> None:
    api, path = with_token(here.token), f"/api/v2/machines/{machine.pk.hex}"

    def told() -> dict[str, Any]:
        row = ask(api, "GET", path).json()["data"]
        return {key: row[key] for key in ("locked", "locked_at", "locked_by", "lock_note")}

    assert told() == {"locked": False, "locked_at": None, "locked_by": None, "lock_note": ""}
    answer = ask(api, "POST", f"{path}/actions/lock", {"note": MARKUP})
    assert answer.status_code == 200, answer.content
    now = told()
    assert now.pop("locked_at")
    assert now == {"locked": True, "locked_by": here.user.email, "lock_note": MARKUP}
    assert ask(api, "GET", f"{path}?deref=none").json()["data"]["locked_by"] == here.user.pk.hex
    again = ask(api, "POST", f"{path}/actions/lock", {"note": MARKUP})
    assert (again.status_code, again.json()["code"]) == (409, "already")
    assert [row["id"] for row in ask(api, "GET", "/api/v2/machines?search=locked:yes").json()["data"]] == [machine.pk.hex]
    exported = ask(api, "GET", "/api/v2/machines?format=csv&columns=name,locked_by,lock_note&search=locked:yes")
    body = content_of(exported).decode()
    assert body.splitlines()[1] == f"{machine.name},{here.user.email},{MARKUP}"
    assert ask(api, "POST", f"{path}/actions/unlock").status_code == 200
    assert told()["locked"] is False
    assert ask(api, "POST", f"{path}/actions/unlock").json()["detail"] == "It is not locked."


def test_a_lock_outlives_who_locked(here: World, machine: Machine) -> None:
    other = member(here, "machine.read", "machine.lock")
    perform(other, machine, "lock", {"note": "kept"})
    User.objects.filter(pk=other.user_id).delete()
    row = ask(with_token(here.token), "GET", f"/api/v2/machines/{machine.pk.hex}").json()["data"]
    assert (row["locked"], row["locked_by"], row["lock_note"]) == (True, None, "kept")


def test_what_is_locked_does_not_expire_until_it_is_unlocked(here: World, machine: Machine, mailoutbox: list[Any]) -> None:
    ends = timezone.now() + timedelta(hours=1)
    Machine.objects.filter(pk=machine.pk).update(expires_at=ends, expire_action="stop", remind_s=7200, owner=here.user)
    perform(here.actor, machine, "lock", {"note": "not yet"})
    assert remind() == 1
    assert [mail.to for mail in mailoutbox] == [[here.user.email]]
    later = ends + timedelta(seconds=1)
    assert expire(now=later) == 0
    machine.refresh_from_db()
    assert machine.expires_at == ends, "it is not put off either"
    assert not Job.objects.filter(target_id=machine.pk, via="expiration").exists()
    assert not Event.objects.filter(target_id=machine.pk, type__in=["machine.stop.refused", "machine.stop.requested"]).exists()
    perform(here.actor, machine, "unlock")
    assert expire(now=later) == 1
    assert Job.objects.get(target_id=machine.pk, action="machine.stop").via == "expiration"


def test_a_poll_leaves_a_lock_as_it_is(here: World, machine: Machine) -> None:
    perform(here.actor, machine, "lock", {"note": "stays"})
    for poll in Poll.objects.filter(cloud=machine.cloud, kind="machine"):
        poll_once(poll.pk)
    machine.refresh_from_db()
    assert (machine.lock_note, machine.locked_by) == ("stays", here.user)
