"""Reconciling 5,000 machines: first insert ≤ 3 s; unchanged ≤ 0.5 s of CPU."""

from __future__ import annotations

import time

from tests.bench import harness

N = 5000


def main() -> None:
    with harness.database():
        from clouds.inventory import reconcile
        from clouds.models import Cloud, Poll
        from clouds.polling import poll_once
        from clouds.providers.base import Context
        from clouds.providers.demo import Demo
        from core.actions import perform
        from machines.models import Machine

        actor = harness.make_owner()
        perform(actor, Cloud, "create", {"name": "demo", "provider": "demo", "credentials": {"machines": N, "seed": 1}})
        cloud = Cloud.objects.get()
        for poll in Poll.objects.exclude(kind__in=["machine", "volume"]):
            poll_once(poll.pk)
        listing = list(Demo({"machines": N, "seed": 1, "latency_ms": 0, "failure_rate": 0}, Context(cloud_id=cloud.pk.hex)).list_machines())
        first = harness.timed(lambda: reconcile(cloud, "machine", iter(listing)))[0]
        assert Machine.objects.count() == len(listing)
        harness.report("first insert of 5,000", first * 5000 / len(listing), 3.0, "s")
        begun = time.process_time()
        outcome = reconcile(cloud, "machine", iter(listing))
        cpu = time.process_time() - begun
        assert (outcome.inserted, outcome.updated, outcome.missing) == (0, 0, 0)
        harness.report("reconcile of 5,000 unchanged", cpu * 5000 / len(listing), 0.5, "s CPU")
    harness.finish()


if __name__ == "__main__":
    main()
