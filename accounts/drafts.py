"""Drafts: what somebody typed into a long form and has not sent yet. Encrypted, one a form, kept for a day."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.utils import timezone

from accounts.models import Draft
from core import vault
from core.actor import Actor
from core.errors import Failed, Invalid
from core.models import VaultEntry
from core.ticks import every

KEPT_H = 24
MAX_CHARACTERS = 128 * 1024
MOST = 50  # of one person in one organization: beyond that the oldest goes


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A draft as it was typed: `data` is the form, URL-encoded."""

    data: str
    at: datetime


def keep(actor: Actor, form: str, data: str, most: int = MAX_CHARACTERS) -> None:
    """Keep this as the person's draft of a form, in place of the one before. `most`: characters of a form that may be longer.

    Raises: Invalid, when it is too long to keep.
    """
    if len(data) > most:
        raise Invalid("This is too long to be kept as a draft. Send it, or keep it elsewhere.", code="draft_too_long")
    with transaction.atomic():
        found = Draft.objects.select_for_update().filter(org_id=actor.org_id, user_id=actor.user_id, form=form).first()
        if found is not None:
            vault.replace(found.vault_id, {"data": data})
            Draft.objects.filter(pk=found.pk).update(updated_at=timezone.now())
            return
        entry = vault.put(actor.org_id, "draft", {"data": data})
        Draft.objects.update_or_create(
            org_id=actor.org_id, user_id=actor.user_id, form=form, defaults={"vault": entry, "updated_at": timezone.now()}
        )
        mine = Draft.objects.filter(org_id=actor.org_id, user_id=actor.user_id).order_by("-updated_at")
        VaultEntry.objects.filter(pk__in=list(mine.values_list("vault", flat=True)[MOST:])).delete()


def find(actor: Actor, form: str) -> Kept | None:
    """The person's draft of a form, where there is one of the last day that can be read."""
    since = timezone.now() - timedelta(hours=KEPT_H)
    found = Draft.objects.filter(org_id=actor.org_id, user_id=actor.user_id, form=form, updated_at__gt=since).first()
    if found is None:
        return None
    try:
        return Kept(data=str(vault.read(found.vault_id)["data"]), at=found.updated_at)
    except Failed:  # its key is gone: a draft is not worth an error page
        return None


def drop(actor: Actor, form: str) -> None:
    """Forget the person's draft of a form: it was sent, or discarded."""
    VaultEntry.objects.filter(pk__in=Draft.objects.filter(org_id=actor.org_id, user_id=actor.user_id, form=form).values("vault")).delete()


@every(3600)
def forget_old() -> int:
    """Drop the drafts of more than a day.  Returns: how many."""
    old = Draft.objects.filter(updated_at__lt=timezone.now() - timedelta(hours=KEPT_H)).values("vault")
    return VaultEntry.objects.filter(pk__in=old).delete()[1].get("accounts.Draft", 0)
