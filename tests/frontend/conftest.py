"""An organization with a simulated cloud, and the four kinds of people who look at it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from django.test import Client

from accounts.models import Membership, Organization, Team, User
from clouds.models import Cloud, Poll
from clouds.polling import poll_once
from core import actions, bulks
from core.actions import perform
from core.actor import Actor
from core.models import Job
from machines.models import Machine

PASSWORD = "correct horse battery"


def make_org(slug: str) -> tuple[Organization, User]:
    org = Organization.objects.create(name=slug.title(), slug=slug)
    owner = add_user(org, f"owner@{slug}.example")
    Team.objects.create(org=org, name="Owners", is_owners=True).members.add(owner)
    return org, owner


def add_user(org: Organization, email: str) -> User:
    user = User.objects.create_user(email, PASSWORD)
    Membership.objects.create(org=org, user=user)
    return user


def actor_for(org: Organization, user: User) -> Actor:
    return Actor(org_id=org.pk, user_id=user.pk, email=user.email, via="test")


def run_jobs() -> None:
    """Do what a worker would, now."""
    for job in Job.objects.filter(state="queued").order_by("created_at"):
        claimed = actions.claim(job.pk, "test")
        if claimed is not None:
            actions.run(claimed) if claimed.target_id else bulks.expand(claimed)
    if Job.objects.filter(state="queued").exists():
        run_jobs()


def read_clouds() -> None:
    for poll in Poll.objects.order_by("pk"):
        poll_once(poll.pk)


def machine(**wanted: Any) -> Machine:
    """One that is so, and runs if nothing else is said; the fleet of a demo cloud is another each time, so that none may be."""
    wanted = {"state": "running"} | wanted
    found = Machine.objects.filter(type="vm", **wanted).order_by("name").first()
    if found is None:
        found = Machine.objects.filter(type="vm").order_by("name").last()
        assert found is not None
        Machine.objects.filter(pk=found.pk).update(**wanted)
        found.refresh_from_db()
    return found


@dataclass
class Place:
    """An organization, its people signed in as clients, and its cloud."""

    org: Organization
    owner: User
    cloud: Cloud
    admin: Client
    nobody: Client
    stranger: Client
    anonymous: Client

    @property
    def base(self) -> str:
        return f"/o/{self.org.slug}"

    @property
    def actor(self) -> Actor:
        return actor_for(self.org, self.owner)


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user, "allauth.account.auth_backends.AuthenticationBackend")
    return client


@pytest.fixture
def place(db: None) -> Place:
    org, owner = make_org("here")
    member = add_user(org, "new@here.example")
    _elsewhere, stranger = make_org("elsewhere")
    credentials = {"machines": 30, "seed": 1, "latency_ms": 0}  # it need not be waited for
    perform(actor_for(org, owner), Cloud, "create", {"name": "demo one", "provider": "demo", "credentials": credentials})
    read_clouds()
    return Place(
        org=org,
        owner=owner,
        cloud=Cloud.objects.get(),
        admin=signed_in(owner),
        nobody=signed_in(member),
        stranger=signed_in(stranger),
        anonymous=Client(),
    )


from tests.frontend import browsing  # noqa: E402  it needs what stands above

chromium, browser, server = browsing.chromium, browsing.browser, browsing.server
person, quiet = browsing.person, browsing.quiet
owner, fleet = browsing.owner, browsing.fleet
