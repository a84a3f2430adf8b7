"""Files of lists over HTTP."""

from __future__ import annotations

from typing import Any

from django.http import FileResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request

from accounts.exports import file_for
from accounts.models import Export
from core import exports
from core.actor import Actor
from core.api import HexField, RefField, ResourceViewSet
from core.api.lists import refuse_unknown
from core.api.viewset import JobAnswer


class ExportSerializer(serializers.Serializer[Any]):
    """A list as a file. `rows`, `size_bytes`, `expires`: null until it is made."""

    id = HexField()
    name = serializers.CharField(read_only=True)
    kind = serializers.CharField(source="of_kind", read_only=True)
    format = serializers.ChoiceField(choices=list(exports.FORMS), source="form", read_only=True)
    search = serializers.CharField(source="query", read_only=True)
    sort = serializers.CharField(read_only=True)
    columns = serializers.ListField(child=serializers.CharField(), read_only=True)
    at = serializers.DateTimeField(read_only=True, allow_null=True)
    rows = serializers.IntegerField(read_only=True, allow_null=True)
    size_bytes = serializers.IntegerField(read_only=True, allow_null=True)
    created = serializers.DateTimeField(source="created_at", read_only=True)
    expires = serializers.DateTimeField(source="expires_at", read_only=True, allow_null=True)
    owned_by = RefField(source="owner")


class ExportViewSet(ResourceViewSet):
    """Lists as files, made by a job and kept for 24 hours: for what is too long to be waited for."""

    queryset = Export.objects.select_related("owner")
    serializer_class = ExportSerializer
    lookup_url_kwarg = "export"
    operation_ids = {"file": "get_export_file"}
    answers = {"create": JobAnswer}

    @extend_schema(responses={(200, media.partition(";")[0]): OpenApiTypes.STR for media in exports.FORMS.values()})
    def file(self, request: Request, **kwargs: Any) -> FileResponse:
        """The file, once its job has succeeded: for the one who asked for it alone."""
        refuse_unknown(request, ())
        return file_answer(self.actor, self.find())

    file.enveloped = False  # type: ignore[attr-defined]


def file_answer(actor: Actor, export: Export) -> FileResponse:
    """The file as a download.  Raises: NotFound, Conflict."""
    response = FileResponse(file_for(actor, export).open("rb"), as_attachment=True, filename=export.name)
    response["Content-Type"], response["Cache-Control"] = exports.FORMS[export.form], "no-store"
    return response
