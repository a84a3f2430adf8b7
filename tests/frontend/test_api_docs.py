"""The API's documentation: every operation, one's own ids, calls that work, and the words the command line really has."""

from __future__ import annotations

import ast
import re
import shlex
from typing import Any

import pytest
from mist_cli import catalogue

from core.api.document import document
from frontend import apidocs
from machines.models import Machine
from tests.frontend.conftest import Place


def docs(place: Place) -> apidocs.Docs:
    return apidocs.Docs(place.actor, place.org)


def test_every_operation_is_on_a_page(place: Place) -> None:
    written = {operation.name for noun, _count in apidocs.nouns() for operation in docs(place).of(noun)}
    served = {one["operationId"] for methods in document()["paths"].values() for key, one in methods.items() if key in apidocs.METHODS}
    assert written == served
    for noun, _count in apidocs.nouns():
        assert place.admin.get(f"{place.base}/api/docs/{noun}").status_code == 200, noun
    assert place.admin.get(f"{place.base}/api/docs/unicorns").status_code == 404


def test_examples_name_what_one_sees_oneself(place: Place) -> None:
    body = place.admin.get(f"{place.base}/api/docs/machines").content.decode()
    mine = {row.pk.hex for row in Machine.objects.all()}
    assert set(re.findall(r"/api/v2/machines/([0-9a-f]{32})/actions/stop", body)) <= mine
    assert re.search(r"mist machines stop [0-9a-f]{32}", body)
    secret = place.nobody.get(f"{place.base}/api/docs/machines").content.decode()
    assert not any(pk in secret for pk in mine)
    assert "/api/v2/machines/MACHINE/actions/stop" in secret


def test_the_commands_are_those_the_command_line_makes_of_the_document(place: Place) -> None:
    nouns = catalogue.read(dict(document()))
    known = {f"{noun} {name}" for noun, own in nouns.items() for name in own["commands"]}
    written = {operation.command for noun, _count in apidocs.nouns() for operation in docs(place).of(noun) if operation.command}
    assert not written - known
    assert not known - written


def test_a_call_of_the_page_can_be_made(place: Place) -> None:
    """Each GET of the page, as its curl says it, answers."""
    tried = 0
    for noun in ("machines", "clouds", "teams", "jobs", "keys", "events"):
        for operation in docs(place).of(noun):
            if operation.method != "GET":
                continue
            words = shlex.split(next(call.text for call in operation.calls if call.name == "curl").replace("\\\n", " "))
            path = words[1][words[1].index("/api/v2/") :]
            if re.search(r"/[A-Z_]{3,}(/|$|\?)", path) or "VALUE" in path:
                continue
            answer: Any = place.admin.get(path, headers={"X-Org": place.org.pk.hex})
            assert answer.status_code == 200, (path, answer.content[:300])
            tried += 1
    assert tried > 8


@pytest.mark.parametrize("noun", ["machines", "teams", "bulk"])
def test_the_python_is_python(place: Place, noun: str) -> None:
    for operation in docs(place).of(noun):
        ast.parse(next(call.text for call in operation.calls if call.name == "python"))


def test_the_search_finds_by_words(place: Place) -> None:
    body = place.admin.get(f"{place.base}/api/docs?q=stop+machines").content.decode()
    assert 'id="stop_machine"' in body
    assert "Nothing in the API says" in place.admin.get(f"{place.base}/api/docs?q=xyzzy").content.decode()
