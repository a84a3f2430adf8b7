"""The scripts that an empty library offers."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext_lazy as _

UPTIME = """#!/bin/sh
uptime
df -h / | tail -1
"""
SERVICE = """#!/bin/sh
set -e
echo "==> restarting $service"
systemctl restart "$service"
systemctl --no-pager --lines=5 status "$service"
"""
UPDATES = """#!/bin/sh
set -e
if command -v apt-get >/dev/null; then
    apt-get update -qq
    apt list --upgradable 2>/dev/null
    if [ "$install" = true ]; then DEBIAN_FRONTEND=noninteractive apt-get -y upgrade; fi
elif command -v dnf >/dev/null; then
    dnf -q check-update || true
    if [ "$install" = true ]; then dnf -y upgrade; fi
else
    echo "no package manager that is known here" >&2
    exit 1
fi
"""
SAMPLES: dict[str, dict[str, Any]] = {
    "uptime": {
        "title": _("Uptime and load"),
        "about": _("How long each machine has been up, and what is left of its disks."),
        "script": UPTIME,
        "parameters": [],
    },
    "restart-service": {
        "title": _("Restart a service"),
        "about": _("Restarts it and shows its state; the service is a parameter."),
        "script": SERVICE,
        "parameters": [{"name": "service", "default": "nginx", "required": True}],
    },
    "updates": {
        "title": _("Security updates"),
        "about": _("Lists what waits to be updated, and installs it where it is told to."),
        "script": UPDATES,
        "parameters": [{"name": "install", "type": "boolean", "default": False}],
    },
}
