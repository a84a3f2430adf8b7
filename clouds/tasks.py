"""Polls as tasks: ids in, one call."""

from __future__ import annotations

import logging

from celery import shared_task

from clouds import polling
from core import live
from core.ticks import every

log = logging.getLogger(__name__)


@shared_task(ignore_result=True, time_limit=2 * polling.DEADLINE_S)  # what the watchdog goes by: the listing, and writing it
def poll(poll_id: int) -> None:
    """List one kind of one cloud."""
    polling.poll_once(poll_id)


@every(1)
def start_polls() -> None:
    """Announce the polls that are due."""
    for due in polling.take_due():
        try:
            poll.apply_async((due.pk,), queue="poll", retry=False, expires=polling.DEADLINE_S, ignore_result=True)
        except Exception as error:  # noqa: BLE001 - the claim runs out by itself and the poll is taken again
            log.warning("poll %s could not be announced (%s)", due.pk, type(error).__name__)
            return


@every(5)
def poll_what_is_looked_at() -> None:
    """Machines that somebody has on screen are polled sooner."""
    watched = live.watched("machine")
    if watched:
        polling.look(watched)
