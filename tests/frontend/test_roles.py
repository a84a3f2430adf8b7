"""What the frame and the pages are for an admin, a member, somebody with self-service, and somebody without rights."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client

from accounts.models import Team
from clouds.models import Image, Location, Size
from core.actions import perform
from frontend.views.policy import PRESETS
from machines.inventory import HOURS_A_MONTH
from machines.models import Machine, Preset
from tests.frontend.conftest import Place, add_user, machine, signed_in

ALL = ["", "machines", "volumes", "networks", "images", "scripts", "log", "sessions", "clouds", "keys", "teams"]


def member(place: Place, statements: list[dict[str, Any]], email: str = "amara@here.example") -> Client:
    user = add_user(place.org, email)
    Team.objects.create(org=place.org, name=email, statements=statements).members.add(user)
    return signed_in(user)


def body(client: Client, url: str) -> str:
    answer = client.get(url)
    assert answer.status_code == 200, answer.content[:300]
    return str(answer.content.decode())


def menu(place: Place, client: Client) -> list[str]:
    nav = body(client, f"{place.base}/").split('<nav class="nav"')[1].split("</nav>")[0]
    return [path.removeprefix("/") for path in re.findall(rf'href="{place.base}([^"]*)"', nav)]


@pytest.fixture
def own(place: Place) -> tuple[Client, Machine]:
    """Somebody with self-service, and the one machine that is theirs."""
    client = member(place, PRESETS["self"][1])
    mine = machine(state="running")
    Machine.objects.filter(pk=mine.pk).update(owner_id=client.session["_auth_user_id"], expires_at="2030-12-22T12:00:00Z", cost_month=30)
    return client, mine


def test_the_menu_has_the_pages_one_may_open(place: Place) -> None:
    assert menu(place, place.admin) == ALL
    assert menu(place, member(place, PRESETS["read"][1])) == ALL
    few = [{"effect": "allow", "verbs": ["volume.read", "key.create"], "what": {}}]
    assert menu(place, member(place, few, "few@here.example")) == ["", "machines", "volumes", "log", "sessions", "keys"]
    assert menu(place, place.nobody) == ["", "machines", "log", "sessions"]


def test_the_palette_and_the_keys_lead_only_where_the_menu_does(place: Place) -> None:
    found = body(place.nobody, f"{place.base}/palette?q=s")
    assert f'{place.base}/sessions"' in found and f'{place.base}/scripts"' not in found
    assert "Scripts" not in body(place.nobody, f"{place.base}/shortcuts").split('class="dialog page-dialog"')[1]


def test_nobody_is_offered_what_they_may_not_begin(place: Place) -> None:
    reader = member(place, PRESETS["read"][1])
    for path, words in (("clouds", "Add cloud"), ("keys", "Generate key"), ("keys/secrets", "New secret"), ("scripts", "Add script")):
        assert words in body(place.admin, f"{place.base}/{path}"), path
        assert words not in body(reader, f"{place.base}/{path}").split("<main")[1], path
    assert "clouds/new" not in body(reader, f"{place.base}/").split("<main")[1]
    refused = reader.get(f"{place.base}/clouds/new/demo")
    assert refused.status_code == 403
    assert f"{place.base}/access" in refused.content.decode()
    offered = body(reader, f"{place.base}/palette?q=")
    assert "Make an API token" in offered
    assert not [words for words in ("Create machine", "Add cloud", "Generate key", "Invite somebody") if words in offered]
    assert "Organization settings" not in body(reader, f"{place.base}/palette?q=organization")
    assert "Organization settings" in body(place.admin, f"{place.base}/palette?q=organization")


def test_who_has_only_machines_of_their_own_sees_those_first(place: Place, own: tuple[Client, Machine]) -> None:
    client, mine = own
    assert menu(place, client)[:2] == ["machines", ""]
    assert client.get("/").headers["Location"] == f"{place.base}/machines"
    assert place.admin.get("/").headers["Location"] == f"{place.base}/"
    assert "<h1>My machines</h1>" in body(client, f"{place.base}/machines")
    assert "<h1>Machines</h1>" in body(place.admin, f"{place.base}/machines")
    page = body(client, f"{place.base}/machines/{mine.pk.hex}")
    assert re.search(r'<dd class="v">\$30\.00<small>a month', page)
    assert re.search(r'<dd class="v">22 Dec 2030<small>then stopped', page)
    assert 'class="kpis"' not in body(place.admin, f"{place.base}/machines/{mine.pk.hex}")


def test_self_service_starts_from_presets_with_their_price(place: Place, own: tuple[Client, Machine]) -> None:
    client, _mine = own
    assert 'id="step-size"' in body(client, f"{place.base}/machines/new"), "without presets there is the one cloud"
    size = Size.objects.filter(cloud=place.cloud, cost_hour__isnull=False).earliest("pk")
    asked = {"name": "Small box", "cloud": place.cloud.pk.hex, "quantity": 2, "params": {"name": "a-{n:02}", "size": size.external_id}}
    perform(place.actor, Preset, "create", asked)
    page = body(client, f"{place.base}/machines/new")
    assert size.cost_hour is not None
    assert f"${size.cost_hour * HOURS_A_MONTH * 2:,.2f}" in page.split("Small box")[1].split("</a>")[0]
    assert page.index("Small box") < page.index("Something else")
    form = body(client, f"{place.base}/machines/new?preset={Preset.objects.get().pk.hex}")
    assert 'id="step-size" open' not in form


def test_a_preset_that_names_things_as_the_cloud_does_chooses_those(place: Place) -> None:
    here = {"cloud": place.cloud, "missing_since": None}
    size = Size.objects.filter(**here).latest("name")
    image, location = Image.objects.filter(**here).latest("name"), Location.objects.filter(**here).latest("name")
    params = {"name": "a", "size": size.external_id, "image": image.external_id, "location": location.external_id}
    perform(place.actor, Preset, "create", {"name": "By their names", "cloud": place.cloud.pk.hex, "params": params})
    form = body(place.admin, f"{place.base}/machines/new?preset={Preset.objects.get().pk.hex}")
    assert re.search(rf'value="{location.pk.hex}" selected', form)
    assert re.search(rf'name="image"[^>]*value="{image.pk.hex}"[^>]*checked', form)
    assert re.search(rf'name="size"[^>]*value="{size.pk.hex}"[^>]*checked', form)


def test_who_may_not_create_can_ask_for_it(place: Place) -> None:
    reader = member(place, PRESETS["read"][1])
    for path in ("machines", "machines/new"):
        page = body(reader, f"{place.base}/{path}")
        assert f'data-dialog href="{place.base}/access?for=Creating%20machines"' in page
        assert 'data-key="c"' not in page
    assert "Request access" not in body(place.admin, f"{place.base}/machines")
    assert f'data-dialog href="{place.base}/access?for="' in body(place.nobody, f"{place.base}/machines")


def test_the_end_of_what_is_made_is_told_large(place: Place) -> None:
    sent = {"cloud": place.cloud.pk.hex, "name": "a", "date": "2030-12-22T10:00", "action": "destroy"}
    told = place.admin.post(f"{place.base}/machines/new/plan", sent).content.decode()
    assert re.search(r"then destroyed</span><b class=\"num\"><small class=\"dim\">ends </small>22 Dec 2030</b>", told)
    wrong = place.admin.post(f"{place.base}/machines/new/plan", sent | {"date": "2030-02-31T10:00"}).content.decode()
    assert "ends </small>" not in wrong
