"""The console in another language: chosen, or as the browser asks; it fits a telephone, and nothing newly marked lacks its words."""

from __future__ import annotations

import re
from collections.abc import Callable
from gettext import GNUTranslations
from pathlib import Path

import pytest
from django.conf import settings
from django.test import Client
from django.utils import timezone, translation
from playwright.sync_api import expect

from accounts.models import Organization, User
from core.actions import actions_of, perform
from frontend import translations
from frontend.reasons import in_words
from machines.models import Machine
from tests.clouds.providers.hcl import comments
from tests.frontend.browsing import IN_A_BROWSER, Person
from tests.frontend.conftest import PASSWORD, Place, actor_for, machine
from tests.frontend.recorded import WIDEST
from tests.frontend.test_calls import texts
from tests.frontend.test_settings import PROFILE
from tests.frontend.test_terraform import cloud_of

# Texts of the .po that have no words yet: this number only falls. Who marks a text translates it, or takes another one from the heap.
LEFT = 0
PAGES = ["", "machines", "clouds", "clouds/new", "clouds/new/demo", "jobs", "log", "teams", "settings/profile", "settings/tokens"]
MORE = ["settings/organization", "settings/security", "machines/new", "palette", "shortcuts"]

translations.compile_all()


@pytest.fixture(autouse=True)
def in_no_language_afterwards() -> None:
    translation.deactivate()


def test_each_marked_text_is_in_each_catalog() -> None:
    texts = translations.marked()
    for path in translations.catalogs():
        catalog = translations.read(path)
        new = [f"{places[0]}: {text.single!r}" for text, places in texts.items() if catalog.get(text.key) is None]
        assert not new, f"{path}: run `manage.py translations update`, then translate:\n" + "\n".join(new)
        assert translations.empty(path) <= LEFT, f"{path}: `manage.py translations missing` says which texts have no words"


def test_translations_fill_the_same_places() -> None:
    places = re.compile(r"%\(\w+\)[sd]|\{\w*\}")
    for path in translations.catalogs():
        for message in translations.read(path):
            one = message.id if isinstance(message.id, str) else message.id[-1] if message.id else ""
            said = message.string if isinstance(message.string, str) else message.string[-1]
            if one and said:
                assert sorted(places.findall(one)) == sorted(places.findall(said)), (path, one, said)


def test_a_text_without_words_stays_english(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a plural, too: it would be nothing at all."""
    path = tmp_path / "de" / "LC_MESSAGES" / "django.po"
    path.parent.mkdir(parents=True)
    plural = 'msgid "%(n)d key"\nmsgid_plural "%(n)d keys"\nmsgstr[0] "%(n)d Schlüssel"\nmsgstr[1] ""\n'
    path.write_text(f'msgid ""\nmsgstr "Plural-Forms: nplurals=2; plural=(n != 1);\\n"\n\n{plural}\nmsgid "Team"\nmsgstr "Mannschaft"\n')
    monkeypatch.setattr(settings, "LOCALE_PATHS", [tmp_path])
    translations.compile_all()
    with path.with_suffix(".mo").open("rb") as file:
        found = GNUTranslations(file)
    assert found.gettext("Team") == "Mannschaft"
    assert found.ngettext("%(n)d key", "%(n)d keys", 2) == "%(n)d keys"


def test_the_comments_of_a_terraform_text_are_in_it(place: Place) -> None:
    _cloud, typed = cloud_of(place.org, "kvm")
    answer = place.admin.post(f"{place.base}/machines/new/plan", {**typed, "network": ""}, headers={"Accept-Language": "de"})
    said = comments(texts(answer.content.decode())["Terraform"])
    assert said[0] == "Es geht an KVM, nicht durch Mist."
    assert any("Kein Netz wurde gewählt" in line for line in said)


def test_the_sign_in_page_speaks_as_the_browser_asks(db: None) -> None:
    page = Client().get("/sign-in", headers={"Accept-Language": "de-AT,de;q=0.9,en;q=0.5"})
    assert "Ein Ort für jede Maschine." in page.content.decode()
    assert '<html lang="de"' in page.content.decode()
    assert page["Content-Language"] == "de"
    assert "Accept-Language" in page["Vary"]
    assert "One place for every machine." in Client().get("/sign-in", headers={"Accept-Language": "fr"}).content.decode()


def test_ones_own_choice_comes_before_the_organizations_and_the_browsers(place: Place) -> None:
    def heading() -> str:
        found = re.search(r"<h1>([^<]+)</h1>", place.admin.get(f"{place.base}/", headers={"Accept-Language": "de"}).content.decode())
        assert found
        return found[1]

    assert heading() == "Übersicht"
    Organization.objects.filter(pk=place.org.pk).update(language="en")
    assert heading() == "Dashboard"
    assert place.admin.post(f"{place.base}/settings/profile", {**PROFILE, "language": "de"}).status_code == 302
    assert heading() == "Übersicht"


def test_the_api_speaks_english_to_everybody(place: Place) -> None:
    User.objects.filter(pk=place.owner.pk).update(settings={"language": "de"})
    wrong = place.admin.post(
        "/api/v2/teams", {"name": ""}, content_type="application/json", headers={"Accept-Language": "de", "X-Org": place.org.pk.hex}
    )
    assert "This field may not be blank." in str(wrong.json())


def test_errors_of_forms_are_in_the_language_of_the_page(place: Place) -> None:
    User.objects.filter(pk=place.owner.pk).update(settings={"language": "de"})
    body = place.admin.post(f"{place.base}/clouds/new/demo", {"name": "", "c-machines": "3"}).content.decode()
    assert "Die Cloud wurde nicht hinzugefügt." in body
    assert "Dieses Feld darf nicht leer sein." in body


def test_why_a_machine_cannot_be_acted_on_is_said_in_the_viewers_language(place: Place) -> None:
    one = machine()
    said = set()
    for state in (*Machine.State.values, "terminated"):
        one.state = state
        said |= {why for action in actions_of(Machine) if (why := action.reason(one))}
    one.missing_since = timezone.now()
    said |= {why for action in actions_of(Machine) if (why := action.reason(one))}
    assert len(said) > 5
    with translation.override("de"):
        assert [why for why in said if in_words(why) == why] == []
    with translation.override("en"):
        assert in_words("It is stopped.") == "It is stopped."


def test_what_a_provider_says_on_its_forms_is_translated_and_its_own_names_are_not(place: Place) -> None:
    german = {"Accept-Language": "de"}

    def page(path: str) -> str:
        return str(place.admin.get(f"{place.base}/{path}", headers=german).content.decode())

    aws = page("clouds/new/amazon")
    assert "Geheimer Zugriffsschlüssel" in aws
    assert "Legen Sie in der AWS-Konsole unter IAM" in aws
    assert "Europe (Frankfurt)" in aws
    assert "Container dürfen Ordner und Netz des Hosts benutzen" in page("clouds/new/docker")
    asked = {"name": "d", "c-machines": "3", "_check": "1"}
    checked = place.admin.post(f"{place.base}/clouds/new/demo", asked, headers=german).content.decode()
    assert "Jede Demo-Maschine sehen und ändern" in checked


class TestInABrowser:
    pytestmark = IN_A_BROWSER

    def test_german_fits_a_telephone_and_stays_german_when_rows_change(self, fleet: User, person: Callable[..., Person]) -> None:
        one = person(locale="de-DE")
        page = one.page
        page.goto("/sign-in")
        page.get_by_label("E-Mail").fill(fleet.email)
        page.get_by_label("Passwort").fill(PASSWORD)
        page.get_by_role("button", name="Anmelden").click()
        page.wait_for_url("**/o/here/")
        page.set_viewport_size({"width": 390, "height": 844})
        a_machine = machine(state="running")
        wide = {}
        for path in [*PAGES, *MORE, f"machines/{a_machine.pk.hex}", f"machines/{a_machine.pk.hex}/log"]:
            page.goto(f"/o/here/{path}")
            expect(page.locator("html")).to_have_attribute("lang", "de")
            if page.evaluate("Math.max(document.documentElement.scrollWidth, document.querySelector('main').scrollWidth)") > 390:
                wide[path] = page.evaluate(WIDEST)
        assert not wide
        page.set_viewport_size({"width": 1440, "height": 900})
        page.goto("/o/here/")
        one.be_live()
        expect(page.locator("#dash-figures, .kpis").first).to_contain_text(
            "Maschinen"
        )  # nobody chose a language: the socket speaks the page's
        perform(actor_for(fleet.orgs.get(), fleet), a_machine, "set_owner", {"owner": fleet.pk.hex})
        expect(page.locator("#dash-activity")).to_contain_text("hat den Eigentümer von")
