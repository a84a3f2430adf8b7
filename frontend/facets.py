"""The facets beside the audit log: what was found, counted, and the search with one value more or less."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from django.utils.translation import gettext_lazy as _

from accounts.models import User
from core import listing, log, search
from core.actor import Actor
from core.search import And, Node, Term, Value, all_of
from frontend.timeline import Span

OUTCOMES = {
    "succeeded": _("Succeeded"),
    "failed": _("Failed"),
    "refused": _("Refused"),
    "requested": _("Requested"),
    "asked": _("Approval asked"),
    "approved": _("Approved"),
    "declined": _("Declined"),
    "observed": _("Observed"),
    "cancelled": _("Cancelled"),
    "undone": _("Undone"),
    "skipped": _("Skipped"),
}
ALWAYS = ("succeeded", "failed", "refused", "requested")  # shown with none, too
VIAS = {
    "console": _("Console"),
    "api": _("API"),
    "cli": _("Command line"),
    "poll": _("Seen by polling"),
    "shell": _("Shell"),
    "system": _("Mist itself"),
    "expiration": _("Expiration"),
    "retention": _("Retention"),
}
SHOWN = 5
MEMBERS = 8  # of a family of actions that is chosen
MOST = 200


@dataclass(kw_only=True)
class Item:
    """`q`: the search with it chosen, or no more. `inside`: it belongs to the one above."""

    label: str
    count: int
    on: bool
    q: str
    mark: str = ""
    person: str = ""
    inside: bool = False


@dataclass(kw_only=True)
class Facet:
    title: str
    items: list[Item]
    more: list[Item] = field(default_factory=list)


def facets(actor: Actor, query: listing.Query, asked: Span) -> list[Facet]:
    """Outcome, action, actor and where it came from. A facet's own terms do not narrow its counts.  Raises: BadSearch."""
    node = search.parse(query.search)
    counted: dict[str, dict[str, Any]] = {}

    def counts(key: str) -> list[Mapping[str, Any]]:
        text = str(_without(node, key))
        if text not in counted:
            counted[text] = log.facets(actor, asked.narrowed(replace(query, search=text)), most=MOST)["facets"]
        found: list[Mapping[str, Any]] = counted[text][key]
        return found

    return [
        Facet(title=str(_("Outcome")), items=_outcomes(node, counts("outcome"))),
        _cut(str(_("Action")), _actions(node, counts("action"))),
        _cut(str(_("Actor")), _actors(node, counts("actor"))),
        _cut(str(_("Came from")), [_item(node, "via", one["value"], one["count"], VIAS.get(one["value"])) for one in counts("via")]),
    ]


def _outcomes(node: Node, counts: Iterable[Mapping[str, Any]]) -> list[Item]:
    by_value = {one["value"]: one["count"] for one in counts}
    shown = [value for value in OUTCOMES if value in ALWAYS or value in by_value or value in _chosen(node, "outcome")]
    return [replace(_item(node, "outcome", value, by_value.get(value, 0), OUTCOMES[value]), mark=f".{value}") for value in shown]


def _actions(node: Node, counts: Iterable[Mapping[str, Any]]) -> list[Item]:
    """By the kind they are of, where several are; the actions of one that is chosen follow it."""
    families: dict[str, Counter[str]] = {}
    for one in counts:
        families.setdefault(one["value"].partition(".")[0], Counter())[one["value"]] = one["count"]
    chosen = _chosen(node, "action")
    items: list[tuple[int, list[Item]]] = []
    for name, actions in families.items():
        if len(actions) == 1:
            value, count = next(iter(actions.items()))
            items.append((count, [_item(node, "action", value, count)]))
            continue
        rows = [_item(node, "action", f"{name}.*", actions.total())]
        if rows[0].on or chosen & actions.keys():
            members = [value for n, (value, _count) in enumerate(actions.most_common()) if n < MEMBERS or value in chosen]
            rows += [replace(_item(node, "action", value, actions[value]), inside=True) for value in members]
        items.append((actions.total(), rows))
    return [row for _count, rows in sorted(items, key=lambda pair: -pair[0]) for row in rows]


def _actors(node: Node, counts: Iterable[Mapping[str, Any]]) -> list[Item]:
    found = list(counts)
    people = {user.pk.hex: user for user in User.objects.filter(pk__in=[UUID(one["value"]) for one in found])}
    items = []
    for one in found:
        user = people.get(one["value"])
        name = user.full_name if user else one["value"][:8]
        items.append(replace(_item(node, "actor", user.email if user else one["value"], one["count"], name), person=name))
    return items


def _cut(title: str, items: list[Item]) -> Facet:
    """The first few, and whatever is chosen."""
    shown, more, top = [], [], 0
    for item in items:
        top += not item.inside
        (shown if top <= SHOWN or item.on else more).append(item)
    return Facet(title=title, items=shown, more=more)


def _item(node: Node, key: str, value: str, count: int, label: Any = None) -> Item:
    on = value.lower() in _chosen(node, key)
    return Item(label=str(label or value), count=count, on=on, q=str(_toggled(node, key, value)))


# -- the search


def _nodes(node: Node) -> tuple[Node, ...]:
    return node.nodes if isinstance(node, And) else (node,)


def _is(node: Node, key: str) -> bool:
    return isinstance(node, Term) and node.op == ":" and log.Event.search.aliases.get(node.key, node.key) == key


def _chosen(node: Node, key: str) -> set[str]:
    return {value.text.lower() for one in _nodes(node) if _is(one, key) and isinstance(one, Term) for value in one.values}


def _without(node: Node, key: str) -> Node:
    return all_of([one for one in _nodes(node) if not _is(one, key)])


def _toggled(node: Node, key: str, value: str) -> Node:
    """One term of the key, where it stood, with this value more or less."""
    written = Value(tuple(value.split("*")))
    was = [one for part in _nodes(node) if _is(part, key) and isinstance(part, Term) for one in part.values]
    now = [one for one in was if one.text.lower() != value.lower()]
    if len(now) == len(was):
        now.append(written)
    term = [Term(key, ":", tuple(now))] if now else []
    made: list[Node] = []
    for one in _nodes(node):
        if not _is(one, key):
            made.append(one)
        elif term:
            made += term
            term = []
    return all_of([*made, *term])
