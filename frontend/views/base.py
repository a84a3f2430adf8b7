"""What every page inside an organization does: who is it, may they see it, how do errors look."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property
from typing import Any, NoReturn, TypeVar
from urllib.parse import urlsplit
from uuid import UUID

from django.conf import settings
from django.contrib.auth import logout
from django.contrib.auth.views import redirect_to_login
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.template.loader import render_to_string
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.views import View

from accounts import rules
from accounts.auth import console_actor
from accounts.models import Organization, User
from clouds.providers.facts import Field
from core import guard
from core.actions import Action, allowed, approval, get, perform, validated
from core.actor import Actor
from core.errors import ApprovalNeeded, Asked, BadRequest, Denied, Invalid, MistError, NotFound, TooMany, Unauthenticated
from core.models import Job
from frontend import approving, calls, forms, parts, searches, toasts, viewer, words
from frontend.frame import Frame
from frontend.reasons import in_words

log = logging.getLogger(__name__)
Row = TypeVar("Row")


class ConsoleView(View):
    """A page under /o/<slug>/. `section` marks the sidebar's line."""

    section = ""
    request: HttpRequest
    org: Organization
    actor: Actor
    frame: Frame

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        user = request.user
        if not isinstance(user, User):
            return self._sign_in(request)
        if user.must_change_password:
            return HttpResponseRedirect("/first-run")
        slug, orgs = kwargs.pop("slug"), list(user.orgs.order_by("name"))
        org = next((one for one in orgs if one.slug == slug), None)
        if org is None:
            return self._renamed(request, slug, user)
        viewer.at_home_in(request, org)
        try:
            self.org, self.actor = org, replace(console_actor(request, org.slug, orgs), ask=self._ask or None)
        except Unauthenticated:
            logout(request)
            return self._sign_in(request)
        except Denied as error:
            needed = error.code == rules.SECOND_STEP
            return render(request, "entry_rules.html", {"org": org, "reason": error.detail, "second_step": needed}, status=403)
        self.frame = Frame(request, org, user, self.actor, self.section, orgs)
        request.frame = self.frame  # type: ignore[attr-defined]
        try:
            if len(self._ask) > approval.MOST or "\x00" in self._ask:
                raise BadRequest(f"Say what for in at most {approval.MOST} characters.")
            if elsewhere := searches.settled(request, org):
                return HttpResponseRedirect(elsewhere)
            return self._told(*args, **kwargs) if self.is_told else super().dispatch(request, *args, **kwargs)
        except calls.Asks as asks:
            return self._asked(asks.question)
        except Asked as asked:
            return self.job_done(asked.job)
        except ApprovalNeeded as needed:
            return self.refused(needed) if needed.instead else self._asked(self._of_approval(needed))
        except MistError as error:
            return self.refused(error)
        except Http404:
            return self.refused(NotFound())

    def _told(self, *args: Any, **kwargs: Any) -> HttpResponse:
        """The act of this form as calls. Nothing is done: an act needs the outermost transaction, and this one is taken back."""
        text = calls.Text(calls=[], missing=[], wrong=[])
        with transaction.atomic():
            try:
                super().dispatch(self.request, *args, **kwargs)
            except calls.Told as told:
                text = told.text
            transaction.set_rollback(True)
        return self.page("components/told.html" if self.is_htmx else "told.html", {"told": text, "group": f"call-{self.actor.request_id}"})

    def _asked(self, question: calls.Question) -> HttpResponse:
        template = "components/sure.html" if self.in_dialog or self.is_htmx else "sure.html"
        context = {"question": question, "url": self.request.get_full_path(), "back": self.back()}
        response = self.page(template, context, status=422 if question.wrong_name or question.need else 200)
        return self.to_dialog(response) if question.need else response

    @staticmethod
    def to_dialog(response: HttpResponse) -> HttpResponse:
        """Shown in the dialog, whatever the button that was pressed expected."""
        response["HX-Retarget"], response["HX-Reswap"] = "#dialog", "innerHTML"
        return response

    @property
    def told_ask(self) -> str:
        """The same in an equivalent call: by its name where it is still to be typed."""
        return self._ask or ("ASK" if calls.ASK in self.request.POST else "")

    @property
    def _ask(self) -> str:
        """What approval is asked for, by this form in place of acting; "": it is not."""
        return str(self.request.POST.get(calls.ASK, "")).strip()

    def _of_approval(self, needed: ApprovalNeeded) -> calls.Question:
        verb, name = str(needed.extra["verb"]), str(needed.extra["target"])
        need = approving.Need(whys=[in_words(why) for why in needed.whys])
        title, wrong = f"{words.order(verb, name)}?", calls.ASK in self.request.POST
        return calls.Question(title=title, act=words.act(verb), calls=[], sent=self._sent(calls.ASK), need=need, wrong_ask=wrong)

    def _sent(self, *without: str) -> list[tuple[str, str]]:
        data = self.request.POST
        return [(key, value) for key in data if key not in ("csrfmiddlewaretoken", *without) for value in data.getlist(key)]

    @property
    def is_told(self) -> bool:
        """Was the equivalent call asked for, in place of the act?"""
        return calls.ASKED in self.request.POST

    def perform(
        self,
        target: Any,
        verb: str,
        params: dict[str, Any] | None = None,
        fields: Iterable[Field] = (),
        *,
        asks: str = "",
        title: str = "",
        **more: Any,
    ) -> Job:
        """The act of a form. Where its equivalent call was asked for, that in place of it.

        `fields`: the form's, of which some are secret; `more`: what the API takes beyond the params, or None for one it makes itself.
        `asks`: the name of what it is done to, where the form is one button: it is asked about first; `title`: the question, where it is
        not made of the act's words and the name.
        """
        given = params or {}
        sent = {name: value for name, value in given.items() if name not in more}
        if self.is_told:
            self.tell(target, verb, given, calls.of_act(target, verb, sent, fields, more, ask=self.told_ask), fields)
        if asks and self._may(target, verb):  # what may not be need not be asked about
            self._ask_first(get(f"{target.kind()}.{verb}"), asks, title, calls.of_act(target, verb, sent, fields, more))
        return perform(self.actor, target, verb, params)

    def tell(self, target: Any, verb: str, params: dict[str, Any], made: list[calls.Call], fields: Iterable[Field]) -> NoReturn:
        """The act as calls, or what is wrong with it.  `target`: for many, their class."""
        action = get(f"{target.kind()}.{verb}")
        errors: dict[str, Any] = {}
        try:
            validated(action, self.actor, params, None if isinstance(target, type) else target)
        except Invalid as error:
            errors = error.fields
        raise calls.Told(calls.text_of(made, list(fields), params, errors, is_new=action.creates))

    def _may(self, target: Any, verb: str) -> bool:
        if isinstance(target, type):
            return guard.permits(self.actor, target(org_id=self.actor.org_id), get(f"{target.kind()}.{verb}").right)  # type: ignore[attr-defined]
        return allowed(self.actor, target).get(verb) is True

    def _ask_first(self, action: Action, name: str, title: str, made: list[calls.Call]) -> None:
        """Raises: Asks, until it was answered: of what destroys with its name."""
        word, data = name.strip() if action.tier >= 2 else "", self.request.POST
        said = data.get(calls.SURE, "").strip()
        if said == word if word else said:
            return
        title = title or f"{words.order(action.verb, name)}?"
        wrong = bool(word) and calls.SURE in data
        raise calls.Asks(
            calls.Question(title=title, act=words.act(action.verb), calls=made, sent=self._sent(calls.SURE), word=word, wrong_name=wrong)
        )

    def _renamed(self, request: HttpRequest, slug: str, user: User) -> HttpResponse:
        """A path with an organization's former name leads to the same place under its name of now.  Raises: Http404."""
        org = Organization.objects.filter(former_slugs__slug=slug, memberships__user=user).first()
        if org is None:
            raise Http404
        return HttpResponseRedirect(f"/o/{org.slug}{request.get_full_path().removeprefix(f'/o/{slug}')}", preserve_request=True)

    def _sign_in(self, request: HttpRequest) -> HttpResponse:
        """To the sign-in page, and from there back: after a form that could not be sent, to the page it was on, with what was typed."""
        there = request.get_full_path()
        if self.is_htmx or request.method != "GET":
            there = self.back("HX-Current-URL" if self.is_htmx else "Referer")
            there += ("&" if "?" in there else "?") + "resume=1"
        sign_in = redirect_to_login(there, settings.LOGIN_URL)
        if self.is_htmx:
            response = HttpResponse(status=401)
            response["HX-Redirect"] = sign_in.url
            return response
        return sign_in

    @property
    def is_htmx(self) -> bool:
        return parts.is_part(self.request)

    @property
    def in_dialog(self) -> bool:
        return "HX-Dialog" in self.request.headers

    @cached_property
    def before(self) -> QueryDict:
        """What this list was asked on the page one comes from; nothing where that was another page."""
        said = urlsplit(self.request.headers.get("Referer", ""))
        return QueryDict(said.query if said.path == self.request.path else "")

    def page(self, template: str, context: dict[str, Any] | None = None, *, status: int = 200) -> HttpResponse:
        return render(self.request, template, {"frame": self.frame, "base": self.frame.base, **(context or {})}, status=status)

    def find(self, model: type[Row], identity: str) -> Row:
        """The row of that id among what may be seen.  Raises: Http404."""
        try:
            pk = UUID(identity[:32])
        except ValueError:
            raise Http404 from None
        row = model.objects.visible_to(self.actor).filter(pk=pk).first()  # type: ignore[attr-defined]
        if row is None:
            raise Http404
        return row  # type: ignore[no-any-return]

    # -- what came of it

    def done(self, toast: toasts.Toast, to: str = "") -> HttpResponse:
        """After an act: the note in place where htmx asked, else back with the note on the next page."""
        if self.is_htmx:
            html = render_to_string("components/toast.html", {"toast": toast}, request=self.request)
            response = HttpResponse(f'<div hx-swap-oob="beforeend:#toasts">{html}</div>')
            if to:
                toasts.keep(self.request, toast)
                response["HX-Redirect"] = to
            return response
        toasts.keep(self.request, toast)
        return HttpResponseRedirect(to or self.back())

    def job_done(self, job: Job, to: str = "") -> HttpResponse:
        return self.done(toasts.of_job(job, self.frame.base), to)

    def back(self, header: str = "Referer") -> str:
        """Where the act was asked from, when that is one of our pages."""
        said = urlsplit(self.request.headers.get(header, ""))
        wanted = self.request.POST.get("next") or said.path + (f"?{said.query}" if said.query else "")
        mine = url_has_allowed_host_and_scheme(wanted, allowed_hosts=None) and wanted.startswith("/o/")
        return wanted if mine else f"/o/{self.kwargs.get('slug') or self.org.slug}/"

    def failed(self, title: str, error: MistError, to: str = "", now: Any = None) -> HttpResponse:
        """An act that was refused, as a note that stays. `now`: the machine it was asked of."""
        if isinstance(error, NotFound | Asked) or (isinstance(error, ApprovalNeeded) and not error.instead):
            raise error
        toast = toasts.of_error(title, error, self.actor.request_id, self.frame.base, now)
        if self.is_htmx:
            html = render_to_string("components/toast.html", {"toast": toast}, request=self.request)
            return HttpResponse(f'<div hx-swap-oob="beforeend:#toasts">{html}</div>', status=error.status)
        toasts.keep(self.request, toast)
        return HttpResponseRedirect(to or self.back())

    def refused(self, error: MistError) -> HttpResponse:
        """A page that cannot be shown, or a part of one."""
        if parts.is_part(self.request):
            said = _("Nothing was changed. Try again in %(n)d s.") % {"n": round(error.retry_after_s)} if isinstance(error, TooMany) else ""
            return parts.failed(self.request, error.status, reason=said or error.detail, request_id=self.actor.request_id)
        context: dict[str, Any] = {"reason": error.detail, "request_id": self.actor.request_id, "around": "errors/framed.html"}
        if isinstance(error, NotFound):
            return self.page("404.html", context, status=404)
        if isinstance(error, Denied):
            return self.page("403.html", {**context, "owners": ", ".join(owner.full_name for owner in self.frame.owners)}, status=403)
        if isinstance(error, TooMany):
            response = self.page("429.html", {**context, "retry_after_s": round(error.retry_after_s)}, status=429)
            response["Retry-After"] = str(round(error.retry_after_s))
            return response
        if isinstance(error, BadRequest):
            return self.page("400.html", context, status=400)
        return self.page("500.html" if error.status == 500 else "503.html", context, status=error.status)


def problem(title: str, error: MistError, fields: list[Any] | tuple[Any, ...] = ()) -> dict[str, Any]:
    """An error for the top of a form: what did not happen, why, in whose words, and what belongs to no field."""
    others = forms.leftover(fields, error.fields) if isinstance(error, Invalid) else []
    detail = _("Some fields are wrong; they say what.") if isinstance(error, Invalid) and error.fields and not others else error.detail
    return {"title": title, "detail": detail, "words": error.extra.get("words", ""), "others": others}
