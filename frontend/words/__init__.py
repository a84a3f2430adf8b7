"""The words of acts: what a button says, what is happening, what has happened. CONSOLE.md §12."""

from __future__ import annotations

from django.utils.functional import Promise
from django.utils.text import capfirst
from django.utils.translation import gettext_lazy as _

from core.models import Job
from frontend.words.table import ACTS, Act

__all__ = ["ACTS", "SEEN", "STEPS", "Act", "act", "event_label", "event_words", "job_title", "say"]


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

    What is asked of many is “Stop 6 machines” whatever came of it: its counts say that.
    """
    words = act(job.action)
    if job.state in (Job.State.QUEUED, Job.State.RUNNING):
        return say(words.doing, job.target_name)
    if job.state == Job.State.SUCCEEDED:
        return say(words.done, job.target_name)
    if job.target_id is not None and job.state not in (Job.State.WAITING, Job.State.LOST):
        return say(words.undone, job.target_name)
    return f"{words.label} {job.target_name}"


# What jobs report on their way, by the name of the step; others are shown as they are named.
STEPS: dict[str, Promise] = {
    "asked": _("its cloud was asked"),
    "created": _("made in its cloud"),
    "host_key": _("host key given"),
    "snapshot": _("snapshot taken"),
    "expanded": _("one job for each made"),
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
    """What goes before and after the thing's name in a line of activity: “Stopping web-1”, “web-1 stopped”, “Lost sight of web-1”."""
    verb, _dot, outcome = type_.rpartition(".")
    words = act(verb)
    pattern = {"requested": words.doing, "succeeded": words.done, "refused": words.undone, "failed": words.undone}.get(outcome)
    if pattern is None:
        return event_label(type_), ""
    before, _sep, after = str(pattern).partition("{}")
    return before.strip(), after.strip()
