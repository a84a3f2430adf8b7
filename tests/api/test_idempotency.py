"""`Idempotency-Key`: once is once, whatever happens in between; and what is kept of it gives nothing away."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, connections
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.models import Token
from clouds.models import Cloud
from core.api import idempotency, rate
from core.errors import TooMany
from core.models import Event, IdempotencyKey, Job
from keys.models import Key
from machines.actions.power import Stop
from tests.api.test_matrix import client
from tests.api.world import World

pytestmark = pytest.mark.django_db
KEY = {"HTTP_IDEMPOTENCY_KEY": "one"}


def browser(world: World) -> APIClient:
    """Somebody signed in: tokens are made by people."""
    made = APIClient()
    made.force_login(world.user)
    return made


def stop_path(world: World) -> str:
    return f"/api/v2/machines/{world.rows['machine'].pk.hex}/actions/stop"


def test_the_first_answer_comes_again(here: World) -> None:
    api = client(here.token)
    first, second = api.post(stop_path(here), **KEY), api.post(stop_path(here), **KEY)
    assert first.status_code == second.status_code == 200
    assert first.json() == second.json()
    assert second["Idempotent-Replayed"] == "true"
    assert Job.objects.filter(action="machine.stop", target_id=here.rows["machine"].pk).count() == 1


def test_another_body_path_or_method_with_the_same_key_is_422(here: World) -> None:
    api = client(here.token)
    assert api.post(stop_path(here), **KEY).status_code == 200
    others = [
        api.post(stop_path(here), {"undo_s": 1}, format="json", **KEY),
        api.post(stop_path(here).replace("stop", "reboot"), **KEY),
        api.patch(f"/api/v2/machines/{here.rows['machine'].pk.hex}", **KEY),
    ]
    assert {(answer.status_code, answer.json()["code"]) for answer in others} == {(422, "idempotency_key_reused")}


def test_a_key_is_its_tokens_own(here: World, there: World) -> None:
    assert client(here.token).post(stop_path(here), **KEY).status_code == 200
    assert client(there.token).post(stop_path(there), **KEY).status_code == 200


def test_after_a_refusal_the_key_may_come_with_a_better_body(here: World) -> None:
    api, path = client(here.token), "/api/v2/teams"
    assert api.post(path, {"name": ""}, format="json", **KEY).status_code == 422
    assert api.post(path, {"name": "better"}, format="json", **KEY).status_code == 200


def test_after_a_day_the_key_is_new(here: World) -> None:
    api = client(here.token)
    api.post(stop_path(here), **KEY)
    IdempotencyKey.objects.update(created_at=timezone.now() - idempotency.KEPT - timedelta(seconds=1))
    assert api.post(stop_path(here), **KEY).json()["code"] == "busy"


@pytest.mark.parametrize("key", ["x" * 201, "tab\there", "ü\u0301\u202e"])
def test_a_key_that_is_none_is_400(here: World, key: str) -> None:
    answer = client(here.token).post(stop_path(here), HTTP_IDEMPOTENCY_KEY=key)
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_idempotency_key")


def test_neither_secrets_sent_nor_secrets_shown_are_kept_in_clear(here: World) -> None:
    api = browser(here)
    made = api.post("/api/v2/auth/tokens", {"name": "ci"}, format="json", **KEY).json()["data"]
    again = api.post("/api/v2/auth/tokens", {"name": "ci"}, format="json", **KEY).json()["data"]
    assert made["token"] == again["token"]
    assert Token.objects.filter(org=here.org, name="ci").count() == 1
    sent = {"name": "c", "provider": "demo", "credentials": {"machines": 0, "seed": 424242, "latency_ms": 0}}
    assert api.post("/api/v2/clouds", sent, format="json", HTTP_IDEMPOTENCY_KEY="two").status_code == 200
    pair = api.post("/api/v2/keys", {"generate": True, "dry": True}, format="json", HTTP_IDEMPOTENCY_KEY="three")
    assert "PRIVATE KEY" in pair.json()["data"]["private"]
    assert pair["Cache-Control"] == "no-store"
    replayed = api.post("/api/v2/keys", {"generate": True, "dry": True}, format="json", HTTP_IDEMPOTENCY_KEY="three")
    assert replayed.json() == pair.json()
    assert replayed["Cache-Control"] == "no-store"
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT string_agg(row_to_json(k)::text || convert_from(coalesce(answer, ''), 'UTF8'), ' ') FROM core_idempotencykey k"
        )
        kept = cursor.fetchone()[0]
    for secret in (made["token"], "PRIVATE", "424242", pair.json()["data"]["public"]):
        assert secret not in kept
    assert not Key.objects.filter(org=here.org, name="").exists()


def test_a_kept_answer_moved_to_another_key_does_not_open(here: World) -> None:
    api = browser(here)
    api.post("/api/v2/auth/tokens", {"name": "ci"}, format="json", **KEY)
    api.post(stop_path(here), HTTP_IDEMPOTENCY_KEY="two")
    IdempotencyKey.objects.filter(key="two").update(answer=IdempotencyKey.objects.get(key="one").answer)
    assert api.post(stop_path(here), HTTP_IDEMPOTENCY_KEY="two").json()["code"] == "idempotency_answer_lost"


# --- deaths and races -------------------------------------------------------------------------------------------------


class Died(BaseException):
    """The process is killed here: nothing after this line runs."""


def test_who_died_before_acting_blocks_nobody(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    api = client(here.token)

    def die(*_: Any) -> None:
        raise Died

    with monkeypatch.context() as patched:
        patched.setattr(Stop, "check", die)
        with pytest.raises(Died):
            api.post(stop_path(here), **KEY)
    assert IdempotencyKey.objects.get().status is None
    assert api.post(stop_path(here), **KEY).status_code == 200
    assert Job.objects.filter(action="machine.stop", target_id=here.rows["machine"].pk).count() == 1


def test_who_died_after_acting_has_acted_once(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    api = client(here.token)

    def die(*_: Any) -> None:
        raise Died

    with monkeypatch.context() as patched:
        patched.setattr(idempotency, "_keep", die)
        with pytest.raises(Died):
            api.post(stop_path(here), **KEY)
    job = Job.objects.get(action="machine.stop", target_id=here.rows["machine"].pk)
    answer = api.post(stop_path(here), **KEY)
    assert (answer.status_code, answer.json()["data"]["jobId"]) == (200, job.pk.hex)
    assert api.post(stop_path(here), **KEY)["Idempotent-Replayed"] == "true"
    assert Job.objects.filter(action="machine.stop", target_id=here.rows["machine"].pk).count() == 1


@pytest.mark.django_db(transaction=True)
def test_two_at_the_same_time_act_once(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    inside, go_on = threading.Event(), threading.Event()
    real = Cloud.save

    def slow(self: Cloud, *args: Any, **kwargs: Any) -> None:
        inside.set()
        assert go_on.wait(20)
        real(self, *args, **kwargs)

    monkeypatch.setattr(Cloud, "save", slow)
    path, body = f"/api/v2/clouds/{here.rows['cloud'].pk.hex}", {"name": "renamed"}

    def patch() -> Any:
        try:
            return client(here.token).patch(path, body, format="json", **KEY)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(patch)
        assert inside.wait(20)
        second = client(here.token).patch(path, body, format="json", **KEY)
        go_on.set()
        answer = first.result()
    assert (second.status_code, second.json()["code"]) == (409, "idempotency_in_progress")
    assert answer.status_code == 200
    assert client(here.token).patch(path, body, format="json", **KEY).json() == answer.json()
    assert Event.objects.filter(type="cloud.edit.succeeded").count() == 1


# --- how often one may ask --------------------------------------------------------------------------------------------


def test_who_asks_too_often_is_told_when_to_come_again(here: World, there: World, settings: Any) -> None:
    settings.MIST_API_PER_MINUTE = 3
    api = client(here.token)
    answers = [api.get("/api/v2/jobs") for _ in range(5)]
    if {answer.status_code for answer in answers} == {200}:  # the minute turned in between
        answers = [api.get("/api/v2/jobs") for _ in range(5)]
    late = answers[-1]
    assert (late.status_code, late.json()["code"]) == (429, "too_many_requests")
    assert 0 < int(late["Retry-After"]) <= rate.WINDOW_S + 1
    assert client(there.token).get("/api/v2/jobs").status_code == 200


def test_the_next_minute_is_a_new_one(here: World, settings: Any) -> None:
    settings.MIST_API_PER_MINUTE = 2
    rate.check(here.actor, lambda: 60.0)
    rate.check(here.actor, lambda: 119.0)
    with pytest.raises(TooMany) as caught:
        rate.check(here.actor, lambda: 119.5)
    assert caught.value.retry_after_s == 0.5
    rate.check(here.actor, lambda: 120.0)


def test_without_valkey_nobody_is_counted(here: World, settings: Any) -> None:
    settings.MIST_API_PER_MINUTE = 1
    settings.MIST_REDIS_URL = "unix:///nowhere/at/all.sock"
    for _ in range(3):
        assert APIClient(HTTP_AUTHORIZATION=f"Bearer {here.token}").get("/api/v2/jobs").status_code == 200
