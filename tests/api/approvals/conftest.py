"""Two organizations of a few machines each, one who has to ask, and one who answers."""

from __future__ import annotations

from typing import Any

import pytest
from rest_framework.test import APIClient

from accounts.credentials import TOKEN_PREFIX, digest_of, new_secret
from accounts.models import Membership, Team, Token, User
from clouds.models import Cloud, Image, Location, Poll, Size
from clouds.polling import poll_once
from core import actions
from core.models import Job
from keys.models import Key, Secret
from machines.models import Machine
from tests.api.test_matrix import client
from tests.api.world import PUBLIC, World
from tests.core.test_doors import make_org

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
