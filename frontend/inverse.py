"""What takes a done act back, where that is another act: the Undo of a toast, and the key z. Of many at once what was done to each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.utils import timezone
from django.utils.dateparse import parse_datetime

from core.models import Event, Job

UNDO_WITHIN_S = 600  # older things are undone by doing something else


@dataclass(frozen=True, kw_only=True)
class Inverse:
    """The act that takes it back: `name` on the same target."""

    name: str
    params: dict[str, Any]


def inverse(job: Job) -> Inverse | None:
    """The inverse of a job that went well, as the record tells what was before; None where there is none."""
    known = _known(job)
    if known is None or job.state != Job.State.SUCCEEDED or job.target_id is None:
        return None
    return known(job, Event.objects.filter(job_id=job.pk, type=f"{job.action}.succeeded").first())


def inverses(job: Job, most: int | None = None) -> dict[UUID, Inverse]:
    """{machine: what takes back what was done to it} of a bulk that is over, of those of its jobs that went well. `most`: of so many."""
    known = _known(job)
    if known is None or job.target_id is not None or job.is_active or job.action not in _MANY:
        return {}
    children = list(job.children.filter(state=Job.State.SUCCEEDED, target_id__isnull=False).order_by("created_at", "id")[:most])
    told = {event.job_id: event for event in Event.objects.filter(job_id__in=[one.pk for one in children], type=f"{job.action}.succeeded")}
    found = {child.target_id: known(child, told.get(child.pk)) for child in children}
    return {pk: one for pk, one in found.items() if pk is not None and one is not None}


def can_take_back(job: Job) -> bool:
    """Is there an inverse, of one or of many?"""
    return inverse(job) is not None if job.target_id is not None else bool(inverses(job, most=20))


def _known(job: Job) -> Callable[[Job, Event | None], Inverse | None] | None:
    """How such a job is taken back, while it is not too long ago."""
    kind, _dot, name = job.action.rpartition(".")
    if kind != "machine" or job.finished_at is None or (timezone.now() - job.finished_at).total_seconds() > UNDO_WITHIN_S:
        return None
    return _KNOWN.get(name)


def _before(told: Event | None) -> Mapping[str, Any]:
    """The columns the job changed, as they were."""
    return told.before or {} if told else {}


def _tag(_job: Job, told: Event | None) -> Inverse | None:
    if told is None or "tags" not in (told.before or {}):
        return None
    was, became = told.before["tags"], (told.after or {}).get("tags", {})
    changed = {key: value for key, value in was.items() if became.get(key) != value}
    return Inverse(name="tag", params={"tags": changed, "remove": [key for key in became if key not in was]})


def _rename(job: Job, _told: Event | None) -> Inverse | None:
    return Inverse(name="rename", params={"name": job.target_name}) if job.target_name else None


def _owner(_job: Job, told: Event | None) -> Inverse | None:
    was = _before(told)
    return Inverse(name="set_owner", params={"owner": was["owner_id"]}) if "owner_id" in was else None


def _expiration(_job: Job, told: Event | None) -> Inverse | None:
    was = _before(told)
    if "expires_at" not in was:
        return None
    at = parse_datetime(was["expires_at"]) if was["expires_at"] else None
    if at is not None and at <= timezone.now():
        return None  # it cannot be given an end that has passed
    params: dict[str, Any] = {"date": was["expires_at"]}
    if was.get("expire_action"):
        params["action"] = was["expire_action"]
    if was.get("remind_s") is not None:
        params["notify"] = was["remind_s"]
    return Inverse(name="set_expiration", params=params)


def _lock(_job: Job, told: Event | None) -> Inverse | None:
    was = _before(told)
    if "locked_at" not in was:
        return None
    return Inverse(name="lock", params={"note": was.get("lock_note", "")}) if was["locked_at"] else Inverse(name="unlock", params={})


def _address(_job: Job, told: Event | None) -> Inverse | None:
    was = _before(told)
    return Inverse(name="edit", params={"address": was["address"]}) if "address" in was else None


def _associate(job: Job, _told: Event | None) -> Inverse | None:
    made = job.result or {}
    sent = {"key": made["key"], "user": made["user"], "record_only": made.get("recorded", False)} if "key" in made else None
    return Inverse(name="disassociate_key", params=sent) if sent else None


def _disassociate(job: Job, _told: Event | None) -> Inverse | None:
    was = job.result or {}
    gone = was.get("removed") or []
    return Inverse(name="associate_key", params={**gone[0], "record_only": was.get("recorded", False)}) if len(gone) == 1 else None


def _start(job: Job, _told: Event | None) -> Inverse | None:
    return Inverse(name="stop", params={"when_running": True}) if (job.result or {}).get("was") == "stopped" else None


_KNOWN = {
    "start": _start,
    "tag": _tag,
    "rename": _rename,
    "set_owner": _owner,
    "set_expiration": _expiration,
    "extend": _expiration,
    "lock": _lock,
    "unlock": _lock,
    "edit": _address,
    "associate_key": _associate,
    "disassociate_key": _disassociate,
}
_MANY = {f"machine.{name}" for name in ("start", "tag", "set_owner", "set_expiration", "extend", "lock", "unlock", "edit")}
