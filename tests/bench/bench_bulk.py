"""Bulk stop of 1,000 machines: the request ≤ 500 ms, all child jobs queued ≤ 5 s."""

from __future__ import annotations

from typing import Any

from tests.bench import harness

N = 1000


def main() -> None:
    with harness.database():
        from rest_framework.test import APIClient

        from clouds.models import Cloud, Poll
        from clouds.polling import poll_once
        from core import actions, bulks
        from core.actions import perform
        from core.models import Job
        from machines.models import Machine

        owner = harness.make_owner()
        perform(owner, Cloud, "create", {"name": "demo", "provider": "demo", "credentials": {"machines": N * 2, "seed": 1}})
        for poll in Poll.objects.order_by("pk"):
            poll_once(poll.pk)
        ids = [pk.hex for pk in Machine.objects.filter(state="running", type="vm").values_list("pk", flat=True)[:N]]
        assert len(ids) == N
        api = APIClient()
        api.force_authenticate(user=None, token=owner)
        api.get("/api/v2/machines", {"limit": 1})  # the first request of a process loads the addresses
        body: dict[str, Any] = {"kind": "machine", "action": "stop", "ids": ids}
        answer: list[Any] = []
        walls = harness.timed(lambda: answer.append(api.post("/api/v2/bulk", body, format="json")))
        assert answer[0].status_code == 200, answer[0].content
        harness.report("the request", walls[0] * 1000, 500, "ms")
        job = actions.claim(Job.objects.get(target_id=None).pk, "bench")
        assert job is not None
        harness.report("all children queued", harness.timed(lambda: bulks.expand(job))[0], 5, "s")
        assert job.children.filter(state="queued").count() == N
    harness.finish()


if __name__ == "__main__":
    main()
