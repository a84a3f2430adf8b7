"""The editor of a team's statements: what a form holds of them, what was typed, what is wrong where, and what may come at a cursor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.http import QueryDict
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, gettext_noop

from accounts import policies, where
from accounts.statements import Decision, kinds
from clouds.providers.facts import Field
from core.actor import Actor
from core.errors import BadSearch, Invalid
from core.search import Completion, complete, context_of, lookup_in
from frontend import forms
from machines.models import Machine

MOST = 12
EFFECTS: tuple[tuple[str, Promise], ...] = (
    ("allow", gettext_lazy("May")),
    ("deny", gettext_lazy("May never")),
    ("ask", gettext_lazy("Must ask to")),
)
WHYS = (
    gettext_noop("Owners may do everything"),
    gettext_noop("everybody may"),
    gettext_noop("it is one's own"),
    gettext_noop("it is shared with one's team or organization"),
    gettext_noop("no statement allows it"),
)


def fields() -> tuple[Field, ...]:
    """One list: effect, verbs, what."""
    effects = [(value, str(label)) for value, label in EFFECTS]
    return (
        Field(
            name="s",
            label=_("Statements"),
            kind="list",
            fields=(
                forms.with_choices(Field(name="effect", label=_("Its members"), required=True, default="allow"), effects),
                Field(name="verbs", label=_("Do"), required=True),
                Field(name="what", label=_("Where")),
            ),
        ),
    )


def shown(statements: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> list[dict[str, str]]:
    """Stored statements as rows of the form."""
    return [
        {"effect": one["effect"], "verbs": " ".join(one["verbs"]), "what": where.write(one.get("what") or {}, names)} for one in statements
    ]


def typed(data: QueryDict) -> list[dict[str, str]]:
    """The rows of the form as they were typed; those without a word in them are left out."""
    rows: list[dict[str, str]] = forms.read(fields(), data)["s"]
    return rows


def bind(rows: Sequence[Mapping[str, str]], errors: Mapping[str, Any] | None = None, *, more: str = "") -> forms.Bound:
    return forms.bind(fields(), {"s": list(rows)}, {"s": errors} if errors else None, more=more)[0]


def read(rows: Sequence[Mapping[str, str]], actor: Actor, kept: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The statements of the rows, checked.  Raises: Invalid: `fields` is {row from 0: {field: errors}}."""
    sent, wrong = [], {}
    for number, row in enumerate(rows):
        try:
            what = where.read(row.get("what", ""))
        except BadSearch as error:
            wrong[str(number)] = {"what": [error.detail]}
            what = {}
        verbs = row.get("verbs", "").replace(",", " ").split()
        sent.append({"effect": row.get("effect", ""), "verbs": verbs, "what": what})
    try:
        statements = policies.validate(sent, actor, kept=kept)
    except Invalid as error:
        for place in error.extra.get("places", ()):
            said = str(place["detail"])
            wrong.setdefault(str(place["statement"] - 1), {}).setdefault(place["part"], []).append(said[:1].upper() + said[1:])
        if not wrong:
            raise
    if wrong:
        raise Invalid(_("Some statements are wrong; they say what."), fields=wrong)
    return statements


# -- what may come at the cursor


def verbs_at(text: str, cursor: int) -> list[Completion]:
    """Verbs that begin with the word at the cursor, from the registry: machine.stop, machine.*, *.read."""
    start = max(text.rfind(" ", 0, cursor), text.rfind(",", 0, cursor)) + 1
    ends = [place for mark in " ," if (place := text.find(mark, cursor)) >= 0]
    end, word = min(ends, default=len(text)), text[start:cursor].lower()
    known = policies.verbs_known()
    everything = {"*": _("everything")} | {f"*.{right}": _("of every kind") for rights in known.values() for right in rights}
    for kind, rights in known.items():
        everything[f"{kind}.*"] = _("everything of this kind")
        everything |= {f"{kind}.{right}": "" for right in rights}
    everything["job.approve"] = _("approve what others ask for")
    ranked = sorted((not verb.startswith(word), verb) for verb in everything if word in verb)
    return [Completion(insert=verb, start=start, end=end, detail=everything[verb]) for _late, verb in ranked[:MOST]]


def what_at(actor: Actor, text: str, cursor: int) -> list[Completion]:
    """Keys of a statement, and tags and clouds with how many machines have them."""
    context = context_of(actor)
    return complete(text, cursor, where.SPEC, context, lookup_in(Machine.objects.visible_to(actor), where.SPEC, context))[:MOST]


# -- in words


@dataclass(frozen=True, kw_only=True)
class Sentence:
    """A statement as people read it, in pieces that a template marks: may · these verbs · on this."""

    number: int
    effect: str
    may: str
    verbs: list[str]
    where: list[tuple[str, str]]  # ("tag", "env=prod"), ("cloud", name), ("own", …)
    text: str  # the whole of it, as the API says it


def sentences(statements: Sequence[Mapping[str, Any]], actor: Actor) -> list[Sentence]:
    names = policies.names_in(statements, actor)
    return [
        Sentence(
            number=number,
            effect=one["effect"],
            may=str(dict(EFFECTS).get(one["effect"], one["effect"])),
            verbs=_said(one["verbs"]),
            where=_where(one.get("what") or {}, names),
            text=policies.sentence(one, names),
        )
        for number, one in enumerate(statements, start=1)
    ]


def why(decision: Decision) -> str:
    """What decided, in the viewer's language, within a sentence."""
    statement = decision.statement
    if statement is None:
        return _(decision.why) if decision.why in WHYS else decision.why
    if statement.is_share:
        return _("a share of this one allows it")
    said = _("statement %(n)s of team %(team)s allows it") if statement.allow else _("statement %(n)s of team %(team)s denies it")
    return said % {"n": statement.number, "team": statement.team}


def _said(verbs: Sequence[str]) -> list[str]:
    """“start, stop machines”, “do everything with machines”, “read everything”: one for each kind."""
    by_kind: dict[str, list[str]] = {}
    for verb in verbs:
        kind, _dot, right = verb.partition(".")
        by_kind.setdefault(kind, []).append(right or "*")
    found = []
    for kind, rights in by_kind.items():
        things = _("everything") if kind == "*" else plural(kind)
        if "*" in rights:
            found.append(_("do everything") if kind == "*" else _("do everything with %(things)s") % {"things": things})
        else:
            found.append(f"{', '.join(right.replace('_', ' ') for right in rights)} {things}")
    return found


def plural(kind: str) -> str:
    model = kinds().get(kind)
    return str(getattr(model, "plural", "") or f"{kind}s").replace("_", " ").replace("-", " ")


def _where(what: Mapping[str, Any], names: Mapping[str, str]) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    if what.get("own"):
        found.append(("own", _("that are their own")))
    found += [("kind", plural(kind)) for kind in what.get("kinds") or ()]
    found += [("tag", key if value is None else f"{key}={value}") for key, value in (what.get("tags") or {}).items()]
    found += [("cloud", names.get(pk, pk[:8])) for pk in what.get("clouds") or ()]
    found += [("id", names.get(pk, pk[:8])) for pk in what.get("ids") or ()]
    return found
