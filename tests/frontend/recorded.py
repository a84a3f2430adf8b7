"""Pages as Django answered them, looked at in a real browser without a server: each is made once, and seen in every theme and width."""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from django.contrib.staticfiles import finders
from django.test import Client
from playwright.sync_api import Browser, Page, Route

from tests.frontend.browsing import AXE

HOST = "http://127.0.0.1:9"  # nobody is there: every request is answered here
LEVELS = "['wcag2a', 'wcag2aa', 'wcag21aa', 'wcag22aa']"
# The innermost things that reach over the edge of a telephone and are not clipped or scrolled by what holds them.
WIDEST = """[...document.querySelectorAll('main *')].filter(one => one.getBoundingClientRect().right > 391
  && ![...one.children].some(child => child.getBoundingClientRect().right > 391)
  && !one.closest('pre, .tabs')).slice(0, 3).map(one => one.outerHTML.slice(0, 120))"""
# Fields that hide what scripts call of their form: `<input name="remove">` and form.remove() is no function any more.
CLOBBERED = """[...document.querySelectorAll('form [name]')].filter(one => one.form && one.name in HTMLElement.prototype
  && !['id', 'name', 'title', 'hidden', 'lang', 'dir', 'style'].includes(one.name)).map(one => one.name)"""
# What makes two pages the same to axe and to a telephone, whatever is written on them.
_TAGS = re.compile(r"<(?:script|style)\b.*?</(?:script|style)>|<([a-z][a-z0-9-]*)((?:\s[^<>]*)?)>", re.DOTALL)
_MARKS = re.compile(r"""\s(class|role|type)="([^"]*)"|\s(aria-[a-z]+|disabled|hidden|checked|open|scope|for|tabindex)\b""")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What was answered to a GET."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def is_page(self) -> bool:
        return b"<main" in self.body and self.headers.get("Content-Type", "").startswith("text/html")

    @property
    def text(self) -> str:
        return self.body.decode()

    def shape(self) -> tuple[str, ...]:
        """Its <main> without what is written in it: one tag after the other."""
        main = self.text[self.text.index("<main") :]
        tags = [f"{tag}{_MARKS.findall(rest)}" for tag, rest in _TAGS.findall(main) if tag]
        return tuple(one for one, before in zip(tags, ["", *tags], strict=False) if one != before)


def take(client: Client, path: str) -> Answer:
    """Ask for a page, or a part of one. A stream without a known end is not read."""
    response = client.get(path)
    body = response.getvalue() if not response.streaming or "Content-Length" in response else b""
    return Answer(status=response.status_code, headers=dict(response.headers), body=body)


class Screen:
    """A browser that is shown recorded pages. `complaints`: what its console said."""

    def __init__(self, browser: Browser) -> None:
        self.context = browser.new_context(base_url=HOST, viewport={"width": 1440, "height": 900}, reduced_motion="reduce")
        self.complaints: list[str] = []
        self.context.on("console", lambda message: self.complaints.append(message.text) if message.type == "error" else None)
        self.context.on("weberror", lambda error: self.complaints.append(str(error.error)))
        self.context.route("**/*", self._answer)
        self.context.route_web_socket("**/*", lambda _socket: None)  # it opens, and nothing is said
        self.context.add_init_script(path=AXE)
        self.page: Page = self.context.new_page()
        self.shown: Answer | None = None
        self.parts: Mapping[str, Answer] = {}

    def _answer(self, route: Route) -> None:
        path = urlsplit(route.request.url).path
        if path.startswith("/static/"):
            found = finders.find(path.removeprefix("/static/"))
            assert isinstance(found, str), path
            route.fulfill(body=Path(found).read_bytes(), content_type=mimetypes.guess_type(found)[0])
        elif route.request.is_navigation_request() and self.shown is not None:
            headers = {name: value for name, value in self.shown.headers.items() if name != "Content-Length"}
            route.fulfill(status=200, headers=headers, body=self.shown.body)
        elif part := self.parts.get(path):
            route.fulfill(status=part.status, content_type=part.headers.get("Content-Type", ""), body=part.body)
        else:
            route.fulfill(status=204, body="")

    def faults(self, path: str, answer: Answer) -> list[str]:
        """What is wrong with this page: to axe in either theme, on a telephone, to its own scripts."""
        self.shown = answer
        self.page.emulate_media(color_scheme="light")
        self.page.goto(path)
        found = [f"a field named {name}" for name in self.page.evaluate(CLOBBERED)]
        found += in_both_themes(self.page, load=False)
        self.page.set_viewport_size({"width": 390, "height": 844})
        wide = self.page.evaluate("Math.max(document.documentElement.scrollWidth, document.querySelector('main').scrollWidth)")
        found += [f"{wide} px wide: {self.page.evaluate(WIDEST)}"] if wide > 390 else []
        found += [f"phone: {text}" for text in violations(self.page, "runOnly: ['target-size']", load=False)]
        self.page.set_viewport_size({"width": 1440, "height": 900})
        found += [f"its console: {text}" for text in self.complaints]
        self.complaints.clear()
        return [f"{path}: {text}" for text in found]


# Only what is wrong leaves the page: all that axe has seen is megabytes.
FOUND = """axe.run(document, %s).then((result) => result.violations.flatMap(
  (one) => one.nodes.slice(0, 3).map((node) => `${one.id}: ${node.html.slice(0, 160)}`)))"""


def violations(page: Page, how: str = f"runOnly: {LEVELS}", *, load: bool = True) -> list[str]:
    """What axe finds."""
    if load:
        page.evaluate(AXE.read_text())  # evaluate is not bound by the page's policy
    return list(page.evaluate(FOUND % f"{{{how}, resultTypes: ['violations']}}"))


def in_both_themes(page: Page, *, load: bool = True) -> list[str]:
    """What axe finds in the light, and of colours in the dark, in which the page is left."""
    page.emulate_media(color_scheme="light", reduced_motion="reduce")  # colours on their way would be found
    found = violations(page, load=load)
    page.emulate_media(color_scheme="dark")
    return found + [f"dark: {text}" for text in violations(page, "runOnly: ['color-contrast']", load=False)]
