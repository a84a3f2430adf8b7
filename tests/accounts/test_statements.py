"""Statements: SQL and Python agree, deny wins, order never matters, and nobody edits a row out of or into reach."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts import people, policies
from accounts.guards import explain
from accounts.models import Invitation, Organization, Team, User
from accounts.statements import Policy, Statement
from clouds.models import Cloud, Size
from core import guard
from core.actions import perform
from core.actor import Actor
from core.errors import ApprovalNeeded, Denied, Invalid, NotFound
from core.models import Event, Job
from keys.models import Key
from machines.models import Machine
from tests.accounts.conftest import allow, asks, deny, make_member, make_org

pytestmark = pytest.mark.django_db

Rows = dict[type[Any], list[Any]]
Member = Callable[..., Actor]
MINE = {"name": "mine", "provider": "demo", "credentials": {"machines": 1, "seed": 1, "latency_ms": 0}}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_policy_means_the_same_in_sql_and_in_python(rows: Rows, actor: Actor, data: st.DataObject) -> None:
    every = [row for of_kind in rows.values() for row in of_kind]
    kinds = sorted({row.kind() for row in every})
    rights = ["read", "stop", "tag", "undo"]
    verbs = st.sampled_from(["*", "*.*", *(f"*.{r}" for r in rights), *(f"{k}.{r}" for k in kinds for r in (*rights, "*"))])
    what = st.fixed_dictionaries(
        {},
        optional={
            "kinds": st.lists(st.sampled_from(kinds), max_size=2),
            "ids": st.lists(st.sampled_from([row.pk.hex for row in every]), max_size=4),
            "tags": st.dictionaries(
                st.sampled_from(["env", "team", "ENV", "no"]), st.sampled_from([None, "prod", "dev", "red", ""]), max_size=2
            ),
            "clouds": st.lists(st.sampled_from([row.pk.hex for row in rows[Cloud]]), max_size=2),
            "own": st.booleans(),
        },
    )
    one = st.fixed_dictionaries(
        {"effect": st.sampled_from(["allow", "allow", "deny", "ask"]), "verbs": st.lists(verbs, min_size=1, max_size=3), "what": what}
    )
    stored = data.draw(st.lists(one, max_size=5))
    user_id = data.draw(st.sampled_from([None, actor.user_id]))
    policy = Policy(user_id=user_id, statements=tuple(Statement.load(s, user_id=user_id) for s in stored))
    shuffled = Policy(user_id=user_id, statements=tuple(data.draw(st.permutations(policy.statements))))
    for model, of_kind in rows.items():
        for right in rights:
            by_sql = set(model.objects.filter(policy.q(model, right)).values_list("pk", flat=True))
            by_python = {row.pk for row in of_kind if policy.decide(row, right).allowed}
            assert by_sql == by_python, (model, right)
            assert by_python == {row.pk for row in of_kind if shuffled.decide(row, right).allowed}
            if by_python:
                assert policy.somewhere(model, right)
            asked_about = set(model.objects.filter(policy.asks_q(model, right)).values_list("pk", flat=True))
            assert asked_about == {row.pk for row in of_kind if policy.asks(row, right) is not None}, (model, right)
            assert asked_about == {row.pk for row in of_kind if shuffled.asks(row, right) is not None}
        for row in of_kind:
            assert list(policy.allowed(row, rights)) == [right for right in rights if policy.decide(row, right).allowed]


def seen(actor: Actor, model: type[Any]) -> set[str]:
    return {row.name for row in model.objects.visible_to(actor)}


def test_a_member_without_a_statement_sees_nothing(rows: Rows, member: Member) -> None:
    nobody = member()
    assert [model for model in rows if model.objects.visible_to(nobody).exists()] == []


def test_a_tag_statement_shows_its_rows_and_no_others(rows: Rows, member: Member) -> None:
    assert seen(member(allow("machine.read", tags={"env": "prod"})), Machine) == {"m1", "m4", "m7", "m10"}


def test_what_is_ones_own_is_nobody_elses(rows: Rows, actor: Actor, member: Member) -> None:
    keeper, other = member(allow("machine.*", own=True)), member(allow("machine.*", own=True))
    assert seen(keeper, Machine) == set()
    mine = rows[Machine][1]
    perform(actor, mine, "set_owner", {"owner": keeper.user_id.hex if keeper.user_id else ""})
    keeper.cache.clear()
    assert seen(keeper, Machine) == {mine.name}
    assert seen(other, Machine) == set()
    perform(keeper, mine, "tag", {"tags": {"a": "b"}})
    with pytest.raises(NotFound):
        perform(other, mine, "tag", {"tags": {"a": "b"}})
    with pytest.raises((Denied, NotFound)):
        perform(keeper, Machine.objects.get(pk=mine.pk), "set_owner", {"owner": other.user_id.hex if other.user_id else ""})
    assert seen(keeper, Machine) == {mine.name}, "nobody edits a row out of their reach"


def test_what_one_makes_is_ones_own(member: Member) -> None:
    maker = member(allow("cloud.create", "cloud.read", own=True))
    perform(maker, Cloud, "create", MINE)
    assert seen(maker, Cloud) == {"mine"}


def test_a_tag_without_a_value_matches_any_value(rows: Rows, member: Member) -> None:
    assert seen(member(allow("machine.read", tags={"team": None})), Machine) == {"m4", "m10"}


def test_a_deny_wins_over_every_allow(rows: Rows, member: Member) -> None:
    reader = member(allow("*"), allow("machine.read"), deny("machine.*", tags={"env": "prod"}))
    assert "m1" not in seen(reader, Machine)
    assert "m2" in seen(reader, Machine)
    with pytest.raises(NotFound):
        perform(reader, rows[Machine][1], "tag", {"tags": {"a": "b"}})


def test_whoever_may_read_a_machine_may_read_its_jobs_and_events(rows: Rows, member: Member) -> None:
    reader = member(allow("machine.read", tags={"env": "prod"}))
    targets = set(Job.objects.visible_to(reader).values_list("target_id", flat=True))
    assert targets == {rows[Machine][1].pk, rows[Machine][4].pk}
    assert set(Event.objects.visible_to(reader).values_list("target_id", flat=True)) == targets


def test_sizes_are_read_with_their_cloud(rows: Rows, member: Member) -> None:
    cloud = rows[Cloud][1]
    reader = member(allow("cloud.read", tags={"env": "prod"}))
    assert set(Size.objects.visible_to(reader).values_list("cloud", flat=True)) == {cloud.pk}


def test_no_statement_reaches_into_another_organization(rows: Rows) -> None:
    there = make_org("there")
    stranger = make_member(there, "stranger@example.org", allow("*"))
    other = Actor(org_id=there.pk, user_id=stranger.pk)
    assert [model for model in rows if model is not Event and model.objects.visible_to(other).exists()] == []
    with pytest.raises(NotFound):
        perform(other, rows[Machine][0], "tag", {"tags": {"a": "b"}})


def test_a_policy_costs_two_queries_a_request(rows: Rows, member: Member, django_assert_num_queries: Any) -> None:
    reader = member(allow("machine.*", tags={"env": "prod"}))
    with CaptureQueriesContext(connection) as queries:
        found = list(Machine.objects.visible_to(reader))
        for machine in found:
            assert guard.permits(reader, machine, "stop")
    assert len(queries) == 3


def test_a_machine_cannot_be_tagged_out_of_reach(rows: Rows, member: Member) -> None:
    tagger = member(allow("machine.tag", "machine.read", tags={"env": "dev"}))
    machine = rows[Machine][2]
    with pytest.raises((Denied, NotFound)):
        perform(tagger, machine, "tag", {"tags": {"env": "prod"}})
    machine.refresh_from_db()
    assert machine.tags == {"env": "dev"}
    assert Event.objects.filter(target_id=machine.pk, type="machine.tag.refused").exists()


def test_a_machine_cannot_be_tagged_into_reach(rows: Rows, member: Member) -> None:
    tagger = member(allow("machine.tag", "machine.read"), allow("machine.destroy", tags={"env": "dev"}))
    machine = rows[Machine][1]
    with pytest.raises(Denied) as refused:
        perform(tagger, machine, "tag", {"tags": {"env": "dev"}})
    assert refused.value.code == "into_reach"
    assert "machine.destroy" in refused.value.detail
    machine.refresh_from_db()
    assert machine.tags == {"env": "prod"}
    perform(tagger, machine, "tag", {"tags": {"note": "harmless"}})


def test_a_new_row_gets_the_tags_its_creators_statement_demands(member: Member) -> None:
    maker = member(allow("cloud.create", "cloud.read", tags={"env": "dev", "team": None}))
    perform(maker, Cloud, "create", MINE)
    assert Cloud.objects.get(name="mine").tags == {"env": "dev", "team": ""}


def test_a_new_row_cannot_be_given_tags_beyond_ones_reach(member: Member) -> None:
    maker = member(allow("cloud.create", tags={"env": "dev"}))
    with pytest.raises(Denied):
        perform(maker, Cloud, "create", {**MINE, "tags": {"env": "prod"}})
    assert not Cloud.objects.filter(name="mine").exists()


def test_explain_names_the_statement_that_decided(rows: Rows, member: Member) -> None:
    reader = member(allow("machine.read"), deny("machine.read", tags={"env": "prod"}))
    team = Team.objects.get(members=reader.user_id)
    no = explain(reader, rows[Machine][1], "read")
    assert (no.allowed, no.guard, no.why) == (False, "statements", f"statement 2 of team {team.name} denies it")
    yes = explain(reader, rows[Machine][2], "read")
    assert (yes.allowed, yes.why) == (True, f"statement 1 of team {team.name} allows it")
    assert explain(reader, rows[Key][0], "read").why == "no statement allows it"


def test_who_can_names_owners_and_those_allowed(rows: Rows, actor: Actor, member: Member) -> None:
    member(allow("machine.stop", tags={"env": "dev"}))
    stopper = member(allow("machine.stop", tags={"env": "prod"}))
    able = [(one.user.email, one.decision.why) for one in policies.who_can(actor.org_id, rows[Machine][1], "stop")]
    assert [email for email, _ in able] == [stopper.email, actor.email]


def test_a_preview_says_who_gains_and_loses_what(rows: Rows, actor: Actor, member: Member) -> None:
    reader = member(allow("machine.read", tags={"env": "prod"}))
    team = Team.objects.get(members=reader.user_id)
    [change] = policies.preview(actor, team, [allow("machine.read", "machine.stop", tags={"env": "dev"})])
    assert change["email"] == reader.email
    gains = {verb: one for one in change["gains"] for verb in one["verbs"]}
    loses = {verb: one for one in change["loses"] for verb in one["verbs"]}
    assert [example["name"] for example in gains["machine.read"]["examples"]] == ["m2", "m8"]
    assert gains["machine.stop"]["count"] == 2
    assert loses["machine.read"]["count"] == 4
    assert "machine.stop" not in loses
    assert Team.objects.get(pk=team.pk).statements == team.statements


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        (allow("machine.fly"), "machine.fly"),
        (allow("machin.stop"), "Did you mean machine?"),
        (allow("machine.untag"), "there is no verb"),
        (allow("stop"), "kind.verb"),
        (allow(), "names no verb"),
        ({"effect": "maybe", "verbs": ["*"]}, "allow, deny or ask"),
        (allow("*", kinds=["unicorn"]), "unicorn"),
        (allow("*", clouds=["nowhere"]), "nowhere"),
        (allow("machine.read", ids=["not-an-id"]), "not-an-id"),
        (allow("machine.read", ids=["0" * 32]), "not found"),
        (allow("machine.read", tags={"a\x00": "b"}), "key"),
        (allow("machine.read", colour="red"), "colour"),
        (allow("machine.read", own="maybe"), "own"),
        ("allow everything", "object"),
    ],
)
def test_a_wrong_statement_is_refused_and_named(actor: Actor, statement: Any, says: str) -> None:
    with pytest.raises(Invalid) as refused:
        policies.validate([allow("*.read"), statement], actor)
    [message] = refused.value.fields["statements"]
    assert message.startswith("Statement 2: ")
    assert says in message


def test_clouds_are_named_and_stored_by_id(rows: Rows, actor: Actor) -> None:
    cloud = rows[Cloud][0]
    [stored] = policies.validate([allow("machine.*", clouds=["c0"], tags=["env=prod", "team"])], actor)
    assert stored["what"] == {"clouds": [cloud.pk.hex], "tags": {"env": "prod", "team": None}}
    assert (
        policies.sentence(stored, policies.names_in([stored], actor))
        == "May do everything with machine, tagged env=prod and team, in cloud c0."
    )


def test_the_machines_list_of_a_restricted_person_takes_few_queries(rows: Rows, member: Member, django_assert_max_num_queries: Any) -> None:
    reader = member(allow("machine.*", "cloud.read", tags={"env": "prod"}), deny("machine.destroy", tags={"team": None}))
    client = Client()
    client.force_login(User.objects.get(pk=reader.user_id), backend=people.BACKEND)
    with django_assert_max_num_queries(12):
        answer = client.get("/api/v2/machines?search=state:running tag:env=prod m")
    shown = answer.json()["data"]
    assert {one["name"] for one in shown} == {"m1", "m4", "m7", "m10"}
    assert "destroy" not in next(one["actions"] for one in shown if one["name"] == "m4")


def test_a_preview_says_what_must_be_asked_for_of_what_one_may_do(rows: Rows, actor: Actor, member: Member) -> None:
    stopper = member(allow("machine.read", "machine.stop", "machine.create", tags={"env": "prod"}))
    team = Team.objects.get(members=stopper.user_id)

    def changes(*statements: dict[str, Any]) -> dict[str, dict[str, int | None]]:
        found = policies.preview(actor, team, list(statements))
        kinds = ("gains", "loses", "asks", "asks_no_more")
        return {kind: {verb: one["count"] for change in found for one in change[kind] for verb in one["verbs"]} for kind in kinds}

    may = team.statements[0]
    asking = {"machine.stop": 4, "machine.create": None}
    assert changes(may, asks("machine.*")) == {"gains": {}, "loses": {}, "asks": asking, "asks_no_more": {}}
    assert changes(may, asks("machine.stop", tags={"env": "dev"}))["asks"] == {}, "there one may not stop at all"
    Team.objects.filter(pk=team.pk).update(statements=[may, asks("machine.*")])
    team.refresh_from_db()
    assert changes(may) == {"gains": {}, "loses": {}, "asks": {}, "asks_no_more": asking}
    less = changes(allow("machine.read", tags={"env": "prod"}), asks("machine.*"))
    assert less == {"gains": {}, "loses": asking, "asks": {}, "asks_no_more": {}}, "what one may not do any more is lost, not freed"


def test_looking_is_never_asked_about(rows: Rows, actor: Actor, member: Member) -> None:
    looker = member(allow("machine.*"), asks("machine.*"))
    assert explain(looker, rows[Machine][1], "stop").needs
    assert not explain(looker, rows[Machine][1], "read").needs
    needs = {one.user.email: bool(one.decision.needs) for one in policies.who_can(actor.org_id, rows[Machine][1], "stop")}
    assert needs == {looker.email: True, actor.email: False}
    with pytest.raises(Invalid) as wrong:
        policies.validate([asks("machine.read")], actor)
    assert "machine.read needs no approval" in wrong.value.fields["statements"][0]


# --- asking -----------------------------------------------------------------------------------------------------------


def test_asking_neither_allows_nor_denies(rows: Rows, member: Member) -> None:
    looker = member(allow("machine.*"), asks("machine.*"))
    assert explain(looker, rows[Machine][1], "read").needs == (), "nobody need ask to look"
    none, reader = member(asks("machine.stop")), member(allow("machine.read", "machine.tag"), asks("machine.tag", tags={"env": "prod"}))
    assert seen(none, Machine) == set() and not guard.permits(none, rows[Machine][1], "stop")
    assert guard.permits(reader, rows[Machine][1], "tag")
    perform(reader, rows[Machine][2], "tag", {"tags": {"note": "x"}})
    with pytest.raises(ApprovalNeeded):
        perform(reader, rows[Machine][1], "tag", {"tags": {"note": "x"}})


def test_an_edit_leads_neither_around_asking_nor_into_it(rows: Rows, member: Member) -> None:
    tagger = member(allow("machine.*"), asks("machine.destroy", "machine.tag", tags={"env": "prod"}))
    with pytest.raises(ApprovalNeeded):
        perform(tagger, rows[Machine][1], "tag", {"remove": ["env"]})
    with pytest.raises(ApprovalNeeded):
        perform(tagger, rows[Machine][2], "tag", {"tags": {"env": "prod"}})
    other = member(allow("machine.*"), asks("machine.destroy", tags={"env": "prod"}))
    with pytest.raises(Denied) as refused:
        perform(other, rows[Machine][1], "tag", {"remove": ["env"]})
    assert refused.value.code == "into_reach" and "machine.destroy" in refused.value.detail
    assert set(Machine.objects.filter(pk__in=[rows[Machine][1].pk, rows[Machine][2].pk]).values_list("tags__env", flat=True)) == {
        "prod",
        "dev",
    }


def test_asking_is_said_in_words_and_explained(rows: Rows, actor: Actor, member: Member) -> None:
    stored = policies.validate([asks("machine.stop", "machine.destroy", tags={"env": "prod"}, own=True)], actor)
    assert policies.sentence(stored[0]) == "Must ask to stop, destroy machine of one's own, tagged env=prod."
    asker = member(allow("machine.*"), asks("machine.stop", tags={"env": "prod"}))
    team = Team.objects.get(members=asker.user_id)
    found = explain(asker, rows[Machine][1], "stop")
    assert (found.allowed, found.needs) == (True, (f"Statement 2 of team {team.name} asks for approval.",))
    assert explain(asker, rows[Machine][2], "stop").needs == ()
    assert explain(actor, rows[Machine][1], "stop").needs == (), "Owners are bound by no statement"
    able = {one.user.email: " ".join(one.decision.needs) for one in policies.who_can(actor.org_id, rows[Machine][1], "stop")}
    assert able == {actor.email: "", asker.email: f"Statement 2 of team {team.name} asks for approval."}


@pytest.mark.parametrize(
    ("verb", "said"),
    [
        ("machine.read", "looking is done at once"),
        ("job.approve", "no act that could wait"),
        ("machine.skip_undo", "no act that could wait"),
        ("*.read", "looking is done at once"),
        ("machine.shell", "machine.shell cannot wait for approval: what it gives is for now"),
        ("*.shell", "machine.shell cannot wait for approval"),
        ("key.export", "cannot wait"),
        ("key.create", "key.create cannot wait for approval: it is made at once"),
        ("session.replay", "cannot wait"),
    ],
)
def test_asking_about_what_cannot_wait_is_refused_in_words(actor: Actor, verb: str, said: str) -> None:
    with pytest.raises(Invalid) as refused:
        policies.validate([allow("*"), asks(verb)], actor)
    assert said in refused.value.fields["statements"][0]
    assert refused.value.extra["places"][0]["statement"] == 2 and refused.value.extra["places"][0]["part"] == "verbs"


@pytest.mark.parametrize("verb", ["*", "machine.*", "*.create", "*.delete", "machine.create", "script.run"])
def test_asking_about_what_can_wait_is_kept(actor: Actor, verb: str) -> None:
    assert policies.validate([asks(verb)], actor) == [asks(verb)]


def test_a_preview_says_for_what_they_would_have_to_ask(rows: Rows, actor: Actor, member: Member) -> None:
    asker = member(allow("machine.*"), asks("machine.stop", tags={"env": "prod"}))
    team = Team.objects.get(members=asker.user_id)
    fresh = [allow("machine.*"), asks("machine.destroy", "machine.create", tags={"env": "dev"})]
    (change,) = policies.preview(actor, team, fresh)
    assert (change["email"], change["gains"], change["loses"]) == (asker.email, [], [])
    asked = {verb: one["count"] for one in change["asks"] for verb in one["verbs"]}
    devs = sum(row.tags.get("env") == "dev" for row in rows[Machine])
    prods = sum(row.tags.get("env") == "prod" for row in rows[Machine])
    assert asked == {"machine.destroy": devs, "machine.create": None}
    assert {verb: one["count"] for one in change["asks_no_more"] for verb in one["verbs"]} == {"machine.stop": prods}
    assert policies.preview(actor, team, team.statements) == []


def test_an_invitation_leads_around_no_asking(org: Organization, member: Member) -> None:
    team = Team.objects.create(org=org, name="guarded")
    inviter = member(allow("*"), asks("team.add_member"))
    with pytest.raises(ApprovalNeeded, match="cannot wait"):
        perform(inviter, Invitation, "create", {"email": "new@example.org", "teams": [team.pk.hex], "secret": "s" * 43})
    assert not Invitation.objects.exists()
    perform(inviter, Invitation, "create", {"email": "new@example.org", "secret": "s" * 43})
