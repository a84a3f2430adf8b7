"""Runs over the API: the contract's call, hosts, groups, output, following, who may."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.models import Team, Token
from core import approvals
from core.actions import perform
from core.actor import Actor
from core.errors import ApprovalNeeded, Asked, Denied, Invalid
from core.models import Event, Job
from machines.models import Machine
from scripts import content, run_api
from scripts.models import Run, ScriptVersion
from tests.lab.sshd import Sshd
from tests.scripts.conftest import HELLO, Place, client_of, finish, make_place, said

pytestmark = pytest.mark.django_db


def test_the_contracts_run_and_what_comes_of_it(place: Place, api: APIClient, sshd: Sshd) -> None:
    (machine,) = place.behind(sshd, "web-1")
    script = place.script('#!/bin/sh\necho "$1 $COLOUR"\n')
    body = {"machine": machine.pk.hex, "params": "one two", "su": False, "env": "COLOUR=red"}
    answer = api.post(f"/api/v2/scripts/{script.pk.hex}", body, format="json").json()["data"]
    job = api.get(f"/api/v2/jobs/{answer['jobId']}").json()["data"]
    assert job["stream_uri"] == f"http://testserver/api/v2/runs/{answer['jobId']}/stream"
    finish(Job.objects.get(pk=answer["jobId"]))
    assert api.get(f"/api/v2/jobs/{answer['jobId']}").json()["data"]["stream_uri"] is None
    run = api.get(f"/api/v2/runs/{answer['jobId']}").json()["data"]
    assert (run["state"], run["counts"], run["arguments"], run["environment"]) == (
        "succeeded",
        {"succeeded": 1},
        ["one", "two"],
        {"COLOUR": "red"},
    )
    (host,) = api.get(f"/api/v2/runs/{run['id']}/hosts").json()["data"]
    got = api.get(f"/api/v2/runs/{run['id']}/hosts/web-1/output").json()["data"]
    assert [s["text"] for s in got["segments"]] == ["one red\n"]
    tail = api.get(f"/api/v2/runs/{run['id']}/hosts/{host['id']}/output?tail=4").json()["data"]
    assert (tail["start"], tail["segments"][0]["text"]) == (4, "red\n")
    found = api.get(f"/api/v2/runs/{run['id']}/find?text=RED").json()["data"]
    assert (found["complete"], found["lines"][0]["line"], found["lines"][0]["name"]) == (True, "one red", "web-1")
    assert api.get("/api/v2/runs?search=state:succeeded").json()["meta"]["total"] == 1


def test_equal_output_is_one_group(place: Place, api: APIClient, sshd: Sshd) -> None:
    machines = place.behind(sshd, *(f"m{n}" for n in range(6)))
    script = place.script('#!/bin/sh\n[ "$MIST" = x ]||true\nmkdir "$D" 2>/dev/null && exit 4\necho fine $$ >/dev/null\necho fine\n')
    run = place.run(script, machines, env={"D": f"{sshd.directory}/one"}, concurrency=1)
    groups = api.get(f"/api/v2/runs/{run.pk.hex}/groups").json()["data"]
    assert [(g["count"], g["state"], g["exit"], g["last_line"]) for g in groups] == [(5, "succeeded", 0, "fine"), (1, "failed", 4, "")]
    again = api.post(f"/api/v2/runs/{run.pk.hex}/retry").json()["data"]
    finish(Job.objects.get(pk=again["jobId"]))
    assert (Run.objects.get(pk=again["jobId"]).total, Run.objects.get(pk=again["jobId"]).state) == (1, "succeeded")
    assert api.post(f"/api/v2/runs/{again['jobId']}/retry").status_code == 409


@pytest.mark.django_db(transaction=True)
def test_a_stream_replays_from_the_beginning_and_ends_with_the_run(place: Place, api: APIClient, sshd: Sshd) -> None:
    run = place.run(place.script(), place.behind(sshd, "a", "b"))
    response: Any = api.get(f"/api/v2/runs/{run.pk.hex}/stream")

    async def whole() -> bytes:
        return b"".join([piece async for piece in response.streaming_content])

    lines = [json.loads(line) for line in async_to_sync(whole)().splitlines()]
    assert sorted((line["host"], line["text"]) for line in lines[:-1]) == [("a", "hello\n"), ("b", "hello\n")]
    assert lines[-1] == {"end": "succeeded", "counts": {"succeeded": 2}}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("loses", ["the token", "the right", "nothing"])
def test_a_stream_breaks_off_when_who_asked_may_look_no_more(
    place: Place, member: Callable[..., Any], sshd: Sshd, monkeypatch: pytest.MonkeyPatch, loses: str
) -> None:
    monkeypatch.setattr(run_api, "LOOK_AGAIN_S", 0.0)
    run = place.run(place.script(), place.behind(sshd, "a"))
    reader = member({"effect": "allow", "verbs": ["*.read"], "what": {}})
    response: Any = client_of(replace(place, actor=reader)).get(f"/api/v2/runs/{run.pk.hex}/stream")

    async def whole() -> bytes:
        return b"".join([piece async for piece in response.streaming_content])

    if loses == "the token":
        Token.objects.filter(owner_id=reader.user_id).delete()
    elif loses == "the right":
        Team.objects.filter(members=reader.user_id).delete()
    assert (b"hello" in async_to_sync(whole)()) is (loses == "nothing")


@pytest.mark.django_db(transaction=True)
def test_a_stream_that_was_cut_anywhere_goes_on_without_a_loss(place: Place, api: APIClient, sshd: Sshd) -> None:
    said = "#!/bin/sh\nfor i in 1 2 3; do echo $i; sleep 0.1; echo e$i >&2; sleep 0.1; done\n"
    run = place.run(place.script(said), place.behind(sshd, "a", "b"))

    def told(after: int) -> list[dict[str, Any]]:
        response: Any = api.get(f"/api/v2/runs/{run.pk.hex}/stream?after={after}")

        async def whole() -> bytes:
            return b"".join([piece async for piece in response.streaming_content])

        return [json.loads(line) for line in async_to_sync(whole)().splitlines()][:-1]

    lines = told(0)
    for cut in range(1, len(lines)):
        again = told(lines[cut - 1]["after"])
        ends = {line["host_id"]: line["start"] for line in lines[:cut]}
        news = [line for line in again if line["start"] > ends.get(line["host_id"], -1)]
        assert lines[:cut] + news == lines, cut


def test_whom_it_may_run_on_is_asked_of_each_machine(place: Place, member: Callable[..., Any], sshd: Sshd) -> None:
    mine, other = place.behind(sshd, "mine", tags={"env": "dev"}) + place.behind(sshd, "other")
    script = place.script()
    runner = member(
        {"effect": "allow", "verbs": ["script.*", "machine.read"], "what": {}},
        {"effect": "allow", "verbs": ["machine.run"], "what": {"tags": {"env": "dev"}}},
    )
    with pytest.raises(Denied):
        perform(runner, script, "run", {"machine": other.pk.hex})
    job = finish(perform(runner, script, "run", {"machines": [mine.pk.hex, other.pk.hex]}))
    run = Run.objects.get(pk=job.pk)
    assert {h.name: (h.state, h.code) for h in run.hosts.all()} == {"mine": ("succeeded", ""), "other": ("skipped", "denied")}
    assert Event.objects.filter(org_id=place.actor.org_id, type="machine.run.refused", target_id=other.pk).count() == 1
    searched = finish(perform(runner, script, "run", {"search": "name:m,o"}))
    assert list(Run.objects.get(pk=searched.pk).hosts.values_list("name", flat=True)) == ["mine"]


def test_a_machine_is_run_on_by_who_may_both(place: Place, member: Callable[..., Any], sshd: Sshd) -> None:
    (machine,) = place.behind(sshd, "a")
    script = place.script()
    reader = member({"effect": "allow", "verbs": ["*.read", "machine.run"], "what": {}})
    with pytest.raises(Denied):
        perform(reader, machine, "run", {"script": script.pk.hex})
    both = member({"effect": "allow", "verbs": ["*.read", "*.run"], "what": {}})
    assert finish(perform(both, machine, "run", {"script": script.pk.hex})).state == "succeeded"


def test_another_organization_sees_nothing(place: Place, sshd: Sshd) -> None:
    run = place.run(place.script(), place.behind(sshd, "a"))
    other = client_of(make_place("there"))
    for path in ("", "/hosts", "/groups", "/stream", "/find?text=x", "/hosts/a/output"):
        assert other.get(f"/api/v2/runs/{run.pk.hex}{path}").status_code == 404
    for verb in ("cancel", "retry"):
        assert other.post(f"/api/v2/runs/{run.pk.hex}/{verb}").status_code == 404
    stranger = Machine.objects.get(name="a")
    mine = place.script(name="mine")
    assert other.post(f"/api/v2/scripts/{mine.pk.hex}", {"machine": stranger.pk.hex}, format="json").status_code == 404


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "machine"),
        ({"search": "x", "machine": "y"}, "machine"),
        ({"search": "name:nothing-such"}, "search"),
        ({"machine": "nothing-such"}, "machine"),
        ({"machine": "a", "wave": "0"}, "wave"),
        ({"machine": "a", "wave": "region"}, "wave"),
        ({"machine": "a", "env": {"LD_PRELOAD": "/x"}}, "env"),
        ({"machine": "a", "env": "what"}, "env"),
        ({"machine": "a", "params": "'open"}, "params"),
        ({"machine": "a", "params": {"b": 1}}, "params.b"),
        ({"machine": "a", "version": 7}, "version"),
        ({"machine": "a", "timeout": 0}, "timeout"),
    ],
)
def test_what_cannot_be_run_says_why(place: Place, sshd: Sshd, body: dict[str, Any], field: str) -> None:
    place.behind(sshd, "a")
    with pytest.raises(Invalid) as refused:
        perform(place.actor, place.script(HELLO), "run", body)
    assert field in refused.value.fields
    assert not Run.objects.exists()


def test_a_run_on_a_folder(place: Place, sshd: Sshd) -> None:
    script = place.script()
    files = {
        "main.sh": content.File(data=b"#!/bin/sh\n. ./lib/x.sh\npwd | grep -c mist-\n", executable=True),
        "lib/x.sh": content.File(data=b"echo from the library\n"),
    }
    folder = content.Content(files=files, entrypoint="main.sh")
    ScriptVersion.objects.create(
        script=script, number=2, content=folder.stored(), is_bundle=True, size=1, digest=folder.digest, entrypoint="main.sh"
    )
    script.latest = 2
    script.save()
    assert said(place.run(script, place.behind(sshd, "a")).hosts.get()) == "from the library\n1\n"


def test_a_run_goes_around_no_lock_and_no_policy_that_asks(place: Place, sshd: Sshd, member: Callable[..., Actor]) -> None:
    free, locked, prod = place.behind(sshd, "free", "locked", "prod")
    Machine.objects.filter(pk=locked.pk).update(locked_at=timezone.now(), lock_note="it bills")
    Machine.objects.filter(pk=prod.pk).update(tags={"env": "prod"})
    everything = {"effect": "allow", "verbs": ["*"], "what": {}}
    runner = member(everything, {"effect": "ask", "verbs": ["machine.run"], "what": {"tags": {"env": "prod"}}})
    script = place.script()
    both, ids = {"machines": [locked.pk.hex, prod.pk.hex]}, [one.pk.hex for one in (free, locked, prod)]
    for where in (both, {"machine": locked.pk.hex}, {"search": "name:prod"}, {"machines": ids}):
        with pytest.raises(ApprovalNeeded, match="Ask for approval"):
            perform(runner, script, "run", where)
    assert finish(perform(runner, script, "run", {"machine": free.pk.hex})).state == "succeeded"
    with pytest.raises(Asked) as asked:
        perform(replace(runner, ask="to look"), script, "run", {"machines": ids})
    assert "locked is locked: it bills." in asked.value.job.needs and "asks for approval" in asked.value.job.needs
    job = finish(approvals.approve(place.actor, asked.value.job))
    assert set(Run.objects.get(pk=job.pk).hosts.values_list("state", flat=True)) == {"succeeded"}


def test_a_script_that_is_asked_about_is_asked_about_on_each_machine_too(place: Place, sshd: Sshd, member: Callable[..., Actor]) -> None:
    (machine,) = place.behind(sshd, "one")
    script = place.script()
    runner = member({"effect": "allow", "verbs": ["*"], "what": {}}, {"effect": "ask", "verbs": ["script.run"], "what": {}})
    with pytest.raises(ApprovalNeeded):
        perform(runner, machine, "run", {"script": script.name})
    with pytest.raises(Asked) as asked:
        perform(replace(runner, ask="to look"), machine, "run", {"script": script.name})
    assert "asks for approval" in asked.value.job.needs
    assert finish(approvals.approve(place.actor, asked.value.job)).state == "succeeded"


def test_a_run_may_be_asked_for_again(place: Place, api: APIClient, sshd: Sshd) -> None:
    (machine,) = place.behind(sshd, "one")
    run = place.run(place.script("#!/bin/sh\nexit 3\n"), [machine])
    answer = api.post(f"/api/v2/runs/{run.pk.hex}/retry?ask=it+is+late")
    assert (answer.status_code, answer.json()["data"]["state"]) == (202, "asked")
    assert Run.objects.get(pk=answer.json()["data"]["jobId"]).state == "queued"
