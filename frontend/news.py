"""What has come to a list since its page was read: rows that are not on it, so that it can say “12 new · Show” and move nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from uuid import UUID

from core import listing
from core.actor import Actor
from core.errors import MistError
from core.models import Resource
from core.sight import kinds

MOST = 100  # that many, and more


def count(actor: Actor, how: Mapping[str, str], shown: Iterable[UUID], among: Iterable[UUID] | None) -> int:
    """How many rows of the list that `how` describes have come. among: those that changed, None where nobody knows which.

    how: `kind`, `q` and `cloud` of the list, `since` (when it was read, ms) and `whole` ("1": all it found is on the page). Made
    since then is new; on a list that is whole so is what has come to match. On others that might be another page's row.
    """
    model = kinds().get(how.get("kind", ""))
    since = how.get("since", "")
    if model is None or not issubclass(model, Resource) or not (since.isascii() and since.isdigit() and len(since) < 15):
        return 0
    try:
        rows = listing.rows(model.objects.all(), actor, listing.Query(search=how.get("q", ""), cloud=how.get("cloud", "")))
    except MistError:
        return 0
    if among is not None:
        rows = rows.filter(pk__in=list(among))
    if among is None or how.get("whole") != "1":
        rows = rows.filter(pk__gte=UUID(int=int(since) << 80))  # ids begin with the time they were made
    return int(rows.exclude(pk__in=list(shown)).order_by().values("pk")[: MOST + 1].count())


def matching(actor: Actor, how: Mapping[str, str], ids: Iterable[UUID]) -> set[UUID] | None:
    """Which of these the list still finds; None: it finds everything, or nobody knows what it finds."""
    model = kinds().get(how.get("kind", ""))
    if model is None or not issubclass(model, Resource) or not (how.get("q") or how.get("cloud")):
        return None
    try:
        rows = listing.rows(model.objects.all(), actor, listing.Query(search=how.get("q", ""), cloud=how.get("cloud", "")))
    except MistError:
        return None
    return set(rows.filter(pk__in=list(ids)).values_list("pk", flat=True))
