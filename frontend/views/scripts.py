"""The library of scripts: the list, one with its editor, versions and runs; the form of running it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from clouds.providers.facts import Field
from core import guard
from core.actions import allowed
from core.actor import Actor
from core.errors import BadSearch, Invalid, MistError
from frontend import forms, listing, runs, toasts
from frontend.samples import SAMPLES
from frontend.views.base import ConsoleView, problem
from frontend.views.drafts import NEW_SCRIPT, SCRIPT, DraftedView
from keys import references
from machines.models import Machine
from scripts import ansible
from scripts.actions.library import newest, read
from scripts.actions.run import select
from scripts.api import unified
from scripts.models import Script, ScriptVersion
from scripts.parameters import TYPES, VIAS

VIEWS = (
    ("", gettext_lazy("All")),
    ("type:executable", gettext_lazy("Executable")),
    ("type:ansible", gettext_lazy("Ansible")),
    ("owner:me", gettext_lazy("Mine")),
)
TYPE_WORDS = {
    "text": gettext_lazy("Text"),
    "number": gettext_lazy("Number"),
    "boolean": gettext_lazy("Yes or no"),
    "choice": gettext_lazy("Choice"),
    "secret": gettext_lazy("Secret, as name/key"),
}
VIA_WORDS = {
    "environment": gettext_lazy("Variable"),
    "option": gettext_lazy("--name value"),
    "argument": gettext_lazy("Word"),
}
PARAMETERS = Field(
    name="parameters",
    label=gettext_lazy("Parameters"),  # type: ignore[arg-type]
    kind="list",
    help=gettext_lazy("Asked for when it is run; checked by type."),  # type: ignore[arg-type]
    fields=(
        Field(name="name", label=gettext_lazy("Name")),  # type: ignore[arg-type]
        Field(name="type", label=gettext_lazy("Type"), kind="choice", required=True, default="text", choices=tuple(TYPE_WORDS.items())),  # type: ignore[arg-type]
        Field(
            name="via",
            label=gettext_lazy("Handed as"),
            kind="choice",
            required=True,
            default="environment",
            choices=tuple(VIA_WORDS.items()),
        ),  # type: ignore[arg-type]
        Field(name="default", label=gettext_lazy("Default")),  # type: ignore[arg-type]
        Field(name="choices", label=gettext_lazy("Choices, by commas")),  # type: ignore[arg-type]
        Field(name="required", label=gettext_lazy("Needed"), kind="toggle"),  # type: ignore[arg-type]
    ),
)
assert set(TYPE_WORDS) == set(TYPES) and set(VIA_WORDS) == set(VIAS)
SOURCES = (
    ("inline", gettext_lazy("Typed here")),
    ("url", gettext_lazy("A file, tar or zip behind an address")),
    ("git", gettext_lazy("A Git repository")),
)
WAVES = (
    ("", gettext_lazy("All together")),
    ("1", gettext_lazy("One host, then the next")),
    ("10%", gettext_lazy("A tenth, then the next")),
    ("25%", gettext_lazy("A quarter, then the next")),
    ("location", gettext_lazy("One location after the other")),
    ("cloud", gettext_lazy("One cloud after the other")),
)


def details(script: Script | None, actor: Actor) -> tuple[Field, ...]:
    """The fields beside the editor."""
    tokens = tuple((text, text) for one in references.offered(actor) if (text := f"{references.PREFIX}{one}"))
    fixed = (
        Field(
            name="exec_type",
            label=_("Kind"),
            kind="choice",
            required=True,
            default="executable",
            choices=(("executable", _("Executable, by its #! line")), ("ansible", _("Ansible playbook"))),
        ),
        Field(name="location_type", label=_("Comes from"), kind="choice", required=True, default="inline", choices=SOURCES),  # type: ignore[arg-type]
    )
    fetched = (
        Field(
            name="location",
            label=_("Address or repository"),
            help=_("https://…, ssh://git@… or git@host:owner/name.git; of GitHub, owner/name is enough."),
        ),
        Field(name="ref", label=_("Branch, tag or commit")),
        Field(name="key", label=_("Key, where it is read over SSH"), kind="key"),
        Field(
            name="token",
            label=_("Token, where it is private"),
            help=_("As secret:name/key: what is there is sent over https."),
            choices=tokens,
        ),
        Field(name="entrypoint", label=_("File to begin with")),
    )
    shown = (*fixed, *fetched) if script is None else fetched if script.location_type != "inline" else ()
    return (forms.NAME, Field(name="description", label=_("What it does"), kind="textarea"), *shown, PARAMETERS)


class ScriptsView(ConsoleView):
    """The list."""

    section = "scripts"

    def get(self, request: HttpRequest) -> HttpResponse:
        page = listing.page(Script.objects.select_related("owner"), request.GET, self.actor, default="name")
        last: dict[Any, Any] = {}
        for run in (
            runs.Run.objects.visible_to(self.actor).filter(script__in=page.rows).order_by("script", "-created_at").distinct("script")
        ):
            last[run.script_id] = runs.with_head(run)
        for script in page.rows:
            script.last_run = last.get(script.pk)
        views = [{"q": q, "title": title, "current": q == page.q} for q, title in VIEWS]
        samples = [{"name": name, **sample} for name, sample in SAMPLES.items()]
        return self.page("scripts/list.html", {"page": page, "views": views, "samples": samples}, status=400 if page.error else 200)


class EditScript(DraftedView):
    """What adding and changing one share."""

    section = "scripts"

    def typed(self, script: Script | None, data: QueryDict) -> dict[str, Any]:
        typed = forms.read(details(script, self.actor), data)
        for one in typed.get("parameters", []):
            if "choices" in one:
                one["choices"] = [word.strip() for word in one["choices"].split(",") if word.strip()]
        text = data.get("script", "").replace("\r\n", "\n")
        inline = (script.location_type if script else typed.get("location_type", "inline")) == "inline"
        if inline or "location" in typed:
            typed["script"] = text if inline else typed["location"]
        typed.pop("location", None)
        if script is not None and not inline:  # an empty field is a change here
            typed = {"ref": "", "key": None, "token": "", **typed}
        return typed

    def choices(self, spec: Field) -> Sequence[tuple[str, str]]:
        """Keys come from the organization."""
        return forms.keys_of(self.actor) if spec.kind == "key" else spec.choices

    def form(self, script: Script | None, values: dict[str, Any], text: str, error: MistError | None = None, **more: Any) -> HttpResponse:
        wrong: dict[str, Any] = error.fields if isinstance(error, Invalid) else {}
        specs = details(script, self.actor)
        values = {**values, "parameters": [{**p, "choices": ", ".join(p.get("choices") or ())} for p in values.get("parameters", [])]}
        at = wrong.get("parameters")
        rows = dict(enumerate(at)) if isinstance(at, list) and all(isinstance(row, dict) for row in at) else at
        if isinstance(rows, dict):
            rows = {str(number): row for number, row in rows.items() if row}
        errors = {**wrong, **({"parameters": rows} if rows else {})}
        fields = forms.bind(specs, values, errors, more=self.request.POST.get("_more", ""), choices=self.choices)
        context = {
            "script": script,
            "fields": fields[:-1],
            "parameters": fields[-1],
            "text": text,
            "wrong_text": forms.flat(wrong.get("script")),
            "problem": problem(_("The script was not saved."), error, (*specs, Field(name="script", label=""))) if error else None,
            **more,
        }
        return self.page("scripts/script.html" if script else "scripts/new.html", context, status=error.status if error else 200)


class NewScriptView(EditScript):
    """The form of adding one; `sample` fills it in."""

    def get(self, request: HttpRequest) -> HttpResponse:
        sample: dict[str, Any] = SAMPLES.get(request.GET.get("sample", ""), {})
        values = {"name": request.GET["sample"], "description": str(sample["about"]), "parameters": sample["parameters"]} if sample else {}
        draft = self.draft(NEW_SCRIPT, begins=bool(sample))
        if draft.data is not None:
            return self.form(None, self.shown(draft.data), draft.data.get("script", ""), draft=draft)
        return self.form(None, values, sample.get("script", "#!/bin/bash\nset -eu\n"), draft=draft)

    def shown(self, data: QueryDict) -> dict[str, Any]:
        return {**self.typed(None, data), "location": data.get("location", "")}

    def post(self, request: HttpRequest) -> HttpResponse:
        typed, shown, draft = self.typed(None, request.POST), self.shown(request.POST), self.draft(NEW_SCRIPT)
        if "_more" in request.POST:
            return self.form(None, shown, request.POST.get("script", ""), draft=draft)
        try:
            job = self.perform(Script, "create", typed, details(None, self.actor))
        except MistError as error:
            return self.form(None, shown, request.POST.get("script", ""), error, draft=draft)
        self.sent(NEW_SCRIPT)
        to = f"{self.frame.base}/scripts/{job.target_id.hex if job.target_id else ''}"
        return self.done(toasts.note(_("%(name)s added") % {"name": job.target_name}), to)


class ScriptView(EditScript):
    """What it says, its versions and its runs. `version`: an older one; `base`: what differs from that one."""

    def get(self, request: HttpRequest, identity: str) -> HttpResponse:
        return self.show(self.find(Script, identity))

    def post(self, request: HttpRequest, identity: str) -> HttpResponse:
        script = self.find(Script, identity)
        typed = self.typed(script, request.POST)
        if "_more" in request.POST:
            return self.show(script, typed=typed)
        if "fetch" in request.POST:
            typed["fetch"] = True
        if request.POST.get("based_on", "").isdigit():
            typed["based_on"] = int(request.POST["based_on"])
        typed.setdefault("description", "")
        try:
            self.perform(script, "edit", typed, details(script, self.actor))
        except MistError as error:
            return self.show(script, typed=typed, error=error)
        self.sent(SCRIPT, script.pk.hex)
        script.refresh_from_db()
        said = _("%(name)s saved as version %(n)d") % {"name": script.name, "n": script.latest}
        return self.done(toasts.note(said), f"{self.frame.base}/scripts/{script.pk.hex}")

    def show(self, script: Script, *, typed: dict[str, Any] | None = None, error: MistError | None = None) -> HttpResponse:
        chosen = self.version(script, self.request.GET.get("version", "")) or newest(script)
        base = self.version(script, self.request.GET.get("base", ""))
        content = read(chosen)
        can = allowed(self.actor, script)
        draft = (
            self.draft(SCRIPT, script.pk.hex, based_on=str(script.latest))
            if can.get("edit") is True and chosen.number == script.latest
            else None
        )
        if typed is None and draft is not None and draft.data is not None:
            typed = {"description": "", **self.typed(script, draft.data)}
        text = content.files[content.entrypoint].data.decode("utf-8", "replace")
        if typed is not None and "script" in typed and script.location_type == "inline":
            text = typed["script"]
        values = {
            "name": script.name,
            "description": script.description,
            "location": script.location,
            "ref": script.ref,
            "key": script.key_id.hex if script.key_id else "",
            "token": script.token,
            "entrypoint": chosen.entrypoint,
            "parameters": chosen.parameters,
            **(typed or {}),
        }
        if typed is not None and script.location_type != "inline":
            values["location"] = typed.get("script", script.location)
        lines = [(_side(line), line) for line in unified(base, chosen).splitlines()] if base else []
        recent = (
            runs.Run.objects.visible_to(self.actor)
            .filter(script=script)
            .select_related("created_by", "version")
            .order_by("-created_at")[:8]
        )
        return self.form(
            script,
            values,
            text,
            error,
            can=can,
            draft=draft,
            based_on=draft.data.get("based_on") if draft is not None and draft.data is not None else script.latest,
            chosen=chosen,
            is_newest=chosen.number == script.latest,
            base_version=base,
            lines=lines,
            files=sorted(content.files) if content.is_bundle else [],
            versions=script.versions.defer("content").select_related("created_by").order_by("-number")[:30],
            recent=[runs.with_head(run) for run in recent],
        )

    def version(self, script: Script, text: str) -> ScriptVersion | None:
        return script.versions.filter(number=int(text)).first() if text.isdigit() and len(text) < 9 else None


def _side(line: str) -> str:
    return "a" if line.startswith("+") else "r" if line.startswith("-") else ""


class ScriptDoView(ConsoleView):
    """Delete it."""

    section = "scripts"

    def post(self, request: HttpRequest, identity: str, verb: str) -> HttpResponse:
        script = self.find(Script, identity)
        if verb != "delete":
            raise Http404
        here = f"{self.frame.base}/scripts/{script.pk.hex}"
        if request.POST.get("confirm", "").strip() != script.name and not self.is_told:
            error = Invalid(_("Type the name of the script to delete it."))
            return self.failed(_("%(name)s was not deleted.") % {"name": script.name}, error, here)
        try:
            self.perform(script, "delete")
        except MistError as error:
            return self.failed(_("%(name)s was not deleted.") % {"name": script.name}, error, here)
        return self.done(toasts.note(_("%(name)s deleted") % {"name": script.name}), f"{self.frame.base}/scripts")


HOW = (
    Field(name="concurrency", label=gettext_lazy("Hosts at a time"), kind="integer", default=50, minimum=1, maximum=1000),  # type: ignore[arg-type]
    Field(name="wave", label=gettext_lazy("Order"), kind="choice", choices=WAVES, required=True, default=""),  # type: ignore[arg-type]
    Field(name="stop_after", label=gettext_lazy("Stop after so many failures"), kind="integer", minimum=1),  # type: ignore[arg-type]
    Field(name="timeout", label=gettext_lazy("Seconds a host may take"), kind="integer", default=3600, minimum=1),  # type: ignore[arg-type]
    Field(
        name="env",
        label=gettext_lazy("More variables"),
        kind="textarea",
        help=gettext_lazy("NAME=value, one a line; of a secret NAME=secret:name/key."),
    ),  # type: ignore[arg-type]
    Field(name="su", label=gettext_lazy("As root, by sudo"), kind="toggle"),  # type: ignore[arg-type]
    Field(name="dry", label=gettext_lazy("Dry run"), kind="toggle", help=gettext_lazy("It is checked on the hosts and not run.")),  # type: ignore[arg-type]
)


class ScriptRunView(ConsoleView):
    """Where, with which values, how many at a time. Picked machines come as `ids`, a query as `q`."""

    section = "scripts"

    def get(self, request: HttpRequest, identity: str) -> HttpResponse:
        return self.form(self.find(Script, identity), request.GET)

    def post(self, request: HttpRequest, identity: str) -> HttpResponse:
        script = self.find(Script, identity)
        if "ask" in request.POST:  # from the machines' bar: what is selected comes along
            return self.form(script, request.POST)
        version = newest(script)
        typed = forms.read(_asked(version), request.POST, "p-")
        how = forms.read(HOW, request.POST)
        params: dict[str, Any] = {**how, "params": typed}
        ids = _picked(request.POST)
        params |= {"machines": ids} if ids else {"search": request.POST.get("q", "").strip()}
        try:
            job = self.perform(script, "run", params, (*HOW, *_asked(version)))
        except MistError as error:
            return self.form(script, request.POST, typed=typed, how=how, error=error)
        return self.job_done(job, f"{self.frame.base}/runs/{job.pk.hex}")

    def form(
        self,
        script: Script,
        data: QueryDict,
        *,
        typed: dict[str, Any] | None = None,
        how: dict[str, Any] | None = None,
        error: MistError | None = None,
    ) -> HttpResponse:
        version = newest(script)
        wrong: dict[str, Any] = error.fields if isinstance(error, Invalid) else {}
        ids, q = _picked(data), data.get("q", "").strip()
        of_parameters = {key.removeprefix("params."): value for key, value in wrong.items() if key.startswith("params.")}
        known = {key: value for key, value in wrong.items() if not key.startswith("params.")}
        where = forms.flat([known.pop(name) for name in ("search", "machines", "machine") if name in known])
        matched: list[Machine] = []
        count = 0
        try:
            if ids or q or data.get("all"):
                rows = select(self.actor, {"ids": _known(ids)} if ids else {"search": q})
                count, matched = rows.count(), list(rows.select_related("location", "cloud").order_by("name")[:12])
        except BadSearch as bad:
            where = where or [bad.detail]
        why = ansible.missing() if script.exec_type == "ansible" else ""
        context = {
            "script": script,
            "version": version,
            "fields": forms.bind(
                _asked(version, self.actor),
                typed if typed is not None else {p["name"]: p["default"] for p in version.parameters},
                of_parameters,
                prefix="p-",
            ),
            "how": forms.bind(HOW, how, known),
            "ids": ids,
            "q": q,
            "where_errors": where,
            "matched": matched,
            "count": count,
            "rest": max(0, count - len(matched)),
            "why_not": why or ("" if guard.permits(self.actor, script, "run") else _("You may not run this script.")),
            "problem": problem(_("It was not run."), error, (*HOW, *_asked(version))) if error and not (where or of_parameters) else None,
        }
        return self.page("scripts/run.html", context, status=error.status if error else 200)


def _picked(data: QueryDict) -> list[str]:
    """Ids of picked machines, sent as `ids` (with commas) or one by one."""
    return [text for value in data.getlist("ids") + data.getlist("id") for text in value.split(",") if text][:10_000]


def _known(ids: list[str]) -> list[str]:
    return [text for text in ids if len(text) in (32, 36) and all(c in "0123456789abcdef-" for c in text)]


def _asked(version: ScriptVersion, actor: Actor | None = None) -> tuple[Field, ...]:
    """A script's parameters as fields. `actor`: whose secrets are offered where one is asked for."""
    wanted = actor is not None and any(p["type"] == "secret" for p in version.parameters)
    offered = tuple((one, one) for one in references.offered(actor)) if wanted and actor is not None else ()
    kinds = {"boolean": "toggle", "number": "number", "choice": "choice"}
    return tuple(
        Field(
            name=p["name"],
            label=p.get("label") or p["name"],
            kind=kinds.get(p["type"], "text"),  # type: ignore[arg-type]
            required=p["required"],
            default=p["default"],
            help=p.get("help") or (_("name/key of a secret; its value is read when the run begins.") if p["type"] == "secret" else ""),
            choices=_choices(p, offered),
            minimum=p.get("minimum"),
            maximum=p.get("maximum"),
        )
        for p in version.parameters
    )


def _choices(parameter: dict[str, Any], offered: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    if parameter["type"] == "secret":
        return offered
    listed = tuple((c, c) for c in parameter["choices"])
    return listed if parameter["required"] else (("", "–"), *listed)


class PickScriptView(ConsoleView):
    """Which script to run on what was picked: from a machine's page, or the machines' bar."""

    section = "scripts"

    def get(self, request: HttpRequest) -> HttpResponse:
        return self.pick(request.GET)

    def post(self, request: HttpRequest) -> HttpResponse:
        return self.pick(request.POST)

    def pick(self, data: QueryDict) -> HttpResponse:
        scripts = Script.objects.visible_to(self.actor, "run").order_by("name")[:500]
        hidden = [("ids", ",".join(_picked(data)))] if _picked(data) else [("q", data.get("q", "")), ("all", "1")]
        template = "scripts/_pick.html" if self.in_dialog or self.is_htmx else "scripts/pick.html"
        return self.page(template, {"scripts": scripts, "hidden": hidden, "count": len(_picked(data))})
