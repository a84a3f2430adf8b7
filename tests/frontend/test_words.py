"""The words of acts, and how long things take and last, in words."""

from __future__ import annotations

import ast
import re
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from django.utils import timezone

from core.actions import all_actions
from core.models import Job
from frontend import browsers
from frontend.codes import CODES, code_words
from frontend.templatetags import humanish, times
from frontend.words import ACTS, job_order, job_title, order, say
from tests.frontend.conftest import Place
from tests.meta.test_house import sources


def test_every_act_has_words_of_its_own() -> None:
    without = all_actions().keys() - ACTS.keys()
    assert not without, "what happened would read “web-1: name_of_the_verb”: say it in frontend/words/acts"


@pytest.mark.parametrize(
    ("user_agent", "words"),
    [
        (
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/120.0.6 Safari/537.36",
            "Chrome 120 on Linux",
        ),
        ("Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/141.0 Safari/537.36 Edg/141.0", "Edge 141 on Windows"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) Version/17.4 Mobile/15E148 Safari/604.1", "Safari 17 on iPhone"),
        ("Mozilla/5.0 (Android 14; Mobile; rv:144.0) Gecko/144.0 Firefox/144.0", "Firefox 144 on Android"),
        ("curl/8.1 <b>", "curl/8.1 <b>"),
        ("", "not told"),
    ],
)
def test_a_browser_is_named_as_people_name_it(user_agent: str, words: str) -> None:
    assert browsers.said(user_agent) == words


def test_one_is_not_many(place: Place) -> None:
    assert "<b>1</b> cloud</span>" in place.admin.get(f"{place.base}/clouds").content.decode()
    assert "<b>0</b> keys</span>" in place.admin.get(f"{place.base}/keys?q=nothing").content.decode()


@pytest.mark.parametrize(("took", "words"), [(None, ""), (0.004, ""), (0.4, "0.4 s"), (27, "27 s"), (180, "3 min"), (7200, "2 h")])
def test_a_duration_too_short_to_tell_is_not_told(took: float | None, words: str) -> None:
    assert times.seconds(took) == words


@pytest.mark.parametrize(
    ("left", "words"), [({"days": 2, "hours": 23}, "3 d"), ({"hours": 30}, "30 h"), ({"minutes": 20}, "20 min"), ({"hours": -1}, "0 min")]
)
def test_how_long_until_something_ends_is_told_shortly(left: dict[str, int], words: str) -> None:
    assert times.left(timezone.now() + timedelta(**left) + timedelta(seconds=1)) == words


def test_every_act_says_what_did_not_happen() -> None:
    for verb in all_actions():
        words = ACTS[verb]
        said = say(words.undone, "web-1")
        assert re.search(r"\b(not|no|No|Nobody)\b", said), verb
        assert said != say(words.done, "web-1"), verb
        assert ("web-1" in said) == ("web-1" in say(words.done, "web-1")), verb


def test_every_act_is_asked_for_and_done_by_somebody_in_words_that_name_its_thing() -> None:
    for verb in all_actions():
        words = ACTS[verb]
        named = "web-1" in say(words.done, "web-1")
        assert not words.order or ("web-1" in order(verb, "web-1")) == named, verb
        assert not words.did or "{}" in str(words.did), verb
    assert order("machine.stop", "{}") == "Stop {}"
    assert order("machine.shell", "{x}") == "Open a shell on {x}"


def test_a_run_in_a_list_says_on_how_many_machines() -> None:
    job = Job(action="script.run", target_kind="script", target_id=uuid4(), target_name="tidy-up", state="running", total=8)
    assert job_order(job) == "Run tidy-up on 8 machines"
    job.total = None
    assert job_order(job) == "Run tidy-up"
    assert job_order(Job(action="machine.reboot", target_name="6 machines", state="succeeded")) == "Reboot 6 machines"


@pytest.mark.parametrize(
    ("state", "target", "title"),
    [
        ("queued", True, "Stopping web-1"),
        ("running", True, "Stopping web-1"),
        ("succeeded", True, "web-1 stopped"),
        ("waiting", True, "Stop web-1"),
        ("failed", True, "web-1 was not stopped"),
        ("cancelled", True, "web-1 was not stopped"),
        ("undone", True, "web-1 was not stopped"),
        ("skipped", True, "web-1 was not stopped"),
        ("lost", True, "Stop web-1"),
    ],
)
def test_a_job_is_called_by_what_came_of_it(state: str, target: bool, title: str) -> None:
    job = Job(action="machine.stop", state=state, target_name="web-1", target_id=uuid4() if target else None)
    assert job_title(job) == title


@pytest.mark.parametrize(
    ("state", "total", "result", "title"),
    [
        ("running", 6, None, "Stopping 6 machines"),
        ("running", 1, None, "Stopping 1 machine"),
        ("succeeded", 6, {"succeeded": 6}, "6 machines stopped"),
        ("failed", 6, {"failed": 6}, "6 machines were not stopped"),
        ("failed", 6, {"failed": 1, "lost": 1, "succeeded": 4}, "2 of 6 machines were not stopped"),
        ("failed", 6, {"failed": 1, "succeeded": 5}, "1 of 6 machines was not stopped"),
        ("failed", 1, {"failed": 1}, "1 machine was not stopped"),
        ("failed", 6, {"failed": 2, "skipped": 4}, "2 of 6 machines were not stopped"),
        ("cancelled", 6, {"cancelled": 3, "succeeded": 1}, "5 of 6 machines were not stopped"),
        ("undone", 6, {"undone": 6}, "6 machines were not stopped"),
        ("cancelled", 6, {"succeeded": 6}, "Stop 6 machines"),
        ("failed", 6, None, "6 machines were not stopped"),
        ("lost", 6, None, "Stop 6 machines"),
    ],
)
def test_a_job_of_many_says_of_how_many_it_was_not_done(state: str, total: int, result: dict[str, int] | None, title: str) -> None:
    job = Job(action="machine.stop", state=state, target_kind="machine", target_name=f"{total} machines", total=total, result=result)
    assert job_title(job) == title


def test_what_can_be_asked_of_many_has_words_for_not_done() -> None:
    for verb, action in all_actions().items():
        if action.bulk or (action.creates and action.background):
            job = Job(action=verb, state="failed", target_name="6 things", total=6, result={"failed": 6})
            assert not job_title(job).startswith("6 things was"), f"{verb}: say `undones` in frontend/words/acts"


def codes_in(path: Path) -> set[str]:
    """The codes of errors that a file of the source names: `code="…"`, `code = "…"` of a class, the third of `ended(…)`, the
    first of a shell's `end(…)` and `lost(…)`.
    """
    tree, found = ast.parse(path.read_text()), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            values = [keyword.value for keyword in node.keywords if keyword.arg == "code"]
            if getattr(node.func, "id", "") == "ended":
                values += node.args[2:3]
            if getattr(node.func, "attr", "") in ("end", "lost") and len(node.args) > 1:
                values += node.args[:1]
            values += [part for value in values if isinstance(value, ast.IfExp) for part in (value.body, value.orelse)]
            found |= {value.value for value in values if isinstance(value, ast.Constant) and isinstance(value.value, str)}
        elif isinstance(node, ast.ClassDef):
            for line in node.body:
                if isinstance(line, ast.Assign) and getattr(line.targets[0], "id", "") == "code" and isinstance(line.value, ast.Constant):
                    found.add(str(line.value.value))
    return {code for code in found if code}


def test_every_code_of_an_error_has_words() -> None:
    found = {code: path for path in sources() for code in codes_in(path)}
    assert len(found) > 150, "the search for codes finds them"
    without = {code: path.name for code, path in found.items() if code not in CODES and path.parts[-2] != "management"}
    assert not without, "people would read the code itself: say it in frontend/codes.py"


def test_a_code_nobody_knows_is_no_identifier() -> None:
    assert code_words("cloud_timeout") == "no answer in time"
    assert code_words("made_up_by_a_plugin") == "made up by a plugin"


@pytest.mark.parametrize(
    ("gb", "words"),
    [(None, "–"), (0, "–"), (500, "500 GB"), (2000, "2 TB"), (1536, "1.54 TB"), (64_000_000, "64,000 TB")],
)
def test_a_disk_is_as_large_as_people_say(gb: int | None, words: str) -> None:
    assert humanish.disk(gb) == words
