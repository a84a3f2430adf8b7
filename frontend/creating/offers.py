"""The long lists of the form: images to search, sizes to filter. The server filters; the form holds what was found."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any, cast

from django.db.models import Q, QuerySet

from clouds.models import Cloud, Image, Location, Size
from core.actor import Actor
from frontend.creating.steps import offered
from frontend.templatetags.humanish import sign_of
from machines.inventory import HOURS_A_MONTH
from machines.models import Preset

IMAGES, SIZES, PRESETS = 40, 120, 30  # shown at once
CPUS = (1, 2, 4, 8, 16, 32, 64)
MEMORY_GB = (1, 2, 4, 8, 16, 32, 64, 128, 256)
HEX = re.compile(r"[0-9a-f]{32}")
SHAPE = re.compile(r"\b(\d{1,5})\s*(v?cpus?|gi?b)\b")
FILTERS = ("s_q", "s_cpu", "s_mem", "s_price", "s_family", "image_q")


@dataclass(kw_only=True)
class Images:
    """Those found, the chosen one first. `total`: how many there are."""

    rows: list[Image]
    total: int
    q: str


def images(actor: Actor, cloud: Cloud, data: Mapping[str, Any], chosen: Image | None) -> Images:
    """Images whose name, distribution or id holds all words of `image_q`; starred ones first."""
    q = str(data.get("image_q", "")).strip()[:200].replace("\x00", "")
    rows = offered(actor, Image, cloud)
    for word in q.split()[:8]:
        rows = rows.filter(Q(name__icontains=word) | Q(os_distro__icontains=word) | Q(external_id__icontains=word))
    found = list(rows.order_by("-starred", "name")[:IMAGES])
    if chosen is not None:
        found = [chosen, *(row for row in found if row.pk != chosen.pk)]
    return Images(rows=found, total=rows.count(), q=q)


def presets(actor: Actor) -> list[Preset]:
    """The presets one sees, each with `month`: what its machines cost, where their size has a price, and the `currency`."""
    rows = list(Preset.objects.visible_to(actor).select_related("cloud").order_by("name")[:PRESETS])
    named = {str(row.params.get("size")) for row in rows}
    sizes = Size.objects.visible_to(actor).filter(cloud__in={row.cloud_id for row in rows}, cost_hour__isnull=False)
    known: dict[tuple[Any, str], Size] = {}
    for size in sizes.filter(Q(external_id__in=named) | Q(pk__in=filter(HEX.fullmatch, named))):
        known |= {(size.cloud_id, size.external_id): size, (size.cloud_id, size.pk.hex): size}
    for row in rows:
        found, extra = known.get((row.cloud_id, str(row.params.get("size")))), cast(Any, row)
        extra.month = found.cost_hour * HOURS_A_MONTH * row.quantity if found and found.cost_hour else None
        extra.currency = found.currency if found else ""
    return rows


@dataclass(kw_only=True)
class Sizes:
    """A page of sizes. `fit`: how many fit image and place; `total`: of those, how many the filters leave."""

    rows: list[Size]
    fit: int
    total: int
    filters: dict[str, str]
    families: list[str] = field(default_factory=list)
    cpus: tuple[int, ...] = CPUS
    memory_gb: tuple[int, ...] = MEMORY_GB
    has_prices: bool = False

    @property
    def sign(self) -> str:
        """Of the currency that all prices shown are in; "" where they are in several, or in one without a sign."""
        return sign_of({row.currency for row in self.rows if row.cost_hour is not None})


def sizes(actor: Actor, cloud: Cloud, data: Mapping[str, Any], chosen: Mapping[str, Any]) -> Sizes:
    """Sizes that fit the chosen image and location, as the filters `s_q`, `s_cpu`, `s_mem`, `s_price`, `s_family` leave them.

    Each row gets `month` (None is unknown), `family`, `bar` (its price in the dearest shown) and `is_cheapest`.
    """
    fitting = _fitting(offered(actor, Size, cloud), chosen.get("image"), chosen.get("location"))
    families = sorted({family(name) for name in fitting.values_list("name", flat=True)} - {""})[:200]
    asked = {name: str(data.get(name, "")).strip()[:100].replace("\x00", "") for name in FILTERS[:5]}
    rows = _filtered(fitting, asked)
    total = rows.count()
    found = list(rows.order_by("cost_hour", "cores", "ram_mib", "name")[:SIZES])
    picked = chosen.get("size")
    if isinstance(picked, Size) and picked.pk not in {row.pk for row in found}:
        found.insert(0, picked)
    prices = [row.cost_hour for row in found if row.cost_hour is not None]
    dearest, cheapest = max(prices, default=None), min((price for price in prices if price), default=None)
    for row in found:
        extra: Any = row
        extra.month = None if row.cost_hour is None else row.cost_hour * HOURS_A_MONTH
        extra.family = family(row.name)
        share = float(row.cost_hour / dearest) * 100 if row.cost_hour is not None and dearest else 0.0
        extra.bar = [("b-acc" if picked is not None and row.pk == picked.pk else "b-off", share), ("b-none", 100 - share)] if share else []
        extra.is_cheapest = len(prices) > 1 and row.cost_hour == cheapest
    return Sizes(
        rows=found,
        fit=fitting.count(),
        total=total,
        filters=asked,
        families=families if len(families) > 1 else [],
        has_prices=bool(prices),
    )


def family(name: str) -> str:
    """m6i.xlarge → m6i; e2-standard-4 → e2; s-2vcpu-4gb → s."""
    head = name.replace("-", ".").partition(".")[0]
    return head if head != name else ""


def _fitting(rows: QuerySet[Size], image: Any, location: Any) -> QuerySet[Size]:
    if isinstance(image, Image):
        if image.architecture:
            rows = rows.filter(Q(architecture="") | Q(architecture=image.architecture))
        if image.min_ram_mib:
            rows = rows.filter(Q(ram_mib=None) | Q(ram_mib__gte=image.min_ram_mib))
        if image.min_disk_gib:
            rows = rows.filter(Q(disk_gib=None) | Q(disk_gib=0) | Q(disk_gib__gte=image.min_disk_gib))
    if isinstance(location, Location):
        rows = rows.filter(Q(locations=None) | Q(locations__contains=[location.external_id]))
    return rows


def _filtered(rows: QuerySet[Size], asked: Mapping[str, str]) -> QuerySet[Size]:
    text = asked["s_q"].lower()
    for found in SHAPE.finditer(text):  # 4 cpu 16 gb
        number = int(found[1])
        rows = rows.filter(cores=number) if "cpu" in found[2] else rows.filter(ram_mib=number * 1024)
    for word in SHAPE.sub(" ", text).split()[:8]:
        rows = rows.filter(Q(name__icontains=word) | Q(architecture__icontains=word))
    if asked["s_cpu"].isdigit():
        rows = rows.filter(cores__gte=int(asked["s_cpu"]))
    if asked["s_mem"].isdigit():
        rows = rows.filter(ram_mib__gte=int(asked["s_mem"]) * 1024)
    price = _decimal(asked["s_price"])
    if price is not None:
        rows = rows.filter(cost_hour__lte=price / HOURS_A_MONTH)
    if asked["s_family"]:
        rows = rows.filter(Q(name__startswith=f"{asked['s_family']}.") | Q(name__startswith=f"{asked['s_family']}-"))
    return rows


def _decimal(text: str) -> Decimal | None:
    try:
        value = Decimal(text)
    except InvalidOperation:
        return None
    return value if value.is_finite() and 0 <= value < 10**9 else None
