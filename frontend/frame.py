"""What stands around every page of an organization: who looks, from where to where one can go, what runs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any
from uuid import UUID

from django.core.cache import caches
from django.db.models import F, Func, IntegerField, QuerySet, Subquery
from django.http import HttpRequest
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.models import Membership, Organization, User
from accounts.statements import kinds, policy_of
from clouds.models import Cloud
from core.actor import Actor
from core.models import Job
from frontend import toasts
from frontend.rows import with_files
from machines.models import Machine, Session


@dataclass(frozen=True, kw_only=True)
class Item:
    """One line of the sidebar. `count`: a number beside it, None for none; `waits`: somebody has to do something there."""

    title: str
    url: str
    icon: str
    current: bool = False
    count: int | None = None
    waits: bool = False
    key: str = ""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Some lines under a heading; "" has none."""

    title: str
    items: list[Item]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A page that the sidebar leads to."""

    path: str
    title: Promise
    icon: str
    key: str = ""  # after "g"
    kinds: tuple[str, ...] = ()  # shown to who might read, or make, one of these; (): to everybody


PAGES: tuple[tuple[Promise | str, tuple[Entry, ...]], ...] = (
    ("", (Entry(path="", title=gettext_lazy("Dashboard"), icon="layout-dashboard", key="d"),)),
    (
        gettext_lazy("Resources"),
        (
            Entry(path="machines", title=gettext_lazy("Machines"), icon="server", key="m"),
            Entry(path="volumes", title=gettext_lazy("Volumes"), icon="hard-drive", key="v", kinds=("volume",)),
            Entry(path="networks", title=gettext_lazy("Networks"), icon="network", key="n", kinds=("network",)),
            Entry(path="images", title=gettext_lazy("Images"), icon="disc-3", key="i", kinds=("image",)),
        ),
    ),
    (gettext_lazy("Automate"), (Entry(path="scripts", title=gettext_lazy("Scripts"), icon="file-code", key="s", kinds=("script",)),)),
    (
        gettext_lazy("Observe"),
        (
            Entry(path="log", title=gettext_lazy("Audit log"), icon="scroll-text", key="l"),
            Entry(path="sessions", title=gettext_lazy("Shell sessions"), icon="square-terminal", key="x"),
        ),
    ),
    (
        gettext_lazy("Govern"),
        (
            Entry(path="clouds", title=gettext_lazy("Clouds"), icon="cloud", key="a", kinds=("cloud",)),
            Entry(path="keys", title=gettext_lazy("Keys & secrets"), icon="key-round", key="y", kinds=("key", "secret")),
            Entry(path="teams", title=gettext_lazy("Teams & policies"), icon="users", key="p", kinds=("team",)),
        ),
    ),
)


MANY, MANY_KEPT_S = 10_000, 10


def _counted(rows: QuerySet[Any]) -> Subquery:
    """How many, inside another query."""
    return Subquery(rows.order_by().annotate(n=Func(F("pk"), function="COUNT", output_field=IntegerField())).values("n"))


class Frame:
    """Made once a request; asks the database only for what the template draws."""

    def __init__(self, request: HttpRequest, org: Organization, user: User, actor: Actor, section: str, orgs: list[Organization]) -> None:
        self.request, self.org, self.user, self.actor, self.section, self.orgs = request, org, user, actor, section, orgs
        self.base = f"/o/{org.slug}"
        self.jobs_url = f"{self.base}/jobs"

    @cached_property
    def pages(self) -> list[tuple[str, list[Entry]]]:
        """(heading, pages) of what this person may open. Who has only machines of their own has those first."""
        groups = [(str(title), [entry for entry in pages if self.may_open(entry)]) for title, pages in PAGES]
        if self.is_self_service:
            own = next(entry for _title, pages in PAGES for entry in pages if entry.path == "machines")
            groups = [(title, [entry for entry in pages if entry.path != own.path]) for title, pages in groups]
            groups[0][1].insert(0, replace(own, title=gettext_lazy("My machines")))
        return [(title, pages) for title, pages in groups if pages]

    def may_open(self, entry: Entry) -> bool:
        """Is there something on it for this person?"""
        policy = policy_of(self.actor)
        return not entry.kinds or any(policy.somewhere(kinds()[kind], right) for kind in entry.kinds for right in ("read", "create"))

    @cached_property
    def nav(self) -> list[Group]:
        counts = {"machines": self.machine_count, "teams": self.asks or None}
        return [
            Group(
                title=title,
                items=[
                    Item(
                        title=str(entry.title),
                        url=f"{self.base}/{entry.path}",
                        icon=entry.icon,
                        current=entry.path == self.section,
                        count=counts.get(entry.path),
                        waits=entry.path == "teams",
                        key=entry.key,
                    )
                    for entry in pages
                ],
            )
            for title, pages in self.pages
        ]

    @cached_property
    def counts(self) -> dict[str, int]:
        """What every page says beside its menu, in one query: machines, jobs at work (a bulk is one), the person's open shells.

        Of more than 10,000 machines, as many as there were when they were counted last, at most ten seconds ago: that takes 50 ms.
        """
        running = Job.objects.visible_to(self.actor).filter(state__in=Job.ACTIVE, parent=None)
        shells = Session.objects.filter(org=self.org, owner=self.user).exclude(state=Session.State.ENDED)
        counted = {"running": _counted(running), "shells": _counted(shells)}
        if self.is_owner:
            counted["asks"] = _counted(Membership.objects.visible_to(self.actor).exclude(asked_for=""))
        key = f"machines:{self.org.pk.hex}:{self.org.policy_version}:{self.user.pk.hex}"
        kept = caches["process"].get(key)
        if kept is None:
            counted["machines"] = _counted(Machine.objects.visible_to(self.actor).filter(missing_since=None))
        found: dict[str, int] = Organization.objects.filter(pk=self.org.pk).values(**counted).get()
        if kept is not None:
            found["machines"] = kept
        elif (found["machines"] or 0) > MANY:  # none where one may see none
            caches["process"].set(key, found["machines"], MANY_KEPT_S)
        return found

    @property
    def machine_count(self) -> int:
        return self.counts["machines"]

    @property
    def asks(self) -> int:
        """Members who ask for access and have no answer, for who may give it."""
        return self.counts.get("asks", 0)

    @cached_property
    def membership(self) -> Membership:
        """One's own: it holds what one has asked for."""
        return Membership.objects.get(org=self.org, user=self.user)

    @property
    def is_owner(self) -> bool:
        return policy_of(self.actor).is_owner

    @cached_property
    def has_no_rights(self) -> bool:
        """In the organization, but in no team that allows anything."""
        return not self.is_owner and not any(statement.allow for statement in policy_of(self.actor).statements)

    @cached_property
    def is_self_service(self) -> bool:
        """Does this person have machines of their own and see no others?"""
        return policy_of(self.actor).only_own("machine", "read")

    @cached_property
    def makes(self) -> frozenset[str]:
        """The kinds this person may perhaps make: where exactly is known when it is asked."""
        policy = policy_of(self.actor)
        return frozenset(kind for kind in ("key", "secret", "script") if policy.somewhere(kinds()[kind], "create"))

    @cached_property
    def may_create_machines(self) -> bool:
        """Perhaps: in which cloud is known where one is chosen."""
        return policy_of(self.actor).somewhere(Machine, "create")

    @cached_property
    def may_add_clouds(self) -> bool:
        return policy_of(self.actor).somewhere(Cloud, "create")

    @cached_property
    def owners(self) -> list[User]:
        """Whom to ask."""
        return list(User.objects.filter(teams__org=self.org, teams__is_owners=True).order_by("email")[:3])

    @cached_property
    def role(self) -> str:
        if self.is_owner:
            return _("Owner")
        return ", ".join(name for _id, name in policy_of(self.actor).team_names[:2]) or _("Member")

    @property
    def running(self) -> int:
        """Jobs at work, bulks as one."""
        return self.counts["running"]

    @property
    def shells(self) -> int:
        """The person's own that are open."""
        return self.counts["shells"]

    @cached_property
    def clouds(self) -> list[Cloud]:
        return list(Cloud.objects.visible_to(self.actor).order_by("name")[:30])

    @cached_property
    def scope(self) -> Cloud | None:
        """The one cloud a list is kept to by ?cloud=."""
        wanted = self.request.GET.get("cloud", "")
        return next((cloud for cloud in self.clouds if wanted in (cloud.pk.hex, str(cloud.pk), cloud.name)), None) if wanted else None

    @property
    def scope_title(self) -> str:
        return self.scope.name if self.scope else _("All clouds")

    @cached_property
    def toasts(self) -> list[dict[str, Any]]:
        """Kept from the last request; a job's as the job is now."""
        kept = toasts.take(self.request)
        ids = [UUID(toast["job"]) for toast in kept if "job" in toast]
        found = with_files(self.actor, list(Job.objects.visible_to(self.actor).filter(pk__in=ids))) if ids else []
        jobs = {job.pk.hex: job for job in found}
        shown = []
        for toast in kept:
            if "job" not in toast:
                shown.append(toast)
            elif toast["job"] in jobs:
                shown.append(toasts.of_job(jobs[toast["job"]], self.base))
        return shown
