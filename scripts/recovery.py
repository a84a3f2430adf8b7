"""Runs whose worker died: their hosts are told apart into what was not begun and what nobody saw end. Nothing is run again."""

from __future__ import annotations

from django.db import transaction

from core import live
from core.actor import Actor
from core.models import Job
from core.ticks import every
from scripts.actions.run import finish
from scripts.desk import counts, ended, records
from scripts.models import Run, RunHost


@every(5)
def settle() -> int:
    """End the runs whose job has ended without them.  Returns: how many."""
    settled = 0
    over = Run.objects.filter(state__in=Run.ACTIVE).exclude(job__state__in=Job.ACTIVE).values_list("pk", flat=True)
    for pk in list(over[:50]):
        with transaction.atomic():
            run = Run.objects.select_for_update(skip_locked=True, of=("self",)).select_related("job").filter(pk=pk).first()
            if run is None or not run.is_active:
                continue
            _settle(run)
            settled += 1
    return settled


def _settle(run: Run) -> None:
    lost = run.job.state == Job.State.LOST
    hosts = list(run.hosts.filter(state__in=[RunHost.State.WAITING, RunHost.State.RUNNING]).select_related("machine"))
    for host in hosts:
        if host.state == RunHost.State.RUNNING:
            ended(host, RunHost.State.UNKNOWN, "worker_lost", "The process that ran this died: it may have ended there or not.")
        elif lost:
            ended(host, RunHost.State.UNKNOWN, "not_begun", "The process that ran this died, most likely before it began here.")
        else:
            ended(host, RunHost.State.CANCELLED, "cancelled", "The run ended before it began here.")
    RunHost.objects.bulk_update(hosts, ["state", "code", "detail", "finished_at"], batch_size=500)
    if run.job.target_kind != "machine":
        records(run, Actor.system(run.org_id), hosts, {})
    counts(run)
    state = {Job.State.LOST: Run.State.UNKNOWN, Job.State.CANCELLED: Run.State.CANCELLED, Job.State.UNDONE: Run.State.CANCELLED}
    finish(run, state.get(Job.State(run.job.state), Run.State.FAILED), run.job.error_detail)
    live.changed(run.org_id, "run", [run.pk])
