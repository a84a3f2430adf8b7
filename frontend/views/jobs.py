"""Jobs: the drawer, the page, one job, and what can be done to it."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.translation import gettext as _

from core import jobs
from core.actions import get, perform
from core.actor import Actor
from core.errors import Conflict, MistError, NotFound
from core.models import Job
from frontend import listing, words
from frontend.inverse import inverse
from frontend.rows import job_rows, with_children
from frontend.views.base import ConsoleView

DOES = {"undo": jobs.undo, "cancel": jobs.cancel, "retry": jobs.retry}
VIEWS = (
    ("", _("All")),
    ("state:waiting,queued,running", _("Running")),
    ("state:failed,lost", _("Failed")),
)


class JobsView(ConsoleView):
    """The page; for htmx the drawer's inside: mine, running first."""

    section = "jobs"

    def get(self, request: HttpRequest) -> HttpResponse:
        if self.is_htmx:
            return self.drawer()
        rows = Job.objects.filter(parent=None).select_related("user")
        page = listing.page(rows, request.GET, self.actor, default="-created")
        with_children(page.rows)
        views = [{"q": q, "title": title, "current": q == page.q} for q, title in VIEWS]
        return self.page("jobs/list.html", {"page": page, "views": views}, status=400 if page.error else 200)

    def drawer(self) -> HttpResponse:
        rows = Job.objects.filter(parent=None)
        mine = rows.filter(user_id=self.actor.user_id)
        return self.page(
            "jobs/_drawer.html",
            {
                "running": job_rows(self.actor, rows.filter(state__in=Job.ACTIVE).order_by("-created_at"), 20),
                "ended": job_rows(self.actor, mine.exclude(state__in=Job.ACTIVE).order_by("-created_at"), 20),
            },
        )


class JobView(ConsoleView):
    """One job: its steps, its children, what came of it."""

    section = "jobs"

    def get(self, request: HttpRequest, identity: str) -> HttpResponse:
        job = self.find(Job, identity)
        rows = job_rows(self.actor, Job.objects.filter(pk=job.pk))
        page = None
        if job.target_id is None:
            children = Job.objects.filter(parent=job).select_related("user")
            page = listing.page(children, request.GET, self.actor, default="-created")
        if page:
            with_children(page.rows)
        return self.page("jobs/job.html", {"job": rows[0], "page": page, "now": timezone.now()})


class JobDoView(ConsoleView):
    """Undo, cancel, retry."""

    section = "jobs"

    def post(self, request: HttpRequest, identity: str, what: str) -> HttpResponse:
        if what not in DOES and what != "back":
            raise Http404
        job = self.find(Job, identity)
        try:
            changed = take_back(self.actor, job) if what == "back" else DOES[what](self.actor, job)
        except NotFound:
            raise
        except MistError as error:
            return self.failed(_("%(job)s: nothing was changed.") % {"job": words.job_title(job)}, error)
        return self.job_done(changed)


def take_back(actor: Actor, job: Job) -> Job:
    """Do the opposite of what a job did, with this person's rights.  Raises: Conflict where there is no opposite (any more)."""
    opposite = inverse(job)
    if opposite is None:
        raise Conflict("This cannot be taken back any more. Change it by hand.", code="no_inverse")
    target = get(job.action).model.objects.visible_to(actor).filter(pk=job.target_id).first()
    if target is None:
        raise NotFound
    return perform(actor, target, opposite.name, opposite.params)


def can_cancel(job: Job) -> bool:
    """May it still be stopped, as far as its action goes?"""
    if not job.is_active:
        return False
    if job.target_id is None or job.state in (Job.State.WAITING, Job.State.QUEUED):
        return True
    try:
        return get(job.action).cancellable
    except MistError:
        return False
