"""What an act that was asked for would do, as who is to approve it sees it: the facts that who asked saw."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from django.utils.translation import gettext as _

from clouds.models import Cloud
from clouds.providers.facts import Field
from core import actions
from core.actor import Actor
from core.listing import by_id_or_name
from core.models import Job
from frontend import acts, calls, dialogs, story
from frontend.creating.steps import by_id, chosen_rows
from frontend.rows import machine_queryset
from machines.models import Machine

SHOWN = 100  # targets


@dataclass(kw_only=True)
class Facts:
    """What an asked job would do, as who answers sees it. `machines`: as the dialog of who asked shows them; `names`: of other kinds."""

    machines: list[Machine] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    hidden: int = 0
    params: list[tuple[str, str]] = field(default_factory=list)
    unseen: int = 0  # targets this person may not see


def facts(actor: Actor, job: Job) -> Facts:
    action = actions.get(job.action)
    ids = [job.target_id] if job.target_id else [UUID(pk) for pk in (job.selector or {}).get("ids", [])]
    shown = machine_queryset() if action.model is Machine else action.model.objects.all()
    rows = list(shown.visible_to(actor).filter(pk__in=ids[:SHOWN]).order_by("pk"))
    found = Facts(hidden=max(0, len(ids) - SHOWN), unseen=min(len(ids), SHOWN) - len(rows))
    specs: Iterable[Field] = ()
    if action.model is Machine:
        found.machines = dialogs.victims(actor, sorted(rows, key=lambda row: row.name))
        specs = acts.fields(actor, action.name, found.machines[0] if len(found.machines) == 1 else None, found.machines)
        if job.params.get("destroy_volumes"):
            for machine in found.machines:
                extra: Any = machine
                extra.fates = [replace(one, text=one.instead, lost=True, instead="") if one.instead else one for one in extra.fates]
    else:
        found.names = sorted(getattr(row, "person", "") or str(row) for row in rows)
    each = (job.selector or {}).get("each") or []
    found.names += [str(params.get("name", "")) for params in each[:SHOWN]]
    found.params = _said(actor, each[0] if each else job.params, specs)
    return found


def _said(actor: Actor, params: Mapping[str, Any], specs: Iterable[Field]) -> list[tuple[str, str]]:
    """Params in the words of the form they were typed in; ids by the names of what they are of."""
    known = {spec.name: spec for spec in specs}
    cloud = next(iter(by_id_or_name(Cloud.objects.visible_to(actor), str(params["cloud"]))), None) if "cloud" in params else None
    rows = chosen_rows(actor, cloud, by_id(actor, cloud, dict(params))) | {"cloud": cloud} if cloud else {}
    said = []
    for name, value in params.items():
        if name in rows or name in calls.TEXTS:
            chosen = rows.get(name)
            value = [row.name for row in chosen] if isinstance(chosen, list) else getattr(chosen, "name", calls.HIDDEN)
        spec = known.get(name)
        if value in (None, "", [], {}, False):
            continue
        text = dict(spec.choices).get(value, value) if spec and spec.choices and isinstance(value, str) else value
        said.append((str(spec.label) if spec else name.replace("_", " ").capitalize(), _("yes") if text is True else _plain(text)))
    return said


def _plain(value: Any) -> str:
    """A value in words (frontend.story), and what is of several parts by its parts."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={_plain(one)}" for key, one in value.items())
    return ", ".join(_plain(one) for one in value) if isinstance(value, list) else story.plain(value, {})
