"""Two organizations: nothing of the other is seen or touched, by any operation of the specification.

What names a row is marked there (`x-kind`): a new operation is covered by being there, and fails here when it has an id
that is not marked, or a kind of which the other organization has no row.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.credentials import TOKEN_PREFIX, digest_of, new_secret
from accounts.models import Membership, Token, User
from core.listing import by_id_or_name
from tests.api.world import OF_NO_ORG, World

pytestmark = pytest.mark.django_db

SAFE = ("get", "head", "options")
Operation = tuple[str, str, dict[str, Any]]
# Names that look like a row's and are none, with the reason.
NOT_A_ROW = {
    "key": "of a tag",
    "user": "a login on a machine",
    "provider": "code, the same for everybody",
    "size": "of a volume, in GiB",
    "token": "the secret of a link",
    "script": "what it says",
    "secret": "what it holds",
    "secret_id": "of an AppRole",
}
PLACES = {
    "AddScriptRequest",
    "CreateSecretRequest",
    "EditSecretRequest",
    "CreateSecretStoreRequest",
    "EditSecretStoreRequest",
    "VaultRequest",
    "EditScriptRequest",
    "AssociateKeyMachineRequest",
    "DisassociateKeyMachineRequest",
    "ShellMachineRequest",
    "TrustCaMachineRequest",
    "DistrustCaMachineRequest",
    "CreateMachineRequest",
    "TagRequest",
    "AcceptRequest",
}


def operations(spec: Any) -> Iterator[Operation]:
    for path, methods in spec["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


def kind_of_parameter(parameter: dict[str, Any]) -> str:
    return str(parameter["schema"]["x-kind"])


def path_parameters(operation: dict[str, Any]) -> list[dict[str, Any]]:
    return [p for p in operation.get("parameters", ()) if p["in"] == "path"]


def fill_path(path: str, operation: dict[str, Any], world: World, other: dict[str, str] | None = None) -> str:
    """The path with ids of `world`'s rows, but for the parameters in `other`."""
    for parameter in path_parameters(operation):
        name = parameter["name"]
        path = path.replace("{" + name + "}", (other or {}).get(name) or world.name_of(kind_of_parameter(parameter)))
    return path


def client(token: str) -> APIClient:
    made = APIClient()
    made.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    return made


def ask(api: APIClient, method: str, path: str, body: Any = None) -> Any:
    return api.generic(method.upper(), path, json.dumps(body) if body else "", "application/json")


def told(answer: Any) -> tuple[int, dict[str, Any]]:
    """What an answer says, without what differs from request to request."""
    body = json.loads(answer.content)
    body.pop("request_id", None)
    return answer.status_code, body


def resolve(spec: Any, schema: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in schema:
        return resolve(spec, spec["components"]["schemas"][schema["$ref"].rsplit("/", 1)[-1]])
    if len(schema.get("allOf", ())) == 1:
        return resolve(spec, schema["allOf"][0])
    return schema


def body_schema(spec: Any, operation: dict[str, Any]) -> dict[str, Any]:
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    return resolve(spec, content.get("schema", {}))


def example(spec: Any, schema: dict[str, Any], world: World, foreign: str = "", at: tuple[str, ...] = (), way: tuple[str, ...] = ()) -> Any:
    """A body as the specification wants it: what is required, and the field at the path `way`, which is `foreign`."""
    schema = resolve(spec, schema)
    if "oneOf" in schema:
        schema = resolve(spec, schema["oneOf"][0])
    if not schema:
        return None
    if schema.get("type") == "object":
        wanted = {*schema.get("required", ()), *way[:1]}
        return {
            name: example(spec, inner, world, foreign, (*at, name), way[1:] if way[:1] == (name,) else ())
            for name, inner in schema.get("properties", {}).items()
            if name in wanted
        }
    if schema.get("type") == "array":
        return [example(spec, schema["items"], world, foreign, at, way[1:])] if way[:1] == ("[]",) or schema["items"].get("$ref") else []
    if way == ("!",):
        return foreign
    if "x-kind" in schema:
        return world.name_of("machine" if schema["x-kind"] == "*" else schema["x-kind"])
    if "enum" in schema:
        return schema["enum"][0]
    if at == ("action",):
        return "stop"
    return {"integer": 1, "number": 1, "boolean": False}.get(
        schema.get("type", ""), "machine" if at[-1:] in (("kind",), ("resource_type",)) else "x"
    )


def ways(spec: Any, schema: dict[str, Any], way: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """(path to a field that names a row, its kind)."""
    schema = resolve(spec, schema)
    for one in schema.get("oneOf", ()):
        yield from ways(spec, one, way)
    if "x-kind" in schema:
        yield (*way, "!"), schema["x-kind"]
    if schema.get("type") == "array":
        yield from ways(spec, schema["items"], (*way, "[]"))
    for name, inner in schema.get("properties", {}).items():
        yield from ways(spec, inner, (*way, name))


def names_in(spec: Any, schema: dict[str, Any], component: str = "") -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(component, name, schema) of every field of a body."""
    component = schema.get("$ref", component).rsplit("/", 1)[-1]
    schema = resolve(spec, schema)
    if schema.get("type") == "array":
        yield from names_in(spec, schema["items"], component)
    for name, inner in schema.get("properties", {}).items():
        yield component, name, inner
        yield from names_in(spec, inner, component)


# --- ids in paths -----------------------------------------------------------------------------------------------------


def test_every_id_in_a_path_is_of_a_kind_we_can_fill(spec: Any, there: World) -> None:
    unknown = {
        (path, kind_of_parameter(parameter))
        for _, path, operation in operations(spec)
        for parameter in path_parameters(operation)
        if kind_of_parameter(parameter) not in {*there.rows, *OF_NO_ORG}
    }
    assert not unknown, f"Give the world (tests/api/world.py) a row of: {unknown}"


def test_every_name_of_a_row_in_a_body_or_query_is_marked(spec: Any, there: World) -> None:
    unmarked = set()
    looks = re.compile(rf"^({'|'.join(map(re.escape, [*there.rows, 'owner', 'heir', 'id']))})(s|_id|_ids)?$")
    for method, path, operation in operations(spec):
        content = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
        for component, name, inner in names_in(spec, content):
            marked = "x-kind" in json.dumps(resolve(spec, inner))
            if looks.match(name) and not marked and not (name in NOT_A_ROW and component in PLACES):
                unmarked.add((method, path, component, name))
        for parameter in operation.get("parameters", ()):
            unnamed = parameter["in"] == "query" and looks.match(parameter["name"]) and "x-kind" not in parameter["schema"]
            if unnamed and (path.rsplit("/", 1)[-1], parameter["name"]) != ("rdp", "user"):  # a login
                unmarked.add((method, path, "query", parameter["name"]))
    assert not unmarked


def is_ours_too(world: World, kind: str, name: str) -> bool:
    """Has a row of that kind here the same name? Then it is what a path means."""
    visible_to = getattr(type(world.rows[kind]).objects, "visible_to", None)
    return name == str(world.rows[kind]) or bool(visible_to and by_id_or_name(visible_to(world.actor), name))


def test_another_organizations_id_in_a_path_is_not_found_in_the_words_for_none(spec: Any, here: World, there: World) -> None:
    api, wrong = client(here.token), []
    for method, path, operation in operations(spec):
        body = example(spec, body_schema(spec, operation), here)
        for parameter in path_parameters(operation):
            kind, name = kind_of_parameter(parameter), parameter["name"]
            if kind in OF_NO_ORG:
                continue
            foreign = there.rows[kind]
            shapes = [foreign.pk.hex, str(foreign.pk), str(foreign)]
            if is_ours_too(here, kind, str(foreign)):
                shapes.pop()
            for shape in shapes:
                random = str(uuid4()) if "-" in shape else uuid4().hex
                asked = [ask(api, method, fill_path(path, operation, here, {name: what}), body) for what in (shape, random)]
                if told(asked[0]) != told(asked[1]) or asked[0].status_code != 404:
                    wrong.append((method, path, name, shape, told(asked[0]), told(asked[1])))
    assert not wrong, "\n".join(map(str, wrong))


def test_another_organizations_id_in_a_body_is_422_in_the_words_for_none(spec: Any, here: World, there: World) -> None:
    api, wrong, reached = client(here.token), [], 0
    for method, path, operation in operations(spec):
        schema = body_schema(spec, operation)
        for way, kind in ways(spec, schema):
            if kind in OF_NO_ORG:
                continue
            foreign = there.rows["machine" if kind == "*" else kind]
            answers = []
            for what in (foreign.pk.hex, uuid4().hex):
                body = example(spec, schema, here, what, (), way)
                assert what in json.dumps(body), (method, path, way, body)
                answers.append(told(ask(api, method, fill_path(path, operation, here), body)))
            if answers[0] != answers[1] or answers[0][0] == 200:
                wrong.append((method, path, way, answers))
            fields = json.dumps(answers[0][1].get("fields", ""))
            reached += answers[0][0] == 422 and "Not found." in fields
            if "Not found." not in fields and answers[0][0] != 403 and kind != "org":
                wrong.append((method, path, way, answers[0]))
    assert not wrong, "\n".join(map(str, wrong))
    assert reached > 15


def test_another_organizations_id_in_a_query_is_422_in_the_words_for_none(spec: Any, here: World, there: World) -> None:
    api, wrong = client(here.token), []
    for method, path, operation in operations(spec):
        for parameter in operation.get("parameters", ()):
            if parameter["in"] != "query" or "x-kind" not in parameter["schema"]:
                continue
            kind = parameter["schema"]["x-kind"]
            extra = {"verb": "machine.stop"} if any(p["name"] == "verb" for p in operation["parameters"]) else {}
            if kind != "*" and any(p["name"] == "id" for p in operation["parameters"]):
                extra["id"] = here.name_of("machine")
            answers = []
            for what in (there.name_of("machine" if kind == "*" else kind), uuid4().hex):
                query = "&".join(f"{k}={v}" for k, v in {**extra, parameter["name"]: what}.items())
                answers.append(told(api.generic(method.upper(), f"{fill_path(path, operation, here)}?{query}")))
            if answers[0] != answers[1] or answers[0][0] != 422 or answers[0][1]["code"] != "not_found":
                wrong.append((method, path, parameter["name"], answers))
    assert not wrong, "\n".join(map(str, wrong))


# --- lists ------------------------------------------------------------------------------------------------------------


def secrets_of(world: World) -> list[str]:
    """What only this organization's things are called: names and ids."""
    names = (
        {str(row) for row in world.rows.values()}
        | {row.pk.hex for row in world.rows.values()}
        | {str(row.pk) for row in world.rows.values()}
    )
    return sorted(
        {*(n for n in names if "there-" in n or "@there" in n or re.fullmatch("[0-9a-f-]{32,36}", n)), "there-tag", "there-value"}
    )


def test_no_list_holds_anything_of_another_organization(spec: Any, here: World, there: World) -> None:
    api, wrong = client(here.token), []
    forbidden = secrets_of(there)
    now = timezone.now().isoformat().replace("+00:00", "Z")
    for method, path, operation in operations(spec):
        if method != "get":
            continue
        known = {p["name"] for p in operation.get("parameters", ()) if p["in"] == "query"}
        queries = ["", *(f"at={now}" for _ in "x" if "at" in known), *(f"search={word}" for word in ("there", "x") if "search" in known)]
        queries += ["format=csv"] if "format" in known and "columns" in known else []
        queries += ["limit=1000&deref=none"] if {"limit", "deref"} <= known else []
        for query in queries:
            answer = api.get(f"{fill_path(path, operation, here)}?{query}")
            content = read(answer)
            wrong += [
                (path, query, word) for word in forbidden if word in content and word not in f"search={word}&{query}"[7 + len(word) :]
            ]
    assert not wrong, wrong


def read(answer: Any) -> str:
    if not answer.streaming:
        return str(answer.content.decode())
    if answer.is_async:
        from asgiref.sync import async_to_sync

        async def gather() -> bytes:
            return b"".join([chunk async for chunk in answer.streaming_content])

        return async_to_sync(gather)().decode()
    return b"".join(answer.streaming_content).decode()


def test_our_own_things_are_in_our_lists(here: World) -> None:
    """The test above can fail: the same words are found by those whose they are."""
    api = client(here.token)
    for path, word in (
        ("clouds", "here-demo"),
        ("keys", "here-key"),
        ("tags", "here-tag"),
        ("snapshots", "here-snapshot"),
        ("teams", "here-team"),
    ):
        assert word in read(api.get(f"/api/v2/{path}"))
        assert word in read(api.get(f"/api/v2/{path}?search=here"))


# --- who asks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("why", ["revoked", "expired", "left", "inactive", "garbled", "none"])
def test_a_token_that_does_not_hold_is_401_everywhere(spec: Any, here: World, why: str) -> None:
    token, api = Token.objects.get(org=here.org), client(here.token)
    assert api.get("/api/v2/machines").status_code == 200
    if why == "revoked":
        Token.objects.filter(pk=token.pk).update(revoked_at=timezone.now())
    elif why == "expired":
        Token.objects.filter(pk=token.pk).update(expires_at=timezone.now())
    elif why == "left":
        Membership.objects.filter(user=here.user).delete()
    elif why == "inactive":
        User.objects.filter(pk=here.user.pk).update(is_active=False)
    else:
        api.credentials(HTTP_AUTHORIZATION="Bearer mist_nothing" if why == "garbled" else "Bearer ")
    for method, path, operation in operations(spec):
        if {} not in operation.get("security", []):
            answer = api.generic(method.upper(), fill_path(path, operation, here))
            assert answer.status_code == 401, (method, path, answer.status_code, answer.content)


def test_a_read_only_token_changes_nothing(spec: Any, here: World) -> None:
    Token.objects.filter(org=here.org).update(scope="read")
    api, wrong = client(here.token), []
    for method, path, operation in operations(spec):
        if method in SAFE or {} in operation.get("security", []) or operation["operationId"] in READS_ALL_THE_SAME:
            continue
        body = example(spec, body_schema(spec, operation), here)
        answer = ask(api, method, fill_path(path, operation, here), body)
        if answer.status_code != 403:
            wrong.append((method, path, answer.status_code, answer.content[:200]))
    assert not wrong, "\n".join(map(str, wrong))


def test_a_member_without_rights_sees_nothing_and_does_nothing(spec: Any, here: World) -> None:
    user = User.objects.create_user("nobody@here.org", "secret-secret")
    Membership.objects.create(org=here.org, user=user)
    secret = new_secret(TOKEN_PREFIX)
    Token.objects.create(org=here.org, owner=user, name="nobody's", digest=digest_of(secret), hint="mist_")
    api, wrong = client(secret), []
    hidden = {kind: row for kind, row in here.rows.items() if kind not in OF_EVERY_MEMBER}
    for method, path, operation in operations(spec):
        body = example(spec, body_schema(spec, operation), here)
        answer = ask(api, method, fill_path(path, operation, here), body)
        names = {kind_of_parameter(p) for p in path_parameters(operation)}
        if method == "get" and not names - OF_EVERY_MEMBER:
            content = read(answer)
            wrong += [(path, kind) for kind, row in hidden.items() if row.pk.hex in content]
        elif names & hidden.keys():
            if answer.status_code != 404:
                wrong.append((method, path, answer.status_code, answer.content[:160]))
        elif method not in SAFE and operation["operationId"] not in OF_ONESELF and answer.status_code not in (403, 404, 422):
            wrong.append((method, path, answer.status_code, answer.content[:160]))
    assert not wrong, "\n".join(map(str, wrong))


READS_ALL_THE_SAME: set[str] = {"preview_policy"}  # POST, but it changes nothing
OF_EVERY_MEMBER = {"org", "user", "member", "provider", "sign_in"}
OF_ONESELF = {
    "create_org",
    "create_token",
    "create_view",
    "create_export",
    "login",
    "logout",
    "edit_profile",
    "change_password",
    "su",
    "end_su",
    "delete_account",
    "revoke_session",
}
