"""Tokens from what one just did: a job, an event or a call on a page, as statements that allow that and no more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.utils.translation import gettext as _

from accounts.policies import verbs_known
from accounts.statements import kinds
from core.actions import all_actions
from core.actor import Actor
from core.models import Event, Job
from frontend import words
from frontend.policy import plural


@dataclass(frozen=True, kw_only=True)
class Source:
    """`choices`: (name, in words), narrowest first; `limits`: {name: statements}."""

    title: str
    choices: list[tuple[str, str]]
    limits: dict[str, list[dict[str, Any]]]


def source(actor: Actor, asked: Mapping[str, str]) -> Source | None:
    """From ?job=, ?event=, or ?verb= with ?on=; None: none of them, or nothing one may see."""
    verb, target_id = asked.get("verb", ""), _uuid(asked.get("on", ""))
    for name, model in (("job", Job), ("event", Event)):
        row: Any = model.objects.visible_to(actor).filter(pk=_uuid(asked.get(name, ""))).first() if asked.get(name) else None
        if row is not None:
            verb = row.action if name == "job" else row.type.rpartition(".")[0]
            target_id = row.target_id
    if not is_of(verb):
        return None
    action, kind = all_actions()[verb], verb.partition(".")[0]
    return _made(actor, action, f"{kind}.{action.right}", kind, target_id)


def is_of(verb: str) -> bool:
    """Is it the verb of an act that a token can be limited to?"""
    action, kind = all_actions().get(verb), verb.partition(".")[0]
    return action is not None and kind in kinds() and action.right in verbs_known().get(kind, ())


def _made(actor: Actor, action: Any, verb: str, kind: str, target_id: UUID | None) -> Source:
    rows = kinds()[kind]._default_manager.visible_to(actor)
    target: Any = rows.filter(pk=target_id).first() if target_id else None
    read = f"{kind}.read"
    label = str(words.act(action.verb).label)
    choices: list[tuple[str, str]] = []
    limits: dict[str, list[dict[str, Any]]] = {}

    def offer(name: str, said: str, *statements: dict[str, Any]) -> None:
        choices.append((name, said))
        limits[name] = list(statements)

    def allow(*verbs: str, **what: Any) -> dict[str, Any]:
        return {"effect": "allow", "verbs": list(dict.fromkeys(verbs)), "what": what}

    cloud = target.cloud_ref if target is not None else None
    if target is not None and not action.creates:
        offer("one", _("%(act)s: %(name)s alone") % {"act": label, "name": target}, allow(verb, read, ids=[target.pk.hex]))
    tags = getattr(target, "tags", None)
    if tags:
        said = " ".join(f"{key}={value}" if value else key for key, value in sorted(tags.items()))
        offer("tags", _("%(act)s: all with %(tags)s") % {"act": label, "tags": said}, allow(verb, read, tags=dict(tags)))
    if cloud is not None and kind != "cloud":
        name = kinds()["cloud"]._default_manager.filter(pk=cloud).values_list("name", flat=True).first()
        where = {"clouds": [cloud.hex]}
        more = [allow("cloud.read", ids=[cloud.hex])] if action.creates else []  # its images, sizes and places are read with it
        offer("cloud", _("%(act)s: all in %(name)s") % {"act": label, "name": name}, allow(verb, read, **where), *more)
    offer("kind", _("%(act)s: all %(things)s") % {"act": label, "things": plural(kind)}, allow(verb, read))
    title = f"{label} {target}" if target is not None else f"{label} {plural(kind)}"
    return Source(title=title[:100], choices=choices, limits=limits)


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
