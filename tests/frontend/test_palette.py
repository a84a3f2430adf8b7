"""The command palette: acts, things, pages, people and tags, for who may see them."""

from __future__ import annotations

import pytest

from core.actions import perform
from frontend.palette import quoted
from machines.models import Machine
from scripts.models import Script
from tests.frontend.conftest import Place

pytestmark = pytest.mark.django_db
HTMX = {"HTTP_HX_REQUEST": "true"}


def found(place: Place, q: str, client: object = None, **more: str) -> str:
    answer = (client or place.admin).get(f"{place.base}/palette", {"q": q, **more}, **HTMX)  # type: ignore[attr-defined]
    assert answer.status_code == 200, answer.content
    return answer.content.decode()


def test_before_typing_it_offers_what_one_can_do_and_where_one_can_go(place: Place) -> None:
    page = found(place, "")
    for words in ("Create machine", "Add cloud", "Machines", "Audit log"):
        assert words in page


def test_things_are_found_by_name_and_address(place: Place) -> None:
    machine = Machine.objects.exclude(private_ips=[]).first()
    assert machine is not None
    for text in (machine.name, machine.private_ips[0]):
        assert f"{place.base}/machines/{machine.pk.hex}" in found(place, text)
    assert f"{place.base}/clouds/{place.cloud.pk.hex}" in found(place, "demo one")


def test_a_verb_and_a_name_offer_the_act_which_asks_first(place: Place) -> None:
    machine = Machine.objects.filter(state="running", type="vm").first()
    assert machine is not None
    page = found(place, f"restart {machine.name}")
    assert f"/machines/{machine.pk.hex}/do/reboot" in page
    assert 'data-how="dialog"' in page
    assert "/do/destroy" in found(place, f"destroy {machine.name}")


def test_the_page_and_the_selection_it_is_asked_on_count(place: Place) -> None:
    machine = Machine.objects.filter(state="running", type="vm").first()
    assert machine is not None
    assert f"/machines/{machine.pk.hex}/do/stop" in found(place, ">stop", path=f"{place.base}/machines/{machine.pk.hex}-x")
    several = ",".join(row.pk.hex for row in Machine.objects.all()[:3])
    page = found(place, ">stop", ids=several)
    assert "3 selected machines" in page
    assert f"{place.base}/machines/bulk/stop" in page


def test_a_verb_leaves_the_things_that_the_rest_names(place: Place) -> None:
    machine = Machine.objects.filter(state="running", type="vm").first()
    assert machine is not None
    page = found(place, f"restart {machine.name}")
    assert f'href="{place.base}/machines/{machine.pk.hex}-' in page
    assert "log?q=" + machine.name in page


def test_a_verb_is_of_what_the_list_shows_where_some_of_it_are_named_so(place: Place) -> None:
    Machine.objects.filter(pk=Machine.objects.filter(name__contains="web").values("pk")[:1]).update(state="stopped")
    running = Machine.objects.filter(state="running", name__contains="web").count()
    everywhere = Machine.objects.filter(name__contains="web").count()
    assert 1 < running < everywhere
    here = found(place, "stop web", view="state:running")
    assert f"<b>Stop</b> {running} machines in this view named <b>web</b>" in here
    assert 'data-q="(state:running) name:web"' in here
    assert f"<b>Stop</b> {everywhere} machines named <b>web</b>" in found(place, "stop web")
    for view in ("name:nothing-has-this-name", "((", "nokey:x"):
        assert f"<b>Stop</b> {everywhere} machines named <b>web</b>" in found(place, "stop web", view=view)


def test_what_is_called_just_so_is_offered_by_itself_beside_all_that_are_named_so(place: Place) -> None:
    many = list(Machine.objects.filter(name__contains="web", type="vm").order_by("name"))
    assert len(many) >= 3
    Machine.objects.filter(pk=many[-1].pk).update(name="web", state="running")  # not among the first by name
    for called, typed in (("web", "stop web"), ("Web", "stop wEB")):
        Machine.objects.filter(pk=many[-1].pk).update(name=called)
        assert f"machines/{many[-1].pk.hex}/do/stop" in found(place, typed)
    page = found(place, "stop web")
    assert not any(f"machines/{other.pk.hex}/do/stop" in page for other in many[:-1])


def test_more_is_asked_of_a_machine_of_a_search_and_of_the_selection(place: Place) -> None:
    machine = Machine.objects.filter(state="running", type="vm").first()
    assert machine is not None
    assert f'data-more="{machine.pk.hex}"' in found(place, machine.name)
    page = found(place, "", more=machine.pk.hex)
    for words in (f"Open {machine.name}", "Stop", "Destroy"):
        assert f">{words}<" in page
    assert "Create machine" not in page
    assert "Destroy" not in found(place, "stop", more=machine.pk.hex)
    assert 'data-more="=name:web"' in found(place, "stop web")
    many = found(place, "", more="=name:web")
    assert f"Reboot {Machine.objects.filter(name__contains='web').count()} machines named web" in many
    several = ",".join(row.pk.hex for row in Machine.objects.all()[:3])
    assert "Reboot 3 selected machines" in found(place, "", more="chosen", ids=several)
    assert "Reboot" not in found(place, "", more="chosen")
    for nonsense in ("=", "=((", "x", "f" * 32, "chosen=", "=nokey:x"):
        assert 'role="option"' not in found(place, "", more=nonsense), nonsense
    assert machine.name not in found(place, "", client=place.nobody, more=machine.pk.hex)


def test_a_script_is_run_by_a_part_of_its_name(place: Place) -> None:
    perform(place.actor, Script, "create", {"name": "restart-web-tier", "script": "#!/bin/sh\ntrue"})
    page = found(place, "restart web")
    assert "Run script <b>restart</b>-<b>web</b>-tier" in page
    assert "v1, 0 runs" in page
    assert "v1, 0 runs" in found(place, "run tier")
    assert "v1, 0 runs" not in found(place, "run database")
    assert "v1, 0 runs" not in found(place, "restart web", client=place.nobody)


def test_prefixes_narrow_it(place: Place) -> None:
    assert "tag%3Aenv%3Dprod" in found(place, "#env") or "tag%3A%22env%3Dprod%22" in found(place, "#env")
    assert "owner%3Aowner%40here.example" in found(place, "@owner")
    assert "Keyboard shortcuts" in found(place, "?")
    assert "Machines" not in found(place, "?key")


@pytest.mark.parametrize("text", ['"', "<script>alert(1)</script>", "\\", "a" * 5000, "AND", "(", "ﷺ", "\0", "name:", ">", "# ", "@<b>"])
def test_whatever_is_typed_is_answered_and_shown_as_text(place: Place, text: str) -> None:
    page = found(place, text)
    assert "<script" not in page
    assert "<b>)" not in page


def test_others_find_nothing_of_it(place: Place) -> None:
    machine = Machine.objects.filter(type="vm").first()
    assert machine is not None
    assert machine.pk.hex not in found(place, machine.name, client=place.nobody)
    assert place.stranger.get(f"{place.base}/palette?q=x", **HTMX).status_code == 404  # type: ignore[arg-type]
    assert place.stranger.get("/o/elsewhere/palette", {"q": machine.name}, **HTMX).content.decode().count(machine.pk.hex) == 0  # type: ignore[arg-type]
    stop = place.nobody.get(f"{place.base}/palette", {"q": ">stop", "path": f"/o/here/machines/{machine.pk.hex}"}, **HTMX)  # type: ignore[arg-type]
    assert "/do/stop" not in stop.content.decode()


def test_without_a_script_it_is_a_page_of_links(place: Place) -> None:
    page = place.admin.get(f"{place.base}/palette?q=machines").content.decode()
    assert "<h1>" in page
    assert f'href="{place.base}/machines"' in page
    assert "Keyboard shortcuts" in place.admin.get(f"{place.base}/shortcuts").content.decode()


@pytest.mark.parametrize(("text", "value"), [("web-1", "web-1"), ("two words", '"two words"'), ('a"b', '"a\\"b"'), ("or", '"or"')])
def test_a_value_is_quoted_where_it_must_be(text: str, value: str) -> None:
    assert quoted(text) == value
