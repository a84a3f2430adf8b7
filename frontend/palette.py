"""What the command palette finds: acts that fit what is on screen, things by name, pages, people, tags.

Everything comes through the doors: rows by `visible_to`, acts by `allowed`. Nothing is done from here that asks first elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from accounts.models import Membership, Team
from accounts.statements import kinds, policy_of
from clouds.models import Cloud, Image
from core import jobs, listing
from core.actions import slug
from core.actor import Actor
from core.errors import BadRequest, Invalid
from core.models import Resource
from frontend import acts, words
from frontend.frame import Entry
from frontend.views.bulk import BAR, BESIDE, MORE
from keys.models import Key, Secret
from machines.models import Machine
from networks.models import Network
from volumes.models import Volume

FOUND = 5  # machines shown
OTHERS = 3  # of each other kind
COUNTED = 1_000  # machines counted
LAST = "\U0010ffff"  # no letter comes after it
HERE = re.compile(r"/machines/([0-9a-f]{32})")
MEANT = {
    "restart": "reboot",
    "delete": "destroy",
    "terminate": "destroy",
    "kill": "destroy",
    "halt": "stop",
    "shutdown": "stop",
    "boot": "start",
}


@dataclass(kw_only=True)
class Option:
    """One line. `how`: "" follows the link, "dialog" opens it as one, "post" sends it, "bulk" asks for the chosen machines."""

    title: str
    url: str
    icon: str = ""
    state: str = ""
    right: str = ""
    keys: tuple[str, ...] = ()
    how: str = ""
    verb: str = ""
    search: str = ""
    parts: list[tuple[str, bool]] = field(default_factory=list)  # of the title: (text, does it match?)


@dataclass(kw_only=True)
class Section:
    """Some lines under a heading."""

    title: str
    options: list[Option]


DOINGS = (
    Entry(title=gettext_lazy("Create machine"), path="machines/new", icon="plus", key="C", kinds=("machine",)),
    Entry(title=gettext_lazy("Add cloud"), path="clouds/new", icon="plus", kinds=("cloud",)),
    Entry(title=gettext_lazy("Generate key"), path="keys/new", icon="key-round", kinds=("key",)),
    Entry(title=gettext_lazy("Upload key"), path="keys/new?way=upload", icon="upload", kinds=("key",)),
    Entry(title=gettext_lazy("New secret"), path="keys/secrets/new", icon="lock-keyhole", kinds=("secret",)),
    Entry(title=gettext_lazy("Invite somebody"), path="teams", icon="user-plus", kinds=("invitation",)),
    Entry(title=gettext_lazy("Make an API token"), path="settings/tokens", icon="key-square"),
)
ELSEWHERE = (
    Entry(title=gettext_lazy("Jobs"), path="jobs", icon="list-checks"),
    Entry(title=gettext_lazy("Your settings"), path="settings/profile", icon="user"),
    Entry(title=gettext_lazy("Your sessions"), path="settings/sessions", icon="monitor"),
    Entry(title=gettext_lazy("Keyboard"), path="settings/keyboard", icon="keyboard"),
    Entry(title=gettext_lazy("Change your password"), path="settings/password", icon="lock"),
    Entry(title=gettext_lazy("Organization settings"), path="settings/organization", icon="settings", kinds=("org",)),
    Entry(title=gettext_lazy("Secrets"), path="keys/secrets", icon="lock-keyhole", kinds=("secret",)),
    Entry(title=gettext_lazy("Stores of secrets"), path="keys/stores", icon="vault", kinds=("secret_store",)),
    Entry(title=gettext_lazy("Certificate authority"), path="keys/authority", icon="shield-check", kinds=("authority",)),
    Entry(title=gettext_lazy("Host keys"), path="keys/hosts", icon="shield-check", kinds=("host_key",)),
)
KINDS: tuple[tuple[type[Resource], str, str], ...] = (
    (Cloud, "clouds", "cloud"),
    (Key, "keys", "key-round"),
    (Secret, "keys/secrets", "lock-keyhole"),
    (Team, "teams", "users"),
)


class Palette:
    """One question: `text` as typed, `path` of the page it was asked on, `chosen` rows there."""

    def __init__(
        self, actor: Actor, base: str, text: str, *, pages: Iterable[Entry] = (), path: str = "", chosen: Iterable[UUID] = ()
    ) -> None:
        self.actor, self.base, self.path, self.chosen = actor, base, path, list(chosen)
        self.entries = list(pages)
        text = text.strip()[:200].replace("\0", "")
        self.prefix = text[0] if text[:1] in (">", "#", "@", "?") else ""
        self.text = text[len(self.prefix) :].strip()
        self.words = self.text.lower().split()

    def sections(self) -> list[Section]:
        """In order: acts, things, pages, help."""
        if self.prefix:
            made = [{">": self.acting, "#": self.tags, "@": self.people, "?": self.helping}[self.prefix]()]
        elif self.text:
            made = [self.acting(), self.machines(), *self.things(), self.pages(), self.helping()]
        else:
            made = [self.acting(), self.pages()]
        kept = [section for section in made if section.options]
        for section in kept:
            for option in section.options:
                option.parts = marked(option.title, self.words)
        return kept

    def fits(self, title: Promise | str) -> bool:
        """Does every word typed, or what it means, begin a word of it?"""
        there = [part for part in re.split(r"[^\w]+", str(title).lower()) if part]
        return all(any(part.startswith((word, MEANT.get(word, word))) for part in there) for word in self.words)

    def may(self, entry: Entry, right: str) -> bool:
        """Might this person do that anywhere? Of the organization everybody may read: its settings are for who may change it."""
        right = "edit" if entry.kinds == ("org",) else right
        return not entry.kinds or any(policy_of(self.actor).somewhere(kinds()[kind], right) for kind in entry.kinds)

    # -- acts

    def acting(self) -> Section:
        options = [*self.on_chosen(), *self.on_this(), *self.on_named()]
        options += [
            Option(title=str(one.title), url=self.to(one.path), icon=one.icon, keys=(one.key,) if one.key else ())
            for one in DOINGS
            if self.fits(one.title) and self.may(one, "create")
        ]
        return Section(title=_("Actions"), options=options[:8])

    def on_chosen(self) -> list[Option]:
        """The verbs of the rows that are selected on the page."""
        if not self.chosen:
            return []
        count = len(self.chosen)
        found = []
        for name in (*BAR, *BESIDE, *MORE, "destroy"):
            said = words.act(f"machine.{name}")
            title = ngettext("%(verb)s %(n)d selected machine", "%(verb)s %(n)d selected machines", count) % {
                "verb": said.label,
                "n": count,
            }
            if self.fits(title):
                found.append(Option(title=title, url=self.to(f"machines/bulk/{name}"), icon=said.icon, how="bulk", verb=name))
        return found

    def on_this(self) -> list[Option]:
        """The verbs of the machine whose page it is."""
        match = HERE.search(self.path)
        machine = Machine.objects.visible_to(self.actor).select_related("cloud").filter(pk=UUID(match[1])).first() if match else None
        return self.offers(machine) if machine is not None else []

    def on_named(self) -> list[Option]:
        """“reboot web”: the verb on the machines that the rest names, one by one and together."""
        if len(self.words) < 2:
            return []
        asked = MEANT.get(self.words[0], self.words[0])
        rest = " ".join(self.words[1:])
        names = [
            name for name in (*acts.POWER, *acts.CHANGE, *acts.END) if str(words.act(f"machine.{name}").label).lower().startswith(asked)
        ]
        if not names:
            return []
        search = f"name:{quoted(rest)}"
        try:
            page = listing.page(Machine.objects.select_related("cloud"), self.actor, listing.Query(search=search, sort="name", limit=3))
        except (BadRequest, Invalid):
            return []
        found = [one for machine in page.rows for one in self.offers(machine, only=names[:1])]
        if page.total > 1 and names[0] in (*BAR, *BESIDE, *MORE, "destroy") and page.total <= jobs.BULK_CAP:
            said = words.act(f"machine.{names[0]}")
            title = _("%(verb)s %(n)s machines named %(name)s") % {"verb": said.label, "n": f"{page.total:,}", "name": rest}
            whole = Option(title=title, url=self.to(f"machines/bulk/{names[0]}"), icon=said.icon, how="bulk", verb=names[0], search=search)
            found.insert(0, whole)
        return found

    def offers(self, machine: Machine, *, only: Iterable[str] | None = None) -> list[Option]:
        wanted = tuple(only) if only is not None else (*acts.POWER, *acts.CHANGE, *acts.END)
        found = []
        for offer in acts.offers(self.actor, machine, wanted):
            title = f"{offer.words.label} {machine.name}"
            if not offer.can or not (only or self.fits(title)):
                continue
            url = self.to(f"machines/{machine.pk.hex}/do/{offer.name}")
            found.append(Option(title=title, url=url, icon=offer.words.icon, how="dialog" if offer.asks else "post"))
        return found

    # -- things

    def machines(self) -> Section:
        """Those whose name begins with what is typed, then those that have it anywhere."""
        options: list[Option] = []
        if len(self.text) >= 2:
            query = listing.Query(search=quoted(self.text), sort="name", limit=FOUND)
            rows = Machine.objects.select_related("cloud", "location")
            found = listing.rows(rows, self.actor, query)
            named = found.filter(name__startswith=self.text, name__gte=self.text, name__lt=self.text + LAST)  # a range of the index
            begin = list(named.order_by("name", "id")[:FOUND])
            if len(begin) < FOUND:
                page = listing.page(rows, self.actor, query)
                begin += [row for row in page.rows if row not in begin][: FOUND - len(begin)]
                total, more = page.total, page.total > COUNTED
            else:
                total, more = listing.count(found, COUNTED)
            for row in begin:
                where = " · ".join(part for part in (row.cloud.name, row.location.name if row.location else "") if part)
                options.append(Option(title=row.name, url=self.to(f"machines/{path_of(row)}"), state=row.state, right=where))
            if total > len(begin):
                about = _("Show all %(n)s in the machines list") % {"n": f"{COUNTED:,}+" if more else f"{total:,}"}
                options.append(Option(title=about, url=self.to("machines", q=query.search), icon="corner-down-left"))
        return Section(title=_("Machines"), options=options)

    def things(self) -> list[Section]:
        if len(self.text) < 2:
            return []
        found = []
        for model, path, icon in KINDS:
            rows = model.objects.visible_to(self.actor).filter(name__icontains=self.text).order_by("name")[:OTHERS]
            found += [Option(title=row.name, url=self.to(f"{path}/{path_of(row)}"), icon=icon, right=model.kind()) for row in rows]
        for kin, icon in ((Volume, "hard-drive"), (Network, "network"), (Image, "disc-3")):
            rows = kin.objects.visible_to(self.actor).filter(name__istartswith=self.text).order_by("name")[:OTHERS]
            plural = f"{kin.kind()}s"
            if any(entry.path == plural for entry in self.entries):
                found += [Option(title=row.name, url=self.to(f"{plural}/{path_of(row)}"), icon=icon, right=kin.kind()) for row in rows]
        return [Section(title=_("Other things"), options=found)]

    def tags(self) -> Section:
        """Tags among the machines one sees that begin with what is typed: of the newest 5,000."""
        key, _sep, value = self.text.partition("=")
        counted: dict[str, int] = {}
        for tags in Machine.objects.visible_to(self.actor).exclude(tags={}).order_by("-pk").values_list("tags", flat=True)[:5000]:
            for name, held in tags.items():
                if name.lower().startswith(key.lower()) and str(held).lower().startswith(value.lower()):
                    text = f"{name}={held}" if held else name
                    counted[text] = counted.get(text, 0) + 1
        best = sorted(counted.items(), key=lambda pair: (-pair[1], pair[0]))[:12]
        options = [Option(title=text, url=self.to("machines", q=f"tag:{quoted(text)}"), icon="tag", right=str(n)) for text, n in best]
        return Section(title=_("Tags"), options=options)

    def people(self) -> Section:
        members = Membership.objects.visible_to(self.actor).filter(org_id=self.actor.org_id).select_related("user").order_by("user__email")
        named = [member.user for member in members[:500] if self.fits(f"{member.user.full_name} {member.user.email}")][:6]
        options = []
        for user in named:
            options.append(
                Option(title=user.full_name, url=self.to("machines", q=f"owner:{quoted(user.email)}"), icon="server", right=_("machines"))
            )
            options.append(
                Option(title=user.full_name, url=self.to("log", q=f"actor:{quoted(user.email)}"), icon="scroll-text", right=_("audit log"))
            )
        return Section(title=_("People"), options=options)

    # -- pages

    def pages(self) -> Section:
        options = [
            Option(title=str(entry.title), url=self.to(entry.path), icon=entry.icon, keys=("G", entry.key.upper()) if entry.key else ())
            for entry in self.entries
            if self.fits(entry.title)
        ]
        options += [
            Option(title=str(one.title), url=self.to(one.path), icon=one.icon)
            for one in ELSEWHERE
            if self.text and self.fits(one.title) and self.may(one, "read")
        ]
        if self.text and not self.prefix:
            options.append(
                Option(title=_("Audit log for %(text)s") % {"text": self.text}, url=self.to("log", q=quoted(self.text)), icon="scroll-text")
            )
        return Section(title=_("Go to"), options=options[:12])

    def helping(self) -> Section:
        known = (
            Option(title=_("Keyboard shortcuts"), url=self.to("shortcuts"), icon="keyboard", how="dialog", keys=("?",)),
            Option(title=_("API docs"), url=self.to("api/docs"), icon="book-open"),
            Option(title=_("How to search"), url=self.to("shortcuts"), icon="circle-question-mark", how="dialog"),
        )
        return Section(title=_("Help"), options=[option for option in known if self.fits(option.title)])

    def to(self, path: str, **query: str) -> str:
        return address(self.base, path, **query)


def address(base: str, path: str, **query: str) -> str:
    """A page of the organization."""
    from_query = f"?{urlencode(query)}" if query else ""
    return f"{base}/{path}{from_query}"


def path_of(row: Any) -> str:
    """The last part of a detail page's path."""
    name = slug(row.name)
    return f"{row.pk.hex}-{name}" if name else row.pk.hex


def quoted(text: str) -> str:
    """As a value of the search grammar."""
    return (
        text
        if re.fullmatch(r"[\w.@-]+", text) and text.upper() not in ("AND", "OR", "NOT")
        else '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    )


def marked(title: str, found: list[str]) -> list[tuple[str, bool]]:
    """The title in parts: those that were typed stand out."""
    if not found:
        return [(title, False)]
    pattern = "|".join(sorted((re.escape(word) for word in found), key=len, reverse=True))
    return [(part, number % 2 == 1) for number, part in enumerate(re.split(f"({pattern})", title, flags=re.IGNORECASE)) if part]
