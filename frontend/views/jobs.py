"""Jobs: the drawer, the page, one job, and what can be done to it."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from core import approvals, bulks, jobs
from core.actions import get, perform
from core.actor import Actor
from core.errors import Conflict, Invalid, MistError, NotFound
from core.models import Event, Job
from frontend import answering, calls, listing, toasts, words
from frontend.inverse import inverse, inverses
from frontend.progress import with_detail, with_progress
from frontend.rows import event_rows, job_rows, with_files
from frontend.views.base import ConsoleView, problem

DOES = {"undo": jobs.undo, "cancel": jobs.cancel, "retry": jobs.retry}
VIEWS: tuple[tuple[Promise, dict[str, str]], ...] = (
    (gettext_lazy("Mine and watched"), {}),
    (gettext_lazy("Everyone"), {"who": "all"}),
    (gettext_lazy("To approve"), {"q": "state:asked", "who": "all"}),
    (gettext_lazy("Running"), {"q": "state:waiting,queued,running"}),
    (gettext_lazy("Failed"), {"q": "state:failed,lost"}),
)
SHOWN_STATES = ("failed", "lost", "skipped", "succeeded", "running", "queued", "waiting", "asked", "cancelled", "undone")


class JobsView(ConsoleView):
    """The page; for htmx the drawer's inside. `?who=all`: everybody's, else one's own and those one watches."""

    section = "jobs"

    def get(self, request: HttpRequest) -> HttpResponse:
        everybody = request.GET.get("who") == "all" or bool(request.GET.get("q"))
        rows = Job.objects.filter(parent=None)
        if not everybody:
            rows = rows.filter(Q(user_id=self.actor.user_id) | Q(watchers__contains=[self.actor.user_id]))
        if self.is_htmx:
            return self.drawer(rows, everybody)
        page = listing.page(rows.select_related("user"), request.GET, self.actor, default="-created")
        with_files(self.actor, with_progress(page.rows))
        asked = {key: request.GET[key] for key in ("who", "q") if key in request.GET}
        views = [{"title": title, "url": f"{self.frame.jobs_url}?{urlencode(pairs)}", "current": pairs == asked} for title, pairs in VIEWS]
        return self.page("jobs/list.html", {"page": page, "views": views, "everybody": everybody}, status=400 if page.error else 200)

    def drawer(self, rows: QuerySet[Job], everybody: bool) -> HttpResponse:
        """What runs, then today's, then the last of before."""
        newest = rows.order_by("-created_at", "-id")
        asked = job_rows(self.actor, Job.objects.filter(parent=None, state=Job.State.ASKED).order_by("-created_at"), 50)
        running, midnight = [Job.State.QUEUED, Job.State.RUNNING], timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0)
        others = newest.exclude(state__in=[*running, Job.State.ASKED])
        rest = job_rows(self.actor, others, 25)
        return self.page(
            "jobs/_drawer.html",
            {
                "everybody": everybody,
                "asked": [job for job in asked if job.is_mine or job.may_answer],  # type: ignore[attr-defined]
                "running": job_rows(self.actor, newest.filter(state__in=running), 20),
                "today_count": others.filter(created_at__gte=midnight).visible_to(self.actor).count(),  # type: ignore[attr-defined]
                "today": [job for job in rest if job.created_at >= midnight],
                "earlier": [job for job in rest if job.created_at < midnight][:10],
            },
        )


class JobView(ConsoleView):
    """One job: its steps, its children, what came of it."""

    section = "jobs"

    def get(self, request: HttpRequest, identity: str) -> HttpResponse:
        job = job_rows(self.actor, Job.objects.filter(pk=self.find(Job, identity).pk))[0]
        told = Event.objects.visible_to(self.actor).filter(job_id=job.pk).order_by("at", "id")[:20]
        context: dict[str, Any] = {"job": with_detail(self.actor, job, self.frame.base), "told": event_rows(list(told)), "page": None}
        context["calls"] = calls.of_job(self.actor, job)
        if job.target_id is None:
            children = Job.objects.filter(parent=job).select_related("user")
            context["page"] = listing.page(children, request.GET, self.actor, default="created")
            with_progress(context["page"].rows)
            counts = job.child_states  # type: ignore[attr-defined]
            context["filters"] = [(state, counts.get(state, 0), f"state:{state}") for state in SHOWN_STATES if counts.get(state)]
        return self.page("jobs/job.html", context)


class JobDoView(ConsoleView):
    """Undo, cancel, retry."""

    section = "jobs"

    def post(self, request: HttpRequest, identity: str, what: str) -> HttpResponse:
        if what not in DOES and what not in ("back", "watch", "unwatch"):
            raise Http404
        job = self.find(Job, identity)
        try:
            if what in ("watch", "unwatch"):
                jobs.watch(self.actor, job, what == "watch")
                return self.done(toasts.note(_("You watch it") if what == "watch" else _("You watch it no more")))
            changed = take_back(self.actor, job) if what == "back" else DOES[what](self.actor, job)
        except NotFound:
            raise
        except MistError as error:
            return self.failed(_("%(job)s: nothing was changed.") % {"job": words.job_title(job)}, error)
        return self.job_done(changed)


class JobAnswerView(ConsoleView):
    """GET: what an asked job would do, as who asked saw it. POST: yes or no."""

    section = "jobs"

    def get(self, request: HttpRequest, identity: str) -> HttpResponse:
        job = job_rows(self.actor, Job.objects.filter(pk=self.find(Job, identity).pk))[0]
        if not job.may_answer:  # type: ignore[attr-defined]
            return HttpResponseRedirect(f"{self.frame.base}/jobs/{job.pk.hex}")
        return self.form(job)

    def form(self, job: Job, *, note: str = "", wrong_name: bool = False, error: Invalid | None = None) -> HttpResponse:
        facts, action = answering.facts(self.actor, job), get(job.action)
        is_many = job.target_id is None
        context = {
            "job": with_detail(self.actor, job, self.frame.base),
            "facts": facts,
            "targets": facts.machines,
            "hidden_targets": facts.hidden,
            "act": words.act(job.action),
            "title": f"{words.job_order(job)}?",
            "word": self.word(job),
            "bulk": is_many,
            "undo_s": action.undo_s if action.background else 0,
            "note": note,
            "wrong_name": wrong_name,
            "problem": problem(_("Nothing was answered."), error) if error else None,
            "url": f"{self.frame.base}/jobs/{job.pk.hex}/answer",
        }
        template = "jobs/_answer.html" if self.in_dialog or self.is_htmx else "jobs/answer.html"
        return self.page(template, context, status=422 if wrong_name or error else 200)

    @staticmethod
    def word(job: Job) -> str:
        """What is to be typed, where it destroys: as who does it without asking types it."""
        action = get(job.action)
        if action.tier < 2:
            return ""
        return job.target_name.strip() if job.target_id else f"{action.name} {job.total}"

    def post(self, request: HttpRequest, identity: str) -> HttpResponse:
        job = self.find(Job, identity)
        note, says_yes = request.POST.get("note", "").strip(), request.POST.get("answer") != "decline"
        if self.is_told:
            made = calls.calls(f"approvals approve {job.pk.hex}", f"approvals/{job.pk.hex}/approve", {"note": note} if note else {})
            raise calls.Told(calls.Text(calls=made, missing=[], wrong=[]))
        title = _("%(job)s: nothing was answered.") % {"job": words.job_order(job)}
        try:
            if says_yes and job.state == Job.State.ASKED and (word := self.word(job)) and request.POST.get("confirm", "").strip() != word:
                return self.form(job_rows(self.actor, Job.objects.filter(pk=job.pk))[0], note=note, wrong_name=True)
            changed = (approvals.approve if says_yes else approvals.decline)(self.actor, job, note)
        except Invalid as error:
            return self.form(job_rows(self.actor, Job.objects.filter(pk=job.pk))[0], note=note, error=error)
        except MistError as error:
            return self.failed(title, error, f"{self.frame.base}/jobs/{job.pk.hex}")
        return self.job_done(changed, "" if self.is_htmx else f"{self.frame.base}/jobs/{job.pk.hex}")


def take_back(actor: Actor, job: Job) -> Job:
    """Do the opposite of what a job did, of a bulk of what it did to each, with this person's rights.

    Returns: the job that does, of several the one of most: what a bulk locked is unlocked, and where it gave another note the old is back.
    Raises: Conflict where there is no opposite (any more).
    """
    model = get(job.action).model
    by_verb: dict[str, dict[UUID, dict[str, Any]]] = {}
    for pk, one in inverses(job).items():
        by_verb.setdefault(one.name, {})[pk] = one.params
    if by_verb:
        made = [_to_each(actor, model, name, each) for name, each in by_verb.items()]
        return max(made, key=lambda job: job.total or 0)
    opposite = inverse(job)
    if opposite is None:
        raise Conflict("This cannot be taken back any more. Change it by hand.", code="no_inverse")
    target = model.objects.visible_to(actor).filter(pk=job.target_id).first()
    if target is None:
        raise NotFound
    return perform(actor, target, opposite.name, opposite.params)


def _to_each(actor: Actor, model: type[Any], name: str, each: dict[UUID, dict[str, Any]]) -> Job:
    """One verb on many: a record of ours with each one's params, anything else with the same of all."""
    if not get(f"{model.kind()}.{name}").background:
        return bulks.bulk_each(actor, model, name, each)
    seen = list(bulks.select(actor, model, ids=list(each)).values_list("pk", flat=True))
    return bulks.bulk(actor, model, name, next(iter(each.values())), ids=seen)
