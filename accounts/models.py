"""Users, organizations, teams and invitations, tokens, saved views."""

from __future__ import annotations

from typing import Any, ClassVar, Self
from uuid import UUID

from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, PermissionsMixin
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower
from django.utils import timezone

from core.actor import Actor
from core.models import Resource, ResourceQuerySet, new_id
from core.search import RESOURCE_ALIASES, RESOURCE_FIELDS, Bool, Date, Either, Id, Many, Present, Searched, SearchSpec, Text, person


class UserQuerySet(models.QuerySet["User"]):
    def visible_to(self, actor: Actor, verb: str = "read") -> Self:
        """The members of the actor's organization; everybody, for the installation itself."""
        if actor.is_system and actor.org_id is None:
            return self.all()
        if actor.org_id is None or actor.is_nobody:
            return self.none()
        return self.filter(pk__in=Membership.objects.filter(org_id=actor.org_id).values("user"))


class UserManager(BaseUserManager.from_queryset(UserQuerySet)):  # type: ignore[misc]
    """Makes users; e-mail addresses are compared without case."""

    def create_user(self, email: str, password: str | None = None, **fields: Any) -> User:
        user = self.model(email=self.normalize_email(email).strip(), **fields)
        user.set_password(password)
        user.save()
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> User:
        return self.create_user(email, password, is_superuser=True, **fields)

    def get_by_natural_key(self, username: str | None) -> User:
        return self.get(email__iexact=username)


class User(Searched, AbstractBaseUser, PermissionsMixin):
    """A person. `is_superuser`: administers the installation."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    email = models.EmailField(max_length=254)
    first_name = models.CharField(max_length=100, blank=True)
    last_name = models.CharField(max_length=100, blank=True)
    is_active = models.BooleanField(default=True)
    # The first password, printed once: it must be changed at the first sign-in and makes no tokens.
    must_change_password = models.BooleanField(default=False)
    date_joined = models.DateTimeField(default=timezone.now)
    last_org = models.ForeignKey("Organization", null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    settings = models.JSONField(default=dict, blank=True)  # theme, density, time zone, keys on …
    allowed_addresses = models.JSONField(default=list, blank=True)  # networks ("10.0.0.0/8") one may come from; none: from anywhere

    search = SearchSpec(
        kind="user",
        fields={
            "id": Id(),
            "email": Text("email"),
            "first_name": Text("first_name"),
            "last_name": Text("last_name"),
            "name": Either((Text("last_name"), Text("first_name"), Text("email"))),
            "active": Bool("is_active"),
            "registered": Date("date_joined"),
            "last_login": Date("last_login"),
            "signed_in": Present("last_login"),
        },
        aliases={"username": "email", "registration_date": "registered"},
        bare=("name", "id"),
    )

    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    plural: ClassVar[str] = ""
    sorts: ClassVar[dict[str, str]] = {"email": "email", "last_login": "last_login", "registered": "date_joined"}

    objects = UserManager()

    class Meta:
        constraints = [models.UniqueConstraint(Lower("email"), name="one_user_an_email")]

    def __str__(self) -> str:
        return self.email

    @classmethod
    def kind(cls) -> str:
        return "user"

    @property
    def is_staff(self) -> bool:
        return self.is_superuser

    @property
    def full_name(self) -> str:
        return f"{self.first_name} {self.last_name}".strip() or self.email


class _OfAll:
    """What every member of an organization may read without a statement."""

    plural: ClassVar[str] = ""
    cloud_path: ClassVar[str] = ""
    has_history: ClassVar[bool] = False
    cloud_ref: ClassVar[None] = None

    @classmethod
    def shared_q(cls, team_ids: frozenset[UUID]) -> Q:
        return Q()

    def is_shared_with(self, team_ids: frozenset[UUID]) -> bool:
        return True


class OrganizationQuerySet(ResourceQuerySet):
    def visible_to(self, actor: Actor, verb: str = "read") -> Self:
        """Those the person is a member of; through a token, the token's alone."""
        if actor.is_system:
            return self.all() if actor.org_id is None else self.filter(pk=actor.org_id)
        mine = self.filter(pk__in=Membership.objects.filter(user_id=actor.user_id).values("org"))
        return mine.filter(pk=actor.org_id) if actor.token_id is not None else mine


class Organization(_OfAll, Searched, models.Model):
    """Who owns everything below it. Its slug is the first part of every path of the console. In verbs: `org`."""

    org_path: ClassVar[str] = "id"
    free_rights: ClassVar[frozenset[str]] = frozenset({"create"})  # everybody's who is signed in

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    name = models.CharField(max_length=100)
    slug = models.SlugField(max_length=60, unique=True)
    description = models.TextField(blank=True)
    currency = models.CharField(max_length=3, default="USD")
    time_zone = models.CharField(max_length=60, default="UTC")  # of members who chose none
    language = models.CharField(max_length=10, blank=True)  # the same; "": as their browser asks
    require_second_step = models.BooleanField(default=False)  # accounts/rules.py
    allowed_addresses = models.JSONField(default=list, blank=True)  # networks its members may come from; none: from anywhere
    session_hours = models.PositiveIntegerField(null=True)  # none: as long as the installation lets sessions live
    created_at = models.DateTimeField(default=timezone.now)
    policy_version = models.PositiveIntegerField(default=1)  # rises when a team, member or statement changes
    members = models.ManyToManyField(User, through="Membership", related_name="orgs")

    search = SearchSpec(
        kind="org",
        fields={
            "id": Id(),
            "name": Text("name"),
            "slug": Text("slug"),
            "description": Text("description"),
            "created": Date("created_at"),
            "age": Date("created_at", durations="ago"),
        },
        bare=("name", "slug", "id"),
    )

    objects = OrganizationQuerySet.as_manager()

    def __str__(self) -> str:
        return self.name

    @classmethod
    def kind(cls) -> str:
        return "org"

    @property
    def org_id(self) -> UUID:
        return self.id


class FormerSlug(models.Model):
    """What an organization was called in paths: old links lead on, and nobody else takes the name."""

    slug = models.SlugField(max_length=60, primary_key=True)
    org = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="former_slugs")
    until = models.DateTimeField(default=timezone.now)


class Membership(_OfAll, models.Model):
    """A user in an organization. In verbs: `member`; everybody may remove themselves, and ask for more than they may."""

    own_path: ClassVar[str] = "user_id"
    own_rights: ClassVar[frozenset[str]] = frozenset({"remove", "ask"})

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    org = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    created_at = models.DateTimeField(default=timezone.now)
    asked_for = models.CharField(max_length=500, blank=True)  # the access they ask for, in their words; "": nothing, or it was answered
    asked_at = models.DateTimeField(null=True)  # when they last asked

    objects = ResourceQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["org", "user"], name="one_membership_an_org")]
        indexes = [models.Index(fields=["org"], condition=~Q(asked_for=""), name="membership_asking")]

    def __str__(self) -> str:
        return "member"  # events name it so, and seal who it is

    @property
    def person(self) -> str:
        """The e-mail of whom it tells; events seal it."""
        return self.user.email

    @classmethod
    def kind(cls) -> str:
        return "member"


class Team(Resource):
    """Members with a policy: a list of statements (accounts/statements.py). Owners is permanent, and no statement binds it."""

    description = models.TextField(blank=True)
    is_owners = models.BooleanField(default=False)
    members = models.ManyToManyField(User, related_name="teams", blank=True)
    statements = models.JSONField(default=list, blank=True)

    search = SearchSpec(
        kind="team",
        fields={
            **RESOURCE_FIELDS,
            "description": Text("description"),
            "member": Many("pk", "accounts.Team", person("members"), target="pk"),
        },
        aliases=RESOURCE_ALIASES,
        bare=("name", "id", "description", "tag"),
    )

    objects = ResourceQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint("org", Lower("name"), name="team_unique_name"),
            models.UniqueConstraint(fields=["org"], condition=Q(is_owners=True), name="one_owners_team"),
        ]


class Invitation(Resource):
    """Somebody asked by e-mail to join, into these teams. The link's secret is kept as its digest."""

    has_history: ClassVar[bool] = False

    email = models.EmailField(max_length=254)  # `name` is the same
    teams = models.ManyToManyField(Team, related_name="+", blank=True)
    digest = models.CharField(max_length=64, unique=True)
    expires_at = models.DateTimeField()

    search = SearchSpec(
        kind="invitation", fields={**RESOURCE_FIELDS, "email": Text("email"), "expires": Date("expires_at")}, bare=("name", "id")
    )

    objects = ResourceQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint("org", Lower("email"), name="invitation_unique_name")]

    def __str__(self) -> str:
        return "invitation"  # as with a member

    @property
    def person(self) -> str:
        """The e-mail of whom it tells; events seal it."""
        return self.email


class Token(Resource):
    """A key to the API, of one person in one organization; kept as its digest. A revoked one stays, so that its use is noticed."""

    class Scope(models.TextChoices):
        READ = "read"
        ALL = "all"

    has_history: ClassVar[bool] = False
    own_path: ClassVar[str] = "owner_id"
    own_rights: ClassVar[frozenset[str]] = frozenset({"read", "create", "delete"})

    digest = models.CharField(max_length=64, unique=True)  # SHA-256, hex: the secret has 256 random bits
    hint = models.CharField(max_length=16)  # how it begins, to know it by
    scope = models.CharField(max_length=4, choices=Scope.choices, default=Scope.ALL)
    limits = models.JSONField(default=list, blank=True)  # statements that allow: it does those things alone; none: no limit
    expires_at = models.DateTimeField(null=True)
    last_used_at = models.DateTimeField(null=True)  # to the minute
    revoked_at = models.DateTimeField(null=True)

    search = SearchSpec(
        kind="token",
        fields={**RESOURCE_FIELDS, "hint": Text("hint"), "expires": Date("expires_at"), "used": Date("last_used_at")},
        aliases=RESOURCE_ALIASES,
        bare=("name", "id", "hint"),
    )

    objects = ResourceQuerySet.as_manager()


class View(Resource):
    """A saved way to look at a list. One's own; or its team's or the whole organization's to use."""

    class Visibility(models.TextChoices):
        PRIVATE = "private"
        TEAM = "team"
        ORG = "org"

    has_history: ClassVar[bool] = False
    own_path: ClassVar[str] = "owner_id"
    own_rights: ClassVar[frozenset[str]] = frozenset({"read", "create", "edit", "delete"})

    of_kind = models.CharField(max_length=40)  # machine
    query = models.TextField(blank=True)
    columns = models.JSONField(default=list, blank=True)
    sort = models.CharField(max_length=60, blank=True)
    grouping = models.CharField(max_length=60, blank=True)
    visibility = models.CharField(max_length=7, choices=Visibility.choices, default=Visibility.PRIVATE)
    team = models.ForeignKey(Team, null=True, blank=True, on_delete=models.CASCADE, related_name="+")
    is_default = models.BooleanField(default=False)  # its owner's first view of the kind

    search = SearchSpec(
        kind="view",
        fields={**RESOURCE_FIELDS, "kind": Text("of_kind", closed=True), "query": Text("query"), "default": Bool("is_default")},
        aliases=RESOURCE_ALIASES,
        bare=("name", "id"),
    )

    objects = ResourceQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint("owner", "org", "of_kind", Lower("name"), name="view_unique_name"),
            models.UniqueConstraint(fields=["owner", "org", "of_kind"], condition=Q(is_default=True), name="one_default_view"),
        ]

    @classmethod
    def shared_q(cls, team_ids: frozenset[UUID]) -> Q:
        return Q(visibility="org") | Q(visibility="team", team__in=team_ids)

    def is_shared_with(self, team_ids: frozenset[UUID]) -> bool:
        return self.visibility == "org" or (self.visibility == "team" and self.team_id in team_ids)


class LongSearch(models.Model):
    """A search too long for an address, by the short id that stands there in its place. Who opens it searches with their own rights."""

    id = models.CharField(primary_key=True, max_length=12)  # of the organization and the text: the same search has one id
    org = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="+")
    text = models.TextField()
    created_at = models.DateTimeField(auto_now_add=True)
    opened_at = models.DateTimeField(default=timezone.now, db_index=True)  # to the day: written once a day at most


class Export(Resource):
    """A list as a file: what was asked for, and the file while it is kept. It is for the one who asked, and nobody else."""

    has_history: ClassVar[bool] = False
    own_path: ClassVar[str] = "owner_id"
    own_rights: ClassVar[frozenset[str]] = frozenset({"read", "create", "delete"})

    of_kind = models.CharField(max_length=40)  # machine
    form = models.CharField(max_length=5)  # csv, json, jsonl
    query = models.TextField(blank=True)
    sort = models.CharField(max_length=60, blank=True)
    columns = models.JSONField(default=list, blank=True)
    at = models.DateTimeField(null=True)  # the list as it was then
    # Once the file is there:
    rows = models.PositiveBigIntegerField(null=True)
    size_bytes = models.PositiveBigIntegerField(null=True)
    expires_at = models.DateTimeField(null=True)

    search = SearchSpec(
        kind="export",
        fields={**RESOURCE_FIELDS, "kind": Text("of_kind", closed=True), "query": Text("query"), "expires": Date("expires_at")},
        aliases=RESOURCE_ALIASES,
        bare=("name", "id"),
    )

    objects = ResourceQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["org", "-created_at"], name="export_newest"),
            models.Index(fields=["expires_at"], name="export_age"),
        ]

    @property
    def is_kept(self) -> bool:
        return self.expires_at is not None and self.expires_at > timezone.now()


class Attempts(models.Model):
    """How many sign-ins failed lately, from an address or for an account. See accounts/throttle.py."""

    key = models.CharField(primary_key=True, max_length=64)
    count = models.PositiveIntegerField()
    since = models.DateTimeField()


class Home(models.Model):
    """An address from which an account signed in, both as a digest. See accounts/throttle.py."""

    key = models.CharField(primary_key=True, max_length=64)
    seen_at = models.DateTimeField(db_index=True)


class Draft(models.Model):
    """A long form somebody has not sent yet, as it was typed; for a day. Its own person's alone. See accounts/drafts.py.

    `vault` None: it was sent or discarded, and the row says from which pages (`used`), for a save of theirs may still be on its way.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    org = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="+")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+")
    form = models.CharField(max_length=80)  # machine.create
    vault = models.OneToOneField("core.VaultEntry", on_delete=models.CASCADE, related_name="+", null=True)  # it may hold what is secret
    used = ArrayField(models.CharField(max_length=32), default=list)
    updated_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["org", "user", "form"], name="one_draft_a_form")]
        indexes = [models.Index(fields=["updated_at"], name="draft_age")]
