"""The rows that lists and live fragments draw, with what a template needs beside each: read in a fixed number of queries."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Count, QuerySet
from django.utils import timezone

from accounts.models import User
from clouds.models import Cloud, Poll
from core.actor import Actor
from core.models import Event, Job
from frontend import words
from machines.models import Machine


def machine_queryset() -> Any:
    """What of machines a row shows, in one query; `visible_to` is still to be asked."""
    return Machine.objects.select_related("cloud", "location", "size", "owner").defer("extra", "cloud_tags", "cloud__config")


def machine_rows(actor: Actor, ids: Iterable[UUID]) -> list[Machine]:
    """These machines as they are now, with the verb at work on each as `doing`."""
    return with_jobs(list(machine_queryset().visible_to(actor).filter(pk__in=list(ids))))


def with_jobs(machines: list[Machine]) -> list[Machine]:
    """Each machine's active job as `active_job`: the short note beside its name."""
    active = {
        job.target_id: job
        for job in Job.objects.filter(target_id__in=[machine.pk for machine in machines], exclusive=True, state__in=Job.ACTIVE)
    }
    for machine in machines:
        machine.active_job = active.get(machine.pk)  # type: ignore[attr-defined]
    return machines


def cloud_rows(actor: Actor, clouds: QuerySet[Cloud]) -> list[Cloud]:
    """Clouds with `machines` (how many), `by_state`, `polls`, `poll` (that of machines) and `trouble` (the worst of them)."""
    rows = list(clouds.visible_to(actor).order_by("name"))  # type: ignore[attr-defined]
    ids = [cloud.pk for cloud in rows]
    polls: dict[UUID, list[Poll]] = {}
    for poll in Poll.objects.filter(cloud_id__in=ids).order_by("kind"):
        polls.setdefault(poll.cloud_id, []).append(poll)
    states: dict[UUID, dict[str, int]] = {}
    counted = Machine.objects.visible_to(actor).filter(cloud_id__in=ids, missing_since=None).order_by().values_list("cloud_id", "state")
    for cloud_id, state, count in counted.annotate(n=Count("pk")):
        states.setdefault(cloud_id, {})[state] = count
    for cloud in rows:
        extra: Any = cloud
        extra.polls_now = polls.get(cloud.pk, [])
        extra.poll = next((poll for poll in extra.polls_now if poll.kind == "machine"), None)
        extra.trouble = next((poll for poll in extra.polls_now if poll.error_code), None)
        extra.by_state = states.get(cloud.pk, {})
        extra.machines = sum(extra.by_state.values())
    return rows


STATE_BARS = (
    ("b-ok", ("running", "normal", "succeeded")),
    ("b-off", ("stopped", "terminated")),
    ("b-viol", ("suspended", "paused")),
    ("b-crit", ("error", "failed")),
    ("b-warn", ("unknown",)),
)


def state_parts(by_state: dict[str, int]) -> list[tuple[str, float]]:
    """The parts of a bar of machines by state; what is neither at rest nor broken is changing."""
    named = {state for _css, states in STATE_BARS for state in states}
    parts: list[tuple[str, float]] = [(css, sum(by_state.get(state, 0) for state in states)) for css, states in STATE_BARS]
    parts.insert(2, ("b-acc", sum(count for state, count in by_state.items() if state not in named)))
    return parts


def job_rows(actor: Actor, jobs: QuerySet[Job], limit: int | None = None) -> list[Job]:
    """Jobs with their `user`, and of bulks how many children ended how as `child_states`; at most `limit`."""
    rows = list(jobs.visible_to(actor).select_related("user")[:limit])  # type: ignore[attr-defined]
    return with_children(rows)


def with_children(rows: list[Job]) -> list[Job]:
    bulks = [job.pk for job in rows if job.target_id is None]
    states: dict[UUID, dict[str, int]] = {}
    if bulks:
        counted = Job.objects.filter(parent_id__in=bulks).order_by().values_list("parent_id", "state").annotate(n=Count("pk"))
        for parent_id, state, count in counted:
            states.setdefault(parent_id, {})[state] = count
    for job in rows:
        extra: Any = job
        extra.child_states = states.get(job.pk, {})
        ended = {state: count for state, count in extra.child_states.items() if state not in Job.ACTIVE}
        extra.ended = sum(ended.values())
        extra.not_ended = max(0, (job.total or 0) - extra.ended)
        extra.failed_children = ended.get(Job.State.FAILED, 0) + ended.get(Job.State.LOST, 0)
        extra.parts = [("b-ok", extra.ended - extra.failed_children), ("b-crit", extra.failed_children), ("b-none", extra.not_ended)]
        extra.took_s = took(job, timezone.now())
    return rows


def took(job: Job, now: datetime) -> float | None:
    """Seconds from its start to its end, or until now."""
    begun = job.started_at or job.queued_at
    return max(0.0, ((job.finished_at or now) - begun).total_seconds()) if begun else None


def event_rows(events: Sequence[Event]) -> list[Event]:
    """Events with `who`: the name of the actor, or what acted."""
    ids = {event.actor_id for event in events if event.actor_id}
    people = {user.pk: user for user in User.objects.filter(pk__in=ids)} if ids else {}
    for event in events:
        extra: Any = event
        person = people.get(event.actor_id) if event.actor_id else None
        extra.person = person
        extra.who = person.full_name if person else event.via.partition(":")[0]
        extra.verb, _dot, extra.outcome = event.type.rpartition(".")
        extra.label = words.event_label(event.type)
        extra.lines = diff(event)
        extra.via_short = event.via.partition(":")[0]
        extra.why = event.detail.get("reason") or event.detail.get("error") or ""
    return list(events)


def diff(event: Event) -> list[tuple[str, str]]:
    """Before and after as lines: ("r", "- size: small"), ("a", "+ size: large")."""
    before, after = event.before or {}, event.after or {}
    lines = []
    for key in sorted({*before, *after}):
        if before.get(key) == after.get(key):
            continue
        if key in before:
            lines.append(("r", f"- {key}: {_plain(before[key])}"))
        if key in after:
            lines.append(("a", f"+ {key}: {_plain(after[key])}"))
    return lines


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
