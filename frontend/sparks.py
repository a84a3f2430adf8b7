"""Sparklines of the machines list: what measures machines registers its series, and each is a column of the list from then on.

    @sparks.series("cpu", _("CPU"), after="address")
    def _cpu(actor: Actor, ids: Collection[UUID]) -> Mapping[UUID, Series]: …

Until something does there is no such column. A machine without a series has a dash. CONSOLE.md §13.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from uuid import UUID

from django.utils.functional import Promise
from django.utils.html import format_html
from django.utils.safestring import SafeString

from core.actor import Actor
from frontend.columns import DASH, MACHINES, Column
from machines.models import Machine

log = logging.getLogger(__name__)

WIDTH, HEIGHT, EDGE = 580, 180, 15  # in tenths of a pixel
BUCKETS = 58  # of each the least and the most are drawn


@dataclass(frozen=True, kw_only=True)
class Series:
    """`points`: oldest first, equally far apart, None where nothing was measured. `text`: the last of them in words.

    `top`: what is as high as the line can be; 0: the highest of them.
    """

    points: Sequence[float | None]
    text: str
    top: float = 0.0
    is_critical: bool = False


Read = Callable[[Actor, Collection[UUID]], Mapping[UUID, Series]]
_readers: dict[str, Read] = {}


def series(key: str, title: str | Promise, *, after: str) -> Callable[[Read], Read]:
    """Decorator of what reads the series of these machines, all of which the actor may see, in one query. `after`: which column."""

    def registered(read: Read) -> Read:
        _readers[key] = read
        column = Column(key=key, title=title, css="w-120 p2", filed=None, cell=lambda row: drawn(getattr(row, "series", {}).get(key)))
        MACHINES.add(column, after)
        return read

    return registered


def with_series(actor: Actor, machines: list[Machine], shown: Iterable[Column]) -> list[Machine]:
    """Each with the `series` that these columns draw. What cannot be read is left out: the list is there without it."""
    found: dict[str, Mapping[UUID, Series]] = {}
    for column in shown:
        if column.key in _readers and machines:
            try:
                found[column.key] = _readers[column.key](actor, [machine.pk for machine in machines])
            except Exception:  # whatever measures may be away
                log.exception("the series %s could not be read", column.key)
    for machine in machines:
        machine.series = {key: those[machine.pk] for key, those in found.items() if machine.pk in those}  # type: ignore[attr-defined]
    return machines


def drawn(one: Series | None) -> SafeString:
    """The line over its area, and the last value."""
    if one is None or all(point is None for point in one.points):
        return DASH
    points = list(enumerate(one.points))
    top = one.top or max((value for _at, value in points if value is not None), default=0) or 1
    lines, areas = "", ""
    for is_gap, part in groupby(_thinned(points), key=lambda point: point[1] is None):
        if is_gap:
            continue
        placed = [(_x(at, len(points)), _y(value or 0, top)) for at, value in part]
        line = "M" + "L".join(f"{x} {y}" for x, y in placed)
        lines += line
        areas += f"{line}V{HEIGHT}H{placed[0][0]}z"
    colour = "var(--crit)" if one.is_critical else "var(--c1)"
    return format_html(
        '<span class="spk"><svg width="58" height="18" viewBox="0 0 {w} {h}" aria-hidden="true">'
        '<path d="{areas}" fill="{c}" opacity=".12"/>'
        '<path d="{lines}" fill="none" stroke="{c}" stroke-width="14" stroke-linejoin="round"/></svg>'
        '<b class="num{css}">{text}</b></span>',
        w=WIDTH,
        h=HEIGHT,
        areas=areas,
        lines=lines,
        c=colour,
        css=" c-crit" if one.is_critical else "",
        text=one.text,
    )


def _x(at: int, count: int) -> int:
    return round(WIDTH * at / max(1, count - 1))


def _y(value: float, top: float) -> int:
    return round(HEIGHT - EDGE - (HEIGHT - 2 * EDGE) * min(max(value / top, 0), 1))


def _thinned(points: list[tuple[int, float | None]]) -> list[tuple[int, float | None]]:
    """At most two points a pixel: of each pixel's the least and the most, as they came. A pixel with a gap in it is one."""
    if len(points) <= 2 * BUCKETS:
        return points
    kept = []
    for n in range(BUCKETS):
        part = points[len(points) * n // BUCKETS : len(points) * (n + 1) // BUCKETS]
        gap = next((point for point in part if point[1] is None), None)
        if gap is not None:
            kept.append(gap)
            continue
        ends = {min(part, key=lambda point: point[1] or 0), max(part, key=lambda point: point[1] or 0)}
        kept += sorted(ends)
    return kept
