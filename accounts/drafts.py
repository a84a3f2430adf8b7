"""Drafts: what somebody typed into a long form and has not sent yet. Encrypted, one a form, kept for a day."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from accounts.models import Draft
from core import vault
from core.actor import Actor
from core.errors import Conflict, Failed, Invalid
from core.models import VaultEntry
from core.ticks import every

KEPT_H = 24
MAX_CHARACTERS = 128 * 1024
MOST = 50  # of one person in one organization: beyond that the oldest goes
USED = 20  # pages that are remembered of one form


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A draft as it was typed: `data` is the form, URL-encoded."""

    data: str
    at: datetime


def keep(actor: Actor, form: str, data: str, most: int = MAX_CHARACTERS, *, page: str = "") -> None:
    """Keep this as the person's draft of a form, in place of the one before. `most`: characters of a form that may be longer; `page`:
    the one it is typed on.

    Raises: Invalid, when it is too long to keep; Conflict, when what was typed on this page was sent or discarded already.
    """
    if len(data) > most:
        raise Invalid("This is too long to be kept as a draft. Send it, or keep it elsewhere.", code="draft_too_long")
    with transaction.atomic():
        row = _held(actor, form)
        if page and page in row.used:
            raise Conflict("This form was sent or discarded. Open it anew to have a draft of it.", code="draft_used")
        if row.vault_id is not None:
            vault.replace(row.vault_id, {"data": data})
            return
        row.vault = vault.put(actor.org_id, "draft", {"data": data})
        row.save(update_fields=["vault"])
        mine = Draft.objects.filter(org_id=actor.org_id, user_id=actor.user_id).order_by("-updated_at")
        _delete(list(mine.values_list("pk", flat=True)[MOST:]))


def _held(actor: Actor, form: str) -> Draft:
    """The row of the person's draft of a form, made where there is none, and locked: a save and a drop wait for each other."""
    of = {"org_id": actor.org_id, "user_id": actor.user_id, "form": form}
    return Draft.objects.update_or_create(**of, defaults={"updated_at": timezone.now()})[0]


def _delete(ids: list[UUID]) -> None:
    rows = Draft.objects.filter(pk__in=ids)
    VaultEntry.objects.filter(pk__in=list(rows.values_list("vault", flat=True))).delete()
    rows.delete()


def find(actor: Actor, form: str) -> Kept | None:
    """The person's draft of a form, where there is one of the last day that can be read."""
    since = timezone.now() - timedelta(hours=KEPT_H)
    found = Draft.objects.filter(org_id=actor.org_id, user_id=actor.user_id, form=form, updated_at__gt=since).first()
    if found is None or found.vault_id is None:
        return None
    try:
        return Kept(data=str(vault.read(found.vault_id)["data"]), at=found.updated_at)
    except Failed:  # its key is gone: a draft is not worth an error page
        return None


def drop(actor: Actor, form: str, *, page: str = "") -> None:
    """Forget the person's draft of a form: on this page it was sent, or discarded. What the page still saves is not kept."""
    with transaction.atomic():
        row = _held(actor, form)
        entry, row.vault = row.vault_id, None
        row.used = [*row.used, page][-USED:] if page else row.used
        row.save(update_fields=["vault", "used"])
        VaultEntry.objects.filter(pk=entry).delete()
        if not row.used:
            row.delete()


@every(3600)
def forget_old() -> int:
    """Drop the drafts of more than a day.  Returns: how many."""
    old = list(Draft.objects.filter(updated_at__lt=timezone.now() - timedelta(hours=KEPT_H)).values_list("pk", flat=True))
    _delete(old)
    return len(old)
