"""The words of one act. CONSOLE.md §12."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils.functional import Promise


@dataclass(frozen=True, kw_only=True)
class Act:
    """One verb. `label`: on the button; `doing`, `done`, `undone` (it did not happen): with the thing's name. `effect`: what it means,
    in a confirmation. `order`: what is asked for, where that is not the label and the name; `did`: of somebody, after their name.
    """

    label: Promise | str
    doing: Promise | str
    done: Promise | str
    undone: Promise | str
    undones: Promise | str = ""  # of several, where that is said otherwise
    icon: str = "zap"
    effect: Promise | str = ""
    effects: Promise | str = ""  # the same of several
    critical: bool = False
    order: Promise | str = ""
    did: Promise | str = ""
