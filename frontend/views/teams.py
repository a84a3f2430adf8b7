"""Teams & policies: members, invitations, statements."""

from __future__ import annotations

import json
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.translation import gettext as _

from accounts import mail
from accounts.credentials import new_secret
from accounts.models import Invitation, Membership, Team, User
from clouds.providers.base import Field
from core.actions import allowed, perform
from core.errors import Invalid, MistError
from frontend import forms, toasts
from frontend.views.base import ConsoleView, problem


class TeamsView(ConsoleView):
    """Teams, members of the organization, open invitations."""

    section = "teams"

    def get(self, request: HttpRequest) -> HttpResponse:
        return self.show({})

    def show(self, context: dict[str, Any], *, status: int = 200) -> HttpResponse:
        teams = Team.objects.visible_to(self.actor).prefetch_related("members").order_by("-is_owners", "name")
        members = Membership.objects.visible_to(self.actor).filter(org=self.org).select_related("user").order_by("user__email")
        invitations = Invitation.objects.visible_to(self.actor).order_by("-created_at")
        chosen = [(team.pk.hex, team.name) for team in teams]
        invite = (
            Field(name="email", label=_("E-mail"), required=True),
            forms.with_choices(Field(name="team", label=_("Team")), chosen, empty=_("None yet")),
        )
        return self.page(
            "teams/list.html",
            {
                "teams": teams,
                "members": members,
                "invitations": invitations,
                "invite": forms.bind(invite, context.get("typed")),
                "team_form": forms.bind((Field(name="name", label=_("Name"), required=True),), prefix="t-"),
                **context,
            },
            status=status,
        )

    def post(self, request: HttpRequest) -> HttpResponse:
        """One of: a new team, an invitation, withdrawing one, removing a member."""
        data = request.POST
        try:
            if "t-name" in data:
                job = perform(self.actor, Team, "create", {"name": data["t-name"]})
                return HttpResponseRedirect(f"{self.frame.base}/teams/{job.target_id.hex if job.target_id else ''}")
            if "withdraw" in data:
                perform(self.actor, self.find(Invitation, data["withdraw"]), "delete")
                return self.saved(_("Invitation withdrawn"))
            if "leaves" in data:
                perform(self.actor, self.find(Membership, data["leaves"]), "remove")
                return self.saved(_("Member removed"))
            return self.invite()
        except MistError as error:
            return self.show({"problem": problem(_("Nothing was changed."), error), "typed": data.dict()}, status=error.status)

    def invite(self) -> HttpResponse:
        data = self.request.POST
        secret = new_secret()
        params: dict[str, Any] = {"email": data.get("email", "").strip(), "secret": secret}
        if data.get("team"):
            params["teams"] = [data["team"]]
        job = perform(self.actor, Invitation, "create", params)
        row = Invitation.objects.select_related("org", "created_by").get(pk=job.target_id)
        sent = mail.send_invitation(row, secret, row.created_by)
        return self.show({"link": mail.link_of(secret), "sent": sent, "invited": row.email})

    def saved(self, text: str) -> HttpResponse:
        toasts.keep(self.request, toasts.note(text))
        return HttpResponseRedirect(f"{self.frame.base}/teams")


class TeamView(ConsoleView):
    """One team: who is in it, and its statements."""

    section = "teams"

    def get(self, request: HttpRequest, identity: str) -> HttpResponse:
        return self.show(self.find(Team, identity))

    def show(self, team: Team, *, text: str | None = None, error: MistError | None = None) -> HttpResponse:
        members = list(team.members.order_by("email"))
        others = User.objects.filter(memberships__org=self.org).exclude(pk__in=[user.pk for user in members]).order_by("email")[:500]
        add = forms.with_choices(Field(name="user", label=_("Member"), required=True), [(user.pk.hex, user.full_name) for user in others])
        return self.page(
            "teams/team.html",
            {
                "team": team,
                "members": members,
                "add": forms.bind((add,))[0] if others else None,
                "can": allowed(self.actor, team),
                "sentences": [sentence(one) for one in team.statements],
                "text": text if text is not None else json.dumps(team.statements, indent=2, ensure_ascii=False),
                "problem": problem(_("Nothing was changed."), error) if error else None,
            },
            status=error.status if error else 200,
        )

    def post(self, request: HttpRequest, identity: str) -> HttpResponse:
        team = self.find(Team, identity)
        data = request.POST
        text: str | None = None
        try:
            if "statements" in data:
                text = data["statements"]
                perform(self.actor, team, "set_policy", {"statements": _read(text)})
            elif "user" in data:
                perform(self.actor, team, "add_member", {"user": data["user"]})
            elif "leave" in data:
                perform(self.actor, team, "remove_member", {"user": data["leave"]})
            elif "delete" in data:
                perform(self.actor, team, "delete")
                toasts.keep(request, toasts.note(_("%(name)s deleted") % {"name": team.name}))
                return HttpResponseRedirect(f"{self.frame.base}/teams")
        except MistError as error:
            return self.show(team, text=text, error=error)
        toasts.keep(request, toasts.note(_("%(name)s saved") % {"name": team.name}))
        return HttpResponseRedirect(f"{self.frame.base}/teams/{team.pk.hex}")


def _read(text: str) -> Any:
    """Raises: Invalid."""
    try:
        return json.loads(text or "[]")
    except ValueError as error:
        raise Invalid(_("This is no JSON: %(why)s") % {"why": error}, fields={}) from error


def sentence(statement: dict[str, Any]) -> dict[str, str]:
    """A statement as people read it: “may machine.stop, machine.start on machines tagged env=prod”."""
    what = statement.get("what") or {}
    where = []
    if what.get("kinds"):
        where.append(", ".join(what["kinds"]))
    if what.get("tags"):
        where.append(_("tagged %(tags)s") % {"tags": ", ".join(f"{k}={v}" if v else k for k, v in what["tags"].items())})
    if what.get("clouds"):
        where.append(_("in %(n)d clouds") % {"n": len(what["clouds"])})
    if what.get("ids"):
        where.append(_("%(n)d chosen ones") % {"n": len(what["ids"])})
    verb = _("may not") if statement.get("effect") == "deny" else _("may")
    verbs, on = ", ".join(statement.get("verbs", [])), " · ".join(where) or _("everything")
    return {"effect": statement.get("effect", ""), "text": f"{verb} {verbs} · {on}"}
