"""A team's policy: statements, compiled to one SQL predicate and evaluated in Python. Allowed = some allow matches and no deny does.

A statement as stored: {"effect": "allow" | "deny" | "ask", "verbs": ["machine.*", "*.read", "machine.stop"],
"what": {"kinds": ["machine"], "ids": [hex], "tags": {"env": "prod", "team": null}, "clouds": [hex], "own": true}}.
What is given in `what` must all hold (one of the ids, one of the clouds, every tag; null: the key with any value; own: the person
the statement binds owns the row, or asked for it, where it is a job or an event); `what` empty is everything. Order never matters.
`ask`: if it is allowed, then not without somebody else's approval.

A row may be read through more than itself: a size, image or location through its cloud, a snapshot through its machine, a job or
event through its target (by the tags and cloud the target had then, so that this holds when it is gone). A statement that reads
the one, or denies reading it, reads or denies the other. What a person asked for or holds (`own_path`) needs no allow.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache, reduce
from operator import or_
from typing import Any
from uuid import UUID

from django.apps import apps
from django.db import models
from django.db.models import Q
from guardian.models import UserObjectPermission

from accounts.models import Team
from core.actor import Actor

NOTHING = Q(pk__in=[])


@dataclass(frozen=True, kw_only=True)
class Face:
    """One way a statement may look at a row: the kind it has there, and where its id, tags, cloud and owner are (paths; "" has none)."""

    kind: str = ""
    kind_path: str = ""  # where the row itself says the kind: a job's target_kind
    id: str = "pk"
    tags: str = ""
    cloud: str = ""
    owner: str = ""


def owner_path(model: type[Any]) -> str:
    """Where a row says whose it is; "": nowhere."""
    return "owner_id" if any(f.name == "owner" for f in model._meta.concrete_fields) else getattr(model, "own_path", "")


@cache
def faces(model: type[Any], right: str) -> list[Face]:
    """The faces that count for a right. The first is the row's own."""
    names = {f.name for f in model._meta.concrete_fields}
    tags = "tags" if "tags" in names else "target_tags" if "target_tags" in names else ""
    found = [Face(kind=model.kind(), tags=tags, cloud=getattr(model, "cloud_path", ""), owner=owner_path(model))]
    if right == "read" and "target_kind" in names:
        found.append(Face(kind_path="target_kind", id="target_id", tags="target_tags", cloud="cloud_id"))
    through = getattr(model, "read_with", "") if right == "read" else ""
    if through:
        other = model._meta.get_field(through).related_model
        path = other.cloud_path
        cloud = f"{through}_id" if path == "id" else f"{through}__{path}" if path else ""
        owner = f"{through}__{owner_path(other)}" if owner_path(other) else ""
        found.append(Face(kind=other.kind(), id=f"{through}_id", tags=f"{through}__tags", cloud=cloud, owner=owner))
    return found


def value_at(row: Any, path: str) -> Any:
    """`cloud__tags` of a row."""
    for name in path.split("__"):
        row = getattr(row, name)
    return row


@lru_cache(maxsize=4096)
def _kinds_for(verbs: frozenset[str], kinds: frozenset[str], right: str) -> frozenset[str] | None:
    if verbs & {"*", "*.*", f"*.{right}"}:
        return kinds or None
    named = frozenset(kind for kind, _, name in (verb.partition(".") for verb in verbs) if name in ("*", right))
    return named & kinds if kinds else named


@lru_cache(maxsize=8192)  # a list asks each row about each verb
def _speaks_of(verbs: frozenset[str], kinds: frozenset[str], kind: str, right: str) -> bool:
    found = _kinds_for(verbs, kinds, right)
    return found is None or kind in found


@dataclass(frozen=True, kw_only=True)
class Statement:
    """One statement, ready to be asked. `team` and `number` (from 1) say whose it is; a share has no team.

    `own`: of the rows of `user_id` alone, whom it binds; of nobody's, where that is not known.
    """

    allow: bool
    ask: bool = False  # neither allows nor denies
    verbs: frozenset[str]
    kinds: frozenset[str] = frozenset()
    ids: frozenset[UUID] = frozenset()
    tags: tuple[tuple[str, str | None], ...] = ()
    clouds: frozenset[UUID] = frozenset()
    own: bool = False
    user_id: UUID | None = None
    team: str = ""
    number: int = 0
    is_share: bool = False

    @classmethod
    def load(cls, stored: Mapping[str, Any], team: str = "", number: int = 0, user_id: UUID | None = None) -> Statement:
        """From its stored form, for a person."""
        what = stored.get("what") or {}
        own = what.get("own") is True
        return cls(
            allow=stored["effect"] == "allow",
            ask=stored["effect"] == "ask",
            verbs=frozenset(stored["verbs"]),
            kinds=frozenset(what.get("kinds") or ()),
            ids=frozenset(UUID(i) for i in what.get("ids") or ()),
            tags=tuple(sorted((what.get("tags") or {}).items())),
            clouds=frozenset(UUID(i) for i in what.get("clouds") or ()),
            own=own,
            user_id=user_id if own else None,
            team=team,
            number=number,
        )

    def kinds_for(self, right: str) -> frozenset[str] | None:
        """The kinds of which it says something about a right; None: of all."""
        return _kinds_for(self.verbs, self.kinds, right)

    def _owner(self, row: Any) -> UUID | None:
        """Whose a row is; one that is being made is its maker's, whom this statement binds."""
        found = owner_of(row)
        return self.user_id if found is None and isinstance(row, models.Model) and row._state.adding else found

    def speaks_of(self, kind: str, right: str) -> bool:
        return _speaks_of(self.verbs, self.kinds, kind, right)

    def holds_for(self, pk: UUID | None, tags: Mapping[str, str], cloud: UUID | None, owner: UUID | None) -> bool:
        """Is a thing with this id, these tags, in this cloud, of this person among what it speaks of?"""
        if self.own and (owner is None or owner != self.user_id):
            return False
        if self.ids and pk not in self.ids:
            return False
        if self.clouds and cloud not in self.clouds:
            return False
        return all(key in tags and (value is None or tags[key] == value) for key, value in self.tags)

    def holds(self, row: Any) -> bool:
        """Is this row, as what it is itself, among what it speaks of, whatever the right?"""
        own_tags = getattr(row, "tags", None)
        if own_tags is None:
            own_tags = getattr(row, "target_tags", None) or {}
        return self.holds_for(row.pk, own_tags, row.cloud_ref, self._owner(row))

    def matches(self, row: Any, right: str) -> bool:
        """Does it match this row, by any of its faces? A row here may be what is left of one (a job's gone target)."""
        if self.speaks_of(row.kind(), right) and self.holds(row):
            return True
        if not isinstance(row, models.Model):
            return False
        for face in faces(type(row), right)[1:]:
            kind = value_at(row, face.kind_path) if face.kind_path else face.kind
            if not self.speaks_of(kind, right):
                continue
            tags = value_at(row, face.tags) if self.tags else {}
            cloud = value_at(row, face.cloud) if self.clouds and face.cloud else None
            owner = value_at(row, face.owner) if self.own and face.owner else None
            if self.holds_for(value_at(row, face.id), tags, cloud, owner):
                return True
        return False

    def q(self, model: type[Any], right: str) -> Q | None:
        """The rows of a model it matches; Q(): all of them; None: none."""
        found: Q | None = None
        for face in faces(model, right):
            one = self._face_q(face, right)
            if one is None:
                continue
            if not one:
                return one
            found = one if found is None else found | one
        return found

    def _face_q(self, face: Face, right: str) -> Q | None:
        q = Q()
        kinds = self.kinds_for(right)
        if face.kind_path:
            if kinds is not None:
                q &= Q(**{f"{face.kind_path}__in": sorted(kinds)}) if kinds else NOTHING
        elif kinds is not None and face.kind not in kinds:
            return None
        if self.ids:
            q &= Q(**{f"{face.id}__in": sorted(self.ids)})
        if self.clouds:
            if not face.cloud:
                return None
            q &= Q(**{f"{face.cloud}__in": sorted(self.clouds)})
        if self.own:
            if not face.owner or self.user_id is None:
                return None
            q &= Q(**{face.owner: self.user_id})
        for key, value in self.tags:
            if not face.tags:
                return None
            q &= Q(**{f"{face.tags}__has_key": key}) if value is None else Q(**{f"{face.tags}__contains": {key: value}})
        return q

    def missing_tags(self, row: Any, right: str) -> dict[str, str] | None:
        """The tags a new row lacks to be among what it allows; None: it cannot be."""
        if not self.allow or self.is_share or not self.speaks_of(row.kind(), right):
            return None
        lacks = {key: value or "" for key, value in self.tags if key not in row.tags}
        return lacks if self.holds_for(row.pk, {**row.tags, **lacks}, row.cloud_ref, self._owner(row)) else None

    @property
    def where(self) -> str:
        """Whose it is, for `explain`."""
        return "a share of this one" if self.is_share else f"statement {self.number} of team {self.team}"


def owner_of(row: Any) -> UUID | None:
    """Whose a row is; None: nobody's, or it does not say."""
    path = owner_path(type(row)) if isinstance(row, models.Model) else "owner_id"
    found: UUID | None = getattr(row, path, None) if path else None
    return found


def own_q(model: type[Any], right: str, user_id: UUID | None) -> Q | None:
    """The rows that are the person's own, where that gives the right."""
    path = getattr(model, "own_path", "")
    return Q(**{path: user_id}) if path and user_id and right in model.own_rights else None


def is_own(row: Any, right: str, user_id: UUID | None) -> bool:
    path = getattr(row, "own_path", "")
    return bool(path and user_id and right in row.own_rights and getattr(row, path) == user_id)


@dataclass(frozen=True, kw_only=True)
class Policy:
    """All that binds one person in one organization."""

    is_owner: bool = False
    user_id: UUID | None = None
    team_ids: frozenset[UUID] = frozenset()
    team_names: tuple[tuple[UUID, str], ...] = ()  # by name, the owners' not among them
    statements: tuple[Statement, ...] = ()

    def speaking(self, kinds: Iterable[str], right: str) -> list[Statement]:
        return [s for s in self.statements if any(s.speaks_of(kind, right) for kind in kinds)]

    def q(self, model: type[Any], right: str) -> Q:
        """The rows on which the right is held; Q(): all."""
        if self.is_owner:
            return Q()
        allows: list[Q] = [q for q in [own_q(model, right, self.user_id)] if q is not None]
        shared = getattr(model, "shared_q", None)
        if right == "read" and shared is not None:
            allows.append(shared(self.team_ids))
        denies: list[Q] = []
        for statement in self.statements:
            q = None if statement.ask else statement.q(model, right)
            if q is not None:
                (allows if statement.allow else denies).append(q)
        if not allows or any(not q for q in denies):
            return NOTHING
        if any(not q for q in allows):
            found = Q()
        else:
            found = allows[0]
            for q in allows[1:]:
                found |= q
        for q in denies:
            found &= ~q
        return found

    def decide(self, row: Any, right: str) -> Decision:
        """The same for one row, with what decided."""
        if self.is_owner:
            return Decision(allowed=True, guard="statements", why="Owners may do everything", team="Owners")
        allow: Statement | None = None
        for statement in self.statements:
            if statement.ask or (statement.allow and allow is not None):
                continue
            if statement.matches(row, right):
                if not statement.allow:
                    return Decision(allowed=False, guard="statements", why=f"{statement.where} denies it", statement=statement)
                allow = statement
        if allow is not None:
            return Decision(allowed=True, guard="statements", why=f"{allow.where} allows it", statement=allow)
        if right in getattr(row, "free_rights", ()):
            return Decision(allowed=True, guard="statements", why="everybody may")
        if is_own(row, right, self.user_id):
            return Decision(allowed=True, guard="statements", why="it is one's own")
        if right == "read" and hasattr(row, "is_shared_with") and row.is_shared_with(self.team_ids):
            return Decision(allowed=True, guard="statements", why="it is shared with one's team or organization")
        return Decision(allowed=False, guard="statements", why="no statement allows it")

    def allowed(self, row: Any, rights: Collection[str]) -> Collection[str]:
        """Those of the rights that `decide` allows on one row: which statements hold for it is asked once."""
        if self.is_owner:
            return rights
        kind, holding = row.kind(), [s for s in self.statements if not s.ask and s.holds(row)]
        found = []
        for right in rights:
            speaking = {s.allow for s in holding if s.speaks_of(kind, right)}
            # A denial is the last word; without one, what allows it here does, and else there are other ways to have a right.
            if False not in speaking and ((True in speaking and len(faces(type(row), right)) == 1) or self.decide(row, right).allowed):
                found.append(right)
        return found

    def asks(self, row: Any, right: str) -> Statement | None:
        """The statement for which doing this to a row needs somebody else's approval. Looking never does."""
        if self.is_owner or right == "read":
            return None
        return next((s for s in self.statements if s.ask and s.matches(row, right)), None)

    def asks_q(self, model: type[Any], right: str) -> Q:
        """The rows on which the right needs that."""
        asking = [] if self.is_owner or right == "read" else [s for s in self.statements if s.ask]
        found = [q for s in asking if (q := s.q(model, right)) is not None]
        return NOTHING if not found else Q() if any(not q for q in found) else reduce(or_, found)

    def only_own(self, kind: str, right: str) -> bool:
        """Is the right held on one's own rows of a kind, and on no others'? Single things shared with one do not count."""
        allows = [s for s in self.speaking((kind,), right) if s.allow and not s.is_share]
        return not self.is_owner and bool(allows) and all(s.own for s in allows)

    def somewhere(self, model: type[Any], right: str) -> bool:
        """Might there be a row on which the right is held? For pages and buttons, before there is a row."""
        q = self.q(model, right)
        return not q or q != NOTHING


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What was decided, by which guard, and by whose statement."""

    allowed: bool
    guard: str
    why: str
    team: str = ""
    statement: Statement | None = field(default=None)
    needs: tuple[str, ...] = ()  # why it needs somebody else's approval, a sentence each; none: it does not


def statements_of(teams: Iterable[Mapping[str, Any]], user_id: UUID) -> Iterator[Statement]:
    """From rows with `name` and `statements`, for a person."""
    for team in teams:
        for number, stored in enumerate(team["statements"], start=1):
            yield Statement.load(stored, team["name"], number, user_id)


def shares_of(users: Iterable[UUID]) -> dict[UUID, list[Statement]]:
    """What was shared with persons, one thing at a time: by person, one allow for each right."""
    rows = UserObjectPermission.objects.filter(user_id__in=users)
    found: dict[UUID, dict[tuple[str, str], set[UUID]]] = {}
    for user_id, kind, right, pk in rows.values_list("user_id", "content_type__model", "permission__codename", "object_pk"):
        found.setdefault(user_id, {}).setdefault((kind_of(kind), right), set()).add(UUID(pk))
    return {
        user_id: [
            Statement(allow=True, verbs=frozenset({f"{name}.{right}"}), kinds=frozenset({name}), ids=frozenset(ids), is_share=True)
            for (name, right), ids in sorted(shared.items())
        ]
        for user_id, shared in found.items()
    }


def policy_of(actor: Actor) -> Policy:
    """Everything that binds an actor: one query for an owner, else two, once a request or job."""
    held = actor.cache.get("policy")
    if held is None:
        held = actor.cache["policy"] = load_policy(actor.org_id, actor.user_id)
    policy: Policy = held
    return policy


def load_policy(org_id: UUID | None, user_id: UUID | None) -> Policy:
    if org_id is None or user_id is None:
        return Policy()
    return load_policies({(org_id, user_id)})[org_id, user_id]


def load_policies(wanted: set[tuple[UUID, UUID]]) -> dict[tuple[UUID, UUID], Policy]:
    """The policies of many, by (organization, person): two queries."""
    users = {user_id for _, user_id in wanted}
    rows = Team.objects.filter(org_id__in={org_id for org_id, _ in wanted}, members__in=users).order_by("name")
    teams: dict[tuple[UUID, UUID], list[Mapping[str, Any]]] = {}
    for row in rows.values("id", "org_id", "name", "is_owners", "statements", "members"):
        teams.setdefault((row["org_id"], row["members"]), []).append(row)
    owners = {key for key, found in teams.items() if any(team["is_owners"] for team in found)}
    shares = shares_of({user_id for org_id, user_id in wanted - owners}) if wanted - owners else {}
    policies = {}
    for key in wanted:
        team_ids = frozenset(team["id"] for team in teams.get(key, ()))
        statements = () if key in owners else (*statements_of(teams.get(key, ()), key[1]), *shares.get(key[1], ()))
        names = tuple((team["id"], team["name"]) for team in teams.get(key, ()) if not team["is_owners"])
        policies[key] = Policy(is_owner=key in owners, user_id=key[1], team_ids=team_ids, team_names=names, statements=statements)
    return policies


def kind_of(model_name: str) -> str:
    """Django's `securitygroup` → our `security_group`."""
    for kind, model in kinds().items():
        if model._meta.model_name == model_name:
            return kind
    return model_name


_kinds: dict[str, type[Any]] = {}


def kinds() -> dict[str, type[Any]]:
    """Every kind a statement may speak of, and its model."""
    if not _kinds:
        for model in apps.get_models():
            if hasattr(model, "kind") and hasattr(model, "cloud_ref"):
                _kinds[model.kind()] = model
    return _kinds
