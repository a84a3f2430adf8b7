"""Which addresses may be dialled."""

from __future__ import annotations

import pytest

from clouds.addresses import resolve
from core.errors import Rejected, Unavailable


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "[::ffff:169.254.169.254]",
        "fe80::1",
        "fd00:ec2::254",
        "100.100.100.200",
        "0.0.0.0",
        "224.0.0.1",
        "2002:a9fe:a9fe::1",
        "0xa9fea9fe",
        "2852039166",
    ],
)
def test_metadata_and_nobodys_addresses_are_refused_however_written(host: str) -> None:
    with pytest.raises((Rejected, Unavailable)):
        resolve(host, 80)


@pytest.mark.parametrize("host", ["", "a b", "a\x00b", "user@host", "host/path", "x" * 300, "\n"])
def test_what_is_no_host_is_refused(host: str) -> None:
    with pytest.raises(Rejected):
        resolve(host, 80)


def test_our_own_port_is_refused(settings: pytest.FixtureRequest) -> None:
    with pytest.raises(Rejected, match="Mist itself"):
        resolve("127.0.0.1", next(iter(settings.MIST_OWN_PORTS)))  # type: ignore[attr-defined]
    assert resolve("127.0.0.1", 2222) == ["127.0.0.1"]


def test_loopback_is_for_admins() -> None:
    for host in ("127.0.0.1", "127.5.5.5", "::1", "localhost", "::ffff:127.0.0.1"):
        with pytest.raises(Rejected, match="admin"):
            resolve(host, 2375, loopback=False)


def test_private_addresses_may_be_switched_off(settings: pytest.FixtureRequest) -> None:
    assert resolve("10.1.2.3", 22) == ["10.1.2.3"]
    settings.MIST_ALLOW_PRIVATE_HOSTS = False  # type: ignore[attr-defined]
    for host in ("10.1.2.3", "127.0.0.1", "192.168.1.1", "fd00::1", "100.64.0.1"):
        with pytest.raises(Rejected):
            resolve(host, 22)


def test_a_name_that_does_not_resolve_is_told() -> None:
    with pytest.raises(Unavailable):
        resolve("no-such-host.invalid", 22)
