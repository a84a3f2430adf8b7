"""The table of acts: what each verb is called on a button, while it happens, when it has, and when it has not. CONSOLE.md §12."""

from __future__ import annotations

from frontend.words.acts import clouds, keys, machines, people, scripts
from frontend.words.acts.act import Act

__all__ = ["ACTS", "Act"]

ACTS: dict[str, Act] = {**machines.ACTS, **clouds.ACTS, **keys.ACTS, **scripts.ACTS, **people.ACTS}
