"""The dialog that destroys: what goes with the machines, snapshots first, and what is said of one that was not wholly done."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from typing import Any

import pytest
from django.template.loader import render_to_string
from django.utils import timezone

from accounts.models import Team, User
from clouds.models import Cloud
from clouds.providers.demo import Demo
from core import bulks, jobs
from core.errors import Rejected
from core.models import Job
from frontend import toasts
from machines.models import Machine
from tests.frontend.browsing import AXE, IN_A_BROWSER, Person, expect
from tests.frontend.conftest import Place, actor_for, add_user, run_jobs, signed_in
from volumes.models import Volume


def with_volumes(count: int, size_gib: int = 2000) -> list[Machine]:
    """Machines that each have one volume of their own, which their cloud keeps."""
    ids = [row.attached_to[0] for row in Volume.objects.exclude(attached_to=[]).order_by("name")]
    on = list(Machine.objects.filter(pk__in=ids, type="vm", state="running").order_by("name")[:count])
    for machine in on:
        Volume.objects.filter(attached_to=[machine.pk]).update(name="data", size_gib=size_gib)
    assert len(on) == count
    return on


def volume_of(machine: Machine) -> Volume:
    return Volume.objects.get(attached_to=[machine.pk])


def ask(place: Place, on: list[Machine], client: Any = None, **more: str) -> str:
    """The dialog of a bulk."""
    sent = {"ids": ",".join(one.pk.hex for one in on), "ask": "1", **more}
    return html.unescape((client or place.admin).post(f"{place.base}/machines/bulk/destroy", sent, HTTP_HX_REQUEST="true").content.decode())


def destroy(place: Place, on: list[Machine], *options: str, client: Any = None) -> Job:
    """Confirmed, and done."""
    sent = {"ids": ",".join(one.pk.hex for one in on), "confirm": f"destroy {len(on)}", **dict.fromkeys(options, "on")}
    assert (client or place.admin).post(f"{place.base}/machines/bulk/destroy", sent).status_code == 302
    job = Job.objects.filter(action="machine.destroy", target_id=None).latest("created_at")
    run_jobs()
    Job.objects.filter(parent=job, state="waiting").update(not_before=timezone.now())
    jobs.release_due()
    run_jobs()
    bulks.settle_bulks()
    job.refresh_from_db()
    return job


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("machines.actions.base.LOOK_AGAIN_S", 0)


def test_the_kept_volumes_of_many_are_offered_with_how_many_and_how_large(place: Place) -> None:
    on = with_volumes(3)
    body = ask(place, on)
    assert "Also destroy the kept volumes (3 × 2 TB)" in body
    assert body.count("data 2 TB kept") == body.count("data 2 TB destroyed") == 3
    Volume.objects.filter(pk=volume_of(on[0]).pk).update(size_gib=500)
    assert "(2 × 2 TB, 1 × 500 GB)" in ask(place, on)
    alone = html.unescape(place.admin.get(f"{place.base}/machines/{on[0].pk.hex}/do/destroy").content.decode())
    assert "Also destroy the kept volume (data, 500 GB)" in alone


def test_what_dies_anyway_is_shared_or_nobody_knows_is_not_offered(place: Place) -> None:
    on = with_volumes(3)
    volumes = [volume_of(one) for one in on]
    Volume.objects.filter(pk=volumes[0].pk).update(extra={"is_deleted_with_machine": True})
    Volume.objects.filter(pk=volumes[1].pk).update(extra={})
    Volume.objects.filter(pk=volumes[2].pk).update(attached_to=[on[2].pk, on[0].pk])
    body = ask(place, on)
    assert "Also destroy" not in body
    assert "data 2 TB: its cloud does not say" in body


def test_the_option_destroys_them_and_without_it_they_stay(place: Place) -> None:
    first, second = with_volumes(2)
    kept = volume_of(second)
    gone = volume_of(first)
    job = destroy(place, [first], "destroy_volumes")
    assert (job.state, job.error_code, job.params) == ("succeeded", "", {"destroy_volumes": True})
    assert destroy(place, [second]).state == "succeeded"
    gone.refresh_from_db()
    kept.refresh_from_db()
    assert (gone.missing_since is not None, kept.missing_since) == (True, None)


def test_the_equivalent_call_says_what_is_ticked(place: Place) -> None:
    on = with_volumes(2)
    ids = ",".join(one.pk.hex for one in on)
    for url, sent in ((f"{place.base}/machines/bulk/destroy", {"ids": ids}), (f"{place.base}/machines/{on[0].pk.hex}/do/destroy", {})):
        told = html.unescape(
            place.admin.post(url, {**sent, "_call": "1", "destroy_volumes": "on"}, HTTP_HX_REQUEST="true").content.decode()
        )
        text = re.sub(r"<[^>]+>", "", told)
        assert '"destroy_volumes": true' in text or "--destroy-volumes" in text, text
        assert place.admin.post(url, {**sent, "_call": "1"}, HTTP_HX_REQUEST="true").status_code == 200
    assert not Job.objects.filter(action="machine.destroy").exists()


def test_who_may_not_delete_volumes_is_not_offered_it_or_told_of_how_many(place: Place) -> None:
    on = with_volumes(2)
    user = add_user(place.org, "able@here.example")
    team = Team.objects.create(
        org=place.org, name="Able", statements=[{"effect": "allow", "verbs": ["machine.*", "volume.read", "job.*"], "what": {}}]
    )
    team.members.add(user)
    client = signed_in(user)
    body = ask(place, on, client)
    assert "data 2 TB kept" in body
    assert "Also destroy" not in body
    assert "data 2 TB destroyed" not in body
    team.statements = [*team.statements, {"effect": "allow", "verbs": ["volume.delete"], "what": {"ids": [volume_of(on[0]).pk.hex]}}]
    team.save()
    body = ask(place, on, client)
    assert "Also destroy the kept volume (data, 2 TB)" in body
    assert "1 of 2 machines is not destroyed then: You may not delete all of its volumes." in body
    assert body.count("data 2 TB destroyed") == 1
    other = volume_of(on[1])
    job = destroy(place, on, "destroy_volumes", client=client)
    assert sorted(job.children.values_list("state", "error_code")) == [("failed", "denied"), ("succeeded", "")]
    other.refresh_from_db()
    assert other.missing_since is None


def test_a_snapshot_first_is_offered_of_those_whose_cloud_keeps_it(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    on = with_volumes(3)
    assert "Take a snapshot of every volume first" not in ask(place, on), "of none of them it can be taken"
    monkeypatch.setattr(Demo, "snapshots_outlive", True)
    body = ask(place, on)
    assert "Take a snapshot of every volume first" in body
    assert "not destroyed then" not in body
    monkeypatch.setattr(
        Demo, "verb_states", {**Demo.verb_states, "create_snapshot": frozenset({"stopped"}), "destroy": frozenset({"running", "stopped"})}
    )
    Machine.objects.filter(pk=on[0].pk).update(state="stopped")
    assert "2 of 3 machines are not destroyed then: It is running." in ask(place, on)
    job = destroy(place, on, "snapshot_first")
    assert (job.state, job.result) == ("failed", {"failed": 2, "succeeded": 1})
    assert set(job.children.filter(state="failed").values_list("error_code", flat=True)) == {"no_snapshot_first"}
    assert job.children.get(state="succeeded").result["snapshot"]


def test_what_was_not_wholly_done_says_so_everywhere_and_can_be_tried_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Demo, external_id: str) -> None:
        raise Rejected("The demo cloud keeps it.", words="OperationNotPermitted")

    on = with_volumes(2)
    monkeypatch.setattr(Demo, "delete_volume", refuse)
    job = destroy(place, on, "destroy_volumes")
    child = job.children.first()
    assert child is not None
    assert child.is_partly
    for one, said in ((job, "The demo cloud keeps it."), (child, f"{child.target_name} is destroyed.")):
        url = f"{place.base}/jobs/{one.pk.hex}"
        page = place.admin.get(url).content.decode()
        toast = render_to_string("components/toast.html", {"toast": toasts.of_job(one, place.base)})
        assert said in html.unescape(page)
        assert said in html.unescape(toast)
        assert f'action="{url}/retry"' in page
        assert f'action="{url}/retry"' in toast
        assert "data-stay" in toast
    assert "2 of 2 left something undone." in place.admin.get(f"{place.base}/jobs").content.decode()
    assert "Volume not deleted yet" in place.admin.get(f"{place.base}/jobs/{child.pk.hex}").content.decode()
    log = place.admin.get(f"{place.base}/log?q=outcome:failed").content.decode()
    assert "data" in log
    assert place.admin.post(f"{place.base}/jobs/{child.pk.hex}/retry").status_code == 302
    assert Job.objects.filter(action="machine.destroy", retry_of=child).exists()


class TestInABrowser:
    pytestmark = IN_A_BROWSER

    @pytest.mark.parametrize("theme", ["light", "dark"])
    def test_the_dialog_of_many_has_both_options_and_its_words_follow_them(
        self, fleet: User, person: Callable[..., Person], theme: str
    ) -> None:
        org = fleet.orgs.get()
        outlive = Cloud.objects.create(org=org, name="Amazon", provider="amazon", enabled=True, config={"region": "eu-west-1"})
        on = with_volumes(3)
        for machine in on[:2]:
            Volume.objects.filter(attached_to=[machine.pk]).update(cloud=outlive)
            Machine.objects.filter(pk=machine.pk).update(cloud=outlive)
        reader = person(fleet, color_scheme=theme)
        page = reader.page
        page.goto("/o/here/machines")
        for machine in on:
            page.get_by_role("checkbox", name=f"Select {machine.name}", exact=True).check()
        page.get_by_role("button", name="Destroy").click()
        dialog = page.locator("#dialog")
        expect(dialog.get_by_role("heading", name="Destroy 3 machines?")).to_be_visible()
        snapshot = dialog.get_by_role("checkbox", name=re.compile("Take a snapshot of every volume first"))
        volumes = dialog.get_by_role("checkbox", name=re.compile(re.escape("Also destroy the kept volumes (3 × 2 TB)")))
        expect(dialog.get_by_text("1 of 3 machines is not destroyed then:")).to_be_visible()
        kept, gone = dialog.get_by_text("data 2 TB kept"), dialog.get_by_text("data 2 TB destroyed")
        expect(kept.first).to_be_visible()
        expect(gone.first).to_be_hidden()
        snapshot.check()
        volumes.check()
        expect(kept.first).to_be_hidden()
        expect(gone.first).to_be_visible()
        page.evaluate(AXE.read_text())
        for width in (1440, 390):
            page.set_viewport_size({"width": width, "height": 900})
            found = page.evaluate("axe.run('#dialog').then(found => found.violations.map(one => one.id + ' ' + one.nodes[0].html))")
            assert found == []
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            assert dialog.evaluate("box => box.scrollWidth <= box.clientWidth + 1")
        button = dialog.get_by_role("button", name="Destroy 3 machines")
        expect(button).to_be_disabled()
        dialog.get_by_label("to confirm").fill("destroy 3")
        button.click()
        expect(page.locator("mist-toast")).to_be_visible()
        job = Job.objects.get(action="machine.destroy", target_id=None)
        assert job.params == {"snapshot_first": True, "destroy_volumes": True}
        jobs.undo(actor_for(org, fleet), job)
