"""Times, ages and durations as people read them. What goes on is counted on by a script (frontend/assets/src)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django import template
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

register = template.Library()


@register.simple_tag
def when(at: datetime | None, form: str = "", never: str = "–") -> SafeString:
    """A time as <time>, in the viewer's zone; a script keeps it right. `form`: "{} ago" by default."""
    if at is None:
        return format_html('<span class="dim">{}</span>', never)
    utc = at.astimezone(UTC)
    seconds = (timezone.now() - at).total_seconds()
    pattern = form or _("{} ago")
    if 0 <= seconds < 60:
        text = pattern.replace("{}", f"{seconds:.0f} s")
    elif 0 <= seconds < 3600:
        text = pattern.replace("{}", f"{seconds // 60:.0f} min")
    else:
        text = in_zone(at)
    return format_html('<time datetime="{}" data-rel data-ago="{}">{}</time>', _iso(utc), pattern, text)


@register.simple_tag
def at(moment: datetime | None, never: str = "–") -> SafeString:
    """A time as a date and hour, in the viewer's zone."""
    if moment is None:
        return format_html('<span class="dim">{}</span>', never)
    return format_html('<time datetime="{}" data-at>{}</time>', _iso(moment.astimezone(UTC)), in_zone(moment))


@register.simple_tag
def clock(at: datetime) -> SafeString:
    """Hour, minute and second; the date on hover."""
    utc, local = at.astimezone(UTC), timezone.localtime(at)
    return format_html('<time datetime="{}" title="{}">{}</time>', _iso(utc), in_zone(at, "j M Y H:i:s"), local.strftime("%H:%M:%S"))


@register.simple_tag
def clock_time(at: datetime) -> SafeString:
    """Hour and minute of a day that goes on, else the day: what fits a narrow column."""
    utc, local = at.astimezone(UTC), timezone.localtime(at)
    text = local.strftime("%H:%M") if (timezone.now() - at).total_seconds() < 86400 else date_format(local, "j M")
    return format_html(
        '<time datetime="{}" data-rel data-clock-only title="{}">{}</time>', _iso(utc), utc.strftime("%-d %b %Y %H:%M:%S UTC"), text
    )


@register.simple_tag
def elapsed(job: Any) -> SafeString | str:
    """How long a job has taken: counted on by the script while it runs."""
    if job.took_s is None:
        return ""
    if not job.is_active:
        return seconds(job.took_s)
    begun = job.started_at or job.queued_at
    return format_html('<time datetime="{}" data-elapsed>{}</time>', _iso(begun.astimezone(UTC)), seconds(job.took_s))


@register.simple_tag
def until(at: datetime) -> SafeString:
    """Seconds left until then, counted down by the script."""
    left = max(0.0, (at - timezone.now()).total_seconds())
    return format_html('<time datetime="{}" data-until>{} s</time>', _iso(at.astimezone(UTC)), f"{left:.0f}")


@register.filter
def age(at: datetime | None) -> str:
    """How long ago, in its largest unit: 12 d, 5 h, 3 min."""
    if at is None:
        return ""
    seconds = (timezone.now() - at).total_seconds()
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size:,.0f} {unit}"
    return f"{max(0, seconds):.0f} s"


@register.filter
def left(at: datetime) -> str:
    """How long until then, to the nearest of its largest unit: 3 d, 5 h, 20 min."""
    seconds = max(0.0, (at - timezone.now()).total_seconds())
    if seconds >= 1.5 * 86400:
        return f"{seconds / 86400:,.0f} d"
    return f"{seconds / 3600:.0f} h" if seconds >= 5400 else f"{seconds / 60:.0f} min"


@register.filter
def is_soon(at: datetime) -> bool:
    """Within a week."""
    return (at - timezone.now()).total_seconds() < 7 * 86400


@register.filter
def seconds(value: float | None) -> str:
    """A duration in words: 0.4 s, 27 s, 3 min, 2 h. One too short to tell has none."""
    if value is None or value < 0.05:
        return ""
    if value < 10:
        return f"{value:.1f} s"
    if value < 120:
        return f"{value:.0f} s"
    return f"{value / 60:.0f} min" if value < 7200 else f"{value / 3600:.0f} h"


@register.filter
def stopwatch(seconds: float) -> str:
    """Seconds as 1:02:03."""
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}" if whole >= 3600 else f"{whole // 60}:{whole % 60:02}"


def in_zone(at: datetime, form: str = "j M Y H:i") -> str:
    """A moment in the viewer's zone, which it names: 3 Nov 2026 14:05 EET."""
    local = timezone.localtime(at)
    return f"{date_format(local, form)} {local.tzname()}"


def _iso(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
