"""Pictures of the console's pages, for the README and for eyes: `make screenshots`.

Starts an installation of its own with three simulated clouds in which something happens and hosts behind SSH on which a script runs,
walks through it in Chromium in both themes, on a desk (1440×900) and on a telephone (390×844), and writes
`docs/screenshots/<page>[-dark][-phone].png`. The README shows `dashboard.png` and `machines.png`; no other is committed.

    python -m tests.browser.screenshots [page …]     only these pages
"""

from __future__ import annotations

import base64
import hmac
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser import hosts
from tests.browser.pages import FIRST, PAGES
from tests.ops.stack import ROOT, Stack, wait_for

WRITTEN = ROOT / "docs" / "screenshots"
CHROMIUM = shutil.which("chromium")
ORG = "Halden Robotics"
EMAIL, PASSWORD = "maya@example.org", "correct-horse-battery-staple"
CAREFUL, NEW = "hanna@example.org", "tomas@example.org"  # with a second step; with a one-time password
PRIYA = "priya@example.org"  # who asks
CLOUDS = {"Production": 120, "Staging": 48, "Research": 32}  # {name: machines}
SIZES = {"": {"width": 1440, "height": 900}, "-phone": {"width": 390, "height": 844}}
THEMES = {"": "light", "-dark": "dark"}


def main(wanted: list[str]) -> None:
    if CHROMIUM is None:
        sys.exit("Pictures need Chromium: apt install chromium")
    if unknown := set(wanted) - set(PAGES):
        sys.exit(f"No page {', '.join(sorted(unknown))}. There are: {', '.join(PAGES)}")
    WRITTEN.mkdir(parents=True, exist_ok=True)
    with installation() as (stack, token), sync_playwright() as playwright:
        rows, one_time = Rows(stack, token), newcomer(stack)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", "--no-first-run"])
        chosen = {name: path for name, path in PAGES.items() if not wanted or name in wanted}
        name_oneself(browser, stack)
        second_step(browser, stack)
        for suffix, theme in THEMES.items():
            for ending, viewport in SIZES.items():
                screen = {"color_scheme": theme, "viewport": viewport}
                door(browser, stack, one_time, f"{suffix}{ending}", **screen)
                walk(browser, stack, rows, chosen, f"{suffix}{ending}", **screen)
        browser.close()


@contextmanager
def installation() -> Iterator[tuple[Stack, str]]:
    """A running installation that has read its simulated clouds, and its admin's token. Nothing of it is left afterwards."""
    with tempfile.TemporaryDirectory(prefix="mist-screenshots-") as directory:
        if os.getuid() == 0:
            Path(directory).chmod(0o755)  # as root the database runs as somebody else, who has to pass through here
        product = {"DJANGO_SETTINGS_MODULE": "mist.settings"}  # not the tests': it serves what was built and collected
        stack = Stack(Path(directory) / "home", MIST_ADMIN_EMAIL=EMAIL, MIST_ADMIN_PASSWORD=PASSWORD, **product)
        try:
            stack.start(within_s=300)
            token = str(told(stack.post("/api/v2/auth/tokens", {"email": EMAIL, "password": PASSWORD, "name": "screenshots"}))["token"])
            for seed, (name, machines) in enumerate(CLOUDS.items(), start=7):
                cloud = {"name": name, "provider": "demo", "credentials": {"machines": machines, "seed": seed}}
                told(stack.post("/api/v2/clouds", cloud, Authorization=token))
            wait_for(lambda: total(stack, token) >= sum(CLOUDS.values()), 120)
            work(stack, token)
            with hosts.behind_ssh(Path(directory) / "ssh") as (server, ports):
                machines = hosts.add(posted(stack, token), listed(stack, token), server, ports)
                hosts.run(posted(stack, token), listed(stack, token), machines, ports)
                yield stack, token
        finally:
            if stack.process and stack.process.poll() is None:
                stack.stop(within_s=60)


def work(stack: Stack, token: str) -> None:
    """Some things that people do, so that the pages have something to say."""
    stack.manage("adduser", PRIYA, "--org", "default", "--password", "-", typed=PASSWORD)
    told(stack.post("/api/v2/orgs/default", {"name": ORG}, "PATCH", Authorization=token))
    found = stack.get("/api/v2/machines?limit=8&search=state:running+tag:env=dev&sort=name", Authorization=token)[1]
    ids = [row["id"] for row in json.loads(found)["data"]]
    ends = (datetime.now(UTC) + timedelta(days=3)).isoformat(timespec="seconds")
    for number, machine in enumerate(ids):
        act = f"/api/v2/machines/{machine}/actions/"
        told(stack.post(f"{act}set-expiration", {"date": ends, "action": "stop"}, Authorization=token))
        told(stack.post(f"{act}tag", {"tags": {"release": "4.12"}}, Authorization=token)) if number % 2 else None
        told(stack.post(f"{act}{'stop' if number % 3 else 'reboot'}", {}, Authorization=token))
    lock(stack, token)
    own(stack, token)


def lock(stack: Stack, token: str) -> None:
    """A machine is locked, and somebody asks to destroy it all the same."""
    machine = listed(stack, token)("/api/v2/machines?limit=1&search=state:running+tag:env=prod&sort=name")[0]["id"]
    told(stack.post(f"/api/v2/machines/{machine}/actions/lock", {"note": "the shop's database"}, Authorization=token))
    team = posted(stack, token)("/api/v2/teams", {"name": "Database operators"})["id"]
    told(stack.post(f"/api/v2/teams/{team}/actions/add-member", {"user": PRIYA}, Authorization=token))
    everything = {"effect": "allow", "verbs": ["*"]}
    told(stack.post(f"/api/v2/policies/{team}", {"statements": [everything]}, "PUT", Authorization=token))
    priya = told(stack.post("/api/v2/auth/tokens", {"email": PRIYA, "password": PASSWORD, "name": "hers"}))["token"]
    why = urlencode({"ask": "moved to db-eu-02 yesterday, nothing reads from it"})
    assert stack.post(f"/api/v2/machines/{machine}/actions/destroy?{why}", {}, Authorization=str(priya))[0] == 202


def own(stack: Stack, token: str) -> None:
    """Some machines belong to somebody."""
    for sort in ("name", "-cost"):
        rows = listed(stack, token)(f"/api/v2/machines?limit=40&search=state:running&sort={sort}")
        for row in rows[1::3] + rows[2::3]:
            told(stack.post(f"/api/v2/machines/{row['id']}/actions/set-owner", {"owner": EMAIL}, Authorization=token))


def told(answer: tuple[int, bytes]) -> dict[str, Any]:
    """The `data` of an answer that has to be a success."""
    status, body = answer
    if status != 200:
        sys.exit(f"{status}: {body.decode(errors='replace')[:2000]}")
    return dict(json.loads(body)["data"])


def posted(stack: Stack, token: str) -> hosts.Post:
    """Post there as the admin: the `data` of the answer."""
    return lambda path, body: told(stack.post(path, body, Authorization=token))


def listed(stack: Stack, token: str) -> Callable[[str], list[dict[str, Any]]]:
    """Read a list there as the admin."""
    return lambda path: list(json.loads(stack.get(path, Authorization=token)[1])["data"])


def total(stack: Stack, token: str) -> int:
    return int(json.loads(stack.get("/api/v2/machines?limit=1", Authorization=token)[1])["meta"]["total"])


class Rows(dict[str, str]):
    """{kind: id of a row of that kind}, read when a page asks for it: the walk itself makes some."""

    def __init__(self, stack: Stack, token: str) -> None:
        super().__init__()
        post, rows = posted(stack, token), listed(stack, token)
        self.read = rows
        self["machine"] = rows("/api/v2/machines?limit=1&search=state:running+tag:release&sort=name")[0]["id"]
        self["host"] = rows("/api/v2/machines?search=name:web-eu-04+cloud:%22Web+hosts%22")[0]["id"]
        self["locked"] = rows("/api/v2/machines?limit=1&search=locked:yes")[0]["id"]
        self["team"] = post("/api/v2/teams", {"name": "Web operators"})["id"]
        self["secret"] = post("/api/v2/secrets", {"name": "db/password", "secret": {"user": "shop", "password": "for the picture"}})["id"]

    def __missing__(self, kind: str) -> str:
        return str(self.read(f"/api/v2/{kind}s?limit=1")[0]["id"])


def name_oneself(browser: Browser, stack: Stack) -> None:
    """The admin's name, given where people give it."""
    context = browser.new_context(base_url=f"http://localhost:{stack.port}")
    page = context.new_page()
    page.goto("/o/default/settings/profile")
    sign_in(page, EMAIL)
    page.get_by_label("First name").fill("Maya")
    page.get_by_label("Last name").fill("Lindqvist")
    page.get_by_role("button", name="Save").click()
    page.get_by_text("Maya Lindqvist").first.wait_for()
    context.close()


def second_step(browser: Browser, stack: Stack) -> None:
    """Somebody whose sign-in has a second step, set up as people do."""
    stack.manage("adduser", CAREFUL, "--org", ORG, "--password", "-", typed=PASSWORD)
    context = browser.new_context(base_url=f"http://localhost:{stack.port}")
    page = context.new_page()
    page.goto("/account/2fa/totp/activate/")
    sign_in(page, CAREFUL)
    page.wait_for_url("**/reauthenticate/**")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Continue").click()
    page.locator("#authenticator_secret").wait_for()
    page.get_by_label("Authenticator code").fill(code_of(page.locator("#authenticator_secret").inner_text()))
    page.get_by_role("button", name="Turn on").click()
    page.wait_for_url("**/account/2fa/recovery-codes/**")
    context.close()


def code_of(secret: str) -> str:
    """What an authenticator shows now (RFC 6238)."""
    key = base64.b32decode(secret + "=" * (-len(secret) % 8))
    digest = hmac.digest(key, int(time.time() // 30).to_bytes(8), "sha1")
    start = digest[-1] & 15
    return f"{(int.from_bytes(digest[start : start + 4]) & 0x7FFFFFFF) % 10**6:06}"


def newcomer(stack: Stack) -> str:
    """Somebody who has not signed in yet.  Returns: the one-time password."""
    return stack.manage("adduser", NEW, "--org", ORG).rsplit(maxsplit=1)[-1]


def sign_in(page: Page, email: str, password: str = PASSWORD) -> None:
    page.get_by_label("E-mail").fill(email)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()


def door(browser: Browser, stack: Stack, one_time: str, ending: str, **screen: Any) -> None:
    """What is seen before one is in: signing in, its second step, and the first time."""
    for name, email, password in (("sign-in", "", ""), ("second-step", CAREFUL, PASSWORD), ("first-run", NEW, one_time)):
        context = browser.new_context(base_url=f"http://localhost:{stack.port}", reduced_motion="reduce", **screen)
        page = context.new_page()
        page.goto("/sign-in")
        if email:
            sign_in(page, email, password)
            page.wait_for_url(lambda url: "/sign-in" not in url)
        page.evaluate("document.fonts.ready")
        page.screenshot(path=WRITTEN / f"{name}{ending}.png")
        context.close()


def walk(browser: Browser, stack: Stack, rows: Rows, pages: dict[str, str], ending: str, **screen: Any) -> None:
    """Sign in as the admin with this screen, and take each page."""
    context = browser.new_context(base_url=f"http://localhost:{stack.port}", reduced_motion="reduce", **screen)
    page = context.new_page()
    page.goto("/sign-in")
    sign_in(page, EMAIL)
    page.wait_for_url("**/o/**")
    home = page.url.split("?")[0].rstrip("/")
    for name, path in pages.items():
        page.goto(f"{home}/{path.format_map(rows)}")
        page.locator("mist-live[data-state=live]").first.wait_for(state="attached")
        if name in FIRST:
            FIRST[name](page)
        page.evaluate("document.fonts.ready")
        page.screenshot(path=WRITTEN / f"{name}{ending}.png")
    context.close()


if __name__ == "__main__":
    main(sys.argv[1:])
