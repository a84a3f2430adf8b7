"""Teams & policies: members, invitations, statements."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts import mail
from accounts.credentials import new_secret
from accounts.models import Invitation, Membership, Team, User
from clouds.providers.facts import Field
from core.actions import allowed, perform
from core.errors import Invalid, MistError
from frontend import forms, policy, toasts
from frontend.views.base import ConsoleView, problem
from frontend.views.policy import presets

ABOUT = (forms.NAME, Field(name="description", label="Description"))
INVITE = (Field(name="email", label="E-mail", required=True),)


class TeamsView(ConsoleView):
    """Teams, members of the organization, open invitations."""

    section = "teams"

    def get(self, request: HttpRequest) -> HttpResponse:
        return self.show({})

    def show(self, context: dict[str, Any], *, status: int = 200) -> HttpResponse:
        teams = Team.objects.visible_to(self.actor).prefetch_related("members").order_by("-is_owners", "name")
        members = list(Membership.objects.visible_to(self.actor).filter(org=self.org).select_related("user").order_by("user__email"))
        roles: dict[Any, list[Team]] = {}
        for team in teams:
            for user in team.members.all():
                roles.setdefault(user.pk, []).append(team)
        for member in members:
            member.teams = roles.get(member.user_id, [])  # type: ignore[attr-defined]
        invitations = list(Invitation.objects.visible_to(self.actor).order_by("-created_at"))
        for invitation in invitations:
            invitation.is_expired = invitation.expires_at < timezone.now()  # type: ignore[attr-defined]
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
                "asks": [member for member in members if member.asked_for] if self.frame.is_owner else [],
                "invitations": invitations,
                "invite": forms.bind(invite, context.get("typed")),
                "team_form": forms.bind((Field(name="name", label=_("Name"), required=True),), prefix="t-"),
                **context,
            },
            status=status,
        )

    def post(self, request: HttpRequest) -> HttpResponse:
        """One of: a new team, an answer to who asks for access, an invitation, withdrawing one, removing a member."""
        data = request.POST
        try:
            if "t-name" in data:
                job = self.perform(Team, "create", {"name": data["t-name"]}, (forms.NAME,))
                return HttpResponseRedirect(f"{self.frame.base}/teams/{job.target_id.hex if job.target_id else ''}")
            if "add" in data:
                member = self.find(Membership, data["add"])
                team = self.find(Team, data.get("to", ""))
                self.perform(team, "add_member", {"user": member.user_id.hex})
                return self.saved(_("%(name)s is in %(team)s now") % {"name": member.user.full_name, "team": team.name})
            if "decline" in data:
                perform(self.actor, self.find(Membership, data["decline"]), "decline")
                return self.saved(_("Request declined"))
            if "withdraw" in data:
                invitation = self.find(Invitation, data["withdraw"])
                title = _("Withdraw the invitation of %(email)s?") % {"email": invitation.email}
                self.perform(invitation, "delete", asks=invitation.email, title=title)
                return self.saved(_("Invitation withdrawn"))
            if "leaves" in data:
                member = self.find(Membership, data["leaves"])
                self.perform(member, "remove", asks=member.user.full_name)
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
        job = self.perform(Invitation, "create", params, INVITE, secret=None)
        row = Invitation.objects.select_related("org", "created_by").get(pk=job.target_id)
        sent = mail.send_invitation(row, secret, row.created_by)
        return self.show({"link": mail.link_of(secret), "sent": sent, "invited": row.email})

    def saved(self, text: str) -> HttpResponse:
        toasts.keep(self.request, toasts.note(text))
        return HttpResponseRedirect(f"{self.frame.base}/teams")


class TeamView(ConsoleView):
    """One team: who is in it, and its statements in words. They are edited on a page of their own (frontend.views.policy)."""

    section = "teams"

    def get(self, request: HttpRequest, identity: str) -> HttpResponse:
        return self.show(self.find(Team, identity))

    def show(self, team: Team, *, typed: dict[str, str] | None = None, error: MistError | None = None) -> HttpResponse:
        members = list(team.members.order_by("email"))
        others = User.objects.filter(memberships__org=self.org).exclude(pk__in=[user.pk for user in members]).order_by("email")[:500]
        add = forms.with_choices(Field(name="user", label=_("Member"), required=True), [(user.pk.hex, user.full_name) for user in others])
        wrong = error.fields if isinstance(error, Invalid) else {}
        return self.page(
            "teams/team.html",
            {
                "team": team,
                "members": members,
                "add": forms.bind((add,))[0] if others else None,
                "about": forms.bind(ABOUT, typed or {"name": team.name, "description": team.description}, wrong),
                "can": allowed(self.actor, team),
                "edits": self.frame.is_owner and not team.is_owners,
                "sentences": policy.sentences(team.statements, self.actor),
                "presets": presets(),
                "problem": problem(_("Nothing was changed."), error, ABOUT) if error else None,
            },
            status=error.status if error else 200,
        )

    def post(self, request: HttpRequest, identity: str) -> HttpResponse:
        """One of: its name and description, a member more or less, its end."""
        team = self.find(Team, identity)
        data = request.POST
        typed: dict[str, str] | None = None
        try:
            if "name" in data:
                typed = {key: data.get(key, "") for key in ("name", "description")}
                self.perform(team, "edit", typed, ABOUT)
            elif "user" in data:
                self.perform(team, "add_member", {"user": data["user"]})
            elif "leave" in data:
                name = next((user.full_name for user in team.members.all() if user.pk.hex == data["leave"]), "")
                title = _("Take %(name)s out of %(team)s?") % {"name": name, "team": team.name}
                self.perform(team, "remove_member", {"user": data["leave"]}, asks=name, title=title)
            elif "delete" in data:
                self.perform(team, "delete", asks=team.name)
                toasts.keep(request, toasts.note(_("%(name)s deleted") % {"name": team.name}))
                return HttpResponseRedirect(f"{self.frame.base}/teams")
        except MistError as error:
            return self.show(Team.objects.get(pk=team.pk), typed=typed, error=error)
        toasts.keep(request, toasts.note(_("%(name)s saved") % {"name": team.name}))
        return HttpResponseRedirect(f"{self.frame.base}/teams/{team.pk.hex}")
