"""Jobs, bulks and tags over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.apps import apps
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from core import actions, approvals, bulks, jobs, listing
from core.actions import perform
from core.actor import Actor
from core.api.fields import HexField, JsonField
from core.api.lists import keep_only, query_of, refuse_unknown, refuse_unknown_fields
from core.api.lists import wanted as wanted_fields
from core.api.schema import READ_PARAMETERS
from core.api.viewset import BaseViewSet, JobAnswer, ReadViewSet, job_answer, job_response
from core.errors import BadRequest, Invalid, MistError, NotFound
from core.models import Job, Resource
from core.params import KindField, clean_text


class StepSerializer(serializers.Serializer[Any]):
    """A step of a job's way."""

    name = serializers.CharField()
    at = serializers.DateTimeField()
    detail = serializers.CharField()
    state = serializers.CharField(required=False, help_text="failed: it was tried and came to nothing.")


class JobSerializer(serializers.Serializer[Any]):
    """A job, in the contract's fields and ours."""

    id = HexField()
    job_id = HexField(source="id")
    org = HexField(source="org_id")
    action = serializers.CharField(read_only=True)
    state = serializers.ChoiceField(choices=Job.State.choices, read_only=True)
    error = serializers.SerializerMethodField()
    error_code = serializers.CharField(read_only=True)
    error_detail = serializers.CharField(read_only=True)
    target_kind = serializers.CharField(read_only=True)
    target_id = HexField(allow_null=True)
    target_name = serializers.CharField(read_only=True)
    machine_id = serializers.SerializerMethodField()
    cloud_id = HexField(allow_null=True)
    user = serializers.SerializerMethodField()
    via = serializers.CharField(read_only=True)
    request_id = serializers.CharField(read_only=True)
    parent = HexField(source="parent_id", allow_null=True)  # type: ignore[assignment]
    total = serializers.IntegerField(read_only=True, allow_null=True)
    done = serializers.IntegerField(read_only=True, allow_null=True)
    params = JsonField()
    logs = StepSerializer(source="steps", many=True, read_only=True)
    result = JsonField(allow_null=True)
    ask = serializers.CharField(read_only=True, help_text="What it was asked for, where it had to be; else empty.")
    needs = serializers.CharField(read_only=True, help_text="Why it had to be asked for.")
    open_until = serializers.SerializerMethodField()
    approved_at = serializers.DateTimeField(read_only=True, allow_null=True)
    answered_by = serializers.SerializerMethodField()
    answer = serializers.CharField(read_only=True, help_text="What was said with the yes or no.")
    created_at = serializers.DateTimeField(read_only=True)
    not_before = serializers.DateTimeField(read_only=True, allow_null=True)
    started_at = serializers.SerializerMethodField()
    finished_at = serializers.SerializerMethodField()

    def get_error(self, job: Job) -> bool:
        return job.state in (Job.State.FAILED, Job.State.LOST)

    def get_machine_id(self, job: Job) -> str | None:
        return job.target_id.hex if job.target_kind == "machine" and job.target_id else None

    def get_user(self, job: Job) -> str | None:
        return str(job.user) if job.user else None

    def get_open_until(self, job: Job) -> str | None:
        return approvals.open_until(job).isoformat() if job.state == Job.State.ASKED else None

    def get_answered_by(self, job: Job) -> str | None:
        return str(job.answered_by) if job.answered_by else None

    def get_started_at(self, job: Job) -> float | None:
        return job.started_at.timestamp() if job.started_at else None

    def get_finished_at(self, job: Job) -> float | None:
        return job.finished_at.timestamp() if job.finished_at else None


class OneJobSerializer(JobSerializer):
    """One job; of a bulk also how its children are doing: {state: how many}."""

    children = serializers.DictField(child=serializers.IntegerField(), required=False)
    stream_uri = serializers.CharField(allow_null=True, help_text="Where what it says can be followed while it runs.")


class JobViewSet(ReadViewSet):
    """What was asked for, and what came of it. Children of a bulk: `search=parent:<id>`."""

    queryset = Job.objects.select_related("user", "answered_by")
    serializer_class = JobSerializer
    lookup_url_kwarg = "job_id"
    answers = {"retrieve": OneJobSerializer}
    asks = frozenset({"retry"})

    @extend_schema(responses=JobSerializer)
    def list(self, request: Request, **kwargs: Any) -> Any:
        """Jobs, newest first."""
        return super().list(request, **kwargs)

    @extend_schema(responses=OneJobSerializer)
    def retrieve(self, request: Request, **kwargs: Any) -> Response:
        """One job; of a bulk, how its children are doing; of what says something, where to follow it."""
        refuse_unknown(request, READ_PARAMETERS)
        job = self.find()
        stream = actions.stream_of(job)
        data = self.answer(job) | ({"children": bulks.counts(job)} if job.target_id is None else {})
        data |= {"stream_uri": request.build_absolute_uri(stream) if stream else None}
        return Response({"data": keep_only([data], request.query_params.get("only", ""))[0]})

    @extend_schema(request=None, responses=JobAnswer)
    def undo(self, request: Request, **kwargs: Any) -> Response:
        """Take it back while it waits."""
        refuse_unknown(request, ())
        return Response(job_answer(jobs.undo(self.actor, self.find())))

    @extend_schema(request=None, responses=JobAnswer)
    def cancel(self, request: Request, **kwargs: Any) -> Response:
        """Stop it, where it can be stopped."""
        refuse_unknown(request, ())
        return Response(job_answer(jobs.cancel(self.actor, self.find())))

    @extend_schema(request=None, responses=JobAnswer)
    def retry(self, request: Request, **kwargs: Any) -> Response:
        """The same again; of a bulk, what failed."""
        refuse_unknown(request, ())
        return job_response(jobs.retry(self.actor, self.find()))


NOTE = "What to say with it, to who asked."


class AnswerRequest(serializers.Serializer[Any]):
    """`note`: what to say with it, to who asked."""

    note = serializers.CharField(max_length=approvals.LONGEST, required=False, allow_blank=True, default="", help_text=NOTE)


class ApprovalViewSet(JobViewSet):
    """What was asked for and waits for somebody else's yes, or had it. `search=state:asked`: what is open."""

    operation_ids = {"list": "list_approvals", "retrieve": "get_approval", "approve": "approve", "decline": "decline"}
    lookup_url_kwarg = "approval"

    def rows(self) -> Any:
        return super().rows().exclude(ask="")

    @extend_schema(responses=JobSerializer)
    def list(self, request: Request, **kwargs: Any) -> Any:
        """What was asked for, newest first."""
        return super().list(request, **kwargs)

    @extend_schema(responses=OneJobSerializer)
    def retrieve(self, request: Request, **kwargs: Any) -> Response:
        """One of them."""
        return super().retrieve(request, **kwargs)

    @extend_schema(request=AnswerRequest, responses=JobAnswer)
    def approve(self, request: Request, **kwargs: Any) -> Response:
        """Say yes: it is done now, after its undo window. Not to what one asked for oneself."""
        return self._answer(approvals.approve)

    @extend_schema(request=AnswerRequest, responses=JobAnswer)
    def decline(self, request: Request, **kwargs: Any) -> Response:
        """Say no: it is not done."""
        return self._answer(approvals.decline)

    def _answer(self, how: Callable[[Actor, Job, str], Job]) -> Response:
        refuse_unknown(self.request, ())
        job, form = self.find(), AnswerRequest(data=self.body())
        refuse_unknown_fields(form.initial_data, form.fields)
        if not form.is_valid():
            raise Invalid(fields=form.errors)
        return Response(job_answer(how(self.actor, job, clean_text(form.validated_data["note"]))))


def kind_of(name: Any) -> type[Resource]:
    """The model of a kind (singular or plural).  Raises: Invalid."""
    for model in apps.get_models():
        if issubclass(model, Resource) and name in (model.kind(), model.plural, f"{model.kind()}s"):
            return model
    raise Invalid(fields={"kind": ["There is no such kind."]})


def uuids(values: Any) -> list[UUID]:
    """Ids as sent.  Raises: Invalid, in the words for what does not exist."""
    if not isinstance(values, list):
        raise Invalid(fields={"ids": ["Send a list."]})
    found = []
    for value in values:
        try:
            found.append(UUID(str(value)))
        except ValueError:
            raise Invalid("Some of these are not there.", code="not_found", fields={"ids": ["Not found."]}) from None
    return found


class BulkRequest(serializers.Serializer[Any]):
    """One action on what `ids` or `search` select. `dry`: how many, and how many can, with these params."""

    kind = serializers.CharField(max_length=50)
    action = serializers.CharField(max_length=60)
    ids = serializers.ListField(child=KindField("*", max_length=64), required=False, max_length=bulks.BULK_CAP)
    search = serializers.CharField(max_length=2000, required=False, allow_blank=True)
    params = serializers.DictField(required=False, default=dict)
    dry = serializers.BooleanField(required=False, default=False)
    undo_s = serializers.FloatField(required=False, min_value=0, max_value=3600)


class BulkAnswer(serializers.Serializer[Any]):
    """The parent job and how many it is for; with `dry`, how many match, how many of them can, and why the others cannot."""

    jobId = serializers.CharField(required=False)  # noqa: N815 - the contract's name
    action = serializers.CharField(required=False)
    state = serializers.ChoiceField(choices=Job.State.choices, required=False)
    not_before = serializers.DateTimeField(required=False, allow_null=True)
    result = JsonField(required=False, allow_null=True)
    total = serializers.IntegerField(required=False)
    count = serializers.IntegerField(required=False)
    able = serializers.IntegerField(required=False)
    counted = serializers.IntegerField(required=False, help_text="Of how many `able` and `reasons` tell.")
    reasons = serializers.DictField(child=serializers.IntegerField(), required=False)


class BulkViewSet(BaseViewSet):
    """Many at once: one parent job, one result a target."""

    operation_ids = {"create": "bulk"}
    asks = frozenset({"create"})
    serializer_class = BulkAnswer

    @extend_schema(request=BulkRequest, responses=BulkAnswer)
    def create(self, request: Request) -> Response:
        """Ask for one action on many."""
        refuse_unknown(request, ())
        form = BulkRequest(data=self.body())
        refuse_unknown_fields(form.initial_data, form.fields)
        if not form.is_valid():
            raise Invalid(fields=form.errors)
        asked = form.validated_data
        if ("ids" in asked) == ("search" in asked):
            raise Invalid(fields={"ids": ["Send either ids or search."]})
        model = kind_of(asked["kind"])
        name = asked["action"].replace("-", "_").removeprefix(f"{model.kind()}.")
        try:
            actions.get(f"{model.kind()}.{name}")
        except NotFound as error:
            raise Invalid(fields={"action": [error.detail]}) from error
        what = {"ids": uuids(asked["ids"]) if "ids" in asked else None, "search": asked.get("search")}
        if asked["dry"]:
            return Response({"data": bulks.preview(self.actor, model, name, asked["params"], **what)})
        job = bulks.bulk(self.actor, model, name, asked["params"], undo_s=asked.get("undo_s"), **what)
        return job_response(job, total=job.total)


class TagSerializer(serializers.Serializer[Any]):
    """A tag in use."""

    key = serializers.CharField(max_length=128)
    value = serializers.CharField(max_length=256, required=False, allow_blank=True, allow_null=True, default="")


class TagResourcesRequest(serializers.Serializer[Any]):
    """`operations`: [{operation: add|remove, tags: [{key, value}], resources: [{resource_type, resource_id}]}]."""

    class Operation(serializers.Serializer[Any]):
        """One of them."""

        class Which(serializers.Serializer[Any]):
            """A resource."""

            resource_type = serializers.CharField(max_length=50)
            resource_id = KindField("*")

        operation = serializers.ChoiceField(choices=["add", "remove"], required=False, default="add")
        tags = TagSerializer(many=True, max_length=100)  # type: ignore[call-arg]
        resources = Which(many=True)

    operations = Operation(many=True)


class TaggedAnswer(serializers.Serializer[Any]):
    """What came of one resource: its job, or why not (`code`, `detail`)."""

    resource = serializers.CharField()
    jobId = serializers.CharField(required=False)  # noqa: N815 - the contract's name
    action = serializers.CharField(required=False)
    state = serializers.ChoiceField(choices=Job.State.choices, required=False)
    not_before = serializers.DateTimeField(required=False, allow_null=True)
    result = JsonField(required=False, allow_null=True)
    code = serializers.CharField(required=False)
    detail = serializers.CharField(required=False)


class TagViewSet(BaseViewSet):
    """Tags over all kinds."""

    operation_ids = {"list": "list_tags", "create": "tag_resources"}
    serializer_class = TagSerializer
    list_parameters = ("search", "sort", "start", "limit", "only", "deref")
    query_parameters = ("types",)

    @extend_schema(responses=TagSerializer)
    def list(self, request: Request) -> Response:
        """The tags in use on what you may see, of the kinds in `types`."""
        refuse_unknown(request, (*self.list_parameters, *self.query_parameters))
        query = query_of(request, self.query_parameters)
        types = [t for t in request.query_params.get("types", "").split(",") if t]
        models = [kind_of(t) for t in types] if types else [m for m in apps.get_models() if issubclass(m, Resource)]
        found: set[tuple[str, str]] = set()
        for model in models:
            for tags in model.objects.visible_to(self.actor).exclude(tags={}).values_list("tags", flat=True).distinct()[:10_000]:
                found.update((str(k), str(v)) for k, v in tags.items())
        sort = query.sort or "key"
        if sort.lstrip("-") not in ("key", "value"):
            raise BadRequest(f"Cannot sort by {sort.lstrip('-')[:60]!r}. There are: key, value.", code="bad_sort")
        wanted = sorted(
            (pair for pair in found if not query.search or query.search.lower() in f"{pair[0]}={pair[1]}".lower()),
            key=lambda pair: pair if sort.endswith("key") else pair[::-1],
            reverse=sort.startswith("-"),
        )
        cut = [{"key": key, "value": value} for key, value in wanted[query.start : query.start + query.limit]]
        only = wanted_fields(request.query_params.get("only", ""), ("key", "value")) - {"id"}
        data = [{name: tag[name] for name in tag if name in only} if only else tag for tag in cut]
        meta = {"total": len(wanted), "returned": len(data), "sort": sort, "start": query.start, "next": None, "kind": "tag"}
        return Response({"data": data, "meta": meta})

    @extend_schema(request=TagResourcesRequest, responses=TaggedAnswer(many=True))
    def create(self, request: Request) -> Response:
        """Add and remove tags of many. A result each: a refusal of one stops no other."""
        refuse_unknown(request, ())
        form = TagResourcesRequest(data=self.body())
        if not form.is_valid():
            raise Invalid(fields=form.errors)
        asked = []
        for operation in form.validated_data["operations"]:  # all are found before one is changed
            for which in operation["resources"]:
                rows = listing.by_id_or_name(kind_of(which["resource_type"]).objects.visible_to(self.actor), which["resource_id"])
                if len(rows) != 1:
                    raise Invalid("Some of these are not there.", code="not_found", fields={"resource_id": ["Not found."]})
                asked.append((operation, rows[0]))
        results: list[dict[str, Any]] = []
        for operation, row in asked:
            adding = operation["operation"] == "add"
            params = {"tags": operation["tags"]} if adding else {"remove": [tag["key"] for tag in operation["tags"]]}
            try:
                results.append({"resource": row.pk.hex, **job_answer(perform(self.actor, row, "tag", params))["data"]})
            except MistError as error:
                if len(asked) == 1:
                    raise
                results.append({"resource": row.pk.hex, "code": error.code, "detail": error.detail})
        return Response({"data": results})
