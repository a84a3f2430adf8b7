"""Lists as files: short ones at once, long ones by a job that one can follow, cancel and fetch from; for the one who asked alone."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone
from playwright.sync_api import expect
from rest_framework.test import APIClient

from accounts import exports as files
from accounts.credentials import TOKEN_PREFIX, digest_of, new_secret
from accounts.models import Export, Team, Token, User
from core import exports
from core.actions import perform
from core.errors import BadRequest, BadSearch, Invalid
from core.models import Event, Job
from frontend import listing as pages
from machines.models import Machine
from tests.frontend.browsing import IN_A_BROWSER, Person
from tests.frontend.conftest import Place, actor_for, add_user, run_jobs, signed_in
from tests.frontend.exports.conftest import asked, left, made, many, read, rows_of, text_of
from tests.streamed import content_of

pytestmark = pytest.mark.django_db


# --- the way of a person ----------------------------------------------------------------------------------------------


def test_a_long_list_is_made_by_a_job_and_fetched(place: Place, few: None) -> None:
    page = place.admin.get(f"{place.base}/machines?q=state:running&sort=-name").content.decode()
    forms = re.findall(r'<form method="post" action="([^"]*machines\.csv[^"]*)"', page)
    assert len(forms) == 1
    assert "machines.csv" not in re.sub(r"<form.*?</form>", "", page), "no link beside the button"
    said = place.admin.post(forms[0].replace("&amp;", "&"), HTTP_HX_REQUEST="true").content.decode()
    count = Machine.objects.filter(state="running").count()
    job = Job.objects.get(action="export.create")
    assert f"{count} rows: the file is being made" in said
    assert f"{place.base}/jobs/{job.pk.hex}" in said
    run_jobs()
    shown = place.admin.get(f"{place.base}/jobs/{job.pk.hex}").content.decode()
    link = f"{place.base}/exports/{job.target_id.hex}/file"  # type: ignore[union-attr]
    assert f'href="{link}"' in shown
    for answer in (place.admin.get(f"{place.base}/jobs"), place.admin.get(f"{place.base}/jobs", HTTP_HX_REQUEST="true")):
        assert f'href="{link}"' in answer.content.decode()
    lines = list(csv.DictReader(io.StringIO(read(place.admin, link))))
    names = list(Machine.objects.filter(state="running").order_by("-name").values_list("name", flat=True))
    assert [line["name"] for line in lines] == names


def test_the_address_of_a_long_file_offers_the_job_without_a_script(place: Place, few: None) -> None:
    page = place.admin.get(f"{place.base}/machines.csv?q=state:running")
    assert "text/html" in page["Content-Type"]
    assert not Job.objects.filter(action="export.create").exists(), "looking makes nothing"
    assert 'action="/o/here/machines.csv?q=state:running"' in page.content.decode()
    there = place.admin.post(f"{place.base}/machines.csv?q=state:running")
    assert there.status_code == 302
    assert there["Location"] == f"{place.base}/jobs/{Job.objects.get(action='export.create').pk.hex}"


def test_a_short_list_is_sent_at_once(place: Place) -> None:
    page = place.admin.get(f"{place.base}/machines").content.decode()
    assert re.search(r'<a class="it" href="/o/here/machines.csv" download', page)
    assert place.admin.get(f"{place.base}/machines.csv")["Content-Type"].startswith("text/csv")


@pytest.mark.parametrize("path", ["volumes", "networks", "images"])
def test_every_list_has_its_file_at_once_and_by_a_job(place: Place, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = content_of(place.admin.get(f"{place.base}/{path}.csv")).decode()
    kind = path.removesuffix("s")
    source = exports.sources()[kind]
    assert len(list(csv.DictReader(io.StringIO(text)))) == source.model.objects.count() > 0
    assert json.loads(content_of(place.admin.get(f"{place.base}/{path}.json")))[0]["cloud"] == "demo one"
    monkeypatch.setattr(pages, "DIRECT", 0)
    place.admin.post(f"{place.base}/{path}.csv?q=cloud:%22demo+one%22")
    run_jobs()
    assert text_of(Export.objects.get()) == text


# --- exactly the query, and no more than may be seen ------------------------------------------------------------------


def test_the_file_has_the_columns_of_the_page_in_their_order(place: Place, few: None) -> None:
    one = Machine.objects.filter(state="running").first()
    assert one is not None
    perform(place.actor, one, "tag", {"tags": {"env": "prod"}})
    direct = content_of(place.admin.get(f"{place.base}/machines.csv?q=id:{one.pk.hex}&cols=tag:env,cost,age")).decode()
    assert direct.splitlines()[0] == "id,name,state,tag:env,cost_month,currency,created"
    assert ",prod," in direct
    place.admin.post(f"{place.base}/machines.csv?q=id:{one.pk.hex}&cols=tag:env,cost,age")
    run_jobs()
    assert text_of(Export.objects.get()) == direct
    everything = rows_of(made(place, search="state:running"))[0]
    assert {"public_ips", "external_id", "tags"} <= everything.keys()


@pytest.mark.parametrize("form", ["csv", "json", "jsonl"])
def test_each_kind_of_file(place: Place, form: str) -> None:
    export = made(place, format=form, search="state:stopped", columns=["name", "cores"])
    text = files.path_of(export.pk).read_text()
    read_as: dict[str, Callable[[], list[Any]]] = {
        "csv": lambda: list(csv.DictReader(io.StringIO(text))),
        "json": lambda: json.loads(text),
        "jsonl": lambda: [json.loads(line) for line in text.splitlines()],
    }
    rows = read_as[form]()
    assert [row["name"] for row in rows] == list(Machine.objects.filter(state="stopped").order_by("name").values_list("name", flat=True))
    assert all(set(row) == {"name", "cores"} for row in rows)
    assert export.rows == len(rows)
    assert export.size_bytes == files.path_of(export.pk).stat().st_size
    assert export.name == f"machines.{form}"


@pytest.mark.django_db(transaction=True)
def test_a_list_is_exported_as_it_was_then(place: Place) -> None:
    before = timezone.now()
    one = Machine.objects.order_by("name")[0]
    Machine.objects.filter(pk=one.pk).update(name="another-name")
    names = {row["name"] for row in rows_of(made(place, at=before.isoformat()))}
    assert one.name in names
    assert "another-name" not in names


def test_only_what_may_be_seen_when_it_is_made(place: Place) -> None:
    seen, unseen = Machine.objects.filter(state="running")[:2]
    perform(place.actor, seen, "tag", {"tags": {"mine": "yes"}})
    user = add_user(place.org, "narrow@here.example")
    team = Team.objects.create(org=place.org, name="narrow", statements=[{"effect": "allow", "verbs": ["machine.read"], "what": {}}])
    team.members.add(user)
    job = perform(actor_for(place.org, user), Export, "create", {"kind": "machine"})
    perform(
        place.actor, team, "set_policy", {"statements": [{"effect": "allow", "verbs": ["machine.read"], "what": {"tags": {"mine": "yes"}}}]}
    )
    run_jobs()
    assert [row["id"] for row in rows_of(Export.objects.get(pk=job.target_id))] == [seen.pk.hex]
    assert unseen.name not in files.path_of(job.target_id).read_text()  # type: ignore[arg-type]


def test_somebody_without_rights_gets_an_empty_file_and_who_left_none(place: Place) -> None:
    user = User.objects.get(email="new@here.example")
    nothing = perform(actor_for(place.org, user), Export, "create", {"kind": "machine"})
    run_jobs()
    assert rows_of(Export.objects.get(pk=nothing.target_id)) == []
    gone = perform(actor_for(place.org, user), Export, "create", {"kind": "machine"})
    user.memberships.all().delete()
    run_jobs()
    gone.refresh_from_db()
    assert gone.state == "failed"
    files.sweep()
    assert not Export.objects.filter(pk=gone.target_id).exists()


def test_a_policy_may_forbid_files(place: Place) -> None:
    user = add_user(place.org, "no-files@here.example")
    statements = [{"effect": "allow", "verbs": ["*"], "what": {}}, {"effect": "deny", "verbs": ["export.create"], "what": {}}]
    Team.objects.create(org=place.org, name="no files", statements=statements).members.add(user)
    answer = signed_in(user).post(f"{place.base}/machines.csv", HTTP_HX_REQUEST="true")
    assert answer.status_code == 403
    assert not Export.objects.exists()
    assert Event.objects.filter(type="export.create.refused").exists()


def test_a_cell_is_no_formula(place: Place) -> None:
    one = Machine.objects.order_by("name")[0]
    Machine.objects.filter(pk=one.pk).update(name="=cmd|' /C calc'!A0", hostname="@SUM(1)")
    row = next(row for row in rows_of(made(place)) if row["id"] == one.pk.hex)
    assert row["name"] == "'=cmd|' /C calc'!A0"
    assert row["hostname"] == "'@SUM(1)"


def test_the_audit_log_of_a_span_is_exported(place: Place, few: None) -> None:
    place.admin.post(f"{place.base}/log.jsonl?range=1h&q=kind:machine")
    run_jobs()
    export = Export.objects.get()
    kinds = {json.loads(line)["kind"] for line in files.path_of(export.pk).read_text().splitlines()}
    assert kinds == {"machine"}
    assert "at>=" in export.query


def test_what_cannot_be_exported_is_said_before_anything_is_made(place: Place) -> None:
    wrong: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"kind": "unicorn"}, Invalid, "machine"),
        ({"search": "colour:red"}, BadSearch, "colour"),
        ({"sort": "colour"}, BadRequest, "Cannot sort"),
        ({"columns": ["colour"]}, BadRequest, "There are: id, name"),
        ({"kind": "event", "format": "json"}, Invalid, "csv or jsonl"),
        ({"kind": "event", "at": "2026-01-01T00:00:00Z"}, BadRequest, "no history"),
    ]
    for params, error, words in wrong:
        with pytest.raises(error) as caught:
            asked(place, **params)
        assert words in f"{caught.value} {getattr(caught.value, 'fields', '')}"
    assert not Export.objects.exists()


# --- for one person, for a day ----------------------------------------------------------------------------------------


def test_nobody_else_fetches_it(place: Place) -> None:
    export = made(place)
    colleague = add_user(place.org, "also-owner@here.example")
    Team.objects.get(org=place.org, is_owners=True).members.add(colleague)
    url = f"{place.base}/exports/{export.pk.hex}/file"
    assert read(place.admin, url).startswith("id,name")
    for client in (signed_in(colleague), place.nobody, place.stranger):
        assert client.get(url).status_code == 404
    assert place.stranger.get(f"/o/elsewhere/exports/{export.pk.hex}/file").status_code == 404
    job = Job.objects.get(action="export.create")
    shown = signed_in(colleague).get(f"{place.base}/jobs/{job.pk.hex}").content.decode()
    assert "machines.csv is ready" in shown
    assert url not in shown, "nor is it offered"


def test_the_file_is_for_its_owner_on_the_disk_too(place: Place, folder: Path) -> None:
    export = made(place)
    assert left(folder) == [export.pk.hex]
    assert (folder / export.pk.hex).stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700


def test_after_a_day_it_is_swept_and_its_size_is_told(place: Place, folder: Path) -> None:
    export = made(place)
    assert files.sweep() == 0
    Export.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    url = f"{place.base}/exports/{export.pk.hex}/file"
    assert place.admin.get(url).status_code == 404, "before the sweep too"
    assert files.sweep() == 1
    assert left(folder) == []
    event = Event.objects.get(type="export.expired.observed")
    assert (event.detail["size_bytes"], event.detail["rows"]) == (export.size_bytes, export.rows)
    assert place.admin.get(url).status_code == 404
    job = Job.objects.get(action="export.create")
    assert url not in place.admin.get(f"{place.base}/jobs/{job.pk.hex}").content.decode()


@pytest.mark.django_db(transaction=True)
def test_it_is_deleted_when_asked(place: Place, folder: Path) -> None:
    perform(place.actor, made(place), "delete")
    assert left(folder) == []
    assert not Export.objects.exists()


def test_an_organization_keeps_so_much(place: Place, folder: Path, settings: Any) -> None:
    made(place)
    settings.MIST_EXPORTS_MIB = 1
    Export.objects.update(size_bytes=(1 << 20) - 100)
    job = asked(place)
    run_jobs()
    job.refresh_from_db()
    assert (job.state, job.error_code) == ("failed", "no_room")
    assert "1 MiB" in job.error_detail
    assert len(left(folder)) == 1


# --- over the API -----------------------------------------------------------------------------------------------------


def api_of(place: Place, **token: Any) -> APIClient:
    secret = new_secret(TOKEN_PREFIX)
    Token.objects.create(org=place.org, owner=place.owner, name=secret[:20], digest=digest_of(secret), hint="mist_", **token)
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {secret}")
    return client


def test_the_api_makes_one_says_when_it_is_there_and_gives_it(place: Place) -> None:
    api = api_of(place)
    answer = api.post("/api/v2/exports", {"kind": "machine", "search": "state:running", "format": "json"}, format="json").json()["data"]
    job = Job.objects.get(pk=answer["jobId"])
    url = f"/api/v2/exports/{job.target_id.hex}"  # type: ignore[union-attr]
    assert api.get(url).json()["data"]["rows"] is None
    early = api.get(f"{url}/file")
    assert (early.status_code, early.json()["code"]) == (409, "not_ready")
    run_jobs()
    told = api.get(f"/api/v2/jobs/{job.pk.hex}").json()["data"]
    assert told["result"]["rows"] == told["done"] == told["total"] == Machine.objects.filter(state="running").count()
    assert len(json.loads(content_of(api.get(f"{url}/file")))) == told["done"]  # type: ignore[attr-defined]
    assert [row["name"] for row in api.get("/api/v2/exports").json()["data"]] == ["machines.json"]
    assert api.delete(url).status_code == 200
    assert api.get(url).status_code == 404


def test_a_token_makes_files_of_what_it_was_made_for(place: Place) -> None:
    one = Machine.objects.order_by("name")[0]
    api = api_of(place, limits=[{"effect": "allow", "verbs": ["machine.read"], "what": {"ids": [one.pk.hex]}}])
    assert api.post("/api/v2/exports", {"kind": "machine"}, format="json").status_code == 403
    both = [
        {"effect": "allow", "verbs": ["machine.read"], "what": {"ids": [one.pk.hex]}},
        {"effect": "allow", "verbs": ["export.create", "export.read"], "what": {}},
    ]
    api = api_of(place, limits=both)
    assert api.post("/api/v2/exports", {"kind": "machine"}, format="json").status_code == 200
    run_jobs()
    assert [row["id"] for row in rows_of(Export.objects.get())] == [one.pk.hex]
    reader = api_of(place, scope="read")
    assert reader.post("/api/v2/exports", {"kind": "machine"}, format="json").status_code == 403


class TestInABrowser:
    pytestmark = IN_A_BROWSER

    def test_a_file_is_asked_for_followed_and_fetched(self, fleet: User, person: Callable[..., Person]) -> None:
        many(5001)
        one = person(fleet)
        page = one.page
        page.goto("/o/here/machines?q=name:many-")
        one.be_live()
        page.get_by_role("button", name="Export").click()
        page.locator("#export-menu").get_by_role("button", name="CSV").click()
        toast = page.locator(".toast")
        expect(toast).to_contain_text("machines.csv is ready", timeout=30_000)
        with page.expect_download() as fetched:
            toast.get_by_role("link", name="Download").click()
        assert fetched.value.suggested_filename == "machines.csv"
        assert len(Path(fetched.value.path()).read_text().splitlines()) == 5002
        page.goto("/o/here/machines.csv?q=name:many-")
        page.get_by_role("button", name="Make machines.csv").click()
        page.wait_for_url("**/jobs/*")
        expect(page.get_by_role("link", name="Download").first).to_be_visible(timeout=30_000)
