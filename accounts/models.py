"""Users, organizations, teams."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, PermissionsMixin
from django.db import models
from django.db.models.functions import Lower
from django.utils import timezone

from core.actor import Actor
from core.models import Resource, ResourceQuerySet, new_id
from core.search import RESOURCE_ALIASES, RESOURCE_FIELDS, Bool, Date, Either, Id, Many, Present, Searched, SearchSpec, Text, person


class UserManager(BaseUserManager["User"]):
    """Makes users; e-mail addresses are compared without case."""

    def create_user(self, email: str, password: str | None = None, **fields: Any) -> User:
        user = self.model(email=self.normalize_email(email).strip(), **fields)
        user.set_password(password)
        user.save()
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> User:
        return self.create_user(email, password, is_superuser=True, **fields)

    def visible_to(self, actor: Actor, verb: str = "read") -> models.QuerySet[User]:
        """The members of the actor's organization; everybody, for the installation itself."""
        if actor.is_system and actor.org_id is None:
            return self.all()
        if actor.org_id is None or actor.is_nobody:
            return self.none()
        return self.filter(pk__in=Membership.objects.filter(org_id=actor.org_id).values("user"))

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

    objects = UserManager()

    class Meta:
        constraints = [models.UniqueConstraint(Lower("email"), name="one_user_an_email")]

    def __str__(self) -> str:
        return self.email

    @property
    def is_staff(self) -> bool:
        return self.is_superuser

    @property
    def full_name(self) -> str:
        return f"{self.first_name} {self.last_name}".strip() or self.email


class Organization(Searched, models.Model):
    """Who owns everything below it. Its slug is the first part of every path of the console."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    name = models.CharField(max_length=100)
    slug = models.SlugField(max_length=60, unique=True)
    description = models.TextField(blank=True)
    currency = models.CharField(max_length=3, default="USD")
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

    def __str__(self) -> str:
        return self.name


class Membership(models.Model):
    """A user in an organization."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    org = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["org", "user"], name="one_membership_an_org")]


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
            models.UniqueConstraint(fields=["org"], condition=models.Q(is_owners=True), name="one_owners_team"),
        ]
