"""What can be done to machines."""

from machines.actions import access, create, power, presets, record, shell, snapshots

__all__ = ["access", "create", "power", "presets", "record", "shell", "snapshots"]
