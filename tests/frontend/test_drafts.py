"""Drafts of the long forms: each comes back, says when it is old, is one's own, holds no secret of a cloud, and goes once it was sent."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Request, expect

from accounts import drafts
from accounts.models import Draft, Team, User
from clouds.models import Cloud
from clouds.providers import all_providers
from core import vault
from core.actions import perform
from core.models import VaultEntry
from frontend.views.drafts import A_SCRIPT
from machines.models import Machine, Preset
from scripts.content import MOST_FILE_BYTES
from scripts.models import Script
from tests.frontend.browsing import IN_A_BROWSER, Person, wait
from tests.frontend.conftest import Place, actor_for, make_org

TEXT = "#!/bin/sh\necho half\n"


def kept(place: Place, form: str) -> str | None:
    found = drafts.find(place.actor, form)
    return found.data if found else None


def keep(place: Place, form: str, data: dict[str, str]) -> int:
    return int(place.admin.post(f"{place.base}/drafts/{form}", data).status_code)


def script(place: Place) -> Script:
    perform(place.actor, Script, "create", {"name": "nightly", "exec_type": "executable", "location_type": "inline", "script": TEXT})
    return Script.objects.get()


def read(place: Place, path: str) -> str:
    answer = place.admin.get(f"{place.base}/{path}")
    assert answer.status_code == 200
    return str(answer.content.decode())


def test_of_a_new_script_it_comes_back_whole_and_goes_when_it_is_added(place: Place) -> None:
    typed = {"name": "rotate", "exec_type": "executable", "location_type": "inline", "script": "#!/bin/sh\necho <half>\n"}
    typed |= {"parameters-0-name": "where", "parameters-0-type": "choice", "parameters-0-via": "option", "parameters-0-choices": "a, b"}
    assert keep(place, "script.create", typed) == 204
    page = read(place, "scripts/new")
    for text in ("Your draft", 'value="rotate"', "echo &lt;half&gt;", 'value="a, b"', f'data-draft="{place.base}/drafts/script.create"'):
        assert text in page, text
    begun = read(place, "scripts/new?sample=restart-service")
    assert "You have a draft" in begun and "Begin anew" in begun
    assert "echo &lt;half&gt;" not in begun, "a sample was asked for"
    assert "data-draft=" not in begun, "what is typed there does not take the draft's place"
    wrong = place.admin.post(f"{place.base}/scripts/new", {**typed, "name": ""})
    assert wrong.status_code == 422
    assert f'data-draft="{place.base}/drafts/script.create"' in wrong.content.decode()
    assert kept(place, "script.create")
    assert place.admin.post(f"{place.base}/scripts/new", typed).status_code == 302
    assert kept(place, "script.create") is None


def test_of_an_edit_it_says_when_it_is_older_than_what_is_saved_and_offers_both(place: Place) -> None:
    one = script(place)
    here, form = f"scripts/{one.pk.hex}", f"script.edit:{one.pk.hex}"
    typed = {"name": "nightly", "script": "#!/bin/sh\necho mine\n", "based_on": "1"}
    assert keep(place, form, typed) == 204
    page = read(place, here)
    assert "echo mine" in page
    assert "Your draft" in page and "It was changed since" not in page
    perform(place.actor, one, "edit", {"script": "#!/bin/sh\necho theirs\n"})
    page = read(place, here)
    assert "echo mine" in page and "echo theirs" not in page
    assert "It was changed since" in page
    assert 'name="based_on" value="1"' in page, "saving it unseen is a conflict, as without a draft"
    saved = read(place, f"{here}?saved=1")
    assert "echo theirs" in saved and "echo mine" not in saved
    assert "data-draft=" not in saved, "what is typed there does not take the draft's place"
    assert 'name="_aside"' in saved
    aside = {"name": "nightly", "script": "#!/bin/sh\necho more\n", "based_on": "2", "_aside": "1"}
    assert place.admin.post(f"{place.base}/{here}", aside).status_code == 302
    assert kept(place, form), "it was put aside, not sent"
    assert "version 3" in place.admin.post(f"{place.base}/{here}", typed).content.decode()
    assert place.admin.post(f"{place.base}/{here}", typed | {"based_on": "3"}).status_code == 302
    assert kept(place, form) is None


def test_a_script_of_the_longest_fits_and_nothing_longer(place: Place) -> None:
    assert keep(place, "script.create", {"name": "x", "script": "é" * (MOST_FILE_BYTES // 2)}) == 204
    assert keep(place, "script.create", {"name": "x", "script": "é" * (A_SCRIPT // 6)}) == 422


def test_of_a_policy_it_comes_back_and_says_when_the_policy_is_another(place: Place) -> None:
    team = Team.objects.create(org=place.org, name="Web", statements=[{"effect": "allow", "verbs": ["*.read"], "what": {}}])
    here, form = f"teams/{team.pk.hex}/policy", f"team.set_policy:{team.pk.hex}"
    based_on = re.search(r'name="based_on" value="(\w+)"', read(place, here))
    assert based_on
    row = {"s-0-effect": "allow", "s-0-verbs": "machine.stop", "s-0-what": "tag:env=half", "based_on": based_on[1]}
    assert keep(place, form, row) == 204
    page = read(place, here)
    assert "tag:env=half" in page
    assert "Your draft" in page and "It was changed since" not in page
    begun = read(place, f"{here}?preset=read")
    assert "You have a draft" in begun and "data-draft=" not in begun
    assert "tag:env=half" not in begun, "a preset was asked for"
    perform(place.actor, team, "set_policy", {"statements": [{"effect": "allow", "verbs": ["machine.*"], "what": {}}]})
    assert "It was changed since" in read(place, here)
    saved = read(place, f"{here}?saved=1")
    assert "tag:env=half" not in saved and "machine.*" in saved
    shown = place.admin.post(f"{place.base}/{here}", {**row, "preview": "1"}).content.decode()
    seen = re.search(r'name="seen" value="(\w+)"', shown)
    assert seen
    assert kept(place, form), "it was only shown"
    assert place.admin.post(f"{place.base}/{here}", {**row, "seen": seen[1], "save": "1"}).status_code == 302
    assert kept(place, form) is None


def test_of_a_new_cloud_no_secret_is_kept_nor_what_nobody_knows(place: Place) -> None:
    typed = {"name": "half", "c-apikey": "AKIA-half", "c-apisecret": "very-secret-text", "c-region": "eu-west-1", "c-other": "unknown-text"}
    assert keep(place, "cloud.create:amazon", typed) == 204
    row = VaultEntry.objects.get(pk=Draft.objects.get().vault_id)
    data = str(vault.read(row.pk)["data"])
    assert "AKIA-half" in data and "half" in data
    assert "very-secret-text" not in data and "unknown-text" not in data
    assert b"very-secret-text" not in bytes(row.ciphertext)
    page = read(place, "clouds/new/amazon")
    assert 'value="half"' in page and 'value="AKIA-half"' in page
    assert "What is secret was not kept" in page
    assert "Your draft" not in read(place, "clouds/new/demo"), "each provider has its own"


def test_of_no_provider_a_secret_is_kept(place: Place) -> None:
    asked = 0
    for name, provider in all_providers().items():
        secret = [f"c-{spec.name}" for spec in provider.credential_fields if spec.secret]
        lists = [spec for spec in provider.credential_fields if spec.kind == "list"]
        secret += [f"c-{spec.name}-0-{inner.name}" for spec in lists for inner in spec.fields if inner.secret]
        asked += len(secret)
        assert keep(place, f"cloud.create:{name}", {"name": "half", **dict.fromkeys(secret, "very-secret-text")}) == 204
        assert kept(place, f"cloud.create:{name}") == "name=half"
    assert asked >= 5


def test_a_cloud_that_was_added_has_no_draft_any_more(place: Place) -> None:
    typed = {"name": "second", "c-machines": "3"}
    assert keep(place, "cloud.create:demo", typed) == 204
    assert 'value="second"' in read(place, "clouds/new/demo")
    assert place.admin.post(f"{place.base}/clouds/new/demo", typed).status_code == 302
    assert Cloud.objects.filter(name="second").exists()
    assert kept(place, "cloud.create:demo") is None


@pytest.mark.parametrize("how", ["preset", "copy", "cloud"])
def test_to_begin_from_something_else_asks_what_becomes_of_the_draft(place: Place, how: str) -> None:
    machine = Machine.objects.filter(type="vm").first()
    assert machine is not None
    asked = {"name": "p", "cloud": place.cloud.pk.hex, "params": {"name": "preset-1"}, "quantity": 1}
    preset = perform(place.actor, Preset, "create", asked)
    perform(place.actor, Cloud, "create", {"name": "two", "provider": "demo", "credentials": {"machines": 1, "seed": 1}})
    two = Cloud.objects.get(name="two")
    wanted = {"preset": preset.target_id, "copy": machine.pk, "cloud": two.pk}[how]
    assert wanted is not None
    at = f"machines/new?{how}={wanted.hex}"
    assert "You have a draft" not in read(place, at)
    assert keep(place, "machine.create", {"cloud": place.cloud.pk.hex, "name": "half-typed"}) == 204
    page = read(place, at)
    assert "You have a draft" in page and "half-typed" not in page
    assert 'name="_aside" value="begins"' in page and "data-draft=" not in page
    wrong = place.admin.post(f"{place.base}/machines/new", {"cloud": two.pk.hex, "name": "", "_aside": "begins"})
    assert wrong.status_code == 422
    assert "You have a draft" in wrong.content.decode() and "data-draft=" not in wrong.content.decode()
    assert kept(place, "machine.create")
    here = f"{place.base}/{at}"
    anew = place.admin.post(f"{place.base}/drafts/machine.create", {"_discard": "1"}, headers={"Referer": f"http://testserver{here}"})
    assert anew["Location"] == here, "and what it begins from is there again"
    assert "data-draft=" in read(place, at)
    assert kept(place, "machine.create") is None


def test_a_new_secret_has_no_draft_its_values_are_secrets(place: Place) -> None:
    assert "data-draft" not in read(place, "keys/secrets/new")
    for form in (
        "secret.create",
        "secret.edit",
        "script.edit",
        "cloud.create",
        "cloud.create:nobody",
        "team.set_policy:x",
        "script.create:x",
    ):
        assert keep(place, form, {"name": "x", "values-0-value": "very-secret-text"}) == 404, form
    assert not Draft.objects.exists()


def test_what_is_another_organizations_has_no_draft_and_a_draft_is_ones_own(place: Place) -> None:
    one = script(place)
    form = f"script.edit:{one.pk.hex}"
    assert keep(place, form, {"script": "mine-alone", "based_on": "1"}) == 204
    assert place.stranger.post(f"/o/elsewhere/drafts/{form}", {"script": "x"}).status_code == 404
    assert place.stranger.post(f"{place.base}/drafts/{form}", {"script": "x"}).status_code == 404
    assert place.nobody.post(f"{place.base}/drafts/{form}", {"script": "x"}).status_code == 404
    org, other = make_org("third")
    assert drafts.find(actor_for(org, other), form) is None
    assert "mine-alone" in str(kept(place, form))
    colleague = User.objects.create_user("second@here.example", "x")
    assert drafts.find(actor_for(place.org, colleague), form) is None


def test_of_many_drafts_the_oldest_goes(place: Place) -> None:
    for number in range(drafts.MOST + 2):
        drafts.keep(place.actor, f"script.edit:{number}", "x=1")
    assert Draft.objects.count() == drafts.MOST == VaultEntry.objects.filter(purpose="draft").count()
    assert kept(place, "script.edit:0") is None
    assert kept(place, f"script.edit:{drafts.MOST + 1}")


class TestInABrowser:
    pytestmark = IN_A_BROWSER

    def test_what_is_typed_in_the_editor_is_kept_and_discarded(self, fleet: User, person: Callable[..., Person]) -> None:
        actor = actor_for(fleet.orgs.get(), fleet)
        perform(actor, Script, "create", {"name": "nightly", "exec_type": "executable", "location_type": "inline", "script": TEXT})
        one = Script.objects.get(name="nightly")
        page = person(fleet).page
        page.on("dialog", lambda dialog: dialog.accept())
        page.goto(f"/o/here/scripts/{one.pk.hex}")
        page.locator(".cm-content").click()
        page.keyboard.press("Control+End")
        page.keyboard.type("echo typed")
        expect(page.locator("[data-draft-note]")).to_contain_text("Draft saved")
        page.goto(f"/o/here/scripts/{one.pk.hex}")
        expect(page.locator(".cm-content")).to_contain_text("echo typed")
        page.get_by_role("button", name="Discard it").click()
        expect(page.locator(".cm-content")).not_to_contain_text("echo typed")
        expect(page.locator(".cm-content")).to_contain_text("echo half")
        assert drafts.find(actor, f"script.edit:{one.pk.hex}") is None

    def test_a_save_that_comes_after_its_form_brings_nothing_back(self, fleet: User, person: Callable[..., Person]) -> None:
        actor = actor_for(fleet.orgs.get(), fleet)
        page = person(fleet).page
        held: list[Request] = []
        page.route("**/drafts/**", lambda route: held.append(route.request))  # on its way, for long
        page.goto("/o/here/scripts/new")
        page.get_by_label("Name", exact=True).first.fill("late")
        wait(lambda: page.evaluate("1") == 1 and bool(held), 10)
        page.get_by_role("button", name="Add script").last.click()
        page.wait_for_url(re.compile(r"/scripts/[0-9a-f]{32}"))
        assert drafts.find(actor, "script.create") is None
        sent, body = held[0], held[0].post_data_buffer
        assert body is not None and b"late" in body
        headers = {name: value for name, value in sent.headers.items() if name in ("content-type", "referer")}
        late = page.request.post(sent.url, data=body, headers=headers)
        assert (late.status, "Open it anew" in late.text()) == (409, True)
        assert drafts.find(actor, "script.create") is None
        page.unroute("**/drafts/**")
        page.goto("/o/here/scripts/new")
        expect(page.get_by_text("Your draft")).to_have_count(0)
        page.get_by_label("Name", exact=True).first.fill("another")
        expect(page.locator("[data-draft-note]")).to_contain_text("Draft saved")

    def test_the_draft_is_taken_or_it_is_begun_anew(self, fleet: User, person: Callable[..., Person]) -> None:
        actor = actor_for(fleet.orgs.get(), fleet)
        drafts.keep(actor, "script.create", "name=half&script=echo+half")
        page = person(fleet).page
        page.goto("/o/here/scripts/new?sample=restart-service")
        page.get_by_role("link", name="Take the draft").click()
        expect(page.locator(".cm-content")).to_contain_text("echo half")
        page.goto("/o/here/scripts/new?sample=restart-service")
        page.get_by_role("button", name="Begin anew").click()
        expect(page.get_by_role("button", name="Begin anew")).to_have_count(0)
        expect(page.get_by_label("Name", exact=True).first).to_have_value("restart-service")
        assert drafts.find(actor, "script.create") is None

    def test_a_secret_that_is_typed_is_not_even_sent(self, fleet: User, person: Callable[..., Person]) -> None:
        page = person(fleet).page
        page.on("dialog", lambda dialog: dialog.accept())
        sent: list[str] = []
        page.on("request", lambda request: sent.append(request.post_data or "") if "/drafts/" in request.url else None)
        page.goto("/o/here/clouds/new/docker")
        page.locator("textarea[data-secret]").first.fill("very-secret-text")
        page.locator("#add-cloud input[name=name]").fill("half")
        expect(page.locator("[data-draft-note]")).to_contain_text("Draft saved")
        assert sent and not [body for body in sent if "very-secret-text" in body]
