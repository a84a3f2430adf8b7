"""What can be done to keys, hosts' keys, secrets and the stores they are kept in."""

from keys.actions import secrets, ssh, stores

__all__ = ["secrets", "ssh", "stores"]
