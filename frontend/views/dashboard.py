"""The first page of an organization."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _

from accounts.models import Invitation
from frontend import overview
from frontend.views.base import ConsoleView


class DashboardView(ConsoleView):
    """Figures, what needs attention, clouds with their age, what happened; at first, three steps. Live by frontend.fragments."""

    def get(self, request: HttpRequest) -> HttpResponse:
        if self.frame.has_no_rights:
            return self.page("dashboard/dashboard.html")
        figures = overview.part("figures", lambda: overview.figures(self.actor))
        return self.page(
            "dashboard/dashboard.html",
            {
                "org_id": self.org.pk.hex,
                "may_add": self.frame.may_add_clouds,
                "figures": figures,
                "attention": overview.part("attention", lambda: overview.attention(self.actor, self.frame.base)),
                "ending": overview.part("ending", lambda: overview.ending(self.actor)),
                "clouds": overview.part("clouds", lambda: overview.clouds(self.actor)),
                "activity": overview.part("activity", lambda: overview.activity(self.actor)),
                "steps": self.steps(figures["it"]),
            },
        )

    def steps(self, figures: dict[str, Any] | None) -> list[dict[str, Any]]:
        """The way in, with what is done of it. Gone once all is, and where the figures are not known."""
        if figures is None:
            return []
        base = self.frame.base
        steps = [
            {
                "done": figures["has_cloud"],
                "title": _("Add a cloud"),
                "text": _("An account, a Docker or KVM host, or a list of servers. The simulated cloud needs nothing."),
                "url": f"{base}/clouds/new",
                "act": _("Add cloud"),
            },
            {
                "done": figures["sums"].total > 0,
                "title": _("See your machines"),
                "text": _("They appear within seconds; start, stop, tag or destroy them."),
                "url": f"{base}/machines",
                "act": _("Open machines"),
            },
            {
                "done": self.org.memberships.count() > 1 or Invitation.objects.filter(org=self.org).exists(),
                "title": _("Invite your team"),
                "text": _("A team’s policy says who may do what, where."),
                "url": f"{base}/teams",
                "act": _("Open teams"),
            },
        ]
        if all(step["done"] for step in steps):
            return []
        following = next(step for step in steps if not step["done"])
        following["next"] = True
        return steps
