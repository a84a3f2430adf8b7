"""The fleet a demo cloud is born with: every row computed from (seed, index), nothing kept.

The same seed gives the same fleet in every process. A row costs one short hash, so that 100,000 of them are quick, and
any one can be computed alone: a machine's external id is its index. What has happened to a machine since is not known
here (see `rows.py`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import cached_property

from ..facts import ImageInfo, LocationInfo, MachineInfo, NetworkInfo, SecurityGroupInfo, SizeInfo, SubnetInfo, VolumeInfo

MAX_MACHINES = 200_000
_BORN_S = int(datetime(2023, 1, 9, 8, 0, tzinfo=UTC).timestamp())
_AGE_S = 3 * 365 * 86_400  # machines were created within these years
_FREE = Decimal(0)

REGIONS = (("eu-west", "eu", "IE"), ("us-east", "us", "US"), ("eu-central", "de", "DE"), ("ap-south", "in", "IN"))
ZONES = ("a", "b", "c")
CONTAINER_REFUSALS = {
    verb: f"A container cannot be {done}; its host can."
    for verb, done in {
        "resize": "resized",
        "undefine": "undefined",
        "create_snapshot": "put into a snapshot",
        "revert_to_snapshot": "put back to a snapshot",
    }.items()
}
SPOT_REFUSALS = {"resize": "A spot machine keeps the size it was bought with."}


def _size(name: str, cores: int, ram_gib: float, disk_gib: int, cost: str | None, arch: str = "x86_64") -> SizeInfo:
    price = None if cost is None else Decimal(cost)
    return SizeInfo(
        external_id=name, name=name, cores=cores, ram_mib=int(ram_gib * 1024), disk_gib=disk_gib, architecture=arch, cost_hour=price
    )


SIZES = {
    size.external_id: size
    for size in (
        _size("t1.nano", 1, 0.5, 10, "0.0052"),
        _size("t1.small", 1, 2, 20, "0.0210"),
        _size("t1.medium", 2, 4, 40, "0.0420"),
        _size("m2.large", 2, 8, 80, "0.0960"),
        _size("m2.xlarge", 4, 16, 160, "0.1920"),
        _size("m2.2xlarge", 8, 32, 320, "0.3840"),
        _size("a2.large", 2, 8, 80, "0.0770", "arm64"),
        _size("c2.2xlarge", 8, 16, 100, "0.3400"),
        _size("r2.xlarge", 4, 32, 200, "0.2520"),
        _size("r2.4xlarge", 16, 128, 800, "1.0080"),
        _size("g2.4xlarge", 16, 64, 900, "2.4800"),
        _size("metal.legacy", 24, 96, 2000, None),  # a contract nobody knows the price of: unknown, not 0
    )
}


def _image(name: str, title: str, os_type: str, distro: str, *, arch: str = "x86_64", disk: int = 8, starred: bool = False) -> ImageInfo:
    return ImageInfo(
        external_id=name,
        name=title,
        os_type=os_type,
        os_distro=distro,
        architecture=arch,
        min_disk_gib=disk,
        min_ram_mib=512,
        starred=starred,
    )


IMAGES = {
    image.external_id: image
    for image in (
        _image("img-debian-12", "Debian 12 (bookworm)", "linux", "debian", starred=True),
        _image("img-debian-12-arm", "Debian 12 (bookworm) arm64", "linux", "debian", arch="arm64"),
        _image("img-ubuntu-2404", "Ubuntu 24.04 LTS", "linux", "ubuntu", starred=True),
        _image("img-ubuntu-2204", "Ubuntu 22.04 LTS", "linux", "ubuntu"),
        _image("img-rocky-9", "Rocky Linux 9", "linux", "rocky", disk=10),
        _image("img-freebsd-14", "FreeBSD 14.1", "freebsd", "freebsd", disk=10),
        _image("img-windows-2022", "Windows Server 2022 Datacenter", "windows", "windows", disk=30),
        _image("img-cuda-12", "Ubuntu 22.04 with CUDA 12", "linux", "ubuntu", disk=60),
    )
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Role:
    """What a machine is for. `name`: its pattern, with {loc} the region's short name and {n} a number within it."""

    name: str
    role: str
    team: str
    env: str = "prod"
    size: str = "m2.large"
    image: str = "img-debian-12"
    type: str = "vm"
    public: bool = False
    data_gib: int = 0  # > 0: a volume is attached
    stopped: int = 6  # of 256


def _roles() -> tuple[Role, ...]:
    web = Role(name="web-{loc}-{n:02d}", role="web", team="shop", size="t1.medium", public=True)
    api = Role(name="api-{loc}-{n:02d}", role="api", team="platform", image="img-ubuntu-2404")
    etl = Role(name="etl-worker-{n:02d}", role="etl", team="data", size="c2.2xlarge", stopped=40)
    dev = Role(name="dev-{n:02d}", role="workstation", team="shop", env="dev", size="t1.medium", stopped=140)
    return (
        web,
        Role(name="db-primary-{loc}", role="db", team="data", size="r2.xlarge", data_gib=500, stopped=0),
        api,
        Role(name="kafka-{n}", role="kafka", team="data", size="r2.xlarge", data_gib=1000, stopped=2),
        Role(name="gpu-train-{n:02d}", role="training", team="ml", size="g2.4xlarge", image="img-cuda-12", stopped=100),
        web,
        etl,
        Role(name="docker-{loc}-{n:02d}", role="containers", team="platform", size="m2.2xlarge", type="container-host", stopped=4),
        Role(name="checkout-{n:02d}", role="checkout", team="shop", size="t1.small", type="container"),
        Role(name="mailer-{n:02d}", role="mailer", team="shop", size="t1.nano", type="container", stopped=30),
        dev,
        Role(name="db-replica-{loc}-{n:02d}", role="db", team="data", size="r2.xlarge", data_gib=500),
        Role(name="cache-{loc}-{n:02d}", role="cache", team="platform", size="r2.xlarge", image="img-debian-12"),
        web,
        Role(name="bastion-{loc}", role="bastion", team="ops", size="t1.nano", public=True, stopped=0),
        api,
        Role(name="search-{n:02d}", role="search", team="platform", size="r2.xlarge", image="img-rocky-9", data_gib=800),
        Role(name="staging-web-{n:02d}", role="web", team="shop", env="staging", size="t1.small", stopped=80),
        Role(name="staging-db-{n:02d}", role="db", team="data", env="staging", size="m2.large", data_gib=100, stopped=80),
        Role(name="ci-runner-{n:02d}", role="ci", team="platform", env="dev", size="c2.2xlarge", image="img-ubuntu-2404", stopped=60),
        etl,
        Role(name="win-ad-{loc}-{n:02d}", role="directory", team="it", size="m2.large", image="img-windows-2022"),
        dev,
        Role(name="monitor-{loc}", role="monitoring", team="ops", size="m2.xlarge", image="img-debian-12", data_gib=300, stopped=0),
        web,
        Role(name="edge-{loc}-{n:02d}", role="edge", team="ops", size="a2.large", image="img-debian-12-arm", public=True),
        Role(name="warehouse-{n}", role="warehouse", team="data", size="r2.4xlarge", image="img-rocky-9", data_gib=4000),
        Role(name="backup-{loc}", role="backup", team="ops", size="metal.legacy", type="machine", image="img-freebsd-14", data_gib=8000),
        api,
        Role(name="vpn-{loc}", role="vpn", team="it", size="t1.small", public=True, stopped=0),
    )


ROLES = _roles()
_HOST_AT = next(number for number, role in enumerate(ROLES) if role.type == "container-host")


def _cycle() -> list[tuple[Role, SizeInfo, str, int, int, bool, bool]]:
    """A role each: (role, size, os type, how many earlier ones of the cycle share its pattern, how many in the whole do, …)."""
    patterns = [role.name for role in ROLES]
    return [
        (
            role,
            SIZES[role.size],
            IMAGES[role.image].os_type,
            patterns[:at].count(role.name),
            patterns.count(role.name),
            "{loc}" in role.name,
            "{n" in role.name,
        )
        for at, role in enumerate(ROLES)
    ]


_CYCLE = _cycle()
_PLACES = [  # (network, subnet, zone, second number of its addresses), region by region
    (f"net-{region}", f"subnet-{region}-{zone}", f"{region}-{zone}", number * 16 + at * 4)
    for number, (region, _, _) in enumerate(REGIONS)
    for at, zone in enumerate(ZONES)
]


def locations() -> Iterator[LocationInfo]:
    for region, _, country in REGIONS:
        yield LocationInfo(external_id=region, name=region, location_type="region", country=country)
        for zone in ZONES:
            yield LocationInfo(
                external_id=f"{region}-{zone}", name=f"{region}-{zone}", parent=region, location_type="zone", country=country
            )


def networks() -> Iterator[NetworkInfo]:
    for number, (region, _, _) in enumerate(REGIONS):
        yield NetworkInfo(external_id=f"net-{region}", name=f"main {region}", cidr=f"10.{number * 16}.0.0/12", location=region)


def subnets() -> Iterator[SubnetInfo]:
    for number, (region, _, _) in enumerate(REGIONS):
        for at, zone in enumerate(ZONES):
            place = f"{region}-{zone}"
            cidr = f"10.{number * 16 + at * 4}.0.0/14"
            yield SubnetInfo(external_id=f"subnet-{place}", name=f"main {place}", network=f"net-{region}", cidr=cidr, location=place)


def security_groups() -> Iterator[SecurityGroupInfo]:
    for region, _, _ in REGIONS:
        for name, port, peer in (("ssh", 22, "10.0.0.0/8"), ("web", 443, "0.0.0.0/0"), ("db", 5432, "10.0.0.0/8")):
            rule = {"direction": "in", "protocol": "tcp", "from_port": port, "to_port": port, "peer": peer}
            yield SecurityGroupInfo(external_id=f"sg-{region}-{name}", name=name, network=f"net-{region}", rules=(rule,))


def place_of(location: str) -> tuple[int, int] | None:
    """(region's number, zone's number) of a zone, or of a region (its first zone); None when there is none of that name."""
    for number, (region, _, _) in enumerate(REGIONS):
        if location == region:
            return number, 0
        if location.startswith(f"{region}-") and location[len(region) + 1 :] in ZONES:
            return number, ZONES.index(location[len(region) + 1 :])
    return None


def private_ip(region: int, zone: int, host: int) -> str:
    """The `host`-th address of a zone's subnet (18 bits of hosts)."""
    return f"10.{region * 16 + zone * 4 + (host >> 16 & 3)}.{host >> 8 & 255}.{host & 255}"


def public_ip(host: int) -> str:
    """An address of the range kept for benchmarks (RFC 2544): no demo machine is ever somebody's real host."""
    return f"198.{18 + (host >> 16 & 1)}.{host >> 8 & 255}.{host & 255}"


def external_id(index: int) -> str:
    return f"i-{index:08x}"


class Fleet:
    """`machines` machines, the same for the same `key`."""

    def __init__(self, key: str, machines: int) -> None:
        self.key = key
        self.size = machines

    @cached_property
    def _hash(self) -> hashlib.blake2b:
        return hashlib.blake2b(self.key.encode(), digest_size=12)

    def index_of(self, machine: str) -> int | None:
        """The index in an external id; None when it is not one of this fleet."""
        digits = machine[2:]
        if len(machine) != 10 or not machine.startswith("i-") or set(digits) - set("0123456789abcdef"):
            return None
        index = int(digits, 16)
        return index if index < self.size else None

    def __iter__(self) -> Iterator[MachineInfo]:
        return (self.machine(index) for index in range(self.size))

    def machine(self, index: int) -> MachineInfo:
        """The machine as it was born (a container's host, `parent`, comes before it)."""
        cycle, at = divmod(index, len(ROLES))
        role, size, os_type, before, repeats, located, numbered = _CYCLE[at]
        ordinal = cycle * repeats + before
        draw = self._draw(index)
        parent = None
        if role.type == "container":  # it is where its host is
            host = index - at + _HOST_AT
            parent, zone, region = external_id(host), self._draw(host)[0] % 3, cycle % 4
        else:
            zone, region = draw[0] % 3, (ordinal if located else draw[1]) % 4
        n = ordinal // 4 + 1 if located else ordinal + 1
        name = role.name.format(loc=REGIONS[region][1], n=n)
        if n > 1 and not numbered:
            name = f"{name}-{n}"
        network, subnet, place, second = _PLACES[region * 3 + zone]
        host = index + 16
        spot = role.role == "training" and draw[2] < 128
        return MachineInfo(
            external_id=f"i-{index:08x}",
            name=name,
            state=self._born(role, draw[3]),
            type=role.type,
            hostname="" if parent else f"{name}.demo.internal",
            public_ips=(public_ip(index),) if role.public else (),
            private_ips=(f"10.{second + (host >> 16)}.{host >> 8 & 255}.{host & 255}",),
            cores=size.cores,
            ram_mib=size.ram_mib,
            disk_gib=size.disk_gib,
            os_type=os_type,
            architecture=size.architecture,
            location=place,
            size=role.size,
            image=role.image,
            network=network,
            subnet=subnet,
            parent=parent,
            created_at=datetime.fromtimestamp(_BORN_S + int.from_bytes(draw[4:8], "big") % _AGE_S, UTC),
            tags={"env": role.env, "team": role.team, "role": role.role},
            cost_hour=_FREE if parent else size.cost_hour,  # known: the host pays for it
            refusals=dict(CONTAINER_REFUSALS) if parent else dict(SPOT_REFUSALS) if spot else {},
            extra={"billing": "spot"} if spot else {},
        )

    def volumes(self) -> Iterator[VolumeInfo]:
        """One a data machine, and now and then one that nobody has attached to anything."""
        for index in range(self.size):
            role = ROLES[index % len(ROLES)]
            if role.data_gib or index % 40 == 39:
                info = self.machine(index)
                yield VolumeInfo(
                    external_id=f"vol-{index:08x}",
                    name=f"{info.name}-data" if role.data_gib else f"old-{info.name}",
                    size_gib=role.data_gib or 50,
                    state="in-use" if role.data_gib else "available",
                    volume_type="ssd" if role.data_gib < 1000 else "hdd",
                    location=info.location,
                    attached_to=(info.external_id,) if role.data_gib else (),
                    created_at=info.created_at,
                    tags=info.tags,
                    extra={"is_deleted_with_machine": False},
                )

    def _draw(self, index: int) -> bytes:
        """Twelve even random bytes that belong to the index."""
        mine = self._hash.copy()
        mine.update(index.to_bytes(4, "big"))
        return mine.digest()

    @staticmethod
    def _born(role: Role, luck: int) -> str:
        if luck < role.stopped:
            return "stopped"
        if luck >= 254 and role.type == "vm" and role.stopped:
            return "suspended" if luck == 254 else "error"
        return "running"
