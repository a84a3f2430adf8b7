"""States of machines, and why something cannot be done now, as actions say it in English for every door: in the viewer's language."""

from __future__ import annotations

import re

from django.utils.translation import gettext, gettext_lazy
from django.utils.translation import gettext_noop as _

STATE_WORDS = {
    "running": gettext_lazy("Running"),
    "starting": gettext_lazy("Starting…"),
    "stopping": gettext_lazy("Stopping…"),
    "stopped": gettext_lazy("Stopped"),
    "pending": gettext_lazy("Pending…"),
    "suspended": gettext_lazy("Suspended"),
    "terminated": gettext_lazy("Terminated"),
    "error": gettext_lazy("Error"),
    "rebooting": gettext_lazy("Rebooting…"),
    "paused": gettext_lazy("Paused"),
    "reconfiguring": gettext_lazy("Reconfiguring…"),
    "unknown": gettext_lazy("Unknown"),
    "updating": gettext_lazy("Updating…"),
    "migrating": gettext_lazy("Migrating…"),
    "creating": gettext_lazy("Creating…"),
    "normal": gettext_lazy("Normal"),
    "succeeded": gettext_lazy("Succeeded"),
    "failed": gettext_lazy("Failed"),
}
LOCKED = re.compile(r"(?s)(.+) is locked(?:: (.+))?\.")
ASKS = re.compile(r"(?s)Statement (\d+) of team (.+) asks for approval\.")
STATE = re.compile(r"It is ([a-z_]+)\.")
KNOWN = (
    _("It is attached to a machine."),
    _("It is being created."),
    _("It is not in its cloud any more."),
    _("Its cloud is disabled."),
    _("Its cloud keeps no snapshots of machines that are gone."),
    _("It is still in its cloud: destroy it, or remove the cloud."),
    _("It has ended."),
    _("It has no expiration."),
    _("It is not locked."),
    _("Its recording was removed by retention."),
    _("It still runs: end it first."),
    _("It is in use: give what uses it other credentials first."),
)


def of_state(state: str) -> str:
    """“stopped”, within a sentence."""
    return str(STATE_WORDS.get(state, state)).removesuffix("…").lower()


def in_words(reason: str) -> str:
    """What is known in the viewer's language; anything else as it is."""
    if found := STATE.fullmatch(reason):
        return gettext("It is %(state)s.") % {"state": of_state(found[1])}
    if found := LOCKED.fullmatch(reason):
        name, note = found.groups()
        said = gettext("%(name)s is locked: %(note)s.") if note else gettext("%(name)s is locked.")
        return said % {"name": name, "note": note}
    if found := ASKS.fullmatch(reason):
        return gettext("Statement %(n)s of team %(team)s asks for approval.") % {"n": found[1], "team": found[2]}
    return gettext(reason) if reason in KNOWN else reason
