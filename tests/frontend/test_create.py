"""Creating machines from the page: the form, what it comes to, several at once, presets, copies, drafts; who may and who may not."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlencode

import pytest
from django.http import QueryDict
from django.test import Client

from accounts import drafts
from accounts.models import Team, User
from clouds.models import Cloud, Image, Location, Size
from clouds.providers import all_providers
from core import actions, bulks
from core.actions import perform
from core.models import Event, Job
from frontend.creating.asked import read
from frontend.creating.calls import body
from frontend.creating.steps import steps_of
from machines.actions.create import numbered
from machines.models import Machine, Preset
from tests.frontend.conftest import Place, run_jobs


def answers(place: Place, **more: Any) -> dict[str, Any]:
    """A form that can be sent: an image, a size it runs on, a place."""
    image = Image.objects.filter(cloud=place.cloud, name__startswith="Debian").order_by("name").first()
    assert image is not None
    size = Size.objects.filter(cloud=place.cloud, architecture=image.architecture, disk_gib__gte=20).order_by("cost_hour").first()
    location = Location.objects.filter(cloud=place.cloud, location_type="zone").first()
    assert size and location
    asked = {"cloud": place.cloud.pk.hex, "name": "web", "image": image.pk.hex, "size": size.pk.hex, "location": location.pk.hex}
    return {**asked, **more}


def url(place: Place) -> str:
    return f"{place.base}/machines/new"


def creator(place: Place, *statements: dict[str, Any]) -> Client:
    """The member without rights, in a team with these statements."""
    member = User.objects.get(email="new@here.example")
    Team.objects.create(org=place.org, name="Makers", statements=list(statements)).members.add(member)
    return place.nobody


@pytest.mark.parametrize(
    ("name", "quantity", "names"),
    [
        ("web", 1, ["web"]),
        ("web", 3, ["web-1", "web-2", "web-3"]),
        ("web-{n:02}", 2, ["web-01", "web-02"]),
        ("{n}-{n}", 2, ["1-1", "2-2"]),
        ("web-{n:02}", 1, ["web-01"]),
        ("{name}{n:999999}{0}", 2, ["{name}{n:999999}{0}-1", "{name}{n:999999}{0}-2"]),
    ],
)
def test_a_pattern_names_each(name: str, quantity: int, names: list[str]) -> None:
    assert numbered(name, quantity) == names


def test_what_it_comes_to_is_shown_before_anything_is_made(place: Place) -> None:
    asked = answers(place, quantity="3", name="web-{n:02}")
    body = place.admin.post(f"{url(place)}/plan", asked, HTTP_HX_REQUEST="true").content.decode()
    size = Size.objects.get(pk=asked["size"])
    assert "web-01, web-02, web-03" in body
    assert '<span id="many" hx-swap-oob="innerHTML">3 machines' in body
    assert f"3 × {size.name}" in body
    assert f"{size.cost_hour * 730 * 3:,.2f}" in body  # type: ignore[operator]
    assert "Create 3 machines" in body
    assert "Owners may do everything" in body
    assert not Machine.objects.filter(name__startswith="web-0").exists()
    assert not Event.objects.filter(type__startswith="machine.create").exists()


def test_what_is_wrong_is_said_by_its_name_before_and_beside_its_field_after(place: Place) -> None:
    asked = answers(place, image="", name="")
    body = place.admin.post(f"{url(place)}/plan", asked, HTTP_HX_REQUEST="true").content.decode()
    assert "Image: This is needed." in body
    assert "Name: give them one" in body
    refused = place.admin.post(url(place), asked)
    assert refused.status_code == 422
    assert "Nothing was created." in refused.content.decode()
    assert not Job.objects.filter(action="machine.create").exists()


def test_an_image_that_does_not_run_on_the_size_is_told_before(place: Place) -> None:
    image = Image.objects.filter(cloud=place.cloud, architecture="arm64").first()
    size = Size.objects.filter(cloud=place.cloud, architecture="x86_64").first()
    assert image and size
    body = place.admin.post(f"{url(place)}/plan", answers(place, image=image.pk.hex, size=size.pk.hex)).content.decode()
    assert f"{image.name} does not run on {size.name}" in body.replace("&#x27;", "'")


def test_several_become_one_job_with_a_result_each(place: Place) -> None:
    response = place.admin.post(url(place), answers(place, quantity="3", name="many-{n:02}", tags="env=dev"))
    parent = Job.objects.get(action="machine.create", parent=None)
    assert response["Location"] == f"{place.base}/jobs/{parent.pk.hex}"
    assert parent.total == 3
    run_jobs()
    made = Machine.objects.filter(name__startswith="many-").order_by("name")
    assert [machine.name for machine in made] == ["many-01", "many-02", "many-03"]
    assert all(machine.external_id and machine.tags == {"env": "dev"} for machine in made)
    assert parent.children.filter(state="succeeded").count() == 3
    page = place.admin.get(response["Location"]).content.decode()
    assert "many-02" in page


def test_a_bulk_create_that_lost_its_worker_goes_on_where_it_stopped(place: Place) -> None:
    place.admin.post(url(place), answers(place, quantity="3", name="again-{n}"))
    parent = Job.objects.get(action="machine.create", parent=None)
    claimed = actions.claim(parent.pk, "test")
    assert claimed is not None
    each = claimed.selector["each"]  # type: ignore[index]
    actions.perform(place.actor, Machine, "create", each[0], parent=claimed)
    bulks.expand(claimed)
    assert sorted(claimed.children.values_list("target_name", flat=True)) == ["again-1", "again-2", "again-3"]


def test_the_equivalent_calls_hold_ids_and_no_secret(place: Place) -> None:
    asked = answers(place, cloudinit="#!/bin/sh\nexport TOKEN=s3cr3t", quantity="2")
    body = place.admin.post(f"{url(place)}/plan", asked).content.decode()
    assert "mist machines create" in body
    assert "/api/v2/machines" in body
    assert "httpx.post" in body
    assert asked["size"] in body
    assert "s3cr3t" not in body


def test_the_curl_that_is_shown_makes_the_same_plan(place: Place) -> None:
    cls = all_providers()["demo"]
    asked = read(QueryDict(urlencode(answers(place, tags="a=b"))), place.cloud, cls, steps_of(place.actor, place.cloud, cls))
    headers = {"X-Org": place.org.pk.hex}
    answer = place.admin.post("/api/v2/machines", {**body(asked), "dry": True}, content_type="application/json", headers=headers)
    assert answer.status_code == 200, answer.content
    assert answer.json()["data"]["plan"]["tags"] == {"a": "b"}


def test_a_preset_is_saved_started_from_and_replaced(place: Place) -> None:
    asked = answers(place, name="web-{n:02}", quantity="4", tags="env=dev", _preset="1", preset_name="Web")
    assert "Preset Web saved" in place.admin.post(url(place), asked).content.decode()
    preset = Preset.objects.get()
    assert preset.quantity == 4
    page = place.admin.get(f"{url(place)}?preset={preset.pk.hex}").content.decode()
    assert 'value="web-{n:02}"' in page
    assert "env=dev" in page
    assert re.search(rf'value="{asked["size"]}"[^>]* checked', page)
    place.admin.post(url(place), {**asked, "quantity": "2"})
    assert Preset.objects.get().quantity == 2
    assert place.nobody.get(f"{url(place)}?preset={preset.pk.hex}").status_code == 404
    assert place.stranger.get(f"/o/elsewhere/machines/new?preset={preset.pk.hex}").status_code == 404


def test_a_machine_is_copied_by_name_or_id(place: Place) -> None:
    one = Machine.objects.filter(type="vm", size__isnull=False, image__isnull=False).first()
    assert one is not None
    for text in (one.name, one.pk.hex):
        page = place.admin.get(url(place), {"copy": text}).content.decode()
        assert re.search(rf'value="{one.size_id.hex}"[^>]* checked', page)  # type: ignore[union-attr]
        assert f'value="{one.name}-{{n}}"' in page
    assert "Nothing was copied." in place.admin.get(url(place), {"copy": "<b>none</b>"}).content.decode()


def test_a_draft_comes_back_and_is_gone_once_sent(place: Place) -> None:
    asked = answers(place, name="half-typed")
    place.admin.post(f"{place.base}/drafts/machine.create", asked)
    page = place.admin.get(url(place)).content.decode()
    assert 'value="half-typed"' in page
    assert "Your draft" in page
    place.admin.post(url(place), asked)
    assert drafts.find(place.actor, "machine.create") is None


def test_images_and_sizes_are_found_by_what_is_asked(place: Place) -> None:
    asked = answers(place, image="", size="")
    images = place.admin.post(f"{url(place)}/images", {**asked, "image_q": "rocky"}).content.decode()
    assert "Rocky" in images
    assert "Debian" not in images
    sizes = place.admin.post(f"{url(place)}/sizes", {**asked, "s_cpu": "8", "s_mem": "32"}).content.decode()
    names = re.findall(r'<label class="nm" for="size-[^>]*>([^<]+)<', sizes)
    assert names
    assert all(size.cores >= 8 and size.ram_mib >= 32 * 1024 for size in Size.objects.filter(cloud=place.cloud, name__in=names))  # type: ignore[operator]
    assert "No size matches" in place.admin.post(f"{url(place)}/sizes", {**asked, "s_q": "nothing"}).content.decode()
    shaped = place.admin.post(f"{url(place)}/sizes", {**asked, "s_q": "4 cpu 16 gb"}).content.decode()
    assert set(re.findall(r'<td class="n">([\d.]+)</td><td class="n">([\d.]+) GB', shaped)) == {("4", "16")}


def test_without_scripts_the_form_finds_adds_rows_and_changes_its_cloud(place: Place) -> None:
    found = place.admin.post(url(place), answers(place, image="", image_q="rocky", _find="image")).content.decode()
    assert "Rocky" in found
    assert "FreeBSD" not in found
    assert re.search(r'id="step-image" open', found)
    more = {**answers(place), "volumes-0-size": "10", "volumes-0-name": "data", "_more": "volumes"}
    rows = place.admin.post(url(place), more).content.decode()
    assert 'name="volumes-1-size"' in rows
    assert "data 10 GB" in rows
    credentials = {"machines": 1, "seed": 2, "latency_ms": 0}
    other = perform(place.actor, Cloud, "create", {"name": "two", "provider": "demo", "credentials": credentials})
    assert other.target_id is not None
    moved = place.admin.post(url(place), answers(place, name="kept", _cloud=other.target_id.hex)).content.decode()
    assert f'name="cloud" value="{other.target_id.hex}"' in moved
    assert 'value="kept"' in moved
    assert not Machine.objects.filter(name="kept").exists()


@pytest.mark.parametrize("bad", ["x" * 5000, "<script>alert(1)</script>", "\u202e🦄", '"><img onerror=x>', "{0.__class__}"])
def test_bad_input_is_told_and_never_markup(place: Place, bad: str) -> None:
    for part in ("/plan", "/images", "/sizes"):
        asked = answers(
            place, name=bad, tags=bad, image_q=bad, s_q=bad, s_price=bad, s_cpu=bad, user=bad, quantity=bad, notify=bad, date=bad
        )
        response = place.admin.post(f"{url(place)}{part}", asked)
        assert response.status_code == 200
        body = response.content.decode()
        assert "<script>alert" not in body
        assert "<img onerror" not in body
    for field in ("size", "image", "location", "key", "network"):
        assert place.admin.post(f"{url(place)}/plan", answers(place, **{field: bad})).status_code == 200


def test_who_may_create_with_a_tag_is_told_which_and_gets_it(place: Place) -> None:
    maker = creator(
        place,
        {"effect": "allow", "verbs": ["cloud.read"], "what": {}},
        {"effect": "allow", "verbs": ["machine.create", "machine.read"], "what": {"tags": {"team": "makers"}}},
    )
    body = maker.post(f"{url(place)}/plan", answers(place)).content.decode()
    assert "team=</i>makers" in body or "team=makers" in body
    assert maker.post(url(place), answers(place, name="tagged")).status_code == 302
    assert Machine.objects.get(name="tagged").tags == {"team": "makers"}


def test_who_may_not_create_is_told_whom_to_ask(place: Place) -> None:
    reader = creator(place, {"effect": "allow", "verbs": ["cloud.read", "machine.read"], "what": {}})
    page = reader.get(url(place)).content.decode()
    assert "You may not create machines here" in page
    assert "owner@here.example" in page
    assert reader.post(f"{url(place)}/plan", answers(place)).status_code == 404
    assert reader.post(url(place), answers(place, name="sneaked")).status_code == 200
    assert not Machine.objects.filter(name="sneaked").exists()


def test_a_cloud_of_another_organization_is_not_there(place: Place) -> None:
    assert place.stranger.post("/o/elsewhere/machines/new/plan", answers(place)).status_code == 404
    assert Cloud.objects.count() == 1
