"""Pictures of the console's main pages, for the README and for eyes: `make screenshots`.

Starts an installation of its own with three simulated clouds in which something happens and hosts behind SSH on which a script runs,
walks through it in Chromium in both themes, on a desk (1440×900) and on a telephone (390×844), and writes
`docs/screenshots/<page>[-dark][-phone].png`. The README shows `dashboard.png` and `machines.png`; no other is committed.

    python -m tests.browser.screenshots [page …]     only these pages
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser import hosts
from tests.ops.stack import ROOT, Stack, wait_for

WRITTEN = ROOT / "docs" / "screenshots"
CHROMIUM = shutil.which("chromium")
EMAIL, PASSWORD = "maya@example.org", "correct-horse-battery-staple"
CLOUDS = {"Production": 120, "Staging": 48, "Research": 32}  # {name: machines}
SIZES = {"": {"width": 1440, "height": 900}, "-phone": {"width": 390, "height": 844}}
THEMES = {"": "light", "-dark": "dark"}


def main(wanted: list[str]) -> None:
    if CHROMIUM is None:
        sys.exit("Pictures need Chromium: apt install chromium")
    WRITTEN.mkdir(parents=True, exist_ok=True)
    with installation() as (stack, token), sync_playwright() as playwright:
        pages = addresses(stack, token)
        if unknown := set(wanted) - set(pages):
            sys.exit(f"No page {', '.join(sorted(unknown))}. There are: {', '.join(pages)}")
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", "--no-first-run"])
        for suffix, theme in THEMES.items():
            for ending, viewport in SIZES.items():
                chosen = {name: path for name, path in pages.items() if not wanted or name in wanted}
                walk(browser, stack, chosen, f"{suffix}{ending}", color_scheme=theme, viewport=viewport)
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
    stack.manage("adduser", "priya@example.org", "--org", "default")
    found = stack.get("/api/v2/machines?limit=8&search=state:running+tag:env=dev&sort=name", Authorization=token)[1]
    ids = [row["id"] for row in json.loads(found)["data"]]
    ends = (datetime.now(UTC) + timedelta(days=3)).isoformat(timespec="seconds")
    for number, machine in enumerate(ids):
        act = f"/api/v2/machines/{machine}/actions/"
        told(stack.post(f"{act}set-expiration", {"date": ends, "action": "stop"}, Authorization=token))
        told(stack.post(f"{act}tag", {"tags": {"release": "4.12"}}, Authorization=token)) if number % 2 else None
        told(stack.post(f"{act}{'stop' if number % 3 else 'reboot'}", {}, Authorization=token))


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


def addresses(stack: Stack, token: str) -> dict[str, str]:
    """{picture: path below the organization}, in the order of the menu."""
    machine = json.loads(stack.get("/api/v2/machines?limit=1&search=state:running&sort=name", Authorization=token)[1])["data"][0]["id"]
    cloud = json.loads(stack.get("/api/v2/clouds", Authorization=token)[1])["data"][0]["id"]
    run = listed(stack, token)("/api/v2/runs")[0]["id"]
    host = listed(stack, token)("/api/v2/machines?search=name:web-eu-04+cloud:%22Web+hosts%22")[0]["id"]
    team = told(stack.post("/api/v2/teams", {"name": "Web operators"}, Authorization=token))["id"]
    return {
        "dashboard": "",
        "machines": "machines",
        "machines-grouped": "machines?group=tag:env",
        "machines-selected": "machines?q=state:running&sort=-cost",
        "destroy-some": "machines?q=state:running&sort=-cost",
        "palette": "machines?q=state:running&sort=-cost",
        "jobs-drawer": "",
        "volumes": "volumes",
        "networks": "networks",
        "images": "images",
        "machine": f"machines/{machine}",
        "machine-log": f"machines/{machine}/log",
        "machine-keys": f"machines/{machine}/keys",
        "destroy": f"machines/{machine}/do/destroy",
        "create-machine": f"machines/new?cloud={cloud}",
        "clouds": "clouds",
        "add-cloud": "clouds/new/amazon",
        "scripts": "scripts",
        "new-script": "scripts/new",
        "runs": "runs",
        "script-run": f"runs/{run}",
        "shell": f"machines/{host}/shell",
        "jobs": "jobs",
        "audit": "log",
        "sessions": "sessions",
        "keys": "keys",
        "hosts": "keys/hosts",
        "authority": "keys/authority",
        "teams": "teams",
        "policy": f"teams/{team}/policy?preset=operate",
        "who-may-what": "teams/test?verb=machine.stop",
        "security": "settings/security",
        "api-docs": "api/docs",
        "organization": "settings/organization",
        "profile": "settings/profile",
        "browsers": "settings/sessions",
        "tokens": "settings/tokens",
        "keyboard": "settings/keyboard",
    }


def select(page: Page) -> None:
    for number in range(6):
        page.locator("tbody .cb").nth(number + 3).check()
    page.locator("#bulk").wait_for()


def ask_to_destroy(page: Page) -> None:
    select(page)
    page.locator("#bulk").get_by_role("button", name="Destroy").click()
    page.locator("dialog[open] input.mono").fill("destroy ")


def ask_the_palette(page: Page) -> None:
    page.keyboard.press("Control+k")
    page.locator("#palette [role=combobox]").fill("restart web")
    page.locator("#palette [role=option]", has_text="Reboot").first.wait_for()


def open_jobs(page: Page) -> None:
    page.locator("#jobs-button").click()
    page.locator("#jobs-body h3").first.wait_for()


def open_a_shell(page: Page) -> None:
    """Two panes side by side, in which something was typed."""
    if page.locator("#why").is_visible():
        page.locator("#why").fill("INC-4127 502 on web-eu")
        page.get_by_role("button", name="Open shell").click()
    page.locator(".term .xterm-screen").first.wait_for()
    page.wait_for_timeout(1500)
    for text in ("uname -a", "ls -l /etc/ssl | head -8", "df -h /"):
        page.keyboard.type(f"{text}\n", delay=5)
    if page.locator("[data-do=split]").is_visible() and page.locator(".term").count() == 1:
        page.locator("[data-do=split]").click()
    page.locator(".term .xterm-screen").last.wait_for()
    page.wait_for_timeout(1500)


# What is done on a page before its picture is taken.
FIRST: dict[str, Callable[[Page], None]] = {
    "machines-selected": select,
    "destroy-some": ask_to_destroy,
    "palette": ask_the_palette,
    "jobs-drawer": open_jobs,
    "shell": open_a_shell,
}


def walk(browser: Browser, stack: Stack, pages: dict[str, str], ending: str, **how: Any) -> None:
    """Sign in as somebody with this screen, and take each page."""
    context = browser.new_context(base_url=f"http://localhost:{stack.port}", reduced_motion="reduce", **how)
    page = context.new_page()
    page.goto("/sign-in")
    page.screenshot(path=WRITTEN / f"sign-in{ending}.png")
    page.get_by_label("E-mail").fill(EMAIL)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/o/**")
    home = page.url.split("?")[0].rstrip("/")
    for name, path in pages.items():
        page.goto(f"{home}/{path}")
        page.locator("mist-live[data-state=live]").first.wait_for(state="attached")
        if name in FIRST:
            FIRST[name](page)
        page.evaluate("document.fonts.ready")
        page.screenshot(path=WRITTEN / f"{name}{ending}.png")
    context.close()


if __name__ == "__main__":
    main(sys.argv[1:])
