"""One's own account over HTTP: signing in, tokens, sessions, one-time passwords, throttling, acting as somebody."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import TOTP, format_hotp_value, hotp_value, yield_hotp_counters_from_time
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from accounts import people, throttle
from accounts.adapter import sweep
from accounts.auth import again
from accounts.credentials import digest_of
from accounts.models import Home, Membership, Organization, Team, Token, User
from core import actions, vault
from core.actions import perform
from core.actor import Actor
from core.errors import Conflict, Denied, TooMany, Unauthenticated
from core.models import Event, Job, VaultEntry
from machines.models import Machine
from tests.accounts.conftest import PASSWORD, allow, make_member, make_org

pytestmark = pytest.mark.django_db

API = "/api/v2"


def send(client: Client, method: str, path: str, body: Any = None, **headers: str) -> Any:
    extra = {f"HTTP_{name.upper()}": value for name, value in headers.items()}
    data = json.dumps(body if body is not None else {})
    return client.generic(method, API + path, data if method != "GET" else "", content_type="application/json", **extra)


def sign_in(email: str, password: str = PASSWORD, **extra: str) -> tuple[Client, Any]:
    client = Client()
    return client, send(client, "POST", "/auth/sessions", {"email": email, "password": password, **extra})


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def make_token(email: str, **extra: Any) -> dict[str, Any]:
    answer = send(Client(), "POST", "/auth/tokens", {"email": email, "password": PASSWORD, "name": "t", **extra})
    assert answer.status_code == 200, answer.content
    return answer.json()["data"]


def told(kind: str) -> int:
    return Event.objects.filter(type=kind, org_id=None).count()


def test_nobody_is_asked_to_sign_in(db: None) -> None:
    answer = send(Client(), "GET", "/auth")
    assert answer.status_code == 401
    assert answer.json()["code"] == "unauthenticated"


def test_signing_in_begins_a_session_and_is_recorded(org: Organization, owner: User) -> None:
    client, answer = sign_in("OWNER@example.org")
    assert answer.status_code == 200, answer.content
    me = send(client, "GET", "/auth").json()["data"]
    assert (me["user"]["email"], me["org"], me["is_owner"]) == (owner.email, org.pk.hex, True)
    assert told("session.create.succeeded") == 1
    [session] = send(client, "GET", "/auth/sessions").json()["data"]
    assert session["is_current"]
    assert client.session.session_key not in json.dumps(session)


def test_a_wrong_password_and_an_unknown_address_answer_the_same(owner: User) -> None:
    _, wrong = sign_in(owner.email, "not this one at all")
    _, unknown = sign_in("nobody@example.org", "not this one at all")
    same = [{k: v for k, v in answer.json().items() if k != "request_id"} for answer in (wrong, unknown)]
    assert wrong.status_code == unknown.status_code == 401
    assert same[0] == same[1]
    assert told("session.create.refused") == 2


def test_guessing_locks_the_account_even_for_the_right_password(owner: User) -> None:
    for _ in range(throttle.PER_ACCOUNT):
        assert sign_in(owner.email, "wrong")[1].status_code == 401
    _, answer = sign_in(owner.email)
    assert answer.status_code == 429
    assert int(answer["Retry-After"]) > 0
    assert told("session.lock_out.observed") == 1


def test_a_lock_out_ends_with_its_window(owner: User) -> None:
    now = timezone.now()
    for _ in range(throttle.PER_ACCOUNT):
        throttle.count(owner.email, "192.0.2.1", clock=lambda: now)
    with pytest.raises(TooMany) as refused:
        throttle.count(owner.email, "192.0.2.2", clock=lambda: now)
    assert refused.value.retry_after_s == throttle.WINDOW_S
    throttle.count(owner.email, "192.0.2.2", clock=lambda: now + timedelta(seconds=throttle.WINDOW_S))


def test_whoever_guesses_from_elsewhere_locks_out_strangers_and_not_the_person(owner: User) -> None:
    throttle.count(owner.email, "192.0.2.1")
    throttle.succeeded(owner.email, "192.0.2.1")
    for _ in range(throttle.PER_ACCOUNT):
        throttle.count(owner.email, "198.51.100.7")
    for address in ("198.51.100.7", "203.0.113.3"):
        with pytest.raises(TooMany):
            throttle.count(owner.email, address)
    throttle.count(owner.email.upper(), "192.0.2.1")
    throttle.succeeded(owner.email, "192.0.2.1")
    with pytest.raises(TooMany):  # that she signed in gives a guesser no new tries
        throttle.count(owner.email, "203.0.113.3")
    for _ in range(throttle.PER_ACCOUNT):  # and at home, too, guessing is slow
        throttle.count(owner.email, "192.0.2.1")
    with pytest.raises(TooMany):
        throttle.count(owner.email, "192.0.2.1")


def test_a_home_nobody_came_back_to_is_none(owner: User) -> None:
    throttle.succeeded(owner.email, "192.0.2.1")
    Home.objects.update(seen_at=timezone.now() - timedelta(days=throttle.KNOWN_DAYS, seconds=1))
    for _ in range(throttle.PER_ACCOUNT):
        throttle.count(owner.email, "198.51.100.7")
    with pytest.raises(TooMany):
        throttle.count(owner.email, "192.0.2.1")
    throttle.forget()
    assert not Home.objects.exists()


def test_one_address_cannot_try_many_accounts(db: None) -> None:
    for n in range(throttle.PER_ADDRESS):
        throttle.count(f"{n}@example.org", "192.0.2.1")
    with pytest.raises(TooMany):
        throttle.count("another@example.org", "192.0.2.1")
    throttle.count("another@example.org", "192.0.2.2")


def code_of(secret: str) -> str:
    counters = list(yield_hotp_counters_from_time())
    return format_hotp_value(hotp_value(secret, counters[len(counters) // 2]))


def test_a_second_step_is_asked_for_sealed_and_works_once(owner: User) -> None:
    secret = "JBSWY3DPEHPK3PXP"
    TOTP.activate(owner, secret)
    vault.rotate()
    assert secret not in json.dumps(Authenticator.objects.get().data)
    assert sign_in(owner.email)[1].json()["code"] == "otp_required"
    assert sign_in(owner.email, otp="000000")[1].json()["code"] == "otp_wrong"
    code = code_of(secret)
    assert sign_in(owner.email, otp=code)[1].status_code == 200
    assert sign_in(owner.email, otp=code)[1].json()["code"] == "otp_wrong"


def test_a_removed_authenticator_leaves_nothing_in_the_vault(owner: User) -> None:
    TOTP.activate(owner, "JBSWY3DPEHPK3PXP")
    later = timezone.now() + timedelta(days=1)
    assert sweep(later) == 0
    Authenticator.objects.all().delete()
    assert sweep(later) == 1
    assert not VaultEntry.objects.filter(purpose="mfa").exists()


def test_events_of_accounts_name_nobody_in_clear(owner: User) -> None:
    sign_in(owner.email, "wrong")
    sign_in(owner.email)
    sign_in("unknown@example.org")
    told_of = json.dumps(list(Event.objects.values("target_name", "before", "after", "detail", "via")), default=str)
    assert "example.org" not in told_of


def test_asking_for_the_code_does_not_forgive_wrong_codes(owner: User) -> None:
    TOTP.activate(owner, "JBSWY3DPEHPK3PXP")
    for _ in range(throttle.PER_ACCOUNT):
        sign_in(owner.email, otp="000000")
        if sign_in(owner.email)[1].status_code == 429:
            break
    assert sign_in(owner.email, otp="000000")[1].status_code == 429


def test_a_form_of_another_site_cannot_sign_in(owner: User) -> None:
    answer = Client().post(f"{API}/auth/sessions", {"email": owner.email, "password": PASSWORD})
    assert answer.status_code == 415


def test_a_session_cannot_act_without_a_csrf_token(owner: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(owner, backend=people.BACKEND)
    answer = send(client, "POST", "/teams", {"name": "x"})
    assert answer.status_code == 403
    assert not Team.objects.filter(name="x").exists()


def test_a_token_is_shown_once_and_kept_as_its_digest(org: Organization, owner: User) -> None:
    made = make_token(owner.email, ttl=3600, scope="read")
    assert made["token"].startswith("mist_")
    assert len(made["token"]) == 48
    assert (made["org"], made["scope"]) == (org.pk.hex, "read")
    row = Token.objects.get()
    assert row.digest == digest_of(made["token"])
    everything = json.dumps([*Job.objects.values("params", "result"), *Event.objects.values("before", "after", "detail")], default=str)
    assert made["token"] not in everything
    assert row.digest not in everything
    listed = send(Client(), "GET", "/auth/tokens", **bearer(made["token"])).json()["data"]
    assert [one["id"] for one in listed] == [made["id"]]
    assert "token" not in listed[0]


def test_a_token_is_sent_with_or_without_bearer(owner: User) -> None:
    token = make_token(owner.email)["token"]
    for header in (token, f"Bearer {token}", f"bearer {token}"):
        assert send(Client(), "GET", "/auth", authorization=header).status_code == 200


def test_a_read_only_token_cannot_act(owner: User) -> None:
    token = make_token(owner.email, scope="read")["token"]
    answer = send(Client(), "POST", "/teams", {"name": "x"}, **bearer(token))
    assert (answer.status_code, answer.json()["code"]) == (403, "read_only_token")


def test_a_revoked_token_is_refused_and_its_use_recorded(owner: User) -> None:
    made = make_token(owner.email)
    client, _ = sign_in(owner.email)
    assert send(client, "DELETE", f"/auth/tokens/{made['id']}").status_code == 200
    assert send(Client(), "GET", "/auth", **bearer(made["token"])).status_code == 401
    [event] = Event.objects.filter(type="token.use.refused")
    assert event.detail["reason"] == "revoked"
    assert send(client, "GET", "/auth/tokens").json()["data"] == []


@pytest.mark.parametrize("how", ["expired", "left", "inactive"])
def test_a_token_ends_with_its_time_its_membership_and_its_person(org: Organization, owner: User, how: str) -> None:
    token = make_token(owner.email)["token"]
    if how == "expired":
        Token.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    elif how == "left":
        Membership.objects.all().delete()
    else:
        User.objects.update(is_active=False)
    assert send(Client(), "GET", "/auth", **bearer(token)).status_code == 401


def test_last_use_is_written_at_most_once_a_minute(owner: User) -> None:
    token = make_token(owner.email)["token"]
    send(Client(), "GET", "/auth", **bearer(token))
    first = Token.objects.get().last_used_at
    send(Client(), "GET", "/auth", **bearer(token))
    assert first is not None
    assert Token.objects.get().last_used_at == first


def test_a_token_makes_no_tokens(owner: User) -> None:
    token = make_token(owner.email)["token"]
    assert send(Client(), "POST", "/auth/tokens", {"name": "more"}, **bearer(token)).json()["code"] == "token_makes_no_token"


def test_nobody_sees_or_revokes_the_tokens_of_others(org: Organization, owner: User) -> None:
    make_member(org, "other@example.org")
    made, theirs = make_token(owner.email), make_token("other@example.org")["token"]
    assert [one["id"] for one in send(Client(), "GET", "/auth/tokens", **bearer(theirs)).json()["data"]] != [made["id"]]
    assert send(Client(), "DELETE", f"/auth/tokens/{made['id']}", **bearer(theirs)).status_code == 404


def test_a_token_of_one_organization_opens_no_other(owner: User) -> None:
    there = make_org("there")
    make_member(there, owner.email)
    token = make_token(owner.email, org="here")["token"]
    assert send(Client(), "GET", f"/orgs/{there.pk.hex}", **bearer(token)).status_code == 404
    assert [one["slug"] for one in send(Client(), "GET", "/orgs", **bearer(token)).json()["data"]] == ["here"]


@pytest.mark.parametrize("header", ["mist_" + "a" * 43, "Bearer ", "Bearer x\x7f", "Basic YTpi", "mist_é", "x" * 5000])
def test_a_made_up_token_is_nobodys(owner: User, header: str) -> None:
    assert send(Client(), "GET", "/auth", authorization=header).status_code == 401


def test_a_session_of_two_organizations_names_one(org: Organization, owner: User) -> None:
    there, elsewhere = make_org("there"), make_org("elsewhere")
    make_member(there, owner.email)
    client, _ = sign_in(owner.email)
    assert send(client, "GET", "/auth", x_org=there.pk.hex).json()["data"]["org"] == there.pk.hex
    assert send(client, "GET", "/auth").json()["data"]["org"] == there.pk.hex
    assert send(client, "GET", "/auth", x_org=elsewhere.pk.hex).status_code == 404


def test_a_revoked_session_is_over(owner: User) -> None:
    one, _ = sign_in(owner.email)
    two, _ = sign_in(owner.email)
    [other] = [s["id"] for s in send(two, "GET", "/auth/sessions").json()["data"] if not s["is_current"]]
    assert send(two, "DELETE", f"/auth/sessions/{other}").status_code == 200
    assert send(one, "GET", "/auth").status_code == 401
    assert send(two, "DELETE", "/auth/sessions").status_code == 200
    assert send(two, "GET", "/auth").status_code == 401


def test_a_one_time_password_opens_only_its_change(settings: Any) -> None:
    settings.MIST_ADMIN_PASSWORD = ""
    made = people.create_first_admin()
    assert made is not None
    user, password = made
    assert password is not None
    assert (user.email, user.is_superuser) == ("admin@localhost", True)
    client, answer = sign_in(user.email, password)
    assert people.create_first_admin() is None
    assert answer.json()["data"]["must_change_password"] is True
    assert send(client, "GET", "/machines").json()["code"] == "password_change_required"
    assert client.get("/o/default/")["Location"].endswith("/first-run")
    refused = send(client, "POST", "/auth/tokens", {"name": "t"})
    assert refused.json()["code"] == "password_change_required"
    by_password = send(Client(), "POST", "/auth/tokens", {"name": "t", "email": user.email, "password": password})
    assert by_password.json()["code"] == "password_change_required"
    assert send(client, "PUT", "/auth/password", {"old": password, "password": "short"}).json()["code"] == "weak_password"
    assert send(client, "PUT", "/auth/password", {"old": password, "password": PASSWORD}).status_code == 200
    assert send(client, "GET", "/machines").status_code == 200


def test_a_given_admin_password_is_no_one_time_password(settings: Any) -> None:
    settings.MIST_ADMIN_PASSWORD = PASSWORD
    made = people.create_first_admin()
    assert made is not None
    assert (made[0].must_change_password, made[1]) == (False, None)
    assert make_token("admin@localhost")["org"] == Organization.objects.get(name="default").pk.hex


def test_changing_the_password_ends_other_sessions(owner: User) -> None:
    one, _ = sign_in(owner.email)
    two, _ = sign_in(owner.email)
    assert send(two, "PUT", "/auth/password", {"old": "wrong", "password": "another good one"}).status_code == 422
    assert send(two, "PUT", "/auth/password", {"old": PASSWORD, "password": "another good one"}).status_code == 200
    assert send(one, "GET", "/auth").status_code == 401
    assert send(two, "GET", "/auth").status_code == 200
    assert told("user.change_password.succeeded") == 1


def test_who_may_come_from_one_network_comes_from_no_other(owner: User) -> None:
    client, _ = sign_in(owner.email)
    token = make_token(owner.email)["token"]
    lock_out = send(client, "PATCH", "/auth/profile", {"allowed_addresses": ["192.0.2.0/24"]})
    assert lock_out.json()["code"] == "would_lock_out"
    User.objects.update(allowed_addresses=["192.0.2.0/24"])
    assert send(client, "GET", "/auth").json()["code"] == "address_not_allowed"
    assert send(Client(), "GET", "/auth", **bearer(token)).json()["code"] == "address_not_allowed"
    assert sign_in(owner.email)[1].json()["code"] == "address_not_allowed"
    assert send(Client(REMOTE_ADDR="192.0.2.7"), "GET", "/auth", **bearer(token)).status_code == 200


def test_an_admin_acts_as_a_user_and_is_named(org: Organization, owner: User) -> None:
    admin = User.objects.create_superuser("root@example.org", PASSWORD)
    client, _ = sign_in(admin.email)
    assert send(client, "POST", "/auth/su", {"user": owner.email}).status_code == 200
    me = send(client, "GET", "/auth").json()["data"]
    assert (me["user"]["email"], me["su_by"], me["is_admin"]) == (owner.email, admin.pk.hex, False)
    assert send(client, "POST", "/teams", {"name": "made by su"}).status_code == 200
    assert Job.objects.get(action="team.create").su_by == admin.pk
    assert send(client, "POST", "/auth/tokens", {"name": "t"}).json()["code"] == "su_refused"
    assert send(client, "DELETE", "/auth/su").status_code == 200
    assert send(client, "GET", "/auth").json()["data"]["user"]["email"] == admin.email


def test_only_admins_act_as_others(org: Organization, owner: User) -> None:
    make_member(org, "other@example.org")
    client, _ = sign_in(owner.email)
    assert send(client, "POST", "/auth/su", {"user": "other@example.org"}).json()["code"] == "admin_only"
    assert told("user.su.refused") == 1


def test_an_account_is_deleted_but_not_the_last_owners(org: Organization, owner: User) -> None:
    other = make_member(org, "other@example.org", owner=True)
    machine_owner = people.make_user("second@example.org", PASSWORD)
    client, _ = sign_in(other.email)
    assert send(client, "DELETE", "/auth/account", {"password": "no"}).status_code == 422
    assert send(client, "DELETE", "/auth/account", {"password": PASSWORD}).status_code == 200
    assert not User.objects.filter(pk=other.pk).exists()
    client, _ = sign_in(owner.email)
    assert send(client, "DELETE", "/auth/account", {"password": PASSWORD}).json()["code"] == "last_owner"
    assert User.objects.filter(pk__in=[owner.pk, machine_owner.pk]).count() == 2


def test_a_job_runs_with_the_rights_of_today(rows: Any, org: Organization) -> None:
    user = make_member(org, "m@example.org", allow("machine.*"))
    actor = Actor(org_id=org.pk, user_id=user.pk)
    machine = rows[Machine][0]
    job = perform(actor, machine, "stop")
    Membership.objects.filter(user=user).delete()
    claimed = actions.claim(job.pk, "test")
    assert claimed is not None
    actions.run(claimed)
    job.refresh_from_db()
    assert (job.state, job.error_code) == ("failed", "actor_gone")
    with pytest.raises(Unauthenticated):
        again(actor)


def test_a_job_of_a_revoked_token_fails(owner: User, actor: Actor) -> None:
    make_token(owner.email)
    token = Token.objects.get()
    by_token = Actor(org_id=actor.org_id, user_id=owner.pk, token_id=token.pk)
    assert again(by_token).email == owner.email
    perform(actor, token, "delete")
    with pytest.raises(Unauthenticated) as gone:
        again(by_token)
    assert gone.value.code == "token_gone"


def test_adduser_makes_an_account_with_a_one_time_password(capsys: Any) -> None:
    call_command("adduser", "new@example.org", "--org", "fresh")
    password = capsys.readouterr().out.split("One-time password: ")[1].strip()
    _, answer = sign_in("new@example.org", password)
    assert answer.json()["data"]["must_change_password"] is True
    assert Team.objects.get(org__name="fresh", is_owners=True).members.count() == 1
    for wrong in ("new@example.org", "NEW@example.org", "no address", "a\x00b@example.org"):
        with pytest.raises(CommandError):
            call_command("adduser", wrong)


def test_sign_up_is_closed_unless_switched_on(client: Client, settings: Any) -> None:
    page = client.post("/account/signup/", {"email": "x@example.org", "password1": PASSWORD, "password2": PASSWORD})
    assert not User.objects.exists()
    assert page.status_code in (200, 403, 302)


def test_the_sign_in_page_counts_and_records_too(client: Client, owner: User) -> None:
    for _ in range(throttle.PER_ACCOUNT):
        client.post("/sign-in", {"login": owner.email, "password": "wrong"})
    client.post("/sign-in", {"login": owner.email, "password": PASSWORD})
    assert "_auth_user_id" not in client.session
    assert told("session.create.refused") == throttle.PER_ACCOUNT + 1
    throttle.succeeded(owner.email, "127.0.0.1")
    client.post("/sign-in", {"login": owner.email, "password": PASSWORD})
    assert client.session["_auth_user_id"] == str(owner.pk)
    assert told("session.create.succeeded") == 1


def test_the_last_owner_cannot_leave(org: Organization, owner: User, actor: Actor) -> None:
    with pytest.raises(Conflict) as refused:
        perform(actor, Membership.objects.get(user=owner), "remove")
    assert refused.value.code == "last_owner"


def test_nobody_is_acted_for_through_a_token(owner: User) -> None:
    admin = User.objects.create_superuser("root@example.org", PASSWORD)
    make_member(make_org("theirs"), admin.email)
    token = make_token(admin.email)["token"]
    assert send(Client(), "POST", "/auth/su", {"user": owner.email}, **bearer(token)).json()["code"] == "session_only"
    assert Denied.status == 403
