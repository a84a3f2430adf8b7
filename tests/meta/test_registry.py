"""What every verb, provider and viewset owes, asked of the registries: nobody can forget."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from django.apps import apps
from django.core.management import call_command
from django.urls import URLPattern, URLResolver, get_resolver

from core import history
from core.actions import Action, all_actions
from core.api.viewset import BaseViewSet
from core.models import Resource

VERBS = all_actions()


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_says_what_it_does(verb: str) -> None:
    doc = inspect.getdoc(type(VERBS[verb])) or ""
    assert doc
    assert doc != inspect.getdoc(Action)


@pytest.mark.parametrize("verb", [verb for verb, action in VERBS.items() if action.background])
def test_a_background_action_takes_no_secret(verb: str) -> None:
    form: Any = VERBS[verb].params(data={})
    assert not [name for name, field in form.fields.items() if field.write_only], "its params are kept in the job's row"


def test_every_address_of_the_api_is_one_of_ours() -> None:
    def views(patterns: list[Any]) -> Any:
        for pattern in patterns:
            if isinstance(pattern, URLResolver):
                yield from views(pattern.url_patterns)
            elif isinstance(pattern, URLPattern):
                yield pattern

    api = next(p for p in get_resolver().url_patterns if isinstance(p, URLResolver) and str(p.pattern) == "api/v2/")
    for pattern in views(api.url_patterns):
        cls = getattr(pattern.callback, "cls", None) or getattr(pattern.callback, "view_class", None)
        if cls is not None and pattern.name not in ("spec", "docs"):
            assert issubclass(cls, BaseViewSet), pattern


@pytest.mark.django_db
def test_no_migration_is_missing() -> None:
    call_command("makemigrations", "--check", "--dry-run", verbosity=0)


@pytest.mark.django_db
def test_every_resource_with_history_keeps_it() -> None:
    wanted = {m._meta.db_table for m in apps.get_models() if issubclass(m, Resource) and m.has_history and m._meta.managed}
    assert wanted <= set(history.tables())
