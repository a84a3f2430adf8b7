"""The columns a list can have and which are chosen, and those of the machines list.

`?cols=location,size,tag:env`; what comes first always is no column. Any key of a tag can be a column: `tag:<key>`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from django.http import HttpRequest
from django.utils.functional import Promise
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from frontend.templatetags import console, humanish, times
from machines.models import Machine
from machines.reach import address_of

DASH = mark_safe('<span class="dim">–</span>')  # where there is nothing to show
MOST = 20  # columns of a list
KEY = 128  # letters of a tag's key


@dataclass(frozen=True, kw_only=True)
class Column:
    """`css`: width, and p1 (kept longest) to p3 (dropped first) as the window narrows. `number`: to the right. `look`: of its cells.

    `filed`: the columns of core.exports that say in a file what it says; (): that of its key; None: no file says it.
    """

    key: str
    title: Promise | str
    css: str
    cell: Callable[[Any], SafeString | str]
    filed: tuple[str, ...] | None = ()
    sort: str = ""
    number: bool = False
    look: str = ""

    @property
    def classes(self) -> str:
        return " ".join(part for part in (self.css.split()[-1], "n" if self.number else "", self.look) if part)


@dataclass
class Columns:
    """Of one list: those it can have, and those it has at first. `tags_of`: a row's, whose keys are offered as columns."""

    known: Mapping[str, Column]
    default: tuple[str, ...]
    tags_of: Callable[[Any], Mapping[str, str] | None]
    first: tuple[str, ...]  # in a file: what comes first always

    def add(self, column: Column, after: str) -> None:
        """One that another app knows: shown at first, beside that one."""
        known = {}
        for key, one in self.known.items():
            known[key] = one
            if key == after:
                known[column.key] = column
        at = self.default.index(after) + 1
        self.known, self.default = known, (*self.default[:at], column.key, *self.default[at:])

    def of(self, key: str) -> Column | None:
        """The column of that key, if there may be one."""
        if key.startswith("tag:") and 4 < len(key) <= 4 + KEY and "\x00" not in key:
            name = key[4:]
            return Column(key=key, title=name, css="w-120 p3", cell=lambda row: clip(str((self.tags_of(row) or {}).get(name) or "")))
        return self.known.get(key)

    def keys(self, text: str) -> tuple[str, ...]:
        """The keys of `cols=`, those that are none left out; of an empty text, the default."""
        asked = dict.fromkeys(part.strip() for part in text.split(",")) if text.strip() else dict.fromkeys(self.default)
        return tuple(key for key in asked if self.of(key) is not None)[:MOST]

    def chosen(self, text: str) -> list[Column]:
        """The columns of `cols=`, in its order."""
        return [column for key in self.keys(text) if (column := self.of(key)) is not None]

    def offered(self, text: str, rows: Iterable[Any]) -> list[tuple[Column, bool]]:
        """(column, is it chosen?): those chosen in their order, then the others, then a column for each tag of these rows."""
        now = self.chosen(text)
        there = {column.key for column in now}
        tags = sorted({f"tag:{key}" for row in rows for key in self.tags_of(row) or {}} - there)
        others = [column for key in (*self.known, *tags) if key not in there and (column := self.of(key)) is not None]
        return [(column, True) for column in now] + [(column, False) for column in others]

    def written(self, asked: Iterable[str]) -> str:
        """`cols=` for these keys; "" for the default."""
        kept = self.keys(",".join(key.replace(",", "") for key in asked))
        return "" if kept == self.default else ",".join(kept)

    def filed(self, text: str) -> list[str]:
        """The columns of a file of these; none, which is all there are, where none were chosen."""
        shown = [column for column in self.chosen(text) if column.filed is not None] if text.strip() else []
        chosen = [name for column in shown for name in column.filed or (column.key,)]
        return list(dict.fromkeys((*self.first, *chosen))) if chosen else []

    def address(self, request: HttpRequest) -> str:
        """Where the form of columns leads (`col`, and `tag` for another key), as an address that can be kept: ?cols=."""
        params = request.GET.copy()
        asked = [*params.pop("col"), *(f"tag:{key.strip()}" for key in params.pop("tag", []) if key.strip())]
        params["cols"] = self.written(asked)
        if not params["cols"] and "view" not in params:
            del params["cols"]
        return f"{request.path}?{params.urlencode()}" if params else request.path


# -- machines

MONO = "mono ink2 clip"


def clip(text: str | None, title: str = "") -> SafeString | str:
    return format_html('<span class="ink2 clip" title="{}">{}</span>', title or text, text) if text else ""


def _location(row: Machine) -> SafeString:
    name = row.location.name if row.location else row.cloud.name
    return format_html('<span class="row">{}{}</span>', console.tile(row.cloud.provider), clip(name, row.cloud.name))


def _cloud(row: Machine) -> SafeString:
    return format_html('<span class="row">{}{}</span>', console.tile(row.cloud.provider), clip(row.cloud.name))


def _size(row: Machine) -> SafeString:
    spec = " · ".join(part for part in (humanish.plain(row.cores), console.gib(row.ram_mib)) if part)
    return format_html('{} <span class="spec num">{}</span>', row.size.name if row.size else "", spec)


def _cost(row: Machine) -> str:
    return humanish.money(row.cost_month, row.currency)


def _disk(row: Machine) -> str:
    return humanish.disk(row.disk_gib) if row.disk_gib else ""


def _ends(row: Machine) -> SafeString | str:
    return times.when(row.expires_at, "{}") if row.expires_at else ""


def _locked(row: Machine) -> SafeString | str:
    if not row.locked_at:
        return ""
    words = console.lock_words(row)
    return clip(": ".join(part for part in console.lock_parts(row) if part) or words, words)


def _age(row: Machine) -> SafeString | str:
    return times.age(row.machine_created_at)


def _ram(row: Machine) -> SafeString | str:
    return console.gib(row.ram_mib)


def _public(row: Machine) -> str:
    return ", ".join(row.public_ips)


def _private(row: Machine) -> str:
    return ", ".join(row.private_ips)


_KNOWN = {
    column.key: column
    for column in (
        Column(key="location", title=_("Location"), css="w-140 p2", sort="location", cell=_location),
        Column(key="cloud", title=_("Cloud"), css="w-140 p2", sort="cloud", cell=_cloud),
        Column(key="size", title=_("Size"), css="w-160 p2", sort="size", cell=_size),
        Column(key="address", title=_("Address"), css="w-120 p1", filed=("public_ips", "private_ips"), look=MONO, cell=address_of),
        Column(key="cost", title=_("Cost a month"), css="w-100 p3", sort="cost", number=True, filed=("cost_month", "currency"), cell=_cost),
        Column(key="owner", title=_("Owner"), css="w-120 p3", cell=lambda row: clip(row.owner.full_name if row.owner else "")),
        Column(key="tags", title=_("Tags"), css="w-200 p3", cell=lambda row: console.tag_list(row.tags, 2)),
        Column(key="age", title=_("Age"), css="w-70 p2", sort="created", number=True, filed=("created",), look="dim", cell=_age),
        Column(key="state", title=_("State"), css="w-100 p2", sort="state", cell=lambda row: console.state_word(row.state)),
        Column(key="type", title=_("Type"), css="w-120 p3", sort="type", cell=lambda row: console.type_word(row.type)),
        Column(key="image", title=_("Image"), css="w-160 p3", cell=lambda row: clip(row.image.name if row.image else row.os_type)),
        Column(key="cores", title=_("Cores"), css="w-70 p3", sort="cores", number=True, cell=lambda row: humanish.plain(row.cores)),
        Column(key="ram", title=_("Memory"), css="w-80 p3", sort="ram_mib", number=True, filed=("ram_mib",), cell=_ram),
        Column(key="disk", title=_("Disk"), css="w-80 p3", sort="disk_gib", number=True, filed=("disk_gib",), cell=_disk),
        Column(key="ends", title=_("Ends"), css="w-120 p3", sort="expiration", filed=("expires",), cell=_ends),
        Column(key="locked", title=_("Locked"), css="w-160 p3", filed=("locked", "locked_by", "lock_note"), cell=_locked),
        Column(key="hostname", title=_("Host name"), css="w-160 p3", look=MONO, cell=lambda row: row.hostname),
        Column(key="public", title=_("Public addresses"), css="w-140 p3", filed=("public_ips",), look=MONO, cell=_public),
        Column(key="private", title=_("Private addresses"), css="w-140 p3", filed=("private_ips",), look=MONO, cell=_private),
        Column(key="external_id", title=_("The cloud’s id"), css="w-140 p3", look=MONO, cell=lambda row: row.external_id),
    )
}  # fmt: skip
MACHINES = Columns(_KNOWN, ("location", "size", "address", "cost", "owner", "tags", "age"), lambda row: row.tags, ("id", "name", "state"))


def currency_of(rows: Iterable[Machine]) -> str:
    """The one that all prices of these rows are in; "" where they are in several, or in one without a sign."""
    currencies = {row.currency for row in rows if row.cost_month is not None}
    return currencies.pop() if humanish.sign_of(currencies) else ""


def under_one_sign(shown: Iterable[Column], currency: str) -> list[Column]:
    """These columns, the one of costs headed by the sign of this currency ("": as it is): a price in it needs none of its own."""
    if currency not in humanish.SIGNS:
        return list(shown)

    def cost(row: Machine) -> str:
        return humanish.money(row.cost_month, "" if row.currency == currency else row.currency)

    title = gettext("%(sign)s / month") % {"sign": humanish.SIGNS[currency]}
    return [replace(column, title=title, cell=cost) if column.key == "cost" else column for column in shown]


def related(cols: Iterable[Column]) -> tuple[str, ...]:
    """What these columns of machines need read beside what every row needs."""
    return ("image",) if any(column.key == "image" for column in cols) else ()
