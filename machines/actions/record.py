"""What we know of a machine beside its cloud: tags, owner, expiration, lock, address; and forgetting it."""

from __future__ import annotations

import logging
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

from django.contrib.auth import get_user_model
from django.db import transaction
from django.utils import timezone
from rest_framework import serializers

from clouds.providers.base import Provider
from core.actions import Action, Call, perform, register
from core.errors import Already, Conflict, Invalid, Refused
from core.params import FutureField, KindField, clean_text
from core.tags import TagParams, retag
from machines.actions.base import MachineAction
from machines.models import Machine

log = logging.getLogger(__name__)


@register
class Tag(MachineAction):
    """Set and remove tags; the cloud's own follow where it keeps tags."""

    name = "tag"
    params = TagParams
    background = False
    exclusive = False
    states = frozenset(Machine.State.values)

    def run(self, call: Call) -> None:
        machine = call.target
        retag(machine, call.params)
        if PushTags().offered(machine) and machine.external_id and machine.missing_since is None:
            transaction.on_commit(partial(_push, call, machine), robust=True)

    def reason(self, machine: Machine) -> str | None:
        return None


def _push(call: Call, machine: Machine) -> None:
    """The cloud's own tags follow ours, with the same person's rights; where the cloud cannot now, its next tag brings all along."""
    try:
        perform(call.actor, machine, "push_tags", parent=call.job if call.approved else None)
    except Refused as refusal:
        log.info("the tags of machine %s were not pushed: %s", machine.pk, refusal.code)


@register
class PushTags(MachineAction):
    """Write our tags to the cloud's own."""

    name = "push_tags"
    rights = "tag"
    provider_method = "tag_machine"
    exclusive = False
    queue = "system"

    def act(self, made: Provider, call: Call) -> None:
        machine: Machine = call.target
        theirs = machine.cloud_tags or {}
        wanted = {k: v for k, v in machine.tags.items() if theirs.get(k) != v}
        removed = [k for k in theirs if k not in machine.tags]
        if wanted or removed:
            made.tag_machine(machine.external_id, wanted, removed)


class OwnerParams(serializers.Serializer[Any]):
    """`owner`: id or e-mail address of a member; null: nobody."""

    owner = KindField("user", allow_null=True)


@register
class SetOwner(Action):
    """Give it to another member, or to nobody."""

    model = Machine
    name = "set_owner"
    params = OwnerParams
    exclusive = False

    def run(self, call: Call) -> None:
        wanted = call.params["owner"]
        owner = None
        if wanted:
            members = get_user_model().objects.filter(memberships__org_id=call.target.org_id)
            owner = members.filter(email__iexact=wanted).first() if "@" in wanted else members.filter(pk=_uuid(wanted)).first()
            if owner is None:
                raise Invalid(fields={"owner": ["Not found."]})
        call.target.owner = owner
        call.target.save(update_fields=["owner", "updated_at"])


def _uuid(text: str) -> Any:

    try:
        return UUID(text)
    except ValueError:
        return None


class ExpirationParams(serializers.Serializer[Any]):
    """`date` null: it stays. `notify`: seconds before, to remind its owner."""

    date = FutureField(allow_null=True)
    action = serializers.ChoiceField(choices=["stop", "destroy"], required=False, default="stop")
    notify = serializers.IntegerField(min_value=0, max_value=30 * 86400, required=False, allow_null=True)
    notify_msg = serializers.CharField(max_length=1000, required=False, allow_blank=True, default="")


@register
class SetExpiration(Action):
    """Say when it is to be stopped or destroyed, and when to remind its owner."""

    model = Machine
    name = "set_expiration"
    params = ExpirationParams
    exclusive = False

    def run(self, call: Call) -> None:
        machine, p = call.target, call.params
        if p["date"] is not None:
            cls = machine.cloud.driver
            if cls is not None and not cls.supports(f"{p['action']}_machine"):
                raise Invalid(fields={"action": [f"{cls.title} cannot {p['action']} machines."]})
        machine.expires_at = p["date"]
        machine.expire_action = p["action"] if p["date"] else ""
        machine.remind_s = p.get("notify") if p["date"] else None
        machine.remind_message = p["notify_msg"] if p["date"] else ""
        machine.reminded_at = None
        machine.save()


class ExtendParams(serializers.Serializer[Any]):
    """`hours` more than it has, or than now where that has passed."""

    hours = serializers.IntegerField(min_value=1, max_value=24 * 366, default=24)


@register
class Extend(Action):
    """Put off its expiration."""

    model = Machine
    name = "extend"
    params = ExtendParams
    rights = "set_expiration"
    exclusive = False

    def reason(self, machine: Machine) -> str | None:
        return None if machine.expires_at else "It has no expiration."

    def check(self, call: Call) -> None:
        if call.target.expires_at is None:
            raise Conflict(f"{call.target} has no expiration to put off.", code="no_expiration")

    def run(self, call: Call) -> None:
        machine = call.target
        machine.expires_at = max(machine.expires_at, timezone.now()) + timedelta(hours=call.params["hours"])
        machine.reminded_at = None
        machine.save(update_fields=["expires_at", "reminded_at", "updated_at"])


class LockParams(serializers.Serializer[Any]):
    """`note`: what it is locked for, in a line. Of a machine that is locked: "" takes its note away, left out it stays."""

    note = serializers.CharField(max_length=200, required=False, allow_blank=True)

    def validate_note(self, value: str) -> str:
        return " ".join(clean_text(value).split())


@register
class Lock(Action):
    """Nobody stops, resizes or destroys it without approval, until it is unlocked. Locked again it gets another note."""

    model = Machine
    name = "lock"
    params = LockParams
    exclusive = False

    def check(self, call: Call) -> None:
        machine: Machine = call.target
        if machine.locked_at is not None and call.params.get("note", machine.lock_note) == machine.lock_note:
            raise Already(f"{machine} is locked already.")

    def run(self, call: Call) -> None:
        machine: Machine = call.target
        machine.locked_at, machine.locked_by_id = timezone.now(), call.actor.user_id
        machine.lock_note = call.params.get("note", "")
        machine.save(update_fields=["locked_at", "locked_by", "lock_note", "updated_at"])


@register
class Unlock(Action):
    """It can be stopped, resized and destroyed as before it was locked."""

    model = Machine
    name = "unlock"
    exclusive = False

    def reason(self, machine: Machine) -> str | None:
        return None if machine.locked_at else "It is not locked."

    def check(self, call: Call) -> None:
        if call.target.locked_at is None:
            raise Already("It is not locked.")

    def run(self, call: Call) -> None:
        machine: Machine = call.target
        machine.locked_at, machine.locked_by, machine.lock_note = None, None, ""
        machine.save(update_fields=["locked_at", "locked_by", "lock_note", "updated_at"])


class EditParams(serializers.Serializer[Any]):
    """What is left out stays. `address`: dialled in place of what the cloud says; "" undoes it."""

    address = serializers.CharField(max_length=255, required=False, allow_blank=True)
    expiration = ExpirationParams(required=False)

    def validate_address(self, value: str) -> str:
        value = clean_text(value)
        if any(c.isspace() or c in "/@" for c in value):
            raise serializers.ValidationError("A host name or an address.")
        return value


@register
class Edit(Action):
    """Change what is ours to say of it."""

    model = Machine
    name = "edit"
    params = EditParams
    exclusive = False

    def run(self, call: Call) -> None:
        if "address" in call.params:
            call.target.address = call.params["address"]
            call.target.save(update_fields=["address", "updated_at"])
        if "expiration" in call.params:
            SetExpiration().run(Call(actor=call.actor, action=self, target=call.target, params=call.params["expiration"], job=call.job))


@register
class Remove(Action):
    """Forget a machine that is not in its cloud any more. Nothing at the provider is touched."""

    model = Machine
    name = "remove"
    deletes = True
    tier = 1

    def reason(self, machine: Machine) -> str | None:
        gone = machine.missing_since is not None or (
            machine.state in (Machine.State.TERMINATED, Machine.State.ERROR) and not machine.external_id
        )
        return None if gone else "It is still in its cloud: destroy it, or remove the cloud."

    def check(self, call: Call) -> None:
        why = self.reason(call.target)
        if why:
            raise Conflict(f"{call.target} cannot be forgotten. {why}", code="machine_present")

    def run(self, call: Call) -> None:
        call.target.delete()
