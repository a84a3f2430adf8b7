"""Who may approve what waits for it, and the letters: to them when something is asked, to who asked when it is answered."""

from __future__ import annotations

import itertools
from typing import Any
from uuid import UUID

from accounts import mail, policies
from accounts.models import Organization, User
from core.models import Job
from core.ticks import every

TOLD = 20  # of those who may approve, by letter
NAMED = 10  # targets in a letter


def approvers(job: Job) -> list[User]:
    """Those who may approve it, the first so many by e-mail."""
    able = (one.user for one in policies.who_can(job.org_id, job, "approve"))
    return list(itertools.islice((user for user in able if user.pk != job.user_id), TOLD))


def would_approve(org_id: UUID, user_id: UUID | None, target: Any) -> list[User]:
    """Those who may approve what this person would ask to do to this."""
    about = {"target_kind": target.kind(), "target_id": target.pk, "target_tags": getattr(target, "tags", None) or {}}
    return approvers(Job(org_id=org_id, user_id=user_id, cloud_id=target.cloud_ref, **about))


def target_names(job: Job) -> list[str]:
    """Of what it is to be done to, as far as a letter names it."""
    if job.target_id is not None:
        return [job.target_name]
    ids = [UUID(pk) for pk in (job.selector or {}).get("ids", [])[:NAMED]]
    model = policies.kinds()[job.target_kind]
    return [str(row) for row in model.objects.filter(org_id=job.org_id, pk__in=ids).order_by("pk")]


@every(5)
def tell() -> int:
    """Send the letters that are due. One that cannot be sent is logged: who should answer finds it in the console too.

    Returns: about how many jobs.
    """
    due = list(Job.objects.filter(to_tell=True).select_related("user", "answered_by").order_by("created_at")[:50])
    taken = [job for job in due if Job.objects.filter(pk=job.pk, to_tell=True, state=job.state).update(to_tell=False)]
    for job in taken:
        _tell(job)
    return len(taken)


def _tell(job: Job) -> None:
    org = Organization.objects.get(pk=job.org_id)
    if job.state == Job.State.ASKED:
        mail.send_asked(org, job, approvers(job), target_names(job))
    elif job.user is not None and job.user.is_active:
        mail.send_answered(org, job, target_names(job))
