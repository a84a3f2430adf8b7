"""Answered over HTTP, by somebody else, once."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from django.db import connections
from django.test import Client
from rest_framework.test import APIClient

from accounts.models import Membership, Team, Token, User
from core import actions, approvals
from core.actor import Actor
from core.errors import Asked, Denied
from core.models import Event, Job
from keys.models import Key
from machines.models import Machine
from tests.api.approvals.conftest import (
    EVERYTHING,
    PASSWORD,
    approve,
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


def test_a_token_for_approval_approves_and_nothing_else(here: World, asker: APIClient) -> None:
    limits = [{"effect": "allow", "verbs": ["job.read", "job.approve"], "what": {}}]
    other = [{"effect": "allow", "verbs": ["job.read", "machine.stop", "machine.read"], "what": {}}]
    blind = [{"effect": "allow", "verbs": ["job.approve"], "what": {}}]
    job = waits(asker.post(f"{stop(here)}?ask=night"))
    assert refused(approve(person(here, "other@here.org", EVERYTHING, limits=other), job)) == (403, "denied")
    assert approve(person(here, "blind@here.org", EVERYTHING, limits=blind), job).status_code == 404
    able = person(here, "able@here.org", EVERYTHING, limits=limits)
    assert able.post(stop(here, 1)).status_code == 404
    assert refused(able.post(f"/api/v2/jobs/{job.pk.hex}/cancel")) == (403, "denied")
    assert approve(able, job).status_code == 200


def test_another_organizations_people_know_of_nothing(here: World, there: World, asker: APIClient) -> None:
    job = waits(asker.post(f"{stop(here)}?ask=night"))
    stranger = client(there.token)
    assert approve(stranger, job).status_code == 404
    assert stranger.get(f"/api/v2/approvals/{job.pk.hex}").status_code == 404
    found = stranger.get("/api/v2/approvals?search=state:asked").json()["data"]
    assert found == []
    job.refresh_from_db()
    assert job.state == "asked"


def test_ones_own_is_not_ones_own_to_answer(here: World, asker: APIClient) -> None:
    job = waits(asker.post(f"{stop(here)}?ask=night"))
    again = person(here, "asker@here.org")  # another token of the same person
    for api in (asker, again):
        for how in ("approve", "decline"):
            assert refused(api.post(f"/api/v2/approvals/{job.pk.hex}/{how}", {}, format="json")) == (403, "own_request")
    assert again.post(f"/api/v2/jobs/{job.pk.hex}/cancel").status_code == 200


@pytest.mark.parametrize(
    ("asks", "answers", "code"),
    [
        ({"user": "u", "su_by": "root"}, {"user": "root"}, "own_request"),  # asked as u, answered as oneself
        ({"user": "root"}, {"user": "v", "su_by": "root"}, "own_request"),  # asked as oneself, answered as v
        ({"user": "u", "su_by": "root"}, {"user": "v", "su_by": "root"}, "own_request"),
        ({"user": "u", "su_by": "root"}, {"user": "u"}, "own_request"),
        ({"user": "u"}, {"user": "u", "su_by": "root"}, "own_request"),
        ({"user": "u"}, {"user": "v", "su_by": "root"}, "denied"),  # what v says, v says
        ({"user": "u"}, {"user": "root"}, ""),
        ({"user": "u"}, {"user": "v"}, ""),
    ],
)
def test_who_acts_as_somebody_else_approves_nothing(
    here: World, monkeypatch: pytest.MonkeyPatch, asks: dict[str, str], answers: dict[str, str], code: str
) -> None:
    ids = {}
    for name in ("u", "v", "root"):
        person(here, f"{name}@here.org", EVERYTHING)
        ids[name] = User.objects.get(email=f"{name}@here.org").pk
    User.objects.filter(pk=ids["root"]).update(is_superuser=True)

    def actor(who: dict[str, str]) -> Actor:
        return Actor(org_id=here.org.pk, user_id=ids[who["user"]], su_by=ids[who["su_by"]] if "su_by" in who else None)

    with pytest.raises(Asked) as asked:
        actions.perform(replace(actor(asks), ask="x"), running(here)[0], "stop")
    job = asked.value.job
    if not code:
        assert approvals.approve(actor(answers), job).state == "queued"
        return
    for how in (approvals.approve, approvals.decline):
        with pytest.raises(Denied) as denied:
            how(actor(answers), job)
        assert denied.value.code == code
    job.refresh_from_db()
    assert job.state == "asked" and job.answered_by_id is None


def test_an_admin_in_anothers_session_answers_nothing(here: World, asker: APIClient) -> None:
    """The session's own way, through /auth/su."""
    root = User.objects.create_superuser("root@here.org", PASSWORD)
    Membership.objects.create(org=here.org, user=root)
    job = waits(asker.post(f"{stop(here)}?ask=night"))
    browser = Client()
    browser.force_login(root, "allauth.account.auth_backends.AuthenticationBackend")
    headers = {"HTTP_X_ORG": here.org.pk.hex, "content_type": "application/json"}
    assert browser.post("/api/v2/auth/su", {"user": here.user.email}, **headers).status_code == 200
    answer = browser.post(f"/api/v2/approvals/{job.pk.hex}/approve", {}, **headers)
    assert (answer.status_code, answer.json()["detail"]) == (
        403,
        "You act as somebody else here, whose yes or no is not yours to give. Answer as yourself.",
    )


@pytest.mark.parametrize("note", [{"note": "x" * 501}, {"note": "a\x00b"}, {"note": 5, "more": 1}, {"note": ["a"]}])
def test_a_note_is_text_of_some_length(here: World, asker: APIClient, owner: APIClient, note: dict[str, Any]) -> None:
    job = waits(asker.post(f"{stop(here)}?ask=night"))
    assert approve(owner, job, **note).status_code == 422
    job.refresh_from_db()
    assert job.state == "asked"


def test_who_lost_the_right_meanwhile_does_nothing(here: World, asker: APIClient, owner: APIClient) -> None:
    first, second = waits(asker.post(f"{stop(here)}?ask=night")), waits(asker.post(f"{stop(here, 1)}?ask=night"))
    Team.objects.filter(name="of asker@here.org").update(statements=[EVERYTHING, {"effect": "deny", "verbs": ["machine.stop"], "what": {}}])
    approve(owner, first)
    run_waiting()
    Membership.objects.filter(user__email="asker@here.org").delete()
    approve(owner, second)
    run_waiting()
    first.refresh_from_db(), second.refresh_from_db()
    assert [(job.state, job.error_code) for job in (first, second)] == [("failed", "denied"), ("failed", "actor_gone")]
    assert set(Machine.objects.filter(pk__in=[first.target_id, second.target_id]).values_list("state", flat=True)) == {"running"}


def test_a_revoked_token_has_asked_for_nothing(here: World, asker: APIClient, owner: APIClient) -> None:
    job = waits(asker.post(f"{stop(here)}?ask=night"))
    Token.objects.filter(owner__email="asker@here.org").delete()
    approve(owner, job)
    run_waiting()
    job.refresh_from_db()
    assert (job.state, job.error_code) == ("failed", "token_gone")


def test_a_target_that_is_gone_or_changed_ends_the_job_with_the_reason(here: World, asker: APIClient, owner: APIClient) -> None:
    gone, changed = waits(asker.delete(f"/api/v2/keys/{here.rows['key'].pk.hex}?ask=x")), waits(asker.post(f"{stop(here)}?ask=x"))
    Key.objects.filter(pk=here.rows["key"].pk).delete()
    Machine.objects.filter(pk=changed.target_id).update(state="rebooting")
    approve(owner, gone), approve(owner, changed)
    run_waiting()
    gone.refresh_from_db(), changed.refresh_from_db()
    assert (gone.state, gone.error_code) == ("failed", "target_gone")
    assert changed.state == "failed" and "rebooting" in changed.error_detail


def test_while_something_else_is_done_to_it_nobody_approves(here: World, asker: APIClient, owner: APIClient) -> None:
    path = stop(here)
    job = waits(asker.post(f"{path}?ask=night"))
    busy = Job.objects.get(pk=owner.post(path.replace("stop", "reboot")).json()["data"]["jobId"])
    assert refused(approve(owner, job)) == (409, "busy")
    job.refresh_from_db()
    assert (job.state, job.approved_at, job.answered_by_id, job.answer) == ("asked", None, None, "")
    assert not Event.objects.filter(job_id=job.pk, type__endswith=".approved").exists()
    Job.objects.filter(pk=busy.pk).update(state="succeeded")
    assert approve(owner, job).status_code == 200


def test_an_inline_act_that_has_become_impossible_says_why(here: World, asker: APIClient, owner: APIClient) -> None:
    team = here.rows["team"]
    job = waits(asker.put(f"/api/v2/teams/{team.pk.hex}?ask=x", {"name": "Taken"}, format="json"))
    Team.objects.create(org=here.org, name="Taken")
    approve(owner, job)
    run_waiting()
    job.refresh_from_db()
    assert (job.state, job.error_code, job.result) == ("failed", "name_taken", None)
    told = Event.objects.get(job_id=job.pk, type="team.edit.failed")
    assert told.before is None and told.after is None, "nothing was changed"


def test_an_approved_act_moves_nothing_into_the_askers_reach(here: World, owner: APIClient) -> None:
    asker = person(
        here,
        "asker@here.org",
        {"effect": "allow", "verbs": ["machine.read", "machine.tag"], "what": {}},
        {"effect": "allow", "verbs": ["machine.destroy"], "what": {"tags": {"env": "dev"}}},
        {"effect": "ask", "verbs": ["machine.tag"], "what": {}},
    )
    machine = running(here)[0]
    before = machine.tags
    assert before.get("env") != "dev"
    job = waits(asker.post(f"/api/v2/machines/{machine.pk.hex}/actions/tag?ask=x", {"tags": {"env": "dev"}}, format="json"))
    approve(owner, job)
    run_waiting()
    job.refresh_from_db()
    machine.refresh_from_db()
    assert (job.state, job.error_code, machine.tags) == ("failed", "into_reach", before)
    told = Event.objects.get(job_id=job.pk, type="machine.tag.failed")
    assert told.before is None and told.after is None, "it was rolled back"


def test_nobody_tags_their_way_around_asking(here: World) -> None:
    machine = running(here)[0]
    Machine.objects.filter(pk=machine.pk).update(tags={"env": "prod"})
    asker = person(here, "asker@here.org", EVERYTHING, {"effect": "ask", "verbs": ["machine.destroy"], "what": {"tags": {"env": "prod"}}})
    path = f"/api/v2/machines/{machine.pk.hex}/actions"
    assert refused(asker.post(f"{path}/destroy")) == (403, "approval_required")
    assert refused(asker.post(f"{path}/tag", {"remove": ["env"]}, format="json")) == (403, "into_reach")
    assert asker.post(f"{path}/tag", {"tags": {"note": "harmless"}}, format="json").status_code == 200
    machine.refresh_from_db()
    assert machine.tags == {"env": "prod", "note": "harmless"}


def test_who_would_have_to_ask_is_explained(here: World, asker: APIClient, owner: APIClient) -> None:
    which = f"verb=machine.stop&id={running(here)[0].pk.hex}"
    told = asker.get(f"/api/v2/policies/explain?{which}").json()["data"]
    assert told["allowed"] is True and told["needs"] == "Statement 2 of team of asker@here.org asks for approval."
    assert owner.get(f"/api/v2/policies/explain?{which}").json()["data"]["needs"] == ""
    able = {one["user"]: bool(one["needs"]) for one in owner.get(f"/api/v2/policies/who?{which}").json()["data"]}
    assert able == {"asker@here.org": True, here.user.email: False}


# --- on record --------------------------------------------------------------------------------------------------------


def test_who_may_see_the_target_sees_who_asked_and_who_answered(here: World, there: World, asker: APIClient, owner: APIClient) -> None:
    yes, no = waits(asker.post(f"{stop(here)}?ask=night")), waits(asker.post(f"{stop(here, 1)}?ask=night"))
    approve(owner, yes, note="fine")
    owner.post(f"/api/v2/approvals/{no.pk.hex}/decline", {"note": "no"}, format="json")
    reader = person(here, "reader@here.org", {"effect": "allow", "verbs": ["machine.read"], "what": {"ids": [yes.target_id.hex]}})

    def found(api: APIClient, outcome: str) -> list[tuple[str, str]]:
        rows = api.get(f"/api/v2/events?search=outcome:{outcome}").json()["data"]
        return [(row["type"], row["job"]) for row in rows]

    assert found(reader, "approved") == [("machine.stop.approved", yes.pk.hex)]
    assert found(reader, "asked") == [("machine.stop.asked", yes.pk.hex)]
    assert found(reader, "declined") == []
    assert found(owner, "declined") == [("machine.stop.declined", no.pk.hex)]
    assert found(client(there.token), "approved") == []
    assert Event.objects.get(job_id=yes.pk, type="machine.stop.asked").detail["ask"] == "night"
    told = Event.objects.get(job_id=yes.pk, type="machine.stop.approved")
    assert told.actor_id == here.user.pk and told.detail["note"] == "fine"
    facets = owner.get("/api/v2/events/facets?search=outcome:approved").json()["data"]
    assert "approved" in str(facets)


# --- at once ----------------------------------------------------------------------------------------------------------


def at_once(*calls: Callable[[], Any]) -> list[tuple[int, str]]:
    def one(call: Callable[[], Any]) -> tuple[int, str]:
        try:
            return refused(call())
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(calls)) as pool:
        return sorted(pool.map(one, calls))


@pytest.mark.django_db(transaction=True)
def test_two_who_approve_at_once_have_it_done_once(here: World, asker: APIClient, owner: APIClient) -> None:
    other = person(here, "other@here.org", EVERYTHING)
    for at in range(3):
        job = waits(asker.post(f"{stop(here, at)}?ask=night"))
        answers = at_once(lambda: approve(owner, job), lambda: approve(other, job), lambda: approve(owner, job))  # noqa: B023
        assert answers == [(200, ""), (409, "not_asked"), (409, "not_asked")]
        assert Event.objects.filter(job_id=job.pk, type="machine.stop.approved").count() == 1
        run_waiting()
        assert Event.objects.filter(job_id=job.pk, type="machine.stop.succeeded").count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_yes_a_no_and_a_withdrawal_at_once_are_one_of_them(here: World, asker: APIClient, owner: APIClient) -> None:
    for at in range(4):
        job = waits(asker.post(f"{stop(here, at)}?ask=night"))
        at_once(
            lambda: approve(owner, job),  # noqa: B023
            lambda: asker.post(f"/api/v2/jobs/{job.pk.hex}/cancel"),  # noqa: B023
            lambda: owner.post(f"/api/v2/approvals/{job.pk.hex}/decline", {}, format="json"),  # noqa: B023
        )
        run_waiting()
        job.refresh_from_db()
        ends = list(Event.objects.filter(job_id=job.pk).exclude(type__endswith=".asked").order_by("at").values_list("type", flat=True))
        done = [one.rpartition(".")[2] for one in ends]
        assert done in (["approved", "succeeded"], ["approved", "cancelled"], ["cancelled"], ["declined", "cancelled"]), done
        assert (job.state == "succeeded") == ("succeeded" in done)
        machine = Machine.objects.get(pk=job.target_id)
        assert (machine.state == "running") == (job.state != "succeeded")
