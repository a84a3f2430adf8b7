"""Searches over real rows: what each key finds, that NOT is the exact complement, and that nothing breaks the database."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from django.apps import apps
from django.db import connection
from django.db.models import Q
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts.models import Membership, Organization, Team, User
from clouds.models import Cloud, Image, Location
from core import events
from core.actor import Actor
from core.errors import BadSearch
from core.models import Event, Job
from core.search import Node, Not, SearchContext, Searched, Term, Value, compile, parse, time_limited
from keys.models import Key, KeyAssociation
from machines.models import Machine
from tests.core.search.strategies import texts, trees
from volumes.models import Volume

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 15, 12, 0, tzinfo=UTC)
GIB = 1024


@pytest.fixture
def org() -> Organization:
    return Organization.objects.create(name="Here", slug="here")


@pytest.fixture
def ana(org: Organization) -> User:
    user = User.objects.create_user("ana@example.org", "secret-secret", first_name="Ana")
    Membership.objects.create(org=org, user=user)
    Team.objects.create(org=org, name="Owners", is_owners=True).members.add(user)
    Team.objects.create(org=org, name="Empty")
    return user


@pytest.fixture
def actor(org: Organization, ana: User) -> Actor:
    return Actor(org_id=org.pk, user_id=ana.pk)


@pytest.fixture
def fleet(org: Organization, ana: User) -> None:
    aws = Cloud.objects.create(org=org, name="aws", provider="docker")
    lab = Cloud.objects.create(org=org, name="Lab 100%", provider="other")
    eu = Location.objects.create(org=org, cloud=aws, name="eu-west", external_id="eu", location_type="region")
    zone = Location.objects.create(org=org, cloud=aws, name="1a", external_id="eu-1a", parent=eu)
    debian = Image.objects.create(org=org, cloud=aws, name="Debian 12", external_id="ami-1")
    bob = User.objects.create_user("bob@example.org", "secret-secret")
    Membership.objects.create(org=org, user=bob)
    common = {"org": org, "created_at": NOW - timedelta(days=2)}

    def machine(name: str, cloud: Cloud, **fields: object) -> Machine:
        return Machine.objects.create(name=name, cloud=cloud, external_id=name, **{**common, **fields})

    web = machine(
        "web-1", aws, state="running", owner=ana, location=zone, image=debian, cores=4, ram_mib=4 * GIB, cost_month="120.5",
        tags={"env": "prod", "team": "a b"}, public_ips=["198.51.100.7"], private_ips=["10.0.0.5"],
        expires_at=NOW + timedelta(days=3), machine_created_at=NOW - timedelta(days=30),
    )  # fmt: skip
    machine(
        "web_2",
        aws,
        state="stopped",
        owner=bob,
        location=eu,
        cores=2,
        ram_mib=2 * GIB,
        cost_month="10",
        tags={"env": "production", "keep": ""},
    )
    machine("DB-éclair", lab, state="running", private_ips=["10.0.1.15", "fe80::1"], tags={'q"\\': "100%", "none": "x"})
    machine("😀 שלום", lab, state="error", cores=0.5, tags={"k": "v\nw"}, expires_at=NOW + timedelta(days=30))
    key = Key.objects.create(org=org, name="deploy", public="ssh-ed25519 A", fingerprint="SHA256:a", algorithm="ssh-ed25519")
    KeyAssociation.objects.create(org=org, key=key, machine=web)
    Volume.objects.create(org=org, cloud=aws, name="data", external_id="vol-1", size_gib=10, attached_to=[web.pk])
    elsewhere = Organization.objects.create(name="Elsewhere", slug="elsewhere")
    Cloud.objects.create(org=elsewhere, name="theirs", provider="docker")


@pytest.fixture
def find(actor: Actor, fleet: None) -> Callable[[str], list[str]]:
    def find(text: str) -> list[str]:
        q = Machine.search_q(text, actor, NOW)
        rows = Machine.objects.visible_to(actor)
        found = set(rows.filter(q).values_list("pk", flat=True))
        assert set(rows.filter(~q).values_list("pk", flat=True)) == set(rows.values_list("pk", flat=True)) - found
        names = {"web-1": "web", "web_2": "web2", "DB-éclair": "db", "😀 שלום": "smile"}
        return sorted(names[name] for name in rows.filter(pk__in=found).values_list("name", flat=True))

    return find


ALL = ["db", "smile", "web", "web2"]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", ALL),
        ("web", ["web", "web2"]),
        ("WEB", ["web", "web2"]),
        ("web_", ["web2"]),
        ("web*1", ["web"]),
        ("éCLAIR", ["db"]),
        ("😀", ["smile"]),
        ("שלום", ["smile"]),
        ("10.0.0.5", ["web"]),
        ("10.0.", ["db", "web"]),
        ("fe80::1", ["db"]),
        ("prod", ["web", "web2"]),
        ("keep", ["web2"]),
        ('"100%"', ["db"]),
        ('"q\\""', ["db"]),
        ('"a b"', ["web"]),
        ('", "', []),
        ("name:web", ["web", "web2"]),
        ("name=web", []),
        ("name=web-1", ["web"]),
        ("name!=web-1", ["db", "smile", "web2"]),
        ("name:web*", ["web", "web2"]),
        ("name:*1", ["web"]),
        ("name~^web[-_]\\d$", ["web", "web2"]),
        ("name~^WEB", []),
        ("name~(?i)^WEB", ["web", "web2"]),
        ("hostname:none", ALL),
        ("hostname:*", []),
        ("state:running", ["db", "web"]),
        ("state=RUNNING", ["db", "web"]),
        ("state:running,stopped", ["db", "web", "web2"]),
        ("state!=running,stopped", ["smile"]),
        ("state:*ing", ["db", "web"]),
        ("cloud:aws", ["web", "web2"]),
        ("-cloud:aws", ["db", "smile"]),
        ("cloud:AWS", ["web", "web2"]),
        ("cloud:aw", []),
        ('cloud:"Lab 100%"', ["db", "smile"]),
        ("cloud:theirs", []),
        ("-cloud:theirs", ALL),
        ("provider:docker", ["web", "web2"]),
        ("provider:other,docker", ALL),
        ("location:eu-west", ["web", "web2"]),
        ("location:1a", ["web"]),
        ("location=eu-1a", ["web"]),
        ("location:none", ["db", "smile"]),
        ("-location:eu-west", ["db", "smile"]),
        ("image:debian", ["web"]),
        ("owner:me", ["web"]),
        ("owned_by:ana@example.org", ["web"]),
        ("owner:Ana", ["web"]),
        ("owner:none", ["db", "smile"]),
        ("owner:none,me", ["db", "smile", "web"]),
        ('owner:"none"', []),
        ("-owner:me", ["db", "smile", "web2"]),
        ("created_by:none", ALL),
        ("team:owners", ["web"]),
        ("-team:owners", ["db", "smile", "web2"]),
        ("team:none", ["db", "smile", "web2"]),
        ("team:empty", []),
        ("-team:empty", ALL),
        ("key_associations:deploy", ["web"]),
        ("key:none", ["db", "smile", "web2"]),
        ("-key:deploy", ["db", "smile", "web2"]),
        ("cpu>=2", ["web", "web2"]),
        ("cpu<2.5", ["smile", "web2"]),
        ("cores:4,0.5", ["smile", "web"]),
        ("-cpu>=2", ["db", "smile"]),
        ("cpu:none", ["db"]),
        ("cpu!=none", ["smile", "web", "web2"]),
        ("mem:4GB", ["web"]),
        ("mem>=2GiB", ["web", "web2"]),
        ("mem<4g", ["web2"]),
        ("mem=2048", ["web2"]),
        ("cost>100", ["web"]),
        ("cost<=100", ["web2"]),
        ("-cost>100", ["db", "smile", "web2"]),
        ("ends<7d", ["web"]),
        ("ends>7d", ["smile"]),
        ("ends<2026-11-18", []),
        ("ends:2026-11-18", ["web"]),
        ("ends<=2026-11-18", ["web"]),
        ("ends:2026-11", ["web"]),
        ("ends:none", ["db", "web2"]),
        ("age>7d", ["web"]),
        ("age<7d", ["db", "smile", "web2"]),
        ("age>1mo", []),
        ("created>-7d", ["db", "smile", "web2"]),
        ("created<2026-11-01", ["web"]),
        ("created>=2026-10-16T12:00Z created<2026-10-16T12:01Z", ["web"]),
        ("tag:env", ["web", "web2"]),
        ("tag:env=prod", ["web"]),
        ("tag:env=prod*", ["web", "web2"]),
        ("tag:env=PROD*", ["web", "web2"]),
        ("tag:env=*", ["web", "web2"]),
        ("tag:*e*=*", ["db", "web", "web2"]),
        ("tag:e*=prod", ["web"]),
        ("-tag:keep", ["db", "smile", "web"]),
        ("tag:keep=", ["web2"]),
        ('tag:team="a b"', ["web"]),
        ('tag:"team=a b"', ["web"]),
        ("tag:none", []),
        ('tag:"none"', ["db"]),
        ("tag~^env=prod$", ["web"]),
        ("tag=env=prod", ["web"]),
        ("ip:198.51.100.7", ["web"]),
        ("ip:10.0.0.0/24", ["web"]),
        ("ip:10.0.0.0/8", ["db", "web"]),
        ("ip:10.0.0", ["web"]),
        ("ip:10.*5", ["db", "web"]),
        ("ip:fe80::1", ["db"]),
        ("ip:none", ["smile", "web2"]),
        ("public_ips:10.0.0.5", []),
        ("state:running (tag:env=prod OR cpu:none)", ["db", "web"]),
        ("web OR state:error", ["smile", "web", "web2"]),
        ("NOT (state:running OR owner:none)", ["web2"]),
        ("'; DROP TABLE machines_machine; --", []),
        ("name:%", []),
        ("name:_", ["web2"]),
        ("name:\\", []),
    ],
)
def test_a_search_finds(find: Callable[[str], list[str]], text: str, names: list[str]) -> None:
    assert find(text) == names


def test_an_id_is_found_by_its_beginning(find: Callable[[str], list[str]]) -> None:
    web = Machine.objects.get(name="web-1")
    for text in (web.pk.hex, str(web.pk), f"id:{web.pk}", f"id={web.pk.hex}", f"id:{web.pk.hex[:31]}", f"id:{web.pk.hex[:30]}*"):
        assert "web" in find(text)
    assert find("id:f") == []
    assert find(f"id={web.pk.hex[:8]}") == []
    assert find(f"cloud:{web.cloud_id.hex}") == ["web", "web2"]


@pytest.mark.parametrize(
    ("text", "position", "says"),
    [
        ("clowd:aws", 0, 'Did you mean "cloud"?'),
        ("web clowd:aws", 4, "It has: address, age, arch"),
        ("state:runing", 6, 'Did you mean "running"?'),
        ("provider:dockr", 9, 'Did you mean "docker"?'),
        ("cpu>many", 4, "not a number"),
        ("cpu>1,2", 6, "one value"),
        ("cpu>none", 4, "none"),
        ("cpu~4", 3, "does not take ~"),
        ("name>4", 4, "takes : = != ~"),
        ("mem>4XB", 4, "not a size"),
        ("created>7d", 8, "-7d"),
        ("created>2026-13-01", 8, "calendar"),
        ("created:2026-02-30", 8, "calendar"),
        ("age:7d", 4, "compared"),
        ("age>2026-11-01", 4, "length of time"),
        ("age>999999y", 4, "too long"),
        ("id:xyz", 3, "hexadecimal"),
        ("ip:10.0.0.0/99", 3, "network"),
        ("name~(a+)+", 5, "repeats"),
        ("cpu>*", 4, "is not a number"),
    ],
)
def test_a_wrong_key_or_value_says_where_and_what_would_do(actor: Actor, text: str, position: int, says: str) -> None:
    with pytest.raises(BadSearch) as caught:
        Machine.search_q(text, actor)
    assert caught.value.position == position
    assert says in caught.value.detail


def test_an_unknown_key_names_the_nearest_for_programs(actor: Actor) -> None:
    with pytest.raises(BadSearch) as caught:
        Machine.search_q("clowd:aws", actor)
    assert caught.value.extra["nearest"] == "cloud"
    assert "cloud" in caught.value.extra["keys"]


def test_volumes_are_found_by_the_machine_they_hang_on(actor: Actor, fleet: None) -> None:
    assert Volume.objects.filter(Volume.search_q("attached_to:web-1 size>=10GB", actor)).count() == 1
    assert Volume.objects.filter(Volume.search_q("attached_to:none", actor)).count() == 0
    assert Volume.objects.filter(Volume.search_q("-machine:db", actor)).count() == 1


def test_events_are_found_by_their_parts_and_words(actor: Actor, fleet: None) -> None:
    web = Machine.objects.get(name="web-1")
    event = events.record("machine.stop.refused", actor, target=web, detail={"why": "somebody else is at it"})
    events.record("machine.start.succeeded", actor, target=web)
    for text in (
        "type:stop",
        "action:machine.stop",
        "action=machine.stop outcome:refused",
        "somebody",
        "stop web",
        "someb*",
        "actor:me outcome:refused",
        f"target:web-1 request:{actor.request_id} outcome:re*",
        f"id:{event.pk.hex}",
        "kind:machine -outcome:succeeded",
        "at>-1h stop",
    ):
        assert [found.type for found in Event.objects.filter(Event.search_q(text, actor))] == ["machine.stop.refused"], text
    assert Event.objects.filter(Event.search_q("outcome:failed OR action:reboot", actor)).count() == 0


def test_jobs_are_found_by_action_state_target_and_user(actor: Actor, fleet: None, ana: User, org: Organization) -> None:
    web = Machine.objects.get(name="web-1")
    Job.objects.create(
        org=org, action="machine.stop", target_kind="machine", target_id=web.pk, target_name=web.name, user=ana, via="api", request_id="r"
    )
    for text in ("stop", "action:stop state:queued", "target:web user:me", f"target:{web.pk.hex}", "started:none", "state:q*", "request:r"):
        assert Job.objects.filter(Job.search_q(text, actor)).count() == 1, text
    assert Job.objects.filter(Job.search_q("finished>-1d OR state:failed", actor)).count() == 0


def searched() -> list[type[Searched]]:
    return [model for model in apps.get_models() if issubclass(model, Searched)]


@pytest.mark.parametrize("model", searched(), ids=lambda model: model.__name__)
def test_every_key_of_every_kind_is_a_predicate_the_database_takes(model: type[Searched], actor: Actor, fleet: None) -> None:
    rows = model._default_manager.all()  # type: ignore[attr-defined]
    total, tried = rows.count(), 0
    for key, field in model.search.fields.items():
        for op in field.takes():
            for value in ("none", "*", "a", "4", "-7d", "7d", "yes", *field.choices()[:1], "10.0", "me"):
                try:
                    q = model.search_q(f"{key}{op}{value}", actor)
                except BadSearch:
                    continue
                tried += 1
                assert rows.filter(q).count() + rows.filter(~q).count() == total, (key, op, value)
    assert tried > len(model.search.fields)
    for word in ("web", "10.0.0.5", "0123abcdef", "wéb*"):
        q = model.search_q(word, actor)
        assert rows.filter(q).count() + rows.filter(~q).count() == total


# --- properties -----------------------------------------------------------------------------------------------------


def machine_terms() -> st.SearchStrategy[Node]:
    def values(*choices: str) -> st.SearchStrategy[tuple[Value, ...]]:
        return st.lists(st.sampled_from(choices).map(lambda text: Value(tuple(text.split("*")))), min_size=1, max_size=2).map(tuple)

    def term(keys: list[str], ops: list[str], found: st.SearchStrategy[tuple[Value, ...]]) -> st.SearchStrategy[Node]:
        def build(key: str, op: str, values: tuple[Value, ...]) -> Term:
            if op != ":":  # a * is itself there
                values = tuple(Value((value.text,), literal=value.literal) for value in values)
            return Term(key, op, values)

        return st.builds(build, st.sampled_from(keys), st.sampled_from(ops), found)

    free = st.lists(texts().map(lambda text: Value((text,))), min_size=1, max_size=2).map(tuple)
    one = st.sampled_from(["0.5", "2", "4", "100"]).map(lambda text: (Value((text,)),))
    return st.one_of(
        st.builds(Term, st.just(""), st.just(":"), free | values("web*", "10.0*", "prod", "*1")),
        term(["name", "hostname", "tag"], [":", "=", "!="], free | values("none", "*", "web*", "env=p*", "keep")),
        term(
            ["cloud", "location", "owner", "team", "key", "image"],
            [":", "=", "!="],
            free | values("none", "*", "aws", "eu*", "me", "owners", "deploy"),
        ),
        term(["state"], [":", "!="], values("running", "stopped", "none")),
        term(["cores", "cost", "mem"], [":", "!=", "=", ">", ">=", "<", "<="], one),
        term(["ends", "age"], ["<", ">", "<=", ">="], st.sampled_from(["7d", "1y", "1d12h"]).map(lambda text: (Value((text,)),))),
        term(["state"], [":"], values("*ing", "s*", "*")),
        term(["ip"], [":", "!="], values("10.0.0.5", "10.0", "none", "*5", "10.0.0.0/8")),
        st.builds(
            lambda key, text: Term(key, "~", (Value((text,)),)),
            st.sampled_from(["name", "tag", "ip"]),
            st.sampled_from(["^w", "[0-9]+$", "a|b"]),
        ),
    )


@given(tree=trees(machine_terms()))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_not_is_the_exact_complement_and_boolean_algebra_holds(tree: Node, actor: Actor, fleet: None) -> None:
    rows = Machine.objects.all()
    everything = set(rows.values_list("pk", flat=True))

    def found(node: Node) -> set[object]:
        """A Python evaluator of everything but single terms, which the database answers one by one."""
        if isinstance(node, Term):
            return set(rows.filter(Machine.search_q(node, actor, NOW)).values_list("pk", flat=True))
        if isinstance(node, Not):
            return everything - found(node.node)
        parts = [found(inner) for inner in node.nodes]  # type: ignore[attr-defined]
        return set.intersection(*parts) if type(node).__name__ == "And" else set.union(*parts)

    q = Machine.search_q(tree, actor, NOW)
    got = set(rows.filter(q).values_list("pk", flat=True))
    assert got == found(tree)
    assert set(rows.filter(~q).values_list("pk", flat=True)) == everything - got
    assert set(rows.filter(Machine.search_q(Not(tree), actor, NOW)).values_list("pk", flat=True)) == everything - got
    assert set(rows.exclude(q).values_list("pk", flat=True)) == everything - got
    assert parse(str(tree)) == tree


@given(text=texts() | st.text(max_size=20))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_bare_word_finds_what_python_finds(text: str, actor: Actor, fleet: None) -> None:
    """Contains, without case, in name, addresses, tags."""
    try:
        node = parse(text)
        q = Machine.search_q(node, actor, NOW)
    except BadSearch:
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    found = {machine.pk for machine in Machine.objects.filter(q)}
    if not (isinstance(node, Term) and not node.key and len(node.values) == 1 and not node.values[0].wild and text.isascii()):
        return
    word = node.values[0].text.lower()

    def matches(machine: Machine) -> bool:
        pieces = [machine.name, *machine.tags, *machine.tags.values(), *machine.public_ips, *machine.private_ips]
        return any(word in piece.lower() for piece in pieces)

    assert found == {machine.pk for machine in Machine.objects.all() if matches(machine)}


# --- the edges ------------------------------------------------------------------------------------------------------


@pytest.fixture
def plain_context() -> SearchContext:
    return SearchContext(now=timezone.now(), org_id=None, user_id=None, visible=lambda model: model._default_manager.none())


def test_references_that_nobody_may_see_find_nothing_and_leave_the_complement_whole(plain_context: SearchContext, fleet: None) -> None:
    q = compile("cloud:aws", Machine.search, context=plain_context)
    assert Machine.objects.filter(q).count() == 0
    assert Machine.objects.filter(~q).count() == 4
    assert Machine.objects.filter(q | Q(name="web-1")).count() == 1
    assert Machine.objects.filter(compile("owner:me", Machine.search, context=plain_context)).count() == 0


def test_a_regular_expression_runs_under_a_limit_and_the_limit_ends_with_it(actor: Actor) -> None:
    def slow() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(0.3)")

    with pytest.raises(BadSearch), time_limited("name~^a", timeout_ms=50):
        slow()
    with time_limited("name:a", timeout_ms=50):
        slow()
    with time_limited("name~^a", timeout_ms=5000):
        pass
    slow()
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('statement_timeout')")
        assert cursor.fetchone()[0] == "0"


def test_the_past_can_be_searched_like_the_present(actor: Actor, fleet: None) -> None:
    rows = Machine.objects.visible_to(actor).at(timezone.now())
    assert rows.filter(Machine.search_q("web tag:env=prod cloud:aws -state:stopped", actor, NOW)).count() <= 1


def test_times_of_the_calendar_follow_each_other() -> None:
    from core.search.values import span

    for text in ("2026", "2026-12", "2026-12-31", "2026-12-31T23:59", "2026-12-31T23:59:59", "2026-12-31T23:59:59.999999"):
        assert span(text, NOW, 0)[1] == datetime(2027, 1, 1, tzinfo=UTC)
    assert [
        a < b for a, b in pairwise(span(text, NOW, 0)[0] for text in ("-1mo", "-7d", "yesterday", "today", "now", "tomorrow", "+1d12h"))
    ] == [True] * 6
