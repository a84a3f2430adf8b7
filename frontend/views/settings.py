"""One's own settings, and the organization's."""

from __future__ import annotations

from typing import Any

from allauth.mfa.models import Authenticator
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.functional import cached_property
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts import people
from accounts.actions.fields import zones
from accounts.credentials import new_secret
from accounts.models import Token, User
from clouds.providers.facts import Field
from core.errors import Invalid, MistError
from frontend import browsers, calls, forms, fromacts, keyboard, policy, toasts, viewer
from frontend.context import DENSITIES, THEMES
from frontend.views.base import ConsoleView, problem

DAY_S = 86_400
PAGES = (
    ("profile", gettext_lazy("Profile")),
    ("password", gettext_lazy("Password")),
    ("sessions", gettext_lazy("Sessions")),
    ("tokens", gettext_lazy("Tokens")),
    ("keyboard", gettext_lazy("Keyboard")),
    ("organization", gettext_lazy("Organization")),
    ("security", gettext_lazy("Security")),
)
OF_THE_ORG = ("organization", "security")


class SettingsView(ConsoleView):
    """A page of settings: a form, a list, or both."""

    section = "settings"
    name = ""

    def show(self, context: dict[str, Any], *, status: int = 200) -> HttpResponse:
        pages = [
            {"name": name, "title": title, "current": name == self.name, "of_org": name in OF_THE_ORG}
            for name, title in PAGES
            if name not in OF_THE_ORG or self.frame.is_owner
        ]
        return self.page(f"settings/{self.name}.html", {"pages": pages, **context}, status=status)

    @property
    def here(self) -> str:
        return f"{self.frame.base}/settings/{self.name}"

    def saved(self, text: str) -> HttpResponse:
        toasts.keep(self.request, toasts.note(text))
        return HttpResponseRedirect(self.here)


class ProfileView(SettingsView):
    """Name, and how the console looks and listens."""

    name = "profile"

    def fields(self) -> tuple[Field, ...]:
        themes = [("system", _("As the system")), ("light", _("Light")), ("dark", _("Dark"))]
        densities = [("compact", _("Compact")), ("default", _("Default")), ("relaxed", _("Relaxed"))]
        return (
            Field(name="first_name", label=_("First name")),
            Field(name="last_name", label=_("Last name")),
            forms.with_choices(Field(name="language", label=_("Language")), viewer.languages().items(), empty=_("As the browser asks")),
            zone_field(_("Empty: that of this organization, or of the browser.")),
            forms.with_choices(Field(name="theme", label=_("Theme"), required=True), themes),
            forms.with_choices(Field(name="density", label=_("Rows of lists"), required=True), densities),
        )

    def get(self, request: HttpRequest) -> HttpResponse:
        user = self.frame.user
        names = {"first_name": user.first_name, "last_name": user.last_name}
        return self.show({"fields": forms.bind(self.fields(), {"theme": "system", "density": "default", **user.settings, **names})})

    def post(self, request: HttpRequest) -> HttpResponse:
        data = request.POST
        chosen = {
            "theme": data["theme"] if data.get("theme") in THEMES else "system",
            "density": data["density"] if data.get("density") in DENSITIES else "default",
            "language": data["language"] if data.get("language") in viewer.languages() else "",
            "time_zone": data.get("time_zone", "").strip(),
        }
        names = {key: data.get(key, "").strip()[:100].replace("\x00", "") for key in ("first_name", "last_name")}
        try:
            if chosen["time_zone"] and chosen["time_zone"] not in zones():
                raise Invalid(fields={"time_zone": [_("There is no such time zone. They are written as Europe/Athens.")]})
            people.edit_profile(self.actor, {**names, "settings": chosen})
        except Invalid as error:
            shown = forms.bind(self.fields(), data.dict(), error.fields)
            return self.show({"fields": shown, "problem": problem(_("Nothing was changed."), error, self.fields())}, status=422)
        return self.saved(_("Profile saved"))


class KeyboardView(SettingsView):
    """Do single keys do things, and which key does what."""

    name = "keyboard"

    def fields(self) -> tuple[Field, ...]:
        return tuple(Field(name=key, label=str(title)) for key, title in keyboard.DOES.items())

    def shown(self, are_on: bool, values: dict[str, str], wrong: dict[str, list[str]] | None = None, **how: Any) -> HttpResponse:
        fields = forms.bind(self.fields(), {key: values.get(key, key) for key in keyboard.DOES}, wrong)
        said = {"problem": problem(_("Nothing was changed."), Invalid(fields=wrong), self.fields())} if wrong else {}
        return self.show({"fields": fields, "are_on": are_on, **said}, **how)

    def get(self, request: HttpRequest) -> HttpResponse:
        own = self.frame.user.settings
        return self.shown(own.get("keys", True) is not False, keyboard.moved({**own, "keys": True}))

    def post(self, request: HttpRequest) -> HttpResponse:
        data = request.POST
        if "reset" in data:
            people.edit_profile(self.actor, {"settings": {"keys": True, "key_of": {}}})
            return self.saved(_("The keys are as they were"))
        typed = {key: data[key] for key in keyboard.DOES if key in data}
        own, wrong = keyboard.read(typed)
        if wrong:
            return self.shown("keys" in data, typed, wrong, status=422)
        people.edit_profile(self.actor, {"settings": {"keys": "keys" in data, "key_of": own}})
        return self.saved(_("Keyboard saved"))


class PasswordView(SettingsView):
    """Change it; other sessions end."""

    name = "password"

    def fields(self) -> tuple[Field, ...]:
        return (
            Field(name="old", label=_("Password now"), secret=True, required=True),
            Field(name="password", label=_("New password"), secret=True, required=True, help=_("Ten characters or more.")),
        )

    def get(self, request: HttpRequest) -> HttpResponse:
        return self.show({"fields": forms.bind(self.fields())})

    def post(self, request: HttpRequest) -> HttpResponse:
        try:
            people.change_password(request, self.frame.user, request.POST.get("old", ""), request.POST.get("password", ""))
        except MistError as error:
            wrong = error.fields if isinstance(error, Invalid) else {}
            context = {"fields": forms.bind(self.fields(), {}, wrong)}
            return self.show({**context, "problem": problem(_("The password was not changed."), error, self.fields())}, status=error.status)
        return self.saved(_("Password changed; other sessions have ended"))


class SessionsView(SettingsView):
    """Where one is signed in."""

    name = "sessions"

    def get(self, request: HttpRequest) -> HttpResponse:
        mine = people.sessions_of(self.frame.user.pk)
        rows = [
            {
                "session": one,
                "id": people.session_id(one),
                "here": one.session_key == request.session.session_key,
                "browser": browsers.said(one.user_agent),
            }
            for one in mine
        ]
        return self.show({"rows": rows})

    def post(self, request: HttpRequest) -> HttpResponse:
        people.revoke_session(self.actor, request.POST.get("session", ""))
        return self.saved(_("Session ended"))


class TokensView(SettingsView):
    """Keys to the API, shown once."""

    name = "tokens"

    def fields(self) -> tuple[Field, ...]:
        days = [("1", _("A day")), ("30", _("30 days")), ("90", _("90 days")), ("365", _("A year")), ("0", _("For ever"))]
        return (
            Field(name="name", label=_("What it is for"), required=True),
            forms.with_choices(Field(name="days", label=_("It works for"), required=True, default="90"), days),
            forms.with_choices(
                Field(name="scope", label=_("It may"), required=True, default=self.source.choices[0][0] if self.source else "all"),
                [*(self.source.choices if self.source else ()), ("all", _("do what you may")), ("read", _("only read"))],
            ),
        )

    @property
    def signed_in(self) -> dict[str, str]:
        """What the API asks for besides: a token makes no tokens."""
        return {"org": self.org.slug, "email": self.frame.user.email, "password": calls.HIDDEN}

    @cached_property
    def source(self) -> fromacts.Source | None:
        """What one just did, where the address names it: the token is for that."""
        return fromacts.source(self.actor, self.request.GET)

    def get(self, request: HttpRequest) -> HttpResponse:
        return self.listed({"fields": forms.bind(self.fields(), {"name": self.source.title} if self.source else None)})

    def listed(self, context: dict[str, Any], *, status: int = 200) -> HttpResponse:
        context = {"source": self.source, **context}
        mine = Token.objects.visible_to(self.actor).filter(owner_id=self.actor.user_id, revoked_at=None).order_by("-created_at")
        for token in mine:
            token.sentences = policy.sentences(token.limits, self.actor)  # type: ignore[attr-defined]
        return self.show({"tokens": mine, **context}, status=status)

    def post(self, request: HttpRequest) -> HttpResponse:
        if "revoke" in request.POST:
            token = self.find(Token, request.POST["revoke"])
            try:
                self.perform(token, "delete", asks=token.name)
            except MistError as error:
                return self.failed(_("The token was not revoked."), error, self.here)
            return self.saved(_("%(name)s revoked") % {"name": token.name})
        days, scope = request.POST.get("days", "90"), request.POST.get("scope", "all")
        secret = new_secret("mist_")
        params = {
            "name": request.POST.get("name", ""),
            "scope": "all" if self.source and scope in self.source.limits else scope,
            "limits": self.source.limits.get(scope, []) if self.source else [],
            "ttl": int(days) * DAY_S or None if days.isdigit() else DAY_S,
            "secret": secret,
        }
        try:
            self.perform(Token, "create", params, self.fields(), secret=None, **self.signed_in)
        except MistError as error:
            wrong = error.fields if isinstance(error, Invalid) else {}
            context = {"fields": forms.bind(self.fields(), request.POST.dict(), wrong)}
            return self.listed({**context, "problem": problem(_("No token was made."), error, self.fields())}, status=error.status)
        return self.listed({"fields": forms.bind(self.fields()), "secret": secret})


class OrganizationView(SettingsView):
    """What it is called, where its paths lead, its money, zone and language."""

    name = "organization"

    def fields(self) -> tuple[Field, ...]:
        warning = _("The first part of every address: /o/%(slug)s/. Old links lead on; scripts that name it have to be changed.")
        return (
            forms.NAME,
            Field(name="slug", label=_("Name in addresses"), required=True, help=warning % {"slug": self.org.slug}),
            Field(name="description", label=_("Description"), kind="textarea"),
            Field(name="currency", label=_("Currency"), required=True, help=_("Three letters, as USD or EUR.")),
            zone_field(_("Of members who chose none.")),
            forms.with_choices(Field(name="language", label=_("Language")), viewer.languages().items(), empty=_("As each browser asks")),
        )

    @property
    def names(self) -> list[str]:
        return [spec.name for spec in self.fields()]

    def get(self, request: HttpRequest) -> HttpResponse:
        if not self.frame.is_owner:
            raise Http404
        return self.show({"fields": forms.bind(self.fields(), {name: getattr(self.org, name) for name in self.names})})

    def post(self, request: HttpRequest) -> HttpResponse:
        typed = {key: request.POST[key].strip() for key in self.names if key in request.POST}
        typed["time_zone"] = typed.get("time_zone") or self.org.time_zone
        try:
            self.perform(self.org, "edit", typed, self.fields())
        except MistError as error:
            wrong = error.fields if isinstance(error, Invalid) else {}
            context = {"fields": forms.bind(self.fields(), typed, wrong)}
            return self.show({**context, "problem": problem(_("Nothing was changed."), error, self.fields())}, status=error.status)
        toasts.keep(request, toasts.note(_("Organization saved")))
        return HttpResponseRedirect(f"/o/{typed.get('slug', self.org.slug)}/settings/{self.name}")


class SecurityView(SettingsView):
    """What the organization asks of whoever works in it. Nobody can lock themselves out here."""

    name = "security"

    def fields(self) -> tuple[Field, ...]:
        here = _("One address or network a line, as 203.0.113.7 or 10.0.0.0/8. Empty: from anywhere. You are at %(address)s.")
        return (
            Field(
                name="require_second_step",
                label=_("Everybody signs in with a second step"),
                kind="toggle",
                help=_("An authenticator app or a passkey. Who has none is led to set one up; their tokens wait until then."),
            ),
            Field(name="allowed_addresses", label=_("Allowed addresses"), kind="textarea", help=here % {"address": self.actor.address}),
            Field(
                name="session_hours",
                label=_("A session lasts, in hours"),
                kind="integer",
                minimum=1,
                help=_("Then people sign in again. Empty: as long as this installation lets it."),
            ),
        )

    def get(self, request: HttpRequest) -> HttpResponse:
        if not self.frame.is_owner:
            raise Http404
        org = self.org
        values = {
            "require_second_step": org.require_second_step,
            "allowed_addresses": "\n".join(org.allowed_addresses),
            "session_hours": org.session_hours,
        }
        return self.show({"fields": forms.bind(self.fields(), values), "without": self.without()})

    def without(self) -> list[User]:
        """Members who have no second step."""
        have = Authenticator.objects.filter(type__in=[Authenticator.Type.TOTP, Authenticator.Type.WEBAUTHN]).values("user_id")
        return list(User.objects.filter(memberships__org=self.org).exclude(pk__in=have).order_by("email")[:20])

    def post(self, request: HttpRequest) -> HttpResponse:
        data = request.POST
        asked = {
            "require_second_step": "require_second_step" in data,
            "allowed_addresses": data.get("allowed_addresses", "").replace(",", " ").split(),
            "session_hours": data.get("session_hours", "").strip() or None,
        }
        try:
            self.perform(self.org, "edit", asked, self.fields())
        except MistError as error:
            wrong = error.fields if isinstance(error, Invalid) else {}
            typed = {**asked, "allowed_addresses": data.get("allowed_addresses", "")}
            context = {"fields": forms.bind(self.fields(), typed, wrong), "without": self.without()}
            return self.show({**context, "problem": problem(_("Nothing was changed."), error, self.fields())}, status=error.status)
        return self.saved(_("Security saved"))


def zone_field(help: str) -> Field:
    return Field(name="time_zone", label=_("Time zone"), choices=tuple((name, name) for name in sorted(zones())), help=help)
