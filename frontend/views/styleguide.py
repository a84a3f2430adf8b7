"""/styleguide: every component in every state, for those who build pages and for the pictures that tests compare. Debug only."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render

from core.models import Job
from frontend import toasts
from frontend.templatetags import console
from frontend.timeline import HEIGHT, Bar, Bars

STATES = ("running", "starting", "stopped", "suspended", "error", "unknown")
TONES = ("", "ok", "warn", "crit", "acc", "viol")
BUTTONS = (("", "Default"), ("pri", "Primary"), ("acc", "Accent"), ("ghost", "Ghost"), ("crit", "Critical"), ("crit fill", "Destroy"))
AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def styleguide(request: HttpRequest) -> HttpResponse:
    """The page.  Raises: Http404 where `settings.STYLEGUIDE` is off."""
    if not settings.STYLEGUIDE:
        raise Http404
    context = {
        "buttons": BUTTONS,
        "tones": TONES,
        "states": STATES,
        "marks": sorted(console.MARKS),
        "job_states": [str(state) for state in Job.State],
        "providers": ["amazon", "google", "azure", "digitalocean", "hetzner", "openstack", "vsphere", "kvm", "docker", "demo", "other"],
        "people": ["Maya Lindqvist", "Priya Raman", "Jonas Okafor", "ci-deployer"],
        "parts": [("b-ok", 8.0), ("b-acc", 1.0), ("b-warn", 1.0), ("b-crit", 2.0), ("b-off", 4.0)],
        "diff": [("r", "- size: e2-standard-8"), ("a", "+ size: e2-standard-4"), ("", "  state: running")],
        "toasts": [
            toasts.note("web-1 stopped") | {"id": "ok", "undo": "#", "link": "#", "link_text": "Open job"},
            toasts.note("Stopping web-1", mark="pending") | {"id": "pending"},
            toasts.note("web-1 was not stopped", mark="crit", detail="The cloud refused: it is protected.", request_id="01jda79qk")
            | {"id": "crit", "retry": "#"},
        ],
        "page": SimpleNamespace(sort="-name", sorts={"name", "state"}, q="no such thing", total=12345, first=1, last=50, is_estimate=False),
        "problem": {"title": "The cloud was not added", "detail": "The key is wrong.", "words": "AuthFailure", "others": ["name: taken"]},
        "request_id": "01jda79qk",
        "calls": [
            {"title": "curl", "text": "curl -X POST …/machines/web-1/actions/stop"},
            {"title": "Python", "text": "client.stop('web-1')"},
        ],
        "menu": ["play", "pause", "power"],
        "bars": _bars(),
        "label": "Last 24 hours",
    }
    return render(request, "styleguide.html", context)


def _bars() -> Bars:
    heights = [(n * 7) % 30 + 4 for n in range(40)]
    made = []
    for number, height in enumerate(heights):
        bad = height // 6 if number % 5 == 0 else 0
        parts = (("c1", f"{HEIGHT - height:.1f}", f"{height:.1f}"), ("bad", f"{HEIGHT - height - bad:.1f}", f"{bad:.1f}"))
        x, width = f"{number * 2.5 + 0.2:.2f}%", "2%"
        made.append(Bar(at=AT, until=AT, x=x, width=width, parts=parts[: 2 if bad else 1], count=height + bad, good=height, bad=bad))
    labels = (("25%", "08:00"), ("50%", "12:00"), ("75%", "16:00"))
    return Bars(
        since=AT, until=AT, step_s=60, bars=tuple(made), total=900, bad=40, tick=20, tick_y="40.0", labels=labels, brush=("80%", "10%")
    )
