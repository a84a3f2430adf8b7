"""`perform`, an inline action (tag a machine), on PostgreSQL and Valkey with the product's settings: ≤ 10 ms."""

from __future__ import annotations

import cProfile
import itertools
import os
import pstats
import statistics
import time

from tests.bench import harness


def main() -> None:
    with harness.database():
        from django.db import connection
        from django.test.utils import CaptureQueriesContext

        from clouds.models import Cloud
        from core.actions import perform
        from core.models import new_id
        from machines.models import Machine

        owner = harness.make_owner()
        # of a cloud that keeps no tags: telling it is another, background action
        cloud = Cloud.objects.create(org_id=owner.org_id, name="hosts", provider="other")
        machine = Machine.objects.create(id=new_id(), org_id=owner.org_id, cloud=cloud, external_id="a", name="a", state="running")
        numbers = itertools.count()

        def tag() -> None:
            # a new actor each time, as each request has: it remembers nothing
            actor = type(owner)(org_id=owner.org_id, user_id=owner.user_id, email=owner.email, address="203.0.113.9")
            perform(actor, machine, "tag", {"tags": {"n": str(next(numbers))}})

        for _ in range(20):
            tag()
        with CaptureQueriesContext(connection) as queries:
            tag()
        begun = time.process_time()
        walls = harness.timed(tag, times=300)
        cpu = (time.process_time() - begun) / 300
        harness.report("perform(machine, tag), median", statistics.median(walls) * 1000, 10, "ms")
        p95 = harness.percentile(walls, 0.95) * 1000
        print(f"     fastest {walls[0] * 1000:.1f} ms, p95 {p95:.1f} ms, {cpu * 1000:.1f} ms of our CPU, {len(queries)} statements")
        if os.environ.get("PROFILE"):
            for query in queries:
                print(f"     {query['time']} {query['sql'][:150]}")
            with cProfile.Profile(time.process_time) as profile:
                for _ in range(100):
                    tag()
            pstats.Stats(profile).sort_stats("cumulative").print_stats(90)
    harness.finish()


if __name__ == "__main__":
    main()
