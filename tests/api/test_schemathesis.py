"""The specification is true: whatever it allows, and much it does not, is answered as it says."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

import hypothesis
import pytest
import schemathesis
from django.core.wsgi import get_wsgi_application
from django.test import Client
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.config import SchemathesisConfig
from schemathesis.core.failures import FailureGroup
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.api.world import OF_NO_ORG, World

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
Session = tuple[dict[str, str], dict[str, str]]
Seen = dict[str, Counter[int]]
EXAMPLES = {GenerationMode.POSITIVE: 5, GenerationMode.NEGATIVE: 2}  # of each operation, with a fixed seed


def fill(case: Any, world: World, choose: Any, spec: Any) -> None:
    """Put ids that are there where the specification says that an id belongs, and leave some parameters away: else all is 404 and 400."""
    operation = spec["paths"][case.operation.path][case.operation.method]
    for parameter in operation.get("parameters", ()):
        name, kind = parameter["name"], parameter["schema"].get("x-kind", "")
        held = case.path_parameters if parameter["in"] == "path" else case.query
        if not held or name not in held:
            continue
        if kind and choose(st.integers(0, 9)):
            held[name] = world.name_of("machine" if kind == "*" else kind)
        elif name == "verb" and choose(st.integers(0, 4)):
            held[name] = "machine.stop"
        elif parameter["in"] == "query" and not parameter.get("required") and choose(st.integers(0, 3)):
            del held[name]
    schema = body_schema(spec, case.operation.path, case.operation.method)
    if not isinstance(case.body, dict):
        return
    for name, field in schema.get("properties", {}).items():
        inner = field.get("oneOf", [field])[0]
        kind = inner.get("x-kind", "")
        if name in case.body and kind in {*world.rows, *OF_NO_ORG} and choose(st.integers(0, 4)):
            case.body[name] = world.name_of(kind)


def body_schema(spec: Any, path: str, method: str) -> dict[str, Any]:
    body = spec["paths"][path][method].get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    name = body.get("$ref", "").rsplit("/", 1)[-1]
    found: dict[str, Any] = spec["components"]["schemas"].get(name, {})
    return found


def probe(operation: Any, mode: GenerationMode, world: World, spec: Any, session: Session, seen: Seen) -> None:
    """A few calls of one operation.  Raises: what a check found."""

    @hypothesis.seed(1)
    @hypothesis.settings(
        max_examples=EXAMPLES[mode],
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(data=st.data())
    def call(data: Any) -> None:
        case = data.draw(operation.as_strategy(generation_mode=mode))
        fill(case, world, data.draw, spec)
        hypothesis.assume(
            not case.path_parameters or operation.path.format(**case.path_parameters) not in operation.schema.raw_schema["paths"]
        )
        case.headers = {k: v for k, v in (case.headers or {}).items() if k.lower() not in ("authorization", "cookie")}
        case.cookies = {}
        response = case.call(cookies=session[0], headers=session[1])
        lost = response.status_code == 404 and b'"not_found"' not in response.content  # found, but it has no such key
        seen[operation.label][410 if lost else response.status_code] += 1
        is_away = response.status_code == 503 and b'"store_unavailable"' in response.content  # the store of this world answers nobody
        case.validate_response(response, checks=[check for check in CHECKS if not (is_away and check is not_a_server_error)])

    call()


@pytest.mark.django_db(transaction=True)
@pytest.mark.slow
def test_the_server_does_what_the_specification_says(here: World, spec: Any) -> None:
    app = get_wsgi_application()
    document = Client().get("/api/v2/spec", headers={"Accept": "application/json"}).json()
    schema = schemathesis.openapi.from_dict(document, config=SchemathesisConfig())
    schema.app = app
    session: Session = ({}, {"Authorization": f"Bearer {here.token}"})
    wrong: dict[str, str] = {}
    seen: Seen = defaultdict(Counter)
    operations = [result.ok() for result in schema.get_all_operations()]
    for operation in sorted(operations, key=lambda o: (o.method == "delete", -o.path.count("/"))):  # what others need goes last
        for mode in EXAMPLES:
            try:
                probe(operation, mode, here, spec, session, seen)
            except hypothesis.errors.Unsatisfiable:
                pass
            except (FailureGroup, AssertionError, ExceptionGroup) as failure:
                wrong[f"{operation.label} {mode.value}"] = str(failure)[:3000]
    assert not wrong, "\n\n".join(f"{k}: {v}" for k, v in wrong.items())
    unread = sorted(label for label, statuses in seen.items() if label.startswith("GET") and 200 not in statuses)
    unmet = sorted(label for label, statuses in seen.items() if not statuses.keys() - {400, 404} and label not in unread)
    assert not unread + unmet, f"No example got through: { {label: dict(seen[label]) for label in unread + unmet} }"
