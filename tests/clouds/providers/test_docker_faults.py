"""What a Docker host may answer that is wrong: each is a clear error of ours, within the deadline. No engine is needed."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from clouds.providers import _http
from clouds.providers._http import tls_context
from clouds.providers.base import Context, Deadline
from clouds.providers.docker import Docker
from clouds.providers.docker.rows import ENGINE
from clouds.providers.facts import MachineSpec
from core.errors import AuthFailed, Gone, ProviderError, RateLimited, Rejected, Unavailable
from tests.lab.certificates import Authority

INFO = {"NCPU": 4, "MemTotal": 8 << 30, "ServerVersion": "27.0", "Name": "box", "ID": "x"}
CONTAINER = "a" * 64
Handler = Callable[[socket.socket, bytes], None]


def answer(status: int, body: bytes | object = b"", *headers: str) -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} Word", f"Content-Length: {len(data)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + data


@contextmanager
def serving(handle: Handler) -> Iterator[int]:
    """A server that reads one request at a time and lets `handle` do what it likes with the connection."""
    stop = threading.Event()

    def talk(sock: socket.socket) -> None:
        with sock, suppress(OSError):
            while request := sock.recv(65536):
                handle(sock, request)

    def serve() -> None:
        while not stop.is_set():
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=talk, args=(sock,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        try:
            yield listener.getsockname()[1]
        finally:
            stop.set()
            listener.shutdown(socket.SHUT_RDWR)


def always(data: bytes) -> Handler:
    def handle(sock: socket.socket, request: bytes) -> None:
        sock.sendall(data)

    return handle


def then_closed(data: bytes) -> Handler:
    def handle(sock: socket.socket, request: bytes) -> None:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_RDWR)

    return handle


def by_path(**routes: object) -> Handler:
    """Answers 200 with the JSON of the first route whose name is in the path."""

    def handle(sock: socket.socket, request: bytes) -> None:
        path = request.split(b" ")[1].decode()
        found = next((value for name, value in routes.items() if name in path), None)
        sock.sendall(answer(404, {"message": "page not found"}) if found is None else answer(200, found))

    return handle


def connect(port: int, deadline_s: float = 5, **credentials: Any) -> Docker:
    return Docker({"host": "127.0.0.1", "port": port} | credentials, Context(deadline=Deadline(deadline_s)))


@pytest.mark.parametrize(
    "said",
    [
        b"garbage that is no HTTP\r\n\r\n",
        b"",
        b'HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n{"NCPU": 4',
        b"HTTP/1.1 2x0 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000,
        b"SSH-2.0-OpenSSH_9.2\r\n",
        answer(200, b"<html>hello</html>"),
        answer(200, b"[" * 100_000),
        answer(200, b"\xff\xfe\x00"),
        answer(200, []),
        answer(200, {}),
        answer(200, {"NCPU": "four", "ServerVersion": 1}),
        answer(200, b""),
        answer(500, b"<html>oops"),
        answer(500, {"message": "the daemon is on fire"}),
        answer(502, b"bad gateway"),
        answer(503, b""),
        answer(404, b"<html>not found"),
        answer(301, b"", "Location: http://127.0.0.1/"),
        answer(204, b""),
        answer(400, b"what?"),
    ],
)
def test_an_answer_that_makes_no_sense_is_unavailable(said: bytes) -> None:
    with serving(then_closed(said)) as port:
        for ask in (connect(port).check, lambda: list(connect(port).list_machines())):
            with pytest.raises(Unavailable) as caught:
                ask()
            assert type(caught.value) is Unavailable
            assert caught.value.detail


@pytest.mark.parametrize(
    "row",
    [
        None,
        5,
        "text",
        [],
        {},
        {"Id": CONTAINER, "NetworkSettings": ["x"]},
        {"Id": CONTAINER, "Names": 5},
        {"Id": CONTAINER, "Ports": ["x"]},
        {"Id": CONTAINER, "Created": 10**30},
        {"Id": CONTAINER, "Labels": ["a"]},
    ],
)
def test_a_row_of_another_shape_is_unavailable_and_no_crash(row: object) -> None:
    with serving(
        by_path(
            info=INFO,
            **{f"{CONTAINER}/json": {}, "containers/json": [row], "networks": [row], "images": [row], "volumes": {"Volumes": [row]}},
        )
    ) as port:
        for listing in ("list_machines", "list_images", "list_networks", "list_volumes"):
            with suppress(Unavailable):
                list(getattr(connect(port), listing)())
        with pytest.raises(Unavailable, match="no Docker Engine"):
            list(connect(port).list_machines())


@pytest.mark.parametrize("status", [401, 403, 407])
def test_a_refusal_of_who_we_are_is_auth_failed_with_the_words_of_the_other_side(status: int) -> None:
    with serving(always(answer(status, {"message": "authz plugin says no"}))) as port, pytest.raises(AuthFailed) as caught:
        connect(port).check()
    assert caught.value.words == "authz plugin says no"


def test_too_many_calls_says_when_to_come_back() -> None:
    with serving(always(answer(429, b"slow down", "Retry-After: 17"))) as port, pytest.raises(RateLimited) as caught:
        connect(port).check()
    assert caught.value.retry_after_s == 17


@pytest.mark.parametrize(
    ("status", "words", "error"),
    [
        (404, f"No such container: {CONTAINER}", Gone),
        (409, "Container is paused", Rejected),
        (400, "bad parameter", Rejected),
        (500, "port is already allocated", Rejected),
        (503, "not ready", Unavailable),
    ],
)
def test_a_refused_act_is_told_in_the_engines_words(status: int, words: str, error: type[ProviderError]) -> None:
    with serving(always(answer(status, {"message": words}))) as port, pytest.raises(error) as caught:
        connect(port).start_machine(CONTAINER)
    assert type(caught.value) is error
    assert caught.value.words == words


@pytest.mark.parametrize("before", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"])
def test_silence_ends_at_the_deadline(before: bytes) -> None:
    with serving(always(before)) as port:
        start = time.monotonic()
        with pytest.raises(Unavailable) as caught:
            connect(port, deadline_s=0.3).check()
        assert caught.value.code == "cloud_timeout"
        assert time.monotonic() - start < 8


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"])
def test_bytes_that_trickle_in_do_not_stretch_the_deadline(head: bytes) -> None:
    def drip(sock: socket.socket, request: bytes) -> None:
        sock.sendall(head)
        for _ in range(1000):
            sock.sendall(b"a")
            time.sleep(0.02)

    with serving(drip) as port:
        start = time.monotonic()
        with pytest.raises(Unavailable) as caught:
            connect(port, deadline_s=0.4).check()
        assert caught.value.code == "cloud_timeout"
        assert time.monotonic() - start < 8


def test_a_tls_port_that_says_nothing_ends_at_the_deadline() -> None:
    with serving(always(b"")) as port, pytest.raises(Unavailable):
        connect(port, deadline_s=0.3, tlsCaCert=Authority().certificate).check()


def test_a_port_where_nobody_listens_is_unavailable_and_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(Unavailable, match=f"127.0.0.1:{port} cannot be reached: connection refused"):
        connect(port).check()
    with pytest.raises(Unavailable, match="cannot be reached"):
        Docker({"host": "unix:///nonexistent/docker.sock"}).check()


def test_no_redirect_is_followed() -> None:
    asked: list[bytes] = []

    def elsewhere(sock: socket.socket, request: bytes) -> None:
        asked.append(request)
        sock.sendall(answer(200, INFO))

    with serving(elsewhere) as other, serving(always(answer(307, b"", f"Location: http://127.0.0.1:{other}/info"))) as port:
        with pytest.raises(Unavailable, match="307"):
            connect(port).check()
        with pytest.raises(Unavailable, match="307"):
            connect(port).start_machine(CONTAINER)
    assert asked == []


def test_an_answer_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_http, "LONGEST_ANSWER", 1 << 20)
    with serving(then_closed(answer(200, b"x" * (3 << 20)))) as port, pytest.raises(Unavailable, match="more than 1 MiB"):
        connect(port).check()


def test_only_addresses_that_were_allowed_are_dialled_each_in_turn() -> None:
    with serving(by_path(info=INFO, containers=[])) as port:
        allowed = Context(resolve=lambda host, port: ["127.0.0.2", "127.0.0.1"], deadline=Deadline(5))
        cloud = Docker({"host": "a.name.that.resolves.nowhere.invalid", "port": port}, allowed)
        assert [info.external_id for info in cloud.list_machines()] == [ENGINE]
        with pytest.raises(Unavailable):
            Docker({"host": "127.0.0.1", "port": port}, Context(resolve=lambda host, port: [])).check()


def test_reads_share_a_connection_and_survive_its_end_and_writes_are_sent_once() -> None:
    seen: list[tuple[int, bytes]] = []

    def handle(sock: socket.socket, request: bytes) -> None:
        seen.append((sock.getpeername()[1], request.split(b" HTTP")[0]))
        if len(seen) == 2:
            sock.shutdown(socket.SHUT_RDWR)  # without an answer, as when it was closed while idle
        elif request.startswith(b"POST"):
            sock.shutdown(socket.SHUT_RDWR)
        else:
            sock.sendall(answer(200, INFO))

    with serving(handle) as port:
        cloud = connect(port)
        for _ in range(3):
            cloud.check()
        assert len({peer for peer, _ in seen[:2]}) == 1
        assert len({peer for peer, _ in seen[2:4]}) == 1
        with pytest.raises(Unavailable):
            cloud.stop_machine(CONTAINER)
        cloud.close()
    assert sum(1 for _, what in seen if what.startswith(b"POST")) == 1, "nobody knows whether it was done: it is not done twice"


def test_user_and_password_are_sent_and_never_told() -> None:
    seen: list[bytes] = []

    def handle(sock: socket.socket, request: bytes) -> None:
        seen.append(request)
        sock.sendall(answer(401, b"who?"))

    with serving(handle) as port, pytest.raises(AuthFailed) as caught:
        connect(port, username="jane", password="s3cret-w0rd\r\nX: y").check()
    assert b"Authorization: Basic amFuZTpzM2NyZXQtdzByZA0KWDogeQ==\r\n" in seen[0]
    assert "s3cret" not in repr(caught.value) + str(caught.value.extra)


def test_a_pull_that_breaks_off_or_fails_late_makes_no_container() -> None:
    def handle(sock: socket.socket, request: bytes) -> None:
        if b"/images/create" in request:
            steps = b'{"status":"Pulling"}\r\n' + b"x" * 70_000 + b'\r\n{"error":"toomanyrequests: pull rate limit"}\r\n'
            sock.sendall(answer(200, steps))
        elif request.startswith(b"POST"):
            sock.sendall(answer(404, {"message": "No such image: nginx:latest"}))
        else:
            sock.sendall(answer(200, []))

    with serving(handle) as port, pytest.raises(Rejected, match="pull rate limit"):
        connect(port).create_machine(MachineSpec(name="n", token="t", image="nginx"))


@pytest.mark.parametrize(
    ("image", "asked"),
    [
        ("nginx", "fromImage=nginx&tag=latest"),
        ("nginx:1.27", "fromImage=nginx&tag=1.27"),
        ("reg.example:5000/team/app", "fromImage=reg.example%3A5000%2Fteam%2Fapp&tag=latest"),
        ("app@sha256:abc", "fromImage=app&tag=sha256%3Aabc"),
        ("a&b=c", "fromImage=a%26b%3Dc&tag=latest"),
    ],
)
def test_one_tag_of_an_image_is_pulled_never_all(image: str, asked: str) -> None:
    lines: list[str] = []

    def handle(sock: socket.socket, request: bytes) -> None:
        lines.append(request.split(b"\r\n")[0].decode())
        missing = answer(404, {"message": "No such image"})
        sock.sendall(answer(200, []) if request.startswith(b"GET") else missing)

    with serving(handle) as port, pytest.raises(Rejected):
        connect(port).create_machine(MachineSpec(name="n", token="t", image=image))
    assert any(f"/images/create?{asked} " in line for line in lines), lines


@pytest.mark.parametrize(
    "host",
    [
        "",
        " ",
        "ssh://box",
        "file:///etc/passwd",
        "tcp://jane:pw@box",
        "tcp://box/path",
        "box?x=1",
        "box#x",
        "bo x",
        "box\r\nX: y",
        "tcp://[::1",
        "a" * 300,
        "npipe:////./pipe/docker",
        "box:99999",
        "🦊",
        "nul\x00",
    ],
)
def test_a_host_that_is_none_is_refused_before_anything_is_dialled(host: str) -> None:
    def never(host: str, port: int) -> list[str]:
        raise AssertionError("dialled")

    with pytest.raises(Rejected) as caught:
        Docker({"host": host}, Context(resolve=never)).check()
    assert caught.value.code == "cloud_bad_host"
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize(
    ("credentials", "asked"),
    [
        ({"host": "box"}, ("box", 2375)),
        ({"host": "tcp://box:99"}, ("box", 99)),
        ({"host": "box", "port": 7}, ("box", 7)),
        ({"host": "https://box"}, ("box", 2376)),
        ({"host": "box", "tlsCaCert": Authority().certificate}, ("box", 2376)),
        ({"host": "::1"}, ("::1", 2375)),
        ({"host": "[::1]:5"}, ("::1", 5)),
        ({"host": "tcp://[fd00::1]"}, ("fd00::1", 2375)),
    ],
)
def test_what_is_dialled_is_what_the_form_says(credentials: dict[str, Any], asked: tuple[str, int]) -> None:
    def refuse(host: str, port: int) -> list[str]:
        raise Rejected(f"{host} {port}")

    with pytest.raises(Rejected) as caught:
        Docker(credentials, Context(resolve=refuse)).check()
    assert caught.value.detail == f"{asked[0]} {asked[1]}"


def test_no_key_is_left_in_a_file_or_a_descriptor(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    pair = Authority().issue("c", client=True)
    before = len(list(_open_files()))
    tls_context(ca=Authority().certificate, certificate=pair.certificate, key=pair.key)
    with pytest.raises(AuthFailed):
        tls_context(certificate=pair.certificate, key="nonsense")
    assert len(list(_open_files())) == before
    assert list(tmp_path.iterdir()) == []


def _open_files() -> Iterator[str]:

    for number in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            yield os.readlink(f"/proc/self/fd/{number}")


def test_limits_are_not_asked_one_by_one_of_an_engine_with_very_many_containers() -> None:
    rows = [{"Id": f"{number:064x}", "Names": [f"/c{number}"], "State": "running"} for number in range(500)]
    calls: list[str] = []
    with serving(by_path(info=INFO, **{f"{CONTAINER}/json": {}, "containers/json": rows})) as port:
        cloud = Docker({"host": "127.0.0.1", "port": port}, Context(spend=calls.append))
        assert sum(1 for _ in cloud.list_machines()) == 501
    assert calls == ["docker", "docker"]
