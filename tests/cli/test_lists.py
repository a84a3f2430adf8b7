"""Lists and reads: searches, pages, every format, and what is told when something is not there."""

from __future__ import annotations

import csv
import io
import json
import os

import pytest
import yaml

from clouds.models import Cloud
from machines.models import Machine
from tests.cli.conftest import Mist
from tests.frontend.conftest import make_org
from tests.shells.conftest import Place

pytestmark = pytest.mark.django_db(transaction=True)


def rows(place: Place, count: int, **more: object) -> None:
    Machine.objects.bulk_create(
        Machine(
            org=place.org,
            cloud=place.cloud,
            name=f"row-{number:04}",
            external_id=f"row-{number}",
            state="running" if number % 2 else "stopped",
            tags={"env": "prod" if number % 3 else "dev"},
            **more,
        )
        for number in range(count)
    )


def test_a_table_has_what_says_something_and_nothing_a_terminal_obeys(mist: Mist, place: Place) -> None:
    Machine.objects.update(name="web\x1b[31m-eu\n04", tags={"env": "prod"})
    done = mist.ok("machines")
    head, row = done.out.splitlines()
    assert head.split()[:2] == ["NAME", "TYPE"]
    assert "env=prod" in row and "web�[31m-eu�04" in row
    assert "\x1b" not in done.out


def test_every_format(mist: Mist, place: Place) -> None:
    rows(place, 5, cost_month=12)
    Machine.objects.filter(name="row-0001").update(name="=1+1", tags={"env": "a,b", "x": 'say "hi"'})
    asked = ("machines", "state:running", "--sort", "name", "--columns", "name,state,tags,cost.monthly")
    as_json = mist.ok(*asked, "-o", "json").data
    assert [row["name"] for row in as_json] == ["=1+1", "row-0003", "web-eu-04"]
    assert set(as_json[0]) == {"id", "name", "state", "tags", "cost"}
    assert yaml.safe_load(mist.ok(*asked, "-o", "yaml").out) == as_json
    read = list(csv.DictReader(io.StringIO(mist.ok(*asked, "-o", "csv").out)))
    assert [row["name"] for row in read] == ["'=1+1", "row-0003", "web-eu-04"]  # no spreadsheet takes it for a formula
    assert read[0]["tags"] == 'x=say "hi" env=a,b' and read[0]["cost.monthly"] == "12" and read[2]["cost.monthly"] == ""
    assert mist.ok(*asked, "-q", "[].name").out.splitlines() == ["=1+1", "row-0003", "web-eu-04"]
    assert mist.ok(*asked, "-q", "length(@)", "-o", "json").data == 3
    assert mist.ok(*asked, "-q", "[?name=='row-0003'].{n: name, s: state}").out.split() == ["N", "S", "row-0003", "running"]
    wrong = mist.run(*asked, "-q", "[?")
    assert wrong.code == 2 and "cannot be read" in wrong.err


def test_all_pages(mist: Mist, place: Place) -> None:
    rows(place, 2300)
    done = mist.ok("machines", "--sort", "name")
    assert len(done.out.splitlines()) == 101
    assert "100 of 2,301" in done.err
    names = [row["name"] for row in mist.ok("machines", "--sort", "-name", "--all", "--columns", "name", "-o", "json").data]
    assert len(names) == 2301 and names == sorted(names, reverse=True)
    assert len(mist.ok("machines", "--limit", "1500", "-o", "json").data) == 1500
    assert len(mist.ok("machines", "tag:env=dev", "--all", "-o", "json", "--columns", "name").data) == 767


def test_every_noun_of_the_server_lists(mist: Mist, place: Place) -> None:
    """Whatever it has learnt: nothing here names them."""
    mist.ok("machines")
    known = json.loads(next((mist.home / ".cache" / "mist").glob("catalogue-*.json")).read_text())["nouns"]
    assert {"machines", "clouds", "jobs", "keys", "scripts", "runs", "sessions", "events", "teams", "users"} <= set(known)
    for noun, facts in known.items():
        command = facts["commands"].get("list")
        if command and not any(field["name"] in ("kind",) for field in command["query"]):
            assert isinstance(mist.ok(noun, "-o", "json").data, list), noun
    assert "resize" in mist.ok("machines", "--help").out
    assert "--size" in mist.ok("machines", "resize", "--help").out
    keys = mist.ok("keys", "create", "--help").out
    assert "[ssh-ed25519|ecdsa-sha2-nistp256|ssh-rsa]" in keys and "`" not in keys.split("--algorithm")[1]


def test_what_is_known_of_a_server_is_asked_for_again_by_its_mark(mist: Mist) -> None:
    mist.ok("volumes")
    file = next((mist.home / ".cache" / "mist").glob("catalogue-*.json"))
    before = file.stat()
    os.utime(file, (0, 0))
    mist.ok("volumes")
    after = file.stat()
    assert after.st_ino == before.st_ino and after.st_mtime > 0  # the server said: the same still
    known = json.loads(file.read_text())
    del known["nouns"]["volumes"]
    file.write_text(json.dumps(known | {"mark": '"of an older server"'}))
    assert mist.ok("volumes", "-o", "json").data == []  # a word that is not known has it asked again
    assert "volumes" in json.loads(file.read_text())["nouns"]


def test_a_wrong_search_points_at_the_character(mist: Mist) -> None:
    done = mist.run("machines", "state:running", "AND", "(cores>4")
    assert done.code == 1
    search, mark = done.err.splitlines()[-2:]
    assert search == "  state:running AND (cores>4"
    assert mark.strip() == "^"


def test_an_ambiguous_name_says_which_ones(mist: Mist, place: Place) -> None:
    other = Cloud.objects.create(org=place.org, name="second lab", provider="other")
    twin = Machine.objects.create(org=place.org, cloud=other, name=place.machine.name, external_id="x", state="stopped", source="poll")
    for command in (("machines", "show", "web-eu-04"), ("machines", "stop", "web-eu-04"), ("ssh", "web-eu-04")):
        done = mist.run(*command)
        assert done.code == 1
        assert place.machine.pk.hex in done.err and twin.pk.hex in done.err and "second lab" in done.err
    assert mist.ok("machines", "show", twin.pk.hex, "-q", "cloud").out.strip() == "second lab"


def test_another_organizations_machine_is_not_there(mist: Mist, place: Place) -> None:
    org = make_org("elsewhere")[0]
    cloud = Cloud.objects.create(org=org, name="theirs", provider="other")
    theirs = Machine.objects.create(org=org, cloud=cloud, name="theirs-1", external_id="t", state="running", source="poll")
    said = []
    for name in ("theirs-1", theirs.pk.hex, "0" * 32):
        for command in (("machines", "show"), ("machines", "stop"), ("ssh",)):
            done = mist.run(*command, name)
            assert (done.code, done.out) == (1, "")
            said.append(" ".join(done.err.replace(name, "X").split("request id")[0].split()))
    assert len(set(said[:3])) <= 2 and said[:3] == said[3:6] == said[6:]  # word for word as for what does not exist


def test_what_is_written_wrong_is_told(mist: Mist, place: Place) -> None:
    assert "Did you mean machines?" in mist.run("machins").err
    done = mist.run("machines", "stpo", "web-eu-04")
    assert done.code == 2 and "Did you mean stop?" in done.err
    done = mist.run("machines", "--columns", "nmae")
    assert done.code == 1 and "There is no field 'nmae'" in done.err and "request id" in done.err
    done = mist.run("machines", "name:nothing-is-called-so")
    assert (done.code, done.out) == (0, "") and "No machines match." in done.err


def test_one_object(mist: Mist, place: Place) -> None:
    out = mist.ok("machines", "show", "web-eu-04").out
    assert f"id {place.machine.pk.hex}" in " ".join(out.split())
    assert mist.ok("keys", "show", "lab", "-o", "json").data["name"] == "lab"
    assert "PRIVATE KEY" not in mist.ok("keys", "show", "lab", "-o", "json").out
