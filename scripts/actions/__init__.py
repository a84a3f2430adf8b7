"""What can be done with scripts and their runs."""

from scripts.actions import library, run

__all__ = ["library", "run"]
