"""Acts on many machines at once: the bar, the question, the parent job."""

from __future__ import annotations

from collections import Counter
from typing import Any
from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from core import bulks, guard
from core.actions import action_offered, actions_of, get
from core.errors import BadSearch, Invalid, MistError
from frontend import acts, approving, calls, dialogs, forms, words
from frontend.reasons import in_words, of_state
from frontend.rows import machine_queryset
from frontend.views.base import ConsoleView, problem
from frontend.views.shells import PANES_MOST
from machines.models import Machine

BAR = ("start", "stop", "reboot")
BESIDE = ("tag",)  # after what is run on them
MORE = ("suspend", "resume", "power_cycle", "set_owner", "set_expiration", "lock", "unlock", "create_snapshot")
SHOWN = 100  # names in a dialog
COUNTED = 1000  # of a selection are asked what they can do


class Selection:
    """The machines meant by `ids` (a comma list) or by `q` (everything that matches)."""

    def __init__(self, view: ConsoleView, data: Any) -> None:
        self.q = data.get("q")
        self.ids: list[UUID] | None = None
        if self.q is None:
            try:
                self.ids = [UUID(part) for part in data.get("ids", "").split(",") if part]
            except ValueError:
                raise Http404 from None
        rows = bulks.select(view.actor, Machine, ids=self.ids, search=self.q)
        self.count = rows.count()
        self.rows = list(
            machine_queryset().visible_to(view.actor).filter(pk__in=rows.order_by("name").values("pk")).order_by("name")[:COUNTED]
        )

    @property
    def hidden(self) -> dict[str, str]:
        return {"q": self.q} if self.q is not None else {"ids": ",".join(pk.hex for pk in self.ids or [])}

    def offer(self, view: ConsoleView, name: str) -> acts.Offer | None:
        """The verb with on how many it can be done now; None where it can be done on none for ever."""
        action = get(f"machine.{name}")
        offered = [row for row in self.rows if action_offered(action, row) and guard.permits(view.actor, row, action.right)]
        if not offered:
            return None
        made = acts.offer(action)
        whys = [why for row in offered if (why := self.why_not(row, action))]
        made.able = len(offered) - len(whys)
        made.why_not = whys[0] if not made.able and whys else ""
        counted = Counter(whys)
        if lacking := len(self.rows) - len(offered):
            counted[_("not possible there, or not yours to do")] += lacking
        made.skipped = [f"{n} {why}" if why[0].islower() else f"{n}: {why}" for why, n in counted.most_common(4)]
        return made

    @staticmethod
    def why_not(row: Machine, action: Any) -> str:
        """“already stopped”, or the action's own reason; "" where it can be done."""
        if row.state in getattr(action, "aims", ()):
            return _("already %(state)s") % {"state": of_state(row.state)}
        return in_words(action.reason(row) or "")


class BulkBarView(ConsoleView):
    """What the bar offers for a selection."""

    section = "machines"

    def post(self, request: HttpRequest) -> HttpResponse:
        try:
            selection = Selection(self, request.POST)
        except BadSearch:
            raise Http404 from None
        if not selection.count:
            return HttpResponse("")
        offers = {name: offer for name in (*BAR, *BESIDE, *MORE) if (offer := selection.offer(self, name))}
        bar, beside = ([offer for name, offer in offers.items() if name in names and offer.can] for names in (BAR, BESIDE))
        more = [offer for offer in offers.values() if offer not in (*bar, *beside)]  # what none of them can now is there, with why
        groups = {"bar": bar, "beside": beside, "more": more}
        alone = {name: selection.offer(self, name) for name in ("destroy", "run", "shell")}
        shell = alone["shell"]
        fit = selection.ids is not None and selection.count <= PANES_MOST and shell is not None and shell.able == selection.count
        about = {"selection": selection, "of": request.POST.get("of", "")[:20], "beside_each_other": fit}
        return self.page("machines/_bulk.html", {**about, **alone, **groups})


class BulkActView(ConsoleView):
    """POST with `ask`: the question, but for what is harmless and asked for `now`. POST without: do it."""

    section = "machines"

    def post(self, request: HttpRequest, verb: str) -> HttpResponse:
        action = next((one for one in actions_of(Machine) if one.name == verb and one.bulk and not one.creates), None)
        if action is None:
            raise Http404
        selection = Selection(self, request.POST)
        specs = acts.fields(self.actor, verb, None, selection.rows)
        need = approving.need(self.actor, action, selection.rows) if self.actor.ask is None and not self.is_told else None
        if ("ask" in request.POST and ("now" not in request.POST or action.tier or specs)) or (need and "confirm" not in request.POST):
            return self.form(selection, verb, specs, need=need, status=422 if need and "now" in request.POST else 200)
        typed = forms.read(specs, request.POST)
        if self.is_told:
            params = acts.params(verb, typed, None)
            self.tell(Machine, verb, params, calls.of_many("machine", verb, selection.ids, selection.q, params, ask=self.told_ask), specs)
        if action.tier >= 2 and self.actor.ask is None and request.POST.get("confirm", "").strip() != self.word(verb, selection):
            return self.form(selection, verb, specs, values=typed, wrong_name=True, status=422)
        try:
            job = bulks.bulk(self.actor, Machine, verb, acts.params(verb, typed, None), ids=selection.ids, search=selection.q)
        except Invalid as error:
            return self.form(selection, verb, specs, values=typed, error=error, status=422)
        except MistError as error:
            return self.failed(_("Nothing was done."), error)
        return self.job_done(job, "" if self.is_htmx else f"{self.frame.base}/machines")

    def word(self, verb: str, selection: Selection) -> str:
        return f"{verb} {selection.count}"

    def form(
        self,
        selection: Selection,
        verb: str,
        specs: Any,
        *,
        values: dict[str, Any] | None = None,
        error: Invalid | None = None,
        wrong_name: bool = False,
        need: approving.Need | None = None,
        status: int = 200,
    ) -> HttpResponse:
        offer = selection.offer(self, verb)
        if offer is None:
            raise Http404
        some = offer.able if len(selection.rows) == selection.count and 0 < (offer.able or 0) < selection.count else None
        many = ngettext("%(n)d machine", "%(n)d machines", selection.count) % {"n": selection.count}
        said = words.act(f"machine.{verb}")
        if some is not None:
            many = _("%(able)d of %(many)s") % {"able": some, "many": many}
        rows = selection.rows[:SHOWN]
        context = {
            "targets": dialogs.victims(self.actor, rows) if offer.action.tier >= 2 else rows,
            "keeps": True,
            "hidden_targets": max(0, selection.count - SHOWN),
            "need": need,
            "selection": selection,
            "offer": offer,
            "title": f"{said.label} {many}?",
            "url": f"{self.frame.base}/machines/bulk/{verb}",
            "button": f"{said.label} {many}",
            "word": self.word(verb, selection) if offer.action.tier >= 2 else "",
            "wrong_name": wrong_name,
            "undo_s": offer.action.undo_s,
            "skipped": offer.skipped if offer.able else [],
            "fields": forms.bind(specs, values, error.fields if error else None),
            "problem": problem(_("Nothing was done."), error, specs) if error else None,
            "bulk": True,
        }
        response = self.page(dialogs.template(self, offer, selection.count, needs=need is not None), context, status=status)
        return self.to_dialog(response) if need else response
