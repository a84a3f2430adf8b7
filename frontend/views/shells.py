"""Shells: the page with the terminals, how one is opened there, and the snippets beside them."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.utils.translation import gettext as _

from core import guard
from core.actions import allowed, perform, perform_each
from core.errors import MistError
from frontend import reasons, toasts
from frontend.views.base import ConsoleView, problem
from machines.models import Machine, Session, Snippet
from machines.session_api import opened
from machines.shell.files import in_words

# xterm.js writes its styles inline: on this page alone they may be (a nonce would switch that off again).
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; manifest-src 'self'"
)
SNIPPETS = ("df -h", "ss -tlnp", "journalctl -f", "top -bn1", "dmesg | tail", "free -m")
SNIPPETS_MOST = 30
PANES_MOST = 6  # of one tab


def session_facts(session: Session, *, types: bool = True) -> dict[str, Any]:
    """A shell as its pane shows it."""
    return {
        "id": session.pk.hex,
        "machine": session.machine_id.hex if session.machine_id else "",
        "name": session.name,
        "login": session.login,
        "address": session.address,
        "state": session.state,
        "reason": session.reason,
        "credential": session.credential,
        "by": session.owner.full_name if session.owner else "",
        "opened": (session.opened_at or session.created_at).isoformat(),
        "detached": session.detached_at.isoformat() if session.detached_at else None,
        "commands": [[session.created_at.timestamp() + at, text] for at, text in session.commands[-20:]],
        "types": types,
    }


def own_sessions(actor: Any) -> list[Session]:
    """The shells this person has open, oldest first."""
    rows = Session.objects.visible_to(actor).filter(owner_id=actor.user_id).exclude(state=Session.State.ENDED)
    return list(rows.select_related("owner").order_by("created_at")[:60])


class ShellsView(ConsoleView):
    """The terminals; `machines/<id>/shell` is the same with a form to open one there, `?on=<id>,<id>` to open one on each, side by side."""

    section = "sessions"

    def get(self, request: HttpRequest, identity: str = "") -> HttpResponse:
        machine = self.find(Machine, identity) if identity else None
        return self.show(machine)

    def post(self, request: HttpRequest, identity: str = "") -> HttpResponse:
        """Open one on each machine of `on`. What was opened stays open where another was refused."""
        opened: list[str] = []
        refused: list[tuple[Machine, MistError]] = []
        for machine, outcome in perform_each(
            self.actor, self.meant(request.POST.get("on", "")), "shell", {"reason": request.POST.get("reason", "")}
        ):
            if isinstance(outcome, MistError):
                refused.append((machine, outcome))
            else:
                opened.append(str((outcome.result or {})["session"]))
        if not opened:
            return self.show(None, refused[0][1], refused[0][1].status) if refused else self.show(None)
        for machine, error in refused:
            title = _("No shell on %(name)s.") % {"name": machine.name}
            toasts.keep(request, toasts.of_error(title, error, self.actor.request_id, self.frame.base, machine))
        return HttpResponseRedirect(f"{self.frame.base}/shells?at={opened[0]}&together={','.join(opened)}")

    def meant(self, text: str) -> list[Machine]:
        """The machines of a comma list, as far as they may be seen and have room beside each other.  Raises: Http404."""
        return [self.find(Machine, part) for part in text.split(",")[:PANES_MOST] if part]

    def show(self, machine: Machine | None, error: MistError | None = None, status: int = 200) -> HttpResponse:
        rows = [session_facts(session) for session in own_sessions(self.actor)]
        watched = self.request.GET.get("watch", "")
        if watched:
            session = self.find(Session, watched)
            rows.append(session_facts(session, types="join" in self.request.GET))
        at = self.request.GET.get("at") or watched
        if machine is not None and not at:
            at = next((row["id"] for row in rows if row["machine"] == machine.pk.hex), "")
        verdict = allowed(self.actor, machine).get("shell") if machine is not None else None
        on = (self.request.POST if self.request.method == "POST" else self.request.GET).get("on", "")
        context = {
            "machine": machine,
            "on": self.meant(on),
            "why_not": "" if verdict is True else reasons.in_words(verdict or "") or _("You may have no shell on it."),
            "problem": problem(_("No shell was opened."), error) if error else None,
            "sent": self.request.POST,
            "facts": {
                "sessions": rows,
                "at": at,
                "machine": "new" if (machine or on) and not at else "",
                "together": self.request.GET.get("together", "").split(",")[:PANES_MOST],
                "base": self.frame.base,
                "org": self.org.pk.hex,
                "words": {name: str(text) for name, text in words().items()},
            },
            "snippets": snippets_of(self.actor),
            "can_open": guard_somewhere(self.actor),
            "idle_minutes": settings.MIST_SHELL_IDLE_MINUTES,
            "keep_days": settings.MIST_RECORDINGS_KEEP_DAYS,
            "upload_most": in_words(settings.MIST_UPLOAD_MIB << 20),
        }
        response = self.page("shells/page.html", context, status=status)
        response["Content-Security-Policy"] = POLICY
        return response


class OpenShellView(ShellsView):
    """POST `machines/<id>/shell`: open one. Asked by the page's script it answers JSON, else it leads to the terminals."""

    def post(self, request: HttpRequest, identity: str) -> HttpResponse:
        machine = self.find(Machine, identity)
        wants_json = "application/json" in request.headers.get("Accept", "")
        try:
            asked = {name: request.POST[name] for name in ("reason", "user", "width", "height") if request.POST.get(name)}
            job = perform(self.actor, machine, "shell", asked)
        except MistError as error:
            return JsonResponse({"error": error.detail}, status=error.status) if wants_json else self.show(machine, error, error.status)
        assert job.result is not None
        session = Session.objects.select_related("owner").get(pk=job.result["session"])
        if wants_json:
            return JsonResponse({"session": session_facts(session)})
        return HttpResponseRedirect(f"{self.frame.base}/shells?at={session.pk.hex}")


class TicketView(ConsoleView):
    """POST `shells/<id>/<join|watch>`: the address of a socket, for once."""

    def post(self, request: HttpRequest, identity: str, verb: str) -> HttpResponse:
        session = self.find(Session, identity)
        try:
            return JsonResponse(opened(request, perform(self.actor, session, verb), session))
        except MistError as error:
            session.refresh_from_db()
            facts = {"error": error.detail, "ended": session.ended_detail if not session.is_live else ""}
            return JsonResponse(facts, status=error.status)


class SnippetsView(ConsoleView):
    """POST `shells/snippets`: the person's lines, one a line, in place of those there were."""

    def post(self, request: HttpRequest) -> HttpResponse:
        sent = (line.strip()[:500] for line in request.POST.get("text", "").splitlines())
        lines = list(dict.fromkeys(line for line in sent if line))[:SNIPPETS_MOST]
        if any(not line.isprintable() for line in lines):
            raise Http404
        Snippet.objects.filter(org=self.org, user_id=self.actor.user_id).delete()
        rows = [Snippet(org=self.org, user_id=self.actor.user_id, text=line, position=n) for n, line in enumerate(lines or SNIPPETS)]
        Snippet.objects.bulk_create(rows)
        return HttpResponseRedirect(self.back())


def snippets_of(actor: Any) -> list[str]:
    """The person's own, or those to begin with."""
    own = Snippet.objects.filter(org_id=actor.org_id, user_id=actor.user_id).order_by("position").values_list("text", flat=True)
    return list(own) or list(SNIPPETS)


def guard_somewhere(actor: Any) -> bool:
    """Is there a machine this person might have a shell on?"""
    return guard.narrow(Machine.objects.filter(missing_since=None), actor, "shell").exists()


def words() -> dict[str, str]:
    """What the script says."""
    return {
        "recorded": _("recorded"),
        "watching": _("view only"),
        "opening": _("opening"),
        "resumable": _("resumable, {age} ago"),
        "ago": _("{age} ago"),
        "panes": _("{name}, {n} panes"),
        "close": _("Close {name}"),
        "only": _("Show {name} alone"),
        "terminal": _("Terminal of {name}"),
        "reattaching": _("The connection was lost. Re-attaching …"),
        "ending": _("Mist is being stopped or renewed: this shell on {machine} ends at {time}"),
        "again": _("Open again"),
        "replay": _("Replay"),
        "dismiss": _("Close"),
        "typing": _("Typing goes to {n} panes"),
        "typing_one": _("Typing goes to one pane"),
        "nobody": _("nobody"),
        "types": _("types"),
        "looks": _("view only"),
        "joined": _("{name} looks at {machine} now"),
        "found": _("{n} of {total}"),
        "none": _("no match"),
        "copied": _("The link was copied"),
        "failed": _("That did not work: {why}"),
        "end": _("End {name}?"),
        "no_match": _("No machine matches"),
    } | upload_words()


def upload_words() -> dict[str, str]:
    """The same, of files that are sent."""
    return {
        "up_to": _("Upload to {machine}"),
        "up_drop": _("Drop to upload to {machine}"),
        "up_list": _("Uploads to {machine}"),
        "up_of": _("Upload of {name}"),
        "up_waiting": _("waits for the one before"),
        "up_asking": _("looking at the folder …"),
        "up_sent": _("{sent} of {size}"),
        "up_ending": _("all sent; it gets its name …"),
        "up_done": _("is there: {path}, {size}"),
        "up_is_file": _("There is a file of that name in {folder}: {size}, of {when}"),
        "up_is_folder": _("There is a folder of that name in {folder}"),
        "up_is_link": _("There is a link of that name in {folder}, of {when}. To replace it leaves alone where it leads"),
        "up_is_other": _("There is something of that name in {folder}, of {when}"),
        "up_replace": _("Replace"),
        "up_replace_of": _("Replace {name}"),
        "up_both": _("Keep both"),
        "up_both_of": _("Keep both of {name}"),
        "up_skip": _("Skip"),
        "up_skip_of": _("Skip {name}"),
        "up_cancel": _("Cancel the upload of {name}"),
        "up_cancelled": _("Cancelled: nothing of it is there"),
        "up_dismiss": _("Dismiss {name}"),
        "up_again": _("Send again"),
        "up_again_of": _("Send {name} again"),
        "up_lost": _("The connection was lost before it was whole: it is not there"),
        "up_unread": _("It could not be read here: {why}"),
        "up_changed": _("it changed meanwhile"),
        "up_folder": _("This is a folder: pack it into one file first"),
        "up_watching": _("Whoever only watches a shell sends no files"),
        "up_closed": _("The shell is not open: files can be sent once it is"),
    }
