"""Asking the owners for access: who asks, who is told, how it is answered, and what it gives away."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.core import mail
from django.utils import timezone

from accounts.actions import access
from accounts.models import Membership, Team
from core.actions import perform
from core.errors import Denied, TooMany
from core.models import Event, Job
from frontend import overview
from frontend.views.policy import PRESETS
from tests.frontend.conftest import Place, actor_for, add_user, run_jobs, signed_in

REASON = "Restarting the web machines, INC-4127"


def of(place: Place, email: str = "new@here.example") -> Membership:
    return Membership.objects.get(org=place.org, user__email=email)


def ask(place: Place, reason: str = REASON) -> Membership:
    answer = place.nobody.post(f"{place.base}/access", {"reason": reason})
    assert answer.status_code == 302, answer.content
    run_jobs()
    return of(place)


def test_the_owners_get_a_letter_and_see_it_until_somebody_is_put_into_a_team(
    place: Place, django_capture_on_commit_callbacks: Any
) -> None:
    assert f'data-dialog href="{place.base}/access?for="' in place.nobody.get(f"{place.base}/machines").content.decode()
    ask(place)
    [letter] = mail.outbox
    assert letter.to == ["owner@here.example"]
    assert REASON in letter.body
    assert f"{place.base}/teams#asks" in letter.body
    assert Event.objects.filter(type="member.ask.succeeded", org_id=place.org.pk).exists()
    assert [notice.detail for notice in overview.attention(place.actor, place.base) if "asks for access" in notice.title] == [REASON]
    page = place.admin.get(f"{place.base}/teams").content.decode()
    assert 'class="cnt waits">1<' in page
    assert REASON in page.split('id="asks"')[1].split("</section>")[0]
    team = Team.objects.create(org=place.org, name="Readers", statements=PRESETS["read"][1])
    with django_capture_on_commit_callbacks(execute=True):
        answer = place.admin.post(f"{place.base}/teams", {"add": of(place).pk.hex, "to": team.pk.hex})
    assert answer.status_code == 302
    told = mail.outbox[1]
    assert (told.to, told.subject) == (["new@here.example"], f"You have access to {place.org.name}")
    assert REASON in told.body and "Readers" in told.body and f"{place.base}/" in told.body
    with django_capture_on_commit_callbacks(execute=True):
        perform(place.actor, team, "add_member", {"user": "owner@here.example"})
    assert len(mail.outbox) == 2, "who did not ask is not told"
    assert of(place).asked_for == ""
    assert 'id="asks"' not in place.admin.get(f"{place.base}/teams").content.decode()
    assert "You have no rights" not in place.nobody.get(f"{place.base}/machines").content.decode()


def test_it_is_declined_with_an_event_and_the_one_who_asked_may_ask_again_later(
    place: Place, django_capture_on_commit_callbacks: Any
) -> None:
    member = ask(place)
    assert "You have asked:" in place.nobody.get(f"{place.base}/machines").content.decode()
    with django_capture_on_commit_callbacks(execute=True):
        assert place.admin.post(f"{place.base}/teams", {"decline": member.pk.hex}).status_code == 302
    told = mail.outbox[1]
    assert told.to == ["new@here.example"] and "declined" in told.body and REASON in told.body
    assert Event.objects.filter(type="member.decline.succeeded").exists()
    assert "Request access" in place.nobody.get(f"{place.base}/machines").content.decode()
    with pytest.raises(TooMany):
        perform(actor_for(place.org, member.user), of(place), "ask", {"reason": "Now?"})
    Membership.objects.filter(pk=member.pk).update(asked_at=timezone.now() - access.AGAIN - timedelta(seconds=1))
    perform(actor_for(place.org, member.user), of(place), "ask", {"reason": "Now?"})
    assert of(place).asked_for == "Now?"


def test_one_letter_an_hour_however_often_somebody_asks(place: Place) -> None:
    ask(place)
    again = place.nobody.post(f"{place.base}/access", {"reason": "Please"})
    assert again.status_code == 429
    assert "You have asked already." in again.content.decode()
    assert "Please" in again.content.decode(), "what was typed is kept"
    run_jobs()
    assert len(mail.outbox) == 1
    assert of(place).asked_for == REASON


@pytest.mark.parametrize("reason", ["", "  ", "a\x00b", "x" * 501])
def test_a_reason_that_is_none_is_refused_beside_its_field(place: Place, reason: str) -> None:
    answer = place.nobody.post(f"{place.base}/access", {"reason": reason})
    assert answer.status_code == 422
    assert 'id="f-reason-error"' in answer.content.decode()
    assert not Job.objects.filter(action="member.ask").exists()


def test_nobody_asks_for_others_answers_or_sees_what_others_ask(place: Place) -> None:
    member = ask(place)
    other = add_user(place.org, "other@here.example")
    with pytest.raises(Denied):
        perform(actor_for(place.org, other), member, "ask", {"reason": "x"})
    with pytest.raises(Denied):
        perform(place.actor, member, "ask", {"reason": "x"})
    with pytest.raises(Denied):
        perform(actor_for(place.org, other), member, "decline")
    assert place.stranger.post(f"{place.base}/access", {"reason": "x"}).status_code == 404
    reader = add_user(place.org, "reader@here.example")
    Team.objects.create(org=place.org, name="Readers", statements=PRESETS["read"][1]).members.add(reader)
    client = signed_in(reader)
    for path in ("", "teams"):
        assert REASON not in client.get(f"{place.base}/{path}").content.decode()
    answer = client.post(f"{place.base}/teams", {"decline": member.pk.hex})
    assert answer.status_code == 403
    assert of(place).asked_for == REASON


def test_a_page_that_may_not_be_opened_leads_there_and_says_what_for(place: Place) -> None:
    reader = add_user(place.org, "reader@here.example")
    Team.objects.create(org=place.org, name="Readers", statements=PRESETS["read"][1]).members.add(reader)
    client = signed_in(reader)
    page = client.get(f"{place.base}/machines").content.decode()
    [link] = re.findall(rf'href="({place.base}/access\?for=[^"]*)"', page)
    form = client.get(link).content.decode()
    assert re.search(r"<textarea[^>]*>Creating machines</textarea>", form)
    assert "owner@here.example can give it." in form
