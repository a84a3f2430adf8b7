"""What every template knows: the frame around the page, the theme, the nonce of the styles."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest

from frontend import keyboard

THEMES = ("system", "light", "dark")
DENSITIES = ("compact", "default", "relaxed")


def console(request: HttpRequest) -> dict[str, Any]:
    """`frame` is None on pages outside an organization; `theme`: as chosen, else the system's; `key_of`: the keys that are moved."""
    user = getattr(request, "user", None)
    own = user.settings if user is not None and user.is_authenticated else {}
    return {
        "frame": getattr(request, "frame", None),
        "theme": own["theme"] if own.get("theme") in THEMES else "system",
        "density": own["density"] if own.get("density") in DENSITIES else "default",
        "key_of": keyboard.moved(own),
        "time_zone": getattr(request, "time_zone", ""),
        "csp_nonce": getattr(request, "csp_nonce", ""),
        "request_id": getattr(request, "request_id", ""),
    }
