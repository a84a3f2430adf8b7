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
from core import bulks, listing
from core.actions import allowed, slug
from core.actor import Actor
from core.errors import BadRequest, Invalid
from core.models import Resource
from core.search import time_limited
from frontend import acts, words
from frontend.frame import Entry
from frontend.views.bulk import BAR, BESIDE, MORE
from keys.models import Key, Secret
from machines.models import Machine
from networks.models import Network
from scripts.models import Run, Script
from volumes.models import Volume

FOUND = 5  # machines shown
OTHERS = 3  # of each other kind
MANY = (*BAR, *BESIDE, *MORE, "destroy")  # verbs that many machines take together
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
    """One line. `how`: "" follows the link, "dialog" opens it as one, "post" sends it, "bulk" asks for the chosen machines.

    `more`: what Tab asks about: a machine's id, "=" and a search, or "chosen"; `about`: how that is called.
    """

    title: str
    url: str
    icon: str = ""
    state: str = ""
    right: str = ""
    keys: tuple[str, ...] = ()
    how: str = ""
    verb: str = ""
    search: str = ""
    more: str = ""
    about: str = ""
    parts: list[tuple[str, bool]] = field(default_factory=list)  # of the title: (text, does it match?)


@dataclass(kw_only=True)
class Section:
    """Some lines under a heading."""

    title: str
    options: list[Option]
    acts: bool = False


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
    """One question: `text` as typed, `path` of the page it was asked on, `chosen` rows there, `view`: the search of its list.

    `more`: of an option, whose other acts are wanted.
    """

    def __init__(
        self,
        actor: Actor,
        base: str,
        text: str,
        *,
        pages: Iterable[Entry] = (),
        path: str = "",
        chosen: Iterable[UUID] = (),
        view: str = "",
        more: str = "",
    ) -> None:
        self.actor, self.base, self.path, self.chosen = actor, base, path, list(chosen)
        self.view, self.more = view.strip()[:1500], more
        self.entries = list(pages)
        text = text.strip()[:200].replace("\0", "")
        self.prefix = text[0] if text[:1] in (">", "#", "@", "?") else ""
        self.text = text[len(self.prefix) :].strip()
        self.words = self.text.lower().split()
        self.verb = self.verb_meant()
        self.subject = " ".join(self.text.split()[1:]) if self.verb else self.text  # “web” of “restart web”

    def verb_meant(self) -> str:
        """The verb of machines that the first of several words says, “” where it says none."""
        if len(self.words) < 2:
            return ""
        asked = MEANT.get(self.words[0], self.words[0])
        names = (*acts.POWER, *acts.CHANGE, *acts.END)
        return next((name for name in names if str(words.act(f"machine.{name}").label).lower().startswith(asked)), "")

    def sections(self) -> list[Section]:
        """In order: acts, things, pages, help."""
        if self.more:
            made = [self.others()]
        elif self.prefix:
            made = [{">": self.acting, "#": self.tags, "@": self.people, "?": self.helping}[self.prefix]()]
        elif self.text:
            made = [self.acting(), self.machines(), *self.things(), self.pages(), self.helping()]
        else:
            made = [self.acting(), self.pages()]
        kept = [section for section in made if section.options]
        for section in kept:
            for option in section.options:
                option.parts = marked(option.title, [*self.words, *(MEANT[word] for word in self.words if word in MEANT)])
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
        options = [*self.on_chosen(), *self.on_this(), *self.on_named(), *self.to_run()]
        options += [
            Option(title=str(one.title), url=self.to(one.path), icon=one.icon, keys=(one.key,) if one.key else ())
            for one in DOINGS
            if self.fits(one.title) and self.may(one, "create")
        ]
        return Section(title=_("Actions"), options=options[:8], acts=True)

    def others(self) -> Section:
        """What else can be done with what an option is about."""
        kind, _sep, search = self.more.partition("=")
        if self.more == "chosen":
            return Section(title=_("Actions"), options=self.on_chosen(), acts=True)
        if not kind and search:
            options = [option for name in MANY if (option := self.on_all(name, search)) is not None and self.fits(option.title)]
            return Section(title=_("Actions"), options=options, acts=True)
        self.path = f"/machines/{kind}"
        machine = self.this()
        if machine is None:
            return Section(title="", options=[])
        opening = Option(title=_("Open %(name)s") % {"name": machine.name}, url=self.to(f"machines/{path_of(machine)}"), icon="server")
        return Section(
            title=machine.name, options=[*([opening] if self.fits(opening.title) else []), *self.offers(machine, by_name=False)], acts=True
        )

    def on_chosen(self) -> list[Option]:
        """The verbs of the rows that are selected on the page."""
        if not self.chosen:
            return []
        count = len(self.chosen)
        found = []
        for name in MANY:
            said = words.act(f"machine.{name}")
            title = ngettext("%(verb)s %(n)d selected machine", "%(verb)s %(n)d selected machines", count) % {
                "verb": said.label,
                "n": count,
            }
            if self.fits(title):
                url = self.to(f"machines/bulk/{name}")
                found.append(Option(title=title, url=url, icon=said.icon, how="bulk", verb=name, more="chosen", about=title))
        return found

    def on_this(self) -> list[Option]:
        """The verbs of the machine whose page it is."""
        machine = self.this()
        return self.offers(machine) if machine is not None else []

    def this(self) -> Machine | None:
        """The machine whose page it is."""
        match = HERE.search(self.path)
        return Machine.objects.visible_to(self.actor).select_related("cloud").filter(pk=UUID(match[1])).first() if match else None

    def on_named(self) -> list[Option]:
        """“reboot web”: the verb on the machines that the rest names, together where the list shows some of them, or one by one."""
        if not self.verb:
            return []
        search = named = f"name:{quoted(self.subject)}"
        if self.view:
            search = f"({self.view}) {named}"
        total, few = self.named(search)
        if total < 2 and search != named:
            search = named
            total, few = self.named(named)
        found = [one for machine in few for one in self.offers(machine, only=[self.verb])]
        together = self.on_all(self.verb, search, total) if total > 1 and self.verb in MANY else None
        return [together, *found] if together else found

    def on_all(self, name: str, search: str, total: int | None = None) -> Option | None:
        """The verb on everything that a search finds. None where that is nothing, or more than a bulk takes."""
        total = self.named(search)[0] if total is None else total
        if not total or total > bulks.BULK_CAP:
            return None
        within, _sep, rest = search.rpartition("name:")
        said = words.act(f"machine.{name}")
        pattern = _("%(verb)s %(n)s machines in this view named %(name)s") if within else _("%(verb)s %(n)s machines named %(name)s")
        title = pattern % {"verb": said.label, "n": f"{total:,}", "name": rest.strip('"')}
        url = self.to(f"machines/bulk/{name}")
        return Option(title=title, url=url, icon=said.icon, how="bulk", verb=name, search=search, more=f"={search}", about=title)

    def named(self, search: str) -> tuple[int, list[Machine]]:
        """(how many machines it finds, those to offer one by one: all where they are few, else those called just so).

        (0, []) where it is no search. Many are counted and never sorted: they need not be shown.
        """
        try:
            with time_limited(search):
                rows = listing.rows(Machine.objects.select_related("cloud"), self.actor, listing.Query(search=search))
                total, _estimated = listing.count(rows)
                if total >= OTHERS:
                    rows = rows.filter(name__iregex=f"^{re.escape(self.subject)}$")  # the trigram index serves it, and not iexact
                return total, list(rows.order_by("name", "id")[:OTHERS])
        except (BadRequest, Invalid):
            return 0, []

    def to_run(self) -> list[Option]:
        """Scripts whose name has every word typed: “restart web” finds restart-web-tier."""
        named = [word for word in self.words if word not in ("run", "script")]
        if not named:
            return []
        rows = Script.objects.visible_to(self.actor)
        for word in named:
            rows = rows.filter(name__icontains=word)
        found = []
        for script in rows.order_by("name")[:OTHERS]:
            if allowed(self.actor, script).get("run") is not True:
                continue
            runs = Run.objects.visible_to(self.actor).filter(script=script).count()
            right = f"v{script.latest}, " + ngettext("%(n)d run", "%(n)d runs", runs) % {"n": runs}
            title = _("Run script %(name)s") % {"name": script.name}
            found.append(Option(title=title, url=self.to(f"scripts/{script.pk.hex}/run"), icon="file-code", right=right))
        return found

    def offers(self, machine: Machine, *, only: Iterable[str] | None = None, by_name: bool = True) -> list[Option]:
        wanted = tuple(only) if only is not None else (*acts.POWER, *acts.CHANGE, *acts.END)
        found = []
        for offer in acts.offers(self.actor, machine, wanted):
            title = f"{offer.words.label} {machine.name}" if by_name else str(offer.words.label)
            if not offer.can or not (only or self.fits(title)):
                continue
            url = self.to(f"machines/{machine.pk.hex}/do/{offer.name}")
            how = "dialog" if offer.asks else "post"
            found.append(Option(title=title, url=url, icon=offer.words.icon, how=how, more=machine.pk.hex, about=machine.name))
        return found

    # -- things

    def machines(self) -> Section:
        """Those whose name begins with what is typed, then those that have it anywhere."""
        options: list[Option] = []
        text = self.subject
        if len(text) >= 2:
            query = listing.Query(search=quoted(text), sort="name", limit=FOUND)
            rows = Machine.objects.select_related("cloud", "location")
            found = listing.rows(rows, self.actor, query)
            named = found.filter(name__startswith=text, name__gte=text, name__lt=text + LAST)  # a range of the index
            begin = list(named.order_by("name", "id")[:FOUND])
            if len(begin) < FOUND:
                page = listing.page(rows, self.actor, query)
                begin += [row for row in page.rows if row not in begin][: FOUND - len(begin)]
                total, more = page.total, page.total > COUNTED
            else:
                total, more = listing.count(found, COUNTED)
            for row in begin:
                where = " · ".join(part for part in (row.cloud.name, row.location.name if row.location else "") if part)
                url = self.to(f"machines/{path_of(row)}")
                options.append(Option(title=row.name, url=url, state=row.state, right=where, more=row.pk.hex, about=row.name))
            if total > len(begin):
                about = _("Show all %(n)s in the machines list") % {"n": f"{COUNTED:,}+" if more else f"{total:,}"}
                options.append(Option(title=about, url=self.to("machines", q=query.search), icon="corner-down-left"))
        return Section(title=_("Machines"), options=options)

    def things(self) -> list[Section]:
        if len(self.subject) < 2:
            return []
        found = []
        for model, path, icon in KINDS:
            rows = model.objects.visible_to(self.actor).filter(name__icontains=self.subject).order_by("name")[:OTHERS]
            found += [Option(title=row.name, url=self.to(f"{path}/{path_of(row)}"), icon=icon, right=model.kind()) for row in rows]
        for kin, icon in ((Volume, "hard-drive"), (Network, "network"), (Image, "disc-3")):
            rows = kin.objects.visible_to(self.actor).filter(name__istartswith=self.subject).order_by("name")[:OTHERS]
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
                Option(
                    title=_("Audit log for %(text)s") % {"text": self.subject},
                    url=self.to("log", q=quoted(self.subject)),
                    icon="scroll-text",
                    keys=("G", "L"),
                )
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
