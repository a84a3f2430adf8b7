"""What the dashboard says, each part by itself: the figures, what needs attention, the clouds, what happened last.

The page and the live fragments read the same parts. A part that the database cannot give in time fails alone (`part`).
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

from django.db import OperationalError, connection, transaction
from django.db.models import Count, Min, Q, Sum
from django.db.models.functions import TruncHour
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from accounts.models import Membership
from accounts.statements import policy_of
from clouds.models import Cloud, Poll
from core import approvals
from core.actions import allowed
from core.actor import Actor
from core.errors import AuthFailed, NotPermitted, RateLimited, Unavailable
from core.models import Event, Job
from frontend import words
from frontend.rows import cloud_rows, event_rows, machine_queryset, state_parts
from machines.models import Machine

log = logging.getLogger(__name__)

SOON = timedelta(days=7)
HOURS = 24
PART_MS = 3000  # of one part, in the database
UNTOLD = (
    "session.chunk.observed",  # of no person's doing: how recordings are sealed
    *(f"session.upload.{outcome}" for outcome in ("succeeded", "failed", "refused")),  # told of the machine
)
EVENTS_READ, EVENTS_SHOWN = 150, 18
ENDING_SHOWN = 6
RUNNING, AT_REST, BROKEN = ("running",), ("stopped", "terminated"), ("error", "failed")


@dataclass(kw_only=True)
class Sums:
    """Machines that are there, counted. `costs`: {currency: a month of those that run and have a price}."""

    by_state: Counter[str] = field(default_factory=Counter)
    costs: dict[str, Decimal] = field(default_factory=dict)
    priced: int = 0
    places: set[Any] = field(default_factory=set)

    def add(self, state: str, place: Any, currency: str, count: int, priced: int, cost: Decimal | None) -> None:
        self.by_state[state] += count
        if place:
            self.places.add(place)
        if state in RUNNING and priced:
            self.priced += priced
            self.costs[currency] = self.costs.get(currency, Decimal(0)) + (cost or 0)

    def of(self, states: tuple[str, ...]) -> int:
        return sum(self.by_state[state] for state in states)

    @property
    def total(self) -> int:
        return sum(self.by_state.values())

    @property
    def running(self) -> int:
        return self.of(RUNNING)

    @property
    def stopped(self) -> int:
        return self.of(AT_REST)

    @property
    def broken(self) -> int:
        return self.of(BROKEN)

    @property
    def parts(self) -> list[tuple[str, float]]:
        return state_parts(self.by_state)

    @property
    def label(self) -> str:
        """The bar in words."""
        return _("%(r)d running, %(s)d stopped, %(f)d failed, %(o)d in other states") % {
            "r": self.running,
            "s": self.stopped,
            "f": self.broken,
            "o": self.total - self.running - self.stopped - self.broken,
        }

    @property
    def priced_parts(self) -> list[tuple[str, float]]:
        """Of those that run: with a price, without."""
        return [("b-c1", self.priced), ("b-none", self.running - self.priced)]

    @property
    def cost(self) -> tuple[Decimal, str] | None:
        """The largest sum and its currency; sums of several currencies are never added."""
        if not self.costs:
            return None
        currency = max(self.costs, key=lambda name: self.costs[name])
        return self.costs[currency], currency

    @property
    def other_costs(self) -> list[tuple[Decimal, str]]:
        first = self.cost
        return sorted(((cost, name) for name, cost in self.costs.items() if first and name != first[1]), reverse=True)


def machines_here(actor: Actor) -> Any:
    return Machine.objects.visible_to(actor).filter(missing_since=None)


def sums(actor: Actor) -> tuple[Sums, dict[Any, Sums]]:
    """(of all, {cloud: of it}), in one query."""
    whole, by_cloud = Sums(), {}
    rows = (
        machines_here(actor)
        .order_by()
        .values_list("cloud_id", "location_id", "state", "currency")
        .annotate(count=Count("pk"), priced=Count("cost_month"), cost=Sum("cost_month"))
    )
    for cloud_id, location_id, state, currency, count, priced, cost in rows:
        for one in (whole, by_cloud.setdefault(cloud_id, Sums())):
            one.add(state, location_id, currency, count, priced, cost)
    return whole, by_cloud


# -- the figures


def figures(actor: Actor) -> dict[str, Any]:
    """The strip on top."""
    now = timezone.now()
    whole, _by_cloud = sums(actor)
    here = machines_here(actor)
    ends = here.filter(expires_at__isnull=False, expires_at__lt=now + SOON).aggregate(n=Count("pk"), first=Min("expires_at"))
    return {
        "sums": whole,
        "new": here.filter(first_seen_at__gte=now - timedelta(hours=HOURS)).count(),
        "ends": ends,
        "jobs": jobs_of_a_day(actor),
        "has_cloud": Cloud.objects.visible_to(actor).exists(),
    }


def jobs_of_a_day(actor: Actor) -> dict[str, Any]:
    """Jobs that began within 24 h, bulks as one: how many, how they ended, and how many in each hour, oldest first."""
    hour = timezone.now().replace(minute=0, second=0, microsecond=0)
    since = hour - timedelta(hours=HOURS - 1)
    rows = Job.objects.visible_to(actor).filter(parent=None, created_at__gte=since).order_by()
    failed = Q(state__in=[Job.State.FAILED, Job.State.LOST])
    by_hour = {
        at: (count, bad)
        for at, count, bad in rows.annotate(hour=TruncHour("created_at"))
        .values_list("hour")
        .annotate(count=Count("pk"), bad=Count("pk", filter=failed))
    }
    hours = [by_hour.get(since + timedelta(hours=n), (0, 0)) for n in range(HOURS)]
    return {
        "n": sum(count for count, _bad in hours),
        "failed": sum(bad for _count, bad in hours),
        "running": Job.objects.visible_to(actor).filter(parent=None, state__in=Job.ACTIVE).count(),
        "hours": hours,
    }


# -- what needs attention


@dataclass(frozen=True, kw_only=True)
class Notice:
    """One line of “Needs attention”. `rank`: lower is worse."""

    rank: int
    mark: str
    title: str
    detail: str
    url: str
    act: str


def attention(actor: Actor, base: str) -> list[Notice]:
    """What somebody should look at, worst first, each with the page to do it on."""
    parts = (_clouds_in_trouble, _broken_machines, _asks, _approvals, _failed_jobs, _ending)
    found = [notice for look in parts for notice in look(actor, base)]
    return sorted(found, key=lambda notice: notice.rank)


_TROUBLE = {
    AuthFailed.code: gettext_lazy("%(name)s does not take its credentials"),
    NotPermitted.code: gettext_lazy("The credentials of %(name)s may not read everything"),
    Unavailable.code: gettext_lazy("%(name)s does not answer"),
    RateLimited.code: gettext_lazy("%(name)s wants fewer calls"),
}
_ANY_TROUBLE = gettext_lazy("%(name)s cannot be read")


def _clouds_in_trouble(actor: Actor, base: str) -> Iterator[Notice]:
    clouds = Cloud.objects.visible_to(actor).filter(enabled=True)
    worst: dict[Any, Poll] = {}
    for poll in Poll.objects.filter(cloud__in=clouds).exclude(error_code="").select_related("cloud").order_by("-failures", "pk"):
        worst.setdefault(poll.cloud_id, poll)
    stale = Counter(dict(machines_here(actor).order_by().filter(cloud__in=list(worst)).values_list("cloud_id").annotate(n=Count("pk"))))
    for poll in worst.values():
        count = stale[poll.cloud_id]
        rows = ngettext("%(n)d machine as it was then", "%(n)d machines as they were then", count) % {"n": count} if count else ""
        title = str(_TROUBLE.get(poll.error_code, _ANY_TROUBLE)) % {"name": poll.cloud.name}
        detail = " · ".join(part for part in (poll.error_detail[:120], rows) if part)
        rank = 0 if poll.error_code in (AuthFailed.code, NotPermitted.code) else 1
        yield Notice(rank=rank, mark="crit", title=title, detail=detail, url=f"{base}/clouds/{poll.cloud_id.hex}", act=_("Open cloud"))


def _broken_machines(actor: Actor, base: str) -> Iterator[Notice]:
    names = list(machines_here(actor).filter(state__in=BROKEN).order_by("name").values_list("name", flat=True)[:4])
    if not names:
        return
    count = machines_here(actor).filter(state__in=BROKEN).count()
    title = ngettext("%(n)d machine is in error", "%(n)d machines are in error", count) % {"n": count}
    url = f"{base}/machines?{urlencode({'q': 'state:error,failed'})}"
    yield Notice(rank=2, mark="crit", title=title, detail=listed(names, count), url=url, act=_("Show"))


def _asks(actor: Actor, base: str) -> Iterator[Notice]:
    """Who asks for access, to those who can give it."""
    if not policy_of(actor).is_owner:
        return
    asking = Membership.objects.visible_to(actor).exclude(asked_for="").select_related("user").order_by("asked_at")
    for member in asking[:3]:
        title = _("%(name)s asks for access") % {"name": member.user.full_name}
        yield Notice(rank=2, mark="info", title=title, detail=member.asked_for[:200], url=f"{base}/teams#asks", act=_("Answer"))


def _approvals(actor: Actor, base: str) -> Iterator[Notice]:
    """What waits for the approval of this person."""
    waiting = Job.objects.visible_to(actor).filter(parent=None, state=Job.State.ASKED).select_related("user").order_by("created_at")
    for job in [one for one in waiting[:50] if not approvals.why_not(actor, one)][:3]:
        who = job.user.full_name if job.user else job.via
        title = _("%(name)s asks for approval: %(job)s") % {"name": who, "job": words.job_order(job)}
        yield Notice(rank=2, mark="warn", title=title, detail=job.ask[:200], url=f"{base}/jobs/{job.pk.hex}", act=_("Answer"))


def _failed_jobs(actor: Actor, base: str) -> Iterator[Notice]:
    since = timezone.now() - timedelta(hours=HOURS)
    failed = Job.objects.visible_to(actor).filter(parent=None, created_at__gte=since, state__in=[Job.State.FAILED, Job.State.LOST])
    rows = list(failed.order_by("-created_at", "-id")[:3])
    if not rows:
        return
    count = len(rows) if len(rows) < 3 else failed.count()
    title = ngettext("%(n)d job failed within a day", "%(n)d jobs failed within a day", count) % {"n": count}
    url = f"{base}/jobs?{urlencode({'q': 'state:failed,lost age<1d', 'who': 'all'})}"
    yield Notice(rank=3, mark="warn", title=title, detail=listed([words.job_title(job) for job in rows], count), url=url, act=_("Show"))


def _ending(actor: Actor, base: str) -> Iterator[Notice]:
    ending = machines_here(actor).filter(expires_at__isnull=False, expires_at__lt=timezone.now() + SOON)
    names = list(ending.order_by("expires_at", "name").values_list("name", flat=True)[:4])
    if not names:
        return
    count = len(names) if len(names) < 4 else ending.count()
    title = ngettext("%(n)d machine ends within a week", "%(n)d machines end within a week", count) % {"n": count}
    url = f"{base}/machines?{urlencode({'q': 'ends<7d', 'sort': 'expiration'})}"
    yield Notice(rank=4, mark="warn", title=title, detail=listed(names, count), url=url, act=_("Show"))


def listed(names: list[str], count: int) -> str:
    """“web-1, web-2, web-3 and 20 more”."""
    if count <= 3:
        return ", ".join(names[:3])
    return _("%(names)s and %(n)d more") % {"names": ", ".join(names[:3]), "n": count - 3}


def ending(actor: Actor) -> list[Machine]:
    """The next that end within a week, each with `can_extend`: may this person give it another end?"""
    rows = machine_queryset().visible_to(actor).filter(missing_since=None, expires_at__isnull=False, expires_at__lt=timezone.now() + SOON)
    found = list(rows.order_by("expires_at", "name")[:ENDING_SHOWN])
    for machine in found:
        machine.can_extend = allowed(actor, machine).get("set_expiration") is True
    return found


# -- the clouds


def clouds(actor: Actor) -> list[Cloud]:
    """Clouds as `cloud_rows` has them, with their `sums`; those that fail first."""
    rows = cloud_rows(actor, Cloud.objects.all())
    _whole, by_cloud = sums(actor)
    for cloud in rows:
        cloud.sums = by_cloud.get(cloud.pk, Sums())  # type: ignore[attr-defined]
    return sorted(rows, key=lambda cloud: (not cloud.trouble, -cloud.sums.total, cloud.name))  # type: ignore[attr-defined]


# -- what happened


def activity(actor: Actor) -> list[Event]:
    """The last things that happened, newest first: one line a job, and one for many of a kind in a row (`more`: how many beside it)."""
    newest = list(Event.objects.visible_to(actor).exclude(type__in=UNTOLD).order_by("-at", "-id")[:EVENTS_READ])
    shown: list[Any] = []
    jobs: set[Any] = set()
    for event in newest:
        if event.job_id is not None and event.job_id in jobs:
            continue  # how it ended is there already
        jobs.add(event.job_id)
        before = shown[-1] if shown else None
        alike = before is not None and (before.type, before.via, before.actor_id) == (event.type, event.via, event.actor_id)
        if alike and event.target_kind == before.target_kind:
            before.more += 1
            continue
        if len(shown) == EVENTS_SHOWN:
            break
        row: Any = event
        row.more = 0
        shown.append(row)
    rows = event_rows(shown)
    for line in rows:
        extra: Any = line
        extra.said = words.event_words(line.type)
        extra.subject = _subject(line)
        count = line.detail.get("count")
        if line.type.endswith(".found.observed") and count:  # what a cloud has listed for the first time: of the cloud, with how many
            things = f"{line.target_kind.replace('_', ' ')}s"
            extra.said = (_("Found %(n)d %(things)s in") % {"n": count, "things": _(things)}, "")
    return rows


def _subject(event: Any) -> str:
    """Who did it, before what they did: “Priya” stopped web-1, “Priya:” web-1 was not stopped."""
    if not event.person:
        return ""
    name = event.person.first_name or event.who
    has_done = event.outcome == "succeeded" and words.act(event.verb).did
    return name if has_done else f"{name}:"


# -- parts that fail alone


@contextmanager
def _in_time() -> Iterator[None]:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('statement_timeout'), set_config('statement_timeout', %s, true)", [str(PART_MS)])
        before = cursor.fetchone()[0]
        yield
        cursor.execute("SELECT set_config('statement_timeout', %s, true)", [before])


def part(name: str, read: Callable[[], Any]) -> dict[str, Any]:
    """{"it": what was read} or {"failed": True}: then the rest of the page is shown all the same."""
    try:
        with _in_time():
            return {"it": read(), "failed": False}
    except OperationalError as error:
        log.warning("dashboard: %s could not be read: %s", name, type(error).__name__)
        return {"it": None, "failed": True}
