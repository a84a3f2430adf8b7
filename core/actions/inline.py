"""What is done to our database alone: in one transaction with its record, wholly or not at all."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ObjectDoesNotExist

from core import guard
from core.actions.base import Call
from core.actions.record import finish, shadow
from core.errors import NotFound
from core.models import Job


def hold(call: Call) -> None:
    """Build the new row, or lock the old one and read it again."""
    if call.is_new:
        call.target = call.action.build(call.actor, call.params)
        return
    try:
        call.target = locked(type(call.target)).get(pk=call.target.pk)
    except ObjectDoesNotExist:
        raise NotFound from None
    if not call.action.background:
        call.before = call.action.snapshot(call.target)


def locked(model: type[Any]) -> Any:
    """The model's rows, locked and with their clouds: actions ask the cloud what it can."""
    cloud = model.cloud_path.removesuffix("_id")
    rows = model.objects.select_for_update(of=("self",))
    return rows.select_related(cloud) if cloud not in ("", "id") and hasattr(model, cloud) else rows


def run(call: Call) -> None:
    """Do it and write that it is done. Inside a transaction, with the target held and the guards asked."""
    job = call.job
    assert job is not None
    job.result = call.action.run(call)
    if call.action.deletes:
        call.target = shadow(job, call.target)
    else:
        call.is_done = True
        guard.check(call)  # as it is now: nobody edits a row out of their reach
    finish(call, Job.State.SUCCEEDED)
