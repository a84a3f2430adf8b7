"""Hosts for the pictures: a real SSH server that answers on a port for each, a script that runs on them, shells."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.lab.sshd import Sshd, free_port
from tests.ops.stack import wait_for

NAMES = ("web-eu-01", "web-eu-02", "web-eu-03", "web-eu-04", "web-us-01", "web-us-02", "web-us-03", "web-ap-01")
SCRIPT = """#!/bin/sh
# Renews the TLS certificates of a web server from the internal CA.
set -- $SSH_CONNECTION
case $4 in
{names}
esac
say() {{ printf '\\033[1m==>\\033[0m %s\\n' "$*"; sleep 0.3; }}
good() {{ printf '\\033[32m==> %s\\033[0m\\n' "$*"; sleep 0.3; }}
printf '\\033[2m$ rotate-tls-certs --ca %s --restart %s\\033[0m\\n' "$ca" "$restart"
say reading /etc/ssl/internal/$name.pem
printf '\\033[2m    expires in 6 days\\033[0m\\n'
say requesting certificate from ca.halden.net
case $name in
web-eu-04)
  printf '\\033[31mnginx: [emerg] cannot load key "/etc/ssl/internal/web-eu-04.key": permission denied\\033[0m\\n' >&2
  printf '\\033[33m==> rolled back to previous certificate\\033[0m\\n'
  exit 3;;
web-us-0[12])
  good installed
  printf '\\033[36m==> draining 214 connections\\033[0m '
  sleep 3600;;
esac
good installed, nginx -t ok
good nginx reloaded, 0 dropped
printf '\\033[1mdone\\033[0m\\n'
"""
Post = Callable[[str, dict[str, Any]], dict[str, Any]]


@contextmanager
def behind_ssh(directory: Path) -> Iterator[tuple[Sshd, dict[str, int]]]:
    """The server, and {name: its port}."""
    found: dict[int, None] = {}
    while len(found) < len(NAMES):  # one that is free may be named twice
        found[free_port()] = None
    ports = dict(zip(NAMES, found, strict=True))
    server = Sshd(directory, settings="".join(f"Port {port}\n" for port in ports.values()))
    server.start()
    try:
        yield server, ports
    finally:
        server.stop()


def add(post: Post, listed: Callable[[str], list[dict[str, Any]]], server: Sshd, ports: dict[str, int]) -> dict[str, str]:
    """A cloud of these hosts.  Returns: {name: id of its machine}."""
    key = post("/api/v2/keys", {"name": "platform-ed25519", "private": server.private_key})["id"]
    hosts = [{"host": "127.0.0.1", "name": name, "user": server.user, "port": port, "key": key} for name, port in ports.items()]
    post("/api/v2/clouds", {"name": "Web hosts", "provider": "other", "credentials": {"hosts": hosts}})
    wait_for(lambda: len(listed("/api/v2/machines?limit=50&search=cloud:%22Web+hosts%22+state:running")) == len(NAMES), 120)
    machines = {row["name"]: row["id"] for row in listed("/api/v2/machines?limit=50&search=cloud:%22Web+hosts%22")}
    for name, machine in machines.items():
        way = {"key": key, "user": server.user, "port": ports[name], "record_only": True}
        post(f"/api/v2/machines/{machine}/actions/associate-key", way)
    return machines


def run(post: Post, listed: Callable[[str], list[dict[str, Any]]], machines: dict[str, str], ports: dict[str, int]) -> str:
    """A script on them that is still running on some.  Returns: the run's id."""
    text = SCRIPT.format(names="\n".join(f"{port}) name={name};;" for name, port in ports.items()))
    parameters = [{"name": "ca", "default": "internal"}, {"name": "restart", "default": "nginx"}]
    script = post("/api/v2/scripts", {"name": "rotate-tls-certs", "script": text, "parameters": parameters})["id"]
    started = post(f"/api/v2/scripts/{script}/actions/run", {"machines": list(machines.values()), "su": False})
    made = str(started["jobId"])
    wait_for(lambda: len([row for row in listed(f"/api/v2/runs/{made}/hosts") if row["state"] == "running"]) == 2, 60)
    return made
