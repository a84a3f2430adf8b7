"""The rows that lists and live fragments draw, with what a template needs beside each: read in a fixed number of queries."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC
from typing import Any
from uuid import UUID

from django.db.models import Count, Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from accounts.models import Export, User
from clouds.models import Cloud, Poll
from core import approvals, personal
from core.actor import Actor
from core.models import Event, Job
from frontend import fromacts, words
from frontend.progress import with_progress
from frontend.story import changes, diff, facts, people_in, record
from machines.models import Machine, Session


def machine_queryset(*more: str) -> Any:
    """What of machines a row shows, in one query; `visible_to` is still to be asked. more: other relations it shows."""
    return Machine.objects.select_related("cloud", "location", "size", "owner", "locked_by", *more).defer(
        "extra", "cloud_tags", "cloud__config"
    )


def machine_rows(actor: Actor, ids: Iterable[UUID], *more: str) -> list[Machine]:
    """These machines as they are now, with the verb at work on each as `active_job`."""
    return with_jobs(list(machine_queryset(*more).visible_to(actor).filter(pk__in=list(ids))))


def with_jobs(machines: list[Machine]) -> list[Machine]:
    """Each machine's active job as `active_job`: the short note beside its name.

    What only some lists know of a row is said to be nothing: a template takes 50 µs to find that a model lacks an attribute.
    """
    active = {
        job.target_id: job
        for job in Job.objects.filter(target_id__in=[machine.pk for machine in machines], exclusive=True, state__in=Job.ACTIVE)
    }
    for machine in machines:
        row: Any = machine
        row.active_job = active.get(machine.pk)
        row.now, row.is_past, row.under, row.inside = None, False, None, 0
    return machines


def on_top(actor: Actor) -> Q:
    """Not inside another machine that one may see: that one unfolds."""
    return Q(parent=None) | ~Q(Exists(Machine.objects.visible_to(actor).filter(pk=OuterRef("parent_id"))))


def with_inside(actor: Actor, rows: list[Machine]) -> None:
    """Each with `inside`: how many machines are in it."""
    ids = [row.pk for row in rows]
    counted = Machine.objects.visible_to(actor).filter(parent_id__in=ids).order_by().values_list("parent_id").annotate(n=Count("pk"))
    counts = dict(counted)
    for row in rows:
        row.inside = counts.get(row.pk, 0)  # type: ignore[attr-defined]


def with_now(actor: Actor, rows: list[Machine], related: Iterable[str]) -> None:
    """Rows of the past, each with `now`: the machine as it is, None where it is there no more."""
    now = {row.pk: row for row in machine_queryset(*related).visible_to(actor).filter(pk__in=[row.pk for row in rows])}
    for row in rows:
        row.now = now.get(row.pk)  # type: ignore[attr-defined]
        row.is_past = row.now is None  # type: ignore[attr-defined]


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
    """Jobs with their `user`, how far they are (frontend.progress) and their `file`; at most `limit`."""
    return with_files(actor, with_progress(list(jobs.visible_to(actor).select_related("user", "answered_by")[:limit])))  # type: ignore[attr-defined]


def with_files(actor: Actor, jobs: list[Job]) -> list[Job]:
    """Each with the `file` it made for this person, while that is kept (None: none), and `is_mine`: they asked for it, and
    `may_answer`: it waits for approval, which they may give."""
    made = [job.target_id for job in jobs if job.target_kind == "export" and job.state == Job.State.SUCCEEDED]
    own = Export.objects.visible_to(actor).filter(owner_id=actor.user_id, expires_at__gt=timezone.now())
    kept = own.in_bulk(made) if made else {}
    for job in jobs:
        job.file = kept.get(job.target_id)  # type: ignore[attr-defined]
        job.is_mine = job.user_id == actor.user_id  # type: ignore[attr-defined]
        job.may_answer = job.state == Job.State.ASKED and not approvals.why_not(actor, job)  # type: ignore[attr-defined]
    return jobs


def times_of(events: Sequence[Event]) -> dict[str, Any]:
    """What a table of events says of their times: today is `now`'s day; `dated`: some are of another."""
    now = timezone.now()
    return {"now": now, "dated": any(event.at.astimezone(UTC).date() != now.astimezone(UTC).date() for event in events)}


def session_rows(actor: Actor, ids: Iterable[UUID]) -> list[Session]:
    """These shells as they are now."""
    return with_duration(list(Session.objects.visible_to(actor).select_related("owner").filter(pk__in=list(ids))))


def with_duration(sessions: list[Session]) -> list[Session]:
    """Each with `lasted_s`: seconds from its opening to its end, or until now."""
    for session in sessions:
        extra: Any = session
        begun = session.opened_at
        extra.lasted_s = ((session.ended_at or timezone.now()) - begun).total_seconds() if begun else None
    return sessions


def event_rows(events: Sequence[Event]) -> list[Event]:
    """Events with `who`: the name of the actor, or what acted."""
    ids = {event.actor_id for event in events if event.actor_id}
    ids |= {pk for event in events for pk in people_in(event)}
    people = {user.pk: user for user in User.objects.filter(pk__in=ids)} if ids else {}
    names = {pk.hex: person.full_name for pk, person in people.items()}
    for event in events:
        extra: Any = event
        person = people.get(event.actor_id) if event.actor_id else None
        extra.person = person
        extra.who = person.full_name if person else event.via.partition(":")[0]
        extra.verb, _dot, extra.outcome = event.type.rpartition(".")
        extra.of, extra.did = (f"{extra.verb.partition('.')[0]}.", extra.verb.partition(".")[2]) if "." in extra.verb else ("", extra.verb)
        extra.label = words.event_label(event.type)
        if event.target_id is None and (of_many := re.fullmatch(r"([0-9]+) machines", event.target_name)):  # a bulk's (core.bulks)
            extra.target_name = words.so_many(int(of_many[1]))
        extra.lines, extra.record, extra.change = diff(event, names), record(event, names), changes(event, names)
        extra.via_short = event.via.partition(":")[0]
        extra.why = event.detail.get("reason") or event.detail.get("error") or ""
    return list(events)


def with_story(actor: Actor, events: list[Event], base: str) -> list[Event]:
    """Each with `took_s` of its job, `address`, `su_by`, `cloud_name` of what polling saw, `summary`: what it was about in a line,
    and `approval`: its job, where that had to be approved.

    `base`: the organization's path, for links. `token_from`: may a token be made that does what this person did there?
    """
    known = personal.read_all({event.pk: event.personal for event in events})
    rows = Job.objects.visible_to(actor).select_related("answered_by").defer("params", "selector", "steps", "result")
    jobs = rows.in_bulk({event.job_id for event in events if event.job_id})
    own = {event.type.rpartition(".")[0] for event in events if event.actor_id == actor.user_id}
    limitable = {verb for verb in own if fromacts.is_of(verb)}
    seen = {event.cloud_id for event in events if event.cloud_id and event.via.startswith("poll")}
    clouds = dict(Cloud.objects.visible_to(actor).filter(pk__in=seen).values_list("pk", "name")) if seen else {}
    for event in events:
        extra: Any = event
        about = known[event.pk] or {}
        extra.base = base
        extra.token_from = event.actor_id == actor.user_id and event.type.rpartition(".")[0] in limitable
        job = jobs.get(event.job_id)
        ended = job is not None and event.type.endswith((".succeeded", ".failed")) and job.finished_at and job.started_at
        extra.took_s = (job.finished_at - job.started_at).total_seconds() if ended else None
        extra.approval = job if job is not None and (job.ask or job.approved_at) else None
        extra.address, extra.su_by = about.get("address", ""), about.get("su_by", "")
        extra.subject = about.get("subject", "")
        extra.cloud_name = clouds.get(event.cloud_id, "") if event.via.startswith("poll") else ""
        extra.summary = (event.before and extra.change) or extra.why or facts(event) or extra.change
    return events
