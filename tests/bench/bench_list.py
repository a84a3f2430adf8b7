"""`GET /machines` at 100,000 machines, with a tag policy and a three-term search.

First page of 50, and page 1,000 by cursor: ≤ 4 × the time of the bare SQL it needs; p95 ≤ 60 ms at one client; ≤ 12 queries.
The bare SQL of a page is its rows, rights and total; a deep page has the total from its cursor, and need not count.
The request goes through the whole of Django (middleware, authentication, permission, serializer, JSON), without the socket.
"""

from __future__ import annotations

import json
from typing import Any

from tests.bench import harness

N, TIMES = 100_000, 60
SEARCH = "state:running tag:env=prod name:a"


def main() -> None:
    with harness.database():
        from django.db import connection
        from django.test.utils import CaptureQueriesContext
        from rest_framework.test import APIClient

        from accounts.models import Membership, Team, User
        from clouds.models import Cloud, Poll
        from clouds.polling import poll_once
        from core.actions import perform
        from core.actor import Actor
        from mist.roles import settle

        owner = harness.make_owner()
        perform(owner, Cloud, "create", {"name": "demo", "provider": "demo", "credentials": {"machines": N, "seed": 1}})
        for poll in Poll.objects.exclude(kind="volume").order_by("pk"):
            poll_once(poll.pk, deadline_s=600)
        with connection.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE")
            cursor.execute("CHECKPOINT")  # what was written to make this world is not written while it is measured
        user = User.objects.create_user("member@example.org", "a-long-password")
        Membership.objects.create(org_id=owner.org_id, user=user)
        team = Team.objects.create(
            org_id=owner.org_id,
            name="Production",
            statements=[
                {"effect": "allow", "verbs": ["*.read"], "what": {"kinds": ["cloud"]}},
                {"effect": "allow", "verbs": ["*"], "what": {"kinds": ["machine"], "tags": {"env": "prod"}}},
            ],
        )
        team.members.add(user)
        api = APIClient()
        settle()  # as `manage.py up` does

        def get(**params: Any) -> dict[str, Any]:
            actor = Actor(org_id=owner.org_id, user_id=user.pk, email=user.email)  # as each request has its own
            api.force_authenticate(user=None, token=actor)
            answer = api.get("/api/v2/machines", {"limit": 50, **params})
            assert answer.status_code == 200, answer.content
            body: dict[str, Any] = json.loads(answer.content)
            return body

        deep, cursor_ = get(sort="name"), ""
        for _ in range(30):  # thirty pages of 1,000: of the third that matches, page 1,000 of fifty would be beyond the end
            page = get(search=SEARCH, sort="name", limit=1000, **({"cursor": cursor_} if cursor_ else {}))
            if page["meta"]["next"] is None:
                break
            cursor_ = page["meta"]["next"]
        counting: list[str] = []
        for name, params in {
            "first page": {"search": SEARCH, "sort": "name"},
            "deep page by cursor": {"search": SEARCH, "sort": "name", "cursor": cursor_},
            "first page, no search": {"sort": "name"},
        }.items():
            get(**params)
            with CaptureQueriesContext(connection) as captured:
                body = get(**params)
            queries = [q["sql"] for q in captured.captured_queries]  # now: the next request empties the log they are read from
            walls = harness.timed(lambda p=params: get(**p), times=TIMES)

            counting = [q for q in queries if "COUNT(" in q] or counting  # a part of every answer, even where a cursor brings it along
            statements = [*(q for q in queries if q not in counting), *counting]

            def bare(statements: list[str] = statements) -> None:
                with connection.cursor() as cursor:
                    for sql in statements:
                        cursor.execute(sql)
                        if cursor.description:
                            cursor.fetchall()

            sql = harness.timed(bare, times=TIMES)
            print(
                f"     {name}: {body['meta']['returned']} rows of {body['meta']['total']}; bare SQL p50 {sql[len(sql) // 2] * 1000:.1f} ms"
            )
            harness.report(f"{name}: p95", harness.percentile(walls, 0.95) * 1000, 60, "ms")
            if "search" in params:  # without one the bare SQL is next to nothing: p95 says enough
                harness.report(f"{name}: p50 beside its bare SQL", walls[len(walls) // 2] / sql[len(sql) // 2], 4, "x")
            harness.report(f"{name}: queries", len(queries), 12, "queries")
        assert deep["data"]
    harness.finish()


if __name__ == "__main__":
    main()
