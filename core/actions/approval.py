"""Acts that wait for somebody else's yes, as they are asked for. What answers them is core/approvals.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core import guard
from core.actions.base import Action, Call
from core.errors import ApprovalNeeded, Conflict, Invalid
from core.models import Job

MOST = 500  # characters of what for


def check(call: Call) -> None:
    """The action's own check, and whether what it acts on beside its target needs approval.  Raises: Refused."""
    call.action.check(call)
    if not call.approved and (whys := call.action.needs(call)):
        raise ApprovalNeeded(whys, verb=call.action.verb, target=str(call.target), instead=cannot_wait(call.action))


def can_wait(action: Action, sent: Mapping[str, Any] | None) -> None:
    """Raises: Invalid, where it cannot be kept until somebody says yes."""
    if whole := cannot_wait(action):
        raise Invalid(whole, code="cannot_wait")
    fields = getattr(action.params(data={}), "fields", {})
    if secret := next((name for name in sent or {} if name in fields and fields[name].write_only), ""):
        said = f"It cannot wait for approval with `{secret}`, which is not kept. Ask somebody who may do it without."
        raise Invalid(said, code="cannot_wait", fields={secret: ["It is not kept."]})


def cannot_wait(action: Action) -> str:
    """Why an act cannot wait for approval, whatever it is sent; "": it can."""
    if action.hands_out:
        return f"{action.verb} cannot wait for approval: what it gives is for now. Ask somebody who may do it without."
    if action.creates and not action.background:
        return f"{action.verb} cannot wait for approval: it is made at once. Ask somebody who may do it without."
    return ""


def ask(call: Call) -> None:
    """The job of a call waits for approval. Inside the transaction, before it is written.

    Raises: Conflict: the same is waiting for it already.
    """
    job = call.job
    assert job is not None
    same = Job.objects.filter(target_id=job.target_id, action=job.action, state=Job.State.ASKED).first()
    if same is not None:
        said = f"Approval for this was asked already. Wait for the answer to job {same.pk.hex}, or cancel it."
        raise Conflict(said, code="asked_already", job=same.pk.hex)
    hold(job, call.actor.ask or "", [*guard.needs(call), *call.action.needs(call)])


def facts(job: Job) -> dict[str, Any]:
    """What the audit log says of it: what for, and why it had to be asked for."""
    return {"ask": job.ask, "needs": job.needs.splitlines()}


def hold(job: Job, what_for: str, needs: list[str]) -> None:
    """`needs`: why it has to be asked for."""
    job.state, job.ask, job.needs, job.to_tell = Job.State.ASKED, what_for, "\n".join(needs), True
    job.not_before = job.queued_at = job.started_at = None
