"""How far a job is: its children by how they ended, how long it has taken, and how long it will still take where that is known."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db.models import Avg, Count, DurationField, ExpressionWrapper, F
from django.utils import timezone

from core import approvals
from core.actor import Actor
from core.jobs import can_cancel
from core.models import Event, Job
from frontend import approving, faults
from frontend.inverse import can_take_back
from scripts.models import Run

NEWEST = 1000  # of an organization's jobs: what things took lately
FEWEST = 3  # ended jobs of an action before we guess


def with_progress(rows: Sequence[Job]) -> list[Job]:
    """Each job with `child_states`, `ended`, `not_ended`, `failed_children`, `skipped_children`, `parts` of its bar, `took_s`,
    `left_s` (None is unknown), `is_counted` (it says how much of how much is done) and `can_cancel`. Three queries however many they are.
    """
    now = timezone.now()
    bulks = [job.pk for job in rows if job.target_id is None]
    states: dict[UUID, dict[str, int]] = {}
    if bulks:
        counted = Job.objects.filter(parent_id__in=bulks).order_by().values_list("parent_id", "state").annotate(n=Count("pk"))
        for parent_id, state, count in counted:
            states.setdefault(parent_id, {})[state] = count
    runs = Run.objects.filter(pk__in=[job.pk for job in rows if job.action == "script.run" and job.state == Job.State.RUNNING])
    hosts = {run.pk: run for run in runs.only("counts", "total")} if rows else {}
    typical = _typical([job for job in rows if job.state == Job.State.RUNNING and job.target_id is not None])
    for job in rows:
        extra: Any = job
        extra.child_states = states.get(job.pk, {})
        ended = {state: count for state, count in extra.child_states.items() if state not in Job.ACTIVE}
        extra.ended = sum(ended.values())
        extra.not_ended = max(0, (job.total or 0) - extra.ended)
        extra.failed_children = ended.get(Job.State.FAILED, 0) + ended.get(Job.State.LOST, 0)
        extra.skipped_children = ended.get(Job.State.SKIPPED, 0)
        extra.waiting_children = extra.child_states.get(Job.State.WAITING, 0)
        well = extra.ended - extra.failed_children - extra.skipped_children
        done = "b-acc" if job.is_active else "b-ok"
        extra.parts = [(done, well), ("b-off", extra.skipped_children), ("b-crit", extra.failed_children), ("b-none", extra.not_ended)]
        extra.took_s = took(job, now)
        extra.left_s = _left(job, extra, typical.get(job.action))
        extra.is_counted = job.target_id is not None and job.state == Job.State.RUNNING and job.done is not None and bool(job.total)
        if extra.is_counted:
            extra.parts = [("b-acc", job.done), ("b-none", max(0, job.total - job.done))]
        elif job.target_id is not None and extra.left_s is not None and extra.took_s is not None:
            extra.parts = [("b-acc", extra.took_s), ("b-none", max(extra.left_s, 0.05 * extra.took_s))]
        if job.pk in hosts:
            _of_hosts(job, hosts[job.pk])
        extra.can_cancel = can_cancel(job)
    return list(rows)


def _of_hosts(job: Any, run: Run) -> None:
    """A run counts its hosts, as a bulk its children."""
    well, bad = run.counts.get("succeeded", 0), run.counts.get("failed", 0) + run.counts.get("unknown", 0)
    other = run.counts.get("cancelled", 0) + run.counts.get("skipped", 0)
    job.is_counted, job.done, job.total, job.failed_children = bool(run.total), well + bad + other, run.total, bad
    job.parts = [("b-acc", well), ("b-off", other), ("b-crit", bad), ("b-none", max(0, run.total - job.done))]
    job.left_s = None


def took(job: Job, now: datetime) -> float | None:
    """Seconds from its start to its end, or until now."""
    begun = job.started_at or job.queued_at
    return max(0.0, ((job.finished_at or now) - begun).total_seconds()) if begun else None


def _left(job: Job, extra: Any, typical: timedelta | None) -> float | None:
    """Seconds it will still take: a bulk, and what counts what it does, as fast as so far, one thing as long as such things took lately."""
    if job.state != Job.State.RUNNING or extra.took_s is None:
        return None
    if job.target_id is None:
        return extra.took_s / extra.ended * extra.not_ended if extra.ended and extra.not_ended else None
    if job.done and job.total:
        return float(extra.took_s / job.done * max(0, job.total - job.done))
    return max(0.0, typical.total_seconds() - extra.took_s) if typical is not None else None


def _typical(running: Sequence[Job]) -> dict[str, timedelta]:
    """{action: how long it took on average}, of what ended well lately in the organization of these jobs."""
    if not running:
        return {}
    newest = Job.objects.filter(org_id=running[0].org_id).order_by("-created_at", "-id").values("pk")[:NEWEST]
    span = ExpressionWrapper(F("finished_at") - F("started_at"), output_field=DurationField())
    ended = Job.objects.filter(pk__in=newest, state=Job.State.SUCCEEDED, started_at__isnull=False)
    ended = ended.filter(action__in={job.action for job in running})
    known = ended.order_by().values("action").annotate(took=Avg(span), n=Count("pk")).filter(n__gte=FEWEST)
    return {row["action"]: row["took"] for row in known}


def reasons(job: Job) -> list[tuple[int, str]]:
    """(of how many, why) a bulk's children failed or left something, the commonest first; three at most."""
    failed = job.children.filter(Job.NOT_WHOLLY)
    return [(row["n"], row["error_detail"]) for row in failed.order_by().values("error_detail").annotate(n=Count("pk")).order_by("-n")[:3]]


def with_detail(actor: Actor, job: Job, base: str) -> Job:
    """The job with what its page shows beside its row: `reasons`, `fault`, `words` (the provider's), `opposite`, `is_watched`,
    `need` and `open_until` (of one that waits for approval), `result_rows`.
    """
    extra: Any = job
    failed = job.state in (Job.State.FAILED, Job.State.LOST)
    extra.reasons = reasons(job) if (failed or job.is_partly) and job.target_id is None else []
    extra.fault = faults.of_job(job, base) if failed else None
    told = Event.objects.visible_to(actor).filter(job_id=job.pk, type=f"{job.action}.failed").first() if failed else None
    extra.words = str(told.detail.get("words", "")) if told else ""
    extra.opposite = job.user_id == actor.user_id and can_take_back(job)
    extra.is_watched = actor.user_id in job.watchers
    extra.need = approving.asked(job)
    extra.open_until = approvals.open_until(job) if extra.need else None
    extra.result_rows = [(key, value) for key, value in (job.result or {}).items() if job.target_id is not None]
    return job
