"""Secrets in runs: handed over by reference at the last moment, masked in what hosts say, kept nowhere."""

from __future__ import annotations

import base64
import json
import shlex
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.actions import perform
from core.actor import Actor
from core.errors import Conflict, Invalid, Unavailable
from core.models import Event, Job
from keys.models import Secret
from scripts import ansible
from scripts.models import Run
from scripts.output import MASK, Masker
from tests.keys.test_keys_api import allow
from tests.keys.test_secrets import everything_stored
from tests.lab.sshd import Sshd
from tests.scripts.conftest import Place, finish, said
from tests.scripts.test_output import fed

PASSWORD = 'hunter2 "horse"\n$(battery) staple'


def kept(place: Place, name: str = "team/db", **values: str) -> Secret:
    job = perform(place.actor, Secret, "create", {"name": name, "secret": values or {"password": PASSWORD}})
    return Secret.objects.get(pk=job.target_id)


@pytest.mark.django_db
def test_a_secret_reaches_the_script_as_it_is_and_is_masked_in_what_it_says(place: Place, sshd: Sshd) -> None:
    kept(place)
    text = (
        "#!/bin/bash\nprintf '%s' \"$TOKEN\" | sha256sum\nprintf '%s' \"$PW\" | sha256sum\n"
        'echo "is $PW"; printf %s "$TOKEN" | base64 -w0; echo; printf %s "user:$TOKEN" | base64 -w0 >&2; '
        'echo; (printf %50s; printf %s "$TOKEN") | base64; sleep 0.4; echo "end of $TOKEN"\n'
    )
    script = place.script(text, parameters=[{"name": "TOKEN", "type": "secret", "required": True}])
    run = place.run(script, place.behind(sshd, "a"), params={"TOKEN": "team/db/password"}, env="PW=secret:team/db/password")
    output = said(run.hosts.get())
    import hashlib

    digest = hashlib.sha256(PASSWORD.encode()).hexdigest()
    assert output.count(digest) == 2, output  # it was handed over letter by letter
    assert "hunter2" not in output and "battery" not in output
    assert base64.b64encode(PASSWORD.encode()).decode()[:20] not in output
    assert base64.b64encode(f"user:{PASSWORD}".encode()).decode()[12:40] not in output
    lines = base64.b64encode(b" " * 50 + PASSWORD.encode()).decode()
    assert lines[:76] not in output and lines[-12:-2] not in output and lines[:60] in output
    assert f"is {MASK.decode()}" in output and f"end of {MASK.decode()}" in output
    everything = everything_stored()
    assert "hunter2" not in everything and "team/db/password" in everything
    used = Event.objects.get(type="secret.use.succeeded")
    assert run.pk.hex in used.detail["params"]["reason"]
    assert Job.objects.filter(pk=used.job_id, action="secret.use", user_id=place.actor.user_id).exists()


@pytest.mark.django_db
@pytest.mark.skipif(bool(ansible.missing()), reason="no OpenSSH client")
def test_a_playbook_gets_it_as_a_variable_and_its_output_is_masked(place: Place, sshd: Sshd) -> None:
    kept(place, password="hunter2-horse")
    play = "- hosts: all\n  gather_facts: false\n  tasks:\n    - name: say\n      ansible.builtin.raw: echo got {{ pw }}\n"
    run = place.run(place.script(play, exec_type="ansible"), place.behind(sshd, "a"), env={"pw": {"secret": "team/db/password"}})
    output = said(run.hosts.get())
    assert run.state == "succeeded", output
    assert f"got {MASK.decode()}" in output and "hunter2" not in output
    assert "hunter2" not in everything_stored()


@pytest.mark.django_db
def test_a_run_takes_only_secrets_its_asker_may_use(place: Place, member: Callable[..., Actor], sshd: Sshd) -> None:
    secret = kept(place)
    machines = place.behind(sshd, "a")
    script = place.script("#!/bin/sh\n:\n")
    asked: dict[str, Any] = {"machines": [machines[0].pk.hex], "env": "PW=secret:team/db/password"}
    reader = member(allow("script.*", "machine.*", "secret.read", "secret.read_value"))
    told = []
    for wanted in ("secret:team/db/password", "secret:team/db/nothing", "secret:nowhere/password", "secret:none"):
        with pytest.raises(Invalid) as refused:
            perform(reader, script, "run", {**asked, "env": {"PW": wanted}})
        told.append(str(refused.value.fields).replace(wanted, ""))
    assert told[0] == told[1] == told[2]  # what one may not use is not there
    user = member(allow("script.*", "machine.*", "secret.read", "secret.use"))
    job = perform(user, script, "run", asked)
    perform(place.actor, secret, "edit", {"name": "elsewhere"})
    finish(job)
    assert (job.state, job.error_code) == ("failed", "no_secret")  # read at the last moment
    perform(place.actor, secret, "edit", {"name": "team/db"})
    assert finish(perform(user, script, "run", asked)).state == "succeeded"
    assert not Secret.objects.visible_to(user, "read_value").exists()  # to use is not to see
    assert Run.objects.get(pk=job.pk).environment == {"PW": {"secret": "secret:team/db/password"}}


@pytest.mark.django_db
def test_secrets_of_another_organization_are_none(place: Place, sshd: Sshd) -> None:
    from tests.scripts.conftest import make_place

    other = make_place("there")
    foreign = kept(other)
    for wanted in ("team/db/password", f"{foreign.pk.hex}/password"):
        with pytest.raises(Invalid, match="no such secret"):
            perform(place.actor, place.behind(sshd, f"a{len(wanted)}")[0], "run", {"script": script_of(place), "env": f"A=secret:{wanted}"})


def script_of(place: Place) -> str:
    return place.script("#!/bin/sh\n:\n", name=f"s{Run.objects.count()}{Event.objects.count()}").pk.hex


@pytest.mark.django_db
def test_a_cloud_takes_credentials_by_reference(place: Place) -> None:
    from clouds.connection import connect
    from clouds.models import Cloud
    from core import vault

    secret = kept(place, "registry", password="first")
    docker = {"host": "http://127.0.0.1:9", "username": "me", "password": "secret:registry/password"}
    with pytest.raises(Unavailable):
        perform(place.actor, Cloud, "create", {"name": "d", "provider": "docker", "credentials": docker})
    assert Event.objects.filter(type="secret.use.succeeded").count() == 1  # it was tried with the value
    with pytest.raises(Invalid) as wrong:
        perform(place.actor, Cloud, "create", {"name": "d", "provider": "docker", "credentials": {**docker, "password": "secret:no/thing"}})
    assert "no such secret" in str(wrong.value.fields["credentials"]["password"])
    entry = vault.put(place.actor.org_id, "cloud", {"password": f"secret:{secret.pk.hex}/password"})
    cloud = Cloud.objects.create(org_id=place.actor.org_id, name="d", provider="docker", config={"host": "x"}, vault=entry)
    for now in ("first", "second"):
        perform(place.actor, secret, "edit", {"secret": {"password": now}, "name": f"registry-{now}"})
        with connect(cloud, Actor.system()) as made:
            assert made.credentials["password"] == now


@pytest.mark.django_db
def test_a_secret_a_cloud_refers_to_is_not_deleted(place: Place) -> None:
    from clouds.models import Cloud
    from keys import references

    secret = kept(place)
    cloud = Cloud.objects.create(org_id=place.actor.org_id, name="d", provider="demo")
    references.note_uses("cloud", cloud.pk, {"password": secret})
    with pytest.raises(Conflict, match="1 cloud refers"):
        perform(place.actor, secret, "delete")
    finish_removal(place, cloud)
    perform(place.actor, secret, "delete")
    assert not Secret.objects.exists()


def finish_removal(place: Place, cloud: Any) -> None:
    finish(perform(place.actor, cloud, "remove", undo_s=0))


SECRET = "hunter2/+?horse&co"


@given(st.binary(max_size=7), st.binary(max_size=7), st.lists(st.integers(1, 9), max_size=30))
def test_base64_of_a_secret_within_anything_is_masked_wherever_it_is_cut(before: bytes, after: bytes, cuts: list[int]) -> None:
    text = base64.b64encode(before + SECRET.encode() + after)
    pieces, at = [], 0
    for cut in [*cuts, len(text)]:
        pieces.append(text[at : at + cut])
        at += cut
    first, last = -(-len(before) * 8 // 6), (len(before) + len(SECRET)) * 8 // 6  # letters in which nothing else has a part
    assert fed(Masker([SECRET]), pieces) == text[:first] + MASK + text[last:]


@given(
    st.binary(max_size=80), st.sampled_from([12, 64, 76, 77]), st.sampled_from([b"\n", b"\r\n"]), st.lists(st.integers(1, 90), max_size=30)
)
def test_base64_of_a_secret_is_masked_in_whatever_lines_it_is_written(before: bytes, width: int, end: bytes, cuts: list[int]) -> None:
    """A key of three lines and a bit, in the middle of something."""
    secret = "".join(chr(33 + n * 7 % 90) for n in range(200))
    whole = base64.b64encode(before + secret.encode() + b"after")
    text = b"".join(whole[at : at + width] + end for at in range(0, len(whole), width))
    pieces, at = [], 0
    for cut in [*cuts, len(text)]:
        pieces.append(text[at : at + cut])
        at += cut
    first, last = -(-len(before) * 8 // 6), (len(before) + len(secret)) * 8 // 6
    left = fed(Masker([secret]), pieces)
    assert left.translate(None, b"\r\n") == whole[:first] + MASK + whole[last:]


def test_base64_of_a_long_secret_is_masked_over_its_lines() -> None:
    secret = "".join(chr(33 + n * 31 % 90) for n in range(20_000))
    whole = base64.b64encode(secret.encode() + b"\n")  # as `echo` gives it
    text = b"".join(whole[at : at + 76] + b"\n" for at in range(0, len(whole), 76))
    masker = Masker([secret])
    left = fed(masker, [text[at : at + 700] for at in range(0, len(text), 700)])
    assert left.startswith(MASK) and len(left) < 20


def test_lines_that_only_begin_like_a_secret_are_told_as_they_are() -> None:
    whole = base64.b64encode(SECRET.encode())
    text = whole[:9] + b"\n\n" + whole[:5] + b"\r\n"
    assert fed(Masker([SECRET]), [text[:10], text[10:12], text[12:]]) == text


@pytest.mark.parametrize(
    "written",
    [
        b"hunter2%2F%2B%3Fhorse%26co",
        b"hunter2%2f%2b%3fhorse%26co",
        b"hunter2/%2B%3Fhorse%26co",
        b'{"a": "hunter2/+?horse&co"}',
        b"<a>hunter2/+?horse&amp;co</a>",
        b"HUNTER2/+?HORSE&CO",
        base64.urlsafe_b64encode(SECRET.encode()),
        SECRET.encode().hex().encode(),
        SECRET.encode().hex().upper().encode(),
    ],
)
def test_other_guises_of_a_secret_are_masked(written: bytes) -> None:
    out = fed(Masker([SECRET]), [written[:9], written[9:]])
    assert not any(word in out.lower() for word in (b"horse", b"hunter", b"686f727365")) and MASK in out


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_a_secret_with_quotes_is_masked_as_a_shell_and_python_write_it(shell: str) -> None:
    secret = "it's a \"secret\" o'clock"
    traced = subprocess.run([shell, "-xc", 'true "$1"', "x", secret], capture_output=True, check=True).stderr
    for written in (traced, shlex.quote(secret).encode(), repr(secret).encode(), json.dumps(secret).encode()):
        out = fed(Masker([secret]), [written])
        assert b"clock" not in out and MASK in out, written
