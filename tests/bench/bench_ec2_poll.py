"""Polling 5,000 unchanged EC2 instances: ≤ 1.15 × plain boto3 fetching and parsing the same pages; peak ≤ 150 MB above idle.

Ours is a whole poll as a worker does it: credentials out of the vault, listing, reconcile with what PostgreSQL has. Each side runs
in processes of its own, in turns, and is measured there: CPU of the process (the endpoint is another one), wall time, and the
highest resident memory. Idle is a process that has asked for one instance, as a worker between polls has.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from tests.bench import harness
from tests.lab.ec2_big import big
from tests.lab.moto import moto

N = 5000
PAGE = 1000
ROUNDS = 5
KEYS = {"apikey": "AKIAIOSFODNN7EXAMPLE", "apisecret": "a-secret-of-nobody", "region": "us-east-1"}


def main() -> None:
    with moto() as moto_port, big(N, moto_port) as port, harness.database():
        add_cloud(port)
        found: dict[str, list[dict[str, float]]] = {"boto3": [], "mist": []}
        for _ in range(ROUNDS):
            for side, runs in found.items():
                runs.append(_measured(side, port))
    middle = {side: {key: statistics.median(run[key] for run in runs) for key in runs[0]} for side, runs in found.items()}
    for side, figures in middle.items():
        print(f"     {side}: {' '.join(f'{key} {value:.3g}' for key, value in figures.items())}")
    bare, ours = middle["boto3"], middle["mist"]
    harness.report("poll of 5,000 instances, CPU", ours["cpu_s"], 1.15 * bare["cpu_s"], "s")
    harness.report("poll of 5,000 instances, wall", ours["wall_s"], 1.15 * bare["wall_s"], "s")
    harness.report("peak memory above idle, pages of 1,000", ours["peak_mb"] - ours["idle_mb"], 150, "MB")
    harness.finish()


def _measured(side: str, port: int) -> dict[str, float]:
    done = subprocess.run([sys.executable, "-m", "tests.bench.bench_ec2_poll", side, str(port)], stdout=subprocess.PIPE, check=True)
    return dict(json.loads(done.stdout))


def child(side: str, port: int) -> None:
    """One side, in this process; figures as JSON."""
    endpoint = f"http://127.0.0.1:{port}"
    poll = _boto3(endpoint) if side == "boto3" else _mist(endpoint)
    poll(1)
    idle = _resident_mb("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    wall, cpu = time.perf_counter(), time.process_time()
    count = poll(None)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    if count != N:
        raise SystemExit(f"{side} found {count} instances of {N}")
    print(json.dumps({"cpu_s": cpu, "wall_s": wall, "idle_mb": idle, "peak_mb": _resident_mb("VmHWM")}))


def _boto3(endpoint: str):  # type: ignore[no-untyped-def]
    """The least anybody would write: the paginator, nothing done with what it gives."""
    import boto3

    ec2 = boto3.client(
        "ec2",
        region_name=KEYS["region"],
        endpoint_url=endpoint,
        aws_access_key_id=KEYS["apikey"],
        aws_secret_access_key=KEYS["apisecret"],
    )

    def poll(most: int | None) -> int:
        if most:
            return len(ec2.describe_instances(MaxResults=5)["Reservations"])
        pages = ec2.get_paginator("describe_instances").paginate(PaginationConfig={"PageSize": PAGE})
        return sum(len(reservation["Instances"]) for page in pages for reservation in page["Reservations"])

    return poll


def add_cloud(port: int) -> None:
    """The cloud of this benchmark, polled once: from then on nothing changes."""
    from clouds.models import Cloud, Poll
    from clouds.polling import poll_once
    from core.actions import perform

    keys = {**KEYS, "endpoint": f"http://127.0.0.1:{port}"}
    perform(harness.make_owner(), Cloud, "create", {"name": "ec2", "provider": "amazon", "credentials": keys})
    outcome = poll_once(Poll.objects.get(kind="machine").pk, deadline_s=300)
    assert outcome is not None
    assert outcome.inserted == N


def _mist(endpoint: str):  # type: ignore[no-untyped-def]
    """As a worker polls, in the home of the parent process."""
    import django

    django.setup()
    from clouds.connection import connect
    from clouds.models import Cloud, Poll
    from clouds.polling import poll_once
    from core.actor import Actor

    def poll(most: int | None) -> int:
        if most:
            cloud = Cloud.objects.get()
            with connect(cloud, Actor.system(cloud.org_id)) as made:
                made.check()
            return 1
        outcome = poll_once(Poll.objects.get(kind="machine").pk)
        if outcome is None or outcome.inserted or outcome.missing:
            raise SystemExit(f"not a poll of what is unchanged: {outcome}")
        return outcome.seen

    return poll


def _resident_mb(what: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{what}:"):
            return int(line.split()[1]) / 1024
    raise SystemExit(f"/proc/self/status has no {what}")


if __name__ == "__main__":
    os.environ["NO_PROXY"] = "*"
    if len(sys.argv) == 3:
        child(sys.argv[1], int(sys.argv[2]))
    else:
        main()
