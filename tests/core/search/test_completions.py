"""What the query bar offers at the cursor."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from django.db.models import Model, QuerySet
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from core.search import Counted, SearchContext, complete
from machines.models import Machine


def nothing(model: type[Model]) -> QuerySet[Model]:
    raise AssertionError("completions ask the database nothing themselves")


CONTEXT = SearchContext(now=timezone.now(), org_id=None, user_id=None, visible=nothing)


def in_data(key: str, typed: str) -> Iterable[Counted]:
    data = {"tag": {"env=prod": 12, "env=dev": 3}, "name": {"web 1": 1, "none": 2}}
    return [Counted(value, count) for value, count in data.get(key, {}).items() if value.startswith(typed)]


def offered(text: str) -> list[str]:
    """What the bar would read after each choice; `|` is the cursor."""
    cursor = text.index("|")
    text = text.replace("|", "")
    found = complete(text, cursor, Machine.search, CONTEXT, in_data)
    return [text[: one.start] + one.insert + text[one.end :] for one in found]


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("sta|", ["state:"]),
        ("-sta|", ["-state:"]),
        ("(sta|", ["(state:"]),
        ("web sta| cpu>4", ["web state: cpu>4"]),
        ("web OR sta|", ["web OR state:"]),
        ("owned-b|", ["owned_by:"]),
        ("loca|tion", ["location:"]),
        ("state:run|", ["state:running"]),
        ("state:run|ning web", ["state:running web"]),
        ("state:|", ["state:running", "state:starting", "state:stopping", "state:stopped"]),
        ("state:running,st|", ["state:running,starting", "state:running,stopping", "state:running,stopped"]),
        ("state:running,|", ["state:running,running"]),
        ("owner:|", ["owner:me", "owner:none"]),
        ("tag:en|", ["tag:env=prod", "tag:env=dev"]),
        ("name:we|", ['name:"web 1"']),
        ("name:no|", ['name:"none"']),
    ],
)
def test_the_query_bar_offers(text: str, first: list[str]) -> None:
    assert offered(text)[: len(first)] == first


@pytest.mark.parametrize("text", ["tag:e|", "nokey:ab|", "cpu>4|", "(web)|", 'name:"we|', "web,sta|"])
def test_nothing_is_offered_where_nothing_fits(text: str) -> None:
    assert offered(text) == []


def test_an_empty_bar_offers_the_keys_and_counts_come_with_values() -> None:
    assert "cloud:" in offered("|") or len(offered("|")) == 30
    found = complete("tag:env", 7, Machine.search, CONTEXT, in_data)
    assert [(one.insert, one.count) for one in found] == [("env=prod", 12), ("env=dev", 3)]


@given(st.text('ab ()"-,*:=~<>statecloud:', max_size=30), st.integers(-5, 40))
def test_whatever_is_typed_is_offered_something_or_nothing(text: str, cursor: int) -> None:
    for one in complete(text, cursor, Machine.search, CONTEXT, in_data):
        assert 0 <= one.start <= one.end <= len(text)
