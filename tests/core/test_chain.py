"""The audit log's chain: what was sealed is found changed, removed, reordered or rewritten; what is dropped leaves the rest whole."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import DatabaseError, connection, connections, transaction
from django.test import override_settings
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import settings as rules
from hypothesis import strategies as st

from accounts.models import Organization
from core import chain, events, personal, retention
from core.actor import Actor
from core.models import Checkpoint, Event, IdempotencyKey, PersonKey, Revision, new_id

pytestmark = pytest.mark.django_db(transaction=True)


def as_superuser(sql: str, params: Any = None) -> int:
    """What somebody does who owns the database."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")  # no triggers
        cursor.execute(sql, params)
        return cursor.rowcount


@pytest.fixture(autouse=True)
def _empty_log() -> Iterator[None]:
    as_superuser("DELETE FROM core_event")
    personal._by_person.clear()
    personal._by_key.clear()
    yield
    as_superuser("DELETE FROM core_event")


@pytest.fixture
def org() -> Organization:
    return Organization.objects.create(name="Here", slug="here")


@pytest.fixture
def actor(org: Organization) -> Actor:
    return Actor(org_id=org.pk, user_id=new_id(), email="ada@example.org", address="203.0.113.9")


def write(actor: Actor, count: int, **facts: Any) -> list[Event]:
    return [events.record("machine.tag.succeeded", actor, detail={"n": n}, **facts) for n in range(count)]


def sealed(actor: Actor, *batches: int) -> list[Event]:
    """That many events, sealed in that many batches; in the order of the chain."""
    for count in batches:
        write(actor, count)
        assert chain.seal() == count
    return list(Event.objects.order_by("sequence"))


def verify(*arguments: str) -> str:
    """What verify-audit prints.  Raises: CommandError."""
    out = io.StringIO()
    try:
        call_command("verify-audit", *arguments, stdout=out)
    except CommandError as error:
        raise CommandError(out.getvalue()) from error
    return out.getvalue()


def findings(org_id: UUID | None) -> list[tuple[str, int | None, UUID | None]]:
    return [(f.what, f.sequence, f.event_id) for f in chain.verify(org_id).findings]


def test_each_organization_and_the_installation_have_a_chain_that_verifies(actor: Actor) -> None:
    sealed(actor, 5, 3)
    other = Organization.objects.create(name="Other", slug="other")
    write(Actor.system(other.pk), 2)
    write(Actor.system(), 2)
    assert chain.seal() == 4
    assert list(Event.objects.filter(org_id=actor.org_id).order_by("sequence").values_list("sequence", flat=True)) == list(range(1, 9))
    said = verify()
    assert "here: 8 events as sealed" in said
    assert "other: 2 events as sealed" in said
    assert "installation: 2 events as sealed" in said
    assert "here" in verify("--org", "here")
    assert "other" not in verify("--org", "here")


@pytest.mark.parametrize(
    ("sql", "what"),
    [
        ("UPDATE core_event SET detail = '{\"n\": 99}' WHERE id = %s", "changed"),
        ("UPDATE core_event SET at = at + interval '1 microsecond' WHERE id = %s", "changed"),
        ("UPDATE core_event SET actor_id = gen_random_uuid() WHERE id = %s", "changed"),
        ("UPDATE core_event SET target_name = target_name || '.' WHERE id = %s", "changed"),
        ("UPDATE core_event SET personal = NULL WHERE id = %s", "changed"),
        ("UPDATE core_event SET digest = sha256('x') WHERE id = %s", "changed"),
        ("UPDATE core_event SET hash = sha256('x') WHERE id = %s", "reordered"),
        ("DELETE FROM core_event WHERE id = %s", "removed"),
        ("UPDATE core_event SET sequence = NULL, hash = NULL WHERE id = %s", "removed"),
    ],
)
def test_one_tampered_row_is_found_and_named(actor: Actor, sql: str, what: str) -> None:
    rows = sealed(actor, 4, 4, 4)
    victim = rows[5]
    assert as_superuser(sql, [victim.pk]) == 1
    found = findings(actor.org_id)
    assert (what, 6) in [(kind, sequence) for kind, sequence, _ in found]
    if what != "removed":
        assert victim.pk in [pk for _, _, pk in found]
    with pytest.raises(CommandError, match=rf"here: {what}: .*\b6\b"):
        verify()


def test_two_swapped_rows_are_found(actor: Actor) -> None:
    rows = sealed(actor, 6)
    for row, place in ((rows[1], 4), (rows[3], 2)):
        as_superuser("UPDATE core_event SET sequence = %s WHERE id = %s", [place, row.pk])
    found = findings(actor.org_id)
    assert {rows[1].pk, rows[3].pk} <= {pk for _, _, pk in found}
    assert all(what == "reordered" for what, _, _ in found)


def test_an_inserted_row_is_found(actor: Actor) -> None:
    rows = sealed(actor, 3)
    extra = events.build("machine.destroy.succeeded", actor)
    extra.sequence, extra.hash = 2, bytes(rows[1].hash or b"")
    extra.save(force_insert=True)
    assert extra.pk in [pk for _, _, pk in findings(actor.org_id)]


def test_a_tail_rewritten_with_all_its_hashes_is_found_by_the_signature(actor: Actor) -> None:
    rows = sealed(actor, 3, 3)
    before = bytes(rows[2].hash or b"")
    for row in rows[3:]:
        row.detail = {"n": "rewritten"}
        row.digest = events.digest(row)
        row.hash = before = chain.link(before, row.digest)
        as_superuser(
            "UPDATE core_event SET detail = %s, digest = %s, hash = %s WHERE id = %s",
            [json.dumps(row.detail), row.digest, row.hash, row.pk],
        )
    assert findings(actor.org_id) == [("rewritten", 4, None)]
    Checkpoint.objects.filter(last=6).update(hash=before)  # and the checkpoint, whose signature nobody can make
    assert [what for what, _, _ in findings(actor.org_id)] == ["unsigned"]


def test_a_tail_cut_off_is_found_against_the_noted_heads(actor: Actor, tmp_path: Path) -> None:
    heads = tmp_path / "heads.json"
    sealed(actor, 3, 3)
    verify("--heads", str(heads))
    sealed(actor, 1)
    verify("--heads", str(heads))
    as_superuser("DELETE FROM core_event WHERE sequence > 3")
    Checkpoint.objects.filter(last__gt=3).delete()
    assert verify()  # the chain alone cannot tell
    with pytest.raises(CommandError, match="no longer holds the end noted before"):
        verify("--heads", str(heads))


def test_an_event_committed_late_is_sealed_late_and_not_skipped(actor: Actor) -> None:
    late, go, done = [], threading.Event(), threading.Event()

    def slow() -> None:
        with transaction.atomic():
            late.append(events.record("machine.stop.requested", actor))
            go.set()
            assert done.wait(20)
        connections.close_all()

    thread = threading.Thread(target=slow)
    thread.start()
    assert go.wait(20)
    newer = write(actor, 2)
    assert chain.seal() == 2
    done.set()
    thread.join()
    assert chain.seal() == 1
    assert late[0].at < newer[0].at
    late[0].refresh_from_db()
    assert late[0].sequence == 3
    assert not findings(actor.org_id)


def test_one_writer_seals_at_a_time(actor: Actor) -> None:
    write(actor, 1)
    held, free = threading.Event(), threading.Event()

    def other() -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [chain.LOCK])
            held.set()
            assert free.wait(20)
        connections.close_all()

    thread = threading.Thread(target=other)
    thread.start()
    assert held.wait(20)
    assert chain.seal() == 0
    free.set()
    thread.join()
    assert chain.seal() == 1


def test_the_database_refuses_to_change_or_delete_events(actor: Actor) -> None:
    sealed(actor, 2)
    write(actor, 1)
    for sql in (
        "UPDATE core_event SET detail = '{}'",
        "UPDATE core_event SET sequence = sequence + 1",
        "UPDATE core_event SET sequence = 9, hash = 'x', detail = '{}' WHERE sequence IS NULL",
        "DELETE FROM core_event",
        "TRUNCATE core_event",
    ):
        with pytest.raises(DatabaseError, match="only ever appended"), connection.cursor() as cursor:
            cursor.execute(sql)
    assert Event.objects.count() == 3


def test_retention_drops_old_batches_and_the_rest_still_verifies(actor: Actor) -> None:
    now = timezone.now()
    old = now - timedelta(days=40)
    retention.make_months()
    write(actor, 3, at=old)
    chain.seal()
    write(actor, 2, at=old)
    write(actor, 1)
    chain.seal()  # a batch with one young event: kept whole
    write(actor, 2)
    chain.seal()
    write(actor, 1, at=old)
    chain.seal()  # old, but behind what is kept
    dropped = retention.drop_events(now - timedelta(days=10))
    assert (dropped.events, dropped.checkpoints) == (3, 1)
    assert Event.objects.filter(org_id=actor.org_id).count() == 6
    chain.seal()
    said = verify()
    assert "here: 6 events as sealed, 3 dropped by retention" in said
    assert "installation: 1 events as sealed" in said
    assert retention.drop_events(now - timedelta(days=10)).events == 0
    Checkpoint.objects.filter(org_id=actor.org_id, last=5).update(dropped_at=now)  # a removal passed off as retention
    as_superuser("DELETE FROM core_event WHERE sequence IN (4, 5)")
    assert "removed" in [what for what, _, _ in findings(actor.org_id)]


def test_a_month_without_anything_to_keep_goes_as_a_partition(actor: Actor) -> None:
    old = datetime(2024, 2, 29, 23, 59, 59, 999999, tzinfo=UTC)
    write(actor, 3, at=old)  # no partition: the default one takes it
    retention.make_months()
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM core_event_2024_02")
        assert cursor.fetchone()[0] == 3
        cursor.execute("SELECT count(*) FROM core_event_other")
        assert cursor.fetchone()[0] == 0
    chain.seal()
    assert not findings(actor.org_id)
    out = io.StringIO()
    call_command("purge", "--events-before", "2024-03-01", stdout=out)
    assert "core_event_2024_02" in out.getvalue()
    assert not findings(actor.org_id)
    write(actor, 1)
    chain.seal()
    assert not findings(actor.org_id)
    assert Event.objects.get(org_id=actor.org_id).sequence == 4


def test_a_missing_partition_loses_no_event(actor: Actor) -> None:
    far = datetime(2031, 7, 4, tzinfo=UTC)
    write(actor, 1, at=far)
    assert chain.seal() == 1
    assert not findings(actor.org_id)


def test_a_persons_data_is_erased_and_the_chain_still_verifies(actor: Actor) -> None:
    bob = Actor(org_id=actor.org_id, user_id=new_id(), email="bob@example.org", address="203.0.113.10")
    mine, other = write(actor, 2)[0], write(bob, 1)[0]
    failed = events.record("user.sign_in.refused", Actor(org_id=None, email="Ada@example.org", address="203.0.113.9"))
    chain.seal()
    assert personal.read(mine.personal, mine.pk) == {"email": "ada@example.org", "address": "203.0.113.9"}
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM core_event e WHERE to_jsonb(e)::text ~ 'ada@|203.0.113'")
        assert cursor.fetchone()[0] == 0
    call_command("purge", "--person", "ADA@example.org", stdout=io.StringIO())
    assert personal.read(mine.personal, mine.pk) is None
    assert personal.read(failed.personal, failed.pk) is None
    assert personal.read(other.personal, other.pk) == {"email": "bob@example.org", "address": "203.0.113.10"}
    assert personal.read_all({row.pk: row.personal for row in (mine, other)})[mine.pk] is None
    chain.seal()
    assert "as sealed" in verify()
    with pytest.raises(CommandError, match="nothing of that person"):
        call_command("purge", "--person", "ada@example.org", stdout=io.StringIO())
    again = write(actor, 1)[0]  # who comes back is somebody new
    assert personal.read(again.personal, again.pk)
    assert personal.read(mine.personal, mine.pk) is None


def test_a_rolled_back_event_leaves_no_key_behind_that_nothing_opens(actor: Actor) -> None:
    with transaction.atomic():
        write(actor, 1)
        transaction.set_rollback(True)
    event = write(actor, 1)[0]
    personal._by_key.clear()
    assert personal.read(event.personal, event.pk)
    assert PersonKey.objects.count() == 1


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.uuids()
    | st.datetimes(timezones=st.just(UTC))
    | st.binary(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8) | st.integers() | st.booleans() | st.none(), inner, max_size=4)
    ),
    max_leaves=12,
)


@rules(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    detail=st.dictionaries(st.text(max_size=8), VALUES, max_size=4),
    name=st.text(max_size=300),
    at=st.datetimes(min_value=datetime(1990, 1, 1), max_value=datetime(2100, 1, 1), timezones=st.timezones()),
)
def test_the_digest_is_the_same_after_a_round_trip_through_the_database(actor: Actor, detail: Any, name: str, at: datetime) -> None:
    event = events.record("machine.tag.succeeded", actor, detail=detail, before=detail, target_name=name, target_kind=name, at=at)
    back = Event.objects.get(pk=event.pk)
    assert events.digest(back) == bytes(event.digest) == bytes(back.digest)


def repr_of(value: Any) -> str:
    return f"int{value.bit_length()}" if isinstance(value, int) else ascii(value)


@pytest.mark.parametrize(
    "value",
    [
        1.0,
        1e22,
        1e16,
        1e300,
        5e-324,
        -0.0,
        float("nan"),
        float("-inf"),
        2**63,
        10**400,
        -(10**5000),
        "\x00",
        "\ud800",
        "é\x00",
        {1: "a", "1": "b"},
    ],
    ids=repr_of,
)
def test_odd_values_are_recorded_and_keep_their_digest(actor: Actor, value: Any) -> None:
    event = events.record("machine.tag.succeeded", actor, detail={"value": value, "\x00key": value})
    assert events.digest(Event.objects.get(pk=event.pk)) == bytes(event.digest)


def test_deep_json_is_cut_and_not_refused(actor: Actor) -> None:
    value: Any = "x"
    for _ in range(5000):
        value = [value]
    event = events.record("machine.tag.succeeded", actor, detail={"value": value[0][0]})
    assert events.digest(Event.objects.get(pk=event.pk)) == bytes(event.digest)


def test_what_is_kept_for_a_while_is_forgotten(org: Organization) -> None:
    IdempotencyKey.objects.create(scope="s", key="old", digest="d", created_at=timezone.now() - timedelta(hours=25))
    IdempotencyKey.objects.create(scope="s", key="new", digest="d")
    Revision.objects.all().delete()
    common = {"table": "t", "org_id": org.pk, "row": {}}
    for n, to_at in enumerate((timezone.now() - timedelta(days=500), timezone.now() - timedelta(days=5), None)):
        Revision.objects.create(row_id=new_id(), from_at=timezone.now() - timedelta(days=600 + n), to_at=to_at, **common)
    assert retention.forget_requests() == 1
    assert retention.forget_history() == 1
    with override_settings(MIST_HISTORY_KEEP_DAYS=0):
        assert retention.forget_history() == 0
    assert (IdempotencyKey.objects.get().key, Revision.objects.count()) == ("new", 2)
