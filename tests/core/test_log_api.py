"""The audit log over HTTP: what one may see of it, counted, drawn, exported and verified."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from channels.db import database_sync_to_async as sync
from django.test import AsyncClient
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.models import Membership, User
from core import chain, events, log
from core.actor import Actor
from core.models import Event, new_id
from tests.core.test_chain import _empty_log, as_superuser  # noqa: F401 - a fixture
from tests.core.test_doors import make_org

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def actor() -> Actor:
    org, user, _ = make_org("here")
    return Actor(org_id=org.pk, user_id=user.pk, email=user.email, address="203.0.113.9", via="api")


def api(actor: Actor | None) -> APIClient:
    client = APIClient()
    client.force_authenticate(user=None, token=actor)  # type: ignore[arg-type]
    return client


def get(actor: Actor | None, path: str = "", status: int = 200, **query: Any) -> Any:
    answer = api(actor).get(f"/api/v2/events{path}", query)
    assert answer.status_code == status, answer.content
    return answer.json()


def test_events_are_listed_newest_first_with_who_and_from_where(actor: Actor) -> None:
    first = events.record("machine.stop.requested", actor, target_kind="machine", target_name="web-1", detail={"params": {"force": True}})
    second = events.record("machine.stop.succeeded", actor, target_kind="machine", target_name="web-1")
    data = get(actor)["data"]
    assert [row["id"] for row in data] == [second.pk.hex, first.pk.hex]
    assert (data[0]["email"], data[0]["address"], data[0]["outcome"]) == ("here@example.org", "203.0.113.9", "succeeded")
    assert get(actor, f"/{first.pk.hex}")["data"]["detail"] == {"params": {"force": True}}
    found = get(actor, search="outcome:requested target:web")["data"]
    assert [row["id"] for row in found] == [first.pk.hex]
    get(actor, search="outcome:(", status=400)
    page = get(actor, limit=1)
    assert get(actor, limit=1, cursor=page["meta"]["next"])["data"][0]["id"] == first.pk.hex


def test_nobody_reads_anothers_log(actor: Actor) -> None:
    event = events.record("machine.stop.requested", actor)
    events.record("user.sign_in.succeeded", Actor.system())  # the installation's own
    stranger = make_org("elsewhere")[2]
    assert get(stranger)["data"] == []
    get(stranger, f"/{event.pk.hex}", status=404)
    assert get(stranger, "/facets")["data"]["counted"] == 0
    assert sum(b["count"] for b in get(stranger, "/histogram")["data"]["bins"]) == 0
    get(None, status=401)
    assert [row["id"] for row in get(actor)["data"]] == [event.pk.hex]


def test_a_member_without_rights_sees_only_what_is_their_own(actor: Actor) -> None:
    user = User.objects.create_user("m@example.org", "secret-secret")
    Membership.objects.create(org_id=actor.org_id, user=user)
    member = Actor(org_id=actor.org_id, user_id=user.pk)
    events.record("machine.stop.requested", actor)
    mine = events.record("machine.stop.refused", member)
    assert [row["id"] for row in get(member)["data"]] == [mine.pk.hex]
    assert get(member, "/facets")["data"]["counted"] == 1


def test_facets_count_what_was_found(actor: Actor) -> None:
    for outcome in ("succeeded", "succeeded", "refused"):
        events.record(f"machine.stop.{outcome}", actor, target_kind="machine")
    events.record(
        "cloud.edit.succeeded", Actor(org_id=actor.org_id, user_id=actor.user_id, via=f"schedule:{new_id().hex}"), target_kind="cloud"
    )
    answer = get(actor, "/facets")["data"]
    assert (answer["counted"], answer["is_partial"]) == (4, False)
    counts = {name: {v["label"]: v["count"] for v in values} for name, values in answer["facets"].items()}
    assert counts["outcome"] == {"succeeded": 3, "refused": 1}
    assert counts["kind"] == {"machine": 3, "cloud": 1}
    assert counts["via"] == {"api": 3, "schedule": 1}
    assert counts["actor"] == {"here@example.org": 4}
    assert counts["action"] == {"machine.stop": 3, "cloud.edit": 1}
    assert get(actor, "/facets", search="kind:cloud")["data"]["facets"]["outcome"] == [
        {"value": "succeeded", "label": "succeeded", "count": 1}
    ]
    get(actor, "/facets", nonsense=1, status=400)


def test_a_histogram_has_every_step_also_the_empty_ones(actor: Actor) -> None:
    since = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=10)
    for minutes in (5, 6, 125):
        events.record("machine.stop.succeeded", actor, at=since + timedelta(minutes=minutes))
    events.record("machine.stop.refused", actor, at=since + timedelta(minutes=599))
    until = since + timedelta(hours=10)
    answer = get(actor, "/histogram", since=since.isoformat(), until=until.isoformat(), bins=10)["data"]
    assert [b["count"] for b in answer["bins"]] == [2, 0, 1, 0, 0, 0, 0, 0, 0, 1]
    assert answer["bins"][9]["outcomes"] == {"refused": 1}
    assert answer["step_s"] == 3600
    get(actor, "/histogram", since="2026-01-02", until="2026-01-01T00:00:00Z", status=400)
    get(actor, "/histogram", since="yesterday", status=400)


async def test_an_export_streams_everything_found_page_after_page(actor: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "EXPORT_PAGE", 7)
    at = timezone.now()

    def write() -> list[str]:
        made = [events.build("machine.tag.succeeded", actor, detail={"n": n}, target_name="=cmd()", at=at) for n in range(20)]
        events.record_all(made)
        return [event.pk.hex for event in sorted(made, key=lambda e: e.pk, reverse=True)]

    ids = await sync(write)()
    client = AsyncClient()
    await sync(client.force_login)(await User.objects.aget(pk=actor.user_id), backend="allauth.account.auth_backends.AuthenticationBackend")
    answer = await client.get("/api/v2/events/export?search=kind:none%20OR%20outcome:succeeded")
    assert answer.status_code == 200, answer.content
    assert answer["Content-Type"] == "application/x-ndjson"
    pieces = [piece async for piece in answer.streaming_content]
    assert len(pieces) == 3
    rows = [json.loads(line) for line in b"".join(pieces).decode().splitlines()]
    assert [row["id"] for row in rows] == ids
    assert rows[0]["address"] == "203.0.113.9"
    answer = await client.get("/api/v2/events/export?format=csv&columns=id,target_name,detail")
    text = b"".join([piece async for piece in answer.streaming_content]).decode()
    lines = list(csv.reader(io.StringIO(text)))
    assert lines[0] == ["id", "target_name", "detail"]
    assert [line[0] for line in lines[1:]] == ids
    assert lines[1][1] == "'=cmd()"  # no formula for a spreadsheet
    assert (await client.get("/api/v2/events/export?format=xml")).status_code in (400, 404)
    assert (await client.get("/api/v2/events/export?search=no_such_key:1")).status_code == 400


def test_verify_says_what_is_wrong_to_who_may_see_it(actor: Actor) -> None:
    rows = [events.record("machine.stop.succeeded", actor) for _ in range(5)]
    chain.seal()
    answer = get(actor, "/verify")["data"]
    assert (answer["ok"], answer["events"], answer["sequence"]) == (True, 5, 5)
    as_superuser("UPDATE core_event SET detail = '{\"x\": 1}' WHERE id = %s", [rows[2].pk])
    answer = get(actor, "/verify")["data"]
    assert [(f["what"], f["event"]) for f in answer["findings"]] == [("changed", rows[2].pk.hex)]
    user = User.objects.create_user("m@example.org", "secret-secret")
    Membership.objects.create(org_id=actor.org_id, user=user)
    blind = get(Actor(org_id=actor.org_id, user_id=user.pk), "/verify")["data"]
    assert [(f["what"], f["event"]) for f in blind["findings"]] == [("changed", None)]
    assert rows[2].pk.hex not in json.dumps(blind)
    assert Event.objects.count() == 5
