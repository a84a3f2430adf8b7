"""Pieces of pages that change by themselves: a name, how to read the rows, the template. The socket and the pages share them.

An element says `data-live="machine.row:<id>"`; when a machine changes, the consumer asks `render` for it and sends what it gave.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.template.loader import render_to_string

from accounts.models import Organization, User
from accounts.statements import policy_of
from clouds.models import Cloud
from core.actor import Actor
from core.models import Job
from frontend import acts, columns, keyboard, news, overview, toasts
from frontend.holdings import HOLDINGS, Holding, ready
from frontend.listing import PAGE
from frontend.progress import with_detail
from frontend.rows import cloud_rows, job_rows, machine_rows, session_rows, with_files, with_inside
from frontend.runs import run_rows, with_side
from frontend.sparks import with_series
from frontend.timeline import tail
from machines.models import Session

MOST = 500  # ids of one fragment that one page may show
Render = Callable[["Viewer", Iterable[UUID]], Mapping[UUID, str]]


@dataclass(frozen=True, kw_only=True)
class Viewer:
    """Who gets the piece, and in which organization. `how`: what the page says of how it shows its rows ({"cols": …})."""

    org: Organization
    user: User
    actor: Actor
    how: Mapping[str, str] = field(default_factory=dict)

    @property
    def base(self) -> str:
        return f"/o/{self.org.slug}"


@dataclass(frozen=True, kw_only=True)
class Fragment:
    """`kinds`: whose changes it follows. `whole`: it stands for the organization, not for one row. `every_s`: at most so often."""

    name: str
    kinds: frozenset[str]
    render: Render
    whole: bool = False
    every_s: float = 0.0


_fragments: dict[str, Fragment] = {}


def fragment(name: str, *kinds: str, whole: bool = False, every_s: float = 0.0) -> Callable[[Render], Render]:
    """Register a renderer: (viewer, ids) → {id: html} of those that may be seen."""

    def keep(function: Render) -> Render:
        _fragments[name] = Fragment(name=name, kinds=frozenset(kinds), render=function, whole=whole, every_s=every_s)
        return function

    return keep


def kinds_of(name: str) -> frozenset[str]:
    """Whose changes this fragment follows."""
    return _fragments[name].kinds


def every_s(name: str) -> float:
    """How long it stays as it was sent, whatever changes meanwhile."""
    return _fragments[name].every_s


def is_whole(name: str) -> bool:
    """Does it stand for the organization, so that any change of its kind concerns it?"""
    return _fragments[name].whole


def parse(shown: Any) -> dict[str, set[UUID]]:
    """{fragment name: ids} of what a page says it shows; what is no such thing is dropped."""
    wanted: dict[str, set[UUID]] = {}
    for name, texts in shown.items() if isinstance(shown, dict) else ():
        if name not in _fragments or not isinstance(texts, list):
            continue
        for text in texts[:MOST]:
            try:
                wanted.setdefault(name, set()).add(UUID(text))
            except (ValueError, AttributeError, TypeError):
                continue
    return wanted


def parse_how(how: Any) -> dict[str, str]:
    """What a page says of how it shows its rows: texts of a bearable length."""
    pairs = how.items() if isinstance(how, dict) else ()
    return {str(key): value for key, value in list(pairs)[:10] if isinstance(value, str) and len(value) <= 4000}


def render(viewer: Viewer, name: str, ids: Iterable[UUID]) -> Mapping[UUID, str]:
    """The markup of these, as they are now; what is gone or not to be seen is left out."""
    return _fragments[name].render(viewer, ids)


def _common(viewer: Viewer) -> dict[str, Any]:
    return {"base": viewer.base, "live": True, "key_of": keyboard.moved(viewer.user.settings)}


def _each(template: str, variable: str, viewer: Viewer, rows: Iterable[Any], **more: Any) -> dict[UUID, str]:
    context = {**_common(viewer), **more}
    return {row.pk: render_to_string(template, {variable: row, **context}) for row in rows}


@fragment("machine.row", "machine")
def _machine_rows(viewer: Viewer, ids: Iterable[UUID]) -> Mapping[UUID, str]:
    shown = columns.MACHINES.chosen(viewer.how.get("cols", ""))
    rows = with_series(viewer.actor, machine_rows(viewer.actor, ids, *columns.related(shown)), shown)
    still = news.matching(viewer.actor, viewer.how, [row.pk for row in rows])
    for row in rows:
        row.is_past = still is not None and row.pk not in still  # type: ignore[attr-defined]
        row.under = row.parent_id if viewer.how.get("nested") else None  # type: ignore[attr-defined]
    if viewer.how.get("nested"):
        with_inside(viewer.actor, rows)
    currency = viewer.how.get("currency", "")
    drawn = columns.under_one_sign(shown, currency)
    return _each("machines/_row.html", "machine", viewer, rows, columns=drawn, cols=viewer.how.get("cols", ""), currency=currency)


def _holding_rows(holding: Holding) -> Render:
    def rows(viewer: Viewer, ids: Iterable[UUID]) -> Mapping[UUID, str]:
        found = list(holding.rows().visible_to(viewer.actor).filter(pk__in=list(ids)))
        still = news.matching(viewer.actor, viewer.how, [row.pk for row in found])
        for row in ready(holding, viewer.actor, viewer.base, found):
            row.is_past = still is not None and row.pk not in still
        return _each("inventory/_row.html", "row", viewer, found, holding=holding, columns=holding.columns)

    return rows


for _holding in HOLDINGS.values():
    fragment(_holding.fragment, _holding.model.kind())(_holding_rows(_holding))


@fragment("machine.head", "machine")
def _machine_heads(viewer: Viewer, ids: Iterable[UUID]) -> Mapping[UUID, str]:
    rows = [acts.with_offers(viewer.actor, machine) for machine in machine_rows(viewer.actor, ids)]
    return _each("machines/_facts.html", "machine", viewer, rows)


@fragment("machine.lock", "machine")
def _machine_locks(viewer: Viewer, ids: Iterable[UUID]) -> Mapping[UUID, str]:
    rows = [acts.with_offers(viewer.actor, machine) for machine in machine_rows(viewer.actor, ids)]
    return _each("machines/_lock.html", "machine", viewer, rows)


@fragment("cloud.row", "cloud")
def _cloud_rows(viewer: Viewer, ids: Iterable[UUID]) -> Mapping[UUID, str]:
    return _each("clouds/_row.html", "cloud", viewer, cloud_rows(viewer.actor, Cloud.objects.filter(pk__in=list(ids))))


@fragment("job.row", "job", "run")  # a run goes by the id of its job
def _job_rows(viewer: Viewer, ids: Iterable[UUID]) -> Mapping[UUID, str]:
    return _each("jobs/_row.html", "job", viewer, job_rows(viewer.actor, Job.objects.filter(pk__in=list(ids))))


@fragment("job.page", "job")
def _job_pages(viewer: Viewer, ids: Iterable[UUID]) -> Mapping[UUID, str]:
    rows = job_rows(viewer.actor, Job.objects.filter(pk__in=list(ids)))
    return _each("jobs/_job.html", "job", viewer, [with_detail(viewer.actor, job, viewer.base) for job in rows])


@fragment("job.each", "job")
def _job_children(viewer: Viewer, ids: Iterable[UUID]) -> Mapping[UUID, str]:
    """The first children of bulks, in the order they were made: a page opened before they were gets them."""
    made = {}
    for parent in Job.objects.visible_to(viewer.actor).filter(pk__in=list(ids)[:5], target_id=None):
        children = job_rows(viewer.actor, Job.objects.filter(parent=parent).order_by("created_at", "id"), PAGE)
        context = {"job": parent, "children": children, **_common(viewer)}
        made[parent.pk] = render_to_string("jobs/_each.html", context)
    return made


@fragment("job.toast", "job")
def _job_toasts(viewer: Viewer, ids: Iterable[UUID]) -> Mapping[UUID, str]:
    rows = with_files(viewer.actor, list(Job.objects.visible_to(viewer.actor).filter(pk__in=list(ids))))
    common = _common(viewer)
    return {job.pk: render_to_string("components/toast.html", {"toast": toasts.of_job(job, viewer.base), **common}) for job in rows}


@fragment("session.row", "session")
def _session_rows(viewer: Viewer, ids: Iterable[UUID]) -> Mapping[UUID, str]:
    return _each("sessions/_row.html", "session", viewer, session_rows(viewer.actor, ids))


@fragment("run.row", "run")
def _run_rows(viewer: Viewer, ids: Iterable[UUID]) -> Mapping[UUID, str]:
    return _each("runs/_row.html", "run", viewer, run_rows(viewer.actor, ids))


@fragment("run.head", "run")
def _run_heads(viewer: Viewer, ids: Iterable[UUID]) -> Mapping[UUID, str]:
    return _each("runs/_head.html", "run", viewer, run_rows(viewer.actor, ids))


@fragment("run.side", "run")
def _run_sides(viewer: Viewer, ids: Iterable[UUID]) -> Mapping[UUID, str]:
    return _each("runs/_side.html", "run", viewer, [with_side(run) for run in run_rows(viewer.actor, ids)])


@fragment("shells.button", "session", whole=True)
def _shells_button(viewer: Viewer, ids: Iterable[UUID]) -> Mapping[UUID, str]:
    open_now = Session.objects.filter(org=viewer.org, owner=viewer.user).exclude(state=Session.State.ENDED).count()
    context = {"frame": {"org": viewer.org, "shells": open_now}, "base": viewer.base, "live": True}
    return dict.fromkeys(ids, render_to_string("components/shells_button.html", context))


@fragment("log.tail", "event", whole=True)
def _log_tail(viewer: Viewer, ids: Iterable[UUID]) -> Mapping[UUID, str]:
    context = {"org": viewer.org, "live": True, **tail(viewer.actor)}
    return dict.fromkeys(ids, render_to_string("log/_tail.html", context))


@fragment("jobs.button", "job", whole=True)
def _jobs_button(viewer: Viewer, ids: Iterable[UUID]) -> Mapping[UUID, str]:
    running = Job.objects.visible_to(viewer.actor).filter(state__in=Job.ACTIVE, parent=None).count()
    html = render_to_string("components/jobs_button.html", {"frame": {"org": viewer.org, "running": running}, "live": True})
    return dict.fromkeys(ids, html)


def _dashboard(name: str, template: str, read: Callable[[Viewer], Any], *kinds: str) -> None:
    """A part of the dashboard: it counts the whole organization, so that it is sent every few seconds at most."""

    @fragment(f"dash.{name}", *kinds, whole=True, every_s=3.0)
    def _render(viewer: Viewer, ids: Iterable[UUID]) -> Mapping[UUID, str]:
        part, may_add = overview.part(name, lambda: read(viewer)), policy_of(viewer.actor).somewhere(Cloud, "create")
        context = {"part": part, "org_id": viewer.org.pk.hex, "may_add": may_add, "base": viewer.base, "live": True}
        return dict.fromkeys((pk for pk in ids if pk == viewer.org.pk), render_to_string(template, context))


_dashboard("figures", "dashboard/_figures.html", lambda viewer: overview.figures(viewer.actor), "machine", "job", "cloud")
_dashboard(
    "attention", "dashboard/_attention.html", lambda viewer: overview.attention(viewer.actor, viewer.base), "machine", "job", "cloud"
)
_dashboard("ending", "dashboard/_ending.html", lambda viewer: overview.ending(viewer.actor), "machine")
_dashboard("clouds", "dashboard/_clouds.html", lambda viewer: overview.clouds(viewer.actor), "machine", "cloud")
_dashboard("activity", "dashboard/_activity.html", lambda viewer: overview.activity(viewer.actor), "event")
