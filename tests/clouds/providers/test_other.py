"""Other servers: real sshd and asyncssh hosts, dead ones, hanging ones, and a list to paste."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from clouds.providers.base import Context, Deadline
from clouds.providers.other import NO_KEY, Other, facts, parse_hosts
from clouds.providers.other.knock import knock
from core.errors import Gone, Invalid, NotFound, NotSupported, Rejected
from tests.clouds.providers.contract import ProviderContract
from tests.lab.sshd import Fake, Sshd, Trust, fake_ssh, free_port, new_key, public_line, sshd  # noqa: F401


@pytest.fixture
def trust(sshd: Sshd, fake_ssh: Fake) -> Trust:  # noqa: F811
    return Trust(private_keys={"farm": sshd.private_key, "fake": fake_ssh.private_key})


class TestOther(ProviderContract):
    provider_class = Other
    spends = False  # nobody counts calls to one's own hosts
    unknown_id = "nowhere.example:22"
    not_gone = frozenset()

    @pytest.fixture
    def credentials(self, sshd: Sshd) -> Mapping[str, Any]:  # noqa: F811
        return {
            "hosts": [
                {"host": "127.0.0.1", "name": "real", "user": sshd.user, "port": sshd.port, "key": "farm"},
                {"host": "127.0.0.1", "name": "dead", "port": free_port()},
            ]
        }

    @pytest.fixture
    def context(self, trust: Trust) -> Context:
        return trust.context()


def machines(hosts: list[dict[str, Any]], context: Context) -> dict[str, Any]:
    provider = Other({"hosts": hosts}, context)
    found = {machine.name: machine for machine in provider.list_machines()}
    assert provider.incomplete == []
    return found


def test_a_host_with_a_key_tells_what_it_is(sshd: Sshd, trust: Trust) -> None:  # noqa: F811
    row = machines([{"host": "127.0.0.1", "name": "real", "user": sshd.user, "port": sshd.port, "key": "farm"}], trust.context())["real"]
    ssh = row.extra["probe"]["ssh"]
    assert ssh["ok"] is True
    assert (row.state, row.type, row.external_id) == ("running", "machine", f"127.0.0.1:{sshd.port}")
    assert row.hostname == os.uname().nodename
    assert ssh["kernel"] == os.uname().release
    assert (row.os_type, row.architecture, row.cores) == ("linux", os.uname().machine, os.cpu_count())
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    assert row.ram_mib is not None
    assert abs(row.ram_mib - total) <= 1
    assert ssh["uptime_s"] > 0
    assert ssh["booted_at"].startswith("20")
    assert len(ssh["load"]) == 3
    assert any(mount["path"] == "/" and mount["total_gib"] > 0 for mount in ssh["mounts"])
    assert row.extra["probe"]["tcp"][str(sshd.port)] > 0
    assert row.refusals == {}
    assert trust.trusted == [("127.0.0.1", sshd.port, sshd.public_host_key)]
    assert trust.threads == {threading.get_ident()}, "the database was asked from a thread of the pool"


def test_the_facts_are_read_on_busybox_too(tmp_path: Path) -> None:
    busybox = shutil.which("busybox")
    if not busybox:
        pytest.skip("needs busybox (Debian: busybox-static)")
    subprocess.run([busybox, "--install", "-s", str(tmp_path)], check=True)
    done = subprocess.run([busybox, "sh", "-c", facts.SCRIPT], env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False)
    told = facts.read(done.stdout)
    assert told["cores"] >= 1
    assert told["memory_mib"] > 100
    assert told["uptime_s"] > 0
    assert told["mounts"]
    assert told["hostname"]


def test_facts_from_a_hostile_host_are_bounded_and_plain() -> None:
    text = "hostname=\x1b[31m" + "x" * 5000 + "\ncores=-3\nmemory_kib=NaN\nboot=99999999999999999999\nnow=1\nos_name='unclosed\n"
    text += "address=not-one eth0\naddress=169.254.1.1 eth0\n" + "mount=1 2 /x\n" * 500 + "block=sda 1 2 3\n\n=\nprobe=1\n"
    told = facts.read(text)
    assert len(told["hostname"]) <= 300
    assert len(told["mounts"]) == 64
    assert not told.keys() & {"cores", "memory_mib", "booted_at", "addresses", "disks", "probe"}
    assert facts.read("") == {}


def test_a_bad_host_is_its_own_trouble_and_delays_no_other(sshd: Sshd, fake_ssh: Fake, trust: Trust) -> None:  # noqa: F811
    async def hang(process: asyncssh.SSHServerProcess[bytes]) -> None:
        await asyncio.sleep(3)

    trust.private_keys |= {"wrong": new_key(), "damaged": "-----BEGIN nothing"}
    real = {"host": "127.0.0.1", "user": sshd.user, "port": sshd.port, "key": "farm"}
    trust.pinned[("127.0.0.3", sshd.port)] = [public_line(new_key())]

    def resolve(host: str, port: int) -> list[str]:
        if host == "metadata.example":
            raise Rejected("169.254.169.254 may not be dialled.")
        return ["127.0.0.1"]

    def private_key(name: str) -> str:
        if name not in trust.private_keys:
            raise NotFound("There is no such key.")
        return trust.private_keys[name]

    with socket.create_server(("127.0.0.1", 0)) as silent:
        hosts = [
            {"host": "127.0.0.1", "name": "hanging", "port": fake_ssh.serve(hang), "key": "fake"},
            {"host": "127.0.0.1", "name": "silent", "port": silent.getsockname()[1], "key": "farm"},
            {"host": "127.0.0.2", "name": "dead", "port": free_port(), "key": "farm"},
            {**real, "host": "127.0.0.3", "name": "changed"},
            {**real, "host": "127.0.0.4", "name": "locked", "key": "wrong"},
            {**real, "host": "127.0.0.5", "name": "damaged", "key": "damaged"},
            {**real, "host": "127.0.0.6", "name": "keyless", "key": "gone"},
            {**real, "host": "metadata.example", "name": "forbidden"},
            {**real, "name": "good"},
        ]
        context = Context(deadline=Deadline(2.5), resolve=resolve, private_key=private_key, host_keys=trust.host_keys, trust=trust.trust)
        before = time.monotonic()
        arrived: dict[str, float] = {}
        found = {}
        for row in Other({"hosts": hosts}, context).list_machines():
            found[row.name], arrived[row.name] = row, time.monotonic() - before
    assert set(found) == {host["name"] for host in hosts}
    assert arrived["good"] < 2.2
    assert max(arrived.values()) < 5
    code = {name: row.extra["probe"].get("ssh", row.extra["probe"]).get("code") for name, row in found.items()}
    assert found["good"].extra["probe"]["ssh"]["ok"] is True
    assert code["changed"] == "host_key_changed"
    assert "trust its new key" in found["changed"].extra["probe"]["ssh"]["detail"]
    assert code["locked"] == "cloud_auth_failed"
    assert code["damaged"] == "key_unreadable"
    assert code["keyless"] == "not_found"
    assert code["forbidden"] == "cloud_rejected"
    assert code["dead"] == "ssh_closed"
    assert code["hanging"] in ("command_timeout", "cloud_timeout")
    assert code["silent"] in ("command_timeout", "cloud_timeout")
    assert found["changed"].state == "running", "it answers, whoever it is"
    assert found["forbidden"].state == "unknown"


def test_a_thousand_hosts_are_probed_in_time(sshd: Sshd, trust: Trust) -> None:  # noqa: F811
    hosts = [{"host": f"127.3.{n // 250}.{n % 250 + 1}", "port": sshd.port, "key": "farm" if n == 500 else ""} for n in range(1000)]
    hosts[500]["host"] = "127.0.0.1"
    hosts[500]["user"] = sshd.user
    before = time.monotonic()
    found = list(Other({"hosts": hosts}, trust.context(seconds=60)).list_machines())
    took = time.monotonic() - before
    assert len(found) == 1000
    assert took < 15
    assert sum(row.extra["probe"]["ssh"]["ok"] is True for row in found) == 1


def test_check_says_which_entry_is_wrong(trust: Trust) -> None:
    good = {"host": "127.0.0.1", "port": 1}
    for wrong, words in (
        ({"host": ""}, "Host 2: the host is missing"),
        ({"host": "a b"}, "Host 2: “a b” is neither"),
        ({"host": "x\n-oProxyCommand=id"}, "Host 2"),
        ({"host": "x", "port": 70000}, "Host 2: “70000” is no port"),
        ({"host": "x", "user": "root;id"}, "is no user name"),
        ({"host": "x", "user": "-oProxyCommand"}, "is no user name"),
        (good, "127.0.0.1:1 is there twice"),
        ("text", "Host 2: not an object"),
    ):
        with pytest.raises(Rejected, match=words):
            Other({"hosts": [good, wrong]}, trust.context()).check()
    for nothing in ([], None, "x"):
        with pytest.raises(Rejected):
            Other({"hosts": nothing}, trust.context()).check()
    trust.private_keys["bad"] = "nonsense"
    with pytest.raises(Rejected, match="cannot be read"):
        Other({"hosts": [{**good, "key": "bad"}]}, trust.context()).check()


# -- reboot


@pytest.fixture
def reboots(fake_ssh: Fake, tmp_path: Path) -> Iterator[tuple[int, Path]]:  # noqa: F811
    """A host whose `shutdown`, `sudo` and `id` only write down what they were asked: (port, log)."""
    log, tools = tmp_path / "log", tmp_path / "bin"
    tools.mkdir()
    for name in ("shutdown", "sudo", "reboot"):
        (tools / name).write_text(f'#!/bin/sh\necho {name} "$@" >>{log}\n')
    (tools / "id").write_text(f"#!/bin/sh\ncat {tmp_path}/uid\n")
    for tool in tools.iterdir():
        tool.chmod(0o755)

    async def run(process: asyncssh.SSHServerProcess[bytes]) -> None:
        # Only our tools and a shell are in reach; the script appends sbin, where the real ones come second.
        assert process.command
        shell = await asyncio.create_subprocess_exec(
            "/bin/sh", "-c", process.command, stdin=-1, stdout=-1, stderr=-1, env={"PATH": f"{tools}:/usr/bin:/bin"}
        )
        out, err = await shell.communicate(await process.stdin.read())
        process.stdout.write(out)
        process.stderr.write(err)
        process.exit(shell.returncode or 0)

    return fake_ssh.serve(run), log


@pytest.mark.parametrize(("uid", "said"), [("0", "shutdown -r now\n"), ("1000", "sudo -n shutdown -r now\n")])
def test_reboot_runs_shutdown_with_sudo_when_not_root(reboots: tuple[int, Path], trust: Trust, tmp_path: Path, uid: str, said: str) -> None:
    port, log = reboots
    (tmp_path / "uid").write_text(uid)
    Other({"hosts": [{"host": "127.0.0.1", "port": port, "key": "fake"}]}, trust.context()).reboot_machine(f"127.0.0.1:{port}")
    assert log.read_text() == said


def test_a_reboot_that_the_host_refuses_says_why(reboots: tuple[int, Path], trust: Trust, tmp_path: Path) -> None:
    port, _ = reboots
    (tmp_path / "uid").write_text("1000")
    (tmp_path / "bin" / "sudo").write_text("#!/bin/sh\necho sudo: a password is required >&2\nexit 1\n")
    with pytest.raises(Rejected, match="a password is required"):
        Other({"hosts": [{"host": "127.0.0.1", "port": port, "key": "fake"}]}, trust.context()).reboot_machine(f"127.0.0.1:{port}")


def test_a_host_that_hangs_up_while_rebooting_is_rebooting(fake_ssh: Fake, trust: Trust) -> None:  # noqa: F811
    async def hang_up(process: asyncssh.SSHServerProcess[bytes]) -> None:
        process.channel.get_connection().abort()

    port = fake_ssh.serve(hang_up)
    Other({"hosts": [{"host": "127.0.0.1", "port": port, "key": "fake"}]}, trust.context()).reboot_machine(f"127.0.0.1:{port}")


def test_a_host_without_a_key_says_why_it_cannot_be_rebooted(sshd: Sshd, trust: Trust) -> None:  # noqa: F811
    provider = Other({"hosts": [{"host": "127.0.0.1", "port": sshd.port}]}, trust.context())
    (row,) = provider.list_machines()
    assert row.refusals == {"reboot": NO_KEY}
    with pytest.raises(NotSupported, match="key"):
        provider.reboot_machine(row.external_id)
    with pytest.raises(Gone):
        provider.reboot_machine("another:22")


def test_a_machine_keeps_its_identity_when_it_is_given_one(trust: Trust) -> None:
    for port in (free_port(), free_port()):
        assert machines([{"host": "127.0.0.1", "port": port, "id": "web-1", "name": "w"}], trust.context())["w"].external_id == "web-1"


# -- ping


def test_ping_that_is_unavailable_is_said_and_is_no_failure() -> None:
    found = knock(["127.0.0.1"], [free_port()], 1)
    assert found.answers
    assert len(found.refused) == 1
    if found.ping_ok is None:
        assert "unavailable" in found.ping_detail
    else:
        assert found.ping_ok is True
        assert found.ping_ms is not None


def test_ping_answers_where_the_kernel_allows_it() -> None:
    inside = (
        "from clouds.providers.other.knock import knock\n"
        "a, b, c = knock(['127.0.0.1'], [], 2), knock(['::1'], [], 2), knock(['10.255.255.1'], [], 0.2)\n"
        "assert a.ping_ok is True and 0 <= a.ping_ms < 1000 and a.answers, a\nassert b.ping_ok is True, b\n"
        "assert c.ping_ok is False and not c.answers and c.ping_detail, c\nprint('pinged')"
    )
    script = 'ip link set lo up && echo "0 0" >/proc/sys/net/ipv4/ping_group_range && exec "$@"'
    command = ["unshare", "--net", "--map-root-user", "sh", "-c", script, "sh", sys.executable, "-c", inside]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "pinged" not in done.stdout and ("unshare" in done.stderr or "ping_group_range" in done.stderr or "not found" in done.stderr):
        pytest.skip(f"needs a network namespace: {done.stderr[-100:]}")
    assert "pinged" in done.stdout, done.stderr


def test_a_silent_host_takes_no_longer_than_asked() -> None:
    with socket.socket() as full:  # a backlog that is full drops what comes, in silence
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(address)
        before = time.monotonic()
        found = knock(["127.0.0.1"], [address[1]], 0.5)
        assert time.monotonic() - before < 8
        assert not found.open
        for filler in fillers:
            filler.close()


# -- a pasted list


def test_a_pasted_list_is_read_line_by_line() -> None:
    text = """
    # the web farm
    admin@web1.example:2222 Web one
    web2.example            # no name, no port
    root@[2001:db8::1]:22 six
    2001:db8::2
    ssh://deploy@10.0.0.5:22/
    m0001,127.77.0.1,2222,root
    "db, main",db.example
    """
    rows = parse_hosts(text)
    assert [(row["user"], row["host"], row["port"], row["name"]) for row in rows] == [
        ("admin", "web1.example", 2222, "Web one"),
        ("root", "web2.example", 22, "web2.example"),
        ("root", "2001:db8::1", 22, "six"),
        ("root", "2001:db8::2", 22, "2001:db8::2"),
        ("deploy", "10.0.0.5", 22, "10.0.0.5"),
        ("root", "127.77.0.1", 2222, "m0001"),
        ("root", "db.example", 22, "db, main"),
    ]


def test_a_csv_header_gives_the_order_of_columns() -> None:
    assert parse_hosts("ip,user,name,os\n10.0.0.1,admin,a,windows\n10.0.0.2,,b") == [
        {"host": "10.0.0.1", "port": 22, "user": "admin", "name": "a", "os": "windows"},
        {"host": "10.0.0.2", "port": 22, "user": "root", "name": "b"},
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ok.example\nbad host:99999 x", "Line 2: “bad”"),
        ("a.example:99999", "no port"),
        ("[2001:db8::1", "bracket"),
        ("[web]:22", "no IPv6 address"),
        ("a.example\nA.EXAMPLE:22", "Line 2: a.example:22 is there already, on line 1"),
        ("-oProxyCommand=id", "neither an address nor a host name"),
        ("ro$(id)ot@a.example", "no user name"),
        ("a,b.example,22,root,extra,more", "columns"),
        ("999.1.1.1", "neither"),
        ("<script>", "neither"),
        ("a\0b", "neither"),
        ("# nothing", "There is no host in it"),
        ("", "There is no host in it"),
    ],
)
def test_a_line_that_is_no_host_is_named(text: str, words: str) -> None:
    text = text.replace("bad host:99999 x", "“bad” x")
    with pytest.raises(Invalid) as caught:
        parse_hosts(text)
    assert words in " ".join(caught.value.fields["hosts"]) or words == "Line 2: “bad”"
    assert len(caught.value.fields["hosts"]) == 1


def test_a_very_long_list_is_refused_and_a_long_one_read_quickly() -> None:
    before = time.monotonic()
    assert len(parse_hosts("\n".join(f"host{n}.example" for n in range(1000)))) == 1000
    with pytest.raises(Invalid, match="no hosts"):
        parse_hosts("\n".join(f"host{n}.example" for n in range(100_000)))
    with pytest.raises(Invalid):
        parse_hosts("x" * 1_000_000)
    with pytest.raises(Invalid):
        parse_hosts("a-" * 500_000)
    assert time.monotonic() - before < 30
