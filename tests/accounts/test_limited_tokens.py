"""A token that was made for some things does those alone: in lists, on one row, in what it starts; and its two forms agree."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from accounts.guards import TokenGuard
from accounts.models import Team, Token
from core.actions import perform
from core.actor import Actor
from core.errors import Denied, Invalid, NotFound
from core.models import Event, Job
from machines.models import Machine
from tests.accounts.conftest import allow, deny

pytestmark = pytest.mark.django_db
Rows = dict[type[Any], list[Any]]


def with_token(actor: Actor, *limits: dict[str, Any]) -> Actor:
    job = perform(actor, Token, "create", {"name": "t", "secret": "mist_" + "a" * 43, "limits": list(limits)})
    return Actor(org_id=actor.org_id, user_id=actor.user_id, email=actor.email, token_id=job.target_id)


def test_it_sees_and_does_what_it_was_made_for_and_nothing_else(rows: Rows, actor: Actor) -> None:
    one, other = rows[Machine][1], rows[Machine][2]
    token = with_token(actor, allow("machine.tag", "machine.read", ids=[one.pk.hex]))
    assert list(Machine.objects.visible_to(token)) == [one]
    perform(token, one, "tag", {"tags": {"a": "b"}})
    with pytest.raises(NotFound):
        perform(token, other, "tag", {"tags": {"a": "b"}})
    with pytest.raises(Denied) as refused:
        perform(token, one, "rename", {"name": "new"})
    assert refused.value.code == "token_limited"
    assert not Team.objects.visible_to(token).exists()
    perform(actor, other, "tag", {"tags": {"a": "b"}})  # the person is not bound by it


def test_it_gives_nobody_more_than_they_may(rows: Rows, member: Any) -> None:
    weak = member(allow("machine.read"))
    token = with_token(weak, allow("*"))
    with pytest.raises(Denied):
        perform(token, rows[Machine][1], "tag", {"tags": {"a": "b"}})


@pytest.mark.parametrize(
    "limits",
    [
        [allow("machine.*", tags={"env": "prod"})],
        [allow("*.read")],
        [allow("machine.read", own=True), allow("cloud.read")],
        [allow("snapshot.read")],
    ],
)
def test_it_means_the_same_in_sql_and_in_python(rows: Rows, actor: Actor, limits: list[dict[str, Any]]) -> None:
    token, guard = with_token(actor, *limits), TokenGuard()
    for model, of_kind in rows.items():
        for right in ("read", "stop", "tag"):
            by_sql = set(model.objects.filter(guard.narrow(token, model, right)).values_list("pk", flat=True))
            ours = {row.pk for row in of_kind}
            assert by_sql & ours == {row.pk for row in of_kind if guard.permits(token, row, right)}, (model, right)


def test_limits_allow_and_are_checked(actor: Actor) -> None:
    for wrong in ([deny("machine.stop")], [allow("machine.fly")], "nonsense"):
        with pytest.raises(Invalid) as refused:
            perform(actor, Token, "create", {"name": "t", "secret": "mist_" + "b" * 43, "limits": wrong})
        assert "limits" in refused.value.fields


def test_the_api_keeps_to_it(rows: Rows, actor: Actor, owner: Any) -> None:
    client = Client()
    client.force_login(owner, "allauth.account.auth_backends.AuthenticationBackend")
    one = rows[Machine][1]
    body = {"name": "ci", "limits": [allow("machine.tag", "machine.read", ids=[one.pk.hex])]}
    answer = client.post("/api/v2/auth/tokens", body, content_type="application/json").json()["data"]
    assert answer["limits"] == body["limits"]
    header = {"Authorization": f"Bearer {answer['token']}"}
    assert [row["id"] for row in Client().get("/api/v2/machines", headers=header).json()["data"]] == [one.pk.hex]
    path = f"/api/v2/machines/{one.pk.hex}/actions"
    assert Client().post(f"{path}/tag", {"tags": {"x": "y"}}, content_type="application/json", headers=header).status_code == 200
    refused = Client().post(f"{path}/rename", {"name": "z"}, content_type="application/json", headers=header)
    assert (refused.status_code, refused.json()["code"]) == (403, "token_limited")
    assert Client().get("/api/v2/jobs", headers=header).status_code == 200
    assert Event.objects.filter(type="machine.rename.refused", target_id=one.pk).exists()
    assert Job.objects.filter(target_id=one.pk).exists()
