"""Short notes at the corner of a page: in the answer where htmx asked, on the next page otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from django.http import HttpRequest
from django.utils.translation import gettext as _

from core.errors import MistError
from core.jobs import undo_until
from core.models import Job
from frontend import faults, words
from frontend.inverse import can_take_back
from frontend.progress import reasons
from frontend.reasons import in_words

SESSION_KEY = "toasts"
MARKS = {"asked": "warn", "waiting": "warn", "queued": "queued", "running": "pending", "succeeded": "ok", "failed": "crit", "lost": "crit"}
Toast = dict[str, Any]


def note(title: str, *, mark: str = "ok", detail: str = "", stay: bool = False, request_id: str = "") -> Toast:
    """A plain note."""
    return {"id": uuid4().hex, "mark": mark, "title": title, "detail": detail, "stay": stay, "request": request_id}


def of_job(job: Job, base: str) -> Toast:
    """The note of a job; it changes as the job does. `base`: the organization's path. `job.file` (frontend.rows.with_files) is offered."""
    until = undo_until(job)
    detail: str = ""
    if until:
        detail = _("starts in")
    elif job.state in (Job.State.FAILED, Job.State.LOST) or job.is_partly:
        detail = (job.error_detail if job.target_id or not (why := reasons(job)) else why[0][1])[:400]
    elif job.state == Job.State.UNDONE:
        detail = _("undone: nothing was done")
    elif job.state == Job.State.ASKED:
        detail = _("waits for approval")
    elif job.state == Job.State.CANCELLED:
        detail = in_words(job.error_detail) or _("cancelled")
    elif job.steps and job.is_active:
        detail = str(words.STEPS.get(job.steps[-1]["name"], job.steps[-1]["name"]))
    file = getattr(job, "file", None)
    failed = job.state in (Job.State.FAILED, Job.State.LOST) or job.is_partly
    found = faults.of_job(job, base)
    if failed and found.todo:
        detail = f"{detail} {found.todo}"
    return {
        "id": f"job-{job.pk.hex}",
        "mark": "warn" if job.is_partly else MARKS.get(job.state, "stopped"),
        "title": words.job_title(job),
        "detail": detail,
        "until": until,
        "undo": f"{base}/jobs/{job.pk.hex}/{'undo' if until else 'back'}" if until or can_take_back(job) else "",
        "link": f"{base}/exports/{file.pk.hex}/file" if file else f"{base}/jobs/{job.pk.hex}",
        "link_text": _("Download") if file else _("Open job"),
        "file": file is not None,
        "stay": job.is_active or failed or file is not None,
        "mend": {"url": found.link, "text": found.link_text} if failed and found.link else None,
        "retry": f"{base}/jobs/{job.pk.hex}/retry" if failed and found.retry and not found.mends else "",
        "request": job.request_id if failed else "",
        "live": f"job.toast:{job.pk.hex}",
    }


def of_error(title: str, error: MistError, request_id: str, base: str, now: Any = None) -> Toast:
    """What was not done, why, in which state it is now (`now`: the machine), and what to do."""
    machine_id = getattr(now, "pk", None)
    found = faults.fault(
        error.code, base, cloud_id=getattr(now, "cloud_id", None), machine_id=machine_id, job=str(error.extra.get("job", ""))
    )
    said = [error.detail] + ([f"“{error.extra['words']}”"] if error.extra.get("words") else [])
    fields: Mapping[str, Any] = error.extra.get("fields") or {}
    for name, wrong in fields.items():
        said.append(f"{name}: {wrong[0] if isinstance(wrong, list) and wrong else wrong}")
    if now is not None:
        said.append(faults.now(now.state))
    if found.todo:
        said.append(found.todo)
    toast = note(title, mark="crit", detail=" ".join(said), stay=True, request_id=request_id)
    return {**toast, "link": found.link, "link_text": found.link_text}


def keep(request: HttpRequest, toast: Toast) -> None:
    """For the next page. Of a job its id alone: what it has become by then is read then."""
    kept = request.session.get(SESSION_KEY, [])
    kept.append({"job": toast["live"].partition(":")[2]} if toast.get("live") else toast)
    request.session[SESSION_KEY] = kept[-3:]


def take(request: HttpRequest) -> list[Toast]:
    """Those kept for this page, once."""
    kept: list[Toast] = request.session.pop(SESSION_KEY, []) if SESSION_KEY in request.session else []
    return kept
