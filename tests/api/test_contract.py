"""The contract's operations, fields and query parameters, for the kinds there are: as clients in the field send and read them."""

from __future__ import annotations

from typing import Any

import pytest

LIST = "search sort start limit only deref at"
UNDATED = "search sort start limit only deref"  # what keeps no history

# Where one of a kind is read, and what the contract says it has.
FIELDS = {
    "/auth": "user orgs",
    "/clouds/{cloud}": "id name provider config features tags created_by owned_by",
    "/machines/{machine}": "id external_id name cloud tags created_by owned_by default state actions cluster cores cost created expiration "
    "extra hostname image key_associations last_seen location missing_since monitoring network os_type parent ports private_ips "
    "probe public_ips size subnet type unreachable_since",
    "/volumes/{volume}": "id external_id name cloud location size tags created_by owned_by default actions attached_to extra last_seen "
    "missing_since",
    "/networks/{network}": "id external_id name cloud tags created_by owned_by",
    "/images/{image}": "id external_id name cloud starred os_type tags created_by owned_by extra",
    "/sizes/{size}": "id external_id name cloud extra",
    "/locations/{location}": "id external_id name cloud extra parent location_type country available_sizes available_images "
    "owned_by created_by",
    "/keys/{key}": "id name config tags created_by owned_by default type",
    "/secrets/{secret}": "id name tags created_by owned_by",
    "/orgs/{org}": "id name description avatar created billing last_active resources",
    "/orgs/{org}/members/{member}": "email id first_name last_name last_login username registration_date pending",
    "/teams/{team}": "id name members members_count description policy",
    "/jobs/{job_id}": "logs error started_at finished_at org machine_id job_id cloud_id action user",
    "/users": "email id first_name last_name last_login username registration_date",
    "/tags": "key value",
}
QUERY = {
    "GET /auth/sessions": UNDATED,
    "GET /auth/tokens": UNDATED,
    "GET /clouds": LIST,
    "GET /clouds/{cloud}": "sort only deref",
    "GET /images": f"{LIST} cloud",
    "GET /images/{image}": "only deref",
    "GET /keys": LIST,
    "GET /keys/{key}": "sort only deref private",
    "PUT /keys/{key}": "name default",
    "GET /locations": f"{LIST} cloud",
    "GET /locations/{location}": "only deref",
    "GET /machines": f"{LIST} cloud",
    "GET /machines/{machine}": "only deref",
    "POST /machines/{machine}/actions/clone": "name run_async",
    "POST /machines/{machine}/actions/rename": "name",
    "POST /machines/{machine}/actions/resize": "size",
    "POST /machines/{machine}/actions/undefine": "delete_domain_image",
    "GET /networks": f"{LIST} cloud",
    "GET /networks/{network}": "only deref",
    "GET /orgs": f"{UNDATED} allorgs",
    "GET /orgs/{org}": "only deref summary",
    "GET /orgs/{org}/members": UNDATED,
    "GET /orgs/{org}/members/{member}": "only",
    "GET /orgs/{org}/teams": UNDATED,
    "GET /secrets": UNDATED,
    "GET /secrets/{secret}": "value",
    "GET /sizes": f"{LIST} cloud",
    "GET /sizes/{size}": "only deref",
    "POST /machines/{machine}/snapshots": "name",
    "GET /tags": f"{UNDATED} types",
    "GET /users": UNDATED,
    "GET /volumes": f"{LIST} cloud",
    "GET /volumes/{volume}": "only deref",
}


def resolved(spec: Any, schema: Any) -> Any:
    while "$ref" in schema or "allOf" in schema:
        schema = schema["allOf"][0] if "allOf" in schema else spec["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


@pytest.mark.parametrize("path", FIELDS)
def test_a_kind_has_the_contracts_fields(spec: Any, path: str) -> None:
    answer = spec["paths"][f"/api/v2{path}"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    data = resolved(spec, resolved(spec, answer)["properties"]["data"])
    row = resolved(spec, data["items"]) if data.get("type") == "array" else data
    assert set(FIELDS[path].split()) <= row["properties"].keys()


@pytest.mark.parametrize("operation", QUERY)
def test_an_operation_reads_the_contracts_parameters(spec: Any, operation: str) -> None:
    method, path = operation.split()
    known = spec["paths"][f"/api/v2{path}"][method.lower()].get("parameters", [])
    assert set(QUERY[operation].split()) <= {parameter["name"] for parameter in known if parameter["in"] == "query"}
