"""Tickets: what an act gave somebody to open one socket with, once, within half a minute."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import timedelta

from django.db import transaction
from django.utils import timezone

from core.actions import with_rights
from core.actor import Actor
from core.errors import Conflict, NotFound
from core.models import Job
from machines.models import Session, ShellHolder, ShellTicket

GOOD_S = 30
SILENT_S = 15  # a holder that said nothing for so long takes no new shell
LOOKS = frozenset({"session.watch"})  # verbs whose ticket looks only; the others' types


@dataclass(frozen=True, kw_only=True)
class Admission:
    """A ticket that was good: who, to which session, held where. `addresses`: of a new one, any of them will do."""

    session: Session
    actor: Actor
    name: str  # of the person, for the others who look
    types: bool
    is_new: bool
    addresses: list[str]


def issue(job: Job, session: Session) -> str:
    """The ticket of an act (machine.shell, session.join, session.watch) that was done. Shown this once."""
    ticket = secrets.token_urlsafe(32)
    ShellTicket.objects.create(
        digest=_digest(ticket),
        session=session,
        job=job,
        types=job.action not in LOOKS,
        expires_at=timezone.now() + timedelta(seconds=GOOD_S),
    )
    return ticket


def claim(ticket: str) -> Admission:
    """Use a ticket up.  Raises: NotFound: used, expired or made up; Conflict: nowhere to go; Unauthenticated: its person is gone."""
    with transaction.atomic():
        row = (
            ShellTicket.objects.select_for_update(of=("self",))
            .select_related("session", "job__user")
            .filter(digest=_digest(ticket))
            .first()
        )
        if row is None or row.expires_at < timezone.now():
            raise NotFound("This ticket was used or has expired. Ask for the shell again.", code="ticket_spent")
        row.delete()
    session = row.session
    actor = with_rights(row.job.actor())
    is_new = session.state == Session.State.OPENING and not session.holder
    if session.state == Session.State.ENDED:
        raise Conflict("This shell has ended.", code="session_ended")
    addresses = [session.holder_address]
    if is_new and actor.user_id != session.owner_id:
        raise Conflict("Whoever asked for this shell has not opened it yet.", code="session_unopened")
    if is_new:
        alive = ShellHolder.objects.filter(is_stopping=False, beat_at__gt=timezone.now() - timedelta(seconds=SILENT_S))
        alive = alive.order_by("sessions", "-beat_at")
        addresses = list(dict.fromkeys(alive.values_list("address", flat=True)[:5]))
        if not addresses:
            raise Conflict("No process that holds shells is running. Try again in a moment.", code="no_holder")
    person = row.job.user
    name = person.full_name if person is not None else actor.via
    return Admission(session=session, actor=actor, name=name, types=row.types, is_new=is_new, addresses=addresses)


def _digest(ticket: str) -> bytes:
    return hashlib.sha256(ticket.encode("utf-8", "replace")).digest()
