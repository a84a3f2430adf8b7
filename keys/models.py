"""SSH keys, where they are associated, the host keys we know; secrets, and the stores outside that may keep them."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Func, Q, Value
from django.db.models.functions import Lower
from django.utils import timezone

from core.models import Resource, ResourceQuerySet, new_id
from core.search import RESOURCE_ALIASES, RESOURCE_FIELDS, Bool, Date, Present, Ref, SearchSpec, Text


class Key(Resource):
    """An SSH key pair. The private part is in the vault."""

    public = models.TextField()  # OpenSSH line
    fingerprint = models.CharField(max_length=80)  # SHA256:…
    algorithm = models.CharField(max_length=40)  # ssh-ed25519 …
    certificate = models.TextField(blank=True)
    is_default = models.BooleanField(default=False)
    vault = models.ForeignKey("core.VaultEntry", null=True, on_delete=models.PROTECT, related_name="+")

    search = SearchSpec(
        kind="key",
        fields={
            **RESOURCE_FIELDS,
            "fingerprint": Text("fingerprint"),
            "algorithm": Text("algorithm"),
            "default": Bool("is_default"),
        },
        aliases=RESOURCE_ALIASES,
        bare=("name", "id", "fingerprint", "tag"),
    )

    objects = ResourceQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint("org", Lower("name"), name="key_unique_name"),
            models.UniqueConstraint(fields=["org"], condition=Q(is_default=True), name="one_default_key"),
        ]


class KeyAssociation(models.Model):
    """That a key opens a machine, as whom and on which port."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    org = models.ForeignKey("accounts.Organization", on_delete=models.CASCADE, related_name="+")
    key = models.ForeignKey(Key, on_delete=models.CASCADE, related_name="associations")
    machine = models.ForeignKey("machines.Machine", on_delete=models.CASCADE, related_name="key_associations")
    user = models.CharField(max_length=64, default="root")
    port = models.PositiveIntegerField(default=22)
    sudo = models.BooleanField(default=False)
    last_used_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["key", "machine", "user", "port"], name="one_association")]


class Authority(Resource):
    """An SSH certificate authority of the organization. At each login it signs a key made for it, for five minutes.

    One is current; those before it sign for the machines that still trust them alone. The private part, in the vault, never leaves.
    """

    has_history: ClassVar[bool] = False
    plural: ClassVar[str] = "authorities"

    public = models.TextField()  # OpenSSH line
    fingerprint = models.CharField(max_length=80)
    is_current = models.BooleanField(default=True)
    retired_at = models.DateTimeField(null=True)
    vault = models.ForeignKey("core.VaultEntry", on_delete=models.PROTECT, related_name="+")

    search = SearchSpec(
        kind="authority",
        fields={**RESOURCE_FIELDS, "fingerprint": Text("fingerprint"), "current": Bool("is_current")},
        aliases=RESOURCE_ALIASES,
        bare=("name", "id", "fingerprint", "tag"),
    )

    objects = ResourceQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint("org", Lower("name"), name="authority_unique_name"),
            models.UniqueConstraint(fields=["org"], condition=Q(is_current=True), name="one_current_authority"),
        ]

    @property
    def line(self) -> str:
        """What a machine needs in the authorized_keys of a user: whoever holds a certificate for that user is let in."""
        return f"cert-authority {self.public} {self.comment}"

    @property
    def comment(self) -> str:
        return f"mist-{self.pk.hex[:12]}"


class AuthorityTrust(models.Model):
    """That a machine lets in, as `user`, whom an authority has signed for."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    org = models.ForeignKey("accounts.Organization", on_delete=models.CASCADE, related_name="+")
    authority = models.ForeignKey(Authority, on_delete=models.PROTECT, related_name="trusts")
    machine = models.ForeignKey("machines.Machine", on_delete=models.CASCADE, related_name="authority_trusts")
    user = models.CharField(max_length=64, default="root")
    port = models.PositiveIntegerField(default=22)
    last_used_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["machine", "user", "port"], name="one_trust")]


class HostKey(Resource):
    """The public key a host is known by; its name is `host:port`. Another one from the same address is refused."""

    cloud_path: ClassVar[str] = "cloud_id"
    has_history: ClassVar[bool] = False
    plural: ClassVar[str] = "host-keys"

    cloud = models.ForeignKey("clouds.Cloud", null=True, on_delete=models.CASCADE, related_name="+")
    host = models.CharField(max_length=255)
    port = models.PositiveIntegerField(default=22)
    public = models.TextField(blank=True)  # OpenSSH line; "": at most fingerprints are known, and it shows none of them
    fingerprint = models.CharField(max_length=400)  # of several that a console printed: with spaces between; "": nothing is known
    source = models.CharField(max_length=30, default="first-use")  # first-use, console, cloud-init, operator; unmet: nobody
    trusted_at = models.DateTimeField(default=timezone.now)
    offered = models.TextField(blank=True)  # the other key it shows since `offered_at`: it is blocked until somebody decides
    offered_at = models.DateTimeField(null=True)
    offered_from = models.CharField(max_length=30, blank=True)  # who else knows that one: cloud-init, console; "": nobody
    compared_at = models.DateTimeField(null=True)  # with what its console printed, some time after the first use

    search = SearchSpec(
        kind="host_key",
        fields={
            **RESOURCE_FIELDS,
            "host": Text("host"),
            "fingerprint": Text("fingerprint"),
            "source": Text("source", closed=True),
            "cloud": Ref("cloud", "clouds.Cloud", closed=True),
            "trusted": Date("trusted_at"),
            "changed": Present("offered_at"),
        },
        aliases=RESOURCE_ALIASES,
        bare=("name", "id", "fingerprint"),
    )

    objects = ResourceQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["org", "host", "port", "public"], name="one_pin")]


class GivenHostKey(models.Model):
    """The host key put into a machine by its cloud-init disk: what it has to show the first time it is dialled, wherever that is."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    machine = models.OneToOneField("machines.Machine", on_delete=models.CASCADE, related_name="given_host_key")
    public = models.TextField()  # OpenSSH line
    fingerprint = models.CharField(max_length=80)
    created_at = models.DateTimeField(default=timezone.now)


class SecretStore(Resource):
    """Where values of secrets are kept outside: a HashiCorp Vault or OpenBao, its key-value engine of version 2.

    Who Mist is there, by a token or an AppRole, is in our own vault.
    """

    has_history: ClassVar[bool] = False
    plural: ClassVar[str] = "secret-stores"

    address = models.CharField(max_length=500)  # https://vault.example.org:8200
    mount = models.CharField(max_length=200, default="secret")
    namespace = models.CharField(max_length=200, blank=True)
    role_id = models.CharField(max_length=200, blank=True)  # of an AppRole; "": a token is used
    ca = models.TextField(blank=True)  # PEM; "": the system's
    is_default = models.BooleanField(default=False)  # new secrets go there
    loopback = models.BooleanField(default=False)  # an installation admin set it up: it may be this very machine
    vault = models.ForeignKey("core.VaultEntry", on_delete=models.PROTECT, related_name="+")  # {"token"} or {"secret_id"}

    search = SearchSpec(
        kind="secret_store",
        fields={**RESOURCE_FIELDS, "address": Text("address"), "default": Bool("is_default")},
        aliases=RESOURCE_ALIASES,
        bare=("name", "id", "address", "tag"),
    )

    objects = ResourceQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint("org", Lower("name"), name="secret_store_unique_name"),
            models.UniqueConstraint(fields=["org"], condition=Q(is_default=True), name="one_default_secret_store"),
        ]


class Secret(Resource):
    """A named set of values, each under a key. The values are in the vault, or in a store outside under `path`; never in this row."""

    has_history: ClassVar[bool] = False

    keys = ArrayField(models.CharField(max_length=128), default=list)  # sorted; of the version last seen
    latest = models.PositiveIntegerField(default=0)  # the number of that version
    store = models.ForeignKey(SecretStore, null=True, on_delete=models.PROTECT, related_name="secrets")  # none: our own vault
    path = models.CharField(max_length=512, blank=True)  # in the store, below its mount
    is_adopted = models.BooleanField(default=False)  # it was in the store before us, and stays there when it is deleted here
    changed_at = models.DateTimeField(default=timezone.now)
    used_at = models.DateTimeField(null=True)  # its values were last read, or handed to a script or a cloud

    search = SearchSpec(
        kind="secret",
        fields={
            **RESOURCE_FIELDS,
            "key": Text(Func(F("keys"), Value(" "), function="array_to_string", output_field=models.TextField())),
            "store": Ref("store", "keys.SecretStore", closed=True),
            "path": Text("path"),
            "changed": Date("changed_at"),
            "used": Date("used_at"),
        },
        aliases=RESOURCE_ALIASES,
        bare=("name", "id", "key", "tag"),
    )

    objects = ResourceQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint("org", Lower("name"), name="secret_unique_name")]


class SecretVersion(models.Model):
    """One version of a secret in our own vault. A store outside keeps its own."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    secret = models.ForeignKey(Secret, on_delete=models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField()  # from 1
    keys = ArrayField(models.CharField(max_length=128), default=list)
    vault = models.ForeignKey("core.VaultEntry", on_delete=models.PROTECT, related_name="+")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["secret", "number"], name="one_secret_version")]

    def __str__(self) -> str:
        return f"v{self.number}"


class SecretUse(models.Model):
    """That a row of a kind above refers to a secret for as long as it is there: a cloud by its credentials."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    secret = models.ForeignKey(Secret, on_delete=models.PROTECT, related_name="uses")
    kind = models.CharField(max_length=50)
    target_id = models.UUIDField(db_index=True)
    field = models.CharField(max_length=120)  # and the key it takes: apisecret → token

    class Meta:
        constraints = [models.UniqueConstraint(fields=["secret", "kind", "target_id", "field"], name="one_secret_use")]
