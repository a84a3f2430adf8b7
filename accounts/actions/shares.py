"""What is shared with one person, thing by thing."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.db import transaction
from guardian.models import UserObjectPermission

from accounts import policies
from accounts.actions.fields import owners_only
from accounts.models import User
from core import events
from core.actor import Actor
from core.errors import Denied, Invalid, Refused


def share(actor: Actor, target: Any, user: User, rights: list[str]) -> None:
    """Let one person do these things (rights of the kind, without it) with one row; `[]` takes all back. For owners alone.

    Raises: Denied, NotFound, Invalid.
    """
    try:
        _check_share(actor, target, rights)
    except Refused as refusal:
        reason = {"code": refusal.code, "reason": refusal.detail, "user": user.pk.hex, "rights": rights}
        events.record(f"{target.kind()}.share.refused", actor, org_id=actor.org_id, target_kind=target.kind(), detail=reason)
        raise
    kind = ContentType.objects.get_for_model(type(target))
    with transaction.atomic(durable=True):
        had = UserObjectPermission.objects.filter(user=user, content_type=kind, object_pk=str(target.pk))
        before = sorted(had.values_list("permission__codename", flat=True))
        had.delete()
        for right in dict.fromkeys(rights):
            named = {"name": f"{target.kind()}.{right}"}
            permission, _ = Permission.objects.get_or_create(content_type=kind, codename=right, defaults=named)
            UserObjectPermission.objects.create(user=user, permission=permission, content_type=kind, object_pk=str(target.pk))
        facts = {"before": {"rights": before}, "after": {"rights": sorted(set(rights))}, "detail": {"user": user.pk.hex}}
        events.record(f"{target.kind()}.share.succeeded", actor, target=target, **facts)


def shares_of(actor: Actor, target: Any) -> list[tuple[str, list[str]]]:
    """(e-mail, rights) of whom a row is shared with, by e-mail.  Raises: Denied, but for owners."""
    owners_only(actor, "see with whom single things are shared")
    kind = ContentType.objects.get_for_model(type(target))
    found: dict[str, list[str]] = {}
    rows = UserObjectPermission.objects.filter(content_type=kind, object_pk=str(target.pk))
    for email, right in rows.order_by("user__email", "permission__codename").values_list("user__email", "permission__codename"):
        found.setdefault(email, []).append(right)
    return list(found.items())


def _check_share(actor: Actor, target: Any, rights: list[str]) -> None:
    if not target.__class__.objects.visible_to(actor).filter(pk=target.pk).exists():
        raise Invalid(fields={"id": ["Not found."]}, code="not_found")
    owners_only(actor, "share single things")
    if actor.read_only:
        raise Denied("This token is read-only. Use one that may act.", code="read_only_token", reason="token scope")
    known = policies.verbs_known().get(target.kind(), set())
    wrong = [right for right in rights if right not in known and right != "*"]
    if wrong:
        raise Invalid(fields={"rights": [f"There is no verb {target.kind()}.{wrong[0][:60]}."]})
