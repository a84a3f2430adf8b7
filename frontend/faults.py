"""What an error means to a person: what state things are in now, what to do, and the one button that helps. CONSOLE.md §12.

The error's own detail says why; here is only what a code adds to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from core.models import Job


@dataclass(frozen=True, kw_only=True)
class Fault:
    """`todo`: a sentence, or "". `link`, `link_text`: where it is mended, or "". `retry`: the same may work later."""

    todo: str = ""
    link: str = ""
    link_text: str = ""
    retry: bool = False


# code → (what to do, the button's words, its path below the organization with {cloud}, {job}; worth a retry)
_KNOWN: dict[str, tuple[Promise | str, Promise | str, str, bool]] = {
    "cloud_auth_failed": (
        gettext_lazy("Give the cloud credentials that may do this."),
        gettext_lazy("Change credentials"),
        "clouds/{cloud}/do/rotate",
        True,
    ),
    "cloud_rate_limited": (gettext_lazy("Try again in a minute."), "", "", True),
    "cloud_unavailable": (
        gettext_lazy("Look whether the cloud answers, then try again."),
        gettext_lazy("Open cloud"),
        "clouds/{cloud}",
        True,
    ),
    "cloud_timeout": (
        gettext_lazy("It may have been done all the same: look at it before you try again."),
        gettext_lazy("Open cloud"),
        "clouds/{cloud}",
        True,
    ),
    "cloud_garbage": (gettext_lazy("Look at it before you try again."), gettext_lazy("Open cloud"), "clouds/{cloud}", True),
    "cloud_capacity": (gettext_lazy("Choose another zone or size, or try later."), "", "", True),
    "cloud_quota": (gettext_lazy("Ask the provider for a higher limit, or make room."), gettext_lazy("Open cloud"), "clouds/{cloud}", True),
    "cloud_gone": (gettext_lazy("Forget it here, or read the cloud again."), gettext_lazy("Open cloud"), "clouds/{cloud}", False),
    "cloud_disabled": ("", gettext_lazy("Open cloud"), "clouds/{cloud}", True),
    "host_key_changed": (
        gettext_lazy("Make sure that it is the same host, then trust its new key."),
        gettext_lazy("Host keys"),
        "keys/hosts",
        True,
    ),
    "host_key_unknown": (gettext_lazy("Trust its key first."), gettext_lazy("Host keys"), "keys/hosts", True),
    "busy": ("", gettext_lazy("Open that job"), "jobs/{job}", True),
    "job_lost": (gettext_lazy("Look at the target, then try again."), "", "", True),
    "internal_error": (gettext_lazy("Try again. If it stays, tell who runs this installation the request id."), "", "", True),
    "window_closed": (gettext_lazy("It has begun: cancel it, or do the opposite."), "", "", False),
}


def fault(code: str, base: str, *, cloud_id: UUID | None = None, extra: dict[str, Any] | None = None) -> Fault:
    """What a code adds. `extra`: of the error, for the job that stands in the way."""
    todo, text, path, retry = _KNOWN.get(code, ("", "", "", code.startswith("cloud_")))
    places = {"cloud": cloud_id.hex if cloud_id else "", "job": str((extra or {}).get("job", ""))}
    reachable = bool(path) and all(places[name] for name in places if f"{{{name}}}" in path)
    return Fault(
        todo=str(todo),
        link=f"{base}/{path.format(**places)}" if reachable else "",
        link_text=str(text) if reachable else "",
        retry=retry,
    )


def of_job(job: Job, base: str) -> Fault:
    """What the error of a job that failed adds."""
    return fault(job.error_code, base, cloud_id=job.cloud_id)


# A machine's state in a sentence.
_NOW: dict[str, Promise] = {
    "running": gettext_lazy("It is running as before."),
    "stopped": gettext_lazy("It is stopped as before."),
    "suspended": gettext_lazy("It is suspended as before."),
}


def now(state: str) -> str:
    """What state a machine is in that nothing was done to."""
    return str(_NOW.get(state) or _("It is %(state)s.") % {"state": state})
