"""Organizations, members, teams, policies, invitations, views and shares over HTTP."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.core import mail
from django.db import connection
from django.test import Client
from django.utils import timezone

from accounts import people
from accounts.models import Invitation, Membership, Organization, Team, Token, User, View
from core import chain, personal
from core.models import Event
from keys.models import Key
from machines.models import Machine
from tests.accounts.conftest import PASSWORD, allow, deny, make_member, make_org
from tests.accounts.test_auth_api import send

pytestmark = pytest.mark.django_db


def client_of(user: User) -> Client:
    client = Client()
    client.force_login(user, backend=people.BACKEND)
    return client


@pytest.fixture
def me(owner: User) -> Client:
    return client_of(owner)


def data(answer: Any) -> Any:
    assert answer.status_code == 200, answer.content
    return answer.json()["data"]


def code(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def test_an_organization_is_made_owned_and_renamed(me: Client, owner: User) -> None:
    made = data(send(me, "POST", "/orgs", {"name": "Zwölf <b>Äpfel</b> 🍎"}))
    assert made["slug"] == "zw-lf-b-pfel-b"
    assert Team.objects.get(org_id=made["id"], is_owners=True).members.get() == owner
    data(send(me, "PATCH", f"/orgs/{made['id']}", {"description": "x"}))
    assert {one["slug"] for one in data(send(me, "GET", "/orgs"))} == {"here", made["slug"]}
    assert data(send(me, "GET", f"/orgs/{made['id']}?summary=true"))["resources"]["machine"] == 0
    assert Event.objects.filter(org_id=made["id"], type="org.create.succeeded").exists()


@pytest.mark.parametrize("name", ["", " ", "a\x00b", "x" * 101, "line\x1bbreak", None, ["a"]])
def test_a_name_that_breaks_things_is_refused(me: Client, name: Any) -> None:
    for path in ("/orgs", "/teams"):
        answer = send(me, "POST", path, {"name": name})
        assert answer.status_code == 422, answer.content
        assert "name" in answer.json()["fields"]


def test_a_strangers_organization_is_not_found(me: Client) -> None:
    there = make_org("there")
    make_member(there, "stranger@example.org", owner=True)
    team = Team.objects.create(org=there, name="secret team")
    pk = there.pk.hex
    for method, path in (
        ("GET", f"/orgs/{pk}"),
        ("PATCH", f"/orgs/{pk}"),
        ("GET", f"/orgs/{pk}/members"),
        ("GET", f"/orgs/{pk}/teams"),
        ("GET", f"/teams/{team.pk.hex}"),
        ("PATCH", f"/teams/{team.pk.hex}"),
        ("DELETE", f"/teams/{team.pk.hex}"),
        ("PUT", f"/policies/{team.pk.hex}"),
        ("POST", f"/teams/{team.pk.hex}/actions/add-member"),
        ("GET", "/users/stranger@example.org"),
    ):
        assert code(send(me, method, path, {"name": "x", "statements": []})) == (404, "not_found"), path
    assert code(send(me, "POST", "/policies/preview", {"team": team.pk.hex, "statements": []})) == (422, "not_found")


def test_members_are_listed_found_and_removed_with_an_heir(me: Client, org: Organization, owner: User) -> None:
    other = make_member(org, "other@example.org", allow("*.read"))
    key = Key.objects.create(org=org, name="k", public="", fingerprint="", algorithm="", owner=other)
    Token.objects.create(org=org, name="t", owner=other, digest="0" * 64, hint="mist_0000")
    assert {one["email"] for one in data(send(me, "GET", "/orgs/here/members"))} == {"owner@example.org", "other@example.org"}
    assert data(send(me, "GET", "/orgs/here/members/other@example.org"))["id"] == other.pk.hex
    assert data(send(me, "GET", "/users?search=email:other"))[0]["id"] == other.pk.hex
    answer = data(send(me, "DELETE", f"/orgs/here/members/{other.pk.hex}", {"heir": owner.email}))
    assert answer["result"] == {"passed_on": 1}
    key.refresh_from_db()
    assert key.owner == owner
    assert Token.objects.get().revoked_at is not None
    assert not Membership.objects.filter(user=other).exists()
    assert not Team.objects.filter(members=other).exists()


def test_a_member_removes_themselves_and_nobody_else(org: Organization, owner: User) -> None:
    other = make_member(org, "other@example.org")
    client = client_of(other)
    assert code(send(client, "DELETE", f"/orgs/here/members/{owner.pk.hex}"))[0] in (403, 409)
    data(send(client, "DELETE", f"/orgs/here/members/{other.pk.hex}"))
    assert data(send(client, "GET", "/orgs")) == []


def test_ownership_passes_on(me: Client, org: Organization, owner: User) -> None:
    other = make_member(org, "other@example.org")
    data(send(me, "POST", "/orgs/here/transfer", {"user": other.email}))
    assert list(Team.objects.get(org=org, is_owners=True).members.all()) == [other]
    assert code(send(me, "POST", "/orgs/here/transfer", {"user": owner.email}))[0] == 403


def test_teams_are_made_filled_and_given_a_policy(me: Client, org: Organization, rows: Any) -> None:
    other = make_member(org, "other@example.org")
    team = data(send(me, "POST", "/teams", {"name": "web"}))
    data(send(me, "POST", f"/teams/{team['id']}/actions/add-member", {"user": other.email}))
    statements = [allow("machine.read", "machine.stop", tags={"env": "prod"}), deny("machine.stop", tags=["team=red"])]
    policy = data(send(me, "PUT", "/policies/web", {"statements": statements}))
    assert policy["statements"][0]["sentence"] == "May read, stop machine, tagged env=prod."
    shown = data(send(me, "GET", "/teams/web"))
    assert (shown["members"], shown["members_count"]) == ([other.pk.hex], 1)
    theirs = client_of(other)
    assert {one["name"] for one in data(send(theirs, "GET", "/machines"))} == {"m1", "m4", "m7", "m10"}
    asked = data(send(theirs, "GET", f"/policies/explain?verb=machine.stop&id={rows[Machine][4].pk.hex}"))
    assert (asked["allowed"], asked["team"], asked["statement"]) == (False, "web", 2)
    able = data(send(me, "GET", f"/policies/who?verb=machine.stop&id={rows[Machine][1].pk.hex}"))
    assert [one["user"] for one in able] == ["other@example.org", "owner@example.org"]
    changes = data(send(me, "POST", "/policies/preview", {"team": "web", "statements": []}))["changes"]
    assert {verb for one in changes[0]["loses"] for verb in one["verbs"]} >= {"machine.read", "machine.stop"}
    assert code(send(me, "PUT", "/policies/web", {"statements": [allow("machine.fly")]})) == (422, "bad_statement")
    data(send(me, "POST", f"/teams/{team['id']}/actions/remove-member", {"user": other.email}))
    assert data(send(theirs, "GET", "/machines")) == []


def test_explaining_nothing_says_what_to_ask(me: Client, rows: dict[type[Any], list[Any]]) -> None:
    for query, field, words in (
        ("", "verb", "/policies/verbs lists them"),
        ("?verb=machine.stpo&id=m1", "verb", "Did you mean machine.stop?"),
        ("?verb=machine.stop", "id", "Say which machine"),
    ):
        answer = send(me, "GET", f"/policies/explain{query}")
        assert answer.status_code == 422
        assert words in answer.json()["fields"][field][0]


def test_the_owners_team_is_permanent(me: Client, owner: User) -> None:
    assert code(send(me, "DELETE", "/teams/Owners")) == (409, "owners_permanent")
    assert code(send(me, "PATCH", "/teams/Owners", {"name": "x"})) == (409, "owners_permanent")
    assert code(send(me, "PUT", "/policies/Owners", {"statements": []})) == (409, "owners_permanent")
    assert code(send(me, "POST", "/teams/Owners/actions/remove-member", {"user": owner.email})) == (409, "last_owner")


def test_who_may_do_anything_with_teams_is_still_no_owner(org: Organization, owner: User) -> None:
    deputy = make_member(org, "deputy@example.org", allow("*"))
    client = client_of(deputy)
    team = data(send(client, "POST", "/teams", {"name": "mine"}))
    for answer in (
        send(client, "PUT", "/policies/mine", {"statements": [allow("*")]}),
        send(client, "POST", f"/teams/{team['id']}/actions/add-member", {"user": deputy.email}),
        send(client, "POST", "/teams/Owners/actions/add-member", {"user": deputy.email}),
        send(client, "POST", "/teams/Owners/actions/remove-member", {"user": owner.email}),
        send(client, "POST", "/invitations", {"email": "x@example.org", "teams": ["Owners"]}),
        send(client, "DELETE", f"/orgs/here/members/{owner.pk.hex}"),
    ):
        assert answer.status_code in (403, 409), answer.content
    assert Team.objects.get(org=org, is_owners=True).members.get() == owner


def test_a_member_without_rights_finds_no_teams_and_makes_none(org: Organization, owner: User) -> None:
    client = client_of(make_member(org, "plain@example.org"))
    assert data(send(client, "GET", "/teams")) == []
    assert send(client, "GET", "/teams/Owners").status_code == 404
    for path, body in (("/teams", {"name": "x"}), ("/invitations", {"email": "x@example.org"})):
        assert code(send(client, "POST", path, body))[0] == 403
    assert code(send(client, "PATCH", "/orgs/here", {"name": "mine"}))[0] == 403
    assert code(send(client, "GET", f"/policies/who?verb=machine.stop&id={'0' * 32}"))[0] == 403


def invite(me: Client, email: str = "new@example.org", **extra: Any) -> tuple[dict[str, Any], str]:
    made = data(send(me, "POST", "/invitations", {"email": email, **extra}))
    return made, made["link"].removeprefix("http://localhost:8000")


def test_an_invitation_is_mailed_and_makes_an_account(me: Client, org: Organization) -> None:
    team = Team.objects.create(org=org, name="web", statements=[allow("machine.read")])
    made, path = invite(me, teams=["web"])
    assert made["mail_sent"] is True
    assert made["link"] in mail.outbox[0].body
    everything = json.dumps(list(Event.objects.values("before", "after", "detail")), default=str)
    assert path.rsplit("/", 1)[1] not in everything
    visitor = Client()
    assert visitor.get(path).status_code == 200
    assert visitor.post(path, {"password": "short"}).status_code == 422
    assert visitor.post(path, {"password": PASSWORD, "first_name": "Ná"}).status_code == 302
    user = User.objects.get(email="new@example.org")
    assert team.members.get() == user
    assert data(send(visitor, "GET", "/auth"))["org"] == org.pk.hex
    assert Event.objects.filter(org_id=org.pk, type="invitation.accept.succeeded").exists()
    assert visitor.get(path).status_code == 404


def test_the_log_of_an_invitation_can_forget_whom_it_was_for(me: Client, org: Organization) -> None:
    invite(me, "gone@example.org")
    invitation = Invitation.objects.get(email="gone@example.org")
    send(me, "DELETE", f"/invitations/{invitation.pk.hex}")
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM core_event e WHERE to_jsonb(e)::text ~ 'gone@'")
        assert cursor.fetchone()[0] == 0
        cursor.execute("SELECT count(*) FROM core_job j WHERE to_jsonb(j)::text ~ 'gone@'")
        assert cursor.fetchone()[0] == 0
    told = data(send(me, "GET", "/events?search=kind:invitation"))
    assert [(row["type"], row["target_name"]) for row in told] == [
        ("invitation.delete.succeeded", "gone@example.org"),
        ("invitation.create.succeeded", "gone@example.org"),
    ]
    assert {row["email"] for row in told} == {"owner@example.org"}
    chain.seal()
    personal.erase(None, "gone@example.org")
    told = data(send(me, "GET", "/events?search=kind:invitation"))
    assert {(row["target_name"], row["email"]) for row in told} == {("invitation", "owner@example.org")}
    assert not chain.verify(org.pk).findings


def test_an_invitation_is_accepted_only_by_whom_it_is_for(me: Client, org: Organization) -> None:
    made, path = invite(me, "known@example.org")
    known = make_member(make_org("there"), "known@example.org")
    other = make_member(make_org("elsewhere"), "other@example.org")
    secret = path.rsplit("/", 1)[1]
    assert code(send(client_of(other), "POST", "/invitations/accept", {"token": secret})) == (403, "invitation_of_another")
    assert Client().get(path)["Location"].startswith("/sign-in")
    assert Client().post(path, {"password": PASSWORD})["Location"].startswith("/sign-in")
    assert not Membership.objects.filter(org=org, user=known).exists()
    assert data(send(client_of(known), "POST", "/invitations/accept", {"token": secret}))["id"] == org.pk.hex
    assert made["email"] == "known@example.org"


@pytest.mark.parametrize("how", ["expired", "withdrawn", "replaced"])
def test_an_invitation_ends(me: Client, how: str) -> None:
    made, path = invite(me)
    if how == "expired":
        Invitation.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    elif how == "withdrawn":
        data(send(me, "DELETE", f"/invitations/{made['id']}"))
    else:
        invite(me)
    assert Client().get(path).status_code == 404


def test_views_are_saved_shared_and_one_is_the_default(me: Client, org: Organization, owner: User) -> None:
    other = client_of(make_member(org, "other@example.org"))
    first = data(send(me, "POST", "/views", {"name": "up", "kind": "machine", "query": "state:running", "is_default": True}))
    second = data(
        send(me, "POST", "/views", {"name": "all", "kind": "machine", "is_default": True, "visibility": "org", "columns": ["name"]})
    )
    assert View.objects.get(is_default=True).pk.hex == second["id"]
    assert [one["name"] for one in data(send(other, "GET", "/views"))] == ["all"]
    assert send(other, "PATCH", f"/views/{second['id']}", {"name": "mine"}).status_code == 403
    assert send(other, "DELETE", f"/views/{first['id']}").status_code == 404
    data(send(other, "POST", "/views", {"name": "up", "kind": "machine"}))
    assert code(send(other, "POST", "/views", {"name": "ours", "kind": "machine", "visibility": "org"}))[0] == 403
    assert send(me, "POST", "/views", {"name": "x", "kind": "machine", "query": "colour:red"}).status_code == 400
    assert send(me, "POST", "/views", {"name": "x", "kind": "unicorn"}).status_code == 422
    assert code(send(me, "POST", "/views", {"name": "up", "kind": "machine"})) == (409, "name_taken")
    data(send(me, "PATCH", f"/views/{first['id']}", {"query": "state:stopped"}))
    assert data(send(me, "GET", f"/views/{first['id']}"))["query"] == "state:stopped"


def test_one_thing_is_shared_with_one_person(me: Client, org: Organization, rows: Any) -> None:
    other = make_member(org, "other@example.org")
    theirs, machine = client_of(other), rows[Machine][0]
    body = {"kind": "machine", "id": machine.pk.hex, "user": other.email, "rights": ["machine.read", "tag"]}
    assert code(send(theirs, "POST", "/shares", body)) == (422, "not_found")
    data(send(me, "POST", "/shares", body))
    assert [one["name"] for one in data(send(theirs, "GET", "/machines"))] == [machine.name]
    data(send(theirs, "POST", f"/machines/{machine.pk.hex}/actions/tag", {"tags": {"a": "b"}}))
    assert data(send(me, "GET", f"/shares?id={machine.pk.hex}")) == [{**body, "rights": ["read", "tag"]}]
    assert send(theirs, "GET", f"/shares?id={machine.pk.hex}").status_code == 403
    assert send(theirs, "POST", f"/machines/{machine.pk.hex}/actions/stop").status_code == 403
    data(send(me, "POST", "/shares", {**body, "rights": []}))
    assert data(send(theirs, "GET", "/machines")) == []


def test_sharing_and_being_refused_to_share_are_recorded(me: Client, org: Organization, rows: Any) -> None:
    other = make_member(org, "other@example.org")
    Team.objects.create(org=org, name="All", statements=[allow("machine.*")]).members.add(other)
    machine = rows[Machine][0]
    body = {"kind": "machine", "id": machine.pk.hex, "user": other.email, "rights": ["read", "stop"]}
    assert code(send(client_of(other), "POST", "/shares", body))[0] == 403
    data(send(me, "POST", "/shares", body))
    data(send(me, "POST", "/shares", {**body, "rights": ["machine.read"]}))
    told = Event.objects.filter(org_id=org.pk, type__startswith="machine.share.").order_by("pk")
    assert [(event.type, event.before, event.after) for event in told] == [
        ("machine.share.refused", None, None),
        ("machine.share.succeeded", {"rights": []}, {"rights": ["read", "stop"]}),
        ("machine.share.succeeded", {"rights": ["read", "stop"]}, {"rights": ["read"]}),
    ]
    assert {event.detail["user"] for event in told} == {other.pk.hex}
    assert told[1].target_id == machine.pk
