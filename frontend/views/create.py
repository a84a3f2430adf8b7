"""Creating a machine: a form from what its cloud offers and its provider asks for, with the plan before the button."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _

from clouds.models import Cloud, Image, Location, Size
from clouds.providers import all_providers
from clouds.providers.base import Field, Provider
from core.actions import get, perform, validated
from core.errors import Invalid, MistError
from frontend import acts, forms
from frontend.views.base import ConsoleView, problem
from keys.models import Key
from machines.actions.create import plan
from machines.models import Machine
from networks.models import Network, Subnet

OFFERED = 500  # rows of one list in the form


class CreateMachineView(ConsoleView):
    """GET: the form for ?cloud=. POST with `_plan`: what would be made. POST: make it."""

    section = "machines"

    def clouds(self) -> list[tuple[Cloud, type[Provider]]]:
        """Where machines can be created."""
        known = all_providers()
        rows = Cloud.objects.visible_to(self.actor).filter(enabled=True).order_by("name")
        return [(cloud, cls) for cloud in rows if (cls := known.get(cloud.provider)) and cls.supports("create_machine")]

    def get(self, request: HttpRequest) -> HttpResponse:
        return self.form(request.GET.get("cloud", ""))

    def post(self, request: HttpRequest) -> HttpResponse:
        chosen = request.POST.get("cloud", "")
        found = self.chosen(chosen)
        if found is None:
            return self.form(chosen)
        cloud, cls = found
        groups = self.groups(cloud, cls)
        typed: dict[str, Any] = {}
        for group in groups:
            typed |= forms.read(group["specs"], request.POST)
        extra = forms.read(cls.create_fields, request.POST, "x-")
        if "_more" in request.POST:
            return self.form(chosen, typed=typed, extra=extra)
        params = self.params(cloud, cls, typed, extra)
        try:
            if "_plan" in request.POST:
                return self.form(
                    chosen, typed=typed, extra=extra, planned=plan(validated(get("machine.create"), self.actor, params, Machine))
                )
            job = perform(self.actor, Machine, "create", params)
        except MistError as error:
            return self.form(chosen, typed=typed, extra=extra, error=error)
        return self.job_done(job, f"{self.frame.base}/machines")

    def chosen(self, identity: str) -> tuple[Cloud, type[Provider]] | None:
        return next(((cloud, cls) for cloud, cls in self.clouds() if identity in (cloud.pk.hex, str(cloud.pk))), None)

    def params(self, cloud: Cloud, cls: type[Provider], typed: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
        """What the action gets."""
        plain = ("name", "image", "location", "network", "subnet", "key", "user", "cloudinit")
        params: dict[str, Any] = {key: typed[key] for key in plain if typed.get(key)}
        params |= {"cloud": cloud.pk.hex, "extra": extra, "tags": forms.read_tags(typed.get("tags", ""))}
        if cls.custom_size:
            size = {key: typed[key] for key in ("cores", "ram_mib", "disk_gib") if typed.get(key)}
            if size:
                params["size"] = size
        elif typed.get("size"):
            params["size"] = typed["size"]
        if typed.get("volumes"):
            params["volumes"] = typed["volumes"]
        if typed.get("date"):
            params["expiration"] = {"date": f"{typed['date']}Z", "action": typed.get("action", "stop")}
        return params

    def groups(self, cloud: Cloud, cls: type[Provider]) -> list[dict[str, Any]]:
        """The steps: a title, what it is for, its fields."""
        needs = cls.create_requires
        place = [self.pick(Location, cloud, "location", _("Location"), "location" in needs)]
        image: list[Field | None] = [self.pick(Image, cloud, "image", _("Image"), "image" in needs, typed=cls.custom_size)]
        if cls.custom_size:
            size: list[Field | None] = [
                Field(name="cores", label=_("Cores"), kind="integer", minimum=1),
                Field(name="ram_mib", label=_("Memory, MiB"), kind="integer", minimum=16),
                Field(name="disk_gib", label=_("Disk, GiB"), kind="integer", minimum=1),
            ]
        else:
            rows = self.offered(Size, cloud).order_by("cores", "ram_mib", "name")[:OFFERED]
            listed = [(row.pk.hex, acts.size_text(row)) for row in rows]
            size = [forms.with_choices(Field(name="size", label=_("Size"), required="size" in needs), listed)]
        network = [
            self.pick(Network, cloud, "network", _("Network"), "network" in needs),
            self.pick(Subnet, cloud, "subnet", _("Subnet"), False),
        ]
        keys = [(key.pk.hex, key.name) for key in Key.objects.visible_to(self.actor).order_by("-is_default", "name")[:OFFERED]]
        access: list[Field | None] = [
            forms.with_choices(
                Field(name="key", label=_("Key"), required="key" in needs), keys, empty=_("The default key, if there is one")
            ),
            Field(name="user", label=_("User"), help=_("Empty: what the image has.")),
        ]
        volumes: list[Field | None] = [
            Field(
                name="volumes",
                label=_("More volumes"),
                kind="list",
                fields=(Field(name="size", label=_("Size, GiB"), kind="integer", minimum=1), Field(name="name", label=_("Name"))),
            )
        ]
        setup: list[Field | None] = [
            Field(name="cloudinit", label=_("cloud-init"), kind="textarea", help=_("Starts with #cloud-config or #!."))
        ]
        life: list[Field | None] = [
            Field(name="tags", label=_("Tags"), kind="textarea", help=_("One key=value a line.")),
            Field(name="date", label=_("Ends at, UTC"), help=_("Empty: it stays.")),
            forms.with_choices(
                Field(name="action", label=_("Then"), required=True, default="stop"),
                [("stop", _("Stop it")), ("destroy", _("Destroy it"))],
            ),
        ]
        steps = [
            (_("Name"), [forms.NAME], True),
            (_("Place"), place, True),
            (_("Image"), image, True),
            (_("Size"), size, True),
            (_("Network"), network, "network" in needs),
            (_("Access"), access, True),
            (_("Volumes"), volumes, False),
            (_("Setup"), setup, False),
            (_("Lifetime and tags"), life, False),
        ]
        return [
            {"title": title, "specs": specs, "open": is_open}
            for title, fields, is_open in steps
            if (specs := [spec for spec in fields if spec is not None])
        ]

    def offered(self, model: type[Any], cloud: Cloud) -> Any:
        return model.objects.visible_to(self.actor).filter(cloud=cloud, missing_since=None)

    def pick(self, model: type[Any], cloud: Cloud, name: str, label: str, required: bool, *, typed: bool = False) -> Field | None:
        """A choice among what the cloud has; None where it has none and none is needed. `typed`: another may be written."""
        order = ("-starred", "name") if model is Image else ("name",)
        listed = [(row.pk.hex, row.name) for row in self.offered(model, cloud).order_by(*order)[:OFFERED]]
        if typed:
            return Field(
                name=name,
                label=label,
                required=required,
                choices=tuple((text, text) for _pk, text in listed),
                help=_("One that is not in the list may be typed."),
            )
        if not listed and not required:
            return None
        return forms.with_choices(Field(name=name, label=label, required=required), listed)

    def choices(self, spec: Field) -> Sequence[tuple[str, str]]:
        """What is not needed may be left open."""
        is_open = spec.required or (spec.choices and spec.choices[0][0] == "")
        return spec.choices if is_open else (("", ""), *spec.choices)

    def form(
        self,
        chosen: str,
        *,
        typed: dict[str, Any] | None = None,
        extra: dict[str, Any] | None = None,
        planned: dict[str, Any] | None = None,
        error: MistError | None = None,
    ) -> HttpResponse:
        clouds = self.clouds()
        found = self.chosen(chosen) or (clouds[0] if len(clouds) == 1 else None)
        context: dict[str, Any] = {"clouds": [cloud for cloud, _cls in clouds], "cloud": found[0] if found else None, "plan": planned}
        if found:
            cloud, cls = found
            wrong: dict[str, Any] = error.fields if isinstance(error, Invalid) else {}
            of_extra = wrong["extra"] if isinstance(wrong.get("extra"), dict) else {}
            groups = self.groups(cloud, cls)
            more = self.request.POST.get("_more", "")
            known: list[Field] = []
            for group in groups:
                known += group["specs"]
                group["fields"] = forms.bind(group["specs"], typed, wrong, choices=self.choices, more=more)
                group["open"] = group["open"] or any(field.errors for field in group["fields"])
            if cls.create_fields:
                fields = forms.bind(cls.create_fields, extra, of_extra, prefix="x-", choices=self.choices, more=more)
                groups.insert(len(groups) - 1, {"title": cls.title, "fields": fields, "open": bool(of_extra)})
            context["groups"] = groups
            if error is not None:
                context["problem"] = problem(_("The machine was not created."), error, [*known, Field(name="extra", label="")])
        return self.page("machines/create.html", context, status=error.status if error else 200)
