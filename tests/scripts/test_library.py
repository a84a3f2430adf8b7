"""The library: from text, an address, a repository; versions; what archives of strangers may not do."""

from __future__ import annotations

import gzip
import http.server
import io
import json
import socket
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
from django.db import DatabaseError, transaction
from dulwich.objects import Commit
from dulwich.repo import MemoryRepo
from dulwich.server import DictBackend
from dulwich.web import make_wsgi_chain
from rest_framework.test import APIClient

from core.actions import perform
from core.errors import Conflict, Denied, Failed, Invalid, NotFound
from core.models import Event
from scripts import content
from scripts.actions.library import newest, read
from scripts.models import Script, ScriptVersion
from scripts.sources import git, web
from tests.scripts.conftest import HELLO, Place, make_place

pytestmark = pytest.mark.django_db

PLAYBOOK = "- hosts: all\n  gather_facts: false\n  tasks:\n    - ansible.builtin.raw: echo hi\n"


@pytest.fixture
def served() -> Iterator[Callable[..., str]]:
    """Serve bytes, a redirect or silence on a port of its own; the address."""
    servers: list[Any] = []

    def serve(body: bytes = b"", *, location: str = "", hang: bool = False) -> str:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if hang:
                    time.sleep(30)
                self.send_response(302 if location else 200)
                if location:
                    self.send_header("Location", location)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}/folder/hello.sh"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def tar(members: dict[str, bytes | tuple[bytes, str]], mode: str = "w:gz") -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode=mode) as archive:  # type: ignore[call-overload]
        for name, what in members.items():
            info = tarfile.TarInfo(name)
            if isinstance(what, tuple):
                info.type, info.linkname = what
                archive.addfile(info)
            else:
                info.size, info.mode = len(what), 0o755
                archive.addfile(info, io.BytesIO(what))
    return raw.getvalue()


def test_a_script_has_versions_that_never_change(place: Place) -> None:
    script = place.script("#!/bin/sh\r\necho one\r\n", parameters=[{"name": "a", "default": "x"}], tags={"team": "ops"})
    assert bytes(newest(script).content) == b"#!/bin/sh\necho one\n"
    perform(place.actor, script, "edit", {"script": "#!/bin/bash\necho two\n", "description": "d"})
    script.refresh_from_db()
    assert (script.latest, newest(script).interpreter, newest(script).parameters[0]["default"]) == (2, "bash", "x")
    perform(place.actor, script, "edit", {"script": "#!/bin/bash\necho two\n"})
    script.refresh_from_db()
    assert script.latest == 2, "the same again is no version"
    with pytest.raises(DatabaseError, match="never changed"), transaction.atomic():
        ScriptVersion.objects.filter(script=script).update(content=b"other")
    with pytest.raises(Conflict) as moved:
        perform(place.actor, script, "edit", {"script": "x", "based_on": 1})
    assert moved.value.code == "version_moved"


def test_what_a_script_says_is_in_no_event(place: Place) -> None:
    place.script("#!/bin/sh\necho very-private-words\n")
    assert "very-private-words" not in json.dumps([[e.detail, e.after] for e in Event.objects.all()], default=str)


def test_a_script_is_deleted_and_its_runs_stay(place: Place) -> None:
    script = place.script()
    perform(place.actor, script, "delete")
    assert not Script.objects.exists()
    assert not ScriptVersion.objects.exists()


@pytest.mark.parametrize("verb", ["create", "edit", "tag", "delete", "run"])
def test_who_may_not_is_refused(place: Place, member: Callable[..., Any], verb: str) -> None:
    script = place.script()
    reader = member({"effect": "allow", "verbs": ["*.read"], "what": {}})
    params = {"create": {"name": "n", "script": HELLO}, "tag": {"tags": {"a": "b"}}, "run": {"search": "name:x"}}.get(verb, {})
    with pytest.raises(Denied):
        perform(reader, Script if verb == "create" else script, verb, params)
    with pytest.raises(NotFound):
        perform(make_place("there").actor, Script.objects.get() if verb != "create" else script, "edit", {})


def test_who_may_is_not(place: Place, member: Callable[..., Any]) -> None:
    writer = member({"effect": "allow", "verbs": ["script.*"], "what": {}})
    job = perform(writer, Script, "create", {"name": "mine", "script": HELLO})
    script = Script.objects.get(pk=job.target_id)
    perform(writer, script, "edit", {"description": "x"})
    perform(writer, script, "tag", {"tags": {"a": "b"}})
    perform(writer, script, "delete")


def test_a_file_and_an_archive_behind_an_address(place: Place, served: Callable[..., str]) -> None:
    url = served(b"#!/usr/bin/env python3\nprint('hi')\n")
    script = place.script(url, location_type="url")
    version = newest(script)
    assert (version.interpreter, version.entrypoint, version.origin, script.location) == ("python3", "hello.sh", url, url)
    for data in (
        tar({"top/main.sh": b"#!/bin/sh\n. ./lib.sh\n", "top/lib.sh": b"x=1\n"}),
        _zip({"main.sh": b"#!/bin/sh\n", "lib.sh": b"x"}),
    ):
        bundle = place.script(served(data), name=f"bundle{len(data)}", location_type="url")
        assert newest(bundle).is_bundle
        assert sorted(read(newest(bundle)).files) == ["lib.sh", "main.sh"]


def _zip(members: dict[str, bytes]) -> bytes:
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return raw.getvalue()


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (tar({"../evil.sh": b"x"}), "unsafe_path"),
        (tar({"/etc/cron.d/evil": b"x"}), "unsafe_path"),
        (tar({"main.sh": b"x", "a/../../b": b"x"}), "unsafe_path"),
        (tar({"main.sh": (tarfile.SYMTYPE, "/etc/passwd")}), "unsafe_link"),  # type: ignore[dict-item]
        (tar({"main.sh": (tarfile.LNKTYPE, "../../x")}), "unsafe_link"),  # type: ignore[dict-item]
        (tar({"dev": (tarfile.CHRTYPE, "")}), "unsafe_member"),  # type: ignore[dict-item]
        (_zip({"../evil.sh": b"x"}), "unsafe_path"),
        (_zip({"C:/evil.sh": b"x", "y": b""}), "unsafe_path"),
        (_zip({"bomb": bytes(200 << 20)}), "archive_too_large"),
        (tar({"bomb": bytes(200 << 20)}), "archive_too_large"),
        (gzip.compress(bytes(200 << 20)), "bad_script"),
        (tar({f"f{n}": b"" for n in range(5000)}), "archive_too_large"),
        (_zip({f"f{n}": b"" for n in range(5000)}), "archive_too_large"),
        (tar({"a.txt": b"1", "b.txt": b"2"}), "no_entrypoint"),
        (tar({"main.sh": b"x"})[:-20], "bad_archive"),
        (b"PK\x03\x04garbage", "bad_archive"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # an archive holds the time it was made: workers would disagree
)
def test_what_an_archive_may_not_hold(data: bytes, code: str) -> None:
    with pytest.raises(Invalid) as refused:
        content.fetched(data, "x", "executable", "", "")
    assert refused.value.code == code


def test_an_address_is_dialled_by_our_rules_at_each_hop(place: Place, served: Callable[..., str], member: Callable[..., Any]) -> None:
    inner = served(b"#!/bin/sh\n")
    assert place.script(served(location=inner), location_type="url").latest == 1  # an admin may name this machine
    writer = member({"effect": "allow", "verbs": ["script.*"], "what": {}})
    for url in (
        inner,
        served(location="http://169.254.169.254/latest"),
        "http://[::ffff:169.254.169.254]/",
        "file:///etc/passwd",
        "http://u:p@x/",
    ):
        with pytest.raises(Invalid):
            perform(writer, Script, "create", {"name": "no", "script": url, "location_type": "url"})
    with pytest.raises(Invalid):
        web.load(place.actor, served(location="http://169.254.169.254/latest"), "executable", "")
    with pytest.raises(Invalid):
        web.load(place.actor, served(location="gopher://x/"), "executable", "")


def test_a_server_that_hangs_is_cut_off(place: Place, served: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "DEADLINE_S", 1.0)
    monkeypatch.setattr(web.Client.__init__, "__defaults__", (1.0,))
    began = time.monotonic()
    with pytest.raises(Failed):
        perform(place.actor, Script, "create", {"name": "h", "script": served(hang=True), "location_type": "url"})
    assert time.monotonic() - began < 20


# --- Git -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def repository() -> Iterator[tuple[str, MemoryRepo]]:
    """A Git server over HTTP with one repository."""
    repo = MemoryRepo()
    server = make_server(
        "127.0.0.1",
        0,
        make_wsgi_chain(DictBackend({"/repo": repo})),
        handler_class=type("Quiet", (WSGIRequestHandler,), {"log_message": lambda *_: None}),
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/repo", repo
    server.shutdown()
    server.server_close()


def commit(repo: MemoryRepo, files: dict[str, bytes], branch: str = "master") -> str:
    from dulwich.objects import Blob, Tree

    tree = Tree()
    for name, data in files.items():
        blob = Blob.from_string(data)
        repo.object_store.add_object(blob)
        tree.add(name.encode(), 0o100755, blob.id)
    repo.object_store.add_object(tree)
    made = Commit()
    made.tree, made.author, made.committer, made.message = tree.id, b"a <a@b>", b"a <a@b>", b"m"
    made.author_time = made.commit_time = int(time.time())
    made.author_timezone = made.commit_timezone = 0
    repo.object_store.add_object(made)
    repo.refs[f"refs/heads/{branch}".encode()] = made.id  # type: ignore[index]
    repo.refs.set_symbolic_ref(b"HEAD", b"refs/heads/master")  # type: ignore[arg-type]
    return made.id.decode()


def test_a_repository_at_a_ref_is_pinned_to_its_commit(place: Place, repository: tuple[str, MemoryRepo]) -> None:
    url, repo = repository
    first = commit(repo, {"main.sh": b"#!/bin/sh\necho 1\n", "lib.sh": b"x\n"})
    other = commit(repo, {"run.sh": b"#!/bin/bash\necho other\n", "lib.sh": b"x\n"}, "next")
    script = place.script(url, location_type="github")
    assert newest(script).origin == f"{url}@{first}"
    branch = place.script(url, name="branch", location_type="git", ref="next")
    assert (newest(branch).origin, newest(branch).entrypoint) == (f"{url}@{other}", "run.sh")
    second = commit(repo, {"main.sh": b"#!/bin/sh\necho 2\n", "lib.sh": b"x\n"})
    assert newest(script).origin.endswith(first), "what was fetched stays what it was"
    perform(place.actor, script, "edit", {"fetch": True})
    script.refresh_from_db()
    assert (script.latest, newest(script).origin) == (2, f"{url}@{second}")
    with pytest.raises(Invalid) as refused:
        perform(place.actor, script, "edit", {"ref": "nothing-such"})
    assert "master, next" in str(refused.value.fields)


def test_a_git_server_that_hangs_or_is_none(place: Place, served: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(git, "DEADLINE_S", 1.0)
    with socket.socket() as hanging:
        hanging.bind(("127.0.0.1", 0))
        hanging.listen()
        url = f"http://127.0.0.1:{hanging.getsockname()[1]}/repo"
        began = time.monotonic()
        with pytest.raises(Failed):
            perform(place.actor, Script, "create", {"name": "h", "script": url, "location_type": "git"})
        assert time.monotonic() - began < 20
    with pytest.raises(Invalid):
        perform(place.actor, Script, "create", {"name": "h", "script": served(b"hello"), "location_type": "git"})


# --- parameters ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameter", "good", "bad"),
    [
        ({"name": "a", "type": "number", "minimum": 1, "maximum": 5}, [1, "5", 2.5], ["x", 6, 0, "nan", True]),
        ({"name": "a", "type": "boolean"}, [True, "false", "on"], ["perhaps"]),
        ({"name": "a", "type": "choice", "choices": ["x", "y"]}, ["x"], ["z", ["x"]]),
        ({"name": "a", "pattern": "[a-z]+"}, ["abc"], ["ABC", "a\0"]),
        ({"name": "a", "required": True}, ["x"], [None, "", {"a": 1}]),
    ],
)
def test_parameters_are_checked(place: Place, parameter: dict[str, Any], good: list[Any], bad: list[Any]) -> None:
    from scripts.parameters import values

    declared = newest(place.script(parameters=[parameter])).parameters
    for value in good:
        assert "a" in values(declared, {"a": value})
    for value in bad:
        with pytest.raises(Invalid):
            values(declared, {"a": value})
    with pytest.raises(Invalid):
        values(declared, {"a": good[0], "unknown": 1})


@pytest.mark.parametrize(
    "parameters",
    [
        [{"name": "a b"}],
        [{"name": "a", "type": "choice"}],
        [{"name": "LD_PRELOAD"}],
        [{"name": "a"}, {"name": "a"}],
        [{"name": "a", "type": "secret", "via": "option"}],
        [{"name": "a", "type": "number", "default": "x"}],
        [{"name": "a", "pattern": "("}],
    ],
)
def test_parameters_are_declared_right(place: Place, parameters: list[Any]) -> None:
    with pytest.raises(Invalid):
        place.script(parameters=parameters)


# --- the API ---------------------------------------------------------------------------------------------------------


def test_the_contracts_operations(place: Place, api: APIClient) -> None:
    body = {"name": "backup", "script": HELLO, "location_type": "inline", "exec_type": "executable", "description": "nightly"}
    made = api.post("/api/v2/scripts", body, format="json").json()["data"]
    assert (made["name"], made["version"]) == ("backup", 1)
    one = api.get("/api/v2/scripts/backup").json()["data"]
    assert (one["script"], one["files"], one["description"]) == (HELLO, ["script"], "nightly")
    assert api.put("/api/v2/scripts/backup?name=restore").json()["data"]["name"] == "restore"
    assert api.get("/api/v2/scripts/restore/file").content == HELLO.encode()
    url = api.get("/api/v2/scripts/restore/url").json()["data"]["url"]
    assert APIClient().get(url.replace("http://testserver", "")).content == HELLO.encode()
    assert APIClient().get("/api/v2/scripts/shared/abc").status_code == 404
    api.patch("/api/v2/scripts/restore", {"script": "#!/bin/sh\necho bye\n"}, format="json")
    assert "-echo hello\n+echo bye" in api.get("/api/v2/scripts/restore/diff").json()["data"]["diff"]
    assert [v["number"] for v in api.get("/api/v2/scripts/restore/versions").json()["data"]] == [2, 1]
    assert api.delete("/api/v2/scripts/restore").status_code == 200
    assert api.get("/api/v2/scripts").json()["meta"]["total"] == 0
