"""The door through which a confined play reaches its hosts."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

from scripts.ansible_ways import Door
from tests.lab.sshd import free_port


async def through(path: Path, place: tuple[str, int]) -> str:
    """What comes back: ".", with a connection, or why there is none."""
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(f"{place[0]} {place[1]}".encode())
    said = await reader.read(400)
    writer.close()
    return said.decode()


async def test_several_at_once_reach_one_place(tmp_path: Path) -> None:
    """Logins of one host are hosts of a play like others."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as host:
        place = host.getsockname()
        door = Door(tmp_path / "door", [place])
        try:
            assert await asyncio.gather(*(through(tmp_path / "door", place) for _ in range(20))) == ["."] * 20
            assert door.failed == {}
        finally:
            door.close()


async def test_why_a_place_is_not_reached_is_kept_and_no_other_is_dialled(tmp_path: Path) -> None:
    here, other = ("127.0.0.1", free_port()), ("127.0.0.1", 22)
    door = Door(tmp_path / "door", [here])
    try:
        said = await asyncio.gather(*(through(tmp_path / "door", here) for _ in range(5)))
        assert all("Connect call failed" in one for one in said), said
        assert "connection refused" in door.failed[here]
        assert await through(tmp_path / "door", other) == "it is no host of this run"
        assert other not in door.failed
    finally:
        door.close()
