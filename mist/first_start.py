"""The first admin of an installation."""

from __future__ import annotations


def ensure_admin() -> str:
    """Make the first admin when there is nobody. Returns: the lines that say who it is, or nothing."""
    return ""
