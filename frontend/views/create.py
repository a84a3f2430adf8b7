"""Creating machines: one page, with what it comes to beside the form; the lists of the form; copies and presets."""

from __future__ import annotations

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.utils.translation import gettext as _

from clouds.models import Cloud
from clouds.providers import all_providers
from clouds.providers.base import Provider
from clouds.providers.facts import Field
from core import errors
from core.actions import perform
from core.bulks import bulk_create
from core.errors import Invalid, MistError
from frontend import forms, providers, toasts
from frontend.creating import asked as forming
from frontend.creating import offers
from frontend.creating.asked import Asked
from frontend.creating.plan import Plan, may_create, need_of, plan
from frontend.creating.steps import Step, by_id, steps_of, tell
from frontend.views.base import problem
from frontend.views.drafts import MACHINE, DraftedView, Shown
from machines.models import Machine, Preset

COPIES = 50  # machines offered to be copied


class CreateView(DraftedView):
    """What the page and its parts share."""

    section = "machines"

    def clouds(self) -> list[tuple[Cloud, type[Provider]]]:
        """Where this person can create machines."""
        known = all_providers()
        rows = Cloud.objects.visible_to(self.actor).filter(enabled=True).order_by("name")
        able = [(cloud, cls) for cloud in rows if (cls := known.get(cloud.provider)) and cls.supports("create_machine")]
        return [(cloud, cls) for cloud, cls in able if may_create(self.actor, cloud)]

    def chosen(self, identity: str, among: list[tuple[Cloud, type[Provider]]]) -> tuple[Cloud, type[Provider]] | None:
        return next(((cloud, cls) for cloud, cls in among if identity in (cloud.pk.hex, str(cloud.pk))), None)

    def read(self, data: QueryDict) -> tuple[Asked, list[Step]]:
        """The form that was sent.  Raises: Http404."""
        found = self.chosen(data.get("_cloud") or data.get("cloud", ""), self.clouds())
        if found is None:
            raise Http404
        cloud, cls = found
        steps = steps_of(self.actor, cloud, cls)
        return forming.read(data, cloud, cls, steps), steps

    def fill(self, made: Plan, steps: list[Step], data: QueryDict) -> None:
        """What each step holds and says."""
        for step in steps:
            step.value, step.is_set = tell(step, made.asked.typed, made.asked.cls, made.rows)
            if step.name == "image" and not made.asked.cls.custom_size:
                step.offered = offers.images(self.actor, made.asked.cloud, data, made.rows.get("image"))
            if step.name == "size" and not made.asked.cls.custom_size:
                step.offered = offers.sizes(self.actor, made.asked.cloud, data, made.rows)


class CreateMachineView(CreateView):
    """GET: the form, from ?cloud=, ?copy=, ?preset= or the draft. POST: make them; with `_…` only the form again."""

    def get(self, request: HttpRequest) -> HttpResponse:
        among = self.clouds()
        if "copy" in request.GET:
            return self.copied(request.GET["copy"], among)
        if "preset" in request.GET:
            preset = self.find(Preset, request.GET["preset"])
            found = self.chosen(preset.cloud_id.hex, among)
            if found is None:
                raise Http404
            asked = forming.from_params(preset.params, *found, quantity=preset.quantity)
            asked.typed = by_id(self.actor, asked.cloud, asked.typed)
            return self.form(asked, among, preset=preset)
        kept = self.draft(MACHINE)
        wanted = request.GET.get("cloud", "")
        if kept.data is not None and wanted in ("", kept.data.get("cloud", "")):
            found = self.chosen(kept.data.get("cloud", ""), among)
            if found is not None:
                return self.form(forming.read(kept.data, *found, steps_of(self.actor, *found)), among, draft=kept)
        from_presets = self.frame.is_self_service and Preset.objects.visible_to(self.actor).exists()
        found = self.chosen(wanted, among) or (among[0] if len(among) == 1 and not from_presets else None)
        return self.form(Asked(cloud=found[0], cls=found[1]), among) if found else self.gallery(among)

    def copied(self, text: str, among: list[tuple[Cloud, type[Provider]]]) -> HttpResponse:
        """The form that would make another like a machine, by id or name."""
        rows = Machine.objects.visible_to(self.actor).select_related("cloud").filter(missing_since=None)
        text = text.strip().replace("\x00", "")[:300]
        is_id = len(text) == 32 and all(c in "0123456789abcdef" for c in text)
        machine = rows.filter(pk=text).first() if is_id else rows.filter(name=text).first()
        found = self.chosen(machine.cloud_id.hex, among) if machine else None
        if machine is None or found is None:
            why = _("There is no machine %(name)s that could be copied.") % {"name": text[:80]}
            toasts.keep(self.request, toasts.note(_("Nothing was copied."), mark="crit", detail=why, stay=True))
            return self.gallery(among) if len(among) != 1 else self.form(Asked(cloud=among[0][0], cls=among[0][1]), among)
        return self.form(forming.like(machine, found[1]), among)

    def post(self, request: HttpRequest) -> HttpResponse:
        among = self.clouds()
        if self.chosen(request.POST.get("_cloud") or request.POST.get("cloud", ""), among) is None:
            return self.gallery(among)
        asked = self.read(request.POST)[0]
        if "_preset" in request.POST:
            return self.save_preset(asked, among)
        if {"_cloud", "_find", "_more", "_plan"} & set(request.POST):
            return self.form(asked, among, opened=request.POST.get("_find", "volumes" if "_more" in request.POST else ""))
        if self.actor.ask is None and need_of(self.actor, asked):
            return self.form(asked, among, error=Invalid(_("It needs approval: say what for.")), wrong_ask=True)
        try:
            if asked.quantity > 1:
                job = bulk_create(self.actor, Machine, "create", asked.each())
            else:
                job = perform(self.actor, Machine, "create", asked.each()[0] if asked.names else asked.params())
        except errors.Asked as waits:
            job = waits.job
        except MistError as error:
            return self.form(asked, among, error=error)
        self.sent(MACHINE)
        to = f"machines/{job.target_id.hex}" if job.target_id and not job.ask else f"jobs/{job.pk.hex}"
        return self.job_done(job, f"{self.frame.base}/{to}")

    def save_preset(self, asked: Asked, among: list[tuple[Cloud, type[Provider]]]) -> HttpResponse:
        """Keep the form as a preset of the organization; one of the same name is replaced."""
        name = self.request.POST.get("preset_name", "").strip()
        sent: dict[str, Any] = {"name": name, "params": asked.params(), "quantity": asked.quantity}
        there = Preset.objects.visible_to(self.actor).filter(name__iexact=name, cloud=asked.cloud).first() if name else None
        try:
            if there is not None:
                perform(self.actor, there, "edit", sent)
            else:
                perform(self.actor, Preset, "create", {**sent, "cloud": asked.cloud.pk.hex})
        except MistError as error:
            said = toasts.of_error(_("The preset was not saved."), error, self.actor.request_id, self.frame.base)
            toasts.keep(self.request, said)
            return self.form(asked, among, status=error.status)
        toasts.keep(self.request, toasts.note(_("Preset %(name)s saved") % {"name": name}))
        return self.form(asked, among)

    def gallery(self, among: list[tuple[Cloud, type[Provider]]]) -> HttpResponse:
        """In which cloud? Or none, and why."""
        presets = offers.presets(self.actor)
        seen = Cloud.objects.visible_to(self.actor).exists()
        return self.page("machines/create/where.html", {"clouds": [cloud for cloud, _cls in among], "presets": presets, "seen": seen})

    def form(
        self,
        asked: Asked,
        among: list[tuple[Cloud, type[Provider]]],
        *,
        error: MistError | None = None,
        draft: Shown | None = None,
        preset: Preset | None = None,
        opened: str = "",
        wrong_ask: bool = False,
        status: int = 200,
    ) -> HttpResponse:
        data = self.request.POST or self.request.GET
        steps = steps_of(self.actor, asked.cloud, asked.cls)
        made = plan(self.actor, asked, steps)
        self.fill(made, steps, data)
        wrong: dict[str, Any] = error.fields if isinstance(error, Invalid) else {}
        of_extra = wrong["extra"] if isinstance(wrong.get("extra"), dict) else {}
        more = self.request.POST.get("_more", "")
        for step in steps:
            step.fields = forms.bind(step.specs, asked.typed, wrong, choices=_open_choices, more=more)
            step.is_open = step.name == opened or bool(step.names & wrong.keys())
        if asked.cls.create_fields:
            fields = forms.bind(
                providers.in_words(asked.cls.create_fields), asked.extra, of_extra, prefix="x-", choices=_open_choices, more=more
            )
            own = Step(name="extra", title=asked.cls.title, specs=[], fields=fields, is_open=bool(of_extra), is_set=True)
            steps.insert(len(steps) - 1, own)
        if not any(step.is_open for step in steps):
            first = next((step for step in steps if not step.is_set), next((step for step in steps if step.name == "size"), None))
            if first is not None and not (preset and first.is_set and self.frame.is_self_service):
                first.is_open = True
        known = [spec for step in steps for spec in step.specs]
        context = {
            "clouds": [cloud for cloud, _cls in among],
            "cloud": asked.cloud,
            "asked": asked,
            "steps": steps,
            "plan": made,
            "wrong_ask": wrong_ask,
            "draft": draft or self.draft(MACHINE, begins=self.request.method == "GET"),
            "preset": preset,
            "presets": Preset.objects.visible_to(self.actor).select_related("cloud").order_by("name")[:30],
            "copies": Machine.objects.visible_to(self.actor).filter(missing_since=None).order_by("-created_at").only("name")[:COPIES],
            "problem": problem(_("Nothing was created."), error, [*known, Field(name="extra", label=""), forms.NAME]) if error else None,
            "name_error": " ".join(forms.flat(wrong.get("name"))),
        }
        return self.page("machines/create/form.html", context, status=error.status if error else status)


class CreatePartView(CreateView):
    """Parts of the page as the form is filled: what it comes to (`plan`), the images and sizes that were searched for."""

    def post(self, request: HttpRequest, part: str) -> HttpResponse:
        if part not in ("plan", "images", "sizes"):
            raise Http404
        asked, steps = self.read(request.POST)
        made = plan(self.actor, asked, steps)
        self.fill(made, steps, request.POST)
        context = {"asked": asked, "cloud": asked.cloud, "plan": made, "steps": steps, "live": True}
        if part == "plan":
            return self.page("machines/create/_plan.html", context)
        step = next(step for step in steps if step.name == part.removesuffix("s"))
        return self.page(f"machines/create/_{part}.html", {**context, "step": step})


def _open_choices(spec: Field) -> Any:
    """What is not needed may be left open."""
    is_open = spec.required or (spec.choices and spec.choices[0][0] == "")
    return spec.choices if is_open else (("", ""), *spec.choices)
