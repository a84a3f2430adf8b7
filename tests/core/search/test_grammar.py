"""The grammar alone: what is read, what is refused and where, and canonical text."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from core.errors import BadSearch
from core.search import All, And, Node, Not, Or, Term, Value, parse, tokens, uses_regex
from core.search.grammar import MAX_DEPTH, MAX_LENGTH, MAX_TERMS
from tests.core.search.strategies import any_terms, trees


def term(key: str, op: str, *texts: str) -> Term:
    return Term(key, op, tuple(Value((text,)) for text in texts))


A, B, C = term("", ":", "a"), term("", ":", "b"), term("", ":", "c")


@pytest.mark.parametrize(
    ("text", "node"),
    [
        ("", All()),
        ("  \t\n", All()),
        ("a", A),
        ("a b", And((A, B))),
        ("a AND b", And((A, B))),
        ("a OR b c", Or((A, And((B, C))))),
        ("a b OR c", Or((And((A, B)), C))),
        ("(a OR b) c", And((Or((A, B)), C))),
        ("NOT a OR b", Or((Not(A), B))),
        ("-a b", And((Not(A), B))),
        ("NOT (a b)", Not(And((A, B)))),
        ("-(a OR b)", Not(Or((A, B)))),
        ("NOT(a)AND(b)", And((Not(A), B))),
        ("--a", Not(Not(A))),
        ("a AND (b AND c)", And((A, B, C))),
        ("a and b", And((A, term("", ":", "and"), B))),
        ('"AND"', term("", ":", "AND")),
        ("state:running", term("state", ":", "running")),
        ("state=running", term("state", "=", "running")),
        ("State:Running", term("state", ":", "Running")),
        ("created-by:x", term("created_by", ":", "x")),
        ("cores!=4", term("cores", "!=", "4")),
        ("cores>=4", term("cores", ">=", "4")),
        ("ends<7d", term("ends", "<", "7d")),
        ("state:running,stopped", term("state", ":", "running", "stopped")),
        ("tag:env=prod", term("tag", ":", "env=prod")),
        ("-tag:keep", Not(term("tag", ":", "keep"))),
        ('name:"a b"', term("name", ":", "a b")),
        (r'name:"a \"b\" \\ \d"', term("name", ":", r'a "b" \ \d')),
        (r"name:a\b", term("name", ":", r"a\b")),
        ('name:""', term("name", ":", "")),
        ("name:web*eu", Term("name", ":", (Value(("web", "eu")),))),
        ("name:web**", Term("name", ":", (Value(("web", "")),))),
        ('name:"web*"', term("name", ":", "web*")),
        ("name=web*", term("name", "=", "web*")),
        (r"name~^web-(eu|us)\d,?$", term("name", "~", r"^web-(eu|us)\d,?$")),
        ("(name~(a|b) c)", And((term("name", "~", "(a|b)"), C))),
        ("name~[)] a", And((term("name", "~", "[)]"), A))),
        ('name~"a b"', term("name", "~", "a b")),
        ("fe80::1", term("", ":", "fe80::1")),
        ("ip:fe80::1", term("ip", ":", "fe80::1")),
        ("10.0.0.1:80", term("", ":", "10.0.0.1:80")),
        ("-", term("", ":", "-")),
        ("a - b", And((A, term("", ":", "-"), B))),
        ("web-01", term("", ":", "web-01")),
        ("😀", term("", ":", "😀")),
        ("שלום", term("", ":", "שלום")),
        ("owner:none", term("owner", ":", "none")),
        ('owner:"none"', Term("owner", ":", (Value(("none",), literal=True),))),
    ],
)
def test_a_search_is_read_as(text: str, node: Node) -> None:
    assert parse(text) == node
    assert parse(str(node)) == node


@pytest.mark.parametrize(
    ("text", "position", "says"),
    [
        ("a OR", 4, "missing after OR"),
        ("OR a", 0, "before OR"),
        ("a AND AND b", 6, "after AND"),
        ("NOT", 3, "after NOT"),
        ("(a", 0, "not closed"),
        ("a (b OR (c)", 2, "not closed"),
        ("a)", 1, "closes nothing"),
        ("()", 1, "missing after ("),
        ('name:"a', 5, "quote"),
        ('x "', 2, "quote"),
        ("name:", 5, "name:none"),
        ("name: a", 5, "missing"),
        ("cores> a", 6, "missing"),
        ("a,", 2, "missing"),
        ("name:a,,b", 7, "missing"),
        ("name~", 5, "regular expression"),
        ("a =b", 2, "no key"),
        (">5", 0, "no key"),
        ("<script>alert(1)</script>", 0, "no key"),
        ("web(1)", 3, "quotes"),
        ("a\x00b", 1, "cannot be searched"),
        ("name:\ud800", 5, "cannot be searched"),
        ("a*" * 9 + "a", 0, "wildcards"),
    ],
)
def test_a_broken_search_says_where(text: str, position: int, says: str) -> None:
    with pytest.raises(BadSearch) as caught:
        parse(text)
    assert caught.value.position == position
    assert says in caught.value.detail


@pytest.mark.parametrize(
    "text",
    ["a" * (MAX_LENGTH + 1), "a " * 500_000, "(" * 1000, "-" * 1000 + "a", "NOT " * 400 + "a", "a " * (MAX_TERMS + 1), "a" + ",a" * 900],
)
def test_what_is_too_much_is_refused(text: str) -> None:
    with pytest.raises(BadSearch):
        parse(text)


def test_the_depth_allowed_is_reached() -> None:
    assert parse("(" * MAX_DEPTH + "a" + ")" * MAX_DEPTH) == A
    with pytest.raises(BadSearch):
        parse("(" * (MAX_DEPTH + 1) + "a" + ")" * (MAX_DEPTH + 1))


def test_a_regular_expression_is_told() -> None:
    assert uses_regex(parse("a OR -(b name~x)"))
    assert not uses_regex(parse("a OR name:x"))


@given(trees(any_terms()))
def test_canonical_text_is_read_back_as_the_same_tree(node: Node) -> None:
    assert parse(str(node)) == node


@given(st.text(max_size=60) | st.text('ab ()"-\\,*:=~<>!ANDORT', max_size=60))
@example('name~""')
@example('name~"" a')
@settings(max_examples=500)
def test_any_text_is_read_or_refused_and_can_be_coloured(text: str) -> None:
    end = 0
    for token in tokens(text):
        assert token.start >= end
        assert text[token.start : token.end] == token.text
        assert not text[end : token.start].strip()
        end = token.end
    assert not text[end:].strip()
    try:
        node = parse(text)
    except BadSearch as error:
        assert 0 <= error.position <= len(text)  # noqa: PT017  # either outcome is fine, each with its own claim
    else:
        assert parse(str(node)) == node


def test_the_colours_of_a_search() -> None:
    kinds = [(token.kind, token.text) for token in tokens('state:running,stopped OR (-name~^a "b c") >')]
    assert kinds == [
        ("key", "state"),
        ("op", ":"),
        ("value", "running"),
        ("comma", ","),
        ("value", "stopped"),
        ("or", "OR"),
        ("paren", "("),
        ("not", "-"),
        ("key", "name"),
        ("op", "~"),
        ("value", "^a"),
        ("word", '"b c"'),
        ("paren", ")"),
        ("error", ">"),
    ]
