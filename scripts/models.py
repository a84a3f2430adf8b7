"""Scripts, their versions, and what became of each host of a run. Output is in scripts/output.py's own table."""

from __future__ import annotations

from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower
from django.utils import timezone

from core.models import Job, Resource, ResourceQuerySet, new_id
from core.search import RESOURCE_ALIASES, RESOURCE_FIELDS, Choice, Date, Number, Ref, SearchSpec, Text
from keys.models import Key
from machines.models import Machine


class Script(Resource):
    """Something that can be run on machines; what it says is in its versions."""

    class Exec(models.TextChoices):
        EXECUTABLE = "executable"
        ANSIBLE = "ansible"

    class Source(models.TextChoices):
        INLINE = "inline"
        URL = "url"
        GITHUB = "github"  # the contract's word; any Git repository
        GIT = "git"

    description = models.TextField(blank=True)
    exec_type = models.CharField(max_length=12, choices=Exec.choices, default=Exec.EXECUTABLE)
    location_type = models.CharField(max_length=8, choices=Source.choices, default=Source.INLINE)
    location = models.CharField(max_length=2000, blank=True)  # the URL or repository; "" of inline text
    ref = models.CharField(max_length=255, blank=True)  # of a repository: branch, tag or commit
    key = models.ForeignKey(Key, null=True, on_delete=models.SET_NULL, related_name="+")  # by which a repository over SSH is read
    # A reference to the secret by which a private address is read. The database's default is for the release before this one.
    token = models.CharField(max_length=600, blank=True, default="", db_default="")
    latest = models.PositiveIntegerField(default=1)  # the number of its newest version

    search = SearchSpec(
        kind="script",
        fields={
            **RESOURCE_FIELDS,
            "description": Text("description"),
            "type": Choice("exec_type", tuple(Exec.values)),
            "source": Choice("location_type", tuple(Source.values)),
            "location": Text("location"),
            "version": Number("latest"),
            "created": Date("created_at"),
            "age": Date("created_at", durations="ago"),
            "changed": Date("updated_at"),
        },
        aliases={**RESOURCE_ALIASES, "exec_type": "type", "location_type": "source", "updated": "changed"},
        bare=("name", "id", "description", "tag"),
    )
    sorts: ClassVar[dict[str, str]] = {"name": "name", "created": "created_at", "changed": "updated_at", "type": "exec_type"}

    objects = ResourceQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint("org", Lower("name"), name="script_unique_name")]


class ScriptVersion(models.Model):
    """What a script said from one edit to the next. Never changed: the database refuses it."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    script = models.ForeignKey(Script, on_delete=models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField()
    content = models.BinaryField()  # the file itself, or a tar.gz of the folder (scripts/content.py)
    is_bundle = models.BooleanField(default=False)
    size = models.PositiveIntegerField()  # bytes, unpacked
    digest = models.CharField(max_length=64)  # SHA-256 over paths, modes and bytes: hex
    entrypoint = models.CharField(max_length=500)
    interpreter = models.CharField(max_length=60, blank=True)  # bash, python3 …, for people
    parameters = models.JSONField(default=list)  # scripts/parameters.py
    origin = models.CharField(max_length=2100, blank=True)  # where it came from: the URL, or repository@commit
    created_by = models.ForeignKey("accounts.User", null=True, on_delete=models.SET_NULL, related_name="+", db_index=False)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["script", "number"], name="script_version_number")]

    def __str__(self) -> str:
        return f"v{self.number}"


class Run(Resource):
    """One run of a script on some machines. Its id is its job's. Whoever asked for it may read and stop it."""

    has_history: ClassVar[bool] = False
    own_path: ClassVar[str] = "created_by_id"
    own_rights: ClassVar[frozenset[str]] = frozenset({"read"})

    class State(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        SUCCEEDED = "succeeded"
        FAILED = "failed"
        CANCELLED = "cancelled"
        UNKNOWN = "unknown"  # its worker died: some hosts may have run it or not

    ACTIVE: ClassVar[tuple[str, ...]] = (State.QUEUED, State.RUNNING)

    job = models.OneToOneField(Job, on_delete=models.CASCADE, related_name="+")
    script = models.ForeignKey(Script, null=True, on_delete=models.SET_NULL, related_name="runs")
    version = models.ForeignKey(ScriptVersion, null=True, on_delete=models.SET_NULL, related_name="+")
    version_number = models.PositiveIntegerField()
    exec_type = models.CharField(max_length=12, choices=Script.Exec.choices)
    state = models.CharField(max_length=12, choices=State.choices, default=State.QUEUED)
    selector = models.JSONField()  # {"ids": [hex]} or {"search": "…"}
    parameters = models.JSONField(default=dict)  # values as sent; a secret is a reference
    arguments = models.JSONField(default=list)  # further words of its command line
    environment = models.JSONField(default=dict)
    su = models.BooleanField(default=False)
    dry = models.BooleanField(default=False)
    timeout_s = models.PositiveIntegerField(default=3600)  # of one host
    concurrency = models.PositiveIntegerField(default=50)
    wave = models.CharField(max_length=20, blank=True)  # "10", "25%", "location", "cloud"; "" all together
    stop_after = models.PositiveIntegerField(null=True)  # failures, after which no further host begins
    retry_of = models.ForeignKey("self", null=True, on_delete=models.SET_NULL, related_name="+")
    total = models.PositiveIntegerField(default=0)
    counts = models.JSONField(default=dict)  # {state of a host: how many}
    note = models.CharField(max_length=500, blank=True)  # why it ended as it did
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    search = SearchSpec(
        kind="run",
        fields={
            **RESOURCE_FIELDS,
            "script": Ref("script", "scripts.Script", closed=True),
            "state": Choice("state", tuple(State.values)),
            "type": Choice("exec_type", tuple(Script.Exec.values)),
            "version": Number("version_number"),
            "total": Number("total"),
            "created": Date("created_at"),
            "age": Date("created_at", durations="ago"),
            "started": Date("started_at"),
            "finished": Date("finished_at"),
        },
        aliases=RESOURCE_ALIASES,
        bare=("name", "id", "tag"),
    )
    sorts: ClassVar[dict[str, str]] = {"created": "created_at", "name": "name", "state": "state", "total": "total"}
    default_sort: ClassVar[str] = "-created"

    objects = ResourceQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["org", "-created_at", "-id"], name="run_newest"),
            models.Index(fields=["script", "-created_at"], name="run_of_script"),
            models.Index(fields=["state"], name="run_active", condition=Q(state__in=["queued", "running"])),
        ]

    @property
    def is_active(self) -> bool:
        return self.state in self.ACTIVE


class RunHost(models.Model):
    """A run on one host."""

    class State(models.TextChoices):
        WAITING = "waiting"
        RUNNING = "running"
        SUCCEEDED = "succeeded"
        FAILED = "failed"
        CANCELLED = "cancelled"
        SKIPPED = "skipped"  # it was not begun: a stop condition, no right, no address
        UNKNOWN = "unknown"  # it began and nobody saw it end

    DONE: ClassVar[tuple[str, ...]] = (State.SUCCEEDED, State.FAILED, State.CANCELLED, State.SKIPPED, State.UNKNOWN)
    AGAIN: ClassVar[tuple[str, ...]] = (State.FAILED, State.UNKNOWN, State.CANCELLED)  # what “retry failed” takes

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="hosts")
    machine = models.ForeignKey(Machine, null=True, on_delete=models.SET_NULL, related_name="+")
    name = models.CharField(max_length=255)
    place = models.CharField(max_length=255, blank=True)  # what its wave is named by
    wave = models.PositiveIntegerField(default=0)
    state = models.CharField(max_length=10, choices=State.choices, default=State.WAITING)
    exit = models.IntegerField(null=True)  # negative: ended by that signal
    code = models.CharField(max_length=60, blank=True)  # why it failed, where it was not the script
    detail = models.TextField(blank=True)
    facts = models.JSONField(default=dict)  # of Ansible: {"ok": 3, "changed": 1 …}
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    size = models.BigIntegerField(default=0)  # bytes of output kept
    dropped = models.BigIntegerField(default=0)  # bytes beyond the cap
    digest = models.CharField(max_length=64, blank=True)  # of the output: SHA-256, hex
    alike = models.CharField(max_length=64, blank=True)  # the same with names, addresses, times and numbers left out
    last_line = models.CharField(max_length=200, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["run", "machine"], name="one_host_a_run")]
        indexes = [
            models.Index(fields=["run", "wave", "name"], name="run_host_order"),
            models.Index(fields=["run", "state"], name="run_host_state"),
            models.Index(fields=["machine", "-started_at"], name="run_host_of_machine"),
        ]

    def __str__(self) -> str:
        return self.name


class Chunk(models.Model):
    """A piece of one host's output, in the order it came. Appended, never changed. See scripts/output.py."""

    id = models.BigAutoField(primary_key=True)
    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="+", db_index=False)
    host = models.ForeignKey(RunHost, on_delete=models.CASCADE, related_name="+", db_index=False)
    start = models.BigIntegerField()  # of its first byte in the host's output
    size = models.PositiveIntegerField()  # bytes, as the host wrote them (secrets masked)
    data = models.BinaryField()  # zlib
    marks = ArrayField(models.BigIntegerField())  # (length, 1 stdout or 2 stderr, ms since the run began) … in a row

    class Meta:
        indexes = [
            models.Index(fields=["run", "id"], name="chunk_of_run"),
            models.Index(fields=["host", "start"], name="chunk_of_host"),
        ]


class AfterCreation(models.Model):
    """A script to be run on a machine once it answers, asked for when the machine was created."""

    class State(models.TextChoices):
        WAITING = "waiting"
        TAKEN = "taken"  # its job is being made
        BEGUN = "begun"
        FAILED = "failed"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    machine = models.ForeignKey("machines.Machine", on_delete=models.CASCADE, related_name="after_creation")
    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="+")  # of the creation: who asked, through what
    script = models.ForeignKey(Script, null=True, on_delete=models.SET_NULL, related_name="+")
    name = models.CharField(max_length=255)  # the script's, then
    params = models.JSONField(default=dict)  # of machine.run, but the script
    position = models.PositiveSmallIntegerField()
    state = models.CharField(max_length=8, choices=State.choices, default=State.WAITING)
    detail = models.CharField(max_length=500, blank=True)  # why it failed
    run = models.ForeignKey(Run, null=True, on_delete=models.SET_NULL, related_name="+", db_index=False)
    until = models.DateTimeField()
    begun_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["machine", "position"]
        indexes = [models.Index(fields=["until"], condition=models.Q(state="waiting"), name="after_creation_waiting")]
        constraints = [models.UniqueConstraint(fields=["machine", "position"], name="after_creation_position")]

    def __str__(self) -> str:
        return f"{self.name} on {self.machine_id}"
