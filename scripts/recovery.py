"""Runs whose worker died: their hosts are told apart into what was not begun and what nobody saw end. Nothing is run again."""

from __future__ import annotations

from django.db import transaction

from core.models import Job
from core.ticks import every
from scripts.desk import abandon, finish
from scripts.models import Run, RunHost


@every(5)
def settle() -> int:
    """End the runs whose job has ended without them.  Returns: how many."""
    settled = 0
    over = Run.objects.filter(state__in=Run.ACTIVE).exclude(job__state__in=Job.OPEN).values_list("pk", flat=True)
    for pk in list(over[:50]):
        with transaction.atomic():
            run = Run.objects.select_for_update(skip_locked=True, of=("self",)).select_related("job").filter(pk=pk).first()
            if run is None or not run.is_active:
                continue
            _settle(run)
            settled += 1
    return settled


def _settle(run: Run) -> None:
    job, unknown, cancelled = run.job, RunHost.State.UNKNOWN, RunHost.State.CANCELLED
    if job.state == Job.State.LOST:
        began = ("worker_lost", "The process that ran this died: it may have ended there or not.")
        waiting = (unknown, "not_begun", "The process that ran this died, most likely before it began here.")
    else:
        began = (job.error_code or "unknown", f"{job.error_detail} It may have ended there or not.".strip())
        waiting = (cancelled, "cancelled", "The run ended before it began here.")
    is_unknown = abandon(run, began=began, waiting=waiting)
    state = {Job.State.LOST: Run.State.UNKNOWN, Job.State.CANCELLED: Run.State.CANCELLED, Job.State.UNDONE: Run.State.CANCELLED}
    finish(run, state.get(Job.State(job.state), Run.State.UNKNOWN if is_unknown else Run.State.FAILED), job.error_detail)
