"""Jobs: the drawer, the page, undo of one and of many, watching, what a failed one says."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.template.loader import render_to_string
from django.test import Client
from django.utils import timezone

from accounts.models import Team, User
from clouds.providers.demo import Demo
from clouds.providers.facts import MachineInfo
from core import actions, bulks, jobs
from core.actions import perform
from core.actor import Actor
from core.errors import Conflict, Rejected
from core.models import Event, Job
from frontend import faults, toasts
from frontend.inverse import inverse
from frontend.progress import with_progress
from keys.models import Key
from machines.models import Machine
from tests.frontend.conftest import Place, add_user, machine, run_jobs, signed_in


def colleague(place: Place, *verbs: str) -> tuple[User, Client]:
    user = add_user(place.org, "colleague@here.example")
    Team.objects.create(org=place.org, name="Colleagues", statements=[{"effect": "allow", "verbs": list(verbs), "what": {}}]).members.add(
        user
    )
    return user, signed_in(user)


def test_the_drawer_holds_ones_own_and_everybodys(place: Place) -> None:
    perform(place.actor, machine(state="running"), "stop")
    _user, client = colleague(place, "*")
    mine = client.get(f"{place.base}/jobs", HTTP_HX_REQUEST="true").content.decode()
    assert "Nothing is running" in mine
    everybody = client.get(f"{place.base}/jobs?who=all", HTTP_HX_REQUEST="true").content.decode()
    assert f"Stop {machine(state='running').name}" in everybody


def test_a_job_that_is_watched_is_among_ones_own_until_it_is_not(place: Place) -> None:
    job = perform(place.actor, machine(state="running"), "stop")
    _user, client = colleague(place, "*")
    client.post(f"{place.base}/jobs/{job.pk.hex}/watch")
    assert ">Stop " in client.get(f"{place.base}/jobs").content.decode()
    assert "Watched" in client.get(f"{place.base}/jobs/{job.pk.hex}").content.decode()
    client.post(f"{place.base}/jobs/{job.pk.hex}/unwatch")
    assert ">Stop " not in client.get(f"{place.base}/jobs").content.decode()
    assert place.stranger.post(f"/o/elsewhere/jobs/{job.pk.hex}/watch").status_code == 404
    assert place.nobody.post(f"{place.base}/jobs/{job.pk.hex}/watch").status_code == 404


def test_a_bulk_destroy_is_undone_as_a_whole_while_it_waits(place: Place) -> None:
    three = list(Machine.objects.filter(state="running", type="vm").order_by("name")[:3])
    ids = ",".join(one.pk.hex for one in three)
    url = f"{place.base}/machines/bulk/destroy"
    ask = place.admin.post(url, {"ids": ids, "ask": "1"}, HTTP_HX_REQUEST="true").content.decode()
    assert "Type <b" in ask
    assert "$ / month" in ask
    Machine.objects.filter(pk__in=[one.pk for one in three]).update(public_ips=[])
    alone = place.admin.post(url, {"ids": ids, "ask": "1"}, HTTP_HX_REQUEST="true").content.decode()
    assert '<th scope="col">Volumes</th>' in alone
    Machine.objects.filter(pk=three[0].pk).update(public_ips=["192.0.2.7"])
    more = place.admin.post(url, {"ids": ids, "ask": "1"}, HTTP_HX_REQUEST="true").content.decode()
    assert '<th scope="col">With it</th>' in more and "address 192.0.2.7 given up" in more
    assert [f">{one.cost_month:,.2f}<" in ask for one in three] == [True] * 3
    Machine.objects.filter(pk=three[0].pk).update(currency="EUR")
    mixed = place.admin.post(url, {"ids": ids, "ask": "1"}, HTTP_HX_REQUEST="true").content.decode()
    assert f">€{three[0].cost_month:,.2f}<" in mixed and f">${three[1].cost_month:,.2f}<" in mixed
    assert "destroy 3" in ask
    assert all(one.name in ask for one in three)
    assert place.admin.post(url, {"ids": ids, "confirm": "destroy 2"}).status_code == 422
    place.admin.post(url, {"ids": ids, "confirm": "destroy 3"})
    parent = Job.objects.get(action="machine.destroy", parent=None)
    bulks.expand(actions.claim(parent.pk, "test"))  # type: ignore[arg-type]
    assert parent.children.filter(state="waiting").count() == 3
    assert "data-undo" in place.admin.get(f"{place.base}/jobs/{parent.pk.hex}").content.decode()
    assert place.admin.post(f"{place.base}/jobs/{parent.pk.hex}/undo").status_code == 302
    parent.refresh_from_db()
    assert parent.state == "undone"
    assert set(parent.children.values_list("state", flat=True)) == {"undone"}
    assert Event.objects.filter(type="machine.destroy.bulk.undone", job_id=parent.pk).exists()
    assert Machine.objects.filter(pk__in=[one.pk for one in three], state="running").count() == 3


def test_a_bulk_undone_before_it_was_made_makes_nothing(place: Place) -> None:
    one = machine(state="running")
    parent = bulks.bulk(place.actor, Machine, "destroy", ids=[one.pk])
    jobs.undo(place.actor, parent)
    parent.refresh_from_db()
    assert parent.state == "undone"
    assert actions.claim(parent.pk, "test") is None
    assert not parent.children.exists()


def test_a_bulk_undone_while_it_is_made_undoes_what_was_made_meanwhile(place: Place) -> None:
    ids = list(Machine.objects.filter(state="running", type="vm").values_list("pk", flat=True)[:2])
    parent = bulks.bulk(place.actor, Machine, "destroy", ids=ids)
    claimed = actions.claim(parent.pk, "test")
    assert claimed is not None
    actions.perform_batch(place.actor, Machine, ids, "destroy", {}, parent=claimed, undo_s=None)
    Job.objects.filter(pk=parent.pk).update(cancel_requested=True)
    bulks.expand(claimed)
    assert set(parent.children.values_list("state", flat=True)) == {"undone"}


def test_a_bulk_says_what_was_done_failed_and_skipped(place: Place) -> None:
    running, stopped = machine(state="running"), machine(state="stopped")
    place.admin.post(f"{place.base}/machines/bulk/stop", {"ids": f"{running.pk.hex},{stopped.pk.hex}"})
    run_jobs()
    bulks.settle_bulks()
    parent = Job.objects.get(action="machine.stop", parent=None)
    page = place.admin.get(f"{place.base}/jobs/{parent.pk.hex}").content.decode()
    assert "1 skipped" in page
    assert f"{stopped.name} is stopped already." in page
    assert "Retry failed" not in page
    assert stopped.name in place.admin.get(f"{place.base}/jobs/{parent.pk.hex}?q=state:skipped").content.decode()
    log = place.admin.get(f"{place.base}/log?q=type:machine.stop.bulk.succeeded").content.decode()
    assert "2 machines" in log
    assert "skipped: 1 · succeeded: 1" in log
    assert "2 Maschinen" in place.admin.get(f"{place.base}/log", headers={"Accept-Language": "de"}).content.decode()


@pytest.mark.parametrize("verb", ["tag", "set_owner", "set_expiration", "edit", "associate_key"])
def test_metadata_is_taken_back_by_its_opposite(place: Place, verb: str) -> None:
    one = machine(state="running")
    key = Key.objects.create(org=place.org, name="k", public="ssh-ed25519 AAAA", fingerprint="SHA256:x", algorithm="ssh-ed25519")
    before = (dict(one.tags), one.owner_id, one.expires_at, one.address, one.key_associations.count())
    asked = {
        "tag": {"tags": {"env": "other", "new": "1"}, "remove": ["role"]},
        "set_owner": {"owner": place.owner.pk.hex},
        "set_expiration": {"date": (timezone.now() + timedelta(days=3)).isoformat(), "action": "stop"},
        "edit": {"address": "10.9.9.9"},
        "associate_key": {"key": key.pk.hex, "record_only": True},
    }[verb]
    job = perform(place.actor, one, verb, asked)
    run_jobs()
    shown = place.admin.get(f"{place.base}/jobs/{job.pk.hex}").content.decode()
    assert f"/jobs/{job.pk.hex}/back" in shown
    assert place.admin.post(f"{place.base}/jobs/{job.pk.hex}/back").status_code == 302
    run_jobs()
    one.refresh_from_db()
    assert (dict(one.tags), one.owner_id, one.expires_at, one.address, one.key_associations.count()) == before


def many(place: Place, verb: str, on: list[Machine], params: dict[str, Any]) -> Job:
    """A bulk from the page, done and over."""
    data = {"ids": ",".join(one.pk.hex for one in on), **params}
    assert place.admin.post(f"{place.base}/machines/bulk/{verb}", data).status_code == 302
    finish()
    return Job.objects.filter(action=f"machine.{verb}", target_id=None).latest("created_at")


def finish() -> None:
    run_jobs()
    bulks.settle_bulks()


def back(place: Place, job: Job) -> Job:
    """What takes a bulk back, done and over."""
    assert place.admin.post(f"{place.base}/jobs/{job.pk.hex}/back").status_code == 302
    finish()
    return Job.objects.filter(target_id=None).latest("created_at")


def tags_of(on: list[Machine]) -> list[dict[str, str]]:
    return [Machine.objects.get(pk=one.pk).tags for one in on]


def test_a_bulk_is_taken_back_by_one_with_the_tags_each_had(place: Place) -> None:
    on = list(Machine.objects.filter(type="vm").order_by("name")[:3])
    for one, tags in zip(on, ({"env": "dev"}, {"env": "prod", "role": "db"}, {}), strict=True):
        Machine.objects.filter(pk=one.pk).update(tags=tags)
    before = tags_of(on)
    job = many(place, "tag", on, {"tags": "env=other\nnew=1"})
    assert all(tags["env"] == "other" and tags["new"] == "1" for tags in tags_of(on))
    assert toasts.of_job(job, place.base)["undo"] == f"{place.base}/jobs/{job.pk.hex}/back"
    assert f"/jobs/{job.pk.hex}/back" in place.admin.get(f"{place.base}/jobs/{job.pk.hex}").content.decode()
    undone = back(place, job)
    assert undone.pk != job.pk
    assert (undone.state, undone.children.count()) == ("succeeded", 3)
    assert tags_of(on) == before


def test_only_what_a_bulk_did_is_taken_back(place: Place) -> None:
    on = list(Machine.objects.filter(type="vm").order_by("name")[:2])
    Machine.objects.update(tags={"env": "dev"})
    job = many(place, "tag", on, {"tags": "env=other"})
    failed = job.children.get(target_id=on[1].pk)
    Job.objects.filter(pk=failed.pk).update(state="failed")
    Job.objects.filter(pk=job.pk).update(state="failed", result={"succeeded": 1, "failed": 1})
    undone = back(place, job)
    assert [child.target_id for child in undone.children.all()] == [on[0].pk]
    assert [tags["env"] for tags in tags_of(on)] == ["dev", "other"]


def test_a_bulk_that_has_no_opposite_or_is_old_has_no_undo(place: Place) -> None:
    one = machine(state="running")
    stopped = many(place, "stop", [one], {"confirm": "stop 1"})
    assert toasts.of_job(stopped, place.base)["undo"] == ""
    tagged = many(place, "tag", [one], {"tags": "a=b"})
    Job.objects.filter(pk=tagged.pk).update(finished_at=timezone.now() - timedelta(hours=1))
    assert place.admin.post(f"{place.base}/jobs/{tagged.pk.hex}/back", HTTP_HX_REQUEST="true").status_code == 409


def halted(count: int) -> list[Machine]:
    """So many machines, stopped in their cloud too."""
    on = list(Machine.objects.filter(type="vm", state="running").order_by("name")[:count])
    for one in on:
        perform(Actor.system(one.org_id), one, "stop")
    run_jobs()
    assert {Machine.objects.get(pk=one.pk).state for one in on} == {"stopped"}
    return on


def states_of(on: list[Machine]) -> list[str]:
    return [Machine.objects.get(pk=one.pk).state for one in on]


def test_a_start_is_taken_back_by_a_stop_through_the_door(place: Place) -> None:
    [one] = halted(1)
    job = perform(place.actor, Machine.objects.get(pk=one.pk), "start")
    run_jobs()
    job.refresh_from_db()
    assert toasts.of_job(job, place.base)["undo"] == f"{place.base}/jobs/{job.pk.hex}/back"
    _user, client = colleague(place, "machine.read", "machine.start", "job.read")
    assert client.post(f"{place.base}/jobs/{job.pk.hex}/back", HTTP_HX_REQUEST="true").status_code == 403
    assert states_of([one]) == ["running"]
    assert place.admin.post(f"{place.base}/jobs/{job.pk.hex}/back").status_code == 302
    run_jobs()
    assert states_of([one]) == ["stopped"]
    assert Event.objects.filter(target_id=one.pk, type="machine.stop.succeeded").count() == 2


def test_a_start_of_what_may_have_run_before_is_not_taken_back(place: Place) -> None:
    [one] = halted(1)
    Machine.objects.filter(pk=one.pk).update(state="unknown")
    job = perform(place.actor, Machine.objects.get(pk=one.pk), "start")
    run_jobs()
    job.refresh_from_db()
    assert job.state == "succeeded"
    assert toasts.of_job(job, place.base)["undo"] == ""


def test_a_bulk_start_is_taken_back_by_one_bulk_stop_of_what_it_started(place: Place) -> None:
    on = halted(3)
    already = machine(state="running")
    job = many(place, "start", [*on, already], {})
    assert states_of([*on, already]) == ["running"] * 4
    assert toasts.of_job(job, place.base)["undo"] == f"{place.base}/jobs/{job.pk.hex}/back"
    undone = back(place, job)
    assert (undone.action, undone.state, undone.children.count()) == ("machine.stop", "succeeded", 3)
    assert states_of([*on, already]) == ["stopped", "stopped", "stopped", "running"]


def test_taking_a_start_back_waits_for_a_machine_that_is_still_starting(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    [one] = halted(1)
    job = perform(place.actor, Machine.objects.get(pk=one.pk), "start")
    run_jobs()
    Machine.objects.filter(pk=one.pk).update(state="starting")
    looked: list[str] = []
    real = Demo.get_machine

    def slow(self: Demo, external_id: str) -> MachineInfo:
        looked.append(external_id)
        found = real(self, external_id)
        return replace(found, state="starting") if len(looked) < 3 else found

    monkeypatch.setattr(Demo, "get_machine", slow)
    monkeypatch.setattr("machines.actions.base.LOOK_AGAIN_S", 0)
    assert place.admin.post(f"{place.base}/jobs/{job.pk.hex}/back").status_code == 302
    run_jobs()
    assert len(looked) == 4, "until it ran, and what came of the stop"
    assert states_of([one]) == ["stopped"]


def test_a_stop_does_not_wait_for_ever(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    one = machine(state="running")
    Machine.objects.filter(pk=one.pk).update(state="starting")
    real = Demo.get_machine
    monkeypatch.setattr(Demo, "get_machine", lambda self, external_id: replace(real(self, external_id), state="starting"))
    monkeypatch.setattr("machines.actions.power.STARTS_WITHIN_S", 0)
    with pytest.raises(Conflict):
        perform(place.actor, Machine.objects.get(pk=one.pk), "stop")
    job = perform(place.actor, Machine.objects.get(pk=one.pk), "stop", {"when_running": True})
    run_jobs()
    job.refresh_from_db()
    assert (job.state, job.error_code) == ("failed", "machine_not_running")
    assert "Stop it when it runs." in job.error_detail


def test_what_is_harmless_is_not_asked_about_however_many_it_is(place: Place) -> None:
    on = list(Machine.objects.filter(type="vm").order_by("name")[:12])
    Machine.objects.filter(pk__in=[one.pk for one in on]).update(state="stopped")
    bar = place.admin.post(f"{place.base}/machines/bulk", {"ids": ",".join(one.pk.hex for one in on)}).content.decode()
    assert f'hx-post="{place.base}/machines/bulk/start"' in bar
    assert f'data-dialog="{place.base}/machines/bulk/start"' not in bar
    asked = {"ids": ",".join(one.pk.hex for one in on), "ask": "1", "now": "1"}
    answer = place.admin.post(f"{place.base}/machines/bulk/start", asked, HTTP_HX_REQUEST="true")
    assert "<mist-toast" in answer.content.decode()
    assert Job.objects.get(action="machine.start", target_id=None).total == 12


def test_taking_a_bulk_back_asks_the_rights_of_who_does_for_each(place: Place) -> None:
    on = list(Machine.objects.filter(type="vm").order_by("name")[:2])
    Machine.objects.filter(pk__in=[one.pk for one in on]).update(tags={"env": "dev"})
    job = many(place, "tag", on, {"tags": "new=1"})
    _user, client = colleague(place, "machine.read", "job.read")
    client.post(f"{place.base}/jobs/{job.pk.hex}/back")
    finish()
    undone = Job.objects.filter(target_id=None).latest("created_at")
    assert undone.pk != job.pk
    assert set(undone.children.values_list("state", "error_code")) == {("failed", "denied")}
    assert all(tags["new"] == "1" for tags in tags_of(on))
    Machine.objects.filter(pk=on[0].pk).update(tags={"env": "dev"})
    again = jobs.retry(place.actor, undone)
    finish()
    again.refresh_from_db()
    assert (again.state, again.children.count()) == ("succeeded", 2)
    assert tags_of(on) == [{"env": "dev"}] * 2, "tried again each has its own params"
    assert place.stranger.post(f"{place.base}/jobs/{job.pk.hex}/back").status_code == 404


def test_a_key_taken_away_is_given_back_with_its_user_and_port(place: Place) -> None:
    one = machine(state="running")
    key = Key.objects.create(org=place.org, name="k", public="ssh-ed25519 AAAA", fingerprint="SHA256:x", algorithm="ssh-ed25519")
    how = {"user": "deploy", "port": 2222, "sudo": True, "record_only": True}
    perform(place.actor, one, "associate_key", {"key": key.pk.hex, **how})
    run_jobs()
    job = perform(place.actor, one, "disassociate_key", {"key": key.pk.hex, "record_only": True})
    run_jobs()
    job.refresh_from_db()
    opposite = inverse(job)
    assert opposite is not None
    perform(place.actor, one, opposite.name, opposite.params)
    run_jobs()
    found = one.key_associations.get()
    assert (found.user, found.port, found.sudo) == ("deploy", 2222, True)


def test_what_has_no_opposite_or_is_old_is_not_taken_back(place: Place) -> None:
    one = machine(state="running")
    job = perform(place.actor, one, "tag", {"tags": {"a": "b"}})
    Job.objects.filter(pk=job.pk).update(finished_at=timezone.now() - timedelta(hours=1))
    response = place.admin.post(f"{place.base}/jobs/{job.pk.hex}/back", HTTP_HX_REQUEST="true")
    assert response.status_code == 409
    assert "cannot be taken back" in response.content.decode()
    one.refresh_from_db()
    assert one.tags["a"] == "b"


def test_taking_back_asks_the_rights_of_who_does(place: Place) -> None:
    one = machine(state="running")
    job = perform(place.actor, one, "tag", {"tags": {"a": "b"}})
    _user, client = colleague(place, "machine.read", "job.read")
    assert client.post(f"{place.base}/jobs/{job.pk.hex}/back", HTTP_HX_REQUEST="true").status_code == 403
    one.refresh_from_db()
    assert one.tags["a"] == "b"


def test_a_failed_job_says_why_in_whose_words_and_what_to_do(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: object, external_id: str) -> None:
        raise Rejected("There is no room for it.", words="InsufficientInstanceCapacity", code="cloud_capacity")

    monkeypatch.setattr(Demo, "start_machine", refuse)
    one = machine(state="stopped")
    job = perform(place.actor, one, "start")
    run_jobs()
    page = place.admin.get(f"{place.base}/jobs/{job.pk.hex}").content.decode()
    assert f"{one.name} was not started." in page
    assert "There is no room for it." in page
    assert "InsufficientInstanceCapacity" in page
    assert "Choose another zone or size" in page
    assert f"req_{job.request_id[:10]}" in page
    assert "/retry" in page


KINDS = {  # of errors, each with a text and a button of its own: CONSOLE.md §12
    "cloud_auth_failed": ("Give the cloud credentials that it accepts.", "Change credentials"),
    "cloud_not_permitted": ("Allow it at the provider", "Check permissions"),
    "cloud_quota": ("Ask the provider for a higher limit", "See what is there"),
    "cloud_capacity": ("Choose another zone or size", "Choose another"),
    "cloud_rate_limited": ("Try again in a minute.", ""),
    "cloud_gone": ("Forget it here, or read the cloud again.", "Open cloud"),
    "cloud_wrong_state": ("Look at its state", "Open machine"),
    "cloud_timeout": ("It may have been done all the same", "Open cloud"),
}


@pytest.mark.parametrize("code", KINDS)
def test_each_kind_of_error_has_a_text_and_a_button_on_the_page_the_row_and_the_toast(place: Place, code: str) -> None:
    todo, button = KINDS[code]
    one = machine(state="running")
    job = perform(place.actor, one, "stop")
    Job.objects.filter(pk=job.pk).update(state="failed", error_code=code, error_detail="The cloud said so.", finished_at=timezone.now())
    job.refresh_from_db()
    page = place.admin.get(f"{place.base}/jobs/{job.pk.hex}").content.decode()
    row = place.admin.get(f"{place.base}/jobs?who=all").content.decode()
    toast = render_to_string("components/toast.html", {"toast": toasts.of_job(job, place.base)})
    assert todo in page
    assert todo in toast
    assert f"{one.name} was not stopped" in page
    found = faults.of_job(job, place.base)
    assert found.link_text == button
    for shown in (page, toast):
        assert not button or f">{button}</a>" in shown
    assert f">{button}</a>" in row if found.mends else "/retry" in row
    assert ("/retry" in toast) == (found.retry and not found.mends)
    if button:
        there = place.admin.get(found.link)
        assert there.status_code == 200, found.link
        assert "It may have been removed" not in there.content.decode()


def test_every_button_of_an_error_leads_somewhere(place: Place) -> None:
    one = machine()
    job = Job.objects.filter(org=place.org).first()
    assert job is not None
    for code in faults._KNOWN:
        found = faults.fault(code, place.base, cloud_id=one.cloud_id, machine_id=one.pk, job=job.pk.hex)
        if found.link:
            assert place.admin.get(found.link).status_code == 200, (code, found.link)


def test_time_left_is_what_such_things_took_lately_or_unknown(place: Place) -> None:
    now = timezone.now()
    job = perform(place.actor, machine(state="running"), "stop")
    Job.objects.filter(pk=job.pk).update(state="running", started_at=now - timedelta(seconds=4))
    job.refresh_from_db()
    assert with_progress([job])[0].left_s is None  # type: ignore[attr-defined]
    for _n in range(3):
        done = Job(
            org_id=place.org.pk, action="machine.stop", state="succeeded", target_kind="machine", target_id=job.target_id, via="test"
        )
        done.started_at, done.finished_at = now - timedelta(seconds=60), now - timedelta(seconds=50)
        done.save()
    left = with_progress([job])[0].left_s  # type: ignore[attr-defined]
    assert 4 < left < 7
