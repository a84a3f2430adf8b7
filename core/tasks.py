"""Celery's side: ids in, one claim, one call. The broker is only a bell; the rows are the truth."""

from __future__ import annotations

import logging
import os
import socket
from uuid import UUID

from celery import shared_task
from django.utils import timezone

from core import actions, bulks
from core.models import Job, Worker

log = logging.getLogger(__name__)


def worker_name() -> str:
    """Unique to this process: host, pid and when it started matter, for a pid returns."""
    return f"{socket.gethostname()[:40]}:{os.getpid()}"


@actions.on_enqueue
def enqueue(job: Job) -> None:
    """Ring the bell. If the broker is away the row stays queued and is announced again."""
    try:
        run_job.apply_async((job.pk.hex,), queue=job.queue, retry=False, ignore_result=True)
    except Exception as error:  # noqa: BLE001 - whatever a broker client raises: the row is safe
        log.warning("job %s could not be announced (%s); it will be, later", job.pk, type(error).__name__)


@shared_task(ignore_result=True)
def run_job(job_id: str) -> None:
    """Claim a job and run it. Delivered twice, it acts once."""
    job = actions.claim(UUID(job_id), worker_name())
    if job is None:
        return
    if job.target_id is None:
        try:
            bulks.expand(job)
        except Exception:  # what it made so far goes on; the rest is announced again by `give_up_lost`
            log.exception("bulk %s could not be expanded", job.pk)
            Job.objects.filter(pk=job.pk, state=Job.State.RUNNING).update(worker="gone")
        return
    actions.run(job)
    if job.parent_id:
        bulks.settle_bulks()


def beat(queue: str) -> None:
    """Say that this worker process lives. Called every few seconds by the worker's own thread."""
    now = timezone.now()
    Worker.objects.update_or_create(name=worker_name(), defaults={"queue": queue, "beat_at": now}, create_defaults={"queue": queue})
