"""Clouds: the list, the gallery and form of adding one, one cloud."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from clouds.actions import try_credentials
from clouds.models import Cloud
from clouds.providers import all_providers
from clouds.providers.base import Provider
from clouds.providers.facts import Field
from core.actions import allowed, get
from core.errors import Denied, Invalid, MistError
from core.models import Event
from frontend import forms, listing, providers, toasts, words
from frontend.rows import cloud_rows, event_rows
from frontend.views.base import ConsoleView, problem
from frontend.views.drafts import CLOUD, DraftedView, Shown
from keys.hostkeys import STRICT

CATEGORIES = (
    ("public", gettext_lazy("Public")),
    ("private", gettext_lazy("Private")),
    ("hypervisor", gettext_lazy("Hypervisors")),
    ("container-host", gettext_lazy("Containers")),
    ("other", gettext_lazy("Anything else")),
)


class CloudForm(DraftedView):
    """What adding a cloud and changing its credentials share."""

    section = "clouds"

    def choices(self, spec: Field) -> Sequence[tuple[str, str]]:
        """Keys come from the organization; everything else from the provider."""
        if spec.kind != "key":
            return spec.choices if spec.required else (("", ""), *spec.choices)
        return forms.keys_of(self.actor)

    def credential_fields(self, provider: type[Provider], **how: Any) -> list[forms.Bound]:
        return forms.bind(
            providers.in_words(provider.credential_fields),
            prefix="c-",
            choices=self.choices,
            more=self.request.POST.get("_more", ""),
            **how,
        )

    def typed(self, provider: type[Provider], data: QueryDict | None = None) -> dict[str, Any]:
        return forms.read(provider.credential_fields, self.request.POST if data is None else data, "c-")


class CloudsView(ConsoleView):
    """The list."""

    section = "clouds"

    def get(self, request: HttpRequest) -> HttpResponse:
        page = listing.page(Cloud.objects.all(), request.GET, self.actor, default="name")
        found = {cloud.pk: cloud for cloud in cloud_rows(self.actor, Cloud.objects.filter(pk__in=[cloud.pk for cloud in page.rows]))}
        page.rows = [found[cloud.pk] for cloud in page.rows if cloud.pk in found]
        return self.page("clouds/list.html", {"page": page}, status=400 if page.error else 200)


class AddCloudView(CloudForm):
    """The gallery; with a provider chosen, its form."""

    def get(self, request: HttpRequest, provider: str = "") -> HttpResponse:
        if not self.frame.may_add_clouds:
            raise Denied(_("You may not add clouds here."), reason="no statement allows cloud.create")
        if not provider:
            find = request.GET.get("find", "")
            return self.page("clouds/gallery.html", {"groups": grouped(find), "find": find, "providers": len(all_providers())})
        cls = self.known(provider)
        draft = self.draft(CLOUD, cls.name, omits=_takes_secret(cls))
        if draft.data is not None:
            return self.form(cls, name=draft.data.get("name", ""), typed=self.typed(cls, draft.data), draft=draft)
        return self.form(cls)

    def post(self, request: HttpRequest, provider: str) -> HttpResponse:
        cls = self.known(provider)
        name, typed = request.POST.get("name", "").strip(), self.typed(cls)
        if "_more" in request.POST:
            return self.form(cls, name=name, typed=typed)
        if "_check" in request.POST:
            return self.check(cls, name, typed)
        try:
            params = {"name": name, "provider": cls.name, "credentials": typed}
            job = self.perform(Cloud, "create", params, (forms.NAME, *cls.credential_fields))
        except MistError as error:
            return self.form(cls, name=name, typed=typed, error=error)
        self.sent(CLOUD, cls.name)
        to = f"{self.frame.base}/clouds/{job.target_id.hex if job.target_id else ''}"
        return self.done(toasts.note(_("%(name)s added") % {"name": name}, detail=_("Its machines appear as they are read.")), to)

    def check(self, cls: type[Provider], name: str, typed: dict[str, Any]) -> HttpResponse:
        """What these credentials may do, tried now and kept nowhere: a part of the page, or with no script the page."""
        began, checked = time.monotonic(), {}
        try:
            found = try_credentials(self.actor, cls.name, name or cls.title, typed)
            checked = {"found": found, "fix": merged([one.fix for one in found if one.ok is False and one.fix])}
        except Invalid as error:
            checked = {"wrong": error, "words": error.extra.get("words", ""), "of_fields": forms.flat(error.fields)}
        except MistError as error:
            checked = {"wrong": error, "words": error.extra.get("words", ""), "retry_s": round(getattr(error, "retry_after_s", 0) or 0)}
        checked["took_s"] = time.monotonic() - began
        if not self.is_htmx:
            return self.form(cls, name=name, typed=typed, checked=checked)
        response = self.page("clouds/_check.html", {"checked": checked})
        response["Cache-Control"] = "no-store"
        return response

    def known(self, name: str) -> type[Provider]:
        found = all_providers().get(name)
        if found is None:
            raise Http404
        return found

    def form(
        self,
        cls: type[Provider],
        *,
        name: str = "",
        typed: dict[str, Any] | None = None,
        error: MistError | None = None,
        checked: dict[str, Any] | None = None,
        draft: Shown | None = None,
    ) -> HttpResponse:
        wrong: dict[str, Any] = error.fields if isinstance(error, Invalid) else {}
        of_credentials = wrong.get("credentials")
        by_field = of_credentials if isinstance(of_credentials, dict) else {}
        known = [spec.name for spec in cls.credential_fields]
        summary = None
        if error is not None:
            summary = problem(_("The cloud was not added."), error, ())
            inner = {key: value for key, value in by_field.items() if key not in known}
            outer = {key: value for key, value in wrong.items() if key not in ("name", "credentials")}
            summary["others"] = forms.flat(inner) + forms.flat(outer)
            if of_credentials and not isinstance(of_credentials, dict):
                summary["detail"] = error.detail
        return self.page(
            "clouds/add.html",
            {
                "groups": grouped(),
                "providers": len(all_providers()),
                "provider": shown(cls),
                "name": forms.bind((forms.NAME,), {"name": name or default_name(self, cls)}, wrong)[0],
                "fields": self.credential_fields(cls, values=typed, errors=by_field),
                "problem": summary,
                "checked": checked,
                "takes_secret": _takes_secret(cls),
                "draft": draft or self.draft(CLOUD, cls.name),
            },
            status=error.status if error else 200,
        )


def _takes_secret(cls: type[Provider]) -> bool:
    return any(spec.secret or any(inner.secret for inner in spec.fields) for spec in cls.credential_fields)


def default_name(view: ConsoleView, cls: type[Provider]) -> str:
    """The provider's title, numbered when it is taken."""
    taken = set(Cloud.objects.visible_to(view.actor).filter(name__istartswith=cls.title).values_list("name", flat=True))
    if cls.title not in taken:
        return cls.title
    return next(name for n in range(2, 10_000) if (name := f"{cls.title} {n}") not in taken)


def shown(cls: type[Provider]) -> dict[str, str]:
    """What templates draw of a provider: they would call the class itself."""
    return {"name": cls.name, "title": cls.title, "doc": cls.doc}


def merged(fixes: Sequence[str]) -> str:
    """What is to be added for all of these permissions: JSON statements of one kind become one."""
    try:
        statements = [json.loads(fix) for fix in fixes]
        actions = [action for one in statements for action in ([one["Action"]] if isinstance(one["Action"], str) else one["Action"])]
    except (ValueError, KeyError, TypeError):
        return "\n".join(dict.fromkeys(fixes))
    return json.dumps({**statements[0], "Action": list(dict.fromkeys(actions))}, indent=2) if statements else ""


def grouped(find: str = "") -> list[dict[str, Any]]:
    """Every provider under its category; those whose name has what is looked for."""
    by_category: dict[str, list[dict[str, str]]] = {}
    for cls in all_providers().values():
        if find.strip().lower() not in f"{cls.title} {cls.name}".lower():
            continue
        by_category.setdefault(cls.category, []).append(shown(cls))
    return [{"title": title, "providers": by_category[key]} for key, title in CATEGORIES if key in by_category]


class OneCloud(CloudForm):
    """What the views of one cloud share."""

    def cloud(self, identity: str) -> Any:
        found = self.find(Cloud, identity)
        return cloud_rows(self.actor, Cloud.objects.filter(pk=found.pk))[0]

    def show(
        self, cloud: Any, *, error: MistError | None = None, typed: dict[str, Any] | None = None, rotating: bool = False
    ) -> HttpResponse:
        cls = cloud.driver
        wrong: dict[str, Any] = error.fields if isinstance(error, Invalid) else {}
        by_field = wrong["credentials"] if isinstance(wrong.get("credentials"), dict) else {}
        recent = Event.objects.visible_to(self.actor).filter(cloud_id=cloud.pk, target_kind="cloud").order_by("-at", "-id")[:10]
        values = typed if typed is not None else {key: value for key, value in cloud.config.items() if value is not None}
        return self.page(
            "clouds/cloud.html",
            {
                "cloud": cloud,
                "can": allowed(self.actor, cloud),
                "fields": self.credential_fields(cls, values=values, errors=by_field, stored=True) if cls else [],
                "name": forms.bind((forms.NAME,), {"name": cloud.name}, {})[0],
                "is_strict": bool(cloud.extra.get(STRICT)),
                "problem": problem(_("The credentials were not changed."), error) if error else None,
                "rotating": rotating or error is not None or typed is not None,
                "recent": event_rows(list(recent)),
            },
            status=error.status if error else 200,
        )


class CloudView(OneCloud):
    """How it is, and how reading it goes."""

    def get(self, request: HttpRequest, identity: str) -> HttpResponse:
        return self.show(self.cloud(identity))


class CloudActView(OneCloud):
    """Rename, disable, enable, rotate, refresh, remove."""

    def get(self, request: HttpRequest, identity: str, verb: str) -> HttpResponse:
        cloud = self.cloud(identity)
        if verb == "rotate":
            return self.show(cloud, rotating=True)
        if verb != "remove":
            raise Http404
        return self.ask(cloud)

    def ask(self, cloud: Any, *, wrong_name: bool = False) -> HttpResponse:
        said = words.act("cloud.remove")
        context = {
            "cloud": cloud,
            "act": said,
            "url": f"{self.frame.base}/clouds/{cloud.pk.hex}/do/remove",
            "wrong_name": wrong_name,
        }
        inside = self.in_dialog or self.is_htmx
        return self.page("clouds/_remove.html" if inside else "clouds/remove.html", context, status=422 if wrong_name else 200)

    def post(self, request: HttpRequest, identity: str, verb: str) -> HttpResponse:
        cloud = self.cloud(identity)
        cls = cloud.driver
        path = f"{self.frame.base}/clouds/{cloud.pk.hex}"
        if verb == "rotate" and cls:
            typed = self.typed(cls)
            if "_more" in request.POST:
                return self.show(cloud, typed=typed)
            try:
                self.perform(cloud, "rotate", {"credentials": typed}, cls.credential_fields)
            except Invalid as error:
                return self.show(cloud, error=error, typed=typed)
            except MistError as error:
                return self.show(cloud, error=error, typed=typed)
            return self.done(toasts.note(_("%(name)s has other credentials") % {"name": cloud.name}), path)
        if verb == "remove" and not self.is_told and request.POST.get("confirm", "").strip() != cloud.name:
            return self.ask(cloud, wrong_name=True)
        params: dict[str, Any] = {}
        if verb == "edit" and "name" in request.POST:
            params["name"] = request.POST["name"]
        if verb == "edit" and "enabled" in request.POST:
            params["enabled"] = request.POST["enabled"] == "1"
        if verb == "edit" and STRICT in request.POST:
            params[STRICT] = request.POST[STRICT] == "1"
        try:
            get(f"cloud.{verb}")
            job = self.perform(cloud, verb, params, (forms.NAME,) if "name" in params else ())
        except MistError as error:
            said = words.say(words.act(f"cloud.{verb}").undone, cloud.name)
            return self.failed(_("%(what)s.") % {"what": said}, error, path)
        if verb == "remove":  # it has a window, then takes its time
            return self.job_done(job, f"{self.frame.base}/clouds")
        said = words.say(words.act(f"cloud.{verb}").done, params.get("name") or cloud.name)
        return self.done(toasts.note(said), path)
