"""The first page of an organization."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db.models import Count, Q
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.translation import gettext as _

from clouds.models import Cloud
from core.models import Event, Job
from frontend.rows import cloud_rows, event_rows, state_parts
from frontend.views.base import ConsoleView
from machines.models import Machine


class DashboardView(ConsoleView):
    """Machines by state, clouds with their age, what happened; at first, three steps."""

    def get(self, request: HttpRequest) -> HttpResponse:
        machines = Machine.objects.visible_to(self.actor).filter(missing_since=None)
        by_state = dict(machines.order_by().values_list("state").annotate(n=Count("pk")))
        clouds = cloud_rows(self.actor, Cloud.objects.all())
        since = timezone.now() - timedelta(hours=24)
        jobs = Job.objects.visible_to(self.actor).filter(parent=None, created_at__gte=since)
        counted = jobs.aggregate(n=Count("pk"), failed=Count("pk", filter=Q(state__in=[Job.State.FAILED, Job.State.LOST])))
        recent = Event.objects.visible_to(self.actor).order_by("-at", "-id")[:12]
        total = sum(by_state.values())
        running = by_state.get("running", 0)
        stopped = by_state.get("stopped", 0)
        broken = by_state.get("error", 0) + by_state.get("failed", 0)
        return self.page(
            "dashboard/dashboard.html",
            {
                "total": total,
                "by_state": by_state,
                "parts": state_parts(by_state),
                "label": _("%(r)d running, %(s)d stopped, %(f)d failed") % {"r": running, "s": stopped, "f": broken},
                "running": running,
                "stopped": stopped,
                "broken": broken,
                "clouds": clouds,
                "troubled": [cloud for cloud in clouds if cloud.trouble],  # type: ignore[attr-defined]
                "jobs_n": counted["n"],
                "jobs_failed": counted["failed"],
                "recent": event_rows(list(recent)),
                "steps": self.steps(bool(clouds), total > 0),
            },
        )

    def steps(self, has_cloud: bool, has_machine: bool) -> list[dict[str, Any]]:
        """The way in, with what is done of it. Gone once all is."""
        base = self.frame.base
        invited = self.org.memberships.count() > 1
        steps = [
            {
                "done": has_cloud,
                "title": _("Add a cloud"),
                "text": _("An account, a Docker or KVM host, or a list of servers."),
                "url": f"{base}/clouds/new",
                "act": _("Add cloud"),
            },
            {
                "done": has_machine,
                "title": _("See your machines"),
                "text": _("They appear within seconds; start, stop, tag or destroy them."),
                "url": f"{base}/machines",
                "act": _("Open machines"),
            },
            {
                "done": invited,
                "title": _("Invite your team"),
                "text": _("A team’s policy says who may do what, where."),
                "url": f"{base}/teams",
                "act": _("Open teams"),
            },
        ]
        return [] if all(step["done"] for step in steps) else steps
