"""1,000 live sockets of 100 people, one change: all told ≤ 1 s after the commit, ≤ 150 MB more memory in the web process."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.bench import harness

SOCKETS, PEOPLE = 1000, 100

SERVER = """
import django; django.setup()
import sys, uvicorn
from mist import roles
config = roles.web_config()
listener = roles.listen("127.0.0.1", 0)
print(listener.getsockname()[1], flush=True)
uvicorn.Server(config).run(sockets=[listener])
"""


def pss_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("no Pss")


def make_people(owner: Any) -> list[str]:
    """Members with a statement of their own each: nobody's rights are another's.  Returns: tokens."""
    from accounts.credentials import TOKEN_PREFIX, digest_of
    from accounts.models import Membership, Team, Token, User

    secrets = []
    for n in range(PEOPLE):
        user = User.objects.create(email=f"p{n}@example.org", password="!")
        Membership.objects.create(org_id=owner.org_id, user=user)
        what = {"kinds": ["machine"], "tags": {f"t{n}": None}} if n % 2 else {"kinds": ["machine"]}
        statement = {"effect": "allow", "verbs": ["machine.read"], "what": what}
        team = Team.objects.create(org_id=owner.org_id, name=f"team {n}", statements=[statement])
        team.members.add(user)
        secret = TOKEN_PREFIX + os.urandom(32).hex()
        Token.objects.create(org_id=owner.org_id, owner=user, name=f"t{n}", digest=digest_of(secret), hint=secret[:8])
        secrets.append(secret)
    return secrets


async def measure(port: int, pid: int, secrets: list[str], change: Any) -> tuple[float, float, list[float]]:
    """MB of one process without and with the sockets, and seconds from each change to the last socket told."""
    from websockets.asyncio.client import connect

    url = f"ws://127.0.0.1:{port}/ws/live"

    async def open_one(n: int) -> Any:
        socket = await connect(
            url, additional_headers={"Authorization": f"Bearer {secrets[n % PEOPLE]}"}, compression=None, open_timeout=60
        )
        await socket.send('{"sub": {"kind": "machine"}}')
        first = json.loads(await socket.recv())
        assert first["ids"] == [], first
        return socket

    warm = await open_one(0)
    await asyncio.sleep(1)
    before = pss_mb(pid)
    sockets = []
    for start in range(0, SOCKETS, 50):
        sockets += await asyncio.gather(*(open_one(n) for n in range(start, start + 50)))
    walls = []
    for _ in range(5):
        waiting = [asyncio.create_task(socket.recv()) for socket in sockets]
        await asyncio.sleep(0.5)
        begun = time.perf_counter()
        await asyncio.to_thread(change)
        notes = [json.loads(note) for note in await asyncio.gather(*waiting)]
        walls.append(time.perf_counter() - begun)
        assert all(note["ids"] for note in notes)
    after = pss_mb(pid)
    await asyncio.gather(*(socket.close() for socket in [*sockets, warm]))
    return before, after, sorted(walls)


def main() -> None:
    with harness.database():
        from django.db import transaction

        from clouds.models import Cloud
        from core import live
        from core.models import new_id
        from machines.models import Machine

        owner = harness.make_owner()
        secrets = make_people(owner)
        cloud = Cloud.objects.create(org_id=owner.org_id, name="demo", provider="demo")
        tags = {f"t{n}": "" for n in range(PEOPLE)}
        machine = Machine.objects.create(
            id=new_id(), org_id=owner.org_id, cloud=cloud, external_id="m", name="web", tags=tags, state="running"
        )

        def change() -> None:
            with transaction.atomic():
                Machine.objects.filter(pk=machine.pk).update(state="stopped")
                live.changed(machine.org_id, "machine", [machine.pk])

        server = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, env=dict(os.environ))
        try:
            assert server.stdout is not None
            port = int(server.stdout.readline())
            before, after, walls = asyncio.run(measure(port, server.pid, secrets, change))
        finally:
            server.terminate()
            server.wait(20)
        harness.report(f"{SOCKETS} sockets told of one change (worst of {len(walls)})", walls[-1], 1, "s")
        harness.report("memory for them", after - before, 150, "MB")
    harness.finish()


if __name__ == "__main__":
    main()
