"""Which regular expressions pass: PostgreSQL must be able to compile every one that does."""

from __future__ import annotations

import pytest
from django.db import connection
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import BadSearch
from core.search.regex import check


@pytest.mark.parametrize(
    "pattern",
    [
        "^web",
        r"web-\d+$",
        "(eu|us)-[a-z]{2,5}",
        "(?i)WEB",
        "[[:alpha:]_-]+",
        "a?b*c+d+?",
        r"\ydb\y",
        "(?:ab)+",
        "[]x]".replace("]x", "x"),
        "é😀.",
    ],
)
def test_an_ordinary_pattern_passes(pattern: str) -> None:
    assert check(pattern, 5) == pattern


@pytest.mark.parametrize(
    "pattern",
    [r"(a)\1", "(a+)+", "((a*)b)*", "(a{2,3}){4}", "a**", "*a", "a{1000}", "a{50}b{100}c{100}d{100}", "(?=a)", "(?<!a)", "(a", "a)", "[a",
     "[z-a]", "[[:no:]]", r"\q", "\\", r"\bx", "a{,3}", "a|*", "^*", "x" * 201, "[]", "a{3,2}", "a}"],
)  # fmt: skip
def test_a_dangerous_or_broken_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(BadSearch) as caught:
        check(pattern, 5)
    assert caught.value.position == 5


PIECES = ["a", "é", ".", "\\d", "\\w", "\\.", "\\y", "\\n", "^", "$", "|", "(", "(?:", ")", "[a-z]", "[^]", "[-", "[", "]", "-",
          "[[:digit:]x]",
          "[\\d_-]", "*", "+", "?", "{2}", "{1,3}", "{2,}", "{", "}", ",", "\\", "(?i)",
          "[:", "\\A", "]]", "[a\\]b]", " ", "'", "%", "#"]  # fmt: skip


@pytest.mark.django_db
@settings(max_examples=600, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=8).map("".join) | st.text("ab[](){}*+?|^$\\.-:dwy12,é", max_size=12))
def test_whatever_passes_compiles_in_postgresql(pattern: str) -> None:
    try:
        check(pattern, 0)
    except BadSearch:
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT 'web-01.example' ~ %s, 'ab' ~ %s", [pattern, pattern])
