"""From a viewset to its addresses: list, one, and a path for each verb of the registry."""

from __future__ import annotations

from typing import Any

from django.urls import URLPattern, path
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from core import actions
from core.api.viewset import JobAnswer, ReadViewSet, ResourceViewSet

# The contract's odd ones: {verb: methods beside POST}, and the params it sends in the query.
OTHER_METHODS = {"associate_key": ("put",), "disassociate_key": ("delete",)}
TEXT, FLAG = {"type": "string"}, {"type": "boolean"}
IN_QUERY: dict[str, dict[str, Any]] = {
    "clone": {"name": TEXT},
    "rename": {"name": TEXT},
    "resize": {"size": {"type": "string", "x-kind": "size"}},
    "undefine": {"delete_domain_image": FLAG},
    "create_snapshot": {"name": TEXT},
}
OF_ACTS: dict[str, Any] = {"undo_s": {"type": "number", "minimum": 0, "maximum": 3600}, "run_async": FLAG}


def routes(prefix: str, viewset: type[ReadViewSet], *, param: str = "") -> list[URLPattern]:
    """The paths of a kind under `prefix`. `param`: what the spec calls the id in the path."""
    model = viewset.queryset.model
    param = param or model.kind()
    verbs = {action.name: action for action in actions.actions_of(model)}
    built = _with_verbs(viewset, param, verbs)
    many, one = {"get": "list"}, {"get": "retrieve"}
    if issubclass(viewset, ResourceViewSet):
        if "create" in verbs:
            many["post"] = "create"
        if "edit" in verbs:
            one |= {"put": "update", "patch": "partial_update"}
        if viewset.delete_action in verbs:
            one["delete"] = "destroy"
    found = [
        path(prefix, built.as_view(many), name=f"{prefix}-list"),
        path(f"{prefix}/<str:{param}>", built.as_view(one), name=f"{prefix}-one"),
    ]
    if issubclass(viewset, ResourceViewSet):
        for name, action in verbs.items():
            if action.creates or name in ("edit", viewset.delete_action, *viewset.written):
                continue
            methods = dict.fromkeys(("post", *OTHER_METHODS.get(name, ())), f"act_{name}")
            found.append(path(f"{prefix}/<str:{param}>/actions/{name.replace('_', '-')}", built.as_view(methods), name=f"{prefix}-{name}"))
    return found


def _with_verbs(viewset: type[ReadViewSet], param: str, verbs: dict[str, actions.Action]) -> Any:
    """A subclass with a method for each verb, so that each has its own operation and body in the spec."""
    members: dict[str, Any] = {"lookup_url_kwarg": param, "__doc__": viewset.__doc__, "__module__": viewset.__module__}
    answers = viewset.serializer_class
    for method in ("list", "retrieve", "create", "update", "partial_update", "destroy"):
        own = getattr(viewset, method, None)
        if own is None:
            continue
        body, facts = None, {}
        if method == "create" and "create" in verbs:
            body = getattr(viewset, "create_params", None) or verbs["create"].params
        elif method in ("update", "partial_update") and "edit" in verbs:
            body = getattr(viewset, "edit_params", None) or verbs["edit"].params
            facts = {"name": TEXT}  # the contract's edits send it in the query
        answer = viewset.answers.get(method) or (JobAnswer if method == "destroy" else answers)
        members[method] = extend_schema(request=body, responses=answer)(_copy(own, facts))
    for name, action in verbs.items():
        if name in getattr(viewset, "written", ()):
            continue
        members[f"act_{name}"] = extend_schema(request=action.params, responses=JobAnswer, description=_doc(action))(_act(name))
    return type(viewset.__name__, (viewset,), members)


def _doc(action: actions.Action) -> str:
    return (type(action).__doc__ or "").strip()


def _copy(function: Any, query_parameters: dict[str, Any]) -> Any:
    def method(self: Any, request: Request, **kwargs: Any) -> Any:
        return function(self, request, **kwargs)

    method.__name__, method.__doc__ = function.__name__, function.__doc__
    method.query_parameters = query_parameters  # type: ignore[attr-defined]
    return method


def _act(name: str) -> Any:
    def method(self: Any, request: Request, **kwargs: Any) -> Response:
        answer: Response = self.act(name)
        return answer

    method.__name__ = f"act_{name}"
    method.query_parameters = OF_ACTS | IN_QUERY.get(name, {})  # type: ignore[attr-defined]
    method.deletes_with_body = "delete" in OTHER_METHODS.get(name, ())  # type: ignore[attr-defined]
    return method
