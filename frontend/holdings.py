"""What clouds hold beside machines: volumes, networks and images. Which columns their lists have, and what a page of one says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from django.db import models
from django.db.models import Count
from django.utils.functional import Promise
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from clouds.models import Image, Inventory
from core import guard
from core.actor import Actor
from frontend.columns import DASH
from frontend.templatetags import console, humanish, times
from machines.models import Machine
from networks.models import Network, SecurityGroup, Subnet
from volumes.models import Volume

Cell = Callable[[Any], SafeString | str]
SHOWN = 3  # machines named in a row
MOST = 200  # machines, subnets or groups on a page of one


@dataclass(frozen=True, kw_only=True)
class Column:
    """As frontend.columns.Column. `sort`: what the list is sorted by where the heading is followed. `unit`: of a row's number."""

    title: Promise
    css: str
    cell: Cell
    sort: str = ""
    number: bool = False
    unit: Callable[[Any], str] | None = None

    @property
    def classes(self) -> str:
        return f"{self.css.split()[-1]}{' n' if self.number else ''}"


@dataclass(frozen=True, kw_only=True)
class Holding:
    """One kind. `with_more(actor, rows)` gives rows what their cells need, in a fixed number of queries."""

    model: type[Inventory]
    path: str
    icon: str
    title: Promise
    one: Promise
    many: Promise
    placeholder: Promise
    empty: Promise
    columns: tuple[Column, ...]
    related: tuple[str, ...]
    with_more: Callable[[Actor, list[Any]], None]
    default_sort: str = "name"
    facts: tuple[tuple[Promise, Cell], ...] = ()

    @property
    def fragment(self) -> str:
        return f"{self.model.kind()}.row"

    def rows(self) -> Any:
        """What a row shows, in one query; `visible_to` is still to be asked."""
        return self.model._default_manager.select_related("cloud", *self.related)


# -- cells


def _text(value: Any) -> SafeString | str:
    return format_html('<span class="clip">{}</span>', value) if value else DASH


def _mono(value: Any) -> SafeString | str:
    return format_html('<span class="mono clip">{}</span>', value) if value else ""


def _place(row: Any) -> SafeString:
    where = getattr(row, "location", None)
    name = where.name if where else row.cloud.name
    return format_html(
        '<span class="row">{}<span class="ink2 clip" title="{}">{}</span></span>', console.tile(row.cloud.provider), row.cloud.name, name
    )


def _cloud(row: Any) -> SafeString:
    return format_html('<span class="row">{}<span class="ink2 clip">{}</span></span>', console.tile(row.cloud.provider), row.cloud.name)


def _tags(row: Any) -> SafeString:
    return console.tag_list(row.tags, 2)


def _attached(row: Any) -> SafeString:
    """The names of the machines it is attached to, those one may see."""
    if not row.attached_to:
        return format_html('<span class="dim">{}</span>', _("not attached"))
    names = format_html_join(
        ", ", '<a class="link" href="{}/machines/{}">{}</a>', ((row.base, console.slug_id(m), m.name) for m in row.machines[:SHOWN])
    )
    more = len(row.attached_to) - len(row.machines[:SHOWN])
    return format_html('<span class="clip">{}{}</span>', names, f" +{more}" if more else "")


def _machines(row: Any) -> SafeString | str:
    """How many, as a link to them."""
    if not row.uses:
        return "0"
    query = urlencode({"q": f"{row.kind()}:{row.pk.hex}"})
    return format_html('<a class="link num" href="{}/machines?{}">{}</a>', row.base, query, humanish.thousands(row.uses))


def _state(row: Volume) -> SafeString | str:
    return _text(row.state.replace("-", " "))


def _size(row: Volume) -> str:
    return humanish.disk(row.size_gib) if row.size_gib else ""


# -- what rows need beside themselves


def _volumes(actor: Actor, rows: list[Any]) -> None:
    wanted = {pk for row in rows for pk in row.attached_to}
    found = Machine.objects.visible_to(actor).filter(pk__in=wanted).only("pk", "name").in_bulk() if wanted else {}
    for row in rows:
        row.machines = [found[pk] for pk in row.attached_to if pk in found]


def _counts(rows: models.QuerySet[Any], column: str, wanted: Sequence[Any]) -> dict[Any, int]:
    return dict(rows.filter(**{f"{column}__in": wanted}).order_by().values_list(column).annotate(n=Count("pk")))


def _networks(actor: Actor, rows: list[Any]) -> None:
    ids = [row.pk for row in rows]
    machines = _counts(Machine.objects.visible_to(actor), "network_id", ids)
    subnets = _counts(Subnet.objects.visible_to(actor).filter(missing_since=None), "network_id", ids)
    for row in rows:
        row.uses, row.subnets_there = machines.get(row.pk, 0), subnets.get(row.pk, 0)


def _images(actor: Actor, rows: list[Any]) -> None:
    machines = _counts(Machine.objects.visible_to(actor), "image_id", [row.pk for row in rows])
    for row in rows:
        row.uses = machines.get(row.pk, 0)
        row.may_star = guard.permits(actor, row, "star")


MACHINES = Column(
    title=gettext_lazy("Machines"), css="w-100 p1", cell=_machines, number=True, unit=lambda row: humanish.machines_unit(row.uses)
)
VOLUMES = Holding(
    model=Volume,
    path="volumes",
    icon="hard-drive",
    title=gettext_lazy("Volumes"),
    one=gettext_lazy("volume"),
    many=gettext_lazy("volumes"),
    placeholder=gettext_lazy("Name, state:available, attached_to:web-1 or tag:env=prod"),
    empty=gettext_lazy("Disks that live by themselves appear here as your clouds list them."),
    related=("location",),
    with_more=_volumes,
    columns=(
        Column(title=gettext_lazy("Location"), css="w-140 p2", cell=_place),
        Column(title=gettext_lazy("Size"), css="w-100 p1", cell=_size, number=True),
        Column(title=gettext_lazy("Type"), css="w-80 p3", cell=lambda row: _text(row.volume_type)),
        Column(title=gettext_lazy("State"), css="w-100 p1", cell=_state),
        Column(title=gettext_lazy("Attached to"), css="w-180 p1", cell=_attached),
        Column(title=gettext_lazy("Tags"), css="w-180 p3", cell=_tags),
        Column(title=gettext_lazy("Age"), css="w-80 p2", cell=lambda row: times.age(row.volume_created_at), number=True),
    ),
    facts=(
        (gettext_lazy("Cloud"), _cloud),
        (gettext_lazy("Location"), _place),
        (gettext_lazy("Size"), _size),
        (gettext_lazy("Type"), lambda row: _text(row.volume_type)),
        (gettext_lazy("State"), _state),
        (gettext_lazy("Attached to"), _attached),
        (gettext_lazy("Made"), lambda row: times.when(row.volume_created_at)),
    ),
)
NETWORKS = Holding(
    model=Network,
    path="networks",
    icon="network",
    title=gettext_lazy("Networks"),
    one=gettext_lazy("network"),
    many=gettext_lazy("networks"),
    placeholder=gettext_lazy("Name, cidr:10.0 or cloud:name"),
    empty=gettext_lazy("Networks and their subnets appear here as your clouds list them."),
    related=("location",),
    with_more=_networks,
    columns=(
        Column(title=gettext_lazy("Location"), css="w-180 p2", cell=_place),
        Column(title=gettext_lazy("Addresses"), css="w-160 p1", cell=lambda row: _mono(row.cidr)),
        Column(
            title=gettext_lazy("Subnets"),
            css="w-100 p2",
            cell=lambda row: humanish.thousands(row.subnets_there),
            number=True,
            unit=lambda row: humanish.subnets_unit(row.subnets_there),
        ),
        MACHINES,
        Column(title=gettext_lazy("Tags"), css="w-200 p3", cell=_tags),
    ),
    facts=(
        (gettext_lazy("Cloud"), _cloud),
        (gettext_lazy("Location"), _place),
        (gettext_lazy("Addresses"), lambda row: _mono(row.cidr)),
        (gettext_lazy("Machines"), _machines),
    ),
)
IMAGES = Holding(
    model=Image,
    path="images",
    icon="disc-3",
    title=gettext_lazy("Images"),
    one=gettext_lazy("image"),
    many=gettext_lazy("images"),
    placeholder=gettext_lazy("Name, os:ubuntu, starred:yes or cloud:name"),
    empty=gettext_lazy("What machines are made from comes with a cloud."),
    related=(),
    with_more=_images,
    columns=(
        Column(title=gettext_lazy("Cloud"), css="w-180 p1", cell=_cloud),
        Column(title=gettext_lazy("System"), css="w-140 p2", cell=lambda row: _text(row.os_distro or row.os_type)),
        Column(title=gettext_lazy("Architecture"), css="w-100 p3", cell=lambda row: _text(row.architecture)),
        MACHINES,
        Column(title=gettext_lazy("Age"), css="w-80 p2", cell=lambda row: times.age(row.image_created_at), number=True),
    ),
    facts=(
        (gettext_lazy("Cloud"), _cloud),
        (gettext_lazy("System"), lambda row: _text(row.os_distro or row.os_type)),
        (gettext_lazy("Architecture"), lambda row: _text(row.architecture)),
        (gettext_lazy("Needs a disk of"), lambda row: humanish.disk(row.min_disk_gib) if row.min_disk_gib else DASH),
        (gettext_lazy("Needs memory of"), lambda row: console.gib(row.min_ram_mib) or _text("")),
        (gettext_lazy("Machines made from it"), _machines),
        (gettext_lazy("Made"), lambda row: times.when(row.image_created_at)),
    ),
)
HOLDINGS = {holding.path: holding for holding in (VOLUMES, NETWORKS, IMAGES)}


def ready(holding: Holding, actor: Actor, base: str, rows: Iterable[Any]) -> list[Any]:
    """Rows with all that their cells ask for."""
    found = list(rows)
    for row in found:
        row.base, row.is_past = base, False
    holding.with_more(actor, found)
    return found


@dataclass(kw_only=True)
class Parts:
    """What belongs to a network."""

    subnets: list[Subnet] = field(default_factory=list)
    groups: list[SecurityGroup] = field(default_factory=list)


def parts(actor: Actor, network: Network) -> Parts:
    """The subnets and security groups of a network that one may see."""
    return Parts(
        subnets=list(Subnet.objects.visible_to(actor).filter(network=network, missing_since=None).order_by("name")[:MOST]),
        groups=list(SecurityGroup.objects.visible_to(actor).filter(network=network, missing_since=None).order_by("name")[:MOST]),
    )
