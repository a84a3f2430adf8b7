"""Two organizations, their people, and rows of every sort of kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from accounts.models import Membership, Organization, Team, User
from clouds.models import Cloud, Size
from core import events
from core.actor import Actor
from core.models import Event, Job
from keys.models import Key
from machines.models import Machine, Snapshot

PASSWORD = "correct horse battery"


def make_org(name: str) -> Organization:
    org = Organization.objects.create(name=name, slug=name)
    Team.objects.create(org=org, name="Owners", is_owners=True)
    return org


def make_member(org: Organization, email: str, *statements: dict[str, Any], owner: bool = False) -> User:
    user = User.objects.filter(email=email).first() or User.objects.create_user(email, PASSWORD)
    Membership.objects.create(org=org, user=user)
    if owner:
        Team.objects.get(org=org, is_owners=True).members.add(user)
    if statements:
        Team.objects.create(org=org, name=f"of {email}", statements=list(statements)).members.add(user)
    return user


def actor_for(org: Organization, user: User) -> Actor:
    return Actor(org_id=org.pk, user_id=user.pk, email=user.email)


@pytest.fixture
def org() -> Organization:
    return make_org("here")


@pytest.fixture
def owner(org: Organization) -> User:
    return make_member(org, "owner@example.org", owner=True)


@pytest.fixture
def actor(org: Organization, owner: User) -> Actor:
    return actor_for(org, owner)


@pytest.fixture
def member(org: Organization) -> Callable[..., Actor]:
    """A member with these statements."""
    count = iter(range(100))

    def make(*statements: dict[str, Any]) -> Actor:
        return actor_for(org, make_member(org, f"member{next(count)}@example.org", *statements))

    return make


def allow(*verbs: str, **what: Any) -> dict[str, Any]:
    return {"effect": "allow", "verbs": list(verbs), "what": what}


def deny(*verbs: str, **what: Any) -> dict[str, Any]:
    return {"effect": "deny", "verbs": list(verbs), "what": what}


def asks(*verbs: str, **what: Any) -> dict[str, Any]:
    return {"effect": "ask", "verbs": list(verbs), "what": what}


@pytest.fixture
def rows(org: Organization, actor: Actor) -> dict[type[Any], list[Any]]:
    """{model: rows}: machines with all sorts of tags in two clouds, and what hangs on them."""
    tag_sets: list[dict[str, str]] = [{}, {"env": "prod"}, {"env": "dev"}, {"env": ""}, {"team": "red", "env": "prod"}, {"ENV": "prod"}]
    clouds = [Cloud.objects.create(org=org, name=f"c{i}", provider="demo", tags=tags) for i, tags in enumerate(tag_sets[:3])]
    sizes = [Size.objects.create(org=org, cloud=cloud, name="s", external_id="s") for cloud in clouds]
    machines = [
        Machine.objects.create(
            org=org,
            cloud=clouds[i % 2],
            name=f"m{i}",
            external_id=str(i),
            tags=tags,
            state="running",
            owner_id=None if i % 3 else actor.user_id,
        )
        for i, tags in enumerate(tag_sets * 2)
    ]
    snapshots = [Snapshot.objects.create(org=org, cloud=m.cloud, machine=m, name="snap", external_id=m.external_id) for m in machines[:6]]
    keys = [Key.objects.create(org=org, name=f"k{i}", public="", fingerprint="", algorithm="", tags=t) for i, t in enumerate(tag_sets)]
    jobs, told = [], []
    for target in (*machines[:6], *keys[:3], *clouds):
        common = {
            "org": org,
            "target_kind": target.kind(),
            "target_id": target.pk,
            "target_tags": target.tags,
            "cloud_id": target.cloud_ref,
        }
        jobs.append(Job.objects.create(action=f"{target.kind()}.tag", via="api", request_id="r", state="succeeded", **common))
        told.append(events.record(f"{target.kind()}.tag.succeeded", actor, target=target))
    jobs.append(Job.objects.create(org=org, action="machine.stop", target_kind="machine", via="api", request_id="r", state="succeeded"))
    told.append(events.record("session.thing.succeeded", actor))
    return {Cloud: clouds, Size: sizes, Machine: machines, Snapshot: snapshots, Key: keys, Job: jobs, Event: told}
