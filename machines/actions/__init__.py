"""What can be done to machines."""

from machines.actions import access, create, power, record, snapshots

__all__ = ["access", "create", "power", "record", "snapshots"]
