"""One search language for API, console, command line, selectors, sockets and policies (API.md §2).

    spec = SearchSpec(kind="machine", fields={"name": Text("name"), "cores": Number("cores")}, bare=("name",))
    rows.filter(compile("web cores>=4", spec, context=context))

`grammar`: text ⇄ tree. `predicates`, `fields`, `references`: what a key can be.
`spec`: which keys a kind has, tree → predicate, completions.
`searched`: as whom; `Model.search_q(text, actor)` is what lists, selectors and sockets call.
"""

from core.search.counted import lookup_in
from core.search.fields import Addresses, Bool, Choice, Date, GiB, Haystack, Id, MiB, Number, Present, Size, Tags, Text, Words
from core.search.grammar import All, And, Node, Not, Or, Term, Token, Value, all_of, any_of, parse, terms, tokens, uses_regex
from core.search.predicates import Field, SearchContext
from core.search.references import Either, Many, Ref, Refs, Through
from core.search.searched import RESOURCE_ALIASES, RESOURCE_FIELDS, Searched, context_of, person, time_limited
from core.search.spec import Completion, Counted, Lookup, SearchSpec, compile, complete

__all__ = [
    "RESOURCE_ALIASES",
    "RESOURCE_FIELDS",
    "Addresses",
    "All",
    "And",
    "Bool",
    "Choice",
    "Completion",
    "Counted",
    "Date",
    "Either",
    "Field",
    "GiB",
    "Haystack",
    "Id",
    "Lookup",
    "Many",
    "MiB",
    "Node",
    "Not",
    "Number",
    "Or",
    "Present",
    "Ref",
    "Refs",
    "SearchContext",
    "SearchSpec",
    "Searched",
    "Size",
    "Tags",
    "Term",
    "Text",
    "Through",
    "Token",
    "Value",
    "Words",
    "all_of",
    "any_of",
    "compile",
    "complete",
    "context_of",
    "lookup_in",
    "parse",
    "person",
    "terms",
    "time_limited",
    "tokens",
    "uses_regex",
]
