"""What a dialog's call sends is what the dialog does: each of one machine, of many, of a create, and of a button that is asked about."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import pytest
from django.test import Client
from playwright.sync_api import Route, expect

from accounts.models import Team, User
from clouds.models import Image, Location, Size
from core.actions import actions_of, get, perform, validated
from core.errors import Conflict
from core.models import Job
from frontend import acts, calls
from keys.models import Secret
from machines.models import Machine
from tests.api.test_matrix import ask
from tests.api.test_matrix import client as with_token
from tests.api.world import World
from tests.frontend.browsing import IN_A_BROWSER, Person, wait
from tests.frontend.conftest import actor_for, signed_in
from tests.frontend.test_calls import Request, filled, of_command, of_curl, of_python, texts, world

pytestmark = pytest.mark.django_db
__all__ = ["world"]

# Where acts are asked for.
DOORS = ["frontend.views.base", "frontend.views.create", "core.api.viewset"]
DOORS += [f"{name}api" for name in ("machines.", "machines.session_", "accounts.", "accounts.org_", "clouds.", "keys.", "keys.secret_")]
# {verb of one machine: what is typed}; "{kind}" is the id of a row.
OF_ONE: dict[str, dict[str, str]] = {
    "stop": {},
    "reboot": {},
    "suspend": {},
    "power_cycle": {},
    "start": {},
    "extend": {"hours": "48"},
    "destroy": {"confirm": "{name}", "snapshot_first": "on"},
    "undefine": {"delete_disks": "on"},
    "remove": {},
    "resize": {"size": "{size}"},
    "rename": {"name": "it's new"},
    "clone": {"name": "a copy"},
    "create_snapshot": {"name": "before", "description": "two words"},
    "remove_snapshot": {"snapshot": "{snapshot}"},
    "revert_to_snapshot": {"snapshot": "{snapshot}"},
    "tag": {"tags": "env=prod\nowner=a b"},
    "set_owner": {"owner": "{user}"},
    "set_expiration": {"date": "2030-01-02T03:04", "action": "destroy", "notify": "2"},
    "lock": {"note": "it's the master"},
    "unlock": {},
    "edit": {"address": "10.0.0.9"},
    "associate_key": {"key": "{key}", "user": "root", "port": "2222", "sudo": "on"},
    "disassociate_key": {"key": "{key}", "confirm": "on"},
    "trust_ca": {"user": "root", "record_only": "on"},
    "distrust_ca": {"user": "root"},
}
OF_MANY: dict[str, dict[str, str]] = {
    "start": {},
    "stop": {},
    "reboot": {},
    "suspend": {},
    "destroy": {},
    "tag": {"tags": "env=prod", "untag": "old, older"},
    "set_owner": {"owner": ""},
    "set_expiration": {"date": "", "action": "stop", "notify": ""},
    "lock": {"note": "it's the master"},
    "create_snapshot": {"name": "nightly"},
}
# (where, what the button sends)
BUTTONS = [
    ("keys/{key}", {"delete": "1", "confirm": "{key.name}"}),
    ("keys/{key}", {"default": "1"}),
    ("keys/secrets/{secret}", {"delete": "1", "confirm": "{secret.name}"}),
    ("keys/secrets/{secret}", {"restore": "1"}),
    ("keys/stores/{secret_store}", {"delete": "1"}),
    ("keys/hosts", {"forget": "{host_key}"}),
    ("keys/authority", {"create": "1"}),
    ("keys/authority", {"rotate": "{authority}"}),
    ("keys/authority", {"delete": "{authority}"}),
    ("clouds/{cloud}/do/remove", {"confirm": "{cloud.name}"}),
    ("clouds/{cloud}/do/edit", {"enabled": "0"}),
    ("clouds/{cloud}/do/edit", {"strict_host_keys": "1"}),
    ("clouds/{cloud}/do/refresh", {}),
    ("scripts/{script}/do/delete", {"confirm": "{script.name}"}),
    ("sessions/{session}/do/kill", {}),
    ("sessions/{session}/do/delete", {}),
    ("teams", {"withdraw": "{invitation}"}),
    ("teams", {"leaves": "{member}"}),
    ("teams/{team}", {"delete": "1"}),
    ("teams/{team}", {"leave": "{user}"}),
    ("settings/tokens", {"revoke": "{token}"}),
]


@dataclass
class Acts:
    """What was asked of the second door, in place of being done: (verb, target, params as the action reads them)."""

    done: list[tuple[str, Any, Any]] = field(default_factory=list)

    def perform(self, actor: Any, target: Any, verb: str, params: Any = None, **_how: Any) -> Job:
        is_new = isinstance(target, type)
        read = validated(get(f"{target.kind()}.{verb}"), actor, params, None if is_new else target)
        self.done.append((f"{target.kind()}.{verb}", None if is_new else target.pk, read))
        if (target, verb) != (Machine, "create"):
            raise Conflict("It was only asked.")
        return Job(action="machine.create", org_id=actor.org_id, target_kind="machine", state="queued")

    def bulk(self, actor: Any, model: Any, verb: str, params: Any = None, *, ids: Any = None, search: Any = None, **_how: Any) -> Job:
        read = validated(get(f"{model.kind()}.{verb}"), actor, params, None)
        self.done.append((f"many {model.kind()}.{verb}", (ids, search), read))
        raise Conflict("It was only asked.")

    def bulk_create(self, actor: Any, model: Any, verb: str, each: Any) -> Job:
        for params in each:
            self.done.append((f"{model.kind()}.{verb}", None, validated(get(f"{model.kind()}.{verb}"), actor, params, None)))
        raise Conflict("It was only asked.")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Acts:
    made = Acts()
    for module in DOORS:
        monkeypatch.setattr(f"{module}.perform", made.perform)
    monkeypatch.setattr("core.bulks.bulk", made.bulk)
    monkeypatch.setattr("frontend.views.create.bulk_create", made.bulk_create)
    return made


def sent_by(world: World, page: str, monkeypatch: pytest.MonkeyPatch) -> Request:
    """What all three ways of a page's call send: the same, and the door is asked for it over the API."""
    shown = texts(page)
    spoken = of_command(shown["CLI"])
    assert of_python(shown["Python"], monkeypatch) == of_curl(shown["curl"])
    assert (spoken.path, spoken.body) == (of_curl(shown["curl"]).path, of_curl(shown["curl"]).body)
    answer = ask(with_token(world.token), spoken.method, spoken.path, spoken.body)
    assert answer.status_code in (200, 409), answer.content
    return spoken


def typed_in(world: World, typed: dict[str, str], target: Any = None) -> dict[str, str]:
    """With ids and names in it."""

    def told(found: re.Match[str]) -> str:
        kind, _dot, name = found[1].partition(".")
        return str(target.name if kind == "name" else getattr(world.rows[kind], name)) if kind == "name" or name else world.name_of(kind)

    return {key: re.sub(r"\{([\w.]+)\}", told, text) for key, text in typed.items()}


def page_of(client: Client, path: str, typed: dict[str, str]) -> str:
    answer = client.post(path, {**typed, calls.ASKED: "1"}, headers={"HX-Request": "true"})
    assert answer.status_code == 200, answer.content[:2000]
    return str(answer.content.decode())


@pytest.mark.parametrize("verb", OF_ONE)
def test_the_call_of_a_machines_dialog_is_its_act(world: World, asked: Acts, monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    machine, client = world.rows["machine"], signed_in(world.user)
    path, typed = f"/o/{world.org.slug}/machines/{machine.pk.hex}/do/{verb}", typed_in(world, OF_ONE[verb], machine)
    client.post(path, typed)
    assert [one[:2] for one in asked.done] == [(f"machine.{verb}", machine.pk)]
    page = page_of(client, path, {key: text for key, text in typed.items() if key != "confirm" or verb != "destroy"})
    assert len(asked.done) == 1, "a call is told and not done"
    sent_by(world, page, monkeypatch)
    assert asked.done[1:] == asked.done[:1]


def test_every_verb_with_a_dialog_is_told() -> None:
    asks = {action.name for action in actions_of(Machine) if action.tier and not action.creates} | set(acts._FIELDS)
    assert asks - OF_ONE.keys() == {"run"}, "which has a page of its own"


@pytest.mark.parametrize("which", ["ids", "q"])
@pytest.mark.parametrize("verb", OF_MANY)
def test_the_call_of_a_bulk_is_its_act(world: World, asked: Acts, monkeypatch: pytest.MonkeyPatch, verb: str, which: str) -> None:
    client, path = signed_in(world.user), f"/o/{world.org.slug}/machines/bulk/{verb}"
    machines = list(Machine.objects.filter(org=world.org, state="running").order_by("pk")[:3])
    selected = {"ids": ",".join(one.pk.hex for one in machines)} if which == "ids" else {"q": 'state:running -name:"it\'s"'}
    question = client.post(path, {**selected, "ask": "1"}, headers={"HX-Request": "true", "HX-Dialog": "1"}).content.decode()
    assert f'data-call="{path}"' in question
    word = re.search(r'<mist-confirm word="([^"]+)"', question)
    client.post(path, {**selected, **OF_MANY[verb], "confirm": word[1] if word else ""})
    assert [one[0] for one in asked.done] == [f"many machine.{verb}"]
    sent_by(world, page_of(client, path, {**selected, **OF_MANY[verb]}), monkeypatch)
    assert asked.done[1:] == asked.done[:1]


@pytest.mark.parametrize("quantity", ["1", "3"])
def test_the_call_of_a_create_is_its_act(world: World, asked: Acts, monkeypatch: pytest.MonkeyPatch, quantity: str) -> None:
    client, cloud = signed_in(world.user), world.rows["cloud"]
    image = Image.objects.filter(cloud=cloud, name__startswith="Debian").order_by("name").first()
    assert image is not None
    size = Size.objects.filter(cloud=cloud, architecture=image.architecture, disk_gib__gte=20).order_by("cost_hour").first()
    location = Location.objects.filter(cloud=cloud, location_type="zone").first()
    assert size and location
    typed = {"cloud": cloud.pk.hex, "name": "it's web-{n:02}", "quantity": quantity, "image": image.pk.hex, "size": size.pk.hex}
    typed |= {"location": location.pk.hex, "key": world.name_of("key"), "tags": "env=prod\nowner=a b"}
    typed |= {"date": "2030-01-02T03:04", "action": "destroy", "notify": "2", "volumes-0-size": "20", "volumes-0-name": "data"}
    typed |= {"scripts-0-script": world.name_of("script"), "scripts-0-su": "on"}
    client.post(f"/o/{world.org.slug}/machines/new", typed)
    done = list(asked.done)
    assert [one[0] for one in done] == ["machine.create"] * int(quantity)
    page = client.post(f"/o/{world.org.slug}/machines/new/plan", typed).content.decode()
    sent_by(world, page, monkeypatch)
    assert asked.done[len(done) :] == done


@pytest.mark.parametrize(("at", "typed"), BUTTONS, ids=lambda one: one if isinstance(one, str) else urlencode(one))
def test_the_call_of_a_button_is_its_act(
    world: World, asked: Acts, monkeypatch: pytest.MonkeyPatch, at: str, typed: dict[str, str]
) -> None:
    if "leave" in typed:
        world.rows["team"].members.add(world.user)
    client, path, sent = signed_in(world.user), f"/o/{world.org.slug}/{filled(at, world)}", typed_in(world, typed)
    question = client.post(path, sent, headers={"HX-Request": "true", "HX-Dialog": "1"}).content.decode()
    if not asked.done:  # it was asked first
        word = re.search(r'<mist-confirm word="([^"]+)"', question)
        assert "Equivalent call" in question
        assert texts(question) == texts(page_of(client, path, sent))
        if word:
            wrong = client.post(path, {**sent, calls.SURE: "another"})
            assert wrong.status_code == 422 and "Nothing was done" in wrong.content.decode()
            assert not asked.done
        client.post(path, {**sent, calls.SURE: word[1] if word else "1"})
    assert len(asked.done) == 1
    sent_by(world, page_of(client, path, {key: text for key, text in sent.items() if key != "confirm"}), monkeypatch)
    assert asked.done[1:] == asked.done[:1]
    assert Secret.objects.filter(pk=world.rows["secret"].pk).exists(), "nothing of it was done"


def test_what_is_not_right_yet_is_said_in_place_of_a_call(world: World) -> None:
    client, base = signed_in(world.user), f"/o/{world.org.slug}"
    unnamed = page_of(client, f"{base}/keys/hosts", {"host": "", "port": "22", "public": ""})
    assert "Still to be typed: Host name or address, Its public key" in unnamed
    assert of_curl(texts(unnamed)["curl"]).body == {"host": "HOST", "port": 22, "public": "PUBLIC"}
    wrong = page_of(client, f"{base}/keys/hosts", {"host": "web", "port": "70000", "public": "x"})
    assert "It cannot be written yet:" in wrong and "<li>Port: " in wrong
    assert not texts(wrong)
    many = {"ids": world.name_of("machine"), "name": "x" * 500}
    wrong = page_of(client, f"{base}/machines/bulk/create_snapshot", many)
    assert "<li>Name of the snapshot: " in wrong and not texts(wrong)
    stored = page_of(client, f"{base}/keys/stores/{world.name_of('secret_store')}", {"name": "v", "address": "https://vault.example.org"})
    assert "Still to be typed" not in stored, "a secret that is kept need not be typed again"


class TestInABrowser:
    pytestmark = IN_A_BROWSER

    def test_the_text_follows_what_is_typed(self, fleet: User, person: Callable[..., Person]) -> None:
        page = person(fleet).page
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.post_data or "") if "_call" in (request.post_data or "") else None)
        page.on("dialog", lambda dialog: dialog.accept())
        page.goto("/o/here/keys/new?way=upload")
        name, fold = page.get_by_label("Name", exact=True), page.locator("details[data-call]")
        name.fill("before")
        page.wait_for_timeout(500)
        assert not asked, "a fold that is shut asks for nothing"
        fold.locator("> summary").click()
        expect(fold).to_contain_text("Still to be typed: Private key")
        expect(fold.locator("pre").first).to_contain_text("--name before")
        fold.locator("summary", has_text="curl").last.click()
        page.get_by_label("Private key").fill("very-secret-text")
        name.press("End")
        name.press_sequentially("-after", delay=20)
        curl = fold.locator("details[open] pre")
        expect(curl).to_contain_text('"name": "before-after"')
        expect(curl).to_contain_text('"private": "…"')
        expect(fold).not_to_contain_text("Still to be typed")
        assert len(asked) <= 4, "not at every key"
        assert not [body for body in asked if "very-secret-text" in body]
        name.fill("x" * 300)
        expect(fold).to_contain_text("It cannot be written yet")
        expect(fold.locator("pre")).to_have_count(0)
        fold.locator("> summary").click()
        count = len(asked)
        name.fill("shut")
        page.wait_for_timeout(500)
        assert len(asked) == count

    def test_an_answer_that_is_late_does_not_take_the_place_of_a_later_one(self, fleet: User, person: Callable[..., Person]) -> None:
        page = person(fleet).page
        page.on("dialog", lambda dialog: dialog.accept())
        page.goto("/o/here/keys/new")
        fold, held = page.locator("details[data-call]"), list[Route]()

        def hold(route: Route) -> None:
            held.append(route) if route.request.method == "POST" and not held else route.continue_()

        page.route("**/keys/new*", hold)
        page.get_by_label("Name", exact=True).fill("first")
        fold.locator("> summary").click()
        wait(lambda: page.evaluate("1") == 1 and bool(held), 10)
        page.get_by_label("Name", exact=True).fill("second")
        expect(fold.locator("pre").first).to_contain_text("--name second")
        held[0].continue_()
        page.wait_for_timeout(500)
        expect(fold.locator("pre").first).to_contain_text("--name second")

    def test_in_a_dialog_of_a_machine_and_of_many_too(self, fleet: User, person: Callable[..., Person]) -> None:
        page = person(fleet).page
        machine = Machine.objects.filter(type="vm", state="running").order_by("name").first()
        assert machine is not None
        page.goto(f"/o/here/machines/{machine.pk.hex}")
        page.evaluate(f"mistOpenDialog('/o/here/machines/{machine.pk.hex}/do/rename', null)")
        box = page.locator("#dialog")
        box.locator("details[data-call] > summary").click()
        box.get_by_label("Name").fill("another")
        expect(box.locator("pre").first).to_contain_text(f"mist machines rename {machine.pk.hex}")
        expect(box.locator("pre").first).to_contain_text("--name another")
        box.get_by_role("button", name="Cancel").or_(box.get_by_role("link", name="Cancel")).click()
        page.evaluate(f"mistOpenDialog('/o/here/machines/{machine.pk.hex}/do/destroy', null)")
        expect(box.locator("button.crit")).to_be_disabled()
        box.locator("details[data-call] > summary").click()
        expect(box.locator("pre").first).to_contain_text(f"mist machines destroy {machine.pk.hex}")
        expect(box.locator("button.crit")).to_be_disabled()
        box.locator("#confirm").fill(machine.name)
        expect(box.locator("button.crit")).to_be_enabled()

    def test_a_button_is_asked_about_with_its_call(self, fleet: User, person: Callable[..., Person]) -> None:
        actor = actor_for(fleet.orgs.get(), fleet)
        perform(actor, Team, "create", {"name": "Night"})
        team = Team.objects.get(name="Night")
        page = person(fleet).page
        page.goto(f"/o/here/teams/{team.pk.hex}")
        page.get_by_role("button", name="Delete team").click()
        box = page.locator("#dialog")
        expect(box.get_by_role("heading", name="Delete team Night?")).to_be_visible()
        expect(box.get_by_role("button", name="Delete team")).to_be_disabled()
        box.get_by_text("Equivalent call").click()
        expect(box.locator("pre").first).to_have_text(f"mist teams delete {team.pk.hex}")
        page.keyboard.press("Escape")
        expect(page.get_by_role("button", name="Delete team")).to_be_focused()
        assert Team.objects.filter(pk=team.pk).exists()
        page.keyboard.press("Enter")
        box.locator("#confirm").fill("Night")
        box.get_by_role("button", name="Delete team").click()
        page.wait_for_url("**/o/here/teams")
        expect(page.get_by_text("Night deleted")).to_be_visible()

    def test_without_a_script_it_is_asked_on_a_page(self, fleet: User, person: Callable[..., Person]) -> None:
        actor = actor_for(fleet.orgs.get(), fleet)
        perform(actor, Team, "create", {"name": "Night"})
        team = Team.objects.get(name="Night")
        somebody = person(fleet, java_script_enabled=False)
        page = somebody.page
        page.goto(f"/o/here/teams/{team.pk.hex}")
        page.get_by_role("button", name="Delete team").click()
        expect(page.locator("pre").first).to_be_attached()
        page.locator("#confirm").fill("Nigth")
        page.keyboard.press("Enter")
        expect(page.get_by_text("This is not what was asked for. Nothing was done.")).to_be_visible()
        somebody.complaints = [text for text in somebody.complaints if "422" not in text]
        page.locator("#confirm").fill("Night")
        page.keyboard.press("Enter")
        expect(page.get_by_text("Night deleted")).to_be_visible()
