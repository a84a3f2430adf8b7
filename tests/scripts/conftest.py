"""An organization with machines that real SSH servers stand for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from rest_framework.test import APIClient

from accounts.credentials import TOKEN_PREFIX, digest_of, new_secret
from accounts.models import Membership, Team, Token, User
from clouds.models import Cloud
from core import actions, vault
from core.actions import perform
from core.actor import Actor
from core.models import Job
from keys.models import HostKey, Key, KeyAssociation
from machines.models import Machine
from scripts import output
from scripts.models import Run, RunHost, Script
from tests.core.test_doors import make_org
from tests.lab.sshd import Fake, Sshd, fake_ssh, public_line, sshd

__all__ = ["fake_ssh", "sshd"]

HELLO = "#!/bin/sh\necho hello\n"


@dataclass
class Place:
    """One organization, and how machines come into it."""

    actor: Actor
    cloud: Cloud

    def key(self, pem: str, name: str) -> Key:
        found = Key.objects.filter(org_id=self.actor.org_id, name=name).first()
        return found or Key.objects.create(
            org_id=self.actor.org_id,
            name=name,
            public=public_line(pem),
            algorithm="ssh-ed25519",
            vault=vault.put(self.actor.org_id, "key", {"private": pem}),
        )

    def machine(
        self, name: str, *, port: int, pem: str, user: str = "root", pinned: str = "", host: str = "127.0.0.1", **more: Any
    ) -> Machine:
        """A machine behind that port; known by `pinned` where given."""
        more.setdefault("state", "running")
        machine = Machine.objects.create(
            org_id=self.actor.org_id, cloud=self.cloud, name=name, external_id=name, address=host, source="poll", **more
        )
        key = self.key(pem, f"key-{hash(pem) & 0xFFFFFF:x}")
        KeyAssociation.objects.create(org_id=self.actor.org_id, key=key, machine=machine, user=user, port=port)
        if pinned:
            HostKey.objects.get_or_create(
                org_id=self.actor.org_id, host=host, port=port, public=pinned, defaults={"name": f"{host}:{port}", "fingerprint": "x"}
            )
        return machine

    def behind(self, server: Sshd, *names: str, **more: Any) -> list[Machine]:
        return [
            self.machine(name, port=server.port, pem=server.private_key, user=server.user, pinned=server.public_host_key, **more)
            for name in names
        ]

    def faked(self, server: Fake, name: str, handler: Any) -> Machine:
        return self.machine(name, port=server.serve(handler), pem=server.private_key, pinned=server.public_host_key)

    def script(self, text: str = HELLO, name: str = "hello", **more: Any) -> Script:
        job = perform(self.actor, Script, "create", {"name": name, "script": text, **more})
        return Script.objects.get(pk=job.target_id)

    def run(self, script: Script, machines: list[Machine], **how: Any) -> Run:
        """Run to its end, in this thread."""
        job = perform(self.actor, script, "run", {"machines": [m.pk.hex for m in machines], **how})
        finish(job)
        return Run.objects.get(pk=job.pk)


def finish(job: Job) -> Job:
    """What a worker does with a job."""
    claimed = actions.claim(job.pk, "test")
    assert claimed
    actions.run(claimed)
    job.refresh_from_db()
    return job


def said(host: RunHost | None, stream: int = 0) -> str:
    """A host's output, or one stream of it."""
    assert host is not None
    return b"".join(s.data for s in output.between(host, 0, 1 << 30) if not stream or s.stream == stream).decode("utf-8", "replace")


def make_place(name: str) -> Place:
    org, _, actor = make_org(name)
    return Place(actor, Cloud.objects.create(org=org, name=f"{name}-lab", provider="other", extra={"loopback": True}))


@pytest.fixture
def place() -> Place:
    return make_place("here")


@pytest.fixture
def member(place: Place) -> Callable[..., Actor]:
    """Somebody with these statements and no others."""

    def make(*statements: dict[str, Any]) -> Actor:
        user = User.objects.create_user(f"member{User.objects.count()}@example.org", "secret-secret")
        Membership.objects.create(org_id=place.actor.org_id, user=user)
        Team.objects.create(org_id=place.actor.org_id, name=f"Team {user.pk}", statements=list(statements)).members.add(user)
        return Actor(org_id=place.actor.org_id, user_id=user.pk)

    return make


@pytest.fixture
def second_sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    server = Sshd(tmp_path_factory.mktemp("sshd2"))
    server.start()
    yield server
    server.stop()


def client_of(place: Place) -> APIClient:
    """The API as that organization's owner."""
    secret = new_secret(TOKEN_PREFIX)
    Token.objects.create(org_id=place.actor.org_id, owner_id=place.actor.user_id, name="t", digest=digest_of(secret), hint="mist_")
    made = APIClient()
    made.credentials(HTTP_AUTHORIZATION=f"Bearer {secret}")
    return made


@pytest.fixture
def api(place: Place) -> APIClient:
    return client_of(place)
