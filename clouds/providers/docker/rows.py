"""A container as the engine lists it, and as we do."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from ..facts import MachineInfo

ENGINE = "engine"  # external id of the host's row: the engine's own id changes with its data folder, and each time on Podman
MADE_FOR = "io.mist.request"  # label: one request makes one container, however often it is asked
STATES = {
    "running": "running",
    "created": "stopped",
    "exited": "stopped",
    "paused": "suspended",
    "restarting": "rebooting",
    "removing": "stopping",
    "dead": "error",
    "configured": "stopped",
    "initialized": "stopped",
    "stopped": "stopped",
    "stopping": "stopping",
}
Row = dict[str, Any]


def machine(row: Row, details: Row) -> MachineInfo:
    """A container. `details`: its inspection, {} when nobody asked."""
    networks = (row.get("NetworkSettings") or {}).get("Networks") or {}
    mode = (row.get("HostConfig") or {}).get("NetworkMode") or ""
    first: Row = networks.get(mode) or next(iter(networks.values()), {}) or {}
    addresses = [one.get(key) for one in networks.values() for key in ("IPAddress", "GlobalIPv6Address")]
    limits = details.get("HostConfig") or {}
    cpus = (limits.get("NanoCpus") or 0) / 1e9
    if not cpus and (limits.get("CpuQuota") or 0) > 0:
        cpus = limits["CpuQuota"] / (limits.get("CpuPeriod") or 100_000)
    names = [str(name).lstrip("/") for name in row.get("Names") or ()]
    ports = [
        {
            "ip": one.get("IP") or "",
            "public": one.get("PublicPort"),
            "private": one.get("PrivatePort"),
            "protocol": one.get("Type") or "tcp",
        }
        for one in row.get("Ports") or ()
    ]
    extra: Row = {
        "image": str(row.get("Image") or "")[:300],
        "command": str(row.get("Command") or "")[:300],
        "ports": sorted(ports, key=lambda one: (one["private"] or 0, one["ip"], one["public"] or 0))[:50],
        "networks": sorted(networks),
        "labels": labels(row.get("Labels")),
    }
    if details:
        state = details.get("State") or {}
        extra["restart"] = (limits.get("RestartPolicy") or {}).get("Name") or "no"
        extra["exit_code"] = state.get("ExitCode") if row.get("State") in {"exited", "dead"} else None
    return MachineInfo(
        external_id=row["Id"],
        name=next((name for name in names if "/" not in name), row["Id"][:12]),  # others are links from containers to it
        state=STATES.get(str(row.get("State") or "").lower(), "unknown"),
        type="container",
        hostname=str((details.get("Config") or {}).get("Hostname") or ""),
        private_ips=tuple(dict.fromkeys(str(one) for one in addresses if one)),
        cores=cpus or None,
        ram_mib=((limits.get("Memory") or 0) >> 20) or None,
        os_type=details.get("Platform") or "linux",
        image=row.get("ImageID") or None,
        network=first.get("NetworkID") or None,
        parent=ENGINE,
        created_at=at(row.get("Created")),
        extra=extra,
    )


def labels(found: Any) -> dict[str, str]:
    labels: Iterable[tuple[str, Any]] = sorted((found or {}).items())
    return {str(key)[:100]: str(value)[:100] for key, value in list(labels)[:50] if key != MADE_FOR}


def at(seconds: Any) -> datetime | None:
    return datetime.fromtimestamp(seconds, tz=UTC) if isinstance(seconds, int) and seconds > 0 else None


def when(text: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(str(text)).astimezone(UTC) if text else None
    except ValueError:
        return None
