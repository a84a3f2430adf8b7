"""What the form comes to before the button: is anything wrong, what will be made, what it costs, who says what to it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from accounts.guards import explain
from accounts.statements import policy_of
from clouds.models import Cloud, Image, Poll, Size
from core.actions import get, validated
from core.actor import Actor
from core.errors import Invalid
from frontend import approving, forms
from frontend.calls import Call
from frontend.creating.asked import Asked
from frontend.creating.calls import calls
from frontend.creating.steps import Step, chosen_rows
from machines.inventory import HOURS_A_MONTH
from machines.models import Machine


@dataclass(frozen=True, kw_only=True)
class Check:
    """One verdict in words. `mark`: ok, warn, crit or info."""

    mark: str
    text: str
    tag: str = ""  # key=value that would mend it


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line of the estimate; `cost` None is unknown."""

    text: str
    cost: Decimal | None


@dataclass(kw_only=True)
class Plan:
    """`errors`: {field: what is wrong}, as the action says. `rows`: what was chosen."""

    asked: Asked
    rows: dict[str, Any]
    errors: dict[str, Any] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    need: approving.Need | None = None
    currency: str = "USD"
    hourly: Decimal | None = None
    monthly: Decimal | None = None

    @property
    def is_partial(self) -> bool:
        """Does the sum leave out something whose price nobody states?"""
        return any(line.cost is None for line in self.lines)

    @property
    def ends(self) -> datetime | None:
        """When they end, as typed; None: never, or it is no date."""
        try:
            return parse_datetime(str(self.asked.typed.get("date") or "")[:16])
        except ValueError:  # a 31st of February
            return None

    @property
    def previews(self) -> list[str]:
        """The first names, or the first and the last of many."""
        names = self.asked.names
        return names if len(names) <= 4 else [*names[:2], "…", names[-1]]

    @property
    def counters(self) -> list[str]:
        """What the one {n} of the name becomes in each of those; of another name nothing."""
        before, *after = re.split(r"\{n[^}]*\}", self.asked.name)
        if len(after) != 1 or any(name != "…" and not (name.startswith(before) and name.endswith(after[0])) for name in self.previews):
            return []
        return [name if name == "…" else name[len(before) : len(name) - len(after[0])] for name in self.previews]

    @property
    def can(self) -> bool:
        return all(check.mark not in ("crit", "queued") for check in self.checks)


def plan(actor: Actor, asked: Asked, steps: list[Step]) -> Plan:
    """Nothing is made and nobody is asked outside."""
    made = Plan(asked=asked, rows=chosen_rows(actor, asked.cloud, asked.typed))
    each = asked.each() or [{**asked.params(), "name": "unnamed"}]
    try:
        for params in (each[0], each[-1])[: len(each)]:
            validated(get("machine.create"), actor, params, None)
    except Invalid as error:
        made.errors = dict(error.fields)
    _estimate(made)
    if not asked.name:
        made.checks.append(Check(mark="queued", text=_("Name: give them one")))
    made.checks += [*_fields(made, steps), *_policy(actor, asked), *_cloud(asked.cloud)]
    made.checks += [*_fit(made), *_names(actor, asked), *_room(made)]
    made.need = need_of(actor, asked)
    made.calls = calls(asked, made.rows, ask=(actor.ask or "ASK") if made.need else "")
    return made


def _estimate(made: Plan) -> None:
    count, size = made.asked.quantity, made.rows.get("size")
    if isinstance(size, Size):
        made.currency = size.currency
        monthly = None if size.cost_hour is None else size.cost_hour * HOURS_A_MONTH * count
        made.lines.append(Line(text=f"{count} × {size.name}", cost=monthly))
        if size.cost_hour is not None:
            made.hourly, made.monthly = size.cost_hour * count, monthly
    elif made.asked.cls.custom_size:
        made.lines.append(Line(text=_("%(n)d of that shape") % {"n": count}, cost=None))
    for volume in made.asked.typed.get("volumes") or []:
        name, gib = str(volume.get("name") or _("volume")), volume.get("size", "?")
        made.lines.append(Line(text=f"{count} × {name[:60]} {gib} GB", cost=None))


def _fields(made: Plan, steps: list[Step]) -> list[Check]:
    """What the action would refuse, by the names of the form. What nobody has filled in yet is no mistake."""
    labels = {spec.name: str(spec.label) for step in steps for spec in step.specs} | {"name": _("Name")}
    said = [(name, text) for name, wrong in made.errors.items() for text in forms.flat(wrong)[:3]]
    return [Check(mark="crit" if made.asked.typed.get(name) else "queued", text=f"{labels.get(name, name)}: {text}") for name, text in said]


def _policy(actor: Actor, asked: Asked) -> list[Check]:
    """What the statements of one's teams say, and which tags they ask for."""
    row = _draft(actor, asked.cloud, asked.tags)
    decided = explain(actor, row, "create")
    if decided.allowed:
        return [Check(mark="ok", text=_("Policy: %(why)s") % {"why": decided.why})]
    lacking = missing_tags(actor, row)
    if lacking is not None:
        text = _("Policy: it will be tagged, for your team may create only that")
        return [Check(mark="warn", text=text, tag=_pair(item)) for item in lacking.items()]
    return [Check(mark="crit", text=_("Policy: %(why)s. Ask an owner of the organization.") % {"why": decided.why})]


def need_of(actor: Actor, asked: Asked) -> approving.Need | None:
    """The approval that making it needs."""
    row = _draft(actor, asked.cloud, {**asked.tags, **(missing_tags(actor, _draft(actor, asked.cloud, asked.tags)) or {})})
    return approving.need(actor, get("machine.create"), [row])


def _pair(item: tuple[str, str]) -> str:
    key, value = item
    return f"{key}={value}" if value else key


def _draft(actor: Actor, cloud: Cloud, tags: Mapping[str, str]) -> Machine:
    return Machine(org_id=actor.org_id, name="", cloud=cloud, tags=dict(tags))


def missing_tags(actor: Actor, row: Machine) -> dict[str, str] | None:
    """The fewest tags with which it would be allowed; None: there are none."""
    policy = policy_of(actor)
    found = [tags for one in policy.statements if (tags := one.missing_tags(row, "create"))]
    for tags in sorted(found, key=lambda tags: (len(tags), sorted(tags.items()))):
        if policy.decide(_draft(actor, row.cloud, {**row.tags, **tags}), "create").allowed:
            return tags
    return None


def may_create(actor: Actor, cloud: Cloud) -> bool:
    """Could this person create any machine there, with the right tags?"""
    row = _draft(actor, cloud, {})
    return explain(actor, row, "create").allowed or missing_tags(actor, row) is not None


def _cloud(cloud: Cloud) -> list[Check]:
    if not cloud.enabled:
        return [Check(mark="crit", text=_("%(cloud)s is disabled: enable it first") % {"cloud": cloud.name})]
    trouble = Poll.objects.filter(cloud=cloud).exclude(error_code="").first()
    if trouble is not None:
        said = {"cloud": cloud.name, "why": trouble.error_detail[:200]}
        return [Check(mark="warn", text=_("%(cloud)s did not answer last time: %(why)s") % said)]
    return [Check(mark="ok", text=_("%(cloud)s answers; its own limits are known only when it is asked") % {"cloud": cloud.name})]


def _fit(made: Plan) -> list[Check]:
    """Does the image run on the size?"""
    image, size = made.rows.get("image"), made.rows.get("size")
    if not (isinstance(image, Image) and isinstance(size, Size)):
        return []
    if image.architecture and size.architecture and image.architecture != size.architecture:
        said = {"image": image.name, "size": size.name, "arch": size.architecture}
        return [Check(mark="crit", text=_("%(image)s does not run on %(size)s, which is %(arch)s") % said)]
    if image.min_ram_mib and size.ram_mib and size.ram_mib < image.min_ram_mib:
        return [Check(mark="crit", text=_("%(image)s needs more memory than %(size)s has") % {"image": image.name, "size": size.name})]
    return [Check(mark="ok", text=_("%(image)s runs on %(size)s") % {"image": image.name, "size": size.name})]


def _names(actor: Actor, asked: Asked) -> list[Check]:
    taken = list(
        Machine.objects.visible_to(actor)
        .filter(cloud=asked.cloud, name__in=asked.names, missing_since=None)
        .exclude(state=Machine.State.TERMINATED)
        .values_list("name", flat=True)[:3]
    )
    if not taken:
        return []
    text = ngettext("There is already a machine named %(names)s there", "There are already machines named %(names)s there", len(taken))
    return [Check(mark="warn", text=text % {"names": ", ".join(taken)})]


def _room(made: Plan) -> list[Check]:
    """Has the subnet addresses left?"""
    subnet = made.rows.get("subnet")
    if subnet is None or subnet.free_addresses is None:
        return []
    said = {"subnet": subnet.name, "n": made.asked.quantity, "free": subnet.free_addresses}
    mark = "ok" if made.asked.quantity <= subnet.free_addresses else "crit"
    return [Check(mark=mark, text=_("Subnet %(subnet)s: %(n)d of %(free)d free addresses used") % said)]
