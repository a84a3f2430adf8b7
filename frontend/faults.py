"""What an error means to a person: what state things are in now, what to do, and the one button that helps. CONSOLE.md §12.

The error's own detail says why; here is only what a code adds to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from core.models import Job
from frontend.reasons import in_words


@dataclass(frozen=True, kw_only=True)
class Fault:
    """`todo`: a sentence, or "". `link`, `link_text`: where it is mended, or "". `retry`: the same may work later; `mends`: not before
    it was mended there, so that where there is room for one button it is that one."""

    todo: str = ""
    link: str = ""
    link_text: str = ""
    retry: bool = False
    mends: bool = False


@dataclass(frozen=True, kw_only=True)
class _Known:
    """The same of a code. `path`: below the organization, with {cloud}, {machine}, {job}."""

    todo: Promise | str = ""
    text: Promise | str = ""
    path: str = ""
    retry: bool = True
    mends: bool = False


_OPEN_CLOUD: dict[str, Any] = {"text": _("Open cloud"), "path": "clouds/{cloud}"}
_CREDENTIALS: dict[str, Any] = {"text": _("Change credentials"), "path": "clouds/{cloud}/do/rotate", "mends": True}
_OPEN_MACHINE: dict[str, Any] = {"text": _("Open machine"), "path": "machines/{machine}", "mends": True}
_MACHINE_KEYS: dict[str, Any] = {"text": _("Keys of the machine"), "path": "machines/{machine}/keys", "mends": True}
_HOST_KEYS: dict[str, Any] = {"text": _("Host keys"), "path": "keys/hosts", "mends": True}

_KNOWN: dict[str, _Known] = {
    # credentials, permission, quota, capacity, rate limit, not found, conflict, timeout: CONSOLE.md §12
    "cloud_auth_failed": _Known(todo=_("Give the cloud credentials that it accepts."), **_CREDENTIALS),
    "cloud_not_permitted": _Known(
        todo=_("Allow it at the provider, or give the cloud credentials that may."),
        text=_("Check permissions"),
        path="clouds/{cloud}/do/rotate",
        mends=True,
    ),
    "cloud_quota": _Known(
        todo=_("Ask the provider for a higher limit, or make room."),
        text=_("See what is there"),
        path="machines?q=cloud%3D{cloud}",
        mends=True,
    ),
    "cloud_capacity": _Known(
        todo=_("Choose another zone or size, or try later."),
        text=_("Choose another"),
        path="machines/new?copy={machine}",
        mends=True,
    ),
    "cloud_rate_limited": _Known(todo=_("Try again in a minute.")),
    "cloud_gone": _Known(todo=_("Forget it here, or read the cloud again."), **_OPEN_CLOUD, retry=False, mends=True),
    "cloud_wrong_state": _Known(todo=_("Look at its state, then try again."), **_OPEN_MACHINE),
    "cloud_timeout": _Known(todo=_("It may have been done all the same: look at it before you try again."), **_OPEN_CLOUD),
    # other words of clouds
    "cloud_unavailable": _Known(todo=_("Look whether the cloud answers, then try again."), **_OPEN_CLOUD),
    "cloud_garbage": _Known(todo=_("Look at it before you try again."), **_OPEN_CLOUD),
    "cloud_rejected": _Known(todo=_("Change what was asked for, then ask again."), **_OPEN_MACHINE),
    "cloud_disabled": _Known(todo=_("Enable the cloud first."), **_OPEN_CLOUD, mends=True),
    "cloud_certificate": _Known(todo=_("Give the cloud the certificate of who signed it."), **_CREDENTIALS),
    "cloud_tls_failed": _Known(todo=_("Make the certificates fit each other."), **_CREDENTIALS),
    "cloud_no_address": _Known(todo=_("Correct the address of the cloud."), **_CREDENTIALS),
    "not_supported": _Known(retry=False),
    # hosts
    "host_key_changed": _Known(todo=_("Make sure that it is the same host, then trust its new key."), **_HOST_KEYS),
    "host_key_unknown": _Known(todo=_("Trust its key first."), **_HOST_KEYS),
    "no_key": _Known(todo=_("Associate a key that opens it."), **_MACHINE_KEYS),
    "no_way_in": _Known(todo=_("Associate a key that opens it."), **_MACHINE_KEYS),
    "key_without_private": _Known(todo=_("Associate a key that opens it."), **_MACHINE_KEYS),
    "no_address": _Known(todo=_("Set the address at which it is reached."), **_OPEN_MACHINE),
    "command_timeout": _Known(todo=_("It may have been done all the same: look at it before you try again."), **_OPEN_MACHINE),
    "machine_wrong_state": _Known(todo=_("Look at its state, then try again."), **_OPEN_MACHINE),
    # ours
    "busy": _Known(text=_("Open that job"), path="jobs/{job}"),
    "asked_already": _Known(text=_("Open that job"), path="jobs/{job}"),
    "approval_required": _Known(todo=_("Ask for approval."), retry=False),
    "conflict": _Known(todo=_("Look at its state, then try again."), **_OPEN_MACHINE),
    "job_lost": _Known(todo=_("Look at the target, then try again.")),
    "internal_error": _Known(todo=_("Try again. If it stays, tell who runs this installation the request id.")),
    "window_closed": _Known(todo=_("It has begun: cancel it, or do the opposite."), retry=False),
    "target_gone": _Known(retry=False),
}
_UNKNOWN, _OF_A_CLOUD = _Known(retry=False), _Known()


def fault(code: str, base: str, *, cloud_id: UUID | None = None, machine_id: UUID | None = None, job: str = "") -> Fault:
    """What a code adds. `base`: the organization's path; `job`: the one that stands in the way."""
    known = _KNOWN.get(code, _OF_A_CLOUD if code.startswith("cloud_") else _UNKNOWN)
    places = {"cloud": cloud_id.hex if cloud_id else "", "machine": machine_id.hex if machine_id else "", "job": job}
    reachable = bool(known.path) and all(places[name] for name in places if f"{{{name}}}" in known.path)
    return Fault(
        todo=str(known.todo),
        link=f"{base}/{known.path.format(**places)}" if reachable else "",
        link_text=str(known.text) if reachable else "",
        retry=known.retry,
        mends=known.mends and reachable,
    )


def of_job(job: Job, base: str) -> Fault:
    """What the error of a job that failed adds; a job that did not adds nothing."""
    if job.state not in (Job.State.FAILED, Job.State.LOST) or job.target_id is None:  # what is left by one done partly is tried again
        return Fault(retry=True)
    machine = job.target_id if job.target_kind == "machine" and job.action != "machine.create" else None
    return fault(job.error_code, base, cloud_id=job.cloud_id, machine_id=machine)


# A machine's state in a sentence.
_NOW: dict[str, Promise] = {
    "running": _("It is running as before."),
    "stopped": _("It is stopped as before."),
    "suspended": _("It is suspended as before."),
}


def now(state: str) -> str:
    """What state a machine is in that nothing was done to."""
    return str(_NOW.get(state) or in_words(f"It is {state}."))
