"""Random searches, for property tests."""

from __future__ import annotations

from hypothesis import strategies as st

from core.search import Node, Not, Term, Value, all_of, any_of

LETTERS = "abWE01é_%\\*\", ():=-.~<>'\u05d0😀\t"


def texts(min_size: int = 0) -> st.SearchStrategy[str]:
    words = st.sampled_from(["web", "WEB-1", "none", "me", "AND", "OR", "NOT", "-x", "a b", "fe80::1", "10.0.0.1", "k=v", "prod"])
    return words | st.text(LETTERS, min_size=min_size, max_size=6)


@st.composite
def wild(draw: st.DrawFn) -> Value:
    """A value for `:`: wildcards between pieces; two never touch."""
    parts = draw(st.lists(texts(), min_size=1, max_size=3))
    inner = [part or "x" for part in parts[1:-1]]
    parts = [parts[0], *inner, parts[-1]] if len(parts) > 1 else parts
    return Value(tuple(parts), literal=draw(st.booleans()) and len(parts) == 1)


def plain_values() -> st.SearchStrategy[Value]:
    return st.builds(lambda text, literal: Value((text,), literal=literal), texts(), st.booleans())


def any_terms() -> st.SearchStrategy[Node]:
    """Terms of no kind in particular: any key, any text."""
    keys = st.sampled_from(["name", "tag", "created_at", "x.y", "имя", "state"])
    lists = st.lists(wild(), min_size=1, max_size=3).map(tuple)
    exact = st.lists(plain_values(), min_size=1, max_size=3).map(tuple)
    return st.one_of(
        st.builds(Term, st.just(""), st.just(":"), lists),
        st.builds(Term, keys, st.just(":"), lists),
        st.builds(Term, keys, st.sampled_from(["=", "!=", ">", ">=", "<", "<="]), exact),
        st.builds(lambda key, text: Term(key, "~", (Value((text,)),)), keys, texts(1)),
    )


def trees(leaves: st.SearchStrategy[Node], max_leaves: int = 8) -> st.SearchStrategy[Node]:
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            inner.map(Not),
            st.lists(inner, min_size=2, max_size=3).map(all_of),
            st.lists(inner, min_size=2, max_size=3).map(any_of),
        ),
        max_leaves=max_leaves,
    )


__all__ = ["any_terms", "plain_values", "texts", "trees", "wild"]
