"""Policies for people: checking statements before they are saved, saying them in words, and what they come to."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from guardian.models import UserObjectPermission

from accounts.guards import needs_of, rights_of
from accounts.models import Team, User
from accounts.statements import NOTHING, Decision, Policy, faces, kinds, load_policy, shares_of, statements_of
from core import guard
from core.actions import all_actions
from core.actions.approval import cannot_wait
from core.actor import Actor
from core.errors import Invalid, NotFound

MAX_STATEMENTS, MAX_VERBS, MAX_IDS, MAX_TAGS = 100, 100, 1000, 50
MAY = {"allow": "May", "deny": "May never", "ask": "Must ask to"}
EXAMPLES = 10  # names shown of what somebody gains or loses


def verbs_known() -> dict[str, set[str]]:
    """{kind: rights}: everything a statement can speak of. Rights that are no action: read, skip_undo, a job's cancel, undo and approve."""
    found: dict[str, set[str]] = {kind: rights_of(model) for kind, model in kinds().items()}
    for action in all_actions().values():
        kind = action.model.kind()
        found.setdefault(kind, {"read"}).add(action.right)
        if action.undo_s:
            found[kind].add("skip_undo")
    found["job"] |= {"cancel", "undo", "approve"}
    return found


def _nearest(word: str, words: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(words), n=1, cutoff=0.5)
    return f" Did you mean {near[0]}?" if near else ""


def no_verb(verb: str) -> str:
    """That there is no such verb, and which one is near."""
    return (
        f"There is no verb {verb[:80]}.{_nearest(verb, (f'{kind}.{right}' for kind, rights in verbs_known().items() for right in rights))}"
    )


class _Wrong(Exception):
    """What is wrong with one statement, and in which part of it: effect, verbs or what."""

    def __init__(self, detail: str, part: str = "what") -> None:
        super().__init__(detail)
        self.part = part


def validate(statements: Any, actor: Actor, kept: Sequence[Mapping[str, Any]] = ()) -> list[dict[str, Any]]:
    """Statements as sent, in the form they are stored in. Clouds may be named; they and ids must be such as the actor may read,
    or stand in `kept`, the statements being replaced.

    Raises: Invalid: `fields` names the statement (from 1) and what it got wrong; `places` says the same for programs.
    """
    if not isinstance(statements, list):
        raise Invalid(fields={"statements": ["Send a list of statements."]})
    if len(statements) > MAX_STATEMENTS:
        raise Invalid(fields={"statements": [f"At most {MAX_STATEMENTS} statements."]})
    known_ids = {str(i) for old in kept for part in ("ids", "clouds") for i in (old.get("what") or {}).get(part) or ()}
    stored, wrong, places = [], [], []
    for number, sent in enumerate(statements, start=1):
        try:
            stored.append(_validate_one(sent, actor, known_ids))
        except _Wrong as error:
            wrong.append(f"Statement {number}: {error}")
            places.append({"statement": number, "part": error.part, "detail": str(error)})
    if wrong:
        raise Invalid(fields={"statements": wrong}, code="bad_statement", places=places)
    return stored


def _validate_one(sent: Any, actor: Actor, known_ids: set[str]) -> dict[str, Any]:
    if not isinstance(sent, dict):
        raise _Wrong("it is an object with effect, verbs and what.")
    extra = sorted(set(sent) - {"effect", "verbs", "what", "sentence"})
    if extra:
        raise _Wrong(f"it knows no {extra[0][:60]}. It has effect, verbs and what.")
    if sent.get("effect") not in tuple(MAY):  # whatever was sent need not hash
        raise _Wrong("its effect is allow, deny or ask.", "effect")
    verbs = _strings(sent.get("verbs"), "verbs", MAX_VERBS)
    if not verbs:
        raise _Wrong("it names no verb. Use * for all.", "verbs")
    for verb in verbs:
        _check_verb(verb)
        if sent["effect"] == "ask":
            _check_can_wait(verb)
    what = sent.get("what") or {}
    if not isinstance(what, dict):
        raise _Wrong("its what is an object with kinds, ids, tags, clouds and own.")
    extra = sorted(set(what) - {"kinds", "ids", "tags", "clouds", "own"})
    if extra:
        raise _Wrong(f"its what knows no {extra[0][:60]}. It has kinds, ids, tags, clouds and own.")
    found: dict[str, Any] = {}
    if named := _strings(what.get("kinds"), "kinds", 100):
        for kind in named:
            if kind not in kinds():
                raise _Wrong(f"there is no kind {kind[:60]}.{_nearest(kind, kinds())}")
        found["kinds"] = named
    if ids := _strings(what.get("ids"), "ids", MAX_IDS):
        found["ids"] = _seen_ids(ids, verbs, found.get("kinds"), actor, known_ids)
    if tags := _tags(what.get("tags")):
        found["tags"] = tags
    if clouds := _strings(what.get("clouds"), "clouds", MAX_IDS):
        found["clouds"] = _seen_clouds(clouds, actor, known_ids)
    if what.get("own") not in (None, False, True):
        raise _Wrong("its own is true or false.")
    if what.get("own"):
        found["own"] = True
    return {"effect": sent["effect"], "verbs": verbs, "what": found}


def _check_can_wait(verb: str) -> None:
    """Asking is for acts that can wait. A wildcard may cover others: those are refused until somebody else does them."""
    kind, _, right = verb.partition(".")
    if right in ("", "*"):
        return
    if right == "read":
        raise _Wrong(f"{verb} needs no approval: looking is done at once.", "verbs")
    named = [action for action in all_actions().values() if action.right == right and kind in ("*", action.model.kind())]
    if not named:
        raise _Wrong(f"{verb} is no act that could wait for approval.", "verbs")
    if all(reasons := [cannot_wait(action) for action in named]):
        raise _Wrong(reasons[0], "verbs")


def _strings(value: Any, name: str, most: int) -> list[str]:
    if value in (None, ""):
        return []
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list) or not all(isinstance(v, str) and v and "\x00" not in v for v in value):
        raise _Wrong(f"its {name} are a list of words.", "verbs" if name == "verbs" else "what")
    if len(value) > most:
        raise _Wrong(f"at most {most} {name}.", "verbs" if name == "verbs" else "what")
    return list(dict.fromkeys(value))


def _check_verb(verb: str) -> None:
    known = verbs_known()
    if verb in ("*", "*.*"):
        return
    kind, dot, right = verb.partition(".")
    everything = [f"{k}.{r}" for k, rights in known.items() for r in rights]
    if not dot:
        raise _Wrong(f"{verb[:80]} is no verb. Verbs are written kind.verb, as in machine.stop.{_nearest(verb, everything)}", "verbs")
    if kind != "*" and kind not in known:
        raise _Wrong(f"there is no kind {kind[:60]}.{_nearest(kind, known)}", "verbs")
    action = all_actions().get(verb)
    if action is not None and action.rights and action.rights != right:
        raise _Wrong(f"{verb} goes by the right {kind}.{action.rights}. Use that.", "verbs")
    if right != "*" and not any(right in rights for k, rights in known.items() if kind in ("*", k)):
        raise _Wrong(f"there is no verb {verb[:80]}.{_nearest(verb, everything)}", "verbs")


def _tags(value: Any) -> dict[str, str | None]:
    """{"env": "prod", "team": null}; also ["env=prod", "team"]."""
    if value in (None, "", []):
        return {}
    if isinstance(value, list) and all(isinstance(v, str) for v in value):
        value = {v.partition("=")[0]: v.partition("=")[2] if "=" in v else None for v in value}
    if not isinstance(value, dict) or len(value) > MAX_TAGS:
        raise _Wrong(f"its tags are at most {MAX_TAGS} of key or key=value.")
    for key, text in value.items():
        if not isinstance(key, str) or not key or len(key) > 128 or "\x00" in key:
            raise _Wrong("a tag's key has 1 to 128 characters.")
        if text is not None and (not isinstance(text, str) or len(text) > 256 or "\x00" in text):
            raise _Wrong("a tag's value is text of at most 256 characters, or null for any.")
    return dict(value)


def _seen_ids(ids: list[str], verbs: list[str], of: list[str] | None, actor: Actor, known: set[str]) -> list[str]:
    found = [_uuid(i) for i in ids]
    missing = {i for i in found if i.hex not in known}
    spoken = {verb.partition(".")[0] for verb in verbs}
    names = set(of) if of else set(kinds()) if "*" in spoken else spoken
    for name in sorted(names & set(kinds())):
        if missing:
            model = kinds()[name]
            missing -= set(model._default_manager.visible_to(actor).filter(pk__in=missing).values_list("pk", flat=True))
    if missing:
        raise _Wrong(f"{sorted(i.hex for i in missing)[0]} is not found.")
    return [i.hex for i in found]


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise _Wrong(f"{text[:60]} is no id.") from None


def _seen_clouds(names: list[str], actor: Actor, known: set[str]) -> list[str]:
    rows = dict(kinds()["cloud"].objects.visible_to(actor).values_list("pk", "name"))
    by_name = {name: pk.hex for pk, name in rows.items()}
    ids = {pk.hex for pk in rows} | known
    found = []
    for name in names:
        plain = name.replace("-", "").lower()
        if plain in ids:
            found.append(plain)
        elif name in by_name:
            found.append(by_name[name])
        else:
            raise _Wrong(f"there is no cloud {name[:80]}.")
    return found


# --- words ----------------------------------------------------------------------------------------------------------


def sentence(stored: Mapping[str, Any], names: Mapping[str, str] | None = None) -> str:
    """A statement in words: "May stop, start machine tagged env=prod in cloud aws-1." `names`: {id: name} for ids and clouds."""
    known = names or {}
    what = stored.get("what") or {}
    by_kind: dict[str, list[str]] = {}
    for verb in stored["verbs"]:
        kind, _, right = verb.partition(".")
        by_kind.setdefault(kind, []).append(right or "*")
    parts = []
    for kind, rights in by_kind.items():
        done = "do everything with" if "*" in rights else ", ".join(right.replace("_", " ") for right in rights)
        thing = " or ".join(what.get("kinds") or ["everything"]) if kind == "*" else kind
        parts.append(f"{done} {thing.replace('_', ' ')}")
    text = "; ".join(parts)
    if what.get("own"):
        text += " of one's own"
    if what.get("ids"):
        text += ": only " + _listed([known.get(i, i[:8]) for i in what["ids"]])
    if what.get("tags"):
        text += ", tagged " + " and ".join(key if value is None else f"{key}={value}" for key, value in what["tags"].items())
    if what.get("clouds"):
        text += ", in cloud " + _listed([known.get(i, i[:8]) for i in what["clouds"]])
    return f"{MAY[stored['effect']]} {text}."


def _listed(words: list[str]) -> str:
    return ", ".join(words[:5]) + (f" and {len(words) - 5} more" if len(words) > 5 else "")


def names_in(statements: Iterable[Mapping[str, Any]], actor: Actor) -> dict[str, str]:
    """{id: name} of what the statements name, as far as the actor may read it: one query a kind."""
    found: dict[str, str] = {}
    for stored in statements:
        what = stored.get("what") or {}
        if what.get("clouds"):
            rows = kinds()["cloud"].objects.visible_to(actor).filter(pk__in=what["clouds"])
            found |= {row.pk.hex: row.name for row in rows}
        if what.get("ids"):
            spoken = set(what.get("kinds") or (verb.partition(".")[0] for verb in stored["verbs"]))
            for name in sorted(spoken & set(kinds())):
                rows = kinds()[name]._default_manager.visible_to(actor).filter(pk__in=what["ids"])
                found |= {row.pk.hex: str(row) for row in rows}
    return found


# --- what it comes to -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Able:
    """One who can, and why."""

    user: User
    decision: Decision


def who_can(org_id: UUID, target: Any, verb: str) -> Iterator[Able]:
    """The members of an organization who may do `verb` (without its kind) to a row, by e-mail."""
    teams = list(Team.objects.filter(org_id=org_id).prefetch_related("members").order_by("name"))
    shared = set(UserObjectPermission.objects.filter(object_pk=str(target.pk)).values_list("user_id", flat=True))
    for user in User.objects.filter(memberships__org_id=org_id, is_active=True).order_by("email"):
        policy = _policy_from(user, teams, shares=user.pk in shared)
        others = (one for one in guard.guards() if type(one).__name__ != "StatementGuard")
        actor = Actor(org_id=org_id, user_id=user.pk, cache={"policy": policy})
        if all(one.permits(actor, target, verb) for one in others):
            decision = policy.decide(target, verb)
            if decision.allowed:
                yield Able(user=user, decision=replace(decision, needs=needs_of(actor, target, verb)))


def _policy_from(user: User, teams: Iterable[Team], *, shares: bool) -> Policy:
    own = [team for team in teams if user in team.members.all()]
    found = statements_of(({"name": team.name, "statements": team.statements} for team in own), user.pk)
    return Policy(
        is_owner=any(team.is_owners for team in own),
        user_id=user.pk,
        team_ids=frozenset(team.pk for team in own),
        statements=(*found, *(shares_of([user.pk]).get(user.pk, ()) if shares else ())),
    )


def preview(actor: Actor, team: Team, statements: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Who would gain and lose what, were these (validated) the team's statements. Rows the actor may read are named, others counted.

    Returns: [{"user", "email", "gains": [{"verbs", "count", "examples"}], "loses": [...], "asks": [...], "asks_no_more": [...]}], one a
    member for whom something changes. `asks`: of what they may do, for what they would have to ask for approval.
    """
    answer = []
    for user in team.members.filter(is_active=True).order_by("email")[:100]:
        before = load_policy(team.org_id, user.pk)
        if before.is_owner:
            continue
        others = tuple(s for s in before.statements if s.is_share or s.team != team.name)
        fresh = statements_of([{"name": team.name, "statements": statements}], user.pk)
        after = Policy(user_id=user.pk, team_ids=before.team_ids, statements=(*others, *fresh))
        gains, loses = _changes(actor, team.org_id, before, after)
        asks, asks_no_more = _changes(actor, team.org_id, before, after, of_asking=True)
        if gains or loses or asks or asks_no_more:
            changes = {"gains": gains, "loses": loses, "asks": asks, "asks_no_more": asks_no_more}
            answer.append({"user": user.pk.hex, "email": user.email, **changes})
    return answer


def _changes(
    actor: Actor, org_id: UUID, before: Policy, after: Policy, *, of_asking: bool = False
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    gains: list[dict[str, Any]] = []
    loses: list[dict[str, Any]] = []
    for kind, rights in verbs_known().items():
        model = kinds().get(kind)
        if model is None:
            continue
        creating = {action.right for action in all_actions().values() if action.model is model and action.creates}
        acts = {action.right for action in all_actions().values() if action.model is model} - {"read"}
        asked: dict[tuple[Any, Any], list[str]] = {}
        for right in sorted(rights):
            of_kinds = {face.kind for face in faces(model, right) if face.kind}
            then, now = ([s for s in p.speaking(of_kinds, right) if of_asking or not s.ask] for p in (before, after))
            if set(then) == set(now) or (of_asking and not (right in acts and any(s.ask for s in (*then, *now)))):
                continue
            if right in creating:
                could, can = (p.somewhere(model, right) and (not of_asking or p.asks_q(model, right) != NOTHING) for p in (before, after))
                if could != can and (can or not of_asking or after.somewhere(model, right)):
                    (gains if can else loses).append({"verbs": [f"{kind}.{right}"], "count": None, "examples": []})
                continue
            asked.setdefault((frozenset(then), frozenset(now)), []).append(right)  # verbs with the same statements: one query
        for names in asked.values():
            rows = model._default_manager.filter(**{getattr(model, "org_path", "org_id"): org_id})
            old, new = (rows.filter(p.q(model, names[0])) for p in (before, after))
            gone = old
            if of_asking:  # of what one may do; and need not ask for any more is what one still may
                old, new = (those.filter(p.asks_q(model, names[0])) for those, p in ((old, before), (new, after)))
                gone = old.filter(after.q(model, names[0]))
            for into, more, less in ((gains, new, old), (loses, gone, new)):
                moved = more.exclude(pk__in=less.values("pk"))
                count = moved.count()
                if count:
                    shown = moved.filter(pk__in=model._default_manager.visible_to(actor).values("pk")).order_by("pk")[:EXAMPLES]
                    verbs = [f"{kind}.{name}" for name in names]
                    into.append({"verbs": verbs, "count": count, "examples": [{"id": row.pk.hex, "name": str(row)} for row in shown]})
    return gains, loses


def find(actor: Actor, kind: str, wanted: str) -> Any:
    """A row of a kind by id or exact name, as far as the actor may read.  Raises: NotFound."""
    model = kinds().get(kind)
    if model is None:
        raise Invalid(fields={"kind": [f"There is no kind {kind[:60]}.{_nearest(kind, kinds())}"]})
    rows = model._default_manager.visible_to(actor)
    try:
        row = rows.filter(pk=UUID(wanted)).first()
    except ValueError:
        row = rows.filter(name=wanted).first() if "\x00" not in wanted else None
    if row is None:
        raise NotFound
    return row
