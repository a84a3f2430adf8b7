"""The columns of the audit log: its time comes first always, its outcome last. Cells read rows of frontend.rows.with_story."""

from __future__ import annotations

from typing import Any

from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from frontend.columns import MONO, Column, Columns
from frontend.facets import VIAS
from frontend.templatetags import console, humanish, times

DOORS = ("console", "api", "cli")  # through which people come


def _actor(event: Any) -> SafeString:
    is_somebody = event.via_short in DOORS and not event.person  # whom nobody knows: at the door, or of an account that is gone
    name = _("unknown") if is_somebody else event.cloud_name or (event.who if event.person else VIAS.get(event.via_short, event.who))
    face = console.avatar(name) if event.person else format_html('<span class="ava bot">{}</span>', console.icon(_face(event)))
    return format_html('<span class="who">{}<span class="clip{}">{}</span></span>', face, " dim" if is_somebody else "", name)


def _face(event: Any) -> str:
    if event.via_short in DOORS:
        return "user"
    return "cloud" if event.cloud_name else "clock" if event.via_short == "expiration" else "bot"


def _action(event: Any) -> SafeString:
    return format_html('<span title="{}"><i>{}</i>{}</span>', event.verb, event.of, event.did)


def _target(event: Any) -> SafeString | str:
    name = event.target_name
    if event.target_kind in ("machine", "cloud") and event.target_id:
        return format_html('<a href="{}/{}s/{}">{}</a>', event.base, event.target_kind, event.target_id.hex, name)
    return event.subject or name or event.target_kind  # type: ignore[no-any-return]


def _detail(event: Any) -> SafeString:
    return format_html('<span title="{}">{}</span>', event.summary[:300], event.summary[:160])


def _took(event: Any) -> SafeString | str:
    return times.seconds(event.took_s)


def _job(event: Any) -> SafeString | str:
    if not event.job_id:
        return ""
    return format_html('<a class="link" href="{}/jobs/{}">{}</a>', event.base, event.job_id.hex, _("Open job"))


_KNOWN = {
    column.key: column
    for column in (
        Column(key="actor", title=_("Actor"), css="w-160 p1", filed=("email", "actor"), cell=_actor),
        Column(key="action", title=_("Action"), css="w-140 p1", filed=("type",), look="act2 clip", cell=_action),
        Column(key="target", title=_("Resource"), css="w-180 p1", filed=("kind", "target", "target_name"), look="nm clip", cell=_target),
        Column(key="detail", title=_("Detail"), css="p2", filed=("detail", "before", "after"), look="ink2 clip", cell=_detail),
        Column(key="via", title=_("Via"), css="w-70 p3", look="via", cell=lambda event: event.via_short),
        Column(key="took", title=_("Took"), css="w-70 p3", filed=("job",), number=True, look="dim", cell=_took),
        Column(key="outcome", title=_("Outcome"), css="w-100 p3", cell=lambda event: event.outcome),
        Column(key="kind", title=_("Kind"), css="w-100 p3", cell=lambda event: event.target_kind),
        Column(key="address", title=_("Address"), css="w-140 p3", look=MONO, cell=lambda event: event.address),
        Column(key="request", title=_("Request"), css="w-200 p3", look=MONO, cell=lambda event: f"req_{event.request_id}"),
        Column(key="job", title=_("Job"), css="w-100 p3", cell=_job),
        Column(key="tags", title=_("Tags"), css="w-200 p3", cell=lambda event: console.tag_list(event.target_tags, 2)),
        Column(key="sequence", title=_("In the chain"), css="w-100 p3", number=True, cell=lambda event: humanish.plain(event.sequence)),
    )
}  # fmt: skip
EVENTS = Columns(_KNOWN, ("actor", "action", "target", "detail", "via", "took"), lambda event: event.target_tags, ("at", "outcome", "id"))
