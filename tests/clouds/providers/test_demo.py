"""The simulated cloud: one truth for all processes, states that take their time, faults on demand."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from clouds.providers.base import Context, Deadline
from clouds.providers.demo import Demo
from clouds.providers.demo.state import state_folder
from clouds.providers.facts import MachineInfo, MachineSpec, VolumeSpec
from core.errors import Gone, ProviderError, RateLimited, Rejected, Unavailable

from .contract import ProviderContract

OTHER_PROCESS = """
import sys
from django.conf import settings
settings.configure(MIST_HOME=sys.argv[1])
from clouds.providers.base import Context
from clouds.providers.demo import Demo
from clouds.providers.facts import MachineSpec
cloud = Demo({"machines": 60, "latency_ms": 0}, Context(cloud_id="c1"))
"""


@pytest.fixture(autouse=True)
def _home(settings: Any, tmp_path: Path) -> None:
    settings.MIST_HOME = tmp_path


@pytest.fixture
def connect() -> Iterator[Callable[..., Demo]]:
    made: list[Demo] = []

    def _connect(deadline_s: float = 30, cloud_id: str = "c1", **knobs: Any) -> Demo:
        made.append(Demo({"machines": 60, "seed": 1, "latency_ms": 0} | knobs, Context(cloud_id=cloud_id, deadline=Deadline(deadline_s))))
        return made[-1]

    yield _connect
    for one in made:
        one.close()


@pytest.fixture
def cloud(connect: Callable[..., Demo]) -> Demo:
    return connect()


def named(cloud: Demo, name: str) -> MachineInfo:
    return next(info for info in cloud.list_machines() if info.name == name)


def in_another_process(home: Path, then: str) -> str:
    done = subprocess.run([sys.executable, "-c", OTHER_PROCESS + then, str(home)], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.strip()


def spec(**changes: Any) -> MachineSpec:
    asked = {"name": "new", "token": "t1", "image": "img-debian-12", "size": "t1.small", "location": "eu-west-b"}
    return MachineSpec(**(asked | changes))


class TestContract(ProviderContract):
    provider_class = Demo
    dials = False  # there is nothing to dial
    lists = frozenset(
        {
            "list_machines",
            "list_locations",
            "list_sizes",
            "list_images",
            "list_networks",
            "list_subnets",
            "list_security_groups",
            "list_volumes",
        }
    )

    @pytest.fixture
    def credentials(self) -> dict[str, Any]:
        return {"machines": 90, "latency_ms": 0, "failure_rate": 0, "slow_listing_s": 0, "seed": 7}


# -- the fleet


def test_the_same_seed_is_the_same_fleet_and_another_is_another(connect: Callable[..., Demo]) -> None:
    first, again, other = (list(connect(seed=seed, machines=300).list_machines()) for seed in (1, 1, 2))
    assert first == again != other
    assert list(connect(seed=1, cloud_id="c2", machines=300).list_machines()) == first


def test_a_cloud_without_a_seed_has_a_fleet_of_its_own(connect: Callable[..., Demo]) -> None:
    first, again, other = (list(connect(seed=None, cloud_id=cloud, machines=300).list_machines()) for cloud in ("c1", "c1", "c2"))
    assert first == again != other


def test_a_larger_fleet_begins_with_the_smaller_one(connect: Callable[..., Demo]) -> None:
    assert list(connect(machines=500).list_machines())[:60] == list(connect(machines=60).list_machines())


def test_no_two_machines_share_an_id_a_name_or_an_address(connect: Callable[..., Demo]) -> None:
    machines = list(connect(machines=20_000).list_machines())
    for values in (
        [m.external_id for m in machines],
        [m.name for m in machines],
        [ip for m in machines for ip in m.private_ips + m.public_ips],
    ):
        assert len(set(values)) == len(values)
    assert {m.state for m in machines} == {"running", "stopped", "suspended", "error"}
    assert {m.type for m in machines} == {"vm", "container", "container-host", "machine"}
    assert {m.cost_hour is None for m in machines} == {True, False}, "some price is unknown"


def test_containers_are_in_their_hosts_place(cloud: Demo) -> None:
    machines = {m.external_id: m for m in cloud.list_machines()}
    inside = [m for m in machines.values() if m.parent]
    assert inside
    for container in inside:
        assert machines[container.parent].type == "container-host"
        assert machines[container.parent].location == container.location


@pytest.mark.parametrize("machines", [0, 1, 8])
def test_a_fleet_of_any_size_is_whole(connect: Callable[..., Demo], machines: int) -> None:
    found = list(connect(machines=machines).list_machines())
    assert len(found) == machines
    assert {m.parent for m in found if m.parent} <= {m.external_id for m in found}


def test_a_hundred_thousand_machines_are_listed_in_seconds(connect: Callable[..., Demo]) -> None:
    cloud, start = connect(machines=100_000), time.process_time()
    assert sum(1 for _ in cloud.list_machines()) == 100_000
    assert time.process_time() - start < 6, "under 2 s of CPU on a quiet machine"


# -- one truth


def test_another_process_sees_what_was_done_here_and_the_other_way_round(cloud: Demo, tmp_path: Path) -> None:
    web = named(cloud, "web-eu-01")
    cloud.stop_machine(web.external_id)
    assert in_another_process(tmp_path, f"print(cloud.get_machine({web.external_id!r}).state)") == "stopped"
    in_another_process(tmp_path, f"cloud.destroy_machine({web.external_id!r}); cloud.close()")
    assert web.external_id not in {m.external_id for m in cloud.list_machines()}
    with pytest.raises(Gone):
        cloud.start_machine(web.external_id)


def test_processes_that_change_one_machine_at_once_lose_nothing(cloud: Demo, tmp_path: Path) -> None:
    web = named(cloud, "web-eu-01").external_id
    work = f"[cloud.tag_machine({web!r}, {{sys.argv[2] + str(n): 'x'}}, ()) for n in range(20)]"
    running = [subprocess.Popen([sys.executable, "-c", OTHER_PROCESS + work, str(tmp_path), f"p{number}-"]) for number in range(3)]
    assert [process.wait(60) for process in running] == [0, 0, 0]
    tags = cloud.get_machine(web).tags
    assert tags is not None
    assert {f"p{number}-{n}" for number in range(3) for n in range(20)} <= set(tags)


def test_processes_that_open_a_new_cloud_at_once_all_get_it(tmp_path: Path) -> None:
    mine = "list(cloud.list_machines())[int(sys.argv[2])::6]"
    work = f"[cloud.stop_machine(m.external_id) for m in {mine} if m.state == 'running' and not m.parent]"
    running = [subprocess.Popen([sys.executable, "-c", OTHER_PROCESS + work, str(tmp_path), str(number)]) for number in range(6)]
    assert [process.wait(60) for process in running] == [0] * 6
    assert in_another_process(tmp_path, "print({m.state for m in cloud.list_machines()} & {'running'})") == "set()"


def test_a_process_killed_in_the_middle_of_a_change_leaves_the_machine_as_it_was(cloud: Demo, tmp_path: Path) -> None:
    web = named(cloud, "web-eu-01").external_id
    hold = f"""
with cloud._changing({web!r}) as (info, change):
    change["name"] = "half-done"
    print("in the middle", flush=True)
    sys.stdin.read()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", OTHER_PROCESS + hold, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdin is not None
    assert process.stdout.readline() == "in the middle\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait(10)
    process.stdin.close()
    process.stdout.close()
    assert cloud.get_machine(web).name == "web-eu-01"
    cloud.rename_machine(web, "after")  # and nobody holds a lock
    assert cloud.get_machine(web).name == "after"


def test_two_clouds_know_nothing_of_each_other(connect: Callable[..., Demo]) -> None:
    one, two = connect(cloud_id="c1"), connect(cloud_id="c2")
    one.destroy_machine("i-00000000")
    assert two.get_machine("i-00000000")


@pytest.mark.parametrize("cloud_id", ["../../etc", "a/b", "", "x" * 500, "ü", "\x00", "."])
def test_no_cloud_id_leads_out_of_the_folder(tmp_path: Path, cloud_id: str) -> None:
    folder = state_folder(cloud_id)
    assert folder.parent == tmp_path / "demo"
    assert folder.name not in {"", ".", ".."}
    assert len(folder.name) < 70


def test_a_state_that_cannot_be_kept_is_unavailable_and_nothing_changed(cloud: Demo, tmp_path: Path) -> None:
    (tmp_path / "demo").write_text("not a folder")
    with pytest.raises(Unavailable, match="disk"):
        cloud.stop_machine("i-00000000")


# -- verbs


@pytest.mark.parametrize(
    ("verb", "before", "between", "after"),
    [
        ("stop", "running", "stopping", "stopped"),
        ("start", "stopped", "starting", "running"),
        ("reboot", "running", "rebooting", "running"),
        ("power_cycle", "running", "rebooting", "running"),
        ("suspend", "running", "stopping", "suspended"),
        ("resume", "suspended", "starting", "running"),
    ],
)
def test_a_change_of_state_takes_its_time_and_is_refused_in_between(
    connect: Callable[..., Demo], verb: str, before: str, between: str, after: str
) -> None:
    cloud = connect(latency_ms=1, machines=2000)
    machine = next(m.external_id for m in cloud.list_machines() if m.state == before and m.type == "vm")
    now = time.time()
    cloud.clock = lambda: now
    getattr(cloud, f"{verb}_machine")(machine)
    assert cloud.get_machine(machine).state == between
    assert next(m for m in cloud.list_machines() if m.external_id == machine).state == between
    with pytest.raises(Rejected, match=between):
        getattr(cloud, f"{verb}_machine")(machine)
    cloud.clock = lambda: now + 1
    assert cloud.get_machine(machine).state == after
    assert next(m for m in cloud.list_machines() if m.external_id == machine).state == after


def test_a_stopped_machine_cannot_be_stopped_again(cloud: Demo) -> None:
    cloud.stop_machine("i-00000000")
    with pytest.raises(Rejected, match="is stopped") as caught:
        cloud.stop_machine("i-00000000")
    assert caught.value.words == "IncorrectMachineState: stopped"


def test_a_created_machine_is_seen_creating_then_running_and_once_for_one_token(connect: Callable[..., Demo]) -> None:
    cloud, now = connect(latency_ms=1), time.time()
    cloud.clock = lambda: now
    volumes = (VolumeSpec(size_gib=20, delete_with_machine=True), VolumeSpec(size_gib=5, name="kept"))
    made = cloud.create_machine(spec(tags={"env": "dev"}, volumes=volumes))
    assert cloud.create_machine(spec()) == made
    assert cloud.get_machine(made).state == "creating"
    cloud.clock = lambda: now + 1
    info = next(m for m in cloud.list_machines() if m.external_id == made)
    assert info == cloud.get_machine(made)
    assert (info.name, info.state, info.size, info.ram_mib, info.location, info.tags) == (
        "new",
        "running",
        "t1.small",
        2048,
        "eu-west-b",
        {"env": "dev"},
    )
    assert info.private_ips
    assert info.created_at is not None
    assert info.cost_hour is not None
    assert {v.name for v in cloud.list_volumes() if v.attached_to == (made,)} == {"new-1", "kept"}
    cloud.destroy_machine(made)
    cloud.clock = lambda: now + 2
    mine = {v.name: v.state for v in cloud.list_volumes() if v.name in {"new-1", "kept"}}
    assert mine == {"kept": "available"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": "huge"},
        {"size": None},
        {"image": "nope"},
        {"location": "moon-1"},
        {"size": "a2.large"},
        {"image": "img-windows-2022", "size": "t1.small"},
    ],
)
def test_a_machine_that_cannot_be_made_is_refused_and_not_there(cloud: Demo, wrong: dict[str, Any]) -> None:
    with pytest.raises(Rejected):
        cloud.create_machine(spec(**wrong))
    assert sum(1 for _ in cloud.list_machines()) == 60


def test_a_destroyed_machine_is_stopping_then_gone_and_its_volume_is_left(connect: Callable[..., Demo]) -> None:
    cloud, now = connect(latency_ms=1), time.time()
    cloud.clock = lambda: now
    db = named(cloud, "db-primary-eu").external_id
    cloud.destroy_machine(db)
    assert cloud.get_machine(db).state == "stopping"
    cloud.clock = lambda: now + 1
    with pytest.raises(Gone):
        cloud.get_machine(db)
    volume = next(v for v in cloud.list_volumes() if v.name == "db-primary-eu-data")
    assert (volume.state, volume.attached_to) == ("available", ())


def test_a_hosts_containers_stop_and_go_with_it(cloud: Demo) -> None:
    host = named(cloud, "docker-eu-01").external_id
    inside = [m.external_id for m in cloud.list_machines() if m.parent == host]
    cloud.stop_machine(host)
    assert {cloud.get_machine(one).state for one in inside} == {"stopped"}
    assert {m.state for m in cloud.list_machines() if m.parent == host} == {"stopped"}
    cloud.destroy_machine(host)
    assert not [m for m in cloud.list_machines() if m.parent == host]
    with pytest.raises(Gone):
        cloud.get_machine(inside[0])


def test_only_a_stopped_machine_is_undefined_and_then_it_is_gone_at_once(cloud: Demo) -> None:
    made = cloud.create_machine(spec(volumes=(VolumeSpec(size_gib=5),)))
    with pytest.raises(Rejected, match="undefined"):
        cloud.undefine_machine(made)
    cloud.stop_machine(made)
    cloud.undefine_machine(made, delete_disks=True)
    with pytest.raises(Gone):
        cloud.get_machine(made)
    assert not [v for v in cloud.list_volumes() if v.name == "new-1"]


def test_a_stopped_machine_takes_another_size_and_price_and_a_running_one_does_not(cloud: Demo) -> None:
    with pytest.raises(Rejected, match="resized"):
        cloud.resize_machine("i-00000000", "m2.xlarge")
    cloud.stop_machine("i-00000000")
    cloud.resize_machine("i-00000000", "m2.xlarge")
    info = cloud.get_machine("i-00000000")
    assert (info.size, info.cores, info.ram_mib, str(info.cost_hour), info.state) == ("m2.xlarge", 4, 16384, "0.1920", "stopped")
    with pytest.raises(Rejected, match="architecture"):
        cloud.resize_machine("i-00000000", "a2.large")


def test_what_a_machine_says_it_cannot_do_is_refused(cloud: Demo) -> None:
    container = next(m for m in cloud.list_machines() if m.type == "container")
    assert "resize" in container.refusals
    with pytest.raises(Rejected, match=r"container cannot be resized"):
        cloud.resize_machine(container.external_id, "m2.xlarge")
    with pytest.raises(Rejected, match="snapshot"):
        cloud.create_snapshot(container.external_id, "s")


def test_tags_and_names_are_kept_as_they_are_given(cloud: Demo) -> None:
    strange = "<script>alert(1)</script> 🦊 ' \" \\ \u202e" + "n" * 5000
    cloud.rename_machine("i-00000000", strange)
    cloud.tag_machine("i-00000000", {"env": "dev", "who's": strange}, ("team", "never-there"))
    info = cloud.get_machine("i-00000000")
    assert info.name == strange
    assert info.tags == {"env": "dev", "role": "web", "who's": strange}


def test_a_clone_is_another_machine_of_the_same_make(cloud: Demo) -> None:
    original = named(cloud, "web-eu-01")
    copy = cloud.get_machine(cloud.clone_machine(original.external_id, "web-copy"))
    assert copy.external_id != original.external_id
    assert copy.private_ips != original.private_ips
    assert (copy.name, copy.size, copy.image, copy.location, copy.tags) == (
        "web-copy",
        original.size,
        original.image,
        original.location,
        original.tags,
    )


def test_a_snapshot_brings_back_what_was_and_can_be_removed(cloud: Demo) -> None:
    machine = "i-00000000"
    first = cloud.create_snapshot(machine, "before", "a note")
    second = cloud.create_snapshot(machine, "later")
    with pytest.raises(Rejected, match="already"):
        cloud.create_snapshot(machine, "later")
    cloud.tag_machine(machine, {"env": "broken"}, ())
    cloud.stop_machine(machine)
    cloud.resize_machine(machine, "m2.xlarge")
    cloud.revert_to_snapshot(machine, first)
    info = cloud.get_machine(machine)
    assert (info.tags or {})["env"] == "prod"
    assert info.size == "t1.medium"
    assert info.state == "stopped"
    assert [(s.name, s.description, s.active) for s in cloud.list_snapshots(machine)] == [("before", "a note", True), ("later", "", False)]
    cloud.remove_snapshot(machine, second)
    with pytest.raises(Gone, match="snapshot"):
        cloud.revert_to_snapshot(machine, second)
    assert [s.external_id for s in cloud.list_snapshots(machine)] == [first]
    assert cloud.create_snapshot(machine, "third") not in {first, second}


# -- knobs


def test_a_failure_rate_of_one_fails_every_call_with_the_clouds_own_words(connect: Callable[..., Demo]) -> None:
    cloud = connect(failure_rate=1)
    for ask in (cloud.check, lambda: list(cloud.list_machines()), lambda: cloud.stop_machine("i-00000000")):
        with pytest.raises(ProviderError) as caught:
            ask()
        assert caught.value.words
    assert connect(failure_rate=0).get_machine("i-00000000").state == "running", "nothing was half done"


def test_the_listing_of_a_failing_cloud_is_never_rejected_only_unavailable(connect: Callable[..., Demo]) -> None:
    cloud = connect(failure_rate=1)
    for _ in range(20):
        with pytest.raises(Unavailable):
            next(cloud.list_machines())


def test_a_failure_rate_between_fails_about_that_share_and_the_same_calls_again(connect: Callable[..., Demo]) -> None:
    def run(cloud_id: str) -> list[str]:
        outcomes = []
        for _ in range(200):
            try:
                connect(cloud_id=cloud_id, failure_rate=0.3, seed=5).check()  # another object a call, as jobs make them
                outcomes.append("ok")
            except ProviderError as error:
                outcomes.append(type(error).__name__)
        return outcomes

    first = run("c1")
    assert 30 <= 200 - first.count("ok") <= 90
    assert RateLimited.__name__ in first
    assert Unavailable.__name__ in first
    assert run("c2") == first


def test_a_slow_listing_beyond_the_deadline_is_unavailable_at_the_deadline(connect: Callable[..., Demo]) -> None:
    cloud, start = connect(slow_listing_s=60, deadline_s=0.1), time.monotonic()
    with pytest.raises(Unavailable) as caught:
        list(cloud.list_machines())
    assert caught.value.code == "cloud_timeout"
    assert 0.09 <= time.monotonic() - start < 20


def test_a_slow_listing_slows_no_act(connect: Callable[..., Demo]) -> None:
    connect(slow_listing_s=60, deadline_s=5).stop_machine("i-00000000")


def test_latency_is_what_a_call_takes(connect: Callable[..., Demo]) -> None:
    start = time.monotonic()
    connect(latency_ms=30).check()
    assert time.monotonic() - start >= 0.03
