"""Every component as it looked when somebody last looked: /styleguide beside stored pictures, in both themes.

A picture is taken anew, when its change is meant, by `STORE_PICTURES=1 make test ARGS=tests/frontend/test_styleguide.py`.
"""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from playwright.sync_api import Browser, Page

from tests.frontend.browsing import AXE, IN_A_BROWSER
from tests.frontend.recorded import violations

STORED = Path(__file__).parent / "pictures"
# A pixel differs where a channel is more than DIFFERS of 255 away; what fonts and rasterizers do differently stays below SHARE.
DIFFERS, SHARE = 60, 0.004
STILL = "*, *::before, *::after { animation: none !important; transition: none !important; caret-color: transparent !important }"
SCREEN: dict[str, Any] = {"reduced_motion": "reduce", "viewport": {"width": 1200, "height": 900}, "bypass_csp": True}
COMPARE = """async ([one, two, differs]) => {
  const read = async (data) => {
    const image = await createImageBitmap(await (await fetch(data)).blob());
    const canvas = new OffscreenCanvas(image.width, image.height);
    const context = canvas.getContext("2d");
    context.drawImage(image, 0, 0);
    return context.getImageData(0, 0, image.width, image.height);
  };
  const [a, b] = [await read(one), await read(two)];
  if (a.width !== b.width || a.height !== b.height) return { size: [a.width, a.height, b.width, b.height], share: 1, first: null };
  let count = 0, first = null;
  for (let at = 0; at < a.data.length; at += 4) {
    if ([0, 1, 2].some((n) => Math.abs(a.data[at + n] - b.data[at + n]) > differs)) {
      count += 1;
      first ??= [(at / 4) % a.width, Math.floor(at / 4 / a.width)];
    }
  }
  return { size: null, share: count / (a.width * a.height), first };
}"""


def test_it_is_for_developers_alone(client: Client, settings: Any) -> None:
    settings.STYLEGUIDE = False
    assert client.get("/styleguide").status_code == 404


def picture(page: Page) -> bytes:
    page.goto("/styleguide")
    page.evaluate("document.fonts.ready")
    page.add_style_tag(content=STILL)
    return page.screenshot(full_page=True, animations="disabled")


def data(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()


class TestInABrowser:
    pytestmark = [*IN_A_BROWSER, pytest.mark.skipif(not AXE.exists(), reason="axe-core is not installed: npm ci")]

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_every_component_looks_as_it_did(self, browser: Browser, server: str, scheme: str, tmp_path: Path) -> None:
        context = browser.new_context(base_url=server, color_scheme=scheme, **SCREEN)
        page = context.new_page()
        now = picture(page)
        stored = STORED / f"styleguide-{scheme}.png"
        if os.environ.get("STORE_PICTURES"):
            stored.parent.mkdir(exist_ok=True)
            stored.write_bytes(now)
        elsewhere = context.new_page()
        elsewhere.goto("about:blank")
        found = elsewhere.evaluate(COMPARE, [data(stored.read_bytes()), data(now), DIFFERS])
        if found["share"] > SHARE:
            (tmp_path / stored.name).write_bytes(now)
        assert found["share"] <= SHARE, (found, f"as it is now: {tmp_path / stored.name}")
        assert not violations(page)
        context.close()

    def test_a_changed_component_is_seen(self, browser: Browser, server: str) -> None:
        """The comparison itself: one button in another colour is more than the tolerance."""
        context = browser.new_context(base_url=server, color_scheme="light", **SCREEN)
        page = context.new_page()
        before = picture(page)
        page.evaluate("document.querySelectorAll('#buttons .btn').forEach(one => { one.style.background = '#c03' })")
        after = page.screenshot(full_page=True, animations="disabled")
        page.goto("about:blank")
        assert page.evaluate(COMPARE, [data(before), data(before), DIFFERS])["share"] == 0
        assert page.evaluate(COMPARE, [data(before), data(after), DIFFERS])["share"] > SHARE
        context.close()
