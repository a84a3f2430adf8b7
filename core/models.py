"""The nouns that are rows: resources, jobs, events, vault entries, history."""

from __future__ import annotations

import re
from datetime import datetime
from functools import cache
from typing import Any, ClassVar, Self
from uuid import UUID

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.search import SearchVectorField
from django.db import models
from django.db.models import F, Func, Q, Value
from django.utils import timezone
from uuid_utils.compat import uuid7

from core import guard, history
from core.actor import Actor
from core.search import Choice, Date, Either, Id, Ref, Searched, SearchSpec, Tags, Text, Words, person


def new_id() -> UUID:
    """A time-ordered (version 7) id."""
    return uuid7()


@cache  # asked for each verb of each row of a list
def _kind(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


class ResourceQuerySet(models.QuerySet[Any]):
    def visible_to(self, actor: Actor, verb: str = "read") -> Self:
        """The rows on which `actor` may do `verb`. The only way a row reaches a response, page or socket."""
        return guard.narrow(self, actor, verb)

    def at(self, when: datetime) -> Self:
        """The rows as they were then (inventory, tags, cost). Filters, search and `visible_to` apply to the old values."""
        return history.as_of(self, when)


class Resource(Searched, models.Model):
    """A row an organization owns."""

    # Path to the id of the cloud it lives in, for policies and `cloud=`; "" where it lives in none.
    cloud_path: ClassVar[str] = ""
    # Are its changes kept, so that lists can be asked with `at=`?
    has_history: ClassVar[bool] = True
    # The plural in paths, where it is not kind + "s".
    plural: ClassVar[str] = ""
    # The foreign key to what it comes with: whoever may read that may read this too.
    read_with: ClassVar[str] = ""
    # The column of the person whose own it is, and what that person may do with it without a statement.
    own_path: ClassVar[str] = ""
    own_rights: ClassVar[frozenset[str]] = frozenset()

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    org = models.ForeignKey("accounts.Organization", on_delete=models.CASCADE, related_name="+", db_index=False)
    name = models.CharField(max_length=255)
    tags = models.JSONField(default=dict, blank=True)  # {key: value}, both strings
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+", db_index=False
    )
    created_at = models.DateTimeField(default=timezone.now)
    updated_at = models.DateTimeField(auto_now=True)

    objects = ResourceQuerySet.as_manager()

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return self.name

    @classmethod
    def kind(cls) -> str:
        """The singular, as in verbs and bodies: SecurityGroup → security_group."""
        return _kind(cls.__name__)

    @property
    def cloud_ref(self) -> UUID | None:
        """The id of the cloud it lives in, if it lives in one."""
        return getattr(self, self.cloud_path) if self.cloud_path else None


ANSWERS = ("asked", "approved", "declined")  # outcomes of events about approval
_ASKED_BY = ("user_id", "via", "request_id", "token_id", "su_by", "address", "is_system")  # of an actor, kept in columns of these names


class Job(Searched, models.Model):
    """One action on one resource, from asked to done; or a bulk, whose children are those."""

    class State(models.TextChoices):
        ASKED = "asked"  # for somebody else to approve it: core/approvals.py
        WAITING = "waiting"  # for `not_before`: the undo window
        QUEUED = "queued"
        RUNNING = "running"
        SUCCEEDED = "succeeded"
        FAILED = "failed"
        CANCELLED = "cancelled"
        UNDONE = "undone"
        SKIPPED = "skipped"  # a bulk's child with nothing to do: what was asked for was so already
        LOST = "lost"  # its worker died; never silently run again

    sorts: ClassVar[dict[str, str]] = {
        "created": "created_at",
        "started": "started_at",
        "finished": "finished_at",
        "state": "state",
        "action": "action",
        "target": "target_name",
    }
    default_sort: ClassVar[str] = "-created"
    ACTIVE: ClassVar[tuple[str, ...]] = (State.WAITING, State.QUEUED, State.RUNNING)
    OPEN: ClassVar[tuple[str, ...]] = (State.ASKED, *ACTIVE)  # not over
    NOT_WHOLLY: ClassVar[Q] = Q(state__in=[State.FAILED, State.LOST]) | Q(state=State.SUCCEEDED) & ~Q(error_code="")
    has_history: ClassVar[bool] = False
    cloud_path: ClassVar[str] = "cloud_id"
    plural: ClassVar[str] = ""
    own_path: ClassVar[str] = "user_id"
    own_rights: ClassVar[frozenset[str]] = frozenset({"read"})

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    org = models.ForeignKey("accounts.Organization", on_delete=models.CASCADE, related_name="+", db_index=False)
    parent = models.ForeignKey("self", null=True, on_delete=models.CASCADE, related_name="children")
    action = models.CharField(max_length=100)  # the verb: machine.stop
    state = models.CharField(max_length=16, choices=State.choices, default=State.QUEUED)
    target_kind = models.CharField(max_length=50)
    target_id = models.UUIDField(null=True)  # none: a bulk
    target_name = models.CharField(max_length=255, blank=True)
    target_tags = models.JSONField(default=dict)  # as they were: who may see the job once the target is gone
    cloud_id = models.UUIDField(null=True)
    exclusive = models.BooleanField(default=True)
    params = models.JSONField(default=dict)  # as they were sent; never a secret
    selector = models.JSONField(null=True)  # a bulk: {"ids": […]} or {"search": "…"}
    total = models.IntegerField(null=True)  # a bulk: how many targets; of one thing that can count what it does: how much in all
    done = models.IntegerField(null=True)  # and how much of it is done
    # who
    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    via = models.CharField(max_length=80)
    request_id = models.CharField(max_length=64)
    token_id = models.UUIDField(null=True)
    su_by = models.UUIDField(null=True)
    address = models.CharField(max_length=45, blank=True)
    is_system = models.BooleanField(default=False)
    # when
    created_at = models.DateTimeField(default=timezone.now)
    not_before = models.DateTimeField(null=True)
    queue = models.CharField(max_length=20, default="interactive")
    queued_at = models.DateTimeField(null=True)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    deadline_at = models.DateTimeField(null=True)  # of the run; past it and a grace the job is lost
    worker = models.CharField(max_length=80, blank=True)  # who claimed it
    cancel_requested = models.BooleanField(default=False)
    watchers = ArrayField(models.UUIDField(), default=list)  # users who look after it beside who asked
    # who approved it, where it had to be asked for
    ask = models.TextField(blank=True, default="", db_default="")  # what for, in the words of who asked
    needs = models.TextField(blank=True, default="", db_default="")  # why it had to be asked for, a line each
    approved_at = models.DateTimeField(null=True)
    answered_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    answer = models.TextField(blank=True, default="", db_default="")  # what was said with the yes or no
    to_tell = models.BooleanField(default=False, db_default=False)  # letters are to be sent about it: asked, or answered
    # what came of it
    steps = models.JSONField(default=list)  # [{"name", "at", "state", "detail"}]
    result = models.JSONField(null=True)
    error_code = models.CharField(max_length=60, blank=True)
    error_detail = models.TextField(blank=True)
    retry_of = models.ForeignKey("self", null=True, on_delete=models.SET_NULL, related_name="retries")

    search = SearchSpec(
        kind="job",
        fields={
            "id": Id(),
            "action": Text("action"),
            "state": Choice("state", tuple(State.values)),
            "target": Either((Text("target_name"), Id("target_id"))),
            "kind": Text("target_kind", closed=True),
            "tag": Tags("target_tags"),
            "cloud": Ref("cloud_id", "clouds.Cloud", closed=True),
            "user": person("user"),
            "via": Text("via"),
            "request": Text("request_id", closed=True),
            "parent": Id("parent_id"),
            "created": Date("created_at"),
            "age": Date("created_at", durations="ago"),
            "started": Date("started_at"),
            "finished": Date("finished_at"),
            "error": Either((Text("error_detail"), Text("error_code"))),
            "approved": Date("approved_at"),
        },
        aliases={"owner": "user", "created_by": "user", "started_at": "started", "finished_at": "finished", "tags": "tag"},
        bare=("action", "target", "id", "request"),
    )

    objects = ResourceQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["target_id"],
                condition=Q(exclusive=True, state__in=["waiting", "queued", "running"], target_id__isnull=False),
                name="one_exclusive_job_a_target",
            )
        ]
        indexes = [
            models.Index(fields=["org", "-created_at", "-id"], name="job_newest"),
            models.Index(fields=["target_id", "-created_at"], name="job_of_target"),
            models.Index(fields=["parent", "state"], name="job_children"),
            models.Index(fields=["not_before"], name="job_due", condition=Q(state="waiting")),
            models.Index(fields=["state", "queued_at"], name="job_active", condition=Q(state__in=["queued", "running"])),
            models.Index(fields=["org", "created_at"], name="job_asked", condition=Q(state="asked")),
            models.Index(fields=["created_at"], name="job_to_tell", condition=Q(to_tell=True)),
        ]

    def __str__(self) -> str:
        return f"{self.action} {self.target_name}"

    @classmethod
    def kind(cls) -> str:
        return "job"

    @property
    def name(self) -> str:
        return str(self)

    @property
    def is_active(self) -> bool:
        return self.state in self.ACTIVE

    @property
    def is_partly(self) -> bool:
        """Is it done, but not all that was asked for with it? `error_detail` says what is left."""
        return self.state == self.State.SUCCEEDED and bool(self.error_code)

    @property
    def cloud_ref(self) -> UUID | None:
        return self.cloud_id

    @staticmethod
    def asked_by(actor: Actor) -> dict[str, Any]:
        """The columns that keep who asked: `actor` makes that one of them again."""
        return {name: getattr(actor, name) for name in _ASKED_BY}

    def actor(self) -> Actor:
        """Who asked for it, with the rights that person has now."""
        return Actor(org_id=self.org_id, **{name: getattr(self, name) for name in _ASKED_BY})


class Event(Searched, models.Model):
    """A fact, appended and never changed: the audit log. See core/events.py. Partitioned by month of `at`."""

    sorts: ClassVar[dict[str, str]] = {"at": "at", "type": "type", "target": "target_name"}
    default_sort: ClassVar[str] = "-at"

    has_history: ClassVar[bool] = False
    cloud_path: ClassVar[str] = "cloud_id"
    plural: ClassVar[str] = ""
    own_path: ClassVar[str] = "actor_id"
    own_rights: ClassVar[frozenset[str]] = frozenset({"read"})

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)  # in the database: (at, id)
    # None: the installation's own chain. No foreign key: an event outlives what it tells of.
    org_id = models.UUIDField(null=True)
    sequence = models.BigIntegerField(null=True)  # in its chain, from 1; none until sealed
    at = models.DateTimeField(default=timezone.now)
    type = models.CharField(max_length=120)  # <kind>.<verb>.<outcome>, or <kind>.<fact>.observed
    actor_id = models.UUIDField(null=True)
    via = models.CharField(max_length=80)
    request_id = models.CharField(max_length=64)
    target_kind = models.CharField(max_length=50, blank=True)
    target_id = models.UUIDField(null=True)
    target_name = models.CharField(max_length=255, blank=True)
    target_tags = models.JSONField(default=dict)
    cloud_id = models.UUIDField(null=True)
    job_id = models.UUIDField(null=True)
    before = models.JSONField(null=True)
    after = models.JSONField(null=True)
    detail = models.JSONField(default=dict)
    personal = models.BinaryField(null=True)  # {"email", "address", "su_by"…} under a key of that person
    digest = models.BinaryField()  # SHA-256 of the canonical JSON of all of the above but `sequence`
    hash = models.BinaryField(null=True)  # SHA-256(hash of the one before + digest), once sealed
    # Whole words of type, target and detail; see the migration.
    words = models.GeneratedField(expression=models.Value(""), output_field=SearchVectorField(), db_persist=True, db_column="search")

    search = SearchSpec(
        kind="event",
        fields={
            "id": Id(),
            "at": Date("at"),
            "age": Date("at", durations="ago"),
            "type": Text("type"),
            # type is <kind>.<verb>.<outcome>; a kind and a verb hold no dot
            "action": Text(Func(F("type"), Value(r"\.[^.]*$"), Value(""), function="regexp_replace", output_field=models.TextField())),
            "outcome": Choice(
                Func(F("type"), Value("."), Value(-1), function="split_part", output_field=models.TextField()),
                ("requested", *ANSWERS, "succeeded", "failed", "refused", "skipped", "cancelled", "undone", "observed"),
            ),
            "actor": person("actor_id"),
            "via": Text("via"),
            "target": Either((Text("target_name"), Id("target_id"))),
            "kind": Text("target_kind", closed=True),
            "request": Text("request_id", closed=True),
            "cloud": Ref("cloud_id", "clouds.Cloud", closed=True),
            "job": Id("job_id"),
            "tag": Tags("target_tags"),
            "text": Words("words"),
        },
        aliases={"user": "actor", "tags": "tag", "time": "at"},
        bare=("text", "id", "request", "job"),  # `text` holds the words of type, target and detail
    )

    objects = ResourceQuerySet.as_manager()

    class Meta:
        managed = False
        db_table = "core_event"

    def __str__(self) -> str:
        return self.type

    @classmethod
    def kind(cls) -> str:
        return "event"

    @property
    def cloud_ref(self) -> UUID | None:
        return self.cloud_id


class VaultEntry(models.Model):
    """A secret, encrypted with a key that is not in the database. See core/vault.py."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    org = models.ForeignKey("accounts.Organization", null=True, on_delete=models.CASCADE, related_name="+")
    purpose = models.CharField(max_length=60)  # cloud, key, person …
    ciphertext = models.BinaryField()
    created_at = models.DateTimeField(default=timezone.now)
    sealed_at = models.DateTimeField(default=timezone.now)  # when last encrypted


class PersonKey(models.Model):
    """A key under which events hold what is personal of one person. Its row gone, that is erased. See core/personal.py."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    lookup = models.BinaryField(db_index=True)  # HMAC of user:<id>, email:<e-mail> or address:<address>
    user_id = models.UUIDField(null=True, db_index=True)
    email_hash = models.BinaryField(null=True, db_index=True)
    vault = models.OneToOneField(VaultEntry, on_delete=models.CASCADE, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)


class Checkpoint(models.Model):
    """A sealed batch of one chain of events, signed with a key outside the database. See core/chain.py."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    org_id = models.UUIDField(null=True)  # none: the installation's own chain
    first = models.BigIntegerField()  # sequences, both included
    last = models.BigIntegerField()
    first_at = models.DateTimeField()  # the span of its events' `at`
    last_at = models.DateTimeField()
    previous = models.BinaryField()  # the chain's hash before it
    hash = models.BinaryField()  # and after it
    sealed_at = models.DateTimeField(default=timezone.now)
    signature = models.BinaryField()  # 8 bytes of the public key, then Ed25519
    # Retention removed its events; signed too, so that a removal nobody ordered cannot be passed off as retention.
    dropped_at = models.DateTimeField(null=True)
    dropped_signature = models.BinaryField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["org_id", "last"], nulls_distinct=False, name="one_checkpoint_a_place"),
        ]
        indexes = [models.Index(fields=["sealed_at"], name="checkpoint_sealed")]


class Worker(models.Model):
    """A process that runs jobs, and when it last said so. A running job whose worker fell silent is lost."""

    name = models.CharField(primary_key=True, max_length=80)
    queue = models.CharField(max_length=20)
    started_at = models.DateTimeField(default=timezone.now)
    beat_at = models.DateTimeField(default=timezone.now)


class Revision(models.Model):
    """A row as it was from `from_at` until `to_at`; written by a trigger of the database (core/history.py)."""

    id = models.BigAutoField(primary_key=True)
    table = models.CharField(max_length=63)
    row_id = models.UUIDField()
    org_id = models.UUIDField()
    from_at = models.DateTimeField()
    to_at = models.DateTimeField(null=True)
    row = models.JSONField()

    class Meta:
        indexes = [
            models.Index(fields=["table", "org_id", "from_at"], name="revision_from"),
            models.Index(fields=["row_id", "from_at"], name="revision_of_row"),
        ]


class IdempotencyKey(models.Model):
    """The first answer to an unsafe request that carried `Idempotency-Key`; kept 24 h."""

    id = models.BigAutoField(primary_key=True)
    scope = models.CharField(max_length=120)  # organization and user, or token
    key = models.CharField(max_length=200)
    digest = models.CharField(max_length=64)  # of method, path and body: HMAC-SHA256 under the signing key
    request_id = models.CharField(max_length=64, default="")  # of the first request: its jobs tell whether it acted
    status = models.IntegerField(null=True)  # none: the first request is at work, or died
    answer = models.BinaryField(null=True)  # encrypted with the vault's keys: it may show a secret
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["scope", "key"], name="one_answer_a_key")]


__all__ = [
    "Checkpoint",
    "Event",
    "IdempotencyKey",
    "Job",
    "PersonKey",
    "Resource",
    "ResourceQuerySet",
    "Revision",
    "VaultEntry",
    "Worker",
    "new_id",
]
