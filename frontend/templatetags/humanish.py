"""Numbers as people read them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from decimal import Decimal
from typing import Any

from django import template
from django.utils.translation import ngettext

register = template.Library()
SIGNS = {"USD": "$", "EUR": "€", "GBP": "£"}


@register.filter
def thousands(value: int | float | None) -> str:
    """12418 → 12,418"""
    return "" if value is None else f"{value:,}"


@register.filter
def machines_unit(n: int) -> str:
    """What stands behind their number: 1 → machine, 3 → machines"""
    return _without_number(ngettext("%(n)s machine", "%(n)s machines", n))


def subnets_unit(n: int) -> str:
    """What stands behind their number: 1 → subnet, 3 → subnets"""
    return _without_number(ngettext("%(n)s subnet", "%(n)s subnets", n))


def _without_number(said: str) -> str:
    return (said % {"n": ""}).strip()


@register.filter
def money(value: Decimal | float | None, currency: str = "USD") -> str:
    """148.92 → $148.92; unknown is a dash, never 0. Without a currency: 148.92, where it is said elsewhere."""
    if value is None:
        return "–"
    sign = SIGNS.get(currency)
    return f"{sign}{value:,.2f}" if sign else f"{value:,.2f} {currency}".rstrip()


@register.filter
def round_money(value: Decimal | float, currency: str = "USD") -> str:
    """18422.4 → $18,422; below ten with its cents."""
    return money(value, currency) if abs(value) < 10 else money(value, currency).replace(f"{value:,.2f}", f"{value:,.0f}")


@register.filter
def sign_of_all(rows: Iterable[Any]) -> str:
    """The sign of the currency that all prices of these rows are in; "" where they are in several, or in one without a sign."""
    return sign_of({row.currency for row in rows if row.cost_month is not None})


def sign_of(currencies: Collection[str]) -> str:
    """The sign of the only one of these; "" where there are several, or none, or it has no sign."""
    return SIGNS.get(next(iter(currencies)), "") if len(currencies) == 1 else ""


@register.filter
def disk(gb: int | None) -> str:
    """500 → 500 GB, 2000 → 2 TB; unknown is a dash"""
    if not gb:
        return "–"
    return f"{gb} GB" if gb < 1000 else f"{gb / 1000:.3g} TB" if gb < 1_000_000 else f"{gb / 1000:,.0f} TB"


@register.filter
def plain(value: float | None) -> str:
    """4.0 → 4, 0.5 → 0.5"""
    return "" if value is None else f"{value:g}"
