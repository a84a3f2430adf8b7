"""A shell in a container, through a real engine's API: plain, and over TLS."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import docker
import pytest

from clouds.models import Cloud, Poll
from clouds.polling import poll_once
from core.actions import perform
from machines.models import Machine
from machines.shell.recorder import path_of
from tests.clouds.providers.conftest import docker_engine, shared_docker_engine
from tests.core.test_doors import make_org
from tests.lab.dockerd import IMAGE, Engine
from tests.shells.conftest import Open, Place, Shells, ended, the_session, token_of, wait_for

__all__ = ["docker_engine", "shared_docker_engine"]

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.docker]


@pytest.fixture
def witness(docker_engine: Engine) -> Iterator[docker.DockerClient]:
    client = docker.DockerClient(base_url=docker_engine.socket)
    yield client
    for container in client.containers.list(all=True):
        container.remove(force=True)
    client.close()


@pytest.fixture(params=["plain", "tls"])
def container(request: pytest.FixtureRequest, shells: Shells, docker_engine: Engine, witness: docker.DockerClient) -> Place:
    """A running container, known by a poll."""
    name = f"t-{uuid.uuid4().hex[:8]}"
    witness.containers.run(IMAGE, ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1; done"], name=name, detach=True)
    org, user, actor = make_org("here")
    credentials = {"host": "127.0.0.1", "port": docker_engine.port}
    if request.param == "tls":
        client = docker_engine.client
        credentials |= {"port": docker_engine.tls_port, "tlsCaCert": docker_engine.ca, "tlsCert": client.certificate, "tlsKey": client.key}
    perform(actor, Cloud, "create", {"name": "engine", "provider": "docker", "credentials": credentials})
    for poll in Poll.objects.all():
        poll_once(poll.pk)
    cloud, machine = Cloud.objects.get(), Machine.objects.get(name=name)
    return Place(org=org, user=user, actor=actor, cloud=cloud, machine=machine, key=None, token=token_of(org, user))  # type: ignore[arg-type]


def test_a_shell_in_a_container(container: Place, opened: Open) -> None:
    terminal = opened(container, width=100, height=30)
    terminal.prompt()
    terminal.type("echo in-$((40+2)); stty size\r")
    terminal.expect("in-42")
    terminal.expect("30 100")
    assert wait_for(lambda: [told for told in terminal.told if "Files go over SSH" in told.get("facts", {}).get("no_files", "")])
    terminal.resize(120, 40)
    wait_for(lambda: [told for told in terminal.told if told.get("size") == [120, 40]])
    wait_for(lambda: terminal.type("stty size\r") or b"40 120" in terminal.shown, 8)
    terminal.type("exit 4\r")
    assert terminal.expect_closed()[1] == "The shell ended with status 4."
    session = ended(the_session())
    assert (session.transport, session.exit_status) == ("exec", 4)
    assert "in-42" in path_of(session.org_id, session.pk).read_text()


def test_a_killed_shell_leaves_nothing_running(container: Place, opened: Open, witness: docker.DockerClient) -> None:
    terminal = opened(container)
    terminal.prompt()
    terminal.type("sleep 987\r")
    inside = witness.containers.get(container.machine.external_id)
    wait_for(lambda: "sleep 987" in str(inside.top()["Processes"]))
    perform(container.actor, the_session(), "kill")
    terminal.expect_closed()
    wait_for(lambda: "sleep 987" not in str(inside.top()["Processes"]), 10)


def test_a_container_that_is_gone_says_so(container: Place, opened: Open, witness: docker.DockerClient) -> None:
    witness.containers.get(container.machine.external_id).remove(force=True)
    assert "not there any more" in opened(container).expect_closed()[1]
