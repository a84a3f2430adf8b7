"""Secrets, and the stores outside that keep them: lists, forms, values shown under record and hidden again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from django.db.models import Count, F
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from clouds.models import Cloud
from clouds.providers.facts import Field
from core import guard
from core.actions import allowed, perform
from core.errors import Failed, Invalid, MistError
from core.models import Event
from frontend import forms, listing, toasts
from frontend.rows import event_rows
from frontend.views.base import ConsoleView, problem
from keys import stores
from keys.models import Secret, SecretStore
from scripts.models import Script, ScriptVersion

KEY = Field(name="key", label=gettext_lazy("Key"), required=True)  # type: ignore[arg-type]
VALUE = Field(name="value", label=gettext_lazy("Value"), kind="textarea", secret=True)  # type: ignore[arg-type]
VALUES = Field(
    name="values",
    label=gettext_lazy("Values"),  # type: ignore[arg-type]
    kind="list",
    help=gettext_lazy("Each has a key, such as password or token."),  # type: ignore[arg-type]
    fields=(KEY, VALUE),
)
MORE = replace(VALUES, label=gettext_lazy("More values"), help="", fields=(replace(KEY, required=False), VALUE))
SHOWN_S = 60  # values that were asked for, on the page


def _typed_values(rows: list[dict[str, Any]]) -> list[dict[str, str]]:
    return [{"key": row.get("key", ""), "value": row.get("value", "").replace("\r\n", "\n")} for row in rows]


class SecretsView(ConsoleView):
    """The list: what each holds by its keys, where it is kept, when it changed and was used."""

    section = "keys"

    def get(self, request: HttpRequest) -> HttpResponse:
        page = listing.page(Secret.objects.select_related("store"), request.GET, self.actor, default="name")
        return self.page("keys/secrets.html", {"page": page, "tab": "secrets"}, status=400 if page.error else 200)


class NewSecretView(ConsoleView):
    """Values typed here, or a path of a store outside that holds them already (`way=adopt`)."""

    section = "keys"

    def fields(self, way: str) -> tuple[Field, ...]:
        kept = [(row.pk.hex, row.name) for row in SecretStore.objects.visible_to(self.actor).order_by("-is_default", "name")[:100]]
        if way == "adopt":
            path = Field(name="path", label=_("Path"), help=_("Below the mount, such as team/db. Left empty, it is the name."))
            return (forms.NAME, Field(name="store", label=_("Store"), kind="choice", required=True, choices=tuple(kept)), path, forms.TAGS)
        default = next((row.pk.hex for row in SecretStore.objects.visible_to(self.actor).filter(is_default=True)), "")
        choices = (("", _("Mist’s own vault")), *kept)
        store = Field(name="store", label=_("Kept in"), kind="choice", required=True, default=default, choices=choices)
        return (forms.NAME, VALUES, *((store,) if kept else ()), forms.TAGS)

    def get(self, request: HttpRequest) -> HttpResponse:
        return self.form(request.GET.get("way", "new"))

    def post(self, request: HttpRequest) -> HttpResponse:
        way = request.POST.get("way", "new")
        fields = self.fields(way)
        typed = forms.read(fields, request.POST)
        if "_more" in request.POST:
            return self.form(way, typed=typed)
        sent: dict[str, Any] = {"name": typed.get("name", ""), "tags": forms.read_tags(typed.get("tags", ""))}
        if way == "adopt":
            sent |= {"store": typed.get("store", ""), "path": typed.get("path", "")}
        else:
            sent["secret"] = _typed_values(typed["values"])
            if "store" in request.POST:
                sent["store"] = typed.get("store") or None
        try:
            job = self.perform(Secret, "adopt" if way == "adopt" else "create", sent, fields)
        except MistError as error:
            return self.form(way, typed=typed, error=error)
        to = f"{self.frame.base}/keys/secrets/{job.target_id.hex if job.target_id else ''}"
        return self.done(toasts.note(_("%(name)s added") % {"name": job.target_name}), to)

    def form(self, way: str, *, typed: dict[str, Any] | None = None, error: MistError | None = None) -> HttpResponse:
        if way not in ("new", "adopt"):
            raise Http404
        fields = self.fields(way)
        wrong = dict(error.fields) if isinstance(error, Invalid) else {}
        if "secret" in wrong:
            wrong["values"] = forms.flat(wrong.pop("secret"))
        context = {
            "way": way,
            "fields": forms.bind(fields, typed, wrong, more=self.request.POST.get("_more", "")),
            "has_stores": way == "adopt" or SecretStore.objects.visible_to(self.actor).exists(),
            "problem": problem(_("The secret was not added."), _of_fields(error, wrong), fields) if error else None,
        }
        return self.page("keys/new_secret.html", context, status=error.status if error else 200)


def _of_fields(error: MistError, fields: dict[str, Any]) -> MistError:
    """The same error by the names the form has for its fields."""
    return Invalid(error.detail, fields=fields, code=error.code) if isinstance(error, Invalid) else error


class SecretView(ConsoleView):
    """One secret: its keys, versions, what uses it; its values for who asks for them under record."""

    section = "keys"

    def get(self, request: HttpRequest, identity: str) -> HttpResponse:
        return self.show(self.find(Secret, identity))

    def show(
        self, secret: Secret, *, error: MistError | None = None, told: stores.Contents | None = None, wrong_name: bool = False
    ) -> HttpResponse:
        versions, unknown = self._versions(secret)
        recent = Event.objects.visible_to(self.actor).filter(target_id=secret.pk).order_by("-at", "-id")[:10]
        wrong: dict[str, Any] = error.fields if isinstance(error, Invalid) else {}
        names = [Field(name=str(number), label=key, kind="textarea", secret=True) for number, key in enumerate(secret.keys)]
        context = {
            "secret": secret,
            "can": allowed(self.actor, secret),
            "versions": versions,
            "unknown": unknown,
            "told": told,
            "shown": list(told.texts.items()) if told else [],
            "tags": sorted(secret.tags.items()),
            "shown_s": SHOWN_S,
            "values": forms.bind(names, {}, {}, prefix="v-", stored=True),
            "added": forms.bind((MORE,), {}, {"values": forms.flat({k: v for k, v in wrong.items() if k != "name"})})[0],
            "name": forms.bind((forms.NAME,), {"name": secret.name}, wrong)[0],
            "clouds": self._clouds(secret),
            "scripts": self._scripts(secret),
            "recent": event_rows(list(recent)),
            "wrong_name": wrong_name,
            "problem": problem(_("Nothing was changed."), error, (forms.NAME,)) if error else None,
        }
        response = self.page("keys/secret.html", context, status=error.status if error else 422 if wrong_name else 200)
        if told is not None:
            response["Cache-Control"] = "no-store"
        return response

    def post(self, request: HttpRequest, identity: str) -> HttpResponse:
        secret, data = self.find(Secret, identity), request.POST
        said = _("%(name)s saved") % {"name": data.get("name") or secret.name}
        try:
            if "reveal" in data:
                number = int(data["reveal"]) if data["reveal"].isdigit() and len(data["reveal"]) < 10 else None
                params = {"reason": data.get("reason", ""), **({"version": number} if number else {})}
                perform(self.actor, secret, "read_value", params)
                return self.show(secret, told=stores.of(secret).read(secret, number))
            if "restore" in data:
                title = _("Restore version %(n)s of %(name)s?") % {"n": data["restore"], "name": secret.name}
                self.perform(secret, "restore", {"version": data["restore"]}, asks=secret.name, title=title)
                said = _("%(name)s has the values of version %(n)s again") % {"name": secret.name, "n": data["restore"]}
            elif "refresh" in data:
                perform(self.actor, secret, "refresh")
                said = _("%(name)s was looked at again") % {"name": secret.name}
            elif "delete" in data:
                if data.get("confirm", "").strip() != secret.name and not self.is_told:
                    return self.show(secret, wrong_name=True)
                self.perform(secret, "delete")
                toasts.keep(request, toasts.note(_("%(name)s deleted") % {"name": secret.name}))
                return HttpResponseRedirect(f"{self.frame.base}/keys/secrets")
            elif "name" in data:
                self.perform(secret, "edit", {"name": data["name"]}, (forms.NAME,))
            elif "values" in data:
                self.perform(secret, "edit", self._edited(secret), (MORE,))
            else:
                raise Http404
        except MistError as error:
            return self.show(secret, error=error)
        toasts.keep(request, toasts.note(said))
        return HttpResponseRedirect(f"{self.frame.base}/keys/secrets/{secret.pk.hex}")

    def _edited(self, secret: Secret) -> dict[str, Any]:
        """What was typed into the form of values: an empty field keeps what is stored."""
        data = self.request.POST
        known = [(data.get(f"k-{number}", ""), str(number)) for number in range(len(secret.keys) + 100) if f"k-{number}" in data]
        typed = [{"key": key, "value": data[f"v-{n}"]} for key, n in known if data.get(f"v-{n}") and f"r-{n}" not in data]
        change = _typed_values([*typed, *forms.read((MORE,), data)["values"]])
        params: dict[str, Any] = {"change": change, "remove": [key for key, n in known if f"r-{n}" in data]}
        return params | ({"based_on": data["values"]} if data["values"] != "0" else {})

    def _versions(self, secret: Secret) -> tuple[list[stores.Version], str]:
        """(newest first; why they cannot be told now)."""
        try:
            return stores.of(secret).versions(secret)[:50], ""
        except Failed as error:
            return [], error.detail

    def _clouds(self, secret: Secret) -> list[dict[str, Any]]:
        uses = {use.target_id: use.field for use in secret.uses.filter(kind="cloud")}
        rows = Cloud.objects.visible_to(self.actor).filter(pk__in=uses).order_by("name")
        return [{"cloud": row, "field": uses[row.pk]} for row in rows]

    def _scripts(self, secret: Secret) -> list[Script]:
        """Those whose parameters take it where nobody says otherwise."""
        seen = Script.objects.visible_to(self.actor)
        versions = ScriptVersion.objects.filter(script__in=seen, number=F("script__latest"), parameters__contains=[{"type": "secret"}])
        starts = tuple(f"{before}{name}/" for before in ("", "secret:") for name in (secret.name, secret.pk.hex))
        found = []
        for version in versions.select_related("script").defer("content")[:2000]:
            if any(p.get("type") == "secret" and str(p.get("default") or "").startswith(starts) for p in version.parameters):
                found.append(version.script)
        return sorted(found, key=lambda script: script.name)[:50]


# --- stores outside ---------------------------------------------------------------------------------------------------

CREDENTIALS = (
    Field(
        name="token",
        label=gettext_lazy("Token"),  # type: ignore[arg-type]
        secret=True,
        help=gettext_lazy("One that is renewed or does not end. Or leave it empty and give an AppRole."),  # type: ignore[arg-type]
    ),
    Field(name="role_id", label=gettext_lazy("Role id")),  # type: ignore[arg-type]
    Field(name="secret_id", label=gettext_lazy("Secret id"), secret=True),  # type: ignore[arg-type]
)
STORE = (
    forms.NAME,
    Field(
        name="address",
        label=gettext_lazy("Address"),  # type: ignore[arg-type]
        required=True,
        help=gettext_lazy("https://vault.example.org:8200"),  # type: ignore[arg-type]
    ),
    Field(
        name="mount",
        label=gettext_lazy("Mount"),  # type: ignore[arg-type]
        default="secret",
        help=gettext_lazy("Of a key-value engine, version 2."),  # type: ignore[arg-type]
    ),
    Field(name="namespace", label=gettext_lazy("Namespace")),  # type: ignore[arg-type]
    *CREDENTIALS,
    Field(
        name="ca",
        label=gettext_lazy("CA certificate"),  # type: ignore[arg-type]
        kind="textarea",
        help=gettext_lazy("PEM, where the system does not trust its certificate."),  # type: ignore[arg-type]
    ),
    Field(name="default", label=gettext_lazy("Keep new secrets there"), kind="toggle"),  # type: ignore[arg-type]
)


class StoresView(ConsoleView):
    """The stores outside, and the form of adding one."""

    section = "keys"

    def get(self, request: HttpRequest) -> HttpResponse:
        return self.show()

    def show(self, *, typed: dict[str, Any] | None = None, error: MistError | None = None) -> HttpResponse:
        rows = SecretStore.objects.visible_to(self.actor).annotate(kept=Count("secrets")).order_by("name")[:100]
        context = {
            "tab": "secrets",
            "stores": rows,
            "may_create": guard.permits(self.actor, SecretStore(org_id=self.actor.org_id), "create"),
            "fields": forms.bind(STORE, typed, error.fields if isinstance(error, Invalid) else {}),
            "problem": problem(_("The store was not added."), error, STORE) if error else None,
        }
        return self.page("keys/stores.html", context, status=error.status if error else 200)

    def post(self, request: HttpRequest) -> HttpResponse:
        typed = forms.read(STORE, request.POST)
        try:
            job = self.perform(SecretStore, "create", typed, STORE)
        except MistError as error:
            return self.show(typed=typed, error=error)
        return self.done(toasts.note(_("%(name)s added") % {"name": job.target_name}), f"{self.frame.base}/keys/stores")


class StoreView(ConsoleView):
    """One store: how it is reached, what it keeps."""

    section = "keys"

    def get(self, request: HttpRequest, identity: str) -> HttpResponse:
        return self.show(self.find(SecretStore, identity))

    def show(self, row: SecretStore, *, typed: dict[str, Any] | None = None, error: MistError | None = None) -> HttpResponse:
        names = ("name", "address", "mount", "namespace", "role_id", "ca")
        values = typed or {**{name: getattr(row, name) for name in names}, "default": row.is_default}
        context = {
            "store": row,
            "can": allowed(self.actor, row),
            "secrets": Secret.objects.visible_to(self.actor).filter(store=row).order_by("name")[:200],
            "fields": forms.bind(STORE, values, error.fields if isinstance(error, Invalid) else {}, stored=True),
            "problem": problem(_("Nothing was changed."), error, STORE) if error else None,
        }
        return self.page("keys/store.html", context, status=error.status if error else 200)

    def post(self, request: HttpRequest, identity: str) -> HttpResponse:
        row, typed = self.find(SecretStore, identity), forms.read(STORE, request.POST)
        try:
            if "delete" in request.POST:
                title = _("Forget %(name)s?") % {"name": row.name}
                self.perform(row, "delete", asks=row.name, title=title)
                toasts.keep(request, toasts.note(_("%(name)s forgotten") % {"name": row.name}))
                return HttpResponseRedirect(f"{self.frame.base}/keys/stores")
            self.perform(row, "edit", {"namespace": "", "ca": "", **typed, "role_id": typed.get("role_id", "")}, STORE)
        except MistError as error:
            return self.show(row, typed=typed, error=error)
        toasts.keep(request, toasts.note(_("%(name)s saved") % {"name": typed.get("name", row.name)}))
        return HttpResponseRedirect(f"{self.frame.base}/keys/stores/{row.pk.hex}")
