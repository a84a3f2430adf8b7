"""A host that shows another key, in a real browser: both keys are there to be compared, and one click trusts the new one."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from django.utils import timezone

from accounts.models import User
from keys import pairs
from keys.models import HostKey
from tests.frontend.browsing import IN_A_BROWSER, Person
from tests.frontend.recorded import violations

pytestmark = IN_A_BROWSER
SHOTS = os.environ.get("SHOTS", "")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_both_keys_are_seen_and_one_click_trusts_the_new_one(owner: User, person: Callable[..., Person], scheme: str) -> None:
    org = owner.orgs.get()
    known, shown = pairs.generate(), pairs.generate()
    more = {"offered": shown.public, "offered_at": timezone.now(), "offered_from": "cloud-init"}
    row = HostKey.objects.create(org=org, name="h:22", host="10.0.0.7", public=known.public, fingerprint=known.fingerprint, **more)
    printed = " ".join(pairs.generate().fingerprint for _ in range(3))
    HostKey.objects.create(org=org, name="i:22", host="10.0.0.8", fingerprint=printed, source="console", **more | {"offered_from": ""})
    HostKey.objects.create(org=org, name="j:22", host="10.0.0.9", **more | {"offered_from": "", "source": "unmet"})
    one = person(owner, color_scheme=scheme)
    one.page.goto(f"/o/{org.slug}/keys/hosts")
    assert not violations(one.page)
    for width in (1440, 390):
        one.page.set_viewport_size({"width": width, "height": 900})
        assert one.page.evaluate("document.querySelector('main').scrollWidth") <= width
        assert one.page.evaluate("document.querySelector('main .scroll').clientHeight") > 100  # the list is still there
        if SHOTS:
            one.page.screenshot(path=f"{SHOTS}/hosts-{scheme}-{width}.png")
    block = one.page.locator("section.note.crit").filter(has_text="10.0.0.7")
    assert {known.fingerprint, shown.fingerprint} <= set(block.locator("dd.mono").all_inner_texts())
    block.get_by_role("button", name="I compared it: trust the new key").click()
    one.page.wait_for_load_state()
    row.refresh_from_db()
    assert (row.fingerprint, row.offered, row.offered_from, row.source) == (shown.fingerprint, "", "", "operator")
