"""Small pieces of markup that every page uses: icons, marks, tiles, bars. All input is escaped here."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from zlib import crc32

from django import template
from django.forms import BoundField, CheckboxInput, CheckboxSelectMultiple, RadioSelect
from django.templatetags.static import static
from django.utils import timezone
from django.utils.html import format_html, format_html_join, strip_tags
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from clouds.providers import all_providers
from core.actions import slug
from core.models import Job
from frontend import rows, searches, words
from frontend.reasons import STATE_WORDS
from frontend.templatetags import times
from machines.models import Machine

register = template.Library()

_DASHED = '<circle cx="6" cy="6" r="4.5" fill="none" stroke="currentColor" stroke-width="1.5" stroke-dasharray="2.2 2"/>'
_TRIANGLE = (
    '<path d="M6 .9 11.6 11H.4Z" fill="currentColor" stroke="currentColor" stroke-width=".6" stroke-linejoin="round"/>'
    '<path class="on" d="M6 4.6v2.8M6 9.1v.1" stroke-width="1.3" stroke-linecap="round"/>'
)
MARKS = {
    "running": '<circle cx="6" cy="6" r="4.5" fill="currentColor"/>',
    "stopped": '<rect x="2.2" y="2.2" width="7.6" height="7.6" rx="1.6" fill="none" stroke="currentColor" stroke-width="1.6"/>',
    "pending": (
        '<circle cx="6" cy="6" r="4.4" fill="none" stroke="currentColor" stroke-width="1.6" opacity=".25"/>'
        '<path class="arc" d="M6 1.6A4.4 4.4 0 0 1 10.4 6" fill="none" stroke="currentColor" stroke-width="1.6" stroke-linecap="round"/>'
    ),
    "error": _TRIANGLE,
    "crit": _TRIANGLE,
    "warn": (
        '<path d="M6 .6 11.4 6 6 11.4.6 6Z" fill="currentColor"/>'
        '<path class="on" d="M6 3.6v3M6 8.3v.1" stroke-width="1.3" stroke-linecap="round"/>'
    ),
    "ok": (
        '<circle cx="6" cy="6" r="5.5" fill="currentColor"/>'
        '<path class="on" d="m3.6 6.2 1.6 1.6 3.2-3.5" fill="none" stroke-width="1.5" stroke-linecap="round" stroke-linejoin="round"/>'
    ),
    "info": (
        '<circle cx="6" cy="6" r="5.4" fill="currentColor"/>'
        '<path class="on" d="M6 5.4v3.1M6 3.4v.1" stroke-width="1.4" stroke-linecap="round"/>'
    ),
    "suspended": '<path d="M4 2v8M8 2v8" stroke="currentColor" stroke-width="2.2" stroke-linecap="round"/>',
    "queued": _DASHED,
    "unknown": _DASHED,
}
# A machine's state → the mark that shows it.
STATE_MARKS = {
    "running": "running",
    "normal": "running",
    "succeeded": "running",
    "stopped": "stopped",
    "terminated": "stopped",
    "suspended": "suspended",
    "paused": "suspended",
    "error": "error",
    "failed": "error",
    "unknown": "unknown",
}
_TONES = {"running": "ok", "error": "crit", "suspended": "viol", "pending": "acc"}
# Of a job.
JOB_MARKS = {
    "asked": "warn",
    "waiting": "warn",
    "queued": "queued",
    "running": "pending",
    "succeeded": "ok",
    "failed": "crit",
    "cancelled": "stopped",
    "undone": "stopped",
    "skipped": "stopped",
    "lost": "crit",
}
OUTCOME_MARKS = {
    "succeeded": "ok",
    "failed": "crit",
    "refused": "warn",
    "requested": "pending",
    "asked": "warn",
    "approved": "ok",
    "declined": "stopped",
    "observed": "info",
    "cancelled": "stopped",
    "undone": "stopped",
    "skipped": "stopped",
}


@register.simple_tag
def icon(name: str, size: str = "") -> SafeString:
    """A Lucide icon from the sprite; the build collects the names."""
    return format_html('<svg class="ico {}" aria-hidden="true"><use href="{}#i-{}"/></svg>', size, static("build/icons.svg"), name)


@register.simple_tag
def mark(name: str) -> SafeString:
    """A state mark by its own name: running, stopped, pending, error, warn, ok, suspended, unknown …"""
    name = name if name in MARKS else "unknown"
    return format_html('<svg class="mark {}" viewBox="0 0 12 12" aria-hidden="true">{}</svg>', name, mark_safe(MARKS[name]))  # noqa: S308


@register.simple_tag
def state_mark(state: str) -> SafeString:
    """The mark of a machine's state; what is neither at rest nor broken is changing."""
    return mark(STATE_MARKS.get(state, "pending"))


@register.simple_tag
def job_mark(state: str) -> SafeString:
    return mark(JOB_MARKS.get(state, "unknown"))


@register.simple_tag
def outcome_mark(type_: str) -> SafeString:
    """The mark of an event by the last part of its type, with the outcome in words for those who cannot see it."""
    outcome = type_.rsplit(".", 1)[-1]
    return format_html('{}<span class="vh">{}</span>', mark(OUTCOME_MARKS.get(outcome, "unknown")), outcome)


@register.filter
def state_word(state: str) -> str:
    return str(STATE_WORDS.get(state, state))


def lock_parts(machine: Machine) -> tuple[str, str]:
    """(who locked it, what for), "" for what is not known."""
    return machine.locked_by.full_name if machine.locked_by else "", machine.lock_note


@register.filter
def lock_words(machine: Machine) -> str:
    """Who locked it and what for, as far as that is known: “Locked by Ana: the database moves”."""
    who, note = lock_parts(machine)
    if who and note:
        return _("Locked by %(who)s: %(note)s") % {"who": who, "note": note}
    if who:
        return _("Locked by %(who)s") % {"who": who}
    return _("Locked: %(note)s") % {"note": note} if note else _("Locked")


@register.filter
def ends_words(machine: Machine) -> str:
    """When it is stopped or destroyed: “ends in 3 d”. What is locked is left alone beyond that."""
    if machine.locked_at and machine.expires_at <= timezone.now():
        return _("ends when it is unlocked")
    return _("ends in %(t)s") % {"t": times.left(machine.expires_at)}


TYPE_WORDS = {
    "vm": gettext_lazy("Virtual machine"),
    "container": gettext_lazy("Container"),
    "pod": gettext_lazy("Pod"),
    "node": gettext_lazy("Node"),
    "hypervisor": gettext_lazy("Hypervisor"),
    "container-host": gettext_lazy("Container host"),
    "machine": gettext_lazy("Server"),
}


@register.filter
def type_word(name: str) -> str:
    """What kind of machine that is."""
    return str(TYPE_WORDS.get(name, name))


@register.filter
def state_tone(state: str) -> str:
    """The class of the pill of a machine's state."""
    return _TONES.get(STATE_MARKS.get(state, "pending"), "")


@register.simple_tag
def tile(provider: str, size: str = "") -> SafeString:
    """A provider's tile: two or three letters on a tint."""
    known = all_providers().get(provider)
    letters = (known.tile if known else "") or provider[:2]
    return format_html('<span class="prov {} {}" aria-hidden="true">{}</span>', provider, size, letters)


@register.filter
def provider_title(provider: str) -> str:
    known = all_providers().get(provider)
    return known.title if known else provider


@register.simple_tag
def avatar(name: str, size: str = "") -> SafeString:
    """A person's initials on one of ten hues, the same for the same name."""
    name = str(name)
    words = [word for word in name.replace("@", " ").replace(".", " ").split() if word]
    initials = "".join(word[0] for word in words[:2]).upper() or "?"
    return format_html('<span class="ava h{} {}" aria-hidden="true">{}</span>', crc32(name.encode()) % 10, size, initials)


@register.simple_tag
def tag(key: str, value: str = "") -> SafeString:
    if not value:
        return format_html('<span class="tag" title="{0}">{0}</span>', key)
    return format_html('<span class="tag" title="{0}={1}"><i>{0}=</i>{1}</span>', key, value)


@register.simple_tag
def tag_list(tags: Mapping[str, str] | None, most: int = 3) -> SafeString:
    """The first few tags of a row, then how many more."""
    items = sorted((tags or {}).items())
    shown = format_html_join("", "{}", ((tag(key, value),) for key, value in items[:most]))
    more = format_html('<span class="tag" title="{}"><i>+{}</i></span>', ", ".join(f"{k}={v}" for k, v in items[most:]), len(items) - most)
    return format_html('<span class="tags">{}{}</span>', shown, more if len(items) > most else "")


JOB_STATES = {
    "asked": gettext_lazy("Waits for approval"),
    "waiting": gettext_lazy("Waiting"),
    "queued": gettext_lazy("In the queue"),
    "running": gettext_lazy("Running"),
    "succeeded": gettext_lazy("Done"),
    "failed": gettext_lazy("Failed"),
    "cancelled": gettext_lazy("Cancelled"),
    "undone": gettext_lazy("Undone"),
    "skipped": gettext_lazy("Skipped"),
    "lost": gettext_lazy("Lost"),
}


@register.filter
def step_word(name: str) -> str:
    return str(words.STEPS.get(name, name))


@register.filter
def list_word(kind: str) -> str:
    return str(words.LISTS.get(kind, kind))


@register.filter
def job_state_word(state: str) -> str:
    return str(JOB_STATES.get(state, state))


@register.filter
def gib(mib: float | None) -> str:
    """MiB as GB in words: 16 GB, 0.5 GB."""
    return "" if mib is None else f"{mib / 1024:.3g} GB"


@register.filter
def as_json(value: Any) -> str:
    """A provider's own data as text: words as they are, the rest as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


@register.simple_tag
def cell(row: Any, column: Any) -> SafeString | str:
    """What stands in a column (frontend.columns) of a row."""
    return column.cell(row)  # type: ignore[no-any-return]


@register.simple_tag
def unit(row: Any, column: Any) -> SafeString | str:
    """The attribute that says what a column (frontend.holdings) counts of a row: a telephone shows no headings."""
    return format_html(' data-unit="{}"', column.unit(row)) if column.unit else ""


@register.simple_tag
def differs(row: Any, column: Any) -> SafeString | str:
    """Attributes that say that a column of a row of the past is another now (`row.now`), and what it is."""
    now = column.cell(row.now)
    if now == column.cell(row):
        return ""
    return format_html(' data-differs title="{}"', _("Now: %(value)s") % {"value": strip_tags(now) or _("nothing")})


@register.filter
def get(mapping: Mapping[str, Any] | None, key: str) -> Any:
    return (mapping or {}).get(key)


@register.filter
def hex_id(value: Any) -> str:
    """An id as the contract writes it: 32 lower-case hex digits."""
    return getattr(value, "hex", None) or str(value or "")


@register.simple_tag
def bar(parts: Iterable[tuple[str, float]], css: str = "", label: str = "") -> SafeString:
    """A stacked bar. parts: (class b-ok, b-off, b-acc, b-crit …, amount). Widths are SVG attributes, so the CSP needs no inline style."""
    kept = [(name, amount) for name, amount in parts if amount]
    whole = sum(amount for _name, amount in kept) or 1
    pieces, x = [], 0.0
    for name, amount in kept:
        width = 100 * amount / whole
        pieces.append((name, f"{x:.2f}%", f"{max(width - 0.4, 0.6):.2f}%"))
        x += width
    body = format_html_join("", '<rect class="{}" x="{}" width="{}" height="100%"/>', pieces)
    described = format_html('role="img" aria-label="{}"', label) if label else mark_safe('aria-hidden="true"')
    return format_html('<svg class="bar {}" {}>{}</svg>', css, described, body)


@register.simple_tag
def columns(hours: Sequence[tuple[int, int]], label: str = "") -> SafeString:
    """Small columns, oldest first. hours: (how many, how many of them bad); the bad part stands on the ground."""
    most = max((count for count, _bad in hours), default=0) or 1
    pieces = []
    for n, (count, bad) in enumerate(hours):
        x, width = f"{100 * n / len(hours):.2f}%", f"{70 / len(hours):.2f}%"
        high, low = 24 * count / most, 24 * bad / most
        pieces.append(("b-c1" if count else "b-off", x, f"{24 - max(high, 1.5):.1f}", width, f"{max(high - low, 1.5):.1f}"))
        if bad:
            pieces.append(("b-crit", x, f"{24 - low:.1f}", width, f"{low:.1f}"))
    body = format_html_join("", '<rect class="{}" x="{}" y="{}" width="{}" height="{}" rx="1"/>', pieces)
    described = format_html('role="img" aria-label="{}"', label) if label else mark_safe('aria-hidden="true"')
    return format_html('<svg class="columns" {}>{}</svg>', described, body)


@register.simple_tag(takes_context=True)
def query(context: template.Context, **changes: Any) -> str:
    """This address with some parameters changed; None or "" drops one, but where a saved view would say it "" stays.

    Paging starts again unless it is what changes.
    """
    params = context["request"].GET.copy()
    params.pop("qid" if "q" in changes else "", None)
    changes = {"cursor": None, "back": None, "from": None, **changes}
    for key, value in changes.items():
        if value is None or (value == "" and "view" not in params):
            params.pop(key, None)
        else:
            params[key] = str(value)
    text = searches.shortened(params).urlencode()
    return f"?{text}" if text else context["request"].path


@register.simple_tag(takes_context=True)
def exactly(context: template.Context) -> str:
    """The query of this address behind another one: what an export of it asks, from its first page on. May be empty."""
    text = query(context)
    return text if text.startswith("?") else ""


FORMS = {"csv": "CSV", "json": "JSON", "jsonl": gettext_lazy("JSON, a line each")}


@register.filter
def form_word(form: str) -> str:
    """A kind of file as a person calls it."""
    return str(FORMS[form])


@register.simple_tag
def control(field: BoundField) -> SafeString:
    """The widget of a form's field in our classes."""
    widget = field.field.widget
    css = "in"
    if isinstance(widget, CheckboxInput | CheckboxSelectMultiple):
        css = "cb"
    elif isinstance(widget, RadioSelect):
        css = "rd"
    return field.as_widget(attrs={"class": f"{css} {widget.attrs.get('class', '')}".strip()})


@register.filter
def slug_id(row: Any) -> str:
    """The last part of a detail page's path: the id, then the name as it is now."""
    name = slug(row.name)
    return f"{row.pk.hex}-{name}" if name else row.pk.hex


@register.filter
def act_words(verb: str) -> words.Act:
    return words.act(verb)


@register.filter
def job_title(job: Job) -> str:
    return words.job_title(job)


@register.filter
def are_volumes(targets: Iterable[Any]) -> bool:
    """Is all that goes or stays with these machines volumes?"""
    return all(fate.is_volume for target in targets for fate in target.fates)


@register.filter
def job_order(job: Job) -> str:
    return words.job_order(job)


@register.filter
def state_parts(by_state: dict[str, int]) -> list[tuple[str, float]]:
    return rows.state_parts(by_state)


@register.filter
def add_str(text: Any, more: Any) -> str:
    return f"{text}{more}"


@register.filter
def words_of(text: str) -> list[str]:
    """The words of a text, to go through."""
    return text.split()


@register.filter
def unlocalized(value: float) -> str:
    """A number as programs write it."""
    return f"{value:.3f}"
