"""Which browser somebody uses, in words: “Firefox 144 on Windows”."""

from __future__ import annotations

import re

from django.utils.translation import gettext as _

# In this order: most name others besides themselves.
BROWSERS = (
    ("Edge", r"Edga?/(\d+)"),
    ("Opera", r"OPR/(\d+)"),
    ("Firefox", r"(?:Firefox|FxiOS)/(\d+)"),
    ("Chrome", r"(?:Chrome|CriOS)/(\d+)"),
    ("Safari", r"Version/(\d+).* Safari/"),
)
SYSTEMS = (
    ("iPhone", r"iPhone"),
    ("iPad", r"iPad"),
    ("Android", r"Android"),
    ("ChromeOS", r"CrOS"),
    ("Windows", r"Windows"),
    ("macOS", r"Mac OS X|Macintosh"),
    ("Linux", r"Linux"),
)


def said(user_agent: str) -> str:
    """What its `User-Agent` says; of one nobody knows the first words."""
    found = next(((name, match[1]) for name, pattern in BROWSERS if (match := re.search(pattern, user_agent, re.IGNORECASE))), None)
    if found is None:
        return user_agent[:60] or _("not told")
    browser = " ".join(found)
    system = next((name for name, pattern in SYSTEMS if re.search(pattern, user_agent)), "")
    return _("%(browser)s on %(system)s") % {"browser": browser, "system": system} if system else browser
