"""Machines and snapshots over HTTP."""

from __future__ import annotations

from typing import Any

from django.db.models import Prefetch
from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from clouds.api import InventorySerializer
from core import guard, listing
from core.actions import allowed, get, perform, slug, validated
from core.api import RefField, ResourceViewSet
from core.api.fields import ACTIONS, OBJECT, HexField, JsonField
from core.api.lists import refuse_unknown
from core.api.schema import TEXT, takes
from core.api.viewset import JobAnswer, job_answer, job_response
from core.bulks import CREATE_CAP, bulk_create
from core.errors import Conflict, Denied, Invalid, NotFound
from core.models import Job
from keys.models import AuthorityTrust, KeyAssociation
from machines.actions.create import CreateParams, InCloudField, numbered, plan
from machines.models import Machine, Preset, Snapshot
from machines.reach import address_of


class CostSerializer(serializers.Serializer[Any]):
    """What it costs. Null is unknown."""

    hourly = serializers.FloatField(allow_null=True)
    monthly = serializers.FloatField(allow_null=True)
    currency = serializers.CharField()
    source = serializers.CharField()


class ExpirationSerializer(serializers.Serializer[Any]):
    """When it is to be stopped or destroyed. `notify`: seconds before, to remind its owner."""

    date = serializers.DateTimeField()
    action = serializers.CharField()
    notify = serializers.IntegerField(allow_null=True)
    notify_msg = serializers.CharField()


class AssociationSerializer(serializers.Serializer[Any]):
    """A key that opens a machine, and as whom."""

    id = HexField()
    key = RefField()
    machine = HexField(source="machine_id")
    user = serializers.CharField(read_only=True)
    port = serializers.IntegerField(read_only=True)
    sudo = serializers.BooleanField(read_only=True)
    last_used = serializers.SerializerMethodField()

    def get_last_used(self, row: KeyAssociation) -> int | None:
        return int(row.last_used_at.timestamp()) if row.last_used_at else None


class TrustSerializer(serializers.Serializer[Any]):
    """A certificate authority of the organization that the machine trusts, and for which login."""

    authority = RefField()
    user = serializers.CharField(read_only=True)
    port = serializers.IntegerField(read_only=True)
    last_used = serializers.SerializerMethodField()

    get_last_used = AssociationSerializer.get_last_used


class MachineSerializer(InventorySerializer):
    """A machine, in the contract's fields and some of ours."""

    hostname = serializers.CharField(read_only=True)
    state = serializers.ChoiceField(choices=Machine.State.choices, read_only=True)
    type = serializers.ChoiceField(choices=Machine.Type.choices, read_only=True)
    tags = serializers.DictField(child=serializers.CharField(), read_only=True)
    owned_by = RefField(source="owner")
    created_by = RefField()
    default = serializers.SerializerMethodField()
    parent = RefField()
    location = RefField()
    size = RefField()
    image = RefField()
    network = RefField()
    subnet = RefField()
    cluster = serializers.SerializerMethodField()
    cores = serializers.FloatField(read_only=True, allow_null=True)
    ram_mib = serializers.IntegerField(read_only=True, allow_null=True)
    disk_gib = serializers.IntegerField(read_only=True, allow_null=True)
    public_ips = serializers.ListField(child=serializers.CharField(), read_only=True)
    private_ips = serializers.ListField(child=serializers.CharField(), read_only=True)
    address = serializers.CharField(read_only=True)
    os_type = serializers.CharField(read_only=True)
    architecture = serializers.CharField(read_only=True)
    cost = serializers.SerializerMethodField()
    created = serializers.SerializerMethodField()
    expiration = serializers.SerializerMethodField()
    locked = serializers.SerializerMethodField(help_text="Nobody stops, resizes or destroys it without approval.")
    locked_at = serializers.DateTimeField(read_only=True, allow_null=True)
    locked_by = RefField()
    lock_note = serializers.SerializerMethodField()
    key_associations = AssociationSerializer(many=True, read_only=True, source="opened_by")
    authority_trusts = TrustSerializer(many=True, read_only=True, source="trusting")
    monitoring = serializers.SerializerMethodField()
    ports = serializers.SerializerMethodField()
    probe = serializers.SerializerMethodField()
    unreachable_since = serializers.SerializerMethodField()
    actions = serializers.SerializerMethodField()

    def get_default(self, row: Machine) -> bool:
        return False

    def get_cluster(self, row: Machine) -> str | None:
        return None

    @extend_schema_field(CostSerializer)
    def get_cost(self, row: Machine) -> dict[str, Any]:
        return {
            "hourly": float(row.cost_hour) if row.cost_hour is not None else None,
            "monthly": float(row.cost_month) if row.cost_month is not None else None,
            "currency": row.currency,
            "source": "provider" if row.cost_hour is not None else "unknown",
        }

    @extend_schema_field(OpenApiTypes.DATETIME)
    def get_created(self, row: Machine) -> str:
        return (row.machine_created_at or row.created_at).isoformat()

    @extend_schema_field(ExpirationSerializer(allow_null=True))
    def get_expiration(self, row: Machine) -> dict[str, Any] | None:
        if row.expires_at is None:
            return None
        return {"date": row.expires_at.isoformat(), "action": row.expire_action, "notify": row.remind_s, "notify_msg": row.remind_message}

    def get_locked(self, row: Machine) -> bool:
        return row.locked_at is not None

    def get_lock_note(self, row: Machine) -> str:
        return row.lock_note or ""  # null in rows kept before there were locks

    def get_monitoring(self, row: Machine) -> bool:
        return False

    @extend_schema_field(OBJECT)
    def get_ports(self, row: Machine) -> dict[str, Any]:
        return dict(row.extra.get("ports") or {}) if isinstance(row.extra.get("ports"), dict) else {}

    @extend_schema_field(OBJECT)
    def get_probe(self, row: Machine) -> dict[str, Any]:
        return dict(row.extra.get("probe") or {})

    @extend_schema_field({"type": "string", "format": "date-time", "nullable": True})
    def get_unreachable_since(self, row: Machine) -> str | None:
        return row.extra.get("unreachable_since")

    @extend_schema_field(ACTIONS)
    def get_actions(self, row: Machine) -> dict[str, Any]:
        return allowed(self.context["actor"], row)


class CreateMachineRequest(CreateParams):
    """The contract's body: `net` is `network`, `disks` the size of the disk, `dry` answers the plan alone.

    `quantity` makes name-1 …, or web-01 … from web-{n:02}.
    """

    net = InCloudField("network", required=False)
    quantity = serializers.IntegerField(required=False, min_value=1, max_value=CREATE_CAP, default=1)
    dry = serializers.BooleanField(required=False, default=False)


NAMED = ("parent", "location", "size", "image", "network", "subnet")
OWN = [f.name for f in Machine._meta.concrete_fields if f.name not in ("fingerprint", "cloud_tags")]


class CreatedMachine(JobAnswer):
    """The job and the row of the (first) new machine, all of them in `jobs`, and the plan; with `dry` the plan alone."""

    jobId = serializers.CharField(required=False)  # noqa: N815 - the contract's name
    action = serializers.CharField(required=False)
    state = serializers.ChoiceField(choices=Job.State.choices, required=False)
    not_before = serializers.DateTimeField(allow_null=True, required=False)
    result = JsonField(allow_null=True, required=False)
    machine = serializers.CharField(required=False)
    jobs = serializers.ListField(child=serializers.DictField(child=serializers.CharField()), required=False)
    plan = JsonField()


class MachineViewSet(ResourceViewSet):
    """Machines on every cloud, hypervisor, container host and rack."""

    operation_ids = {"rdp": "get_machine_rdp"}
    unread = frozenset({"machine", "last_used"})  # a key association says again what its path says, and what we know better
    written = frozenset({"shell"})  # session_api: the answer leads to a socket
    # Of what a row refers to only the name is read: nine whole rows beside each machine cost more than the machines.
    queryset = (
        Machine.objects.select_related("cloud", *NAMED, "owner", "created_by", "locked_by")
        .only(
            *OWN,
            "cloud__name",
            "cloud__provider",
            "cloud__enabled",
            *(f"{ref}__name" for ref in NAMED),
            "owner__email",
            "created_by__email",
            "locked_by__email",
        )
        .prefetch_related(
            Prefetch("key_associations", queryset=KeyAssociation.objects.select_related("key"), to_attr="opened_by"),
            Prefetch("authority_trusts", queryset=AuthorityTrust.objects.select_related("authority"), to_attr="trusting"),
        )
    )
    serializer_class = MachineSerializer
    create_params = CreateMachineRequest
    answers = {"create": CreatedMachine}

    def create(self, request: Request, **kwargs: Any) -> Response:
        """Create one or more machines. `dry`: the plan alone."""
        refuse_unknown(request, ())
        body = self.known(contract_body(self.body()))
        quantity, dry = _quantity(body.pop("quantity", 1)), body.pop("dry", False) in (True, "true", "1", 1)
        params = validated(get("machine.create"), self.actor, body, None)
        what = plan(params) | {"quantity": quantity}
        if dry:
            draft = get("machine.create").draft(self.actor, params)
            if self.actor.read_only or not guard.permits(self.actor, draft, "create"):
                raise Denied("You may not create machines here. Ask an owner of the organization.", reason="no statement allows it")
            return Response({"data": {"plan": what}})
        names = numbered(body["name"], quantity)
        if quantity > 1 and self.actor.ask is not None:  # one yes for all of them
            return job_response(bulk_create(self.actor, Machine, "create", [{**body, "name": name} for name in names]), plan=what)
        made = [perform(self.actor, Machine, "create", {**body, "name": name}) for name in names]
        jobs = [{"jobId": job.pk.hex, "machine": job.target_id.hex} for job in made if job.target_id]
        return Response(job_answer(made[0], plan=what, machine=made[0].target_id.hex if made[0].target_id else None, jobs=jobs))

    @takes(user={"type": "string", "maxLength": 100, "default": "Administrator"})
    @extend_schema(responses={(200, "application/x-rdp"): OpenApiTypes.STR})
    def rdp(self, request: Request, **kwargs: Any) -> HttpResponse:
        """A file that opens the machine in a remote desktop client."""
        refuse_unknown(request, ("user",))
        machine: Machine = self.find()
        user = request.query_params.get("user", "Administrator")
        if any(ord(c) < 32 for c in user) or len(user) > 100:
            raise Invalid(fields={"user": ["Printable characters, at most 100."]})
        host = address_of(machine)
        if not host:
            raise Conflict(f"{machine} has no address yet.", code="no_address")
        port = machine.extra.get("rdp_port") or 3389
        where = f"[{host}]" if ":" in host else host
        text = f"full address:s:{where}:{int(port)}\r\nusername:s:{user}\r\nprompt for credentials:i:1\r\n"
        response = HttpResponse(text, content_type="application/x-rdp")
        response["Content-Disposition"] = f'attachment; filename="{slug(machine.name) or machine.pk.hex}.rdp"'
        return response


def _quantity(value: Any) -> int:
    number = serializers.IntegerField(min_value=1, max_value=CREATE_CAP)
    try:
        found: int = number.run_validation(value)
    except serializers.ValidationError as error:
        raise Invalid(fields={"quantity": error.detail}) from error
    return found


def contract_body(body: dict[str, Any]) -> dict[str, Any]:
    """The ancestor's names in ours."""
    body = dict(body)
    net = body.pop("net", None)
    if isinstance(net, dict):
        for theirs, ours in (("network", "network"), ("networks", "network"), ("subnet", "subnet"), ("security_group", "security_groups")):
            if theirs in net:
                value = net[theirs][0] if ours == "network" and isinstance(net[theirs], list) and net[theirs] else net[theirs]
                body.setdefault(ours, value if ours != "security_groups" or isinstance(value, list) else [value])
    elif net is not None:
        body.setdefault("network", net)
    if isinstance(body.get("key"), dict) and body["key"].get("user"):
        body.setdefault("user", body["key"]["user"])
    for name in ("provider", "save", "optimize", "template"):
        body.pop(name, None)
    for name in ("fqdn", "scripts", "schedules", "monitoring"):  # sent empty by its clients; with something in it, it is refused
        if not body.get(name) and name in body:
            body.pop(name)
    disks = body.pop("disks", None)
    if isinstance(disks, dict) and isinstance(body.get("size"), dict) and "disk_size" in disks:
        body["size"] = {**body["size"], "disk_gib": disks["disk_size"]}
    if isinstance(body.get("extra"), str) and not body["extra"]:
        body.pop("extra")
    return body


class SnapshotSerializer(InventorySerializer):
    """A snapshot."""

    machine = RefField()
    description = serializers.CharField(read_only=True)
    created = serializers.DateTimeField(source="taken_at", read_only=True, allow_null=True)
    active = serializers.BooleanField(read_only=True)


class SnapshotViewSet(ResourceViewSet):
    """All snapshots; those of one machine, and what can be done to them, lie below the machine."""

    operation_ids = {"list": "list_all_snapshots"}

    queryset = Snapshot.objects.select_related("cloud", "machine")
    serializer_class = SnapshotSerializer


class PresetSerializer(serializers.Serializer[Any]):
    """A way to create machines, kept under a name."""

    id = HexField()
    name = serializers.CharField(read_only=True)
    cloud = RefField()
    params = JsonField(read_only=True)
    quantity = serializers.IntegerField(read_only=True)
    tags = serializers.DictField(child=serializers.CharField(), read_only=True)
    owned_by = RefField(source="owner")
    created_by = RefField()


class PresetViewSet(ResourceViewSet):
    """The organization's presets: start a create from one."""

    queryset = Preset.objects.select_related("cloud", "owner", "created_by")
    serializer_class = PresetSerializer


class SnapshotRequest(serializers.Serializer[Any]):
    """What to call it. The contract sends `name` in the query."""

    name = serializers.CharField(max_length=255, required=False)
    description = serializers.CharField(max_length=1000, required=False, allow_blank=True)


class MachineSnapshotViewSet(ResourceViewSet):
    """The snapshots of one machine."""

    queryset = Snapshot.objects.select_related("cloud", "machine")
    serializer_class = SnapshotSerializer
    lookup_url_kwarg = "snapshot"
    asks = frozenset({"create", "destroy", "revert"})
    answers = {"create": JobAnswer, "destroy": JobAnswer}
    operation_ids = {
        "list": "list_snapshots",
        "create": "create_snapshot",
        "destroy": "remove_snapshot",
        "revert": "revert_to_snapshot",
    }

    def machine(self) -> Machine:
        found: Machine = listing.one(Machine.objects.select_related("cloud"), self.actor, self.kwargs["machine"])
        return found

    def rows(self) -> Any:
        return self.queryset.filter(machine=self.machine())

    def find(self) -> Snapshot:
        found = listing.by_id_or_name(self.rows().visible_to(self.actor), self.kwargs["snapshot"])
        found = found or list(self.rows().visible_to(self.actor).filter(external_id=self.kwargs["snapshot"].replace("\x00", "")))
        if not found:
            raise NotFound
        if len(found) > 1:
            raise Conflict("Several have this name: use an id.", code="ambiguous_name", ids=[row.pk.hex for row in found])
        snapshot: Snapshot = found[0]
        return snapshot

    @extend_schema(responses=SnapshotSerializer)
    def list(self, request: Request, **kwargs: Any) -> Any:
        """The snapshots of a machine."""
        return super().list(request, **kwargs)

    @takes(name=TEXT)
    @extend_schema(request=SnapshotRequest, responses=JobAnswer)
    def create(self, request: Request, **kwargs: Any) -> Response:
        """Take one."""
        refuse_unknown(request, ("name",))
        body = {**({"name": request.query_params["name"]} if "name" in request.query_params else {}), **self.body()}
        return Response(job_answer(perform(self.actor, self.machine(), "create_snapshot", body)))

    @extend_schema(request=None, responses=JobAnswer)
    def destroy(self, request: Request, **kwargs: Any) -> Response:
        """Drop one."""
        refuse_unknown(request, ())
        return Response(job_answer(perform(self.actor, self.machine(), "remove_snapshot", {"snapshot": self.find().pk.hex})))

    @extend_schema(request=None, responses=JobAnswer)
    def revert(self, request: Request, **kwargs: Any) -> Response:
        """Put the machine back into it."""
        refuse_unknown(request, ())
        return Response(job_answer(perform(self.actor, self.machine(), "revert_to_snapshot", {"snapshot": self.find().pk.hex})))
