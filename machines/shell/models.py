"""Rows of shells: the sessions, their tickets, the processes that hold them, and what people type often."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.utils import timezone

from core.models import Resource, ResourceQuerySet, new_id
from core.search import RESOURCE_ALIASES, RESOURCE_FIELDS, Choice, Date, Either, Id, Number, Ref, SearchSpec, Text, person


class Session(Resource):
    """A shell on a machine, from asked to ended, and what is kept of it. Named and tagged as its machine was; its owner opened it."""

    class State(models.TextChoices):
        OPENING = "opening"  # its ticket was issued; nobody holds it yet
        OPEN = "open"
        ENDED = "ended"

    class Recording(models.TextChoices):
        NONE = "none"  # nothing was said
        RUNNING = "running"
        COMPLETE = "complete"
        INTERRUPTED = "interrupted"  # whoever held it died, or could not write: it says where it stops
        EXPIRED = "expired"  # retention removed the file; the events of its chunks stay

    cloud_path: ClassVar[str] = "cloud_id"
    has_history: ClassVar[bool] = False
    own_path: ClassVar[str] = "owner_id"
    own_rights: ClassVar[frozenset[str]] = frozenset({"read", "watch", "join", "kill", "replay"})
    default_sort: ClassVar[str] = "-created"
    sorts: ClassVar[dict[str, str]] = {
        "name": "name",
        "state": "state",
        "ended": "ended_at",
        "commands": "command_count",
        "bytes": "bytes_out",
    }

    machine = models.ForeignKey("machines.Machine", null=True, on_delete=models.SET_NULL, related_name="sessions")
    cloud_id = models.UUIDField(null=True)
    state = models.CharField(max_length=10, choices=State.choices, default=State.OPENING)
    reason = models.CharField(max_length=500, blank=True)  # why, in the words of who opened it
    transport = models.CharField(max_length=20, blank=True)  # ssh, exec
    login = models.CharField(max_length=64, blank=True)
    address = models.CharField(max_length=300, blank=True)
    credential = models.CharField(max_length=200, blank=True)  # in words: which key, or that a certificate was made for it
    via = models.CharField(max_length=80, blank=True)
    job_id = models.UUIDField(null=True)  # of the act that opened it
    cols = models.PositiveIntegerField(default=80)
    rows = models.PositiveIntegerField(default=24)
    # the process that holds it
    holder = models.CharField(max_length=100, blank=True)
    holder_address = models.CharField(max_length=300, blank=True)
    kill_by = models.CharField(max_length=300, blank=True)  # whoever ended it from elsewhere; its holder looks
    opened_at = models.DateTimeField(null=True)
    input_at = models.DateTimeField(null=True)
    detached_at = models.DateTimeField(null=True)  # nobody looks since; null: somebody does
    ended_at = models.DateTimeField(null=True)
    ended_code = models.CharField(max_length=60, blank=True)  # exited, killed, idle, auth_failed …
    ended_detail = models.CharField(max_length=500, blank=True)
    exit_status = models.IntegerField(null=True)
    viewers = models.JSONField(default=list)  # [{"user", "name", "mode"}] who looks now
    bytes_in = models.BigIntegerField(default=0)
    bytes_out = models.BigIntegerField(default=0)
    commands = models.JSONField(default=list)  # the last ones: [[seconds since it was opened, text]]
    command_count = models.PositiveIntegerField(default=0)
    command_text = models.TextField(blank=True)  # all of them, for the search, to some length
    recording = models.CharField(max_length=12, choices=Recording.choices, default=Recording.NONE)
    recorded_bytes = models.BigIntegerField(default=0)
    recorded_chunks = models.PositiveIntegerField(default=0)

    search = SearchSpec(
        kind="session",
        fields={
            **RESOURCE_FIELDS,
            "state": Choice("state", tuple(State.values)),
            "machine": Either((Text("name"), Id("machine_id"))),
            "cloud": Ref("cloud_id", "clouds.Cloud", closed=True),
            "user": person("owner"),
            "reason": Text("reason"),
            "command": Text("command_text"),
            "commands": Number("command_count"),
            "transport": Choice("transport", ("ssh", "exec")),
            "login": Text("login"),
            "address": Text("address"),
            "how": Text("ended_code"),
            "recording": Choice("recording", tuple(Recording.values)),
            "bytes": Number("bytes_out"),
            "opened": Date("opened_at"),
            "ended": Date("ended_at"),
        },
        aliases=RESOURCE_ALIASES | {"why": "reason", "who": "user"},
        bare=("name", "id", "reason", "command", "tag"),
    )

    objects = ResourceQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["org", "-created_at", "-id"], name="session_newest"),
            models.Index(fields=["holder"], name="session_held", condition=models.Q(state__in=["opening", "open"])),
            models.Index(fields=["ended_at"], name="session_recorded", condition=models.Q(recording__in=["complete", "interrupted"])),
        ]

    @property
    def is_live(self) -> bool:
        return self.state != self.State.ENDED


class ShellTicket(models.Model):
    """Opens one socket to one session, once, within seconds. Only its digest is kept."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    digest = models.BinaryField(unique=True)
    session = models.ForeignKey(Session, on_delete=models.CASCADE, related_name="tickets")
    job = models.ForeignKey("core.Job", on_delete=models.CASCADE, related_name="+")  # the act that gave it
    types = models.BooleanField(default=False)  # may its bearer type, or look only?
    expires_at = models.DateTimeField(db_index=True)


class ShellHolder(models.Model):
    """A process that holds shells, where it is reached, and when it last said so."""

    name = models.CharField(primary_key=True, max_length=100)
    address = models.CharField(max_length=300)  # unix:<path>, or host:port
    sessions = models.PositiveIntegerField(default=0)
    is_stopping = models.BooleanField(default=False)  # it takes no new shell
    started_at = models.DateTimeField(default=timezone.now)
    beat_at = models.DateTimeField(default=timezone.now)


class Snippet(models.Model):
    """A line somebody types often, kept beside the terminal."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    org = models.ForeignKey("accounts.Organization", on_delete=models.CASCADE, related_name="+")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    text = models.CharField(max_length=500)
    position = models.PositiveIntegerField(default=0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["org", "user", "text"], name="one_snippet_a_text")]
