"""What can be done, and the door through which it is done: `perform`. See STYLE: Action, Actor, Guard, Job, Event."""

from core.actions.approval import can_wait, cannot_wait, hold
from core.actions.approval import facts as asked_facts
from core.actions.base import Action, Call, NoParams, actions_of, all_actions, get, register, row_facts, slug, stream_of, validated
from core.actions.door import action_offered, allowed, perform, perform_batch, perform_each
from core.actions.record import public_params, refused_child
from core.actions.work import call_off, claim, end, enqueue, enqueue_all, on_enqueue, rights_source, run, run_within, with_rights

__all__ = [
    "Action",
    "Call",
    "NoParams",
    "action_offered",
    "actions_of",
    "all_actions",
    "allowed",
    "asked_facts",
    "call_off",
    "can_wait",
    "cannot_wait",
    "claim",
    "end",
    "enqueue",
    "enqueue_all",
    "get",
    "hold",
    "on_enqueue",
    "perform",
    "perform_batch",
    "perform_each",
    "public_params",
    "refused_child",
    "register",
    "rights_source",
    "row_facts",
    "run",
    "run_within",
    "slug",
    "stream_of",
    "validated",
    "with_rights",
]
