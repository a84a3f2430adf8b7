"""Lists as files, made behind the request."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any

from django.db import transaction
from django.utils import timezone
from rest_framework import serializers

from accounts import exports as files
from accounts.actions.fields import TextField
from accounts.models import Export
from core import exports, listing
from core.actions import Action, Call, register
from core.actor import Actor
from core.errors import Failed, Invalid

MOST_COLUMNS = 60
TOLD_EVERY_S = 1.0
HOUR_S = 3600


class ExportParams(serializers.Serializer[Any]):
    """`kind`: of the list. `format`: csv, json (an array) or jsonl (an object a line). `at`: the list as it was then."""

    kind = serializers.CharField(max_length=40)
    format = serializers.ChoiceField(choices=list(exports.FORMS), default="csv")
    search = TextField()
    sort = TextField(max_length=60)
    columns = serializers.ListField(child=serializers.CharField(max_length=140), required=False, max_length=MOST_COLUMNS)
    at = serializers.DateTimeField(required=False, allow_null=True)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        source = exports.sources().get(attrs["kind"])
        if source is None:
            raise Invalid(fields={"kind": [f"There is no list of that kind. There are: {', '.join(sorted(exports.sources()))}."]})
        if attrs["format"] not in source.forms:
            raise Invalid(fields={"format": [f"This list is made as {' or '.join(source.forms)}."]})
        source.chosen(attrs.get("columns", ()))
        listing.sorted_by(source.model, attrs.get("sort", ""))
        listing.rows(source.model.objects.all(), self.context["actor"], _query(attrs))
        return attrs


def _query(asked: dict[str, Any]) -> listing.Query:
    return listing.Query(search=asked.get("search", ""), sort=asked.get("sort", ""), at=asked.get("at"), limit=listing.MOST)


@register
class MakeExport(Action):
    """Make a file of a list: of what the one who asks may see when it is made."""

    model = Export
    name = "create"
    creates = True
    background = True
    cancellable = True
    bulk = False
    queue = "bulk"
    deadline_s = HOUR_S
    params = ExportParams

    def draft(self, actor: Actor, params: dict[str, Any]) -> Export:
        return self.build(actor, params)

    def build(self, actor: Actor, params: dict[str, Any]) -> Export:
        return Export(
            org_id=actor.org_id,
            owner_id=actor.user_id,
            created_by_id=actor.user_id,
            name=f"{exports.sources()[params['kind']].name}.{params['format']}",
            of_kind=params["kind"],
            form=params["format"],
            query=params.get("search", ""),
            sort=params.get("sort", ""),
            columns=params.get("columns", []),
            at=params.get("at"),
        )

    def run(self, call: Call) -> dict[str, Any]:
        source, actor, query = exports.sources()[call.params["kind"]], call.actor, _query(call.params)
        columns = source.chosen(call.params.get("columns", ()))
        found, _guessed = listing.count(listing.rows(source.model.objects.all(), actor, query))
        counted = _Counted(call, found)
        pages = source.ready(counted(source.pages(actor, query, columns)), call.params["format"])
        size = files.write(call.target.pk, exports.written(call.params["format"], pages, columns), files.room_for(call.target.org_id))
        told = {"rows": counted.rows, "size_bytes": size, "expires_at": timezone.now() + files.KEPT}
        if not Export.objects.filter(pk=call.target.pk).update(**told):
            raise Failed("It was deleted while it was made.", code="cancelled")
        return {**told, "expires_at": told["expires_at"].isoformat()}  # type: ignore[attr-defined]

    def undo(self, call: Call) -> None:
        Export.objects.filter(pk=call.target.pk).delete()


class _Counted:
    """Pages as they pass: counted, told to the job every second, and stopped where somebody asks for it."""

    def __init__(self, call: Call, total: int) -> None:
        self.call, self.total, self.rows, self.told = call, total, 0, 0.0

    def __call__(self, pages: Iterable[list[exports.Row]]) -> Iterator[list[exports.Row]]:
        for page in pages:
            if self.call.cancelled():
                raise Failed("It was cancelled: no file was made.", code="cancelled")
            yield page
            self.rows += len(page)
            if time.monotonic() - self.told >= TOLD_EVERY_S:
                self.told = time.monotonic()
                self.call.progress(self.rows, max(self.total, self.rows))


@register
class DeleteExport(Action):
    """Delete the file."""

    model = Export
    name = "delete"
    deletes = True
    bulk = False

    def run(self, call: Call) -> None:
        path = files.path_of(call.target.pk)
        call.target.delete()
        transaction.on_commit(lambda: path.unlink(missing_ok=True))
