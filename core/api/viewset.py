"""What every kind's API is: list, read, create, edit, act, delete; one door for each."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar

from rest_framework import serializers, viewsets
from rest_framework.permissions import SAFE_METHODS
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from core import actions, events, listing
from core.actions import approval, perform
from core.actor import Actor
from core.api import idempotency, lists, rate
from core.api.browsable import Browsable
from core.api.fields import JsonField
from core.api.metadata import Metadata
from core.api.parser import Parser
from core.api.schema import OF_EVERY_ACT, READ_PARAMETERS, Schema
from core.errors import Asked, BadRequest, Denied, Invalid, Unauthenticated
from core.models import Job
from core.params import clean_text


class BaseViewSet(viewsets.GenericViewSet[Any]):
    """An actor for each request, and `Idempotency-Key` on what is unsafe."""

    schema = Schema()
    metadata_class = Metadata
    renderer_classes: ClassVar[tuple[Any, ...]] = (JSONRenderer, Browsable)  # type: ignore[misc]
    parser_classes = (Parser,)
    pagination_class = None
    filter_backends: ClassVar[list[Any]] = []  # type: ignore[misc]
    permission_classes: ClassVar[list[Any]] = []  # type: ignore[misc] # rights are asked by visible_to and perform, nowhere else
    query_parameters: ClassVar[tuple[str, ...]] = ()  # beyond the usual ones
    operation_ids: ClassVar[Mapping[str, str]] = {}  # {method: operation of the contract}
    answers: ClassVar[Mapping[str, Any]] = {}  # {method: serializer of its answer}, where it is not the row's
    lists: ClassVar[frozenset[str]] = frozenset()  # methods beside `list` that answer as it does
    path_kinds: ClassVar[Mapping[str, str]] = {}  # {path parameter: kind}, where they are not called the same
    anonymous: ClassVar[frozenset[str]] = frozenset()  # methods nobody need sign in for
    with_cookies: ClassVar[frozenset[str]] = frozenset()  # methods whose answer is not all: no Idempotency-Key gives it again
    reads: ClassVar[frozenset[str]] = frozenset()  # unsafe methods that change nothing: a read-only token may
    asks: ClassVar[frozenset[str]] = frozenset()  # methods that take `ask`, beside those that are an action
    open_to_one_time: ClassVar[bool] = False  # also for a person who has yet to change a one-time password

    ask: str | None = None  # of this request: to be approved first, and what for

    @property
    def actor(self) -> Actor:
        """Who asks.  Raises: Unauthenticated."""
        actor = self.request.auth
        if not isinstance(actor, Actor) or actor.is_nobody:
            raise Unauthenticated("Sign in, or send a token: Authorization: Bearer <token>.")
        return replace(actor, ask=self.ask) if self.ask is not None else actor

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if self.action in self.anonymous:
            return
        actor = self.actor
        rate.check(actor)
        self._read_ask(request)
        if actor.read_only and request.method not in SAFE_METHODS and self.action not in self.reads:
            self._refuse_read_only(actor)

    def _read_ask(self, request: Request) -> None:
        """`?ask=`: to be approved first. Read here, once, so that no operation need know of it.  Raises: BadRequest."""
        if "ask" not in request.query_params or not (self.action in self.asks or Schema.action_of(self, str(request.method)) is not None):
            return
        query = request.query_params.copy()
        try:
            said = clean_text(str(query.pop("ask")[-1]))
        except serializers.ValidationError as error:
            raise BadRequest("`ask` holds control characters. Send text.", code="bad_parameter") from error
        if not 0 < len(said) <= approval.MOST:
            raise BadRequest(f"Say in `ask` what for, in at most {approval.MOST} characters.", code="bad_parameter")
        request._request.GET = query  # type: ignore[assignment]
        self.ask = said

    def _refuse_read_only(self, actor: Actor) -> None:
        """Before the body is looked at: a read-only token is told so whatever it sends."""
        verb = (self.action or "").removeprefix("act_")
        verb = {"update": "edit", "partial_update": "edit", "destroy": getattr(self, "delete_action", "delete")}.get(verb, verb)
        kind = getattr(self, "kind", "") or "api"
        detail = {"code": "read_only_token", "path": self.request.path[:300]}
        events.record(f"{kind}.{verb}.refused", actor, org_id=actor.org_id, target_kind=kind, detail=detail)
        raise Denied("This token is read-only. Use one that may act.", code="read_only_token", reason="token scope")

    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        name = getattr(self, "action_map", {}).get(request.method.lower(), "")
        handler = getattr(self, name, None)
        if handler is not None and request.method not in SAFE_METHODS:

            def guarded(inner: Request, *a: Any, **k: Any) -> Response:
                def act() -> Response:
                    try:
                        answer: Response = handler(inner, *a, **k)
                    except Asked as asked:
                        return job_response(asked.job)
                    return answer

                if name in self.with_cookies or not isinstance(inner.auth, Actor):
                    return act()
                return idempotency.once(inner, inner.auth, act, job_answer)

            setattr(self, request.method.lower(), guarded)
        return super().dispatch(request, *args, **kwargs)

    def body(self) -> dict[str, Any]:
        """The request's JSON object; none is an empty one.  Raises: BadRequest."""
        data = self.request.data
        if data is None:
            return {}
        if not isinstance(data, dict):
            raise BadRequest("Send a JSON object.", code="bad_body")
        return dict(data)


class CsvRenderer(JSONRenderer):
    """Lets `Accept: text/csv` through to the list, which answers CSV itself; a refusal is told in JSON all the same."""

    media_type = "text/csv"
    format = "csv"


class ReadViewSet(BaseViewSet):
    """A kind one can list and read."""

    formats: ClassVar[tuple[str, ...]] = ("json", "csv")  # of lists
    queryset: Any
    serializer_class: Any

    def get_renderers(self) -> list[Any]:
        own = super().get_renderers()
        return [*own, CsvRenderer()] if self.action == "list" and "csv" in self.formats else own

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        response = super().finalize_response(request, response, *args, **kwargs)
        if isinstance(getattr(response, "accepted_renderer", None), CsvRenderer):
            response.accepted_renderer, response.accepted_media_type = JSONRenderer(), "application/json"  # a refusal is told in JSON
        return response

    @property
    def kind(self) -> str:
        return str(self.queryset.model.kind())

    def rows(self) -> Any:
        """The rows before anything is asked of them; for kinds that live below another."""
        return self.queryset.all()

    def find(self) -> Any:
        """The row the path names.  Raises: NotFound, Conflict."""
        return listing.one(self.rows(), self.actor, self.kwargs[self.lookup_url_kwarg or "pk"])

    def deref(self) -> str:
        value = self.request.query_params.get("deref") or "auto"
        if value not in ("auto", "none"):
            raise BadRequest("`deref` is auto or none.", code="bad_parameter")
        return value

    def serialize(self, rows: list[Any], only: Collection[str] = ()) -> list[dict[str, Any]]:
        """`only`: the fields that are wanted; the others are not even worked out. All, where there are none."""
        context = {"actor": self.actor, "deref": self.deref(), "request": self.request}
        form: Any = self.serializer_class(rows, many=True, context=context)
        for name in set(form.child.fields) - set(only) if only else ():
            del form.child.fields[name]
        return list(form.data)

    def answer(self, row: Any) -> dict[str, Any]:
        return self.serialize([row])[0]

    def list(self, request: Request, **kwargs: Any) -> Any:
        """List what you may see."""
        query = lists.query_of(request, self.query_parameters)
        if "text/csv" in request.headers.get("Accept", "") or request.query_params.get("format") == "csv":
            return self.csv(query)
        page = listing.page(self.rows(), self.actor, query)
        only = lists.wanted(request.query_params.get("only", ""), self.serializer_class().fields)
        return Response(lists.envelope(page, self.serialize(page.rows, only), self.kind))

    def csv(self, query: listing.Query) -> Any:
        """The whole list as CSV, page after page."""
        pages = listing.pages(self.rows(), self.actor, query)
        first = next(pages)  # a wrong query is refused before anything is sent
        fields = [name for name, field in self.serializer_class().fields.items() if not field.write_only]
        asked = [c.strip() for c in self.request.query_params.get("columns", "").split(",") if c.strip()]
        for column in asked:
            if column not in fields and not column.startswith("tag:"):
                raise BadRequest(f"There is no column {column[:60]!r}. There are: {', '.join(fields)}, tag:<key>.", code="unknown_column")

        def shown() -> Iterator[list[dict[str, Any]]]:
            for page in itertools.chain([first], pages):
                rows = self.serialize(page, {"tags" if c.startswith("tag:") else c for c in asked})
                for row in rows:
                    row |= {c: (row.get("tags") or {}).get(c[4:]) for c in asked if c.startswith("tag:")}
                yield rows

        return lists.csv_answer(shown(), asked or fields, self.queryset.model.plural or f"{self.kind}s")

    def retrieve(self, request: Request, **kwargs: Any) -> Response:
        """Read one, by id or exact name."""
        lists.refuse_unknown(request, (*READ_PARAMETERS, *self.query_parameters))
        only = lists.wanted(request.query_params.get("only", ""), self.serializer_class().fields)
        return Response({"data": self.serialize([self.find()], only)[0]})


class ResourceViewSet(ReadViewSet):
    """A kind one can act on. Which verbs it has is the registry's word, not ours."""

    unread: ClassVar[frozenset[str]] = frozenset()  # fields of an act's body that the contract sends and nobody needs
    create_params: ClassVar[Any] = None  # the body of a create, where it is not the action's own params
    delete_action: ClassVar[str] = "delete"
    written: ClassVar[frozenset[str]] = frozenset()  # verbs whose operations it writes itself: their answer is not the job alone

    def create(self, request: Request, **kwargs: Any) -> Response:
        """Make one."""
        lists.refuse_unknown(request, self.query_parameters)
        return self.made(perform(self.actor, self.queryset.model, "create", self.known(self.body())))

    def known(self, body: dict[str, Any]) -> dict[str, Any]:
        """The body of a create.  Raises: Invalid for a field that nobody reads."""
        params: Any = self.create_params or actions.get(f"{self.kind}.create").params
        lists.refuse_unknown_fields(body, params().fields)
        return body

    def made(self, job: Job) -> Response:
        """The answer to a create: the row where it is there already, the job where it is on its way."""
        if job.state != Job.State.SUCCEEDED:
            return Response(job_answer(job))
        row = self.rows().visible_to(self.actor).filter(pk=job.target_id).first()
        extra = job.result or {}
        data = {**extra, **(self.answer(row) if row is not None else {}), "jobId": job.pk.hex}
        return Response({"data": data})

    def update(self, request: Request, **kwargs: Any) -> Response:
        """Change what is sent; the rest stays."""
        lists.refuse_unknown(request, ("name", *self.query_parameters))  # the contract sends a new name there
        target = self.find()
        params = {**{k: v for k, v in request.query_params.items() if k == "name"}, **self.body()}
        lists.refuse_unknown_fields(params, actions.get(f"{self.kind}.edit").params(data={}).fields)  # type: ignore[attr-defined]
        perform(self.actor, target, "edit", params)
        fresh = self.rows().visible_to(self.actor).get(pk=target.pk)
        return Response({"data": self.answer(fresh)})

    partial_update = update

    def destroy(self, request: Request, **kwargs: Any) -> Response:
        """Delete it."""
        lists.refuse_unknown(request, self.query_parameters)
        return Response(job_answer(perform(self.actor, self.find(), self.delete_action, {})))

    def act(self, verb: str) -> Response:
        """Do a verb to the row the path names. The contract sends some params in the query."""
        lists.refuse_unknown(self.request, {*OF_EVERY_ACT, *getattr(getattr(self, self.action), "query_parameters", {})})
        target = self.find()  # before the body is looked at: who may not see it learns nothing of what could be done to it
        params = {k: v for k, v in self.request.query_params.items() if k != "run_async"} | self.body()
        undo_s = params.pop("undo_s", None)
        if undo_s is not None:
            try:
                undo_s = UNDO_S.run_validation(undo_s)
            except serializers.ValidationError as error:
                raise Invalid(fields={"undo_s": error.detail}) from error
        known = {*actions.get(f"{self.kind}.{verb}").params().fields, *self.unread}  # type: ignore[attr-defined]
        lists.refuse_unknown_fields(params, known)
        return Response(job_answer(perform(self.actor, target, verb, params, undo_s=undo_s)))


def job_response(job: Job, **extra: Any) -> Response:
    """The answer that is a job: 202 where nothing is done before somebody approves it."""
    return Response(job_answer(job, **extra), status=Asked.status if job.state == Job.State.ASKED else 200)


UNDO_S = serializers.FloatField(min_value=0, max_value=3600)


def job_answer(job: Job, **extra: Any) -> dict[str, Any]:
    """`{"data": {"jobId", "action", "state", "not_before", "result", …}}`."""
    data = {
        "jobId": job.pk.hex,
        "action": job.action,
        "state": job.state,
        "not_before": job.not_before.isoformat() if job.not_before else None,
        "result": job.result,
    }
    return {"data": {**data, **extra}}


class JobAnswer(serializers.Serializer[Any]):
    """What acting answers."""

    jobId = serializers.CharField()  # noqa: N815 - the contract's name
    action = serializers.CharField()
    state = serializers.ChoiceField(choices=Job.State.choices)
    not_before = serializers.DateTimeField(allow_null=True)
    result = JsonField(allow_null=True)
