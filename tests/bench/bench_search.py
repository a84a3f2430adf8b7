"""What the search language costs in PostgreSQL at 100,000 machines: first page of 50 by name, and the count up to 10,000.

Each search runs as every list runs it (core/listing.py: the capped count, then the page), without HTTP. The figure is all of its
queries together. `EXPLAIN=1` prints the plans.
"""

from __future__ import annotations

import os

from tests.bench import harness

N, TIMES = 100_000, 25
SEARCHES = (
    "state:running tag:env=prod web",  # three terms
    "state:running cloud:cloud-3 cost>100 name~^web -tag:keep",
    "web-eu-001234",  # one machine
    "web",
    "nothinglikeit",
    "payments",  # in tags alone
    "10.1.77.9",  # an address
    "10.1.77.",
    "tag:env",
    "tag:ticket=T-001234",
    "tag:ticket=T-00123*",
    "-tag:env",
    "tag:*cket=*01234",
    "tag:none",
    "owner:me",
    "owner:none state:stopped",
    "location:region-2",
    "team:owners cost>150",
    "provider:demo mem>=16GB",
    "-cloud:cloud-3 age<30d",
    "ends<7d",
    "name~^web-eu-00123[0-9]$",
    "ip:10.1.77.0/24",
    "id:ffffffff",
    "state:error OR (tag:env=dev ends<2d)",
    "web-eu-001234 OR tag:ticket=T-001235 OR 10.1.77.9",
    "a b c",
)

# d[k]: a die of each column's own, the same in every run.
FILL = """
INSERT INTO machines_machine (id, org_id, name, tags, owner_id, created_at, updated_at, cloud_id, external_id, extra, first_seen_at, source,
    state, type, hostname, public_ips, private_ips, address, cores, ram_mib, disk_gib, os_type, architecture, location_id, refusals,
    cost_month, currency, expires_at, expire_action, remind_message)
SELECT gen_random_uuid(), %(org)s,
    (ARRAY['web','db','cache','worker','kafka'])[1 + d[1] %% 5] || '-' ||
        (ARRAY['eu','us','ap'])[1 + d[2] %% 3] || '-' || lpad(n::text, 6, '0'),
    CASE WHEN d[3] %% 10 = 0 THEN '{}'::jsonb ELSE jsonb_build_object(
        'env', (ARRAY['prod','dev','stage','test'])[1 + d[4] %% 4],
        'service', (ARRAY['payments','search','login','mail','shop','feed','ads'])[1 + d[5] %% 7],
        'ticket', 'T-' || lpad(n::text, 6, '0')) END || CASE WHEN d[6] %% 100 = 5 THEN '{"keep": ""}'::jsonb ELSE '{}'::jsonb END,
    CASE WHEN d[7] %% 3 = 0 THEN %(owner)s::uuid END, now() - make_interval(hours => d[8] %% 9000), now(),
    (%(clouds)s::uuid[])[1 + d[9] %% 10], 'i-' || n, '{}', now(), 'poll',
    CASE WHEN d[10] %% 500 = 0 THEN 'error' WHEN d[10] %% 5 < 4 THEN 'running' ELSE 'stopped' END, 'vm', '', ARRAY[]::varchar[],
    ARRAY['10.' || n / 65536 || '.' || n / 256 %% 256 || '.' || n %% 256], '', 2 ^ (d[11] %% 6), 1024 * 2 ^ (d[11] %% 7), 20, 'linux',
    'x86_64',
    (%(locations)s::uuid[])[1 + d[12] %% 12], '{}', CASE WHEN d[13] %% 20 > 0 THEN d[14] %% 200 END, 'USD',
    CASE WHEN d[15] %% 50 = 0 THEN now() + make_interval(days => d[16] %% 90) END, '', ''
FROM generate_series(1, %(n)s) n,
    LATERAL (SELECT array_agg(abs(hashint4extended(n, k) %% 1000003)::int ORDER BY k) d FROM generate_series(1, 16) k) dice
"""


def main() -> None:
    with harness.database():
        from django.db import connection
        from django.test.utils import CaptureQueriesContext

        from accounts.models import Team
        from clouds.models import Cloud, Location
        from core import listing
        from machines.models import Machine

        actor = harness.make_owner()
        clouds = [Cloud.objects.create(org_id=actor.org_id, name=f"cloud-{n}", provider="demo") for n in range(10)]
        regions = [
            Location.objects.create(org_id=actor.org_id, cloud=clouds[0], name=f"region-{n}", external_id=f"r{n}", location_type="region")
            for n in range(4)
        ]
        zones = [
            Location.objects.create(org_id=actor.org_id, cloud=clouds[0], name=f"zone-{n}", external_id=f"z{n}", parent=regions[n % 4])
            for n in range(8)
        ]
        Team.objects.create(org_id=actor.org_id, name="Empty")
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE machines_machine DISABLE TRIGGER USER")  # the history of this fleet is not what is measured
            ids = {"clouds": [cloud.pk for cloud in clouds], "locations": [place.pk for place in (*regions, *zones)]}
            cursor.execute(FILL, {"org": actor.org_id, "owner": actor.user_id, "n": N, **ids})
            cursor.execute("VACUUM ANALYZE")
            cursor.execute("SELECT indexrelname, pg_size_pretty(pg_relation_size(indexrelid)) FROM pg_stat_user_indexes "
                           "WHERE relname = 'machines_machine' ORDER BY pg_relation_size(indexrelid) DESC")  # fmt: skip
            print("     indexes:", ", ".join(f"{name} {size}" for name, size in cursor.fetchall()))
        for text in SEARCHES:
            query = listing.Query(search=text, sort="name", limit=50)

            def page(query: listing.Query = query) -> listing.Page:
                return listing.page(Machine.objects.all(), actor, query)

            found = page()
            about = "about " if found.total_is_estimate else ""
            walls = harness.timed(page, times=TIMES)
            harness.report(f"{text} ({about}{found.total:,} rows): p95", harness.percentile(walls, 0.95) * 1000, 60, "ms")
            if os.environ.get("EXPLAIN"):
                with CaptureQueriesContext(connection) as captured, connection.cursor() as cursor:
                    page()
                    for sql in [asked["sql"] for asked in captured.captured_queries if asked["sql"].startswith("SELECT")]:
                        cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS OFF) {sql}")
                        print(*(line for (line,) in cursor.fetchall()), "", sep="\n")
    harness.finish()


if __name__ == "__main__":
    main()
