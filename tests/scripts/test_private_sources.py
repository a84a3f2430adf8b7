"""Scripts from places that are not open to all: Git over SSH by a key, addresses over https by a token that is a secret."""

from __future__ import annotations

import base64
import os
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
from dulwich.repo import MemoryRepo
from dulwich.server import DictBackend
from dulwich.web import make_wsgi_chain
from rest_framework.test import APIClient

from accounts.models import User
from core.actions import perform
from core.actor import Actor
from core.errors import Failed, HostKeyChanged, HostKeyUnknown, Invalid
from core.models import Event, Job
from keys import hostkeys
from keys.models import HostKey, Key, Secret
from scripts.actions.library import newest, read
from scripts.models import Script
from scripts.sources import git, web
from scripts.sources.ssh import place as place_of
from tests.lab.certificates import Authority
from tests.lab.sshd import Fake, Sshd, fake_ssh, new_key, public_line, sshd
from tests.scripts.conftest import Place
from tests.scripts.test_library import commit

__all__ = ["fake_ssh", "sshd"]
pytestmark = pytest.mark.django_db
TOKEN = "token-that-nobody-sees"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("git@git.example:ops/tools.git", ("git", "git.example", 22, "ops/tools.git")),
        ("ssh://git@git.example/ops/tools.git", ("git", "git.example", 22, "/ops/tools.git")),
        ("ssh://git.example:2222/ops/tools", ("git", "git.example", 2222, "/ops/tools")),
        ("ssh://me@[2001:db8::1]:22/~/tools", ("me", "2001:db8::1", 22, "~/tools")),
        ("deploy@host:a b", None),
        ("https://git.example/ops", None),
        ("ops/tools", None),
    ],
)
def test_an_address_over_ssh_is_taken_apart(text: str, found: tuple[Any, ...] | None) -> None:
    where = place_of(text)
    assert (where and (where.user, where.host, where.port, where.path)) == found


@pytest.mark.parametrize(
    "text", ["ssh://git:password@h/x", "ssh://h", "ssh://h:0/x", "ssh://h:99999/x", "-oProxyCommand=x@h:y", "git@h:-upload", "ssh://h/a b"]
)
def test_an_address_over_ssh_that_is_none(place: Place, text: str) -> None:
    with pytest.raises(Invalid):
        perform(place.actor, Script, "create", {"name": "no", "script": text, "location_type": "git"})
    assert Event.objects.get(type="script.create.refused")


# --- over SSH -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A bare repository on a disk, with a branch, a tag and what nothing is obeyed of."""
    work, bare = tmp_path / "work", tmp_path / "it's bare.git"
    work.mkdir()
    (work / "main.sh").write_text("#!/bin/sh\necho from git\n")
    (work / "lib.sh").write_text("x\n")
    (work / "link").symlink_to("/etc/passwd")
    identity = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b"}
    environment = {**os.environ, **identity, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}

    def do(*words: str) -> None:
        subprocess.run(["git", *words], cwd=work, check=True, capture_output=True, env=environment)

    do("init", "-q", "-b", "main")
    do("add", ".")
    do("commit", "-qm", "one")
    do("tag", "-am", "first", "v1")
    (work / "main.sh").write_text("#!/bin/sh\necho later\n")
    do("commit", "-qam", "two")
    do("branch", "next", "v1")
    do("clone", "-q", "--bare", str(work), str(bare))
    return bare


def url(server: Sshd, repository: Path) -> str:
    return f"ssh://{server.user}@{server.host}:{server.port}{str(repository).replace(' ', '%20')}"


def known(place: Place, server: Sshd | Fake, port: int) -> None:
    more = {"name": "git", "fingerprint": hostkeys.fingerprint(server.public_host_key), "public": server.public_host_key}
    HostKey.objects.create(org_id=place.actor.org_id, host="127.0.0.1", port=port, **more)


@pytest.mark.parametrize(("ref", "text"), [("", "later"), ("main", "later"), ("v1", "from git"), ("next", "from git")])
def test_a_repository_is_read_over_ssh_at_a_ref(place: Place, sshd: Sshd, repository: Path, ref: str, text: str) -> None:
    known(place, sshd, sshd.port)
    key = place.key(sshd.private_key, "deploy")
    script = place.script(url(sshd, repository), location_type="git", ref=ref, key=key.pk.hex)
    files = read(newest(script)).files
    assert text in files["main.sh"].data.decode() and set(files) == {"main.sh", "lib.sh"}  # no link
    assert newest(script).origin.startswith(url(sshd, repository) + "@")
    assert "PRIVATE" not in str(list(Event.objects.values_list("detail", "after"))) + str(list(Job.objects.values_list("params")))


def test_a_ref_that_is_not_there_says_which_are(place: Place, sshd: Sshd, repository: Path) -> None:
    known(place, sshd, sshd.port)
    key = place.key(sshd.private_key, "deploy")
    with pytest.raises(Invalid) as refused:
        place.script(url(sshd, repository), location_type="git", ref="nothing-such", key=key.pk.hex)
    assert "main, next" in str(refused.value.fields["ref"])
    with pytest.raises(Invalid) as refused:
        place.script(url(sshd, repository.parent / "nowhere"), location_type="git", key=key.pk.hex)
    assert refused.value.code == "not_a_repository"


def test_a_git_host_is_never_trusted_at_first_sight(place: Place, sshd: Sshd, repository: Path) -> None:
    key = place.key(sshd.private_key, "deploy")
    how = {"location_type": "git", "key": key.pk.hex}
    with pytest.raises(HostKeyUnknown):
        place.script(url(sshd, repository), **how)
    row = HostKey.objects.get()
    assert (row.source, row.offered, row.public) == ("unmet", sshd.public_host_key, "")
    assert Event.objects.filter(type="script.create.refused").exists() or Event.objects.filter(type="script.create.failed").exists()
    perform(place.actor, row, "retrust", {"fingerprint": hostkeys.fingerprint(sshd.public_host_key)})
    assert place.script(url(sshd, repository), **how).latest == 1
    other = public_line(new_key())
    HostKey.objects.update(public=other)
    with pytest.raises(HostKeyChanged):
        perform(place.actor, Script.objects.get(), "edit", {"fetch": True})
    assert HostKey.objects.get().offered == sshd.public_host_key
    assert Event.objects.filter(type="host_key.changed.observed").count() == 1


def test_a_key_that_is_none_or_not_let_in_is_named(place: Place, sshd: Sshd, repository: Path, member: Callable[..., Actor]) -> None:
    known(place, sshd, sshd.port)
    place.key(new_key(), "wrong")
    for how in ({}, {"key": "wrong"}, {"key": "not-there"}):
        with pytest.raises(Invalid) as refused:
            place.script(url(sshd, repository), location_type="git", **how)
        assert list(refused.value.fields) == ["key"], how
    right = place.key(sshd.private_key, "deploy")
    script = place.script(url(sshd, repository), location_type="git", key=right.pk.hex)
    writer = member({"effect": "allow", "verbs": ["script.*"], "what": {}})  # who may not even see that key
    with pytest.raises(Invalid) as refused:
        perform(writer, script, "edit", {"fetch": True})
    assert refused.value.fields == {"key": ["Not found."]}
    perform(place.actor, right, "delete")
    with pytest.raises(Invalid):
        perform(place.actor, Script.objects.get(), "edit", {"fetch": True})


def test_nobody_but_an_admin_has_this_machine_asked_for_a_repository(place: Place, sshd: Sshd, member: Callable[..., Actor]) -> None:
    place.key(sshd.private_key, "deploy")
    writer = member({"effect": "allow", "verbs": ["script.*", "key.read"], "what": {}})
    for where in ("127.0.0.1", "169.254.169.254", "[::ffff:169.254.169.254]"):
        params = {"name": "n", "script": f"ssh://git@{where}:{sshd.port}/x", "location_type": "git", "key": "deploy"}
        with pytest.raises(Invalid) as refused:
            perform(writer, Script, "create", params)
        assert "dialled" in str(refused.value.fields)
    assert not HostKey.objects.exists()


@pytest.mark.parametrize("how", ["says nothing", "floods", "talks nonsense", "ends"])
def test_a_git_host_that_misbehaves(place: Place, fake_ssh: Fake, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    import asyncio

    async def handler(process: Any) -> None:
        if how == "says nothing":
            await asyncio.sleep(3)
        elif how == "floods":
            for _ in range(3000):
                process.stdout.write(b"003f" + b"0" * 40 + b" refs/heads/aaaaaa\n" * 1)
                await process.stdout.drain()
            process.stdout.write(b"0000")
        elif how == "talks nonsense":
            process.stdout.write(b"Welcome to this host!\n")
        process.exit(1)

    monkeypatch.setattr(git, "DEADLINE_S", 2.0)
    monkeypatch.setattr(git, "MOST_PACK", 64 << 10)
    port = fake_ssh.serve(handler)
    known(place, fake_ssh, port)
    place.key(fake_ssh.private_key, "deploy")
    with pytest.raises((Invalid, Failed)) as refused:
        place.script(f"ssh://git@127.0.0.1:{port}/x", location_type="git", key="deploy")
    code = {"says nothing": "source_timeout", "floods": "archive_too_large"}.get(how, "not_a_repository")
    assert refused.value.code == code
    assert not Script.objects.exists()


# --- by a token ---------------------------------------------------------------------------------------------------------


class Guarded:
    """An https server that answers who sends the right header, keeps what it was asked, and leads elsewhere when told."""

    def __init__(self, ca: Authority, wanted: str, app: Any = None) -> None:
        self.asked: list[str] = []
        self.location = ""
        pair = ca.issue("127.0.0.1", "127.0.0.1")

        def answer(environ: Any, start: Any) -> Any:
            sent = environ.get("HTTP_AUTHORIZATION", "")
            self.asked.append(sent)
            if self.location:
                start("302 Found", [("Location", self.location)])
                return [b""]
            if sent != wanted:
                start("401 Unauthorized", [("Content-Length", "0")])
                return [b""]
            if app is not None:
                return app(environ, start)
            start("200 OK", [])
            return [b"#!/bin/sh\necho private\n"]

        quiet = type("Quiet", (WSGIRequestHandler,), {"log_message": lambda *_: None})
        self.server = make_server("127.0.0.1", 0, answer, handler_class=quiet)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        import tempfile

        with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
            file.write(pair.certificate + pair.key)
            file.flush()
            context.load_cert_chain(file.name)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"https://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def guarded(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Guarded]]:
    ca, made = Authority(), list[Guarded]()
    monkeypatch.setattr(web, "_tls", lambda: web.tls_context(ca=ca.certificate))

    def make(wanted: str, app: Any = None) -> Guarded:
        made.append(Guarded(ca, wanted, app))
        return made[-1]

    yield make
    for one in made:
        one.server.shutdown()
        one.server.server_close()


@pytest.fixture
def token(place: Place) -> Secret:
    job = perform(place.actor, Secret, "create", {"name": "git", "secret": {"token": TOKEN, "login": f"me:{TOKEN}"}})
    return Secret.objects.get(pk=job.target_id)


def basic(pair: str) -> str:
    return f"Basic {base64.b64encode(pair.encode()).decode()}"


def test_a_private_repository_is_read_by_a_token(place: Place, guarded: Callable[..., Guarded], token: Secret) -> None:
    repo = MemoryRepo()
    commit(repo, {"main.sh": b"#!/bin/sh\necho 1\n", "lib.sh": b"x\n"})
    server = guarded(basic(f"git:{TOKEN}"), make_wsgi_chain(DictBackend({"/repo": repo})))
    with pytest.raises(Invalid) as refused:
        place.script(f"{server.url}/repo", location_type="git")
    assert refused.value.code == "not_a_repository"
    script = place.script(f"{server.url}/repo", location_type="git", token="git/token")
    assert (script.token, newest(script).size) == ("secret:git/token", 19)
    used = Event.objects.filter(type="secret.use.succeeded").first()
    assert used is not None and "script from" in str(used.detail)
    assert TOKEN not in str(list(Event.objects.values_list("detail", "before", "after"))) + str(list(Job.objects.values_list("params")))


def test_a_private_file_is_read_by_a_token_and_no_other_host_sees_it(place: Place, guarded: Callable[..., Guarded], token: Secret) -> None:
    server, other = guarded(f"Bearer {TOKEN}"), guarded("nothing of ours")
    script = place.script(f"{server.url}/a.sh", location_type="url", token="secret:git/token")
    assert b"private" in bytes(newest(script).content)
    server.location = f"{other.url}/a.sh"
    with pytest.raises(Invalid):
        perform(place.actor, script, "edit", {"fetch": True})
    assert other.asked == [""]
    login = guarded(basic(f"me:{TOKEN}"))
    assert place.script(f"{login.url}/a.sh", "other", location_type="url", token="git/login").latest == 1


def test_a_token_goes_nowhere_in_the_clear_and_only_by_who_may_use_it(
    place: Place, guarded: Callable[..., Guarded], token: Secret, member: Callable[..., Actor]
) -> None:
    for kind in ("url", "git"):
        with pytest.raises(Invalid) as refused:
            place.script("http://127.0.0.1:1/a.sh", location_type=kind, token="git/token")
        assert "begins with https" in str(refused.value.fields)
    with pytest.raises(Invalid):
        place.script("https://127.0.0.1:1/a.sh", location_type="url", token=TOKEN)  # no reference
    server = guarded(f"Bearer {TOKEN}")
    script = place.script(f"{server.url}/a.sh", location_type="url", token="git/token")
    writer = member({"effect": "allow", "verbs": ["script.*"], "what": {}})
    count = len(server.asked)
    with pytest.raises(Invalid):
        perform(writer, script, "edit", {"script": f"{server.url}/stolen.sh"})
    assert len(server.asked) == count


def test_the_api_takes_and_answers_key_and_token(place: Place, api: APIClient, sshd: Sshd, repository: Path) -> None:
    known(place, sshd, sshd.port)
    User.objects.filter(pk=place.actor.user_id).update(is_superuser=True)  # who may have this very machine dialled
    key = place.key(sshd.private_key, "deploy")
    body = {"name": "tools", "script": url(sshd, repository), "location_type": "git", "exec_type": "executable", "key": "deploy"}
    made = api.post("/api/v2/scripts", body, format="json")
    assert made.status_code == 200, made.content
    one = api.get("/api/v2/scripts/tools?deref=none").json()["data"]
    assert (one["key"], one["token"], one["files"]) == (key.pk.hex, "", ["lib.sh", "main.sh"])
    assert Key.objects.get().pk == key.pk
