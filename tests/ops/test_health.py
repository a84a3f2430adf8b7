"""What operators ask, in the process: each fault is named, and nothing is told to strangers."""

from __future__ import annotations

import time

import pytest
from django.conf import LazySettings
from django.core.cache import cache
from django.test import Client

from core.models import Job
from mist import health

pytestmark = pytest.mark.django_db


@pytest.fixture
def well(settings: LazySettings) -> None:
    for queue in settings.QUEUES:
        health.canary(queue)
    health.report_scheduler(0.1)


def parts(client: Client, status: int) -> dict[str, dict[str, object]]:
    response = client.get("/readyz")
    assert response.status_code == status
    assert response["Cache-Control"] == "no-store"
    found: dict[str, dict[str, object]] = response.json()["parts"]
    return found


def test_it_is_ready_when_every_part_is(client: Client, well: None) -> None:
    assert all(part["ok"] for part in parts(client, 200).values())


def test_a_queue_whose_canary_is_old_is_named(client: Client, well: None) -> None:
    cache.set("canary:poll", time.time() - health.CANARY_STALE_S - 1)
    found = parts(client, 503)
    assert [name for name, part in found.items() if not part["ok"]] == ["queue:poll"]


def test_a_queue_nobody_has_ever_worked_on_is_named(client: Client, well: None) -> None:
    cache.delete("canary:bulk")
    assert parts(client, 503)["queue:bulk"] == {"ok": False, "error": "no worker has answered yet"}


@pytest.mark.parametrize(("age", "lag"), [(health.SCHEDULER_STALE_S + 1, 0.0), (0, health.SCHEDULER_LAG_S + 1.0)])
def test_a_scheduler_that_is_gone_or_late_is_named(client: Client, well: None, age: float, lag: float) -> None:
    cache.set("scheduler", {"at": time.time() - age, "lag_s": lag})
    assert parts(client, 503)["scheduler"]["ok"] is False


def test_a_fault_is_told_by_its_kind_alone(client: Client, well: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ConnectionError("redis://:geheim@host")

    monkeypatch.setattr(health, "_broker", fail)
    assert parts(client, 503)["broker"] == {"ok": False, "error": "ConnectionError"}


def test_figures_are_for_local_callers_or_for_those_who_have_the_token(client: Client, settings: LazySettings) -> None:
    assert client.get("/metrics").status_code == 200
    assert client.get("/metrics", REMOTE_ADDR="203.0.113.9").status_code == 403
    assert client.get("/metrics", headers={"X-Forwarded-For": "127.0.0.1"}).status_code == 403
    settings.MIST_METRICS_TOKEN = "a-token"
    assert client.get("/metrics").status_code == 403
    assert client.get("/metrics", headers={"Authorization": "Bearer wrong"}).status_code == 403
    assert client.get("/metrics", REMOTE_ADDR="203.0.113.9", headers={"Authorization": "Bearer a-token"}).status_code == 200


def test_figures_count_requests_by_route_and_jobs_by_state(client: Client) -> None:
    client.get("/healthz")
    body = client.get("/metrics").content.decode()
    assert 'mist_requests_total{method="GET",route="healthz",status="200"}' in body
    for state in Job.ACTIVE:
        assert f'mist_jobs{{state="{state}"}} 0.0' in body


def test_only_reading_is_answered(client: Client) -> None:
    for path in ("/healthz", "/readyz", "/metrics"):
        assert client.post(path).status_code == 405
