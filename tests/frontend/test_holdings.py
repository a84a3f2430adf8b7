"""Volumes, networks and images in the console."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.utils import timezone
from playwright.sync_api import expect

from accounts.models import Team, User
from clouds.models import Cloud, Image
from core import jobs
from core.actions import perform
from core.models import Event, Job
from machines.models import Machine
from networks.models import Network, SecurityGroup, Subnet
from tests.frontend.browsing import IN_A_BROWSER, Person
from tests.frontend.conftest import Place, machine, read_clouds, run_jobs
from volumes.models import Volume

MODELS = {"volumes": Volume, "networks": Network, "images": Image}


def make(place: Place, path: str, **fields: object) -> object:
    given = {"org": place.org, "cloud": place.cloud, "name": f"the {path}", "external_id": "x-1", **fields}
    return MODELS[path].objects.create(**given)


@pytest.mark.parametrize("path", MODELS)
def test_a_list_shows_what_one_may_see_and_leads_to_a_page_of_each(place: Place, path: str) -> None:
    row = make(place, path, tags={"env": "prod"})
    body = place.admin.get(f"{place.base}/{path}?q=the").content.decode()
    assert f"the {path}" in body
    page = place.admin.get(f"{place.base}/{path}/{row.pk.hex}-any")
    assert page.status_code == 200
    assert "x-1" in page.content.decode()
    assert f"the {path}" not in place.nobody.get(f"{place.base}/{path}").content.decode()
    assert place.nobody.get(f"{place.base}/{path}/{row.pk.hex}").status_code == 404
    assert place.stranger.get(f"{place.base}/{path}/{row.pk.hex}").status_code == 404
    assert place.stranger.get(f"/o/elsewhere/{path}/{row.pk.hex}").status_code == 404


@pytest.mark.parametrize("path", MODELS)
def test_a_list_says_where_there_is_nothing_what_matches_nothing_and_what_is_wrong(place: Place, path: str) -> None:
    assert "matches" in place.admin.get(f"{place.base}/{path}?q=nothing-is-called-so").content.decode()
    wrong = place.admin.get(f"{place.base}/{path}?q=clowd:x")
    assert wrong.status_code == 400
    assert "clowd" in wrong.content.decode()
    assert "owner@here.example" in place.nobody.get(f"{place.base}/{path}").content.decode()
    MODELS[path].objects.all().delete()
    assert f"No {path} yet" in place.admin.get(f"{place.base}/{path}").content.decode()
    assert place.admin.get(f"{place.base}/{path}?sort=nothing").status_code == 400


def test_a_volume_names_the_machines_it_is_attached_to_that_one_may_see(place: Place) -> None:
    seen, hidden = Machine.objects.filter(type="vm").order_by("name")[:2]
    Machine.objects.filter(pk=seen.pk).update(tags={"seen": "yes"})
    row = make(place, "volumes", attached_to=[seen.pk, hidden.pk], size_gib=40, tags={"seen": "yes"})
    body = place.admin.get(f"{place.base}/volumes/{row.pk.hex}").content.decode()
    assert seen.name in body and hidden.name in body and "40 GB" in body
    statements = [{"effect": "allow", "verbs": ["*.read"], "what": {"tags": {"seen": "yes"}}}]
    Team.objects.create(org=place.org, name="Few", statements=statements).members.add(User.objects.get(email="new@here.example"))
    body = place.nobody.get(f"{place.base}/volumes").content.decode()
    assert seen.name in body and hidden.name not in body and "+1" in body


def test_a_volume_is_deleted_from_its_page_by_who_may_once_its_name_is_typed(place: Place) -> None:
    free, used = Volume.objects.exclude(attached_to=[]).order_by("name")[:2]
    perform(place.actor, Machine.objects.get(pk=free.attached_to[0]), "destroy", undo_s=0)
    run_jobs()
    read_clouds()
    url = f"{place.base}/volumes/{free.pk.hex}"
    assert "Delete volume" in place.admin.get(url).content.decode()
    page = place.admin.get(f"{place.base}/volumes/{used.pk.hex}").content.decode()
    assert "Delete volume" not in page and "It is attached to a machine." in page
    told = place.admin.post(url, {"_call": "1"}).content.decode()
    assert f"mist volumes delete {free.pk.hex}" in told
    assert place.admin.post(url, {"confirm": "another"}).status_code == 422
    readers = [{"effect": "allow", "verbs": ["*.read"], "what": {}}]
    Team.objects.create(org=place.org, name="Readers", statements=readers).members.add(User.objects.get(email="new@here.example"))
    assert "Delete" not in place.nobody.get(url).content.decode().partition("<h1")[2]
    assert place.nobody.post(url, {"confirm": free.name}).status_code == 404
    assert place.stranger.post(url, {"confirm": free.name}).status_code == 404
    assert not Job.objects.filter(action="volume.delete").exists()
    assert place.admin.post(url, {"confirm": free.name}).status_code == 302
    job = Job.objects.get(action="volume.delete")
    assert job.state == "waiting"
    assert f"/jobs/{job.pk.hex}/undo" in place.admin.get(url).content.decode(), "the toast of the next page"
    Job.objects.filter(pk=job.pk).update(not_before=timezone.now())
    jobs.release_due()
    run_jobs()
    assert "Its cloud lists it no more." in place.admin.get(url).content.decode()


def test_a_network_shows_its_subnets_and_rules_and_how_many_machines_are_in_it(place: Place) -> None:
    row = make(place, "networks", cidr="10.9.0.0/16")
    common = {"org": place.org, "cloud": place.cloud, "network": row}
    Subnet.objects.create(name="front", external_id="s-1", cidr="10.9.1.0/24", free_addresses=250, **common)
    rules = [{"direction": "in", "protocol": "tcp", "from_port": 22, "to_port": 22, "peer": "0.0.0.0/0"}]
    SecurityGroup.objects.create(name="ssh only", external_id="g-1", rules=rules, **common)
    Machine.objects.filter(pk=machine().pk).update(network=row)
    body = place.admin.get(f"{place.base}/networks/{row.pk.hex}").content.decode()
    for text in ("10.9.0.0/16", "front", "250", "ssh only", "0.0.0.0/0", f"network%3A{row.pk.hex}"):
        assert text in body, text
    found = place.admin.get(f"{place.base}/machines", {"q": f"network:{row.pk.hex}"}).context["page"].rows
    assert len(found) == 1


def test_without_headings_a_count_says_of_what_it_is(place: Place) -> None:
    row = make(place, "networks")
    Subnet.objects.create(name="front", external_id="s-1", cidr="10.9.1.0/24", org=place.org, cloud=place.cloud, network=row)
    body = place.admin.get(f"{place.base}/networks?q=the").content.decode()
    assert 'data-unit="subnet"' in body and 'data-unit="machines"' in body
    make(place, "images")
    assert 'data-unit="machines"' in place.admin.get(f"{place.base}/images?q=the").content.decode()


def test_a_star_says_what_it_is_to_who_cannot_change_it_or_see_it(place: Place) -> None:
    make(place, "images", name="the offered", starred=True)
    make(place, "images", name="another", external_id="x-2")
    Team.objects.create(org=place.org, name="Readers", statements=[{"effect": "allow", "verbs": ["*.read"], "what": {}}]).members.add(
        User.objects.get(email="new@here.example")
    )
    rows = place.nobody.get(f"{place.base}/images?q=the+offered").content.decode().partition("<tbody>")[2]
    assert 'title="Offered first"' in rows and '<span class="vh">Offered first</span>' in rows
    rows = place.nobody.get(f"{place.base}/images?q=another").content.decode().partition("<tbody>")[2]
    assert "another" in rows and "Offered first" not in rows


def test_an_image_is_starred_by_who_may_and_no_other(place: Place) -> None:
    image = Image.objects.filter(cloud=place.cloud, starred=False).order_by("name").first()
    assert image is not None
    url = f"{place.base}/images/{image.pk.hex}/star"
    assert place.nobody.post(url).status_code == 404
    Team.objects.create(org=place.org, name="Readers", statements=[{"effect": "allow", "verbs": ["*.read"], "what": {}}]).members.add(
        User.objects.get(email="new@here.example")
    )
    assert "/star" not in place.nobody.get(f"{place.base}/images").content.decode()
    assert place.nobody.post(url, HTTP_HX_REQUEST="true").status_code == 403
    assert place.admin.post(url, {"starred": "1"}).status_code == 302
    image.refresh_from_db()
    assert image.starred
    assert Event.objects.filter(type="image.star.succeeded", target_id=image.pk).exists()
    assert place.admin.post(url, {"starred": "0"}, HTTP_HX_REQUEST="true").status_code == 200
    image.refresh_from_db()
    assert not image.starred


class TestInABrowser:
    pytestmark = IN_A_BROWSER

    def test_a_star_shows_at_once_in_another_browser_and_keys_go_there(self, fleet: User, person: Callable[..., Person]) -> None:
        image = Image.objects.filter(starred=False).order_by("name").first()
        assert image is not None
        watcher, one = person(fleet), person(fleet)
        watcher.page.goto("/o/here/clouds")
        watcher.page.keyboard.press("g")
        watcher.page.keyboard.press("i")
        watcher.page.wait_for_url("**/o/here/images")
        watcher.be_live()
        one.page.goto("/o/here/images")
        one.page.get_by_role("button", name=f"Offer {image.name} first", exact=True).first.click()
        expect(one.page.locator(".toast").first).to_contain_text("offered first")
        star = watcher.page.locator(f"#images-{image.pk.hex}").get_by_role("button", name=f"Offer {image.name} first", exact=True)
        expect(star).to_have_attribute("aria-pressed", "true")
        assert Cloud.objects.count() == 1
