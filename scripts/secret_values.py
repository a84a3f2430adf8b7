"""Values of secrets that a script refers to: looked for when a run is asked for, read when it begins, kept nowhere."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager

from core.actor import Actor
from core.errors import Invalid
from keys import references


def check(actor: Actor, texts: Collection[str]) -> None:
    """Is each there, and may it be used?  Raises: Invalid."""
    with _of_a_run():
        references.find(actor, texts)


def read(actor: Actor, texts: Collection[str], *, why: str) -> Mapping[str, str]:
    """{reference: value}, each on record as used.  Raises: Invalid, Denied, Failed."""
    with _of_a_run():
        return references.read(actor, texts, why=why)


@contextmanager
def _of_a_run() -> Iterator[None]:
    try:
        yield
    except Invalid as error:
        raise Invalid(error.detail, fields={"params": [error.detail]}, code=error.code) from error
