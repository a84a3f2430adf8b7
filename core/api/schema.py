"""How the OpenAPI document tells of our views: the envelope, the errors, the contract's operation names."""

from __future__ import annotations

from typing import Any

from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import build_object_type
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter

from core.api.fields import EnvelopeError

LIST_DOC = {
    "search": "A search (API.md §2): `state:running tag:env=prod`.",
    "sort": "A field, `-` before it for the other way.",
    "start": "Rows to skip.",
    "limit": "Rows to answer, at most 1,000.",
    "cursor": "The `next` of the page before: any depth at the cost of the first page.",
    "only": "Fields to answer, separated by commas.",
    "deref": "`auto`: names in place of ids; `none`: ids.",
    "at": "The list as it was then (ISO 8601).",
    "cloud": "Id or name of a cloud.",
    "columns": "Columns of the CSV, separated by commas (`tag:<key>` too).",
    "format": "`csv` or `json`.",
}
READ_DOC = {name: LIST_DOC[name] for name in ("only", "deref", "sort", "format")}
ERRORS = ("400", "401", "403", "404", "405", "406", "409", "413", "415", "422", "429", "500", "502", "503")


class Schema(AutoSchema):
    """Of one view."""

    method_mapping = {"get": "retrieve", "post": "create", "put": "update", "patch": "partial_update", "delete": "destroy"}

    def _name(self) -> str:
        return str(getattr(self.view, "action", "") or "")

    def get_operation_id(self) -> str:
        name, view = self._name(), self.view
        own = getattr(view, "operation_ids", {}).get(name)
        if own:
            return str(own)
        kind = getattr(view, "kind", None) if hasattr(view, "queryset") and view.queryset is not None else None
        if kind is None:
            return name or str(super().get_operation_id())
        plural = (view.queryset.model.plural or f"{kind}s").replace("-", "_")
        words = {"list": f"list_{plural}", "retrieve": f"get_{kind}", "create": f"create_{kind}", "update": f"edit_{kind}"}
        words |= {"partial_update": f"patch_{kind}", "destroy": f"{getattr(view, 'delete_action', 'delete')}_{kind}"}
        if name.startswith("act_"):
            verb = name.removeprefix("act_")
            return verb if verb in ("associate_key", "disassociate_key", "console", "ssh") or kind in verb else f"{verb}_{kind}"
        return words.get(name, f"{name}_{kind}")

    def get_tags(self) -> list[str]:
        parts = [part for part in self.path.split("/") if part and part not in ("api", "v2")]
        return parts[:1] or ["mist"]

    def get_override_parameters(self) -> list[Any]:
        name = self._name()
        doc = LIST_DOC if name == "list" else READ_DOC if name == "retrieve" else {}
        numbers = {"start", "limit"}
        found = [
            OpenApiParameter(key, OpenApiTypes.INT if key in numbers else OpenApiTypes.STR, description=text, required=False)
            for key, text in doc.items()
        ]
        if name not in ("list", "retrieve") and self.method in ("POST", "PUT", "PATCH", "DELETE"):
            found.append(
                OpenApiParameter("Idempotency-Key", OpenApiTypes.STR, OpenApiParameter.HEADER, description="Answers the same for 24 h.")
            )
        return found

    def _is_list_view(self, serializer: Any = None) -> bool:
        return False

    def _get_response_bodies(self, direction: Any = "response") -> dict[str, Any]:
        bodies = super()._get_response_bodies(direction)
        answers = {("200" if status in ("200", "201", "204") else status): body for status, body in bodies.items()}
        declared = getattr(getattr(self.view, self._name(), None), "enveloped", True)
        ok = answers.get("200")
        if ok and declared:
            for media in ok.get("content", {}).values():
                if "schema" in media:
                    media["schema"] = self._envelope(media["schema"])
        error = self._get_response_for_code(EnvelopeError, "400")
        for status in ERRORS:
            answers.setdefault(status, {**error, "description": status})
        return answers

    def _envelope(self, schema: dict[str, Any]) -> dict[str, Any]:
        if self._name() != "list":
            return build_object_type(properties={"data": schema}, required=["data"])
        meta = build_object_type(
            properties={
                "total": {"type": "integer"},
                "total_is_estimate": {"type": "boolean"},
                "returned": {"type": "integer"},
                "sort": {"type": "string"},
                "start": {"type": "integer"},
                "next": {"type": "string", "nullable": True},
                "kind": {"type": "string"},
            },
            required=["total", "returned", "sort", "start", "next", "kind"],
        )
        return build_object_type(properties={"data": {"type": "array", "items": schema}, "meta": meta}, required=["data", "meta"])
