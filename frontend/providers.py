"""What providers say on forms, in the viewer's language: they say it in English, for every door, and frontend/translations.py knows it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from django.utils.translation import gettext

from clouds.providers import all_providers
from clouds.providers.facts import Field


def in_words(fields: Iterable[Field]) -> tuple[Field, ...]:
    """A provider's fields. What a text may be completed to (a region) is called what the provider calls it."""
    return tuple(
        replace(
            one,
            label=gettext(one.label),
            help=gettext(one.help),
            choices=tuple((value, gettext(label)) for value, label in one.choices) if one.kind == "choice" else one.choices,
            fields=in_words(one.fields),
        )
        for one in fields
    )


def texts() -> Iterator[tuple[str, str]]:
    """(a text, where it is) of all of them, to be translated."""
    for name, provider in all_providers().items():
        of_fields = (*_of(provider.credential_fields), *_of(provider.create_fields))
        for text in (provider.doc, *provider.purposes, *provider.terraform_notes, *of_fields):
            if text:
                yield text, f"clouds/providers/{name}"


def _of(fields: Iterable[Field]) -> Iterator[str]:
    for one in fields:
        yield from (one.label, one.help, *_of(one.fields))
        if one.kind == "choice":
            yield from (label for _value, label in one.choices)
