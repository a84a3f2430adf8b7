"""One machine: its tabs, its menu, and what is done to it."""

from __future__ import annotations

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.utils.translation import gettext as _

from core.actions import Action, actions_of
from core.errors import Invalid, MistError
from core.models import Event, Job
from frontend import acts, approving, dialogs, forms, listing, tabs, words
from frontend.eventcolumns import EVENTS
from frontend.rows import event_rows, job_rows, machine_queryset, times_of, with_jobs, with_story
from frontend.views.base import ConsoleView, problem
from keys.models import Authority, GivenHostKey, HostKey
from machines.models import Machine
from machines.reach import address_of
from networks.models import SecurityGroup
from scripts.models import AfterCreation

# Done at once and ours alone to say: the head shows it with the answer, before any socket does.
METADATA = frozenset({"tag", "set_owner", "set_expiration", "extend", "lock", "unlock", "edit"})


class OneMachine(ConsoleView):
    """What the views of one machine share."""

    section = "machines"

    def machine(self, identity: str) -> Machine:
        """The machine with its active job and what may be done to it."""
        found = self.find(Machine, identity)
        made = with_jobs(list(machine_queryset().visible_to(self.actor).defer(None).filter(pk=found.pk)))[0]
        return acts.with_offers(self.actor, made)

    def show(self, machine: Machine, tab: str, context: dict[str, Any], *, template: str = "") -> HttpResponse:
        """A tab's page. `tab`: its name in `frontend.tabs`; `template`: `machines/<tab>.html` where not said."""
        return self.page(
            template or f"machines/{tab or 'overview'}.html",
            {"machine": machine, "tab": tab, "tabs": tabs.tabs_of(self.actor, machine), **context},
        )

    def offered(self, machine: Machine, *names: str) -> dict[str, acts.Offer]:
        """{verb: its offer} of those that this person and this machine have."""
        return {one.name: one for one in acts.offers(self.actor, machine, names, machine.allowed)}  # type: ignore[attr-defined]


class MachineView(OneMachine):
    """Overview: where it is, what it is, what happened to it."""

    def get(self, request: HttpRequest, identity: str) -> HttpResponse:
        machine = self.machine(identity)
        told = Event.objects.visible_to(self.actor).filter(target_kind="machine", target_id=machine.pk).order_by("-at", "-id")
        changes = event_rows(list(told.exclude(before=None, after=None)[:6]))
        return self.show(
            machine,
            "",
            {
                "recent": event_rows(_latest(list(told[:20]))[:7]),
                "changes": [event for event in changes if event.lines],  # type: ignore[attr-defined]
                "jobs": job_rows(self.actor, Job.objects.filter(target_id=machine.pk).order_by("-created_at"), 5),
                "keys": machine.key_associations.select_related("key").order_by("key__name"),
                "volumes": tabs.volumes_of(self.actor, machine),
                "after_creation": AfterCreation.objects.filter(machine=machine).exclude(state=AfterCreation.State.BEGUN),
                "children": Machine.objects.visible_to(self.actor).filter(parent=machine).order_by("name")[:50],
                "offers": self.offered(machine, "set_owner", "set_expiration", "extend", "edit", "associate_key", "rename", "resize"),
            },
        )


def _latest(told: list[Event]) -> list[Event]:
    """Newest first, without the asking for what has an outcome already."""
    ended = {event.job_id for event in told if event.job_id and not event.type.endswith(".requested")}
    return [event for event in told if not (event.type.endswith(".requested") and event.job_id in ended)]


class MachineEventsView(OneMachine):
    """Its audit log."""

    def get(self, request: HttpRequest, identity: str) -> HttpResponse:
        machine = self.machine(identity)
        rows = Event.objects.filter(target_kind="machine", target_id=machine.pk)
        page = listing.page(rows, request.GET, self.actor, default="-id")
        page.rows = with_story(self.actor, event_rows(page.rows), self.frame.base)
        return self.show(machine, "log", {"page": page, "columns": EVENTS.chosen(""), **times_of(page.rows)})


class MachineVolumesView(OneMachine):
    """What is attached to it."""

    def get(self, request: HttpRequest, identity: str) -> HttpResponse:
        machine = self.machine(identity)
        return self.show(machine, "volumes", {"volumes": tabs.volumes_of(self.actor, machine)})


class MachineNetworksView(OneMachine):
    """Where it is on the net: network, subnet, addresses, and who may come in."""

    def get(self, request: HttpRequest, identity: str) -> HttpResponse:
        machine = self.machine(identity)
        named = machine.extra.get("security_groups") or []
        ids = [one.get("id", "") if isinstance(one, dict) else str(one) for one in named] if isinstance(named, list) else []
        groups = SecurityGroup.objects.visible_to(self.actor).filter(cloud_id=machine.cloud_id, external_id__in=ids).order_by("name")
        return self.show(machine, "networks", {"groups": groups if ids else []})


class MachineSnapshotsView(OneMachine):
    """Its snapshots, as its cloud last said."""

    def get(self, request: HttpRequest, identity: str) -> HttpResponse:
        machine = self.machine(identity)
        offers = self.offered(machine, "create_snapshot", "remove_snapshot", "revert_to_snapshot", "list_snapshots")
        return self.show(machine, "snapshots", {"snapshots": machine.snapshots.order_by("-taken_at", "name"), "offers": offers})


class MachineKeysView(OneMachine):
    """Which keys open it."""

    def get(self, request: HttpRequest, identity: str) -> HttpResponse:
        machine = self.machine(identity)
        associations = machine.key_associations.select_related("key").order_by("key__name", "user")
        trusts = machine.authority_trusts.select_related("authority").order_by("user", "port")
        authority = Authority.objects.visible_to(self.actor).filter(is_current=True).first()
        offers = self.offered(machine, "associate_key", "disassociate_key", "trust_ca", "distrust_ca")
        known = HostKey.objects.visible_to(self.actor).filter(host=address_of(machine) or None).order_by("port", "trusted_at")
        context = {
            "associations": associations,
            "trusts": trusts,
            "authority": authority,
            "offers": offers,
            "known": known[:20],
            "given": GivenHostKey.objects.filter(machine=machine).first(),
        }
        return self.show(machine, "keys", context)


class MachineMenuView(OneMachine):
    """The menu of a row, fetched when it is opened."""

    def get(self, request: HttpRequest, identity: str) -> HttpResponse:
        machine = self.machine(identity)
        groups = [list(self.offered(machine, *names).values()) for names in (acts.POWER, acts.changes_of(machine), acts.END)]
        return self.page("machines/_menu.html", {"machine": machine, "groups": [group for group in groups if group]})


class MachineActView(OneMachine):
    """GET: the form or question before a verb, as a page or in the dialog. POST: do it."""

    def get(self, request: HttpRequest, identity: str, verb: str) -> HttpResponse:
        machine = self.machine(identity)
        return self.form(machine, self.action(verb), values={key: value for key, value in request.GET.items() if key != "next"})

    def post(self, request: HttpRequest, identity: str, verb: str) -> HttpResponse:
        machine, action = self.machine(identity), self.action(verb)
        typed = forms.read(acts.fields(self.actor, verb, machine), request.POST)
        if verb == "extend":
            typed = {"hours": request.POST.get("hours", "24")}
        is_act = self.actor.ask is None and not self.is_told
        if action.tier >= 2 and is_act and "confirm" in request.POST and request.POST["confirm"].strip() != machine.name:
            return self.form(machine, action, values=typed, wrong_name=True, status=422)
        title = _("%(what)s.") % {"what": words.say(words.act(action.verb).undone, machine.name)}
        try:
            job = self.perform(machine, verb, self.params(request, machine, verb, typed), acts.fields(self.actor, verb, machine))
        except Invalid as error:
            if not acts.offer(action).has_fields or ("key" in request.POST and verb == "tag"):
                return self.failed(title, error, self.path(machine))
            return self.form(machine, action, values=typed, error=error, status=422)
        except MistError as error:
            return self.failed(title, error, self.path(machine), now=machine)
        if self.is_htmx and verb in METADATA:
            return self.shown_at_once(machine, job)
        return self.job_done(job, f"{self.frame.base}/machines" if action.deletes else "")

    def action(self, verb: str) -> Action:
        """The verb of a machine that is there already.  Raises: Http404."""
        found = next((action for action in actions_of(Machine) if action.name == verb and not action.creates), None)
        if found is None:
            raise Http404
        return found

    def params(self, request: HttpRequest, machine: Machine, verb: str, typed: dict[str, Any]) -> dict[str, Any]:
        """Of what was typed; one tag added (`key`, `value`) or taken away (`untag`) in place is not the whole list."""
        data = request.POST
        if verb == "tag" and "untag" in data:
            return {"tags": {}, "remove": [data["untag"]]}
        if verb == "tag" and "key" in data:
            key, sep, value = data["key"].partition("=")
            return {"tags": {key.strip(): value.strip() if sep else data.get("value", "").strip()}, "remove": []}
        return acts.params(verb, typed, machine)

    def shown_at_once(self, machine: Machine, job: Job) -> HttpResponse:
        """The note, and the head as it is now, and of a lock its line."""
        response = self.job_done(job)
        context = {"machine": self.machine(machine.pk.hex), "base": self.frame.base, "live": True}
        parts = ["machines/_facts.html", *(["machines/_lock.html"] if job.action in ("machine.lock", "machine.unlock") else [])]
        for template in parts:
            response.write(render_to_string(template, context, request=self.request))
        return response

    def path(self, machine: Machine) -> str:
        return f"{self.frame.base}/machines/{machine.pk.hex}"

    def form(
        self,
        machine: Machine,
        action: Action,
        *,
        values: dict[str, Any] | None = None,
        error: Invalid | None = None,
        wrong_name: bool = False,
        status: int = 200,
    ) -> HttpResponse:
        verb = action.name
        specs = acts.fields(self.actor, verb, machine)
        offer = self.offered(machine, verb).get(verb)
        if offer is None:
            raise Http404
        said, need = words.act(action.verb), approving.need(self.actor, action, [machine])
        context = {
            "machine": machine,
            "targets": dialogs.victims(self.actor, [machine]) if action.tier >= 2 else [machine],
            "need": need,
            "may_unlock": machine.locked_at is not None and machine.allowed.get("unlock") is True,  # type: ignore[attr-defined]
            "offer": offer,
            "title": f"{said.label} {machine.name}" + ("?" if action.tier and not specs else ""),
            "url": f"{self.path(machine)}/do/{verb}",
            "button": f"{said.label} {machine.name}" if len(machine.name) < 30 else said.label,
            "word": machine.name if action.tier >= 2 else "",
            "wrong_name": wrong_name,
            "keeps": True,
            "undo_s": action.undo_s,
            "fields": forms.bind(specs, values, error.fields if error else None),
            "problem": problem(_("Nothing was changed."), error, specs) if error else None,
            "next": self.back() if self.request.method == "POST" else "",
        }
        return self.page(dialogs.template(self, offer, 1, needs=need is not None), context, status=status)
