"""The words of acts, and how long things take and last, in words."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from core.actions import all_actions
from frontend.templatetags import console
from frontend.words import ACTS


def test_every_act_has_words_of_its_own() -> None:
    without = all_actions().keys() - ACTS.keys()
    assert not without, "what happened would read “web-1: name_of_the_verb”: say it in frontend/words.py"


@pytest.mark.parametrize(("took", "words"), [(None, ""), (0.004, ""), (0.4, "0.4 s"), (27, "27 s"), (180, "3 min"), (7200, "2 h")])
def test_a_duration_too_short_to_tell_is_not_told(took: float | None, words: str) -> None:
    assert console.seconds(took) == words


@pytest.mark.parametrize(
    ("left", "words"), [({"days": 2, "hours": 23}, "3 d"), ({"hours": 30}, "30 h"), ({"minutes": 20}, "20 min"), ({"hours": -1}, "0 min")]
)
def test_how_long_until_something_ends_is_told_shortly(left: dict[str, int], words: str) -> None:
    assert console.left(timezone.now() + timedelta(**left) + timedelta(seconds=1)) == words
