"""What every operation does with what it cannot read; found in the specification, so that a new one is covered."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings
from django.core.management import call_command
from rest_framework.test import APIClient

from tests.api.world import World

pytestmark = pytest.mark.django_db

UNSAFE = ("post", "put", "patch", "delete")
DEEP = "[" * 3000 + "]" * 3000
MOST = settings.DATA_UPLOAD_MAX_MEMORY_SIZE


@pytest.fixture
def api(here: World) -> APIClient:
    client = APIClient(raise_request_exception=False)
    client.force_authenticate(user=None, token=here.actor)
    return client


def operations(spec: Any, world: World) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(method, path with the ids of real rows, operation)."""
    for path, methods in spec["paths"].items():
        for method, operation in methods.items():
            yield method, real_path(path, operation, world), operation


def real_path(path: str, operation: dict[str, Any], world: World) -> str:
    for parameter in operation.get("parameters", ()):
        if parameter["in"] == "path":
            kind = parameter["schema"]["x-kind"]
            path = path.replace("{" + parameter["name"] + "}", world.name_of(kind))
    return path


def is_open(operation: dict[str, Any]) -> bool:
    return {} in operation.get("security", [])


def test_the_specification_has_no_warnings(spec: Any) -> None:
    call_command("spectacular", "--validate", "--fail-on-warn", "--file", "/dev/null")


def test_nobody_is_answered_401_everywhere(here: World, spec: Any) -> None:
    nobody = APIClient()
    for method, path, operation in operations(spec, here):
        if not is_open(operation):
            answer = nobody.generic(method.upper(), path)
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated"), (method, path, answer.content)
            assert answer["WWW-Authenticate"] == "Bearer"


def test_a_parameter_nobody_reads_is_refused_everywhere(api: APIClient, here: World, spec: Any) -> None:
    for method, path, _ in operations(spec, here):
        answer = api.generic(method.upper(), f"{path}?nobody-reads-this=1")
        assert answer.status_code == 400, (method, path, answer.status_code, answer.content[:200])
        assert answer.json()["code"] == "unknown_parameter"


def test_a_null_character_in_a_parameter_is_refused_everywhere(api: APIClient, here: World, spec: Any) -> None:
    for method, path, operation in operations(spec, here):
        for parameter in operation.get("parameters", ()):
            if parameter["in"] == "query":
                answer = api.generic(method.upper(), f"{path}?{parameter['name']}=a%00b")
                assert answer.status_code in (400, 422), (method, path, parameter["name"], answer.status_code, answer.content[:200])


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        ("{", "application/json", 400),
        ("[]", "application/json", 400),
        ('"text"', "application/json", 400),
        ("12", "application/json", 400),
        ("null x", "application/json", 400),
        ('{"name": NaN}', "application/json", 400),
        ('{"name": Infinity}', "application/json", 400),
        ('{"name": 1e999}', "application/json", 400),
        ('{"name": ' + "9" * 5000 + "}", "application/json", 400),
        ('{"name": ' + DEEP + "}", "application/json", 400),
        ('{"name": ' + "[" * 100 + "]" * 100 + "}", "application/json", 400),
        (b'{"name": "\xff"}', "application/json", 400),
        ('{"name": "a\\u0000b"}', "application/json", 422),
        ('{"name": "\\ud800"}', "application/json", 422),
        ('{"\\u0000": 1}', "application/json", 422),
        ("<xml/>", "application/xml", 415),
        ("name=x", "application/x-www-form-urlencoded", 415),
        ("{}" + " " * (2 * MOST), "application/json", 413),
    ],
    ids=lambda value: str(value)[:24],
)
def test_a_body_that_cannot_be_read_is_refused_everywhere(
    api: APIClient, here: World, spec: Any, body: Any, content_type: str, status: int
) -> None:
    for method, path, operation in operations(spec, here):
        if "requestBody" in operation:
            answer = api.generic(method.upper(), path, body, content_type=content_type)
            assert answer.status_code == status, (method, path, answer.status_code, answer.content[:300])
            assert {"code", "detail", "request_id"} <= answer.json().keys()


@pytest.mark.parametrize("path", ["clouds", "machines", "keys", "views", "teams", "invitations", "scripts"])
def test_a_field_nobody_reads_makes_nothing(api: APIClient, here: World, path: str) -> None:
    answer = api.post(f"/api/v2/{path}", {"name": "x", "preview": True}, format="json")
    assert answer.status_code == 422, answer.content
    assert answer.json()["fields"]["preview"][0].startswith("There is no such field here.")


def test_a_field_nobody_reads_does_nothing(api: APIClient, here: World) -> None:
    answer = api.post(f"/api/v2/machines/{here.name_of('machine')}/actions/stop", {"force": True}, format="json")
    assert (answer.status_code, list(answer.json()["fields"])) == (422, ["force"])


def test_a_method_that_is_not_there_is_405_and_says_which_are(api: APIClient, here: World, spec: Any) -> None:
    for path, methods in spec["paths"].items():
        real = real_path(path, next(iter(methods.values())), here)
        for method in {*UNSAFE, "get"} - methods.keys():
            answer = api.generic(method.upper(), real)
            assert answer.status_code == 405, (method, path, answer.status_code)
            allowed = {m.strip().lower() for m in answer["Allow"].split(",")}
            assert allowed - {"head", "options"} == methods.keys(), (path, allowed)


def test_head_answers_as_get_and_options_tells_nothing_of_rows(api: APIClient, here: World, there: World, spec: Any) -> None:
    for path, methods in spec["paths"].items():
        operation = next(iter(methods.values()))
        real, foreign = real_path(path, operation, here), real_path(path, operation, there)
        if "get" in methods:
            head = api.head(real)
            assert head.streaming or not head.content
            assert head.status_code == api.get(real).status_code
        assert api.options(real).status_code == 200
        nothing = re.sub("[0-9a-f]{32}", "f" * 32, real)
        answers = [api.options(where).json() | {"request_id": ""} for where in (foreign, nothing)]
        assert answers[0] == answers[1]


def test_every_field_has_a_type(spec: Any) -> None:
    loose = []
    for name, schema in spec["components"]["schemas"].items():
        for field, inner in schema.get("properties", {}).items():
            if not {"type", "$ref", "oneOf", "allOf", "anyOf"} & inner.keys():
                loose.append(f"{name}.{field}")
    assert not loose


def test_operations_have_the_contracts_names(spec: Any) -> None:
    named = {
        (method.upper(), path.removeprefix("/api/v2")): op["operationId"] for path, m in spec["paths"].items() for method, op in m.items()
    }
    for line in CONTRACT.split("\n"):
        if line.strip():
            method, path, name = line.split()
            assert named.get((method, path)) == name, (method, path, named.get((method, path)))


@pytest.mark.parametrize("name", ["x" * 5000, "\u0007bell", ""])
def test_a_name_that_cannot_be_is_422(api: APIClient, here: World, name: str) -> None:
    answer = api.patch(f"/api/v2/clouds/{here.rows['cloud'].pk.hex}", {"name": name}, format="json")
    assert answer.status_code == 422
    assert list(answer.json()["fields"]) == ["name"]


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "🦊 fox", "ﷺ 'quotes\" \\ back", "a" * 255])
def test_a_name_is_kept_and_answered_as_it_is(api: APIClient, here: World, name: str) -> None:
    path = f"/api/v2/clouds/{here.rows['cloud'].pk.hex}"
    assert api.patch(path, {"name": name}, format="json").json()["data"]["name"] == name
    assert api.get(path).json()["data"]["name"] == name
    assert api.get("/api/v2/machines", {"cloud": name, "limit": 1}).json()["data"][0]["cloud"] == name


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "0392-10-29T21:06:43.8+21:30", "2026-02-30", "x"])
def test_a_time_that_is_none_is_400(api: APIClient, here: World, at: str) -> None:
    assert api.get("/api/v2/machines", {"at": at}).json()["code"] == "bad_time"
    assert api.get("/api/v2/events/histogram", {"since": at}).json()["code"] == "bad_time"


def test_a_day_is_a_time(api: APIClient, here: World) -> None:
    assert api.get("/api/v2/machines", {"at": "2020-01-01"}).json()["data"] == []


def test_a_search_of_a_megabyte_is_refused(api: APIClient, here: World) -> None:
    answer = api.get("/api/v2/machines", {"search": "a" * 1_000_000})
    assert answer.status_code == 400
    assert len(answer.content) < 2000


def test_a_wrong_search_says_where(api: APIClient, here: World) -> None:
    answer = api.get("/api/v2/machines", {"search": "state:running nokey:1"})
    assert answer.status_code == 400
    assert answer.json()["position"] == 14


def test_a_body_can_carry_json_of_our_own(api: APIClient, here: World) -> None:
    path = f"/api/v2/machines/{here.rows['machine'].pk.hex}/actions/tag"
    assert api.post(path, json.dumps({"tags": {"a": "ü"}}).encode(), content_type="application/json; charset=utf-8").status_code == 200


CONTRACT = """
GET /clouds list_clouds
POST /clouds add_cloud
DELETE /clouds/{cloud} remove_cloud
GET /clouds/{cloud} get_cloud
PUT /clouds/{cloud} edit_cloud
GET /images list_images
GET /images/{image} get_image
GET /jobs/{job_id} get_job
GET /locations list_locations
GET /locations/{location} get_location
GET /machines list_machines
POST /machines create_machine
GET /machines/{machine} get_machine
PUT /machines/{machine} edit_machine
PUT /machines/{machine}/actions/associate-key associate_key
POST /machines/{machine}/actions/clone clone_machine
POST /machines/{machine}/actions/destroy destroy_machine
DELETE /machines/{machine}/actions/disassociate-key disassociate_key
POST /machines/{machine}/actions/ssh ssh
POST /machines/{machine}/actions/reboot reboot_machine
POST /machines/{machine}/actions/rename rename_machine
POST /machines/{machine}/actions/resize resize_machine
POST /machines/{machine}/actions/resume resume_machine
POST /machines/{machine}/actions/start start_machine
POST /machines/{machine}/actions/stop stop_machine
POST /machines/{machine}/actions/suspend suspend_machine
POST /machines/{machine}/actions/undefine undefine_machine
GET /networks list_networks
GET /networks/{network} get_network
GET /sizes list_sizes
GET /sizes/{size} get_size
GET /machines/{machine}/snapshots list_snapshots
POST /machines/{machine}/snapshots create_snapshot
DELETE /machines/{machine}/snapshots/{snapshot} remove_snapshot
POST /machines/{machine}/snapshots/{snapshot} revert_to_snapshot
GET /tags list_tags
POST /tags tag_resources
GET /volumes list_volumes
GET /volumes/{volume} get_volume
"""


def test_people_are_shown_pages_that_run_no_script_of_their_own(here: World, spec: Any) -> None:
    browser = APIClient()
    browser.force_login(here.user)
    for method, path, _ in operations(spec, here):
        if method != "get":
            continue
        page = browser.get(path, HTTP_ACCEPT="text/html,application/xhtml+xml,*/*;q=0.8")
        assert page.status_code == browser.get(path, HTTP_ACCEPT="application/json").status_code, path
        if page["Content-Type"].startswith("text/html"):
            html = page.content.decode()
            assert "script-src 'self'" in page["Content-Security-Policy"]
            assert not re.findall(r"<script(?![^>]*(?:src=|application/json))[^>]*>|<style|\son[a-z]+=|style=", html), path
    page = browser.get("/api/v2/machines/nothing-there", HTTP_ACCEPT="text/html")
    assert page.status_code == 404
    assert "not_found" in page.content.decode()
