"""What can be done to machines."""

from machines.actions import access, create, destroy, power, presets, record, shell, snapshots

__all__ = ["access", "create", "destroy", "power", "presets", "record", "shell", "snapshots"]
