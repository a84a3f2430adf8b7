"""Single keys of the console: what each does, and which of them somebody has moved or switched off.

Kept with the person: `settings["keys"]` (False: none does anything) and `settings["key_of"]`, {as shipped: as chosen; "": none}.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

# {as shipped: what it does}. The letters after "g" are those of the menu, and stay.
DOES: dict[str, Promise] = {
    "j": gettext_lazy("Row down"),
    "k": gettext_lazy("Row up"),
    "x": gettext_lazy("Select the row; with Shift a range"),
    ".": gettext_lazy("Actions of the row"),
    "o": gettext_lazy("Open the row"),
    "s": gettext_lazy("Shell"),
    "r": gettext_lazy("Run script"),
    "e": gettext_lazy("Edit"),
    "c": gettext_lazy("Create what the page lists"),
    "[": gettext_lazy("Previous of the list"),
    "]": gettext_lazy("Next of the list"),
    "z": gettext_lazy("Undo the last thing"),
    "l": gettext_lazy("Pause or resume live"),
    "/": gettext_lazy("Query bar, or find"),
    "g": gettext_lazy("Go to a page: with the letter of its line"),
    "?": gettext_lazy("Keys of this page"),
}


def moved(settings: Mapping[str, Any]) -> dict[str, str]:
    """{as shipped: as chosen} of the keys that are not as shipped; of all, where none does anything."""
    if settings.get("keys", True) is False:
        return dict.fromkeys(DOES, "")
    stored = settings.get("key_of")
    own = stored if isinstance(stored, Mapping) else {}
    return {key: own[key] for key in DOES if isinstance(own.get(key), str) and len(own[key]) <= 1 and own[key] != key}


def read(typed: Mapping[str, str]) -> tuple[dict[str, str], dict[str, list[str]]]:
    """(what of {as shipped: as typed} differs, {as shipped: what is wrong with it}). A key does one thing."""
    own = {key: typed.get(key, key).strip().lower() for key in DOES}
    wrong: dict[str, list[str]] = {}
    for key, chosen in own.items():
        if len(chosen) > 1 or not chosen.isprintable():
            wrong[key] = [_("One key that writes something.")]
        elif chosen and list(own.values()).count(chosen) > 1:
            wrong[key] = [_("Another line has this key too.")]
    return {key: chosen for key, chosen in own.items() if chosen != key}, wrong
