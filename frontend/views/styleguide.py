"""/styleguide: every component in every state, for those who build pages and for the pictures that tests compare. Debug only."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render

from clouds.providers.facts import PermissionCheck
from core.models import Job
from frontend import overview, policy, sparks, toasts
from frontend.creating.plan import Check, Line
from frontend.templatetags import console
from frontend.timeline import HEIGHT, Bar, Bars

STATES = ("running", "starting", "stopped", "suspended", "error", "unknown")
TONES = ("", "ok", "warn", "crit", "acc", "viol")
BUTTONS = (("", "Default"), ("pri", "Primary"), ("acc", "Accent"), ("ghost", "Ghost"), ("crit", "Critical"), ("crit fill", "Destroy"))
WAVE = [30.0, 34, 41, 38, 52, 47, 61, 58, 44, 40, 36, 62, 71, 66, 59, 48]
SPARKS = (
    sparks.Series(points=WAVE, text="48 %", top=100),
    sparks.Series(points=[one + 29 for one in WAVE], text="94 %", top=100, is_critical=True),
    sparks.Series(points=[*WAVE[:6], None, None, None, *WAVE[9:]], text="48 %", top=100),
)
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
            {"title": "Terraform", "text": '# A comment\nresource "aws_instance" "web" {\n  ami = "ami-1"\n}'},
        ],
        "menu": ["play", "pause", "power"],
        "bars": _bars(),
        "sparks": [sparks.drawn(one) for one in (*SPARKS, None)],
        "label": "Last 24 hours",
        "base": "#",
        **_later(),
    }
    return render(request, "styleguide.html", context)


PRINT, OTHER_PRINT = "SHA256:Zk1kq3xVZ8eE0r7sWm2d0iYc5u1Jt0kS4pQ9nB6xHwA", "SHA256:9sQwB1m0vT5cK2yR8eXj4uNf7aLp3oZdG6hVtYiWkCE"
NOTICES = (
    overview.Notice(rank=0, mark="crit", title="aws-prod refuses its credentials", detail="42 machines as of 09:12", url="#", act="Open"),
    overview.Notice(rank=1, mark="warn", title="3 jobs failed within a day", detail="web-1: it has no room left", url="#", act="Show"),
    overview.Notice(rank=2, mark="changing", title="ci-7 ends in 3 days", detail="It is destroyed then", url="#", act="Extend"),
)
PLAN_CHECKS = (
    Check(mark="ok", text="Room for 12 more in eu-central-1"),
    Check(mark="warn", text="Your policy asks for a tag", tag="env=dev"),
    Check(mark="crit", text="Image: it is not there any more"),
    Check(mark="queued", text="Name: give them one"),
    Check(mark="info", text="Nobody says how much it costs"),
)
PERMISSIONS = (
    PermissionCheck(name="ec2:DescribeInstances", purpose="see machines", ok=True),
    PermissionCheck(name="ec2:StopInstances", purpose="stop machines", ok=False),
    PermissionCheck(name="ec2:GetConsoleOutput", purpose="check host keys", ok=None),
)


def _later() -> dict[str, Any]:
    """What single pages are made of: statements, notices, the plan of machines, checks of a cloud."""
    said = [
        ("allow", "may", ["see everything"], []),
        ("allow", "may", ["stop", "start machines"], [("tag", "env=dev"), ("cloud", "aws-prod"), ("own", "their own")]),
        ("deny", "may never", ["destroy machines"], [("kind", "machines"), ("id", "db-1")]),
        ("ask", "must ask to", ["stop machines"], [("tag", "env=prod")]),
    ]
    rows = [
        {"effect": "allow", "verbs": "machine.stop machine.start", "what": "tag:env=dev own:yes"},
        {"effect": "ask", "verbs": "machine.fly", "what": ""},
    ]
    line = Line(text="2 × e2-standard-4", cost=Decimal("195.68"))
    full = {
        "lines": [line, Line(text="2 × 40 GiB", cost=None)],
        "hourly": Decimal("0.27"),
        "monthly": Decimal("195.68"),
        "is_partial": True,
    }
    wrong = {"wrong": {"detail": "The key is not known."}, "retry_s": 30, "words": "AuthFailure", "of_fields": ["Region: choose one"]}
    return {
        "completions": [
            {"insert": "tag:env=prod", "count": 412, "at_least": False},
            {"insert": "tag:env=", "count": 10_000, "at_least": True},
            {"insert": "tag:entry", "count": None, "detail": "tag"},
        ],
        "sentences": [{"effect": effect, "may": may, "verbs": verbs, "where": where} for effect, may, verbs, where in said],
        "statements": policy.bind(rows, {"1": {"verbs": ["There is no verb machine.fly."]}}),
        "attention": [{"name": "with something", "it": NOTICES}, {"name": "with nothing"}, {"name": "that failed", "failed": True}],
        "plans": [
            {"checks": PLAN_CHECKS, "currency": "USD", "calls": [], **full},
            {"checks": PLAN_CHECKS[:1], "currency": "USD", "calls": [], "lines": [Line(text="1 × large", cost=None)], "monthly": None},
            {"checks": [], "currency": "USD", "calls": [], "lines": []},
        ],
        "checks": [None, {"found": PERMISSIONS, "took_s": 1.2, "fix": '{"Action": "ec2:StopInstances"}'}, {**wrong, "took_s": 0.4}],
        "print": PRINT,
        "other_print": OTHER_PRINT,
    }


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
