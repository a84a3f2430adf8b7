"""A team's policy: the editor that shows what a change comes to before it is saved, and the tester."""

from __future__ import annotations

import hashlib
import json
from typing import Any
from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts import policies
from accounts.actions.fields import owners_only
from accounts.approvals import would_approve
from accounts.guards import explain
from accounts.models import Team, User
from accounts.statements import NOTHING, Decision, Statement, kinds, load_policy, policy_of
from clouds.providers.facts import Field
from core.actions import all_actions
from core.actor import Actor
from core.errors import Denied, Invalid, MistError, NotFound
from frontend import calls, forms, policy, toasts
from frontend.reasons import ASKS, in_words
from frontend.views.base import ConsoleView, problem
from frontend.views.drafts import POLICY, DraftedView

PRESETS = {
    "read": (gettext_lazy("See everything"), [{"effect": "allow", "verbs": ["*.read"], "what": {}}]),
    "operate": (
        gettext_lazy("Operate machines"),
        [
            {"effect": "allow", "verbs": ["*.read"], "what": {}},
            {
                "effect": "allow",
                "verbs": ["machine.start", "machine.stop", "machine.reboot", "machine.shell", "script.run", "machine.run_script"],
                "what": {"tags": {"env": "dev"}},
            },
        ],
    ),
    "ask": (
        gettext_lazy("Ask before destroying production"),
        [
            {"effect": "allow", "verbs": ["*.read"], "what": {}},
            {
                "effect": "allow",
                "verbs": ["machine.start", "machine.stop", "machine.reboot", "machine.destroy", "machine.shell", "machine.tag"],
                "what": {},
            },
            {"effect": "ask", "verbs": ["machine.destroy", "machine.stop"], "what": {"tags": {"env": "prod"}}},
        ],
    ),
    "self": (
        gettext_lazy("Self-service"),
        [
            {"effect": "allow", "verbs": ["cloud.read"], "what": {}},
            {"effect": "allow", "verbs": ["machine.*"], "what": {"own": True}},
        ],
    ),
}


def presets() -> list[dict[str, Any]]:
    return [{"name": name, "title": title} for name, (title, _statements) in PRESETS.items()]


class PolicyView(DraftedView):
    """The editor. A change is shown first: who gains and who loses what. Saved is what was shown."""

    section = "teams"

    def team(self, identity: str) -> Team:
        """Raises: Http404, Denied."""
        team = self.find(Team, identity)
        owners_only(self.actor, "change policies")
        if team.is_owners:
            raise Http404
        return team

    def get(self, request: HttpRequest, identity: str) -> HttpResponse:
        team = self.team(identity)
        statements = team.statements
        if request.GET.get("preset") in PRESETS:
            statements = [_known(one) for one in PRESETS[request.GET["preset"]][1]]
        draft = self.draft(POLICY, team.pk.hex, based_on=_digest(team.statements), begins=statements is not team.statements)
        if draft.data is not None:
            return self.show(team, {"rows": policy.bind(policy.typed(draft.data)), "draft": draft, "based_on": draft.data.get("based_on")})
        rows = policy.shown(statements, policies.names_in(statements, self.actor))
        return self.show(team, {"rows": policy.bind(rows), "draft": draft})

    def show(self, team: Team, context: dict[str, Any], *, status: int = 200) -> HttpResponse:
        draft = {} if "draft" in context else {"draft": self.draft(POLICY, team.pk.hex)}
        context = {"team": team, "presets": presets(), "based_on": _digest(team.statements), **draft, **context}
        return self.page("teams/policy.html", context, status=status)

    def post(self, request: HttpRequest, identity: str) -> HttpResponse:
        team = self.team(identity)
        typed = policy.typed(request.POST)
        if "_more" in request.POST:
            return self.show(team, {"rows": policy.bind([*typed, {}], more="")})
        try:
            statements = policy.read(typed, self.actor, team.statements)
        except Invalid as error:
            return self.show(team, {"rows": policy.bind(typed, error.fields), "problem": wrong(error)}, status=422)
        seen = _digest([team.statements, statements])
        if calls.ASKED in request.POST or (request.POST.get("seen") == seen and "save" in request.POST):
            try:
                self.perform(team, "set_policy", {"statements": statements})
            except MistError as error:
                return self.show(team, {"rows": policy.bind(typed), "problem": wrong(error)}, status=error.status)
            self.sent(POLICY, team.pk.hex)
            toasts.keep(request, toasts.note(_("Policy of %(name)s saved") % {"name": team.name}))
            return HttpResponseRedirect(f"{self.frame.base}/teams/{team.pk.hex}")
        context = {
            "rows": policy.bind(typed),
            "seen": seen,
            "sentences": policy.sentences(statements, self.actor),
            "changes": self.changes(team, statements),
            "members": team.members.count(),
        }
        return self.show(team, context)

    def changes(self, team: Team, statements: list[dict[str, Any]]) -> list[dict[str, Any]]:
        found = policies.preview(self.actor, team, statements)
        people = {user.pk.hex: user for user in User.objects.filter(pk__in=[change["user"] for change in found])}
        return [{**change, "person": people[change["user"]]} for change in found]


def _digest(statements: list[Any]) -> str:
    return hashlib.sha256(json.dumps(statements, sort_keys=True).encode()).hexdigest()


def _known(statement: dict[str, Any]) -> dict[str, Any]:
    """Of a preset: without verbs that this installation does not have."""
    everything = policies.verbs_known()
    verbs = [verb for verb in statement["verbs"] if "*" in verb or verb.partition(".")[2] in everything.get(verb.partition(".")[0], ())]
    return {**statement, "verbs": verbs}


def wrong(error: MistError) -> dict[str, Any]:
    said = problem(_("The policy was not saved."), error)
    if isinstance(error, Invalid) and error.fields:
        said |= {"detail": _("Some statements are wrong; they say what."), "others": []}
    return said


class PolicyCompleteView(ConsoleView):
    """What may come at the cursor of a statement's field. `part`: verbs or what."""

    section = "teams"

    def get(self, request: HttpRequest) -> HttpResponse:
        text, at = request.GET.get("q", "")[:2000], request.GET.get("at", "")
        cursor = int(at) if at.isascii() and at.isdigit() and len(at) < 6 else len(text)
        verbs = request.GET.get("part") == "verbs"
        found = policy.verbs_at(text, min(cursor, len(text))) if verbs else policy.what_at(self.actor, text, cursor)
        response = self.page("components/completions.html", {"found": found})
        response["Cache-Control"] = "no-store"
        return response


class TesterView(ConsoleView):
    """“May Ana stop web-1? Yes, by this statement.” Of oneself for everybody; of others for who may read teams."""

    section = "teams"

    def get(self, request: HttpRequest) -> HttpResponse:
        people = User.objects.filter(memberships__org=self.org).order_by("email") if self.may_look else [self.frame.user]
        asked = {name: request.GET.get(name, "").strip() for name in ("user", "verb", "thing")}
        errors: dict[str, list[str]] = {}
        answer = None
        if any(asked.values()):
            try:
                answer = self.answer(**asked)
            except Invalid as error:
                errors = error.fields
        fields = (
            forms.with_choices(Field(name="user", label=_("Person"), required=True), [(one.pk.hex, one.full_name) for one in people[:500]]),
            Field(name="verb", label=_("Verb"), required=True, help=_("As in machine.stop.")),
            Field(name="thing", label=_("On"), help=_("The name or id of one thing. Empty: anywhere.")),
        )
        person, verb, thing = forms.bind(fields, {"user": self.frame.user.pk.hex, **asked}, errors)
        context = {"person": person, "verb": verb, "thing": thing, "answer": answer, "may_look": self.may_look}
        return self.page("teams/test.html", context, status=422 if errors else 200)

    @property
    def may_look(self) -> bool:
        return load_policy(self.org.pk, self.frame.user.pk).somewhere(Team, "read")

    def answer(self, user: str, verb: str, thing: str) -> dict[str, Any]:
        """Raises: Invalid."""
        person = self.person(user)
        kind, _dot, right = verb.partition(".")
        if right not in policies.verbs_known().get(kind, ()):
            raise Invalid(fields={"verb": [policies.no_verb(verb) if verb else _("Say which verb, as in machine.stop.")]})
        action = all_actions().get(verb)
        makes = action is not None and action.creates
        actor = Actor(org_id=self.org.pk, user_id=person.pk, email=person.email, is_admin=person.is_superuser)
        said = {"person": person, "verb": verb, "right": right.replace("_", " "), "kind": kind.replace("_", " ")}
        if makes or not thing:
            held, model = load_policy(self.org.pk, person.pk), kinds()[kind]
            allowed = held.somewhere(model, right)
            asking = allowed and action is not None and held.asks_q(model, right) != NOTHING
            return {**said, "allowed": allowed, "somewhere": True, "asking": asking}
        try:
            target = policies.find(self.actor, kind, thing)
        except NotFound:
            raise Invalid(fields={"thing": [_("You see no %(kind)s of that name or id.") % {"kind": kind.replace("_", " ")}]}) from None
        decision = explain(actor, target, right)
        able = list(policies.who_can(self.org.pk, target, right)) if self.may_look else []
        return {
            **said,
            "target": target,
            "allowed": decision.allowed,
            "why": policy.why(decision),
            "source": self.source(decision.statement),
            "needs": self.needs(actor, target, right, decision),
            "able": [{"user": one.user, "why": policy.why(one.decision), "needs": one.decision.needs} for one in able],
        }

    def source(self, statement: Statement | None) -> dict[str, Any] | None:
        """A statement in words, and the team it is of."""
        team = Team.objects.filter(org=self.org, name=statement.team).first() if statement is not None and statement.team else None
        if team is None or statement is None:
            return None
        return {"team": team, "sentence": policy.sentences(team.statements, self.actor)[statement.number - 1]}

    def needs(self, actor: Actor, target: Any, right: str, decision: Decision) -> dict[str, Any] | None:
        """Why it needs approval and, for who may look, who could give it."""
        if not decision.allowed or not decision.needs:
            return None
        source = self.source(policy_of(actor).asks(target, right))
        whys = [in_words(why) for why in decision.needs if source is None or not ASKS.fullmatch(why)]  # the statement itself says more
        found: dict[str, Any] = {"source": source, "whys": whys}
        if self.may_look:
            found["approvers"] = would_approve(self.org.pk, actor.user_id, target)
        return found

    def person(self, wanted: str) -> User:
        """Raises: Invalid, Denied."""
        mine = self.frame.user
        if wanted in ("", mine.pk.hex):
            return mine
        if not self.may_look:
            raise Denied(_("You may not look at what others may do. Ask an owner."))
        try:
            person = User.objects.filter(memberships__org=self.org, pk=UUID(wanted)).first()
        except ValueError:
            person = None
        if person is None:
            raise Invalid(fields={"user": [_("Not a member of this organization.")]})
        return person
