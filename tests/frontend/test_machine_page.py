"""The machine page for each kind of person, and with what nobody should type."""

from __future__ import annotations

import html
import re
from typing import Any

import pytest
from django.test import Client

from accounts.models import Team, User
from core.actions import perform
from core.models import Event, Job
from frontend import acts
from machines.models import Machine
from tests.frontend.conftest import Place, machine, run_jobs
from volumes.models import Volume

TABS = ("", "/log", "/volumes", "/networks", "/keys", "/snapshots", "/menu")
MARKUP = ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>']
BAD = [*MARKUP, "\u202eevil", "x" * 5000, "🦄" * 200, "{{ 7|add:7 }}", "../../etc"]


def member(place: Place, *verbs: str, **what: Any) -> Client:
    user = User.objects.get(email="new@here.example")
    statement = {"effect": "allow", "verbs": ["cloud.read", "machine.read", *verbs], "what": what}
    Team.objects.create(org=place.org, name="Some", statements=[statement]).members.add(user)
    return place.nobody


def url(place: Place, one: Machine, rest: str = "") -> str:
    return f"{place.base}/machines/{one.pk.hex}{rest}"


def verbs_on(page: str) -> set[str]:
    """The verbs a page offers."""
    return set(re.findall(r"/do/([a-z_]+)", page))


def test_who_may_only_look_finds_no_button_and_changes_nothing(place: Place) -> None:
    one, reader = machine(), member(place)
    for tab in TABS:
        page = reader.get(url(place, one, tab))
        assert page.status_code == 200, tab
        assert verbs_on(page.content.decode()) <= {"list_snapshots"}, tab  # which asks the right to read
    refused = reader.post(url(place, one, "/do/stop"), HTTP_HX_REQUEST="true")
    assert refused.status_code == 403
    text = html.unescape(refused.content.decode())
    assert f"{one.name} was not stopped." in text
    assert "It is running as before." in text
    assert "req_" in text
    assert not Job.objects.filter(action="machine.stop").exists()


def test_who_may_tag_and_reboot_is_offered_that_alone(place: Place) -> None:
    one, someone = machine(), member(place, "machine.tag", "machine.reboot")
    assert verbs_on(someone.get(url(place, one)).content.decode()) == {"tag", "reboot"}
    assert someone.get(url(place, one, "/do/destroy")).status_code == 404
    assert someone.post(url(place, one, "/do/tag"), {"key": "a=b"}, HTTP_HX_REQUEST="true").status_code == 200
    one.refresh_from_db()
    assert one.tags["a"] == "b"


def test_who_sees_some_machines_finds_the_others_nowhere(place: Place) -> None:
    one = machine()
    perform(place.actor, one, "tag", {"tags": {"mine": "yes"}})
    other = Machine.objects.filter(type="vm").exclude(pk=one.pk).first()
    assert other is not None
    someone = member(place, tags={"mine": "yes"})
    assert someone.get(url(place, one)).status_code == 200
    for tab in TABS:
        assert someone.get(url(place, other, tab)).status_code == 404, tab


def test_an_owner_is_offered_what_the_provider_can_and_told_why_not_now(place: Place) -> None:
    page = place.admin.get(url(place, machine())).content.decode()
    assert {"reboot", "stop", "destroy", "rename", "clone", "tag", "set_owner"} <= verbs_on(page)
    assert "It is running." in page  # Start, disabled, with the reason
    container = Machine.objects.filter(type="container").first()
    assert container is not None
    menu = place.admin.get(url(place, container, "/menu")).content.decode()
    for verb, why in container.refusals.items():
        assert verb not in verbs_on(menu)
        assert (why in html.unescape(menu)) is (verb in (*acts.POWER, *acts.CHANGE, *acts.END))


@pytest.mark.parametrize("bad", BAD)
def test_bad_input_is_refused_in_words_and_never_markup(place: Place, bad: str) -> None:
    one = machine()
    for verb, sent in (
        ("tag", {"key": bad}),
        ("tag", {"tags": bad}),
        ("tag", {"untag": bad}),
        ("rename", {"name": bad}),
        ("edit", {"address": bad}),
        ("set_owner", {"owner": bad}),
        ("set_expiration", {"date": bad, "action": bad, "notify": bad}),
        ("resize", {"size": bad}),
        ("associate_key", {"key": bad, "user": bad, "port": bad}),
        ("create_snapshot", {"name": bad, "description": bad}),
        ("destroy", {"confirm": bad}),
        ("extend", {"hours": bad}),
    ):
        response = place.admin.post(url(place, one, f"/do/{verb}"), sent, HTTP_HX_REQUEST="true", HTTP_HX_DIALOG="1")
        assert response.status_code in (200, 409, 422), (verb, response.status_code)
        body = response.content.decode()
        assert "<script>alert" not in body
        assert "<img src=x" not in body
    for tab in TABS:
        body = place.admin.get(url(place, one, tab)).content.decode()
        assert "<script>alert" not in body
        assert "<img src=x" not in body


def test_names_from_a_provider_are_text_on_every_tab(place: Place) -> None:
    one = machine()
    for bad in MARKUP:
        Machine.objects.filter(pk=one.pk).update(name=bad, hostname=bad, extra={bad: {bad: bad}}, tags={bad: bad})
        Volume.objects.filter(pk=Volume.objects.values("pk")[:1]).update(name=bad, attached_to=[one.pk])
        for tab in (*TABS, "/do/destroy", "/do/stop", "/do/tag"):
            body = place.admin.get(url(place, one, tab), HTTP_HX_REQUEST="true", HTTP_HX_DIALOG="1").content.decode()
            assert "<script>alert" not in body, tab
            assert "<img src=x" not in body, tab


def test_a_destroy_says_what_stays_and_what_goes(place: Place) -> None:
    one = machine()
    volume = Volume.objects.first()
    assert volume is not None
    Volume.objects.filter(pk=volume.pk).update(name="data", size_gib=2000, attached_to=[one.pk], extra={"is_deleted_with_machine": False})
    Volume.objects.create(
        org=place.org,
        cloud=place.cloud,
        external_id="v2",
        name="scratch",
        size_gib=500,
        attached_to=[one.pk],
        extra={"is_deleted_with_machine": True},
    )
    Machine.objects.filter(pk=machine(pk__gt=one.pk).pk).update(parent=one)
    body = place.admin.get(url(place, one, "/do/destroy")).content.decode()
    assert "data 2 TB kept" in body
    assert "scratch 500 GB destroyed" in body
    assert "1 machine runs in it" in body
    assert "Starts 10 s after you confirm" in body


def test_a_snapshot_first_is_offered_where_it_outlives_the_machine_and_taken(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    from clouds.providers.demo import Demo

    one = machine()
    asked = url(place, one, "/do/destroy")
    assert "Take a snapshot of every volume first" not in place.admin.get(asked).content.decode()
    assert place.admin.post(asked, {"confirm": one.name, "snapshot_first": "on"}).status_code == 302  # no such field: not taken
    Job.objects.filter(action="machine.destroy").update(state="undone")
    monkeypatch.setattr(Demo, "snapshots_outlive", True)
    assert "Take a snapshot of every volume first" in place.admin.get(asked).content.decode()
    place.admin.post(asked, {"confirm": one.name, "snapshot_first": "on"})
    Job.objects.filter(action="machine.destroy", state="waiting").update(state="queued")
    run_jobs()
    job = Job.objects.filter(action="machine.destroy", state="succeeded").get()
    assert [step["name"] for step in job.steps][:1] == ["snapshot"]
    one.refresh_from_db()
    assert one.state in ("stopping", "terminated")


def test_a_row_of_the_log_holds_its_difference(place: Place) -> None:
    one = machine()
    perform(place.actor, one, "tag", {"tags": {"tier": "gold"}})
    body = place.admin.get(url(place, one, "/log")).content.decode()
    assert "tags.tier: gold" in body
    assert Event.objects.filter(type="machine.tag.succeeded", target_id=one.pk).exists()


def test_dialogs_show_the_equivalent_call_with_ids(place: Place) -> None:
    one = machine()
    body = html.unescape(place.admin.get(url(place, one, "/do/resize"), HTTP_HX_REQUEST="true", HTTP_HX_DIALOG="1").content.decode())
    assert f'data-call="{url(place, one, "/do/resize")}"' in body
    told = place.admin.post(url(place, one, "/do/resize"), {"_call": "1"}, HTTP_HX_REQUEST="true")
    assert f"/api/v2/machines/{one.pk.hex}/actions/resize" in html.unescape(told.content.decode())
    bulk = place.admin.post(f"{place.base}/machines/bulk/destroy", {"q": "state:running", "_call": "1"}, HTTP_HX_REQUEST="true")
    assert '"search": "state:running"' in html.unescape(bulk.content.decode())
