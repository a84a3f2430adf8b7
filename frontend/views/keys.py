"""Keys: what opens machines, and the host keys machines are known by."""

from __future__ import annotations

from typing import Any

from django.db.models import Count, Max
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from clouds.providers.facts import Field
from core import guard, vault
from core.actions import allowed, perform
from core.errors import Invalid, MistError
from core.models import Event
from frontend import forms, listing, toasts
from frontend.rows import event_rows
from frontend.views.base import ConsoleView, problem
from keys import hostkeys
from keys.models import Authority, HostKey, Key
from machines.models import Machine

GENERATE = (
    forms.NAME,
    Field(
        name="algorithm",
        label=gettext_lazy("Algorithm"),
        kind="choice",
        required=True,
        default="ssh-ed25519",
        choices=(("ssh-ed25519", "Ed25519"), ("ecdsa-sha2-nistp256", "ECDSA P-256"), ("ssh-rsa", "RSA 3072")),
    ),
    Field(name="default", label=gettext_lazy("Use it for new machines"), kind="toggle"),
)
UPLOAD = (
    forms.NAME,
    Field(
        name="private",
        label=gettext_lazy("Private key"),
        kind="textarea",
        required=True,
        secret=True,
        help=gettext_lazy("OpenSSH or PEM. It goes into the vault and is shown nowhere."),
    ),
    Field(name="passphrase", label=gettext_lazy("Passphrase"), secret=True, help=gettext_lazy("Needed once, where the key has one.")),
    Field(name="certificate", label=gettext_lazy("Certificate"), kind="textarea", help=gettext_lazy("Where a CA has signed the key.")),
    Field(name="default", label=gettext_lazy("Use it for new machines"), kind="toggle"),
)
TRUST = (
    Field(name="host", label=gettext_lazy("Host name or address"), required=True),
    Field(name="port", label=gettext_lazy("Port"), kind="integer", default=22, minimum=1, maximum=65535),
    Field(
        name="public",
        label=gettext_lazy("Its public key"),
        required=True,
        help=gettext_lazy("Read on the host itself: cat /etc/ssh/ssh_host_ed25519_key.pub"),
    ),
)


KNOWN_FROM = {
    "first-use": gettext_lazy("It showed this one when it was first reached."),
    "console": gettext_lazy("It printed this on its console, as its cloud tells."),
    "cloud-init": gettext_lazy("Mist put this one into it when it was made."),
    "operator": gettext_lazy("Somebody trusted this one."),
    hostkeys.UNMET: gettext_lazy("Nothing yet: somebody has to trust it, it is not trusted at first sight."),
}
SHOWN_FROM = {
    "": gettext_lazy("It shows this one now. Nobody else knows it."),
    "console": gettext_lazy("It shows this one now, and printed it on its console, as its cloud tells."),
    "cloud-init": gettext_lazy("It shows this one now, which Mist put into the machine that has this address."),
}


class KeysView(ConsoleView):
    """The list: what kind, where it works, when it was last used."""

    section = "keys"

    def get(self, request: HttpRequest) -> HttpResponse:
        rows = Key.objects.annotate(works_on=Count("associations"), used_at=Max("associations__last_used_at"))
        page = listing.page(rows, request.GET, self.actor, default="name")
        return self.page("keys/list.html", {"page": page, "tab": "keys"}, status=400 if page.error else 200)


class NewKeyView(ConsoleView):
    """A new pair, or one somebody has."""

    section = "keys"
    ways = {"generate": GENERATE, "upload": UPLOAD}

    def get(self, request: HttpRequest) -> HttpResponse:
        return self.form(request.GET.get("way", "generate"))

    def post(self, request: HttpRequest) -> HttpResponse:
        way = request.POST.get("way", "generate")
        fields = self.ways.get(way)
        if fields is None:
            raise Http404
        typed = forms.read(fields, request.POST)
        if not typed["default"]:
            del typed["default"]  # the first of an organization is its default, unasked
        try:
            job = self.perform(Key, "create", {**typed, "generate": way == "generate"}, fields)
        except MistError as error:
            return self.form(way, typed=typed, error=error)
        to = f"{self.frame.base}/keys/{job.target_id.hex if job.target_id else ''}"
        return self.done(toasts.note(_("%(name)s added") % {"name": job.target_name}), to)

    def form(self, way: str, *, typed: dict[str, Any] | None = None, error: MistError | None = None) -> HttpResponse:
        if way not in self.ways:
            raise Http404
        fields = self.ways[way]
        wrong = error.fields if isinstance(error, Invalid) else {}
        context = {
            "way": way,
            "fields": forms.bind(fields, typed, wrong),
            "problem": problem(_("The key was not added."), error, fields) if error else None,
        }
        return self.page("keys/new.html", context, status=error.status if error else 200)


class KeyView(ConsoleView):
    """One key: its public half, which machines it opens, what was done with it."""

    section = "keys"

    def get(self, request: HttpRequest, identity: str) -> HttpResponse:
        return self.show(self.find(Key, identity))

    def show(self, key: Key, *, error: MistError | None = None, private: str = "", wrong_name: bool = False) -> HttpResponse:
        seen = Machine.objects.visible_to(self.actor)
        associations = key.associations.filter(machine__in=seen).select_related("machine").order_by("machine__name")[:500]
        recent = Event.objects.visible_to(self.actor).filter(target_id=key.pk).order_by("-at", "-id")[:10]
        context = {
            "key": key,
            "can": allowed(self.actor, key),
            "associations": associations,
            "recent": event_rows(list(recent)),
            "name": forms.bind((forms.NAME,), {"name": key.name}, error.fields if isinstance(error, Invalid) else {})[0],
            "private": private,
            "wrong_name": wrong_name,
            "problem": problem(_("Nothing was changed."), error, (forms.NAME,)) if error else None,
        }
        response = self.page("keys/key.html", context, status=error.status if error else 422 if wrong_name else 200)
        if private:
            response["Cache-Control"] = "no-store"
        return response

    def post(self, request: HttpRequest, identity: str) -> HttpResponse:
        key, data = self.find(Key, identity), request.POST
        try:
            if "name" in data:
                self.perform(key, "edit", {"name": data["name"]}, (forms.NAME,))
            elif "default" in data:
                self.perform(key, "edit", {"default": True})
            elif "export" in data:
                perform(self.actor, key, "export")
                assert key.vault_id is not None  # the action refused otherwise
                return self.show(key, private=str(vault.read(key.vault_id)["private"]))
            elif "delete" in data:
                if data.get("confirm", "").strip() != key.name and not self.is_told:
                    return self.show(key, wrong_name=True)
                self.perform(key, "delete")
                toasts.keep(request, toasts.note(_("%(name)s deleted") % {"name": key.name}))
                return HttpResponseRedirect(f"{self.frame.base}/keys")
        except MistError as error:
            return self.show(key, error=error)
        toasts.keep(request, toasts.note(_("%(name)s saved") % {"name": data.get("name") or key.name}))
        return HttpResponseRedirect(f"{self.frame.base}/keys/{key.pk.hex}")


class HostKeysView(ConsoleView):
    """The keys hosts are known by: trusted at first sight or by a person; another one from the same address is refused."""

    section = "keys"

    def get(self, request: HttpRequest) -> HttpResponse:
        return self.show()

    def show(self, *, typed: dict[str, Any] | None = None, error: MistError | None = None) -> HttpResponse:
        page = listing.page(HostKey.objects.select_related("cloud"), self.request.GET, self.actor, default="name")
        wrong = error.fields if isinstance(error, Invalid) else {}
        blocked = list(HostKey.objects.visible_to(self.actor).exclude(offered="").order_by("offered_at")[:20])
        for row in blocked:
            row.shown, row.can = hostkeys.fingerprint(row.offered), allowed(self.actor, row)  # type: ignore[attr-defined]
            row.known_from = KNOWN_FROM.get(row.source, row.source)  # type: ignore[attr-defined]
            row.shown_from = SHOWN_FROM.get(row.offered_from, row.offered_from)  # type: ignore[attr-defined]
        context = {
            "page": page,
            "tab": "hosts",
            "trusting": error is not None or "trust" in self.request.GET or not (page.rows or page.q),
            "blocked": blocked,
            "fields": forms.bind(TRUST, typed, wrong),
            "problem": problem(_("Nothing was changed."), error, TRUST) if error else None,
        }
        return self.page("keys/hosts.html", context, status=error.status if error else 400 if page.error else 200)

    def post(self, request: HttpRequest) -> HttpResponse:
        typed = forms.read(TRUST, request.POST)
        try:
            if "forget" in request.POST:
                row = self.find(HostKey, request.POST["forget"])
                self.perform(row, "delete", asks=row.name)
                said = _("Host key forgotten")
            elif "retrust" in request.POST:
                row = self.find(HostKey, request.POST["retrust"])
                self.perform(row, "retrust", {"fingerprint": request.POST.get("fingerprint", "")})
                said = _("%(host)s is trusted") % {"host": row.name}
            else:
                self.perform(HostKey, "trust", typed, TRUST)
                said = _("%(host)s is trusted") % {"host": typed.get("host", "")}
        except MistError as error:
            return self.show(typed=typed, error=error)
        return self.done(toasts.note(said), f"{self.frame.base}/keys/hosts")


class AuthorityView(ConsoleView):
    """The organization's certificate authority: its line, rotation, and those before it."""

    section = "keys"

    def get(self, request: HttpRequest) -> HttpResponse:
        return self.show()

    def show(self, *, error: MistError | None = None) -> HttpResponse:
        rows = list(Authority.objects.visible_to(self.actor).order_by("-is_current", "-created_at")[:50])
        for row in rows:
            row.logins, row.can = row.trusts.count(), allowed(self.actor, row)  # type: ignore[attr-defined]
        context = {
            "tab": "authority",
            "authorities": rows,
            "may_create": guard.permits(self.actor, Authority(org_id=self.actor.org_id), "create"),
            "problem": problem(_("Nothing was changed."), error, ()) if error else None,
        }
        return self.page("keys/authority.html", context, status=error.status if error else 200)

    def post(self, request: HttpRequest) -> HttpResponse:
        data = request.POST
        try:
            if "create" in data:
                self.perform(Authority, "create", asks=self.org.name, title=_("Make a certificate authority?"))
                said = _("The certificate authority is made")
            elif "rotate" in data:
                row = self.find(Authority, data["rotate"])
                self.perform(row, "rotate", asks=row.name)
                said = _("There is a new certificate authority")
            elif "delete" in data:
                row = self.find(Authority, data["delete"])
                self.perform(row, "delete", asks=row.name)
                said = _("The old authority is deleted")
            else:
                raise Http404
        except MistError as error:
            return self.show(error=error)
        return self.done(toasts.note(said), f"{self.frame.base}/keys/authority")
