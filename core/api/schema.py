"""How the OpenAPI document tells of our views: the envelope, the errors, the contract's operation names, who may ask.

`x-kind` marks a parameter or field that names a row of that kind: the matrix test over organizations reads it. `x-verb`, `x-tier` (0
harmless, 1 disruptive, 2 destructive) and `x-bulk` tell of an operation that is an action: the command line asks by them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import ResolvedComponent, build_object_type
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse
from rest_framework.serializers import ListSerializer

from core import actions
from core.actions import approval
from core.api.fields import EnvelopeError

F = TypeVar("F", bound=Callable[..., Any])
TEXT: dict[str, Any] = {"type": "string"}
LIST_PARAMETERS: dict[str, tuple[str, dict[str, Any]]] = {
    "search": ("A search (API.md §2): `state:running tag:env=prod`.", {"type": "string", "maxLength": 2000}),
    "sort": ("A key to sort by, `-` before it for the other way.", TEXT),
    "start": ("Rows to skip.", {"type": "integer", "minimum": 0}),
    "limit": ("Rows to answer, at most 1,000.", {"type": "integer", "minimum": 0, "default": 100}),
    "cursor": ("The `next` of the page before: any depth at the cost of the first page.", TEXT),
    "only": ("Fields to answer, separated by commas; `id` always.", TEXT),
    "deref": ("`auto`: names in place of ids; `none`: ids.", {"type": "string", "enum": ["auto", "none"], "default": "auto"}),
    "at": ("The list as it was then.", {"type": "string", "format": "date-time"}),
    "cloud": ("Id or exact name of a cloud.", {"type": "string", "x-kind": "cloud"}),
    "columns": ("Columns of the CSV, separated by commas (`tag:<key>` too).", TEXT),
    "format": ("`csv` or `json`, in place of the Accept header.", {"type": "string", "enum": ["csv", "json"]}),
}
ASK = (
    "What for, where it needs approval: then it waits, as a job in state `asked`, for somebody else to approve it. Answered with 202.",
    {"type": "string", "maxLength": approval.MOST},
)
OF_EVERY_ACT = ("run_async", "undo_s")
READ_PARAMETERS = ("only", "deref", "sort", "format")
ERRORS = {
    "400": "It could not be read: bad JSON, an unknown parameter, a wrong search (`position` says where).",
    "401": "No credential, or one that does not hold.",
    "403": "Seen, but not allowed.",
    "404": "Not there, or not to be seen.",
    "405": "Not with this method; `Allow` says with which.",
    "406": "Not in this format.",
    "409": "Its state, somebody else's job or an ambiguous name forbids it now.",
    "413": "The body is too large.",
    "415": "Send application/json.",
    "422": "Readable, but it cannot be done; `fields` says where.",
    "429": "Too many requests; `Retry-After` says when.",
    "500": "Mist failed at this.",
    "502": "A cloud failed at this.",
    "503": "A cloud, or our database, does not answer.",
}
SECURITY: list[dict[str, list[str]]] = [{"token": []}, {"session": []}]
SECURITY_SCHEMES = {
    "token": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API token of one organization: `Authorization: Bearer <token>`, or the token alone.",
    },
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": "sessionid",
        "description": "The console's session; then `X-CSRFToken` on what is unsafe, and `X-Org: <id>` picks the organization.",
    },
}
NULL: dict[str, Any] = {"type": "object", "nullable": True}
META = build_object_type(
    properties={
        "total": {"type": "integer", "description": "Exact up to 10,000."},
        "total_is_estimate": {"type": "boolean"},
        "returned": {"type": "integer"},
        "sort": TEXT,
        "start": {"type": "integer"},
        "next": {"type": "string", "nullable": True, "description": "The cursor of the next page; null at the end."},
        "kind": TEXT,
    },
    required=["total", "returned", "sort", "start", "next", "kind"],
)
WAITS = {
    "description": "With `ask`: it waits for approval, as this job.",
    "content": {
        "application/json": {
            "schema": build_object_type(
                properties={
                    "data": build_object_type(
                        properties={"jobId": TEXT, "action": TEXT, "state": TEXT, "not_before": NULL, "result": NULL},
                        required=["jobId", "action", "state"],
                    )
                },
                required=["data"],
            )
        }
    },
}
OF_ANOTHER_METHOD = {"post": {"associate_key", "disassociate_key"}}  # where the contract's own method is not POST


class Schema(AutoSchema):
    """Of one view."""

    method_mapping = {"get": "retrieve", "post": "create", "put": "update", "patch": "partial_update", "delete": "destroy"}

    def _name(self) -> str:
        return str(getattr(self.view, "action", "") or "")

    def _model(self) -> Any:
        queryset = getattr(self.view, "queryset", None)
        return None if queryset is None else queryset.model

    def _lists(self) -> bool:
        return self._name() in {"list", *getattr(self.view, "lists", ())}

    def _handler(self) -> Any:
        return getattr(self.view, self._name(), None)

    def get_operation_id(self) -> str:
        name, view, model = self._name(), self.view, self._model()
        own = getattr(view, "operation_ids", {}).get(name)
        if own:
            return str(own)
        if model is None or not hasattr(model, "kind"):
            return name or str(super().get_operation_id())
        kind = str(model.kind())
        plural = (model.plural or f"{kind}s").replace("-", "_")
        words = {"list": f"list_{plural}", "retrieve": f"get_{kind}", "create": f"create_{kind}", "update": f"edit_{kind}"}
        words |= {"partial_update": f"patch_{kind}", "destroy": f"{getattr(view, 'delete_action', 'delete')}_{kind}"}
        if name.startswith("act_"):
            verb = name.removeprefix("act_")
            alone = verb in {"associate_key", "disassociate_key", "console", "ssh"}
            prefix = "post_" if self.method == "POST" and verb in OF_ANOTHER_METHOD["post"] else ""
            return f"{prefix}{verb}" if alone else f"{verb}_{kind}"
        return words.get(name, f"{name}_{kind}")

    def get_operation(self, *args: Any, **kwargs: Any) -> Any:
        operation = super().get_operation(*args, **kwargs)
        action = self._action()
        if operation is not None and action is not None:
            operation |= {"x-verb": action.verb, "x-tier": action.tier, "x-bulk": action.bulk and not action.creates}
        return operation

    def _action(self) -> actions.Action | None:
        return self.action_of(self.view, self.method)

    def _takes_ask(self) -> bool:
        action = self._action()
        return self._name() in getattr(self.view, "asks", ()) or (action is not None and not actions.cannot_wait(action))

    @staticmethod
    def action_of(view: Any, method: str) -> actions.Action | None:
        """The action that the operation of a view asks for, where it is one."""
        name, queryset = str(getattr(view, "action", "") or ""), getattr(view, "queryset", None)
        model = None if queryset is None else queryset.model
        if method == "GET" or model is None or not hasattr(model, "kind"):
            return None
        names = {"update": "edit", "partial_update": "edit", "destroy": getattr(view, "delete_action", "delete")}
        if name in names and not hasattr(view, "delete_action"):
            return None  # it edits in its own way
        return actions.all_actions().get(f"{model.kind()}.{names.get(name, name.removeprefix('act_'))}")

    def get_tags(self) -> list[str]:
        parts = [part for part in self.path.split("/") if part and part not in ("api", "v2")]
        return parts[:1] or ["mist"]

    def get_auth(self) -> list[dict[str, list[str]]]:
        if self._name() in getattr(self.view, "anonymous", ()):
            return [{}]
        for name, scheme in SECURITY_SCHEMES.items():
            self.registry.register_on_missing(
                ResolvedComponent(  # type: ignore[no-untyped-call]
                    name=name, type=ResolvedComponent.SECURITY_SCHEMA, object=name, schema=scheme
                )
            )
        return SECURITY

    # --- what is asked ----------------------------------------------------------------------------------------------

    def get_override_parameters(self) -> list[Any]:
        name, view, model = self._name(), self.view, self._model()
        names: tuple[str, ...] = ()
        if self._lists():
            names = tuple(getattr(view, "list_parameters", LIST_PARAMETERS))
            if model is None or not getattr(model, "cloud_path", ""):
                names = tuple(n for n in names if n != "cloud")
            if model is None or not getattr(model, "has_history", False):
                names = tuple(n for n in names if n != "at")
        elif name == "retrieve" and model is not None:
            names = READ_PARAMETERS
        found = [_query(key, *LIST_PARAMETERS[key]) for key in names]
        own: dict[str, Any] = dict.fromkeys(getattr(view, "query_parameters", ()), TEXT)
        own |= getattr(self._handler(), "query_parameters", {})
        found += [_query(key, "", schema) for key, schema in own.items() if key not in names]
        if self._takes_ask():
            found.append(_query("ask", *ASK))
        if self.method in ("POST", "PUT", "PATCH", "DELETE") and self.get_auth() == SECURITY:
            text = "The same key and body within 24 h give the first answer again."
            found.append(
                OpenApiParameter("Idempotency-Key", {"type": "string", "maxLength": 200}, OpenApiParameter.HEADER, description=text)
            )
        return found

    def _resolve_path_parameters(self, variables: list[str]) -> list[dict[str, Any]]:
        """An id or an exact name. `x-kind`: of what."""
        kinds = getattr(self.view, "path_kinds", {})
        return [
            {
                "name": variable,
                "in": "path",
                "required": True,
                "description": "Id, or exact name.",
                "schema": {"type": "string", "minLength": 1, "x-kind": kinds.get(variable, variable.removesuffix("_id"))},
            }
            for variable in variables
        ]

    def map_parsers(self) -> list[str]:
        return ["application/json"]

    def _get_request_body(self, direction: Any = "request") -> Any:
        handler = self._handler()
        method = self.method
        if method == "DELETE" and getattr(handler, "deletes_with_body", False):
            self.method = "POST"
        try:
            body = super()._get_request_body(direction)  # type: ignore[no-untyped-call]
        finally:
            self.method = method
        if body and getattr(handler, "query_parameters", {}).keys() - set(OF_EVERY_ACT):
            body.pop("required", None)  # the contract sends some of it in the query
        return body

    def _get_serializer_name(self, serializer: Any, direction: Any, bypass_extensions: bool = False) -> str:
        """The params of one verb are that verb's request: machine.edit → EditMachineRequest."""
        name = str(super()._get_serializer_name(serializer, direction, bypass_extensions))
        cls = type(getattr(serializer, "child", serializer))
        if direction == "request":
            name = name.removesuffix("Request").removesuffix("Request") + "Request"
        if not cls.__name__.endswith("Params"):
            return name
        users = sorted(action.verb for action in actions.all_actions().values() if action.params is cls)
        if len(users) != 1:
            return cls.__name__
        kind, verb = users[0].split(".")
        words = {"cloud.create": "add_cloud", "key.create": "add_key", "script.create": "add_script"}.get(
            users[0], verb if kind in verb else f"{verb}_{kind}"
        )
        return "".join(word.title() for word in words.split("_")) + "Request"

    # --- what is answered -------------------------------------------------------------------------------------------

    def _is_list_view(self, serializer: Any = None) -> bool:
        return False

    def map_renderers(self, attribute: str) -> list[str]:
        return ["application/json"]

    def _postprocess_serializer_schema(self, schema: Any, serializer: Any, direction: Any) -> Any:
        """Where `only=` may leave fields away, `id` alone is sure."""
        schema = super()._postprocess_serializer_schema(schema, serializer, direction)  # type: ignore[no-untyped-call]
        if direction == "response" and "id" in schema.get("properties", {}):
            schema["required"] = ["id"]
        return schema

    def get_response_serializers(self) -> Any:
        found = getattr(self.view, "answers", {}).get(self._name())
        return found if found is not None else super().get_response_serializers()

    def _get_response_bodies(self, direction: Any = "response") -> dict[str, Any]:
        bodies = super()._get_response_bodies(direction)
        if self.method == "DELETE" and "204" in bodies:
            answer = self._get_response_for_code(self.get_response_serializers(), "200", None, direction)  # type: ignore[no-untyped-call]
            bodies = {"200": answer}
        answers = {("200" if status in ("200", "201", "204") else status): body for status, body in bodies.items()}
        handler = self._handler()
        ok = answers.get("200") or answers.get("302", {})  # 302: a socket's address
        if ok and "content" not in ok:  # nothing to tell: an empty object
            ok["content"] = {"application/json": {"schema": {"type": "object"}}}
        for media, content in ok.get("content", {}).items():
            if media == "application/json" and "schema" in content and getattr(handler, "enveloped", True):
                content["schema"] = self._envelope(content["schema"])
        if self._name() == "list" and "csv" in getattr(self.view, "formats", ()) and "content" in ok:
            ok["content"]["text/csv"] = {"schema": {"type": "string"}}
        if self._takes_ask():
            answers["202"] = WAITS
        for status, text in ERRORS.items():
            error = self._get_response_for_code(OpenApiResponse(EnvelopeError, description=text), status, None, direction)  # type: ignore[no-untyped-call]
            answers.setdefault(status, error)
        for status in ("429", "503"):
            answers[status] = {**answers[status], "headers": {"Retry-After": {"schema": {"type": "integer"}}}}
        return dict(sorted(answers.items()))

    def _envelope(self, schema: dict[str, Any]) -> dict[str, Any]:
        name = self._name()
        if self._lists():
            return build_object_type(properties={"data": {"type": "array", "items": schema}, "meta": META}, required=["data", "meta"])
        if isinstance(self.get_response_serializers(), ListSerializer):
            schema = {"type": "array", "items": schema}
        elif name == "create" and self._model() is not None and name not in getattr(self.view, "answers", {}):
            schema = {"allOf": [schema, build_object_type(properties={"jobId": TEXT})]}
        return build_object_type(properties={"data": schema}, required=["data"])


def takes(**schemas: dict[str, Any]) -> Callable[[F], F]:
    """Decorator: the query parameters of one method, with their schemas."""

    def mark(method: F) -> F:
        method.query_parameters = schemas  # type: ignore[attr-defined]
        return method

    return mark


def _query(name: str, text: str, schema: dict[str, Any]) -> OpenApiParameter:
    return OpenApiParameter(name, schema, OpenApiParameter.QUERY, description=text, required="minLength" in schema)


__all__ = ["ERRORS", "LIST_PARAMETERS", "OF_EVERY_ACT", "READ_PARAMETERS", "SECURITY_SCHEMES", "TEXT", "Schema", "takes"]
