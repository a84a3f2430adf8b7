"""The time an audit log's page is about, and its bars: how many events came when, drawn by the server."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from core import listing, log, search
from core.actor import Actor
from core.errors import BadRequest
from core.models import Event
from core.search import Term, Value, all_of

PRESETS = {
    "1h": (_("Last hour"), _("in the last hour"), timedelta(hours=1)),
    "24h": (_("Last 24 hours"), _("in the last 24 hours"), timedelta(days=1)),
    "7d": (_("Last 7 days"), _("in the last 7 days"), timedelta(days=7)),
    "30d": (_("Last 30 days"), _("in the last 30 days"), timedelta(days=30)),
    "all": (_("All time"), _("in all"), None),
}
DEFAULT = "24h"
BINS = 97
STEPS_S = (1, 5, 10, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800, 2592000)
LABELS_S = (10, 30, 60, 300, 600, 1800, 3600, 10800, 21600, 43200, 86400, 172800, 432000, 864000, 2592000, 7776000)
HEIGHT, TOP = 72, 6  # of the drawing, pixels; the bars stand on its foot


@dataclass(frozen=True, kw_only=True)
class Span:
    """`since` to `until`: what the bars show; None: until now. `low` to `high`: what the list shows of it; None: all of it."""

    preset: str
    since: datetime
    until: datetime | None
    low: datetime | None = None
    high: datetime | None = None

    @property
    def is_brushed(self) -> bool:
        return self.low is not None or self.high is not None

    @property
    def first(self) -> datetime:
        return self.low or self.since

    @property
    def last(self) -> datetime | None:
        return self.high or self.until

    @property
    def label(self) -> str:
        return str(PRESETS[self.preset][0])

    @property
    def words(self) -> str:
        """After a count: “in the last 24 hours”; of a part, its two ends."""
        if not self.is_brushed:
            return str(PRESETS[self.preset][1])
        ends = [_moment(self.first), _moment(self.last) if self.last else str(_("now"))]
        return f"{ends[0]} – {ends[1]} UTC"

    def rows(self) -> Any:
        """The events of it."""
        found = Event.objects.defer("words").filter(at__gte=self.first)
        return found.filter(at__lt=self.last) if self.last else found

    def narrowed(self, query: listing.Query, *, window: bool = False) -> listing.Query:
        """The query with this time as terms of its search. `window`: that of the bars.  Raises: BadSearch."""
        low, high = (self.since, self.until) if window else (self.first, self.last)
        ends = [Term("at", ">=", (Value((low.isoformat(),)),))]
        if high is not None:
            ends.append(Term("at", "<", (Value((high.isoformat(),)),)))
        return replace(query, search=str(all_of([search.parse(query.search), *ends])))


def span(params: Mapping[str, str], org_id: UUID | None) -> Span:
    """`range`: a preset; `since`, `until`: ISO 8601, a part of it, which it grows to hold.  Raises: BadRequest."""
    preset = params.get("range") or DEFAULT
    if preset not in PRESETS:
        raise BadRequest(f"`range` is one of {', '.join(PRESETS)}.", code="bad_parameter")
    low, high = (listing.parse_at(text) if (text := params.get(name, "").strip()) else None for name in ("since", "until"))
    if low and high and not low < high:
        raise BadRequest("`since` comes before `until`.", code="bad_time")
    now = timezone.now()
    length = PRESETS[preset][2]
    since = now - length if length else _begin(org_id)
    since = min([since, *(end for end in (low, high and high - timedelta(minutes=1)) if end)])
    return Span(preset=preset, since=since, until=high if high and high > now else None, low=low, high=high)


def _begin(org_id: UUID | None) -> datetime:
    found = Event.objects.filter(org_id=org_id).order_by("at").values_list("at", flat=True).first()
    return found or timezone.now() - timedelta(days=1)


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%-d %b %H:%M" if at.second == 0 else "%-d %b %H:%M:%S")


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One step of time; x and width in percent of the drawing, y and height in pixels."""

    at: datetime
    until: datetime
    x: str
    width: str
    parts: tuple[tuple[str, str, str], ...]  # (class, y, height), from the foot up
    count: int
    good: int
    bad: int


@dataclass(frozen=True, kw_only=True)
class Bars:
    since: datetime
    until: datetime
    step_s: int
    bars: tuple[Bar, ...]
    total: int
    bad: int
    tick: int
    tick_y: str
    labels: tuple[tuple[str, str], ...]  # (x in percent, words)
    brush: tuple[str, str] | None  # x, width in percent


def bars(actor: Actor, query: listing.Query, asked: Span) -> Bars:
    """How many events a step of time: those that succeeded, the others, those that failed or were refused."""
    until = asked.until or timezone.now()
    length = (until - asked.since).total_seconds()
    step = next((s for s in STEPS_S if length / s <= BINS), math.ceil(length / BINS))
    first = math.floor(asked.since.timestamp() / step) * step
    count = max(1, math.ceil((until.timestamp() - first) / step))
    since, end = (datetime.fromtimestamp(first + n * step, UTC) for n in (0, count))
    found = log.histogram(actor, query, since, end, count)["bins"]
    highest = max((one["count"] for one in found), default=0)
    tick = _tick(highest)
    per = (HEIGHT - TOP) / max(highest, tick, 1)
    width = 100 / count
    made = []
    for number, one in enumerate(found):
        outcomes = one["outcomes"]
        bad = outcomes.get("failed", 0) + outcomes.get("refused", 0)
        good = outcomes.get("succeeded", 0)
        parts, foot = [], float(HEIGHT)
        for css, n in (("c1", good), ("c6", one["count"] - good - bad), ("bad", bad)):
            if n:
                tall = max(n * per, 0.8)
                foot -= tall
                parts.append((css, f"{foot:.1f}", f"{tall:.1f}"))
        left = f"{(number + 0.08) * width:.3f}%"
        ends = since + timedelta(seconds=(number + 1) * step)
        bar = Bar(at=one["at"], until=ends, x=left, width=f"{width * 0.8:.3f}%", parts=tuple(parts), count=one["count"], good=good, bad=bad)
        made.append(bar)
    return Bars(
        since=since,
        until=end,
        step_s=step,
        bars=tuple(made),
        total=sum(bar.count for bar in made),
        bad=sum(bar.bad for bar in made),
        tick=tick,
        tick_y=f"{HEIGHT - tick * per:.1f}",
        labels=tuple(_labels(since, end)),
        brush=_brush(asked, since, end),
    )


def _tick(highest: int) -> int:
    """A round number somewhat above the half."""
    if highest <= 1:
        return 1
    unit = 10 ** math.floor(math.log10(highest / 2)) if highest > 2 else 1
    return int(next(n * unit for n in (1, 2, 4, 5, 8, 10, 20) if n * unit >= highest / 2))


def _labels(since: datetime, until: datetime) -> Iterable[tuple[str, str]]:
    length = (until - since).total_seconds()
    every = next((s for s in LABELS_S if length / s <= 9), math.ceil(length / 8))
    form = "%H:%M:%S" if every < 60 else "%H:%M" if every < 86400 else "%-d %b" if every < 2592000 else "%b %Y"
    at = math.ceil(since.timestamp() / every) * every
    while at < until.timestamp():
        share = (at - since.timestamp()) / length
        if 0.02 <= share <= 0.98:
            yield f"{100 * share:.2f}%", datetime.fromtimestamp(at, UTC).strftime(form)
        at += every


def _brush(asked: Span, since: datetime, until: datetime) -> tuple[str, str] | None:
    if not asked.is_brushed:
        return None
    length = until - since
    low = max(0.0, (asked.first - since) / length)
    high = min(1.0, ((asked.last or until) - since) / length)
    return f"{100 * low:.3f}%", f"{100 * max(high - low, 0.002):.3f}%"


TAIL = timedelta(minutes=10)


def tail(actor: Actor) -> dict[str, Any]:
    """{"newest": id of the newest event, "rate": events a minute of the last ten}."""
    since = timezone.now() - TAIL
    seen = Event.objects.filter(at__gte=since).visible_to(actor)
    newest = seen.order_by("-at", "-id").values_list("pk", flat=True).first()
    return {"newest": newest.hex if newest else "", "rate": math.ceil(seen.count() / (TAIL.total_seconds() / 60))}
