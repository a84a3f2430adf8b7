"""The API's manners, on the machines of a demo cloud."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from clouds.models import Cloud, Poll
from clouds.polling import poll_once
from core import listing
from core.actions import perform
from core.actor import Actor
from core.api import document
from core.models import Event, Job
from machines.models import Machine
from tests.core.test_doors import make_org
from tests.streamed import content_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def actor() -> Actor:
    return make_org("here")[2]


@pytest.fixture
def api(actor: Actor) -> APIClient:
    client = APIClient()
    client.force_authenticate(user=None, token=actor)
    return client


@pytest.fixture
def cloud(actor: Actor) -> Cloud:
    perform(actor, Cloud, "create", {"name": "demo", "provider": "demo", "credentials": {"machines": 30, "seed": 1, "latency_ms": 0}})
    for poll in Poll.objects.order_by("pk"):
        poll_once(poll.pk)
    return Cloud.objects.get()


def test_the_machines_of_a_cloud_are_paged_by_cursor(api: APIClient, cloud: Cloud) -> None:
    seen, cursor = [], ""
    while True:
        answer = api.get("/api/v2/machines", {"limit": 7, "cursor": cursor, "sort": "-name"})
        assert answer.status_code == 200, answer.json()
        body = answer.json()
        seen += [row["id"] for row in body["data"]]
        cursor = body["meta"]["next"]
        if cursor is None:
            break
    assert len(seen) == len(set(seen)) == Machine.objects.count() == body["meta"]["total"]


def test_a_guessed_total_goes_with_the_cursor_of_its_own_search(api: APIClient, cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing.count, "__defaults__", (10,))

    def page(**asked: Any) -> dict[str, Any]:
        answer = api.get("/api/v2/machines", {"limit": 5, "sort": "name", **asked})
        assert answer.status_code == 200, answer.json()
        meta: dict[str, Any] = answer.json()["meta"]
        return meta

    first = page(search="name:*")
    assert first["total_is_estimate"] and first["total"] > 10
    with CaptureQueriesContext(connection) as captured:
        second = page(search="name:*", cursor=first["next"])
    assert (second["total"], second["total_is_estimate"]) == (first["total"], True)
    assert not any("COUNT(" in query["sql"] for query in captured.captured_queries), "guessed anew"
    few = page(search="name:* name:zzz", cursor=first["next"])
    assert few["total"] == 0 and "total_is_estimate" not in few


def test_a_stop_answers_with_a_job(api: APIClient, cloud: Cloud) -> None:
    machine = Machine.objects.filter(state="running", type="vm").first()
    answer = api.post(f"/api/v2/machines/{machine.pk.hex}/actions/stop")
    assert answer.status_code == 200, answer.json()
    job = api.get(f"/api/v2/jobs/{answer.json()['data']['jobId']}").json()["data"]
    assert job["state"] == "queued"
    again = api.post(f"/api/v2/machines/{machine.pk.hex}/actions/stop")
    assert again.status_code == 409
    assert again.json()["code"] == "busy"


def test_an_idempotency_key_acts_once(api: APIClient, cloud: Cloud) -> None:
    machine = Machine.objects.filter(state="running", type="vm").first()
    path, key = f"/api/v2/machines/{machine.pk.hex}/actions/stop", {"HTTP_IDEMPOTENCY_KEY": "abc"}
    first, second = api.post(path, **key), api.post(path, **key)
    assert first.json()["data"]["jobId"] == second.json()["data"]["jobId"]
    assert api.post(path, {"undo_s": 1}, format="json", **key).status_code == 422


def test_a_create_answers_its_plan_and_then_a_job(api: APIClient, cloud: Cloud) -> None:
    form = {"name": "new", "cloud": "demo", "image": "", "size": "", "location": ""}
    assert api.post("/api/v2/machines", form, format="json").status_code == 422
    for field, path in (("image", "images"), ("size", "sizes"), ("location", "locations")):
        form[field] = api.get(f"/api/v2/{path}", {"limit": 50}).json()["data"][-1]["id"]
    plan = api.post("/api/v2/machines", {**form, "dry": True}, format="json")
    assert plan.status_code == 200, plan.json()
    assert plan.json()["data"]["plan"]["cost"]["hourly"] > 0
    made = api.post("/api/v2/machines", form, format="json")
    assert made.status_code == 200, made.json()
    assert Machine.objects.get(pk=made.json()["data"]["machine"]).state == "creating"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("machines?limit=x", 400),
        ("machines?wrong=1", 400),
        ("machines?sort=wrong", 400),
        ("machines?cursor=AAAA", 400),
        ("machines?at=yesterday", 400),
        ("machines/nothing", 404),
        ("machines/%00", 404),
        ("clouds?cloud=nothing", 422),
        ("providers/nothing", 404),
    ],
)
def test_bad_input_is_told_so(api: APIClient, path: str, status: int) -> None:
    answer = api.get(f"/api/v2/{path}")
    assert answer.status_code == status, answer.content
    assert {"code", "detail", "request_id"} <= answer.json().keys()


def test_lists_are_given_as_csv(api: APIClient, cloud: Cloud) -> None:
    answer = api.get("/api/v2/machines", {"columns": "name,state,tag:env"}, HTTP_ACCEPT="text/csv")
    lines = content_of(answer).decode().splitlines()
    assert lines[0] == "name,state,tag:env"
    assert len(lines) == Machine.objects.count() + 1


def test_the_specification_tells_of_each_verb(api: APIClient) -> None:
    answer = api.get("/api/v2/spec", HTTP_ACCEPT="application/json")
    assert answer.status_code == 200
    operations = {operation["operationId"] for item in answer.json()["paths"].values() for operation in item.values()}
    assert {"list_machines", "stop_machine", "add_cloud", "associate_key", "get_job", "list_sizes", "remove_cloud"} <= operations


def test_the_document_is_taken_as_it_was_made_ahead(tmp_path: Path, settings: Any) -> None:
    settings.MIST_HOME = tmp_path
    (tmp_path / "cache").mkdir()
    old = tmp_path / "cache" / "openapi-of-another-start.json"
    old.write_text("{}")
    os.utime(old, (1, 1))
    document.document.cache_clear()
    made = document.document()
    document.make_ahead()
    assert json.loads(document.kept().read_bytes()) == made
    assert not old.exists()
    document.kept().write_text('{"paths": {}}')
    document.document.cache_clear()
    assert document.document() == {"paths": {}}
    document.kept().write_text("half of")
    document.document.cache_clear()
    assert document.document() == made
    document.document.cache_clear()


def test_nobody_is_asked_to_sign_in() -> None:
    assert APIClient().get("/api/v2/machines").status_code == 401


def test_an_address_that_is_none_is_told_to_a_program_in_json(api: APIClient, cloud: Cloud) -> None:
    for path in ("/api/v2/nothing", "/api/v2/machines/x/actions/fly", "/api/v3/machines", "/api"):
        for answer in (api.get(path), api.post(path, {}, format="json")):
            assert answer.status_code == 404
            assert answer.json()["code"] == "not_found"


def test_the_root_names_the_collections_and_each_is_there(api: APIClient, cloud: Cloud) -> None:
    found = api.get("/api/v2/").json()
    assert {"machines", "clouds", "jobs", "events", "spec"} <= found.keys()
    assert api.get("/api/v2").headers["Location"] == "/api/v2/"


def test_a_bulk_with_a_field_nobody_reads_does_nothing(api: APIClient, cloud: Cloud) -> None:
    body = {"kind": "machine", "action": "stop", "search": "state:running", "preview": True}
    answer = api.post("/api/v2/bulk", body, format="json")
    assert answer.status_code == 422
    assert "dry" in answer.json()["fields"]["preview"][0]
    assert not Job.objects.filter(action="machine.stop").exists()


def test_an_edit_with_a_field_nobody_reads_is_refused(api: APIClient, cloud: Cloud) -> None:
    machine = Machine.objects.first()
    answer = api.patch(f"/api/v2/machines/{machine.pk.hex}", {"tags": {"env": "dev"}}, format="json")
    assert answer.status_code == 422
    assert answer.json()["fields"].keys() == {"tags"}


def test_what_is_learned_after_the_machines_is_no_change_of_theirs(actor: Actor, cloud: Cloud) -> None:
    """Sizes may be read after machines: nobody resized anything then."""
    Machine.objects.update(size=None, fingerprint=b"")
    poll_once(Poll.objects.get(kind="machine").pk)
    assert Machine.objects.filter(size__isnull=False).exists()
    assert not Event.objects.filter(type="machine.size.observed").exists()
