"""An organization with a row of every kind, and how its people show who they are."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from django.apps import apps
from django.core import signing
from django.test import Client

from accounts.credentials import TOKEN_PREFIX, digest_of, new_secret
from accounts.models import Export, Invitation, Organization, Team, Token, User, View
from clouds.models import Cloud, Poll
from clouds.polling import poll_once
from core import actions, vault
from core.actions import perform
from core.actor import Actor
from core.errors import Asked
from core.models import Job
from keys.models import Authority, AuthorityTrust, HostKey, Key, KeyAssociation, Secret, SecretStore
from machines.models import Machine, Preset, Session, Snapshot
from machines.shell.recorder import Recorder, path_of
from scripts.api import SALT
from scripts.models import Chunk, Run, RunHost, Script, ScriptVersion
from tests.core.test_doors import make_org

PUBLIC = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKTcb9k0mXPx3kL7JpGzr7mCqJ0Hc9UYw0k0cO2v9m1Z test"

OF_NO_ORG = {"provider": "demo", "sign_in": "0" * 32, "signature": ""}  # kinds that are code or a person's: no organization owns them


@dataclass(kw_only=True)
class World:
    """One organization. `rows`: {kind: one of its rows}."""

    org: Organization
    user: User
    actor: Actor
    rows: dict[str, Any] = field(default_factory=dict)
    token: str = field(default_factory=lambda: new_secret(TOKEN_PREFIX))

    def session(self) -> tuple[dict[str, str], dict[str, str]]:
        """Cookies and headers of a live session, as a browser sends them."""
        client = Client()
        client.force_login(self.user)
        token = "a" * 32
        cookies = {"sessionid": client.cookies["sessionid"].value, "csrftoken": token}
        return cookies, {"X-CSRFToken": token, "X-Org": self.org.pk.hex}

    def name_of(self, kind: str) -> str:
        """What a path calls a row of that kind. A kind that is not here has to be added to `make_world`."""
        if kind == "signature":
            return signing.dumps(ScriptVersion.objects.get(script=self.rows["script"]).pk.hex, salt=SALT)
        return OF_NO_ORG[kind] if kind in OF_NO_ORG else str(self.rows[kind].pk.hex)


def record(session: Session, text: str) -> None:
    """A recording for a shell nobody holds."""
    path = path_of(session.org_id, session.pk)
    recorder = Recorder(path, cols=80, rows=24, began=0, at=0, title=session.name, most_bytes=1 << 20)
    recorder.output(f"{text}\r\n".encode(), 1.0)
    recorder.close()
    Session.objects.filter(pk=session.pk).update(recording=Session.Recording.RUNNING)


def make_world(name: str, *, machines: int = 12) -> World:
    """An organization with a polled demo cloud, and a row of every kind that can be acted on."""
    org, user, actor = make_org(name)
    world = World(org=org, user=user, actor=actor)
    form = {"name": f"{name}-demo", "provider": "demo", "credentials": {"machines": machines, "seed": 1, "latency_ms": 0}}
    perform(actor, Cloud, "create", form)
    cloud = Cloud.objects.get(org=org)
    for poll in Poll.objects.filter(cloud=cloud).order_by("pk"):
        poll_once(poll.pk)
    key = Key.objects.create(org=org, name=f"{name}-key", public=PUBLIC)
    running = Machine.objects.filter(org=org, state="running", type="vm").order_by("pk")
    KeyAssociation.objects.create(org=org, machine=running[0], key=key)
    perform(actor, Authority, "create", {"name": f"{name}-authority"})
    AuthorityTrust.objects.create(org=org, machine=running[0], authority=Authority.objects.get(org=org), user=f"{name}-user")
    Snapshot.objects.create(org=org, cloud=cloud, machine=running[0], name=f"{name}-snapshot", external_id=f"{name}-snap")
    perform(actor, running[1], "stop")
    perform(actor, running[2], "tag", {"tags": {f"{name}-tag": f"{name}-value"}})
    token = Token(org=org, owner=user, name="token", digest=digest_of(world.token), hint="mist_")
    token.save()
    perform(actor, Team, "create", {"name": f"{name}-team"})
    perform(actor, Invitation, "create", {"email": f"guest@{name}.org", "secret": new_secret()})
    perform(actor, View, "create", {"name": f"{name}-view", "kind": "machine", "query": "state:running"})
    made = actions.claim(perform(actor, Export, "create", {"kind": "machine", "search": f"tag:{name}-tag"}).pk, "world")
    assert made is not None
    actions.run(made)
    perform(actor, running[3], "shell", {"reason": f"{name}-reason"})
    record(Session.objects.get(org=org), f"{name}-output")
    perform(actor, Secret, "create", {"name": f"{name}-secret", "secret": {f"{name}-key": f"{name}-value-of-a-secret"}})
    store = {"name": f"{name}-store", "address": "https://vault.invalid"}
    SecretStore.objects.create(org=org, vault=vault.put(org.pk, "secret_store", {"token": "t"}), **store)
    perform(actor, HostKey, "trust", {"host": f"{name}.example.org", "public": PUBLIC})
    perform(actor, Preset, "create", {"name": f"{name}-preset", "cloud": cloud.pk.hex, "params": {"name": "web-{n:02}"}})
    script = Script.objects.get(pk=perform(actor, Script, "create", {"name": f"{name}-script", "script": "#!/bin/sh\nuptime\n"}).target_id)
    job = perform(actor, script, "run", {"machines": [running[0].pk.hex], "env": {"NAME": f"{name}-env"}})
    host = RunHost.objects.create(run_id=job.pk, machine=running[0], name=f"{name}-host", last_line=f"{name}-line")
    said = f"{name}-output".encode()
    Chunk.objects.create(run_id=job.pk, host=host, start=0, size=len(said), data=zlib.compress(said), marks=[len(said), 1, 0])
    Run.objects.filter(pk=job.pk).update(state="failed")
    with pytest.raises(Asked) as asked:
        perform(replace(actor, ask=f"{name}-why"), running[3], "stop")
    Job.objects.filter(pk=asked.value.job.pk).update(user=None)  # somebody else's: one's own is not one's own to approve
    for model in apps.get_models():
        if hasattr(model, "kind") and hasattr(model.objects, "visible_to"):
            row = model.objects.visible_to(actor).order_by("pk").first()
            if row is not None:
                world.rows[model.kind()] = row
    world.rows |= {"team": Team.objects.get(org=org, is_owners=False), "machine": running[0], "snapshot": Snapshot.objects.get(org=org)}
    world.rows |= {"run_host": host, "approval": Job.objects.get(pk=asked.value.job.pk)}
    return world
