"""The words of acts: what a button says, what is happening, what has happened. CONSOLE.md §12."""

from __future__ import annotations

from django.utils.functional import Promise
from django.utils.text import capfirst
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from core.models import Job
from frontend.words.acts import ACTS, Act

__all__ = [
    "ACTS",
    "LISTS",
    "SEEN",
    "STEPS",
    "Act",
    "act",
    "event_label",
    "event_words",
    "job_order",
    "job_title",
    "of_what",
    "order",
    "say",
]


def act(verb: str) -> Act:
    """The words of a verb; for those without any, made from its name."""
    known = ACTS.get(verb)
    if known:
        return known
    name = verb.rpartition(".")[2].replace("_", " ")
    return Act(label=capfirst(name), doing=capfirst(name) + " {}", done="{}: " + name, undone="{}: not " + name)


def say(pattern: Promise | str, name: str) -> str:
    """The name goes in as it is: braces in it are no placeholders."""
    before, sep, after = str(pattern).partition("{}")
    return f"{before}{name}{after}" if sep else before


def job_title(job: Job) -> str:
    """“Stopping web-1” while it runs, “web-1 stopped” when it has, “web-1 was not stopped” when it has not, “Stop web-1” otherwise.

    The same of many: “6 machines were not stopped”, or “2 of 6 machines were not stopped”.
    """
    words, name = act(job.action), of_what(job)
    if job.state in (Job.State.QUEUED, Job.State.RUNNING):
        return say(words.doing, name)
    if job.state == Job.State.SUCCEEDED:
        return say(words.done, name)
    if job.state in (Job.State.ASKED, Job.State.WAITING, Job.State.LOST):
        return f"{words.label} {name}"
    return say(words.undone, name) if job.target_id is not None else _not_done(job, name)


def of_what(job: Job) -> str:
    """The name of its thing; of a bulk how many there are."""
    return so_many(job.total) if job.target_id is None and job.target_kind == "machine" and job.total else job.target_name


def so_many(count: int) -> str:
    """“6 machines”."""
    return ngettext("%(n)d machine", "%(n)d machines", count) % {"n": count}


def _not_done(job: Job, name: str) -> str:
    """Of a bulk that has failed or was stopped: of how many it was not done. What was skipped needed nothing."""
    total, ended = job.total or 0, job.result or {}
    well = ended.get(Job.State.SUCCEEDED, 0) + ended.get(Job.State.SKIPPED, 0)
    count = ended.get(Job.State.FAILED, 0) + ended.get(Job.State.LOST, 0) if job.state == Job.State.FAILED and ended else total - well
    if count <= 0:
        return f"{act(job.action).label} {name}"
    words = act(job.action)
    pattern = words.undone if count == 1 else words.undones or words.undone
    return say(pattern, name if count >= total else gettext("%(n)d of %(all)s") % {"n": count, "all": name})


def order(verb: str, name: str) -> str:
    """What is asked for: “Stop web-1”, “Open a shell on web-1”."""
    words = act(verb)
    return say(words.order, name) if words.order else f"{words.label} {name}"


def job_order(job: Job) -> str:
    """A job in a list, whose mark says what came of it: “Stop web-1”, “Reboot 6 machines”, “Run tidy-up on 8 machines”."""
    said = order(job.action, of_what(job))
    if job.action != "script.run" or not job.total:
        return said
    return ngettext("%(order)s on %(n)d machine", "%(order)s on %(n)d machines", job.total) % {"order": said, "n": job.total}


# What jobs report on their way, by the name of the step; others are shown as they are named.
STEPS: dict[str, Promise] = {
    "asked": _("its cloud was asked"),
    "created": _("made in its cloud"),
    "host_key": _("host key given"),
    "snapshot": _("snapshot taken"),
    "expanded": _("one job for each made"),
    "volume_deleted": _("volume deleted"),
    "volume_kept": _("volume kept: it is attached otherwise by now"),
    "volume_left": _("volume not deleted yet"),
}

# What polls see, by the fact in `<kind>.<fact>.observed`.
SEEN: dict[str, Promise] = {
    "expired": _("Swept file"),
    "found": _("Found"),
    "missing": _("Lost sight of"),
    "returned": _("Found again"),
    "state": _("Changed state"),
    "size": _("Changed size"),
    "name": _("Changed name"),
    "chunk": _("Sealed a piece of the recording of"),
    "opened": _("Shell is open on"),
    "ended": _("Shell has ended on"),
}

# Of what needs approval, around what is asked for.
ANSWERS: dict[str, Promise] = {"asked": _("asked for approval: {}"), "approved": _("approved: {}"), "declined": _("declined: {}")}

# What a cloud lists, by the kind of the list.
LISTS: dict[str, Promise] = {
    "image": _("Images"),
    "location": _("Locations"),
    "machine": _("Machines"),
    "network": _("Networks"),
    "security_group": _("Security groups"),
    "size": _("Sizes"),
    "snapshot": _("Snapshots"),
    "subnet": _("Subnets"),
    "volume": _("Volumes"),
}


def event_label(type_: str) -> str:
    """The few words before the thing's name in a line of activity: “Stop”, “Found”, “Changed state”."""
    verb, _dot, outcome = type_.rpartition(".")
    if verb in ACTS:
        return str(ACTS[verb].label)
    name = verb.rpartition(".")[2]
    if outcome == "observed":
        return str(SEEN.get(name) or capfirst(name.replace("_", " ")))
    return capfirst(verb.replace(".", " ").replace("_", " "))


def event_words(type_: str) -> tuple[str, str]:
    """What goes before and after the thing's name in a line of activity, after who did it: “stopped web-1”, “: Stop web-1” of what is
    asked for, “: web-1 was not stopped”; of what was seen “Lost sight of web-1”."""
    verb, _dot, outcome = type_.rpartition(".")
    words = act(verb.removesuffix(".bulk"))
    asked = words.order or f"{words.label} {{}}"
    known = {"requested": asked, "succeeded": words.did or words.done, "refused": words.undone, "failed": words.undone}
    pattern = say(ANSWERS[outcome], str(asked)) if outcome in ANSWERS else known.get(outcome)
    if pattern is None:
        return event_label(type_), ""
    before, _sep, after = str(pattern).partition("{}")
    return before.strip(), after.strip()
