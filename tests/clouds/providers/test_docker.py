"""Docker against a real engine, plain, over TLS and through its socket."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import docker
import pytest

from clouds.providers.base import Context, Deadline
from clouds.providers.docker import Docker
from clouds.providers.docker.rows import ENGINE
from clouds.providers.facts import MachineSpec, VolumeSpec
from core.errors import AuthFailed, Gone, NotSupported, Rejected, Unavailable
from tests.lab.certificates import Authority
from tests.lab.dockerd import IMAGE, Engine

from .contract import ProviderContract

pytestmark = pytest.mark.docker
# A first process that ends when it is told to: a bare shell would take the ten seconds until it is killed.
LOOP = """sh -c 'trap "exit 0" TERM; while :; do sleep 1 & wait $!; done'"""


@pytest.fixture
def witness(docker_engine: Engine) -> Iterator[docker.DockerClient]:
    """Another client of the same engine: what it sees is so."""
    client = docker.DockerClient(base_url=docker_engine.socket)
    yield client
    client.close()


@pytest.fixture
def connect(docker_engine: Engine) -> Iterator[Callable[..., Docker]]:
    made: list[Docker] = []

    def _connect(deadline_s: float = 40, context: Context | None = None, **credentials: Any) -> Docker:
        values = {"host": "127.0.0.1", "port": docker_engine.port} | credentials
        made.append(Docker(values, context or Context(cloud_id="c1", deadline=Deadline(deadline_s))))
        return made[-1]

    yield _connect
    for one in made:
        one.close()


@pytest.fixture
def cloud(connect: Callable[..., Docker]) -> Docker:
    return connect()


@pytest.fixture
def spec(witness: docker.DockerClient) -> Iterator[Callable[..., MachineSpec]]:
    """Makes wishes for containers; whatever there is afterwards is removed."""

    def _spec(**changes: Any) -> MachineSpec:
        extra = {"command": LOOP} | changes.pop("extra", {})
        wish = {"name": f"t-{uuid.uuid4().hex[:12]}", "token": uuid.uuid4().hex, "image": IMAGE}
        return MachineSpec(**(wish | changes), extra=extra)

    yield _spec
    for container in witness.containers.list(all=True):
        container.remove(force=True, v=True)


@pytest.fixture
def container(cloud: Docker, spec: Callable[..., MachineSpec]) -> str:
    return cloud.create_machine(spec())


class TestContract(ProviderContract):
    provider_class = Docker
    lists = frozenset({"list_machines", "list_images", "list_networks"})
    unknown_id = "0" * 64

    @pytest.fixture
    def credentials(self, docker_engine: Engine) -> dict[str, Any]:
        return {
            "host": "127.0.0.1",
            "port": docker_engine.tls_port,
            "tlsCaCert": docker_engine.ca,
            "tlsCert": docker_engine.client.certificate,
            "tlsKey": docker_engine.client.key,
            "showAll": True,
        }

    @pytest.fixture(autouse=True)
    def _something_is_there(self, witness: docker.DockerClient) -> None:
        if not witness.containers.list():
            witness.containers.run(IMAGE, ["sleep", "600"], detach=True)  # stays until a test of another kind clears up


# -- the list


def test_the_host_is_a_machine_and_its_containers_are_under_it(cloud: Docker, container: str, witness: docker.DockerClient) -> None:
    machines = {info.external_id: info for info in cloud.list_machines()}
    host, mine = machines[ENGINE], machines[container]
    about = witness.info()
    assert (host.type, host.name, host.cores, host.ram_mib) == ("container-host", about["Name"], about["NCPU"], about["MemTotal"] >> 20)
    assert (host.hostname, host.private_ips) == ("127.0.0.1", ("127.0.0.1",))
    assert mine.parent == ENGINE
    assert mine.type == "container"
    assert mine.state == "running"
    assert set(machines) - {ENGINE} == {one.id for one in witness.containers.list(all=True)}


def test_the_host_refuses_what_its_engine_cannot_do_and_says_why(cloud: Docker) -> None:
    host = cloud.get_machine(ENGINE)
    for verb in ("start", "stop", "reboot", "power_cycle", "suspend", "resume", "destroy"):
        assert "log in" in host.refusals[verb]
        with pytest.raises(NotSupported, match="log in"):
            getattr(cloud, f"{verb}_machine")(ENGINE)


def test_a_container_is_listed_with_all_that_was_asked_for_it(
    cloud: Docker, spec: Callable[..., MachineSpec], witness: docker.DockerClient
) -> None:
    network = witness.networks.create(f"n-{uuid.uuid4().hex[:8]}")
    volume = witness.volumes.create(f"v-{uuid.uuid4().hex[:8]}")
    wish = spec(
        cores=1,
        ram_mib=64,
        network=network.id,
        volumes=(VolumeSpec(external_id=volume.name, device="/data"),),
        extra={
            "env": "GREETING=hello world\nEMPTY=",
            "ports": "80",
            "exposed": "53/udp",
            "restart": "unless-stopped",
            "mounts": f"{volume.name}:/also:ro",
        },
    )
    try:
        made = cloud.create_machine(wish)
        info = cloud.get_machine(made)
        seen = witness.containers.get(made)
        assert (info.name, info.state, info.cores, info.ram_mib, info.network) == (wish.name, "running", 1.0, 64, network.id)
        assert info.private_ips == (seen.attrs["NetworkSettings"]["Networks"][network.name]["IPAddress"],)
        assert info.image == seen.image.id
        assert info.extra["image"] == IMAGE
        assert info.extra["restart"] == "unless-stopped"
        assert info.extra["networks"] == [network.name]
        assert {port["private"] for port in info.extra["ports"]} == {53, 80}
        assert all(port["public"] for port in info.extra["ports"] if port["private"] == 80)
        assert seen.exec_run(["sh", "-c", 'echo "$GREETING"; touch /data/x; ls /also']).output == b"hello world\nx\n"
        found = next(one for one in cloud.list_volumes() if one.external_id == volume.name)
        assert (found.state, found.attached_to) == ("in-use", (made,))
        cloud.destroy_machine(made)
        assert next(one for one in cloud.list_volumes() if one.external_id == volume.name).state == "available"
        assert next(one for one in cloud.list_networks() if one.external_id == network.id).cidr
    finally:
        network.remove()
        volume.remove(force=True)


def test_each_state_of_the_engine_has_its_word(cloud: Docker, spec: Callable[..., MachineSpec], witness: docker.DockerClient) -> None:
    labels = {"of": "test"}
    created = witness.containers.create(IMAGE, labels=labels)
    exited = witness.containers.run(IMAGE, ["false"], labels=labels, detach=True)
    exited.wait()
    paused = witness.containers.run(IMAGE, ["sleep", "60"], labels=labels, detach=True)
    paused.pause()
    broken = witness.containers.run(IMAGE, ["false"], labels=labels, detach=True, restart_policy={"Name": "always"})
    states = {info.external_id: info.state for info in cloud.list_machines()}
    assert [states[one.id] for one in (created, exited, paused)] == ["stopped", "stopped", "suspended"]
    assert states[broken.id] in {"rebooting", "running"}, "it restarts again and again"
    info = cloud.get_machine(exited.id)
    assert info.extra["exit_code"] == 1
    assert info.extra["labels"] == labels
    assert info.tags is None


def test_without_show_all_only_running_containers_are_listed_but_each_can_be_looked_at(
    connect: Callable[..., Docker], container: str
) -> None:
    cloud = connect(showAll=False)
    assert container in {info.external_id for info in cloud.list_machines()}
    cloud.stop_machine(container)
    assert container not in {info.external_id for info in cloud.list_machines()}
    assert cloud.get_machine(container).state == "stopped"


def test_an_images_untagged_rest_has_a_name_and_is_not_offered_first(cloud: Docker, witness: docker.DockerClient) -> None:
    images = {image.external_id: image for image in cloud.list_images()}
    tagged = witness.images.get(IMAGE)
    assert images[tagged.id].name == IMAGE
    assert images[tagged.id].starred


# -- verbs


def test_a_container_stops_and_starts_and_that_it_is_so_already_is_no_failure(
    cloud: Docker, container: str, witness: docker.DockerClient
) -> None:
    for _ in range(2):
        cloud.stop_machine(container)
        assert witness.containers.get(container).status == "exited"
    for _ in range(2):
        cloud.start_machine(container)
        assert witness.containers.get(container).status == "running"


def test_suspend_and_resume_freeze_and_thaw(cloud: Docker, container: str, witness: docker.DockerClient) -> None:
    cloud.suspend_machine(container)
    assert witness.containers.get(container).status == "paused"
    with pytest.raises(Rejected, match="already paused"):
        cloud.suspend_machine(container)
    with pytest.raises(Rejected, match="paused"):
        cloud.start_machine(container)
    cloud.resume_machine(container)
    assert witness.containers.get(container).status == "running"


@pytest.mark.parametrize("verb", ["reboot", "power_cycle"])
def test_reboot_and_power_cycle_start_another_first_process(cloud: Docker, container: str, witness: docker.DockerClient, verb: str) -> None:
    before = witness.containers.get(container).attrs["State"]["Pid"]
    getattr(cloud, f"{verb}_machine")(container)
    state = witness.containers.get(container).attrs["State"]
    assert state["Running"]
    assert state["Pid"] != before


def test_a_container_that_hears_no_signal_is_stopped_within_the_deadline(
    connect: Callable[..., Docker], spec: Callable[..., MachineSpec]
) -> None:
    cloud = connect(deadline_s=9)
    deaf = cloud.create_machine(spec(extra={"command": "sleep 600"}))
    start = time.monotonic()
    cloud.stop_machine(deaf)
    assert time.monotonic() - start < 9
    assert cloud.get_machine(deaf).state == "stopped"


def test_a_power_cycle_waits_for_nobody(cloud: Docker, spec: Callable[..., MachineSpec]) -> None:
    deaf = cloud.create_machine(spec(extra={"command": "sleep 600"}))
    start = time.monotonic()
    cloud.power_cycle_machine(deaf)
    assert time.monotonic() - start < 9


def test_a_container_takes_another_name_but_no_name_that_is_taken_or_impossible(
    cloud: Docker, container: str, spec: Callable[..., MachineSpec]
) -> None:
    other = spec()
    cloud.create_machine(other)
    new = spec().name
    cloud.rename_machine(container, new)
    assert cloud.get_machine(container).name == new
    with pytest.raises(Rejected, match="in use"):
        cloud.rename_machine(container, other.name)
    for impossible in ("<script>alert(1)</script>", "🦊", "a/b", "../x", "x" * 5000 + "é", "nul\x00byte", "a b", "?name=other", ""):
        with pytest.raises(Rejected):
            cloud.rename_machine(container, impossible)
    assert cloud.get_machine(container).name == new


def test_limits_can_be_raised_and_lowered_while_it_runs(cloud: Docker, spec: Callable[..., MachineSpec]) -> None:
    made = cloud.create_machine(spec(cores=1, ram_mib=64))
    for cores, ram_mib in ((2, 512), (1, 32)):
        cloud.resize_machine(made, None, cores=cores, ram_mib=ram_mib)
        info = cloud.get_machine(made)
        assert (info.cores, info.ram_mib) == (cores, ram_mib)
    cloud.resize_machine(made, None, ram_mib=48)
    assert cloud.get_machine(made).cores == 1, "what is not named stays"
    with pytest.raises(Rejected, match="no sizes"):
        cloud.resize_machine(made, "big")
    with pytest.raises(Rejected):
        cloud.resize_machine(made, None, cores=1000)


def test_a_running_container_is_destroyed_with_its_anonymous_volume(cloud: Docker, container: str, witness: docker.DockerClient) -> None:
    cloud.destroy_machine(container)
    with pytest.raises(docker.errors.NotFound):
        witness.containers.get(container)
    with pytest.raises(Gone):
        cloud.destroy_machine(container)


def test_what_is_destroyed_behind_our_back_is_gone(cloud: Docker, container: str, witness: docker.DockerClient) -> None:
    witness.containers.get(container).remove(force=True)
    for verb in ("stop", "start", "reboot", "suspend", "destroy"):
        with pytest.raises(Gone):
            getattr(cloud, f"{verb}_machine")(container)


@pytest.mark.parametrize("other", ["{name}", "{id:.12}", "../images/json", "{id}/../../info", "{id}?x=1", "%2e%2e", ""])
def test_only_the_whole_id_names_a_container(cloud: Docker, container: str, witness: docker.DockerClient, other: str) -> None:
    name = witness.containers.get(container).name
    with pytest.raises(Gone):
        cloud.destroy_machine(other.format(name=name, id=container))
    assert witness.containers.get(container).status == "running"


# -- create


def test_one_request_makes_one_container_however_often_it_is_asked(cloud: Docker, spec: Callable[..., MachineSpec]) -> None:
    wish = spec()
    assert cloud.create_machine(wish) == cloud.create_machine(wish)


def test_an_image_that_no_registry_gives_is_said_and_nothing_is_left(
    connect: Callable[..., Docker], spec: Callable[..., MachineSpec], witness: docker.DockerClient
) -> None:
    wish = spec(image="127.0.0.1:1/nothing/here:1.0")
    with pytest.raises(Rejected, match="could not be pulled") as caught:
        connect().create_machine(wish)
    assert caught.value.words
    assert wish.name not in {one.name for one in witness.containers.list(all=True)}
    with pytest.raises(Rejected, match="not on the engine any more"):
        connect().create_machine(spec(image="sha256:" + "0" * 64))


def test_a_container_that_cannot_start_is_taken_back(cloud: Docker, spec: Callable[..., MachineSpec], witness: docker.DockerClient) -> None:
    wish = spec(extra={"command": "/no/such/program"})
    with pytest.raises(Rejected, match="no such file"):
        cloud.create_machine(wish)
    taken = witness.containers.run(IMAGE, ["sleep", "60"], labels={"of": "test"}, detach=True, ports={"80/tcp": None})
    taken.reload()
    port = taken.attrs["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"]
    clash = spec(extra={"ports": f"{port}:80"})
    with pytest.raises(Rejected, match="already allocated"):
        cloud.create_machine(clash)
    assert not {wish.name, clash.name} & {one.name for one in witness.containers.list(all=True)}


@pytest.mark.parametrize(
    "wrong",
    [
        {"extra": {"ports": "80:80:80:80"}},
        {"extra": {"ports": "0"}},
        {"extra": {"ports": "70000:80"}},
        {"extra": {"ports": "a\x00b"}},
        {"extra": {"command": "echo 'unfinished"}},
        {"extra": {"mounts": "no-path"}},
        {"cloudinit": "#cloud-config"},
        {"image": ""},
        {"volumes": (VolumeSpec(size_gib=5),)},
        {"network": "../containers/json"},
        {"network": "container:x"},
        {"image": "NOT//valid::"},
        {"name": "<script>"},
        {"name": "é"},
        {"extra": {"env": "=x"}},
        {"ram_mib": 1},
    ],
)
def test_a_wish_that_cannot_be_is_refused(cloud: Docker, spec: Callable[..., MachineSpec], wrong: dict[str, Any]) -> None:
    with pytest.raises(Rejected):
        cloud.create_machine(spec(**wrong))


@pytest.mark.parametrize("source", ["/", "/etc", "/var/run/docker.sock", "../etc", "./x", "a/b"])
def test_the_hosts_folders_are_kept_from_containers(cloud: Docker, spec: Callable[..., MachineSpec], source: str) -> None:
    with pytest.raises(Rejected, match="named volumes only"):
        cloud.create_machine(spec(extra={"mounts": f"{source}:/host"}))
    with pytest.raises(Rejected, match="named volumes only"):
        cloud.create_machine(spec(volumes=(VolumeSpec(external_id=source, device="/host"),)))


def test_the_hosts_network_is_kept_from_containers_by_name_and_by_id(
    connect: Callable[..., Docker], spec: Callable[..., MachineSpec], witness: docker.DockerClient
) -> None:
    for network in ("host", witness.networks.list(names=["host"])[0].id, witness.networks.list(names=["host"])[0].id[:12]):
        with pytest.raises(Rejected, match="host's network"):
            connect().create_machine(spec(network=network))
    assert connect(hostAccess=True).create_machine(spec(network="host", extra={"mounts": "/etc:/host:ro"}))


# -- how it is reached


def test_over_tls_the_engine_is_known_by_its_ca_and_name(connect: Callable[..., Docker], docker_engine: Engine) -> None:
    mine = {"tlsCert": docker_engine.client.certificate, "tlsKey": docker_engine.client.key, "port": docker_engine.tls_port}
    connect(tlsCaCert=docker_engine.ca, **mine).check()
    with pytest.raises(AuthFailed, match="not trusted") as caught:
        connect(tlsCaCert=Authority(name="test CA").certificate, **mine).check()
    assert caught.value.code == "cloud_tls_failed"
    with pytest.raises(AuthFailed, match="not trusted"):
        connect(**mine).check()  # by the CAs of this machine: no


def test_the_name_is_checked_although_an_address_is_dialled(connect: Callable[..., Docker], docker_engine: Engine) -> None:
    asked: list[tuple[str, int]] = []

    def resolve(host: str, port: int) -> list[str]:
        asked.append((host, port))
        return ["127.0.0.1"]

    mine = {"tlsCaCert": docker_engine.ca, "tlsCert": docker_engine.client.certificate, "tlsKey": docker_engine.client.key}
    mine["port"] = docker_engine.tls_port
    connect(context=Context(resolve=resolve), host="engine.test", **mine).check()
    assert asked == [("engine.test", docker_engine.tls_port)]
    with pytest.raises(AuthFailed, match=r"(?i)not trusted.*mismatch"):
        connect(context=Context(resolve=resolve), host="other.test", **mine).check()


def test_a_client_certificate_that_is_missing_or_of_another_ca_is_refused(connect: Callable[..., Docker], docker_engine: Engine) -> None:
    base = {"tlsCaCert": docker_engine.ca, "port": docker_engine.tls_port}
    stranger = {"tlsCert": docker_engine.stranger.certificate, "tlsKey": docker_engine.stranger.key}
    for more in ({}, stranger):
        with pytest.raises(AuthFailed) as caught:
            connect(**base, **more).check()
        assert caught.value.code == "cloud_tls_failed"


def test_tls_and_none_are_told_apart_on_the_wrong_port(connect: Callable[..., Docker], docker_engine: Engine) -> None:
    with pytest.raises(AuthFailed, match="speaks TLS"):
        connect(port=docker_engine.tls_port).check()
    with pytest.raises(Unavailable, match="does not speak TLS"):
        connect(tlsCaCert=docker_engine.ca).check()


def test_keys_that_cannot_be_read_are_said_without_showing_them(connect: Callable[..., Docker], docker_engine: Engine) -> None:
    locked = Authority().issue("x", client=True, passphrase=b"open sesame")
    base, good = {"tlsCaCert": docker_engine.ca, "port": docker_engine.tls_port}, docker_engine.client
    for certificate, key in (
        (good.certificate, "garbage-key"),
        (good.certificate, docker_engine.stranger.key),
        (locked.certificate, locked.key),
        (good.certificate, ""),
        ("", good.key),
    ):
        with pytest.raises(AuthFailed) as caught:
            connect(**base, tlsCert=certificate, tlsKey=key).check()
        assert "garbage-key" not in str(caught.value) + str(caught.value.extra)
    with pytest.raises(AuthFailed, match="CA certificate"):
        connect(port=docker_engine.tls_port, tlsCaCert="nonsense").check()


def test_the_local_socket_works_and_needs_an_installation_admin(connect: Callable[..., Docker], docker_engine: Engine) -> None:
    cloud = connect(host=docker_engine.socket, port=None)
    cloud.check()
    host = cloud.get_machine(ENGINE)
    assert host.name
    assert host.hostname == ""
    assert host.private_ips == ()
    for socket in (docker_engine.socket, "/var/run/docker.sock", " unix:/x", "UNIX:///x"):
        assert "administrator" in Docker.needs_admin({"host": socket})
    assert Docker.needs_admin({"host": "docker.example.com"}) == ""


def test_nothing_of_the_environment_or_of_our_users_files_is_used(docker_engine: Engine, tmp_path: Any) -> None:
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker/config.json").write_text(
        json.dumps({"HttpHeaders": {"X-Leak": "1"}, "proxies": {"default": {"httpProxy": "http://127.0.0.1:1"}}})
    )
    proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"), "http://127.0.0.1:1")
    bundles = dict.fromkeys(("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"), "/nonexistent.pem")
    others = {"HOME": str(tmp_path), "DOCKER_HOST": "tcp://127.0.0.1:1", "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": "/nonexistent"}
    program = "import json, sys; from clouds.providers.docker import Docker; Docker(json.load(sys.stdin)).check(); print('fine')"
    mine = {
        "host": "127.0.0.1",
        "port": docker_engine.tls_port,
        "tlsCaCert": docker_engine.ca,
        "tlsCert": docker_engine.client.certificate,
        "tlsKey": docker_engine.client.key,
    }
    done = subprocess.run(
        [sys.executable, "-c", program], input=json.dumps(mine), capture_output=True, text=True, env=proxies | bundles | others, timeout=60
    )
    assert done.stdout == "fine\n", done.stderr


def test_tls_is_never_unverified(docker_engine: Engine) -> None:
    cloud = Docker({"host": "127.0.0.1", "port": docker_engine.tls_port, "tlsCaCert": docker_engine.ca})
    context = cloud._http._tls
    assert context is not None
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
