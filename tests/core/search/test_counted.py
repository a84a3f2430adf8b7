"""The values that the query bar offers are those of rows one may see, with how many rows have each."""

from __future__ import annotations

import pytest

from accounts.models import Membership, Organization, Team, User
from clouds.models import Cloud, Location
from core.actor import Actor
from core.search import complete, context_of, counted, lookup_in
from machines.models import Machine

pytestmark = pytest.mark.django_db


@pytest.fixture
def org() -> Organization:
    org = Organization.objects.create(name="Here", slug="here")
    aws = Cloud.objects.create(org=org, name="aws", provider="docker")
    lab = Cloud.objects.create(org=org, name="Lab 100%", provider="other")
    place = Location.objects.create(org=org, cloud=aws, name="eu-west", external_id="eu")
    for number in range(5):
        tags = {"env": "prod" if number else "dev", "a=b": "c,d"}
        Machine.objects.create(
            org=org, cloud=aws, name=f"web {number}", external_id=f"w{number}", state="running", location=place, tags=tags
        )
    Machine.objects.create(org=org, cloud=lab, name="db", external_id="db", state="stopped", tags={"env": "", "x": "prod"})
    elsewhere = Organization.objects.create(name="Elsewhere", slug="elsewhere")
    theirs = Cloud.objects.create(org=elsewhere, name="aws secret", provider="docker")
    Machine.objects.create(org=elsewhere, cloud=theirs, name="web secret", external_id="s", state="error", tags={"env": "secret"})
    return org


def member(org: Organization, statements: list[dict[str, object]] | None) -> Actor:
    """Somebody with these statements; None: an owner."""
    user = User.objects.create_user("ana@example.org", "secret-secret")
    Membership.objects.create(org=org, user=user)
    Team.objects.create(org=org, name="Theirs", is_owners=statements is None, statements=statements or []).members.add(user)
    return Actor(org_id=org.pk, user_id=user.pk)


def offered(actor: Actor, text: str) -> dict[str, int | None]:
    """{what the bar would read: count}."""
    context = context_of(actor)
    lookup = lookup_in(Machine.objects.visible_to(actor), Machine.search, context)
    found = complete(text, len(text), Machine.search, context, lookup)
    return {text[: one.start] + one.insert: one.count for one in found if one.count is not None}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("state:ru", {"state:running": 5}),
        ("cloud:", {"cloud:aws": 5, 'cloud:"Lab 100%"': 1}),
        ("cloud:la", {'cloud:"Lab 100%"': 1}),
        ("provider:do", {"provider:docker": 5}),
        ("location:eu", {"location:eu-west": 5}),
        ("location:e", {}),
        ("tag:en", {"tag:env=prod": 4, "tag:env=dev": 1, "tag:env": 1}),
        ("tag:env=pr", {"tag:env=prod": 4}),
        ("tag:PROD", {"tag:env=prod": 4, "tag:x=prod": 1}),
        ("tag:a=", {r'tag:"a\\=b=c,d"': 5}),
        ("name:we", {'name:"web 0"': 1, 'name:"web 1"': 1, 'name:"web 2"': 1, 'name:"web 3"': 1, 'name:"web 4"': 1}),
        ("cores:12", {}),
        ("tag:%", {}),
    ],
)
def test_values_come_with_how_many_rows_have_them(org: Organization, text: str, found: dict[str, int]) -> None:
    assert offered(member(org, None), text) == found


def test_what_is_offered_finds_as_many_as_it_said(org: Organization) -> None:
    actor = member(org, None)
    for text in ("state:", "cloud:", "tag:en", "tag:a=", "name:we", "location:eu"):
        for search, count in offered(actor, text).items():
            if search != "tag:env":  # finds every value of the key
                assert Machine.objects.visible_to(actor).filter(Machine.search_q(search, actor)).count() == count, search


def test_only_what_one_may_see_is_counted(org: Organization) -> None:
    dev = [{"effect": "allow", "verbs": ["machine.read"], "what": {"tags": {"env": "dev"}}}]
    actor = member(org, dev)
    assert offered(actor, "state:ru") == {"state:running": 1}
    assert offered(actor, "tag:en") == {"tag:env=dev": 1}
    assert offered(actor, "cloud:") == {}  # no word of a cloud that may not be read


def test_nobody_is_offered_values_without_rights(org: Organization) -> None:
    actor = member(org, [])
    for text in ("state:", "tag:en", "name:we", "cloud:", "provider:do"):
        assert offered(actor, text) == {}, text


def test_where_not_all_rows_were_looked_at_the_count_says_so(org: Organization, monkeypatch: pytest.MonkeyPatch) -> None:
    actor = member(org, None)
    monkeypatch.setattr(counted, "SAMPLE", 3)
    context = context_of(actor)
    found = complete("tag:en", 6, Machine.search, context, lookup_in(Machine.objects.visible_to(actor), Machine.search, context))
    assert found and all(one.at_least for one in found)
    assert sum(one.count or 0 for one in found) == 3
