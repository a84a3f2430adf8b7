"""Asked for with `ask` over HTTP: it waits; and what is asked in vain is told why."""

from __future__ import annotations

from typing import Any

import pytest
from rest_framework.test import APIClient

from accounts.models import Membership
from core import actions
from core.models import Event, Job
from keys.models import Key
from machines.models import Machine
from tests.api.approvals.conftest import (
    CONSOLE_ALONE,
    EVERYTHING,
    WITHIN,
    approve,
    creation,
    person,
    refused,
    running,
    stop,
    waits,
)
from tests.api.test_matrix import client
from tests.api.world import World
from tests.core.test_doors import run_waiting

pytestmark = pytest.mark.django_db


def test_every_act_that_can_wait_can_be_asked_for(spec: Any) -> None:
    found, loose = set(), set()
    for methods in spec["paths"].values():
        for operation in methods.values():
            if any(one["name"] == "ask" for one in operation.get("parameters", [])):
                assert "202" in operation["responses"]
                found.add(operation.get("x-verb"))
                loose.add(operation["operationId"])
    able = {verb for verb, action in actions.all_actions().items() if not actions.cannot_wait(action)}
    assert able - found == CONSOLE_ALONE | WITHIN
    assert found - able == {None}
    assert {"update_org", "remove_member", "delete_token", "set_policy", "retry_job", "retry_run", "bulk"} <= loose


def test_a_verb_is_refused_and_waits_where_it_is_asked_for(here: World, asker: APIClient, owner: APIClient) -> None:
    path = stop(here)
    answer = asker.post(path)
    assert refused(answer) == (403, "approval_required") and "send `ask`" in answer.json()["detail"]
    job = waits(asker.post(f"{path}?ask=it+is+broken"))
    told = asker.get(f"/api/v2/approvals/{job.pk.hex}").json()["data"]
    assert (told["ask"], told["state"], told["answer"]) == ("it is broken", "asked", "")
    assert "asks for approval" in told["needs"] and told["open_until"] and told["answered_by"] is None
    answer = approve(owner, job, note="go on")
    assert (answer.status_code, answer.json()["data"]["state"]) == (200, "queued")
    run_waiting()
    told = asker.get(f"/api/v2/approvals/{job.pk.hex}").json()["data"]
    assert (told["state"], told["answer"], told["answered_by"]) == ("succeeded", "go on", str(here.user))


def test_a_create_waits_with_its_row(here: World, asker: APIClient, owner: APIClient) -> None:
    assert refused(asker.post("/api/v2/machines", creation(here, "new-0"), format="json")) == (403, "approval_required")
    no = waits(asker.post("/api/v2/machines?ask=for+the+shop", creation(here, "new-1"), format="json"))
    yes = waits(asker.post("/api/v2/machines?ask=for+the+shop", creation(here, "new-2"), format="json"))
    assert set(Machine.objects.filter(name__startswith="new-").values_list("name", "state")) == {
        ("new-1", "creating"),
        ("new-2", "creating"),
    }
    run_waiting()
    assert owner.post(f"/api/v2/approvals/{no.pk.hex}/decline", {"note": "too dear"}, format="json").status_code == 200
    assert not Machine.objects.filter(name="new-1").exists()
    no.refresh_from_db()
    assert (no.state, no.error_code, no.error_detail) == ("cancelled", "declined", "It was not approved: too dear")
    assert approve(owner, yes).status_code == 200
    Job.objects.filter(pk=yes.pk, state="waiting").update(state="queued")
    run_waiting()
    yes.refresh_from_db()
    assert (yes.state, yes.error_detail) == ("succeeded", "")
    assert Machine.objects.get(name="new-2").state != "creating"


def test_several_new_ones_wait_as_one(here: World, asker: APIClient, owner: APIClient) -> None:
    job = waits(asker.post("/api/v2/machines?ask=for+the+shop", creation(here, "many-{n}", quantity=2), format="json"))
    assert (job.total, job.target_id) == (2, None) and "asks for approval" in job.needs
    assert not Machine.objects.filter(name__startswith="many-").exists()
    assert approve(owner, job).status_code == 200
    run_waiting()
    assert set(Machine.objects.filter(name__startswith="many-").values_list("name", flat=True)) == {"many-1", "many-2"}


def test_edits_and_deletes_wait_and_change_nothing_yet(here: World, asker: APIClient, owner: APIClient) -> None:
    team, key = here.rows["team"], here.rows["key"]
    edit = waits(asker.put(f"/api/v2/teams/{team.pk.hex}?ask=a+better+name", {"name": "Better"}, format="json"))
    delete = waits(asker.delete(f"/api/v2/keys/{key.pk.hex}?ask=not+in+use"))
    policy = waits(owner.put(f"/api/v2/policies/{team.pk.hex}?ask=they+need+it", {"statements": [EVERYTHING]}, format="json"))
    run_waiting()
    team.refresh_from_db()
    assert (team.name, team.statements) == ("here-team", []) and Key.objects.filter(pk=key.pk).exists()
    for job in (edit, delete):
        assert approve(owner, job).status_code == 200
        run_waiting()
        job.refresh_from_db()
        assert (job.state, job.error_detail) == ("succeeded", "")
    team.refresh_from_db()
    assert team.name == "Better" and not Key.objects.filter(pk=key.pk).exists()
    policy.refresh_from_db()
    assert policy.state == "asked"


def test_a_member_waits_to_be_removed(here: World, owner: APIClient) -> None:
    asker = person(here, "asker@here.org", EVERYTHING, {"effect": "ask", "verbs": ["member.remove"], "what": {}})
    person(here, "leaver@here.org", EVERYTHING)
    path = f"/api/v2/orgs/{here.org.pk.hex}/members/leaver@here.org"
    assert refused(asker.delete(path)) == (403, "approval_required")
    job = waits(asker.delete(f"{path}?ask=left+us"))
    assert Membership.objects.filter(user__email="leaver@here.org").exists()
    approve(owner, job)
    run_waiting()
    assert not Membership.objects.filter(user__email="leaver@here.org").exists()


def test_many_wait_as_one_and_are_done_as_one(here: World, asker: APIClient, owner: APIClient) -> None:
    ids = [one.pk.hex for one in running(here)[:3]]
    body = {"kind": "machine", "action": "stop", "ids": ids}
    job = waits(asker.post("/api/v2/bulk?ask=night", body, format="json"))
    dry = asker.post("/api/v2/bulk?ask=night", {**body, "dry": True}, format="json").json()["data"]
    assert (dry["able"], dry["reasons"]) == (3, {}), "each can be asked for"
    dry = asker.post("/api/v2/bulk", {**body, "dry": True}, format="json")
    assert dry.status_code == 200 and dry.json()["data"]["able"] == 0 and "It needs approval." in dry.json()["data"]["reasons"]
    approve(owner, job)
    run_waiting()
    run_waiting()
    assert set(job.children.values_list("state", flat=True)) == {"succeeded"}
    assert Event.objects.get(job_id=job.pk, type="machine.stop.bulk.asked").detail["ask"] == "night"
    told = set(Event.objects.filter(job_id=job.pk).values_list("type", flat=True))
    assert {"machine.stop.bulk.asked", "machine.stop.bulk.approved"} <= told


def test_what_ends_a_bulk_that_waits_is_on_record(here: World, asker: APIClient, owner: APIClient) -> None:
    body = {"kind": "machine", "action": "stop", "ids": [one.pk.hex for one in running(here)[:2]]}
    one, two = (waits(asker.post("/api/v2/bulk?ask=night", body, format="json")) for _ in range(2))
    assert asker.post(f"/api/v2/jobs/{one.pk.hex}/cancel").json()["data"]["state"] == "cancelled"
    owner.post(f"/api/v2/approvals/{two.pk.hex}/decline", {}, format="json")
    assert Event.objects.filter(job_id=one.pk, type="machine.stop.bulk.cancelled").count() == 1
    assert Event.objects.get(job_id=two.pk, type="machine.stop.bulk.cancelled").detail["code"] == "declined"
    assert Event.objects.filter(job_id=two.pk, type="machine.stop.bulk.declined").count() == 1


def test_the_same_again_may_be_asked_for_as_well(here: World, asker: APIClient, owner: APIClient) -> None:
    job = waits(asker.post(f"{stop(here)}?ask=night"))
    owner.post(f"/api/v2/approvals/{job.pk.hex}/decline", {}, format="json")
    path = f"/api/v2/jobs/{job.pk.hex}/retry"
    assert refused(asker.post(path)) == (403, "approval_required")
    assert waits(asker.post(f"{path}?ask=please")).retry_of_id == job.pk


@pytest.mark.parametrize("said", ["", "%20", "x" * 501, "a%00b", "a%1b[2Jb", "a%0d%0aBcc:%20x"])
def test_what_for_is_text_of_some_length(here: World, asker: APIClient, said: str) -> None:
    assert refused(asker.post(f"{stop(here)}?ask={said}")) == (400, "bad_parameter")
    assert not Job.objects.filter(ask__gt="").exists()


def test_what_for_is_kept_as_it_was_said(here: World, asker: APIClient) -> None:
    job = waits(asker.post(f"{stop(here)}?ask=%3Cscript%3Ealert(1)%3C/script%3E%20%E2%80%9Cü%0Aline"))
    assert asker.get(f"/api/v2/approvals/{job.pk.hex}").json()["data"]["ask"] == "<script>alert(1)</script> “ü\nline"


def test_where_it_makes_no_sense_it_is_refused(here: World, asker: APIClient) -> None:
    machine, job = running(here)[0].pk.hex, waits(asker.post(f"{stop(here)}?ask=x"))
    assert refused(asker.post(f"/api/v2/machines/{machine}/actions/ssh?ask=x")) == (400, "unknown_parameter")
    key, secret = here.rows["key"].pk.hex, here.rows["secret"].pk.hex
    assert refused(asker.get(f"/api/v2/machines/{machine}?ask=x")) == (400, "unknown_parameter")
    assert refused(asker.get("/api/v2/machines?ask=x")) == (400, "unknown_parameter")
    assert refused(asker.post(f"/api/v2/jobs/{job.pk.hex}/cancel?ask=x")) == (400, "unknown_parameter")
    assert refused(asker.post(f"/api/v2/approvals/{job.pk.hex}/approve?ask=x")) == (400, "unknown_parameter")
    for path, body in (
        (f"keys/{key}/actions/export", {}),
        (f"secrets/{secret}/actions/read-value", {}),
        ("keys", {"name": "n", "generate": True}),
        ("clouds", {"name": "n", "provider": "demo", "credentials": {"machines": 1, "seed": 1}}),
        (f"clouds/{here.rows['cloud'].pk.hex}/actions/rotate", {"credentials": {"machines": 424242}}),
    ):
        assert refused(asker.post(f"/api/v2/{path}?ask=x", body, format="json")) == (422, "cannot_wait"), path
    bulk = {"kind": "machine", "action": "shell", "ids": [machine]}
    assert asker.post("/api/v2/bulk?ask=x", bulk, format="json").status_code == 422
    rotate = {"kind": "cloud", "action": "rotate", "ids": [here.rows["cloud"].pk.hex], "params": {"credentials": {"machines": 424242}}}
    assert asker.post("/api/v2/bulk?ask=x", rotate, format="json").status_code == 422
    assert "424242" not in "".join(map(str, Job.objects.values_list("params", "selector")))
    assert Job.objects.filter(state="asked").count() == 1


def test_what_needs_approval_and_cannot_wait_is_told_so_at_once(here: World) -> None:
    asker = person(here, "asker@here.org", EVERYTHING, {"effect": "ask", "verbs": ["*"], "what": {}})
    answer = asker.post(f"/api/v2/machines/{running(here)[0].pk.hex}/actions/ssh", {}, format="json")
    assert refused(answer) == (403, "approval_required")
    assert "cannot wait" in answer.json()["detail"] and "send `ask`" not in answer.json()["detail"]


def test_what_needs_no_approval_waits_too_where_it_is_asked_for(here: World, asker: APIClient) -> None:
    job = waits(asker.post(f"/api/v2/machines/{running(here)[0].pk.hex}/actions/reboot?ask=are+you+sure"))
    assert job.needs == ""


def test_the_same_key_asks_once(here: World, asker: APIClient) -> None:
    path, key = f"{stop(here)}?ask=night", {"HTTP_IDEMPOTENCY_KEY": "one"}
    first, second = asker.post(path, **key), asker.post(path, **key)
    assert waits(first) == waits(second) and first.json() == second.json()
    assert second["Idempotent-Replayed"] == "true"
    other = asker.post(path.replace("night", "day"), **key)
    assert refused(other) == (422, "idempotency_key_reused")


def test_who_died_once_it_was_asked_for_is_answered_that_it_waits(here: World, asker: APIClient, monkeypatch: pytest.MonkeyPatch) -> None:
    class Died(BaseException):
        pass

    def die(*_: Any) -> None:
        raise Died

    path, key = f"{stop(here)}?ask=night", {"HTTP_IDEMPOTENCY_KEY": "one"}
    with monkeypatch.context() as patched:
        patched.setattr("core.api.idempotency._keep", die)
        with pytest.raises(Died):
            asker.post(path, **key)
    waits(asker.post(path, **key))
    assert Job.objects.filter(state="asked").count() == 1


def test_a_read_only_token_neither_asks_nor_answers(here: World, asker: APIClient) -> None:
    job = waits(asker.post(f"{stop(here)}?ask=night"))
    reader = person(here, "reader@here.org", EVERYTHING, scope="read")
    assert refused(reader.post(f"{stop(here, 1)}?ask=night")) == (403, "read_only_token")
    assert refused(approve(reader, job)) == (403, "read_only_token")


def test_who_may_not_do_it_may_not_ask_for_it(here: World, there: World) -> None:
    reader = person(here, "reader@here.org", {"effect": "allow", "verbs": ["*.read"], "what": {}})
    assert refused(reader.post(f"{stop(here)}?ask=night")) == (403, "denied")
    assert client(there.token).post(f"{stop(here)}?ask=night").status_code == 404
