"""Machines by the clock: reminders, and what expires."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from django.core.mail import send_mail
from django.db.models import DurationField, ExpressionWrapper, F, Q
from django.utils import timezone

from core import events
from core.actions import perform
from core.actor import Actor
from core.errors import MistError
from core.ticks import every
from keys import hostkeys
from keys.models import HostKey
from machines.models import Machine
from machines.reach import Reach

log = logging.getLogger(__name__)

PRINTED_AFTER = timedelta(minutes=10)  # EC2 passes on what a console printed minutes after a machine has booted
COMPARED_AT_ONCE = 3


@every(30)
def remind(now: datetime | None = None) -> int:
    """Tell owners of machines that end soon, once.  Returns: how many."""
    now = now or timezone.now()
    due = Machine.objects.filter(expires_at__gt=now, remind_s__isnull=False, reminded_at=None, missing_since=None)
    ahead = ExpressionWrapper(F("remind_s") * timedelta(seconds=1), DurationField())
    due = due.annotate(remind_at=F("expires_at") - ahead).filter(remind_at__lte=now).select_related("owner")
    told = 0
    for machine in due[:200]:
        if not Machine.objects.filter(pk=machine.pk, reminded_at=None).update(reminded_at=now):
            continue
        actor = Actor.system(machine.org_id, via="expiration")
        detail = {"expires_at": machine.expires_at, "action": machine.expire_action}
        events.record("machine.expiring.observed", actor, target=machine, detail=detail)
        if machine.owner is not None:
            words = machine.remind_message or f"{machine.name} ends at {machine.expires_at:%Y-%m-%d %H:%M} UTC ({machine.expire_action})."
            send_mail(f"{machine.name} ends soon", words, None, [machine.owner.email], fail_silently=True)
        told += 1
    return told


@every(15)
def expire(now: datetime | None = None) -> int:
    """Stop or destroy what has expired. What refuses is tried again in ten minutes; what is locked is left alone until it is unlocked,
    and then ended at once.  Returns: how many.
    """
    now = now or timezone.now()
    due = (
        Machine.objects.filter(expires_at__lte=now, missing_since=None, locked_at=None)
        .exclude(external_id="")
        .exclude(Q(state="terminated") | Q(expire_action=""))
    )
    due = due.exclude(expire_action="stop", state__in=["stopped", "stopping"])
    done = 0
    for machine in due[:200]:
        actor = Actor.system(machine.org_id, via="expiration")
        try:
            perform(actor, machine, machine.expire_action, undo_s=0)
            done += 1
        except MistError as error:
            log.info("machine %s has expired but cannot %s: %s", machine.pk, machine.expire_action, error.code)
            Machine.objects.filter(pk=machine.pk).update(expires_at=now + timedelta(minutes=10))
    return done


@every(20)
def compare_host_keys(now: datetime | None = None) -> int:
    """Compare keys that were trusted at first sight with what their consoles printed by now.  Returns: how many.

    A console may print them late, at the next boot say: one that told nothing is asked again after as long as it took so far.
    """
    now = now or timezone.now()
    waited = ExpressionWrapper(F("compared_at") - F("trusted_at"), DurationField())
    due = Q(compared_at=None) | Q(compared_at__lte=now - F("waited"))
    rows = HostKey.objects.filter(source="first-use", offered="", cloud__enabled=True, trusted_at__lte=now - PRINTED_AFTER)
    rows = rows.annotate(waited=waited).filter(due).select_related("cloud").order_by(F("compared_at").asc(nulls_first=True), "trusted_at")
    compared = 0
    for row in rows[:COMPARED_AT_ONCE]:
        HostKey.objects.filter(pk=row.pk).update(compared_at=now)
        here = Q(address=row.host) | Q(public_ips__contains=[row.host]) | Q(private_ips__contains=[row.host])
        machine = Machine.objects.filter(here, cloud=row.cloud, missing_since=None).select_related("cloud").first()
        if machine is None or not (way := Reach(machine=machine, host=row.host)).may_be_told:
            continue
        actor = Actor.system(row.org_id, via="console")
        hostkeys.compare(actor, row, way.told(actor))
        compared += 1
    return compared
