"""Searching as somebody: what the doors of a kind call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any, ClassVar

from django.db import OperationalError, connection, transaction
from django.db.models import Model, Q, QuerySet
from django.utils import timezone

from core.actor import Actor
from core.errors import BadSearch
from core.search.fields import Date, Id, Tags, Text
from core.search.grammar import Node, parse, uses_regex
from core.search.predicates import Field, SearchContext
from core.search.references import Either, Ref, Through
from core.search.spec import SearchSpec, compile

REGEX_TIMEOUT_MS = 2000


def context_of(actor: Actor, now: datetime | None = None) -> SearchContext:
    """What searches of this actor resolve in. Models that are searched for have `visible_to` on their manager."""

    def visible(model: type[Model]) -> QuerySet[Any]:
        manager: Any = model._default_manager
        rows: QuerySet[Any] = manager.visible_to(actor)
        return rows

    return SearchContext(now=now or timezone.now(), org_id=actor.org_id, user_id=actor.user_id, visible=visible)


class Searched:
    """A model that can be searched: it declares `search`."""

    search: ClassVar[SearchSpec]

    @classmethod
    def search_q(cls, text: str | Node, actor: Actor, now: datetime | None = None) -> Q:
        """The predicate of a search as this actor means it; filter with it *beside* `visible_to`, which it does not replace.

        Raises: BadSearch.
        """
        return compile(text, cls.search, context=context_of(actor, now))


def person(column: str) -> Ref:
    """A user, by e-mail or name, or `me`."""
    return Ref(column, "accounts.User", by=("email", "first_name", "last_name"), me=True)


# The keys every resource has. A kind adds its own: `fields={**RESOURCE_FIELDS, …}`.
RESOURCE_FIELDS: Mapping[str, Field] = {
    "id": Id(),
    "name": Text("name"),
    "tag": Tags(),
    "owner": person("owner"),
    "created_by": person("created_by"),
    "team": Through("owner", "accounts.Team", Either((Text("name"), Id())), target="members"),
    "created": Date("created_at"),
    "age": Date("created_at", durations="ago"),
}
RESOURCE_ALIASES: Mapping[str, str] = {"tags": "tag", "owned_by": "owner", "created_at": "created"}


@contextmanager
def time_limited(text: str | Node, timeout_ms: int = REGEX_TIMEOUT_MS) -> Iterator[None]:
    """Run the queries of a search inside: where it has a regular expression, none takes longer than `timeout_ms`.

    Does nothing, and asks nothing of the database, for any other search.  Raises: BadSearch, when one took longer.
    """
    node = parse(text) if isinstance(text, str) else text
    if not uses_regex(node):
        yield
        return
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT current_setting('statement_timeout'), set_config('statement_timeout', %s, true)", [str(timeout_ms)])
            before = cursor.fetchone()[0]
            yield
            cursor.execute("SELECT set_config('statement_timeout', %s, true)", [before])
    except OperationalError as error:
        if getattr(error.__cause__, "sqlstate", "") != "57014":  # query_canceled
            raise
        raise BadSearch("The regular expression takes too long. Narrow the search, or use : and *.", position=0) from error
