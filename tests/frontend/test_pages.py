"""Every page, for every kind of person, as plain HTTP."""

from __future__ import annotations

import pytest

from core.actions import perform
from core.models import Event, Job
from machines.models import Machine
from tests.frontend.conftest import Place, run_jobs

PAGES = ["", "machines", "machines?q=state:running", "machines?sort=-name", "clouds", "clouds/new", "clouds/new/demo", "jobs", "log"]


def machine(**wanted: object) -> Machine:
    found = Machine.objects.filter(type="vm", **wanted).first()
    assert found is not None
    return found


def pages(place: Place) -> list[str]:
    one = machine().pk.hex
    job = Job.objects.first()
    assert job is not None
    more = [f"machines/{one}", f"machines/{one}-any-name", f"machines/{one}/log", f"machines/{one}/keys", f"machines/{one}/menu"]
    return [f"{place.base}/{path}" for path in [*PAGES, *more, f"clouds/{place.cloud.pk.hex}", f"jobs/{job.pk.hex}"]]


def test_an_owner_may_open_every_page(place: Place) -> None:
    for path in pages(place):
        assert place.admin.get(path).status_code == 200, path


def test_every_page_sends_who_is_not_signed_in_to_sign_in_and_back(place: Place) -> None:
    for path in pages(place):
        response = place.anonymous.get(path)
        assert response.status_code == 302, path
        assert response["Location"].startswith("/sign-in?next=/o/here/"), path


def test_every_page_is_not_there_for_another_organizations_people(place: Place) -> None:
    for path in pages(place):
        assert place.stranger.get(path).status_code == 404, path


def test_a_member_without_rights_sees_nothing_of_the_fleet_and_whom_to_ask(place: Place) -> None:
    secret = machine()
    for path in ("/", "/machines", "/clouds", "/jobs"):
        response = place.nobody.get(place.base + path)
        assert response.status_code == 200, path
        assert secret.name not in response.content.decode()
    assert "owner@here.example" in place.nobody.get(f"{place.base}/machines").content.decode()
    assert place.nobody.get(f"{place.base}/machines/{secret.pk.hex}").status_code == 404
    assert place.nobody.get(f"{place.base}/clouds/{place.cloud.pk.hex}").status_code == 404


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "\u202eevil", "x" * 255, "🦄"])
def test_a_name_is_text_wherever_it_appears(place: Place, name: str) -> None:
    one = machine()
    Machine.objects.filter(pk=one.pk).update(name=name, tags={name: name})
    for path in ("/machines", f"/machines/{one.pk.hex}", f"/machines/{one.pk.hex}/menu", f"/machines/{one.pk.hex}/do/destroy"):
        body = place.admin.get(place.base + path).content.decode()
        assert "<script>alert" not in body
        assert "<img src=x" not in body


def test_a_machine_is_stopped_from_its_page_and_the_note_is_on_the_next(place: Place) -> None:
    one = machine(state="running")
    response = place.admin.post(f"{place.base}/machines/{one.pk.hex}/do/stop", HTTP_REFERER=f"http://testserver{place.base}/machines")
    assert response.status_code == 302
    assert response["Location"] == f"{place.base}/machines"
    assert f"Stopping {one.name}" in place.admin.get(response["Location"]).content.decode()
    assert Event.objects.filter(type="machine.stop.requested", target_id=one.pk, via="console").exists()
    run_jobs()
    one.refresh_from_db()
    assert one.state in ("stopping", "stopped")


def test_an_act_that_is_refused_says_why_and_leaves_an_event(place: Place) -> None:
    one = machine(state="stopped")
    response = place.admin.post(f"{place.base}/machines/{one.pk.hex}/do/stop", HTTP_HX_REQUEST="true")
    assert response.status_code == 409
    assert "is stopped" in response.content.decode()
    assert Event.objects.filter(type="machine.stop.refused", target_id=one.pk).exists()


def test_a_destroy_asks_for_the_name_and_can_be_undone(place: Place) -> None:
    one = machine(state="running")
    url = f"{place.base}/machines/{one.pk.hex}/do/destroy"
    assert "Type <b" in place.admin.get(url).content.decode()
    assert place.admin.post(url, {"confirm": "something else"}).status_code == 422
    assert not Job.objects.filter(action="machine.destroy").exists()
    assert place.admin.post(url, {"confirm": one.name}).status_code == 302
    job = Job.objects.get(action="machine.destroy")
    assert job.state == "waiting"
    assert place.admin.post(f"{place.base}/jobs/{job.pk.hex}/undo").status_code == 302
    job.refresh_from_db()
    assert job.state == "undone"


def test_a_cloud_is_added_from_the_generated_form_and_errors_stand_beside_their_fields(place: Place) -> None:
    url = f"{place.base}/clouds/new/demo"
    response = place.admin.post(url, {"name": "", "c-machines": "many"})
    assert response.status_code == 422
    assert "A whole number" in response.content.decode() or "may not be blank" in response.content.decode()
    response = place.admin.post(url, {"name": "second", "c-machines": "3"})
    assert response.status_code == 302, response.content.decode()
    assert "/clouds/" in response["Location"]
    assert "second" in place.admin.get(response["Location"]).content.decode()


def test_another_organizations_machine_cannot_be_acted_on(place: Place) -> None:
    one = machine(state="running")
    elsewhere = "/o/elsewhere"
    assert place.stranger.post(f"{elsewhere}/machines/{one.pk.hex}/do/stop").status_code == 404
    assert place.stranger.post(f"{place.base}/machines/{one.pk.hex}/do/stop").status_code == 404
    assert not Job.objects.filter(action="machine.stop").exists()


def test_tags_are_edited_as_lines(place: Place) -> None:
    one = machine()
    perform(place.actor, one, "tag", {"tags": {"old": "1", "env": "dev"}})
    response = place.admin.post(f"{place.base}/machines/{one.pk.hex}/do/tag", {"tags": "env=prod\nteam"})
    assert response.status_code == 302
    one.refresh_from_db()
    assert one.tags == {"env": "prod", "team": ""}


def test_the_bulk_bar_says_on_how_many_each_verb_can_be_done(place: Place) -> None:
    running, stopped = machine(state="running"), machine(state="stopped")
    ids = f"{running.pk.hex},{stopped.pk.hex}"
    body = place.admin.post(f"{place.base}/machines/bulk", {"ids": ids}).content.decode()
    assert "2 selected" in body
    assert "1 of 2" in body
    ask = place.admin.post(f"{place.base}/machines/bulk/stop", {"ids": ids, "ask": "1"}, HTTP_HX_REQUEST="true").content.decode()
    assert "Stop 2 machines?" in ask
    assert place.admin.post(f"{place.base}/machines/bulk/stop", {"ids": ids}).status_code == 302
    run_jobs()
    parent = Job.objects.get(parent=None, action="machine.stop")
    assert parent.total == 2
    assert parent.children.filter(state="succeeded").count() == 1


def test_a_bulk_of_ids_of_another_organization_does_nothing(place: Place) -> None:
    one = machine(state="running")
    assert place.stranger.post("/o/elsewhere/machines/bulk/stop", {"ids": one.pk.hex}).status_code in (404, 422)
    assert not Job.objects.filter(action="machine.stop").exists()
