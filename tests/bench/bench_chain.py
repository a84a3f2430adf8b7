"""The audit log at N events (MIST_BENCH_EVENTS, by default 50,000): recorded, sealed, verified in constant memory, listed, counted.

Bars of our own: sealing 2,000 events/s (an organization's busiest second is a bulk of 1,000), verifying 0.15 ms of CPU an event
in 32 MB, pages ≤ 200 ms.
"""

from __future__ import annotations

import os
import resource
import time
from datetime import timedelta

from tests.bench import harness

N = int(os.environ.get("MIST_BENCH_EVENTS", "50000"))


def main() -> None:
    with harness.database():
        from django.db import connection
        from django.utils import timezone

        from core import chain, events, listing, log
        from core.models import Event

        owner = harness.make_owner()
        now = timezone.now()

        def write() -> None:
            for start in range(0, N, 5000):
                events.record_all(
                    [
                        events.build(
                            f"machine.{('stop', 'start', 'tag')[n % 3]}.{'refused' if n % 50 == 0 else 'succeeded'}",
                            owner,
                            target_kind="machine",
                            target_name=f"web-{n % 997}",
                            detail={"params": {"n": n, "note": "the quick brown fox"}},
                            at=now - timedelta(seconds=N - n),
                        )
                        for n in range(start, min(N, start + 5000))
                    ]
                )

        wall = harness.timed(write)[0]
        print(f"     {N} events recorded, {N / wall:.0f}/s")
        wall = harness.timed(chain.seal)[0]
        harness.report("sealing, for 1,000 events", 1000 * wall / N, 0.5, "s")
        with connection.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE core_event")
        before, cpu = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
        begun = time.perf_counter()
        report = chain.verify(owner.org_id)
        wall, cpu = time.perf_counter() - begun, time.process_time() - cpu
        assert (report.events, report.findings) == (N, [])
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        harness.report("verifying, our CPU for 1,000 events", 1000 * cpu / N, 0.15, "s")
        harness.report("verifying, memory", max(grown, 0), 32, "MB")
        print(f"     {N / wall:.0f} events verified a second")
        for name, query in {
            "first page": listing.Query(limit=50),
            "page of a rare outcome": listing.Query(limit=50, search="outcome:refused"),
            "page of a word": listing.Query(limit=50, search="web-13"),
            "page of no match": listing.Query(limit=50, search="nothingofthekind"),
        }.items():
            walls = harness.timed(lambda q=query: listing.page(Event.objects.defer("words"), owner, q), times=10)
            harness.report(name, walls[5] * 1000, 200, "ms")
        walls = harness.timed(lambda: log.facets(owner, listing.Query()), times=5)
        harness.report("facets", walls[2] * 1000, 200, "ms")
        walls = harness.timed(lambda: log.histogram(owner, listing.Query(), None, None, 60), times=5)
        harness.report("histogram of a day", walls[2] * 1000, 200, "ms")
        begun, rows = time.perf_counter(), 0
        for page in log.pages(owner, listing.Query()):
            rows += len(page)
        assert rows == N
        print(f"     exported {rows / (time.perf_counter() - begun):.0f} events/s")
    harness.finish()


if __name__ == "__main__":
    main()
