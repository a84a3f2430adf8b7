"""Shell sessions: the list, one with its recording, and what can be done to it."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.utils.translation import gettext as _

from core.actions import allowed, get
from core.errors import MistError
from frontend import acts, listing, toasts
from frontend.rows import with_duration
from frontend.views.base import ConsoleView
from machines.models import Session
from machines.session_api import cast_response, recording_for
from machines.shell.transcript import hits

VIEWS = (("", _("All")), ("state:opening,open", _("Live")), ("owner:me", _("Mine")), ("recording:interrupted", _("Interrupted")))
# The player's terminal is WebAssembly: it needs that word, on this page alone.
POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self' 'nonce-{nonce}'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; manifest-src 'self'"
)
REPLAY_MOST = 64 << 20  # bytes a browser is given to replay; longer ones are downloaded
HITS = 200


class SessionsView(ConsoleView):
    """Who was where, when, why; what runs first."""

    section = "sessions"

    def get(self, request: HttpRequest) -> HttpResponse:
        page = listing.page(Session.objects.select_related("owner"), request.GET, self.actor, default="-created")
        with_duration(page.rows)
        views = [{"q": q, "title": title, "current": q == page.q} for q, title in VIEWS]
        return self.page("sessions/list.html", {"page": page, "views": views}, status=400 if page.error else 200)


class OneSession(ConsoleView):
    """What the views of one session share."""

    section = "sessions"

    def session(self, identity: str) -> Session:
        found: Session = self.find(Session, identity)
        return found


class SessionView(OneSession):
    """Its facts, its commands, and the replay of its recording."""

    def get(self, request: HttpRequest, identity: str) -> HttpResponse:
        session = self.session(identity)
        with_duration([session])
        known = allowed(self.actor, session)
        offers = {one.name: one for one in acts.offers(self.actor, session, ("watch", "join", "kill", "delete"), known)}
        context = {
            "session": session,
            "offers": offers,
            "may_replay": known.get("replay") is True,
            "too_long": session.recorded_bytes > REPLAY_MOST,
            "keeps": known.get("replay"),
        }
        response = self.page("sessions/session.html", context)
        response["Content-Security-Policy"] = POLICY.format(nonce=request.csp_nonce)  # type: ignore[attr-defined]
        return response


class SessionDoView(OneSession):
    """End it, or delete its recording."""

    def post(self, request: HttpRequest, identity: str, verb: str) -> HttpResponse:
        session = self.session(identity)
        if verb not in ("kill", "delete"):
            raise Http404
        action = get(f"session.{verb}")
        wants_json = "application/json" in request.headers.get("Accept", "")  # the terminals' page stays where it is
        try:
            job = self.perform(session, verb, asks="" if wants_json else session.name)
        except MistError as error:
            if wants_json:
                return JsonResponse({"error": error.detail}, status=error.status)
            return self.failed(_("Nothing was done to the shell on %(name)s.") % {"name": session.name}, error)
        if wants_json:
            return JsonResponse({"job": job.pk.hex})
        if action.deletes:
            return self.done(toasts.of_job(job, self.frame.base), f"{self.frame.base}/sessions")
        return self.job_done(job)


class CastView(OneSession):
    """The recording, for the player or for a file."""

    def get(self, request: HttpRequest, identity: str) -> HttpResponseBase:
        session = self.session(identity)
        return cast_response(session, recording_for(self.actor, session))


class OutputView(OneSession):
    """Lines of what it showed that hold a text."""

    def get(self, request: HttpRequest, identity: str) -> HttpResponse:
        session = self.session(identity)
        text = request.GET.get("q", "").strip()[:200]
        found: list[tuple[float, str]] = []
        if text:
            try:
                found = hits(recording_for(self.actor, session), text, HITS)
            except MistError as error:
                return JsonResponse({"error": error.detail}, status=error.status)
        return JsonResponse({"hits": [{"at_s": at, "line": line[:300]} for at, line in found]})
