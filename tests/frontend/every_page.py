"""Every page of the console, found in its addresses: one added there is walked, or the walk fails until it is told what to put in."""

from __future__ import annotations

import re

from django.apps import apps
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.urls import URLPattern
from django.utils import timezone

from core.actions import perform
from core.models import Event, Job
from frontend.urls import org
from machines.models import Machine
from tests.api.world import World

# The kind of row an address names, by its first part, or its first two.
KINDS = {
    "machines/views": "view",
    "machines": "machine",
    "shells": "session",
    "sessions": "session",
    "scripts": "script",
    "runs": "run",
    "clouds": "cloud",
    "volumes": "volume",
    "networks": "network",
    "images": "image",
    "keys": "key",
    "keys/secrets": "secret",
    "keys/stores": "secret_store",
    "teams": "team",
    "jobs": "job",
    "jobs/<str:identity>/answer": "approval",
    "exports": "export",
}
# What stands for the other parts of an address: each of these is walked.
WORDS = {
    "machines/<str:identity>/do/<slug:verb>": [
        "stop",
        "reboot",
        "destroy",
        "resize",
        "rename",
        "clone",
        "tag",
        "set_owner",
        "set_expiration",
        "lock",
        "unlock",
    ],
    "machines/bulk/<slug:verb>": ["stop", "destroy", "tag"],
    "machines/new/<slug:part>": ["images", "sizes"],
    "clouds/new/<slug:provider>": ["demo", "amazon"],
    "clouds/<str:identity>/do/<slug:verb>": ["remove", "rotate"],
    "scripts/<str:identity>/do/<slug:verb>": ["delete"],
    "sessions/<str:identity>/do/<slug:verb>": ["end"],
    "runs/<str:identity>/do/<slug:verb>": ["cancel"],
    "jobs/<str:identity>/<slug:what>": ["row"],
    "api/docs/<slug:noun>": ["machines", "teams"],
}
# The texts a stranger may have put anywhere: markup, another direction, and very long.
BAD = '<script>alert(1)</script>"><img src=x onerror=alert(1)>\u202e'
TEXTS = {
    "name",
    "description",
    "title",
    "reason",
    "target_name",
    "error_detail",
    "last_line",
    "asked_for",
    "ask",
    "needs",
    "answer",
    "hostname",
    "mount",
    "namespace",
    "role_id",
    "path",
    "field",
    "os_type",
    "error",
    "remind_message",
    "lock_note",
    "detail",
}
OURS = {"core", "accounts", "clouds", "keys", "networks", "machines", "volumes", "scripts"}
TAGS = {"tags", "cloud_tags", "target_tags"}
LISTS = {"keys"}


def readable() -> list[str]:
    """The routes that answer GET."""
    return [str(entry.pattern) for entry in org if isinstance(entry, URLPattern) and hasattr(entry.callback.view_class, "get")]


def addresses(world: World) -> list[str]:
    """Each page's address in this world."""
    found: list[str] = []
    for route in readable():
        row = route
        if "<str:identity>" in route:
            kind = KINDS.get(route) or KINDS.get("/".join(route.split("/")[:2])) or KINDS[route.split("/")[0]]
            row = route.replace("<str:identity>", world.name_of(kind))
        if "<" in row:
            found += [re.sub(r"<[^>]+>", word, row) for word in WORDS[route]]
        else:
            found.append(row)
    return [f"/o/{world.org.slug}/{path}" for path in found]


def poison(world: World) -> None:
    """Each text and tag of each row becomes what nobody should type, as long as its column allows; so do a job's and an event's."""
    machine = world.rows["machine"]
    Machine.objects.filter(pk=machine.pk).update(name=BAD, tags={BAD: BAD}, locked_at=timezone.now(), locked_by=world.user)
    machine.refresh_from_db()
    perform(world.actor, machine, "tag", {"tags": {"a": BAD}})  # an event, which nobody may change afterwards
    for model in apps.get_models():
        if model is Event or model._meta.app_label not in OURS:
            continue
        fields = model._meta.concrete_fields
        texts = [field for field in fields if field.name in TEXTS and isinstance(field, models.CharField | models.TextField)]
        texts = [field for field in texts if not field.choices and not field.primary_key]
        tags = {field.name: {BAD: BAD} for field in fields if field.name in TAGS and isinstance(field, models.JSONField)}
        lists = {field.name: [BAD, "x" * 100] for field in fields if field.name in LISTS and isinstance(field, ArrayField)}
        for number, pk in enumerate(model._base_manager.values_list("pk", flat=True) if texts or tags or lists else []):
            written = {field.name: f"{BAD}{number}{'x' * 5000}"[: field.max_length or 5000] for field in texts}
            model._base_manager.filter(pk=pk).update(**written, **tags, **lists)
    Job.objects.update(
        error_code="failed", steps=[{"name": BAD, "at": "2026-01-01T00:00:00+00:00", "state": "failed", "detail": BAD + "x" * 5000}]
    )
