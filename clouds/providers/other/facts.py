"""What a host tells of itself over SSH: one POSIX sh script, good for busybox and the BSDs, and its reader."""

from __future__ import annotations

import contextlib
import ipaddress
import re
import shlex
from datetime import UTC, datetime
from typing import Any

# Lines of key=value; a tool that is missing leaves its line empty. Nothing here changes anything, nothing needs root.
SCRIPT = r"""
PATH=$PATH:/usr/sbin:/sbin LC_ALL=C; export PATH LC_ALL
exec 2>/dev/null
say() { printf '%s=%s\n' "$1" "$2"; }
say hostname "$(hostname || uname -n)"
say system "$(uname -s)"
say kernel "$(uname -r)"
say architecture "$(uname -m)"
say cores "$(getconf _NPROCESSORS_ONLN || nproc || grep -c ^processor /proc/cpuinfo || sysctl -n hw.ncpu)"
say boot "$(awk '/^btime/ {print $2}' /proc/stat || sysctl -n kern.boottime | sed 's/^{ sec = \([0-9]*\).*/\1/')"
say now "$(date +%s)"
say memory_kib "$(awk '/^MemTotal:/ {print $2}' /proc/meminfo)"
say available_kib "$(awk '/^MemAvailable:/ {print $2}' /proc/meminfo)"
say memory_bytes "$(sysctl -n hw.physmem)"
say load "$(cut -d' ' -f1-3 /proc/loadavg)"
sed -n -e 's/^ID=/os_id=/p' -e 's/^VERSION_ID=/os_version=/p' -e 's/^PRETTY_NAME=/os_name=/p' /etc/os-release
for d in /sys/block/*; do
  case ${d##*/} in sd*|vd*|xvd*|hd*|nvme*|mmcblk*) say block "${d##*/} $(cat "$d/size")";; esac
done
df -kP | awk 'NR > 1 && ($1 ~ /^\/dev\// || $6 == "/") {print "mount=" $2 " " $3 " " $6}'
{ ip -o addr || ifconfig -a; } | awk '{
  for (i = 1; i < NF; i++) if ($i == "inet" || $i == "inet6") {a = $(i + 1); sub(/^addr:/, "", a); print "address=" a " " $2}
}'
"""

_VIRTUAL = re.compile(r"^(lo|docker|br-|veth|virbr|vnet|cni|flannel|cali|lxcbr|lxdbr|podman)")


def read(text: str) -> dict[str, Any]:
    """The facts, by name; what was not told is not there.

    hostname, system, kernel, architecture, os_id, os_version, os_name; cores, memory_mib, available_mib; booted_at (ISO),
    uptime_s; load [1, 5, 15 min]; disks [{name, gib}]; mounts [{path, total_gib, used_gib}]; addresses [literal].
    """
    facts: dict[str, Any] = {}
    disks: list[dict[str, Any]] = []
    mounts: list[dict[str, Any]] = []
    addresses: list[str] = []
    raw: dict[str, str] = {}
    for line in text.splitlines():
        key, _, value = line.partition("=")
        value = value.strip()[:300]
        words = value.split()
        if not value:
            continue
        if key == "block" and len(words) == 2 and words[1].isdigit():
            if len(disks) < 64 and (size := int(words[1]) * 512):  # sectors of 512 bytes, whatever the disk's own are
                disks.append({"name": words[0], "gib": round(size / 2**30, 1)})
        elif key == "mount" and len(words) >= 3 and words[0].isdigit() and words[1].isdigit():
            if len(mounts) < 64:
                total, used, path = words[0], words[1], " ".join(words[2:])
                mounts.append({"path": path, "total_gib": round(int(total) / 2**20, 1), "used_gib": round(int(used) / 2**20, 1)})
        elif key == "address":
            if not (len(words) == 2 and _VIRTUAL.match(words[1])):
                with contextlib.suppress(ValueError):
                    address = ipaddress.ip_address(words[0].split("/")[0].split("%")[0])
                    if not (address.is_loopback or address.is_link_local) and str(address) not in addresses and len(addresses) < 64:
                        addresses.append(str(address))
        elif re.fullmatch(r"[a-z_]+", key):
            raw.setdefault(key, value)
    for key in ("hostname", "system", "kernel", "architecture"):
        if key in raw:
            facts[key] = raw[key]
    for key in ("os_id", "os_version", "os_name"):
        if key in raw:
            try:
                facts[key] = " ".join(shlex.split(raw[key]))
            except ValueError:
                facts[key] = raw[key]
    numbers = {key: int(value) for key, value in raw.items() if value.isdigit()}
    if numbers.get("cores"):
        facts["cores"] = numbers["cores"]
    if memory := numbers.get("memory_kib", 0) // 1024 or numbers.get("memory_bytes", 0) // 2**20:
        facts["memory_mib"] = memory
    if "available_kib" in numbers:
        facts["available_mib"] = numbers["available_kib"] // 1024
    if numbers.get("boot") and numbers.get("now", 0) >= numbers["boot"]:
        facts["uptime_s"] = numbers["now"] - numbers["boot"]
        with contextlib.suppress(ValueError, OverflowError, OSError):
            facts["booted_at"] = datetime.fromtimestamp(numbers["boot"], UTC).isoformat()
    with contextlib.suppress(ValueError):
        facts["load"] = [float(word) for word in raw.get("load", "").split()[:3]]
    if not facts.get("load"):
        facts.pop("load", None)
    return facts | {key: value for key, value in (("disks", disks), ("mounts", mounts), ("addresses", addresses)) if value}
