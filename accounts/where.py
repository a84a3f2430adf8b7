"""What a statement speaks of, as people write it: the part of the search grammar that a statement can hold.

    tag:env=prod tag:team cloud:"AWS production" kind:machine,volume id:0198… own:yes

All of it holds at once. A tag without a value means any. Several kinds, clouds or ids mean one of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from accounts.statements import kinds
from core.errors import BadSearch
from core.search import Bool, Choice, Id, Ref, SearchSpec, Tags
from core.search.grammar import All, And, Node, Term, Value, parse

SPEC = SearchSpec(
    kind="statement",
    fields={
        "tag": Tags(),
        "cloud": Ref("cloud", "clouds.Cloud", closed=True),
        "kind": Choice("kind", lambda: tuple(sorted(kinds()))),
        "id": Id(),
        "own": Bool("own"),
    },
    aliases={"tags": "tag", "kinds": "kind", "ids": "id", "clouds": "cloud"},
    bare=("tag",),
)
_KEYS = {"tag": "tag", "tags": "tag", "cloud": "cloud", "clouds": "cloud", "kind": "kind", "kinds": "kind", "id": "id", "ids": "id"}


def read(text: str) -> dict[str, Any]:
    """The `what` of a statement. Names and ids in it are still to be checked (accounts.policies.validate).  Raises: BadSearch."""
    what: dict[str, Any] = {}
    for term in _terms(parse(text)):
        if not term.key:
            word = term.values[0].text
            raise BadSearch(f"{word[:40]} alone says nothing here. Write tag:{word[:40]}, cloud:… or id:…", position=term.position)
        key = term.key.lower()
        if term.op not in (":", "="):
            raise BadSearch(f"A statement compares by : alone, not by {term.op}.", position=term.op_position)
        if key == "own" or (key == "owner" and term.values[0].means("me")):
            what["own"] = _is_own(term, key)
        elif key not in _KEYS:
            raise BadSearch(f"A statement knows no {key[:40]}. It has tag, cloud, kind, id and own.", position=term.position)
        elif _KEYS[key] == "tag":
            _tag(term, what.setdefault("tags", {}))
        else:
            name = f"{_KEYS[key]}s"
            if name in what:
                raise BadSearch(f"Name the {name} once, with commas: {key}:one,two.", position=term.position)
            what[name] = [_plain(value) for value in term.values]
    return what


def _terms(node: Node) -> Iterator[Term]:
    if isinstance(node, Term):
        yield node
    elif isinstance(node, And):
        for inner in node.nodes:
            yield from _terms(inner)
    elif not isinstance(node, All):
        raise BadSearch("A statement knows no OR and no NOT. Write two statements, or one that denies.", position=_place(node))


def _place(node: Any) -> int:
    while not isinstance(node, Term):
        node = node.node if hasattr(node, "node") else node.nodes[0]
    return node.position


def _is_own(term: Term, key: str) -> bool:
    word = term.values[0].text.lower()
    if key == "own" and (len(term.values) > 1 or word not in ("yes", "true", "no", "false")):
        raise BadSearch("own is yes or no.", position=term.values[0].position)
    return word in ("yes", "true", "me")


def _tag(term: Term, tags: dict[str, str | None]) -> None:
    if len(term.values) > 1:
        raise BadSearch("Every tag must hold: write tag:a tag:b, or two statements for one of them.", position=term.position)
    value = term.values[0]
    key, sep, wanted = value.text.partition("=")
    if "*" in (key if sep else value.text) or (wanted != "*" and value.wild):
        raise BadSearch("A statement's tags have no wildcard. tag:env alone means any value.", position=value.position)
    if key in tags:
        raise BadSearch(f"The tag {key[:40]} is named twice.", position=term.position)
    tags[key] = wanted if sep and wanted != "*" else None


def _plain(value: Value) -> str:
    if value.wild:
        raise BadSearch("A statement names things whole, without a wildcard.", position=value.position)
    return value.text


def write(what: Mapping[str, Any], names: Mapping[str, str] | None = None) -> str:
    """The text that `read` reads back. `names`: {id: name} of clouds."""
    known = names or {}
    parts = []
    if what.get("own"):
        parts.append("own:yes")
    if what.get("kinds"):
        parts.append(_term("kind", what["kinds"]))
    parts += [_term("tag", [key if value is None else f"{key}={value}"]) for key, value in (what.get("tags") or {}).items()]
    if what.get("clouds"):
        parts.append(_term("cloud", [known.get(pk, pk) for pk in what["clouds"]]))
    if what.get("ids"):
        parts.append(_term("id", what["ids"]))
    return " ".join(parts)


def _term(key: str, texts: list[str]) -> str:
    return str(Term(key, ":", tuple(Value((text,), literal=True) for text in texts)))
