"""What a run's page draws: how far it is, equal output, hosts, panes. Read in a fixed number of queries, whatever its size."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django.db.models import Case, IntegerField, Value, When
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from core.actor import Actor
from frontend import terminal
from scripts import output
from scripts.models import Chunk, Run, RunHost
from scripts.run_api import groups

PANES = 8
LISTED = 200  # hosts in the list at the left
SEGMENTS = 60  # hosts drawn one by one in the bar above
TAIL = 16 << 10  # bytes of a pane
STREAM = 60  # chunks of the one stream at first
S = RunHost.State
MARKS = {
    S.WAITING: "queued",
    S.RUNNING: "pending",
    S.SUCCEEDED: "ok",
    S.FAILED: "crit",
    S.UNKNOWN: "unknown",
    S.CANCELLED: "stopped",
    S.SKIPPED: "stopped",
}
TOLD = (S.SUCCEEDED, S.FAILED, S.UNKNOWN, S.RUNNING, S.WAITING, S.CANCELLED, S.SKIPPED)  # in which order they are counted
BARS = {S.SUCCEEDED: "b-ok", S.FAILED: "b-crit", S.UNKNOWN: "b-warn", S.RUNNING: "b-acc", S.CANCELLED: "b-off", S.SKIPPED: "b-off"}
PILLS = {Run.State.SUCCEEDED: "ok", Run.State.FAILED: "crit", Run.State.UNKNOWN: "warn", Run.State.RUNNING: "acc", Run.State.QUEUED: "acc"}
# What a person looks for comes first: what failed, what runs.
FIRST = Case(
    *(When(state=state, then=Value(n)) for n, state in enumerate((S.FAILED, S.UNKNOWN, S.RUNNING))),
    default=Value(3),
    output_field=IntegerField(),
)


def run_rows(actor: Actor, ids: Iterable[UUID]) -> list[Run]:
    """These runs as they are now, with what their head shows."""
    rows = Run.objects.visible_to(actor).select_related("script", "version", "created_by", "job").filter(pk__in=list(ids))
    return [with_head(run) for run in rows]


def with_head(run: Run) -> Run:
    """The run with its bar, its counts in words and how it was asked for."""
    extra: Any = run
    counts = run.counts
    done = sum(counts.get(state, 0) for state in RunHost.DONE)
    extra.done = done
    extra.again = sum(counts.get(state, 0) for state in RunHost.AGAIN)
    extra.bad = counts.get(S.FAILED, 0)
    extra.pill = PILLS.get(Run.State(run.state), "flat")
    extra.told = [(MARKS[state], counts[state], words(state)) for state in TOLD if counts.get(state)]
    extra.bar_parts = [(css, counts.get(state, 0)) for state, css in BARS.items()]
    extra.bar_parts.append(("", max(0, run.total - sum(amount for _css, amount in extra.bar_parts))))
    extra.cells = list(run.hosts.order_by("wave", "name").values_list("state", flat=True)) if 0 < run.total <= SEGMENTS else []
    extra.took_s = ((run.finished_at or timezone.now()) - run.started_at).total_seconds() if run.started_at else None
    extra.where = run.selector.get("search") or ngettext("%(n)d machine", "%(n)d machines", len(run.selector.get("ids", ()))) % {
        "n": len(run.selector.get("ids", ()))
    }
    extra.how = how(run)
    extra.lang = run.version.interpreter if run.version else run.exec_type
    return run


def words(state: str) -> str:
    """A host's state in words."""
    return {
        S.WAITING: _("waiting"),
        S.RUNNING: _("running"),
        S.SUCCEEDED: _("succeeded"),
        S.FAILED: _("failed"),
        S.UNKNOWN: _("unknown"),
        S.CANCELLED: _("stopped"),
        S.SKIPPED: _("skipped"),
    }[S(state)]


def how(run: Run) -> str:
    """Waves and stop condition in words."""
    if run.wave == "location":
        said = _("one location at a time")
    elif run.wave == "cloud":
        said = _("one cloud at a time")
    elif run.wave:
        said = _("waves of %(wave)s") % {"wave": run.wave}
    else:
        said = _("%(n)d at a time") % {"n": run.concurrency}
    if run.stop_after:
        said += ", " + ngettext("stop after %(n)d failure", "stop after %(n)d failures", run.stop_after) % {"n": run.stop_after}
    return said + (", " + _("dry run") if run.dry else "")


def with_side(run: Run, chosen: str = "") -> Run:
    """The run with its groups of equal output and its hosts."""
    extra: Any = run
    alike = groups(run, "alike")
    ordered = run.hosts.annotate(first=FIRST).order_by("first", "wave", "name") if run.total > PANES else run.hosts.order_by("wave", "name")
    hosts = list(ordered[:LISTED])
    extra.groups = [
        {
            **group,
            "last_line": terminal.plain(group["last_line"]),
            "mark": MARKS[S(group["state"])],
            "is_bad": group["state"] in (S.FAILED, S.UNKNOWN),
            "rest": group["count"] - len(group["names"]),
        }
        for group in alike[:20]
    ]
    extra.group_count = len(alike)
    extra.listed = with_facts(hosts)
    extra.unlisted = max(0, run.total - len(hosts))
    extra.shown_parameters = {**run.parameters, **({_("words"): " ".join(run.arguments)} if run.arguments else {})}
    extra.chosen = chosen
    return run


def with_facts(hosts: Iterable[RunHost]) -> list[RunHost]:
    """Hosts with their mark, how long they took, and why they wait or failed."""
    hosts = list(hosts)
    for host in hosts:
        extra: Any = host
        extra.mark = MARKS[S(host.state)]
        extra.is_bad = host.state in (S.FAILED, S.UNKNOWN)
        end = host.finished_at or timezone.now()
        extra.took_s = (end - host.started_at).total_seconds() if host.started_at else None
        extra.word = words(host.state)
    return hosts


def with_output(hosts: Iterable[RunHost], most: int = TAIL) -> list[RunHost]:
    """Hosts with the end of what they said, as markup."""
    found = with_facts(hosts)
    for host in found:
        extra: Any = host
        segments = output.last(host, most)
        extra.said = terminal.lines(segments)
        extra.cut = bool(segments) and segments[0].start > 0
    return found


def one_stream(run: Run) -> tuple[SafeString, int]:
    """(the last of what all hosts said, as markup with their names; the last chunk's number)."""
    rows = list(Chunk.objects.filter(run=run).select_related("host").order_by("-pk")[:STREAM])[::-1]
    parts = [named(chunk) for chunk in rows]
    return format_html_join("", "{}", ((part,) for part in parts)), (rows[-1].pk if rows else 0)


def named(chunk: Chunk) -> SafeString:
    """A chunk as markup under its host's name."""
    return format_html('<b class="h">{}</b>{}', chunk.host.name, terminal.lines(output.segments(chunk)))
