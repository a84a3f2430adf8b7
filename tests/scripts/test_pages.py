"""The pages of scripts and runs, over plain HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.test import Client

from accounts.models import User
from core.models import Job
from scripts.models import Run, Script
from tests.lab.sshd import Sshd
from tests.scripts.conftest import Place, finish, make_place

pytestmark = pytest.mark.django_db


@pytest.fixture
def page(place: Place) -> Client:
    client = Client()
    client.force_login(User.objects.get(pk=place.actor.user_id))
    return client


def text(response: Any, status: int = 200) -> str:
    assert response.status_code == status, response.content.decode()[:2000]
    return str(response.content.decode())


def test_an_empty_library_offers_three_to_begin_with(page: Client) -> None:
    html = text(page.get("/o/here/scripts"))
    assert html.count("/scripts/new?sample=") == 3
    form = text(page.get("/o/here/scripts/new?sample=restart-service"))
    assert "systemctl restart" in form
    assert 'name="parameters-0-name"' in form


def test_a_script_is_added_changed_compared_and_deleted(page: Client, place: Place) -> None:
    form = {"name": "backup", "exec_type": "executable", "location_type": "inline", "script": "#!/bin/bash\r\necho <b>one</b>\r\n"}
    form |= {"parameters-0-name": "where", "parameters-0-type": "choice", "parameters-0-via": "option", "parameters-0-choices": "a, b"}
    assert page.post("/o/here/scripts/new", form).status_code == 302
    script = Script.objects.get()
    here = f"/o/here/scripts/{script.pk.hex}"
    html = text(page.get(here))
    assert "echo &lt;b&gt;one" in html
    assert 'value="a, b"' in html
    form |= {"script": "#!/bin/bash\necho two\n", "based_on": "1"}
    assert page.post(here, form).status_code == 302
    assert "+echo two" in text(page.get(f"{here}?base=1"))
    assert "version 2" in text(page.post(here, form | {"script": "#!/bin/sh\nx\n"}), 409)
    wrong = text(page.post(here, form | {"based_on": "2", "parameters-0-name": "no name"}), 422)
    assert "does not match" in wrong
    assert page.post(f"{here}/do/delete", {"confirm": "other"}).status_code == 302
    assert Script.objects.exists()
    page.post(f"{here}/do/delete", {"confirm": "backup"})
    assert not Script.objects.exists()
    assert "No scripts yet" in text(page.get("/o/here/scripts"))


def test_it_is_run_from_the_form_and_its_page_tells(page: Client, place: Place, sshd: Sshd) -> None:
    place.behind(sshd, "web-1", "web-2", tags={"role": "web"})
    script = place.script(
        '#!/bin/sh\nprintf "\\033[32m<ok>\\033[0m $who\\n"\necho bad >&2\n', parameters=[{"name": "who", "required": True}]
    )
    here = f"/o/here/scripts/{script.pk.hex}/run"
    assert "2 machines" in text(page.get(f"{here}?q=tag:role%3Dweb"))
    assert "This is needed." in text(page.post(here, {"q": "tag:role=web", "concurrency": "5"}), 422)
    assert page.post(here, {"q": "tag:role=web", "p-who": "<you>"}).status_code == 302
    run = Run.objects.get()
    waiting = text(page.get(f"/o/here/runs/{run.pk.hex}"))
    assert "In the queue" in waiting
    finish(Job.objects.get(pk=run.pk))
    for view in ("", "?view=stream", "?view=grouped", f"?host={run.hosts.first().pk.hex}"):  # type: ignore[union-attr]
        html = text(page.get(f"/o/here/runs/{run.pk.hex}{view}"))
        assert '<i class="g">&lt;ok&gt;</i> &lt;you&gt;' in html
        assert '<span class="e"' in html
        assert "\x1b" not in html
    html = text(page.get(f"/o/here/runs/{run.pk.hex}"))
    assert "2 hosts" in html
    assert "2 of 2" in html
    assert "web-1" in text(page.get(f"/o/here/runs/{run.pk.hex}?q=YOU"))
    assert "No line of the output" in text(page.get(f"/o/here/runs/{run.pk.hex}?q=nothing-such"))
    assert "2 succeeded" in text(page.get("/o/here/scripts"))
    assert "2 succeeded" in text(page.get("/o/here/runs?q=state:succeeded"))
    assert page.post(f"/o/here/runs/{run.pk.hex}/do/retry").status_code == 302
    assert Run.objects.count() == 1, "nothing failed"


@pytest.mark.django_db(transaction=True)
def test_output_as_a_file_and_as_a_stream(page: Client, place: Place, sshd: Sshd) -> None:
    run = place.run(place.script(), place.behind(sshd, "a"))

    def whole(path: str) -> bytes:
        response: Any = page.get(path)

        async def read() -> bytes:
            return b"".join([piece async for piece in response.streaming_content])

        return async_to_sync(read)()

    assert whole(f"/o/here/runs/{run.pk.hex}/output") == b"===== a: succeeded, exit 0\nhello\n\n"
    (line,) = whole(f"/o/here/runs/{run.pk.hex}/stream?after=0").splitlines()
    assert json.loads(line)["html"].startswith('<span data-t="0:00.')


def test_picked_machines_come_along(page: Client, place: Place, sshd: Sshd) -> None:
    a, b = place.behind(sshd, "a", "b")
    script = place.script()
    html = text(page.post("/o/here/scripts/pick", {"ids": f"{a.pk.hex},{b.pk.hex}"}))
    assert f'value="{a.pk.hex},{b.pk.hex}"' in html
    form = text(page.post(f"/o/here/scripts/{script.pk.hex}/run", {"ask": "1", "ids": f"{a.pk.hex},{b.pk.hex}"}))
    assert "2 picked machines" in form


def test_another_organizations_pages_are_not_there(page: Client, place: Place, sshd: Sshd) -> None:
    there = make_place("there")
    script = there.script()
    for path in (f"scripts/{script.pk.hex}", f"scripts/{script.pk.hex}/run"):
        assert page.get(f"/o/here/{path}").status_code == 404
    assert page.get(f"/o/there/scripts/{script.pk.hex}").status_code == 404


def test_who_has_no_right_is_told_so(place: Place, member: Callable[..., Any], sshd: Sshd) -> None:
    script = place.script()
    reader = member({"effect": "allow", "verbs": ["script.read"], "what": {}})
    client = Client()
    client.force_login(User.objects.get(pk=reader.user_id))
    html = text(client.get(f"/o/here/scripts/{script.pk.hex}"))
    assert "Save" not in html
    assert "You may not run this script." in text(client.get(f"/o/here/scripts/{script.pk.hex}/run"))
