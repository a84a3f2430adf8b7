"""Machines by something they have in common: how many, what they cost a month, and the query that finds each group."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from django.db.models import Count, QuerySet, Sum, TextField
from django.db.models.fields.json import KeyTextTransform
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from core.search import Node, Not, Term, Value, all_of, parse
from frontend.templatetags.console import state_word, type_word
from frontend.templatetags.humanish import money
from machines.models import Machine

MOST = 200  # groups shown, the largest
KEYS: dict[str, tuple[Promise, str]] = {
    "cloud": (gettext_lazy("Cloud"), "cloud__name"),
    "location": (gettext_lazy("Location"), "location__name"),
    "state": (gettext_lazy("State"), "state"),
    "size": (gettext_lazy("Size"), "size__name"),
    "image": (gettext_lazy("Image"), "image__name"),
    "owner": (gettext_lazy("Owner"), "owner__email"),
    "type": (gettext_lazy("Type"), "type"),
}


@dataclass(kw_only=True)
class Group:
    """`q`: what finds its machines. `rows`: those machines, where they are shown at once."""

    title: str
    q: str
    count: int = 0
    costs: dict[str, Decimal] = field(default_factory=dict)
    rows: list[Machine] = field(default_factory=list)

    @property
    def cost(self) -> str:
        return " + ".join(money(round(total), currency).replace(".00", "") for currency, total in sorted(self.costs.items()) if total)


def title(key: str) -> str | None:
    """What a group is by, in words; None: there is no such grouping."""
    if key.startswith("tag:") and 4 < len(key) <= 132 and "\x00" not in key:
        return key[4:]
    return str(KEYS[key][0]) if key in KEYS else None


def narrowed(search: str, term: Node) -> str:
    """A search and this too, as text.  Raises: BadSearch."""
    return str(all_of([parse(search), term])) if search.strip() else str(term)


def groups(rows: QuerySet[Any], key: str, search: str) -> list[Group]:
    """The groups of these rows, the largest first. search: what found them."""
    if key.startswith("tag:"):
        rows = rows.annotate(grouped=KeyTextTransform(key[4:], "tags", output_field=TextField()))
        path = "grouped"
    else:
        path = KEYS[key][1]
    found: dict[Any, Group] = {}
    counted = rows.order_by().values_list(path, "currency").annotate(n=Count("pk"), cost=Sum("cost_month"))
    for value, currency, n, cost in counted:
        value = value or (value if key.startswith("tag:") else None)
        group = found.get(value) or found.setdefault(value, Group(title=_titled(key, value), q=narrowed(search, _term(key, value))))
        group.count += n
        group.costs[currency] = group.costs.get(currency, Decimal(0)) + (cost or 0)
    return sorted(found.values(), key=lambda group: (-group.count, group.title))[:MOST]


def distribute(groups: Iterable[Group], key: str, rows: Iterable[Machine]) -> None:
    """Put each row into its group."""
    by_title = {group.title: group for group in groups}
    for row in rows:
        if key.startswith("tag:"):
            value = (row.tags or {}).get(key[4:])
        else:
            value = row
            for part in KEYS[key][1].split("__"):
                value = getattr(value, part, None)
            value = value or None
        if group := by_title.get(_titled(key, value)):
            group.rows.append(row)


def _titled(key: str, value: Any) -> str:
    if value is None:
        return _("None")
    in_words = {"state": state_word, "type": type_word}.get(key, str)
    return in_words(value) or _("(empty)")


def _term(key: str, value: Any) -> Node:
    if key.startswith("tag:"):
        name = key[4:].replace("=", "\\=")
        if value is None:
            return Not(Term("tag", ":", (Value((name,), literal=True),)))
        return Term("tag", ":", (Value((f"{name}={value}",), literal=True),))
    if value is None:
        return Term(key, ":", (Value(("none",)),))
    return Term(key, "=", (Value((str(value),), literal=True),))
