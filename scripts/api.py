"""Scripts over HTTP."""

from __future__ import annotations

import difflib
from datetime import timedelta
from typing import Any

from django.core import signing
from django.http import HttpResponse
from django.urls import URLPattern, path
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from core.actions import allowed, perform
from core.api import HexField, RefField, ResourceViewSet, routes
from core.api.fields import ACTIONS, JsonField
from core.api.lists import keep_only, number, refuse_unknown, refuse_unknown_fields
from core.api.schema import READ_PARAMETERS, takes
from core.api.viewset import JobAnswer, job_answer
from core.errors import BadRequest, NotFound
from scripts.actions.library import CreateScriptParams, EditScriptParams, newest, read
from scripts.actions.run import RunScriptParams
from scripts.models import Script, ScriptVersion
from scripts.parameters import ParameterSerializer

LINK_S = 15 * 60
SALT = "script-link"
NUMBER = {"type": "integer", "minimum": 1}


class ScriptSerializer(serializers.Serializer[Any]):
    """A script."""

    id = HexField()
    name = serializers.CharField(read_only=True)
    description = serializers.CharField(read_only=True)
    exec_type = serializers.ChoiceField(choices=Script.Exec.choices, read_only=True)
    location_type = serializers.ChoiceField(choices=Script.Source.choices, read_only=True)
    location = serializers.CharField(read_only=True)
    ref = serializers.CharField(read_only=True)
    key = RefField()
    token = serializers.CharField(read_only=True, allow_null=True, help_text="A reference to a secret, by which it is fetched.")
    version = serializers.IntegerField(source="latest", read_only=True)
    tags = serializers.DictField(child=serializers.CharField(), read_only=True)
    owned_by = RefField(source="owner")
    created_by = RefField()
    created = serializers.DateTimeField(source="created_at", read_only=True)
    changed = serializers.DateTimeField(source="updated_at", read_only=True)
    actions = serializers.SerializerMethodField()

    @extend_schema_field(ACTIONS)
    def get_actions(self, script: Script) -> dict[str, Any]:
        return allowed(self.context["actor"], script)


class VersionSerializer(serializers.Serializer[Any]):
    """A version of a script."""

    number = serializers.IntegerField()
    digest = serializers.CharField()
    size = serializers.IntegerField()
    entrypoint = serializers.CharField()
    interpreter = serializers.CharField()
    is_bundle = serializers.BooleanField()
    origin = serializers.CharField()
    parameters = ParameterSerializer(many=True)
    created = serializers.DateTimeField(source="created_at")
    created_by = RefField()


class OneScriptSerializer(ScriptSerializer):
    """One script, with what its newest version says: the text of its entrypoint, the paths of its files, its parameters."""

    script = serializers.SerializerMethodField()
    entrypoint = serializers.SerializerMethodField()
    files = serializers.SerializerMethodField()
    parameters = serializers.SerializerMethodField()
    digest = serializers.SerializerMethodField()

    def get_script(self, script: Script) -> str:
        content = read(newest(script))
        return content.files[content.entrypoint].data.decode("utf-8", "replace")

    def get_entrypoint(self, script: Script) -> str:
        return newest(script).entrypoint

    def get_files(self, script: Script) -> list[str]:
        return sorted(read(newest(script)).files)

    @extend_schema_field(ParameterSerializer(many=True))
    def get_parameters(self, script: Script) -> list[dict[str, Any]]:
        return list(newest(script).parameters)

    def get_digest(self, script: Script) -> str:
        return newest(script).digest


class DiffSerializer(serializers.Serializer[Any]):
    """What differs between two versions: a unified diff, and the parameters before and after where they differ."""

    base = serializers.IntegerField()
    number = serializers.IntegerField()
    diff = serializers.CharField()
    parameters = JsonField(allow_null=True)


class LinkSerializer(serializers.Serializer[Any]):
    """An address that gives the script to whoever has it, until it expires."""

    url = serializers.CharField()
    expires = serializers.DateTimeField()


class ScriptViewSet(ResourceViewSet):
    """The library of scripts."""

    queryset = Script.objects.select_related("owner", "created_by", "key")
    serializer_class = ScriptSerializer
    create_params = CreateScriptParams
    edit_params = EditScriptParams
    answers = {"retrieve": OneScriptSerializer, "run": JobAnswer, "versions": VersionSerializer(many=True)}
    operation_ids = {
        "create": "add_script",
        "run": "run_script",
        "act_run": "run_script_as_verb",
        "file": "download_script",
        "url": "generate_script_url",
        "versions": "list_script_versions",
        "diff": "diff_script",
        "shared": "download_shared_script",
    }
    anonymous = frozenset({"shared"})

    def retrieve(self, request: Request, **kwargs: Any) -> Response:
        """Read one, by id or exact name, with what its newest version says."""
        refuse_unknown(request, READ_PARAMETERS)
        context = {"actor": self.actor, "deref": self.deref(), "request": request}
        data = OneScriptSerializer(self.find(), context=context).data
        return Response({"data": keep_only([dict(data)], request.query_params.get("only", ""))[0]})

    @extend_schema(request=RunScriptParams, responses=JobAnswer)
    def run(self, request: Request, **kwargs: Any) -> Response:
        """Run it. The job's id is the run's: `/runs/<id>`."""
        refuse_unknown(request, ())
        body = self.body()
        refuse_unknown_fields(body, RunScriptParams().fields)
        return Response(job_answer(perform(self.actor, self.find(), "run", body)))

    @takes(version=NUMBER)
    @extend_schema(responses={(200, "application/octet-stream"): OpenApiTypes.BINARY})
    def file(self, request: Request, **kwargs: Any) -> HttpResponse:
        """The file itself, or a tar.gz of the folder."""
        refuse_unknown(request, ("version",))
        return download(self._version(request, "version"))

    @extend_schema(responses=LinkSerializer)
    def url(self, request: Request, **kwargs: Any) -> Response:
        """An address to fetch it from for 15 minutes without signing in: for a machine that boots."""
        refuse_unknown(request, ())
        version = newest(self.find())
        signed = signing.dumps(version.pk.hex, salt=SALT)
        expires = timezone.now() + timedelta(seconds=LINK_S)
        return Response({"data": {"url": request.build_absolute_uri(f"/api/v2/scripts/shared/{signed}"), "expires": expires.isoformat()}})

    @extend_schema(request=None, responses={(200, "application/octet-stream"): OpenApiTypes.BINARY})
    def shared(self, request: Request, signature: str, **kwargs: Any) -> HttpResponse:
        """What an address of `generate_script_url` gives."""
        refuse_unknown(request, ())
        try:
            pk = signing.loads(signature, salt=SALT, max_age=LINK_S)
            return download(ScriptVersion.objects.select_related("script").get(pk=pk))
        except (signing.BadSignature, ScriptVersion.DoesNotExist) as error:
            raise NotFound from error

    @extend_schema(responses=VersionSerializer(many=True))
    def versions(self, request: Request, **kwargs: Any) -> Response:
        """Its versions, newest first."""
        refuse_unknown(request, ("deref",))
        rows = self.find().versions.select_related("created_by").defer("content").order_by("-number")[:1000]
        context = {"actor": self.actor, "deref": self.deref()}
        return Response({"data": VersionSerializer(rows, many=True, context=context).data})

    @takes(version=NUMBER, base=NUMBER)
    @extend_schema(responses=DiffSerializer)
    def diff(self, request: Request, **kwargs: Any) -> Response:
        """What `version` (the newest) says that `base` (the one before) did not."""
        refuse_unknown(request, ("version", "base"))
        newer = self._version(request, "version")
        base = self._version(request, "base", max(1, newer.number - 1))
        same = newer.parameters == base.parameters
        data = {
            "base": base.number,
            "number": newer.number,
            "diff": unified(base, newer),
            "parameters": None if same else {"before": base.parameters, "after": newer.parameters},
        }
        return Response({"data": data})

    def _version(self, request: Request, name: str, default: int | None = None) -> ScriptVersion:
        script = self.find()
        wanted = number(request.query_params.get(name, ""), name, default or script.latest, 10**9)
        found = ScriptVersion.objects.select_related("script").filter(script=script, number=min(wanted, 2**31 - 1)).first()
        if found is None:
            raise BadRequest(f"There are versions 1 to {script.latest}.", code="no_version")
        return found


def download(version: ScriptVersion) -> HttpResponse:
    """A version as a file."""
    name = f"{version.script.pk.hex}-{version}.tar.gz" if version.is_bundle else version.entrypoint
    response = HttpResponse(bytes(version.content), content_type="application/octet-stream")
    response["Content-Disposition"] = f'attachment; filename="{"".join(c if c.isalnum() or c in "._-" else "_" for c in name)}"'
    response["X-Content-Type-Options"] = "nosniff"
    return response


def unified(base: ScriptVersion, newer: ScriptVersion, most: int = 1 << 20) -> str:
    """The difference of all their files, as `diff -u` writes it."""
    before, after = read(base).files, read(newer).files
    parts: list[str] = []
    for name in sorted(before.keys() | after.keys()):
        old, new = (files[name].data if name in files else b"" for files in (before, after))
        if old == new:
            continue
        if b"\0" in old or b"\0" in new:
            parts.append(f"Binary files {name} differ\n")
            continue
        lines = [text.decode("utf-8", "replace").splitlines(keepends=True) for text in (old, new)]
        for line in difflib.unified_diff(*lines, f"{base}/{name}", f"{newer}/{name}"):
            parts.append(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n")
    return "".join(parts)[:most]


def api_routes() -> list[URLPattern]:
    """The paths of scripts and runs."""
    one = {"lookup_url_kwarg": "script"}
    return [
        path("scripts/shared/<str:signature>", ScriptViewSet.as_view({"get": "shared"})),
        *(
            path(f"scripts/<str:script>/{name}", ScriptViewSet.as_view({"get": name}, **one))
            for name in ("file", "url", "versions", "diff")
        ),
        *_with_run(routes("scripts", ScriptViewSet)),
    ]


def _with_run(found: list[URLPattern]) -> list[URLPattern]:
    """The contract runs a script by POST to the script itself."""
    one = next(pattern for pattern in found if pattern.name == "scripts-one")
    view: Any = one.callback
    actions = {**view.actions, "post": "run"}
    again = path("scripts/<str:script>", view.cls.as_view(actions), name="scripts-one")
    return [again if pattern is one else pattern for pattern in found]
