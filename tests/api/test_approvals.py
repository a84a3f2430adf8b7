"""Approval over HTTP: asked for with `ask`, answered by somebody else, once; and what is asked in vain is told why."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from django.db import connections
from django.test import Client
from rest_framework.test import APIClient

from accounts.credentials import TOKEN_PREFIX, digest_of, new_secret
from accounts.models import Membership, Team, Token, User
from clouds.models import Cloud, Image, Location, Poll, Size
from clouds.polling import poll_once
from core import actions, approvals
from core.actor import Actor
from core.errors import Asked, Denied
from core.models import Event, Job
from keys.models import Key, Secret
from machines.models import Machine
from tests.api.test_matrix import client
from tests.api.world import PUBLIC, World
from tests.core.test_doors import make_org, run_waiting

pytestmark = pytest.mark.django_db
EVERYTHING = {"effect": "allow", "verbs": ["*"], "what": {}}
ASKS = ["machine.stop", "machine.destroy", "machine.create", "machine.tag", "team.edit", "key.delete", "team.set_policy", "cloud.edit"]
PASSWORD = "correct horse battery"
# Acts that can wait and have no operation of the API that takes `ask`: the console asks there.
CONSOLE_ALONE = {"member.ask", "member.decline"}
WITHIN = {"org.edit", "member.remove", "token.delete"}  # of operations that name no verb


def person(world: World, email: str, *statements: dict[str, Any], **token: Any) -> APIClient:
    user = User.objects.filter(email=email).first() or User.objects.create_user(email, PASSWORD)
    if Membership.objects.get_or_create(org=world.org, user=user)[1]:
        Team.objects.create(org=world.org, name=f"of {email}", statements=list(statements)).members.add(user)
    secret = new_secret(TOKEN_PREFIX)
    Token.objects.create(org=world.org, owner=user, name="t", digest=digest_of(secret), hint="mist_", **token)
    return client(secret)


def small(name: str) -> World:
    """What is asked about here, and no more: an organization with some machines, a team, a key and a secret."""
    org, user, actor = make_org(name)
    found = World(org=org, user=user, actor=actor)
    Token.objects.create(org=org, owner=user, name="t", digest=digest_of(found.token), hint="mist_")
    form = {"name": f"{name}-demo", "provider": "demo", "credentials": {"machines": 12, "seed": 1, "latency_ms": 0}}
    actions.perform(actor, Cloud, "create", form)
    cloud = Cloud.objects.get(org=org)
    for poll in Poll.objects.filter(cloud=cloud).order_by("pk"):
        poll_once(poll.pk)
    actions.perform(actor, Secret, "create", {"name": f"{name}-secret", "secret": {"a": "b"}})
    team, key = Team.objects.create(org=org, name=f"{name}-team"), Key.objects.create(org=org, name=f"{name}-key", public=PUBLIC)
    machines = list(Machine.objects.filter(org=org, state="running", type="vm").values_list("pk", flat=True))
    assert len(machines) >= 4
    found.rows |= {"cloud": cloud, "team": team, "key": key, "secret": Secret.objects.get(org=org), "running": machines}
    return found


@pytest.fixture
def here(db: None) -> World:
    return small("here")


@pytest.fixture
def there(db: None) -> World:
    return small("there")


@pytest.fixture
def asker(here: World) -> APIClient:
    return person(here, "asker@here.org", EVERYTHING, {"effect": "ask", "verbs": ASKS, "what": {}})


@pytest.fixture
def owner(here: World) -> APIClient:
    return client(here.token)


def stop(world: World, at: int = 0) -> str:
    return f"/api/v2/machines/{running(world)[at].pk.hex}/actions/stop"


def running(world: World) -> list[Machine]:
    """Those that ran when it was made, in an order that holds."""
    return list(Machine.objects.filter(pk__in=world.rows["running"]).order_by("name"))


def waits(answer: Any) -> Job:
    """The job of an answer that says it waits for approval."""
    assert answer.status_code == 202, answer.content
    data = answer.json()["data"]
    assert data["state"] == "asked" and data["not_before"] is None and data["result"] is None
    return Job.objects.get(pk=data["jobId"])


def refused(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json().get("code", "")


def approve(api: APIClient, job: Job, **body: Any) -> Any:
    return api.post(f"/api/v2/approvals/{job.pk.hex}/approve", body, format="json")


def creation(world: World, name: str, **more: Any) -> dict[str, Any]:
    cloud = world.rows["cloud"]
    size = Size.objects.filter(cloud=cloud).order_by("pk").first()
    assert size is not None
    image = Image.objects.filter(cloud=cloud, architecture=size.architecture).order_by("pk").first()
    location = Location.objects.filter(cloud=cloud).order_by("pk").first()
    assert image is not None and location is not None
    found = {"name": name, "cloud": cloud.pk.hex, "size": size.pk.hex, "image": image.pk.hex, "location": location.pk.hex}
    return {**found, **more}


# --- asked for --------------------------------------------------------------------------------------------------------


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
        ("clouds", {"name": "n", "provider": "demo", "credentials": {"machines": 1}}),
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


# --- answered ---------------------------------------------------------------------------------------------------------


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
