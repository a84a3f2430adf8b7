"""Pages that cannot be shown: inside the frame where there is one, with a request id, and what to do."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from accounts.models import User
from core.errors import Denied, MistError, TooMany
from frontend.views.jobs import JobsView
from tests.frontend.browsing import IN_A_BROWSER, Person
from tests.frontend.conftest import Place
from tests.frontend.recorded import violations

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("path", ["machines/nothing", f"volumes/{'0' * 32}", f"jobs/{'1' * 32}"])
def test_what_is_not_there_offers_a_search_in_the_frame(place: Place, path: str) -> None:
    answer = place.admin.get(f"{place.base}/{path}")
    body = answer.content.decode()
    assert answer.status_code == 404
    assert 'class="side' in body
    assert 'action="/o/here/machines"' in body
    assert f"req_{answer['X-Request-Id']}" in body
    elsewhere = place.stranger.get(f"{place.base}/{path}")
    assert elsewhere.status_code == 404
    assert 'class="side' not in elsewhere.content.decode(), "nothing of an organization one is not in"


def test_a_wrong_address_is_400_in_the_frame(place: Place) -> None:
    answer = place.admin.get(f"{place.base}/log?range=9y")
    assert answer.status_code == 400
    assert "is one of" in answer.content.decode()
    assert f"req_{answer['X-Request-Id']}" in answer.content.decode()


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [(Denied("You may not."), 403, "can give you the right"), (TooMany("Too often.", retry_after_s=42), 429, "Try again in 42 s")],
)
def test_refused_and_too_often(place: Place, monkeypatch: pytest.MonkeyPatch, error: MistError, status: int, words: str) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(JobsView, "get", refuse)
    answer = place.admin.get(f"{place.base}/jobs")
    body = answer.content.decode()
    assert answer.status_code == status
    assert words in body
    assert 'class="side' in body
    assert f"req_{answer['X-Request-Id']}" in body
    assert answer.get("Retry-After") == ("42" if status == 429 else None)


class TestInABrowser:
    pytestmark = IN_A_BROWSER

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_they_are_for_everybody_and_for_telephones(self, quiet: None, fleet: User, person: Callable[..., Person], scheme: str) -> None:
        one = person(fleet, color_scheme=scheme)
        page = one.page
        for path in ("/o/here/machines/nothing", "/o/here/log?range=9y", "/o/elsewhere/"):
            page.goto(path)
            expect(page.get_by_role("heading", level=1)).to_be_visible()
            assert not violations(page), path
            page.set_viewport_size({"width": 390, "height": 844})
            assert page.evaluate("document.documentElement.scrollWidth") <= 390, path
            page.set_viewport_size({"width": 1440, "height": 900})
        one.complaints.clear()  # a browser says so of every answer of 400 and more
