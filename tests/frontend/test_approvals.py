"""The third tier (CONSOLE.md §6): the dialog ends in “Ask for approval”, who approves sees the same facts, and both are told."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from django.test import Client

from accounts.models import Membership, Team, User
from core.actions import perform
from core.errors import Asked
from core.models import Job
from machines.models import Machine
from tests.frontend.browsing import AXE, IN_A_BROWSER, Person, expect
from tests.frontend.conftest import Place, actor_for, add_user, machine, run_jobs, signed_in

ASKS = {
    "effect": "ask",
    "verbs": ["machine.stop", "machine.start", "machine.reboot", "machine.destroy", "machine.create", "machine.tag"],
    "what": {},
}


def asker_in(owner: User, *statements: dict[str, Any]) -> User:
    """A member who may do everything, and has to ask for some of it."""
    org = owner.orgs.get()
    asker = add_user(org, "mara@here.example")
    User.objects.filter(pk=asker.pk).update(first_name="Mara", last_name="Lind")
    allow = {"effect": "allow", "verbs": ["*"], "what": {}}
    Team.objects.create(org=org, name="Operators", statements=[allow, *(statements or (ASKS,))]).members.add(asker)
    return User.objects.get(pk=asker.pk)


@pytest.fixture
def asker(place: Place) -> Client:
    return signed_in(asker_in(place.owner))


def text(answer: Any) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", answer.content.decode())).split())


@pytest.mark.django_db
def test_the_dialog_ends_in_ask_for_approval_and_says_why_and_who(place: Place, asker: Client) -> None:
    web = machine(state="running")
    path = f"{place.base}/machines/{web.pk.hex}/do/destroy"
    page = asker.get(path)
    said = text(page)
    assert "Statement 2 of team Operators asks for approval." in said and "Ask for approval" in said
    assert place.owner.full_name in said
    assert 'name="confirm"' not in page.content.decode()
    told = html.unescape(asker.post(path, {"_ask": "it is broken", "_call": "1"}, HTTP_HX_REQUEST="true").content.decode())
    assert "--ask 'it is broken'" in told and "destroy?ask=it+is+broken" in told
    assert not Job.objects.filter(action="machine.destroy").exists()
    asked = asker.post(path, {"_ask": "it is broken"})
    assert asked.status_code == 302
    job = Job.objects.get(action="machine.destroy")
    assert (job.state, job.ask) == ("asked", "it is broken")


@pytest.mark.django_db
def test_a_button_without_a_question_asks_for_approval_then(place: Place, asker: Client) -> None:
    web = machine(state="stopped")
    path = f"{place.base}/machines/{web.pk.hex}/do/start"
    answer = asker.post(path, HTTP_HX_REQUEST="true")
    assert answer.status_code == 422 and answer["HX-Retarget"] == "#dialog"
    assert "Ask for approval" in text(answer)
    again = asker.post(path, {"_ask": " "}, HTTP_HX_REQUEST="true")
    assert "Say what for" in text(again)
    assert asker.post(path, {"_ask": "needed"}, HTTP_HX_REQUEST="true").status_code == 200
    assert Job.objects.get(action="machine.start").state == "asked"
    too_long = asker.post(path, {"_ask": "x" * 501})
    assert too_long.status_code == 400


@pytest.mark.django_db
def test_many_are_asked_for_as_one(place: Place, asker: Client) -> None:
    rows = list(Machine.objects.filter(state="running").order_by("name")[:3])
    ids = ",".join(row.pk.hex for row in rows)
    page = asker.post(f"{place.base}/machines/bulk/stop", {"ids": ids, "ask": "1"}, HTTP_HX_REQUEST="true")
    assert "Ask for approval" in text(page) and all(row.name in text(page) for row in rows)
    assert asker.post(f"{place.base}/machines/bulk/stop", {"ids": ids, "_ask": "night"}).status_code == 302
    job = Job.objects.get(action="machine.stop")
    assert (job.state, job.total) == ("asked", 3)
    page = place.admin.get(f"{place.base}/jobs/{job.pk.hex}/answer")
    assert all(row.name in text(page) for row in rows)
    place.admin.post(f"{place.base}/jobs/{job.pk.hex}/answer", {"answer": "approve", "note": "fine"})
    run_jobs()
    run_jobs()
    assert job.children.filter(state="succeeded").count() == 3


@pytest.mark.django_db
def test_who_approves_types_the_name_of_what_is_destroyed(place: Place, asker: Client) -> None:
    web = machine(state="running")
    asker.post(f"{place.base}/machines/{web.pk.hex}/do/destroy", {"_ask": "it is broken", "destroy_volumes": "on"})
    job = Job.objects.get(action="machine.destroy")
    answer = f"{place.base}/jobs/{job.pk.hex}/answer"
    said = text(place.admin.get(answer))
    assert "Mara Lind asks for approval" in said and "it is broken" in said and web.name in said
    wrong = place.admin.post(answer, {"answer": "approve", "confirm": "something"})
    assert wrong.status_code == 422
    job.refresh_from_db()
    assert job.state == "asked"
    assert place.admin.post(answer, {"answer": "approve", "confirm": web.name}).status_code == 302
    job.refresh_from_db()
    assert job.state == "waiting"  # its undo window


@pytest.mark.django_db
def test_who_may_not_answer_sees_no_way_to(place: Place, asker: Client) -> None:
    web = machine(state="running")
    asker.post(f"{place.base}/machines/{web.pk.hex}/do/stop", {"_ask": "why"})
    job = Job.objects.get(action="machine.stop")
    page = asker.get(f"{place.base}/jobs/{job.pk.hex}")
    assert "Withdraw" in text(page) and "Look and answer" not in text(page)
    assert asker.get(f"{place.base}/jobs/{job.pk.hex}/answer").status_code == 302
    asker.post(f"{place.base}/jobs/{job.pk.hex}/answer", {"answer": "approve"})
    job.refresh_from_db()
    assert job.state == "asked"
    assert "Look and answer" in text(place.admin.get(f"{place.base}/jobs/{job.pk.hex}"))
    assert "asks for approval" in text(place.admin.get(f"{place.base}/"))
    asker.post(f"{place.base}/jobs/{job.pk.hex}/cancel")
    job.refresh_from_db()
    assert job.state == "cancelled"


@pytest.mark.django_db
def test_a_declined_one_says_by_whom_and_why(place: Place, asker: Client) -> None:
    web = machine(state="running")
    asker.post(f"{place.base}/machines/{web.pk.hex}/do/stop", {"_ask": "why"})
    job = Job.objects.get(action="machine.stop")
    place.admin.post(f"{place.base}/jobs/{job.pk.hex}/answer", {"answer": "decline", "note": "not today"})
    said = text(asker.get(f"{place.base}/jobs/{job.pk.hex}"))
    assert "not today" in said and place.owner.full_name in said
    log = text(place.admin.get(f"{place.base}/log?q=outcome:declined"))
    assert web.name in log and f"Declined by {place.owner.full_name} : “not today”".replace(" :", ":") in log


@pytest.mark.django_db
def test_what_is_done_to_other_things_is_shown_by_name(place: Place) -> None:
    """A member has no name of its own to sort by."""
    asker = signed_in(asker_in(place.owner, {"effect": "ask", "verbs": ["member.remove"], "what": {}}))
    member = Membership.objects.get(user__email="new@here.example")
    with pytest.raises(Asked) as asked:
        perform(replace(actor_for(place.org, User.objects.get(email="mara@here.example")), ask="has left"), member, "remove")
    said = text(place.admin.get(f"{place.base}/jobs/{asked.value.job.pk.hex}/answer"))
    assert "has left" in said and "new@here.example" in said
    assert asker.get(f"{place.base}/jobs/{asked.value.job.pk.hex}").status_code == 200


@pytest.mark.django_db
def test_machines_are_requested_where_their_making_needs_approval(place: Place, asker: Client) -> None:
    page = asker.get(f"{place.base}/machines/new?cloud={place.cloud.pk.hex}")
    assert "Request 1 machine" in text(page) and 'name="_ask"' in page.content.decode()


@pytest.mark.django_db
def test_a_locked_machine_is_asked_for_by_owners_too(place: Place) -> None:
    web = machine(state="running")
    assert place.admin.post(f"{place.base}/machines/{web.pk.hex}/do/lock", {"note": "prod database"}).status_code == 302
    said = text(place.admin.get(f"{place.base}/machines/{web.pk.hex}/do/stop"))
    assert f"{web.name} is locked: prod database." in said and "Ask for approval" in said and "Or unlock it first" in said


def violations(page: Any) -> Any:
    """Of the dialog, on a desk and on a telephone."""
    page.evaluate(AXE.read_text())
    found = []
    for width in (390, 1440):
        page.set_viewport_size({"width": width, "height": 900})
        found += page.evaluate("axe.run('#dialog').then(found => found.violations.map(one => one.id + ' ' + one.nodes[0].html))")
        assert page.locator("#dialog").evaluate("box => box.scrollWidth <= box.clientWidth + 1")
    return found


class TestInABrowser:
    pytestmark = IN_A_BROWSER

    def test_one_asks_and_another_approves(self, fleet: User, person: Callable[..., Person]) -> None:
        asker = asker_in(fleet)
        web = Machine.objects.filter(state="running", type="vm").order_by("name")[0]
        org = fleet.orgs.get()
        mine, theirs = person(asker), person(fleet)
        mine.page.goto(f"/o/{org.slug}/machines/{web.pk.hex}")
        mine.be_live()
        mine.page.get_by_role("button", name="Reboot", exact=True).click()
        dialog = mine.page.locator("#dialog")
        expect(dialog).to_contain_text("asks for approval")
        assert violations(mine.page) == []
        dialog.get_by_label("What for").fill("a new kernel")
        dialog.get_by_role("button", name="Ask for approval").click()
        expect(dialog).to_be_hidden()
        expect(mine.page.locator("#toasts")).to_contain_text("waits for approval")
        theirs.page.goto(f"/o/{org.slug}/")
        theirs.page.get_by_role("link", name=re.compile("Answer: Mara Lind asks for approval")).click()
        theirs.be_live()
        theirs.page.get_by_role("button", name="Look and answer").click()
        box = theirs.page.locator("#dialog")
        expect(box).to_contain_text("a new kernel")
        assert violations(theirs.page) == []
        box.get_by_label("Note").fill("go on")
        box.get_by_role("button", name="Approve").click()
        expect(theirs.page.locator("h1")).to_contain_text(re.compile(f"({web.name} rebooted|Rebooting {web.name})"), timeout=15000)
        job = Job.objects.get(action="machine.reboot")
        mine.page.goto(f"/o/{org.slug}/jobs/{job.pk.hex}")
        expect(mine.page.locator("main")).to_contain_text("go on")
