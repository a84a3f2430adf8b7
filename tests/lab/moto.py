"""A moto_server: AWS on a loopback port, empty at the start but for a few public images of ours.

    with moto() as port: ...        # http://127.0.0.1:<port>

`python -m tests.lab.moto` starts one and prints its port.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
from botocore.config import Config

START_S = 60
_CANONICAL = "ubuntu/images/hvm-ssd"
# (owner, name, architecture, made): names as the publishers form them. moto's own thousand cost a second at every reset.
PUBLIC_IMAGES = (
    ("136693071363", "debian-13-amd64-20260801-2000", "x86_64", "2026-08-01T10:00:00.000Z"),
    ("136693071363", "debian-13-amd64-20261001-2100", "x86_64", "2026-10-01T10:00:00.000Z"),
    ("136693071363", "debian-13-backports-amd64-20261101-2200", "x86_64", "2026-11-01T10:00:00.000Z"),
    ("136693071363", "debian-12-arm64-20260901-2050", "arm64", "2026-09-01T10:00:00.000Z"),
    ("099720109477", f"{_CANONICAL}-gp3/ubuntu-noble-24.04-amd64-server-20261010", "x86_64", "2026-10-10T10:00:00.000Z"),
    ("099720109477", f"{_CANONICAL}-gp3/ubuntu-noble-24.04-amd64-server-20260910", "x86_64", "2026-09-10T10:00:00.000Z"),
    ("099720109477", f"{_CANONICAL}/ubuntu-jammy-22.04-arm64-server-20260910", "arm64", "2026-09-10T10:00:00.000Z"),
    ("137112412989", "al2023-ami-2023.9.20260930.0-kernel-6.1-x86_64", "x86_64", "2026-09-30T10:00:00.000Z"),
    ("137112412989", "al2023-ami-2023.9.20261015.0-kernel-6.12-x86_64", "x86_64", "2026-10-15T10:00:00.000Z"),
    ("137112412989", "al2023-ami-minimal-2023.9.20261101.0-kernel-6.12-x86_64", "x86_64", "2026-11-01T10:00:00.000Z"),
    ("801119661308", "Windows_Server-2025-English-Full-Base-2026.10.14", "x86_64", "2026-10-14T10:00:00.000Z"),
)


def plain(port: int) -> Any:
    """boto3's own client on it."""
    return boto3.client(
        "ec2",
        region_name="us-east-1",
        endpoint_url=f"http://127.0.0.1:{port}",
        aws_access_key_id="another",
        aws_secret_access_key="another",
        config=Config(proxies={}, retries={"total_max_attempts": 1}),
    )


@contextmanager
def moto() -> Iterator[int]:
    """The port of a server of our own, gone at the end. It knows no credentials but takes any."""
    port = _free_port()
    images = tempfile.NamedTemporaryFile("w", suffix=".json")  # noqa: SIM115 - closed at the end, below
    json.dump(_images(), images)
    images.flush()
    keep = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "PYTHONPATH", "VIRTUAL_ENV") if name in os.environ}
    process = subprocess.Popen(
        [sys.executable, "-c", "from moto.server import main; main()", "-H", "127.0.0.1", "-p", str(port)],
        env=keep | {"MOTO_AMIS_PATH": images.name},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait(process, port)
        yield port
    finally:
        process.terminate()
        process.wait(10)
        images.close()


def reset(port: int) -> None:
    """Forget everything that was made."""
    urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{port}/moto-api/reset", method="POST"), timeout=10).close()


def _images() -> list[dict[str, object]]:
    return [
        {
            "ami_id": f"ami-{index:017x}",
            "name": name,
            "owner_id": owner,
            "architecture": architecture,
            "creation_date": made,
            "state": "available",
            "public": True,
            "image_type": "machine",
            "root_device_type": "ebs",
            "root_device_name": "/dev/sda1",
            "virtualization_type": "hvm",
            "hypervisor": "xen",
            **({"platform": "windows"} if name.startswith("Windows") else {}),
        }
        for index, (owner, name, architecture, made) in enumerate(PUBLIC_IMAGES, 1)
    ]


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _wait(process: subprocess.Popen[bytes], port: int) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"moto_server ended with {process.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError("moto_server did not start")


if __name__ == "__main__":
    with moto() as started:
        print(started, flush=True)
        sys.stdin.read()
